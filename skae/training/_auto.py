"""Resolved parameters: the estimator's, with a value in place of every "auto"."""

from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import clone

from skae._base import Part
from skae.data._counts import transformed
from skae.data._pca import n_axes_for_share
from skae.data._rows import float_dtype
from skae.data._validation import TrainingData
from skae.losses import as_loss
from skae.model._config import ModelConfig
from skae.regularizers._base import as_regularizer
from skae.regularizers._ordered import Ordered
from skae.training._crossval import cross_validation_folds
from skae.training._optimizers import OptimizerSpec, as_optimizer
from skae.training._processes import SINGLE_PROCESS, SingleProcess

CROSS_VALIDATION_ROWS = 700  # on a part of fewer rows, the comparison has no power
MIN_VALIDATION_ROWS = 10  # on fewer, the comparison with PCA has no power
FULL_BATCH_ROWS = 64  # up to here a step uses all rows, in float64
N_STEPS = {0: 1500, 1000: 3000, 10_000: 4000}  # from this number of rows on
PENALTY_ALPHA = 1e-4
BFLOAT16_CAPABILITIES = ("avx512_bf16", "amx_bf16", "bf16")
MASTER_DTYPES = {"bfloat16": "float32"}  # of the weights, under mixed precision


class Recipe(NamedTuple):
    """The values of "auto" that depend on the number of rows.

    Attributes
    ----------
    batch_size : int
        The power of two nearest to n_rows / 16 in [32, 256]. Up to 64 rows a step uses
        all of them, so that integer weights equal repeated rows.

    n_steps : int
        1500, 3000 from 1000 rows or 4000 from 10,000 rows on.

    alpha : float
        The rate of weight decay: `min(1, 500 / n_rows)`, stronger for fewer rows.

    n_validation : int
        The fraction of the rows, at least 100 and at most 1000, but at most a quarter.
        0 if fewer than 10 are left, on which a comparison with PCA has no power.
    """

    batch_size: int
    n_steps: int
    alpha: float
    n_validation: int


def default_recipe(n_rows: int, validation_fraction: float = 0.1) -> Recipe:
    """Return the recipe for a number of rows."""
    power_of_two = 2 ** round(np.log2(max(n_rows, 1) / 16))
    n_validation = int(np.clip(round(validation_fraction * n_rows), 100, 1000))
    n_validation = min(n_validation, n_rows // 4)
    return Recipe(
        batch_size=64
        if n_rows <= FULL_BATCH_ROWS
        else int(np.clip(power_of_two, 32, 256)),
        n_steps=max(steps for rows, steps in N_STEPS.items() if n_rows >= rows),
        alpha=min(1.0, 500 / n_rows),
        n_validation=n_validation if n_validation >= MIN_VALIDATION_ROWS else 0,
    )


def check_device(device) -> None:
    """Raise ValueError if a device does not exist or is not available here."""
    try:
        kind = torch.device(device).type
    except RuntimeError:
        instead = "'cuda'" if device == "gpu" else "'cpu', 'cuda' or 'mps'"
        raise ValueError(
            f"Got device={device!r}, which torch does not have. Set device='auto' or "
            f"{instead}."
        ) from None
    is_missing = (kind == "cuda" and not torch.cuda.is_available()) or (
        kind == "mps" and not torch.backends.mps.is_available()
    )
    if is_missing:
        raise ValueError(
            f"Got device={device!r}, but torch finds no such device. Set device='auto' "
            "or 'cpu', or install a build of torch for it."
        )


def has_bfloat16(device: str) -> bool:
    """Return whether a device multiplies bfloat16 numbers faster than float32."""
    kind = torch.device(device).type
    if kind == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name) for name in BFLOAT16_CAPABILITIES)
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def check_bfloat16(device: str) -> None:
    """Raise ValueError if bfloat16 is slower than float32 on the device."""
    if not has_bfloat16(device):
        raise ValueError(
            f"Got precision='bfloat16', but the device {device!r} has no bfloat16 "
            "arithmetic. Set precision='auto' or 'float32'."
        )


