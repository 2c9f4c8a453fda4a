"""Networks: parts that build an encoder and a decoder."""

import copy
import math
from itertools import pairwise
from numbers import Integral, Real

import torch
from sklearn.base import clone
from torch import Tensor, nn

from skae._sklearn import Interval, StrOptions
from skae._spec import Spec
from skae._step import BY_HAND, Passes, Place, affine, hidden, joined

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


class Dropout(nn.Module):
    """Set each entry to zero with probability p and divide the others by 1 - p.

    Unlike `torch.nn.Dropout` it draws from a generator of its own, set by training.
    """

    generator: torch.Generator | None = None

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return x while evaluating, x with dropped entries while training."""
        if not self.training:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * keep / (1 - self.p)


class Layer(nn.Linear):
    """A linear layer of random weights with variance 2 / fan-in (He et al. 2015)."""

    def reset_parameters(self) -> None:
        """Draw the weights, and set the bias to zero."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        nn.init.zeros_(self.bias)


class FullyConnected(nn.Module):
    """Linear layers with an activation, and dropout, after all but the last.

    Attributes
    ----------
    layers : nn.ModuleList of nn.Linear
        The last is `output`; training may start with its weights at zero.
    """

    def __init__(self, sizes, activation: str, dropout: float):
        super().__init__()
        # float32 whatever torch's default dtype: the same seed gives the same network.
        self.layers = nn.ModuleList(
            Layer(n_in, n_out, dtype=torch.float32) for n_in, n_out in pairwise(sizes)
        )
        with torch.no_grad():
            self.output.weight *= 0.5**0.5  # no activation follows it
        self.activation_name = activation
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout) if dropout else nn.Identity()

    @property
    def output(self) -> nn.Linear:
        """The last layer."""
        return self.layers[-1]

    @property
    def writable(self) -> bool:
        """Whether `write_out` knows this network."""
        return (
            self.activation_name in BY_HAND
            and type(self.activation) is ACTIVATIONS[self.activation_name]
            and isinstance(self.dropout, nn.Identity)
            and all(type(layer) is Layer for layer in self.layers)
        )

    def write_out(self, x: Place) -> Passes:
        """Return the network as operations that start from x."""
        *layers, output = self.layers
        passes = Passes(x, [], [])
        for layer in layers:
            passes = joined(passes, affine(layer, passes.output))
            passes = joined(passes, hidden(self.activation_name, passes.output))
        return joined(passes, affine(output, passes.output))

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs of shape (n_samples, sizes[-1])."""
        *hidden, output = self.layers
        for layer in hidden:
            x = self.dropout(self.activation(layer(x)))
        return output(x)


class Network(Spec):
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


class MLP(Network):
    """Fully connected encoder and decoder, each the other's mirror image.

    With hidden layers of `h_1, ..., h_m` units the encoder has layers
    `n_features -> h_1 -> ... -> h_m -> n_components` and the decoder
    `n_components -> h_m -> ... -> h_1 -> n_features`.

    Parameters
    ----------
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Units of the encoder's hidden layers; the decoder has the same in reverse. With
        "auto", two layers of 128 units below 2000 rows and of 256 from there on. With
        `()`, encoder and decoder are linear.

    activation : {"relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", \
            "tanh", "sigmoid", "identity"}, default="silu"
        Applied after each hidden layer, as in `torch.nn`.

    dropout : float, default=0.0
        Probability with which each hidden unit is set to zero during training.

    See Also
    --------
    AutoencoderTransformer : The estimator that trains the network.

    Examples
    --------
    >>> from skae import MLP
    >>> encoder, decoder = MLP(hidden_layer_sizes=(32,))(10, 2, n_samples=100)
    >>> [tuple(layer.weight.shape) for layer in encoder.layers]
    [(32, 10), (2, 32)]
    """

    _parameter_constraints = {
        "hidden_layer_sizes": [StrOptions({"auto"}), tuple, list],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, hidden_layer_sizes="auto", *, activation="silu", dropout=0.0):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout

    def __call__(self, n_features, n_components, n_samples):
        self._validate_params()
        sizes = [n_features, *self._hidden_layer_sizes(n_samples), n_components]
        return (
            FullyConnected(sizes, self.activation, self.dropout),
            FullyConnected(sizes[::-1], self.activation, self.dropout),
        )

    def _hidden_layer_sizes(self, n_samples):
        if self.hidden_layer_sizes == "auto":
            return (128, 128) if n_samples < 2000 else (256, 256)
        if not all(isinstance(s, Integral) and s > 0 for s in self.hidden_layer_sizes):
            raise ValueError(
                "Got hidden_layer_sizes="
                f"{self.hidden_layer_sizes!r}, but expected 'auto' or a tuple of "
                "positive integers, such as (128, 64)."
            )
        return tuple(self.hidden_layer_sizes)


class Shaped(nn.Module):
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
        return Shaped(encoder, shape, codes), Shaped(decoder, codes, shape)

    def _copies(self):
        # Both at once: so what they share is copied once.
        return copy.deepcopy((self.encoder, self.decoder))
