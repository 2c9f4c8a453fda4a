"""What displays draw: the data of their artists, not pixels."""

import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from parts import quick
from runs import curve
from sklearn.base import BaseEstimator, clone
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import PCA, FastICA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import Nystroem
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

import skae
from skae import (
    AutoencoderOutlierDetector,
    AutoencoderTransformer,
    CodeDisplay,
    ExplainedVarianceDisplay,
    LossCurveDisplay,
    Ordered,
    OutlierDisplay,
    ReconstructionDisplay,
    TraversalDisplay,
)
from skae.losses import CrossEntropy

mpl.use("Agg")  # which opens no windows
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.thread_unsafe(reason="matplotlib has global state"),
]

WRAPPERS = {
    "alone": lambda estimator: estimator,
    "pipeline": lambda estimator: make_pipeline(StandardScaler(), estimator),
    "frozen": lambda estimator: make_pipeline(
        FrozenEstimator(make_pipeline(StandardScaler(), estimator).fit(X[:, :3]))
    ),
    "search": lambda estimator: GridSearchCV(
        make_pipeline(StandardScaler(), estimator),
        {"standardscaler__with_std": [True]},
        cv=2,
        scoring=lambda *args: 0.0,
    ),
}

X = np.column_stack([curve(120), np.cos(curve(120)[:, 0])])
N_FEATURES = X.shape[1]
GROUPS = np.where(X[:, 0] > 0, "right", "left")


class Detector(BaseEstimator):
    """An outlier detector whose scores are minus the sums of squares."""

    def fit(self, X, y=None):
        self.offset_ = -3.0
        self.feature_names_in_ = np.array([f"column {i}" for i in range(X.shape[1])])
        return self

    def feature_scores(self, X):
        return pd.DataFrame(np.square(X))

    def score_samples(self, X):
        return -np.square(X).sum(axis=1)


@pytest.fixture(scope="module")
def model():
    return quick(3, regularizer=Ordered()).fit(X)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


