"""New rows resemble the training rows, and the same seed gives the same rows."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture

from skae import MLP, SKOPS_TRUSTED, AutoencoderTransformer, Regularizer
from skae._generation import (
    NUMBERS_PER_PARAMETER,
    candidate_mixtures,
    gaussian_mixture,
    n_parameters,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {"network": MLP((8,)), "max_iter": 2, "random_state": 0}
NAMES = ["a", "b", "c", "d", "e"]


class Ring(Regularizer):
    """A prior of codes of length 1, in every direction."""

    def prior(self, n_samples, n_components, generator):
        codes = torch.randn(n_samples, n_components, generator=generator)
        return codes / codes.norm(dim=1, keepdim=True)


class GlobalGenerator(Regularizer):
    """A prior that draws from the global generator."""

    def prior(self, n_samples, n_components, generator):
        return torch.rand(n_samples, n_components)


class Narrow(Regularizer):
    """A prior of one component."""

    def prior(self, n_samples, n_components, generator):
        return torch.zeros(n_samples, 1)


@pytest.fixture(scope="module")
def X():
    """Correlated features, of different means and scales."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 2)) @ rng.standard_normal((2, 5))
    rows = rows * [1, 2, 3, 1, 1] + [0, 5, -3, 100, 0]
    rows.flags.writeable = False
    return rows


@pytest.fixture(scope="module")
def model(X):
    return quick().fit(X)


def quick(n_components=2, **params):
    return AutoencoderTransformer(n_components, **QUICK | params)


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


def by_skops(model):
    return skops.io.loads(skops.io.dumps(model), trusted=list(SKOPS_TRUSTED))


def reconstruction(model, X):
    return model.inverse_transform(model.transform(X))


# Shape, container, type


@pytest.mark.parametrize("n_samples", [1, 2, 300, np.int64(7)])
def test_sample_returns_n_samples_rows(n_samples, model):
    assert model.sample(n_samples).shape == (n_samples, 5)


def test_sample_returns_one_row_by_default(model):
    assert model.sample().shape == (1, 5)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_rows_have_the_float_type_of_the_training_rows(dtype, X):
    model = quick().fit(X.astype(dtype))
    assert model.sample(5).dtype == dtype
    assert model.interpolate(X[0], X[1]).dtype == dtype


def test_rows_of_integers_give_floats(X):
    model = quick().fit(X.astype(int))
    assert model.sample(5).dtype == np.float64


