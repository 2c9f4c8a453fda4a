"""PCA of incomplete rows, and the linear prediction of missing entries from it.

Missing entries are replaced by what the principal axes predict from the others, and the
axes are computed anew from the completed rows, in turns: expectation maximization with
the shrinkage of probabilistic PCA (Tipping & Bishop 1999; Josse & Husson 2012).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from skae.data._pca import PCASolution, fit_axes
from skae.data._rows import LazyRows, dense, row_blocks

EM_STEPS = 10
MAX_FILL_AXES = 10
MIN_RIDGE, MAX_RIDGE = 1e-4, 1e6  # an axis without signal has the largest


@dataclass(frozen=True)
class FillAxes:
    """The axes by which missing entries are predicted.

    Attributes
    ----------
    axes : ndarray of shape (n_fill_axes, n_features)
        Principal axes of length 1.

    ridge : ndarray of shape (n_fill_axes,)
        Variance of the noise over that of the signal along each axis.
    """

    axes: np.ndarray
    ridge: np.ndarray


def n_fill_axes(n_features: int) -> int:
    """Return the number of axes by which missing entries are predicted."""
    # With as many axes as features, nothing would be noise.
    return min(MAX_FILL_AXES, max(1, n_features // 2))


def fill(rows: np.ndarray, mean: np.ndarray, filler: FillAxes) -> np.ndarray:
    """Return rows with predictions in place of NaN, of shape (n_rows, n_features).

    The scores of a row are the posterior mean of probabilistic PCA, given its present
    entries.
    """
    missing, axes = np.isnan(rows), filler.axes
    if not missing.any():
        return rows
    centered = np.where(missing, 0.0, rows - mean)
    # (n_features, n_axes * n_axes)
    products = (axes[:, np.newaxis] * axes).reshape(-1, axes.shape[1]).T
    # (n_rows, n_axes, n_axes)
    gram = (~missing @ products).reshape(-1, len(axes), len(axes))
    gram = gram + np.diag(filler.ridge)
    scores = np.linalg.solve(gram, (centered @ axes.T)[..., np.newaxis])[..., 0]
    return np.where(missing, scores @ axes + mean, rows)


def observed_moments(X, weight) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean and variance of each column, without NaN."""
    mean = weighted_nanmean(X, weight)
    total = weights = 0.0
    for block in row_blocks(*X.shape):
        rows, w = dense(X[block]) - mean, weight[block]
        total = total + w @ np.nan_to_num(np.square(rows), nan=0.0)
        weights = weights + w @ ~np.isnan(rows)
    return mean, total / np.where(weights > 0, weights, 1.0)


def fit_incomplete_pca(X, weight, n_axes: int, scale=None) -> PCASolution:
    """Return PCA's solution for rows with missing entries.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        The rows, with NaN for missing entries.

    weight : ndarray of shape (n_rows,)
        Weights, which are non-negative and not all zero.

    n_axes : int
        Number of axes.

    scale : float or None, default=None
        The scale of the rows. None is the root of the mean variance.

    Returns
    -------
    pca : PCASolution
        Moments of the entries that are not missing, axes, and the `FillAxes`.
    """
    n_features = X.shape[1]
    mean, variance = observed_moments(X, weight)
    scale = scale or float(np.sqrt(variance.mean())) or 1.0
    n_fill = n_fill_axes(n_features)
    filler = FillAxes(np.zeros((n_fill, n_features)), np.full(n_fill, MAX_RIDGE))
    n_largest = max(n_axes, n_fill)
    for _ in range(EM_STEPS):
        filled = LazyRows(X, partial(fill, mean=mean, filler=filler), n_features)
        axes, deviations = fit_axes(filled, weight, mean, variance, scale, n_largest)
        filler = FillAxes(axes[:n_fill], ridges(deviations[:n_fill], variance))
    return PCASolution(
        mean=mean,
        scale=scale,
        axes=axes[:n_axes],
        deviations=deviations[:n_axes],
        output_mean=mean,
        embedding=filler,
    )


def ridges(deviations: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return the variance of the noise over that of the signal along each axis.

    The noise is the mean variance along the other axes, as in probabilistic PCA.
    """
    values = np.square(deviations)
    n_others = max(1, np.count_nonzero(variance) - len(values))
    noise = max(0.0, variance.sum() - values.sum()) / n_others
    signal = (values - noise).clip(min=0)
    ridge = np.divide(noise, signal, where=signal > 0, out=np.full(len(values), np.inf))
    return ridge.clip(MIN_RIDGE, MAX_RIDGE)


def weighted_nanmean(X, weight) -> np.ndarray:
    """Return the weighted mean of each column, ignoring NaN; 0 if all are NaN."""
    mean = _mean_residual(X, weight, np.zeros(X.shape[1]))
    # As in `moments`, the mean of the residuals makes constant columns exact.
    return mean + _mean_residual(X, weight, mean)


def _mean_residual(X, weight, origin):
    total = weights = 0.0
    for block in row_blocks(*X.shape):
        rows, w = dense(X[block]) - origin, weight[block]
        total = total + w @ np.nan_to_num(rows, nan=0.0)
        weights = weights + w @ ~np.isnan(rows)
    return total / np.where(weights > 0, weights, 1.0)
