"""Noise: random corruption of the rows that are encoded, for denoising autoencoders."""

from numbers import Real

import torch
from torch import Tensor

from skae._base import Part, as_part
from skae._sklearn import Interval

FRACTION = Interval(Real, 0, 1, closed="both")


def add_gaussian(batch: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Return the batch plus independent draws from N(0, scale^2)."""
    # In float32 for any default dtype, so that a seed always gives the same numbers.
    options = {"generator": generator, "dtype": torch.float32, "device": batch.device}
    return batch + scale * torch.randn(batch.shape, **options).to(batch.dtype)


def random_entries(
    batch: Tensor, fraction: float, generator: torch.Generator
) -> Tensor:
    """Return a boolean tensor of the batch's shape, True with probability fraction."""
    options = {"generator": generator, "dtype": torch.float32, "device": batch.device}
    return torch.rand(batch.shape, **options) < fraction


def one_for_each(batch: Tensor, columns: Tensor) -> Tensor:
    """Return a tensor with an entry for each row and column, of arbitrary values."""
    return batch.new_empty(len(batch), int(columns.max()) + 1)


def mask(
    batch: Tensor,
    fraction: float,
    generator: torch.Generator,
    columns: Tensor | None = None,
) -> Tensor:
    """Return the batch with random entries, or all entries of columns, set to zero."""
    drawn = batch if columns is None else one_for_each(batch, columns)
    masked = random_entries(drawn, fraction, generator)
    return batch.masked_fill(masked if columns is None else masked[:, columns], 0.0)


def swap(
    batch: Tensor,
    fraction: float,
    generator: torch.Generator,
    columns: Tensor | None = None,
) -> Tensor:
    """Return the batch with random entries replaced by those of other rows.

    An entry is replaced by one of the same column. All entries of a column, if some are
    given, are replaced by those of the same row. A batch of one row is returned
    unchanged.
    """
    n_rows, device = len(batch), batch.device
    drawn = batch if columns is None else one_for_each(batch, columns)
    # Shifts from 1 to n_rows - 1, modulo n_rows, reach every row but the row itself.
    shifts = torch.randint(
        1, max(n_rows, 2), drawn.shape, generator=generator, device=device
    )
    # (n_rows, 1)
    rows = torch.arange(n_rows, device=device).unsqueeze(1)
    # (n_rows, n_features)
    donors = (rows + shifts) % n_rows
    swapped = random_entries(drawn, fraction, generator)
    if columns is not None:
        donors, swapped = donors[:, columns], swapped[:, columns]
    return torch.where(swapped, batch.gather(0, donors), batch)


class Noise(Part):
    """Base class of noises: `corrupt` returns the batch unchanged.

    In training and validation the encoder receives corrupted rows, and the loss
    compares the reconstruction with the original ones. `transform` and all other
    methods use the rows as they are. For a noise of your own, override `corrupt`; for
    one without parameters, pass a function of the batch to the estimator instead.

    See Also
    --------
    GaussianNoise : Adds normal noise.
    MaskingNoise : Sets entries to zero.
    SwapNoise : Takes entries from other rows.

    Examples
    --------
    A noise that scales every batch by a random number between 0 and 1:

    >>> import torch
    >>> from skae import Noise
    >>> class RandomScale(Noise):
    ...     def corrupt(self, batch, generator):
    ...         return batch * torch.rand(1, generator=generator, device=batch.device)
    >>> noisy = RandomScale().corrupt(torch.ones(2), torch.Generator().manual_seed(0))
    >>> noisy
    tensor([0.4963, 0.4963])
    """

    @property
    def is_noop(self) -> bool:
        """Whether `corrupt` leaves every batch unchanged."""
        return type(self) is Noise

    def corrupt(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the rows that are encoded in place of a batch.

        Parameters
        ----------
        batch : Tensor of shape (n_samples, n_features)
            Standardized rows, not to be changed in place. An image or a sequence is
            flattened; tokens are given by their embeddings.

        generator : torch.Generator
            Source of all random numbers, on the device of the batch.

        Returns
        -------
        noisy : Tensor of shape (n_samples, n_features)
            The corrupted rows.
        """
        return batch

    def corrupt_columns(
        self, batch: Tensor, columns: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the rows of a table of mixed columns, corrupted.

        By default this is `corrupt`. Override it for a noise that corrupts all entries
        of a column together.

        Parameters
        ----------
        batch : Tensor of shape (n_samples, n_inputs)
            Encoded rows, not to be changed in place.

        columns : Tensor of int of shape (n_inputs,)
            The column of the table to which each entry belongs.

        generator : torch.Generator
            Source of all random numbers, on the device of the batch.

        Returns
        -------
        noisy : Tensor of shape (n_samples, n_inputs)
            The corrupted rows.
        """
        return self.corrupt(batch, generator)


class CallableNoise(Noise):
    """A noise given as a function.

    Parameters
    ----------
    function : callable
        `function(batch)` returns the rows that are encoded. During training, what it
        draws from torch's global generator comes from the seed instead.
    """

    def __init__(self, function):
        self.function = function

    def corrupt(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the function's value."""
        # A copy: a user's function may change its argument in place.
        return self.function(batch.clone())


class GaussianNoise(Noise):
    r"""Add normal noise to every entry of the rows that are encoded.

    .. math:: x' = \tilde x + \sigma \varepsilon, \quad \varepsilon \sim N(0, I)

    where :math:`\tilde x` is a standardized row. The loss compares the reconstruction
    with :math:`\tilde x`, so the model learns to remove the noise, and its codes change
    little under small changes of a row.

    Parameters
    ----------
    scale : float, default=0.1
        Standard deviation :math:`\sigma` of the noise in units of the standardized
        data: 1 is the root mean square of all centered entries, which is `scale_` in
        the unit of the data. 0 is no noise.

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
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, GaussianNoise
    >>> noise = GaussianNoise(0.3)
    >>> noisy = noise.corrupt(torch.zeros(1000, 10), torch.Generator().manual_seed(0))
    >>> round(noisy.std().item(), 2)
    0.3
    >>> X = load_digits().data[:200]
    >>> AutoencoderTransformer(8, noise=noise, max_iter=2).fit_transform(X).shape
    (200, 8)
    """

    _parameter_constraints = {"scale": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, scale: float = 0.1):
        self.scale = scale

    @property
    def is_noop(self) -> bool:
        """Whether the scale is 0."""
        return self.scale == 0

    def corrupt(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the batch plus normal noise."""
        return add_gaussian(batch, self.scale, generator)


class MaskingNoise(Noise):
    r"""Set a random fraction of the entries that are encoded to zero.

    Zero is the mean of a feature in standardized data. The entries are drawn anew for
    every row and step:

    .. math:: x'_j = m_j \tilde x_j, \quad P(m_j = 0) = \text{fraction}

    The model learns to predict the masked entries from the others.

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
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, MaskingNoise
    >>> noise = MaskingNoise(0.3)
    >>> noisy = noise.corrupt(torch.ones(1000, 10), torch.Generator().manual_seed(0))
    >>> round((noisy == 0).float().mean().item(), 2)
    0.3
    >>> X = load_digits().data[:200]
    >>> AutoencoderTransformer(8, noise=noise, max_iter=2).fit_transform(X).shape
    (200, 8)
    """

    _parameter_constraints = {"fraction": [FRACTION]}

    def __init__(self, fraction: float = 0.3):
        self.fraction = fraction

    @property
    def is_noop(self) -> bool:
        """Whether the fraction is 0."""
        return self.fraction == 0

    def corrupt(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the batch with random entries set to zero."""
        return mask(batch, self.fraction, generator)

    def corrupt_columns(
        self, batch: Tensor, columns: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the batch with all entries of random columns set to zero."""
        return mask(batch, self.fraction, generator, columns)


class SwapNoise(Noise):
    r"""Replace a random fraction of the entries by the same feature of other rows.

    .. math:: x'_{ij} = \tilde x_{i'j} \ \text{with probability fraction}, \quad
        \text{else} \ \tilde x_{ij}

    where i' is another row of the batch, drawn anew for each entry. Unlike zeros, the
    values are ones that the feature really takes, which suits tables whose features are
    far from normally distributed.

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
    >>> import torch
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import scale
    >>> from skae import AutoencoderTransformer, SwapNoise
    >>> noise, batch = SwapNoise(0.15), torch.arange(10_000.0).reshape(1000, 10)
    >>> noisy = noise.corrupt(batch, torch.Generator().manual_seed(0))
    >>> round((noisy != batch).float().mean().item(), 2)
    0.15
    >>> X = scale(load_wine().data)
    >>> AutoencoderTransformer(4, noise=noise, max_iter=2).fit_transform(X).shape
    (178, 4)
    """

    _parameter_constraints = {"fraction": [FRACTION]}

    def __init__(self, fraction: float = 0.15):
        self.fraction = fraction

    @property
    def is_noop(self) -> bool:
        """Whether the fraction is 0."""
        return self.fraction == 0

    def corrupt(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the batch with random entries taken from other rows."""
        return swap(batch, self.fraction, generator)

    def corrupt_columns(
        self, batch: Tensor, columns: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the batch with all entries of random columns from other rows."""
        return swap(batch, self.fraction, generator, columns)


def as_noise(noise) -> Noise:
    """Return the noise that the value of an estimator's parameter stands for."""
    return as_part(noise, "corrupt", Noise(), CallableNoise)
