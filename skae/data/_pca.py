"""PCA of weighted rows of any shape, dense or sparse, in memory or memory-mapped.

Unlike :class:`sklearn.decomposition.PCA`, these functions take sample weights, read the
rows in blocks, and pad the axes with zeros if the rank is less than `n_components`. All
results are deterministic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.extmath import svd_flip
from sklearn.utils.sparsefuncs import mean_variance_axis

from skae.data._rows import LazyRows, dense, row_blocks
from skae.data._shared_rows import SharedRows
from skae.data._sources import Source

MAX_SVD_OPERATIONS = 5e8  # about 0.2 s on one core
MIN_ROWS_PER_FEATURE = 10  # from here on the covariance is accurate enough
MAX_SQUARE = 2048  # rows of a covariance or Gram matrix of 32 MB
MAX_LANCZOS_AXES = 50  # for more, products with matrices are faster than with vectors
MAX_RANDOMIZED = 0.25  # of all axes; for more, the square matrix is not slower
RANDOMIZED_AXES = 64  # at first, for a share of variance
OVERSAMPLING = 10  # axes; at least 10 are recommended by Halko et al. 2011
MIN_ITERATIONS, MAX_ITERATIONS = 4, 15
RANDOMIZED_TOL = 1e-5  # relative increase of the explained variance by an iteration


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
        n_steps * embedding_size for tokens. Axes beyond the rank of the centered rows
        are zero. None for a fitted model, whose axes have been trained.

    deviations : ndarray of shape (n_components,) or None
        Standard deviations along the axes, in the unit of the encoder's inputs.

    output_mean : ndarray of shape (n_outputs,) or None
        The mean as the loss compares it: `mean`, or for tokens the frequency of each
        token at each step.

    embedding : TokenEmbedding, CountEmbedding, FillAxes or None, default=None
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
    axes, deviations = fit_axes(X, weight, mean, variance, scale, n_components)
    return PCASolution(mean, scale, axes, deviations, output_mean=mean)


def fit_axes(X, weight, mean, variance, scale, n_components):
    """Return axes of length 1 and the standard deviations along them.

    Parameters
    ----------
    X, weight, n_components : matrix, ndarray, int
        As in `fit_pca`.

    mean, variance, scale : ndarray, ndarray, float
        Moments of the columns; see `moments`.

    Returns
    -------
    axes : ndarray of shape (n_components, n_features)
        The axes; zero beyond the rank.

    deviations : ndarray of shape (n_components,)
        The standard deviations, in the unit of X.
    """
    axes, deviations = np.zeros((n_components, X.shape[1])), np.zeros(n_components)
    # Equal rows have no axes, and iterations could not start.
    n_axes = min(n_components, *X.shape) if variance.any() else 0
    if n_axes:
        values, found = principal_axes(X, weight, mean, scale, n_axes)
        rank = np.sum(values > rounding_error(X, mean, variance, values[0]))
        # The same signs as in sklearn.decomposition.PCA.
        _, axes[:rank] = svd_flip(None, found[:rank], u_based_decision=False)
        # Constant columns get weight 0, not a rounding error that training could
        # amplify.
        axes[:, variance == 0] = 0.0
        deviations[:rank] = scale * np.sqrt(values[:rank])
    return axes, deviations


def n_axes_for_share(X, weight, share):
    """Return the fewest axes that explain a share of the variance, at most the rank."""
    mean, variance, scale = moments(X, weight)
    if not variance.any():
        return 1
    total = variance.sum() / scale**2

    def n_needed(values):
        return int(np.searchsorted(np.cumsum(values) / total, share) + 1)

    shortest, size = min(X.shape), RANDOMIZED_AXES
    if not is_small(*X.shape) and shortest > MAX_SQUARE:
        while size <= MAX_RANDOMIZED * shortest:
            values, _ = _subspace(X, weight, mean, scale, size, n_needed)
            if n_needed(values) + OVERSAMPLING <= size:
                return n_needed(values)
            size *= 2
    values = _all_values(X, weight, mean, scale)
    rank = np.sum(values > rounding_error(X, mean, variance, values[0]))
    return int(min(n_needed(values), rank))


def moments(X, weight):
    """Return the weighted mean and variance of each column, and the scale of all.

    The scale is the root of the mean variance, or 1 if all columns are constant.
    """
    if isinstance(X, Source):
        mean, variance = _moments_by_merging(X, weight)
    else:
        mean, variance = (_sparse_moments if sparse.issparse(X) else _moments)(
            X, weight
        )
    return mean, variance, float(np.sqrt(variance.mean())) or 1.0


def _moments(X, weight):
    total = weight.sum()
    # Shifted by one of the rows, the mean of a constant column is exact.
    row = dense(X[[np.argmax(weight > 0)]])[0]
    mean = row + _sum_of_blocks(X, weight, lambda b, w: w @ (b - row)) / total
    # The mean of the residuals is the rounding error of the first pass.
    mean = mean + _sum_of_blocks(X, weight, lambda b, w: w @ (b - mean)) / total
    squares = _sum_of_blocks(X, weight, lambda b, w: w @ np.square(b - mean))
    return mean, squares / total


def _moments_by_merging(X, weight):
    """Return moments after a single pass over the rows (Chan et al. 1983)."""
    own, own_weight = X.own, weight[X.position]
    blocks = ((own[b], own_weight[b]) for b in row_blocks(*own.shape))
    # Of a block in memory, with several passes.
    parts = ((w.sum(), *_moments(rows, w)) for rows, w in blocks if w.any())
    start = 0.0, np.zeros(X.shape[1]), np.zeros(X.shape[1])
    # Of the blocks of each process, and then of all processes.
    _, mean, variance = reduce(_merge, X.gather(reduce(_merge, parts, start)), start)
    return mean, variance


def _merge(first, second):
    """Return the weight, mean and variance of two parts together."""
    total, shift = first[0] + second[0], second[1] - first[1]
    if not total:
        return first
    share = second[0] / total
    variance = (1 - share) * (first[2] + share * np.square(shift)) + share * second[2]
    return total, first[1] + share * shift, variance


def _sparse_moments(X, weight):
    X = X if weight.all() else X[weight > 0]
    X, weight = X.astype(np.float64, copy=False), weight[weight > 0]
    mean, variance = mean_variance_axis(X, 0, weights=weight)
    low, high = (extreme(axis=0).toarray().ravel() for extreme in (X.min, X.max))
    # Rounding errors of constant columns would count as variance.
    is_constant = low == high
    return np.where(is_constant, low, mean), np.where(is_constant, 0.0, variance)


def principal_axes(X, weight, mean, scale, n_axes):
    """Return the largest eigenvalues and eigenvectors of the covariance / scale^2.

    Small matrices use a full singular value decomposition. If the smaller side of the
    matrix is short, or almost all axes are needed, the covariance is summed over blocks
    of rows, or for wide matrices the Gram matrix. All others use products of the matrix
    with vectors: Lanczos iterations for few axes, else subspace iterations with a
    random start (Halko et al. 2011).

    Returns
    -------
    values : ndarray of shape (n_axes,)
        Eigenvalues in decreasing order.

    axes : ndarray of shape (n_axes, n_features)
        Eigenvectors of length 1.
    """
    n, d = X.shape
    shortest = min(n, d)
    # ARPACK cannot compute all eigenvectors.
    is_lanczos = n_axes <= MAX_LANCZOS_AXES and n_axes < shortest - 1
    if is_small(n, d):
        solver = _axes_by_svd
    elif is_lanczos and (shortest > MAX_SQUARE or (n < d and sparse.issparse(X))):
        solver = _axes_by_lanczos
    elif shortest > MAX_SQUARE and n_axes <= MAX_RANDOMIZED * shortest:
        solver = _axes_by_subspace
    else:
        solver = _axes_by_gram if n < d else _axes_by_covariance
    return solver(X, weight, mean, scale, n_axes)


def is_small(n, d):
    """Return whether a full decomposition of a matrix takes little time."""
    return n < MIN_ROWS_PER_FEATURE * d and n * d * min(n, d) <= MAX_SVD_OPERATIONS


def rounding_error(X, mean, variance, largest):
    """Return the size up to which eigenvalues are rounding errors.

    Parameters
    ----------
    X : matrix of shape (n_rows, n_features)
        The rows.

    mean, variance : ndarray of shape (n_features,)
        Mean and variance of each column.

    largest : float
        The largest eigenvalue.
    """
    epsilon = np.finfo(np.float64).eps
    # As in numpy.linalg.matrix_rank, for singular values or for their squares.
    relative = epsilon * max(X.shape)
    # The mean row's squared length in units of the scale. Constant columns are exact.
    square = np.square(mean[variance > 0] / np.sqrt(variance.mean())).sum()
    if is_small(*X.shape):
        return relative**2 * largest + (4 * epsilon) ** 2 * square
    if sparse.issparse(X):
        # The means are subtracted after the products.
        return relative * (largest + square)
    # Rows with large means have rounding errors before they are centered.
    return relative * largest + (4 * epsilon) ** 2 * square


def _sum_of_blocks(X, weight, function):
    """Return the sum of `function(rows, weights)` over blocks of dense rows."""
    shared = X.X if isinstance(X, LazyRows) else X
    if isinstance(shared, SharedRows):
        own, weight = shared.own, weight[shared.position]
        own = LazyRows(own, X.function, X.shape[1]) if isinstance(X, LazyRows) else own
        # Zeros of the shape of the sum, if this process has no rows.
        zeros = function(np.empty((0, X.shape[1])), weight[:0])
        return shared.sum(zeros + _sum_of_blocks(own, weight, function))
    return sum(function(dense(X[rows]), weight[rows]) for rows in row_blocks(*X.shape))


def _root_weight(weight):
    """Return factors of the rows whose Gram matrix has the covariance's eigenvalues."""
    return np.sqrt(weight / weight.sum())[:, np.newaxis]


