"""Losses by name, elementwise, and zero for a perfect reconstruction.

As in a generalized linear model, the output of a decoder is related to the data by a
link function. For most losses it is the identity of standardized data,
`(x - mean) / scale`; for `log_loss` and `brier` it is the logit of the data, and for
`poisson` the logarithm.

All losses are deviances: the loss of a perfect reconstruction, such as the entropy of
the target, is subtracted, so that `1 - loss / null_loss` is 1 for a perfect model. A
factor 1/2 is only included if the formula of the loss shows it.
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


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return `(output - target)^2`."""
    return torch.square(output - target)


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Return `|output - target|`."""
    return torch.abs(output - target)


def huber(output: Tensor, target: Tensor) -> Tensor:
    """Return `r^2 / 2` where `|r| <= 1`, else `|r| - 1/2`, for residuals r."""
    return F.huber_loss(output, target, reduction="none")


def log_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the binary cross-entropy minus the entropy of the target.

    The output is the logit of the predicted probability.
    """
    # xlogy is 0 at target 0, where the logarithm is infinite.
    entropy = -torch.xlogy(target, target) - torch.xlogy(1 - target, 1 - target)
    return F.softplus(output) - target * output - entropy


def brier(output: Tensor, target: Tensor) -> Tensor:
    """Return `(sigmoid(output) - target)^2`."""
    return torch.square(torch.sigmoid(output) - target)


