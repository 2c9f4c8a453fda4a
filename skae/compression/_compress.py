"""Compress rows: quantize their codes, and correct reconstructions with large errors.

Both functions take a fitted `Codec` and flat, validated rows.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from skae.compression import _format
from skae.compression._format import EXACT, MAX_LEVEL, CompressedRows, pack, unpack
from skae.data._rows import cast_rows, dense
from skae.model._config import to_arrays

SAMPLE_ROWS = 2000  # the steps are chosen on a sample, then checked on all rows
PROBE_DECODINGS = 20_000  # for the curvatures: fewer rows if there are many components
PROBE = 0.25  # standard deviations by which the curvatures move a component
MIN_CURVATURE = 1e-6  # of the largest curvature
MIN_LOSS = 1e-10  # mean loss of rounding errors alone, in standardized units
MAX_HALVINGS, NARROWING = 64, 0.9  # most halvings of a width; factor of a small change

# How much the reconstructions of two machines may differ, in standardized units, and
# the share of max_error that corrections reserve for it.
MACHINE_DIFFERENCE = {torch.float32: 1e-5, torch.float64: 1e-10}
RESERVED = 0.05


def compress(codec, X, added_error: float, max_error: float | None) -> bytes:
    """Return rows as bytes.

    Parameters
    ----------
    codec : Codec
        The fitted model.

    X : ndarray or CSR matrix of float, of shape (n_samples, n_features)
        The rows.

    added_error : float
        Share that quantization may add to the mean loss.

    max_error : float or None
        Largest absolute error of an entry, in the unit of the data.
    """
    # (n_samples, n_components)
    codes = codec.components(X)
    # (n_components,)
    steps = choose_steps(codec, X, codes, added_error)
    # (n_samples, n_components)
    levels = quantize(codes, steps)
    corrections = correct(codec, X, levels * steps, max_error)
    return pack(CompressedRows(levels, steps, *corrections), fingerprint(codec))


def decompress(codec, data: bytes, max_bytes: int) -> np.ndarray:
    """Return the rows in the shape seen in `fit` and in their float type.

    Raises ValueError if `compress` with the same model did not write the data, or if
    the rows or their codes take more than `max_bytes`.
    """
    layout, shape = codec.layout, (codec.n_components, len(codec.mean))
    if layout.n_lengths:
        raise ValueError("Sequences of different lengths cannot be decompressed.")
    compressed = unpack(data, fingerprint(codec), shape, max_bytes)
    # (n_samples, n_features)
    rows = reconstruct(codec, compressed)
    return layout.unflatten(layout.cast(rows, rows.dtype), lengths=None)


def fingerprint(codec) -> bytes:
    """Return eight bytes that identify a model, on every machine."""
    weights = to_arrays(codec.module).values()
    return _format.fingerprint([*weights, codec.mean, np.array(codec.scale)])


# Quantization


def choose_steps(codec, X, codes, added_error):
    """Return the quantization step of each component, shape (n_components,).

    They are as wide as `added_error` allows. The width is searched on a sample of the
    rows, and then reduced until the loss of all rows is below its limit.
    """
    n_probe = max(100, PROBE_DECODINGS // codes.shape[1])
    probe_loss = partial(mean_loss, codec, subsample(X, n_probe))
    curvature = curvatures(probe_loss, subsample(codes, n_probe))
    largest = np.abs(codes).max(axis=0)

    sample = subsample(X, SAMPLE_ROWS), subsample(codes, SAMPLE_ROWS)
    limit = loss_limit(codec, *sample, added_error)

    def sample_fits(width):
        steps = steps_of_width(width, curvature, largest)
        return quantized_loss(codec, *sample, steps) <= limit

    width = max_width(sample_fits, start=np.sqrt(added_error))
    limit_of_all = loss_limit(codec, X, codes, added_error)
    for narrower in width * NARROWING ** np.arange(MAX_HALVINGS):
        steps = steps_of_width(narrower, curvature, largest)
        if quantized_loss(codec, X, codes, steps) <= limit_of_all:
            break
    return steps


def subsample(X, n_rows: int):
    """Return at most n_rows rows, evenly spaced."""
    return X[:: -(-X.shape[0] // n_rows)]


def mean_loss(codec, X, codes) -> float:
    """Return the mean loss between the entries of rows and of decoded codes."""
    total = sum(losses.sum() for _, losses in codec.losses(X, codes))
    return total / (X.shape[0] * X.shape[1])


def loss_limit(codec, X, codes, added_error) -> float:
    """Return the mean loss that quantization may reach."""
    exact = mean_loss(codec, X, codes)
    return exact + added_error * max(exact, MIN_LOSS)


def quantized_loss(codec, X, codes, steps) -> float:
    """Return the mean loss after the codes were rounded to multiples of steps."""
    return mean_loss(codec, X, quantize(codes, steps) * steps)


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
    floor = MIN_CURVATURE * curvature.max()
    return np.maximum(curvature, floor).clip(min=MIN_CURVATURE**2)


def steps_of_width(width, curvature: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Return steps with which each component adds `width**2 / 12` to the loss.

    Rounding to multiples of a step is like noise of variance `step**2 / 12`, and for a
    given sum of added losses, equal parts take the fewest bits. `largest` is the
    largest magnitude of each component. It bounds the steps: the levels must stay
    integers, and steps of more than twice as much round everything to zero anyway.
    """
    finest, coarsest = largest / 2**26, np.where(largest > 0, 4 * largest, 1.0)
    steps = np.clip(width / np.sqrt(curvature), finest, coarsest)
    return np.maximum(steps.astype(np.float32), np.finfo(np.float32).tiny)


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


