"""PCA of transformed data, for losses whose encoder reads a function of the rows."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from skae.data._pca import PCASolution, fit_pca, moments
from skae.data._rows import LazyRows, dense, row_blocks


@dataclass(frozen=True)
class CountEmbedding:
    """Standardization of the encoder's inputs, and the range of the data.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Mean of the rows.

    scale : float
        Scale of the rows.

    input_mean : ndarray of shape (n_features,)
        Mean of the transformed rows.

    input_scale : float
        Scale of the transformed rows.

    highest : ndarray of shape (n_features,)
        The largest value of each column.
    """

    mean: np.ndarray
    scale: float
    input_mean: np.ndarray
    input_scale: float
    highest: np.ndarray


def transformed(matrix, transform):
    """Return a matrix whose rows are transformed when they are read."""
    if sparse.issparse(matrix):
        result = matrix.copy()
        result.data = transform.array(matrix.data.astype(np.float64))
        return result
    return LazyRows(matrix, transform.array, matrix.shape[1])


def fit_input_pca(layout, X, weight, n_axes: int, transform) -> PCASolution:
    """Return PCA's solution for the encoder's inputs, with the moments of the rows."""
    if transform is None:
        return layout.fit_pca(X, weight, n_axes)
    matrix = layout.as_matrix(X, weight)
    mean, _, scale = moments(matrix, weight)
    pca = fit_pca(transformed(matrix, transform), weight, n_axes)
    highest = np.zeros(matrix.shape[1])
    for block in row_blocks(*matrix.shape):
        # Of all rows, also those of weight 0: an extreme row may be one of them.
        np.maximum(highest, dense(matrix[block]).max(axis=0), out=highest)
    embedding = CountEmbedding(mean, scale, pca.mean, pca.scale, highest)
    return replace(pca, mean=mean, scale=scale, output_mean=mean, embedding=embedding)
