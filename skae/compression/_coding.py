"""Columns of integers as bytes: histograms of whole numbers, and an entropy coder.

Probabilities are integers too, so that bytes mean the same on every machine.
"""

from dataclasses import dataclass

import numpy as np

LARGEST = 2**30  # magnitude of an integer that can be coded
MOST_SHIFT, MOST_BINS = 16, 2**16  # enough for all of them
MOST_DIGITS = 5  # of 7 bits, in a number of a histogram
PROBABILITY_BITS = 24  # of constriction's models


@dataclass(frozen=True)
class Histogram:
    """How often the values of a column occur, in bins of `2**shift` values.

    Attributes
    ----------
    shift : int
        Number of low bits, which are stored as they are.

    bins : ndarray of int of shape (n_bins,)
        `value >> shift` of the bins that are not empty, increasing.

    counts : ndarray of int of shape (n_bins,)
        Number of values in each.
    """

    shift: int
    bins: np.ndarray
    counts: np.ndarray

    def merged(self) -> "Histogram":
        """Return the same in bins twice as wide."""
        bins = self.bins >> 1
        starts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
        counts = np.add.reduceat(self.counts, starts)
        return Histogram(self.shift + 1, bins[starts], counts)

    def n_bits(self) -> float:
        """Return what the column takes: its values, and the histogram itself."""
        n = self.counts.sum()
        entropy = self.counts @ np.log2(n / self.counts)
        return entropy + n * self.shift + 8 * len(pack_numbers(self.numbers()))

    def numbers(self) -> np.ndarray:
        """Return the histogram as integers >= 0: see `read_histogram`."""
        gaps = np.diff(self.bins, prepend=self.bins[0] - 1) - 1
        head = [self.shift, _folded(int(self.bins[0])), len(self.bins)]
        return np.concatenate([head, 2 * self.counts + (gaps > 0), gaps[gaps > 0]])

    def weights(self) -> np.ndarray:
        """Return probabilities as integers that constriction takes as they are.

        To each of n integers that sum to `2**24 - n` it adds one. There is no rounding
        that could differ between machines.
        """
        total = 2**PROBABILITY_BITS - len(self.bins)
        weights = self.counts * total // self.counts.sum()
        weights[np.argmax(self.counts)] += total - weights.sum()
        return weights


def histogram(values: np.ndarray) -> Histogram:
    """Return the histogram with which a column takes the fewest bits.

    Narrow bins follow the distribution more closely; wide ones leave less to store.
    """
    bins, counts = np.unique(values, return_counts=True)
    candidates = [Histogram(0, bins, counts)]
    while len(candidates[-1].bins) > 1 and len(candidates) <= MOST_SHIFT:
        candidates.append(candidates[-1].merged())
    small = (each for each in candidates if len(each.bins) <= MOST_BINS)
    return min(small, key=Histogram.n_bits)


def read_histogram(numbers: np.ndarray, n_values: int) -> tuple[Histogram, np.ndarray]:
    """Return the histogram of so many values, and the numbers that come after it.

    The numbers are the shift, the first bin, the number of bins, twice the count of
    each bin, plus one where empty bins lie before it, and the lengths of these gaps.
    """
    require(len(numbers) >= 3)
    shift, first, n_bins = (int(number) for number in numbers[:3])
    tokens, rest = numbers[3 : 3 + n_bins], numbers[3 + n_bins :]
    require(shift <= MOST_SHIFT and 1 <= n_bins <= MOST_BINS and len(tokens) == n_bins)
    steps, counts = tokens & 1, tokens >> 1
    n_gaps = int(steps.sum())
    require(steps[0] == 0 and len(rest) >= n_gaps)
    require(counts.min() >= 1 and counts.sum() == n_values)
    steps[steps == 1] = rest[:n_gaps]
    steps[1:] += 1
    bins = _unfolded(first) + np.cumsum(steps)
    require(-LARGEST >> shift <= bins[0] and bins[-1] <= LARGEST >> shift)
    return Histogram(shift, bins, counts), rest[n_gaps:]


