"""`CodeDisplay`: a map of the codes, or maps of pairs of components."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length

from skae._sklearn import StrOptions, validate_parameter_constraints
from skae.displays._base import (
    GRAY,
    axes_grid,
    check_transformer,
    clear_spines,
    errors_of,
    import_pyplot,
    name_of,
    names_of_components,
    set_figure_title,
    validate_components,
)
from skae.metrics import as_dense

# Those of matplotlib, with black in place of gray, which is for other values.
COLORS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#000000", "#bcbd22", "#17becf"),
)
MAX_LEVELS = len(COLORS)
COLOR_CONSTRAINTS = {"color": [StrOptions({"y", "error"})]}


class CodeDisplay:
    """Map of the codes of rows, colored by a target or by the reconstruction error.

    It is recommended to use :meth:`from_estimator` or :meth:`from_codes` to create a
    display. All parameters are stored as attributes.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_components)
        The codes.

    y : array-like of shape (n_samples,) or None, default=None
        Values to color the codes by. Strings, booleans, categories, and integers of at
        most 10 different values are categories, with a legend; other numbers and dates
        (of a dtype of dates) have a color bar. Beyond 10 categories, the 9 most
        frequent have colors, and the others are gray. Missing values are gray; with a
        color bar, infinite ones are gray, too.

    components : sequence of int, default=(0, 1)
        Positions of the components to draw: two for a map, more for a map of each pair.

    component_names : array-like of str or None, default=None
        Names of all components, by default their positions.

    y_name : str or None, default=None
        The title of the legend or the label of the color bar.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_shown - 1, n_shown - 1)
        Axes with the maps, on and below the diagonal; the others are hidden. Columns
        are the components except the last one, and rows those except the first one.

    ax_ : matplotlib Axes
        The first of the axes.

    figure_ : matplotlib Figure
        Figure that contains the axes.

    scatters_ : list of matplotlib PathCollection
        The points of each map, row by row.

    legend_ : matplotlib Legend or None
        The legend of categories.

    colorbar_ : matplotlib Colorbar or None
        The color bar of numbers. Its range excludes the smallest and the largest 1 % of
        the finite values.

    See Also
    --------
    TraversalDisplay : What a component means.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skae import AutoencoderTransformer, CodeDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = AutoencoderTransformer(2, max_iter=20, random_state=0).fit(X)
    >>> display = CodeDisplay.from_estimator(model, X, y)
    >>> display.scatters_[0].get_offsets().shape
    (150, 2)
    >>> [text.get_text() for text in display.legend_.get_texts()]
    ['0', '1', '2']
    """

    def __init__(
        self, *, codes, y=None, components=(0, 1), component_names=None, y_name=None
    ):
        self.codes = codes
        self.y = y
        self.components = components
        self.component_names = component_names
        self.y_name = y_name

    @classmethod
    def from_estimator(
        cls, estimator, X, y=None, *, components=(0, 1), color="y", ax=None
    ):
        """Encode rows and draw their codes.

        Parameters
        ----------
        estimator : AutoencoderTransformer, Pipeline or other transformer
            The fitted estimator.

        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, ...)
            The rows.

        y : array-like of shape (n_samples,) or None, default=None
            Values to color the codes by.

        components : sequence of int, default=(0, 1)
            Positions of the components to draw: two for a map, more for a map of each
            pair.

        color : {"y", "error"}, default="y"
            Whether to color the codes by `y`, if given, or by the reconstruction error
            of their rows.

        ax : matplotlib Axes or array of Axes, default=None
            Axes to draw on, which are divided for pairs. If None, a new figure is
            created.

        Returns
        -------
        display : CodeDisplay
            The display, which has been drawn.
        """
        import_pyplot(name_of(cls, "from_estimator"))
        validate_parameter_constraints(
            COLOR_CONSTRAINTS, {"color": color}, name_of(cls, "from_estimator")
        )
        decodes = color == "error" and not hasattr(estimator, "reconstruction_error")
        methods = ("transform", "inverse_transform") if decodes else ("transform",)
        check_transformer(estimator, methods)
        y = one_column(y)
        codes, y_name = estimator.transform(X), getattr(y, "name", None)
        if color == "error":
            y, y_name = reconstruction_errors(estimator, X, codes)
        codes = as_dense(codes)
        display = cls(
            codes=codes,
            y=y,
            components=components,
            component_names=names_of_components(estimator, codes.shape[1]),
            y_name=y_name,
        )
        return display.plot(ax=ax)

    @classmethod
    def from_codes(cls, codes, y=None, *, components=(0, 1), ax=None):
        """Draw codes.

        Parameters
        ----------
        codes : {array-like, DataFrame} of shape (n_samples, n_components)
            The codes. The columns of a data frame are the names of the components.

        y : array-like of shape (n_samples,) or None, default=None
            Values to color the codes by.

        components : sequence of int, default=(0, 1)
            Positions of the components to draw: two for a map, more for a map of each
            pair.

        ax : matplotlib Axes or array of Axes, default=None
            Axes to draw on, which are divided for pairs. If None, a new figure is
            created.

        Returns
        -------
        display : CodeDisplay
            The display, which has been drawn.
        """
        import_pyplot(name_of(cls, "from_codes"))
        y, names = one_column(y), getattr(codes, "columns", None)
        display = cls(
            codes=as_dense(codes),
            y=y,
            components=components,
            component_names=None if names is None else [str(name) for name in names],
            y_name=getattr(y, "name", None),
        )
        return display.plot(ax=ax)

    def plot(self, ax=None):
        """Draw the maps.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            Axes to draw on, which are divided for pairs. If None, a new figure is
            created.

        Returns
        -------
        display : CodeDisplay
            The display itself.
        """
        codes = self._validated_codes()
        n = len(self.components) - 1
        height = 4.0 if n == 1 else 5.6
        self.axes_ = axes_grid(ax, name_of(self, "plot"), (n, n), height)
        self.ax_, self.figure_ = self.axes_[0, 0], self.axes_[0, 0].figure
        levels = None if self.y is None else levels_of(self.y)
        style = style_of_points(self.y, levels) | {
            "s": float(np.clip(6000 / len(codes), 6, 24)),
            "linewidths": 0,
        }
        self.scatters_ = [
            self._draw_pair(codes, i, j, style) for i in range(n) for j in range(i + 1)
        ]
        for hidden in self.axes_[np.triu_indices(n, 1)]:
            hidden.set_axis_off()
        self.legend_ = self.colorbar_ = None
        if levels is not None:
            self.legend_ = self._draw_legend(levels)
        elif self.y is not None:
            self.colorbar_ = self._draw_colorbar()
        set_figure_title(ax, self.axes_, f"Codes of {len(codes)} rows")
        return self

    def _validated_codes(self) -> np.ndarray:
        """Return the codes, or raise ValueError if they cannot be drawn."""
        codes = np.asarray(self.codes)
        if codes.ndim != 2:
            raise ValueError(f"Got codes of shape {codes.shape}, expected two axes.")
        validate_components(self.components, codes.shape[1], n_min=2)
        check_consistent_length(codes, self.y)
        if len(codes) == 0:
            raise ValueError("Got 0 codes, but expected at least one.")
        return codes

    def _draw_pair(self, codes, i, j, style):
        """Draw the component of a row of axes against that of a column."""
        ax = self.axes_[i, j]
        vertical, horizontal = self.components[i + 1], self.components[j]
        scatter = ax.scatter(codes[:, horizontal], codes[:, vertical], **style)
        if i == len(self.axes_) - 1:
            ax.set_xlabel(self._name(horizontal))
        if j == 0:
            ax.set_ylabel(self._name(vertical))
        clear_spines(ax)
        return scatter

    def _name(self, component):
        names = self.component_names
        return f"component {component if names is None else names[component]}"

    def _label(self):
        return "y" if self.y_name is None else self.y_name

    def _draw_legend(self, levels):
        """Draw a legend at the right of a map, or in the free corner of pairs."""
        from matplotlib.lines import Line2D

        colors = self.scatters_[0].get_cmap().colors
        dot: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 5}
        handles = [
            Line2D([], [], color=color, label=str(level), **dot)
            for level, color in zip(levels, colors, strict=False)
        ]
        rest = name_of_rest(self.y, levels)
        if rest:
            handles.append(Line2D([], [], color=GRAY, label=rest, **dot))
        style = {"handles": handles, "title": self._label()}
        if len(self.axes_) > 1:
            return self.axes_[0, -1].legend(loc="upper right", **style)
        place = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False}
        return self.ax_.legend(**place, **style)

    def _draw_colorbar(self):
        from matplotlib.dates import AutoDateFormatter, AutoDateLocator

        axes = self.axes_[np.tril_indices(len(self.axes_))]
        style = {"ax": list(axes), "label": self._label(), "extend": "both"}
        if has_dates(as_series(self.y)):
            ticks = AutoDateLocator()
            style |= {"ticks": ticks, "format": AutoDateFormatter(ticks)}
        return self.figure_.colorbar(self.scatters_[0], **style)


def reconstruction_errors(estimator, X, codes) -> tuple[np.ndarray, str]:
    """Return the error of each row, and its label."""
    rows = back = None
    if not hasattr(estimator, "reconstruction_error"):
        rows, back = as_dense(X), as_dense(estimator.inverse_transform(codes))
    errors, name = errors_of(estimator, X, rows, back)
    return errors, f"reconstruction error ({name})"


def one_column(y):
    """Return values with one axis: y, or the only column that it has."""
    shape = () if y is None else np.shape(y)
    if y is not None and len(shape) != 1 and shape[1:] != (1,):
        raise ValueError(
            f"Got y of shape {shape}, but expected one value for each row. Pass one of "
            "its columns."
        )
    if len(shape) < 2:
        return y
    return y[y.columns[0]] if hasattr(y, "columns") else np.ravel(y)


def as_series(y) -> pd.Series:
    """Return a series, of numbers in their own dtype even if some are missing."""
    dtype = getattr(y, "dtype", None)
    is_categorical = isinstance(dtype, pd.CategoricalDtype)
    if isinstance(dtype, pd.api.extensions.ExtensionDtype) and not is_categorical:
        return pd.Series(y)
    return pd.Series(np.asarray(y))


def levels_of(y) -> list | None:
    """Return the categories of values that have a color, or None for numbers."""
    dtype = getattr(y, "dtype", None)
    values = as_series(y)
    counts = values.value_counts()
    if has_dates(values):
        return None
    if isinstance(dtype, pd.CategoricalDtype):
        levels = [level for level in dtype.categories if counts.get(level, 0)]
    else:
        levels = sorted(counts.index, key=lambda v: v if is_number(values) else str(v))
        if is_number(values) and (len(levels) > MAX_LEVELS or has_fractions(values)):
            return None
    if len(levels) <= MAX_LEVELS:
        return levels
    return [level for level in levels if level in counts.index[: MAX_LEVELS - 1]]


def is_number(values: pd.Series) -> bool:
    """Return whether values are numbers, which booleans are not."""
    return values.dtype.kind in "iuf"


def has_dates(values: pd.Series) -> bool:
    """Return whether values are dates, of which not all are missing."""
    return values.dtype.kind == "M" and bool(values.notna().any())


def has_fractions(values: pd.Series) -> bool:
    """Return whether some value is not an integer."""
    present = values.dropna()
    return bool((present != np.round(present)).any())


def numbers_of(values: pd.Series) -> np.ndarray:
    """Return numbers, or dates as matplotlib's days, with NaN for missing values."""
    from matplotlib.dates import date2num

    if has_dates(values):
        return date2num(values.to_numpy("datetime64[us]"))
    return values.to_numpy(np.float64, na_value=np.nan)


