"""Layouts: what one row stands for: numbers, a padded sequence, or tokens.

Inside, rows are flat. A layout tells how rows become arrays of the shape that they came
in, what is told of a row beside the components of its code, and where PCA starts.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
from typing import ClassVar

import numpy as np
from scipy import sparse

from skae.data._pca import LinearPath, fit_linear
from skae.data._rows import as_dtype, blocks, dense, extremes

EMBEDDING_SIZE = 32  # numbers that stand for a token; fewer where tokens are fewer
MOST_TOKENS = 2**20
MOST_LOGITS = 2**24  # of one row: 64 MB
MOST_OUTPUTS = 2**31  # of a model that is read from a file
MIXED = 0.01  # what tokens' shares get of coarser ones
RARE = 1e-3  # the least share of a token that a logit's tangent is taken at


@dataclass(frozen=True)
class NumericLayout:
    """Rows of numbers, all of them there.

    Attributes
    ----------
    shape : tuple of int
        The shape of one row as `fit` saw it.
    """

    shape: tuple[int, ...]
    kind: ClassVar[str] = "numbers"
    finite: ClassVar[bool | str] = True  # what validation is to ask of X
    n_marks: ClassVar[int] = 0  # what a code tells beside its components

    @property
    def n_features(self) -> int:
        """How many entries a row has."""
        return math.prod(self.shape)

    @property
    def n_outputs(self) -> int:
        """How many numbers a model returns for a row."""
        return self.n_features

    @property
    def read_shape(self) -> tuple[int, ...]:
        """The shape of a row as the network is given it."""
        return self.shape

    def for_network(self, network) -> "NumericLayout":
        """Return the layout of rows in the order that a network wants."""
        return self

    def check_state(self) -> None:
        """Raise ValueError where a saved layout is not of possible rows."""
        sizes = self.shape if isinstance(self.shape, tuple) else ()
        if not sizes or not all(_is_count(size) for size in sizes):
            raise ValueError(f"The saved rows have an impossible shape: {self.shape}.")
        if self.n_outputs > MOST_OUTPUTS:
            raise ValueError(f"The saved rows are impossibly wide: {self.shape}.")

    def check_standard(self, mean: np.ndarray, scale: float) -> None:
        """Raise ValueError where no rows of this layout have such mean and scale."""

    def n_free(self, n_components: int) -> int:
        """Return how many components of a code are left beside marks."""
        if n_components <= self.n_marks:
            raise ValueError(
                f"Got n_components={n_components} for sequences of different lengths, "
                "but expected at least 2: the last one is the length."
            )
        return n_components - self.n_marks

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError where rows, unless they are flat, have not fit's shape."""
        if len(shape) > 1 and shape != self.shape:
            raise ValueError(
                f"Got rows of shape {shape}, but `fit` saw {self.shape}. Give arrays "
                f"of that shape, or flat rows of {self.n_features} numbers."
            )

    def check(self, X) -> None:
        """Raise ValueError where validated rows are not of this layout."""

    def marks(self, X) -> np.ndarray:
        """Return what is told of rows beside their components, (n_rows, n_marks)."""
        return np.empty((X.shape[0], self.n_marks))

    def marked(self, components: np.ndarray, X) -> np.ndarray:
        """Return the codes of rows: their components, and then their marks."""
        return components

    def restored(self, rows: np.ndarray, marks: np.ndarray) -> np.ndarray:
        """Return rows in the shape that `fit` saw."""
        return rows.reshape(len(rows), *self.shape)

    def typed(self, rows: np.ndarray, dtype) -> np.ndarray:
        """Return decoded rows in a float type."""
        return as_dtype(rows, dtype)

    def continuous(self, X, weight):
        """Return the rows as PCA takes them: a matrix of finite numbers."""
        return X

    def linear_path(self, X, weight, n_axes: int) -> LinearPath:
        """Return the principal axes of weighted rows."""
        return fit_linear(self.continuous(X, weight), weight, n_axes)

    def standard(self, path: LinearPath):
        """Return the mean and scale that rows are standardised by."""
        return path.mean, path.scale


