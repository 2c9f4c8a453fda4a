"""Codes that follow N(0, I) as a whole: by kernels (MMD) or by a discriminator."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from skae.networks._mlp import FullyConnected
from skae.regularizers._base import (
    NON_NEGATIVE,
    NormalPrior,
    WeightedRegularizer,
    normalized_weights,
    standard_normal,
)

BANDWIDTHS = (0.2, 0.5, 1.0, 2.0, 5.0)  # of MMD's kernels, per component
MAX_COMPARED_ROWS = 1024  # bounds the memory of pairwise kernels, n^2 numbers
DISCRIMINATOR_SIZES = (64, 64)  # units of the hidden layers


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean of Gaussian kernels of several bandwidths, shape (n_x, n_y).

    With h = bandwidth * n_components each is `exp(-|x - y|^2 / (2 h))`; 2 n_components
    is the mean squared distance of standard normal codes.
    """
    # |x - y|^2 = |x|^2 + |y|^2 - 2 x'y, without the differences in memory
    squares = x.square().sum(dim=1, keepdim=True) + y.square().sum(dim=1) - 2 * x @ y.T
    k = x.shape[1]
    return sum((squares / (-2 * b * k)).exp() for b in BANDWIDTHS) / len(BANDWIDTHS)


def kernel_with_normal(x: Tensor) -> Tensor:
    """Return the exact mean of `kernel(x, y)` over y ~ N(0, I), shape (n_x,)."""
    k, squares = x.shape[1], x.square().sum(dim=1)
    # A Gaussian kernel is a normal density up to a factor: y adds 1 to its variance h.
    means = (
        (h / (h + 1)) ** (k / 2) * (squares / (-2 * (h + 1))).exp()
        for h in (b * k for b in BANDWIDTHS)
    )
    return sum(means) / len(BANDWIDTHS)


