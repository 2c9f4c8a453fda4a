"""`ReconstructionDisplay`: rows or images and their reconstructions."""

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from skae._sklearn import safe_indexing
from skae.displays._base import (
    BLUE,
    ORANGE,
    as_images,
    as_lines,
    as_numbers,
    axes_grid,
    check_no_blocks,
    check_transformer,
    clear_spines,
    draw_image,
    errors_of,
    import_pyplot,
    mean_squared_errors,
    name_of,
    names_of_features,
    set_figure_title,
    shape_of_images,
)

MAX_NAMES = 16  # of features, that fit at an axis


class ReconstructionDisplay:
    """Rows or images and their reconstructions, with the error of each.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes.

    Parameters
    ----------
    rows, reconstructions : ndarray of shape (n_samples, ...)
        The rows and their reconstructions. Rows of shape (channels, height, width) are
        images, with 1 or 3 channels; rows with two axes are series of several features,
        of which the longer axis is time; others are tables or series.

    errors : ndarray of shape (n_samples,)
        The error of each row.

    image_shape : tuple of int or None, default=None
        (height, width) or (channels, height, width) of flat rows that are images.

    feature_names : array-like of str or None, default=None
        Names of the columns of a table. They are drawn if there are at most 16.

    unit : str, default="value"
        The label of the vertical axis of tables and series.

    error_name : str, default="error"
        The name of the error in the title.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        For images, of shape (2, n_samples): originals and reconstructions. For tables
        and series, of shape (ceil(n_samples / 2), min(2, n_samples)).

    ax_ : matplotlib Axes
        The first of the axes.

    figure_ : matplotlib Figure
        Figure that contains the axes.

    images_, reconstructed_images_ : list of matplotlib AxesImage
        The images; empty for tables and series. Their colors have the same limits, the
        smallest and the largest value of the rows.

    lines_, reconstructed_lines_ : list of list of matplotlib Line2D
        The lines of each row, one for each feature of a series; empty for images.

    See Also
    --------
    TraversalDisplay : What a component means.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, ReconstructionDisplay
    >>> X = load_digits().data
    >>> model = AutoencoderTransformer(8, max_iter=20, random_state=0).fit(X)
    >>> display = ReconstructionDisplay.from_estimator(
    ...     model, X, n_rows=5, image_shape=(8, 8)
    ... )
    >>> display.axes_.shape
    (2, 5)
    >>> display.errors.shape
    (5,)
    """

    def __init__(
        self,
        *,
        rows,
        reconstructions,
        errors,
        image_shape=None,
        feature_names=None,
        unit="value",
        error_name="error",
    ):
        self.rows = rows
        self.reconstructions = reconstructions
        self.errors = errors
        self.image_shape = image_shape
        self.feature_names = feature_names
        self.unit = unit
        self.error_name = error_name

    @classmethod
    def from_estimator(
        cls, estimator, X, *, n_rows=6, image_shape=None, standardize=False, ax=None
    ):
        """Encode and decode the first rows of X, and draw both.

        Parameters
        ----------
        estimator : AutoencoderTransformer, Pipeline or other transformer
            The fitted estimator, with `inverse_transform`. The error is its
            `reconstruction_error`, if it has one, and otherwise the mean squared error.

        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, ...)
            The rows.

        n_rows : int, default=6
            How many of the first rows of X to draw.

        image_shape : tuple of int or None, default=None
            (height, width) or (channels, height, width) of flat rows that are images.

        standardize : bool, default=False
            Whether to draw values minus the mean, and divided by the standard
            deviation, of their column over all rows of X: for tables of columns in
            different units. The error is then the mean squared error of these values.

        ax : matplotlib Axes or array of Axes, default=None
            Axes to draw on, which are divided. If None, a new figure is created.

        Returns
        -------
        display : ReconstructionDisplay
            The display, which has been drawn.
        """
        import_pyplot(name_of(cls, "from_estimator"))
        check_scalar(n_rows, "n_rows", Integral, min_val=1)
        check_scalar(standardize, "standardize", (bool, np.bool_))
        check_transformer(estimator)
        check_no_blocks(X)
        some = safe_indexing(X, slice(0, n_rows))
        rows = as_numbers(some)
        shape_of_images(rows, image_shape)
        codes = estimator.transform(some)
        back = as_numbers(estimator.inverse_transform(codes))
        errors, error_name = errors_of(estimator, some, rows, back)
        unit = "value"
        if standardize:
            center, spread = moments(as_numbers(X))
            rows, back = (rows - center) / spread, (back - center) / spread
            errors = mean_squared_errors(rows, back)
            unit, error_name = "standardized value", "standardized squared error"
        display = cls(
            rows=rows,
            reconstructions=back,
            errors=errors,
            image_shape=image_shape,
            feature_names=names_of_features(estimator, rows.shape[1]),
            unit=unit,
            error_name=error_name,
        )
        return display.plot(ax=ax)

    def plot(self, ax=None, *, cmap="gray_r"):
        """Draw the rows and their reconstructions.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            Axes to draw on, which are divided. If None, a new figure is created.

        cmap : str or matplotlib Colormap, default="gray_r"
            The colors of images with one channel.

        Returns
        -------
        display : ReconstructionDisplay
            The display itself.
        """
        self.images_, self.reconstructed_images_ = [], []
        self.lines_, self.reconstructed_lines_ = [], []
        shape = shape_of_images(self.rows, self.image_shape)
        if shape is None:
            self._plot_lines(ax)
            self._draw_legend(ax)
        else:
            self._plot_images(ax, shape, cmap)
        self.ax_, self.figure_ = self.axes_[0, 0], self.axes_[0, 0].figure
        title = f"Rows and their reconstructions, with {self.error_name}"
        set_figure_title(ax, self.axes_, title)
        return self

    def _plot_images(self, ax, shape, cmap):
        n = len(self.rows)
        height = 0.9 + 2 * min(5.0 / n * shape[1] / shape[2], 2.5)
        self.axes_ = axes_grid(ax, name_of(self, "plot"), (2, n), height)
        limits = np.nanmin(self.rows), np.nanmax(self.rows)
        for line, rows, artists in (
            (self.axes_[0], self.rows, self.images_),
            (self.axes_[1], self.reconstructions, self.reconstructed_images_),
        ):
            images = as_images(rows, shape, *limits)
            pairs = zip(line, images, strict=True)
            artists += [draw_image(axes, image, cmap) for axes, image in pairs]
        for axes, error in zip(self.axes_[0], self.errors, strict=True):
            axes.set_title(f"{error:.3g}", fontsize="medium")
        style = {"rotation": 0, "horizontalalignment": "right"}
        style |= {"verticalalignment": "center"}
        self.axes_[0, 0].set_ylabel("row", **style)
        self.axes_[1, 0].set_ylabel("reconstruction", **style)

    def _plot_lines(self, ax):
        n_lines = (len(self.rows) + 1) // 2
        # Names of features at the bottom need space.
        height = 1.2 + 1.4 * n_lines + (0.8 if self._has_names() else 0)
        shape = (n_lines, min(2, len(self.rows)))
        self.axes_ = axes_grid(ax, name_of(self, "plot"), shape, height)
        for i, (row, back) in enumerate(
            zip(self.rows, self.reconstructions, strict=True)
        ):
            axes = self.axes_.flat[i]
            self.lines_.append(draw_row(axes, row, BLUE, "row", "-"))
            self.reconstructed_lines_.append(
                draw_row(axes, back, ORANGE, "reconstruction", "--")
            )
            axes.set_title(f"row {i}: {self.errors[i]:.3g}", fontsize="medium")
            clear_spines(axes)
        for axes in self.axes_.flat[len(self.rows) :]:
            axes.set_axis_off()
        self._label_lines()

    def _label_lines(self):
        """Set equal limits of all axes, and label those at the edges."""
        n, n_columns = len(self.rows), self.axes_.shape[1]
        values = np.concatenate([self.rows.ravel(), self.reconstructions.ravel()])
        margin = 0.05 * (np.nanmax(values) - np.nanmin(values)) or 1.0
        limits = np.nanmin(values) - margin, np.nanmax(values) + margin
        # The ends of padded series differ.
        n_steps = max(self.rows.shape[1:])
        margin_x = 0.05 * max(n_steps - 1, 1)
        for i, axes in enumerate(self.axes_.flat[:n]):
            is_lowest, is_left = i + n_columns >= n, i % n_columns == 0
            axes.set(xlim=(-margin_x, n_steps - 1 + margin_x), ylim=limits)
            if self._has_names():
                names = self.feature_names
                axes.set_xticks(range(len(names)), names, rotation=90, fontsize="small")
            elif is_lowest:
                axes.set_xlabel("feature" if self.rows.ndim == 2 else "step")
            axes.tick_params(labelbottom=is_lowest, labelleft=is_left)
        self.axes_[len(self.axes_) // 2, 0].set_ylabel(self.unit)

    def _draw_legend(self, ax):
        """Draw a legend below a new figure, or in the first of given axes."""
        first = self.axes_.flat[0]
        if ax is None:
            handles = [self.lines_[0][0], self.reconstructed_lines_[0][0]]
            place = {"loc": "outside lower center", "ncols": 2, "frameon": False}
            first.figure.legend(handles=handles, **place)
        else:
            first.legend(fontsize="small")

    def _has_names(self):
        n_features = self.rows.shape[1]
        is_table = self.rows.ndim == 2 and n_features <= MAX_NAMES
        return is_table and self.feature_names is not None


def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations of columns, 1 for constant columns."""
    spread = np.nanstd(rows, axis=0)
    return np.nanmean(rows, axis=0), np.where(spread > 0, spread, 1.0)


def draw_row(ax, row: np.ndarray, color: str, label: str, linestyle: str) -> list:
    """Draw a line for a row, or one for each feature of a series."""
    row = as_lines(row)
    style: dict[str, Any] = {"color": color, "linestyle": linestyle}
    style |= {"marker": ".", "markersize": 4} if len(row) <= MAX_NAMES else {}
    lines = ax.plot(row, **style)
    lines[0].set_label(label)
    return lines
