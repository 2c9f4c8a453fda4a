"""PCA of weighted rows of any shape, dense or sparse, in memory or memory-mapped.

Unlike :class:`sklearn.decomposition.PCA`, these functions take sample weights, read the
rows in blocks, and pad the axes with zeros if there are fewer than `n_components`. All
results are deterministic.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.extmath import svd_flip
from sklearn.utils.sparsefuncs import mean_variance_axis

from skae.data._rows import dense, row_blocks

MAX_SVD_OPERATIONS = 5e8  # about 0.2 s on one core
MAX_AXES = 1000  # for a share of variance
MIN_ROWS_PER_FEATURE = 10  # from here on the covariance is accurate enough
MAX_COVARIANCE_FEATURES = 2048  # a covariance of 32 MB


@dataclass(frozen=True)
class TokenEmbedding:
    """Linear maps from tokens to the rows of PCA, and from there to logits.

    Attributes
    ----------
    table : ndarray of shape (n_tokens, embedding_size)
        Embedding of each token, in units of the scale.

    mean : ndarray of shape (n_steps * embedding_size,)
        Mean of the flattened embedded rows, in units of the scale.

    logits : ndarray of shape (n_tokens, embedding_size)
        Weight of the linear layer from a reconstructed embedding to the logits.
    """

    table: np.ndarray
    mean: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True)
class PCASolution:
    """Mean, scale and principal axes of weighted rows.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Weighted mean of the rows, by which they are standardized; 0 for tokens.

    scale : float
        Root mean square of all centered entries, by which rows are standardized; 1 if
        all of them are zero, and for tokens.

    axes : ndarray of shape (n_components, n_inputs) or None
        Principal axes of length 1, by decreasing variance. n_inputs is n_features, or
        n_steps * embedding_size for tokens. Axes beyond `min(n_rows, n_inputs)` are
        zero. None for a fitted model, whose axes have
        been trained.

    deviations : ndarray of shape (n_components,) or None
        Standard deviations along the axes, in the unit of the encoder's inputs.

    output_mean : ndarray of shape (n_outputs,) or None
        The mean as the loss compares it: `mean`, or for tokens the frequency of each
        token at each step.

    embedding : TokenEmbedding, CountEmbedding or None, default=None
        Maps from rows and to outputs; None if these are standardized rows.

    input_scale : float
        Scale of the encoder's inputs: `scale`, or for counts that of their logarithms.
    """

    mean: np.ndarray
    scale: float
    axes: np.ndarray | None = None
    deviations: np.ndarray | None = None
    output_mean: np.ndarray | None = None
    embedding: Any = None

    @property
    def input_scale(self) -> float:
        """Scale of the encoder's inputs."""
        return getattr(self.embedding, "input_scale", self.scale)


def fit_pca(X, weight, n_components):
    """Return PCA's solution.

    Parameters
    ----------
    X : ndarray, CSR matrix or LazyRows of shape (n_rows, n_features)
        The rows, not centered.

    weight : ndarray of shape (n_rows,)
        Weights, which are non-negative and not all zero.

    n_components : int
        Number of axes, which may exceed the rank.

    Returns
    -------
    pca : PCASolution
        Mean, scale, axes and standard deviations.
    """
    mean, variance, scale = moments(X, weight)
    n_axes = min(n_components, *X.shape)
    values, axes = principal_axes(X, weight, mean, scale, n_axes)
    # The same signs as in sklearn.decomposition.PCA.
    _, axes = svd_flip(None, axes, u_based_decision=False)
    padded = np.zeros((n_components, X.shape[1]))
    # Constant columns get weight 0, not a rounding error that training could amplify.
    padded[:n_axes] = np.where(variance > 0, axes, 0.0)
    deviations = np.zeros(n_components)
    deviations[:n_axes] = scale * np.sqrt(np.maximum(values[:n_axes], 0.0))
    return PCASolution(mean, scale, padded, deviations, output_mean=mean)


def n_axes_for_share(X, weight, share):
    """Return the fewest axes that explain a share of the variance, at most 1000."""
    mean, variance, scale = moments(X, weight)
    n_axes = min(*X.shape, MAX_AXES)
    values, _ = principal_axes(X, weight, mean, scale, n_axes)
    explained = np.cumsum(values) * scale**2 / (variance.sum() or 1.0)
    return int(min(np.searchsorted(explained, share) + 1, n_axes))


