"""Helpers of all displays: matplotlib, axes, names, and rows as numbers or images."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skae.data._sources import is_source
from skae.metrics import as_dense

# Colors that people with color blindness can distinguish (Okabe and Ito 2008).
BLUE, ORANGE, GREEN, PURPLE, GRAY = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#777777",
)
WIDTH = 6.4  # of a new figure, in inches
LOSS_NAMES = {
    "squared_error": "squared error",
    "absolute_error": "absolute error",
    "huber": "Huber loss",
    "log_loss": "binary cross-entropy",
    "brier": "squared error",
    "poisson": "half Poisson deviance",
    "cross_entropy": "cross-entropy",
}
STANDARDIZED = {"squared_error", "absolute_error", "huber"}


def import_pyplot(caller: str):
    """Return `matplotlib.pyplot`, or raise ImportError that names the extra."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} requires matplotlib. Install matplotlib, or skae with the extra "
            '"plot": `python -m pip install "skae[plot]"`.'
        ) from error
    return plt


def name_of(display, method: str) -> str:
    """Return the name of a method of a display or of its class, for errors."""
    cls = display if isinstance(display, type) else type(display)
    return f"{cls.__name__}.{method}"


def one_axes(ax, caller: str, height: float = 4.0):
    """Return the given axes, or those of a new figure."""
    plt = import_pyplot(caller)
    if ax is None:
        _, ax = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    return ax


def axes_grid(ax, caller: str, shape: tuple[int, int], height: float) -> np.ndarray:
    """Return an array of axes, of shape (n_rows, n_columns).

    Parameters
    ----------
    ax : matplotlib Axes, array of Axes or None
        Axes whose area is divided, the axes themselves, or None for a new figure.

    caller : str
        The name of the caller, for errors.

    shape : tuple of two int
        Numbers of rows and columns.

    height : float
        The height of a new figure, in inches.
    """
    plt = import_pyplot(caller)
    if ax is None:
        size = {"figsize": (WIDTH, height), "layout": "constrained"}
        return plt.subplots(*shape, squeeze=False, **size)[1]
    if isinstance(ax, plt.Axes):
        return divided(ax, shape)
    axes = np.asarray(ax, dtype=object)
    if axes.size != np.prod(shape):
        raise ValueError(
            f"Got {axes.size} axes, but expected {shape[0]} x {shape[1]}, or one to "
            "divide."
        )
    return axes.reshape(shape)


def divided(ax, shape: tuple[int, int]) -> np.ndarray:
    """Return new axes in the place of others, which are hidden."""
    if shape == (1, 1):
        return np.array([[ax]], dtype=object)
    if ax.get_subplotspec() is None or not ax.axison:
        raise ValueError(
            "The axes are not part of a grid of subplots, or have been divided before. "
            "Pass the axes of `plt.subplots`, or `ax=display.axes_`."
        )
    ax.set_axis_off()
    grid = ax.get_subplotspec().subgridspec(*shape)
    return np.array(
        [[ax.figure.add_subplot(cell) for cell in row] for row in cells(grid)]
    )


def cells(grid) -> list:
    """Return the cells of a grid of subplots, row by row."""
    return [[grid[i, j] for j in range(grid.ncols)] for i in range(grid.nrows)]


def check_transformer(estimator, methods=("transform", "inverse_transform")) -> None:
    """Raise an error unless an estimator is fitted and has the methods."""
    check_is_fitted(estimator)
    missing = [name for name in methods if not hasattr(estimator, name)]
    if missing:
        raise TypeError(
            f"Got an estimator of type {type(estimator).__name__} without "
            f"`{missing[0]}`, but expected a transformer, such as an "
            "AutoencoderTransformer, PCA, or a pipeline that ends with one."
        )


def check_no_blocks(X) -> None:
    """Raise TypeError if X is a function or an iterable of blocks."""
    if is_source(X) and not hasattr(X, "shape"):
        raise TypeError(
            f"Got a {type(X).__name__} of blocks as X, but expected an array of the "
            "rows to draw. Pass an array, such as the first block."
        )


def last_step(estimator):
    """Return the last step of a pipeline (of the best one of a search), or itself."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    return last_step(estimator[-1]) if isinstance(estimator, Pipeline) else estimator


def as_numbers(X) -> np.ndarray:
    """Return rows as an array of floats, or raise ValueError if it has other values."""
    rows = as_dense(X)
    try:
        return rows.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"X has columns other than numbers ({error}), which cannot be drawn. Pass "
            "rows of numbers."
        ) from error


def names_of_features(estimator, n_features: int) -> np.ndarray:
    """Return the names of features seen in `fit`, or their positions."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or len(names) != n_features:
        names = [f"feature {i}" for i in range(n_features)]
    return np.asarray(names, dtype=object)


