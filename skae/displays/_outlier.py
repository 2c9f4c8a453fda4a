"""`OutlierDisplay`: scores of an outlier detector, and contributions of columns."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_consistent_length, check_scalar, column_or_1d
from sklearn.utils.validation import check_is_fitted

from skae.displays._base import (
    BLUE,
    ORANGE,
    clear_spines,
    import_pyplot,
    last_step,
    name_of,
    names_of_features,
    one_axes,
)
from skae.metrics import as_dense


class OutlierDisplay:
    """Scores of rows, and the contribution of each column to the score of a row.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        The scores; higher is more normal.

    threshold : float
        Rows with a lower score are outliers.

    y : array-like of shape (n_samples,) or None, default=None
        True labels: -1 for outliers and 1 for inliers.

    feature_scores : array-like of shape (n_samples, n_features) or None, default=None
        What each column contributes to the score of a row; higher is more abnormal.

    feature_names : array-like of str or None, default=None
        Names of the columns, by default their positions.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on last.

    figure_ : matplotlib Figure
        Figure that contains the axes.

    bars_ : list of matplotlib BarContainer
        The histogram; with labels, those of inliers and of outliers.

    threshold_line_ : matplotlib Line2D
        The threshold, a vertical line.

    rug_ : list of matplotlib Line2D
        Marks at the scores of the rows below the threshold, as for the bars.

    feature_bars_ : matplotlib BarContainer
        The columns of a row; only after `plot_features`.

    See Also
    --------
    ReconstructionDisplay : Rows and their reconstructions.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.ensemble import IsolationForest
    >>> from skae import OutlierDisplay
    >>> X = load_wine().data
    >>> detector = IsolationForest(contamination=0.05, random_state=0).fit(X)
    >>> display = OutlierDisplay.from_estimator(detector, X)
    >>> int((display.scores < display.threshold).sum())
    9
    """

    def __init__(
        self, *, scores, threshold, y=None, feature_scores=None, feature_names=None
    ):
        self.scores = scores
        self.threshold = threshold
        self.y = y
        self.feature_scores = feature_scores
        self.feature_names = feature_names

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, ax=None):
        """Compute the scores of rows and draw their histogram.

        Parameters
        ----------
        estimator : outlier detector, Pipeline or search such as GridSearchCV
            The fitted detector, with `score_samples`. The threshold is its `offset_`,
            or the difference of `score_samples` and `decision_function`. With a method
            `feature_scores`, the columns of each row can be drawn by `plot_features`.

        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, ...)
            The rows.

        y : array-like of shape (n_samples,) or None, default=None
            True labels: -1 for outliers and 1 for inliers.

        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        Returns
        -------
        display : OutlierDisplay
            The display, which has been drawn.
        """
        import_pyplot(name_of(cls, "from_estimator"))
        check_is_fitted(estimator)
        check_is_detector(estimator)
        scores = as_dense(estimator.score_samples(X))
        feature_scores = names = None
        if hasattr(estimator, "feature_scores"):
            feature_scores = as_dense(estimator.feature_scores(X))
            names = names_of_features(estimator, feature_scores.shape[1])
        display = cls(
            scores=scores,
            threshold=threshold_of(estimator, X, scores),
            y=None if y is None else validate_labels(y, scores),
            feature_scores=feature_scores,
            feature_names=names,
        )
        return display.plot(ax=ax)

    def plot(self, ax=None, *, bins=50):
        """Draw a histogram of the scores, with the threshold.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        bins : int, default=50
            Number of bins.

        Returns
        -------
        display : OutlierDisplay
            The display itself.
        """
        self.ax_ = one_axes(ax, name_of(self, "plot"))
        self.figure_ = self.ax_.figure
        edges = np.histogram_bin_edges(self.scores, bins)
        groups = self._groups()
        self.bars_ = [
            self.ax_.hist(scores, edges, color=color, alpha=0.6, label=label)[2]
            for label, scores, color in groups
        ]
        below = [
            (scores[scores < self.threshold], color) for _, scores, color in groups
        ]
        # At the bottom of the axes, where single rows are visible below high bars.
        height = self.ax_.get_xaxis_transform()
        mark = {"linestyle": "none", "marker": "|", "transform": height}
        self.rug_ = [
            self.ax_.plot(scores, np.full(len(scores), 0.015), color=color, **mark)[0]
            for scores, color in below
        ]
        n_below = sum(len(scores) for scores, _ in below)
        label = f"threshold: {n_below} of {len(self.scores)} rows below (marked)"
        style = {"color": "black", "linestyle": "--", "label": label}
        self.threshold_line_ = self.ax_.axvline(self.threshold, **style)
        self.ax_.set(xlabel="score (lower is more abnormal)", ylabel="number of rows")
        self.ax_.set_title("Scores of rows")
        clear_spines(self.ax_)
        self.ax_.legend()
        return self

    def plot_features(self, row, ax=None, *, n_features=15):
        """Draw what the columns contribute to the score of a row.

        Parameters
        ----------
        row : int
            Position of the row.

        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        n_features : int, default=15
            The number of columns to draw, those with the largest contributions.

        Returns
        -------
        display : OutlierDisplay
            The display itself.
        """
        contributions = self._contributions(row)
        check_scalar(n_features, "n_features", Integral, min_val=1)
        largest = np.argsort(-np.abs(contributions), kind="stable")[:n_features]
        names = self.feature_names
        names = np.arange(len(contributions)) if names is None else np.asarray(names)
        height = 1.2 + 0.22 * len(largest)
        self.ax_ = one_axes(ax, name_of(self, "plot_features"), height)
        self.figure_ = self.ax_.figure
        self.feature_bars_ = self.ax_.barh(
            np.arange(len(largest)), contributions[largest], color=ORANGE
        )
        self.ax_.set_yticks(np.arange(len(largest)), names[largest])
        self.ax_.invert_yaxis()
        score = np.asarray(self.scores)[row]
        label = "outlier" if score < self.threshold else "inlier"
        self.ax_.set_title(f"Row {row}: score {score:.3g}, {label}")
        self.ax_.set_xlabel("score of the column (higher is more abnormal)")
        clear_spines(self.ax_)
        return self

    def _groups(self):
        """Return label, scores and color of each histogram."""
        scores = np.asarray(self.scores)
        if self.y is None:
            return [("rows", scores, BLUE)]
        is_outlier = np.asarray(self.y) == -1
        return [
            ("inliers", scores[~is_outlier], BLUE),
            ("outliers", scores[is_outlier], ORANGE),
        ]

    def _contributions(self, row):
        """Return the scores of the columns of a row."""
        if self.feature_scores is None:
            raise ValueError(
                "The estimator has no method `feature_scores`, which a pipeline does "
                "not have either. Pass its last step, and rows transformed by the "
                "other steps."
            )
        feature_scores = np.asarray(self.feature_scores, dtype=float)
        n = len(feature_scores)
        check_scalar(row, "row", Integral, min_val=-n, max_val=n - 1)
        return feature_scores[row]


def check_is_detector(estimator) -> None:
    """Raise TypeError if an estimator has no scores of rows."""
    if not hasattr(estimator, "score_samples"):
        raise TypeError(
            f"Got an estimator of type {type(estimator).__name__} without "
            "`score_samples`, but expected an outlier detector, such as an "
            "AutoencoderOutlierDetector, LocalOutlierFactor(novelty=True), or a "
            "pipeline that ends with one."
        )


def threshold_of(estimator, X, scores: np.ndarray) -> float:
    """Return the score below which rows are outliers.

    `decision_function` is `score_samples` minus the threshold, for every row.
    """
    offset = getattr(last_step(estimator), "offset_", None)
    if offset is None:
        offset = scores - as_dense(estimator.decision_function(X))
    # OneClassSVM has an array of one value.
    return float(np.ravel(offset)[0])


def validate_labels(y, scores: np.ndarray) -> np.ndarray:
    """Return labels, or raise ValueError unless they are -1 and 1."""
    y = column_or_1d(y)
    check_consistent_length(y, scores)
    if not np.isin(y, [-1, 1]).all():
        raise ValueError(
            f"Got labels {np.unique(y)[:5]} in y, expected -1 for outliers and 1 for "
            "inliers."
        )
    return y
