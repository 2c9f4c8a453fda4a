"""Ctrl-C leaves the best model so far, an error leaves the earlier model."""

import _thread
import pickle
import signal
import threading
import warnings

import numpy as np
import pytest
import torch
from runs import curve
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from variants import VARIANTS, quick

from skae import MLP

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def X(digits):
    return digits / 16


class InterruptAt:
    """A callback that raises KeyboardInterrupt after a number of epochs."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            self.n_epochs -= 1
            if self.n_epochs == 0:
                raise KeyboardInterrupt


def assert_consistent(model, X):
    """Assert that a model is as consistent as one whose fit was complete."""
    assert not model.module_.training
    assert len(model.loss_curve_) == model.n_iter_
    assert 0 <= model.best_iter_ <= model.n_iter_
    codes = model.transform(X)
    assert np.isfinite(codes).all()
    assert np.array_equal(model.transform(X), codes)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).transform(X), codes)
    assert np.isfinite(model.score(X))
    n_iter = model.n_iter_
    assert len(model.partial_fit(X).loss_curve_) == n_iter + 1


@pytest.mark.parametrize("early_stopping", [False, True, "auto"])
@pytest.mark.parametrize("name", ["default", "dropout", "Ordered()", "share", "lbfgs"])
@pytest.mark.parametrize("n_epochs", [1, 3, 6])
def test_ctrl_c_leaves_the_best_model_so_far(name, early_stopping, n_epochs, X):
    params = {**VARIANTS[name], "max_iter": 6, "early_stopping": early_stopping}
    model = quick(**params).set_callbacks(InterruptAt(n_epochs))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.n_iter_ == n_epochs
    assert_consistent(model.set_callbacks(), X)


def test_ctrl_c_during_the_refit_leaves_the_model_of_the_first_run():
    X = curve(400)
    model = quick(max_iter=20).fit(X)
    assert model.n_iter_ > 21
    interrupted = clone(model).set_callbacks(InterruptAt(21))
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(X)
    assert interrupted.n_iter_ == 20
    assert interrupted.loss_curve_ == model.loss_curve_[:20]
    # The first run was standardized without the validation rows.
    assert not np.array_equal(interrupted.mean_, model.mean_)
    assert_consistent(interrupted.set_callbacks(), X)


@pytest.fixture
def keyboard():
    """Let SIGINT raise KeyboardInterrupt, even if a shell has disabled it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class StartTimer(InterruptAt):
    """A callback that starts a timer when training starts."""

    def __init__(self, timer):
        self.timer = timer

    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epochs":
            self.timer.start()

    def on_fit_task_end(self, estimator, context):
        pass


def interrupt_until(has_ended):
    """Interrupt the main thread, repeatedly, since destructors ignore exceptions."""
    _thread.interrupt_main()
    while not has_ended.wait(5):
        _thread.interrupt_main()


# An interrupt in a callback of the garbage collector is ignored, with this warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_moment_ends_the_fit_with_a_consistent_model(X, keyboard):
    rng = np.random.default_rng(0)
    n_threads = torch.get_num_threads()
    for _ in range(20):
        n_epochs = 10**7  # more than are run before the interrupt
        model = quick(max_iter=n_epochs, n_iter_no_change=n_epochs)
        has_ended = threading.Event()
        timer = threading.Timer(rng.uniform(0, 0.1), interrupt_until, [has_ended])
        model.set_callbacks(StartTimer(timer))
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
        has_ended.set()
        timer.join()
        assert torch.get_num_threads() == n_threads
        assert_consistent(model.set_callbacks(), X)


def test_one_ctrl_c_ends_a_search(X):
    model = quick(max_iter=6).set_callbacks(InterruptAt(9))
    with pytest.raises(KeyboardInterrupt):
        GridSearchCV(model, {"n_components": [1, 2, 3]}, cv=2).fit(X)


def no_network(*sizes):
    return None


@pytest.mark.parametrize(
    "invalid",
    [
        {"X": [[np.nan] * 64] * 9},
        {"X": [["a"] * 64] * 9},
        {"X": np.ones((9, 64)), "sample_weight": [1.0]},
        {"X": np.ones((9, 64)), "sample_weight": [-1.0] * 9},
        {"X": np.ones((9, 64)), "X_val": np.ones((3, 5))},
        {"X": np.full((9, 64), 1e200)},
    ],
    ids=["NaN", "strings", "one weight", "negative weights", "narrow X_val", "1e200"],
)
def test_a_refit_with_invalid_input_leaves_the_earlier_model(invalid, X):
    model = quick().fit(X)
    before, attributes = model.transform(X), set(vars(model))
    with pytest.raises(ValueError):  # noqa: PT011
        model.fit(**invalid)
    assert np.array_equal(model.transform(X), before)
    assert set(vars(model)) == attributes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", -1),
        ("loss", "poison"),
        ("network", MLP((0,))),
        ("network", no_network),
        ("loss", "log_loss"),  # which needs data in [0, 1]
        ("device", "abacus"),
    ],
)
def test_a_refit_with_invalid_parameters_leaves_the_earlier_model(name, value, X):
    model = quick().fit(X)
    before = model.transform(X)
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        model.set_params(**{name: value}).fit(X - 1)
    assert np.array_equal(model.transform(X), before)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).transform(X), before)


