"""`LossCurveDisplay`: the losses of each epoch, and the loss of PCA."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skae.displays._base import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    STANDARDIZED,
    clear_spines,
    import_pyplot,
    name_of,
    name_of_loss,
    one_axes,
)


class LossCurveDisplay:
    """Losses of training, validation and refit by epoch, and the loss of PCA.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Mean training loss during each epoch.

    validation_loss_curve : array-like of shape (n_epochs,), default=()
        Loss on the validation rows after each epoch.

    refit_loss_curve : array-like, default=()
        Mean training loss during each epoch of the fit on all rows.

    refit_start : int, default=0
        The epoch that the fit on all rows continues from; 0 if it starts at PCA.

    best_iter : int or None, default=None
        The epoch of lowest validation loss; 0 if PCA is kept. An epoch can then have a
        lower loss than PCA, if the difference is not significant.

    pca_loss : float or None, default=None
        Loss of PCA on the validation rows.

    loss_name : str, default="loss"
        The label of the vertical axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves.

    figure_ : matplotlib Figure
        Figure that contains the axes.

    line_ : matplotlib Line2D
        The training loss.

    validation_line_, refit_line_ : matplotlib Line2D or None
        The validation loss, and the training loss of the fit on all rows.

    pca_line_ : matplotlib Line2D or None
        The loss of PCA, a horizontal line.

    best_point_ : matplotlib Line2D or None
        The point of the best epoch, or of PCA if it is kept.

    See Also
    --------
    ExplainedVarianceDisplay : The variance that components explain.

    Notes
    -----
    The training loss is the mean over the steps of an epoch, while weights change; the
    validation loss is computed after it.

    The loss of PCA is computed from the validation loss and the two validation scores
    of the estimator. It is not drawn if no epoch improves on PCA, if training did not
    start at PCA, or without validation rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, LossCurveDisplay
    >>> X = load_digits().data
    >>> model = AutoencoderTransformer(2, max_iter=10, random_state=0).fit(X)
    >>> display = LossCurveDisplay.from_estimator(model)
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()][:2]
    ['training', 'validation']
    >>> bool(display.pca_loss > min(display.validation_loss_curve))
    True
    """

    def __init__(
        self,
        *,
        loss_curve,
        validation_loss_curve=(),
        refit_loss_curve=(),
        refit_start=0,
        best_iter=None,
        pca_loss=None,
        loss_name="loss",
    ):
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.refit_loss_curve = refit_loss_curve
        self.refit_start = refit_start
        self.best_iter = best_iter
        self.pca_loss = pca_loss
        self.loss_name = loss_name

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the losses of a fitted estimator.

        Parameters
        ----------
        estimator : AutoencoderTransformer
            The fitted estimator.

        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        Returns
        -------
        display : LossCurveDisplay
            The display, which has been drawn.
        """
        import_pyplot(name_of(cls, "from_estimator"))
        check_is_fitted(estimator)
        check_has_curves(estimator)
        refit, best = estimator.refit_loss_curve_, estimator.best_iter_
        display = cls(
            loss_curve=estimator.loss_curve_,
            validation_loss_curve=estimator.validation_loss_curve_,
            refit_loss_curve=refit,
            refit_start=0 if repeats_all_epochs(estimator) else best,
            best_iter=best if estimator.validation_loss_curve_ else None,
            pca_loss=loss_of_pca(estimator),
            loss_name=label_of_loss(estimator),
        )
        return display.plot(ax=ax)

    def plot(self, ax=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        Returns
        -------
        display : LossCurveDisplay
            The display itself.
        """
        self.ax_ = one_axes(ax, name_of(self, "plot"))
        self.figure_ = self.ax_.figure
        self.line_ = self._curve(self.loss_curve, 0, "training", BLUE)
        self.validation_line_ = self._curve(
            self.validation_loss_curve, 0, "validation", ORANGE
        )
        self.refit_line_ = self._curve(
            self.refit_loss_curve, self.refit_start, "refit on all rows", GREEN
        )
        self.pca_line_ = self._draw_pca()
        self.best_point_ = self._draw_best()
        self.ax_.set(xlabel="epoch", ylabel=self.loss_name, title=self._title())
        clear_spines(self.ax_)
        if self.ax_.get_legend_handles_labels()[0]:  # without epochs, there are none
            self.ax_.legend()
        return self

    def _curve(self, losses, start, label, color):
        """Draw the losses of epochs after the start, if there are any."""
        if not len(losses):
            return None
        epochs = start + np.arange(1, len(losses) + 1)
        style = {"marker": "."} if len(losses) == 1 else {}
        return self.ax_.plot(epochs, losses, color=color, label=label, **style)[0]

    def _draw_pca(self):
        if self.pca_loss is None:
            return None
        label = f"PCA, validation: {self.pca_loss:.3g}"
        style = {"color": GRAY, "linestyle": "--", "label": label}
        return self.ax_.axhline(self.pca_loss, **style)

    def _draw_best(self):
        """Mark the best epoch on the validation curve, or on the line of PCA."""
        if self.best_iter is None or (self.best_iter == 0 and self.pca_loss is None):
            return None
        losses = [self.pca_loss, *self.validation_loss_curve]
        loss, color = losses[self.best_iter], ORANGE if self.best_iter else GRAY
        style = {"color": color, "marker": "o", "linestyle": "none"}
        name = f"best epoch, {self.best_iter}" if self.best_iter else "PCA is kept"
        label = f"{name}: {loss:.3g}"
        return self.ax_.plot([self.best_iter], [loss], label=label, **style)[0]

    def _title(self):
        if self.best_iter == 0:
            return "Loss by epoch: PCA is kept"
        return "Loss by epoch"


def check_has_curves(estimator) -> None:
    """Raise TypeError if an estimator has no losses."""
    if not hasattr(estimator, "validation_loss_curve_"):
        raise TypeError(
            f"Got an estimator of type {type(estimator).__name__}, but expected an "
            "AutoencoderTransformer. For a pipeline, pass its step, such as "
            "`pipeline[-1]`."
        )


def repeats_all_epochs(estimator) -> bool:
    """Return whether the fit on all rows started at PCA, after a cross-validation.

    No attribute states this. Without a cross-validation, the fit on all rows has fewer
    epochs than the first one had until its best epoch, unless this is epoch 1. A fit of
    one epoch is therefore assumed to continue from it.
    """
    n_epochs = len(estimator.refit_loss_curve_)
    return n_epochs == estimator.best_iter_ > 1


def loss_of_pca(estimator) -> float | None:
    """Return the loss of PCA on the validation rows, or None if it is unknown.

    A score is 1 - loss / null_loss, so the null loss follows from the best epoch's loss
    and score. If no epoch improves on PCA, the best score is that of PCA.
    """
    curve = np.asarray(estimator.validation_loss_curve_, dtype=float)
    best, pca = estimator.best_validation_score_, estimator.pca_validation_score_
    if pca is None or not pca < best < 1 or not np.isfinite(curve).any():
        return None
    null_loss = np.nanmin(curve) / (1 - best)
    return float(null_loss * (1 - pca))


def label_of_loss(estimator) -> str:
    """Return the label of the axis of losses, with their unit."""
    loss, is_table = estimator.loss, estimator.column_kinds_ is not None
    has_unit = isinstance(loss, str) and loss in STANDARDIZED and not is_table
    unit = ", standardized units" if has_unit else ""
    penalty = "" if estimator.regularizer is None else ", with penalty"
    return f"{name_of_loss(estimator)}{unit}{penalty}"
