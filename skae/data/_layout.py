"""Layouts: what one row stands for: numbers, a padded sequence, tokens or columns.

Inside the library, rows are flat. A layout stores the shape that `fit` has seen and
converts between flat rows and arrays of that shape. It also defines which part of a
code is not learned, and the matrix of which PCA is computed.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
from typing import ClassVar

import numpy as np
from scipy import sparse

from skae.data._columns import (
    Column,
    check_restored,
    column_from_state,
    column_to_state,
    decode_columns,
    encode_columns,
    largest_errors,
    stored_columns,
)
from skae.data._frames import build_frame, read_columns
from skae.data._missing import fit_incomplete_pca, observed_moments, weighted_nanmean
from skae.data._pca import PCASolution, TokenEmbedding, fit_axes, fit_pca
from skae.data._rows import LazyRows, cast_rows, dense, extremes, row_blocks
from skae.data._sources import Source

MAX_EMBEDDING_SIZE = 32  # the embedding of a smaller vocabulary is one-hot
MAX_TOKENS = 2**20
MAX_LOGITS = 2**24  # per row: 64 MB of float32
MAX_OUTPUTS = 2**31  # per row, of a model that is loaded
SMOOTHING = 0.01  # weight of the coarser distribution when frequencies are smoothed
MIN_FREQUENCY = 1e-3  # of a token, for the slope of its logit


@dataclass(frozen=True)
class Layout:
    """Base class of layouts. Its methods are those of rows of numbers.

    Attributes
    ----------
    shape : tuple of int
        The shape of one row as seen in `fit`.

    kind : str
        Name of the layout in a saved model.

    has_padding : bool
        Whether rows end with NaN.

    is_table : bool
        Whether rows are those of a table of mixed columns, which is encoded as numbers.

    has_missing_values : bool
        Whether NaN stand for missing values.
    """

    shape: tuple[int, ...]
    kind: ClassVar[str]
    has_padding: ClassVar[bool] = False
    is_table: ClassVar[bool] = False
    has_missing_values: ClassVar[bool] = False

    @property
    def n_lengths(self) -> int:
        """Number of columns of a code that are not learned.

        It is 1 if a code ends with the length of its sequence, else 0.
        """
        return 0

    @property
    def n_features(self) -> int:
        """Number of entries of a row."""
        return math.prod(self.shape)

    @property
    def n_columns(self) -> int:
        """Number of columns of X, and of losses of a row."""
        return self.n_features

    @property
    def column_kinds(self) -> dict | None:
        """What each column of a table is treated as, by its name; None for others."""
        return None

    @property
    def n_outputs(self) -> int:
        """Number of outputs of a model per row."""
        return self.n_features

    @property
    def network_shape(self) -> tuple[int, ...]:
        """Shape of a row as input of the network."""
        return self.shape

    def for_network(self, network) -> "Layout":
        """Return the layout with the axes in the order that a network expects."""
        return self

    def to_state(self) -> dict:
        """Return the attributes as plain values."""
        return asdict(self)

    @classmethod
    def from_state(cls, values: dict) -> "Layout":
        """Return the layout with attributes of a saved state."""
        return cls(**values)

    def check_state(self) -> None:
        """Raise ValueError if the attributes of a loaded layout are invalid."""
        # Saved states are not trusted: a size must not make a model exhaust the memory.
        sizes = self.shape if isinstance(self.shape, tuple) else ()
        if not sizes or not all(_is_count(size) for size in sizes):
            raise ValueError(
                f"Got a saved row shape of {self.shape!r}, but expected a tuple of "
                "positive integers."
            )
        if self.n_outputs > MAX_OUTPUTS:
            raise ValueError(
                f"Got a saved row shape of {self.shape} with {self.n_outputs} outputs, "
                f"but at most {MAX_OUTPUTS} are supported."
            )

    def check_standardization(self, mean: np.ndarray, scale: float) -> None:
        """Raise ValueError if a loaded mean or scale does not fit the layout."""

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError if the shape of rows with several axes differs from fit."""
        # The number of features of flat rows is checked by scikit-learn.
        if len(shape) > 1 and shape != self.shape:
            raise ValueError(
                f"Got rows of shape {shape}, but expected {self.shape}, as seen in "
                f"`fit`. Pass rows of that shape, or flat rows of {self.n_features} "
                "numbers."
            )

    def check(self, X) -> None:
        """Raise ValueError if validated flat rows do not have this layout."""

    def check_columns(self, X, names) -> None:
        """Raise ValueError if training rows have a column without any value."""

    def lengths(self, X) -> np.ndarray:
        """Return relative lengths of sequences, of shape (n_rows, n_lengths)."""
        return np.empty((X.shape[0], self.n_lengths))

    def append_lengths(self, components: np.ndarray, X) -> np.ndarray:
        """Return codes: the learned components of rows, then their lengths."""
        return components

    def unflatten(self, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return decoded flat rows as an array of shape (n_rows, *shape)."""
        return rows.reshape(len(rows), *self.shape)

    def cast(self, rows: np.ndarray, dtype) -> np.ndarray:
        """Return decoded rows in a float dtype; tokens are integers."""
        return cast_rows(rows, dtype)

    def largest_errors(self, max_error: float):
        """Return the largest error of each entry with which decoded rows keep a bound.

        A number, or an array of shape (n_features,).
        """
        return max_error

    def as_matrix(self, X, weight):
        """Return the rows as a matrix of finite numbers, the input of PCA."""
        return X

    def fit_pca(self, X, weight, n_axes: int) -> PCASolution:
        """Return PCA's solution for weighted rows."""
        return fit_pca(X, weight, n_axes)


@dataclass(frozen=True)
class NumericLayout(Layout):
    """Rows of finite numbers."""

    kind: ClassVar[str] = "numbers"

    def check(self, X) -> None:
        """Raise ValueError if X contains NaN."""
        if contains_nan(X):
            raise ValueError(
                "X contains NaN, but no value was missing in `fit`. Impute missing "
                "values before, for example with SimpleImputer or KNNImputer, or fit "
                "on rows of which some have missing values. Sequences of different "
                "lengths may end with NaN if some of those in `fit` do, in an array of "
                "shape (n_samples, n_steps, n_features): pass X[..., np.newaxis] if "
                "each step is a single number."
            )


@dataclass(frozen=True)
class IncompleteLayout(Layout):
    """Rows of numbers of which some are missing, as NaN.

    The inputs of the network are the entries, with linear predictions in place of the
    missing ones, and the mask: which columns are missing.
    """

    kind: ClassVar[str] = "incomplete"
    has_missing_values: ClassVar[bool] = True
    description: ClassVar[str] = "missing values (NaN)"
    alternative: ClassVar[str] = ", or impute the missing values before"

    @property
    def has_mask(self) -> bool:
        """Whether the mask of missing values is an input of the network."""
        return True

    @property
    def column_of_entry(self) -> np.ndarray:
        """The column to which each entry belongs, shape (n_features,)."""
        return np.arange(self.n_features)

    @property
    def network_shape(self) -> tuple[int]:
        """Number of inputs of the network: entries, and the mask of the columns."""
        return (self.n_features + self.has_mask * self.n_columns,)

    def for_network(self, network) -> "IncompleteLayout":
        """Return the layout; raise ValueError for networks of images or sequences."""
        if getattr(network, "time_axis", None) is None:
            return self
        raise ValueError(
            f"Got network={network}, but X has {self.description}, and only fully "
            f"connected networks accept them. Set network=MLP(){self.alternative}."
        )

    def check(self, X) -> None:
        """Raise ValueError if all values of a row are missing."""
        for block in row_blocks(*X.shape):
            is_empty = np.isnan(dense(X[block])).all(axis=1)
            if is_empty.any():
                row = block.start + int(np.argmax(is_empty))
                raise ValueError(
                    f"Row {row} of X has no values: all of them are missing. Remove "
                    "rows without any value."
                )

    def check_columns(self, X, names) -> None:
        """Raise ValueError if training rows have a column or a row without values."""
        present = sum(
            (~np.isnan(dense(X[block]))).sum(axis=0) for block in row_blocks(*X.shape)
        )
        if not np.all(present):
            name = names[int(np.argmin(present))]
            raise ValueError(
                f"Column {name!r} of X has no values: all of them are missing. Remove "
                "it."
            )
        self.check(X)

    def as_matrix(self, X, weight):
        """Return the rows with NaN replaced by the mean of the column."""
        mean = weighted_nanmean(X, weight)
        return LazyRows(
            X, lambda rows: np.where(np.isnan(rows), mean, rows), X.shape[1]
        )

    def fit_pca(self, X, weight, n_axes: int) -> PCASolution:
        """Return PCA's solution for incomplete rows, with axes that ignore the mask."""
        return self.with_mask(fit_incomplete_pca(X, weight, n_axes))

    def with_mask(self, pca: PCASolution) -> PCASolution:
        """Return a solution whose axes are zero for the mask."""
        n_masks = math.prod(self.network_shape) - self.n_features
        return replace(pca, axes=np.pad(pca.axes, ((0, 0), (0, n_masks))))


@dataclass(frozen=True)
class ColumnsLayout(IncompleteLayout):
    """Rows of a table of mixed columns, which are encoded as numbers.

    See `skae.data._columns` for the entries of an encoded row.

    Attributes
    ----------
    columns : tuple of Column
        The columns.

    container : {"pandas", "polars", "default"}
        The library of the data frame; "default" for an array.

    has_missing : bool
        Whether values were missing in `fit`. Otherwise missing values are read as the
        mean, and the mask is no input.
    """

    columns: tuple[Column, ...]
    container: str
    has_missing: bool
    kind: ClassVar[str] = "columns"
    is_table: ClassVar[bool] = True
    description: ClassVar[str] = "mixed columns"
    alternative: ClassVar[str] = ""

    @property
    def n_columns(self) -> int:
        """Number of columns of the table."""
        return len(self.columns)

    @property
    def column_kinds(self) -> dict:
        """What each column is treated as, by its name."""
        return {column.name: column.kind for column in self.columns}

    @property
    def has_mask(self) -> bool:
        """Whether the mask of missing values is an input of the network."""
        return self.has_missing

    @property
    def column_of_entry(self) -> np.ndarray:
        """The column to which each entry belongs, shape (n_features,)."""
        sizes = [column.n_entries for column in self.columns]
        return np.repeat(np.arange(len(sizes)), sizes)

    @property
    def units(self) -> np.ndarray:
        """What indicators are divided by, shape (n_features,); 1 for numbers."""
        return np.concatenate([column.units for column in self.columns])

    @property
    def names(self) -> list:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def check_columns(self, X, names) -> None:
        """Columns without any value are detected when the table is encoded."""

    def encode(self, X) -> np.ndarray:
        """Return a table as a matrix, of shape (n_rows, n_features)."""
        return encode_columns(self.columns, read_columns(X, self.names))

    def to_stored(self, X, matrix: np.ndarray) -> np.ndarray:
        """Return an encoded table with numbers as they are, not standardized.

        The scores of numbers cannot be decoded without rounding errors.
        """
        return stored_columns(self.columns, read_columns(X, self.names), matrix)

    def check_stored(self, X, stored: np.ndarray, max_error: float) -> None:
        """Raise ValueError if decoded rows of `to_stored` are not those of the table.

        Differences that are small in comparison with `max_error` are accepted.
        """
        restored = self.decode(stored, is_stored=np.ones(stored.shape, dtype=bool))
        raws = read_columns(X, self.names)
        check_restored(
            self.columns, raws, read_columns(restored, self.names), max_error
        )

    def largest_errors(self, max_error: float) -> np.ndarray:
        """Return the largest error of each entry, with which a table keeps a bound."""
        spacing = np.concatenate([column.spacing for column in self.columns])
        return largest_errors(spacing, max_error)

    def decode(self, rows: np.ndarray, index=None, is_stored=None):
        """Return encoded rows as a table of the types seen in `fit`.

        The entries that the mask `is_stored` selects are those of `to_stored`.
        """
        # The entries of a column are missing together: the first one is enough.
        _, first = np.unique(self.column_of_entry, return_index=True)
        missing = np.isnan(rows[:, first])
        values = decode_columns(self.columns, rows, is_stored)
        dtypes = [column.dtype for column in self.columns]
        return build_frame(self.container, self.names, values, dtypes, missing, index)

    def cast(self, rows: np.ndarray, dtype) -> np.ndarray:
        """Return decoded rows in float64, from which large integers are decoded."""
        return rows

    def fit_pca(self, X, weight, n_axes: int) -> PCASolution:
        """Return the solution of factor analysis of mixed data (Pages 2004)."""
        if self.has_missing:
            return self.with_mask(fit_incomplete_pca(X, weight, n_axes, scale=1.0))
        mean, variance = observed_moments(X, weight)
        axes, deviations = fit_axes(X, weight, mean, variance, 1.0, n_axes)
        return PCASolution(mean, 1.0, axes, deviations, output_mean=mean)

    def check_standardization(self, mean, scale) -> None:
        """Raise ValueError unless the scale is 1."""
        if scale != 1:
            raise ValueError("Got a saved scale for columns, but expected 1.")

    def to_state(self) -> dict:
        """Return the attributes as plain values."""
        columns = [column_to_state(column) for column in self.columns]
        return {**vars(self), "columns": columns}

    @classmethod
    def from_state(cls, values: dict) -> "ColumnsLayout":
        """Return the layout with attributes of a saved state."""
        states = values["columns"]
        if not isinstance(states, list) or not states:
            raise ValueError("The saved state does not describe the columns of rows.")
        columns = tuple(column_from_state(state) for state in states)
        return cls(**{**values, "columns": columns})

    def check_state(self) -> None:
        """Raise ValueError if the attributes of a loaded layout are invalid."""
        super().check_state()
        n_entries = sum(column.n_entries for column in self.columns)
        is_valid = (
            self.shape == (n_entries,)
            and self.container in ("pandas", "polars", "default")
            and isinstance(self.has_missing, bool)
        )
        if not is_valid:
            raise ValueError("The saved columns do not fit the saved row shape.")


@dataclass(frozen=True)
class PaddedLayout(Layout):
    """Sequences of different lengths, padded with NaN at the end.

    The last column of a code is the length of the sequence divided by the number of
    steps, which is in (0, 1]. It is stored instead of learned, so that decoded
    sequences have the exact length. If all sequences have the same length, the layout
    stores it, and codes have no such column.

    Attributes
    ----------
    axis : int
        The axis of a row that is time.

    length : int or None, default=None
        Number of steps before the NaN, if it is the same for all sequences.
    """

    axis: int
    length: int | None = None
    kind: ClassVar[str] = "padded"
    has_padding: ClassVar[bool] = True

    @property
    def n_lengths(self) -> int:
        """Number of columns of a code that are not learned."""
        return int(self.length is None)

    @property
    def n_steps(self) -> int:
        """Number of steps of a row, with the padding."""
        return self.shape[self.axis]

    def with_common_length(self, X) -> "PaddedLayout":
        """Return the layout that stores the length, if it is the same in all rows."""
        counts = self.step_counts(X)
        if (counts != counts[0]).any():
            return self
        return replace(self, length=int(counts[0]))

    def check(self, X) -> None:
        """Raise ValueError unless all NaN are at the end of sequences."""
        if not self.is_padded_at_end(X):
            raise ValueError(
                "X contains NaN that are not at the end of sequences. NaN mark the "
                "steps after the end of a sequence: for all features of a step, and "
                "along the same axis of X in all sequences. Impute missing values "
                "before."
            )
        counts = self.step_counts(X)
        if not counts.all():
            raise ValueError(
                f"Sequence {int(np.argmin(counts))} of X contains only NaN. Remove it."
            )
        if self.length is not None:
            self.check_length(counts)

    def check_length(self, counts: np.ndarray) -> None:
        """Raise ValueError unless all sequences have the stored length."""
        differs = counts != self.length
        if differs.any():
            first = int(np.argmax(differs))
            raise ValueError(
                f"Sequence {first} of X has {counts[first]} steps before the NaN, but "
                f"expected {self.length}, as in all sequences seen in `fit`. To encode "
                "sequences of different lengths, include some of them in `fit`, or in "
                "the first call of `partial_fit`."
            )

    def is_padded_at_end(self, X) -> bool:
        """Return whether all NaN are at the end of sequences."""
        return all(_is_at_end(missing) for missing in self._missing(X))

    def for_network(self, network) -> "PaddedLayout":
        """Return the layout; raise ValueError if the network's time axis differs."""
        time_axis = getattr(network, "time_axis", None)
        if time_axis is None:
            return self
        # Negative axes count from the end.
        time_axis = range(len(self.shape))[time_axis]
        if time_axis != self.axis:
            # In X, axis 0 is that of the samples.
            raise ValueError(
                f"The sequences of X have NaN at the end of axis {self.axis + 1}, but "
                f"{type(network).__name__} expects time along axis {time_axis + 1}. "
                "Swap the axes of X."
            )
        return self

    def check_state(self) -> None:
        """Raise ValueError if the attributes of a loaded layout are invalid."""
        super().check_state()
        if self.axis not in range(len(self.shape)):
            raise ValueError(
                f"Got a saved time axis of {self.axis!r}, but expected an integer "
                f"from 0 to {len(self.shape) - 1}."
            )
        if self.length is None:
            return
        if not _is_count(self.length) or self.length > self.n_steps:
            raise ValueError(
                f"Got a saved length of {self.length!r}, but expected None or an "
                f"integer from 1 to {self.n_steps}."
            )

    def step_counts(self, X) -> np.ndarray:
        """Return the number of steps before the NaN in each row, shape (n_rows,)."""
        # Missing steps are missing in all features, so the first one is enough.
        missing = [block[..., 0].sum(axis=1) for block in self._missing(X)]
        return self.n_steps - np.concatenate(missing)

    def lengths(self, X) -> np.ndarray:
        """Return length / n_steps of each sequence, of shape (n_rows, n_lengths)."""
        if self.length is not None:
            return super().lengths(X)
        missing = self.n_steps - self.step_counts(X)[:, np.newaxis]
        return 1 - missing / self.n_steps

    def append_lengths(self, components, X) -> np.ndarray:
        """Return codes of shape (n_rows, n_components + n_lengths)."""
        return np.hstack([components, self.lengths(X)])

    def unflatten(self, rows, lengths) -> np.ndarray:
        """Return sequences with NaN after their lengths, in the memory of the rows."""
        if self.length is None:
            # (n_rows, 1)
            n_present = np.rint(lengths.astype(np.float64) * self.n_steps)
        else:
            n_present = np.full((len(rows), 1), self.length)
        # Codes that are not those of rows can have any length. One step is always kept.
        # (n_rows, n_steps)
        missing = np.arange(self.n_steps) >= n_present.clip(1, self.n_steps)
        sequences = rows.reshape(len(rows), *self.shape)
        np.moveaxis(sequences, self.axis + 1, 1)[missing] = np.nan
        return sequences

    def as_matrix(self, X, weight):
        """Return the rows with NaN replaced by the mean of the column."""
        mean = weighted_nanmean(X, weight)
        return LazyRows(
            X, lambda rows: np.where(np.isnan(rows), mean, rows), X.shape[1]
        )

    def fit_pca(self, X, weight, n_axes: int) -> PCASolution:
        """Return PCA's solution for sequences padded with the mean."""
        return fit_pca(self.as_matrix(X, weight), weight, n_axes)

    def _missing(self, X):
        """Yield for blocks of rows what is NaN, (n_rows, n_steps, n_others)."""
        for block in row_blocks(*X.shape):
            missing = np.isnan(dense(X[block])).reshape(-1, *self.shape)
            missing = np.moveaxis(missing, self.axis + 1, 1)
            yield missing.reshape(*missing.shape[:2], -1)


@dataclass(frozen=True)
class TokenLayout(Layout):
    """Sequences of tokens: integers that stand for words, letters or categories.

    The input of the network is the embedding of each token.

    Attributes
    ----------
    n_tokens : int
        Size of the vocabulary. Tokens are 0, 1, ..., n_tokens - 1.

    channels_first : bool, default=False
        Whether the input of the network has the shape (embedding_size, n_steps) instead
        of (n_steps, embedding_size).
    """

    n_tokens: int
    channels_first: bool = False
    kind: ClassVar[str] = "tokens"

    @property
    def embedding_size(self) -> int:
        """Length of the embedding of a token."""
        return min(self.n_tokens, MAX_EMBEDDING_SIZE)

    @property
    def n_outputs(self) -> int:
        """Number of outputs of a model per row: a logit per step and token."""
        return self.n_features * self.n_tokens

    @property
    def network_shape(self) -> tuple[int, int]:
        """Shape of an embedded row as input of the network."""
        shape = self.n_features, self.embedding_size
        return shape[::-1] if self.channels_first else shape

    def for_network(self, network) -> "TokenLayout":
        """Return the layout with the axes in the order that a network expects."""
        return replace(self, channels_first=getattr(network, "time_axis", 0) == -1)

    def check_state(self) -> None:
        """Raise ValueError if the attributes of a loaded layout are invalid."""
        if not _is_count(self.n_tokens) or not isinstance(self.channels_first, bool):
            raise ValueError(
                f"Got a saved layout {self}, but expected n_tokens to be a positive "
                "integer and channels_first to be a bool."
            )
        super().check_state()

    def check_standardization(self, mean, scale) -> None:
        """Raise ValueError unless the mean is 0 and the scale is 1."""
        if mean.any() or scale != 1:
            raise ValueError(
                "Got a saved mean or scale for tokens, but expected mean 0 and scale "
                "1: tokens are not standardized."
            )

    def check(self, X) -> None:
        """Raise ValueError unless all entries are tokens of the vocabulary."""
        check_tokens(X)
        self.check_vocabulary(X)

    def check_vocabulary(self, X) -> None:
        """Raise ValueError if tokens exceed the vocabulary."""
        largest = int(extremes(X)[1])
        if largest >= self.n_tokens:
            raise ValueError(
                f"X contains the token {largest}, but the vocabulary has the tokens "
                f"from 0 to {self.n_tokens - 1}. Set its size with "
                "loss=CrossEntropy(n_tokens=...)."
            )

    def cast(self, rows, dtype) -> np.ndarray:
        """Return decoded tokens as int64."""
        return np.rint(rows).astype(np.int64)

    def embed(self, X, table: np.ndarray) -> LazyRows:
        """Return embedded rows, of shape (n_rows, n_steps * embedding_size)."""

        def embed_block(rows):
            # (n_rows, n_steps, embedding_size)
            embedded = table[rows.astype(np.int64)]
            # Flattened in the order of `network_shape`.
            embedded = embedded.swapaxes(1, 2) if self.channels_first else embedded
            return embedded.reshape(len(rows), -1)

        return LazyRows(X, embed_block, math.prod(self.network_shape))

    def as_matrix(self, X, weight):
        """Return the embedded rows."""
        return self.embed(X, self.embedding_table(X, weight))

    def fit_pca(self, X, weight, n_axes) -> PCASolution:
        """Return PCA's solution for embedded rows, with the maps to logits."""
        table = self.embedding_table(X, weight)
        pca = fit_pca(self.embed(X, table), weight, n_axes)
        # (n_steps, n_tokens)
        frequencies = self.token_frequencies(X, weight)
        # A logit is log(p) up to a constant, with slope 1 / p. The slope is the same at
        # all steps, since one linear layer computes the logits of all steps.
        overall = frequencies.mean(axis=0)[:, np.newaxis].clip(MIN_FREQUENCY)
        embedding = TokenEmbedding(
            table=table / pca.scale,
            mean=pca.mean / pca.scale,
            logits=pca.scale * table / overall,
        )
        return PCASolution(
            mean=np.zeros(self.n_features),
            scale=1.0,
            axes=pca.axes,
            deviations=pca.deviations / pca.scale,
            output_mean=frequencies.ravel(),
            embedding=embedding,
        )

    def embedding_table(self, X, weight) -> np.ndarray:
        """Return the embedding of each token, of shape (n_tokens, embedding_size).

        It consists of the loadings of the principal components of the counts of tokens
        in each row, as in latent semantic analysis (Deerwester et al. 1990). Small
        vocabularies are one-hot encoded.
        """
        if self.n_tokens == self.embedding_size:
            return np.eye(self.n_tokens)
        axes = fit_pca(self._counts(X), weight, self.embedding_size).axes
        if not axes.any():  # all rows have the same counts
            axes = np.random.default_rng(0).standard_normal(axes.shape)
        return axes.T

    def _counts(self, X):
        """Return the counts of tokens in rows, a CSR matrix (n_rows, n_tokens)."""
        counts = []
        for block in row_blocks(*X.shape):
            tokens = dense(X[block]).astype(np.int64)
            rows = np.repeat(np.arange(len(tokens)), X.shape[1])
            entries = np.ones(tokens.size), (rows, tokens.ravel())
            # The constructor sums entries with the same indices.
            counts.append(sparse.csr_matrix(entries, (len(tokens), self.n_tokens)))
        return sparse.vstack(counts, format="csr")

    def token_frequencies(self, X, weight) -> np.ndarray:
        """Return smoothed frequencies of tokens, of shape (n_steps, n_tokens).

        Frequencies at a step are mixed with 1 % of those at all steps, and these with
        1 % of the uniform distribution, so that no token has frequency 0.
        """
        counts = np.zeros((X.shape[1], self.n_tokens))
        for block in row_blocks(*X.shape):
            # (n_steps, n_rows)
            steps, w = dense(X[block]).astype(np.int64).T, weight[block]
            counts += [np.bincount(step, w, self.n_tokens) for step in steps]
        frequencies = counts / weight.sum()
        overall = (1 - SMOOTHING) * frequencies.mean(axis=0) + SMOOTHING / self.n_tokens
        return (1 - SMOOTHING) * frequencies + SMOOTHING * overall


def _is_at_end(missing):
    """Return whether no step follows a missing one, of (n_rows, n_steps, n_others)."""
    # Padding covers all features of a step.
    same_for_all = (missing == missing[..., :1]).all()
    return bool(same_for_all and not (missing[:, :-1] & ~missing[:, 1:]).any())


def contains_nan(X) -> bool:
    """Return whether X contains NaN."""
    if isinstance(X, Source):
        return X.has_nan
    values = X.data if sparse.issparse(X) else X
    return values.size > 0 and math.isnan(values.min())


def _are_integers(rows) -> bool:
    # Entries that a sparse matrix does not store are the token 0.
    values = rows.data if sparse.issparse(rows) else rows
    return bool(np.isfinite(values).all() and (values == np.rint(values)).all())


def _is_count(value):
    return isinstance(value, Integral) and value > 0


def infer_layout(X, shape: tuple[int, ...], vocabulary) -> Layout:
    """Return the layout of rows.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        Validated flat rows.

    shape : tuple of int
        Shape of one row before it was flattened.

    vocabulary : int, "auto" or None
        Number of tokens; with "auto" the largest token in X plus one. With None the
        rows are numbers. NaN are missing values, or in rows of several axes padding.

    Returns
    -------
    layout : Layout
        The layout, which X has been checked against.
    """
    if vocabulary is not None:
        return _token_layout(X, shape, vocabulary)
    if not contains_nan(X):
        return NumericLayout(shape)
    if len(shape) == 1:
        return IncompleteLayout(shape)
    # The time axis is the one along which NaN are at the end: the first (as in
    # recurrent networks), or else the last (as in convolutional networks).
    first, last = (PaddedLayout(shape, axis) for axis in (0, len(shape) - 1))
    layout = first if first.is_padded_at_end(X) else last
    layout.check(X)
    return layout.with_common_length(X)


def _token_layout(X, shape, vocabulary):
    check_tokens(X)
    n_tokens = int(extremes(X)[1]) + 1 if vocabulary == "auto" else vocabulary
    layout = TokenLayout(shape, n_tokens)
    layout.check_vocabulary(X)
    if layout.n_outputs > MAX_LOGITS:
        raise ValueError(
            f"A vocabulary of {layout.n_tokens} tokens and sequences of "
            f"{layout.n_features} steps need {layout.n_outputs} logits per row, but at "
            f"most {MAX_LOGITS} are supported. Number the tokens from 0 without gaps, "
            "replace rare tokens with a single one, or truncate the sequences."
        )
    return layout


def check_tokens(X) -> None:
    """Raise ValueError unless X contains integers that can be tokens."""
    low, high = extremes(X)
    whole = all(_are_integers(X[block]) for block in row_blocks(*X.shape))
    # Compared as a float: the maximum would overflow in float16.
    if not whole or low < 0 or float(high) >= MAX_TOKENS:
        raise ValueError(
            "loss='cross_entropy' needs tokens, integers from 0 to at most "
            f"{MAX_TOKENS - 1}, but X has values in [{low:.6g}, {high:.6g}]"
            f"{'' if whole else ', not all of them integers'}. Encode categories with "
            "OrdinalEncoder, and pad short sequences with an extra token."
        )


# Layouts by their name in a saved state.
LAYOUTS = {
    layout.kind: layout
    for layout in (
        NumericLayout, IncompleteLayout, PaddedLayout, TokenLayout, ColumnsLayout,
    )
}  # fmt: skip


def layout_to_state(layout: Layout) -> dict:
    """Return a layout as a dictionary of plain values."""
    return {"kind": layout.kind, **layout.to_state()}


def layout_from_state(state) -> Layout:
    """Return the layout of a saved state; raise ValueError if the state is invalid."""
    # No part of the state is used before its type is checked.
    kind = state.get("kind") if isinstance(state, dict) else None
    cls = LAYOUTS.get(kind) if isinstance(kind, str) else None
    if cls is None or set(state) != {"kind", *(f.name for f in fields(cls))}:
        raise ValueError(
            "The saved state does not describe the layout of rows. Expected a "
            f"dictionary with a kind of {list(LAYOUTS)} and the attributes of that "
            "layout."
        )
    values = {name: value for name, value in state.items() if name != "kind"}
    layout = cls.from_state(values)
    layout.check_state()
    return layout
