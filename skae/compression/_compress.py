"""Compress rows: quantize their codes, and correct reconstructions with large errors.

Both functions take a fitted `Codec` and flat, validated rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from skae._codec import row_means
from skae.compression import _format
from skae.compression._format import EXACT, MAX_LEVEL, CompressedRows, pack, unpack
from skae.data._rows import cast_rows, dense, float_dtype
from skae.model._config import to_arrays

SAMPLE_ROWS = 2000  # the steps are chosen on a sample, then checked on all rows
SAMPLE_ENTRIES = 2**15  # on which the size of exact rows is estimated
PROBE_DECODINGS = 20_000  # for the curvatures: fewer rows if there are many components
PROBE = 0.25  # standard deviations by which the curvatures move a component
MIN_CURVATURE = 1e-6  # of the largest curvature
MAX_HALVINGS, NARROWING = 64, 0.9  # most halvings of a width; factor of a small change
MIN_START, MAX_START = 1e-6, 1e6  # the search for a width starts between them

# Rows are extreme beyond this multiple of this quantile of the errors or codes.
EXTREME, QUANTILE = 5, 0.95

# Mean loss of rounding errors alone, as a fraction of the variance of the rows in
# standardized units, and bounds of that variance.
MIN_LOSS = 1e-10
MIN_VARIANCE, MAX_VARIANCE = 1e-10, 1.0

# Steps are at least this fraction of the largest code, for which levels are integers
# of 30 bits.
FINEST = 2.0**-29

# How much the reconstructions of two machines may differ, in standardized units, and
# the share of max_error that corrections reserve for it.
MACHINE_DIFFERENCE = {torch.float32: 1e-5, torch.float64: 1e-10}
RESERVED = 0.05
# Steps of the corrections: 2**30 of them are in the range of float64.
MIN_STEP, MAX_STEP = 1e-300, 1e290


# Extreme rows can overflow. Those without a finite error are stored exactly.
QUIET = np.errstate(over="ignore", invalid="ignore")


@QUIET
def compress(codec, X, exact, added_error: float, max_error: float | None) -> bytes:
    """Return rows as bytes.

    Parameters
    ----------
    codec : Codec
        The fitted model.

    X : ndarray or CSR matrix of float, of shape (n_samples, n_features)
        The rows.

    exact : ndarray or CSR matrix of float, of shape (n_samples, n_features)
        The entries as they are stored exactly: X, or `ColumnsLayout.to_stored`.

    added_error : float
        Share that quantization may add to the mean loss of rows that are not extreme.

    max_error : float or None
        Largest absolute error of an entry, in the unit of the data.
    """
    # Codes are not needed if no entry may have an error.
    if max_error is None or np.any(codec.layout.largest_errors(max_error)):
        rows = quantized_rows(codec, X, exact, added_error, max_error)
        data = pack(rows, fingerprint(codec))
        if max_error is None or len(data) <= exact_size(codec, exact):
            return data
    return pack(exact_rows(codec, exact), fingerprint(codec))


@QUIET
def decompress(codec, data: bytes, max_bytes: int):
    """Return the rows in the shape seen in `fit` and in their float type, or a table.

    Raises ValueError if `compress` with the same model did not write the data, or if
    the rows or their codes take more than `max_bytes`.
    """
    layout, shape = codec.layout, (codec.n_components, len(codec.mean))
    if layout.n_lengths:
        raise ValueError("Sequences of different lengths cannot be decompressed.")
    allow_nan = layout.has_missing_values
    compressed = unpack(data, fingerprint(codec), shape, max_bytes, allow_nan)
    # (n_samples, n_features)
    rows = reconstruct(codec, compressed)
    if layout.is_table:
        return layout.decode(rows, is_stored=stored_entries(compressed))
    return layout.unflatten(layout.cast(rows, rows.dtype), lengths=None)


def fingerprint(codec) -> bytes:
    """Return eight bytes that identify a model, on every machine."""
    weights = to_arrays(codec.module).values()
    return _format.fingerprint([*weights, codec.mean, np.array(codec.scale)])


# Rows to store


def quantized_rows(codec, X, exact, added_error, max_error) -> CompressedRows:
    """Return rows with quantized codes; the parameters are those of `compress`."""
    # (n_samples, n_components)
    codes = codec.components(X)
    limits = error_limits(codec, X, codes, added_error)
    codes[~limits.finite] = 0.0  # these rows are stored exactly
    # (n_components,), (n_samples,)
    steps, errors = choose_steps(codec, X, codes, limits)
    # (n_samples, n_components)
    levels = quantize(codes, steps)
    stored = rows_above_limits(errors, limits)
    corrected, corrections, step = correct(codec, X, levels * steps, stored, max_error)
    entries = dense(exact[corrected]).astype(float_dtype(X)).T[corrections.T == EXACT]
    return CompressedRows(levels, steps, corrected, corrections, step, entries)


def exact_rows(codec, exact) -> CompressedRows:
    """Return rows of which all entries are stored exactly."""
    n_rows, n_components = exact.shape[0], codec.n_components
    return CompressedRows(
        levels=np.zeros((n_rows, n_components), dtype=np.int64),
        steps=np.ones(n_components, dtype=np.float32),
        corrected=np.ones(n_rows, dtype=bool),
        corrections=np.full(exact.shape, EXACT),
        step=1.0,
        exact=dense(exact).astype(float_dtype(exact)).T.ravel(),
    )


def exact_size(codec, exact) -> float:
    """Return the bytes of exact rows, estimated on a sample of the rows."""
    n_rows, n_features = exact.shape
    sample = exact[:: -(-n_rows * n_features // SAMPLE_ENTRIES)]
    data = pack(exact_rows(codec, sample), fingerprint(codec))
    return len(data) * n_rows / sample.shape[0]


# Limits of the error


@dataclass(frozen=True)
class ErrorLimits:
    """Limits of the errors of rows, which are the mean losses of their entries.

    Attributes
    ----------
    errors : ndarray of shape (n_samples,)
        Errors without quantization.

    finite : ndarray of bool of shape (n_samples,)
        Whether the code and the error of a row are finite.

    counted : ndarray of bool of shape (n_samples,)
        The rows whose mean error is limited: those that are not extreme.

    cutoff : float
        Errors above this are extreme.

    floor : float
        The mean error is treated as at least this.

    added_error : float
        Share that quantization may add.
    """

    errors: np.ndarray
    finite: np.ndarray
    counted: np.ndarray
    cutoff: float
    floor: float
    added_error: float

    def of_mean(self, rows) -> float:
        """Return the largest mean error of rows, given by their indices or a mask."""
        mean = self.errors[rows].mean()
        return mean + self.added_error * max(mean, self.floor)

    def of_each(self) -> np.ndarray:
        """Return the largest error of each row, shape (n_samples,)."""
        limits = (1 + self.added_error) * (self.errors + self.cutoff)
        return np.where(self.finite, limits, 0.0)


def error_limits(codec, X, codes, added_error) -> ErrorLimits:
    """Return the limits of the errors of quantized rows."""
    errors = row_losses(codec, X, codes)
    finite = np.isfinite(errors) & np.isfinite(codes).all(axis=1)
    counted = finite if finite.any() else np.ones_like(finite)
    largest = np.abs(codes).max(axis=1)
    counted = counted & ~(largest > extreme(largest[counted]))
    floor = MIN_LOSS * variance(codec, X[evenly_spaced(counted, SAMPLE_ROWS)])
    cutoff = max(extreme(errors[counted]), EXTREME * floor)
    counted = counted & (errors <= cutoff)
    return ErrorLimits(errors, finite, counted, cutoff, floor, added_error)


def extreme(values: np.ndarray) -> float:
    """Return the value above which values are extreme."""
    # "lower", so that of two or more values the largest one has no influence.
    return EXTREME * float(np.quantile(values, QUANTILE, method="lower"))


def variance(codec, X) -> float:
    """Return the mean variance of the columns of rows, in standardized units."""
    # Missing values are treated as the mean.
    rows = dense(X) / codec.scale
    missing = np.isnan(rows)
    if missing.any():
        rows = np.where(missing, codec.mean / codec.scale, rows)
    variance = np.var(rows, axis=0).mean()
    # Equal rows have no variance that rounding errors could be compared with.
    variance = variance if variance > 0 else MAX_VARIANCE
    return float(np.clip(variance, MIN_VARIANCE, MAX_VARIANCE))


def row_losses(codec, X, codes) -> np.ndarray:
    """Return the mean loss of the entries of each row, infinite if it is NaN."""
    # Missing values have no loss.
    losses = [row_means(losses) for _, losses in codec.losses(X, codes)]
    return np.nan_to_num(np.concatenate(losses), nan=np.inf, posinf=np.inf)


def rows_above_limits(errors: np.ndarray, limits: ErrorLimits) -> np.ndarray:
    """Return which rows have to be stored exactly, of shape (n_samples,).

    They are the rows with an error above their own limit, and as many of the largest
    errors as the limit of the mean requires.
    """
    stored = ~(errors <= limits.of_each())
    counted = np.flatnonzero(limits.counted)
    # Zero if a row is stored exactly.
    errors = np.where(stored, 0.0, errors)[counted]
    limit = limits.of_mean(counted)
    if not errors.mean() <= limit:
        order = np.argsort(errors)
        above = np.cumsum(errors[order]) > limit * len(counted)
        stored[counted[order[above]]] = True
    return stored


# Quantization


def choose_steps(codec, X, codes, limits: ErrorLimits):
    """Return the quantization step of each component, and the errors of the rows.

    The steps are as wide as the limit of the mean error allows. The width is searched
    on a sample of the rows, and then reduced until the mean over all rows that count
    is below its limit.
    """
    probe = evenly_spaced(limits.counted, max(100, PROBE_DECODINGS // codes.shape[1]))
    curvature = curvatures(partial(mean_loss, codec, X[probe]), codes[probe])
    largest = np.abs(codes[limits.counted]).max(axis=0)
    sample = evenly_spaced(limits.counted, SAMPLE_ROWS)
    X_sample, codes_sample = X[sample], codes[sample]

    def sample_fits(width):
        steps = steps_of_width(width, curvature, largest)
        errors = quantized_losses(codec, X_sample, codes_sample, steps)
        return errors.mean() <= limits.of_mean(sample)

    start = np.sqrt(limits.added_error).clip(MIN_START, MAX_START)
    width = max_width(sample_fits, start)
    for narrower in width * NARROWING ** np.arange(MAX_HALVINGS):
        steps = steps_of_width(narrower, curvature, largest)
        errors = quantized_losses(codec, X, codes, steps)
        if errors[limits.counted].mean() <= limits.of_mean(limits.counted):
            break
    return steps, errors


def evenly_spaced(mask: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the indices of at most n_rows selected rows, evenly spaced."""
    index = np.flatnonzero(mask)
    return index[:: -(-len(index) // n_rows)]


def mean_loss(codec, X, codes) -> float:
    """Return the mean loss between the entries of rows and of decoded codes."""
    return float(row_losses(codec, X, codes).mean())


def quantized_losses(codec, X, codes, steps) -> np.ndarray:
    """Return the mean loss of each row after rounding to multiples of steps."""
    return row_losses(codec, X, quantize(codes, steps) * steps)


def curvatures(loss: Callable, codes: np.ndarray) -> np.ndarray:
    """Return the second-order growth of the loss along each component.

    It is the coefficient of the squared change of the component, estimated by central
    differences, and positive even if the decoder ignores the component.
    """
    spread = codes.std(axis=0)
    move = PROBE * np.where(spread > 0, spread, spread.max() or 1.0)
    doubled = -2 * loss(codes)
    growth = [loss(codes + row) + loss(codes - row) + doubled for row in np.diag(move)]
    curvature = np.array(growth) / (2 * move**2)
    # The losses of links overflow for large outputs.
    finite = np.isfinite(curvature)
    curvature[~finite] = curvature[finite].max(initial=0.0)
    floor = MIN_CURVATURE * curvature.max()
    return np.maximum(curvature, floor).clip(min=MIN_CURVATURE**2)


def steps_of_width(width, curvature: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Return steps with which each component adds `width**2 / 12` to the loss.

    Rounding to multiples of a step is like noise of variance `step**2 / 12`, and for a
    given sum of added losses, equal parts take the fewest bits. `largest` is the
    largest magnitude of each component. It bounds the steps: the levels must stay
    integers, and steps of more than twice as much round everything to zero anyway.
    """
    finest, coarsest = FINEST * largest, np.where(largest > 0, 4 * largest, 1.0)
    steps = np.clip(width / np.sqrt(curvature), finest, coarsest)
    limits = np.finfo(np.float32)
    return steps.clip(limits.tiny, limits.max).astype(np.float32)


def quantize(values: np.ndarray, steps) -> np.ndarray:
    """Return values as integers, in units of steps."""
    levels = np.rint(values / steps)
    return np.clip(levels, -MAX_LEVEL, MAX_LEVEL).astype(np.int64)


def max_width(fits: Callable, start: float) -> float:
    """Return the largest width that fits, to about 2 %."""
    width = start
    for _ in range(MAX_HALVINGS):
        if fits(width):
            break
        width /= 2
    for _ in range(MAX_HALVINGS):
        if not fits(2 * width):
            break
        width *= 2
    for halving in range(1, 6):
        wider = width * 2**0.5**halving
        width = wider if fits(wider) else width
    return width


# Corrections


def correct(codec, X, codes, stored, max_error):
    """Return the corrections of rows.

    They are the fields `corrected`, `corrections` and `step` of `CompressedRows`. They
    bound the error of every entry, unless `max_error` is None, and restore the rows
    exactly that the mask `stored` selects.
    """
    if max_error is None:
        shape = np.count_nonzero(stored), X.shape[1]
        return stored, np.full(shape, EXACT), 1.0
    dtype = float_dtype(X)
    corrected = stored.copy()
    step = float(np.clip(2 * (1 - RESERVED) * max_error, MIN_STEP, MAX_STEP))
    largest = codec.layout.largest_errors(max_error)
    corrections = []
    for block, decoded in codec.decode_blocks(codes):
        rows = dense(X[block])
        allowed = largest - machine_difference(codec, decoded, rows.astype(dtype))
        near = errors_of(rows, decoded, dtype) <= allowed
        chosen = corrected[block] = stored[block] | ~near.all(axis=1)
        rows, decoded, allowed = rows[chosen], decoded[chosen], allowed[chosen]
        levels = quantized_residuals(rows, decoded, step, allowed, dtype)
        levels[stored[block][chosen]] = EXACT
        corrections.append(levels)
    return corrected, np.concatenate(corrections), step


def errors_of(rows, decoded, dtype) -> np.ndarray:
    """Return the absolute errors of decoded rows in a float type."""
    return np.abs(rows - cast_rows(decoded, dtype))


def machine_difference(codec, decoded, rows):
    """Return how much another machine's reconstruction may differ from `decoded`."""
    magnitude = codec.scale + np.abs(decoded - codec.mean)
    spacing = np.spacing(np.abs(rows)).astype(np.float64)
    return MACHINE_DIFFERENCE[codec.module.offset.dtype] * magnitude + spacing


def quantized_residuals(rows, decoded, step, allowed, dtype):
    """Return the residuals in units of step, or EXACT if the error stays too large.

    `allowed` is the largest error of each entry. All arrays have the same shape.
    """
    levels = quantize(rows - decoded, step)
    error = errors_of(rows, decoded + levels * step, dtype)
    return np.where(error <= allowed, levels, EXACT)


def stored_entries(compressed: CompressedRows) -> np.ndarray:
    """Return which entries are stored exactly, of shape (n_samples, n_features)."""
    corrections = compressed.corrections
    is_stored = np.zeros((len(compressed.corrected), corrections.shape[1]), dtype=bool)
    is_stored[compressed.corrected] = corrections == EXACT
    return is_stored


def reconstruct(codec, compressed: CompressedRows) -> np.ndarray:
    """Return the rows of shape (n_samples, n_features)."""
    corrected, dtype = compressed.corrected, compressed.exact.dtype
    rows = np.empty((len(corrected), len(codec.mean)), dtype)
    start = 0
    for block, decoded in codec.decode_blocks(compressed.levels * compressed.steps):
        chosen = np.flatnonzero(corrected[block])
        end = start + len(chosen)
        decoded[chosen] += compressed.corrections[start:end] * compressed.step
        rows[block] = cast_rows(decoded, dtype)
        start = end
    fixed = rows[corrected]
    fixed.T[compressed.corrections.T == EXACT] = compressed.exact
    rows[corrected] = fixed
    return rows
