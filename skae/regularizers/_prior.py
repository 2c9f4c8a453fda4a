"""Regularizers: what a code is asked to be, beside sufficient for reconstruction."""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from skae.networks._mlp import FullyConnected
from skae.regularizers._base import (
    WEIGHT,
    NormalPrior,
    WeightedRegularizer,
    normalized_weights,
    standard_normal,
)

BANDWIDTHS = (0.2, 0.5, 1.0, 2.0, 5.0)  # of MMD's kernels, per component
CHUNK = 1024  # rows that are compared with each other, n^2 numbers at a time
CRITIC = (64, 64)


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean of Gaussian kernels of several bandwidths, shape (n_x, n_y).

    With h = bandwidth * n_components each is `exp(-|x - y|^2 / (2 h))`; 2 n_components
    is the mean squared distance of standard normal codes.
    """
    squares = x.square().sum(dim=1, keepdim=True) + y.square().sum(dim=1) - 2 * x @ y.T
    k = x.shape[1]
    return sum((squares / (-2 * b * k)).exp() for b in BANDWIDTHS) / len(BANDWIDTHS)


def kernel_with_normal(x: Tensor) -> Tensor:
    """Return the mean of `kernel(x, y)` over y ~ N(0, I), exactly, shape (n_x,)."""
    k, squares = x.shape[1], x.square().sum(dim=1)
    means = (
        (h / (h + 1)) ** (k / 2) * (squares / (-2 * (h + 1))).exp()
        for h in (b * k for b in BANDWIDTHS)
    )
    return sum(means) / len(BANDWIDTHS)


def kernel_of_normal(k: int) -> float:
    """Return the mean of `kernel(x, y)` over x and y ~ N(0, I), exactly."""
    means = ((b * k / (b * k + 2)) ** (k / 2) for b in BANDWIDTHS)
    return sum(means) / len(BANDWIDTHS)


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of two sets of codes, 0 if equal."""
    return kernel(x, x).mean() - 2 * kernel(x, y).mean() + kernel(y, y).mean()


def mmd_from_normal(codes: Tensor, weights: Tensor | None) -> Tensor:
    """Return each row's part in the squared discrepancy from N(0, I), (n_samples,).

    The weighted mean of the parts is `mmd` for infinitely many normal y.
    """
    shares = normalized_weights(weights, codes)
    parts = [
        kernel(chunk, chunk) @ (share / share.sum()) - 2 * kernel_with_normal(chunk)
        for chunk, share in zip(codes.split(CHUNK), shares.split(CHUNK), strict=True)
    ]
    return torch.cat(parts) + kernel_of_normal(codes.shape[1])


class MMD(NormalPrior, WeightedRegularizer):
    r"""Codes that follow the standard normal distribution, by kernels.

    Adds the squared maximum mean discrepancy of a batch's codes from N(0, I) to the
    loss. Where it is 0, the two have the same distribution:

    .. math:: \lambda \left( \mathbb{E} \, \kappa(z, z') - 2 \, \mathbb{E} \,
        \kappa(z, y) + \mathbb{E} \, \kappa(y, y') \right), \quad y, y' \sim N(0, I)

    The kernel is a mean of Gaussian ones, :math:`\exp(-\|z - y\|^2 / (2 s k))` for k
    components and s of 0.2, 0.5, 1, 2 and 5. All means over y are in closed form, so
    nothing is drawn. A Wasserstein autoencoder: unlike a :class:`Variational` code,
    that of a single row may be as precise as it likes.

    Codes start as PCA's scores divided by their standard deviations. Rows are compared
    with at most 1024 others.

    Parameters
    ----------
    weight : float, default=10.0
        Strength of the penalty. The discrepancy is between 0 and 1, and the squared
        error of the mean is 1. 0 is no regularizer.

    See Also
    --------
    Adversarial : The same prior, by a critic that is learned.
    Variational : The same prior, for the posterior of each row.

    References
    ----------
    .. [1] I. Tolstikhin, O. Bousquet, S. Gelly, B. Schoelkopf. "Wasserstein
       Auto-Encoders". International Conference on Learning Representations, 2018.
    .. [2] A. Gretton, K. Borgwardt, M. Rasch, B. Schoelkopf, A. Smola. "A Kernel
       Two-Sample Test". Journal of Machine Learning Research 13, 2012.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import MMD, AutoencoderTransformer
    >>> X = load_digits().data[:200]
    >>> model = AutoencoderTransformer(4, regularizer=MMD(10), max_iter=2)
    >>> model.fit_transform(X).shape
    (200, 4)
    """

    _parameter_constraints = {"weight": [WEIGHT]}

    def __init__(self, weight=10.0):
        self.weight = weight

    def batch_penalty(self, codes, losses, weights, generator) -> Tensor:
        """Return the penalty of each sample."""
        return self.weight * mmd_from_normal(codes, weights)


