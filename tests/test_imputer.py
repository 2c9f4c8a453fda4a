"""`impute` and `AutoencoderImputer`: only missing values are replaced."""

import datetime
import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.impute import MissingIndicator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables import LATENT, PANDAS, POLARS, N, mixed, with_missing

import skae
from skae import MLP, AutoencoderImputer, AutoencoderTransformer, Conv, Variational

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

MIXED = mixed()
GAPS = with_missing(MIXED)
RNG = np.random.default_rng(0)
COMPLETE = LATENT[:, np.newaxis] * [1, 2, -1, 50] + 0.1 * RNG.standard_normal((N, 4))
NUMBERS = np.where(RNG.random(COMPLETE.shape) < 0.2, np.nan, COMPLETE)
NUMBERS[np.isnan(NUMBERS).all(axis=1), 0] = 0.0


def quick(n_components=2, **params):
    defaults = {"network": MLP((8,)), "max_iter": 2, "random_state": 0}
    return AutoencoderTransformer(n_components, **(defaults | params))


def imputer(**params):
    return AutoencoderImputer(quick(), random_state=0, **params)


# impute


def test_values_that_are_present_are_unchanged():
    model = quick().fit(GAPS)
    filled = model.impute(GAPS)
    assert filled.dtypes.equals(GAPS.dtypes)
    assert not filled.isna().any(axis=None)
    for name in GAPS:
        present = GAPS[name].notna()
        pd.testing.assert_series_equal(filled[name][present], GAPS[name][present])


def test_missing_values_are_those_of_the_reconstruction():
    model = quick().fit(GAPS)
    back = model.inverse_transform(model.transform(GAPS))
    missing = GAPS["color"].isna()
    assert missing.any()
    filled = model.impute(GAPS)["color"][missing]
    assert filled.tolist() == back["color"][missing].tolist()


@pytest.mark.parametrize("name", PANDAS)
def test_every_type_of_pandas_is_imputed(name):
    frame = pd.DataFrame({"c": PANDAS[name], "x": LATENT, "flag": LATENT > 0})
    gaps = frame.copy()
    gaps["c"] = gaps["c"].mask(np.arange(N) % 5 == 0)
    filled = quick().fit(gaps).impute(gaps)
    assert filled.dtypes.equals(gaps.dtypes)
    assert not filled.isna().any(axis=None)


@pytest.mark.parametrize("name", POLARS)
def test_every_type_of_polars_is_imputed(name):
    kept = pl.Series(np.arange(N) % 5 != 0)
    nothing = pl.Series([None] * N, dtype=POLARS[name].dtype)
    column = POLARS[name].zip_with(kept, nothing)
    gaps = pl.DataFrame({"c": column, "x": LATENT, "flag": LATENT > 0})
    filled = quick().fit(gaps).impute(gaps)
    assert filled.schema == gaps.schema
    assert sum(filled.null_count().row(0)) == 0
    assert filled.filter(kept).equals(gaps.filter(kept))


@pytest.mark.parametrize(
    "convert",
    [
        np.asarray,
        np.float32,
        pd.DataFrame,
        lambda X: pd.DataFrame(X).astype("Float64"),
        lambda X: pl.DataFrame(X),
        sparse.csr_matrix,
        lambda X: X.tolist(),
    ],
    ids=["float64", "float32", "pandas", "nullable", "polars", "csr", "list"],
)
def test_numbers_are_imputed_in_their_container(convert):
    X = convert(NUMBERS)
    filled = quick().fit(X).impute(X)
    assert type(filled) is (np.ndarray if isinstance(X, list) else type(X))
    values = filled.toarray() if sparse.issparse(filled) else np.asarray(filled)
    assert np.isfinite(values.astype(float)).all()
    present = ~np.isnan(NUMBERS)
    assert_array_equal(values[present], NUMBERS.astype(values.dtype)[present])


OBJECTS = {
    "date": [datetime.date(2024, 1, 1) + datetime.timedelta(i) for i in range(N)],
    "datetime": [datetime.datetime(2024, 1, 1 + i % 28, 7) for i in range(N)],
    "Timestamp": pd.date_range("2024", periods=N).tolist(),
    "timedelta": [datetime.timedelta(hours=i) for i in range(N)],
    "Timedelta": pd.to_timedelta(np.arange(N), "D").tolist(),
    "Decimal": [Decimal(i) / 4 for i in range(N)],
    "int": list(range(N)),
    "float": [i / 7 for i in range(N)],
    "bool": [i % 2 == 0 for i in range(N)],
    "str": ["ab"[i % 2] for i in range(N)],
}


