"""Fully connected networks."""

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skae._sklearn import Interval, StrOptions
from skae.networks._base import Network
from skae.networks._layers import ACTIVATIONS, Dropout, HeLinear, zero_output_

WIDTH_PER_ROOT = 20  # of the number of features
MIN_WIDTH, MAX_WIDTHS = 64, {0: 128, 2000: 256}  # from this number of rows on
MAX_FEATURES = 256  # rows with more features are wide
ROWS_PER_SCORE = 16  # more scores explain more variance, but few rows overfit them
MIN_SCORES, MAX_SCORES = 32, 256
SCORES_PER_COMPONENT = 4  # with one, no network could improve on PCA


class FullyConnected(nn.Module):
    """Linear layers, all but the last one followed by an activation and dropout.

    Parameters
    ----------
    sizes : sequence of int
        Number of inputs, of units of each hidden layer, and of outputs.

    activation : str
        A key of `ACTIVATIONS`.

    dropout : float
        Probability with which a hidden unit is set to zero in training.

    Attributes
    ----------
    hidden : nn.ModuleList of HeLinear
        All layers but the last.

    output : HeLinear
        The last layer.
    """

    def __init__(self, sizes: Sequence[int], activation: str, dropout: float):
        super().__init__()
        # float32 for any default dtype, so that a seed always gives the same weights.
        self.hidden = nn.ModuleList(
            HeLinear(n_in, n_out, dtype=torch.float32)
            for n_in, n_out in pairwise(sizes[:-1])
        )
        self.output = HeLinear(sizes[-2], sizes[-1], dtype=torch.float32)
        # He et al. 2015: the 2 of 2 / fan-in is for an activation, and none follows.
        with torch.no_grad():
            self.output.weight *= 0.5**0.5
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout) if dropout else None

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs of shape (n_samples, sizes[-1])."""
        for layer in self.hidden:
            x = self.activation(layer(x))
            if self.dropout is not None:
                x = self.dropout(x)
        return self.output(x)


def default_width(n_features: int, n_samples: int) -> int:
    """Return the number of units of a hidden layer."""
    width = 2 ** round(np.log2(WIDTH_PER_ROOT * n_features**0.5))
    widest = max(w for rows, w in MAX_WIDTHS.items() if n_samples >= rows)
    return int(np.clip(width, MIN_WIDTH, widest))


def default_n_scores(n_components: int, n_samples: int) -> int:
    """Return the number of principal scores that replace wide rows."""
    n_scores = 2 ** round(np.log2(n_samples / ROWS_PER_SCORE))
    n_scores = int(np.clip(n_scores, MIN_SCORES, MAX_SCORES))
    # There are no more axes than rows.
    return min(max(n_scores, SCORES_PER_COMPONENT * n_components), n_samples)


class MLP(Network):
    """Fully connected encoder and decoder that mirror each other.

    With hidden layers of `h_1, ..., h_m` units the encoder has layers
    `n_features -> h_1 -> ... -> h_m -> n_components` and the decoder
    `n_components -> h_m -> ... -> h_1 -> n_features`. Weights are drawn as by He et
    al. [1]_, and those of the decoder's last layer are zero: before training, a network
    alone reconstructs the mean.

    Parameters
    ----------
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Units of the encoder's hidden layers; the decoder has the same in reverse. With
        "auto", two layers of as many units as the power of two closest to 20 times the
        root of `n_features`, but at least 64, and at most 128 for fewer than 2000 rows
        or 256 for more. With `()`, encoder and decoder are linear.

    activation : {"relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", \
            "tanh", "sigmoid", "identity"}, default="silu"
        Applied after each hidden layer, as in `torch.nn`.

    dropout : float, default=0.0
        Probability with which each hidden unit is set to zero in training.

    n_scores : "auto", int or None, default="auto"
        Number of principal scores that replace the features of wide rows: the
        encoder reads scores, and the decoder returns scores. Their principal axes are
        not trained. With "auto", rows of more than 256 features are wide, and n rows
        have as many scores as the power of two closest to n / 16, at least 32 and at
        most 256, or 4 times `n_components` if that is more. An integer is used if rows
        have more features. With None, the networks read and return features, and so
        they do with ``init="random"``, for tokens, for sequences of different lengths,
        and for the losses with a link function: "log_loss", "brier" and "poisson".

    See Also
    --------
    Conv : Convolutions, for images and signals.
    Recurrent : Recurrent cells, for sequences.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren, J. Sun. "Delving Deep into Rectifiers: Surpassing
       Human-Level Performance on ImageNet Classification". International Conference on
       Computer Vision, 2015.

    Examples
    --------
    >>> from skae import MLP
    >>> encoder, decoder = MLP(hidden_layer_sizes=(32,))(10, 2, n_samples=100)
    >>> [tuple(parameter.shape) for parameter in encoder.parameters()]
    [(32, 10), (32,), (2, 32), (2,)]
    """

    needs_trial = False
    _parameter_constraints = {
        "hidden_layer_sizes": [StrOptions({"auto"}), tuple, list],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "n_scores": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            None,
        ],
    }

    def __init__(
        self,
        hidden_layer_sizes: str | Sequence[int] = "auto",
        *,
        activation: str = "silu",
        dropout: float = 0.0,
        n_scores: str | int | None = "auto",
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.n_scores = n_scores

    def n_scores_for(self, n_features: int, n_components: int, n_samples: int) -> int:
        """Return the number of scores that the networks read, or 0 for features.

        Parameters
        ----------
        n_features, n_components, n_samples : int
            Number of entries of a row, of components of a code, and of training rows.
        """
        self._validate_params()
        n_scores: Any = self.n_scores
        if n_scores == "auto":
            is_wide = n_features > MAX_FEATURES
            n_scores = default_n_scores(n_components, n_samples) if is_wide else None
        if n_scores is None or max(n_scores, n_components) >= n_features:
            return 0
        return max(n_scores, n_components)

    def __call__(self, n_features, n_components, n_samples):
        self._validate_params()
        hidden = self.hidden_layer_sizes
        if hidden == "auto":
            hidden = (default_width(n_features, n_samples),) * 2
        if not all(isinstance(size, Integral) and size > 0 for size in hidden):
            raise ValueError(
                f"Got hidden_layer_sizes={hidden!r}, but expected 'auto' or a tuple of "
                "positive integers, such as (128, 64)."
            )
        sizes = [n_features, *hidden, n_components]
        return (
            FullyConnected(sizes, self.activation, self.dropout),
            zero_output_(FullyConnected(sizes[::-1], self.activation, self.dropout)),
        )
