"""The bytes of compressed rows: complete, small, and safe to read."""

import lzma
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.special import entr
from scipy.stats import norm

from skae.compression._format import (
    CRC,
    DIGIT_BITS,
    EXACT,
    HEADER,
    LZMA2,
    MAX_LEVEL,
    CompressedRows,
    Header,
    best_digit_bits,
    compress_floats,
    compress_integers,
    count_digits,
    decompress_floats,
    decompress_integers,
    pack,
    to_integers,
    unpack,
)

FINGERPRINT = bytes(range(8))


def rows_of(levels, corrections=None, exact=(), dtype=np.float64):
    """Return compressed rows, of which the first ones have the corrections."""
    levels = np.asarray(levels)
    corrections = np.empty((0, 4), int) if corrections is None else corrections
    return CompressedRows(
        levels=levels,
        steps=np.linspace(0.5, 2.0, levels.shape[1]).astype(np.float32),
        corrected=np.arange(len(levels)) < len(corrections),
        corrections=corrections,
        step=0.125,
        exact=np.array(exact, dtype),
    )


def unpack_like(rows, data, max_bytes=2**30):
    """Return the rows in data, for the model that compressed `rows`."""
    shape = rows.levels.shape[1], rows.corrections.shape[1]
    return unpack(data, FINGERPRINT, shape, max_bytes)


def assert_same_rows(found, expected):
    for name, value in vars(expected).items():
        assert_array_equal(getattr(found, name), value, err_msg=name)
    assert found.exact.dtype == expected.exact.dtype


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    levels = np.rint(20 * rng.standard_normal((200, 5))).astype(int)
    corrections = np.rint(rng.standard_normal((80, 30))).astype(int)
    corrections[3, 7] = corrections[50, 0] = EXACT
    return rows_of(levels, corrections, exact=[1e30, -7.5])


@pytest.fixture(scope="module")
def data(rows):
    return pack(rows, FINGERPRINT)


# Integers


def matrices(values, n_columns):
    row = st.lists(values, min_size=n_columns, max_size=n_columns)
    return st.lists(row, min_size=1, max_size=25).map(np.array)


VALUES = (
    st.integers(-MAX_LEVEL, MAX_LEVEL),
    st.integers(-3, 3),
    st.integers(-300, 300),
    st.just(-7),
    st.sampled_from([0, 1, -MAX_LEVEL, MAX_LEVEL]),
)
LEVELS = st.sampled_from(VALUES).flatmap(lambda values: matrices(values, 3))
CORRECTIONS = st.sampled_from(VALUES).flatmap(lambda values: matrices(values, 4))


@settings(max_examples=200, deadline=None)
@given(LEVELS, CORRECTIONS | st.none(), st.sampled_from([np.float16, np.float64]))
def test_rows_are_the_same_after_unpacking(levels, corrections, dtype):
    if corrections is not None:
        corrections = corrections[: len(levels)]
    rows = rows_of(levels, corrections, dtype=dtype)
    assert_same_rows(unpack_like(rows, pack(rows, FINGERPRINT)), rows)


def test_exact_entries_are_the_same_after_unpacking(rows, data):
    assert_same_rows(unpack_like(rows, data), rows)


def test_levels_are_in_memory_row_by_row(rows, data):
    # The reconstruction of a column-by-column array differs in the last bits.
    assert unpack_like(rows, data).levels.flags.c_contiguous


@pytest.mark.parametrize("bits", DIGIT_BITS)
@pytest.mark.parametrize("n", [1, 7, 8, 100])
@pytest.mark.parametrize("largest", [0, 1, 200, 2**31])
def test_digits_of_every_width_are_the_same_after_decompression(largest, n, bits):
    unsigned = np.linspace(largest, 0, n).astype(np.uint32)
    stream, n_digits = compress_integers(unsigned, bits), count_digits(unsigned, bits)
    signed, rest = decompress_integers(stream + b"rest", bits, n_digits, n)
    assert rest == b"rest"
    assert_array_equal(np.where(signed < 0, -2 * signed - 1, 2 * signed), unsigned)


