"""Callbacks: those of scikit-learn work, and receive the model of each epoch."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from variants import VARIANTS, digest, quick

from skae import MLP, AutoencoderTransformer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Callback:
    """A callback that does nothing, the base of those below."""

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        pass


class StopAt(Callback):
    """Ends training after a number of epochs."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch" and context.task_id == self.n_epochs - 1


class RaiseAt(StopAt):
    """Raises an error after a number of epochs."""

    def __init__(self, n_epochs, error):
        super().__init__(n_epochs)
        self.error = error

    def on_fit_task_end(self, estimator, context):
        if super().on_fit_task_end(estimator, context):
            raise self.error


class Recorder(Callback):
    """Records the tasks, and the fitted model and its codes after each epoch."""

    def __init__(self):
        self.tasks, self.codes, self.models = [], [], []

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        self.tasks.append(("end", context.task_name))
        if context.task_name == "epoch":
            self.models.append(fitted_estimator)
            self.codes.append(fitted_estimator.transform(X))


def small(**params):
    quick = {"network": MLP((8,)), "max_iter": 6, "random_state": 0}
    return AutoencoderTransformer(**quick | {"early_stopping": False} | params)


def share(estimator, X, y=None):
    return estimator.score(X)


@pytest.mark.parametrize("early_stopping", [False, True, "auto"])
@pytest.mark.parametrize("max_iter", [0, 3])
def test_every_task_that_begins_ends(max_iter, early_stopping, digits):
    recorder = Recorder()
    model = small(max_iter=max_iter, early_stopping=early_stopping)
    model.set_callbacks(recorder).fit(digits)
    begun = [name for event, name in recorder.tasks if event == "begin"]
    ended = [name for event, name in recorder.tasks if event == "end"]
    assert sorted(begun) == sorted(ended)
    assert begun.count("epoch") == model.n_iter_


def test_the_model_of_an_epoch_is_that_of_a_fit_that_stopped_there(digits):
    recorder = Recorder()
    codes = small().set_callbacks(recorder).fit_transform(digits)
    assert np.array_equal(recorder.codes[-1], codes)
    for n_epochs, recorded in enumerate(recorder.codes, start=1):
        stopped = small().set_callbacks(StopAt(n_epochs)).fit(digits)
        assert stopped.n_iter_ == n_epochs
        assert np.array_equal(stopped.transform(digits), recorded)


def test_the_model_of_an_epoch_does_not_change_later(digits):
    recorder = Recorder()
    small().set_callbacks(recorder).fit(digits)
    for n_epochs, (model, codes) in enumerate(
        zip(recorder.models, recorder.codes, strict=True), start=1
    ):
        assert model.n_iter_ == len(model.loss_curve_) == n_epochs
        assert np.array_equal(model.transform(digits), codes)


# With the second, the best state is often not the latest.
@pytest.mark.parametrize(
    "params",
    [
        {"network": MLP((8,), dropout=0.2)},
        {"early_stopping": True, "max_iter": 40, "learning_rate": 0.05},
        {"early_stopping": "auto", "max_iter": 40, "learning_rate": 0.05},
    ],
)
def test_callbacks_do_not_change_the_fitted_model(params, digits):
    model = small(**params).set_callbacks(Recorder())
    without = small(**params)
    assert np.array_equal(model.fit_transform(digits), without.fit_transform(digits))
    assert model.loss_curve_ == without.loss_curve_


def test_scoring_monitor_records_a_score_for_every_epoch(digits):
    monitor = ScoringMonitor(scoring={"share": share})
    model = small().set_callbacks(monitor).fit(digits)
    records = [r for r in monitor.get_logs().data if r["task_name"] == "epoch"]
    assert len(records) == model.n_iter_ == 6
    assert records[-1]["share"] == model.score(digits)
    assert records[-1]["share"] > records[0]["share"]


@pytest.mark.parametrize("early_stopping", [False, True, "auto"])
def test_progress_bar_reaches_100_percent(early_stopping, digits, capsys):
    model = small(early_stopping=early_stopping).set_callbacks(ProgressBar())
    model.fit(digits)
    out, err = capsys.readouterr()
    assert "AutoencoderTransformer" in out
    assert "100%" in out
    assert not err