DISPLAYS = {
    "LossCurve": lambda model, **kw: LossCurveDisplay.from_estimator(model, **kw),
    "Code": lambda model, **kw: CodeDisplay.from_estimator(model, X, GROUPS, **kw),
    "Code of pairs": lambda model, **kw: CodeDisplay.from_estimator(
        model, X, color="error", components=(0, 1, 2), **kw
    ),
    "Reconstruction": lambda model, **kw: ReconstructionDisplay.from_estimator(
        model, X, n_rows=3, **kw
    ),
    "Reconstruction of images": lambda model, **kw: (
        ReconstructionDisplay.from_estimator(
            model, X, image_shape=(2, N_FEATURES // 2), **kw
        )
    ),
    "Traversal": lambda model, **kw: TraversalDisplay.from_estimator(model, X, **kw),
    "Traversal of images": lambda model, **kw: TraversalDisplay.from_estimator(
        model, X, image_shape=(2, N_FEATURES // 2), **kw
    ),
    "Outlier": lambda model, **kw: OutlierDisplay.from_estimator(
        Detector().fit(X), X, **kw
    ),
    "ExplainedVariance": lambda model, **kw: ExplainedVarianceDisplay.from_estimator(
        model, X, **kw
    ),
}
GRIDS = "Code of pairs", "Reconstruction", "Traversal"
each_display = pytest.mark.parametrize("name", DISPLAYS)
each_class = pytest.mark.parametrize(
    "cls",
    [getattr(skae, name) for name in skae.__all__ if name.endswith("Display")],
)


def draw(name, model, **kw):
    return DISPLAYS[name](model, **kw)


def drawn(figure):
    """Return the points of all lines, markers and images of a figure."""
    arrays = [
        artist.get_xydata()
        if isinstance(artist, mpl.lines.Line2D)
        else np.asarray(artist.get_array())
        if isinstance(artist, mpl.image.AxesImage)
        else np.asarray(artist.get_offsets())
        for ax in figure.axes
        for artist in [*ax.lines, *ax.images, *ax.collections]
    ]
    return [np.nan_to_num(array.astype(float)) for array in arrays]


def texts(figure):
    figure.canvas.draw()
    return [
        text.get_text()
        for text in figure.findobj(mpl.text.Text)
        if text.get_visible() and text.get_text()
    ]


def padded_series():
    series = np.random.default_rng(0).standard_normal((30, 12, 1))
    series[0, 5:] = np.nan
    return series


# Properties of every display


@each_display
def test_every_display_draws_labels_and_a_title(name, model):
    display = draw(name, model)
    assert display.figure_ is display.ax_.figure
    labels = [ax.get_xlabel() + ax.get_ylabel() for ax in display.figure_.axes]
    assert any(labels)
    title = display.ax_.get_title() or display.figure_.get_suptitle()
    assert title in texts(display.figure_)


def labels_of(ax):
    legend = ax.get_legend()
    labels = [ax.title, ax.xaxis.label, ax.yaxis.label]
    return labels + ([] if legend is None else legend.get_texts())


@each_display
def test_all_labels_are_inside_the_figure(name, model):
    figure = draw(name, model).figure_
    figure.canvas.draw()
    for label in (label for ax in figure.axes for label in labels_of(ax)):
        box = label.get_window_extent()
        if label.get_text():
            assert -1 <= box.x0 <= box.x1 <= figure.bbox.width + 1, label
            assert -1 <= box.y0 <= box.y1 <= figure.bbox.height + 1, label


@each_display
def test_given_axes_are_used(name, model):
    figure, (_, ax) = plt.subplots(1, 2)
    display = draw(name, model, ax=ax)
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    box, within = display.ax_.get_position(), ax.get_position()
    assert within.x0 - 1e-9 <= box.x0 <= box.x1 <= within.x1 + 1e-9


@each_display
def test_a_display_can_be_drawn_again(name, model):
    display = draw(name, model)
    first = display.figure_
    assert display.plot() is display
    assert display.figure_ is not first
    for before, after in zip(drawn(first), drawn(display.figure_), strict=True):
        assert_array_equal(before, after)


@pytest.mark.parametrize("name", GRIDS)
def test_the_axes_of_a_display_can_be_used_again(name, model):
    display = draw(name, model)
    axes, figure = display.axes_, display.figure_
    assert_array_equal(display.plot(ax=axes).axes_, axes)
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("name", GRIDS)
def test_axes_that_cannot_be_divided_raise(name, model):
    display = draw(name, model)
    _, ax = plt.subplots()
    display.plot(ax=ax)
    with pytest.raises(ValueError, match="have been divided"):
        display.plot(ax=ax)
    with pytest.raises(ValueError, match=r"Got 9 axes, but expected"):
        display.plot(ax=plt.subplots(3, 3)[1])


@each_display
def test_nothing_is_computed_when_a_display_is_drawn(name, model, monkeypatch):
    display = draw(name, model)

    def fail(*args, **kwargs):
        raise AssertionError("computed")

    for method in ("transform", "inverse_transform", "reconstruction_error", "score"):
        monkeypatch.setattr(AutoencoderTransformer, method, fail)
    monkeypatch.setattr(Detector, "score_samples", fail)
    monkeypatch.setattr(Detector, "feature_scores", fail)
    monkeypatch.setattr(PCA, "fit", fail)
    display.plot()


@each_display
def test_settings_and_global_random_states_are_unchanged(name, model):
    settings = dict(mpl.rcParams)
    state = np.random.get_state()[1].tobytes()  # noqa: NPY002
    draw(name, model)
    assert dict(mpl.rcParams) == settings
    assert np.random.get_state()[1].tobytes() == state  # noqa: NPY002


@each_display
def test_without_matplotlib_the_error_names_the_extra(name, model, monkeypatch):
    display = draw(name, model)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    cls = type(display).__name__
    with pytest.raises(ImportError, match=rf"{cls}\.plot requires .*skae\[plot\]"):
        display.plot()
    with pytest.raises(ImportError, match=rf"{cls}\.from_estimator requires"):
        draw(name, model)


@each_class
def test_an_estimator_that_is_not_fitted_raises(cls):
    is_outlier = cls is OutlierDisplay
    estimator = IsolationForest() if is_outlier else AutoencoderTransformer()
    rows = () if cls is LossCurveDisplay else (X,)
    with pytest.raises(NotFittedError):
        cls.from_estimator(estimator, *rows)


TRANSFORMED = (
    CodeDisplay,
    ReconstructionDisplay,
    TraversalDisplay,
    ExplainedVarianceDisplay,
)
each_of_transformers = pytest.mark.parametrize("cls", TRANSFORMED)


@each_of_transformers
@pytest.mark.parametrize("wrap", ["alone", "pipeline"])
def test_estimators_that_are_not_transformers_raise(cls, wrap):
    estimator = WRAPPERS[wrap](IsolationForest(random_state=0)).fit(X)
    kind = type(estimator).__name__
    with pytest.raises(TypeError, match=f"type {kind} without `transform`"):
        cls.from_estimator(estimator, X)


@each_of_transformers
def test_transformers_that_cannot_decode_raise(cls):
    estimator = Nystroem(n_components=3, random_state=0).fit(X)
    kw = {"color": "error"} if cls is CodeDisplay else {}
    with pytest.raises(TypeError, match="Nystroem without `inverse_transform`"):
        cls.from_estimator(estimator, X, **kw)


def test_codes_of_blocks_are_drawn(model):
    display = CodeDisplay.from_estimator(model, lambda: iter([X]), color="error")
    assert_allclose(display.codes, model.transform(X))
    assert_allclose(display.y, model.reconstruction_error(X))


def test_codes_are_drawn_without_a_decoder():
    estimator = Nystroem(n_components=3, random_state=0).fit(X)
    display = CodeDisplay.from_estimator(estimator, X)
    assert_allclose(display.codes, estimator.transform(X))


@pytest.mark.parametrize("cls", TRANSFORMED[1:])
@pytest.mark.parametrize("blocks", [lambda: iter([X]), (block for block in [X])])
def test_blocks_raise(cls, model, blocks):
    with pytest.raises(TypeError, match=r"of blocks as X, .* Pass an array"):
        cls.from_estimator(model, blocks)


@each_class
def test_the_parameters_of_a_display_are_its_attributes(cls, model):
    names = [name for name in DISPLAYS if cls.__name__.startswith(name)]
    display = draw(names[0], model)
    code = cls.__init__.__code__
    params = code.co_varnames[1 : 1 + code.co_kwonlyargcount]
    copied = cls(**{name: getattr(display, name) for name in params}).plot()
    for before, after in zip(
        drawn(display.figure_), drawn(copied.figure_), strict=True
    ):
        assert_array_equal(before, after)


# LossCurveDisplay


@pytest.fixture(scope="module")
def refitted():
    """A model with validation rows and a refit from its best epoch."""
    rows = curve(800)
    params = {"max_iter": 40, "early_stopping": True, "random_state": 0}
    return rows, AutoencoderTransformer(1, **params).fit(rows)


def test_loss_curves_are_those_of_the_estimator(refitted):
    _, model = refitted
    display = LossCurveDisplay.from_estimator(model)
    epochs = 1 + np.arange(model.max_iter_)
    assert_array_equal(display.line_.get_xdata(), epochs[: len(model.loss_curve_)])
    assert_array_equal(display.line_.get_ydata(), model.loss_curve_)
    assert_array_equal(
        display.validation_line_.get_ydata(), model.validation_loss_curve_
    )
    assert_array_equal(display.refit_line_.get_ydata(), model.refit_loss_curve_)
    assert display.refit_line_.get_xdata()[0] == model.best_iter_ + 1


def test_the_best_epoch_is_marked(refitted):
    _, model = refitted
    (point,) = LossCurveDisplay.from_estimator(model).best_point_.get_xydata()
    assert_allclose(point, [model.best_iter_, min(model.validation_loss_curve_)])


def test_the_loss_of_pca_is_that_of_an_untrained_model(refitted):
    rows, model = refitted
    # Steps that are too small to leave PCA.
    start = clone(model).set_params(learning_rate=1e-7, max_iter=2).fit(rows)
    display = LossCurveDisplay.from_estimator(model)
    expected = start.validation_loss_curve_[0]
    assert display.pca_loss == pytest.approx(expected, rel=1e-4)
    assert_allclose(display.pca_line_.get_ydata(), display.pca_loss)


def test_a_refit_after_a_cross_validation_starts_at_the_first_epoch():
    model = AutoencoderTransformer(1, max_iter=40, random_state=0).fit(X)
    assert len(model.refit_loss_curve_) == model.best_iter_ > 1
    display = LossCurveDisplay.from_estimator(model)
    assert display.refit_line_.get_xdata()[0] == 1


def test_a_refit_of_one_epoch_continues_after_the_first_epoch():
    model = quick(1, early_stopping=True, max_iter=1).fit(curve(800))
    assert len(model.refit_loss_curve_) == model.best_iter_ == 1
    display = LossCurveDisplay.from_estimator(model)
    assert_array_equal(display.refit_line_.get_xdata(), [2])


def test_a_model_that_is_pca_is_drawn_without_a_best_loss():
    rows = np.random.default_rng(0).standard_normal((300, 10))
    model = AutoencoderTransformer(2, random_state=0).fit(rows)
    assert model.is_pca_
    display = LossCurveDisplay.from_estimator(model)
    assert "PCA is kept" in display.ax_.get_title()
    if model.best_validation_score_ == model.pca_validation_score_:
        assert display.pca_line_ is display.best_point_ is None


def test_a_model_without_validation_rows_has_one_curve():
    model = quick(2, early_stopping=False).fit(X)
    display = LossCurveDisplay.from_estimator(model)
    assert display.validation_line_ is display.refit_line_ is None
    assert display.pca_line_ is display.best_point_ is None


def test_pca_is_not_called_an_epoch():
    losses = {"loss_curve": [1.1, 1.0], "validation_loss_curve": [1.3, 1.19]}
    display = LossCurveDisplay(**losses, best_iter=0, pca_loss=1.2).plot()
    assert_allclose(display.best_point_.get_xydata(), [[0, 1.2]])
    assert display.best_point_.get_label() == "PCA is kept: 1.2"
    display = LossCurveDisplay(**losses, best_iter=2, pca_loss=1.2).plot()
    assert display.best_point_.get_label() == "best epoch, 2: 1.19"


def test_a_fit_without_epochs_has_no_legend():
    model = AutoencoderTransformer(2, max_iter=0).fit(X)
    for display in (
        LossCurveDisplay.from_estimator(model),
        LossCurveDisplay(loss_curve=[]).plot(),
    ):
        assert display.line_ is None
        assert display.ax_.get_legend() is None


@pytest.mark.parametrize(
    ("params", "label"),
    [
        ({}, "squared error, standardized units"),
        ({"loss": "absolute_error"}, "absolute error, standardized units"),
        ({"regularizer": Ordered()}, "squared error, standardized units, with penalty"),
        ({"loss": lambda output, target: (output - target) ** 2}, "loss"),
    ],
)
def test_the_axis_of_losses_has_a_unit(params, label):
    display = LossCurveDisplay.from_estimator(quick(2, **params).fit(X))
    assert display.ax_.get_ylabel() == label


def test_a_pipeline_has_no_loss_curves():
    pipeline = make_pipeline(StandardScaler(), quick(2)).fit(X)
    with pytest.raises(TypeError, match=r"expected an AutoencoderTransformer.*\[-1\]"):
        LossCurveDisplay.from_estimator(pipeline)


# CodeDisplay

THIRDS = np.arange(120) % 3
FIRST = np.arange(120) > 5
TRUTHS = ["False", "True", "missing"]


def test_codes_are_drawn_at_their_positions(model):
    codes = model.transform(X)
    (scatter,) = CodeDisplay.from_estimator(model, X, components=(2, 0)).scatters_
    assert_allclose(scatter.get_offsets(), codes[:, [2, 0]])


def test_pairs_are_drawn_below_the_diagonal(model):
    codes = model.transform(X)
    display = CodeDisplay.from_codes(codes, components=(0, 1, 2))
    pairs = [(0, 1), (0, 2), (1, 2)]
    for scatter, pair in zip(display.scatters_, pairs, strict=True):
        assert_allclose(scatter.get_offsets(), codes[:, pair])
    assert [ax.axison for ax in display.axes_.flat] == [True, False, True, True]
    assert display.axes_[1, 0].get_xlabel() == "component 0"
    assert display.axes_[0, 0].get_ylabel() == "component 1"


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        (GROUPS, ["left", "right"]),
        (GROUPS == "left", ["False", "True"]),
        (pd.Categorical(GROUPS, categories=["right", "none", "left"]), None),
        (THIRDS, ["0", "1", "2"]),
        (THIRDS.astype(float), ["0.0", "1.0", "2.0"]),
        (pd.Series(GROUPS).where(FIRST, None), ["left", "right", "missing"]),
        (pd.Series(THIRDS, dtype="Int64").where(FIRST), ["0", "1", "2", "missing"]),
        (pd.Series(THIRDS > 0, dtype="boolean").where(FIRST), TRUTHS),
        (pd.Series(THIRDS > 0, dtype="boolean").where(FIRST).to_frame(), TRUTHS),
        (pd.Series([pd.NaT] * 120), ["missing"]),
        (np.full(120, np.nan), ["missing"]),
        (THIRDS[:, np.newaxis], ["0", "1", "2"]),
        (pl.Series(THIRDS), ["0", "1", "2"]),
        (pl.DataFrame({"third": THIRDS}), ["0", "1", "2"]),
        ([f"{i % 11:02}" for i in range(120)], None),
    ],
)
def test_categories_have_a_legend(model, y, labels):
    display = CodeDisplay.from_estimator(model, X, y)
    assert display.colorbar_ is None
    shown = [text.get_text() for text in display.legend_.get_texts()]
    if labels is None:
        labels = ["right", "left"] if len(shown) == 2 else [*shown[:9], "other"]
    assert shown == labels
    (scatter,) = display.scatters_
    scatter.update_scalarmappable()
    colors = {tuple(color) for color in scatter.get_facecolors()}
    assert len(colors) == len(labels)


