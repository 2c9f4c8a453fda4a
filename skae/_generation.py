"""Generation: codes of new rows, and deviations for draws of missing values."""

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_limits

from skae._torch import SeededDispatch

N_CLUSTERS = (1, 2, 4, 8, 16, 32)
HIDDEN_SHARE = 0.2  # of the values, hidden to measure errors of predictions
NUMBERS_PER_PARAMETER = 8  # with fewer, clusters shrink to single rows


def sample_codes(
    regularizer, codes: np.ndarray, lengths: np.ndarray, n_samples: int, seed, fit_seed
) -> np.ndarray:
    """Draw new codes from the regularizer's prior, or else from a Gaussian mixture.

    Parameters
    ----------
    regularizer : BaseRegularizer
        May have a prior.

    codes : ndarray of shape (n_stored, n_components) or (0, n_components)
        Codes of training rows. Empty with a prior.

    lengths : ndarray of shape (n_stored, n_lengths)
        Lengths of the same rows, if they are padded sequences.

    n_samples : int
        Number of codes to draw.

    seed, fit_seed : int
        Seeds of the draws, and of the mixture.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_components + n_lengths)
        Codes in random order.
    """
    drawn = prior_codes(regularizer, n_samples, codes.shape[1], seed)
    if drawn is not None:
        # A prior has no lengths; they are drawn from those of training rows.
        return np.hstack([drawn, resample(lengths, n_samples, seed)])
    if not len(codes):
        raise ValueError(
            "The model cannot be sampled: its regularizer has no prior, and the stored "
            "codes of training rows were removed. Fit the model again."
        )
    return mixture_codes(np.hstack([codes, lengths]), fit_seed, n_samples, seed)


def residual_deviations(codec, rows: np.ndarray, seed: int) -> np.ndarray:
    """Return how much hidden values deviate from draws of codes, (n_features,).

    Parameters
    ----------
    codec : Codec
        A variational model of rows with missing values.

    rows : ndarray of shape (n_samples, n_features)
        Rows of which some values are hidden and predicted.

    seed : int
        Determines which ones.
    """
    layout, rng = codec.layout, np.random.default_rng(seed)
    if not layout.has_missing_values:  # all rows are complete, or empty
        return np.zeros(layout.n_features)
    hidden = rng.random((len(rows), layout.n_columns)) < HIDDEN_SHARE
    hidden = hidden[:, layout.column_of_entry]
    codes = codec.encode(np.where(hidden, np.nan, rows))
    hidden &= ~np.isnan(rows)
    errors = mean_squares(codec.decode(codes) - rows, hidden)
    draws = codec.decode(codec.posterior_draws(codes, seed))
    # Draws of codes add a part of the variance.
    added = mean_squares(draws - rows, hidden) - errors
    return np.sqrt((errors - added).clip(0))


def mean_squares(values: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """Return the mean square of each column's selected entries, or 0 without any."""
    squares = np.where(selected, np.square(values), 0.0).sum(axis=0)
    return squares / selected.sum(axis=0).clip(1)


def resample(rows: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
    """Return rows drawn with replacement."""
    return rows[np.random.default_rng(seed).integers(len(rows), size=n_samples)]


def prior_codes(
    regularizer, n_samples: int, n_components: int, seed: int
) -> np.ndarray | None:
    """Return codes drawn from the regularizer's prior, or None if it has none."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("cpu"), torch.no_grad(), SeededDispatch(generator):
        codes = regularizer.prior(n_samples, n_components, generator)
    if codes is None:
        return None
    if codes.shape != (n_samples, n_components):
        raise ValueError(
            f"The prior of {regularizer} returned codes of shape "
            f"{tuple(codes.shape)}, but expected {(n_samples, n_components)}."
        )
    return codes.cpu().numpy()


def mixture_codes(
    codes: np.ndarray, fit_seed: int, n_samples: int, seed: int
) -> np.ndarray:
    """Return codes drawn from a mixture fitted to other codes, in random order."""
    # EM starts from k-means, which needs components of equal variance.
    codes = codes.astype(np.float64)
    scaler = StandardScaler().set_output(transform="default").fit(codes)
    with threadpool_limits(1):  # on so few rows more threads are slower
        mixture = gaussian_mixture(scaler.transform(codes), fit_seed)
    random_state = check_random_state(seed)
    drawn, _ = mixture.set_params(random_state=random_state).sample(n_samples)
    # `sample` returns the draws of one Gaussian after another.
    return scaler.inverse_transform(drawn)[random_state.permutation(n_samples)]


def gaussian_mixture(codes: np.ndarray, seed: int) -> GaussianMixture:
    """Return the mixture of lowest BIC, among those that the codes suffice to fit."""
    if len(codes) == 1:
        codes = np.repeat(codes, 2, axis=0)  # the fewest that a mixture accepts
    n_distinct = len(np.unique(codes.round(6), axis=0))
    mixtures = [
        # EM converges long before 10,000 iterations, so that it never warns.
        GaussianMixture(m, covariance_type=kind, max_iter=10_000, random_state=seed)
        for m, kind in candidate_mixtures(n_distinct, codes.shape[1])
    ]
    for mixture in mixtures:
        mixture.fit(codes)
    return min(mixtures, key=lambda mixture: mixture.bic(codes))


def candidate_mixtures(n_codes: int, n_components: int) -> list[tuple[int, str]]:
    """Return the mixtures, as (n_clusters, covariance_type), with enough codes."""
    # The largest number of parameters that the codes suffice to fit.
    most = n_codes * n_components / NUMBERS_PER_PARAMETER
    return [
        (m, kind)
        for m in N_CLUSTERS
        for kind, count in n_parameters(m, n_components).items()
        if count <= most
    ] or [(1, "diag")]


def n_parameters(m: int, k: int) -> dict[str, int]:
    """Return the number of parameters of m Gaussians in k dimensions, by covariance."""
    means, symmetric = m * k, k * (k + 1) // 2
    return {
        "diag": means + m * k,
        "tied": means + symmetric,
        "full": means + m * symmetric,
    }