def _standardized(X, weight, mean, scale):
    """Return all rows, centered and multiplied by the root of their weights."""
    centered = dense(X) - mean
    centered /= scale
    centered *= np.sqrt(weight)[:, np.newaxis]
    return centered


def _covariance(X, weight, mean, scale):
    """Return the covariance of columns / scale^2, (n_features, n_features)."""

    def scatter(block, w):
        centered = (block - mean) / scale
        return (centered * w[:, np.newaxis]).T @ centered

    return _sum_of_blocks(X, weight, scatter) / weight.sum()


def _gram(X, weight, mean, scale):
    """Return the products of rows, which have the eigenvalues of the covariance."""
    n, root = X.shape[0], _root_weight(weight) / scale
    gram = np.empty((n, n))
    for rows in row_blocks(*X.shape):
        # (n_features, n_block)
        block = (root[rows] * (dense(X[rows]) - mean)).T
        gram[:, rows] = root * _centered_times(X, mean, block)
    return gram


def _all_values(X, weight, mean, scale):
    """Return all eigenvalues of the covariance / scale^2, in decreasing order."""
    n, d = X.shape
    if is_small(n, d):
        singular = linalg.svdvals(_standardized(X, weight, mean, scale))
        return singular**2 / weight.sum()
    square = (_gram if n < d else _covariance)(X, weight, mean, scale)
    return linalg.eigvalsh(square)[::-1]


