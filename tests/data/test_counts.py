"""PCA of transformed rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.decomposition import PCA

from skae.data._counts import fit_input_pca, transformed
from skae.data._layout import NumericLayout
from skae.losses import LOG1P

RNG = np.random.default_rng(0)
X = RNG.poisson(RNG.gamma(0.5, 4.0, (200, 6))).astype(float)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_solution_is_pca_of_transformed_rows_with_the_moments_of_the_rows(
    kind, dtype
):
    rows = kind(X.astype(dtype))
    pca = fit_input_pca(NumericLayout((6,)), rows, np.ones(200), 3, LOG1P)
    expected = PCA(3, svd_solver="full").fit(np.log1p(X))
    assert_allclose(np.abs(pca.axes @ expected.components_.T), np.eye(3), atol=1e-5)
    assert_allclose(pca.deviations**2, expected.explained_variance_ * 199 / 200)
    assert_allclose(pca.input_scale, np.sqrt(np.log1p(X).var(axis=0).mean()))
    assert_allclose(pca.scale, np.sqrt(X.var(axis=0).mean()), rtol=1e-6)
    assert_allclose(pca.mean, X.mean(axis=0), rtol=1e-6)
    assert_allclose(pca.embedding.highest, X.max(axis=0))


def test_a_transformed_sparse_matrix_stays_sparse():
    rows = sparse.random_array((50, 400), density=0.01, rng=0, format="csr")
    result = transformed(rows, LOG1P)
    assert result.nnz == rows.nnz
    assert_allclose(result.toarray(), np.log1p(rows.toarray()))


def test_without_a_transform_the_solution_is_that_of_the_layout():
    layout, weight = NumericLayout((6,)), np.ones(200)
    pca = fit_input_pca(layout, X, weight, 2, None)
    assert_allclose(pca.axes, layout.fit_pca(X, weight, 2).axes)
    assert pca.input_scale == pca.scale
    assert pca.embedding is None