def correct(codec, X, codes, max_error):
    """Return the corrections that bound the error of every entry.

    They are the fields `corrected`, `corrections`, `step` and `exact` of
    `CompressedRows`. There are none if `max_error` is None.
    """
    (n, d), dtype = X.shape, X.dtype
    corrected = np.zeros(n, dtype=bool)
    if max_error is None:
        return corrected, np.empty((0, d), dtype=np.int64), 1.0, np.empty(0, dtype)
    step = 2 * (1 - RESERVED) * float(max_error)
    corrections, exact = [], []
    for block, decoded in codec.decode_blocks(codes):
        rows = dense(X[block])
        allowed = max_error - machine_difference(codec, decoded, rows.astype(dtype))
        too_far = np.abs(rows - cast_rows(decoded, dtype)) > allowed
        chosen = corrected[block] = too_far.any(axis=1)
        rows, decoded, allowed = rows[chosen], decoded[chosen], allowed[chosen]
        levels = quantized_residuals(rows, decoded, step, allowed, dtype)
        corrections.append(levels)
        exact.append(rows[levels == EXACT].astype(dtype))
    return corrected, np.concatenate(corrections), step, np.concatenate(exact)


def machine_difference(codec, decoded, rows):
    """Return how much another machine's reconstruction may differ from `decoded`."""
    magnitude = codec.scale + np.abs(decoded - codec.mean)
    with np.errstate(over="ignore"):
        spacing = np.spacing(np.abs(rows)).astype(np.float64)
    return MACHINE_DIFFERENCE[codec.module.offset.dtype] * magnitude + spacing


def quantized_residuals(rows, decoded, step, allowed, dtype):
    """Return the residuals in units of step, or EXACT if the error stays too large.

    `allowed` is the largest error of each entry. All arrays have the same shape.
    """
    with np.errstate(over="ignore"):
        levels = quantize(rows - decoded, step)
    error = np.abs(rows - cast_rows(decoded + levels * step, dtype))
    return np.where(error <= allowed, levels, EXACT)


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
    fixed[compressed.corrections == EXACT] = compressed.exact
    rows[corrected] = fixed
    return rows
