"""Variational codes: the evidence lower bound of a Gaussian decoder."""

from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor, nn

from skae._sklearn import Interval
from skae.networks._layers import zero_output_
from skae.networks._mlp import FullyConnected
from skae.regularizers._base import (
    NON_NEGATIVE,
    NormalPrior,
    Regularizer,
    normalized_weights,
    standard_normal,
    validation_generator,
)

N_VALIDATION_PAIRS = 2  # pairs of opposite draws per row in validation
MAX_EXPONENT = 20.0  # above it the bound is linear in the divergence, not exponential
N_VARIANCE_UNITS = 32  # hidden units of the network of the posterior's variance


def normal_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_var)) || N(0, I)) of each row, shape (n_samples,)."""
    # Kingma and Welling 2014, appendix B
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1)


def posterior_shares(deviations: np.ndarray, n_features: int) -> np.ndarray:
    """Return the posterior variances of probabilistic PCA, shape (n_components,).

    They are the noise variance, which is the mean variance of the components that are
    left out, divided by the variance of the principal scores (Tipping & Bishop 1999).
    """
    variances = np.square(deviations)
    # Standardized features have mean variance 1.
    left_out = max(n_features - variances.sum(), 0.0)
    noise = left_out / max(n_features - len(variances), 1)
    # At most 1/2, so that no component that varies starts collapsed to the prior.
    shares = np.clip(noise / np.where(variances > 0, variances, 1.0), 1e-4, 0.5)
    return np.where(variances > 0, shares, 1.0)


class Variational(NormalPrior, Regularizer):
    r"""Variational autoencoder: a normal posterior for each row, close to N(0, I).

    Training decodes draws from :math:`q(z|x) = N(\mu, \text{diag} \, v)`, where
    :math:`\mu` is the code and v a function of it that is learned. The decoder is
    Gaussian, and its noise variance is the one that fits best, the mean loss

    .. math:: m = \mathbb{E}_{z \sim q} \tfrac{1}{d} \| \tilde x - d(z) \|^2

    With d features, the negative evidence lower bound then is, up to constants,

    .. math:: \tfrac{d}{2} \log m + \beta \, \text{KL}, \qquad \text{KL} =
        \tfrac{1}{2} \textstyle\sum_j (\mu_j^2 + v_j - 1 - \log v_j)

    Training follows its gradient as that of :math:`m + \tfrac{2 m}{d} \beta \,
    \text{KL}`, with the factor m held fixed in each step. The validation loss is
    :math:`m \exp(\tfrac{2}{d} \beta \, \text{KL})`, the bound in the unit of the loss,
    with the same draws in each epoch. For other losses m is their mean.

    Training starts at probabilistic PCA, which is the optimum of this bound for linear
    maps: the posterior's mean is the principal scores, shrunk, and its variance follows
    from the variance that is left out. `transform` returns the mean.

    Parameters
    ----------
    beta : float, default=1.0
        Weight of the divergence. Above 1, codes are closer to the prior, and more of
        them independent or switched off, at the cost of reconstruction. 0 is no
        regularizer.

    n_samples : int, default=1
        Number of draws that are decoded for each row and step.

    warm_up : float, default=0.0
        Fraction of the epochs over which the weight rises from 0 to `beta`. Where
        training has no planned end, with `partial_fit` or `warm_start`, the weight is
        `beta` throughout.

    See Also
    --------
    MMD : The same prior for the codes of all rows together, without draws.

    References
    ----------
    .. [1] D. Kingma, M. Welling. "Auto-Encoding Variational Bayes". International
       Conference on Learning Representations, 2014.
    .. [2] I. Higgins et al. "beta-VAE: Learning Basic Visual Concepts with a
       Constrained Variational Framework". International Conference on Learning
       Representations, 2017.
    .. [3] O. Rybkin, K. Daniilidis, S. Levine. "Simple and Effective VAE Training with
       Calibrated Decoders". International Conference on Machine Learning, 2021.
    .. [4] J. Lucas, G. Tucker, R. Grosse, M. Norouzi. "Don't Blame the ELBO! A Linear
       VAE Perspective on Posterior Collapse". Advances in Neural Information Processing
       Systems 32, 2019.
    .. [5] M. Tipping, C. Bishop. "Probabilistic Principal Component Analysis". Journal
       of the Royal Statistical Society B 61, 1999.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, Variational
    >>> X = load_digits().data[:200]
    >>> model = AutoencoderTransformer(4, regularizer=Variational(), max_iter=2)
    >>> model.fit(X).n_active_components_
    4
    """

    _parameter_constraints = {
        "beta": [NON_NEGATIVE],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "warm_up": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, beta: float = 1.0, *, n_samples: int = 1, warm_up: float = 0.0):
        self.beta = beta
        self.n_samples = n_samples
        self.warm_up = warm_up

    @property
    def is_noop(self) -> bool:
        """Whether beta is 0."""
        return self.beta == 0

    def build(self, n_features: int, n_components: int) -> "Posterior":
        """Return the posterior, whose variance is learned."""
        return Posterior(self, n_features, n_components)


class Posterior(NormalPrior, nn.Module):
    """The posterior of a variational code: its variance as a function of its mean.

    The posterior of a Gaussian decoder has the precision `I + J'J / noise`, where J is
    the decoder's Jacobian at z. So its variance is a function of the code, and the
    encoder needs no second output.

    Parameters
    ----------
    variational : Variational
        The parameters.

    n_features, n_components : int
        Number of entries of a row, and of components of a code.
    """

    collapse_hint = "Lower the regularizer's beta."

    def __init__(self, variational: Variational, n_features: int, n_components: int):
        super().__init__()
        self.beta = variational.beta
        self.n_samples = variational.n_samples
        self.warm_up = variational.warm_up
        self.beta_factor = 1.0  # rises from 0 to 1 during the warm-up
        self.kl_unit = 2 / n_features
        zeros = torch.zeros(n_components, dtype=torch.float32)
        self.log_gain = nn.Parameter(zeros)
        self.log_var_offset = nn.Parameter(zeros.clone())
        sizes = (n_components, N_VARIANCE_UNITS, n_components)
        self.head = zero_output_(FullyConnected(sizes, "silu", dropout=0.0))

    @torch.no_grad()
    def initialize(self, deviations: np.ndarray, n_features: int) -> None:
        """Set the variances to those of probabilistic PCA."""
        shares = posterior_shares(deviations, n_features)
        self.log_var_offset.copy_(torch.from_numpy(np.log(shares)))

    def pca_factors(self, deviations: np.ndarray, n_features: int):
        """Return the factors to and from the posterior means of probabilistic PCA.

        Their variance and the posterior's sum to 1, the prior's.
        """
        shares = posterior_shares(deviations, n_features)
        unit = np.where(deviations > 0, deviations, 1.0)
        return np.sqrt(1 - shares) / unit, np.sqrt(1 - shares) * unit

    def set_progress(self, progress: float) -> None:
        """Set the factor on beta, which rises linearly during the warm-up."""
        self.beta_factor = min(1.0, progress / self.warm_up) if self.warm_up else 1.0

    def code(self, outputs: Tensor) -> Tensor:
        """Return the outputs in the unit of the prior."""
        # Weight decay shrinks the networks; a factor of its own keeps the unit free.
        return outputs * self.log_gain.exp()

    def decoder_input(self, codes: Tensor) -> Tensor:
        """Return codes in the unit of the networks."""
        return codes * (-self.log_gain).exp()

    def log_var(self, codes: Tensor) -> Tensor:
        """Return the logarithms of the posterior's variances, of the codes' shape."""
        return self.log_var_offset + self.head(codes)

    def divergence(self, codes: Tensor) -> Tensor:
        """Return `2 / n_features * beta * KL` of each row, shape (n_samples,)."""
        return self.beta * self.kl_unit * normal_kl(codes, self.log_var(codes))

    def training_codes(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return draws from the posterior, (n_draws * n_samples, n_components)."""
        return self.draws(codes, self.n_samples, generator).flatten(0, 1)

    def draws(self, codes: Tensor, n_draws: int, generator: torch.Generator) -> Tensor:
        """Return draws from the posterior, (n_draws, n_samples, n_components)."""
        # The reparametrization of Kingma and Welling 2014, section 2.4
        draws = standard_normal((n_draws, *codes.shape), codes, generator)
        return codes + (self.log_var(codes) / 2).exp() * draws

    def batch_penalty(self, codes, losses, weights, generator) -> Tensor:
        """Return the divergence times the noise variance, which is the mean loss."""
        # The losses have no gradient: this is the factor m, fixed in each step.
        noise = normalized_weights(weights, codes) @ losses
        return self.beta_factor * noise * self.divergence(codes)

    def validation_codes(self, codes: Tensor) -> list[Tensor]:
        """Return pairs of opposite draws from the posterior, the same at each call."""
        # The linear part of the loss cancels in a pair, which lowers the variance.
        deviations = (self.log_var(codes) / 2).exp()
        shape = (N_VALIDATION_PAIRS, *codes.shape)
        draws = standard_normal(shape, codes, validation_generator(codes)) * deviations
        return [codes + sign * draw for draw in draws for sign in (1, -1)]

    def validation_loss(self, codes, losses, weights, generator) -> Tensor:
        """Return each row's part in the bound `noise * exp(mean divergence)`.

        The parts' mean is the bound. Each part is, to first order, what the bound
        changes by with the weight of its row, so a test on the differences of rows is
        one on the bound.
        """
        shares, divergence = normalized_weights(weights, codes), self.divergence(codes)
        noise, mean = shares @ losses, (shares @ divergence).clamp(max=MAX_EXPONENT)
        return mean.exp() * (losses + noise * (divergence - mean))
