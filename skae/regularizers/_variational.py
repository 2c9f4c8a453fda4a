"""Variational codes."""

from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor, nn

from skae._sklearn import Interval
from skae.networks._layers import zero_output_
from skae.networks._mlp import FullyConnected
from skae.regularizers._base import (
    WEIGHT,
    NormalPrior,
    Regularizer,
    normalized_weights,
    standard_normal,
    validation_generator,
)

N_VIEWS = 2  # pairs of draws by which a variational code is judged
LARGEST_EXPONENT = 20.0  # the variational bound goes on as a line from there
HEAD = 32  # units that tell the posterior's variance


def normal_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_var)) || N(0, I)) of each row, shape (n_samples,)."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1)


def posterior_shares(deviations: np.ndarray, n_features: int) -> np.ndarray:
    """Return the posterior variances of probabilistic PCA, shape (n_components,).

    They are the noise variance, the mean of those that are left out, over the variance
    of the scores. At most 1/2: no component starts dead that has any variance.
    """
    variances = np.square(deviations)
    # Features have mean variance 1.
    left_out = max(n_features - variances.sum(), 0.0)
    noise = left_out / max(n_features - len(variances), 1)
    shares = np.clip(noise / np.where(variances > 0, variances, 1.0), 1e-4, 0.5)
    return np.where(variances > 0, shares, 1.0)


class Variational(NormalPrior, Regularizer):
    r"""A variational autoencoder: a normal posterior for each row, near to N(0, I).

    Training decodes draws from :math:`q(z|x) = N(\mu, \text{diag} \, v)`, where
    :math:`\mu` is the code and v a function of it that is learned. The decoder is
    Gaussian, and its noise variance is the one that fits best, the mean loss

    .. math:: m = \mathbb{E}_{z \sim q} \tfrac{1}{d} \| \tilde x - d(z) \|^2

    So with d features the negative evidence lower bound is, up to constants,

    .. math:: \tfrac{d}{2} \log m + \beta \, \text{KL}, \qquad \text{KL} =
        \tfrac{1}{2} \textstyle\sum_j (\mu_j^2 + v_j - 1 - \log v_j)

    Training follows its gradient, as that of :math:`m + \tfrac{2 m}{d} \beta \,
    \text{KL}` with the factor m held fixed in each step. A model is judged by
    :math:`m \exp(\tfrac{2}{d} \beta \, \text{KL})`, which is the bound in the unit of
    the loss, at the same draws in each epoch. For other losses m is their mean.

    Training starts at probabilistic PCA, the optimum of this bound for linear maps:
    there the posterior's mean is the principal scores, shrunk, and its variance
    follows from the variance that is left out. `transform` gives the mean.

    Parameters
    ----------
    beta : float, default=1.0
        Weight of the divergence. Above 1, codes are closer to the prior and more of
        them independent, or switched off, at the cost of reconstruction. 0 is no
        regularizer.

    n_samples : int, default=1
        Draws that are decoded for each row and step.

    warm_up : float, default=0.0
        Share of the epochs over which the weight rises from 0 to `beta`. It is `beta`
        throughout where training may go on, with `partial_fit` or `warm_start`.

    See Also
    --------
    MMD : The same prior, without draws, for the codes of all rows together.

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
        "beta": [WEIGHT],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "warm_up": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, beta=1.0, *, n_samples=1, warm_up=0.0):
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
    """The posterior of a variational code: its variance, as a function of its mean.

    A Gaussian decoder's posterior has the precision `I + J'J / noise`, with the
    decoder's Jacobian J at z: what the variance depends on is the code.

    Parameters
    ----------
    asked : Variational
        The parameters.

    n_features, n_components : int
        Sizes.
    """

    collapse_hint = "Lower the regularizer's beta."

    def __init__(self, asked: Variational, n_features: int, n_components: int):
        super().__init__()
        self.beta, self.n_samples = asked.beta, asked.n_samples
        self.warm_up, self.warmth = asked.warm_up, 1.0
        self.rate = 2 / n_features
        zeros = torch.zeros(n_components, dtype=torch.float32)
        self.gain, self.level = nn.Parameter(zeros), nn.Parameter(zeros.clone())
        sizes = (n_components, HEAD, n_components)
        self.head = zero_output_(FullyConnected(sizes, "silu", dropout=0.0))

    @torch.no_grad()
    def start(self, deviations: np.ndarray, n_features: int):
        """Start at probabilistic PCA; return factors to its posterior mean and back."""
        shares = posterior_shares(deviations, n_features)
        self.level.copy_(torch.from_numpy(np.log(shares)))
        unit = np.where(deviations > 0, deviations, 1.0)
        return np.sqrt(1 - shares) / unit, np.sqrt(1 - shares) * unit

    def set_progress(self, progress: float) -> None:
        """Let the weight of the divergence rise."""
        self.warmth = min(1.0, progress / self.warm_up) if self.warm_up else 1.0

    def code(self, outputs: Tensor) -> Tensor:
        """Return the outputs in the prior's unit.

        The unit is free of the networks, which weight decay keeps from changing it.
        """
        return outputs * self.gain.exp()

    def decoder_input(self, codes: Tensor) -> Tensor:
        """Return codes in the networks' unit."""
        return codes * (-self.gain).exp()

    def log_var(self, codes: Tensor) -> Tensor:
        """Return the logarithms of the posterior's variances, of the codes' shape."""
        return self.level + self.head(codes)

    def divergence(self, codes: Tensor) -> Tensor:
        """Return beta times the divergence from the prior, per half feature."""
        return self.beta * self.rate * normal_kl(codes, self.log_var(codes))

    def training_codes(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return draws from the posterior."""
        draws = standard_normal((self.n_samples, *codes.shape), codes, generator)
        return (codes + (self.log_var(codes) / 2).exp() * draws).flatten(0, 1)

    def batch_penalty(self, codes, losses, weights, generator) -> Tensor:
        """Return the divergence times the noise variance, which is the mean loss."""
        noise = normalized_weights(weights, codes) @ losses
        return self.warmth * noise * self.divergence(codes)

    def validation_codes(self, codes: Tensor) -> list[Tensor]:
        """Return draws from the posterior, in pairs about the mean, always the same."""
        deviations = (self.log_var(codes) / 2).exp()
        shape = (N_VIEWS, *codes.shape)
        draws = standard_normal(shape, codes, validation_generator(codes)) * deviations
        return [codes + sign * draw for draw in draws for sign in (1, -1)]

    def validation_loss(self, codes, losses, weights, generator) -> Tensor:
        """Return the bound: `noise * exp(divergence)`, shared out among the samples.

        Each has what the mean changes by with it, to first order, so that a test on the
        samples' differences is one on the bound.
        """
        shares, divergence = normalized_weights(weights, codes), self.divergence(codes)
        noise, mean = shares @ losses, (shares @ divergence).clamp(max=LARGEST_EXPONENT)
        return mean.exp() * (losses + noise * (divergence - mean))