@dataclass(frozen=True)
class ResolvedParams:
    """An estimator's parameters for given data, without any "auto".

    Attributes
    ----------
    config : ModelConfig
        The configuration of the model.

    optimizer : OptimizerSpec
        The optimizer that `solver` selects.

    learning_rate, alpha, batch_size, max_iter, n_iter_no_change, tol : float or int
        As the estimator's parameters of these names.

    warm_start, device : bool, str
        As the estimator's parameters of these names.

    share : float or None
        The share of explained variance for which components are kept.

    validation_index : ndarray of int of shape (n_val,)
        The rows that are used for validation, not for training. Empty with
        cross-validation.

    folds : tuple of ndarray of int
        The validation rows of each fold of a cross-validation; empty without one.

    compute_dtype : torch.dtype
        The type of products and activations in training.

    n_threads : int
        The caller's number of torch threads.

    seed : int
        Seed of weights, validation rows and batches.

    group : SingleProcess
        The process, or the processes of a distributed fit.
    """

    config: ModelConfig
    optimizer: OptimizerSpec
    learning_rate: float
    alpha: float
    batch_size: int
    max_iter: int
    n_iter_no_change: int
    tol: float
    warm_start: bool
    share: float | None
    validation_index: np.ndarray
    folds: tuple[np.ndarray, ...]
    device: str
    compute_dtype: torch.dtype
    n_threads: int
    seed: int
    group: SingleProcess = SINGLE_PROCESS

    @property
    def holds_out_rows(self) -> bool:
        """Whether rows of X are used for validation."""
        return len(self.validation_index) > 0 or len(self.folds) > 0

    def for_model(self, config: ModelConfig) -> "ResolvedParams":
        """Return the parameters for training a fitted model further.

        The noise is the given one. Raises ValueError if other parameters describe
        another model.
        """
        for name in ("n_components", "init", "loss", "regularizer", "network"):
            fitted, given = getattr(config, name), getattr(self.config, name)
            # The components that explain a share are those of the first rows.
            is_free = name == "n_components" and self.share is not None
            if not is_free and is_changed(fitted, given):
                raise ValueError(
                    f"Got {name}={given!r}, but the model was fitted with {fitted!r}. "
                    "Training continues with the same model. To fit another one, call "
                    "fit with warm_start=False."
                )
        is_mixed = self.compute_dtype == torch.bfloat16
        dtype = self.compute_dtype if is_mixed else getattr(torch, config.dtype)
        config = replace(config, noise=self.config.noise)
        return replace(self, config=config, compute_dtype=dtype)


def is_changed(fitted: Any, given: Any) -> bool:
    """Return whether the value of a parameter differs from the one of the fitted model.

    Callables other than parts and functions are copied by each fit. Their copies need
    not be equal, and are compared by their types.
    """
    is_copied = callable(given) and not isinstance(given, Part | FunctionType)
    return type(fitted) is not type(given) if is_copied else fitted != given


