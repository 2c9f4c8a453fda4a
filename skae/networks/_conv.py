"""Convolutional networks: encoders and decoders of images and of signals."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral

import torch
from sklearn.base import clone
from torch import Tensor, nn

from skae._sklearn import Interval, StrOptions
from skae.networks._base import Network, check_n_entries
from skae.networks._layers import ACTIVATIONS, HeLinear, zero_output_

# Keys are the number of dimensions along which a kernel slides.
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
TRANSPOSED_CONVOLUTIONS = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}


def halved(size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the size after a convolution with stride 2: half of it, rounded up."""
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
    layer = TRANSPOSED_CONVOLUTIONS[len(size)](
        n_in, n_out, kernel_size, stride=2, padding=kernel_size // 2,
        # Even sizes 2 m and odd ones 2 m - 1 are both halved to m.
        output_padding=tuple((length + 1) % 2 for length in size),
        dtype=torch.float32,
    )  # fmt: skip
    # With stride 2, every second entry of the kernel reaches an output, per dimension.
    return he_initialized(layer, n_in * (kernel_size / 2) ** len(size))


@torch.no_grad()
def he_initialized(layer: nn.Module, fan_in: float) -> nn.Module:
    """Return the layer with weights from N(0, 2 / fan-in) (He et al. 2015)."""
    layer.weight.normal_(0, math.sqrt(2 / fan_in))
    layer.bias.zero_()
    return layer


def linear_layers(sizes: Iterable[int], activation: str) -> list[nn.Module]:
    """Return linear layers, each followed by an activation."""
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [
            HeLinear(n_in, n_out, dtype=torch.float32),
            ACTIVATIONS[activation](),
        ]
    return layers