class Adversarial(NormalPrior, WeightedRegularizer):
    r"""Codes that follow the standard normal distribution, by a critic.

    A network c is trained to tell codes from draws of N(0, I), and the encoder to
    deceive it:

    .. math:: \min_c \ \mathbb{E} \, \log(1 + e^{-c(y)}) + \mathbb{E} \,
        \log(1 + e^{c(z)}), \qquad y \sim N(0, I)

    Both learn in the same step, the encoder by the critic's gradient, reversed and
    times `weight`. On the digits and breast cancer data that came closer to the prior
    than steps by turns, and as close as the loss :math:`\log(1 + e^{-c(z)})` for the
    encoder.

    Codes start as PCA's scores divided by their standard deviations. Since the critic
    changes, a model is judged by the discrepancy of :class:`MMD` in its place.

    Parameters
    ----------
    weight : float, default=0.3
        Strength of the encoder's part. From 1 on, training may become unstable. 0 is no
        regularizer.

    See Also
    --------
    MMD : The same prior, by kernels in closed form.

    References
    ----------
    .. [1] A. Makhzani, J. Shlens, N. Jaitly, I. Goodfellow, B. Frey. "Adversarial
       Autoencoders". International Conference on Learning Representations, workshop,
       2016.
    .. [2] Y. Ganin et al. "Domain-Adversarial Training of Neural Networks". Journal of
       Machine Learning Research 17, 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import Adversarial, AutoencoderTransformer
    >>> X = load_digits().data[:200]
    >>> model = AutoencoderTransformer(4, regularizer=Adversarial(), max_iter=2)
    >>> model.fit_transform(X).shape
    (200, 4)
    """

    _parameter_constraints = {"weight": [WEIGHT]}

    def __init__(self, weight=0.3):
        self.weight = weight

    def build(self, n_features: int, n_components: int) -> "Discriminator":
        """Return the critic, which is learned."""
        return Discriminator(self.weight, n_components)


class Discriminator(NormalPrior, nn.Module):
    """A network that tells codes from draws of the prior.

    Parameters
    ----------
    weight : float
        What the encoder's gradient is multiplied by.

    n_components : int
        Width of the code.
    """

    collapse_hint = WeightedRegularizer.collapse_hint

    def __init__(self, weight: float, n_components: int):
        super().__init__()
        self.weight = weight
        self.network = FullyConnected((n_components, *CRITIC, 1), "silu", dropout=0.0)

    def batch_penalty(self, codes, losses, weights, generator) -> Tensor:
        """Return what the critic learns from, and the encoder's part against it."""
        drawn = standard_normal(codes.shape, codes, generator)
        learned = self.loss(self.network, codes.detach(), drawn)
        fixed = {name: p.detach() for name, p in self.network.named_parameters()}
        deceived = self.loss(
            partial(functional_call, self.network, fixed), codes, drawn
        )
        # The first two cancel but for their gradient, that of the critic.
        return learned - learned.detach() + self.weight * (math.log(4) - deceived)

    def loss(self, critic, codes: Tensor, drawn: Tensor) -> Tensor:
        """Return the cross-entropy of telling each code from a draw, (n_samples,)."""
        return (F.softplus(-critic(drawn)) + F.softplus(critic(codes))).squeeze(1)

    def validation_loss(self, codes, losses, weights, generator) -> Tensor:
        """Return the loss plus the discrepancy of `MMD`, which no critic changes."""
        return losses + self.weight * mmd_from_normal(codes, weights)
