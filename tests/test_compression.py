"""Compressed rows: small, as close as promised, the same everywhere, hard to abuse."""

import pickle
import sys
import time
import tracemalloc
import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import entr, kl_div, rel_entr
from scipy.stats import norm
from sklearn.exceptions import NotFittedError

from skae import MLP, AutoencoderTransformer, Ordered
from skae.compression._coding import (
    LARGEST,
    decode,
    encode,
    histogram,
    pack_numbers,
    read_histogram,
    unpack_numbers,
)
from skae.compression._compress import curvatures, max_width, quantize, steps_of_width
from skae.compression._format import CRC, HEADER, Header, Message, pack, unpack
from skae.regularizers._contractive import EXACT

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


# Integers as bytes

COLUMNS = st.integers(1, 25).flatmap(
    lambda n: st.lists(
        st.one_of(
            *(
                st.lists(values, min_size=n, max_size=n)
                for values in (
                    st.integers(1 - LARGEST, LARGEST),
                    st.integers(-3, 3),
                    st.just(-7),
                    st.sampled_from([0, 1, 1 - LARGEST, LARGEST]),
                )
            )
        ),
        min_size=1,
        max_size=4,
    )
)


@settings(max_examples=200, deadline=None)
@given(COLUMNS)
def test_integers_come_back(columns):
    columns = [np.array(column) for column in columns]
    decoded = decode(*encode(columns), [len(column) for column in columns])
    for column, back in zip(columns, decoded, strict=True):
        assert np.array_equal(column, back)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**35 - 1), min_size=1))
def test_numbers_of_histograms_come_back(numbers):
    assert unpack_numbers(pack_numbers(np.array(numbers))).tolist() == numbers


def test_more_rows_than_can_be_counted_are_refused():
    with pytest.raises(ValueError, match="Split X"):
        pack_numbers(np.array([1, 2**35]))


def test_a_constant_column_takes_its_histogram_alone():
    tables, words = encode([np.full(100_000, 12)])
    assert len(tables) <= 6
    assert words == b""