def test_all_widths_are_used():
    rng = np.random.default_rng(0)
    few = rng.integers(0, 2**31, 20).astype(np.uint32)
    integers = {
        1: rng.integers(0, 2, 9999),
        2: rng.choice(4, 9999, p=[0.85, 0.05, 0.05, 0.05]),
        4: rng.integers(0, 12, 9999),
        8: rng.integers(0, 200, 9999),
        32: rng.choice(few, 9999),
    }
    for bits, values in integers.items():
        assert best_digit_bits(values.astype(np.uint32)) == bits


def size_of(column):
    return len(pack(rows_of(np.reshape(column, (-1, 1))), FINGERPRINT))


def test_constant_integers_take_few_bytes():
    assert size_of(np.full(100_000, 12)) < 150


@pytest.mark.parametrize("n", [1000, 50_000])
@pytest.mark.parametrize("spread", [0.5, 10, 1000])
def test_bytes_are_near_the_entropy(n, spread, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    levels = np.rint(rng.standard_normal(n) * spread).astype(int)
    probability = np.diff(norm.cdf(np.arange(-9000.5, 9001) / spread))
    entropy = entr(probability).sum() / np.log(2)
    assert size_of(levels) < 1.05 * n * entropy / 8 + 130


def test_an_outlier_takes_few_bytes(global_random_seed):
    levels = np.random.default_rng(global_random_seed).integers(-9, 9, 2000)
    without = size_of(levels)
    levels[7] = MAX_LEVEL
    assert size_of(levels) < without + 60


# Floats

FLOATS = {"<f2": np.uint16, "<f4": np.uint32, "<f8": np.uint64}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [0, 1, 1000])
def test_every_bit_of_floats_is_the_same_after_decompression(n, dtype):
    bits = np.random.default_rng(0).bytes(n * np.dtype(dtype).itemsize)
    floats = np.frombuffer(bits, dtype)
    found = decompress_floats(compress_floats(floats), floats.dtype, n)
    assert_array_equal(found.view(FLOATS[dtype]), floats.view(FLOATS[dtype]))


def byte_planes(floats):
    """Return the lowest bytes of all floats, then the next ones, and so on."""
    return floats.view(np.uint8).reshape(len(floats), -1).T.tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("decimals", [0, 2, 30])
def test_floats_take_no_more_bytes_than_their_byte_planes(
    decimals, dtype, global_random_seed
):
    rng = np.random.default_rng(global_random_seed)
    floats = np.round(rng.standard_normal(5000), decimals).astype(dtype)
    size = len(compress_floats(floats))
    assert size <= 1.02 * len(lzma.compress(byte_planes(floats)))


# The documented format