@pytest.mark.parametrize("name", OBJECTS)
def test_imputed_objects_have_the_type_of_those_that_are_present(name):
    column = pd.Series(OBJECTS[name], dtype=object).mask(np.arange(N) % 5 == 0)
    gaps = pd.DataFrame({"c": column, "x": LATENT, "flag": LATENT > 0})
    filled = quick().fit(gaps).impute(gaps)
    assert filled.c.dtype == object
    assert {type(value).__name__ for value in filled.c} == {name}
    if name == "Decimal":
        assert max(-value.as_tuple().exponent for value in filled.c) == 2


def test_imputed_integers_are_rounded():
    gaps = pd.DataFrame(np.rint(NUMBERS)).astype("Int64")
    assert quick().fit(gaps).impute(gaps).dtypes.equals(gaps.dtypes)


def test_complete_rows_are_returned_as_they_are():
    assert_array_equal(quick().fit(COMPLETE).impute(COMPLETE), COMPLETE)
    pd.testing.assert_frame_equal(quick().fit(MIXED).impute(MIXED), MIXED)


def test_unknown_categories_are_not_replaced():
    frame = GAPS.astype({"color": object}).assign(color="violet")
    model = quick().fit(GAPS)
    with pytest.warns(UserWarning, match="'violet'"):
        assert (model.impute(frame).color == "violet").all()


def test_images_and_sequences_are_not_imputed():
    X = np.random.default_rng(0).standard_normal((20, 1, 4, 4))
    model = quick(network=Conv(channels=(4,))).fit(X)
    with pytest.raises(ValueError, match="only missing values of tables"):
        model.impute(X)


# The imputer


@parametrize_with_checks([AutoencoderImputer(quick()), imputer(add_indicator=True)])
@pytest.mark.filterwarnings("ignore:X has one row")
@pytest.mark.filterwarnings("ignore:n_components")
def test_sklearn_check(estimator, check):
    check(estimator)


def test_predictions_are_better_than_the_mean():
    filled = AutoencoderImputer(random_state=0).fit_transform(NUMBERS)
    missing = np.isnan(NUMBERS)
    assert_array_equal(filled[~missing], NUMBERS[~missing])
    scale = COMPLETE.std(axis=0)
    errors = np.square((filled - COMPLETE) / scale)[missing]
    means = np.square((np.nanmean(NUMBERS, axis=0) - COMPLETE) / scale)[missing]
    assert errors.mean() < 0.3 * means.mean()


def test_rows_that_are_complete_in_fit_may_be_incomplete_later():
    filled = imputer().fit(COMPLETE).transform(NUMBERS)
    assert np.isfinite(filled).all()


@pytest.mark.parametrize("library", [pd, pl])
def test_values_are_hidden_in_training_if_a_table_is_complete(library):
    columns = {f"x{i}": LATENT * (i + 1) for i in range(2)}
    letters = np.where(LATENT > 0, "a", "b")
    frame = library.DataFrame(
        {"n": np.rint(10 * LATENT).astype(int), **columns, "letter": letters}
    )
    fitted = AutoencoderImputer(quick(1, max_iter=20), random_state=0).fit(frame)
    x1 = [None if i % 2 else value for i, value in enumerate(columns["x1"])]
    gaps = library.DataFrame({name: frame[name] for name in frame.columns} | {"x1": x1})
    filled = fitted.transform(gaps)
    assert list(filled["letter"]) == letters.tolist()
    assert filled["n"].dtype == frame["n"].dtype
    errors = np.asarray(filled["x1"]) - columns["x1"]
    assert np.sqrt(np.square(errors).mean()) < 0.15 * columns["x1"].std()


def test_a_row_without_values_is_filled_with_means():
    fitted = imputer().fit(NUMBERS)
    rows = np.vstack([NUMBERS[:2], np.full((1, 4), np.nan)])
    filled = fitted.transform(rows)
    assert np.isfinite(filled).all()