def resolve_params(
    params: dict,
    data: TrainingData,
    seed: int,
    n_threads: int = 1,
    group: SingleProcess = SINGLE_PROCESS,
) -> ResolvedParams:
    """Return an estimator's parameters with every "auto" replaced by its value."""
    n_rows, optimizer = data.X.shape[0], as_optimizer(params["solver"])
    recipe = default_recipe(n_rows, params["validation_fraction"])
    device = resolve_device(str(params["device"]))
    precision = resolve_precision(params["precision"], device, data.X)
    config = model_config(params, data, MASTER_DTYPES.get(precision, precision))
    folds = select_folds(params, data, config, seed)
    # A given batch_size changes the automatic max_iter, and this n_iter_no_change.
    batch_size, max_iter = params["batch_size"], params["max_iter"]
    if batch_size == "auto":
        batch_size = n_rows if optimizer.full_batch else recipe.batch_size
    if max_iter == "auto":
        max_iter = int(np.ceil(recipe.n_steps / np.ceil(n_rows / batch_size)))
        # Training so few rows without cross-validation often ends worse than PCA: one
        # epoch of small steps.
        max_iter = max_iter if folds or n_rows >= 4 * MIN_VALIDATION_ROWS else 1
    n_iter_no_change = params["n_iter_no_change"]
    if n_iter_no_change == "auto":
        # The mean curve of all folds is smooth, and each epoch costs several.
        n_iter_no_change = max(8, max_iter // (16 if folds else 4))
    alpha = params["alpha"]
    if alpha == "auto":
        alpha = recipe.alpha if optimizer.decoupled else PENALTY_ALPHA
    # With X_val no rows of X are held out. max_iter=0 is PCA without training.
    holds_out_rows = data.X_val is None and max_iter > 0 and not folds
    n_validation = n_validation_rows(params, n_rows) if holds_out_rows else 0
    return ResolvedParams(
        config=config,
        optimizer=optimizer,
        learning_rate=params["learning_rate"],
        alpha=float(alpha),
        batch_size=min(batch_size, n_rows),
        max_iter=max_iter,
        n_iter_no_change=n_iter_no_change,
        tol=params["tol"],
        warm_start=params["warm_start"],
        share=params["n_components"] if params["n_components"] < 1 else None,
        validation_index=validation_rows(n_rows, n_validation, seed),
        folds=folds,
        device=device,
        compute_dtype=getattr(torch, precision),
        n_threads=n_threads,
        seed=seed,
        group=group,
    )


def resolve_device(device: str) -> str:
    """Return the device, in place of "auto" the best one that is available."""
    if device != "auto":
        check_device(device)
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_precision(precision: str, device: str, X) -> str:
    """Return the floating point type; raise ValueError if the device lacks it."""
    if precision == "bfloat16":
        check_bfloat16(device)
    if precision != "auto":
        return precision
    # In a full batch integer weights equal repeated rows; float32 would round the two
    # differently. "mps" has no float64.
    is_small = float_dtype(X) == np.float64 and X.shape[0] <= FULL_BATCH_ROWS
    return "float64" if is_small and device != "mps" else "float32"


def n_validation_rows(params: dict, n_rows: int) -> int:
    """Return the number of rows that are held out for validation."""
    fraction, early_stopping = params["validation_fraction"], params["early_stopping"]
    if early_stopping == "auto":
        return default_recipe(n_rows, fraction).n_validation
    # At least one row is validated, and at least one is trained on.
    return min(max(1, round(fraction * n_rows)), n_rows - 1) if early_stopping else 0


def validation_rows(n_rows: int, n_validation: int, seed: int) -> np.ndarray:
    """Return the indices of random rows, shape (n_validation,)."""
    order = np.random.default_rng(seed).permutation(n_rows)
    return order[:n_validation].copy()  # without the memory of all indices


def select_folds(
    params: dict, data: TrainingData, config: ModelConfig, seed: int
) -> tuple[np.ndarray, ...]:
    """Return the folds of a cross-validation, or none if it is not used.

    It serves the comparison with PCA, which a regularizer with a prior does not have.
    """
    is_used = (
        params["early_stopping"] == "auto"
        and data.X_val is None
        and data.X.shape[0] < CROSS_VALIDATION_ROWS
        and params["max_iter"] != 0
        and not params["warm_start"]
        and as_regularizer(config.regularizer).compare_with_pca
    )
    # Clean rows that are equal must be in the same fold, whatever their noise.
    return cross_validation_folds(data.reconstructed, seed) if is_used else ()


def model_config(params: dict, data: TrainingData, dtype: str) -> ModelConfig:
    """Return the configuration of the model, with clones of its parts."""
    n_rows, layout = data.X.shape[0], data.layout.for_network(params["network"])
    k, regularizer = params["n_components"], params["regularizer"]
    loss = clone(params["loss"], safe=False)
    if k < 1:
        # PCA's number is an upper bound; fewer may suffice after training.
        weight = np.ones(n_rows) if data.sample_weight is None else data.sample_weight
        matrix = layout.as_matrix(data.reconstructed, weight)
        transform = as_loss(loss).transform
        matrix = matrix if transform is None else transformed(matrix, transform)
        k = n_axes_for_share(matrix, weight, k)
        regularizer = Ordered() if regularizer is None else regularizer
    elif k > layout.n_lengths:
        k -= layout.n_lengths
    else:
        raise ValueError(
            f"Got n_components={k} for sequences of different lengths, but expected at "
            "least 2: the last component is the length."
        )
    network = clone(params["network"], safe=False)
    if hasattr(network, "shaped"):
        network = network.shaped(layout.network_shape)
    return ModelConfig(
        layout=layout,
        n_components=int(k),
        n_samples=n_rows,
        network=network,
        loss=loss,
        noise=clone(params["noise"], safe=False),
        regularizer=clone(regularizer, safe=False),
        init=params["init"],
        dtype=dtype,
    )
