"""Compressed rows as one message: its layout, and the checks before it is believed.

`docs/compression_format.rst` tells the layout for readers in other languages.
"""

import struct
import zlib
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from skae.compression._coding import LARGEST, decode, encode, histogram, require

MAGIC, VERSION = b"skae", 1
DTYPES = {size: np.dtype(f"<f{size}") for size in (2, 4, 8)}
HEADER = struct.Struct("<4sHH8sIIIQQQQQdI")
CRC = struct.Struct("<I")

EXACT = LARGEST  # the correction of an entry that is stored as it is


@dataclass(frozen=True)
class Message:
    """What compressed rows consist of.

    Attributes
    ----------
    levels : ndarray of int of shape (n_samples, n_components)
        Quantised codes.

    steps : ndarray of float32 of shape (n_components,)
        What the levels of each component are multiplied by.

    corrected : ndarray of bool of shape (n_samples,)
        Which rows have corrections.

    corrections : ndarray of int of shape (n_corrected, n_features)
        Quantised residuals, or EXACT.

    step : float
        What corrections are multiplied by.

    exact : ndarray of shape (n_exact,)
        The entries that EXACT stands for, in the float type of the rows.
    """

    levels: np.ndarray
    steps: np.ndarray
    corrected: np.ndarray
    corrections: np.ndarray
    step: float
    exact: np.ndarray

    def columns(self, n_groups: int) -> list[np.ndarray]:
        """Return all integers in columns, with features' corrections in groups."""
        if not len(self.corrections):
            return [*self.levels.T]
        groups = np.split(self.corrections.T.ravel(), n_groups)
        return [*self.levels.T, self.corrected.astype(np.int64), *groups]

    def best_grouping(self) -> int:
        """Return whether features share a histogram: in 1 group or as many as they."""

        def n_bits(n_groups):
            return sum(histogram(c).n_bits() for c in self.columns(n_groups))

        n_features = self.corrections.shape[1]
        return min((1, n_features), key=n_bits) if len(self.corrections) else 1


class Header(NamedTuple):
    """The numbers that a message begins with, in their order."""

    magic: bytes
    version: int
    itemsize: int
    fingerprint: bytes
    n_components: int
    n_features: int
    n_groups: int
    n_rows: int
    n_corrected: int
    n_exact: int
    n_table_bytes: int
    n_words: int
    step: float
    checksum: int

    @property
    def sizes(self) -> list[int]:
        """Number of bytes of each part that follows."""
        steps, words = 4 * self.n_components, 4 * self.n_words
        return [steps, self.n_table_bytes, words, self.itemsize * self.n_exact]

    @property
    def lengths(self) -> list[int]:
        """Number of values in each column."""
        codes = [self.n_rows] * self.n_components
        if not self.n_corrected:
            return codes
        group = self.n_corrected * self.n_features // self.n_groups
        return [*codes, self.n_rows, *[group] * self.n_groups]


def fingerprint(arrays: list[np.ndarray]) -> bytes:
    """Return eight bytes that tell one model from another, on every machine."""
    digest = sha256()
    for array in arrays:
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(little_endian.tobytes())
    return digest.digest()[:8]


def checksum(columns: list[np.ndarray]) -> int:
    """Return the CRC-32 of integers."""
    crc = 0
    for column in columns:
        crc = zlib.crc32(column.astype("<i8").tobytes(), crc)
    return crc


def pack(message: Message, fingerprint: bytes) -> bytes:
    """Return a message as bytes, for readers with the model of this fingerprint."""
    n_groups = message.best_grouping()
    columns = message.columns(n_groups)
    tables, words = encode(columns)
    header = Header(
        magic=MAGIC,
        version=VERSION,
        itemsize=message.exact.dtype.itemsize,
        fingerprint=fingerprint,
        n_components=message.levels.shape[1],
        n_features=message.corrections.shape[1],
        n_groups=n_groups,
        n_rows=len(message.levels),
        n_corrected=len(message.corrections),
        n_exact=len(message.exact),
        n_table_bytes=len(tables),
        n_words=len(words) // 4,
        step=message.step,
        checksum=checksum(columns),
    )
    steps = message.steps.astype("<f4").tobytes()
    exact = message.exact.astype(DTYPES[header.itemsize]).tobytes()
    data = HEADER.pack(*header) + steps + tables + words + exact
    return data + CRC.pack(zlib.crc32(data))