def as_polars(frame):
    return pl.from_pandas(frame.astype({"text": "str"}))


@pytest.mark.parametrize("convert", [pd.DataFrame, as_polars], ids=["pandas", "polars"])
@pytest.mark.parametrize("rows", [[0], [3, 7], list(range(N))], ids=len)
def test_a_row_of_a_table_without_values_is_filled_with_means_and_modes(rows, convert):
    gaps = GAPS.set_axis(np.arange(N) + 100)
    fitted = imputer().fit(convert(gaps))
    gaps.iloc[rows] = None
    gaps = convert(gaps)
    filled = fitted.transform(gaps)
    assert type(filled) is type(gaps)
    is_same = filled.dtypes == gaps.dtypes
    assert is_same if isinstance(is_same, bool) else is_same.all()
    for name, column in GAPS.items():
        values = [filled[name].to_list()[row] for row in rows]
        assert len(set(values)) == 1
        if column.dtype == float:
            assert values[0] == pytest.approx(column.mean())
        if name in ("color", "text", "flag"):
            assert values[0] == column.mode()[0]
    others = np.setdiff1d(np.arange(N), rows)
    if len(others):
        expected = imputer().fit(convert(GAPS)).transform(convert(GAPS.iloc[others]))
        found = filled.iloc[others] if convert is pd.DataFrame else filled[others]
        for name in GAPS:
            assert found[name].to_list() == expected[name].to_list()


def test_rows_of_a_table_without_values_are_left_out_of_the_fit():
    gaps = GAPS.copy()
    gaps.iloc[5] = None
    filled = imputer().fit_transform(gaps)
    assert filled.index.equals(gaps.index)
    assert not filled.isna().any(axis=None)


@pytest.mark.parametrize("keep", [False, True])
def test_empty_columns_are_dropped_or_filled_with_zero(keep):
    X = np.insert(NUMBERS, 1, np.nan, axis=1)
    fitted = imputer(keep_empty_features=keep).fit(X)
    filled = fitted.transform(X)
    assert filled.shape == (N, 5 if keep else 4)
    assert not keep or not filled[:, 1].any()
    names = fitted.get_feature_names_out(list("abcde"))
    assert names.tolist() == list("abcde" if keep else "acde")


def test_indicators_are_those_of_missing_indicator():
    X = NUMBERS.copy()
    X[:, 2] = COMPLETE[:, 2]
    fitted = imputer(add_indicator=True).fit(X)
    assert_array_equal(fitted.transform(X)[:, 4:], MissingIndicator().fit_transform(X))
    names = fitted.get_feature_names_out(list("abcd"))
    assert names[4:].tolist() == [f"missingindicator_{name}" for name in "abd"]


@pytest.mark.parametrize("library", [pd, pl])
def test_predictions_beyond_the_limits_of_an_integer_type_are_clipped(library):
    values = [None, *range(101, 160), None]
    dtype = "UInt8" if library is pd else pl.UInt8
    column = library.Series(values, dtype=dtype)
    others = np.append(np.arange(100.0, 160), 1e4)
    frame = library.DataFrame({"c": column, "x": others, "y": others})
    filled = quick(1, max_iter=0).fit(frame[:60]).impute(frame)
    assert list(filled["c"])[1:60] == values[1:60]
    assert list(filled["c"])[60] == 255
    assert filled["c"].dtype == column.dtype


@pytest.mark.parametrize("library", [pd, pl])
@pytest.mark.parametrize("name", ["letter", "flag"])
def test_columns_whose_type_is_that_of_missing_values_get_the_type_of_fit(
    library, name
):
    letters = np.where(LATENT > 0, "a", "b").tolist()
    columns = {"x": LATENT, "letter": letters, "flag": LATENT > 0}
    frame = library.DataFrame(columns)
    one = library.DataFrame(
        {"x": [1.0], "letter": ["a"], "flag": [True]} | {name: [None]}
    )
    if library is pd:
        one = one.astype({name: float})
    filled = quick().fit(frame).impute(one)
    assert filled[name].dtype == frame[name].dtype
    assert filled[name][0] in set(frame[name])


