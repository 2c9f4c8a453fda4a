"""Compression: search for the steps, bounds on the error, untrusted data."""

import lzma
import pickle
import zlib
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import kl_div, rel_entr
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.exceptions import NotFittedError

from skae import MLP, AutoencoderTransformer, Conv, Ordered
from skae._codec import Codec
from skae.compression import _compress
from skae.compression._compress import (
    MACHINE_DIFFERENCE,
    choose_steps,
    curvatures,
    decompress,
    error_limits,
    fingerprint,
    max_width,
    quantize,
    quantized_losses,
    row_losses,
    steps_of_width,
)
from skae.compression._format import unpack
from skae.data._rows import dense
from skae.data._validation import validate_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {"network": MLP((8,)), "max_iter": 3, "random_state": 0}
VARIANTS = {
    "default": {},
    "pca": {"max_iter": 0},
    "random": {"init": "random"},
    "float32": {"precision": "float32"},
    "absolute": {"loss": "absolute_error"},
    "log_loss": {"loss": "log_loss"},
    "poisson": {"loss": "poisson"},
    "ordered": {"regularizer": Ordered()},
    "share": {"n_components": 0.6},
}
DTYPES = [np.float64, np.float32, np.float16]


@pytest.fixture(scope="module")
def X(digits):
    return digits / 16


def fitted(X, **options):
    return AutoencoderTransformer(**{"n_components": 4, **QUICK, **options}).fit(X)


@pytest.fixture(scope="module")
def model(X):
    return fitted(X)


@pytest.fixture(scope="module")
def data(model, X):
    return model.compress(X, max_error=0.25)


# Steps


def quadratic(weight, center):
    return lambda codes: float((np.square(codes - center) @ weight).mean())