def _largest_eigenvectors(square, n_axes):
    """Return eigenvalues, and eigenvectors as columns, in decreasing order."""
    n = len(square)
    # eigh returns eigenvalues in increasing order.
    values, vectors = linalg.eigh(square, subset_by_index=(n - n_axes, n - 1))
    return values[::-1], vectors[:, ::-1]


def _axes_by_svd(X, weight, mean, scale, n_axes):
    centered = _standardized(X, weight, mean, scale)
    _, singular, axes = linalg.svd(centered, full_matrices=False)
    return singular[:n_axes] ** 2 / weight.sum(), axes[:n_axes]


def _axes_by_covariance(X, weight, mean, scale, n_axes):
    covariance = _covariance(X, weight, mean, scale)
    values, vectors = _largest_eigenvectors(covariance, n_axes)
    return values, vectors.T


def _axes_by_gram(X, weight, mean, scale, n_axes):
    gram = _gram(X, weight, mean, scale)
    values, vectors = _largest_eigenvectors(gram, n_axes)
    return values, _axes_of_rows(X, weight, mean, vectors)


def _axes_of_rows(X, weight, mean, vectors):
    """Return principal axes for eigenvectors of the Gram matrix."""
    axes = _transposed_times(X, mean, _root_weight(weight) * vectors)
    # Small axes contain rounding errors of larger ones, which come first.
    return linalg.qr(axes, mode="economic", overwrite_a=True)[0].T


