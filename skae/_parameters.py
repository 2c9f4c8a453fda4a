"""Errors and warnings that name frequent mistakes in an estimator's parameters."""

import math
import warnings
from difflib import get_close_matches

from torch import nn

from skae._sklearn import InvalidParameterError
from skae.losses import LOSSES
from skae.training._optimizers import SOLVERS

# What users of other libraries write, and what to write instead.
SYNONYMS = {
    "loss": {
        "mse": "'squared_error'",
        "l2": "'squared_error'",
        "mae": "'absolute_error'",
        "l1": "'absolute_error'",
        "smooth_l1": "'huber'",
        "bce": "'log_loss'",
        "binary_cross_entropy": "'log_loss'",
        "binary_crossentropy": "'log_loss'",
        "categorical_crossentropy": "'cross_entropy'",
    },
    "network": {
        "mlp": "MLP()",
        "dense": "MLP()",
        "cnn": "Conv()",
        "conv": "Conv()",
        "rnn": "Recurrent()",
        "lstm": "Recurrent()",
        "gru": "Recurrent(cell='gru')",
    },
    "noise": {
        "gaussian": "GaussianNoise()",
        "masking": "MaskingNoise()",
        "dropout": "MaskingNoise()",
        "swap": "SwapNoise()",
    },
    "regularizer": {
        "vae": "Variational()",
        "variational": "Variational()",
        "kl": "Variational()",
        "l1": "Sparse()",
        "sparse": "Sparse()",
        "topk": "TopK()",
        "contractive": "Contractive()",
        "mmd": "MMD()",
        "wae": "MMD()",
        "aae": "Adversarial()",
        "adversarial": "Adversarial()",
    },
    "solver": {},
}
NAMES = {"loss": sorted(LOSSES), "solver": sorted(SOLVERS)}


def suggestion(name: str, value) -> str:
    """Return what to write instead of a string, or nothing if nothing is similar.

    Examples
    --------
    >>> suggestion("loss", "mse")
    " Did you mean loss='squared_error'?"
    """
    if name not in SYNONYMS or not isinstance(value, str):
        return ""
    similar = {**SYNONYMS[name], **{n: f"'{n}'" for n in NAMES.get(name, ())}}
    match = get_close_matches(value.lower(), similar, n=1)
    return f" Did you mean {name}={similar[match[0]]}?" if match else ""


def check_parts(estimator: str, params: dict) -> None:
    """Raise InvalidParameterError for a class or a module in place of a part.

    Both are callable, so that the constraints of the parameters accept them.
    """
    for name in ("network", "loss", "noise", "regularizer"):
        value = params[name]
        start = f"The {name!r} parameter of {estimator} must be"
        if isinstance(value, type):
            raise InvalidParameterError(
                f"{start} an instance, such as {value.__name__}(). Got the class "
                f"{value.__name__} instead."
            )
        if name == "network" and isinstance(value, nn.Module):
            raise InvalidParameterError(
                f"{start} a network, such as Modules(encoder, decoder). Got a "
                f"torch.nn.{type(value).__name__} instead."
            )
        if name == "loss" and getattr(value, "reduction", "none") != "none":
            raise InvalidParameterError(
                f"{start} a loss of each entry, such as "
                f"{type(value).__name__}(reduction='none'). Got "
                f"reduction={value.reduction!r} instead."
            )


def warn_of_sizes(config, n_rows: int) -> None:
    """Warn if a fit has one row, or more components than rows or features.

    With noise or a regularizer, more components than features are as intended, such as
    the overcomplete codes of sparse coding.
    """
    k, n_inputs = config.n_components, math.prod(config.layout.network_shape)
    n_largest = min(n_rows, n_inputs)
    if n_rows == 1:
        message = (
            "X has one row (n_samples=1), so that no component can be learned: the "
            "model returns this row. Fit on more rows."
        )
    elif k > n_largest and config.noise is None and config.regularizer is None:
        name = "rows" if n_rows < n_inputs else "features"
        message = (
            f"n_components={k} is larger than the {n_largest} {name} of X, which as "
            f"many components reconstruct without error. Set n_components to "
            f"{n_largest} or less, or penalize the codes, such as by "
            "regularizer=Sparse()."
        )
    else:
        return
    # The caller of `fit`, whose decorator is a frame of its own.
    warnings.warn(message, UserWarning, stacklevel=6)