@pytest.mark.parametrize("y", [X[:, 0], np.arange(120)])
def test_numbers_have_a_color_bar(model, y):
    display = CodeDisplay.from_estimator(model, X, pd.Series(y, name="size"))
    assert display.legend_ is None
    assert display.colorbar_.ax.get_ylabel() == "size"
    assert_allclose(display.scatters_[0].get_array(), y)
    assert_allclose(display.scatters_[0].get_clim(), np.percentile(y, [1, 99]))


def test_rare_and_missing_categories_are_gray(model):
    y = pd.Series([f"{i % 11:02}" for i in range(120)]).where(FIRST)
    display = CodeDisplay.from_estimator(model, X, y)
    assert display.legend_.get_texts()[-1].get_text() == "other or missing"


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_the_color_bar_has_the_range_of_finite_values(model, value):
    y = np.where(FIRST, X[:, 0], value)
    display = CodeDisplay.from_estimator(model, X, y)
    (scatter,) = display.scatters_
    assert_allclose(scatter.get_clim(), np.percentile(y[FIRST], [1, 99]))
    scatter.update_scalarmappable()
    gray = mpl.colors.to_rgba("#777777")
    assert_allclose(scatter.get_facecolors()[~FIRST], np.tile(gray, (6, 1)))


@pytest.mark.parametrize("dtype", ["Int64", "Float64"])
def test_nullable_numbers_have_a_color_bar(model, dtype):
    y = pd.Series(np.arange(120), dtype=dtype).where(FIRST)
    display = CodeDisplay.from_estimator(model, X, y)
    shown = display.scatters_[0].get_array()
    assert_array_equal(np.ma.filled(shown, np.nan), y.to_numpy(float, na_value=np.nan))


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_dates_have_a_color_bar(model, zone):
    dates = pd.date_range("2019-12-01", periods=120, tz=zone).to_series(name="day")
    display = CodeDisplay.from_estimator(model, X, dates.where(FIRST))
    assert display.legend_ is None
    days = np.ma.filled(display.scatters_[0].get_array(), np.nan)
    assert_allclose(np.diff(days[FIRST]), 1)
    assert np.isnan(days[~FIRST]).all()
    assert display.colorbar_.ax.get_ylabel() == "day"
    labels = [label.get_text() for label in display.colorbar_.ax.get_yticklabels()]
    assert "2020-02-01" in labels


