"""Sources: rows in arrays on disk, or blocks from a function, that exceed the memory.

A source has the attributes `shape` and `dtype` of a matrix, and returns rows that are
selected by a slice or by integers. Rows are read one block at a time. One pass over all
blocks, at the start, finds what validation needs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from zlib import crc32

import numpy as np

BLOCK_ENTRIES = 2**20  # of arrays that are not divided into chunks: 8 MB of float64
MAX_HELD_ENTRIES = 2**23  # smaller sources are read at once: 64 MB of float64


class Blocks(ABC):
    """Base class of blocks of rows, which can be read again and again.

    Attributes
    ----------
    is_sequential : bool
        Whether blocks can only be read in order.
    """

    is_sequential: bool

    @abstractmethod
    def __iter__(self) -> Iterator:
        """Yield all blocks in order."""

    @abstractmethod
    def __getitem__(self, i: int):
        """Return block i."""


class ArrayBlocks(Blocks):
    """Blocks of an array: its chunks, or slices of 8 MB.

    Parameters
    ----------
    array : array of shape (n_rows, ...)
        An array of h5py, zarr, dask or any other library, with `shape`, `dtype` and
        slices of rows.
    """

    is_sequential = False

    def __init__(self, array):
        self.array = array
        self.starts = array_starts(array)

    def __iter__(self) -> Iterator:
        return (self[i] for i in range(len(self.starts) - 1))

    def __getitem__(self, i: int):
        return np.asarray(self.array[slice(*self.starts[i : i + 2].tolist())])


class IteratedBlocks(Blocks):
    """Blocks of an iterable that can be iterated over several times.

    Parameters
    ----------
    iterate : callable
        `iterate()` returns a new iterator over the same blocks in the same order.
    """

    is_sequential = True

    def __init__(self, iterate: Callable[[], Iterable]):
        self.iterate = iterate
        self.iterator: Iterator = iter(())
        self.position = np.inf  # of the next block of the iterator

    def __iter__(self) -> Iterator:
        blocks = self.iterate()
        # A single array would be taken for blocks of fewer dimensions.
        if hasattr(blocks, "shape") or not isinstance(blocks, Iterable):
            raise TypeError(
                f"The function returned a {type(blocks).__name__}, but expected an "
                "iterator of blocks of rows, such as `lambda: iter([X])`."
            )
        return iter(blocks)

    def __getitem__(self, i: int):
        if i < self.position:
            self.close()
            self.iterator, self.position = iter(self), 0
        for block in self.iterator:
            self.position += 1
            if self.position == i + 1:
                return block
        raise ValueError(
            f"The function returned {self.position} blocks, but more in its first "
            "call. Each call must return the same blocks in the same order."
        )

    def close(self) -> None:
        """Close the file that an iterator reads, before it is exhausted."""
        if hasattr(self.iterator, "close"):
            self.iterator.close()

    __del__ = close


class Source:
    """Flat rows that are read from blocks.

    Parameters
    ----------
    blocks : Blocks
        The blocks.

    convert : callable
        `convert(block)` returns the validated flat rows of a block, the shape of a row,
        and the names of the columns of a data frame, or None.

    Attributes
    ----------
    shape : tuple of int
        Number of rows and of features.

    row_shape : tuple of int
        The shape of a row before it was flattened.

    dtype : dtype
        A type that holds the values of all blocks.

    starts : ndarray of int of shape (n_blocks + 1,)
        The first row of each block, and the number of rows.

    extremes : tuple of float
        The smallest and the largest value, ignoring NaN.

    has_nan : bool
        Whether there are NaN.

    names : list or None
        The names of the columns, if blocks are data frames.

    first : ndarray or DataFrame
        The first block before it was converted.

    position : slice
        Where the rows of this process are.

    is_read_in_blocks : bool
        Whether rows are shuffled by blocks, since single rows are slow to read.
    """

    position = slice(None)
    is_read_in_blocks = True

    def __init__(self, blocks: Blocks, convert: Callable):
        self.blocks, self.convert = blocks, convert
        sizes, dtypes, self.has_nan = [0], [], False
        self.checksums: list[int] = []  # of the first row of each block
        low, high = np.nan, np.nan
        for block in blocks:
            rows, shape, names = convert(block)
            if len(sizes) == 1:
                self.first, self.row_shape, self.names = block, shape, names
            self._check_columns(shape, names)
            sizes.append(len(rows))
            self.checksums.append(first_row_checksum(rows))
            dtypes.append(rows.dtype)
            if not len(rows):
                continue
            self.has_nan = self.has_nan or bool(np.isnan(rows.min()))
            low = np.fmin(low, np.fmin.reduce(rows, axis=None))
            high = np.fmax(high, np.fmax.reduce(rows, axis=None))
        if not sum(sizes):
            raise ValueError(
                "Found array with 0 sample(s): there are no rows, but a minimum of 1 "
                "is required."
            )
        self.extremes = low, high
        self.starts = np.cumsum(sizes)
        self.shape = int(self.starts[-1]), int(np.prod(self.row_shape))
        self.dtype = np.result_type(*dtypes)
        self._held: tuple = (None, None)  # number and rows of the last block

    def _check_columns(self, shape: tuple[int, ...], names: list | None) -> None:
        if shape != self.row_shape:
            raise ValueError(
                f"Got blocks with rows of shape {self.row_shape} and {shape}, but "
                "expected the same shape in all blocks."
            )
        if names != self.names:
            raise ValueError(
                f"Got blocks with the columns {self.names} and {names}, but expected "
                "the same columns in the same order in all blocks."
            )

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def own(self):
        """The rows of this process: all of them, unless rows are shared."""
        return self

    @property
    def is_sequential(self) -> bool:
        """Whether blocks can only be read in order."""
        return self.blocks.is_sequential

    def gather(self, part) -> list:
        """Return the parts of a result that all processes have computed."""
        return [part]

    def sum(self, part) -> np.ndarray:
        """Return the sum of the parts of a result that all processes have computed."""
        return part

    def __getitem__(self, index) -> np.ndarray:
        """Return rows, selected by a slice, integers or a mask."""
        index = as_positions(index, self.shape[0])
        # In order, each block is read once.
        order = np.argsort(index, kind="stable")
        numbers = np.searchsorted(self.starts, index[order], side="right") - 1
        rows = np.empty((len(index), self.shape[1]), self.dtype)
        for some in np.split(order, np.flatnonzero(np.diff(numbers)) + 1):
            if len(some):
                i = np.searchsorted(self.starts, index[some[0]], side="right") - 1
                rows[some] = self._block(i)[index[some] - self.starts[i]]
        return rows

    # Functions that need the whole of a small matrix call `np.asarray`.
    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:]

    def _block(self, i: int) -> np.ndarray:
        """Return the rows of block i."""
        if self._held[0] != i:
            self._held = (None, None)  # before another block is in memory
            rows, shape, names = self.convert(self.blocks[i])
            if len(rows) != self.starts[i + 1] - self.starts[i]:
                raise ValueError(
                    f"Block {i} has {len(rows)} rows, but had "
                    f"{self.starts[i + 1] - self.starts[i]} at first. Each call of the "
                    "function must return the same blocks in the same order."
                )
            self._check_columns(shape, names)
            if first_row_checksum(rows) != self.checksums[i]:
                raise ValueError(
                    f"Block {i} has another first row than at first. Each call of the "
                    "function must return the same blocks in the same order. A data "
                    "loader must not shuffle."
                )
            self._held = i, rows
        return self._held[1]


def as_positions(index, n_rows: int) -> np.ndarray:
    """Return the positions that a slice, integers or a mask select."""
    if isinstance(index, slice):
        return np.arange(*index.indices(n_rows))
    index = np.asarray(index)
    return np.flatnonzero(index) if index.dtype == bool else index


def first_row_checksum(rows: np.ndarray) -> int:
    """Return a checksum by which blocks in another order are detected."""
    return crc32(np.ascontiguousarray(rows[:1]).tobytes())


def is_source(X) -> bool:
    """Return whether X is an array on disk, or a function or iterable of blocks.

    Lists, and arrays that are in memory or mapped to it, are not.
    """
    if isinstance(X, str | bytes | list | tuple | dict | np.ndarray):
        return False
    if hasattr(X, "shape"):
        is_array = hasattr(X, "dtype") and hasattr(X, "__getitem__")
        in_memory = ("__array_interface__", "__dlpack__", "__array_namespace__")
        # Scalars have no rows; data frames and sparse matrices have their own readers.
        is_matrix = hasattr(X, "iloc") or hasattr(X, "tocsr") or hasattr(X, "detach")
        known = is_matrix or any(hasattr(X, name) for name in in_memory)
        return is_array and len(X.shape) > 1 and not known
    return callable(X) or (hasattr(X, "__iter__") and not hasattr(X, "__array__"))


def blocks_of(X) -> Blocks:
    """Return the blocks of an array, a function or an iterable."""
    if hasattr(X, "shape"):
        return ArrayBlocks(X)
    if hasattr(X, "__next__") and not isinstance(X, type):
        raise TypeError(
            f"Got a {type(X).__name__}, which can be iterated over only once. Pass a "
            "function that returns a new one each time, such as `lambda: read_blocks()`"
            " in place of `read_blocks()`."
        )
    return IteratedBlocks(X if callable(X) else lambda: X)


def array_starts(array) -> np.ndarray:
    """Return the first row of each block of an array, and the number of rows."""
    n_rows = array.shape[0]
    if np.isnan(n_rows):  # dask, after a selection
        raise ValueError(
            "Got an array whose number of rows is unknown. Call "
            "X.compute_chunk_sizes() before."
        )
    chunks = getattr(array, "chunks", None)
    if chunks and isinstance(chunks[0], tuple):  # dask: the size of each chunk
        return np.cumsum([0, *chunks[0]])
    size = chunks[0] if chunks else 1
    n_entries = max(1, size * int(np.prod(array.shape[1:])))
    # Whole chunks, since each of them is read at once.
    size *= max(1, BLOCK_ENTRIES // n_entries)
    return np.append(np.arange(0, n_rows, size), n_rows)
