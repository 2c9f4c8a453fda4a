"""The bytes of compressed rows, and the checks before they are decoded.

`docs/compression_format.rst` describes the format for readers in other languages.
"""

import lzma
import struct
import sys
import zlib
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import numpy as np

MAGIC, VERSION = b"skae", 2
HEADER = struct.Struct("<4sBBBB8sQQQd")
CRC = struct.Struct("<I")
DTYPES = {size: np.dtype(f"<f{size}") for size in (2, 4, 8)}

DAMAGED = "The data is damaged or was not written by `compress`"

MAX_LEVEL = 2**30 - 1  # largest magnitude of a quantized number
EXACT = 2**30  # the correction of an entry that is stored as a float
MAX_BITS = 32  # of an integer

# Widths of the digits that are tried. Small integers take fewer bytes if a byte holds
# several of them: LZMA codes each bit of a byte, even if it is constant.
DIGIT_BITS = (1, 2, 4, 8, 16, 32)
SAMPLE_INTEGERS = 2**17  # on which the width is chosen

# Bytes have no context (lc): neighboring ones are almost independent. The size of the
# dictionary bounds the memory of both sides.
LZMA2 = {
    "id": lzma.FILTER_LZMA2,
    "preset": 9 | lzma.PRESET_EXTREME,
    "dict_size": 2**20,
    "lc": 0,
}


@dataclass(frozen=True)
class CompressedRows:
    """Quantized codes, and the corrections of some rows.

    Attributes
    ----------
    levels : ndarray of int of shape (n_samples, n_components)
        Quantized codes, in units of `steps`.

    steps : ndarray of float32 of shape (n_components,)
        Quantization step of each component.

    corrected : ndarray of bool of shape (n_samples,)
        Which rows have corrections.

    corrections : ndarray of int of shape (n_corrected, n_features)
        Quantized residuals, in units of `step`, or EXACT.

    step : float
        Quantization step of the corrections.

    exact : ndarray of shape (n_exact,)
        The entries whose correction is EXACT, column by column, in the float type of
        the rows.
    """

    levels: np.ndarray
    steps: np.ndarray
    corrected: np.ndarray
    corrections: np.ndarray
    step: float
    exact: np.ndarray


class Header(NamedTuple):
    """The fields of the header, in order."""

    magic: bytes
    version: int
    itemsize: int
    digit_bits: int
    n_digits: int
    fingerprint: bytes
    n_rows: int
    n_corrected: int
    n_exact: int
    step: float


def pack(rows: CompressedRows, fingerprint: bytes) -> bytes:
    """Return compressed rows as bytes, for the model with this fingerprint."""
    integers = to_integers(rows)
    digit_bits = best_digit_bits(integers)
    header = Header(
        magic=MAGIC,
        version=VERSION,
        itemsize=rows.exact.dtype.itemsize,
        digit_bits=digit_bits,
        n_digits=count_digits(integers, digit_bits),
        fingerprint=fingerprint,
        n_rows=len(rows.levels),
        n_corrected=len(rows.corrections),
        n_exact=len(rows.exact),
        step=rows.step,
    )
    data = HEADER.pack(*header) + rows.steps.astype("<f4").tobytes()
    data += compress_integers(integers, digit_bits) + compress_floats(rows.exact)
    return data + CRC.pack(zlib.crc32(data))


def unpack(
    data: bytes,
    fingerprint: bytes,
    shape: tuple[int, int],
    max_bytes: int,
    allow_nan: bool = False,
) -> CompressedRows:
    """Return the compressed rows, for a model of shape (n_components, n_features).

    Entries may be NaN if values of the rows can be missing. Raises ValueError if the
    data is not valid. Memory is allocated only after the checksum, the model and the
    size of the result were checked.
    """
    header = read_header(data)
    check_model(header, fingerprint)
    check_size(header, shape, max_bytes)
    rows = read_rows(header, data, shape)
    check_rows(rows, allow_nan)
    return rows


