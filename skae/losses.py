"""Losses by name: elementwise, zero where the reconstruction is perfect.

A decoder's output is on the scale of a *link*: for the identity, standardised units
`(x - mean) / scale`; for `log_loss`, `brier` and `poisson` the logit or logarithm of
the value itself. All losses are deviances, that is, what a perfect reconstruction would
still cost (the entropy of the target, say) is left out, so `1 - loss / null loss` is 1
for a perfect model. None carries a factor 1/2 that its formula does not show.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from skae._base import Part
from skae._sklearn import Interval, StrOptions
from skae.data._layout import numbers_or_padded, tokens_of
from skae.data._rows import extremes


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return `(output - target)^2`."""
    return torch.square(output - target)


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Return `|output - target|`."""
    return torch.abs(output - target)


def huber(output: Tensor, target: Tensor) -> Tensor:
    """Return `r^2 / 2` where `|r| <= 1`, else `|r| - 1/2`, of the residual r."""
    return F.huber_loss(output, target, reduction="none")


def log_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of target and sigmoid(output), less target's entropy."""
    entropy = -torch.xlogy(target, target) - torch.xlogy(1 - target, 1 - target)
    return F.softplus(output) - target * output - entropy


def brier(output: Tensor, target: Tensor) -> Tensor:
    """Return `(sigmoid(output) - target)^2`."""
    return torch.square(torch.sigmoid(output) - target)


def poisson(output: Tensor, target: Tensor) -> Tensor:
    """Return half the Poisson deviance of target from the mean exp(output)."""
    return torch.exp(output) - target * output + torch.xlogy(target, target) - target


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Return `log(sum(exp(logits))) - logits[token]` of each token.

    The output has the logits of all steps, shape (n_samples, n_steps * n_tokens), and
    the target has the tokens, shape (n_samples, n_steps).
    """
    logits = output.reshape(target.numel(), -1)
    tokens = target.reshape(-1).long()
    losses = F.cross_entropy(logits, tokens, reduction="none")
    return losses.reshape(target.shape)


def _huber_derivative(output, target, out):
    return torch.sub(output, target, out=out).clamp_(-1, 1)


def _log_loss_derivative(output, target, out):
    return torch.sigmoid(output, out=out).sub_(target)


def _brier_derivative(output, target, out):
    p = torch.sigmoid(output)
    return torch.sub(p, target, out=out).mul_(p).mul_(1 - p).mul_(2)


def _squared_error_derivative(output, target, out):
    return torch.sub(output, target, out=out).mul_(2)


def _absolute_error_derivative(output, target, out):
    return torch.sub(output, target, out=out).sign_()


def _poisson_derivative(output, target, out):
    return torch.exp(output, out=out).sub_(target)


# Derivatives by the output, elementwise, written to `out`.
DERIVATIVES = {
    squared_error: _squared_error_derivative,
    absolute_error: _absolute_error_derivative,
    huber: _huber_derivative,
    log_loss: _log_loss_derivative,
    brier: _brier_derivative,
    poisson: _poisson_derivative,
}


def mean_squared_error(output: Tensor, target: Tensor, out: Tensor) -> Tensor:
    """Return the mean of all squared errors, and write its gradient to `out`."""
    residual = torch.sub(output, target, out=out).view(-1)
    mean = torch.dot(residual, residual) / residual.numel()
    residual.mul_(2 / residual.numel())
    return mean


# Means with their gradients, for losses whose value the derivative tells.
MEANS = {squared_error: mean_squared_error}


# Means nearer to the domain's ends are moved away from them.
RAREST = 1e-5  # of words, say: many together would add up to more than a text has
STEEPEST = 1e-3  # where PCA's reconstruction is multiplied by up to 1000


@dataclass(frozen=True)
class Link:
    """What lies between a decoder's output and the data.

    Attributes
    ----------
    inverse : callable
        Data from output (a tensor).

    forward : callable
        Output from data (an array).

    slope : callable
        Derivative of `forward` (of an array).

    high : float
        The end of the data's domain, which starts at zero.
    """

    inverse: Callable
    forward: Callable
    slope: Callable
    high: float

    def offset(self, mean: np.ndarray) -> np.ndarray:
        """Return the output whose reconstruction is the mean, shape (n_features,)."""
        return self.forward(np.clip(mean, RAREST, self.high - RAREST))

    def tangent(self, mean: np.ndarray) -> np.ndarray:
        """Return the change of output per change of data, at the mean."""
        return self.slope(np.clip(mean, STEEPEST, self.high - STEEPEST))


LOGIT = Link(
    torch.sigmoid,
    lambda p: np.log(p) - np.log1p(-p),
    lambda p: 1 / (p * (1 - p)),
    high=1,
)
LOG = Link(torch.exp, np.log, np.reciprocal, high=np.inf)


class Written:
    """What the written-out step takes of a loss, where it is known.

    A loss has an attribute `elementwise`, by which its derivative is found.
    """

    @property
    def derivative(self) -> Callable | None:
        """The derivative by the output, `(output, target, out) -> out`."""
        return DERIVATIVES.get(self.elementwise)

    def mean(self, output: Tensor, target: Tensor, weights, out: Tensor) -> Tensor:
        """Return the mean loss of weighted rows, and write its gradient to `out`."""
        if weights is None and self.elementwise in MEANS:
            return MEANS[self.elementwise](output, target, out)
        weights = 1.0 if weights is None else weights.unsqueeze(1)
        self.derivative(output, target, out).mul_(weights / target.numel())
        return (weights * self.elementwise(output, target)).mean()


@dataclass(frozen=True)
class StandardizedLoss(Written):
    """A loss of outputs and targets in standardised units.

    PCA's reconstruction is the output to start from, so no shrinkage is tried.

    Attributes
    ----------
    elementwise : callable
        `(output, target) -> loss`, all of shape (n_samples, n_features).

    power : int
        The loss of data is the loss of standardised data times `scale ** power`.
    """

    elementwise: Callable
    power: int = 0
    shrinkages = (1.0,)
    layout = staticmethod(numbers_or_padded)
    kinds = ("numbers", "padded")

    def check(self, X) -> None:
        """Accept any data: the loss is defined for all real numbers."""

    def start(self, mean: np.ndarray, scale: float):
        """Return what PCA's reconstruction needs to become an output: offset, slope."""
        return np.zeros_like(mean), np.ones_like(mean)

    def target(self, rows, mean, scale):
        """Return what outputs are compared with: the standardised rows themselves."""
        return rows

    def reconstruction(self, output: Tensor, mean, scale) -> np.ndarray:
        """Return data from outputs; in float64, for means that dwarf the spread."""
        return output.cpu().numpy().astype(np.float64) * scale + mean


