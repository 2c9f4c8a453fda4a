"""`AutoencoderOutlierDetector`: scikit-learn's contract, and scores that detect."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.callback import ProgressBar
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables import mixed, with_missing
from test_callbacks import Recorder

import skae
from skae import (
    MLP,
    AutoencoderOutlierDetector,
    AutoencoderTransformer,
    Conv,
    Recurrent,
)
from skae._outlier import subsample_sizes

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, N_OUTLIERS = 200, 10
RNG = np.random.default_rng(0)
LATENT = RNG.standard_normal((N, 2))
X = LATENT @ RNG.standard_normal((2, 6)) + 0.1 * RNG.standard_normal((N, 6))
# The last rows contradict the correlations in column 3.
X[-N_OUTLIERS:, 3] += np.where(X[-N_OUTLIERS:, 3] > 0, -3, 3)
y = np.where(np.arange(N) < N - N_OUTLIERS, 1, -1)
MIXED = mixed()
GAPS = with_missing(MIXED)
NAMES = list("abcdef")


def quick(n_components=1, **params):
    defaults = {"network": MLP((8,)), "max_iter": 2, "early_stopping": False}
    return AutoencoderTransformer(n_components, **(defaults | params))


def detector(autoencoder=None, **params):
    autoencoder = quick() if autoencoder is None else autoencoder
    defaults = {"n_estimators": 3, "random_state": 0}
    return AutoencoderOutlierDetector(autoencoder, **(defaults | params))


@parametrize_with_checks(
    [
        AutoencoderOutlierDetector(),
        AutoencoderOutlierDetector(quick(), n_estimators=2, contamination=0.1),
    ]
)
@pytest.mark.filterwarnings("ignore:X has one row")
def test_sklearn_check(estimator, check):
    check(estimator)


def test_sklearn_check_of_parameters():
    name = "AutoencoderOutlierDetector"
    estimator_checks.check_param_validation(name, detector())


# Scores


def test_rows_that_contradict_the_others_have_the_lowest_scores():
    fitted = detector(AutoencoderTransformer(2, max_iter=20)).fit(X)
    assert roc_auc_score(y, fitted.score_samples(X)) > 0.95


def test_scores_are_relative_to_the_threshold():
    fitted = detector().fit(X)
    scores = fitted.score_samples(X)
    assert scores.dtype == np.float64
    assert_allclose(fitted.decision_function(X), scores - fitted.offset_)
    assert_array_equal(fitted.predict(X), np.where(scores < fitted.offset_, -1, 1))


@pytest.mark.parametrize("contamination", [0.05, 0.2, 0.5])
def test_contamination_is_the_share_of_outliers(contamination):
    labels = detector(contamination=contamination).fit_predict(X)
    assert (labels == -1).mean() == contamination


def test_the_default_threshold_is_beyond_the_quartiles():
    fitted = AutoencoderOutlierDetector(random_state=0).fit(X)
    scores = fitted.score_samples(X)
    low, high = np.percentile(scores, [25, 75], method="inverted_cdf")
    assert fitted.offset_ == pytest.approx(low - 1.5 * (high - low))
    assert 0 < (fitted.predict(X) == -1).sum() <= 2 * N_OUTLIERS


def test_units_of_columns_have_no_influence():
    units = 10.0 ** np.arange(-3, 3)
    scores = detector().fit(X).score_samples(X)
    scaled = detector().fit(X * units + 5).score_samples(X * units + 5)
    assert_allclose(scaled, scores, rtol=1e-5)


def test_a_constant_column_that_barely_changes_does_not_dominate():
    constant = np.column_stack([X, np.full(N, 7.0)])
    fitted = detector().fit(constant)
    moved = constant.copy()
    moved[0, -1] += 1e-4
    before, after = (fitted.score_samples(rows)[0] for rows in (constant, moved))
    assert before - after < 0.1


@pytest.mark.parametrize("value", [1e300, -1e300])
def test_scores_of_huge_values_are_finite(value):
    row = np.where(np.arange(6) == 2, value, 0.0)[np.newaxis]
    fitted = detector().fit(X)
    assert np.isfinite(fitted.score_samples(row))
    assert fitted.predict(row) == [-1]


def test_a_single_value_has_a_bounded_influence():
    fitted = detector().fit(X)
    row = X[:1] + np.where(np.arange(6) == 2, 1e6, 0.0)
    assert fitted.score_samples(row) > -100


# Explanations


def test_feature_scores_show_the_unusual_column():
    fitted = detector(AutoencoderTransformer(2, max_iter=20)).fit(X)
    scores = fitted.feature_scores(X)
    assert scores.shape == X.shape
    assert (scores >= 0).all()
    assert scores[y < 0].mean(axis=0).argmax() == 3


def test_the_sum_of_feature_scores_is_the_part_of_the_reconstruction():
    fitted = detector(quick(max_iter=0), n_estimators=1, max_samples=N).fit(X)
    (autoencoder,) = fitted.estimators_
    codes = autoencoder.transform(fitted.scaler_.transform(X))
    squares = np.square(codes - codes.mean()) / codes.var()
    reconstruction = fitted.feature_scores(X).sum(axis=1)
    expected = np.exp(reconstruction) + (1 + squares[:, 0]) / 2
    assert_allclose(np.exp(-fitted.score_samples(X)), expected)


@pytest.mark.parametrize("library", [pd, pl])
def test_feature_scores_of_frames_are_frames(library):
    frame = library.DataFrame(dict(zip(NAMES, X.T, strict=True)))
    if library is pd:
        frame.index = np.arange(N) + 100
    fitted = detector().fit(frame)
    assert fitted.feature_names_in_.tolist() == NAMES
    scores = fitted.feature_scores(frame)
    assert isinstance(scores, library.DataFrame)
    assert list(scores.columns) == NAMES
    assert library is pl or scores.index.equals(frame.index)
    expected = detector().fit(X).feature_scores(X)
    assert_allclose(np.asarray(scores), expected, rtol=1e-3)
    assert isinstance(fitted.score_samples(frame), np.ndarray)


def test_feature_scores_follow_the_configured_output():
    fitted = detector().fit(X)
    with sklearn.config_context(transform_output="pandas"):
        scores = fitted.feature_scores(X)
        assert_allclose(fitted.score_samples(X), fitted.score_samples(X.tolist()))
    assert list(scores.columns) == [f"x{i}" for i in range(6)]


# Kinds of rows


@pytest.mark.parametrize("frame", [MIXED, GAPS], ids=["complete", "missing"])
def test_tables_of_mixed_columns(frame):
    fitted = detector().fit(frame)
    assert fitted.scaler_ is None
    assert fitted.n_features_in_ == frame.shape[1]
    scores = fitted.feature_scores(frame)
    assert list(scores.columns) == list(frame.columns)
    assert np.isfinite(fitted.score_samples(frame)).all()


def test_a_category_that_contradicts_the_other_columns_is_an_outlier():
    value = np.where(LATENT[:, 0] > 0, 1.0, -1.0) + 0.01 * RNG.standard_normal(N)
    others = {name: value + 0.01 * RNG.standard_normal(N) for name in "abc"}
    frame = pd.DataFrame(others | {"d": np.where(value > 0, "plus", "minus")})
    frame.loc[3, "d"] = "minus" if value[3] > 0 else "plus"
    fitted = AutoencoderOutlierDetector(random_state=0).fit(frame)
    assert fitted.score_samples(frame).argmin() == 3
    assert fitted.feature_scores(frame)["d"].argmax() == 3


def test_missing_values_have_the_score_of_the_mean_error():
    gaps = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
    gaps[np.isnan(gaps).all(axis=1), 0] = 0.0
    fitted = detector().fit(gaps)
    assert np.isfinite(fitted.score_samples(gaps)).all()
    scores = fitted.feature_scores(gaps)
    assert_allclose(scores[np.isnan(gaps)], np.log(2) / 6)


def test_images_and_sequences():
    images = RNG.standard_normal((30, 1, 8, 8))
    sequences = RNG.standard_normal((30, 5, 2))
    sequences[:10, 3:] = np.nan
    for rows, network in (
        (images, Conv(channels=(4,))),
        (sequences, Recurrent(hidden_size=4)),
    ):
        fitted = detector(quick(2, network=network)).fit(rows)
        assert fitted.scaler_ is None
        assert np.isfinite(fitted.score_samples(rows)).all()
        assert fitted.feature_scores(rows).shape == (30, rows[0].size)
        assert fitted.n_features_in_ == fitted.estimators_[0].n_features_in_


def test_losses_with_a_domain_see_the_values_themselves():
    counts = RNG.poisson(np.exp(LATENT @ np.ones((2, 6)) / 2)).astype(float)
    fitted = detector(quick(loss="poisson")).fit(counts)
    assert fitted.scaler_ is None
    assert np.isfinite(fitted.score_samples(counts)).all()


def test_what_is_rare_is_part_of_every_subsample():
    tokens = RNG.integers(0, 5, (N, 4))
    tokens[17, 2] = 9
    gaps = X.copy()
    gaps[17, 2] = np.nan
    table = pd.DataFrame({"a": X[:, 0], "b": np.where(X[:, 1] > 0, "x", "y")})
    table.loc[17, "b"] = "rare"
    table.loc[18, "b"] = None
    coded = np.column_stack([X[:, 0], RNG.integers(0, 2, N)])
    coded[17, 1] = 7
    for rows, params in (
        (tokens, {"loss": "cross_entropy"}),
        (gaps, {}),
        (table, {}),
        (coded, {"categorical_features": [1]}),
    ):
        fitted = detector(quick(**params), max_samples=20).fit(rows)
        assert np.isfinite(fitted.score_samples(rows)).all()


@pytest.mark.parametrize("library", [pd, pl])
def test_strings_of_many_categories_are_accepted_in_small_subsamples(library):
    n = 400
    names = [f"level {i % 70}" for i in range(n)]
    table = library.DataFrame({"name": names, "x": np.arange(n) / n})
    model = detector(max_samples=64, n_estimators=2).fit(table)
    assert model.predict(table[:5]).shape == (5,)
    identifiers = library.DataFrame({"name": [str(i) for i in range(n)], "x": 0.5})
    with pytest.raises(ValueError, match="has 400 categories in 400 rows"):
        detector().fit(identifiers)


def test_invalid_parameters_of_the_autoencoder_are_named():
    with pytest.raises(ValueError, match="'loss' parameter"):
        AutoencoderOutlierDetector(AutoencoderTransformer(loss="bogus")).fit(X)


@pytest.mark.parametrize(
    ("rows", "error", "match"),
    [
        (X * 1e200, ValueError, "largest magnitude in X"),
        (np.where([0, 0, 1, 0, 0, 0], np.nan, X), ValueError, "Column 2 of X has no"),
        (lambda: [X], TypeError, "a function or an iterable of blocks"),
    ],
    ids=["huge", "empty column", "function"],
)
def test_rows_that_cannot_be_fitted_are_refused(rows, error, match):
    with pytest.raises(error, match=match):
        detector().fit(rows)


def test_the_default_has_no_more_components_than_rows():
    wide = np.random.default_rng(0).random((20, 300))
    model = AutoencoderOutlierDetector(n_estimators=1, random_state=0).fit(wide)
    assert model.estimators_[0].n_components == 20


def test_sparse_rows_remain_sparse():
    rows = sparse.random_array((N, 30), density=0.1, rng=0, format="csr")
    fitted = detector().fit(rows)
    dense = fitted.score_samples(rows.toarray())
    assert_allclose(fitted.score_samples(rows), dense, rtol=1e-4)


def test_other_columns_are_refused():
    frame = pd.DataFrame(X, columns=NAMES)
    fitted = detector().fit(frame)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame[NAMES[::-1]])
    with pytest.raises(ValueError, match="X has 5 features, but"):
        detector().fit(X).predict(X[:, :5])
    with pytest.raises(ValueError, match="not numbers"):
        fitted.predict(frame.astype({"b": str}).assign(b="no"))


# Subsamples and parameters


@pytest.mark.parametrize(
    ("largest", "n", "sizes"),
    [
        (1024, 5, [64, 128, 256, 512, 1024]),
        (1024, 1, [1024]),
        (64, 3, [64, 64, 64]),
        (9, 2, [9, 9]),
    ],
)
def test_sizes_of_subsamples_have_equal_ratios(largest, n, sizes):
    assert subsample_sizes(largest, n) == sizes


@pytest.mark.parametrize(
    ("max_samples", "size"), [("auto", N), (70, 70), (0.5, N // 2), (1.0, N), (999, N)]
)
def test_the_largest_subsample(max_samples, size):
    fitted = detector(max_samples=max_samples).fit(X)
    assert fitted.max_samples_ == size
    assert len(fitted.estimators_) == 3


def test_the_default_autoencoder_has_a_component_for_four_columns():
    fitted = AutoencoderOutlierDetector(n_estimators=1).fit(np.tile(X, 2))
    assert fitted.estimators_[0].n_components_ == 3


def test_rows_of_weight_zero_are_left_out():
    weight = (np.arange(N) % 4 > 0).astype(float)
    weighted = detector().fit(X, sample_weight=weight)
    assert weighted.max_samples_ == 3 * N // 4
    removed = detector().fit(X[weight > 0])
    assert_allclose(weighted.offset_, removed.offset_)
    assert_allclose(weighted.score_samples(X), removed.score_samples(X))


def test_a_failed_fit_leaves_the_fitted_detector_unchanged(monkeypatch):
    model = detector().fit(X)
    before, scores = dict(vars(model)), model.score_samples(X)
    monkeypatch.setattr("skae._outlier.units", lambda *args: 1 / 0)
    for rows, error in [(X[:, :2], ZeroDivisionError), ([["a"]], ValueError)]:
        with pytest.raises(error):
            model.fit(rows)
    assert vars(model) == before
    assert_array_equal(model.score_samples(X), scores)


def test_random_state_determines_the_fit():
    first, same = (detector().fit(X) for _ in range(2))
    assert_array_equal(first.score_samples(X), same.score_samples(X))
    other = detector(random_state=1).fit(X)
    assert (first.score_samples(X) != other.score_samples(X)).any()


def test_a_fit_leaves_the_global_random_state_as_it_is():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    detector(random_state=None).fit(X)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# Other tools of scikit-learn


def test_a_grid_search_by_ranking():
    grid = {"autoencoder__n_components": [1, 2], "max_samples": [100]}
    search = GridSearchCV(detector(), grid, scoring="roc_auc", cv=2)
    some = np.random.default_rng(0).permutation(N)
    search.fit(X[some], y[some])
    assert search.best_score_ > 0.8


def test_weights_are_routed_through_a_pipeline():
    with sklearn.config_context(enable_metadata_routing=True):
        last = detector().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(FunctionTransformer(), last)
        weight = (y > 0).astype(float)
        routed = pipeline.fit(X, sample_weight=weight)
    direct = detector().fit(X, sample_weight=weight)
    assert_array_equal(routed.score_samples(X), direct.score_samples(X))


def test_callbacks_are_passed_to_the_autoencoders():
    recorder = Recorder()
    autoencoder = quick().set_callbacks(recorder)
    scores = detector(autoencoder).fit(X).score_samples(X)
    assert recorder.tasks.count(("end", "epoch")) == 3 * 2
    assert_array_equal(scores, detector().fit(X).score_samples(X))


def test_a_progress_bar(capsys):
    pytest.importorskip("rich")
    fitted = detector().set_callbacks(ProgressBar()).fit(X)
    assert "AutoencoderTransformer" in capsys.readouterr().out
    assert not hasattr(fitted.estimators_[0], "_parent_callback_ctx")


@pytest.mark.parametrize("rows", [X, GAPS], ids=["numbers", "table"])
def test_a_loaded_detector_has_the_same_scores(rows):
    io = pytest.importorskip("skops.io")
    fitted = detector().fit(rows)
    for loaded in (
        pickle.loads(pickle.dumps(fitted)),
        io.loads(io.dumps(fitted), trusted=skae.SKOPS_TRUSTED),
    ):
        assert_array_equal(loaded.score_samples(rows), fitted.score_samples(rows))
        assert_array_equal(loaded.predict(rows), fitted.predict(rows))


@pytest.mark.parametrize("cls", [AutoencoderOutlierDetector, skae.AutoencoderImputer])
def test_distributed_autoencoders_are_refused(cls):
    with pytest.raises(ValueError, match="Set distributed=False"):
        cls(AutoencoderTransformer(distributed=True)).fit(X)
    with pytest.raises(ValueError, match="'autoencoder' parameter"):
        cls(IsolationForest()).fit(X)
