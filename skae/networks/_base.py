"""Base class of networks, and the interface of the modules that they build."""

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from skae._base import Part


class NetworkModule(Protocol):
    """An encoder or a decoder: a `torch.nn.Module`, two of which a network returns.

    It maps a tensor of shape (n_samples, n_inputs) to one of (n_samples, n_outputs).
    All attributes are optional. `output` and `check_shapes` are read from the module
    itself, the others from its submodules as well.

    Attributes
    ----------
    output : nn.Module
        The last layer, for `zero_output_`: with `init="pca"` its parameters start at
        zero. A module without it is multiplied by a learned number that starts at zero.

    undecayed : tuple of str
        Names of the module's matrices that weight decay does not shrink. It never
        shrinks vectors.

    n_products : int
        Number of multiplications for a row, if that is not one for each parameter. It
        decides how many threads a training step uses.

    generator : torch.Generator or None
        Source of random numbers, which training sets for its duration. A module that
        draws from torch's global generator instead is seeded as well, at some cost per
        step.
    """

    output: nn.Module
    undecayed: tuple[str, ...]
    n_products: int
    generator: torch.Generator | None

    def __call__(self, x: Tensor) -> Tensor:
        """Return outputs of shape (n_samples, n_outputs)."""

    def check_shapes(self, name: str) -> None:
        """Raise ValueError if the module's shapes do not fit; see `check_network`."""


class Network(Part):
    """Base class of networks: parts that build an encoder and a decoder.

    For a network of your own, define ``__call__(n_features, n_components, n_samples)``,
    with the number of inputs of the encoder, of components of the code, and of training
    rows. It returns two `torch.nn.Module`: the encoder maps (n, n_features) to
    (n, n_components), and the decoder maps back. If a module has its last layer as the
    attribute `output`, training starts with this layer's parameters at zero, and so at
    PCA; any other module is multiplied by a learned number that starts at zero. For a
    network without parameters, pass a function instead.

    Attributes
    ----------
    time_axis : int or None
        The axis of a sequence that the network takes for time: 0 for rows of shape
        (length, features), -1 for (channels, length). None, the default, accepts any.

    See Also
    --------
    MLP : Fully connected layers.
    Conv : Convolutions, for images and signals.
    Recurrent : Recurrent cells, for sequences.
    Modules : An encoder and a decoder that exist already.

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

    time_axis: int | None = None
    needs_trial: bool = True

    def shaped(self, shape: tuple[int, ...]) -> "Network":
        """Return the network for rows of a shape; by default the network itself.

        Parameters
        ----------
        shape : tuple of int
            (n_features,) for a table, (channels, height, width) for images,
            (length, features) or (channels, length) for sequences.

        Returns
        -------
        network : Network
            A copy that holds the shape, or the network itself if it needs none.
        """
        return self


def check_n_entries(shape: tuple[int, ...], row_shape: tuple[int, ...]) -> None:
    """Raise ValueError unless a row has as many entries as a network's shape."""
    if math.prod(shape) != math.prod(row_shape):
        raise ValueError(
            f"Got rows of shape {row_shape}, of {math.prod(row_shape)} entries, but "
            f"expected {math.prod(shape)} for a network with shape={shape}. Set the "
            "network's shape to that of a row, or to None."
        )


def check_network(name: str, module: nn.Module, n_in: int, n_out: int) -> None:
    """Raise ValueError unless a module maps (2, n_in) to (2, n_out).

    Parameters
    ----------
    name : {"encoder", "decoder"}
        What the error calls the module.

    module : nn.Module
        The module. If it has a method `check_shapes`, that one is called instead.

    n_in, n_out : int
        Number of inputs and outputs.
    """
    if hasattr(module, "check_shapes"):
        module.check_shapes(name)
    else:
        check_on_zeros(name, module, (n_in,), [(n_out,)])


@torch.no_grad()
def check_on_zeros(
    name: str, module: nn.Module, shape_in: tuple, shapes_out: list[tuple]
) -> None:
    """Raise ValueError unless zeros of a shape are mapped to one of several shapes.

    The shapes are those of one row; the check uses two rows.
    """
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    received = f"The network's {name} got an input of shape {(2, *shape_in)}"
    module.eval()  # so that running statistics do not change
    # Zeros, not uninitialized memory, on whose NaN a module may fail.
    try:
        returned = module(torch.zeros(2, *shape_in, dtype=dtype))
    except Exception as error:
        raise ValueError(f"{received} and failed: {error}") from error
    expected = [(2, *shape) for shape in shapes_out]
    if getattr(returned, "shape", None) not in expected:
        is_tensor = isinstance(returned, Tensor)
        what = tuple(returned.shape) if is_tensor else f"a {type(returned).__name__}"
        shapes = " or ".join(map(str, expected))
        raise ValueError(
            f"{received} and returned {what}, but expected {shapes}. Change the layers "
            f"of the {name} so that it returns a tensor of this shape."
        )
