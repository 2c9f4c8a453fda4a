"""`ExplainedVarianceDisplay`: variance explained by components, compared with PCA."""

from numbers import Real

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score

from skae.data._namespaces import like
from skae.displays._base import (
    BLUE,
    ORANGE,
    check_no_blocks,
    check_transformer,
    clear_spines,
    import_pyplot,
    last_step,
    name_of,
    one_axes,
)
from skae.losses import CrossEntropy
from skae.metrics import as_dense, as_floats
from skae.regularizers import Ordered


class ExplainedVarianceDisplay:
    """Share of the variance that the first components explain, compared with PCA.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes.

    Parameters
    ----------
    n_components : array-like of shape (n_sizes,)
        Numbers of first components.

    explained : array-like of shape (n_sizes,)
        The share of variance that they explain, at most 1.

    pca_explained : array-like of shape (n_pca_components,)
        The share that the first 1, 2, ... components of PCA explain.

    name : str, default="autoencoder"
        The name of the estimator in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves.

    figure_ : matplotlib Figure
        Figure that contains the axes.

    line_, pca_line_ : matplotlib Line2D
        The curves of the estimator and of PCA, in percent.

    See Also
    --------
    LossCurveDisplay : The losses of each epoch.
    Ordered : Components in order of importance.

    Notes
    -----
    A share is `1 - sum((X - reconstruction)**2) / sum((X - X.mean(axis=0))**2)`, in the
    unit of X and for every loss. The first components of a code reconstruct a row with
    all others at zero. This is a curve for models whose components are ordered: those
    with the regularizer :class:`Ordered`, or with a float as `n_components` and no
    other regularizer, and models that are PCA. The components of other models are
    trained to be used together, so only all of them are drawn, as a point.

    PCA is fitted to X itself: no linear model explains more of these rows. The curve
    has at least as many components as the codes, k, and ends where PCA explains as much
    as the estimator, or at max(4 k, 20) components.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, ExplainedVarianceDisplay, Ordered
    >>> X = load_digits().data
    >>> model = AutoencoderTransformer(
    ...     4, regularizer=Ordered(), max_iter=20, random_state=0
    ... ).fit(X)
    >>> display = ExplainedVarianceDisplay.from_estimator(model, X)
    >>> display.n_components
    array([1, 2, 3, 4])
    >>> bool(display.explained[-1] > display.pca_explained[3])
    True
    """

    def __init__(self, *, n_components, explained, pca_explained, name="autoencoder"):
        self.n_components = n_components
        self.explained = explained
        self.pca_explained = pca_explained
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, X, *, name="autoencoder", ax=None):
        """Draw the variance of rows that a fitted estimator explains.

        Parameters
        ----------
        estimator : AutoencoderTransformer, Pipeline or other transformer
            The fitted estimator, with `inverse_transform`.

        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, ...)
            The rows, preferably others than those of the fit. They are numbers without
            missing values, and at least two of them differ.

        name : str, default="autoencoder"
            The name of the estimator in the legend.

        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        Returns
        -------
        display : ExplainedVarianceDisplay
            The display, which has been drawn.
        """
        import_pyplot(name_of(cls, "from_estimator"))
        check_transformer(estimator)
        check_no_blocks(X)
        rows = rows_with_variance(last_step(estimator), X)
        codes = estimator.transform(X)
        k = codes.shape[1]
        sizes = np.arange(1, k + 1) if is_ordered(last_step(estimator)) else [k]
        explained = [
            explained_by(estimator, codes, rows, n_kept=n_kept) for n_kept in sizes
        ]
        display = cls(
            n_components=np.asarray(sizes),
            explained=np.array(explained),
            pca_explained=curve_of_pca(rows, k, explained[-1]),
            name=name,
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
        display : ExplainedVarianceDisplay
            The display itself.
        """
        self.ax_ = one_axes(ax, name_of(self, "plot"))
        self.figure_ = self.ax_.figure
        k, share = np.asarray(self.n_components)[-1], np.asarray(self.explained)[-1]
        label = f"{self.name}: {share:.1%} with {k}"
        self.line_ = self._curve(self.n_components, self.explained, ORANGE, label)
        sizes = np.arange(1, len(self.pca_explained) + 1)
        k, share = sizes[-1], np.asarray(self.pca_explained)[-1]
        label = f"PCA of these rows: {share:.1%} with {k}"
        self.pca_line_ = self._curve(sizes, self.pca_explained, BLUE, label)
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        self.ax_.set(xlabel="number of components", ylabel="variance explained (%)")
        self.ax_.set_title("Variance explained by the first components")
        clear_spines(self.ax_)
        self.ax_.grid(alpha=0.3)
        self.ax_.legend(loc="lower right")
        return self

    def _curve(self, sizes, shares, color, label):
        percent = 100 * np.asarray(shares)
        style = {"marker": "o", "markersize": 4 if len(sizes) > 1 else 8}
        return self.ax_.plot(sizes, percent, color=color, label=label, **style)[0]


def rows_with_variance(estimator, X) -> np.ndarray:
    """Return flat rows, or raise ValueError if they have no variance to explain."""
    score = "Use the estimator's `score`, the share of deviance that is explained."
    loss = getattr(estimator, "loss", None)
    if loss == "cross_entropy" or isinstance(loss, CrossEntropy):
        raise ValueError(f"X has tokens, of which there is no variance. {score}")
    rows = as_floats(as_dense(X))
    if np.isnan(rows).any():
        raise ValueError(
            "X has missing values or padded steps, which PCA does not accept. Pass "
            f"rows without NaN. {score}"
        )
    if len(rows) == 0 or (rows == rows[0]).all():
        raise ValueError(
            f"X has {len(rows)} rows without variance, but expected at least two that "
            "differ. Pass more rows."
        )
    return rows


def is_ordered(estimator) -> bool:
    """Return whether the first components of a model can be used without the others."""
    if isinstance(estimator, PCA) or getattr(estimator, "is_pca_", False):
        return True
    regularizer = getattr(estimator, "regularizer", None)
    n = getattr(estimator, "n_components", None)
    is_share = isinstance(n, Real) and 0 < n < 1
    return isinstance(regularizer, Ordered) or (is_share and regularizer is None)


def explained_by(estimator, codes, rows: np.ndarray, n_kept: int) -> float:
    """Return the share of variance explained by first components, others at zero."""
    truncated = as_dense(codes) * (np.arange(codes.shape[1]) < n_kept)
    back = estimator.inverse_transform(like(truncated, codes))
    back = as_floats(as_dense(back))
    return float(r2_score(rows, back, multioutput="variance_weighted"))


def curve_of_pca(rows: np.ndarray, k: int, share: float) -> np.ndarray:
    """Return the shares that PCA explains, up to k components or a share."""
    n = min(*rows.shape, max(4 * k, 20))
    shares = PCA(n, random_state=0).fit(rows).explained_variance_ratio_.cumsum()
    n_needed = np.searchsorted(shares, share) + 1
    return shares[: max(k, n_needed)]
