"""Regularizers: what a code is asked to be, beside sufficient for reconstruction."""

import math
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from skae._code import (
    AsksNothing,
    NormalPrior,
    judge_of,
    mean_square,
    shares_of,
    standard_normal,
)
from skae._model import silenced
from skae._sklearn import Interval
from skae._spec import Spec
from skae.networks import FullyConnected

WEIGHT = Interval(Real, 0, None, closed="left")

BANDWIDTHS = (0.2, 0.5, 1.0, 2.0, 5.0)  # of MMD's kernels, per component
CHUNK = 1024  # rows that are compared with each other, n^2 numbers at a time
EXACT = 8  # components up to which the whole Jacobian is computed
N_PROJECTIONS = 2  # random combinations of components beyond
N_VIEWS = 2  # pairs of draws by which a variational code is judged
LARGEST_EXPONENT = 20.0  # the variational bound goes on as a line from there
HEAD = 32  # units that tell the posterior's variance
CRITIC = (64, 64)


class Regularizer(AsksNothing, Spec):
    """Asks nothing of the code, and is what every regularizer overrides.

    A subclass changes the code (`code`) or the codes that training sees
    (`training_codes`), adds a penalty (`penalty`), tells by which codes a model is
    judged (`views`), or from which codes new rows are decoded (`prior`).

    See Also
    --------
    Ordered : Components in order of importance.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skae import AutoencoderTransformer, Regularizer
    >>> class Small(Regularizer):
    ...     def __init__(self, weight=1e-3):
    ...         self.weight = weight
    ...
    ...     def penalty(self, codes):
    ...         return self.weight * codes.abs().mean(dim=1)
    >>> model = AutoencoderTransformer(2, regularizer=Small(), max_iter=2)
    >>> model.fit_transform(load_iris().data).shape
    (150, 2)
    """

    @property
    def absent(self) -> bool:
        """Whether a strength of 0 makes it as if there were no regularizer."""
        return False


class Weighted(Regularizer):
    """A regularizer whose strength is its parameter `weight`."""

    cure = "Lower the regularizer's weight."

    @property
    def absent(self) -> bool:
        """Whether the weight is 0."""
        return self.weight == 0


class CodePenalty(Regularizer):
    """A penalty on the code given as a function.

    Parameters
    ----------
    function : callable
        `function(codes) -> penalty` of each sample: a tensor of shape (n_samples,) from
        one of shape (n_samples, n_components).
    """

    def __init__(self, function):
        self.function = function

    def penalty(self, codes: Tensor) -> Tensor:
        """Return the function's value."""
        return self.function(codes)


def prefix_mask(lengths: Tensor, n_components: int) -> Tensor:
    """Return 1 for the first `lengths[i]` components of row i, else 0."""
    positions = torch.arange(n_components, device=lengths.device)
    return positions < lengths.unsqueeze(1)  # (n_samples, n_components)


