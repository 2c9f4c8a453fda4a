"""PCA of weighted rows equals scikit-learn's, for all shapes, storages and solvers."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.decomposition import PCA

from skae.data import _pca
from skae.data._pca import fit_pca, moments, n_axes_for_share
from skae.data._sources import Source, blocks_of
from skae.data._validation import read_block

# Limits under which a solver is used for every matrix.
LARGE = {"MAX_SVD_OPERATIONS": 0, "MAX_SQUARE": 0, "MAX_RANDOMIZED": 1}
SOLVERS = {
    "svd": {"MIN_ROWS_PER_FEATURE": np.inf, "MAX_SVD_OPERATIONS": np.inf},
    "square": {"MAX_SVD_OPERATIONS": 0, "MAX_LANCZOS_AXES": 0},
    "lanczos": LARGE,
    "subspace": {**LARGE, "MAX_LANCZOS_AXES": 0},
}
SHAPES = {"wide": (9, 20), "tall": (60, 5), "square": (12, 12), "two rows": (2, 6)}


@pytest.fixture(params=SOLVERS)
def solver(request, monkeypatch):
    """Name of the solver that is used for every matrix."""
    use(request.param, monkeypatch)
    return request.param


def use(solver, monkeypatch):
    for name, value in SOLVERS[solver].items():
        monkeypatch.setattr(_pca, name, value)


def make_rows(n, d, seed=0):
    """Return rows of full rank, with axes of clearly different variance."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * 0.8 ** np.arange(d) + rng.uniform(-3, 3, d)


def fit(X, n_components, weight=None):
    weight = np.ones(X.shape[0]) if weight is None else weight
    return fit_pca(X, weight, n_components)


def assert_same_solution(pca, other, rtol=1e-7):
    assert_allclose(pca.mean, other.mean, rtol=rtol, atol=1e-9)
    assert_allclose(pca.scale, other.scale, rtol=rtol)
    assert_allclose(pca.axes, other.axes, atol=1e-6)
    assert_allclose(pca.deviations, other.deviations, rtol=rtol)


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_mean_and_axes_equal_those_of_sklearn(shape):
    X = make_rows(*shape)
    k = min(3, min(shape) - 1)
    pca, expected = fit(X, k), PCA(k, svd_solver="full").fit(X)
    assert_allclose(pca.mean, expected.mean_)
    assert_allclose(pca.axes, expected.components_, atol=1e-6)
    deviations = np.sqrt(expected.explained_variance_ * (len(X) - 1) / len(X))
    assert_allclose(pca.deviations, deviations, rtol=1e-6)


def test_scale_is_the_root_mean_square_of_centered_entries():
    X = make_rows(60, 5)
    assert_allclose(fit(X, 2).scale, np.sqrt(X.var(axis=0).mean()))


@pytest.mark.parametrize("shape", [(60, 5), (20, 60)])
@pytest.mark.parametrize("solver", SOLVERS)
def test_limits_determine_the_solver(solver, shape, monkeypatch):
    use(solver, monkeypatch)
    square = "covariance" if shape[0] >= shape[1] else "gram"
    name, called = f"_axes_by_{square if solver == 'square' else solver}", []
    function = getattr(_pca, name)
    monkeypatch.setattr(_pca, name, lambda *a: called.append(name) or function(*a))
    fit(make_rows(*shape), 2)
    assert called == [name]


@pytest.mark.parametrize(("n", "d", "k"), [(3, 8, 5), (20, 4, 7), (1, 4, 2), (6, 1, 2)])
def test_axes_beyond_the_shape_are_zero(n, d, k):
    pca = fit(make_rows(n, d), k)
    assert pca.axes.shape == (k, d)
    assert_array_equal(pca.axes[min(n, d) :], 0)
    assert_array_equal(pca.deviations[min(n, d) :], 0)


@pytest.mark.parametrize(("n", "d", "k"), [(3, 8, 5), (20, 4, 7), (1, 4, 2), (6, 1, 2)])
def test_all_axes_reconstruct_the_rows(n, d, k):
    X = make_rows(n, d)
    pca = fit(X, k)
    residual = X - pca.mean
    assert_allclose(residual @ pca.axes.T @ pca.axes, residual, atol=1e-9)


