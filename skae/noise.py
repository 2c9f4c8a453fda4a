"""Noise: what is done to a batch before it is encoded, for decoding to undo."""

from numbers import Real

import torch
from torch import Tensor

from skae._base import Part
from skae._sklearn import Interval

SHARE = Interval(Real, 0, 1, closed="both")


def add_gaussian(batch: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Return the batch plus independent normal numbers of standard deviation scale."""
    # float32 whatever torch's default dtype: the same seed draws the same numbers.
    options = {"generator": generator, "dtype": torch.float32, "device": batch.device}
    return batch + scale * torch.randn(batch.shape, **options).to(batch.dtype)


def chosen(batch: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Return True for each entry with probability `fraction`, else False."""
    options = {"generator": generator, "dtype": torch.float32, "device": batch.device}
    return torch.rand(batch.shape, **options) < fraction


def mask(batch: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Return the batch with a random fraction of its entries at zero."""
    return batch.masked_fill(chosen(batch, fraction, generator), 0.0)


def swap(batch: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Return the batch with a random fraction of entries from other rows' same column.

    A batch of one row has no other, and stays as it is.
    """
    n_rows, device = len(batch), batch.device
    steps = torch.randint(
        1, max(n_rows, 2), batch.shape, generator=generator, device=device
    )
    others = (torch.arange(n_rows, device=device).unsqueeze(1) + steps) % n_rows
    swapped = chosen(batch, fraction, generator)
    return torch.where(swapped, batch.gather(0, others), batch)


class Noise(Part):
    """Leaves a batch as it is, and is what every noise overrides.

    See Also
    --------
    GaussianNoise : Adds normal noise.

    Examples
    --------
    >>> import torch
    >>> from skae import Noise
    >>> class Dimmed(Noise):
    ...     def corrupt(self, batch, generator):
    ...         return batch * torch.rand(1, generator=generator, device=batch.device)
    >>> batch = torch.ones(2, 3)
    >>> bool((Dimmed().corrupt(batch, torch.Generator()) < batch).all())
    True
    """

    @property
    def is_noop(self) -> bool:
        """Whether nothing is ever changed."""
        return type(self).corrupt is Noise.corrupt

    def corrupt(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return what is encoded in place of a batch, of the same shape."""
        return batch


class CallableNoise(Noise):
    """Noise given as a function of the batch.

    Parameters
    ----------
    function : callable
        `function(batch)` returns what is encoded. What it draws from torch's global
        generator is made to come from the seed by training.
    """

    def __init__(self, function):
        self.function = function

    def corrupt(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the function's value; it may change what it is given."""
        return self.function(batch.clone())


class GaussianNoise(Noise):
    r"""Add normal noise to every entry of the rows that are encoded.

    .. math:: x' = \tilde x + \sigma \varepsilon, \quad \varepsilon \sim N(0, I)

    Training must reconstruct x from x', so the model learns to remove the noise, and
    its codes do not depend on small changes.

    Parameters
    ----------
    scale : float, default=0.1
        Standard deviation of the noise, in the unit of the standardized data: 1 is the
        root mean square of all centered entries, `scale_` in the data's own unit. 0 is
        no noise.

    See Also
    --------
    MaskingNoise : Sets entries to zero.
    SwapNoise : Takes entries from other rows.

    References
    ----------
    .. [1] P. Vincent, H. Larochelle, I. Lajoie, Y. Bengio, P.-A. Manzagol. "Stacked
       Denoising Autoencoders". Journal of Machine Learning Research 11, 2010.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, GaussianNoise
    >>> X = load_digits().data[:200]
    >>> model = AutoencoderTransformer(8, noise=GaussianNoise(0.3), max_iter=2)
    >>> model.fit_transform(X).shape
    (200, 8)
    """

    _parameter_constraints = {"scale": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, scale=0.1):
        self.scale = scale

    @property
    def is_noop(self) -> bool:
        """Whether the scale is 0."""
        return self.scale == 0

    def corrupt(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the batch with noise added."""
        return add_gaussian(batch, self.scale, generator)


class MaskingNoise(Noise):
    r"""Set a random fraction of the entries that are encoded to zero.

    Zero is the mean of a feature in standardized data. The entries are drawn anew for
    every row and step:

    .. math:: x'_j = m_j \tilde x_j, \quad P(m_j = 0) = \text{fraction}

    The model learns to fill in what is missing from what is there.

    Parameters
    ----------
    fraction : float, default=0.3
        Probability with which an entry is set to zero. 0 is no noise.

    See Also
    --------
    SwapNoise : Takes the entries from other rows instead.
    GaussianNoise : Adds normal noise to all entries.

    References
    ----------
    .. [1] P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol. "Extracting and
       Composing Robust Features with Denoising Autoencoders". International Conference
       on Machine Learning, 2008.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, MaskingNoise
    >>> X = load_digits().data[:200]
    >>> model = AutoencoderTransformer(8, noise=MaskingNoise(0.3), max_iter=2)
    >>> model.fit_transform(X).shape
    (200, 8)
    """

    _parameter_constraints = {"fraction": [SHARE]}

    def __init__(self, fraction=0.3):
        self.fraction = fraction

    @property
    def is_noop(self) -> bool:
        """Whether the fraction is 0."""
        return self.fraction == 0

    def corrupt(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the batch with entries masked."""
        return mask(batch, self.fraction, generator)


class SwapNoise(Noise):
    r"""Replace a random fraction of the entries by the same feature of other rows.

    .. math:: x'_{ij} = \tilde x_{i'j} \ \text{with probability fraction}, \quad
        \text{else} \ \tilde x_{ij}

    where i' is another row of the batch, drawn for each entry. Unlike zeros, these are
    values that the feature has, so swapping suits tables whose features are far from
    normal.

    Parameters
    ----------
    fraction : float, default=0.15
        Probability with which an entry is replaced. 0 is no noise.

    See Also
    --------
    MaskingNoise : Sets the entries to zero instead.
    GaussianNoise : Adds normal noise to all entries.

    References
    ----------
    .. [1] J. Yoon, Y. Zhang, J. Jordon, M. van der Schaar. "VIME: Extending the Success
       of Self- and Semi-supervised Learning to Tabular Domain". Advances in Neural
       Information Processing Systems 33, 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import scale
    >>> from skae import AutoencoderTransformer, SwapNoise
    >>> X = scale(load_wine().data)
    >>> model = AutoencoderTransformer(4, noise=SwapNoise(0.15), max_iter=2)
    >>> model.fit_transform(X).shape
    (178, 4)
    """

    _parameter_constraints = {"fraction": [SHARE]}

    def __init__(self, fraction=0.15):
        self.fraction = fraction

    @property
    def is_noop(self) -> bool:
        """Whether the fraction is 0."""
        return self.fraction == 0

    def corrupt(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the batch with entries swapped."""
        return swap(batch, self.fraction, generator)


def as_noise(noise):
    """Return a noise; None and a strength of 0 are none, a callable is itself."""
    if noise is None:
        return Noise()
    if not hasattr(noise, "corrupt"):
        return CallableNoise(noise)
    noise._validate_params()
    return Noise() if noise.is_noop else noise