def names_of_components(estimator, n_components: int) -> np.ndarray:
    """Return the names of the columns of the codes."""
    if hasattr(estimator, "get_feature_names_out"):
        return np.asarray(estimator.get_feature_names_out(), dtype=object)
    return np.array([str(i) for i in range(n_components)], dtype=object)


def validate_components(components, k: int, n_min: int = 1) -> np.ndarray:
    """Return the positions of components, or raise ValueError if they are invalid.

    Parameters
    ----------
    components : sequence of int
        Positions of components, negative ones from the end.

    k : int
        The number of components.

    n_min : int, default=1
        The least number of positions.
    """
    positions = np.asarray(components)
    is_long = positions.ndim == 1 and len(positions) >= n_min
    valid = is_long and positions.dtype.kind in "iu"
    if not valid or not ((-k <= positions) & (positions < k)).all():
        raise ValueError(
            f"Got components={components!r} for codes of {k} columns. Expected a "
            f"sequence of positions from 0 to {k - 1}, with a length of at least "
            f"{n_min}."
        )
    return positions


def name_of_loss(estimator) -> str:
    """Return the name of an estimator's loss, for labels."""
    loss = getattr(estimator, "loss", "squared_error")
    if getattr(estimator, "column_kinds_", None) is not None:
        return "error relative to the constant model"
    return LOSS_NAMES.get(loss, "loss") if isinstance(loss, str) else "loss"


def errors_of(estimator, X, rows, reconstructions) -> tuple[np.ndarray, str]:
    """Return the error of each row, and its name.

    Transformers without `reconstruction_error` have the mean squared error.
    """
    if hasattr(estimator, "reconstruction_error"):
        errors = as_dense(estimator.reconstruction_error(X))
        return errors, name_of_loss(estimator)
    return mean_squared_errors(rows, reconstructions), "squared error"


def mean_squared_errors(rows: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Return the mean squared error of each row, of values that are not NaN."""
    squares = np.square(rows - reconstructions).reshape(len(rows), -1)
    return np.nanmean(squares, axis=1)


def shape_of_images(rows: np.ndarray, image_shape) -> tuple | None:
    """Return the shape of rows that are images, (channels, height, width), or None."""
    if image_shape is None and rows.ndim != 4:
        return None
    sizes = np.asarray(rows.shape[1:] if image_shape is None else image_shape)
    valid = sizes.shape in [(2,), (3,)] and sizes.dtype.kind in "iu"
    if not valid or (sizes < 1).any() or sizes.prod() != np.prod(rows.shape[1:]):
        raise ValueError(
            f"Got image_shape={image_shape!r} for rows of shape {rows.shape[1:]}. "
            "Expected (height, width) or (channels, height, width) of as many values."
        )
    shape = tuple(sizes.tolist())
    shape = (1, *shape) if len(shape) == 2 else shape
    if shape[0] not in (1, 3):
        raise ValueError(f"Got images of {shape[0]} channels, expected 1 or 3.")
    return shape


def as_images(rows: np.ndarray, shape: tuple, low: float, high: float) -> np.ndarray:
    """Return images as `imshow` expects them, clipped and scaled to [0, 1]."""
    images = rows.reshape(-1, *shape).transpose(0, 2, 3, 1)  # channels last
    images = np.clip((images - low) / ((high - low) or 1.0), 0, 1)
    return images[..., 0] if shape[0] == 1 else images


def draw_image(ax, image: np.ndarray, cmap: str):
    """Draw an image of values in [0, 1] without ticks, and return the artist."""
    ax.set(xticks=[], yticks=[])
    return ax.imshow(image, cmap=cmap, vmin=0, vmax=1, aspect="equal")


def as_lines(row: np.ndarray) -> np.ndarray:
    """Return a row as matplotlib's `plot` expects it, with a column for each line.

    The longer axis of a series of several features is time. Other rows are one line.
    """
    if row.ndim != 2:
        return row.reshape(-1)
    is_channels_first = row.shape[0] < row.shape[1]
    return row.T if is_channels_first else row


def clear_spines(ax) -> None:
    """Remove the lines at the top and on the right."""
    ax.spines[["top", "right"]].set_visible(False)


def set_figure_title(ax, axes: np.ndarray, title: str) -> None:
    """Set the title of a new figure; a given one may have other axes."""
    if ax is None:
        axes.flat[0].figure.suptitle(title)
