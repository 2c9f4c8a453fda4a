"""Networks that a user has built: an encoder and a decoder that exist already."""

import copy
import math
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn

from skae.networks._base import Network, check_n_entries, check_on_zeros


class Reshaped(nn.Module):
    """A module with inputs and outputs of any shape, made one from flat to flat rows.

    Parameters
    ----------
    network : nn.Module
        Maps ``(n, *shape_in)`` to ``(n, *shape_out)``, or to flat outputs.

    shape_in, shape_out : tuple of int
        Shapes without the number of rows.
    """

    def __init__(self, network: nn.Module, shape_in: tuple, shape_out: tuple):
        super().__init__()
        self.network = network
        self.shape_in = shape_in
        self.shape_out = shape_out

    @property
    def output(self) -> nn.Module | None:
        """The attribute `output` of the network, if it has one."""
        return getattr(self.network, "output", None)

    def check_shapes(self, name: str) -> None:
        """Raise ValueError unless the network maps its inputs to outputs as expected.

        The error names the shapes that the user's module receives and returns, not the
        flat ones.
        """
        flat = (math.prod(self.shape_out),)
        shapes = list(dict.fromkeys([self.shape_out, flat]))
        check_on_zeros(name, self.network, self.shape_in, shapes)

    def forward(self, x: Tensor) -> Tensor:
        """Return flat outputs, shape (n_samples, n_outputs)."""
        return self.network(x.unflatten(1, self.shape_in)).flatten(1)


def same_module(module: nn.Module, other: nn.Module) -> bool:
    """Return whether two modules have the same layers and the same numbers."""
    if type(module) is not type(other) or repr(module) != repr(other):
        return False
    # Parts are compared before they are validated, so these may be no modules.
    if not isinstance(module, nn.Module):
        return module == other
    ours, theirs = module.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(value.cpu(), theirs[name].cpu()) for name, value in ours.items()
    )


def as_bytes(tensor: Tensor) -> np.ndarray:
    """Return the entries of a tensor on the CPU as an array of bytes."""
    return tensor.detach().cpu().flatten().view(torch.uint8).numpy()


def load_tensor(
    data: np.ndarray, shape: tuple, dtype: torch.dtype, kind: type, requires_grad: bool
) -> Tensor:
    """Return the tensor or parameter that a `StoredTensor` has saved, on the CPU."""
    tensor = torch.empty(shape, dtype=dtype, device="cpu")
    as_bytes(tensor)[:] = data  # shares the memory of the tensor
    if kind is nn.Parameter:
        return nn.Parameter(tensor, requires_grad)
    return tensor.requires_grad_(requires_grad)


class StoredTensor:
    """A tensor that is pickled as a NumPy array, and loaded as a tensor.

    The bytes that torch writes differ between equal tensors, so that `joblib.hash`
    would differ as well.

    Parameters
    ----------
    tensor : Tensor
        A dense tensor or parameter.
    """

    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    def __reduce__(self):
        tensor = self.tensor
        # Bytes, because NumPy has no bfloat16.
        data, shape = as_bytes(tensor), tuple(tensor.shape)
        kind, requires_grad = type(tensor), tensor.requires_grad
        return load_tensor, (data, shape, tensor.dtype, kind, requires_grad)


def tensors_of(module: nn.Module):
    """Yield the dense parameters, buffers and other tensors of a module."""
    for layer in module.modules():
        found = *layer.parameters(recurse=False), *layer.buffers(recurse=False)
        for value in (*found, *vars(layer).values()):
            if type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided:
                yield value


def with_stored_tensors(modules: list[nn.Module]) -> list[nn.Module]:
    """Return copies of modules that hold a `StoredTensor` in place of each tensor.

    A tensor that is shared is replaced by one object, and is shared when it is loaded.
    """
    # A copy of an object in `memo` is the object stored there.
    memo = {
        id(tensor): StoredTensor(tensor)
        for module in modules
        for tensor in tensors_of(module)
    }
    return copy.deepcopy(modules, memo)


class Modules(Network):
    """An encoder and a decoder of your own, trained from their present weights.

    Copies of the modules are trained, and the modules themselves are left unchanged.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps rows, of shape ``(n, *shape)``, to codes of shape (n, n_components).

    decoder : torch.nn.Module
        Maps codes to rows, of shape ``(n, *shape)`` or flat.

    shape : tuple of int or None, default=None
        The shape of a row. With None it is that of the rows which `fit` receives.

    See Also
    --------
    MLP : Fully connected layers.
    Network : A network of your own that depends on the data.

    Notes
    -----
    `random_state` does not change the modules' weights. For weights that it draws, and
    for layers whose width depends on the data, set `network` to a function that builds
    two modules.

    With `init="pca"` the model starts as PCA, whatever the weights: if a module has its
    last layer as the attribute `output`, that layer's parameters are set to zero; any
    other module is multiplied by a number that starts at zero and is learned. With
    `init="random"` training starts from the modules' weights as they are. Parameters
    that do not require a gradient are never changed.

    Weights that both modules share stay shared in the copies.

    When the part is pickled, its tensors are stored as NumPy arrays, and are loaded on
    the CPU. Modules with equal layers and weights have the same `joblib.hash`, so that
    a pipeline with `memory` does not fit them again.

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

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        shape: Sequence[int] | None = None,
    ):
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
        encoder, decoder = self._copies()
        return type(self)(encoder, decoder, shape=self.shape)

    def shaped(self, shape):
        """Return a copy that holds a shape: the network's own, or else that of rows."""
        self._validate_params()
        own = tuple(self.shape or shape)
        if not all(isinstance(n, Integral) and n > 0 for n in own):
            raise ValueError(
                f"Got shape={self.shape!r}, but expected positive integers. Set the "
                "network's shape to that of a row, or to None."
            )
        check_n_entries(own, shape)
        return clone(self).set_params(shape=own)

    def __call__(self, n_features, n_components, n_samples):
        """Return copies of the encoder and the decoder, with their weights.

        Parameters
        ----------
        n_features : int
            Number of entries of a row.

        n_components : int
            Number of components of a code.

        n_samples : int
            Number of training rows; makes no difference here.

        Returns
        -------
        encoder, decoder : torch.nn.Module
            Maps (n, n_features) to (n, n_components) and back.
        """
        shape, codes = self.shaped((n_features,)).shape, (n_components,)
        # "meta" when a saved model is checked, whose network is a callable that uses
        # this part: nothing may take memory there.
        device = torch.get_default_device()
        encoder, decoder = (module.to(device) for module in self._copies())
        return Reshaped(encoder, shape, codes), Reshaped(decoder, codes, shape)

    def __copy__(self):
        copied = type(self).__new__(type(self))
        copied.__dict__.update(vars(self))
        return copied

    def __getstate__(self):
        state = super().__getstate__().copy()
        # Before validation a parameter may be anything.
        modules = {k: v for k, v in state.items() if isinstance(v, nn.Module)}
        stored = with_stored_tensors(list(modules.values()))
        state |= dict(zip(modules, stored, strict=True))
        # For `joblib.hash`, which ignores the order of the layers.
        state["_layers"] = [[n for n, _ in m.named_modules()] for m in stored]
        return state

    def __setstate__(self, state):
        super().__setstate__({k: v for k, v in state.items() if k != "_layers"})

    def _copies(self):
        # In one call, so that weights which both share are copied once.
        return copy.deepcopy((self.encoder, self.decoder))