@dataclass(frozen=True)
class PaddedLayout(NumericLayout):
    """Sequences of different lengths, with NaN after the end.

    The last column of a code is the length, as a share of the longest that fits.

    Attributes
    ----------
    axis : int
        Which axis of a row is time.
    """

    axis: int
    kind: ClassVar[str] = "padded"
    finite: ClassVar[bool | str] = "allow-nan"
    n_marks: ClassVar[int] = 1

    def check(self, X) -> None:
        """Raise ValueError unless NaN come after the end of sequences alone."""
        if not self.fits(X):
            raise ValueError(
                "X contains NaN that are not at the end of sequences. NaN stand for "
                "steps after the end, along one axis of X that is the same for all "
                "sequences, and for all features at once. Impute missing values before."
            )
        empty = ~(self.marks(X)[:, 0] > 0)
        if empty.any():
            raise ValueError(
                f"Sequence {int(np.argmax(empty))} of X has no step that is not NaN. "
                "Leave it out."
            )

    def fits(self, X) -> bool:
        """Tell whether all NaN are at the end of sequences."""
        return all(_at_the_end(absent) for absent in self._absent(X))

    def for_network(self, network) -> "PaddedLayout":
        """Return itself, refusing a network that looks for time elsewhere."""
        wanted = getattr(network, "time_axis", None)
        if wanted is not None and range(len(self.shape))[wanted] != self.axis:
            raise ValueError(
                f"The sequences of X have NaN at the end of axis {self.axis + 1}, but "
                f"{type(network).__name__} expects time along axis "
                f"{range(len(self.shape))[wanted] + 1}. Swap the axes of X."
            )
        return self

    def check_state(self) -> None:
        """Raise ValueError where a saved layout is not of possible rows."""
        super().check_state()
        if self.axis not in range(len(self.shape)):
            raise ValueError(f"The saved sequences have no axis {self.axis}.")

    def marks(self, X) -> np.ndarray:
        """Return the sequences' lengths as a share of the longest, (n_rows, 1)."""
        absent = [block[..., 0].mean(axis=1) for block in self._absent(X)]
        return 1 - np.concatenate(absent)[:, np.newaxis]

    def marked(self, components, X) -> np.ndarray:
        """Return the codes of sequences: their components, and then their lengths."""
        return np.hstack([components, self.marks(X)])

    def restored(self, rows, marks) -> np.ndarray:
        """Return sequences with NaN after the lengths that marks tell."""
        n_steps = self.shape[self.axis]
        lengths = np.rint(marks.astype(np.float64) * n_steps)  # (n_rows, 1)
        absent = np.arange(n_steps) >= lengths.clip(1, n_steps)
        sequences = rows.reshape(len(rows), *self.shape)
        np.moveaxis(sequences, self.axis + 1, 1)[absent] = np.nan
        return sequences

    def continuous(self, X, weight):
        """Return the rows with a column's mean in place of its NaN."""
        mean = column_mean(X, weight)
        return LazyRows(
            X, lambda rows: np.where(np.isnan(rows), mean, rows), X.shape[1]
        )

    def _absent(self, X):
        """Yield which entries of some rows are NaN, (n_rows, n_steps, n_others)."""
        for block in blocks(*X.shape):
            absent = np.isnan(dense(X[block])).reshape(-1, *self.shape)
            absent = np.moveaxis(absent, self.axis + 1, 1)
            yield absent.reshape(*absent.shape[:2], -1)