def test_names_of_any_kind_are_saved():
    names = [("p", "a"), ("q", "k"), ("q", "l")]
    frame = pd.DataFrame({0: LATENT, 1: LATENT > 0, 2: LATENT**2})
    frame.columns = pd.MultiIndex.from_tuples(names)
    model = pickle.loads(pickle.dumps(quick().fit(frame)))
    assert model.inverse_transform(model.transform(frame)).columns.equals(frame.columns)


def test_empty_columns_have_indicators():
    X = np.column_stack([NUMBERS, np.full(N, np.nan)])
    expected = MissingIndicator().fit(X).features_
    assert_array_equal(imputer(add_indicator=True).fit(X).indicated_, expected)


def test_indicators_of_tables_are_refused():
    with pytest.raises(ValueError, match="add_indicator=True for a data frame"):
        imputer(add_indicator=True).fit(GAPS)


def test_categories_among_numbers_are_refused():
    model = AutoencoderImputer(quick(categorical_features=[2]))
    with pytest.raises(ValueError, match=r"categorical_features=\[2\] for numbers"):
        model.fit(NUMBERS)


def test_another_number_can_stand_for_missing_values():
    X = np.nan_to_num(NUMBERS, nan=-999)
    filled = imputer(missing_values=-999).fit_transform(X)
    assert_array_equal(filled, imputer().fit_transform(NUMBERS))
    with pytest.raises(ValueError, match="missing_values=-999 for a data frame"):
        imputer(missing_values=-999).fit(GAPS)


def test_tables_are_returned_in_their_types():
    filled = imputer().fit(GAPS).transform(GAPS)
    assert filled.dtypes.equals(GAPS.dtypes)
    assert not filled.isna().any(axis=None)
    assert imputer().fit(GAPS).get_feature_names_out().tolist() == list(GAPS)


def test_the_parameters_of_the_autoencoder_are_replaced():
    fitted = AutoencoderImputer(quick(), max_iter=3, random_state=1).fit(NUMBERS)
    assert fitted.autoencoder_.max_iter == 3
    assert fitted.autoencoder.max_iter == 2


def test_a_failed_fit_leaves_the_fitted_imputer_unchanged():
    X = np.where(RNG.random((40, 4)) < 0.2, np.nan, RNG.random((40, 4)))
    model = AutoencoderImputer(max_iter=1, random_state=0).fit(X)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.full((5, 3), np.inf))
    assert vars(model) == before


