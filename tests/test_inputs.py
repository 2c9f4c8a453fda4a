"""Whatever comes in: a finite model and finite output, or an error that says why."""

import hypothesis
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skae import MLP, AutoencoderTransformer

QUICK = {"network": MLP((8,)), "max_iter": 2, "random_state": 0}
X = np.random.default_rng(0).standard_normal((40, 5))
INTEGERS = np.arange(200).reshape(40, 5)


def one_large_column(factor):
    large = X.copy()
    large[:, 2] *= factor
    return large


def frozen():
    rows = X.copy()
    rows.flags.writeable = False
    return rows


GOOD = {
    "float64": X,
    "float32": X.astype(np.float32),
    "float16": X.astype(np.float16),
    "longdouble": X.astype(np.longdouble),
    "int8": INTEGERS.astype(np.int8),
    "uint8": INTEGERS.astype(np.uint8),
    "int64": INTEGERS,
    "bool": X > 0,
    "object of floats": X.astype(object),
    "list of lists": X.tolist(),
    "csr": sparse.csr_matrix(X * (X > 0)),
    "csc": sparse.csc_matrix(X * (X > 0)),
    "coo array": sparse.coo_array(X * (X > 0)),
    "empty csr": sparse.csr_matrix((40, 5)),
    "big-endian": X.astype(">f8"),
    "Fortran order": np.asfortranarray(X),
    "negative strides": X[::-1, ::-1],
    "every other row": np.repeat(X, 2, axis=0)[::2],
    "read-only": frozen(),
    "tensor": torch.from_numpy(X),
    "pandas": pd.DataFrame(X, columns=list("abcde")),
    "pandas Float64": pd.DataFrame(X).astype("Float64"),
    "pandas Int64": pd.DataFrame(INTEGERS).astype("Int64"),
    "pandas with numbers as names": pd.DataFrame(X),
    "polars": pl.DataFrame(X, schema=list("abcde")),
    "scale 1e-30": X * 1e-30,
    "scale 1e30": X * 1e30,
    "scale 1e-100": X * 1e-100,
    "scale 1e100": X * 1e100,
    "float32 scale 1e-30": (X * 1e-30).astype(np.float32),
    "float32 scale 1e30": (X * 1e30).astype(np.float32),
    "float32 largest": np.where(X > 0, np.finfo(np.float32).max, np.float32(0)),
    "float16 largest": np.where(X > 0, np.finfo(np.float16).max, np.float16(0)),
    "mean a million times the spread": X + 1e6,
    "mean 1e12 times the spread": X + 1e12,
    "one column a trillion times larger": one_large_column(1e12),
    "one column a trillion times smaller": one_large_column(1e-12),
    "all zero": np.zeros((40, 5)),
    "repeated rows": np.repeat(X[:2], 20, axis=0),
    "one row": X[:1],
    "two rows": X[:2],
    "one column": X[:, :1],
    "three dimensions": X.reshape(40, 5, 1),
    "float32 in four dimensions": X.astype(np.float32).reshape(20, 5, 2, 1),
    "a nested list": X.reshape(20, 5, 2).tolist(),
    "a tensor in three dimensions": torch.from_numpy(X).reshape(20, 5, 2),
    "more columns than rows": X.T,
}

BAD = {
    "scale 1e-200": (X * 1e-200, "Rescale X"),
    "scale 1e200": (X * 1e200, "Rescale X"),
    "NaN": (np.where(X > 2, np.nan, X), "contains NaN"),
    "infinity": (np.where(X > 2, np.inf, X), "contains infinity"),
    "masked by NaN": (pd.DataFrame(X).astype("Float64").mask(X > 2), "NaN"),
    "strings": ([["a", "b"]] * 40, "could not convert string to float"),
    "complex": (X * 1j, "Complex data not supported"),
    "one dimension": (X[0], "Expected 2D array, got 1D array"),
    "infinity in three dimensions": (np.full((40, 5, 2), np.inf), "infinity"),
    "strings in three dimensions": (np.full((40, 5, 2), "a"), "could not convert"),
    "no rows": (X[:0], "0 sample"),
    "no columns": (X[:, :0], "0 feature"),
    "a number": (3.0, "Expected 2D array, got scalar array"),
    "None": (None, "Expected 2D array|NoneType"),
    "ragged": ([[1.0, 2.0], [3.0]] * 20, "inhomogeneous|setting an array element"),
    "objects": ([[object(), object()]] * 40, "float\\(\\) argument must be"),
}