def poisson(output: Tensor, target: Tensor) -> Tensor:
    """Return half the Poisson deviance of target with mean exp(output)."""
    # The last two terms make the loss 0 for exp(output) = target.
    return torch.exp(output) - target * output + torch.xlogy(target, target) - target


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Return `log(sum(exp(logits))) - logits[token]` for each token.

    Parameters
    ----------
    output : Tensor of shape (n_samples, n_steps * n_tokens)
        The logits of all steps.

    target : Tensor of shape (n_samples, n_steps)
        The tokens, in a float dtype.

    Returns
    -------
    loss : Tensor of shape (n_samples, n_steps)
        The loss of each token.
    """
    # (n_samples * n_steps, n_tokens)
    logits = output.reshape(target.numel(), -1)
    # (n_samples * n_steps,)
    tokens = target.reshape(-1).long()
    losses = F.cross_entropy(logits, tokens, reduction="none")
    return losses.reshape(target.shape)


# The link is infinite at the ends of the domain, so means are clipped to this distance
# from them. For the offset it is small: an excess of 1e-3 for each of thousands of rare
# words would add up to more than the length of a text.
OFFSET_MARGIN = 1e-5
# The slope of the link grows towards the ends. Here it is at most about 1000.
SLOPE_MARGIN = 1e-3


@dataclass(frozen=True)
class Link:
    """Link function between data and outputs of a decoder.

    Attributes
    ----------
    inverse : callable
        Inverse link: returns data for outputs (a tensor).

    forward : callable
        Link function: returns outputs for data (an array).

    slope : callable
        Derivative of `forward` (of an array).

    high : float
        Upper end of the domain of the data. The lower end is 0.
    """

    inverse: Callable
    forward: Callable
    slope: Callable
    high: float

    def offset(self, mean: np.ndarray) -> np.ndarray:
        """Return the output for the mean, of shape (n_features,)."""
        return self.forward(np.clip(mean, OFFSET_MARGIN, self.high - OFFSET_MARGIN))

    def tangent(self, mean: np.ndarray) -> np.ndarray:
        """Return the derivative of the output at the mean, of shape (n_features,)."""
        return self.slope(np.clip(mean, SLOPE_MARGIN, self.high - SLOPE_MARGIN))


LOGIT = Link(
    torch.sigmoid,
    lambda p: np.log(p) - np.log1p(-p),
    lambda p: 1 / (p * (1 - p)),
    high=1,
)
LOG = Link(torch.exp, np.log, np.reciprocal, high=np.inf)


@dataclass(frozen=True)
class Transform:
    """Function of the data that the encoder reads in place of the data.

    Attributes
    ----------
    array, tensor : callable
        The function of an array, and of a tensor. Zeros must remain zeros, so that
        sparse matrices remain sparse.

    slope : callable
        Its derivative (of an array).
    """

    array: Callable
    tensor: Callable
    slope: Callable


# The magnitudes of counts can differ by orders: their squares are dominated by a few.
LOG1P = Transform(np.log1p, torch.log1p, lambda x: 1 / (1 + x))


@dataclass(frozen=True)
class StandardizedLoss:
    """A loss of outputs and targets in standardized units.

    Attributes
    ----------
    elementwise : callable
        `(output, target) -> loss`, all of shape (n_samples, n_features).

    power : int, default=0
        The loss in the unit of the data is `scale ** power` times this loss.

    domain : tuple of float
        The interval of valid data.

    vocabulary : None
        The rows are numbers, not tokens.

    transform : None
        The encoder reads the standardized rows themselves.

    shrinkages : tuple of float
        Factors of PCA's reconstruction that are tried before training. Here the output
        is PCA's reconstruction itself, so there is only the factor 1.
    """

    elementwise: Callable
    power: int = 0
    domain = (-np.inf, np.inf)
    vocabulary = None
    transform = None
    shrinkages = (1.0,)

    def linearize(self, mean: np.ndarray, scale: float, shrinkage: float = 1.0):
        """Return the output as a linear function of standardized rows at the mean.

        Parameters
        ----------
        mean : ndarray of shape (n_features,)
            Mean of the rows.

        scale : float
            Scale of the encoder's inputs.

        shrinkage : float, default=1.0
            Factor of the slope beyond a link.

        Returns
        -------
        offset : ndarray of shape (n_outputs,)
            Output for the mean row.

        slope : ndarray of shape (n_features,) or (1,)
            Derivative of the output at the mean, per standardized unit.
        """
        return np.zeros_like(mean), np.ones_like(mean)

    def target(self, rows, mean, scale):
        """Return the target of the output: the standardized rows themselves."""
        return rows

    def reconstruction(self, output: Tensor, mean: Tensor, scale) -> Tensor:
        """Return data from outputs, of the type of the mean.

        Parameters
        ----------
        output : Tensor of shape (n_samples, n_outputs)
            Outputs.

        mean : Tensor of shape (n_features,)
            Mean of the rows. In float64, since float32 has too few digits if it is much
            larger than the scale.

        scale : float or Tensor
            Scale of the rows.

        Returns
        -------
        rows : Tensor of shape (n_samples, n_features)
            The data.
        """
        return output.to(mean.dtype) * scale + mean

    def draw(self, output: Tensor, mean: Tensor, scale, deviations, rng) -> np.ndarray:
        """Return data drawn from normal distributions around the reconstruction.

        Parameters
        ----------
        output : Tensor of shape (n_samples, n_features)
            Outputs.

        mean, scale : Tensor of shape (n_features,), float
            The mean and the scale by which rows are standardized.

        deviations : ndarray of shape (n_features,)
            Standard deviations, in the unit of the data.

        rng : numpy.random.Generator
            Source of random numbers.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            The draws.
        """
        noise = rng.standard_normal(tuple(output.shape))
        rows = self.reconstruction(output, mean, scale).numpy()
        return rows + deviations * noise


# The tangent of a link overshoots far from the mean. PCA's reconstruction is multiplied
# by the best of these factors; with 0 the start is the mean.
SHRINKAGES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.12, 0.06, 0.0)


@dataclass(frozen=True)
class LinkedLoss:
    """A loss of data that a link function relates to the output.

    The output before training is PCA's reconstruction, mapped by the tangent of the
    link at the mean. With a transform, PCA is that of the transformed data.

    Attributes
    ----------
    elementwise : callable
        `(output, target) -> loss`, all of shape (n_samples, n_features).

    link : Link
        Link function between data and output.

    domain : tuple of float
        The interval of valid data.

    transform : Transform or None, default=None
        The encoder reads the standardized values of this function of the data.

    power : int
        The loss has no unit.

    vocabulary : None
        The rows are numbers, not tokens.

    shrinkages : tuple of float
        Factors of PCA's reconstruction that are tried before training.
    """

    elementwise: Callable
    link: Link
    domain: tuple[float, float]
    transform: Transform | None = None
    power = 0
    vocabulary = None
    shrinkages = SHRINKAGES

    def linearize(self, mean: np.ndarray, scale: float, shrinkage: float = 1.0):
        """Return offset and slope of the tangent of the link at the mean."""
        slope = scale * self.link.tangent(mean)
        if self.transform is not None:
            slope /= self.transform.slope(mean)
        return self.link.offset(mean), slope * shrinkage

    def target(self, rows, mean, scale):
        """Return the data that standardized rows stand for."""
        # Clipped, since rounding can leave the domain.
        return (rows * scale + mean).clamp(*self.domain)

    def reconstruction(self, output: Tensor, mean: Tensor, scale) -> Tensor:
        """Return data from outputs, of shape (n_samples, n_features)."""
        return self.link.inverse(output).to(mean.dtype)


class CrossEntropy(Part):
    r"""Cross-entropy of tokens: integers that stand for words, letters or categories.

    The model returns a logit for each token of the vocabulary at every step. With
    logits o, the loss of a token t is

    .. math:: \log \sum_v \exp(o_v) - o_t

    `loss="cross_entropy"` is the same as `loss=CrossEntropy()`.

    Parameters
    ----------
    n_tokens : "auto" or int, default="auto"
        Size of the vocabulary: tokens are 0, 1, ..., n_tokens - 1. With "auto", it is
        the largest token seen in `fit` plus 1. Larger tokens raise an error later.

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
    domain = (-np.inf, np.inf)  # the layout of rows validates tokens
    transform = None
    shrinkages = SHRINKAGES

    def __init__(self, n_tokens: str | int = "auto"):
        self.n_tokens = n_tokens

    @property
    def vocabulary(self):
        """Number of tokens, or "auto"."""
        return self.n_tokens

    def linearize(self, mean: np.ndarray, scale: float, shrinkage: float = 1.0):
        """Return the logits of token frequencies, and the slope.

        The slope of the logits is part of the embedding that PCA's solution holds.
        """
        return np.log(mean), np.full(1, shrinkage)

    def target(self, rows, mean, scale):
        """Return the target of the output: the tokens."""
        return rows

    def reconstruction(self, output: Tensor, mean: Tensor, scale) -> Tensor:
        """Return the most likely tokens, of shape (n_samples, n_steps)."""
        # (n_samples, n_steps, n_tokens)
        logits = output.unflatten(1, (len(mean), -1))
        return logits.argmax(dim=-1).to(mean.dtype)


# Huber's loss is quadratic close to 0, so its unit is that of the squared error.
LOSSES = {
    "squared_error": StandardizedLoss(squared_error, power=2),
    "absolute_error": StandardizedLoss(absolute_error, power=1),
    "huber": StandardizedLoss(huber, power=2),
    "log_loss": LinkedLoss(log_loss, LOGIT, domain=(0.0, 1.0)),
    "brier": LinkedLoss(brier, LOGIT, domain=(0.0, 1.0)),
    "poisson": LinkedLoss(poisson, LOG, domain=(0.0, np.inf), transform=LOG1P),
    "cross_entropy": CrossEntropy(),
}


def as_loss(loss):
    """Return the loss of a name, and a callable as a loss of standardized data."""
    if isinstance(loss, str):
        return LOSSES[loss]
    if not hasattr(loss, "elementwise"):
        return StandardizedLoss(loss)
    if isinstance(loss, Part):
        loss._validate_params()
    return loss