def read_as_documented(data, k, d):
    """Return the columns of integers and the exact entries, decoded without numpy."""
    header = struct.unpack("<4sBBBB8sQQQd", data[:48])
    _, _, itemsize, digit_bits, n_digits, _, n_rows, n_corrected, n_exact, _ = header
    streams, found = data[48 + 4 * k : -4], []
    for _ in range(2):
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**20}]
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
        found.append(decoder.decompress(streams))
        streams = decoder.unused_data
    digits = int.from_bytes(found[0], "little")
    exact = struct.unpack(f"<{n_exact}{ {2: 'e', 4: 'f', 8: 'd'}[itemsize] }", found[1])
    lengths = [n_rows] * k
    lengths += [n_rows] + [n_corrected] * d if n_corrected else []
    # The first digits are in the lowest bits; each group of digits is whole bytes.
    group = -(-sum(lengths) * digit_bits // 8) * 8
    numbers = [
        sum(
            (digits >> g * group + j * digit_bits & 2**digit_bits - 1) << g * digit_bits
            for g in range(n_digits)
        )
        for j in range(sum(lengths))
    ]
    signed = [u // 2 if u % 2 == 0 else -(u + 1) // 2 for u in numbers]
    columns = [[signed.pop(0) for _ in range(length)] for length in lengths]
    return columns, list(exact)


@pytest.mark.parametrize("scale", [0.1, 1, 100, 1e8])
def test_integers_are_stored_as_documented(scale, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    levels = np.rint(scale * rng.standard_normal((31, 3))).astype(int)
    corrections = np.rint(rng.standard_normal((9, 4))).astype(int)
    rows = rows_of(levels, corrections)
    columns, exact = read_as_documented(pack(rows, FINGERPRINT), k=3, d=4)
    assert exact == []
    assert columns[:3] == levels.T.tolist()
    assert columns[3] == rows.corrected.tolist()
    assert columns[4:] == corrections.T.tolist()


@pytest.mark.parametrize("dtype", FLOATS)
def test_exact_entries_are_stored_as_documented(dtype):
    corrections = np.array([[EXACT, 0, 1, EXACT], [0, 0, EXACT, 0]])
    rows = rows_of([[1], [2], [3]], corrections, [0.5, 7.25, -0.0], dtype)
    columns, exact = read_as_documented(pack(rows, FINGERPRINT), k=1, d=4)
    assert columns[2:] == corrections.T.tolist()
    assert str(exact) == "[0.5, 7.25, -0.0]"


GOLDEN = CompressedRows(
    levels=np.array(
        [[0, 5, -300], [1, 5, 70_000], [-1, 5, 12], [0, 5, -MAX_LEVEL], [2, 5, 40]]
    ),
    steps=np.array([0.5, 0.25, 2**-20], dtype=np.float32),
    corrected=np.array([False, True, False, False, True]),
    corrections=np.array([[0, 0, 1, -1], [EXACT, 0, 7, 0]]),
    step=0.125,
    exact=np.array([1e30], dtype=np.float32),
)
GOLDEN_BYTES = (
    "736b6165020404080001020304050607050000000000000002000000000000000100000000000000"
    "000000000000c03f0000003f0000803e00008035e0006f00270000100057f536b8441bd588bd3ac5"
    "208cff999e538ae84842dc68b28e7ec1050455970d6938468a8000010003caf24971007b4f6c22"
)


def test_bytes_that_were_written_before_are_read():
    assert_same_rows(unpack_like(GOLDEN, bytes.fromhex(GOLDEN_BYTES)), GOLDEN)


def test_everything_but_the_streams_is_fixed():
    # Another version of liblzma may compress to other streams.
    start = HEADER.size + 4 * 3
    assert pack(GOLDEN, FINGERPRINT)[:start].hex() == GOLDEN_BYTES[: 2 * start]


# Untrusted bytes


def with_checksum(data):
    """Return data whose last bytes are the checksum of the others."""
    return data[: -CRC.size] + CRC.pack(zlib.crc32(data[: -CRC.size]))


def changed(data, **fields):
    """Return data with other fields in its header, and a correct checksum."""
    header = Header(*HEADER.unpack_from(data))._replace(**fields)
    return with_checksum(HEADER.pack(*header) + data[HEADER.size :])


def mutated(data, rng):
    """Return data with one to three changed bytes."""
    changed = np.frombuffer(data, np.uint8).copy()
    where = rng.choice(len(data), size=rng.integers(1, 4), replace=False)
    changed[where] ^= rng.integers(1, 256, len(where), dtype=np.uint8)
    return changed.tobytes()


def is_read(rows, data):
    """Return whether data is accepted."""
    try:
        unpack_like(rows, data, max_bytes=2**24)
    except ValueError:
        return False
    return True


@pytest.fixture
def little_memory():
    """Check that a test never allocates more than 64 MB."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_another_model_is_refused(data):
    with pytest.raises(ValueError, match="Load the model that compressed it"):
        unpack(data, bytes(8), (5, 30), 2**30)


@pytest.mark.parametrize("version", [0, 1, 3, 255])
def test_another_version_is_refused(version, rows, data):
    with pytest.raises(ValueError, match=f"data in version {version} of the format"):
        unpack_like(rows, changed(data, version=version))


def test_more_rows_than_allowed_are_refused_before_allocation(rows, data):
    size = 8 * rows.levels.shape[0] * rows.corrections.shape[1]
    assert unpack_like(rows, data, max_bytes=size).levels.shape == rows.levels.shape
    tracemalloc.start()
    for n_rows, max_bytes in ((200, size - 1), (10**18, 2**30), (2**64 - 1, 2**30)):
        with pytest.raises(ValueError, match="Increase max_bytes"):
            unpack_like(rows, changed(data, n_rows=n_rows), max_bytes)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("n_rows", [201, 10**18, 2**64 - 1])
def test_rows_that_are_missing_take_no_memory(n_rows, rows, data):
    with pytest.raises(ValueError, match="too few or too many"):
        unpack_like(rows, changed(data, n_rows=n_rows), max_bytes=10**30)


@pytest.fixture(scope="module")
def bomb():
    """Return 80 MB of zeros, compressed to a few kilobytes."""
    zeros = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[LZMA2])
    return b"".join(zeros.compress(bytes(2**20)) for _ in range(80)) + zeros.flush()


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("first", [True, False])
def test_a_stream_is_decompressed_no_further_than_declared(first, rows, data, bomb):
    integers = to_integers(rows)
    stream = compress_integers(integers, best_digit_bits(integers))
    start = HEADER.size + 4 * 5
    assert data[start : start + len(stream)] == stream
    streams = bomb + compress_floats(rows.exact) if first else stream + bomb
    with pytest.raises(ValueError, match="too few or too many"):
        unpack_like(rows, with_checksum(data[:start] + streams + bytes(CRC.size)))


def test_bytes_after_the_last_stream_are_refused(rows, data):
    with pytest.raises(ValueError, match="1 bytes follow"):
        unpack_like(rows, with_checksum(data + b"0"))


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("n_exact", [3, 80 * 30, 80 * 30 + 1, 2**64 - 1])
def test_exact_entries_that_are_missing_take_no_memory(n_exact, rows, data):
    with pytest.raises(ValueError, match=r"too many|more entries than corrections"):
        unpack_like(rows, changed(data, n_exact=n_exact))


FIELDS = {
    "magic": [b"SKAE"],
    "itemsize": [0, 3, 4],
    "digit_bits": [0, 3, 1, 32],
    "n_digits": [0, 2, 33, 255],
    "n_rows": [0, 1, 199, 201],
    "n_corrected": [0, 79, 81, 2**63],
    "n_exact": [0, 1, 3, 2**62, 2**64 - 1],
    "step": [0.0, -1.0, float("nan"), float("inf")],
}


@pytest.mark.parametrize(
    ("field", "value"), [(f, value) for f in FIELDS for value in FIELDS[f]]
)
def test_a_wrong_header_is_refused(field, value, rows, data):
    with pytest.raises(ValueError, match="damaged or was not written by `compress`"):
        unpack_like(rows, changed(data, **{field: value}))


@pytest.mark.usefixtures("little_memory")
def test_damaged_data_is_refused(rows, data, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    cuts = np.linspace(0, len(data) - 1, 500).astype(int)
    damaged = [mutated(data, rng) for _ in range(2000)] + [data[:cut] for cut in cuts]
    for each in [*damaged, data + b"\0", data + data, b""]:
        with pytest.raises(ValueError, match="compress"):
            unpack_like(rows, each)


@pytest.mark.usefixtures("little_memory")
def test_forged_data_is_refused_or_harmless(rows, data, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    forged = [with_checksum(mutated(data, rng)) for _ in range(500)]
    cut = [with_checksum(data[:n] + bytes(4)) for n in range(HEADER.size, len(data))]
    assert sum(is_read(rows, each) for each in forged) < 50
    assert not any(is_read(rows, each) for each in cut[:-4])


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": np.array([1, 1, 0, 1, 1], np.float32)},
        {"steps": np.array([1, 1, np.inf, 1, 1], np.float32)},
        {"exact": np.array([1.0, np.nan])},
        {"exact": np.array([1.0])},
        {"corrected": np.arange(200) < 79},
        {"corrected": np.arange(200) < 200},
    ],
)
def test_parts_that_contradict_one_another_are_refused(changes, rows):
    forged = pack(CompressedRows(**{**vars(rows), **changes}), FINGERPRINT)
    with pytest.raises(ValueError, match="damaged"):
        unpack_like(rows, forged)
