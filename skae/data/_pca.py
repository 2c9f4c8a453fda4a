"""The linear path: PCA's solution for a matrix of any shape, size and storage."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.sparsefuncs import mean_variance_axis

from skae.data._rows import blocks, dense

SVD_OPERATIONS = 5e8  # about 0.2 s on one core
MOST_AXES = 1000
TALL = 10  # rows per feature from which the covariance is exact enough
COVARIANCE_FEATURES = 2048  # a covariance of 32 MB


@dataclass(frozen=True)
class LinearPath:
    """The principal axes of a weighted matrix.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Weighted mean of the rows.

    scale : float
        Root mean square of all centred entries, 1 where all are zero.

    axes : ndarray of shape (n_components, n_features)
        Principal axes, of length 1 and by decreasing variance; rows of zeros past the
        rank that the shape of the matrix allows.

    deviations : ndarray of shape (n_components,)
        Standard deviations along the axes, in the unit of the data.

    shrinkage : float, default=1.0
        Factor on the way back, for losses under which PCA's goes too far.

    ends : tuple of ndarray, default=()
        What stands before and behind the axes, where rows are not numbers.
    """

    mean: np.ndarray
    scale: float
    axes: np.ndarray
    deviations: np.ndarray
    shrinkage: float = 1.0
    ends: tuple = ()


def fit_linear(X, weight, n_components):
    """Return the linear path of the rows of X, dense or CSR, with weights >= 0."""
    mean, variance, scale = moments(X, weight)
    n_axes = min(n_components, *X.shape)
    values, axes = principal_axes(X, weight, mean, scale, n_axes)
    padded = np.zeros((n_components, X.shape[1]))
    # Rounding must not give a constant column a part in any axis: training would
    # follow it.
    padded[:n_axes] = np.where(variance > 0, flip_signs(axes), 0.0)
    deviations = np.zeros(n_components)
    deviations[:n_axes] = scale * np.sqrt(np.maximum(values[:n_axes], 0.0))
    return LinearPath(mean, scale, padded, deviations)


def n_axes_for_share(X, weight, share):
    """Return how many axes explain a share of the variance, among at most 1000."""
    mean, variance, scale = moments(X, weight)
    n_axes = min(*X.shape, MOST_AXES)
    values, _ = principal_axes(X, weight, mean, scale, n_axes)
    explained = np.cumsum(values) * scale**2 / (variance.sum() or 1.0)
    return int(min(np.searchsorted(explained, share) + 1, n_axes))


def moments(X, weight):
    """Return mean and variance of the columns, and the scale: 1 if all are constant."""
    if sparse.issparse(X):
        mean, variance = mean_variance_axis(X.astype(np.float64), 0, weights=weight)
    else:
        mean = weighted_mean(X, weight)
        variance = weighted_variance(X, weight, mean)
    return mean, variance, float(np.sqrt(variance.mean())) or 1.0


def weighted_mean(X, weight):
    """Return the mean of the rows, exact also where it dwarfs the spread."""
    total = weight.sum()
    # A first guess that is exact for constant columns, and close for all others.
    guess = dense(X[[np.argmax(weight > 0)]])[0]
    mean = guess + _sum_of_blocks(X, weight, lambda b, w: w @ (b - guess)) / total
    # The rounding of the first pass is itself a mean: that of the residuals.
    return mean + _sum_of_blocks(X, weight, lambda b, w: w @ (b - mean)) / total


def weighted_variance(X, weight, mean):
    """Return the mean squared deviation of each column."""
    squares = _sum_of_blocks(X, weight, lambda b, w: w @ np.square(b - mean))
    return squares / weight.sum()


def principal_axes(X, weight, mean, scale, n_axes):
    """Return the largest eigenvalues of the covariance over scale^2, and the axes.

    Tall matrices go to the covariance, summed over blocks of rows, other small ones to
    an exact singular value decomposition, and the rest to Lanczos iterations, which
    need the matrix for products only.
    """
    n, d = X.shape
    if not n_axes:
        return np.zeros(1), np.zeros((0, d))
    if n < TALL * d and n * d * min(n, d) <= SVD_OPERATIONS:
        return _axes_by_svd(X, weight, mean, scale, n_axes)
    if d <= COVARIANCE_FEATURES and (d <= n or not sparse.issparse(X)):
        return _axes_by_covariance(X, weight, mean, scale, n_axes)
    return _axes_by_lanczos(X, weight, mean, scale, n_axes)


def flip_signs(axes):
    """Turn each axis so that its largest entry is positive, as in `sklearn.PCA`."""
    largest = np.argmax(np.abs(axes), axis=1)[:, np.newaxis]
    return np.where(np.take_along_axis(axes, largest, axis=1) < 0, -axes, axes)


def _sum_of_blocks(X, weight, function):
    """Return the sum of `function(rows, their weights)` over blocks of dense rows."""
    return sum(function(dense(X[rows]), weight[rows]) for rows in blocks(*X.shape))


def _axes_by_svd(X, weight, mean, scale, n_axes):
    centred = np.sqrt(weight)[:, np.newaxis] * ((dense(X) - mean) / scale)
    _, singular, axes = linalg.svd(centred, full_matrices=False)
    return singular[:n_axes] ** 2 / weight.sum(), axes[:n_axes]


def _axes_by_covariance(X, weight, mean, scale, n_axes):
    def scatter(block, w):
        centred = (block - mean) / scale
        return (centred * w[:, np.newaxis]).T @ centred

    covariance = _sum_of_blocks(X, weight, scatter) / weight.sum()
    d = len(mean)
    values, vectors = linalg.eigh(covariance, subset_by_index=(d - n_axes, d - 1))
    return values[::-1], vectors.T[::-1]


def _axes_by_lanczos(X, weight, mean, scale, n_axes):
    n, d = X.shape
    covariance = LinearOperator(
        (d, d),
        matvec=lambda v: _covariance_times(X, weight, mean, v.ravel()) / scale**2,
        dtype=np.float64,
    )
    if n_axes >= min(n, d) - 1:
        return _axes_by_svd(X, weight, mean, scale, n_axes)
    # A fixed start makes Lanczos deterministic; ones could be orthogonal to an axis.
    start = np.random.default_rng(0).standard_normal(d)
    values, vectors = eigsh(covariance, k=n_axes, v0=start)
    order = np.argsort(values)[::-1]
    return values[order], vectors.T[order]


def _covariance_times(X, weight, mean, v):
    """Return the covariance of the rows times v; sparse rows are never densified."""
    if sparse.issparse(X):
        scores = weight * (X @ v - mean @ v)
        return (X.T @ scores - mean * scores.sum()) / weight.sum()
    product = _sum_of_blocks(X, weight, lambda b, w: ((b - mean) @ v * w) @ (b - mean))
    return product / weight.sum()