@dataclass(frozen=True)
class TokenLayout(NumericLayout):
    """Sequences of integers that are names: words, letters, categories.

    A network is given a few numbers for each token, its embedding.

    Attributes
    ----------
    n_tokens : int
        Size of the vocabulary; tokens are 0, 1, ..., n_tokens - 1.

    channels_first : bool, default=False
        Whether a network takes (embedding, time) instead of (time, embedding).
    """

    n_tokens: int
    channels_first: bool = False
    kind: ClassVar[str] = "tokens"

    @property
    def embedding_size(self) -> int:
        """How many numbers stand for a token."""
        return min(self.n_tokens, EMBEDDING_SIZE)

    @property
    def n_outputs(self) -> int:
        """A logit for each token at each step."""
        return self.n_features * self.n_tokens

    @property
    def read_shape(self) -> tuple[int, int]:
        """The shape of a row as the network is given it."""
        shape = self.n_features, self.embedding_size
        return shape[::-1] if self.channels_first else shape

    def for_network(self, network) -> "TokenLayout":
        """Return the layout of rows in the order that a network wants."""
        return replace(self, channels_first=getattr(network, "time_axis", 0) == -1)

    def check_state(self) -> None:
        """Raise ValueError where a saved layout is not of possible rows."""
        if not _is_count(self.n_tokens) or not isinstance(self.channels_first, bool):
            raise ValueError(f"The saved tokens are impossible: {self}.")
        super().check_state()

    def check_standard(self, mean, scale) -> None:
        """Raise ValueError where saved tokens were standardised."""
        if mean.any() or scale != 1:
            raise ValueError("The saved tokens have a mean or a scale.")

    def check(self, X) -> None:
        """Raise ValueError unless rows are tokens of the vocabulary."""
        check_tokens(X)
        self.check_vocabulary(X)

    def check_vocabulary(self, X) -> None:
        """Raise ValueError where tokens are not of the vocabulary."""
        largest = int(X.max())
        if largest >= self.n_tokens:
            raise ValueError(
                f"X contains the token {largest}, but the vocabulary has tokens from 0 "
                f"to {self.n_tokens - 1}. State its size by "
                "loss=CrossEntropy(n_tokens=...)."
            )

    def typed(self, rows, dtype) -> np.ndarray:
        """Return tokens."""
        return np.rint(rows).astype(np.int64)

    def embedded(self, X, table: np.ndarray) -> "LazyRows":
        """Return rows with the table's numbers in place of their tokens."""

        def embed(rows):
            numbers = table[rows.astype(np.int64)]  # (n_rows, time, embedding)
            numbers = numbers.swapaxes(1, 2) if self.channels_first else numbers
            return numbers.reshape(len(rows), -1)

        return LazyRows(X, embed, math.prod(self.read_shape))

    def continuous(self, X, weight):
        """Return the embedded rows, as training starts from them."""
        return self.embedded(X, self.table(X, weight))

    def linear_path(self, X, weight, n_axes) -> LinearPath:
        """Return the principal axes of embedded rows, and the tokens' shares."""
        table = self.table(X, weight)
        path = fit_linear(self.embedded(X, table), weight, n_axes)
        shares = self.shares(X, weight)
        reader = table / path.scale, path.mean / path.scale
        writer = path.scale * table / shares.mean(axis=0)[:, np.newaxis].clip(RARE)
        return replace(path, mean=shares.ravel(), ends=(*reader, writer))

    def standard(self, path):
        """Return the mean and scale that rows are standardised by: tokens stay."""
        return np.zeros(self.n_features), 1.0

    def table(self, X, weight) -> np.ndarray:
        """Return numbers for each token, of shape (n_tokens, embedding_size).

        They are the tokens' weights in the principal axes of their counts in rows: the
        embedding from which most of the counts can be told.
        """
        if self.n_tokens == self.embedding_size:
            return np.eye(self.n_tokens)
        axes = fit_linear(self._counts(X), weight, self.embedding_size).axes
        if not axes.any():  # all tokens are as frequent in every row
            axes = np.random.default_rng(0).standard_normal(axes.shape)
        return axes.T

    def _counts(self, X):
        """Return how often each row has each token, a CSR matrix (n_rows, n_tokens)."""
        n, length = X.shape
        tokens = dense(X).astype(np.int64).ravel()
        rows = np.repeat(np.arange(n), length)
        shape = n, self.n_tokens
        return sparse.csr_matrix((np.ones(len(tokens)), (rows, tokens)), shape)

    def shares(self, X, weight) -> np.ndarray:
        """Return the share of each token at each step, of shape (n_steps, n_tokens).

        A hundredth is that of all steps, and of this a hundredth is equal for all
        tokens: none is impossible.
        """
        steps = dense(X).astype(np.int64).T
        counts = np.array([np.bincount(s, weight, self.n_tokens) for s in steps])
        shares = counts / weight.sum()
        overall = (1 - MIXED) * shares.mean(axis=0) + MIXED / self.n_tokens
        return (1 - MIXED) * shares + MIXED * overall


