"""The outcome of training: attributes, warnings, and rows of later calls."""

import pickle
import warnings
from itertools import product

import numpy as np
import pytest
from parts import NUMERIC_LOSSES, quick
from runs import curve, gaussian
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skae import MLP, AutoencoderTransformer

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
METHODS = ["fit", "warm_start", "partial_fit"]


def plane(n=1000, seed=0):
    """Return rows of a bounded distribution on a plane in eight dimensions."""
    rng = np.random.default_rng(seed)
    return np.tanh(2 * rng.standard_normal((n, 2))) @ rng.standard_normal((2, 8))


def explained(model, X):
    """Return the share of the variance of X around its own mean."""
    residuals = model.inverse_transform(model.transform(X)) - X
    return 1 - np.square(residuals).sum() / np.square(X - X.mean(axis=0)).sum()


def trained(method, X, n_epochs=3, chunk=None, **params):
    """Return an estimator trained in one of three ways."""
    params = {"random_state": 0, **params}
    if method == "fit":
        return AutoencoderTransformer(2, max_iter=n_epochs, **params).fit(X)
    if method == "warm_start":
        model = AutoencoderTransformer(2, max_iter=1, warm_start=True, **params)
        for _ in range(n_epochs):
            model.fit(X)
        return model
    model, chunk = AutoencoderTransformer(2, **params), chunk or len(X)
    for _ in range(n_epochs):
        for start in range(0, len(X), chunk):
            model.partial_fit(X[start : start + chunk])
    return model


# The outcome.


@quiet
def test_the_outcome_of_a_better_network_is_public():
    model = AutoencoderTransformer(2, max_iter=60, random_state=0).fit(curve(400))
    best = model.best_iter_
    assert not model.is_pca_
    assert best > 0
    assert model.validation_loss_curve_[best - 1] == min(model.validation_loss_curve_)
    assert len(model.validation_loss_curve_) == len(model.loss_curve_)
    assert len(model.refit_loss_curve_) > 0
    assert 0 < model.pca_validation_score_ < model.best_validation_score_ < 1
    assert model.stop_reason_ in ("max_iter", "n_iter_no_change")


def test_the_outcome_of_gaussian_rows_is_pca_without_a_warning():
    model = AutoencoderTransformer(2, max_iter=30, random_state=0).fit(gaussian(seed=4))
    pca = AutoencoderTransformer(2, max_iter=0).fit(gaussian(seed=4))
    assert model.is_pca_
    assert model.best_iter_ == 0
    np.testing.assert_allclose(
        model.transform(gaussian(seed=4)), pca.transform(gaussian(seed=4))
    )
    assert model.best_validation_score_ >= model.pca_validation_score_ > 0
    assert pca.is_pca_
    assert pca.pca_validation_score_ is None


def test_a_random_start_is_not_pca():
    model = AutoencoderTransformer(2, init="random", max_iter=0).fit(curve(50))
    assert not model.is_pca_
    assert model.pca_validation_score_ is None


@quiet
@pytest.mark.parametrize("fits_first", [True, False])
def test_curves_have_the_same_length_after_calls_of_partial_fit(fits_first):
    model = quick(early_stopping=True)
    if fits_first:
        model.fit(curve(100))
    model.partial_fit(curve(100)).partial_fit(curve(100))
    if fits_first:
        assert len(model.loss_curve_) == len(model.validation_loss_curve_)
        assert np.isnan(model.validation_loss_curve_[-2:]).all()
    else:
        assert model.validation_loss_curve_ == []


# No loss ends below the mean.


def of_groups(rng, log_depth):
    """Return counts of six groups in rows of very different depth."""
    profiles = rng.gamma(0.5, 1.0, (6, 60))
    profiles /= profiles.sum(axis=1, keepdims=True)
    depths = np.exp(np.log(150) + log_depth * rng.standard_normal((600, 1)))
    return rng.poisson(depths * profiles[rng.integers(0, 6, 600)]).astype(float)


def log_normal(rng):
    codes = rng.standard_normal((600, 4))
    return rng.poisson(np.exp(codes @ rng.standard_normal((4, 32)) / 2)).astype(float)


def with_a_huge_row(rng):
    rows = rng.poisson(3.0, (600, 8)).astype(float)
    rows[100] *= 1e5
    return rows