def _axes_by_lanczos(X, weight, mean, scale, n_axes):
    d = X.shape[1]
    covariance = LinearOperator(
        (d, d),
        matvec=lambda v: (
            _covariance_times(X, weight, mean, v.reshape(-1, 1)) / scale**2
        ),
        dtype=np.float64,
    )
    # A fixed start makes Lanczos deterministic. A vector of ones could be orthogonal to
    # an axis, and that axis would not be found.
    start = np.random.default_rng(0).standard_normal(d)
    values, vectors = eigsh(covariance, k=n_axes, v0=start)
    order = np.argsort(values)[::-1]
    return values[order], vectors.T[order]


def _axes_by_subspace(X, weight, mean, scale, n_axes):
    n, d = X.shape
    size = min(n_axes + OVERSAMPLING, n, d)
    values, vectors = _subspace(X, weight, mean, scale, size, lambda values: n_axes)
    values, vectors = values[:n_axes], vectors[:, :n_axes]
    return values, _axes_of_rows(X, weight, mean, vectors) if n < d else vectors.T


def _subspace(X, weight, mean, scale, size, n_needed: Callable):
    """Return the largest eigenvalues and eigenvectors by subspace iterations.

    The iterations start from random vectors (Halko et al. 2011) and end when they no
    longer increase the variance that the needed vectors explain. They work with the
    smaller one of covariance and Gram matrix, which is not computed.

    Parameters
    ----------
    X, weight, mean, scale : matrix, ndarray, ndarray, float
        The rows, and how they are standardized.

    size : int
        Number of vectors.

    n_needed : callable
        `n_needed(values)` returns how many of the largest eigenvalues are needed. If
        they are almost as many as there are vectors, few iterations are made.

    Returns
    -------
    values : ndarray of shape (size,)
        Eigenvalues in decreasing order.

    vectors : ndarray of shape (min(n_rows, n_features), size)
        Eigenvectors as columns.
    """
    n, d = X.shape
    times = _gram_times if n < d else _covariance_times
    product = np.random.default_rng(0).standard_normal((min(n, d), size))
    needed = explained = 0.0
    for n_iter in range(1, MAX_ITERATIONS + 1):
        basis = linalg.qr(product, mode="economic", overwrite_a=True)[0]
        product = times(X, weight, mean, basis) / scale**2
        values, rotation = _largest_eigenvectors(basis.T @ product, size)
        limits = needed, explained * (1 + RANDOMIZED_TOL)
        needed = n_needed(values)
        explained = values[:needed].sum()
        is_short = needed + OVERSAMPLING > size
        has_converged = needed == limits[0] and explained <= limits[1]
        if n_iter >= MIN_ITERATIONS and (is_short or has_converged):
            break
    return values, basis @ rotation


def _centered_times(X, mean, V):
    """Return the centered rows times a matrix, without centering sparse rows."""
    if sparse.issparse(X):
        return X @ V - mean @ V
    blocks = row_blocks(*X.shape)
    return np.concatenate([(dense(X[rows]) - mean) @ V for rows in blocks])


def _transposed_times(X, mean, U):
    """Return the transpose of the centered rows times a matrix."""
    if sparse.issparse(X):
        return X.T @ U - np.outer(mean, U.sum(axis=0))
    return _sum_of_blocks(X, U, lambda b, u: (b - mean).T @ u)


def _covariance_times(X, weight, mean, V):
    """Return the covariance times a matrix of shape (n_features, n)."""
    w = weight[:, np.newaxis] / weight.sum()
    if not sparse.issparse(X):
        # Both products of a block at once, since reading it may be slow.
        return _sum_of_blocks(X, w, lambda b, w: (b - mean).T @ ((b - mean) @ V * w))
    product = np.empty_like(V)
    # In blocks of columns, to bound the memory if there are many rows.
    for columns in row_blocks(V.shape[1], X.shape[0]):
        scores = w * _centered_times(X, mean, V[:, columns])
        product[:, columns] = _transposed_times(X, mean, scores)
    return product


def _gram_times(X, weight, mean, U):
    """Return the Gram matrix of weighted rows times a matrix of shape (n_rows, n)."""
    root, product = _root_weight(weight), np.empty_like(U)
    # In blocks of columns, to bound the memory if rows are wide.
    for columns in row_blocks(U.shape[1], X.shape[1]):
        V = _transposed_times(X, mean, root * U[:, columns])
        product[:, columns] = root * _centered_times(X, mean, V)
    return product