class Ordered(Regularizer):
    r"""Components in order of importance, as PCA's are: nested dropout.

    For each row of a batch either all components are kept, or the first b of them, with
    b drawn uniformly from 1 to n_components; the others are set to zero. So the first
    component alone must reconstruct as well as it can, the second must add to it what
    it can, and so on:

    .. math:: \min \; \mathbb{E}_b \, L(x, d(z_{1:b})), \quad z = e(x)

    A model is validated on its mean loss over prefixes of the code.

    Parameters
    ----------
    full : float, default=0.5
        Probability with which a row keeps all its components.

    See Also
    --------
    AutoencoderTransformer : With `n_components` between 0 and 1 it uses this part.

    References
    ----------
    .. [1] O. Rippel, M. Gelbart, R. Adams. "Learning Ordered Representations with
       Nested Dropout". International Conference on Machine Learning, 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, Ordered
    >>> X, _ = load_digits(return_X_y=True)
    >>> model = AutoencoderTransformer(8, regularizer=Ordered(), random_state=0)
    >>> ratio = model.fit(X).explained_variance_ratio_
    >>> bool(ratio[0] > ratio[-1])
    True
    """

    _parameter_constraints = {"full": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, full=0.5):
        self.full = full

    def training_codes(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return codes of which random tails are zero."""
        n, k = codes.shape
        like = {"generator": generator, "device": codes.device}
        lengths = torch.randint(1, k + 1, (n,), **like)
        # float32 whatever torch's default dtype: the same seed draws the same numbers.
        keep_all = torch.rand(n, dtype=torch.float32, **like) < self.full
        return codes * prefix_mask(torch.where(keep_all, k, lengths), k)

    def views(self, codes: Tensor) -> list[Tensor]:
        """Return the codes cut off at up to eight evenly spaced lengths."""
        k = codes.shape[1]
        lengths = torch.linspace(1, k, min(k, 8), dtype=torch.float64).round().unique()
        return [codes * (torch.arange(k, device=codes.device) < b) for b in lengths]


def activity(codes: Tensor, weights: Tensor | None) -> Tensor:
    """Return the share of rows that use each component, shape (n_components,).

    A row counts for `z^2 / (z^2 + mean of z^2)`. A component that is on in a share p of
    the rows, and 0 in the others, has activity p / (1 + p).
    """
    squares = codes.square()
    used = squares / (squares + mean_square(codes, weights))
    return shares_of(weights, codes) @ used


def bernoulli_kl(p: float, q: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of Bernoulli(p) from Bernoulli(q)."""
    q = q.clamp(1e-6, 1 - 1e-6)
    return p * (math.log(p) - q.log()) + (1 - p) * (math.log1p(-p) - (1 - q).log())


class Sparse(Weighted):
    r"""Few components of the code far from zero for each row.

    Adds to the loss of a row the sum of its absolute codes, each in the unit of its
    component's root mean square over the batch:

    .. math:: \lambda \sum_j |z_j| / \sqrt{\overline{z_j^2}}

    The unit matters: else a code would become small, and the decoder's weights large,
    and nothing sparse. With a target, the Kullback-Leibler divergence of the
    components' mean activity from it is added instead:

    .. math:: \lambda \sum_j \text{KL}(\rho \,\|\, \hat\rho_j), \quad \hat\rho_j =
        \overline{z_j^2 / (z_j^2 + \overline{z_j^2})}

    Parameters
    ----------
    weight : float, default=0.01
        Strength of the penalty. 0 is no regularizer.

    target : float or None, default=None
        The share of rows that is to use a component, such as 0.05. None takes the
        absolute codes.

    See Also
    --------
    TopK : A fixed number of components that are not zero.

    References
    ----------
    .. [1] H. Lee, C. Ekanadham, A. Ng. "Sparse Deep Belief Net Model for Visual Area
       V2". Advances in Neural Information Processing Systems 20, 2007.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, Sparse
    >>> X = load_digits().data[:200]
    >>> model = AutoencoderTransformer(16, regularizer=Sparse(0.01), max_iter=2)
    >>> model.fit_transform(X).shape
    (200, 16)
    """

    _parameter_constraints = {
        "weight": [WEIGHT],
        "target": [Interval(Real, 0, 1, closed="neither"), None],
    }

    def __init__(self, weight=0.01, *, target=None):
        self.weight = weight
        self.target = target

    def batch_penalty(self, codes, losses, weights, generator) -> Tensor:
        """Return the penalty of each sample."""
        if self.target is None:
            unit = mean_square(codes, weights).sqrt()
            return self.weight * (codes.abs() / unit).sum(dim=1)
        divergence = bernoulli_kl(self.target, activity(codes, weights)).sum()
        return self.weight * divergence.expand(len(codes))


def largest(codes: Tensor, k: int) -> Tensor:
    """Return the k entries of largest absolute value of each row, the others at 0."""
    kept = codes.abs().topk(k, dim=1).indices
    return torch.zeros_like(codes).scatter(1, kept, codes.gather(1, kept))


class TopK(Regularizer):
    r"""At most k components of the code that are not zero, chosen for each row.

    The k codes of largest absolute value are kept, in training and after it, and the
    others set to zero:

    .. math:: z_j = e_j(x) \ \text{if} \ |e_j(x)| \ \text{is among the k largest, else}
        \ 0

    So `n_components` can be large, even larger than the number of features, while a row
    is described by k numbers and their places. It starts as PCA's scores, cut off.

    Parameters
    ----------
    k : int, default=8
        Number of components to keep. From `n_components` on there is nothing to cut.

    See Also
    --------
    Sparse : A penalty, which leaves the number of components to each row.

    References
    ----------
    .. [1] A. Makhzani, B. Frey. "k-Sparse Autoencoders". International Conference on
       Learning Representations, 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, TopK
    >>> X = load_digits().data[:200]
    >>> model = AutoencoderTransformer(16, regularizer=TopK(4), max_iter=2)
    >>> codes = model.fit_transform(X)
    >>> int((codes != 0).sum(axis=1).max())
    4
    """

    _parameter_constraints = {"k": [Interval(Integral, 1, None, closed="left")]}
    cure = "Raise the regularizer's k."

    def __init__(self, k=8):
        self.k = k

    def build(self, n_features: int, n_components: int) -> Regularizer:
        """Return itself, or what asks nothing where there is nothing to cut."""
        return self if self.k < n_components else Regularizer()

    def code(self, outputs: Tensor) -> Tensor:
        """Return the largest outputs of each row."""
        return largest(outputs, min(self.k, outputs.shape[1]))


def directions(codes: Tensor, generator: torch.Generator) -> Tensor:
    """Return u of shape (n_directions, *codes.shape): E[sum of |u'J|^2] = |J|^2.

    These are the unit vectors for few components; else random signs.
    """
    n, k = codes.shape
    if k <= EXACT:
        identity = torch.eye(k, dtype=codes.dtype, device=codes.device)
        return identity.unsqueeze(1).expand(k, n, k)
    shape = N_PROJECTIONS, n, k
    bits = torch.randint(0, 2, shape, generator=generator, device=codes.device)
    return (2 * bits - 1).to(codes.dtype) / math.sqrt(N_PROJECTIONS)


def squared_jacobian(
    encode, x: Tensor, weights: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Return the sum of squared derivatives of each sample's codes, shape (n_samples,).

    Codes are in the unit of their components' root mean square. For many components it
    is an unbiased estimate.
    """
    trains = torch.is_grad_enabled()
    with torch.enable_grad():
        codes = encode(x)
        u = directions(codes, generator) / mean_square(codes, weights).sqrt()
        # One pass for all directions: small batches cost by the call, not by the row.
        copies = x.detach().repeat(len(u), 1).requires_grad_()
        (slopes,) = torch.autograd.grad(
            encode(copies), copies, u.flatten(0, 1), create_graph=trains
        )
        squares = slopes.square().sum(dim=1).unflatten(0, u.shape[:2]).sum(dim=0)
    return squares if trains else squares.detach()


class Contractive(Weighted):
    r"""Codes that change little where rows do.

    Adds to the loss of a row the squared Frobenius norm of the encoder's Jacobian at
    it, with codes in the unit of their component's root mean square over the batch:

    .. math:: \lambda \sum_j \big\| \partial z_j / \partial \tilde x \big\|^2 \,/\,
        \overline{z_j^2}

    The unit matters: else small codes and large weights in the decoder would do. The
    Jacobian is exact for up to 8 components; for more, its norm is estimated without
    bias, from two random combinations of the components for each row. Each component
    or combination costs a step another pass of the batch through the encoder.

    Parameters
    ----------
    weight : float, default=0.1
        Strength of the penalty, in standardized units. 0 is no regularizer.

    See Also
    --------
    GaussianNoise : Makes codes robust by examples.

    References
    ----------
    .. [1] S. Rifai, P. Vincent, X. Muller, X. Glorot, Y. Bengio. "Contractive
       Auto-Encoders: Explicit Invariance During Feature Extraction". International
       Conference on Machine Learning, 2011.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, Contractive
    >>> X = load_digits().data[:200]
    >>> model = AutoencoderTransformer(4, regularizer=Contractive(0.1), max_iter=2)
    >>> model.fit_transform(X).shape
    (200, 4)
    """

    _parameter_constraints = {"weight": [WEIGHT]}

    def __init__(self, weight=0.1):
        self.weight = weight

    def encoder_penalty(self, encode, x, weights, generator) -> Tensor:
        """Return the penalty of each sample."""
        return self.weight * squared_jacobian(encode, x, weights, generator)


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
    def absent(self) -> bool:
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

    cure = "Lower the regularizer's beta."

    def __init__(self, asked: Variational, n_features: int, n_components: int):
        super().__init__()
        self.beta, self.n_samples = asked.beta, asked.n_samples
        self.warm_up, self.warmth = asked.warm_up, 1.0
        self.rate = 2 / n_features
        zeros = torch.zeros(n_components, dtype=torch.float32)
        self.gain, self.level = nn.Parameter(zeros), nn.Parameter(zeros.clone())
        sizes = (n_components, HEAD, n_components)
        self.head = silenced(FullyConnected(sizes, "silu", dropout=0.0))

    @torch.no_grad()
    def start(self, deviations: np.ndarray, n_features: int):
        """Start at probabilistic PCA; return factors to its posterior mean and back."""
        shares = posterior_shares(deviations, n_features)
        self.level.copy_(torch.from_numpy(np.log(shares)))
        unit = np.where(deviations > 0, deviations, 1.0)
        return np.sqrt(1 - shares) / unit, np.sqrt(1 - shares) * unit

    def advance(self, progress: float) -> None:
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
        noise = shares_of(weights, codes) @ losses
        return self.warmth * noise * self.divergence(codes)

    def views(self, codes: Tensor) -> list[Tensor]:
        """Return draws from the posterior, in pairs about the mean, always the same."""
        deviations = (self.log_var(codes) / 2).exp()
        shape = (N_VIEWS, *codes.shape)
        draws = standard_normal(shape, codes, judge_of(codes)) * deviations
        return [codes + sign * draw for draw in draws for sign in (1, -1)]

    def judged(self, codes, losses, weights, generator) -> Tensor:
        """Return the bound: `noise * exp(divergence)`, shared out among the samples.

        Each has what the mean changes by with it, to first order, so that a test on the
        samples' differences is one on the bound.
        """
        shares, divergence = shares_of(weights, codes), self.divergence(codes)
        noise, mean = shares @ losses, (shares @ divergence).clamp(max=LARGEST_EXPONENT)
        return mean.exp() * (losses + noise * (divergence - mean))


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
    shares = shares_of(weights, codes)
    parts = [
        kernel(chunk, chunk) @ (share / share.sum()) - 2 * kernel_with_normal(chunk)
        for chunk, share in zip(codes.split(CHUNK), shares.split(CHUNK), strict=True)
    ]
    return torch.cat(parts) + kernel_of_normal(codes.shape[1])


class MMD(NormalPrior, Weighted):
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


class Adversarial(NormalPrior, Weighted):
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

    def build(self, n_features: int, n_components: int) -> "Critic":
        """Return the critic, which is learned."""
        return Critic(self.weight, n_components)


class Critic(NormalPrior, nn.Module):
    """A network that tells codes from draws of the prior.

    Parameters
    ----------
    weight : float
        What the encoder's gradient is multiplied by.

    n_components : int
        Width of the code.
    """

    cure = Weighted.cure

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

    def judged(self, codes, losses, weights, generator) -> Tensor:
        """Return the loss plus the discrepancy of `MMD`, which no critic changes."""
        return losses + self.weight * mmd_from_normal(codes, weights)


def as_regularizer(regularizer):
    """Return a regularizer; None asks nothing, a callable is a penalty on codes."""
    if regularizer is None:
        return Regularizer()
    if not hasattr(regularizer, "penalty"):
        return CodePenalty(regularizer)
    regularizer._validate_params()
    return Regularizer() if regularizer.absent else regularizer