def _folded(number: int) -> int:
    """Return 0, 1, 2, 3, 4, ... for 0, -1, 1, -2, 2, ..."""
    return 2 * number if number >= 0 else -2 * number - 1


def _unfolded(number: int) -> int:
    return -(number // 2) - 1 if number % 2 else number // 2


def pack_numbers(numbers: np.ndarray) -> bytes:
    """Return integers >= 0 in base 128, the lowest digit first.

    A digit has 128 added where another one follows.
    """
    if numbers.max() >> 7 * MOST_DIGITS:
        raise ValueError("Got too many rows to compress at once. Split X into parts.")
    higher = numbers[:, np.newaxis] >> 7 * np.arange(1, MOST_DIGITS + 1)
    follows = higher > 0
    digits = np.column_stack([numbers, higher[:, :-1]]) & 127 | follows << 7
    used = np.column_stack([np.ones(len(numbers), dtype=bool), follows[:, :-1]])
    return digits[used].astype(np.uint8).tobytes()


def unpack_numbers(data: bytes) -> np.ndarray:
    """Return the integers that were packed."""
    digits = np.frombuffer(data, dtype=np.uint8).astype(np.int64)
    ends = np.flatnonzero(digits < 128)
    require(len(ends) > 0 and ends[-1] == len(digits) - 1)
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts + 1
    require(lengths.max() <= MOST_DIGITS)
    place = np.arange(len(digits)) - np.repeat(starts, lengths)
    return np.add.reduceat((digits & 127) << 7 * place, starts)


def encode(columns: list[np.ndarray]) -> tuple[bytes, bytes]:
    """Return columns of integers as the bytes of their histograms and of their values.

    The coder is a stack: what is decoded first is encoded last.
    """
    coder = constriction().stream.stack.AnsCoder()
    histograms = [histogram(values) for values in columns]
    for values, table in zip(columns[::-1], histograms[::-1], strict=True):
        if table.shift:
            low = values & ((1 << table.shift) - 1)
            coder.encode_reverse(low.astype(np.int32), _model_of_low_bits(table))
        if len(table.bins) > 1:
            symbols = np.searchsorted(table.bins, values >> table.shift)
            coder.encode_reverse(symbols.astype(np.int32), _model_of_bins(table))
    tables = pack_numbers(np.concatenate([table.numbers() for table in histograms]))
    return tables, coder.get_compressed().astype("<u4").tobytes()


def decode(tables: bytes, words: bytes, lengths: list[int]) -> list[np.ndarray]:
    """Return columns of these lengths, or raise ValueError."""
    histograms, numbers = [], unpack_numbers(tables)
    for length in lengths:
        table, numbers = read_histogram(numbers, length)
        histograms.append(table)
    stack = np.frombuffer(words, dtype="<u4").astype(np.uint32)
    require(len(numbers) == 0 and (len(stack) == 0 or stack[-1] != 0))
    coder = constriction().stream.stack.AnsCoder(stack)
    columns = [_decode_column(coder, table) for table in histograms]
    require(coder.is_empty())
    return columns


def _decode_column(coder, table):
    n = int(table.counts.sum())
    symbols = np.zeros(n, dtype=np.int32)
    if len(table.bins) > 1:
        symbols = coder.decode(_model_of_bins(table), n)
    values = table.bins[symbols] << table.shift
    if table.shift:
        values += coder.decode(_model_of_low_bits(table), n)
    return values


def _model_of_bins(table):
    weights = table.weights().astype(np.float64)
    return constriction().stream.model.Categorical(weights, lazy=False, perfect=False)


def _model_of_low_bits(table):
    return constriction().stream.model.Uniform(1 << table.shift)


def constriction():
    """Import the entropy coder, or tell how to get it."""
    try:
        import constriction
    except ImportError as error:
        raise ImportError(
            "Compression needs constriction, which is not installed. Install it with "
            "the extra: pip install 'skae[compress]'."
        ) from error
    return constriction


def require(condition: bool, what: str = "its parts contradict one another") -> None:
    """Raise ValueError unless data are as `encode` writes them."""
    if not condition:
        raise ValueError(
            f"The compressed data is damaged, or no data of `compress`: {what}."
        )
