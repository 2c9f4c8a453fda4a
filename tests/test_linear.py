"""The linear path is PCA's solution, for every matrix and by every way to find it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.decomposition import PCA

from skae.data import _pca as _linear
from skae.data._pca import fit_linear, n_axes_for_share

ROUTES = {
    "svd": {"TALL": np.inf, "SVD_OPERATIONS": np.inf},
    "covariance": {"TALL": 0, "COVARIANCE_FEATURES": np.inf},
    "lanczos": {"TALL": 0, "COVARIANCE_FEATURES": 0},
}
SHAPES = {"wide": (9, 20), "tall": (60, 5), "square": (12, 12), "two rows": (2, 6)}


def table(n, d, seed=0):
    """Return rows of full rank, with axes of clearly different variance."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * 0.8 ** np.arange(d) + rng.uniform(-3, 3, d)


def force(monkeypatch, route):
    for name, value in ROUTES[route].items():
        monkeypatch.setattr(_linear, name, value)


def fit(X, n_components, weight=None):
    return fit_linear(
        X, np.ones(X.shape[0]) if weight is None else weight, n_components
    )


def assert_same_path(path, other, rtol=1e-7):
    assert_allclose(path.mean, other.mean, rtol=rtol, atol=1e-9)
    assert_allclose(path.scale, other.scale, rtol=rtol)
    assert_allclose(path.axes, other.axes, atol=1e-6)
    assert_allclose(path.deviations, other.deviations, rtol=rtol)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("route", ROUTES)
def test_axes_and_mean_are_those_of_pca(shape, route, monkeypatch):
    force(monkeypatch, route)
    X = table(*shape)
    k = min(3, min(shape) - 1)
    path, pca = fit(X, k), PCA(k, svd_solver="full").fit(X)
    assert_allclose(path.mean, pca.mean_)
    assert_allclose(path.axes, pca.components_, atol=1e-6)
    deviations = np.sqrt(pca.explained_variance_ * (len(X) - 1) / len(X))
    assert_allclose(path.deviations, deviations, rtol=1e-6)
    assert_allclose(path.scale, np.sqrt(X.var(axis=0).mean()))


@pytest.mark.parametrize("route", ["covariance", "lanczos"])
def test_large_shapes_choose_their_route(route, monkeypatch):
    force(monkeypatch, route)
    asked = []
    way = getattr(_linear, f"_axes_by_{route}")
    monkeypatch.setattr(
        _linear, f"_axes_by_{route}", lambda *a: asked.append(route) or way(*a)
    )
    fit(table(60, 5), 2)
    assert asked == [route]


@pytest.mark.parametrize(("n", "d", "k"), [(3, 8, 5), (20, 4, 7), (1, 4, 2), (6, 1, 2)])
def test_axes_past_the_shape_are_zero(n, d, k):
    X = table(n, d)
    path = fit(X, k)
    rank = min(n, d)
    assert path.axes.shape == (k, d)
    assert_array_equal(path.axes[rank:], 0)
    residual = X - path.mean
    assert_allclose(residual @ path.axes.T @ path.axes, residual, atol=1e-9)


@pytest.mark.parametrize("route", ROUTES)
def test_constant_columns_have_no_part_in_any_axis(route, monkeypatch):
    force(monkeypatch, route)
    X = table(40, 6)
    X[:, 2], X[:, 4] = 0.1, 1e7 / 3
    path = fit(X, 3)
    assert_array_equal(path.axes[:, [2, 4]], 0)
    assert_array_equal(path.mean[[2, 4]], [0.1, 1e7 / 3])


def test_constant_matrix_has_scale_one_and_no_axes():
    path = fit(np.full((5, 3), 0.1), 2)
    assert path.scale == 1
    assert_array_equal(path.deviations, 0)
    assert_array_equal(path.axes, 0)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", [(40, 8), (9, 20)])
def test_sparse_equals_dense(route, shape, monkeypatch):
    X = table(*shape)
    X[np.abs(X) < 1] = 0
    expected = fit(X, 3)
    force(monkeypatch, route)
    assert_same_path(fit(sparse.csr_array(X), 3), expected)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", [(30, 6), (8, 20)])
def test_weights_equal_repetition(route, shape, monkeypatch):
    force(monkeypatch, route)
    X = table(*shape)
    weight = np.random.default_rng(1).integers(1, 5, len(X)).astype(float)
    assert_same_path(fit(X, 3, weight), fit(X.repeat(weight.astype(int), axis=0), 3))


def test_scale_of_the_weights_does_not_matter():
    X = table(30, 6)
    weight = np.random.default_rng(1).uniform(0.1, 2, 30)
    assert_same_path(fit(X, 3, weight), fit(X, 3, 7 * weight))


@pytest.mark.parametrize("route", ROUTES)
def test_memory_map_equals_array_and_blocks_equal_the_whole(
    route, tmp_path, monkeypatch
):
    X = table(50, 7)
    force(monkeypatch, route)
    expected = fit(X, 3)
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr("skae._table.BLOCK_ENTRIES", 7 * 8)
    monkeypatch.setattr("skae._table.LEAST_ROWS", 1)
    assert_same_path(fit(np.load(tmp_path / "X.npy", mmap_mode="r"), 3), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_floats_are_computed_in_float64(dtype):
    X = table(40, 5).astype(dtype)
    assert_same_path(fit(X, 3), fit(X.astype(np.float64), 3), rtol=1e-12)


@pytest.mark.parametrize("route", ROUTES)
def test_means_that_dwarf_the_spread_are_exact(route, monkeypatch):
    force(monkeypatch, route)
    spread = table(200, 4)
    far = spread + 1e6 * spread.std()
    exact = far[0] + (far - far[0]).mean(axis=0)
    path = fit(far, 2)
    assert_allclose(path.mean, exact, rtol=3e-16)
    assert_allclose(path.scale, fit(spread, 2).scale, rtol=1e-8)
    assert_allclose(path.axes, fit(spread, 2).axes, atol=1e-8)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("shape", [(60, 8), (7, 12)])
def test_number_of_axes_for_a_share_is_that_of_pca(share, shape):
    X = table(*shape)
    wanted = PCA(share, svd_solver="full").fit(X).n_components_
    assert n_axes_for_share(X, np.ones(len(X)), share) == wanted
