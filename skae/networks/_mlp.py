"""Fully connected networks."""

from itertools import pairwise
from numbers import Integral, Real

import torch
from torch import Tensor, nn

from skae._sklearn import Interval, StrOptions
from skae.networks._base import Network
from skae.networks._layers import ACTIVATIONS, Dropout, HeLinear
from skae.training._manual_step import BY_HAND, Passes, Place, affine, hidden, joined


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
            HeLinear(n_in, n_out, dtype=torch.float32)
            for n_in, n_out in pairwise(sizes)
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
            and all(type(layer) is HeLinear for layer in self.layers)
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
