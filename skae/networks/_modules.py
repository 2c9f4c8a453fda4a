"""Networks made of a user's own modules."""

import copy
import math
from numbers import Integral

import torch
from sklearn.base import clone
from torch import Tensor, nn

from skae.networks._base import Network, check_entries


class Reshaped(nn.Module):
    """A module that takes or gives rows of a shape, between flat ones.

    Parameters
    ----------
    network : nn.Module
        Maps from ``(n, *taken)`` to ``(n, *given)``, or to flat outputs.

    taken, given : tuple of int
        Shapes without the number of rows.
    """

    def __init__(self, network: nn.Module, taken: tuple, given: tuple):
        super().__init__()
        self.network = network
        self.taken = taken
        self.given = given

    @property
    def as_written(self):
        """The network, the shape that it takes, and those that it may return."""
        flat = (math.prod(self.given),)
        return self.network, self.taken, [*dict.fromkeys([self.given, flat])]

    @property
    def output(self):
        """The network's last layer, where it offers one."""
        return getattr(self.network, "output", None)

    def forward(self, x: Tensor) -> Tensor:
        """Return flat outputs of flat inputs."""
        return self.network(x.unflatten(1, self.taken)).flatten(1)


def same_module(module: nn.Module, other: nn.Module) -> bool:
    """Tell whether modules have the same layers and the same numbers."""
    if type(module) is not type(other) or repr(module) != repr(other):
        return False
    if not isinstance(module, nn.Module):
        return module == other
    ours, theirs = module.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(value.cpu(), theirs[name].cpu()) for name, value in ours.items()
    )


class Modules(Network):
    """An encoder and a decoder of one's own, trained from the weights that they have.

    The modules are left as they are: copies of them are trained.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps rows, of shape ``(n, *shape)``, to codes of shape (n, n_components).

    decoder : torch.nn.Module
        Maps codes to rows, of shape ``(n, *shape)`` or flat.

    shape : tuple of int or None, default=None
        The shape of a row. With None it is the one that `fit` is given.

    See Also
    --------
    MLP : Fully connected layers.

    Notes
    -----
    The weights are the modules' own, so `random_state` does not draw them, and a search
    over it starts from the same ones. For weights that it draws, and for layers as wide
    as the data asks for, `network` takes a callable that builds two modules.

    With `init="pca"` the model starts as PCA whatever the weights: a module that has
    its last layer as the attribute `output` has it set to zero, and any other is
    multiplied by a number that starts at zero and is learned. With `init="random"` the
    modules start as they are. Parameters that do not require a gradient stay.

    Weights that both modules share stay shared in the copies.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from skae import AutoencoderTransformer, Modules
    >>> images = np.random.default_rng(0).random((50, 1, 8, 8))
    >>> encoder = nn.Sequential(
    ...     nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.SiLU(),
    ...     nn.Flatten(), nn.Linear(64, 2),
    ... )
    >>> decoder = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 64))
    >>> network = Modules(encoder, decoder)
    >>> model = AutoencoderTransformer(2, network=network, max_iter=2).fit(images)
    >>> model.inverse_transform(model.transform(images)).shape
    (50, 1, 8, 8)
    """

    _parameter_constraints = {
        "encoder": [nn.Module],
        "decoder": [nn.Module],
        "shape": [tuple, list, None],
    }

    def __init__(self, encoder, decoder, shape=None):
        self.encoder = encoder
        self.decoder = decoder
        self.shape = shape

    def __eq__(self, other):
        return type(self) is type(other) and (
            self.shape == other.shape
            and same_module(self.encoder, other.encoder)
            and same_module(self.decoder, other.decoder)
        )

    __hash__ = Network.__hash__

    def __sklearn_clone__(self):
        return type(self)(*self._copies(), shape=self.shape)

    def shaped(self, shape):
        """Return the network for rows of a shape, its own where it has one."""
        self._validate_params()
        own = tuple(self.shape or shape)
        if not all(isinstance(n, Integral) and n > 0 for n in own):
            raise ValueError(
                f"Got shape={self.shape!r}, but expected positive integers. Set the "
                "network's shape to that of a row, or to None."
            )
        check_entries(own, shape)
        return clone(self).set_params(shape=own)

    def __call__(self, n_features, n_components, n_samples):
        """Copy the encoder and the decoder, with their weights.

        Parameters
        ----------
        n_features : int
            Width of the encoder's input and the decoder's output, when flat.

        n_components : int
            Width of the code.

        n_samples : int
            Number of rows to be learned from; makes no difference.

        Returns
        -------
        encoder, decoder : torch.nn.Module
            Maps from (n, n_features) to (n, n_components) and back.
        """
        shape, codes = self.shaped((n_features,)).shape, (n_components,)
        # Without memory, too, where a callable makes this part for a saved model.
        device = torch.get_default_device()
        encoder, decoder = (module.to(device) for module in self._copies())
        return Reshaped(encoder, shape, codes), Reshaped(decoder, codes, shape)

    def _copies(self):
        # Both at once: so what they share is copied once.
        return copy.deepcopy((self.encoder, self.decoder))
