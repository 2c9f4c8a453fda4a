"""Convolutional networks: encoders and decoders of images and of signals."""

import math
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral

import torch
from sklearn.base import clone
from torch import Tensor, nn

from skae._sklearn import Interval, StrOptions
from skae.networks._base import Network, check_entries
from skae.networks._layers import ACTIVATIONS, HeLinear

# By the number of dimensions that a kernel slides along.
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}


def halved(size: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many positions are left where every second is kept, from the first."""
    return tuple(-(-length // 2) for length in size)


def down(n_in: int, n_out: int, kernel_size: int, n_dims: int) -> nn.Module:
    """Return a convolution that keeps every second position."""
    layer = CONVOLUTIONS[n_dims](
        n_in, n_out, kernel_size, stride=2, padding=kernel_size // 2,
        dtype=torch.float32,
    )  # fmt: skip
    return he_initialized(layer, n_in * kernel_size**n_dims)


def up(n_in: int, n_out: int, kernel_size: int, size: tuple[int, ...]) -> nn.Module:
    """Return the transpose of a convolution that has halved a size."""
    layer = TRANSPOSED[len(size)](
        n_in, n_out, kernel_size, stride=2, padding=kernel_size // 2,
        output_padding=tuple((length + 1) % 2 for length in size),
        dtype=torch.float32,
    )  # fmt: skip
    # An output is reached by one in two entries of the kernel, along each dimension.
    return he_initialized(layer, n_in * (kernel_size / 2) ** len(size))


@torch.no_grad()
def he_initialized(layer: nn.Module, fan_in: float) -> nn.Module:
    """Return the layer with weights of variance 2 / fan-in (He et al. 2015)."""
    layer.weight.normal_(0, math.sqrt(2 / fan_in))
    layer.bias.zero_()
    return layer


def dense(sizes, activation: str) -> list[nn.Module]:
    """Return linear layers, each with an activation after it."""
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [
            HeLinear(n_in, n_out, dtype=torch.float32),
            ACTIVATIONS[activation](),
        ]
    return layers


class ToMaps(nn.Module):
    """Give rows, which hold one position after another, the shape of maps.

    The channels of a position then lie side by side in memory ("channels last"). The
    layers that follow keep this order, in which a step takes a fifth less time.
    """

    def __init__(self, channels: int, size: tuple[int, ...]):
        super().__init__()
        self.channels = channels
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of shape (n_samples, channels, *size)."""
        return x.unflatten(1, (*self.size, self.channels)).movedim(-1, 1)


class FromMaps(nn.Module):
    """Lay the positions of maps one after another."""

    def forward(self, x: Tensor) -> Tensor:
        """Return rows of shape (n_samples, n_positions * channels)."""
        return x.movedim(1, -1).flatten(1)


class FlatSequential(nn.Module):
    """Layers from flat rows to flat rows.

    Attributes
    ----------
    output : nn.Module
        The last layer; training may start with its weights at zero.

    n_products : int
        Multiplications for a row: a convolution uses its weights at every position.
    """

    def __init__(self, layers: list[nn.Module], output: nn.Module, n_products: int):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.output = output
        self.n_products = n_products

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs of shape (n_samples, n_outputs)."""
        return self.output(self.layers(x)).flatten(1)


@dataclass(frozen=True)
class ConvSpec:
    """What an encoder is made of, and the decoder in reverse.

    Attributes
    ----------
    channels : tuple of int
        Of a row, and after each convolution.

    sizes : tuple of tuple of int
        Positions along each dimension, likewise.

    hidden : tuple of int
        Units of the linear layers between the convolutions and the code.

    kernel_size : int
        Extent of the kernels along each dimension.

    activation : str
        What follows each layer but the last.
    """

    channels: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...]
    hidden: tuple[int, ...]
    kernel_size: int
    activation: str

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of the last convolution, and of the linear layers."""
        return self.channels[-1] * math.prod(self.sizes[-1]), *self.hidden

    def encoder(self, n_components: int) -> FlatSequential:
        """Return convolutions, then linear layers to a code."""
        shape = self.channels[0], *self.sizes[0]
        layers = [nn.Unflatten(1, shape), FromMaps(), *self._maps(0)]
        for n_in, n_out in pairwise(self.channels):
            layers += self._active(down(n_in, n_out, self.kernel_size, len(shape) - 1))
        layers += [FromMaps(), *dense(self.widths, self.activation)]
        output = HeLinear(self.widths[-1], n_components, dtype=torch.float32)
        return FlatSequential(layers, output, self._n_products(n_components))

    def decoder(self, n_components: int) -> FlatSequential:
        """Return linear layers from a code, then transposed convolutions."""
        layers = dense((n_components, *self.widths[::-1]), self.activation)
        layers += self._maps(-1)
        for i in range(len(self.channels) - 1, 0, -1):
            n_in, n_out = self.channels[i], self.channels[i - 1]
            layers += self._active(up(n_in, n_out, self.kernel_size, self.sizes[i - 1]))
        *layers, output, _ = layers  # no activation at the end
        return FlatSequential(layers, output, self._n_products(n_components))

    def _maps(self, stage):
        return [ToMaps(self.channels[stage], self.sizes[stage])]

    def _active(self, layer):
        return [layer, ACTIVATIONS[self.activation]()]

    def _n_products(self, n_components):
        positions = [math.prod(size) for size in self.sizes[1:]]
        kernels = [n_in * n_out for n_in, n_out in pairwise(self.channels)]
        extent = self.kernel_size ** len(self.sizes[0])
        widths = *self.widths, n_components
        linear = [n_in * n_out for n_in, n_out in pairwise(widths)]
        shared = [n * kernel for n, kernel in zip(positions, kernels, strict=True)]
        return extent * sum(shared) + sum(linear)


class Conv(Network):
    """Convolutional encoder and decoder, each the other's mirror image.

    Convolutions see the same pattern wherever it lies in an image or a signal. Each
    halves the number of positions by its stride; linear layers follow, to the code. The
    decoder has linear layers and then transposed convolutions, back to the size of the
    rows, odd or even.

    Parameters
    ----------
    shape : tuple of int or None, default=None
        What a row is: (channels, height, width) for an image, (channels, length) for a
        signal. With None it is the one that `fit` is given, where a grey image needs
        its one channel; flat rows are grey images where their length is a square
        number, else signals of one channel.

    channels : tuple of int, default=(16, 32)
        Channels after each convolution. Each leaves half as many positions along each
        dimension, so large images want more of them.

    kernel_size : int, default=3
        Extent of the kernels along each dimension, an odd number.

    hidden_layer_sizes : tuple of int, default=(128,)
        Units of the linear layers between the convolutions and the code.

    activation : {"relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", \
            "tanh", "sigmoid", "identity"}, default="silu"
        Applied after each layer but the last, as in `torch.nn`.

    See Also
    --------
    MLP : Fully connected layers, for tables; often as good for small images.
    Recurrent : Cells that go through a sequence.

    References
    ----------
    .. [1] J. Masci, U. Meier, D. Ciresan, J. Schmidhuber. "Stacked Convolutional
       Auto-Encoders for Hierarchical Feature Extraction". ICANN 2011.

    .. [2] J. T. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller. "Striving for
       Simplicity: The All Convolutional Net". ICLR 2015, workshop. Strides for pooling.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, Conv
    >>> X = load_digits().data  # rows of 64 numbers: images of 8 x 8
    >>> network = Conv((1, 8, 8), channels=(8, 16))
    >>> model = AutoencoderTransformer(4, network=network, max_iter=2, random_state=0)
    >>> model.fit_transform(X).shape
    (1797, 4)
    """

    time_axis = -1  # of (channels, length)
    _parameter_constraints = {
        "shape": [tuple, list, None],
        "channels": [tuple, list],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": [tuple, list],
        "activation": [StrOptions(set(ACTIVATIONS))],
    }

    def __init__(
        self,
        shape=None,
        *,
        channels=(16, 32),
        kernel_size=3,
        hidden_layer_sizes=(128,),
        activation="silu",
    ):
        self.shape = shape
        self.channels = channels
        self.kernel_size = kernel_size
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation

    def shaped(self, shape):
        """Return the network for rows of a shape, its own where it has one."""
        return clone(self).set_params(shape=self._resolved(tuple(shape)))

    def __call__(self, n_features, n_components, n_samples):
        self._check()
        n_channels, *size = self._resolved((n_features,))
        sizes = [tuple(size)]
        for _ in self.channels:
            sizes.append(halved(sizes[-1]))
        plan = ConvSpec(
            channels=(n_channels, *self.channels),
            sizes=tuple(sizes),
            hidden=tuple(self.hidden_layer_sizes),
            kernel_size=self.kernel_size,
            activation=self.activation,
        )
        return plan.encoder(n_components), plan.decoder(n_components)

    def _check(self):
        self._validate_params()
        if self.kernel_size % 2 == 0:
            raise ValueError(
                f"Got kernel_size={self.kernel_size}, but expected an odd number: it "
                "has a middle."
            )
        check_counts("channels", self.channels, n_least=1)
        check_counts("hidden_layer_sizes", self.hidden_layer_sizes)
        check_counts("shape", self.shape or ())

    def _resolved(self, row_shape):
        """Return the shape of a row, as given or as the rows have it."""
        self._check()
        shape = tuple(row_shape if self.shape is None else self.shape)
        if self.shape is None and len(shape) == 1:
            shape = of_flat_rows(*shape)
        if len(shape) not in (2, 3):
            raise ValueError(
                f"Got shape={shape} of {len(shape)} dimensions, but expected "
                "(channels, height, width) or (channels, length). Set the network's "
                "shape."
            )
        check_entries(shape, row_shape)
        return shape


def of_flat_rows(n_features: int) -> tuple[int, ...]:
    """Return the shape of a square grey image, or of a signal of one channel."""
    side = math.isqrt(n_features)
    return (1, side, side) if side * side == n_features else (1, n_features)


def check_counts(name: str, values, n_least: int = 0) -> None:
    """Raise ValueError unless values are positive integers, at least so many."""
    counts = [v for v in values if isinstance(v, Integral) and v > 0]
    if len(counts) < max(n_least, len(values)):
        raise ValueError(
            f"Got {name}={values!r}, but expected a tuple of positive integers, such "
            "as (16, 32)."
        )