@pytest.mark.parametrize("n", [1000, 50_000])
@pytest.mark.parametrize("spread", [0.5, 10, 1000])
def test_bytes_are_near_the_entropy(n, spread, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    values = quantize(rng.standard_normal(n) * spread, 1.0)
    tables, words = encode([values])
    assert abs(8 * len(words) + 8 * len(tables) - histogram(values).n_bits()) < 80
    probability = np.diff(norm.cdf(np.arange(-9000.5, 9001) / spread))
    entropy = entr(probability).sum() / np.log(2)
    assert len(words) + len(tables) < 1.03 * n * entropy / 8 + 50


def test_an_outlier_takes_bytes_of_its_own_alone(global_random_seed):
    values = np.random.default_rng(global_random_seed).integers(-9, 9, 2000)
    without = sum(len(part) for part in encode([values]))
    values[7] = LARGEST
    assert sum(len(part) for part in encode([values])) < without + 12


def read_by_hand(words, tables):
    """Decode with whole numbers alone, as the format is documented."""
    stack = np.frombuffer(words, "<u4").tolist()
    state = 0

    def refill(state):
        while state < 2**32 and stack:
            state = state << 32 | stack.pop()
        return state

    def read(edges, state):
        low = state % 2**24
        symbol = np.searchsorted(edges, low, side="right") - 1
        left, right = edges[symbol : symbol + 2].tolist()
        return int(symbol), refill((state >> 24) * (right - left) + low - left)

    state, columns = refill(state), []
    for table in tables:
        edges = np.append(0, np.cumsum(table.weights() + 1))
        uniform = np.arange(2**table.shift + 1) << 24 - table.shift
        bins, low = [], []
        for out, model in ((bins, edges), (low, uniform)):
            for _ in range(table.counts.sum()):
                symbol = 0
                if len(model) > 2:
                    symbol, state = read(model, state)
                out.append(symbol)
        columns.append((table.bins[bins] << table.shift) + low)
    assert (state, stack) == (0, [])
    return columns


def test_the_coder_computes_with_whole_numbers_as_documented(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    columns = [quantize(rng.standard_t(2, 300), s) for s in (1, 0.1, 1e-3, 1e-6, 9)]
    tables, words = encode(columns)
    histograms, numbers = [], unpack_numbers(tables)
    for column in columns:
        table, numbers = read_histogram(numbers, len(column))
        histograms.append(table)
    assert {table.shift > 0 for table in histograms} == {True, False}
    for column, back in zip(columns, read_by_hand(words, histograms), strict=True):
        assert np.array_equal(column, back)


# Steps


def quadratic(weight, centre):
    return lambda codes: float((np.square(codes - centre) @ weight).mean())


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


@pytest.mark.parametrize("start", [1e-9, 1.0, 1e9])
def test_the_widest_that_fits_is_found(start):
    found = max_width(lambda width: width <= 3.7, start)
    assert 3.7 / 1.03 <= found <= 3.7


# Rows as bytes


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
def test_rounding_adds_no_more_than_the_stated_share(name, added_error, X):
    model = fitted(X, **VARIANTS[name])
    back = model.decompress(model.compress(X, added_error=added_error))
    before = model.reconstruction_error(X).mean()
    after = LOSSES.get(model.loss, squared_error)(X, back).mean()
    assert after <= before * (1 + added_error) * (1 + 1e-6)
    if name != "random":  # without training, rounding makes it better
        assert after >= before * (1 + 0.5 * added_error)


def test_steps_chosen_on_a_sample_hold_for_all_rows(X, monkeypatch):
    monkeypatch.setattr("skae._compression.SAMPLE_ROWS", 7)
    model = fitted(X)
    back = model.decompress(model.compress(X))
    before = model.reconstruction_error(X).mean()
    assert before < np.square(X - back).mean() <= 1.01 * before


def test_a_coarser_wish_takes_fewer_bytes(model, X):
    sizes = [len(model.compress(X, added_error=e)) for e in (0.001, 0.01, 0.1, 1)]
    assert sizes == sorted(sizes, reverse=True)
    sizes = [len(model.compress(X, max_error=e)) for e in (1e-6, 0.01, 0.1, 0.5, None)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_error", [1e-12, 1e-6, 1e-3, 0.1, 2.0])
def test_no_entry_is_further_off_than_max_error(max_error, dtype, precision, X):
    rows = X.astype(dtype)
    model = fitted(rows, precision=precision)
    back = model.decompress(model.compress(rows, max_error=max_error))
    assert back.dtype == dtype
    assert np.abs(back.astype(float) - rows.astype(float)).max() <= max_error


@pytest.mark.parametrize("outlier", [1e3, 1e9, 1e14, 1e100])
def test_an_outlier_is_as_close_as_any_entry(outlier, model, X):
    rows = X.copy()
    rows[3, 5], rows[4] = outlier, -outlier
    back = model.decompress(model.compress(rows, max_error=0.1))
    assert np.abs(back - rows).max() <= 0.1


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_numbers_come_back(dtype, X):
    rows = X.astype(dtype)
    model = fitted(rows)
    largest = min(float(np.finfo(dtype).max), 1e300)
    rows[2], rows[5, 5] = largest, -largest
    back = model.decompress(model.compress(rows, max_error=0.1))
    assert np.abs(back[[2, 5]] / 2 - rows[[2, 5]] / 2).max() <= 0.05


@pytest.mark.parametrize("max_error", [None, 0.2])
def test_a_part_that_is_large_in_mean_is_kept(max_error, X):
    rows = X + 1e6
    model = fitted(rows)
    back = model.decompress(model.compress(rows, max_error=max_error))
    assert np.abs(back - rows).max() <= (max_error or 1.0)


@pytest.mark.parametrize("max_error", [None, 0.1])
@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_a_few_rows_are_compressed(n_rows, max_error, model, X):
    back = model.decompress(model.compress(X[:n_rows], max_error=max_error))
    assert back.shape == (n_rows, 64)


def test_equal_rows_take_no_bytes_each(model, X):
    few, many = (model.compress(np.tile(X[:1], (n, 1))) for n in (10, 2000))
    assert len(many) <= len(few) + 4 * model.n_components_


def test_features_share_a_histogram_where_few_rows_are_corrected(model, X):
    n_groups = [
        Header(*HEADER.unpack_from(model.compress(rows, max_error=0.3))).n_groups
        for rows in (X[:4], np.tile(X, (9, 1)))
    ]
    assert n_groups == [1, 64]


def test_constant_data_come_back():
    rows = np.full((30, 3), 5.0)
    model = fitted(rows, n_components=2)
    np.testing.assert_allclose(model.decompress(model.compress(rows)), rows)


def test_a_perfect_reconstruction_stays_as_good_as_five_digits(X):
    model = fitted(X[:, :24], n_components=24, max_iter=0)
    back = model.decompress(model.compress(X[:, :24]))
    assert np.square(back - X[:, :24]).mean() < 1e-10


def test_rows_come_in_every_container(model, X, data):
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
def test_bytes_come_in_every_container(container, model, X, data):
    loaded = pickle.loads(pickle.dumps(model))
    assert np.array_equal(loaded.decompress(container(data)), model.decompress(data))


def test_nothing_of_the_model_changes(model, X):
    before = dict(vars(model))
    model.decompress(model.compress(X))
    assert vars(model) == before


# What is refused


@pytest.mark.parametrize(
    "options", [{"random_state": 1}, {"n_components": 3}, {"loss": "log_loss"}]
)
def test_the_data_of_another_model_is_refused(options, X, data):
    with pytest.raises(ValueError, match="Load the model that compressed it"):
        fitted(X, **options).decompress(data)


def test_a_missing_coder_is_named_with_its_extra(model, X, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    for call in (lambda: model.compress(X), lambda: model.decompress(data)):
        with pytest.raises(ImportError, match=r"skae\[compress\]"):
            call()


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


def test_an_unfitted_model_has_nothing_to_compress_with(X, data):
    model = AutoencoderTransformer()
    for call in (lambda: model.compress(X), lambda: model.decompress(data)):
        with pytest.raises(NotFittedError):
            call()


def changed(data, **fields):
    """Return data with other numbers in its header, and a checksum that is right."""
    header = Header(*HEADER.unpack_from(data))._replace(**fields)
    return signed(HEADER.pack(*header) + data[HEADER.size :])


def signed(data):
    """Return data whose last bytes are made the checksum of the others."""
    return data[: -CRC.size] + CRC.pack(zlib.crc32(data[: -CRC.size]))


def test_more_rows_than_allowed_are_refused_before_there_is_memory(model, X):
    data = model.compress(X)
    size = X.size * 8
    assert model.decompress(data, max_bytes=size).nbytes == size
    tracemalloc.start()
    start = time.perf_counter()
    for n_rows, max_bytes in ((120, size - 1), (10**18, 2**30), (2**64 - 1, 2**30)):
        with pytest.raises(ValueError, match="Increase max_bytes"):
            model.decompress(changed(data, n_rows=n_rows), max_bytes=max_bytes)
    assert time.perf_counter() - start < 0.5
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_later_version_is_named(model, data):
    with pytest.raises(ValueError, match="version 2 of the format"):
        model.decompress(changed(data, version=2))


FIELDS = {
    "magic": b"SKAE",
    "itemsize": 3,
    "n_components": 5,
    "n_features": 63,
    "n_groups": 2,
    "n_rows": 0,
    "n_corrected": 2**63,
    "n_exact": 1,
    "n_table_bytes": 2**62,
    "n_words": 0,
    "step": float("nan"),
    "checksum": 0,
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_header_that_lies_is_refused(field, model, data):
    with pytest.raises(ValueError, match="damaged, or no data of `compress`"):
        model.decompress(changed(data, **{field: FIELDS[field]}))


def mutated(data, rng):
    """Return data of which some bytes are others."""
    changed = np.frombuffer(data, np.uint8).copy()
    where = rng.choice(len(data), size=rng.integers(1, 4), replace=False)
    changed[where] ^= rng.integers(1, 256, len(where), dtype=np.uint8)
    return changed.tobytes()


@pytest.fixture
def little_memory():
    """Check that a test never holds more than 64 MB."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


@pytest.mark.usefixtures("little_memory")
def test_damaged_data_is_refused(model, data, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    cuts = np.linspace(0, len(data) - 1, 500).astype(int)
    damaged = [mutated(data, rng) for _ in range(2000)] + [data[:cut] for cut in cuts]
    for each in [*damaged, data + b"\0", data + data]:
        with pytest.raises(ValueError, match="compress"):
            unpack(each, *reader(data), max_bytes=2**30)
    for each in damaged[::50]:
        with pytest.raises(ValueError, match="compress"):
            model.decompress(each)


@pytest.mark.usefixtures("little_memory")
def test_forged_data_is_refused_or_harmless(model, X, data, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    forged = [signed(mutated(data, rng)) for _ in range(500)]
    assert sum(is_read(unpack, each, *reader(data), 2**24) for each in forged) < 50
    for each in forged[::20]:
        is_read(model.decompress, each)


def reader(data):
    """Return the fingerprint and the shape of the model that data is for."""
    header = Header(*HEADER.unpack_from(data))
    return header.fingerprint, (header.n_components, header.n_features)


def is_read(function, *arguments):
    """Return whether a function accepts forged data."""
    try:
        function(*arguments)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "numbers",
    [
        [],
        [0, 0],
        [17, 0, 1, 20],
        [0, 0, 0],
        [0, 0, 2, 20],
        [0, 0, 1, 21, 5],
        [0, 0, 2, 10, 11],
        [0, 0, 2, 10, 8],
        [0, 0, 2, 20, 0],
        [0, 2 * LARGEST + 2, 1, 20],
        [0, 2 * LARGEST + 1, 1, 20],
        [0, 0, 2, 10, 11, LARGEST],
        [0, 0, 2**34, 20],
    ],
)
def test_a_histogram_that_cannot_be_is_refused(numbers):
    with pytest.raises(ValueError, match="damaged"):
        read_histogram(np.array(numbers, dtype=np.int64), n_values=10)


@pytest.mark.parametrize("packed", [b"", b"\x80", b"\x01\xff", b"\xff" * 5 + b"\x00"])
def test_numbers_that_cannot_be_are_refused(packed):
    with pytest.raises(ValueError, match="damaged"):
        unpack_numbers(packed)


# The format

GOLDEN_FINGERPRINT = bytes(range(8))
GOLDEN_LEVELS = np.array(
    [[0, 5, -300], [1, 5, 70_000], [-1, 5, 12], [0, 5, -LARGEST + 1], [2, 5, 40]]
)
GOLDEN_CORRECTIONS = np.array([[0, 0, 1, -1], [EXACT, 0, 7, 0]])
GOLDEN = (
    "736b6165010004000001020304050607030000000400000001000000050000000000000002000000"
    "00000000010000000000000024000000000000000500000000000000000000000000c03ff15647e4"
    "0000003f0000803e000080350201020208000a010a0affff7f0402030403feff3f430100010a0301"
    "03020c03ffffff3f000000d9bb165c0c5ce3b00203e5d39c01000000caf2497139edbabd"
)


def golden():
    return Message(
        levels=GOLDEN_LEVELS,
        steps=np.array([0.5, 0.25, 2**-20], dtype=np.float32),
        corrected=np.array([False, True, False, False, True]),
        corrections=GOLDEN_CORRECTIONS,
        step=0.125,
        exact=np.array([1e30], dtype=np.float32),
    )


def test_bytes_of_today_are_those_of_the_format():
    assert pack(golden(), GOLDEN_FINGERPRINT).hex() == GOLDEN


def test_bytes_of_the_format_are_read():
    message = unpack(bytes.fromhex(GOLDEN), GOLDEN_FINGERPRINT, (3, 4), 1000)
    for name, value in vars(golden()).items():
        assert np.array_equal(getattr(message, name), value), name
    assert message.exact.dtype == np.float32
