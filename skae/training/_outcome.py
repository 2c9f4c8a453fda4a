"""The outcome of training: a line about it, warnings, and checks of further rows."""

import math
import warnings

from sklearn.exceptions import ConvergenceWarning

from skae.data._rows import dense, row_blocks

# Rows of later calls are compared with those of the first one.
MIN_COMPARED_ROWS, MAX_RATIO = 10, 3


def describe_outcome(estimator) -> str:
    """Return a line about a finished fit."""
    kept = "PCA" if estimator.is_pca_ else f"epoch {estimator.best_iter_}"
    scores = ""
    if estimator.best_validation_score_ is not None:
        scores = f"; validation score {estimator.best_validation_score_:.4g}"
    if estimator.pca_validation_score_ is not None:
        scores += f", PCA {estimator.pca_validation_score_:.4g}"
    return (
        f"Stopped after {len(estimator.loss_curve_)} epochs "
        f"({estimator.stop_reason_}). The fitted model is {kept}{scores}."
    )


def warn_of_failure(estimator, result, messages):
    """Warn with the first message that applies."""
    texts = (message(estimator, result) for message in messages)
    text = next(filter(None, texts), None)
    if text is not None:
        warnings.warn(text, ConvergenceWarning, stacklevel=6)


def collapse_message(estimator, result) -> str | None:
    """Return a warning if no component of the code varies."""
    final = result.runs[-1]
    if estimator.n_active_components_ or not final.null_loss > 0:
        return None
    return (
        "The code has collapsed: no component varies with regularizer="
        f"{estimator.regularizer!r}. {final.model.regularizer.collapse_hint}"
    )


def divergence_message(estimator, result) -> str | None:
    """Return a warning if training diverged, or increased the loss."""
    rate = f"learning_rate={estimator.learning_rate}"
    # A refit from the best epoch may fail to lower the loss, for example if a penalty
    # is random. The best epoch is then the fitted model.
    n_runs = 2 if result.params.folds else 1
    if any(run.worsened for run in result.runs[:n_runs]):
        return (
            "The loss on training rows was higher after training than before, with "
            f"{rate}. The best earlier model is kept. Lower learning_rate."
        )
    if any(run.diverged for run in result.runs):
        return (
            f"Training diverged with {rate}. The best state before that is kept. Lower "
            "learning_rate."
        )
    return None


def limit_message(estimator, result) -> str | None:
    """Return a warning if training ended while it improved the model."""
    curve = estimator.validation_loss_curve_ or estimator.loss_curve_
    # Epochs without validation rows are NaN.
    curve = [loss for loss in curve if not math.isnan(loss)]
    is_complete = estimator.max_iter == "auto" or result.runs[0].n_remaining > 0
    # Has the loss fallen by more than a quarter in the second half of the epochs?
    if (
        is_complete
        or len(curve) < 2
        or curve[-1] >= 0.75 * curve[(len(curve) - 1) // 2]
    ):
        return None
    return (
        f"Training reached max_iter={estimator.max_iter} while the loss was still "
        "decreasing. Increase max_iter, or set it to 'auto'."
    )


def warn_of_other_rows(run):
    """Warn if rows differ from those by which they are standardized."""
    if len(run.evaluation.rows) < MIN_COMPARED_ROWS:
        return
    mean, spread = run.input_moments()
    if mean < MAX_RATIO and 1 / MAX_RATIO < spread < MAX_RATIO:
        return
    warnings.warn(
        "The rows differ from those of the first training call, whose mean_ and scale_ "
        f"are kept: standardized by these, they have the mean {mean:.3g} and the "
        f"standard deviation {spread:.3g} instead of 0 and 1. Training is slow, and "
        "its result worse. Train a new model first on rows of all kinds.",
        UserWarning,
        stacklevel=7,
    )


def check_rows_differ(data):
    """Raise ValueError if all rows are equal: they have no scale and no axes."""
    X = data.reconstructed
    first = dense(X[[0]])
    if all((dense(X[block]) == first).all() for block in row_blocks(*X.shape)):
        raise ValueError(
            f"The first call of partial_fit computes mean and scale, but the "
            f"{X.shape[0]} rows of X are all equal. Pass more rows."
        )