def heavy_tailed(rng):
    return np.abs(rng.standard_t(1.5, (600, 3)) @ rng.standard_normal((3, 8)))


COUNTS = {
    "equal depth": lambda rng: of_groups(rng, 0.0),
    "different depth": lambda rng: of_groups(rng, 0.8),
    "very different depth": lambda rng: of_groups(rng, 1.5),
    "log-normal": log_normal,
    "huge row": with_a_huge_row,
    "heavy-tailed": heavy_tailed,
    "zeros": lambda rng: (rng.random((600, 8)) < 0.01).astype(float),
}


@pytest.mark.slow
@quiet
@pytest.mark.parametrize("early_stopping", ["auto", False])
@pytest.mark.parametrize("rows", COUNTS)
@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_no_loss_is_worse_than_the_mean_on_training_rows(loss, rows, early_stopping):
    X = COUNTS[rows](np.random.default_rng(0))
    if loss in ("log_loss", "brier"):
        X = X / X.max()
    model = AutoencoderTransformer(4, loss=loss, early_stopping=early_stopping)
    model.set_params(random_state=0, max_iter=40).fit(X)
    assert model.score(X) > -1e-6  # for rounding errors


@pytest.mark.parametrize("log_depth", [0.8, 1.5])
def test_counts_of_very_different_depth_are_learned_without_a_warning(log_depth):
    X = of_groups(np.random.default_rng(0), log_depth)
    model = AutoencoderTransformer(8, loss="poisson", random_state=0).fit(X[:450])
    assert model.score(X[450:]) > 0.8


def test_the_poisson_loss_of_test_rows_is_bounded():
    X = log_normal(np.random.default_rng(0))
    model = AutoencoderTransformer(8, loss="poisson", random_state=0, max_iter=40)
    assert model.fit(X[:300]).score(X[300:]) > 0.5
    assert model.inverse_transform(1e3 * model.transform(X)).max() < 101 * X.max()


# Training that goes on.


GRID = list(product([0.003, 0.1, 1.0], ["adamw", "adam", "rmsprop", "sgd"], [20, 250]))


@pytest.mark.slow
@pytest.mark.parametrize(("learning_rate", "solver", "chunk"), GRID)
@pytest.mark.parametrize("method", METHODS)
def test_no_learning_rate_makes_a_model_worse_without_a_warning(
    method, learning_rate, solver, chunk
):
    X = plane()
    params = {"learning_rate": learning_rate, "solver": solver, "batch_size": chunk}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = trained(method, X, chunk=chunk, **params)
    assert {w.category for w in caught} <= {ConvergenceWarning}
    # Two components explain all of the variance at the start.
    assert model.score(X) > (0.95 if caught else 0.99)


@quiet
@pytest.mark.parametrize("solver", ["adamw", "adam", "rmsprop", "sgd"])
def test_a_call_of_partial_fit_that_diverges_is_reverted_with_a_warning(solver):
    X = curve()
    model = trained("partial_fit", X, n_epochs=1)
    codes = model.transform(X)
    model.set_params(solver=solver, learning_rate=1000.0)
    with pytest.warns(ConvergenceWarning, match="learning_rate=1000"):
        model.partial_fit(X[:100])
    np.testing.assert_array_equal(model.transform(X), codes)


@pytest.mark.parametrize("n_rows", [1, 10])
def test_a_few_rows_do_not_undo_a_fit(n_rows):
    X = load_digits().data
    model = AutoencoderTransformer(20, max_iter=40, random_state=0).fit(X[:1300])
    before = 1 - model.score(X[1300:])
    assert 1 - model.partial_fit(X[:n_rows]).score(X[1300:]) < 1.005 * before
    for i in range(1, 20):
        model.partial_fit(X[i * n_rows : (i + 1) * n_rows])
    assert 1 - model.score(X[1300:]) < 1.03 * before


@quiet
@pytest.mark.parametrize("n_rows", [1, 10, 50])
def test_a_few_rows_do_not_replace_the_summaries_of_all(n_rows):
    model = AutoencoderTransformer(2, random_state=0).partial_fit(curve(300))
    shares, n_active = model.explained_variance_ratio_, model.n_active_components_
    drawn = model.sample(200, random_state=0)
    model.partial_fit(curve(300)[:n_rows])
    np.testing.assert_array_equal(model.explained_variance_ratio_, shares)
    assert model.n_active_components_ == n_active == 2
    again = model.sample(200, random_state=0)
    assert again.std(axis=0) == pytest.approx(drawn.std(axis=0), rel=0.3)