def finite(*outputs):
    return all(np.isfinite(np.asarray(output)).all() for output in outputs)


def assert_finite(model, rows):
    codes = model.transform(rows)
    assert finite(codes, model.inverse_transform(codes))
    assert finite(model.score(rows), model.reconstruction_error(rows))
    assert finite(model.mean_, model.scale_, model.loss_curve_)
    assert finite(model.explained_variance_ratio_)
    assert all(p.isfinite().all() for p in model.module_.parameters())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", GOOD)
def test_good_input_gives_finite_output(name):
    model = AutoencoderTransformer(1, **QUICK).fit(GOOD[name])
    assert_finite(model, GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_its_cause(name):
    rows, cause = BAD[name]
    model = AutoencoderTransformer(1, **QUICK)
    with pytest.raises((ValueError, TypeError), match=cause):
        model.fit(rows)
    assert not hasattr(model, "module_")


@pytest.mark.parametrize("method", ["transform", "score", "reconstruction_error"])
@pytest.mark.parametrize("cause", ["NaN", "infinity", "features"])
def test_a_fitted_model_refuses_bad_rows(method, cause):
    bad = {
        "NaN": X * np.nan,
        "infinity": np.where(X > 2, np.inf, X),
        "features": X[:, 1:],
    }[cause]
    model = AutoencoderTransformer(1, **QUICK).fit(X)
    with pytest.raises(ValueError, match=cause):
        getattr(model, method)(bad)


def test_codes_of_another_width_are_refused():
    model = AutoencoderTransformer(2, **QUICK).fit(X)
    with pytest.raises(ValueError, match="n_components_=2"):
        model.inverse_transform(X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_rows", range(1, 71))
def test_any_number_of_rows_is_learned_from(n_rows):
    rows = np.random.default_rng(n_rows).standard_normal((n_rows, 4))
    model = AutoencoderTransformer(2, **QUICK, batch_size=32).fit(rows)
    assert model.n_iter_ > 0
    assert_finite(model, rows)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("n_features", "n_components"), [(1, 1), (4, 1), (3, 7)])
def test_any_width_of_data_and_code_is_learned(n_features, n_components):
    rows = X[:, :n_features]
    model = AutoencoderTransformer(n_components, **QUICK).fit(rows)
    assert model.transform(rows).shape == (40, n_components)
    assert_finite(model, rows)


def test_a_memory_map_is_learned_from(tmp_path):
    np.save(tmp_path / "X.npy", X)
    rows = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = AutoencoderTransformer(1, **QUICK)
    assert np.array_equal(model.fit_transform(rows), model.fit_transform(X))


@pytest.mark.parametrize("convert", [pd.DataFrame, pl.DataFrame, sparse.csr_matrix])
def test_the_container_does_not_matter(convert):
    rows = np.where(X > 0, X, 0.0)
    model = AutoencoderTransformer(2, **QUICK).fit(convert(rows))
    other = AutoencoderTransformer(2, **QUICK).fit(rows)
    expected = other.transform(rows)
    np.testing.assert_allclose(model.transform(convert(rows)), expected, rtol=1e-9)


def test_fit_changes_no_input():
    rows, weight = X.copy(), np.arange(40.0)
    AutoencoderTransformer(2, **QUICK).fit(rows, sample_weight=weight).transform(rows)
    assert np.array_equal(rows, X)
    assert np.array_equal(weight, np.arange(40.0))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("exponent", [-100, -60, -10, 10, 60, 100])
def test_codes_do_not_depend_on_the_unit(exponent):
    factor = 2.0**exponent
    codes = AutoencoderTransformer(2, **QUICK).fit_transform(X)
    model = AutoencoderTransformer(2, **QUICK)
    assert np.array_equal(model.fit_transform(X * factor), codes)


def test_a_mean_that_dwarfs_the_spread_costs_no_precision():
    # Integers, which float64 adds exactly.
    rows = np.round(1000 * X)
    near = AutoencoderTransformer(2, **QUICK).fit(rows)
    far = AutoencoderTransformer(2, **QUICK).fit(rows + 1e9)
    np.testing.assert_allclose(
        far.transform(rows + 1e9), near.transform(rows), atol=1e-6
    )
    assert far.score(rows + 1e9) == pytest.approx(near.score(rows), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e8])
