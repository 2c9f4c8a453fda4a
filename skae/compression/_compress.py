"""Rows as bytes: codes rounded as coarsely as a stated error allows, and corrected."""

from collections.abc import Callable
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skae._sklearn import Interval, validate_parameter_constraints
from skae.compression._coding import LARGEST
from skae.compression._format import EXACT, Message, fingerprint, pack, unpack
from skae.data._rows import cast_rows, dense, row_blocks
from skae.data._validation import validate_rows
from skae.training._trainer import to_arrays

SAMPLE_ROWS = 2000  # that steps are chosen on, before all rows are asked
PROBE_DECODINGS = 20_000  # fewer rows for curvatures, where components are many
PROBE = 0.25  # standard deviations that a component is moved by
LEAST = 1e-6  # of the largest curvature, which any component has
PERFECT = 1e-10  # mean loss, in standardised units, that is rounding alone
HALVINGS, NARROWING = 64, 0.9  # most halvings of a width, and a small cut

# How far the reconstructions of two machines may be apart, in standardised units, and
# the share of max_error that corrections leave free for it.
DISAGREEMENT = {"float32": 1e-5, "float64": 1e-10}
FREE = 0.05

COMPRESS = {
    "added_error": [Interval(Real, 0, None, closed="neither")],
    "max_error": [Interval(Real, 0, None, closed="neither"), None],
}
DECOMPRESS = {"max_bytes": [Interval(Integral, 1, None, closed="left")]}


def curvatures(loss: Callable, codes: np.ndarray) -> np.ndarray:
    """Return how fast the loss of codes grows with the square of each component's move.

    They are positive: a component that the decoder ignores gets a small one.
    """
    spread = codes.std(axis=0)
    move = PROBE * np.where(spread > 0, spread, spread.max() or 1.0)
    doubled = -2 * loss(codes)
    growth = [loss(codes + row) + loss(codes - row) + doubled for row in np.diag(move)]
    curvature = np.array(growth) / (2 * move**2)
    return np.maximum(curvature, LEAST * curvature.max()).clip(min=LEAST**2)