class LazyRows:
    """The rows of a matrix, changed by a function whenever they are read.

    Parameters
    ----------
    X : ndarray or CSR matrix
        The matrix.

    function : callable
        Of dense rows.

    width : int
        How many columns the changed rows have.
    """

    def __init__(self, X, function: Callable, width: int):
        self.X = X
        self.function = function
        self.shape = X.shape[0], width

    def __getitem__(self, rows) -> np.ndarray:
        return self.function(dense(self.X[rows]))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:]


def column_mean(X, weight) -> np.ndarray:
    """Return the weighted mean of each column's numbers; 0 where all are NaN."""
    mean = _present_mean(X, weight, np.zeros(X.shape[1]))
    # The mean of what rounding has left over: a constant column is its mean.
    return mean + _present_mean(X, weight, mean)


def _present_mean(X, weight, origin):
    total = weights = 0.0
    for block in blocks(*X.shape):
        rows, w = dense(X[block]) - origin, weight[block]
        total = total + w @ np.nan_to_num(rows, nan=0.0)
        weights = weights + w @ ~np.isnan(rows)
    return total / np.where(weights > 0, weights, 1.0)


def _at_the_end(absent):
    """Tell whether nothing follows what is absent, of (n_rows, n_steps, n_others)."""
    together = (absent == absent[..., :1]).all()
    return bool(together and not (absent[:, :-1] & ~absent[:, 1:]).any())


def _is_count(value):
    return isinstance(value, Integral) and value > 0


def numbers_or_padded(X, shape: tuple[int, ...]) -> NumericLayout:
    """Return the layout of rows: NaN in them stand for padding, else are refused.

    Time is the axis along which they are at the end: the first, or else the last.
    """
    if len(shape) == 1 or not np.isnan(X.min()):
        return NumericLayout(shape)
    first, last = (PaddedLayout(shape, axis) for axis in (0, len(shape) - 1))
    layout = first if first.fits(X) else last
    layout.check(X)
    return layout


def tokens_of(X, shape: tuple[int, ...], n_tokens: int | None) -> TokenLayout:
    """Return the layout of rows of tokens; None stands for as many as they need."""
    check_tokens(X)
    layout = TokenLayout(shape, n_tokens or int(X.max()) + 1)
    layout.check_vocabulary(X)
    if layout.n_outputs > MOST_LOGITS:
        raise ValueError(
            f"A vocabulary of {layout.n_tokens} tokens at {layout.n_features} steps "
            f"takes {layout.n_outputs} logits for a row; expected at most "
            f"{MOST_LOGITS}. Number the tokens from 0 on, with one for all that is "
            "rare, or cut the sequences."
        )
    return layout


def check_tokens(X) -> None:
    """Raise ValueError unless X holds integers from 0 on."""
    values, (low, high) = X.data if sparse.issparse(X) else X, extremes(X)
    whole = np.isfinite(values).all() and (values == np.rint(values)).all()
    if not whole or low < 0 or float(high) >= MOST_TOKENS:
        raise ValueError(
            "loss='cross_entropy' needs tokens, integers from 0 to the size of the "
            f"vocabulary (at most {MOST_TOKENS}), but X has values in "
            f"[{low:.6g}, {high:.6g}]{'' if whole else ', not all of them integers'}. "
            "Encode categories with OrdinalEncoder, and pad with a token of its own."
        )


LAYOUTS = {layout.kind: layout for layout in (NumericLayout, PaddedLayout, TokenLayout)}


def state_of(layout: NumericLayout) -> dict:
    """Return a layout as plain values."""
    return {"kind": layout.kind, **asdict(layout)}


def layout_of(state) -> NumericLayout:
    """Return the layout of a state, refusing what is not one."""
    kind = state.get("kind") if isinstance(state, dict) else None
    cls = LAYOUTS.get(kind) if isinstance(kind, str) else None
    if cls is None or set(state) != {"kind", *(f.name for f in fields(cls))}:
        raise ValueError("The saved state does not describe the layout of rows.")
    layout = cls(**{name: value for name, value in state.items() if name != "kind"})
    layout.check_state()
    return layout