@quiet
def test_the_codes_of_the_latest_1000_rows_are_stored():
    model = AutoencoderTransformer(2, random_state=0)
    for start in range(0, 1200, 300):
        model.partial_fit(curve(1200)[start : start + 300])
    assert model._codes.shape == (1000, 2)
    last = model.transform(curve(1200)[900:])
    np.testing.assert_allclose(model._codes[-300:], last, rtol=1e-4, atol=1e-5)


@quiet
@pytest.mark.parametrize("factor", [1, 5])
def test_wide_rows_that_are_reduced_to_scores_are_compared_by_their_features(factor):
    rows = np.random.default_rng(0).standard_normal((100, 600))
    model = quick(2, network=MLP((8,), n_scores=16)).partial_fit(rows[:40])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.partial_fit(factor * rows[40:])
    has_warned = any("differ from those" in str(w.message) for w in caught)
    assert has_warned == (factor == 5)


@quiet
def test_pairs_are_compared_by_their_clean_rows():
    noisy = curve(300) + 20 * np.random.default_rng(0).standard_normal((300, 5))
    model = quick(2).partial_fit(noisy, X_clean=curve(300))
    model.partial_fit(noisy, X_clean=curve(300))


@quiet
def test_codes_that_were_removed_stay_removed():
    model = quick(2).fit(curve(200))
    model._codes = model._codes[:0]
    model.partial_fit(curve(200))
    loaded = pickle.loads(pickle.dumps(model))
    assert len(loaded._codes) == 0


def test_epochs_without_validation_rows_do_not_warn_of_max_iter():
    model = AutoencoderTransformer(2, random_state=0, early_stopping=True)
    for _ in range(10):
        model.partial_fit(curve(300))
    model.set_params(warm_start=True, max_iter=2).fit(curve(300))


@quiet
def test_a_count_that_is_zero_in_the_first_rows_is_learned_later():
    rows = np.random.default_rng(0).poisson(3.0, (300, 4)).astype(float)
    first = rows.copy()
    first[:, 3] = 0
    model = quick(3, loss="poisson", learning_rate=0.01).partial_fit(first)
    for _ in range(30):
        model.partial_fit(rows)
    reconstruction = model.inverse_transform(model.transform(rows))
    assert reconstruction[:, 3].mean() > 1


@pytest.mark.parametrize(
    "rows",
    [np.ones((9, 8)), plane()[:1], sparse.csr_array(np.ones((9, 8)))],
    ids=["equal", "one", "sparse"],
)
def test_equal_rows_cannot_be_the_first(rows):
    model = AutoencoderTransformer(2)
    with pytest.raises(ValueError, match=r"first call of partial_fit .* all equal"):
        model.partial_fit(rows)
    assert not hasattr(model, "module_")
    model.partial_fit(plane()).partial_fit(rows)


FIRST = {
    "tiny": lambda X: 0.01 * X,
    "small": lambda X: 0.1 * X,
    "alike": lambda X: X,
    "large": lambda X: 10 * X,
    "huge": lambda X: 100 * X,
    "shifted": lambda X: X + 10,
    "far": lambda X: 3 + 0.01 * X,
}


@quiet
@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("method", ["warm_start", "partial_fit"])
def test_rows_unlike_the_first_are_learned_or_there_is_a_warning(method, name):
    X = curve(1000)
    fresh = trained(method, X, n_epochs=30)
    model = trained(method, FIRST[name](X[:200]), n_epochs=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for _ in range(30):
            getattr(model, "partial_fit" if method == "partial_fit" else "fit")(X)
    has_warned = any("differ from those" in str(w.message) for w in caught)
    assert has_warned == (name not in ("alike",))
    assert has_warned or explained(model, X) > explained(fresh, X) - 0.01


def test_rows_of_a_few_are_not_compared_with_the_first():
    model = AutoencoderTransformer(2, random_state=0).partial_fit(plane())
    model.partial_fit(100 * plane()[:9])
    with pytest.warns(UserWarning, match="differ from those"):
        model.partial_fit(100 * plane()[:10])