def test_progress_bar_works_in_a_search_over_a_pipeline(digits, capsys):
    model = make_pipeline(StandardScaler(), small(max_iter=2), LogisticRegression())
    grid = {"autoencodertransformer__n_components": [1, 2]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise")
    search.set_callbacks(ProgressBar(max_propagation_depth=None))
    search.fit(digits, np.arange(len(digits)) % 2)
    assert "AutoencoderTransformer" in capsys.readouterr().out
    plain = GridSearchCV(model, grid, cv=2, error_score="raise")
    plain.fit(digits, np.arange(len(digits)) % 2)
    scores = "mean_test_score"
    assert np.array_equal(search.cv_results_[scores], plain.cv_results_[scores])


def test_partial_fit_reports_its_epoch(digits):
    recorder = Recorder()
    model = small().set_callbacks(recorder).partial_fit(digits).partial_fit(digits)
    assert [m.n_iter_ for m in recorder.models] == [1, 2]
    assert np.array_equal(recorder.codes[-1], model.transform(digits))


def test_a_callback_that_raises_leaves_the_earlier_model(digits):
    model = small().fit(digits)
    codes = model.transform(digits)
    model.set_callbacks(RaiseAt(2, RuntimeError("in a callback")))
    with pytest.raises(RuntimeError, match="in a callback"):
        model.fit(digits[::2])
    assert np.array_equal(model.transform(digits), codes)
    assert model.n_iter_ == 6


def test_a_callback_that_raises_in_the_first_fit_leaves_the_estimator_unfitted(digits):
    model = small().set_callbacks(RaiseAt(2, RuntimeError("in a callback")))
    with pytest.raises(RuntimeError, match="in a callback"):
        model.fit(digits)
    assert not hasattr(model, "module_")


@pytest.mark.parametrize("early_stopping", [True, "auto"])
def test_a_callback_stops_a_fit_with_early_stopping_without_a_refit(
    early_stopping, digits
):
    model = small(early_stopping=early_stopping, max_iter=50).set_callbacks(StopAt(3))
    model.fit(digits)
    assert model.n_iter_ == len(model.validation_loss_curve_) == 3


class Checkpoint(Callback):
    """Saves the model after each epoch, and at the end of the fit."""

    def __init__(self):
        self.saved = []

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name != "epochs":
            self.saved.append(pickle.dumps(fitted_estimator))


@pytest.fixture(scope="module")
def frame(digits):
    return pd.DataFrame(digits[:60, :24] / 16).add_prefix("pixel ")


TRAINED = {
    "fit": lambda model, X: model.fit(X),
    "partial_fit": lambda model, X: model.partial_fit(X).partial_fit(X),
    "warm start": lambda model, X: model.set_params(warm_start=True).fit(X).fit(X),
}
FEW = ("default", "dropout", "Variational()", "lbfgs")
CASES = [("fit", name) for name in VARIANTS]
CASES += [(train, name) for train in ("partial_fit", "warm start") for name in FEW]


@pytest.mark.parametrize(("train", "name"), CASES)
def test_the_model_of_every_epoch_is_complete(train, name, frame):
    checkpoint = Checkpoint()
    model = quick(**VARIANTS[name]).set_callbacks(checkpoint)
    TRAINED[train](model, frame)
    assert len(checkpoint.saved) > 1
    for saved in checkpoint.saved:
        loaded = pickle.loads(saved)
        assert loaded.n_features_in_ == 24
        assert list(loaded.feature_names_in_) == list(frame.columns)
        assert loaded.transform(frame).shape == (60, loaded.n_components_)
        assert np.isfinite(loaded.score(frame))
        assert list(loaded.sample(2, random_state=0).columns) == list(frame.columns)
        n_epochs = len(loaded.loss_curve_)
        assert len(loaded.partial_fit(frame).loss_curve_) == n_epochs + 1


@pytest.mark.parametrize(("train", "name"), [c for c in CASES if c[1] != "share"])
def test_the_model_of_the_last_epoch_equals_the_fitted_one(train, name, frame):
    checkpoint = Checkpoint()
    model = quick(**{**VARIANTS[name], "early_stopping": False})
    TRAINED[train](model.set_callbacks(checkpoint), frame)
    *_, last, final = map(pickle.loads, checkpoint.saved)
    if model.best_iter_ == model.n_iter_:  # else training has increased the loss
        assert digest(last) == digest(model)
    assert digest(final) == digest(model)
    names = vars(pickle.loads(pickle.dumps(model.set_callbacks()))).keys()
    assert vars(last).keys() == vars(final).keys() == names


def train_further(model, X):
    return model.partial_fit(X), model.set_params(warm_start=True).fit(X)


class TrainFurther(Callback):
    """Trains the model of every epoch further, without and with a pickle."""

    n_calls = 0

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        if context.task_name == "epoch":
            train_further(copy.deepcopy(fitted_estimator), X)
            train_further(fitted_estimator, X)
            self.n_calls += 1


def test_the_model_of_an_epoch_is_trained_further_without_callbacks(frame):
    callback = TrainFurther()
    model = quick().set_callbacks(callback).fit(frame)
    assert callback.n_calls == model.n_iter_
    assert digest(model) == digest(quick().fit(frame))


def test_a_search_that_monitors_scores_of_a_data_frame_warns_nothing(frame):
    monitor = ScoringMonitor(scoring={"share": share})
    model = quick().set_callbacks(monitor)
    GridSearchCV(model, {"n_components": [2]}, cv=4, error_score="raise").fit(frame)
    assert {r["task_name"] for r in monitor.get_logs().data} >= {"epoch"}