CONTAINERS = {
    "pandas": (pd.DataFrame, lambda X: pd.DataFrame(X, columns=NAMES)),
    "polars": (pl.DataFrame, lambda X: pl.DataFrame(X, schema=NAMES)),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_rows_are_a_data_frame_if_fit_was_given_one(name, X):
    container, make = CONTAINERS[name]
    model = quick().fit(make(X))
    for rows in (model.sample(4), model.interpolate(make(X)[:1], X[1], n_steps=4)):
        assert isinstance(rows, container)
        assert list(rows.columns) == NAMES
        assert rows.shape == (4, 5)
    assert model.transform(make(X)[:3]).shape == (3, 2)


@pytest.mark.parametrize("name", CONTAINERS)
def test_set_output_determines_the_container(name, X):
    container, _ = CONTAINERS[name]
    model = quick().set_output(transform=name).fit(X)
    rows = model.sample(4)
    assert isinstance(rows, container)
    assert list(rows.columns) == ["x0", "x1", "x2", "x3", "x4"]
    with config_context(transform_output=name):
        assert isinstance(quick().fit(X).sample(), container)


def test_set_output_has_precedence_over_the_container_of_the_training_rows(X):
    frame = pd.DataFrame(X, columns=NAMES)
    model = quick().set_output(transform="polars").fit(frame)
    assert model.sample().columns == NAMES


def test_a_sampled_frame_can_be_appended_to_the_training_rows(X):
    frame = pd.DataFrame(X, columns=NAMES)
    model = quick().fit(frame)
    rows = model.sample(10)
    both = pd.concat([frame, rows], ignore_index=True)
    assert both.dtypes.equals(frame.dtypes)
    assert model.transform(rows).shape == (10, 2)


def test_rows_of_a_sparse_matrix_give_an_array(X):
    rows = quick().fit(sparse.csr_matrix(X)).sample(3)
    assert isinstance(rows, np.ndarray)


# Seeds


def test_the_same_seed_gives_the_same_rows(model, global_random_seed):
    seeds = [global_random_seed, global_random_seed, global_random_seed + 1]
    first, again, other = (model.sample(20, random_state=seed) for seed in seeds)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_without_a_seed_every_call_gives_other_rows(model):
    assert not np.allclose(model.sample(20), model.sample(20))


def test_a_random_state_is_drawn_from(model):
    state = np.random.RandomState(0)
    first, second = (model.sample(20, random_state=state) for _ in range(2))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(
        model.sample(20, random_state=np.random.RandomState(0)), first
    )


def test_sampling_does_not_change_the_model(model):
    before = pickle.dumps(model)
    model.sample(5)
    model.interpolate(np.zeros(5), np.ones(5))
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("roundtrip", [by_pickle, by_skops])
@pytest.mark.parametrize("frame", [False, True])
def test_a_loaded_model_gives_the_same_rows(roundtrip, frame, X):
    model = quick().fit(pd.DataFrame(X, columns=NAMES) if frame else X)
    rows, others = (m.sample(20, random_state=0) for m in (model, roundtrip(model)))
    assert type(rows) is type(others)
    np.testing.assert_array_equal(rows, others)


def test_a_loaded_model_with_a_prior_gives_the_same_rows(X):
    model = quick(regularizer=Ring()).fit(X)
    rows = by_pickle(model).sample(20, random_state=0)
    np.testing.assert_array_equal(rows, model.sample(20, random_state=0))


# Distribution


def test_moments_are_those_of_the_training_rows(X, global_random_seed):
    rows = quick(max_iter=0).fit(X).sample(20_000, random_state=global_random_seed)
    scale = X.std(axis=0)
    np.testing.assert_allclose(
        rows.mean(axis=0) / scale, X.mean(axis=0) / scale, atol=0.05
    )
    covariance = np.cov(X.T) / np.outer(scale, scale)
    np.testing.assert_allclose(
        np.cov(rows.T) / np.outer(scale, scale), covariance, atol=0.05
    )


def clusters():
    rng = np.random.default_rng(0)
    centers = np.repeat([[-5.0, 5, 0], [5, -5, 0]], 100, axis=0)
    return centers + rng.standard_normal(centers.shape)


def test_rows_lie_in_the_clusters_and_not_between_them(global_random_seed):
    rows = quick(max_iter=0).fit(clusters()).sample(1000, global_random_seed)
    left = rows[:, 0] < 0
    assert 0.4 < left.mean() < 0.6
    assert (np.abs(rows[:, 0]) > 1).all()


def test_rows_are_in_random_order(global_random_seed):
    rows = quick(max_iter=0).fit(clusters()).sample(1000, global_random_seed)
    halves = np.split(rows[:, 0] < 0, 2)
    assert abs(halves[0].mean() - halves[1].mean()) < 0.2


def test_rows_do_not_resemble_rows_of_weight_zero():
    weight = np.repeat([1.0, 0.0], 100)
    model = quick(max_iter=0).fit(clusters(), sample_weight=weight)
    assert (model.sample(500, random_state=0)[:, 0] < 0).all()


def test_clusters_are_as_frequent_as_their_weights():
    weight = np.repeat([1.0, 9.0], 100)
    rows = quick(max_iter=0).fit(clusters(), sample_weight=weight).sample(2000, 0)
    assert (rows[:, 0] < 0).mean() == pytest.approx(0.1, abs=0.03)


def test_codes_are_drawn_from_the_prior_if_there_is_one(X):
    model = quick(regularizer=Ring(), max_iter=0).fit(X)
    codes = model.transform(model.sample(50, random_state=0))
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-6)
    assert model._codes.shape == (0, 2)  # no mixture is fitted