def test_a_grid_search_over_a_pipeline():
    y = LATENT > 0
    pipeline = make_pipeline(imputer(), LogisticRegression())
    grid = {"autoencoderimputer__autoencoder__n_components": [1, 2]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(NUMBERS, y)
    assert search.score(NUMBERS, y) > 0.9


@pytest.mark.parametrize("X", [NUMBERS, GAPS], ids=["numbers", "table"])
def test_a_loaded_imputer_fills_in_the_same_values(X):
    io = pytest.importorskip("skops.io")
    fitted = imputer().fit(X)
    for loaded in (
        pickle.loads(pickle.dumps(fitted)),
        io.loads(io.dumps(fitted), trusted=skae.SKOPS_TRUSTED),
    ):
        filled, again = (pd.DataFrame(each.transform(X)) for each in (fitted, loaded))
        pd.testing.assert_frame_equal(filled, again)


# Draws from the posterior


def drawing(**params):
    model = quick(regularizer=Variational(), max_iter=30)
    return AutoencoderImputer(model, sample_posterior=True, random_state=0, **params)


def draws_of(fitted, X, n_draws):
    return np.array([fitted.transform(X) for _ in range(n_draws)])


def test_each_transform_draws_anew_and_leaves_present_values_unchanged():
    first, second = draws_of(drawing().fit(NUMBERS), NUMBERS, 2)
    missing = np.isnan(NUMBERS)
    assert (first != second)[missing].all()
    assert_array_equal(first[~missing], NUMBERS[~missing])
    assert_array_equal(second[~missing], NUMBERS[~missing])


@pytest.mark.parametrize("seed", [0, np.random.RandomState(0)], ids=["int", "state"])
def test_a_fit_with_the_same_seed_repeats_the_draws(seed):
    seeds = (seed, 0) if isinstance(seed, int) else (seed, np.random.RandomState(0))
    first, second = (
        draws_of(drawing().set_params(random_state=each).fit(NUMBERS), NUMBERS, 2)
        for each in seeds
    )
    assert_array_equal(first, second)


def test_the_mean_of_many_draws_is_near_the_imputation_without_draws():
    fitted = drawing().fit(NUMBERS)
    draws = draws_of(fitted, NUMBERS, 200)
    expected = fitted.set_params(sample_posterior=False).transform(NUMBERS)
    error = (draws.mean(axis=0) - expected) / draws.std(axis=0).clip(min=1e-9)
    assert np.abs(error[np.isnan(NUMBERS)]).max() < 0.5


def test_intervals_of_draws_contain_the_values_that_are_missing():
    missing, X = np.isnan(NUMBERS), COMPLETE
    draws = draws_of(drawing().fit(NUMBERS), NUMBERS, 100)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    assert ((low <= X) & (high >= X))[missing].mean() > 0.8
    # Shorter than those of the columns.
    whole = np.quantile(X, 0.95, axis=0) - np.quantile(X, 0.05, axis=0)
    assert ((high - low) / whole)[missing].mean() < 0.5


def test_a_component_that_is_dropped_is_not_drawn():
    model = quick(0.9, regularizer=Variational())
    fitted = AutoencoderImputer(model, sample_posterior=True).fit(NUMBERS)
    assert fitted.autoencoder_.n_components_ < 4
    assert np.isfinite(fitted.transform(NUMBERS)).all()


@pytest.mark.parametrize("n_columns", [0, 1])
def test_columns_that_nothing_predicts_are_not_drawn(n_columns):
    X = np.full((N, 2), np.nan)
    X[:-1, :n_columns] = COMPLETE[:-1, :n_columns]
    filled = drawing(keep_empty_features=True).fit(X).transform(X)
    assert np.isfinite(filled).all()


def test_tables_without_missing_values_in_fit_are_drawn():
    first, second = (drawing().fit(MIXED).transform(GAPS)["size"] for _ in range(2))
    assert (first == second).all()
    assert first.notna().all()


def test_categories_are_drawn_by_their_probabilities():
    fitted = drawing().fit(GAPS)
    draws = [fitted.transform(GAPS) for _ in range(30)]
    assert all(draw.dtypes.equals(GAPS.dtypes) for draw in draws)
    for name in ("color", "text", "flag"):
        missing = GAPS[name].isna()
        drawn = [tuple(draw[name][missing]) for draw in draws]
        assert len(set(drawn)) > 1
        present = GAPS[name][~missing]
        assert all((draw[name][~missing] == present).all() for draw in draws)


@pytest.mark.parametrize(
    "autoencoder", [None, quick(), quick(regularizer=Variational(beta=0))]
)
def test_draws_without_a_posterior_are_refused(autoencoder):
    model = AutoencoderImputer(autoencoder, sample_posterior=True)
    with pytest.raises(ValueError, match=r"regularizer=Variational\(\)"):
        model.fit(NUMBERS)


@pytest.mark.parametrize("X", [NUMBERS, GAPS], ids=["numbers", "table"])
def test_a_loaded_imputer_draws_the_same_values(X):
    io = pytest.importorskip("skops.io")
    fitted = drawing().fit(X)
    loaded = [
        pickle.loads(pickle.dumps(fitted)),
        io.loads(io.dumps(fitted), trusted=skae.SKOPS_TRUSTED),
    ]
    expected = pd.DataFrame(fitted.transform(X))
    for each in loaded:
        pd.testing.assert_frame_equal(pd.DataFrame(each.transform(X)), expected)


def test_the_global_random_state_is_not_used():
    model = drawing().set_params(random_state=None).fit(NUMBERS)
    position = np.random.get_state()[1:3]  # noqa: NPY002
    model.transform(NUMBERS)
    for before, after in zip(
        position,
        np.random.get_state()[1:3],  # noqa: NPY002
        strict=True,
    ):
        assert_array_equal(before, after)


@pytest.mark.parametrize("X", [NUMBERS, GAPS], ids=["numbers", "table"])
def test_draws_need_a_fit_with_sample_posterior(X):
    autoencoder = quick(regularizer=Variational())
    other = AutoencoderImputer(autoencoder, sample_posterior=True).fit(X)
    other.set_params(sample_posterior=False).fit(X).set_params(sample_posterior=True)
    with pytest.raises(ValueError, match=r"sample_posterior=True.* `fit`"):
        other.transform(X)