def test_curvatures_are_those_of_a_quadratic_loss(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    codes, weight = rng.standard_normal((50, 3)), np.array([4.0, 1.0, 0.25])
    loss = quadratic(weight, codes + rng.standard_normal(3))
    np.testing.assert_allclose(curvatures(loss, codes), weight, rtol=1e-9)


def test_components_that_matter_less_have_wider_steps():
    steps = steps_of_width(0.1, np.array([4.0, 1.0, 0.25]), np.full(3, 10.0))
    np.testing.assert_allclose(steps, [0.05, 0.1, 0.2], rtol=1e-7)
    assert np.array_equal(steps, steps.astype(np.float32))


def test_components_that_do_not_matter_are_rounded_to_zero(global_random_seed):
    codes = np.random.default_rng(global_random_seed).standard_normal((50, 2))
    loss = quadratic(np.array([1.0, 0.0]), codes)
    largest = np.abs(codes).max(axis=0)
    steps = steps_of_width(0.01, curvatures(loss, codes), largest)
    assert not quantize(codes, steps)[:, 1].any()


class QuadraticCodec:
    """A codec of which the codes are the rows, with a weighted squared error."""

    scale = 1.0
    weight = np.array([4.0, 1.0, 0.25])

    def losses(self, X, codes):
        yield slice(len(X)), np.square(X - codes) * self.weight


@pytest.mark.parametrize("added_error", [1e-3, 0.1])
def test_steps_are_wider_where_the_decoder_is_less_sensitive(added_error):
    rng = np.random.default_rng(0)
    X, codec = rng.standard_normal((5000, 3)), QuadraticCodec()
    codes = X + rng.standard_normal((5000, 3))
    limits = error_limits(codec, X, codes, added_error)
    assert limits.counted.all()
    steps, errors = choose_steps(codec, X, codes, limits)
    np.testing.assert_allclose(steps / steps[1], [0.5, 1.0, 2.0], rtol=1e-5)
    np.testing.assert_array_equal(errors, quantized_losses(codec, X, codes, steps))
    added = errors.mean() / row_losses(codec, X, codes).mean() - 1
    assert 0.5 * added_error < added <= added_error * (1 + 1e-6)


def test_the_loss_of_a_link_may_overflow():
    def loss(codes):
        with np.errstate(over="ignore"):
            return float(np.exp(codes @ [1e3, 1.0]).mean())

    codes = np.array([[1.0, -1.0], [-1.0, 1.0]])
    found = curvatures(lambda codes: loss(codes) + 0.5, codes)
    assert np.isfinite(found).all()
    assert (found > 0).all()


@pytest.mark.parametrize("start", [1e-9, 1.0, 1e9])
def test_max_width_finds_the_largest_that_fits(start):
    found = max_width(lambda width: width <= 3.7, start)
    assert 3.7 / 1.03 <= found <= 3.7


# Bounds on the error


def squared_error(x, back):
    return np.square(x - back)


def absolute_error(x, back):
    return np.abs(x - back)


def log_loss(x, p):
    return rel_entr(x, p) + rel_entr(1 - x, 1 - p)


def poisson(x, mean):
    return kl_div(x, mean)


LOSSES = {f.__name__: f for f in (absolute_error, log_loss, poisson)}


@pytest.mark.parametrize("added_error", [0.01, 0.3])
@pytest.mark.parametrize("name", VARIANTS)
def test_rounding_adds_at_most_the_allowed_share(name, added_error, X):
    model = fitted(X, **VARIANTS[name])
    back = model.decompress(model.compress(X, added_error=added_error))
    before = model.reconstruction_error(X).mean()
    after = LOSSES.get(model.loss, squared_error)(X, back).mean()
    assert after <= before * (1 + added_error) * (1 + 1e-6)
    if name != "random":  # untrained: rounding can reduce the error
        assert after >= before * (1 + 0.5 * added_error)


def test_steps_chosen_on_a_sample_hold_for_all_rows(X, monkeypatch):
    monkeypatch.setattr(_compress, "SAMPLE_ROWS", 7)
    model = fitted(X)
    back = model.decompress(model.compress(X))
    before = model.reconstruction_error(X).mean()
    assert before < np.square(X - back).mean() <= 1.01 * before


# Extreme rows


def surface(n=300):
    """Return rows close to a plane."""
    rng = np.random.default_rng(0)
    rows = np.tanh(2 * rng.standard_normal((n, 2))) @ rng.standard_normal((2, 8))
    return rows + 0.1 * rng.standard_normal(rows.shape)


def counts():
    return np.random.default_rng(0).poisson(3, (300, 6))


def shares():
    return np.random.default_rng(0).beta(0.5, 0.5, (300, 6))


def scaled(rows, factor, row=7):
    """Return a copy in which one row is multiplied by a factor."""
    rows = rows.copy()
    rows[row] *= factor
    return rows


@cache
def fitted_once(loss, n_components, extreme):
    data = {"poisson": counts, "log_loss": shares, "brier": shares}.get(loss, surface)
    return fitted(scaled(data(), extreme), loss=loss, n_components=n_components)


@pytest.mark.parametrize("n_components", [1, 2])
@pytest.mark.parametrize("factor", [3, 10, 1e2, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("where", ["fit", "compress", "different direction"])
def test_one_row_does_not_spoil_the_others(where, factor, n_components):
    rows = scaled(surface(), factor)
    if where == "different direction":
        rows[7] = np.abs(rows[7]) * np.tile([1, -1], 4)
    seen = factor if where == "fit" else 1
    model = fitted_once("squared_error", n_components, seen)
    others = np.arange(len(rows)) != 7
    before = model.reconstruction_error(rows)[others].mean()
    back = model.decompress(model.compress(rows, added_error=0.1))
    after = np.square(back - rows)[others].mean()
    # The row can be close to the limit of those that count.
    assert after <= 1.15 * before


@pytest.mark.parametrize("seen", [False, True])
def test_one_row_does_not_spoil_a_perfect_reconstruction(seen):
    X = np.random.default_rng(0).standard_normal((300, 2)) @ np.eye(2, 8)
    rows = scaled(X, 1e4)
    model = fitted(rows if seen else X, n_components=2, precision="float64")
    back = model.decompress(model.compress(rows))
    others = np.arange(len(rows)) != 7
    error = np.square(back - rows)[others].mean()
    limit = 1.01 * model.reconstruction_error(rows)[others].mean()
    assert error <= limit + 1e-11 * X.var(axis=0).mean()


def is_extreme(values):
    return values > 5 * np.quantile(values, 0.95, method="lower")


def assert_errors_as_documented(model, X, data, added_error):
    """Check what `compress` documents for the errors of rows."""
    codec, rows = model._codec, validate_rows(model, X)
    shape = codec.n_components, len(codec.mean)
    written = unpack(data, fingerprint(codec), shape, 2**30)
    codes = codec.components(rows)
    before = row_losses(codec, rows, codes)
    after = row_losses(codec, rows, written.levels * written.steps)
    after[written.corrected] = 0.0
    finite = np.isfinite(before) & np.isfinite(codes).all(axis=1)
    assert written.corrected[~finite].all()
    counted = np.flatnonzero(finite)
    counted = counted[~is_extreme(np.abs(codes[counted]).max(axis=1))]
    variance = np.var(dense(rows[counted]) / codec.scale, axis=0).mean()
    least = 1e-10 * np.clip(variance or 1.0, 1e-10, 1)
    limit = 5 * max(np.quantile(before[counted], 0.95, method="lower"), least)
    counted = counted[before[counted] <= limit]
    mean = before[counted].mean()
    rounding = 1 + 1e-6
    with np.errstate(over="ignore"):
        limit_of_mean = rounding * (mean + added_error * max(mean, least))
        each = rounding * (1 + added_error) * (before + limit)
    assert after[counted].mean() <= limit_of_mean
    assert (after <= each).all()


LINKED = ["poisson", "log_loss", "brier"]
ALL_LOSSES = ["squared_error", "absolute_error", "huber", *LINKED]


@pytest.mark.parametrize("added_error", [1e-300, 1e-9, 0.01, 0.3, 1e100])
@pytest.mark.parametrize("factor", [1, 30, 1e5, 1e20, 1e200])
@pytest.mark.parametrize("loss", ALL_LOSSES)
def test_errors_are_those_that_are_documented(loss, factor, added_error):
    model = fitted_once(loss, 2, 1)
    data = {"poisson": counts, "log_loss": shares, "brier": shares}.get(loss, surface)
    rows = scaled(data().astype(float), factor).clip(*model.module_.loss.domain)
    compressed = model.compress(rows, added_error=added_error)
    assert np.isfinite(model.decompress(compressed)).all()
    assert_errors_as_documented(model, rows, compressed, added_error)


@pytest.mark.parametrize("n_extreme", [2, 10])
def test_a_few_extreme_rows_do_not_count(n_extreme):
    model = fitted_once("squared_error", 2, 1)
    rows = surface()
    rows[:n_extreme] *= 1e6 * np.arange(1, n_extreme + 1)[:, np.newaxis]
    data = model.compress(rows)
    assert_errors_as_documented(model, rows, data, 0.01)
    assert len(data) < len(model.compress(surface())) + 100 * n_extreme


@pytest.mark.parametrize("factor", [1e5, 1e100])
def test_counts_with_an_extreme_row_are_compressed(factor):
    rows = counts().astype(float)
    for model in (fitted_once("poisson", 2, 1), fitted(scaled(rows, 1e5))):
        back = model.decompress(model.compress(scaled(rows, factor)))
        assert len(np.unique(back, axis=0)) > 30


def test_rows_that_overflow_when_they_are_standardized_are_stored_exactly():
    model, rows = fitted(surface() * 1e-20, n_components=2), surface() * 1e-20
    before = model.reconstruction_error(rows).mean()
    rows[7] = 1e300
    back = model.decompress(model.compress(rows))
    assert (back[7] == 1e300).all()
    assert np.square(back - rows).mean() <= 1.02 * before


# Every kind of row


def tokens():
    return np.random.default_rng(0).integers(0, 9, (200, 5))


def sparse_rows():
    return sparse.random_array((200, 12), density=0.2, rng=0, format="csr")


KINDS = {
    "numbers": lambda: (surface(), {}),
    "float32": lambda: (surface().astype(np.float32), {}),
    "float16": lambda: (surface().astype(np.float16), {}),
    "integers": lambda: (counts(), {}),
    "counts": lambda: (counts(), {"loss": "poisson"}),
    "binary": lambda: (counts() > 3, {"loss": "log_loss"}),
    "sparse": lambda: (sparse_rows(), {}),
    "tokens": lambda: (tokens(), {"loss": "cross_entropy"}),
    "images": lambda: (
        surface(8 * 60).reshape(60, 1, 8, 8),
        {"network": Conv(channels=(4,))},
    ),
    "series": lambda: (surface(5 * 60).reshape(60, 5, 8), {}),
    "one component": lambda: (surface(), {"n_components": 1}),
    "constant": lambda: (np.full((30, 3), 7.5), {}),
    "two values": lambda: (np.repeat([[0.0, 1.0], [2.0, 0.0]], 50, axis=0), {}),
    "large mean": lambda: (surface() + 1e9, {}),
    "small": lambda: (surface() * 1e-100, {}),
    "large": lambda: (surface() * 1e100, {}),
}
BOUNDS = [1e-300, 1e-6, 1 / 3, 0.5, 1, np.float16(2), 1e20, 1e308]


@cache
def fitted_kind(name):
    X, options = KINDS[name]()
    return X, fitted(X, **{"n_components": 2, **options})


@pytest.mark.parametrize("n_rows", [1, 2, None])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_row_is_decompressed_within_max_error(name, n_rows):
    X, model = fitted_kind(name)
    X = X[:n_rows]
    rows = X.toarray() if sparse.issparse(X) else X
    for max_error in [None, *BOUNDS]:
        back = model.decompress(model.compress(X, max_error=max_error))
        assert back.shape == rows.shape
        assert np.isfinite(back).all()
        if X.dtype.kind == "f":
            assert back.dtype == X.dtype
        if max_error is not None:
            error = np.abs(back.astype(float) - rows.astype(float)).max()
            assert error <= max_error


@pytest.mark.parametrize("added_error", [1e-300, 0.01, 1 / 3, 1e100, 1e308])
@pytest.mark.parametrize("name", KINDS)
def test_errors_of_every_kind_of_row_are_those_that_are_documented(name, added_error):
    X, model = fitted_kind(name)
    data = model.compress(X, added_error=added_error)
    assert np.isfinite(model.decompress(data)).all()
    assert_errors_as_documented(model, X, data, added_error)


@pytest.mark.parametrize("max_error", BOUNDS)
@pytest.mark.parametrize("loss", ALL_LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_error_holds_for_extreme_rows(dtype, loss, max_error):
    model = fitted_once(loss, 2, 1)
    data = {"poisson": counts, "log_loss": shares, "brier": shares}.get(loss, surface)
    rows = data().astype(dtype)
    largest = min(float(np.finfo(dtype).max), 1e300)
    rows[3], rows[4], rows[5] = largest, 0.0, np.finfo(dtype).tiny
    rows[6, 2], rows[7] = largest / 2, np.minimum(6e4, 1e4 * rows[7].astype(float))
    rows = rows.clip(*model.module_.loss.domain)
    back = model.decompress(model.compress(rows, max_error=max_error))
    assert back.dtype == dtype
    # Halved, since a difference of two numbers can overflow.
    error = np.abs(back.astype(float) / 2 - rows.astype(float) / 2).max()
    assert error <= max_error / 2


# Size


def test_larger_errors_take_fewer_bytes(model, X):
    sizes = [len(model.compress(X, added_error=e)) for e in (0.001, 0.01, 0.1, 1)]
    assert sizes == sorted(sizes, reverse=True)
    sizes = [len(model.compress(X, max_error=e)) for e in (1e-6, 0.01, 0.1, 0.5, None)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_error", [1e-12, 1e-6, 1e-3, 0.1, 2.0])
def test_no_error_is_larger_than_max_error(max_error, dtype, precision, X):
    rows = X.astype(dtype)
    model = fitted(rows, precision=precision)
    back = model.decompress(model.compress(rows, max_error=max_error))
    assert back.dtype == dtype
    assert np.abs(back.astype(float) - rows.astype(float)).max() <= max_error


@pytest.mark.parametrize("outlier", [1e3, 1e9, 1e14, 1e100])
def test_max_error_holds_for_outliers(outlier, model, X):
    rows = X.copy()
    rows[3, 5], rows[4] = outlier, -outlier
    back = model.decompress(model.compress(rows, max_error=0.1))
    assert np.abs(back - rows).max() <= 0.1


@pytest.mark.parametrize("dtype", DTYPES)
def test_max_error_holds_for_the_largest_numbers(dtype, X):
    rows = X.astype(dtype)
    model = fitted(rows)
    largest = min(float(np.finfo(dtype).max), 1e300)
    rows[2], rows[5, 5] = largest, -largest
    back = model.decompress(model.compress(rows, max_error=0.1))
    assert np.abs(back[[2, 5]] / 2 - rows[[2, 5]] / 2).max() <= 0.05


# Without any loss

LOSSLESS = {
    "digits": lambda: load_digits().data[::2],
    "digits in float32": lambda: load_digits().data[::4].astype(np.float32),
    "digits in float16": lambda: load_digits().data[::4].astype(np.float16),
    "digits in uint8": lambda: load_digits().data[::4].astype(np.uint8),
    "wine": lambda: load_wine().data,
    "breast_cancer": lambda: load_breast_cancer().data,
    "breast_cancer in float32": lambda: load_breast_cancer().data.astype(np.float32),
    "diabetes": lambda: load_diabetes().data,
    "iris": lambda: load_iris().data,
    "numbers": surface,
    "small and large": lambda: surface(8 * 300).reshape(-1, 8) * 10.0 ** np.arange(8),
}


@cache
def fitted_to_lossless(name):
    X = LOSSLESS[name]()
    return X, fitted(X, n_components=2)


def bits_of(X):
    return np.asarray(X).view(f"u{X.itemsize}")


def as_floats(X):
    return X if X.dtype.kind == "f" else X.astype(float)


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_max_error_of_zero_is_lossless(name):
    X, model = fitted_to_lossless(name)
    back = model.decompress(model.compress(X, max_error=0))
    np.testing.assert_array_equal(bits_of(back), bits_of(as_floats(X)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_max_error_of_zero_keeps_every_bit(dtype, model, X):
    rows, limits = X.astype(dtype), np.finfo(dtype)
    rows[0, :6] = -0.0, limits.smallest_subnormal, limits.tiny, 1 / 3, -1 / 3, 0.0
    rows[1, :2] = (limits.max, limits.min) if dtype != np.float64 else (1e150, -1e150)
    back = model.decompress(model.compress(rows, max_error=0))
    np.testing.assert_array_equal(bits_of(back), bits_of(rows))


def test_missing_values_and_signs_of_zeros_are_kept():
    rows = surface()
    rows[3, :4] = np.nan, -0.0, 0.0, np.nan
    model = fitted(rows, n_components=2)
    back = model.decompress(model.compress(rows, max_error=0))
    np.testing.assert_array_equal(back, rows)
    np.testing.assert_array_equal(np.signbit(back[3, 1:3]), [True, False])


def lossless_sizes(X):
    """Return the bytes of floats and of their byte planes, by columns, with lzma."""
    columns = np.ascontiguousarray(as_floats(X).T)
    planes = columns.ravel().view(np.uint8).reshape(-1, columns.itemsize).T
    return [len(lzma.compress(each.tobytes())) for each in (columns, planes)]


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_rows_take_no_more_bytes_than_with_lzma(name):
    X, model = fitted_to_lossless(name)
    size = len(model.compress(X, max_error=0))
    # The header, the steps and placeholders take up to 160 bytes.
    assert size <= 1.03 * min(lossless_sizes(X)) + 160


@pytest.mark.parametrize("max_error", [1e-300, 1e-6, 1e-4, 0.01])
@pytest.mark.parametrize("name", LOSSLESS)
def test_a_bound_takes_no_more_bytes_than_exact_rows(name, max_error):
    X, model = fitted_to_lossless(name)
    data = model.compress(X, max_error=max_error * X.astype(float).std())
    assert len(data) <= 1.15 * len(model.compress(X, max_error=0))


def test_rows_are_exact_if_that_takes_fewer_bytes():
    X, model = fitted_to_lossless("digits")
    assert model.compress(X, max_error=0.01) == model.compress(X, max_error=0)


def test_exact_entries_are_stored_by_columns(model, X):
    rows = X.copy()
    rows[[3, 90], :3] = 1e100 * (1 + np.arange(6.0).reshape(2, 3))
    data = model.compress(rows, max_error=0.25)
    written = unpack(data, fingerprint(model._codec), (4, 64), 2**30)
    expected = [*rows[[3, 90], 0], *rows[[3, 90], 1], *rows[[3, 90], 2]]
    assert set(expected) <= set(written.exact)
    large = written.exact[written.exact > 1e99]
    np.testing.assert_array_equal(large, expected)


@pytest.mark.parametrize("max_error", [None, 0.2])
def test_small_deviations_from_a_large_mean_are_kept(max_error, X):
    rows = X + 1e6
    model = fitted(rows)
    back = model.decompress(model.compress(rows, max_error=max_error))
    assert np.abs(back - rows).max() <= (max_error or 1.0)


class OtherMachine(Codec):
    """A codec whose reconstructions differ by rounding errors."""

    def decode_blocks(self, codes):
        rng = np.random.default_rng(0)
        share = 0.99 * MACHINE_DIFFERENCE[self.module.offset.dtype]
        for block, rows in super().decode_blocks(codes):
            difference = share * (self.scale + np.abs(rows - self.mean))
            yield block, rows + difference * rng.choice([-1, 1], rows.shape)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("max_error", [1e-11, 1e-8, 1e-6, 1e-4, 1e-2])
def test_max_error_holds_if_another_machine_rounds_differently(max_error, precision, X):
    model = fitted(X, precision=precision)
    data = model.compress(X, max_error=max_error)
    other = OtherMachine(**vars(model._codec))
    assert np.abs(decompress(other, data, 2**30) - X).max() <= max_error


@pytest.mark.parametrize("max_error", [None, 0.1])
@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_a_few_rows_are_compressed(n_rows, max_error, model, X):
    back = model.decompress(model.compress(X[:n_rows], max_error=max_error))
    assert back.shape == (n_rows, 64)


def test_equal_rows_take_few_bytes(model, X):
    few, many = (model.compress(np.tile(X[:1], (n, 1))) for n in (10, 2000))
    assert len(many) <= len(few) + 30


def test_constant_rows_are_reconstructed():
    rows = np.full((30, 3), 5.0)
    model = fitted(rows, n_components=2)
    np.testing.assert_allclose(model.decompress(model.compress(rows)), rows)


def test_a_perfect_reconstruction_keeps_five_digits(X):
    model = fitted(X[:, :24], n_components=24, max_iter=0)
    back = model.decompress(model.compress(X[:, :24]))
    assert np.square(back - X[:, :24]).mean() < 1e-10


def test_rows_can_be_sparse_lists_or_data_frames(model, X, data):
    assert model.compress(sparse.csr_array(X), max_error=0.25) == data
    assert model.compress(X.tolist(), max_error=0.25) == data
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    model = fitted(frame)
    back = model.decompress(model.compress(frame, max_error=0.25))
    assert np.abs(back - X).max() <= 0.25
    with pytest.raises(ValueError, match="feature names"):
        model.compress(frame[frame.columns[::-1]])


def test_the_same_rows_give_the_same_bytes(model, X, data):
    assert model.compress(X, max_error=0.25) == data
    assert pickle.loads(pickle.dumps(model)).compress(X, max_error=0.25) == data


@pytest.mark.parametrize("container", [bytes, bytearray, memoryview])
def test_data_can_be_any_bytes_type(container, model, X, data):
    loaded = pickle.loads(pickle.dumps(model))
    assert np.array_equal(loaded.decompress(container(data)), model.decompress(data))


def test_the_model_does_not_change(model, X):
    before = dict(vars(model))
    model.decompress(model.compress(X))
    assert vars(model) == before


# Errors


@pytest.mark.parametrize(
    "options", [{"random_state": 1}, {"n_components": 3}, {"loss": "log_loss"}]
)
def test_data_from_another_model_is_refused(options, X, data):
    with pytest.raises(ValueError, match="Load the model that compressed it"):
        fitted(X, **options).decompress(data)


def test_parameters_are_checked(model, X, data):
    for options in ({"added_error": 0}, {"added_error": "1 %"}, {"max_error": -1.0}):
        with pytest.raises(ValueError, match="parameter of compress must be"):
            model.compress(X, **options)
    with pytest.raises(ValueError, match="parameter of decompress must be"):
        model.decompress(data, max_bytes=0)
    with pytest.raises(TypeError, match="expected bytes"):
        model.decompress("skae")
    with pytest.raises(ValueError, match="64 features"):
        model.compress(X[:, :9])


def test_an_unfitted_model_raises(X, data):
    model = AutoencoderTransformer()
    for call in (lambda: model.compress(X), lambda: model.decompress(data)):
        with pytest.raises(NotFittedError):
            call()


def test_sequences_of_different_lengths_are_refused(data):
    X = np.random.default_rng(0).standard_normal((30, 5, 2))
    X[:9, 3:] = np.nan
    model = fitted(X)
    with pytest.raises(ValueError, match="cannot be compressed"):
        model.compress(X)
    with pytest.raises(ValueError, match="cannot be decompressed"):
        model.decompress(data)


def test_damaged_data_is_refused(model, data, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    for _ in range(50):
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        with pytest.raises(ValueError, match="compress"):
            model.decompress(changed)
        with pytest.raises(ValueError, match="compress"):
            model.decompress(data[: rng.integers(len(data))])


def test_forged_data_is_refused_or_decoded(model, X, data, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    for _ in range(100):
        forged = bytearray(data[:-4])
        forged[rng.integers(len(forged))] ^= int(rng.integers(1, 256))
        forged += zlib.crc32(forged).to_bytes(4, "little")
        try:
            assert model.decompress(forged).shape == X.shape
        except ValueError as error:
            assert "compress" in str(error) or "max_bytes" in str(error)  # noqa: PT017


@pytest.mark.parametrize("size", [1e-30, 1e30, 3e38])
def test_forged_steps_are_decoded(size, model, X):
    data = bytearray(model.compress(X)[:-4])
    data[48:64] = np.full(4, size, "<f4").tobytes()
    data += zlib.crc32(data).to_bytes(4, "little")
    assert model.decompress(data).shape == X.shape