def test_a_prior_that_ignores_its_generator_uses_the_seed(X):
    model = quick(regularizer=GlobalGenerator()).fit(X)
    before = torch.get_rng_state()
    first, again = (model.sample(9, random_state=0) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_prior_of_the_wrong_width_raises(X):
    with pytest.raises(ValueError, match=r"prior of Narrow.* but expected \(1, 2\)"):
        quick(regularizer=Narrow()).fit(X)


def test_the_no_op_regularizer_has_no_prior():
    assert Regularizer().prior(3, 2, torch.Generator()) is None


@pytest.mark.parametrize("loss", ["log_loss", "brier", "poisson"])
def test_rows_stay_in_the_domain_of_the_loss(loss, digits):
    X = digits / 16
    rows = quick(8, loss=loss, max_iter=5).fit(X).sample(2000, random_state=0)
    assert rows.min() >= 0
    assert loss == "poisson" or rows.max() <= 1


# Stored codes


def test_the_codes_of_all_rows_are_stored_if_there_are_few(X):
    model = quick().fit(X)
    np.testing.assert_allclose(model._codes, model.transform(X), atol=1e-6)


def test_at_most_1000_codes_are_stored():
    X = np.random.default_rng(0).standard_normal((2500, 3))
    model = quick(max_iter=0).fit(X)
    assert model._codes.shape == (1000, 2)
    spread = model.transform(X).std(axis=0)
    np.testing.assert_allclose(model._codes.std(axis=0), spread, rtol=0.1)


def test_partial_fit_stores_codes_of_the_latest_rows(X):
    model = quick()
    for chunk in np.split(X, 3):
        model.partial_fit(chunk)
        codes = model._codes[-len(chunk) :]
        np.testing.assert_allclose(codes, model.transform(chunk), atol=1e-6)
        assert model.sample(5, random_state=0).shape == (5, 5)


def test_a_warm_start_stores_codes_of_the_current_model(X):
    model = quick(warm_start=True, early_stopping=False).fit(X).fit(X)
    np.testing.assert_allclose(model._codes, model.transform(X), atol=1e-6)


def test_dropped_components_are_not_sampled(X):
    model = quick(0.8, max_iter=5).fit(X)
    assert model._codes.shape == (300, model.n_components_)
    assert model.sample(3).shape == (3, 5)


# The mixture


def test_one_gaussian_is_selected_for_a_gaussian(global_random_seed):
    codes = np.random.default_rng(global_random_seed).standard_normal((500, 3))
    assert gaussian_mixture(codes, seed=0).n_components == 1


def test_two_gaussians_are_selected_for_two_clusters(global_random_seed):
    codes = np.random.default_rng(global_random_seed).standard_normal((500, 3))
    codes[::2] += 8
    assert gaussian_mixture(codes, seed=0).n_components == 2


@pytest.mark.parametrize("kind", ["diag", "tied", "full"])
@pytest.mark.parametrize("m", [1, 3])
def test_parameters_of_mixtures_are_counted(kind, m, X):
    mixture = GaussianMixture(m, covariance_type=kind, random_state=0).fit(X)
    # BIC is n_parameters * log(n_samples) - 2 * log_likelihood.
    n_free = (mixture.bic(X) + 2 * len(X) * mixture.score(X)) / np.log(len(X))
    n_weights = m - 1  # which are not counted
    assert n_parameters(m, 5)[kind] + n_weights == pytest.approx(n_free)


@pytest.mark.parametrize("n_codes", [1, 2, 10, 100, 1000])
@pytest.mark.parametrize("n_components", [1, 5, 50])
def test_a_mixture_has_few_parameters_per_number(n_codes, n_components):
    candidates = candidate_mixtures(n_codes, n_components)
    assert candidates[0] == (1, "diag")
    for m, kind in candidates[1:]:
        n_per_parameter = n_codes * n_components / n_parameters(m, n_components)[kind]
        assert n_per_parameter >= NUMBERS_PER_PARAMETER
    assert len(candidates) > 1 or n_codes < 100


# Unusual rows


UNUSUAL = {
    "one row": lambda X: X[:1],
    "two rows": lambda X: X[:2],
    "five rows": lambda X: X[:5],
    "repeated rows": lambda X: np.repeat(X[:2], 30, axis=0),
    "constant": lambda X: np.ones((50, 5)),
    "constant columns": lambda X: X * [1, 0, 1, 0, 0],
    "scale 1e-30": lambda X: X * 1e-30,
    "scale 1e30": lambda X: X * 1e30,
    "float32 largest": lambda X: np.where(X > 0, np.float32(3e38), np.float32(0)),
    "one outlier": lambda X: np.vstack([X, X[:1] * 1e12]),
    "wide": lambda X: np.tile(X[:30], 600),
}


@pytest.mark.filterwarnings("ignore:X has one row")
@pytest.mark.parametrize("name", UNUSUAL)
def test_rows_are_finite_and_resemble_unusual_training_rows(name, X):
    rows = UNUSUAL[name](X)
    model = quick(max_iter=1).fit(rows)
    with warnings.catch_warnings(action="error"):
        drawn = model.sample(40, random_state=0).astype(float)
    assert np.isfinite(drawn).all()
    constant = np.ptp(rows, axis=0) == 0
    expected = np.broadcast_to(rows[0, constant], drawn[:, constant].shape)
    scale = float(np.abs(rows).max())
    np.testing.assert_allclose(drawn[:, constant], expected, atol=1e-6 * scale)
    assert np.abs(drawn).max() <= 10 * scale


@pytest.mark.filterwarnings("ignore:n_components=9 is larger than")
@pytest.mark.parametrize("n_components", [1, 5, 9])
def test_codes_of_any_width_are_sampled(n_components, X):
    assert quick(n_components).fit(X).sample(3).shape == (3, 5)


def test_many_rows_are_drawn_in_blocks(model):
    assert model.sample(300_000, random_state=0).shape == (300_000, 5)


# Interpolation


@pytest.mark.parametrize("n_steps", [2, 3, 10])
def test_the_first_and_last_rows_are_reconstructions(n_steps, model, X):
    path = model.interpolate(X[0], X[1], n_steps)
    ends = reconstruction(model, X[:2])
    assert path.shape == (n_steps, 5)
    np.testing.assert_allclose(path[[0, -1]], ends, rtol=1e-12)


def test_the_path_of_pca_is_straight(X):
    path = (
        quick(max_iter=0, precision="float64").fit(X).interpolate(X[0], X[1], n_steps=3)
    )
    np.testing.assert_allclose(path[1], path[[0, 2]].mean(axis=0), rtol=1e-9)


def test_the_codes_of_the_path_are_evenly_spaced(X):
    model = quick(max_iter=0, precision="float64").fit(X)
    codes = model.transform(model.interpolate(X[0], X[1], n_steps=5))
    np.testing.assert_allclose(np.diff(codes, n=2, axis=0), 0, atol=1e-9)


def test_start_and_end_have_any_shape_of_one_row(X):
    frame = pd.DataFrame(X, columns=NAMES)
    model = quick().fit(frame)
    expected = model.interpolate(frame[:1], frame[1:2])
    for start, end in [
        (X[0], X[1]),
        (X[0].tolist(), tuple(X[1])),
        (frame.iloc[0], frame.iloc[1]),
        (frame.iloc[[0]], X[1]),
    ]:
        pd.testing.assert_frame_equal(model.interpolate(start, end), expected)


def test_start_and_end_may_be_sparse(model, X):
    rows = sparse.csr_matrix(X)
    np.testing.assert_array_equal(
        model.interpolate(rows[[0]], rows[[1]]), model.interpolate(X[0], X[1])
    )


# Errors


@pytest.mark.parametrize("call", ["sample", "interpolate"])
def test_an_unfitted_estimator_raises(call, X):
    arguments = {"sample": (3,), "interpolate": (X[0], X[1])}[call]
    with pytest.raises(NotFittedError):
        getattr(quick(), call)(*arguments)


@pytest.mark.parametrize(
    ("n_samples", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError)]
)
def test_an_invalid_number_of_rows_raises(n_samples, error, model):
    with pytest.raises(error, match="n_samples"):
        model.sample(n_samples)