class ToMaps(nn.Module):
    """Reshape flat rows, one position after another, to maps.

    The channels of a position are adjacent in memory ("channels last"). The layers that
    follow keep this order, in which a training step takes a fifth less time.
    """

    def __init__(self, channels: int, size: tuple[int, ...]):
        super().__init__()
        self.channels = channels
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of shape (n_samples, channels, *size)."""
        # (n_samples, *size, channels) in memory
        return x.unflatten(1, (*self.size, self.channels)).movedim(-1, 1)


class FromMaps(nn.Module):
    """Flatten maps to rows, one position after another."""

    def forward(self, x: Tensor) -> Tensor:
        """Return rows of shape (n_samples, n_positions * channels)."""
        return x.movedim(1, -1).flatten(1)


class FlatSequential(nn.Module):
    """Layers from flat rows to flat rows.

    Attributes
    ----------
    layers : nn.Sequential
        All layers but the last.

    output : nn.Module
        The last layer.

    n_products : int
        Number of multiplications for a row: a convolution uses its weights at every
        position.
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
    """The sizes of an encoder's layers; the decoder has the same in reverse.

    Attributes
    ----------
    channels : tuple of int
        Channels of a row, and after each convolution.

    sizes : tuple of tuple of int
        Positions along each dimension of a row, and after each convolution.

    hidden : tuple of int
        Units of the linear layers between the convolutions and the code.

    kernel_size : int
        Extent of the kernels along each dimension.

    activation : str
        Applied after each layer but the last; a key of `ACTIVATIONS`.
    """

    channels: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...]
    hidden: tuple[int, ...]
    kernel_size: int
    activation: str

    @property
    def widths(self) -> tuple[int, ...]:
        """Entries of the last convolution's output, and units of the linear layers."""
        return self.channels[-1] * math.prod(self.sizes[-1]), *self.hidden

    def encoder(self, n_components: int) -> FlatSequential:
        """Return convolutions, then linear layers to a code."""
        shape = self.channels[0], *self.sizes[0]
        # Rows come with one channel after another, as (channels, *size).
        layers = [nn.Unflatten(1, shape), FromMaps(), *self._maps(0)]
        for n_in, n_out in pairwise(self.channels):
            layers += self._active(down(n_in, n_out, self.kernel_size, len(shape) - 1))
        layers += [FromMaps(), *linear_layers(self.widths, self.activation)]
        output = HeLinear(self.widths[-1], n_components, dtype=torch.float32)
        return FlatSequential(layers, output, self._n_products(n_components))

    def decoder(self, n_components: int) -> FlatSequential:
        """Return linear layers from a code, then transposed convolutions."""
        layers = linear_layers((n_components, *self.widths[::-1]), self.activation)
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
    """Convolutional encoder and decoder that mirror each other.

    A convolution detects the same pattern at every position of an image or a signal.
    Each one halves the number of positions along each dimension by its stride; linear
    layers to the code follow. The decoder has linear layers and then transposed
    convolutions, back to the size of the rows, odd or even.

    Parameters
    ----------
    shape : tuple of int or None, default=None
        The shape of a row: (channels, height, width) for an image, (channels, length)
        for a signal. With None it is that of the rows which `fit` receives, where a
        gray image needs its one channel. Flat rows are taken for gray images if their
        length is a square number, else for signals of one channel.

    channels : tuple of int, default=(16, 32)
        Channels after each convolution. Each leaves half as many positions along each
        dimension, so large images need more of them.

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
    Recurrent : Recurrent cells, for sequences.

    References
    ----------
    .. [1] J. Masci, U. Meier, D. Ciresan, J. Schmidhuber. "Stacked Convolutional
       Auto-Encoders for Hierarchical Feature Extraction". ICANN 2011.

    .. [2] J. T. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller. "Striving for
       Simplicity: The All Convolutional Net". ICLR 2015, workshop. Strides in place of
       pooling.

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

    time_axis = -1  # rows are (channels, length)
    needs_trial = False
    _parameter_constraints = {
        "shape": [tuple, list, None],
        "channels": [tuple, list],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": [tuple, list],
        "activation": [StrOptions(set(ACTIVATIONS))],
    }

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        *,
        channels: Sequence[int] = (16, 32),
        kernel_size: int = 3,
        hidden_layer_sizes: Sequence[int] = (128,),
        activation: str = "silu",
    ):
        self.shape = shape
        self.channels = channels
        self.kernel_size = kernel_size
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation

    def shaped(self, shape):
        """Return a copy that holds a shape: the network's own, or else that of rows."""
        shape = self._resolved(tuple(shape))
        if self.shape is None and seems_channels_last(shape):
            warn_of_channels_last(shape)
        return clone(self).set_params(shape=shape)

    def __call__(self, n_features, n_components, n_samples):
        self._check()
        n_channels, *size = self._resolved((n_features,))
        sizes = [tuple(size)]
        for _ in self.channels:
            sizes.append(halved(sizes[-1]))
        spec = ConvSpec(
            channels=(n_channels, *self.channels),
            sizes=tuple(sizes),
            hidden=tuple(self.hidden_layer_sizes),
            kernel_size=self.kernel_size,
            activation=self.activation,
        )
        return spec.encoder(n_components), zero_output_(spec.decoder(n_components))

    def _check(self):
        self._validate_params()
        if self.kernel_size % 2 == 0:
            raise ValueError(
                f"Got kernel_size={self.kernel_size}, but expected an odd number, such "
                f"as {self.kernel_size + 1}, so that kernels have a middle."
            )
        check_counts("channels", self.channels, n_least=1)
        check_counts("hidden_layer_sizes", self.hidden_layer_sizes)
        check_counts("shape", self.shape or ())

    def _resolved(self, row_shape):
        self._check()
        shape = tuple(row_shape if self.shape is None else self.shape)
        if self.shape is None and len(shape) == 1:
            shape = shape_of_flat_rows(*shape)
        if len(shape) not in (2, 3):
            raise ValueError(
                f"Got shape={shape} of {len(shape)} dimensions, but expected "
                "(channels, height, width) or (channels, length). Set the network's "
                "shape."
            )
        check_n_entries(shape, row_shape)
        return shape


def seems_channels_last(shape: tuple[int, ...]) -> bool:
    """Return whether rows look like images of shape (height, width, channels)."""
    # Small maps of many channels, such as (64, 4, 4), are no images.
    return len(shape) == 3 and min(shape[:2]) > 4 and shape[2] in (1, 3, 4)


def warn_of_channels_last(shape: tuple[int, int, int]) -> None:
    """Warn that the first axis of rows is read as that of the channels."""
    n_channels, _, width = shape
    warnings.warn(
        f"Conv reads rows of shape {shape} as {n_channels} channels of width {width}. "
        "If the channels come last, pass np.moveaxis(X, -1, 1); if they come first, "
        f"Conv(shape={shape}) leaves out this warning.",
        UserWarning,
        stacklevel=2,
    )


def shape_of_flat_rows(n_features: int) -> tuple[int, ...]:
    """Return the shape of a square gray image, or of a signal of one channel."""
    side = math.isqrt(n_features)
    return (1, side, side) if side * side == n_features else (1, n_features)


def check_counts(name: str, values, n_least: int = 0) -> None:
    """Raise ValueError unless values are positive integers, and n_least or more."""
    counts = [v for v in values if isinstance(v, Integral) and v > 0]
    if len(counts) < max(n_least, len(values)):
        raise ValueError(
            f"Got {name}={values!r}, but expected a tuple of positive integers, such "
            "as (16, 32)."
        )