@pytest.mark.parametrize("y", [X[:, :2], pd.DataFrame(X[:, :2]), 3.0])
def test_colors_of_several_columns_raise(model, y):
    with pytest.raises(ValueError, match=r"Got y of shape .* one value for each row"):
        CodeDisplay.from_estimator(model, X, y)
    with pytest.raises(ValueError, match=r"Got y of shape .* one value for each row"):
        CodeDisplay.from_codes(X, y)


def test_the_name_of_a_column_is_that_of_the_colors(model):
    frame = pd.DataFrame({"size": X[:, 0]})
    display = CodeDisplay.from_codes(X, frame)
    assert display.colorbar_.ax.get_ylabel() == "size"


def test_codes_are_colored_by_error(model):
    display = CodeDisplay.from_estimator(model, X, color="error")
    assert_allclose(display.y, model.reconstruction_error(X))
    assert "squared error" in display.colorbar_.ax.get_ylabel()
    # Other transformers have the squared error.
    pca = PCA(2).fit(X)
    expected = np.square(X - pca.inverse_transform(pca.transform(X))).mean(axis=1)
    display = CodeDisplay.from_estimator(pca, X, color="error")
    assert_allclose(display.y, expected)


def test_names_of_components_are_those_of_the_codes(model):
    display = CodeDisplay.from_estimator(model, X)
    assert display.ax_.get_xlabel() == "component ae0"
    codes = pd.DataFrame(model.transform(X), columns=["a", "b", "c"])
    assert CodeDisplay.from_codes(codes).ax_.get_ylabel() == "component b"


