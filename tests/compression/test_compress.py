"""Compression: search for the steps, bounds on the error, untrusted data."""

import pickle
import zlib

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import kl_div, rel_entr
from sklearn.exceptions import NotFittedError

from skae import MLP, AutoencoderTransformer, Ordered
from skae._codec import Codec
from skae.compression import _compress
from skae.compression._compress import (
    MACHINE_DIFFERENCE,
    choose_steps,
    curvatures,
    decompress,
    max_width,
    quantize,
    quantized_loss,
    steps_of_width,
)

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

    weight = np.array([4.0, 1.0, 0.25])

    def losses(self, X, codes):
        yield slice(len(X)), np.square(X - codes) * self.weight


@pytest.mark.parametrize("added_error", [1e-3, 0.1])
def test_steps_are_wider_where_the_decoder_is_less_sensitive(added_error):
    rng = np.random.default_rng(0)
    X, codec = rng.standard_normal((5000, 3)), QuadraticCodec()
    codes = X + rng.standard_normal((5000, 3))
    steps = choose_steps(codec, X, codes, added_error)
    np.testing.assert_allclose(steps / steps[1], [0.5, 1.0, 2.0], rtol=1e-5)
    before = quantized_loss(codec, X, codes, np.full(3, 1e-6))
    added = quantized_loss(codec, X, codes, steps) / before - 1
    assert 0.5 * added_error < added <= added_error * (1 + 1e-6)


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
    for options in ({"added_error": 0}, {"added_error": "1 %"}, {"max_error": 0.0}):
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