def moments(X, weight):
    """Return the weighted mean and variance of each column, and the scale of all.

    The scale is the root of the mean variance, or 1 if all columns are constant.
    """
    if sparse.issparse(X):
        mean, variance = mean_variance_axis(X.astype(np.float64), 0, weights=weight)
    else:
        total = weight.sum()
        # Shifted by one of the rows, the mean of a constant column is exact.
        row = dense(X[[np.argmax(weight > 0)]])[0]
        mean = row + _sum_of_blocks(X, weight, lambda b, w: w @ (b - row)) / total
        # The mean of the residuals is the rounding error of the first pass.
        mean = mean + _sum_of_blocks(X, weight, lambda b, w: w @ (b - mean)) / total
        squares = _sum_of_blocks(X, weight, lambda b, w: w @ np.square(b - mean))
        variance = squares / total
    return mean, variance, float(np.sqrt(variance.mean())) or 1.0


def principal_axes(X, weight, mean, scale, n_axes):
    """Return the largest eigenvalues and eigenvectors of the covariance / scale^2.

    Tall matrices use the covariance, summed over blocks of rows. Small matrices use a
    full singular value decomposition. All others use Lanczos iterations, which only
    need products of the matrix with vectors.

    Returns
    -------
    values : ndarray of shape (n_axes,)
        Eigenvalues in decreasing order.

    axes : ndarray of shape (n_axes, n_features)
        Eigenvectors of length 1.
    """
    n, d = X.shape
    if not n_axes:
        return np.zeros(0), np.zeros((0, d))
    if n < MIN_ROWS_PER_FEATURE * d and n * d * min(n, d) <= MAX_SVD_OPERATIONS:
        return _axes_by_svd(X, weight, mean, scale, n_axes)
    if d <= MAX_COVARIANCE_FEATURES and (d <= n or not sparse.issparse(X)):
        return _axes_by_covariance(X, weight, mean, scale, n_axes)
    return _axes_by_lanczos(X, weight, mean, scale, n_axes)


def _sum_of_blocks(X, weight, function):
    """Return the sum of `function(rows, weights)` over blocks of dense rows."""
    return sum(function(dense(X[rows]), weight[rows]) for rows in row_blocks(*X.shape))


def _axes_by_svd(X, weight, mean, scale, n_axes):
    centered = np.sqrt(weight)[:, np.newaxis] * ((dense(X) - mean) / scale)
    _, singular, axes = linalg.svd(centered, full_matrices=False)
    return singular[:n_axes] ** 2 / weight.sum(), axes[:n_axes]


def _axes_by_covariance(X, weight, mean, scale, n_axes):
    def scatter(block, w):
        centered = (block - mean) / scale
        return (centered * w[:, np.newaxis]).T @ centered

    covariance = _sum_of_blocks(X, weight, scatter) / weight.sum()
    d = len(mean)
    values, vectors = linalg.eigh(covariance, subset_by_index=(d - n_axes, d - 1))
    # eigh returns eigenvalues in increasing order, and eigenvectors as columns.
    return values[::-1], vectors.T[::-1]


def _axes_by_lanczos(X, weight, mean, scale, n_axes):
    n, d = X.shape
    # ARPACK cannot compute all eigenvectors.
    if n_axes >= min(n, d) - 1:
        return _axes_by_svd(X, weight, mean, scale, n_axes)
    covariance = LinearOperator(
        (d, d),
        matvec=lambda v: _covariance_times(X, weight, mean, v.ravel()) / scale**2,
        dtype=np.float64,
    )
    # A fixed start makes Lanczos deterministic. A vector of ones could be orthogonal to
    # an axis, and that axis would not be found.
    start = np.random.default_rng(0).standard_normal(d)
    values, vectors = eigsh(covariance, k=n_axes, v0=start)
    order = np.argsort(values)[::-1]
    return values[order], vectors.T[order]


def _covariance_times(X, weight, mean, v):
    """Return the covariance times a vector, without centering sparse rows."""
    if sparse.issparse(X):
        # (X - mean)' W (X - mean) v, with the means subtracted after the products.
        # (n_rows,)
        scores = weight * (X @ v - mean @ v)
        return (X.T @ scores - mean * scores.sum()) / weight.sum()
    product = _sum_of_blocks(X, weight, lambda b, w: ((b - mean) @ v * w) @ (b - mean))
    return product / weight.sum()