def steps_of_width(width, curvature: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Return steps under which each component adds `width**2 / 12` to the loss.

    Rounding to multiples of a step is like noise of variance `step**2 / 12`, and for a
    given sum of what components add, equal parts take the fewest bits. `largest` is the
    largest magnitude of each component: it bounds how fine a step can be, and beyond
    twice of it all is rounded to zero anyway. Steps are numbers of float32.
    """
    finest, coarsest = 16 * largest / LARGEST, np.where(largest > 0, 4 * largest, 1.0)
    steps = np.clip(width / np.sqrt(curvature), finest, coarsest)
    return np.maximum(steps.astype(np.float32), np.finfo(np.float32).tiny)


def quantize(values: np.ndarray, steps) -> np.ndarray:
    """Return values as integers, in units of steps."""
    levels = np.rint(values / steps)
    return np.clip(levels, 1 - LARGEST, LARGEST - 1).astype(np.int64)


def error_test(
    loss: Callable, codes: np.ndarray, steps_of: Callable, added_error: float
):
    """Return a test of whether a width's steps add so little to the loss of codes."""
    exact = loss(codes)
    most = exact + added_error * max(exact, PERFECT)

    def fits(width):
        steps = steps_of(width)
        return loss(quantize(codes, steps) * steps) <= most

    return fits


def max_width(fits: Callable, start: float) -> float:
    """Return the largest width that fits, to about 2 %."""
    width = start
    for _ in range(HALVINGS):
        if fits(width):
            break
        width /= 2
    for _ in range(HALVINGS):
        if not fits(2 * width):
            break
        width *= 2
    for halving in range(1, 6):
        wider = width * 2**0.5**halving
        width = wider if fits(wider) else width
    return width


def corrections_of(rows, guess, step, allowed, dtype):
    """Return what guesses are to be corrected by, in steps; EXACT is the last resort.

    `rows`, `guess` and `allowed`, the error that may remain, have the same shape.
    """
    with np.errstate(over="ignore"):
        levels = quantize(rows - guess, step)
    error = np.abs(rows - cast_rows(guess + levels * step, dtype))
    return np.where(error <= allowed, levels, EXACT)


def subsample(X, n_rows: int):
    """Return every so-manieth row, so that at most n_rows are left."""
    return X[:: -(-X.shape[0] // n_rows)]


class CompressionMixin:
    """`compress` and `decompress`, a role of `AutoencoderTransformer`."""

    def compress(self, X, *, added_error=0.01, max_error=None):
        """Write rows as bytes, by way of their codes.

        Each component of the codes is rounded to multiples of a step of its own, which
        is coarser where the decoder is less sensitive, and the integers are
        entropy-coded. Only this model can read the bytes: keep it with them. Needs the
        extra "compress".

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows. Many rows in one call take fewer bytes than in several.

        added_error : float, default=0.01
            The share that rounding may add to the mean of `reconstruction_error(X)`. A
            reconstruction that is perfect to about five digits counts as one of five.

        max_error : float or None, default=None
            The largest absolute error of an entry, in the unit of the data. Rows with a
            larger one are stored with a correction. With None there is no bound, and
            the bytes are fewest.

        Returns
        -------
        data : bytes
            The compressed rows.

        See Also
        --------
        AutoencoderTransformer.decompress : The way back.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from skae import AutoencoderTransformer
        >>> X = load_digits().data
        >>> model = AutoencoderTransformer(8, max_iter=5, random_state=0).fit(X)
        >>> data = model.compress(X, max_error=4.0)
        >>> bool(np.abs(model.decompress(data) - X).max() <= 4)
        True
        >>> len(data) < X.size / 2
        True
        """
        params = {"added_error": added_error, "max_error": max_error}
        validate_parameter_constraints(COMPRESS, params, caller_name="compress")
        check_is_fitted(self)
        if self._blueprint.layout.n_lengths:
            raise ValueError(
                "Sequences of different lengths cannot be compressed: a code that is "
                "rounded does not tell where they end. Fit on rows without NaN."
            )
        X = validate_rows(self, X)
        with torch.inference_mode():
            codes = self._unrounded(X)
            steps = self._steps(X, codes, added_error)
            levels = quantize(codes, steps)
            corrections = self._corrections(X, levels * steps, max_error)
        return pack(Message(levels, steps, *corrections), self._fingerprint())

    def decompress(self, data, *, max_bytes=2**30):
        """Return the rows that `compress` of this model has written.

        Parameters
        ----------
        data : bytes
            The compressed rows. They are data, never code, and whatever is not as
            `compress` writes it is refused with ValueError.

        max_bytes : int, default=2**30
            The largest size of the rows, and of their codes, that is decoded. A few
            bytes can stand for very many rows.

        Returns
        -------
        X : ndarray of the shape that `fit` saw
            The reconstructed rows, in the float type of those that were compressed.
        """
        validate_parameter_constraints(
            DECOMPRESS, {"max_bytes": max_bytes}, caller_name="decompress"
        )
        check_is_fitted(self)
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(
                f"Got data of type {type(data).__name__}, but expected bytes, as "
                "`compress` returns."
            )
        shape = self.n_components_, self.n_features_in_
        message = unpack(bytes(data), self._fingerprint(), shape, max_bytes)
        with torch.inference_mode():
            rows = self._rows(message)
        layout = self._blueprint.layout
        return layout.unflatten(layout.cast(rows, rows.dtype), lengths=None)

    def _unrounded(self, X):
        """Return codes as the module gives them, in no coarser float type."""
        codes = np.empty((X.shape[0], self.n_components_))
        for block, rows in self._blocks(X):
            codes[block] = self.module_.encode(rows).cpu().numpy()
        return codes

    def _steps(self, X, codes, added_error):
        """Return steps for the codes of rows, chosen on a part and tried on all."""
        n_few = max(100, PROBE_DECODINGS // codes.shape[1])
        few = partial(self._mean_loss, subsample(X, n_few))
        steps_of = partial(
            steps_of_width,
            curvature=curvatures(few, subsample(codes, n_few)),
            largest=np.abs(codes).max(axis=0),
        )
        some = partial(self._mean_loss, subsample(X, SAMPLE_ROWS))
        fits = error_test(some, subsample(codes, SAMPLE_ROWS), steps_of, added_error)
        width = max_width(fits, start=np.sqrt(added_error))
        fits = error_test(partial(self._mean_loss, X), codes, steps_of, added_error)
        widths = width * NARROWING ** np.arange(HALVINGS)
        return steps_of(next(filter(fits, widths), widths[-1]))

    def _mean_loss(self, X, codes):
        """Return the mean loss between the entries of rows and what codes decode to."""
        total = 0.0
        for block, rows in self._blocks(X):
            output = self.module_.decode(self.module_.as_input(codes[block]))
            total += self._losses(rows, output).sum()
        return total / (X.shape[0] * X.shape[1])

    def _corrections(self, X, codes, max_error):
        """Return which rows are corrected, by what, its step, and exact entries."""
        (n, d), dtype = X.shape, X.dtype
        corrected = np.zeros(n, dtype=bool)
        if max_error is None:
            return corrected, np.empty((0, d), dtype=int), 1.0, np.empty(0, dtype)
        step = 2 * (1 - FREE) * float(max_error)
        corrections, exact = [], []
        for block, guess in self._decoded(codes):
            rows = dense(X[block])
            allowed = max_error - self._disagreement(guess, rows.astype(dtype))
            wrong = np.abs(rows - cast_rows(guess, dtype)) > allowed
            worse = corrected[block] = wrong.any(axis=1)
            rows, guess, allowed = rows[worse], guess[worse], allowed[worse]
            levels = corrections_of(rows, guess, step, allowed, dtype)
            corrections.append(levels)
            exact.append(rows[levels == EXACT].astype(dtype))
        return corrected, np.concatenate(corrections), step, np.concatenate(exact)

    def _disagreement(self, guess, rows):
        """Return how far a reader's reconstruction may be from the writer's."""
        magnitude = self.scale_ + np.abs(guess - self.mean_)
        with np.errstate(over="ignore"):
            spacing = np.spacing(np.abs(rows)).astype(np.float64)
        return DISAGREEMENT[self._blueprint.dtype] * magnitude + spacing

    def _decoded(self, codes):
        """Yield slices of rows, and the reconstructions in float64 and in the unit."""
        in_unit = self.module_.loss.reconstruction
        for block in row_blocks(len(codes), self._blueprint.layout.n_outputs):
            output = self.module_.decode(self.module_.as_input(codes[block]))
            yield block, in_unit(output, self.mean_, self.scale_)

    def _rows(self, message):
        """Return the rows that a message stands for."""
        corrected, dtype = message.corrected, message.exact.dtype
        rows = np.empty((len(corrected), self.n_features_in_), dtype)
        start = 0
        for block, guess in self._decoded(message.levels * message.steps):
            worse = np.flatnonzero(corrected[block])
            end = start + len(worse)
            guess[worse] += message.corrections[start:end] * message.step
            rows[block] = cast_rows(guess, dtype)
            start = end
        fixed = rows[corrected]
        fixed[message.corrections == EXACT] = message.exact
        rows[corrected] = fixed
        return rows

    def _fingerprint(self):
        arrays = [*to_arrays(self.module_).values(), self.mean_, np.array(self.scale_)]
        return fingerprint(arrays)