def read_header(data: bytes) -> Header:
    """Return the header of data whose version and checksum are correct."""
    require(len(data) >= HEADER.size + CRC.size, f"it has {len(data)} bytes")
    header = Header(*HEADER.unpack_from(data))
    require(header.magic == MAGIC, f"it starts with {header.magic!r}, not {MAGIC!r}")
    if header.version != VERSION:
        raise ValueError(
            f"Got data in version {header.version} of the format, but this version of "
            f"skae reads version {VERSION}. Use the version of skae that compressed it."
        )
    (crc,) = CRC.unpack(data[-CRC.size :])
    require(crc == zlib.crc32(data[: -CRC.size]), "the checksum does not match")
    require(header.itemsize in DTYPES, f"its floats have {header.itemsize} bytes")
    bits = header.digit_bits
    require(bits in DIGIT_BITS, f"its digits have {bits} bits")
    require(1 <= header.n_digits <= MAX_BITS // bits, f"{header.n_digits} digits")
    return header


def check_model(header: Header, fingerprint: bytes) -> None:
    """Raise ValueError if another model compressed the data."""
    if header.fingerprint != fingerprint:
        raise ValueError(
            f"The data was compressed by model {header.fingerprint.hex()}, but this is "
            f"model {fingerprint.hex()}. Load the model that compressed it."
        )


def check_size(header: Header, shape: tuple[int, int], max_bytes: int) -> None:
    """Raise ValueError if the rows, codes or corrections take more than max_bytes."""
    n_components, n_features = shape
    require(header.n_rows > 0, "it has no rows")
    require(header.n_corrected <= header.n_rows, "it has more corrections than rows")
    n_corrections = header.n_corrected * n_features
    require(header.n_exact <= n_corrections, "it has more entries than corrections")
    row = max(8 * n_components, header.itemsize * n_features)
    size = max(header.n_rows * row, header.n_corrected * 8 * n_features)
    if size > max_bytes:
        raise ValueError(
            f"The data holds {header.n_rows} rows, which take {size} bytes, but "
            f"max_bytes={max_bytes}. Increase max_bytes if you trust the data."
        )


def read_rows(header: Header, data: bytes, shape: tuple[int, int]) -> CompressedRows:
    """Return the rows that follow a header that was checked."""
    n_components, n_features = shape
    steps_end = HEADER.size + 4 * n_components
    n_levels = header.n_rows * n_components
    n_flags = header.n_rows if header.n_corrected else 0
    n_corrections = header.n_corrected * n_features
    integers, rest = decompress_integers(
        data[steps_end : -CRC.size],
        header.digit_bits,
        header.n_digits,
        n_levels + n_flags + n_corrections,
    )
    levels, flags, corrections = np.split(integers, [n_levels, n_levels + n_flags])
    return CompressedRows(
        # C-contiguous, as in `pack`: the decoder rounds differently otherwise.
        levels=np.ascontiguousarray(levels.reshape(n_components, -1).T),
        steps=np.frombuffer(data[HEADER.size : steps_end], dtype="<f4"),
        corrected=flags == 1 if n_flags else np.zeros(header.n_rows, dtype=bool),
        corrections=corrections.reshape(n_features, -1).T,
        step=header.step,
        exact=decompress_floats(rest, DTYPES[header.itemsize], header.n_exact),
    )


def check_rows(rows: CompressedRows, allow_nan: bool) -> None:
    """Raise ValueError if the parts contradict one another."""
    steps = np.append(rows.steps, rows.step)
    require(np.isfinite(steps).all() and steps.min() > 0, "a step is not positive")
    is_valid = np.isfinite(rows.exact) | (allow_nan & np.isnan(rows.exact))
    require(is_valid.all(), "an entry is not finite")
    n_corrected = np.count_nonzero(rows.corrected)
    require(n_corrected == len(rows.corrections), "corrections do not fit the rows")
    n_exact = np.count_nonzero(rows.corrections == EXACT)
    require(n_exact == len(rows.exact), "entries do not fit the corrections")


def require(condition: bool, reason: str) -> None:
    """Raise ValueError unless the condition holds."""
    if not condition:
        raise ValueError(f"{DAMAGED}: {reason}.")


def fingerprint(arrays: list[np.ndarray]) -> bytes:
    """Return the first eight bytes of the SHA-256 of the arrays, little-endian."""
    digest = sha256()
    for array in arrays:
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(little_endian.tobytes())
    return digest.digest()[:8]


def to_integers(rows: CompressedRows) -> np.ndarray:
    """Return all integers, column by column, as uint32.

    0, -1, 1, -2, 2, ... are stored as 0, 1, 2, 3, 4, ...
    """
    columns = [rows.levels.T.ravel()]
    if len(rows.corrections):
        columns += [rows.corrected, rows.corrections.T.ravel()]
    signed = np.concatenate(columns)
    return (signed << 1 ^ signed >> 63).astype(np.uint32)


def best_digit_bits(integers: np.ndarray) -> int:
    """Return the width of a digit with which a sample takes the fewest bytes.

    Widths are tried up to the smallest that holds every integer.
    """
    sample = integers[:: -(-len(integers) // SAMPLE_INTEGERS)]
    narrow = [bits for bits in DIGIT_BITS if count_digits(integers, bits) > 1]
    widths = DIGIT_BITS[: len(narrow) + 1]
    return min(widths, key=lambda bits: len(compress_integers(sample, bits)))


def count_digits(integers: np.ndarray, bits: int) -> int:
    """Return the number of digits of the largest integer in base `2**bits`."""
    return max(1, -(-int(integers.max()).bit_length() // bits))


def compress_integers(integers: np.ndarray, bits: int) -> bytes:
    """Return the lowest digits of all integers, then the next ones, compressed."""
    n_digits = count_digits(integers, bits)
    digits = b"".join(pack_digits(integers, bits, i) for i in range(n_digits))
    return compress_words(digits, 1)


def compress_floats(floats: np.ndarray) -> bytes:
    """Return floats, compressed."""
    itemsize = floats.dtype.itemsize
    return compress_words(floats.astype(DTYPES[itemsize]).tobytes(), itemsize)


def compress_words(data: bytes, itemsize: int) -> bytes:
    """Return words of 1, 2, 4 or 8 bytes, compressed."""
    # The context of a byte is its position in the word.
    position_bits = itemsize.bit_length() - 1
    filters = [{**LZMA2, "lp": position_bits, "pb": position_bits}]
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters)


def word_of(bits: int) -> tuple[np.dtype, np.ndarray]:
    """Return the type of a word that holds digits, and the digits' lowest bits."""
    word = np.dtype(f"<u{max(bits, 8) // 8}")
    return word, np.arange(0, 8 * word.itemsize, bits, dtype=word)


def pack_digits(integers: np.ndarray, bits: int, i: int) -> bytes:
    """Return the i-th lowest digit of each integer, in base `2**bits`, in words."""
    word, shifts = word_of(bits)
    digits = (integers >> bits * i & 2**bits - 1).astype(word)
    digits = np.pad(digits, (0, -len(digits) % len(shifts))).reshape(-1, len(shifts))
    return (digits << shifts).sum(axis=1, dtype=word).tobytes()


def decompress_integers(
    data: bytes, bits: int, n_digits: int, n_integers: int
) -> tuple[np.ndarray, bytes]:
    """Return the signed integers whose digits were compressed, and the bytes after."""
    word, shifts = word_of(bits)
    n_words = -(-n_integers // len(shifts))  # of one digit of all integers
    words, rest = decompress(data, n_digits * n_words * word.itemsize)
    integers = np.zeros(n_integers, dtype=np.uint32)
    for i, column in enumerate(np.frombuffer(words, word).reshape(n_digits, -1, 1)):
        digits = (column >> shifts & 2**bits - 1).ravel()[:n_integers]
        integers |= digits.astype(np.uint32) << bits * i
    return (integers >> 1).astype(np.int64) ^ -(integers & 1).astype(np.int64), rest


def decompress_floats(data: bytes, dtype: np.dtype, n_floats: int) -> np.ndarray:
    """Return the floats that were compressed."""
    floats, rest = decompress(data, n_floats * dtype.itemsize)
    require(not rest, f"{len(rest)} bytes follow its entries")
    return np.frombuffer(floats, dtype)


def decompress(data: bytes, size: int) -> tuple[bytes, bytes]:
    """Return the decompressed bytes of a stream, and the bytes after the stream.

    No more than size + 1 bytes are ever produced.
    """
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[LZMA2])
    try:
        words = decoder.decompress(data, max_length=min(size + 1, sys.maxsize))
    except lzma.LZMAError as error:
        raise ValueError(f"{DAMAGED}: its numbers are not readable.") from error
    complete = decoder.eof and len(words) == size
    require(complete, "its numbers are too few or too many")
    return words, decoder.unused_data