def positions_of(values: pd.Series, levels: list) -> np.ndarray:
    """Return the positions of values in the categories, and -1 for all others."""
    return pd.Index(levels).get_indexer(values)


def name_of_rest(y, levels: list) -> str:
    """Return the label of values that are no category, "" if there are none."""
    values = as_series(y)
    is_missing = values[positions_of(values, levels) < 0].isna()
    names = {"other": ~is_missing, "missing": is_missing}
    return " or ".join(name for name, found in names.items() if found.any())


def style_of_points(y, levels) -> dict:
    """Return the parameters of `scatter` that color points."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    if y is None:
        return {"color": COLORS[0], "alpha": 0.7}
    values = as_series(y)
    if levels is None:
        numbers = numbers_of(values)
        low, high = np.percentile(numbers[np.isfinite(numbers)], [1, 99])
        bad = colormaps["viridis"].with_extremes(bad=GRAY)
        style = {"c": numbers, "vmin": low, "vmax": high, "cmap": bad}
        return style | {"plotnonfinite": True}
    # Values without a color are -1, and then the last color, gray.
    position = positions_of(values, levels)
    position[position < 0] = len(levels)
    colors = list(COLORS[: len(levels)])
    colors += [GRAY] if (position == len(levels)).any() else []
    cmap = ListedColormap(colors)
    limits = {"vmin": -0.5, "vmax": len(colors) - 0.5}
    return {"c": position, "cmap": cmap, "alpha": 0.8, **limits}