@pytest.mark.parametrize(
    ("n_steps", "error"), [(1, ValueError), (-1, ValueError), ("3", TypeError)]
)
def test_an_invalid_number_of_steps_raises(n_steps, error, model, X):
    with pytest.raises(error, match="n_steps"):
        model.interpolate(X[0], X[1], n_steps)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (np.zeros(3), "X has 3 features"),
        (np.zeros((1, 6)), "X has 6 features"),
        (np.zeros((2, 5)), r"end has 2 rows, but expected one row"),
        (np.zeros((0, 5)), "0 sample"),
        (np.array([0, 0, np.nan, 0, 0]), "NaN"),
        (np.array([[0, 0, np.inf, 0, 0]]), "infinity"),
        (1.0, "Expected 2D array"),
        (np.zeros((1, 1, 5)), r"shape \(1, 5\)"),
    ],
)
def test_an_end_that_is_not_one_finite_row_raises(row, message, model):
    with pytest.raises(ValueError, match=message):
        model.interpolate(np.zeros(5), row)


def test_feature_names_of_the_end_are_checked(X):
    frame = pd.DataFrame(X, columns=NAMES)
    model = quick().fit(frame)
    for wrong in (frame[:1][NAMES[::-1]], frame[NAMES[::-1]].iloc[0]):
        with pytest.raises(ValueError, match="feature names"):
            model.interpolate(wrong, X[1])