NO_COMPONENTS = [(), (0, 3), (0, -4), 3, "ab", (0.0, 1.0), (True, False), ((0, 1),)]


@pytest.mark.parametrize("components", [*NO_COMPONENTS, (0,), None])
def test_components_that_do_not_exist_raise(model, components):
    with pytest.raises(ValueError, match=r"components=.* at least 2\."):
        CodeDisplay.from_estimator(model, X, components=components)


@pytest.mark.parametrize("convert", [np.ndarray.tolist, pd.DataFrame, pl.DataFrame])
def test_codes_of_every_form_are_drawn(convert):
    display = CodeDisplay(codes=convert(X[:, :3]), components=(0, 1, 2)).plot()
    assert_allclose(display.scatters_[1].get_offsets(), X[:, [0, 2]])


def test_no_codes_raise():
    with pytest.raises(ValueError, match=r"Got 0 codes, but expected at least one\."):
        CodeDisplay.from_codes(np.empty((0, 2)))


def test_invalid_colors_raise(model):
    with pytest.raises(ValueError, match="color"):
        CodeDisplay.from_estimator(model, X, color="red")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        CodeDisplay.from_estimator(model, X, GROUPS[:5])


# ReconstructionDisplay


def test_rows_are_drawn_with_their_reconstructions(model):
    display = ReconstructionDisplay.from_estimator(model, X, n_rows=3)
    back = model.inverse_transform(model.transform(X[:3]))
    for i in range(3):
        assert_allclose(display.lines_[i][0].get_ydata(), X[i])
        assert_allclose(display.reconstructed_lines_[i][0].get_ydata(), back[i])
    error = model.reconstruction_error(X[:3])[2]
    assert display.axes_.flat[2].get_title() == f"row 2: {error:.3g}"


