"""`TraversalDisplay`: what a component means, by decoding codes along it."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar

from skae.data._namespaces import like
from skae.displays._base import (
    as_images,
    as_lines,
    as_numbers,
    axes_grid,
    check_no_blocks,
    check_transformer,
    clear_spines,
    draw_image,
    import_pyplot,
    name_of,
    names_of_components,
    names_of_features,
    set_figure_title,
    shape_of_images,
    validate_components,
)
from skae.displays._reconstruction import moments
from skae.metrics import as_dense

MAX_COMPONENTS = 6  # that are drawn by default
MAX_FEATURES = 40  # of a heatmap with names
QUANTILES = 0.05, 0.95  # the range of each component


class TraversalDisplay:
    """Decoded codes along each component, with all others at their mean.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes.

    Parameters
    ----------
    decoded : ndarray of shape (n_shown, n_steps, ...)
        The decoded rows for each component and step.

    values : ndarray of shape (n_shown, n_steps)
        The values of each component.

    quantiles : ndarray of shape (n_steps,)
        The shares of rows with a smaller value of the component.

    center, spread : ndarray
        Means and standard deviations of the features, by which heatmaps are
        standardized.

    component_names : array-like of str of shape (n_shown,)
        Names of the components.

    feature_names : array-like of str or None, default=None
        Names of the features of a table. The values of a series have their positions as
        names.

    image_shape : tuple of int or None, default=None
        (height, width) or (channels, height, width) of flat rows that are images.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        For images, of shape (n_shown, n_steps); for heatmaps (1, n_shown), and for
        lines (n_shown, 1).

    ax_ : matplotlib Axes
        The first of the axes.

    figure_ : matplotlib Figure
        Figure that contains the axes.

    images_ : list of matplotlib AxesImage
        The images, component by component, or the heatmap of each component, of shape
        (n_features, n_steps).

    lines_ : list of list of matplotlib Line2D
        The lines of each component, one for each step; empty for images and heatmaps.

    colorbar_ : matplotlib Colorbar or None
        The color bar of heatmaps and lines.

    See Also
    --------
    CodeDisplay : A map of the codes.
    AutoencoderTransformer.interpolate : Rows between two rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, TraversalDisplay
    >>> X = load_digits().data
    >>> model = AutoencoderTransformer(2, max_iter=20, random_state=0).fit(X)
    >>> display = TraversalDisplay.from_estimator(model, X, image_shape=(8, 8))
    >>> display.decoded.shape
    (2, 7, 64)
    >>> display.axes_.shape
    (2, 7)
    """

    def __init__(
        self,
        *,
        decoded,
        values,
        quantiles,
        center,
        spread,
        component_names,
        feature_names=None,
        image_shape=None,
    ):
        self.decoded = decoded
        self.values = values
        self.quantiles = quantiles
        self.center = center
        self.spread = spread
        self.component_names = component_names
        self.feature_names = feature_names
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls, estimator, X, *, components=None, n_steps=7, image_shape=None, ax=None
    ):
        """Decode codes along each component, and draw them.

        A component takes the values of evenly spaced quantiles of the codes of X, from
        5 % to 95 %. All other components are at their mean.

        Parameters
        ----------
        estimator : AutoencoderTransformer, Pipeline or other transformer
            The fitted estimator, with `inverse_transform`.

        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, ...)
            The rows.

        components : sequence of int or None, default=None
            Positions of the components to draw. None is the first 6.

        n_steps : int, default=7
            Number of values of each component, at least 2.

        image_shape : tuple of int or None, default=None
            (height, width) or (channels, height, width) of flat rows that are images.

        ax : matplotlib Axes or array of Axes, default=None
            Axes to draw on, which are divided. If None, a new figure is created.

        Returns
        -------
        display : TraversalDisplay
            The display, which has been drawn.
        """
        import_pyplot(name_of(cls, "from_estimator"))
        check_scalar(n_steps, "n_steps", Integral, min_val=2)
        check_transformer(estimator)
        check_no_blocks(X)
        rows, given = as_numbers(X), estimator.transform(X)
        codes = as_dense(given)
        shape_of_images(rows, image_shape)
        k = codes.shape[1]
        if components is None:
            components = np.arange(min(k, MAX_COMPONENTS))
        components = validate_components(components, k)
        quantiles = np.linspace(*QUANTILES, n_steps)
        values = np.quantile(codes[:, components], quantiles, axis=0).T
        steps = codes_along(codes.mean(axis=0), components, values)
        decoded = as_numbers(estimator.inverse_transform(like(steps, given)))
        center, spread = moments(rows)
        display = cls(
            decoded=decoded.reshape(len(components), n_steps, *decoded.shape[1:]),
            values=values,
            quantiles=quantiles,
            center=center,
            spread=spread,
            component_names=names_of_components(estimator, k)[components],
            feature_names=names_of_features(estimator, rows.shape[1]),
            image_shape=image_shape,
        )
        return display.plot(ax=ax)

    def plot(self, ax=None, *, kind="auto", cmap="gray_r"):
        """Draw the decoded rows.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            Axes to draw on, which are divided. If None, a new figure is created.

        kind : {"auto", "heatmap", "lines"}, default="auto"
            How to draw tables and series: as a heatmap of standardized features, or as
            lines in the unit of the data. "auto" is lines for series and for more than
            40 features.

        cmap : str or matplotlib Colormap, default="gray_r"
            The colors of images with one channel.

        Returns
        -------
        display : TraversalDisplay
            The display itself.
        """
        if kind not in ("auto", "heatmap", "lines"):
            raise ValueError(
                f'Got kind={kind!r}, expected "auto", "heatmap" or "lines".'
            )
        self.images_, self.lines_, self.colorbar_ = [], [], None
        shape = shape_of_images(self.decoded[0], self.image_shape)
        n_features = self.decoded[0, 0].size
        is_series = self.decoded.ndim > 3
        if shape is not None:
            self._plot_images(ax, shape, cmap)
        elif kind == "lines" or (
            kind == "auto" and (is_series or n_features > MAX_FEATURES)
        ):
            self._plot_lines(ax)
        else:
            self._plot_heatmaps(ax)
        self.ax_, self.figure_ = self.axes_[0, 0], self.axes_[0, 0].figure
        title = "Decoded codes along each component, others at the mean"
        set_figure_title(ax, self.axes_, title)
        return self

    def _plot_images(self, ax, shape, cmap):
        n_shown, n_steps = self.values.shape
        height = 0.9 + n_shown * 5.6 / n_steps * shape[1] / shape[2]
        self.axes_ = axes_grid(
            ax, name_of(self, "plot"), (n_shown, n_steps), min(height, 8.0)
        )
        rows = self.decoded.reshape(n_shown * n_steps, -1)
        images = as_images(rows, shape, np.nanmin(rows), np.nanmax(rows))
        pairs = zip(self.axes_.flat, images, strict=True)
        self.images_ = [draw_image(axes, image, cmap) for axes, image in pairs]
        for axes, name in zip(self.axes_[:, 0], self.component_names, strict=True):
            axes.set_ylabel(name)
        for axes, quantile in zip(self.axes_[0], self.quantiles, strict=True):
            axes.set_title(f"{quantile:.0%}", fontsize="medium")
        self.axes_[-1, n_steps // 2].set_xlabel("quantile of the component")

    def _plot_heatmaps(self, ax):
        n_shown, n_steps = self.values.shape
        names = self._names_of_values()
        height = 1.4 + 0.2 * max(len(names), 8)
        self.axes_ = axes_grid(ax, name_of(self, "plot"), (1, n_shown), height)
        deviations = (self.decoded - self.center) / self.spread
        limit = np.nanmax(np.abs(deviations)) or 1.0
        style = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "aspect": "auto"}
        # (n_features, n_steps)
        self.images_ = [
            axes.imshow(deviation.reshape(n_steps, -1).T, **style)
            for axes, deviation in zip(self.axes_[0], deviations, strict=True)
        ]
        for axes, name in zip(self.axes_[0], self.component_names, strict=True):
            axes.set_title(name, fontsize="medium")
            ends = [0, n_steps - 1]
            axes.set_xticks(ends, [f"{self.quantiles[i]:.0%}" for i in ends])
            axes.set_yticks([])
        self.axes_[0, 0].set_yticks(range(len(names)), names, fontsize="small")
        self.axes_[0, n_shown // 2].set_xlabel("quantile of the component")
        label = "standard deviations from the mean"
        self.colorbar_ = self.axes_[0, 0].figure.colorbar(
            self.images_[0], ax=list(self.axes_[0]), label=label
        )

    def _names_of_values(self):
        """Return a name for each value of a row: for series, its position."""
        shape = self.decoded.shape[2:]
        if len(shape) > 1:
            return [str(position) for position in np.ndindex(shape)]
        return [""] * shape[0] if self.feature_names is None else self.feature_names

    def _plot_lines(self, ax):
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        n_shown = len(self.values)
        height = 1.2 + 1.5 * n_shown
        self.axes_ = axes_grid(ax, name_of(self, "plot"), (n_shown, 1), height)
        scale = ScalarMappable(Normalize(0, 1), colormaps["viridis"])
        for axes, name, rows in zip(
            self.axes_[:, 0], self.component_names, self.decoded, strict=True
        ):
            lines = [
                line
                for row, quantile in zip(rows, self.quantiles, strict=True)
                for line in axes.plot(as_lines(row), color=scale.to_rgba(quantile))
            ]
            self.lines_.append(lines)
            axes.set_ylabel("value")
            axes.set_title(name, fontsize="medium")
            clear_spines(axes)
        self.axes_[-1, 0].set_xlabel("feature" if self.decoded.ndim == 3 else "step")
        self.colorbar_ = self.axes_[0, 0].figure.colorbar(
            scale, ax=list(self.axes_[:, 0]), label="quantile of the component"
        )


def codes_along(mean: np.ndarray, components: np.ndarray, values: np.ndarray):
    """Return codes at the mean except for one component each.

    The shape is (n_shown * n_steps, n_components).
    """
    n_shown, n_steps = values.shape
    codes = np.tile(mean, (n_shown, n_steps, 1))
    for i, component in enumerate(components):
        codes[i, :, component] = values[i]
    return codes.reshape(n_shown * n_steps, -1)