# Factors on a start that overshoots, the best of which is taken.
SHRINKAGES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.12, 0.06, 0.0)


@dataclass(frozen=True)
class LinkedLoss(Written):
    """A loss whose target is the data itself, behind a link.

    The link's tangent at the mean turns PCA's reconstruction into an output. Far from
    the mean it overshoots; the best of some shrinkages is where training starts.

    Attributes
    ----------
    elementwise : callable
        `(output, target) -> loss`, all of shape (n_samples, n_features).

    link : Link
        Between output and data.

    low, high : float
        The domain of the data.
    """

    elementwise: Callable
    link: Link
    low: float
    high: float
    power: int = 0
    shrinkages = SHRINKAGES
    layout = staticmethod(numbers_or_padded)
    kinds = ("numbers", "padded")

    def check(self, X) -> None:
        """Raise ValueError where data (an array, or None) leaves the domain."""
        low, high = (self.low, self.low) if X is None else extremes(X)
        if low < self.low or high > self.high:
            raise ValueError(
                f"loss={self.elementwise.__name__!r} needs data in "
                f"[{self.low:g}, {self.high:g}], but X has values in "
                f"[{low:.6g}, {high:.6g}]. Rescale X (MinMaxScaler), or choose another "
                "loss, such as 'squared_error'."
            )

    def start(self, mean: np.ndarray, scale: float):
        """Return offset and slope of the link's tangent at the mean."""
        return self.link.offset(mean), scale * self.link.tangent(mean)

    def target(self, rows, mean, scale):
        """Return the data that standardised rows came from, rounded into the domain."""
        return (rows * scale + mean).clamp(self.low, self.high)

    def reconstruction(self, output: Tensor, mean, scale) -> np.ndarray:
        """Return data from outputs."""
        return self.link.inverse(output).cpu().numpy().astype(np.float64)


class CrossEntropy(Written, Part):
    r"""The loss of tokens: integers from 0 on that are names of words or categories.

    The model returns a logit for each token of the vocabulary at every step, and the
    loss of a token t is

    .. math:: \log \sum_v \exp(o_v) - o_t

    `loss="cross_entropy"` stands for this loss with its default.

    Parameters
    ----------
    n_tokens : "auto" or int, default="auto"
        Size of the vocabulary: tokens are 0, 1, ..., n_tokens - 1. With "auto" it is
        what the rows that `fit` is given need, and larger tokens are refused later.

    See Also
    --------
    AutoencoderTransformer : The estimator, with the other losses by name.

    Examples
    --------
    >>> import numpy as np
    >>> from skae import AutoencoderTransformer, CrossEntropy
    >>> X = np.random.default_rng(0).integers(0, 5, (80, 4))
    >>> loss = CrossEntropy(n_tokens=10)
    >>> model = AutoencoderTransformer(2, loss=loss, max_iter=2).fit(X)
    >>> model.transform([[9, 0, 1, 2]]).shape
    (1, 2)
    """

    _parameter_constraints = {
        "n_tokens": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")]
    }
    elementwise = staticmethod(cross_entropy)
    power = 0
    shrinkages = SHRINKAGES
    kinds = ("tokens",)

    def __init__(self, n_tokens="auto"):
        self.n_tokens = n_tokens

    def layout(self, X, shape: tuple[int, ...]):
        """Return what rows of tokens stand for."""
        self._validate_params()
        return tokens_of(X, shape, None if self.n_tokens == "auto" else self.n_tokens)

    def check(self, X) -> None:
        """Accept what the layout has: it has checked its tokens."""

    def start(self, mean: np.ndarray, scale: float):
        """Return the logits of the tokens' shares, and slopes: those lie elsewhere."""
        return np.log(mean), np.ones(1)

    def target(self, rows, mean, scale):
        """Return what outputs are compared with: the tokens."""
        return rows

    def reconstruction(self, output: Tensor, mean, scale) -> np.ndarray:
        """Return the likeliest tokens."""
        logits = output.unflatten(1, (len(mean), -1))
        return logits.argmax(dim=-1).cpu().numpy().astype(np.float64)


LOSSES = {
    "squared_error": StandardizedLoss(squared_error, power=2),
    "absolute_error": StandardizedLoss(absolute_error, power=1),
    "huber": StandardizedLoss(huber, power=2),
    "log_loss": LinkedLoss(log_loss, LOGIT, low=0, high=1),
    "brier": LinkedLoss(brier, LOGIT, low=0, high=1),
    "poisson": LinkedLoss(poisson, LOG, low=0, high=np.inf),
    "cross_entropy": CrossEntropy(),
}


def as_loss(loss):
    """Return the loss of a name, or a callable as a loss of standardised data."""
    if isinstance(loss, str):
        return LOSSES[loss]
    return loss if hasattr(loss, "elementwise") else StandardizedLoss(loss)