@pytest.mark.usefixtures("solver")
def test_constant_columns_have_weight_zero_and_an_exact_mean():
    X = make_rows(40, 6)
    X[:, 2], X[:, 4] = 0.1, 1e7 / 3
    pca = fit(X, 3)
    assert_array_equal(pca.axes[:, [2, 4]], 0)
    assert_array_equal(pca.mean[[2, 4]], [0.1, 1e7 / 3])


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("shape", [(90, 6), (20, 40)])
def test_large_constant_columns_do_not_hide_axes(shape):
    X = make_rows(*shape)
    pca = fit(np.c_[X, np.full(len(X), 1e15)], 3)
    assert_allclose(pca.axes[:, :-1], fit(X, 3).axes, atol=1e-6)
    assert (pca.deviations > 0).all()


def test_constant_matrix_has_scale_one_and_zero_axes():
    pca = fit(np.full((5, 3), 0.1), 2)
    assert pca.scale == 1
    assert_array_equal(pca.deviations, 0)
    assert_array_equal(pca.axes, 0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", [(40, 8), (9, 20)])
def test_sparse_equals_dense(solver, shape, monkeypatch):
    X = make_rows(*shape)
    X[np.abs(X) < 1] = 0
    expected = fit(X, 3)
    use(solver, monkeypatch)
    assert_same_solution(fit(sparse.csr_array(X), 3), expected)


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("shape", [(30, 6), (8, 20)])
def test_integer_weights_equal_repeated_rows(shape):
    X = make_rows(*shape)
    weight = np.random.default_rng(1).integers(1, 5, len(X))
    repeated = X.repeat(weight, axis=0)
    assert_same_solution(fit(X, 3, weight.astype(float)), fit(repeated, 3))


def test_rows_of_weight_zero_are_ignored():
    X, weight = make_rows(30, 6), np.repeat([0.0, 1.0], 15)
    assert_same_solution(fit(X, 3, weight), fit(X[15:], 3))


def test_a_factor_on_the_weights_changes_nothing():
    X = make_rows(30, 6)
    weight = np.random.default_rng(1).uniform(0.1, 2, 30)
    assert_same_solution(fit(X, 3, weight), fit(X, 3, 7 * weight))


@pytest.mark.usefixtures("solver")
def test_memory_map_in_blocks_equals_array(tmp_path, monkeypatch):
    X = make_rows(50, 7)
    expected = fit(X, 3)
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr("skae.data._rows.BLOCK_ENTRIES", 7 * 8)
    monkeypatch.setattr("skae.data._rows.MIN_BLOCK_ROWS", 1)
    assert_same_solution(fit(np.load(tmp_path / "X.npy", mmap_mode="r"), 3), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_floats_are_computed_in_float64(dtype):
    X = make_rows(40, 5).astype(dtype)
    assert_same_solution(fit(X, 3), fit(X.astype(np.float64), 3), rtol=1e-12)


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i8", "?"])
@pytest.mark.parametrize("shape", [(90, 6), (20, 40)])
def test_integers_and_booleans_are_computed_in_float64(convert, dtype, shape):
    X = (make_rows(*shape) * 9).astype(dtype)
    assert_same_solution(fit(convert(X), 3), fit(X.astype(float), 3), rtol=1e-12)
    share = n_axes_for_share(convert(X), np.ones(len(X)), 0.7)
    assert share == n_axes_for_share(X.astype(float), np.ones(len(X)), 0.7)


@pytest.mark.usefixtures("solver")
def test_means_much_larger_than_the_spread_are_exact():
    X = make_rows(200, 4)
    far = X + 1e6 * X.std()
    pca, expected = fit(far, 2), fit(X, 2)
    assert_allclose(pca.mean, far[0] + (far - far[0]).mean(axis=0), rtol=3e-16)
    assert_allclose(pca.scale, expected.scale, rtol=1e-8)
    assert_allclose(pca.axes, expected.axes, atol=1e-8)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_moments_equal_those_of_numpy(convert):
    X, weight = make_rows(30, 4), np.random.default_rng(1).random(30)
    mean, variance, _ = moments(convert(X), weight)
    expected = np.average(X, axis=0, weights=weight)
    assert_allclose(mean, expected)
    assert_allclose(variance, np.average((X - expected) ** 2, axis=0, weights=weight))


# Numbers of axes below the rank, and beyond it.


def of_rank(rank, n, d, offset):
    """Return rows whose centered matrix has a given rank."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((n, rank)), rng.standard_normal((rank, d))
    return factors[0] @ factors[1] + offset * rng.standard_normal(d)


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("offset", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("shape", [(9, 20), (60, 15), (200, 70), (70, 200)])
@pytest.mark.parametrize("rank", [0, 1, 3, 6])
def test_axes_beyond_the_rank_are_zero(rank, shape, convert, offset):
    X = of_rank(rank, *shape, offset)
    weight = np.arange(1.0, len(X) + 1)
    pca = fit(convert(X), 8, weight)
    assert np.isfinite(pca.axes).all()
    assert_array_equal(pca.axes[rank:], 0)
    assert_array_equal(pca.deviations[rank:], 0)
    assert (pca.deviations[:rank] > 0).all()
    assert_allclose(pca.axes[:rank] @ pca.axes[:rank].T, np.eye(rank), atol=1e-9)
    residual = X - pca.mean
    assert_allclose(residual @ pca.axes.T @ pca.axes, residual, atol=1e-6)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e7 / 3])
def test_equal_rows_have_an_exact_mean_scale_one_and_no_variance(convert, value):
    X, weight = np.full((40, 6), value), np.random.default_rng(0).random(40)
    X[0], weight[0] = 5.0, 0.0  # a row of weight zero, such as a validation row
    mean, variance, scale = moments(convert(X), weight)
    assert_array_equal(mean, X[1])
    assert_array_equal(variance, 0)
    assert scale == 1


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("rank", [0, 2, 5])
def test_no_more_axes_than_the_rank_are_needed_for_a_share(rank):
    X = of_rank(rank, 30, 40, offset=1.0)
    assert n_axes_for_share(X, np.ones(30), 1 - 1e-16) == max(1, rank)


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("shape", [(60, 8), (7, 12), (90, 120), (120, 90)])
def test_number_of_axes_for_a_share_equals_that_of_sklearn(share, shape, monkeypatch):
    monkeypatch.setattr(_pca, "RANDOMIZED_AXES", 5)
    monkeypatch.setattr(_pca, "OVERSAMPLING", 2)
    X = make_rows(*shape)
    expected = PCA(share, svd_solver="full").fit(X).n_components_
    assert n_axes_for_share(X, np.ones(len(X)), share) == expected


@pytest.mark.parametrize("shape", [(150, 200), (200, 150)])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_few_axes_for_a_share_take_few_products(shape, convert, monkeypatch):
    use("subspace", monkeypatch)
    monkeypatch.setattr(_pca, "RANDOMIZED_AXES", 16)
    monkeypatch.delattr(_pca, "_all_values")
    name, sizes = "_gram_times" if shape[0] < shape[1] else "_covariance_times", []
    times = getattr(_pca, name)
    monkeypatch.setattr(
        _pca, name, lambda *a: sizes.append(a[-1].shape[1]) or times(*a)
    )
    X = make_rows(*shape)
    assert n_axes_for_share(convert(X), np.ones(len(X)), 0.5) < 6
    assert sum(sizes) <= 16 * 6


def test_all_axes_may_be_needed_for_a_share():
    X = np.eye(1100)  # all directions but one have the same variance
    assert n_axes_for_share(sparse.csr_array(X), np.ones(1100), 0.95) == 1045


# Memory.


def peak_memory(function, *args):
    """Return the largest number of bytes that a call holds at the same time."""
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("solver")
def test_wide_rows_take_a_few_times_their_memory():
    X = make_rows(50, 20_000)
    assert peak_memory(fit, X, 3) < 5 * X.nbytes
    assert peak_memory(n_axes_for_share, X, np.ones(50), 0.9) < 5 * X.nbytes


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["square", "lanczos", "subspace"])
@pytest.mark.parametrize("shape", [(1200, 20_000), (20_000, 1200)])
def test_sparse_rows_are_never_dense_as_a_whole(shape, solver, monkeypatch):
    use(solver, monkeypatch)
    X = sparse.random_array(shape, density=0.001, format="csr", rng=0)
    budget = np.prod(shape) * 8 / 2  # half of the dense matrix
    assert peak_memory(n_axes_for_share, X, np.ones(shape[0]), 0.3) < budget
    assert peak_memory(fit, X, 20) < budget


def test_moments_of_blocks_are_those_of_all_rows(monkeypatch):
    monkeypatch.setattr("skae.data._rows.MAX_BLOCK_ROWS", 64)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 5)) + 1e6 * np.arange(5)
    X[:, 4] = 0.1
    weight = rng.integers(0, 3, 500).astype(float)
    weight[64:128] = 0
    source = Source(blocks_of(lambda: np.array_split(X, 7)), read_block)
    mean, variance, scale = moments(source, weight)
    expected = moments(X, weight)
    assert_allclose(mean, expected[0], rtol=1e-14)
    assert_allclose(variance, expected[1], rtol=1e-9)
    assert scale == pytest.approx(expected[2], rel=1e-9)
    assert (mean[4], variance[4]) == (0.1, 0)