def kernel_of_normal(k: int) -> float:
    """Return the exact mean of `kernel(x, y)` over x and y ~ N(0, I)."""
    # x - y ~ N(0, 2 I)
    means = ((b * k / (b * k + 2)) ** (k / 2) for b in BANDWIDTHS)
    return sum(means) / len(BANDWIDTHS)


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of two sets of codes, 0 if equal."""
    # The biased estimate of Gretton et al. 2012, which is never negative
    return kernel(x, x).mean() - 2 * kernel(x, y).mean() + kernel(y, y).mean()


def mmd_from_normal(codes: Tensor, weights: Tensor | None) -> Tensor:
    """Return each row's part in the squared discrepancy from N(0, I), (n_samples,).

    The weighted mean of the parts is `mmd` for infinitely many normal y.
    """
    shares = normalized_weights(weights, codes)
    # A row is compared with the rows of its chunk, whose weights then sum to 1.
    parts = [
        kernel(chunk, chunk) @ (share / share.sum()) - 2 * kernel_with_normal(chunk)
        for chunk, share in zip(
            codes.split(MAX_COMPARED_ROWS), shares.split(MAX_COMPARED_ROWS), strict=True
        )
    ]
    return torch.cat(parts) + kernel_of_normal(codes.shape[1])


def discriminator_loss(discriminator: Callable, codes: Tensor, draws: Tensor) -> Tensor:
    """Return the cross-entropy of labeling draws 1 and codes 0, shape (n_samples,)."""
    losses = F.softplus(-discriminator(draws)) + F.softplus(discriminator(codes))
    return losses.squeeze(1)


def minimax_penalty(
    discriminator: nn.Module, codes: Tensor, draws: Tensor, weight: float
) -> Tensor:
    """Return `weight * (log 4 - discriminator_loss)`, shape (n_samples,).

    Its gradient is for both players: the discriminator descends on its loss, and codes
    ascend on it, times weight, as by the gradient reversal layer of Ganin et al. 2016.
    """
    # Codes are constants here. The difference is 0 and has the gradient of the loss.
    loss = discriminator_loss(discriminator, codes.detach(), draws)
    discriminator_term = loss - loss.detach()
    # The discriminator is a constant here.
    parameters = {name: p.detach() for name, p in discriminator.named_parameters()}
    constant = partial(functional_call, discriminator, parameters)
    # log 4 is the loss of a discriminator that guesses.
    encoder_term = math.log(4) - discriminator_loss(constant, codes, draws)
    return discriminator_term + weight * encoder_term


class MMD(NormalPrior, WeightedRegularizer):
    r"""Bring the codes' distribution near to N(0, I) by kernels (Wasserstein AE).

    Added to the loss is the squared maximum mean discrepancy between the codes of a
    batch and N(0, I), which is 0 only if the distributions are equal:

    .. math:: \lambda \left( \mathbb{E} \, \kappa(z, z') - 2 \, \mathbb{E} \,
        \kappa(z, y) + \mathbb{E} \, \kappa(y, y') \right), \quad y, y' \sim N(0, I)

    The kernel :math:`\kappa` is the mean of Gaussian kernels :math:`\exp(-\|z - y\|^2 /
    (2 s k))` for k components and s of 0.2, 0.5, 1, 2 and 5. All expectations over y
    are in closed form, so nothing is drawn. Unlike with :class:`Variational`, the code
    of a single row is not noisy: only the distribution over all rows is penalized.

    Training starts at PCA's scores, divided by their standard deviations. A row is
    compared with at most 1024 rows of the batch.

    Parameters
    ----------
    weight : float, default=10.0
        Strength :math:`\lambda` of the penalty. The discrepancy is between 0 and 1, and
        the squared error of predicting the mean is 1. 0 is no regularizer.

    See Also
    --------
    Adversarial : The same prior, by a discriminator that is learned.
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
    >>> model.fit_transform(X).std(axis=0).round()
    array([1., 1., 1., 1.])
    """

    _parameter_constraints = {"weight": [NON_NEGATIVE]}

    def __init__(self, weight: float = 10.0):
        self.weight = weight

    def batch_penalty(self, codes, losses, weights, generator) -> Tensor:
        """Return the penalty of each row, shape (n_samples,)."""
        return self.weight * mmd_from_normal(codes, weights)


class Adversarial(NormalPrior, WeightedRegularizer):
    r"""Bring the codes' distribution near to N(0, I) by a discriminator.

    A network c, the discriminator, is trained to distinguish codes z from draws y of
    N(0, I), and the encoder to make that impossible. With its cross-entropy

    .. math:: \ell(c, z) = \mathbb{E} \, \log(1 + e^{-c(y)}) + \mathbb{E} \,
        \log(1 + e^{c(z)}), \qquad y \sim N(0, I)

    the discriminator minimizes :math:`\ell`, and :math:`\lambda (\log 4 - \ell)` is
    added to the loss that the encoder minimizes; it is 0 for a discriminator that only
    guesses. Both learn in the same step, the encoder by the reversed gradient [2]_. On
    the digits and breast cancer data, codes came closer to the prior than with
    alternating steps, and as close as with the loss :math:`\log(1 + e^{-c(z)})` for the
    encoder.

    Training starts at PCA's scores, divided by their standard deviations. Since the
    discriminator changes from epoch to epoch, the validation loss has the discrepancy
    of :class:`MMD` in its place.

    Parameters
    ----------
    weight : float, default=0.3
        Strength :math:`\lambda` of the encoder's penalty. From 1 on, training may
        become unstable. 0 is no regularizer.

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
    >>> model.fit_transform(X).std(axis=0).round()
    array([1., 1., 1., 1.])
    """

    _parameter_constraints = {"weight": [NON_NEGATIVE]}

    def __init__(self, weight: float = 0.3):
        self.weight = weight

    def build(self, n_features: int, n_components: int) -> "Discriminator":
        """Return the discriminator, which is learned."""
        return Discriminator(self.weight, n_components)


class Discriminator(NormalPrior, nn.Module):
    """A network that distinguishes codes from draws of the prior.

    Parameters
    ----------
    weight : float
        Factor on the encoder's penalty.

    n_components : int
        Number of components of a code.
    """

    collapse_hint = WeightedRegularizer.collapse_hint

    def __init__(self, weight: float, n_components: int):
        super().__init__()
        self.weight = weight
        sizes = (n_components, *DISCRIMINATOR_SIZES, 1)
        self.network = FullyConnected(sizes, "silu", dropout=0.0)

    def batch_penalty(self, codes, losses, weights, generator) -> Tensor:
        """Return the encoder's penalty, with the discriminator's gradient as well."""
        draws = standard_normal(codes.shape, codes, generator)
        return minimax_penalty(self.network, codes, draws, self.weight)

    def validation_loss(self, codes, losses, weights, generator) -> Tensor:
        """Return the loss plus the discrepancy of `MMD` from the prior."""
        return losses + self.weight * mmd_from_normal(codes, weights)