def test_standardized_rows_have_columns_of_unit_variance(model):
    rows = X * np.geomspace(0.01, 100, N_FEATURES) + 5
    pipeline = make_pipeline(StandardScaler(), quick(2)).fit(rows)
    display = ReconstructionDisplay.from_estimator(
        pipeline, rows, n_rows=2, standardize=True
    )
    assert_allclose(display.rows, StandardScaler().fit_transform(rows)[:2])
    expected = np.square(display.rows - display.reconstructions).mean(axis=1)
    assert_allclose(display.errors, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_their_channels_last(channels):
    images = np.random.default_rng(0).uniform(size=(30, channels, 4, 5))
    model = quick(2).fit(images)
    display = ReconstructionDisplay.from_estimator(model, images, n_rows=4)
    shown = np.asarray(display.images_[2].get_array())
    low, high = images[:4].min(), images[:4].max()
    expected = (images[2].transpose(1, 2, 0) - low) / (high - low)
    assert_allclose(shown, expected[..., 0] if channels == 1 else expected)
    assert display.axes_.shape == (2, 4)
    flat = ReconstructionDisplay.from_estimator(
        quick(2).fit(images.reshape(30, -1)),
        images.reshape(30, -1),
        n_rows=4,
        image_shape=images.shape[1:],
    )
    assert_allclose(flat.images_[2].get_array(), shown)


@pytest.mark.parametrize("shape", [(12, 2), (2, 12)])
def test_a_series_has_a_line_for_each_feature(shape):
    series = np.random.default_rng(0).standard_normal((30, *shape))
    display = ReconstructionDisplay.from_estimator(quick(2).fit(series), series)
    first = series[0].T if shape[0] < shape[1] else series[0]
    lines = [line.get_ydata() for line in display.lines_[0]]
    assert_allclose(np.transpose(lines), first)
    assert display.axes_[-1, 0].get_xlabel() == "step"


@pytest.mark.parametrize(("n_rows", "shape"), [(1, (1, 1)), (2, (1, 2)), (3, (2, 2))])
def test_the_axes_of_rows_have_at_most_two_columns(model, n_rows, shape):
    display = ReconstructionDisplay.from_estimator(model, X, n_rows=n_rows)
    assert display.axes_.shape == shape


def test_series_of_different_lengths_have_equal_axes():
    series = padded_series()
    display = ReconstructionDisplay.from_estimator(quick(3).fit(series), series)
    limits = {(ax.get_xlim(), ax.get_ylim()) for ax in display.axes_.flat}
    assert len(limits) == 1
    (low, high), _ = limits.pop()
    assert low < 0
    assert high > 11
    assert_array_equal(display.lines_[0][0].get_ydata(), series[0, :, 0])


def test_names_of_columns_are_drawn():
    frame = pd.DataFrame(X).rename(columns=lambda i: f"column {i}")
    display = ReconstructionDisplay.from_estimator(quick(2).fit(frame), frame)
    shown = [text.get_text() for text in display.axes_[-1, 0].get_xticklabels()]
    assert shown == list(frame.columns)


def test_tables_of_mixed_columns_raise():
    frame = pd.DataFrame(X).assign(group=GROUPS)
    frame.columns = frame.columns.astype(str)
    model = quick(2).fit(frame)
    with pytest.raises(ValueError, match="columns other than numbers"):
        ReconstructionDisplay.from_estimator(model, frame)
    with pytest.raises(ValueError, match="columns other than numbers"):
        TraversalDisplay.from_estimator(model, frame)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 5), "image_shape"),
        (N_FEATURES, "image_shape"),
        ((2.0, N_FEATURES / 2), "image_shape"),
        ((-2, -N_FEATURES // 2), "image_shape"),
        ("ab", "image_shape='ab' for rows of shape"),
        ((2, 1, N_FEATURES // 2), "channels"),
    ],
)
@pytest.mark.parametrize("cls", [ReconstructionDisplay, TraversalDisplay])
def test_images_of_another_shape_raise(cls, model, shape, message):
    with pytest.raises(ValueError, match=message):
        cls.from_estimator(model, X, image_shape=shape)


def test_a_word_in_place_of_a_boolean_raises(model):
    with pytest.raises(TypeError, match="standardize must be an instance of"):
        ReconstructionDisplay.from_estimator(model, X, standardize="no")


# TraversalDisplay


def test_a_component_is_decoded_at_its_quantiles(model):
    codes = model.transform(X)
    display = TraversalDisplay.from_estimator(model, X, components=(2,), n_steps=3)
    steps = np.tile(codes.mean(axis=0), (3, 1))
    steps[:, 2] = np.quantile(codes[:, 2], [0.05, 0.5, 0.95])
    decoded = model.inverse_transform(steps)
    assert_allclose(display.decoded, decoded[np.newaxis])
    (heatmap,) = display.images_
    assert_allclose(heatmap.get_array(), ((decoded - X.mean(0)) / X.std(0)).T)
    assert display.ax_.get_title() == "ae2"


def test_lines_of_a_traversal_are_the_decoded_rows(model):
    display = TraversalDisplay.from_estimator(model, X).plot(kind="lines")
    lines = [[line.get_ydata() for line in lines] for lines in display.lines_]
    assert_allclose(lines, display.decoded)


def test_images_of_a_traversal_have_a_row_for_each_component(model):
    display = draw("Traversal of images", model)
    assert display.axes_.shape == (3, 7)
    assert [ax.get_ylabel() for ax in display.axes_[:, 0]] == ["ae0", "ae1", "ae2"]
    assert [ax.get_title() for ax in display.axes_[0, [0, -1]]] == ["5%", "95%"]
    low, high = display.decoded.min(), display.decoded.max()
    shown = np.stack([image.get_array() for image in display.images_])
    expected = (display.decoded.reshape(shown.shape) - low) / (high - low)
    assert_allclose(shown, expected)


def test_series_of_a_traversal_are_lines():
    series = np.random.default_rng(0).standard_normal((30, 12, 2))
    display = TraversalDisplay.from_estimator(quick(2).fit(series), series, n_steps=3)
    assert [len(lines) for lines in display.lines_] == [6, 6]


@pytest.mark.parametrize("shape", [(12, 2), (2, 12), (2, 2, 3, 2)])
def test_every_row_of_a_heatmap_has_a_label(shape):
    series = np.random.default_rng(0).standard_normal((30, *shape))
    display = TraversalDisplay.from_estimator(quick(2).fit(series), series, n_steps=3)
    display.plot(kind="heatmap")
    labels = [label.get_text() for label in display.axes_[0, 0].get_yticklabels()]
    assert labels == [str(position) for position in np.ndindex(shape)]
    assert_array_equal(display.axes_[0, 0].get_yticks(), np.arange(24))
    assert display.images_[0].get_array().shape == (24, 3)


@pytest.mark.parametrize("components", NO_COMPONENTS)
def test_components_that_cannot_be_traversed_raise(model, components):
    with pytest.raises(ValueError, match=r"components=.* at least 1\."):
        TraversalDisplay.from_estimator(model, X, components=components)


def test_a_traversal_of_one_step_raises(model):
    with pytest.raises(ValueError, match="n_steps"):
        TraversalDisplay.from_estimator(model, X, n_steps=1)


def test_other_kinds_of_traversals_raise(model):
    with pytest.raises(ValueError, match="kind='bars'"):
        TraversalDisplay.from_estimator(model, X).plot(kind="bars")


# OutlierDisplay


def counts(bars):
    return [bar.get_height() for bar in bars]


def test_the_histogram_counts_all_scores():
    detector = IsolationForest(contamination=0.1, random_state=0).fit(X)
    display = OutlierDisplay.from_estimator(detector, X)
    (bars,) = display.bars_
    assert sum(counts(bars)) == len(X)
    assert_allclose(display.threshold_line_.get_xdata(), detector.offset_)
    n_outliers = (detector.predict(X) == -1).sum()
    assert len(display.rug_[0].get_xdata()) == n_outliers
    assert f"{n_outliers} of 120 rows" in display.threshold_line_.get_label()
    with pytest.raises(ValueError, match="no method `feature_scores`"):
        display.plot_features(0)


DETECTORS = [
    IsolationForest(random_state=0),
    LocalOutlierFactor(novelty=True),
    EllipticEnvelope(random_state=0),
    OneClassSVM(),
    AutoencoderOutlierDetector(quick(2), random_state=0),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: type(d).__name__)
def test_the_threshold_separates_the_outliers_of_every_detector(detector, wrap):
    rows = X[:, :3] + np.random.default_rng(0).standard_normal((120, 3))
    estimator = WRAPPERS[wrap](clone(detector)).fit(rows)
    display = OutlierDisplay.from_estimator(estimator, rows)
    scores = estimator.score_samples(rows)
    assert_allclose(
        display.scores - display.threshold, estimator.decision_function(rows)
    )
    assert_array_equal(scores < display.threshold, estimator.predict(rows) == -1)


def test_estimators_without_scores_of_rows_raise(model):
    with pytest.raises(TypeError, match="expected an outlier detector"):
        OutlierDisplay.from_estimator(model, X)


def test_outliers_have_a_histogram_of_their_own():
    y = np.where(np.arange(120) < 7, -1, 1)
    display = OutlierDisplay.from_estimator(Detector().fit(X), X, y)
    inliers, outliers = display.bars_
    assert sum(counts(inliers)) == 113
    assert sum(counts(outliers)) == 7
    with pytest.raises(ValueError, match="expected -1 for outliers"):
        OutlierDisplay.from_estimator(Detector().fit(X), X, GROUPS)


def test_the_largest_columns_of_a_row_are_drawn():
    display = OutlierDisplay.from_estimator(Detector().fit(X), X)
    row = int(display.scores.argmin())
    assert display.plot_features(row, n_features=2) is display
    largest = np.argsort(-np.square(X[row]))[:2]
    widths = [bar.get_width() for bar in display.feature_bars_]
    assert_allclose(widths, np.square(X[row])[largest])
    names = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert names == [f"column {i}" for i in largest]
    assert display.ax_.get_title().startswith(f"Row {row}: score")


@pytest.mark.parametrize("convert", [list, pd.Series])
@pytest.mark.parametrize("y", [None, [-1, 1, 1]])
def test_scores_of_every_form_are_drawn(convert, y):
    display = OutlierDisplay(
        scores=convert([1.0, 2.0, 3.0]),
        threshold=1.5,
        y=y,
        feature_scores=pd.DataFrame([[2.0, 1.0], [0.0, 0.0], [0.0, 0.0]]),
    ).plot()
    assert sum(sum(counts(bars)) for bars in display.bars_) == 3
    display.plot_features(-3)
    assert [bar.get_width() for bar in display.feature_bars_] == [2, 1]


def test_a_pipeline_without_scores_of_columns_raises():
    pipeline = make_pipeline(StandardScaler(), Detector()).fit(X)
    display = OutlierDisplay.from_estimator(pipeline, X)
    with pytest.raises(ValueError, match=r"a pipeline does not .* Pass its last step"):
        display.plot_features(0)


@pytest.mark.parametrize("row", [120, -121])
def test_rows_that_do_not_exist_raise(row):
    display = OutlierDisplay.from_estimator(Detector().fit(X), X)
    with pytest.raises(ValueError, match="row =="):
        display.plot_features(row)


# ExplainedVarianceDisplay


def share(rows, back):
    return 1 - np.square(rows - back).sum() / np.square(rows - rows.mean(0)).sum()


def test_ordered_components_have_a_curve(model):
    display = ExplainedVarianceDisplay.from_estimator(model, X)
    assert_array_equal(display.line_.get_xdata(), [1, 2, 3])
    codes = model.transform(X)
    expected = [
        share(X, model.inverse_transform(codes * (np.arange(3) < k))) for k in (1, 2, 3)
    ]
    assert_allclose(display.line_.get_ydata(), 100 * np.array(expected))


def test_other_components_are_a_point():
    model = quick(2, early_stopping=False, max_iter=5).fit(X)
    assert not model.is_pca_
    display = ExplainedVarianceDisplay.from_estimator(model, X)
    expected = share(X, model.inverse_transform(model.transform(X)))
    assert_allclose(display.line_.get_xydata(), [[2, 100 * expected]])


def test_components_without_an_order_are_a_point_for_every_number():
    model = FastICA(whiten_solver="eigh", max_iter=1000, random_state=0).fit(X[:, :2])
    assert model.n_components is None
    display = ExplainedVarianceDisplay.from_estimator(model, X[:, :2])
    assert_array_equal(display.n_components, [2])


@pytest.mark.parametrize(
    "estimator",
    [
        PCA(3),
        AutoencoderTransformer(3, max_iter=0),
        make_pipeline(StandardScaler(with_std=False), PCA(3)),
        GridSearchCV(PCA(), {"n_components": [3]}, cv=2),
    ],
)
def test_pca_explains_as_much_as_the_curve_of_pca(estimator):
    display = ExplainedVarianceDisplay.from_estimator(estimator.fit(X), X)
    assert_allclose(display.explained, display.pca_explained[:3])
    expected = PCA().fit(X).explained_variance_ratio_.cumsum()
    assert_allclose(display.pca_explained, expected[: len(display.pca_explained)])


def test_a_share_of_the_variance_gives_a_curve():
    model = quick(0.95).fit(X)
    display = ExplainedVarianceDisplay.from_estimator(model, X)
    assert_array_equal(display.n_components, 1 + np.arange(model.n_components_))


@pytest.mark.parametrize(
    ("rows", "params", "message"),
    [
        (np.where(np.arange(X.size).reshape(X.shape) == 3, np.nan, X), {}, "missing"),
        (padded_series(), {}, "padded steps"),
        (np.arange(60).reshape(20, 3) % 5, {"loss": "cross_entropy"}, "tokens"),
        (np.arange(60).reshape(20, 3) % 5, {"loss": CrossEntropy()}, "tokens"),
    ],
)
def test_rows_without_a_squared_error_have_no_variance(rows, params, message):
    model = quick(2, **params).fit(rows)
    with pytest.raises(ValueError, match=f"X has .*{message}.*`score`"):
        ExplainedVarianceDisplay.from_estimator(model, rows)


@pytest.mark.parametrize("rows", [X[:1], np.repeat(X[:1], 5, axis=0)])
def test_equal_rows_have_no_variance(model, rows):
    with pytest.raises(ValueError, match=rf"X has {len(rows)} rows without variance"):
        ExplainedVarianceDisplay.from_estimator(model, rows)
