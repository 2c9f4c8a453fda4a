"""The saved state of a fitted estimator, which is validated when it is loaded."""

from numbers import Integral, Real

import numpy as np

from skae._sklearn import (
    CONTAINERS,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from skae._version import __version__
from skae.data._rows import ROW_DTYPES
from skae.model._config import COUNT, ModelConfig, check_arrays

NOT_NEGATIVE = Interval(Integral, 0, None, closed="left")
STOP_REASONS = ("max_iter", "n_iter_no_change", "callback", "divergence")
# Attributes of every fitted model, except those that the network determines.
STATE_CONSTRAINTS = {
    "n_components_": [COUNT],
    "n_features_in_": [COUNT],
    "scale_": [float],
    "n_active_components_": [NOT_NEGATIVE],
    "is_pca_": ["boolean"],
    "stop_reason_": [StrOptions(set(STOP_REASONS)), None],
    "best_iter_": [NOT_NEGATIVE],
    "n_iter_": [NOT_NEGATIVE],
    "best_validation_score_": [Real, None],
    "pca_validation_score_": [Real, None],
    "loss_curve_": [list],
    "validation_loss_curve_": [list],
    "refit_loss_curve_": [list],
    "batch_size_": [COUNT],
    "max_iter_": [NOT_NEGATIVE],
    "alpha_": [Interval(Real, 0, None, closed="left")],
    "precision_": [StrOptions({"bfloat16", "float32", "float64"})],
    "device_": [str],
    "column_kinds_": [dict, None],
    "_container": [StrOptions({"default", *CONTAINERS})],
    "_dtype": [StrOptions({dtype.__name__ for dtype in ROW_DTYPES})],
    "_seed": [Interval(Integral, 0, 2**31, closed="left")],
}
ARRAYS = ("mean_", "explained_variance_ratio_", "_codes", "_lengths")
SAVED = {*STATE_CONSTRAINTS, *ARRAYS, "module_", "_config"}


def is_fitted(state: dict) -> bool:
    """Return whether a saved state is that of a fitted estimator."""
    # Validation sets the number of features before a model is fitted.
    return not SAVED.isdisjoint(set(state) - {"n_features_in_"})


def fitted_state(state: dict) -> dict:
    """Return what is built from a saved state, or raise ValueError if it is invalid."""
    check_names(state, SAVED)
    config = ModelConfig.from_state(state["_config"])
    check_attributes(state, config)
    return {"module_": config.load(state["module_"]), "_config": config, "_run": None}


def check_names(state: dict, names) -> None:
    """Raise ValueError unless the saved state has the attributes of these names."""
    missing = sorted(set(names) - set(state))
    if missing:
        raise ValueError(f"The saved state has no {', '.join(missing)}.")


def check_attributes(state: dict, config: ModelConfig) -> None:
    """Raise ValueError unless saved fitted attributes fit the configuration."""
    values = {name: state[name] for name in STATE_CONSTRAINTS}
    validate_parameter_constraints(STATE_CONSTRAINTS, values, "a saved model")
    if not 0 < state["scale_"] < np.inf:
        raise ValueError(f"Got a saved scale_ of {state['scale_']}, expected above 0.")
    n_features, k = config.layout.n_features, state["n_components_"]
    if state["n_features_in_"] != config.layout.n_columns:
        raise ValueError("The saved model was fitted to another number of features.")
    if k != config.n_columns or state["n_active_components_"] > k:
        raise ValueError(f"The saved model has no codes of n_components_={k!r}.")
    check_arrays(
        {"mean_": state["mean_"], "ratio": state["explained_variance_ratio_"]},
        {"mean_": np.empty(n_features), "ratio": np.empty(k)},
    )
    config.layout.check_standardization(state["mean_"], state["scale_"])
    if state["column_kinds_"] != config.layout.column_kinds:
        raise ValueError("The saved column_kinds_ are not those of the columns.")
    check_codes(state["_codes"], state["_lengths"], config)
    check_curves(state)
    if "feature_names_in_" in state:
        check_feature_names(state["feature_names_in_"], config.layout.n_columns)


def check_codes(codes, lengths, config: ModelConfig) -> None:
    """Raise ValueError unless stored codes and lengths are those of the same rows."""
    n_lengths = config.layout.n_lengths
    n_components = config.n_columns - n_lengths
    for name, array, width in (
        ("_codes", codes, n_components),
        ("_lengths", lengths, n_lengths),
    ):
        shape = (*np.shape(array)[:1], width)
        check_arrays({name: array}, {name: np.empty(shape, config.dtype)})
    if len(codes) not in (0, len(lengths)):
        raise ValueError("The saved codes and lengths differ in their number of rows.")


def check_curves(state: dict) -> None:
    """Raise ValueError unless saved curves have a loss for each epoch."""
    curves = [
        state[name]
        for name in ("loss_curve_", "validation_loss_curve_", "refit_loss_curve_")
    ]
    are_numbers = all(isinstance(loss, Real) for curve in curves for loss in curve)
    n_epochs, n_validated, n_refit = map(len, curves)
    if (
        not are_numbers
        or n_validated not in (0, n_epochs)
        or state["n_iter_"] != n_epochs + n_refit
        or state["best_iter_"] > n_epochs
    ):
        raise ValueError("The saved loss curves do not fit the number of epochs.")


def check_feature_names(names, n_features: int) -> None:
    """Raise ValueError unless saved names are an array with a string per feature."""
    is_vector = isinstance(names, np.ndarray) and names.shape == (n_features,)
    if not is_vector or not all(isinstance(name, str) for name in names):
        raise ValueError("The saved feature_names_in_ are not those of the features.")


def version_message(version) -> str:
    """Return a hint about the version that has saved a model, empty for this one."""
    if not isinstance(version, str):
        raise ValueError("The saved state has no _skae_version.")
    if version == __version__:
        return ""
    return (
        f"The model was saved by skae {version}, and this is skae {__version__}. "
        "Models of other versions may not load, or give other results. Use the same "
        "version, or fit the model again."
    )