def unpack(
    data: bytes, fingerprint: bytes, shape: tuple[int, int], max_bytes: int
) -> Message:
    """Return the message, for a model of (n_components, n_features), or ValueError.

    Memory is taken only after length, checksum, model and size of the result have been
    found to be as they should.
    """
    header = read_header(data)
    size = HEADER.size + sum(header.sizes) + CRC.size
    require(len(data) == size, f"it has {len(data)} bytes, but tells of {size}")
    (crc,) = CRC.unpack(data[-CRC.size :])
    require(crc == zlib.crc32(data[: -CRC.size]), "its checksum is wrong")
    check_model(header, fingerprint, shape)
    check_size(header, max_bytes)
    return read_body(header, data)


def read_header(data: bytes) -> Header:
    """Return the header, if it is one of the version that this module reads."""
    require(len(data) >= HEADER.size + CRC.size, f"it has {len(data)} bytes")
    header = Header(*HEADER.unpack_from(data))
    require(header.magic == MAGIC, f"it begins with {header.magic!r}, not {MAGIC!r}")
    if header.version != VERSION:
        raise ValueError(
            f"Got data in version {header.version} of the format, but this skae reads "
            f"version {VERSION}. Use the skae that compressed it."
        )
    require(header.itemsize in DTYPES)
    return header


def check_model(header: Header, fingerprint: bytes, shape: tuple[int, int]) -> None:
    """Refuse data that another model has compressed."""
    if header.fingerprint != fingerprint:
        raise ValueError(
            f"The data was compressed by model {header.fingerprint.hex()}, but this is "
            f"model {fingerprint.hex()}. Load the model that compressed it."
        )
    require((header.n_components, header.n_features) == shape)
    require(header.n_groups in (1, header.n_features))


def check_size(header: Header, max_bytes: int) -> None:
    """Refuse data that would take more memory than the caller allows."""
    require(header.n_rows > 0 and header.n_corrected <= header.n_rows)
    row = max(8 * header.n_components, header.itemsize * header.n_features)
    corrections = 8 * header.n_corrected * header.n_features
    size = max(header.n_rows * row, corrections)
    if size > max_bytes:
        raise ValueError(
            f"The data holds {header.n_rows} rows, which take {size} bytes, but "
            f"max_bytes={max_bytes}. Increase max_bytes if you trust the data."
        )


def read_body(header: Header, data: bytes) -> Message:
    """Return the message that follows a header that has been checked."""
    ends = HEADER.size + np.cumsum([0, *header.sizes])
    steps, tables, words, exact = (data[start:end] for start, end in pairwise(ends))
    columns = decode(tables, words, header.lengths)
    require(checksum(columns) == header.checksum, "its integers are not what they were")
    k, shape = header.n_components, (header.n_features, header.n_corrected)
    corrected, *groups = columns[k:] or [np.zeros(header.n_rows), np.empty(0)]
    message = Message(
        levels=np.column_stack(columns[:k]),
        steps=np.frombuffer(steps, dtype="<f4"),
        corrected=corrected == 1,
        corrections=np.concatenate(groups).reshape(shape).T,
        step=header.step,
        exact=np.frombuffer(exact, dtype=DTYPES[header.itemsize]),
    )
    check_message(message)
    return message


def check_message(message: Message) -> None:
    """Raise ValueError where the parts of a message contradict one another."""
    numbers = np.concatenate([message.steps, [message.step]])
    require(np.isfinite(numbers).all() and numbers.min() > 0)
    require(np.isfinite(message.exact).all())
    require(np.count_nonzero(message.corrected) == len(message.corrections))
    require(np.count_nonzero(message.corrections == EXACT) == len(message.exact))
