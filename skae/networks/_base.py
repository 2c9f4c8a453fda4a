"""Networks: parts that build an encoder and a decoder."""

import math

from skae._base import Part


class Network(Part):
    """Builds encoder and decoder, and is what every network inherits from.

    A subclass is called as `network(n_features, n_components, n_samples)`, with the
    width of a row, that of a code, and the number of rows to be learned from. It
    returns two `torch.nn.Module`: from (n, n_features) to (n, n_components), and back.
    A module may offer its last layer as `output`, for training to start with its
    weights at zero.

    Attributes
    ----------
    time_axis : int or None
        Which axis of a sequence it takes for time; None where that does not matter.

    See Also
    --------
    MLP : Fully connected layers.
    Modules : Two modules that are there.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from torch import nn
    >>> from skae import AutoencoderTransformer, Network
    >>> class Shallow(Network):
    ...     def __init__(self, width=16):
    ...         self.width = width
    ...
    ...     def __call__(self, n_features, n_components, n_samples):
    ...         encoder = nn.Sequential(nn.Linear(n_features, self.width), nn.ReLU())
    ...         encoder.append(nn.Linear(self.width, n_components))
    ...         return encoder, nn.Linear(n_components, n_features)
    >>> model = AutoencoderTransformer(2, network=Shallow(), max_iter=2)
    >>> model.set_params(network__width=8).fit_transform(load_iris().data).shape
    (150, 2)
    """

    time_axis = None

    def shaped(self, shape: tuple[int, ...]) -> "Network":
        """Return the network for rows of a shape, where that makes a difference.

        Rows of a table have the shape (n_features,), images (channels, height, width).
        """
        return self


def for_rows(network, shape: tuple[int, ...]):
    """Return a network for rows of a shape; a plain callable takes them flat."""
    return network.shaped(shape) if hasattr(network, "shaped") else network


def check_entries(shape: tuple[int, ...], row_shape: tuple[int, ...]) -> None:
    """Raise ValueError unless rows have as many entries as a network's shape."""
    if math.prod(shape) != math.prod(row_shape):
        raise ValueError(
            f"Got rows of shape {row_shape}, of {math.prod(row_shape)} entries, but "
            f"expected {math.prod(shape)} for a network with shape={shape}. Set the "
            "network's shape to that of a row, or to None."
        )
