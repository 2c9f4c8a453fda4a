"""Tables of mixed columns: fit, codes, scores, and the way back to a data frame."""

import datetime
import itertools
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from parts import NOISES, REGULARIZERS
from sklearn.callback import ScoringMonitor
from sklearn.model_selection import GridSearchCV, cross_val_score
from tables import DAYS, LATENT, NUMBERS, PANDAS, POLARS, N, mixed, with_missing

import skae
from skae import (
    MLP,
    AutoencoderTransformer,
    Conv,
    Recurrent,
    cross_val_reconstruction_error,
    reconstruction_r2,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

MIXED = mixed()
GAPS = with_missing(MIXED)


def quick(n_components=2, **params):
    defaults = {"network": MLP((8,)), "max_iter": 2, "random_state": 0}
    return AutoencoderTransformer(n_components, **(defaults | params))


def with_other_columns(column):
    """Return a frame with a column, and two columns that make it a table."""
    return pd.DataFrame({"c": column, "x": LATENT, "flag": LATENT > 0})


def polars_with_other_columns(column):
    return pl.DataFrame({"c": column, "x": LATENT, "flag": LATENT > 0})


def exact(frame):
    """Return a frame decoded from its exact encoding."""
    layout = quick(max_iter=0).fit(frame)._config.layout
    return layout.decode(layout.encode(frame))


# The way back


@pytest.mark.parametrize("name", PANDAS)
def test_the_types_of_pandas_are_those_of_fit(name):
    frame = with_other_columns(PANDAS[name])
    model = quick().fit(frame)
    for rows in (
        model.inverse_transform(model.transform(frame)),
        model.sample(7, random_state=0),
        model.interpolate(frame[:1], frame[-1:], n_steps=3),
        pickle.loads(pickle.dumps(model)).sample(3),
    ):
        assert rows.dtypes.equals(frame.dtypes)
        assert not rows.isna().any(axis=None)


@pytest.mark.parametrize("name", POLARS)
def test_the_types_of_polars_are_those_of_fit(name):
    frame = polars_with_other_columns(POLARS[name])
    model = quick().fit(frame)
    for rows in (
        model.inverse_transform(model.transform(frame)),
        model.sample(7, random_state=0),
        model.interpolate(frame[:1], frame[-1:], n_steps=3),
        pickle.loads(pickle.dumps(model)).sample(3),
    ):
        assert rows.schema == frame.schema
        assert sum(rows.null_count().row(0)) == 0


@pytest.mark.parametrize("name", PANDAS)
def test_encoded_columns_of_pandas_are_decoded_without_error(name):
    frame = with_other_columns(PANDAS[name])
    pd.testing.assert_frame_equal(exact(frame), frame, rtol=1e-12)


@pytest.mark.parametrize("name", POLARS)
def test_encoded_columns_of_polars_are_decoded_without_error(name):
    frame = polars_with_other_columns(POLARS[name])
    decoded = exact(frame)
    numbers = pl.selectors.float()
    assert decoded.select(~numbers).equals(frame.select(~numbers))
    assert_allclose(decoded.select(numbers), frame.select(numbers), rtol=1e-6)


FAR = np.array([[1.0, 0], [0, 1]])
FAR = np.vstack([FAR * far for far in (-1e30, -1e9, -1e6, 1e6, 1e9, 1e30)])


@pytest.mark.parametrize("name", PANDAS)
def test_codes_far_away_are_decoded_within_the_range_of_types_of_pandas(name):
    frame = with_other_columns(PANDAS[name])
    model = quick(max_iter=0).fit(frame)
    back = model.inverse_transform(FAR)
    assert back.dtypes.equals(frame.dtypes)
    assert not back.isna().any(axis=None)
    assert np.isfinite(model.transform(back)).all()


@pytest.mark.parametrize("name", POLARS)
def test_codes_far_away_are_decoded_within_the_range_of_types_of_polars(name):
    frame = polars_with_other_columns(POLARS[name])
    model = quick(max_iter=0).fit(frame)
    back = model.inverse_transform(FAR)
    assert back.schema == frame.schema
    assert sum(back.null_count().row(0)) == 0
    assert np.isfinite(model.transform(back)).all()


def test_the_index_is_that_of_the_codes():
    frame = MIXED.set_index(pd.Index(range(100, 100 + N), name="id"))
    model = quick().set_output(transform="pandas").fit(frame)
    codes = model.transform(frame)[10:20]
    assert model.inverse_transform(codes).index.equals(frame.index[10:20])
    assert model.inverse_transform(codes.to_numpy()).index.equals(pd.RangeIndex(10))


def test_the_names_and_their_order_are_those_of_fit():
    frame = MIXED[MIXED.columns[::-1]]
    model = quick().fit(frame)
    assert model.sample(2).columns.equals(frame.columns)
    assert_array_equal(model.feature_names_in_, frame.columns)
    numbered = frame.set_axis(range(6), axis=1)
    assert quick().fit(numbered).sample(2).columns.tolist() == list(range(6))


def test_an_autoencoder_reconstructs_columns_that_depend_on_one_variable():
    model = quick(1, network=MLP((16,)), max_iter="auto").fit(MIXED)
    back = model.inverse_transform(model.transform(MIXED))
    assert (back.flag == MIXED.flag).mean() > 0.9
    assert (back.color == MIXED.color).mean() > 0.8
    assert np.corrcoef(back["size"], MIXED["size"])[0, 1] > 0.9
    assert model.score(MIXED) > 0.5


# FAMD


def famd(frame, k):
    """Return scores of PCA of z-scores and indicators over the root of their share."""
    numbers = frame.select_dtypes("number")
    dummies = pd.get_dummies(frame.select_dtypes("category"), dtype=float)
    z = (numbers - numbers.mean()) / numbers.std(ddof=0)
    rows = np.hstack([z, (dummies - dummies.mean()) / dummies.mean() ** 0.5])
    left, singular, _ = np.linalg.svd(rows, full_matrices=False)
    return left[:, :k] * singular[:k]


def test_the_start_is_famd():
    frame = MIXED[["size", "count", "color"]]
    codes = quick(max_iter=0).fit_transform(frame)
    expected = famd(frame, 2)
    expected /= expected[:, 0].std()
    assert_allclose(np.abs(codes), np.abs(expected), rtol=1e-6, atol=1e-9)


def test_a_boolean_counts_as_a_number_in_the_start():
    frame = pd.DataFrame({"x": LATENT, "flag": LATENT > 0.4})
    codes = quick(2, max_iter=0).fit_transform(frame)
    expected = quick(2, max_iter=0).fit_transform(
        (frame - frame.mean()) / frame.astype(float).std(ddof=0)
    )
    assert_allclose(np.abs(codes), np.abs(expected), rtol=1e-6, atol=1e-9)


# Scores and losses


def test_the_score_of_the_mean_is_zero():
    model = quick(max_iter=0).fit(MIXED)
    model.module_.decoder.axes.data.zero_()
    assert abs(model.score(MIXED)) < 1e-12
    errors = model.reconstruction_error(MIXED, per_feature=True)
    assert_allclose(errors.mean(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize("frame", [MIXED, GAPS], ids=["complete", "missing"])
def test_the_error_of_a_row_is_the_mean_over_its_columns(frame):
    model = quick().fit(frame)
    errors = model.reconstruction_error(frame, per_feature=True)
    assert errors.shape == frame.shape
    assert_array_equal(np.isnan(errors), frame.isna())
    assert_allclose(np.nanmean(errors, axis=1), model.reconstruction_error(frame))


def test_errors_of_columns_are_frames_if_requested():
    model = quick().set_output(transform="pandas").fit(MIXED)
    errors = model.reconstruction_error(MIXED[5:9], per_feature=True)
    assert errors.columns.equals(MIXED.columns)
    assert errors.index.equals(MIXED.index[5:9])


def test_constant_columns_do_not_count():
    frame = with_other_columns(np.full(N, 3)).assign(d="same", e=True)
    model = quick().fit(frame)
    errors = model.reconstruction_error(frame.assign(c=4), per_feature=True)
    assert_array_equal(errors[:, [0, 3, 4]], 0)
    assert (model.sample(5).c == 3).all()
    assert np.isfinite(model.transform(frame.assign(c=1000))).all()


@pytest.mark.parametrize("frame", [MIXED, GAPS], ids=["complete", "missing"])
def test_integer_weights_equal_repeated_rows(frame):
    weight = np.arange(N) % 3
    repeated = frame.loc[frame.index.repeat(weight)].reset_index(drop=True)
    options = {"max_iter": 0, "precision": "float64"}
    model = quick(**options).fit(frame, sample_weight=weight)
    other = quick(**options).fit(repeated)
    assert_allclose(model.transform(frame), other.transform(frame), atol=1e-9)
    scores = model.score(frame, sample_weight=weight), other.score(repeated)
    assert_allclose(*scores)


def test_levels_of_rows_of_weight_zero_are_not_learned():
    frame = MIXED.assign(text=["new", *MIXED.text[1:]])
    weight = np.r_[0.0, np.ones(N - 1)]
    model = quick().fit(frame, sample_weight=weight)
    assert "new" not in set(model.sample(100).text)
    codes = quick().fit(frame[1:]).transform(MIXED)
    assert_array_equal(model.transform(MIXED), codes)


# Missing values


def missing_numbers():
    X = LATENT[:, np.newaxis] * [1, 2, -1, 0.5] + 0.1 * np.random.default_rng(
        1
    ).standard_normal((N, 4))
    missing = np.random.default_rng(2).random(X.shape) < 0.2
    missing[missing.all(axis=1), 0] = False
    return X, np.where(missing, np.nan, X)


def test_missing_numbers_are_predicted_from_the_others():
    X, gaps = missing_numbers()
    model = quick(1, max_iter=0).fit(gaps)
    back = model.inverse_transform(model.transform(gaps))
    is_gap = np.isnan(gaps)
    error = np.square(back - X)[is_gap].mean()
    assert error < 0.1 * np.square(X - np.nanmean(gaps, axis=0))[is_gap].mean()


@pytest.mark.parametrize(
    "convert",
    [np.asarray, pd.DataFrame, lambda X: pd.DataFrame(X).astype("Float64")],
    ids=["array", "pandas", "nullable"],
)
def test_numbers_with_missing_values_have_one_scale(convert):
    _, gaps = missing_numbers()
    model = quick().fit(convert(gaps))
    assert_allclose(model.mean_, np.nanmean(gaps, axis=0))
    assert_allclose(model.scale_, np.sqrt(np.nanvar(gaps, axis=0).mean()))
    assert isinstance(model.inverse_transform(model.transform(gaps)), np.ndarray)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_losses_of_numbers_leave_out_missing_values(loss):
    _, gaps = missing_numbers()
    model = quick(loss=loss).fit(gaps)
    errors = model.reconstruction_error(gaps, per_feature=True)
    assert_array_equal(np.isnan(errors), np.isnan(gaps))
    assert np.isfinite(model.score(gaps))


def test_a_loss_with_a_transform_raises_for_missing_values():
    _, gaps = missing_numbers()
    with pytest.raises(ValueError, match="loss='poisson', but X has missing values"):
        quick(loss="poisson").fit(np.abs(gaps))


def test_missing_values_of_every_kind_are_masked():
    frame = GAPS.assign(text=GAPS.text.astype(object).where(GAPS.text.notna(), None))
    codes = quick().fit(GAPS).transform(GAPS)
    assert_array_equal(quick().fit(frame).transform(frame), codes)
    polars = pl.from_pandas(GAPS)
    assert_allclose(quick().fit(polars).transform(polars), codes, atol=1e-9)


def test_few_missing_values_barely_change_the_start():
    gaps = MIXED.copy()
    gaps.loc[0, "size"] = np.nan
    codes = quick(max_iter=0).fit_transform(MIXED)
    assert_allclose(quick(max_iter=0).fit_transform(gaps)[1:], codes[1:], atol=0.05)


def test_training_hides_values_and_transform_does_not():
    model = quick().fit(GAPS)
    read = model.module_.adapter.read
    rows = model.module_.as_input(model._config.layout.encode(MIXED))
    assert not read(rows)[:, -6:].any()
    read.train().generator = skae.noise.torch.Generator().manual_seed(0)
    hidden = read(rows)[:, -6:]
    assert 0.05 < hidden.mean() < 0.3
    assert not hidden.all(dim=1).any()


def test_unknown_categories_are_missing_with_one_warning():
    model = quick().fit(GAPS)
    unknown = GAPS.astype({"color": object}).assign(color="violet")
    with pytest.warns(UserWarning, match="Column 'color' .* category 'violet'") as seen:
        codes = model.transform(unknown)
    assert len(seen) == 1
    assert_array_equal(codes, model.transform(unknown.assign(color=None)))


@pytest.mark.filterwarnings("ignore:Column 'color'")
def test_unknown_categories_are_read_as_the_mean_if_nothing_was_missing_in_fit():
    model = quick().fit(MIXED)
    codes = model.transform(MIXED.assign(color="violet"))
    assert np.isfinite(codes).all()
    assert np.isfinite(model.score(MIXED.assign(color="violet")))


@pytest.mark.filterwarnings("ignore:Column")
@pytest.mark.parametrize("frame", [MIXED, GAPS], ids=["complete", "missing"])
def test_rows_of_unknown_categories_alone_are_read_as_the_mean(frame):
    columns = ["color", "text"]
    model = quick().fit(frame[columns].dropna(how="all"))
    unknown = MIXED[columns].astype(object)
    unknown.loc[3] = "violet"
    codes = model.transform(unknown)
    assert np.isfinite(codes).all()
    assert np.isnan(model.reconstruction_error(unknown)[3])
    others = unknown.drop(index=3)
    assert_allclose(model.score(unknown), model.score(others))
    assert model.decompress(model.compress(unknown)).shape == (N, 2)
    assert np.isfinite(cross_val_score(quick(), unknown, cv=3)).all()
    with pytest.raises(ValueError, match=r"Row 3 of X_val has no values.*categories"):
        quick().fit(others, X_val=unknown)
    with pytest.raises(ValueError, match=r"Row 3 of X has no values other.*categories"):
        model.partial_fit(unknown)
    unknown.loc[3] = None
    with pytest.raises(ValueError, match="Row 3 of X has no values"):
        model.transform(unknown)


# Parameters


@pytest.mark.parametrize("frame", [MIXED, GAPS], ids=["complete", "missing"])
@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_every_noise_goes_with_tables(noise, frame):
    model = quick(noise=noise).fit(frame)
    assert np.isfinite(model.transform(frame)).all()


@pytest.mark.parametrize("frame", [MIXED, GAPS], ids=["complete", "missing"])
@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_every_regularizer_goes_with_tables(regularizer, frame):
    model = quick(3, regularizer=regularizer).fit(frame)
    assert np.isfinite(model.transform(frame)).all()
    assert model.sample(3).dtypes.equals(frame.dtypes)


@pytest.mark.parametrize("frame", [MIXED, GAPS], ids=["complete", "missing"])
@pytest.mark.parametrize(
    "params",
    [
        {"n_components": 0.8},
        {"init": "random"},
        {"solver": "lbfgs"},
        {"early_stopping": True},
        {"warm_start": True},
        {"batch_size": 7},
        {"precision": "float32"},
        {"network": MLP((), n_scores=2)},
        {"network": lambda d, k, n: (skae.noise.torch.nn.Linear(d, k),
                                     skae.noise.torch.nn.Linear(k, d))},
    ],
    ids=lambda params: next(iter(params)),
)  # fmt: skip
def test_parameters_go_with_tables(params, frame):
    model = quick(**params).fit(frame)
    assert np.isfinite(model.transform(frame)).all()
    assert model.sample(3).dtypes.equals(frame.dtypes)
    assert model.explained_variance_ratio_.shape == (model.n_components_,)


@pytest.mark.parametrize("network", [Conv(), Recurrent()], ids=repr)
def test_networks_of_images_and_sequences_raise(network):
    with pytest.raises(ValueError, match=r"mixed columns.*Set network=MLP"):
        quick(network=network).fit(MIXED)
    with pytest.raises(ValueError, match=r"missing values.*or impute"):
        quick(network=network).fit(missing_numbers()[1])


@pytest.mark.parametrize("loss", ["absolute_error", "log_loss", "poisson"])
def test_other_losses_raise(loss):
    with pytest.raises(ValueError, match=f"Got loss='{loss}', but a table of mixed"):
        quick(loss=loss).fit(MIXED)


def test_partial_fit_keeps_the_categories_of_the_first_call():
    model = quick()
    model.partial_fit(MIXED[:40])
    model.partial_fit(MIXED[40:])
    assert model.sample(2).dtypes.equals(MIXED.dtypes)
    with pytest.warns(UserWarning, match="'violet'"):
        model.partial_fit(MIXED.assign(color="violet"))


def test_validation_rows_and_clean_rows_are_encoded_as_the_training_rows():
    model = quick().fit(MIXED[:40], X_val=MIXED[40:])
    assert len(model.validation_loss_curve_) == 2
    assert np.isfinite(quick().fit(GAPS, X_clean=MIXED).score(GAPS))


def test_errors_by_cross_validation_are_those_of_tables():
    errors = cross_val_reconstruction_error(quick(), GAPS, cv=3)
    assert errors.shape == (N,)
    assert np.isfinite(errors).all()


def test_a_table_has_no_variance():
    with pytest.raises(ValueError, match="Use the estimator's `score`"):
        reconstruction_r2(quick().fit(MIXED), MIXED)


def test_tables_go_with_a_grid_search_and_callbacks():
    def share(estimator, X, y):
        return estimator.score(X)

    model = quick().set_callbacks(ScoringMonitor(scoring={"share": share}))
    search = GridSearchCV(model, {"n_components": [1, 2]}, cv=2).fit(GAPS)
    assert search.best_params_ == {"n_components": 2}


# Categorical features


@pytest.mark.parametrize("given", [[0], [True, False], ["a"]])
def test_columns_can_be_declared_as_categories(given):
    frame = pd.DataFrame({"a": np.arange(N) % 3, "b": LATENT})
    model = quick(categorical_features=given).fit(frame)
    assert model.inverse_transform(model.transform(frame)).dtypes.equals(frame.dtypes)
    assert model._config.layout.columns[0].levels == (0, 1, 2)


def test_columns_of_an_array_can_be_declared_as_categories():
    X = np.column_stack([np.arange(N) % 3, LATENT])
    model = quick(categorical_features=[0]).fit(X)
    back = model.inverse_transform(model.transform(X))
    assert back.dtype == np.float64
    assert set(back[:, 0]) <= {0, 1, 2}
    assert model.transform(X.tolist()).shape == (N, 2)


@pytest.mark.parametrize("given", [[], [False, False]])
def test_a_table_may_have_no_declared_categories(given):
    frame = pd.DataFrame({"text": MIXED.text, "x": LATENT})
    model = quick(categorical_features=given).fit(frame)
    assert model.column_kinds_ == {"text": "category", "x": "number"}


@pytest.mark.parametrize("column", [DAYS, DAYS.astype(object), POLARS["Date"]])
def test_times_cannot_be_declared_as_categories(column):
    with pytest.raises(ValueError, match=r"'c' of X contains times, .*type category"):
        quick(categorical_features=["c"]).fit(time_table(column))


@pytest.mark.parametrize("given", [["z"], [7], [True], [[0]]])
def test_unknown_columns_raise(given):
    with pytest.raises(ValueError, match="categorical_features"):
        quick(categorical_features=given).fit(MIXED)


def test_without_categorical_features_a_table_is_a_matrix_of_numbers():
    frame = pd.DataFrame({"x": LATENT, "flag": LATENT > 0})
    codes = quick(categorical_features=None).fit_transform(frame)
    assert_array_equal(codes, quick().fit_transform(frame.to_numpy(dtype=float)))


# Errors

LISTS = pd.Series([[1]] * N)
INVALID = {
    "lists": (LISTS, r"Column 'c' of X contains values of type list, such as \[1\]"),
    "several types": ([1, "a"] * (N // 2), "'c' .* types: int, str, .* 1 and 'a'"),
    "identifiers": ([f"id{i}" for i in range(N)], "'c' .* 60 cat.*'id0'.*skrub"),
    "only missing": ([None] * N, "'c' of X has no values.*X.drop"),
    "only NaN": ([np.nan] * N, "'c' of X has no values.*X.drop"),
    "infinity": ([np.inf, 1.0] * (N // 2), "'c' of X contains infinity"),
    "periods": (pd.period_range("2020", periods=N, freq="D"), "'c' .*type Period"),
    "complex": (np.arange(N) * 1j, "Complex data not supported: Column 'c'"),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_invalid_columns_raise_with_their_name(name):
    column, message = INVALID[name]
    with pytest.raises((ValueError, TypeError), match=message):
        quick().fit(with_other_columns(column))


CONTAINERS = {
    "pyarrow": (pa.Table.from_pandas(MIXED), r"X\.to_pandas\(\)"),
    "lazy": (pl.from_pandas(MIXED).lazy(), r"X\.collect\(\)"),
    "no columns": (MIXED[[]], r"0 feature\(s\) \(shape=\(60, 0\)\)"),
    "no columns of polars": (pl.DataFrame(), r"0 feature\(s\) \(shape=\(0, 0\)\)"),
    "wide integers": (
        polars_with_other_columns(pl.Series(range(N)).cast(pl.Int128)),
        "Column 'c' of X has type Int128.* Int64",
    ),
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("estimator", [quick(), skae.AutoencoderImputer()], ids=type)
def test_other_containers_raise(estimator, name):
    X, message = CONTAINERS[name]
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(X)


def test_a_series_of_strings_raises():
    with pytest.raises(ValueError, match="X contains values that are not numbers"):
        quick().fit(pd.Series(["a", "b"] * 4))


def test_many_categories_raise():
    column = pd.Series([f"level {i}" for i in np.arange(600) % 150]).astype("category")
    frame = pd.DataFrame({"c": column, "x": np.arange(600)})
    with pytest.raises(ValueError, match="'c' of X has 150 categories in 600 rows"):
        quick().fit(frame)


def test_rows_without_values_raise():
    frame = GAPS.copy()
    frame.loc[3] = None
    with pytest.raises(ValueError, match="Row 3 of X has no values"):
        quick().fit(frame.astype(GAPS.dtypes))


def test_a_column_of_an_array_without_values_raises():
    _, gaps = missing_numbers()
    gaps[:, 2] = np.nan
    with pytest.raises(ValueError, match="Column 2 of X has no values"):
        quick().fit(gaps)


CHANGES = {
    "order": (lambda X: X[X.columns[::-1]], "same order"),
    "a missing column": (lambda X: X.drop(columns="flag"), "flag"),
    "text for a number": (lambda X: X.assign(size="a"), "'size' .* categories, .*'a'"),
    "a number for a date": (lambda X: X.assign(date=1.0), "'date' .* numbers, .* 1.0"),
    "a number for a boolean": (lambda X: X.assign(flag=3), "'flag' of X contains 3"),
    "no rows": (lambda X: X[:0], "0 sample"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_columns_than_in_fit_raise(name):
    change, message = CHANGES[name]
    with pytest.raises(ValueError, match=message):
        quick().fit(MIXED).transform(change(MIXED))


ZONED = PANDAS["zoned"]
CLOCK = pl.Series([datetime.time(i % 24) for i in range(N)])
# Times that are compared with each other, but not with those of another list.
TIMES = {
    "times": [ZONED.dt.tz_localize(None), ZONED.dt.tz_localize(None).dt.as_unit("s"),
              PANDAS["timestamp[pyarrow]"], POLARS["Datetime ms"], POLARS["Date"]],
    "zoned times": [ZONED, PANDAS["zoned timestamp[pyarrow]"], POLARS["Datetime zoned"],
                    ZONED.astype(object)],
    "durations": [PANDAS["timedelta64"], PANDAS["duration[pyarrow]"],
                  POLARS["Duration"]],
    "times of day": [CLOCK],
}  # fmt: skip


def time_table(column):
    make = polars_with_other_columns if isinstance(column, pl.Series) else None
    return (make or with_other_columns)(column)


@pytest.mark.parametrize("kind", TIMES)
def test_times_of_another_kind_than_in_fit_raise(kind):
    models = [quick(max_iter=0).fit(time_table(column)) for column in TIMES[kind]]
    for other, columns in TIMES.items():
        for column, model in itertools.product(columns, models):
            if other == kind:
                assert model.transform(time_table(column)).shape == (N, 2)
                continue
            with pytest.raises(ValueError, match=rf"'c' .* {other}, .* was treated as"):
                model.transform(time_table(column))


def test_columns_may_have_other_types_of_the_same_kind():
    model = quick().fit(MIXED)
    other = MIXED.astype({"color": str, "size": "Float64", "flag": int, "count": float})
    assert_array_equal(model.transform(other), model.transform(MIXED))
    assert_array_equal(model.transform(pl.from_pandas(MIXED)), model.transform(MIXED))


@pytest.mark.parametrize(
    "row", [MIXED.iloc[3], MIXED[3:4], MIXED.iloc[3].tolist()],
    ids=["Series", "frame", "list"],
)  # fmt: skip
def test_one_row_of_a_table_can_be_interpolated(row):
    model = quick().fit(MIXED)
    rows = model.interpolate(row, MIXED[4:5], n_steps=3)
    expected = model.inverse_transform(model.transform(MIXED[3:4]))
    pd.testing.assert_frame_equal(rows[:1], expected)


@pytest.mark.parametrize("name", PANDAS)
def test_a_series_of_any_types_is_a_row(name):
    frame = with_other_columns(PANDAS[name])
    model = quick().fit(frame)
    rows = model.interpolate(frame.iloc[3], frame.iloc[4], n_steps=2)
    pd.testing.assert_frame_equal(rows, model.interpolate(frame[3:4], frame[4:5], 2))


# Saved models


def by_skops(model):
    io = pytest.importorskip("skops.io")
    trusted = [*skae.SKOPS_TRUSTED, *io.get_untrusted_types(data=io.dumps(model))]
    assert set(trusted) <= set(skae.SKOPS_TRUSTED)
    return io.loads(io.dumps(model), trusted=trusted)


@pytest.mark.parametrize("frame", [MIXED, GAPS, pl.from_pandas(GAPS)])
@pytest.mark.parametrize("copy", [lambda m: pickle.loads(pickle.dumps(m)), by_skops])
def test_a_loaded_model_is_the_same(copy, frame):
    model = quick().fit(frame)
    loaded = copy(model)
    assert_array_equal(loaded.transform(frame), model.transform(frame))
    first, second = (m.sample(5, random_state=0) for m in (model, loaded))
    assert first.equals(second)


# Compression


ONE_THIRD = pd.Series(1000 + np.arange(N) / 3)
ODD = pd.Series(2**53 - 1 - 2 * np.arange(N))  # the largest integers that are floats
WITH_ZEROS = pd.Series(np.where(np.arange(N) % 3 == 0, 0, 1e6 * LATENT))
EXACT = PANDAS | {"thirds": ONE_THIRD, "odd": ODD, "zeros": WITH_ZEROS}


@pytest.mark.parametrize("name", EXACT)
def test_tables_of_pandas_are_compressed_without_error(name):
    frame = with_other_columns(EXACT[name])
    model = quick().fit(frame)
    back = model.decompress(model.compress(frame, max_error=0))
    pd.testing.assert_frame_equal(back, frame, check_exact=True)


@pytest.mark.parametrize("name", POLARS)
def test_tables_of_polars_are_compressed_without_error(name):
    frame = polars_with_other_columns(POLARS[name])
    model = quick().fit(frame)
    assert model.decompress(model.compress(frame, max_error=0)).equals(frame)


def test_rows_that_are_stored_exactly_without_a_bound_are_restored():
    frame = GAPS.copy()
    frame.loc[7, "size"] = 1e9
    model = quick().fit(GAPS)
    back = model.decompress(model.compress(frame, added_error=1e-12))
    assert back["size"][7] == 1e9


@pytest.mark.parametrize("max_error", [0, 0.01, 0.1, 0.21, 0.5, 1.7])
@pytest.mark.parametrize("name", ["int64", "decimal[pyarrow]", "datetime64[us]"])
def test_rounded_columns_are_compressed_within_the_bound(name, max_error):
    frame = with_other_columns(PANDAS[name])
    model = quick().fit(frame)
    back = model.decompress(model.compress(frame, max_error=max_error))
    assert back.dtypes.equals(frame.dtypes)
    errors = np.abs(as_floats(back["c"]) - as_floats(frame["c"]))
    assert errors.max() <= max_error * as_floats(frame["c"]).std() * (1 + 1e-12)


def as_floats(column):
    is_time = column.dtype.kind == "M"
    return (column.astype("int64") if is_time else column).to_numpy(float)


# A column in `fit`, values of the same kind that its type cannot hold, and their name.
INTEGERS = pd.Series(np.arange(N))
UNFIT = {
    "out of range": (INTEGERS.astype("int8"), INTEGERS + 500, "500.0.* 127"),
    "a fraction": (INTEGERS, INTEGERS + 0.5, "0.5"),
    "narrower floats": (INTEGERS.astype("float32"), INTEGERS + 0.1, ".1, "),
    "places": (PANDAS["decimal[pyarrow]"], NUMBERS + 0.123, ".123"),
    "a finer unit": (DAYS.dt.as_unit("s"),
                     DAYS + pd.Timedelta("1ms"), "2024"),
    "hours for days": (DAYS, DAYS + pd.Timedelta("7h"), "2024"),
    "large integers": (INTEGERS, 2**53 + 1 + INTEGERS, "at least 2..53"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_values_that_the_type_of_fit_cannot_hold_are_not_compressed(name):
    column, other, message = UNFIT[name]
    model = quick().fit(with_other_columns(column))
    frame = with_other_columns(other)
    with pytest.raises(ValueError, match=f"Column 'c' of X contains .*{message}"):
        model.compress(frame, max_error=0)
    assert model.compress(frame)  # without a bound


def test_values_that_are_rounded_little_by_the_type_of_fit_are_compressed():
    model = quick().fit(MIXED.astype({"size": "float32"}))
    back = model.decompress(model.compress(MIXED, max_error=0.1))
    assert (np.abs(back["size"] - MIXED["size"]) <= 0.1 * MIXED["size"].std()).all()


def test_errors_of_compressed_tables_are_bounded_in_standard_deviations():
    model = quick().fit(MIXED)
    data = model.compress(MIXED, max_error=0.1)
    back = model.decompress(data)
    assert (np.abs(back["size"] - MIXED["size"]) <= 0.1 * MIXED["size"].std()).all()
    others = ["color", "text", "flag"]
    pd.testing.assert_frame_equal(back[others], MIXED[others])
    assert len(model.compress(MIXED)) < len(data)


def test_missing_values_stay_missing_where_errors_are_bounded():
    model = quick().fit(GAPS)
    back = model.decompress(model.compress(GAPS, max_error=0))
    pd.testing.assert_frame_equal(back, GAPS, check_exact=True)
    assert not model.decompress(model.compress(GAPS)).isna().any(axis=None)