class RaiseIn:
    """A callback that raises an error in one of its hooks, for one kind of task."""

    def __init__(self, hook, task, error):
        self.hook, self.task, self.error = hook, task, error

    def raise_in(self, hook, context):
        if (hook, context.task_name) == (self.hook, self.task):
            raise self.error

    def setup(self, estimator, context):
        self.raise_in("setup", context)

    def teardown(self, estimator, context):
        self.raise_in("teardown", context)

    def on_fit_task_begin(self, estimator, context):
        self.raise_in("begin", context)

    def on_fit_task_end(self, estimator, context):
        self.raise_in("end", context)


TASKS = ("fit", "epochs", "epoch")
HOOKS = [(hook, task) for hook in ("begin", "end") for task in TASKS]
HOOKS += [("setup", "fit"), ("teardown", "fit")]
ERRORS = [(*hook, RuntimeError) for hook in HOOKS]
ERRORS += [("end", task, SystemExit) for task in TASKS]
TRAINED = {
    "fit": lambda model, X: model.fit(X),
    "PCA": lambda model, X: model.set_params(max_iter=0).fit(X),  # without epochs
    "warm start": lambda model, X: model.set_params(warm_start=True).fit(X),
    "partial_fit": lambda model, X: model.partial_fit(X),
}
CASES = [(t, *e) for t in TRAINED for e in ERRORS if t != "PCA" or e[1] == "fit"]


def state_of(model):
    """Return everything that a model has learned, as bytes, by attribute."""
    params = model.get_params(deep=False)
    state = model.set_callbacks().__getstate__()
    return {k: pickle.dumps(v) for k, v in state.items() if k not in params}


def assert_unchanged_by(raising, model, X):
    before, attributes = state_of(model), set(vars(model))
    raising()
    assert state_of(model) == before
    assert set(vars(model)) == attributes
    n_epochs = len(model.loss_curve_)
    assert len(model.partial_fit(X).loss_curve_) == n_epochs + 1


@pytest.mark.parametrize(("train", "hook", "task", "error"), CASES)
def test_an_error_in_any_hook_leaves_the_earlier_model(train, hook, task, error, X):
    for earlier in ("partial_fit", "fit"):
        model = TRAINED[earlier](quick(), X)

        def raising(model=model):
            model.set_callbacks(RaiseIn(hook, task, error("in a hook")))
            with pytest.raises(error, match="in a hook"):
                TRAINED[train](model, X[::2])

        assert_unchanged_by(raising, model, X)


@pytest.mark.parametrize(("train", "hook", "task", "error"), CASES)
def test_an_error_in_the_first_call_leaves_the_estimator_unfitted(
    train, hook, task, error, X
):
    model = quick()
    attributes = set(vars(model))
    model.set_callbacks(RaiseIn(hook, task, error("in a hook")))
    with pytest.raises(error, match="in a hook"):
        TRAINED[train](model, X)
    assert set(vars(model.set_callbacks())) == attributes


@pytest.mark.parametrize(
    ("train", "hook", "task"), [c[:3] for c in CASES if c[3] is RuntimeError]
)
def test_ctrl_c_in_any_hook_leaves_a_consistent_model(train, hook, task, X):
    model = quick(early_stopping=False).fit(X)
    model.set_callbacks(RaiseIn(hook, task, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        TRAINED[train](model, X[::2])
    assert_consistent(model.set_callbacks().set_params(warm_start=False), X)


@pytest.mark.parametrize("train", ["fit", "warm start", "partial_fit"])
def test_a_warning_that_is_an_error_leaves_the_earlier_model(train):
    X = curve(60)
    model = quick().fit(X)

    def raising():
        model.set_params(learning_rate=1e6)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            with pytest.raises(ConvergenceWarning, match="learning_rate"):
                TRAINED[train](model, X)
        model.set_params(learning_rate=1e-3)

    assert_unchanged_by(raising, model, X)


def test_warnings_name_the_line_that_calls_fit():
    X = curve(60)
    model = quick(learning_rate=1e6)
    for train in (model.fit, model.partial_fit):
        with pytest.warns(ConvergenceWarning, match="learning_rate") as caught:
            train(X)
        assert caught[-1].filename == __file__
    with pytest.warns(UserWarning, match="rows differ") as caught:
        quick().partial_fit(X).partial_fit(100 * X)
    assert caught[0].filename == __file__


def test_an_error_before_training_keeps_the_state_of_the_optimizer(X):
    model, other = quick().partial_fit(X), quick().partial_fit(X)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :3])
    codes = model.partial_fit(X).transform(X)
    assert np.array_equal(codes, other.partial_fit(X).transform(X))