def test_a_constant_column_is_reconstructed(value):
    rows = np.c_[X, np.full(40, value)]
    model = AutoencoderTransformer(2, **QUICK).fit(rows)
    reconstruction = model.inverse_transform(model.transform(rows))
    np.testing.assert_allclose(reconstruction[:, -1], value, rtol=1e-12, atol=1e-12)


def test_constant_data_is_reconstructed_and_explained():
    rows = np.full((40, 5), 0.1)
    model = AutoencoderTransformer(2, **QUICK).fit(rows)
    reconstruction = model.inverse_transform(model.transform(rows))
    np.testing.assert_allclose(reconstruction, rows, rtol=1e-12)
    assert model.score(rows) == 1


def test_a_shift_of_a_constant_column_is_not_magnified():
    rows = np.c_[X, np.ones(40)]
    shifted = np.c_[X, np.full(40, 1.001)]
    model = AutoencoderTransformer(2, **QUICK).fit(rows)
    assert model.score(shifted) == pytest.approx(model.score(rows), abs=0.01)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["adamw", "adam", "rmsprop", "sgd"])
def test_training_that_diverges_keeps_a_finite_model_and_says_so(
    solver, early_stopping
):
    model = AutoencoderTransformer(
        2,
        network=MLP((8,)),
        solver=solver,
        max_iter=50,
        learning_rate=1e6,
        early_stopping=early_stopping,
        random_state=0,
    )
    with pytest.warns(ConvergenceWarning, match="Lower learning_rate"):
        model.fit(X)
    assert model.n_iter_ < 50
    assert finite(model.transform(X), model.score(X), model.validation_loss_curve_)
    assert all(p.isfinite().all() for p in model.module_.parameters())
    pca = AutoencoderTransformer(2, max_iter=0).fit(X)
    assert model.score(X) >= pca.score(X) - 1e-6


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_outlier_leaves_a_finite_model():
    rows = X.copy()
    rows[3, 1] = 1e15
    assert_finite(AutoencoderTransformer(2, **QUICK).fit(rows), rows)


def test_an_outlier_at_transform_gives_finite_codes():
    model = AutoencoderTransformer(2, **QUICK).fit(X)
    codes = model.transform(np.full((1, 5), 1e300))
    assert finite(codes, model.inverse_transform(codes))


ENTRIES = st.floats(allow_nan=False, allow_infinity=False)
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 6))


@pytest.mark.slow
@hypothesis.settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    rows=arrays(np.float64, SHAPES, elements=ENTRIES), k=st.integers(1, 8)
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_any_finite_array_gives_finite_output_or_a_cause(rows, k):
    model = AutoencoderTransformer(k, **QUICK)
    with np.errstate(all="ignore"):
        try:
            model.fit(rows)
        except ValueError as error:
            assert "Rescale X" in str(error)  # noqa: PT017
            return
        assert_finite(model, rows)
