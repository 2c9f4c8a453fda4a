"""The recipes of the documentation that need no further packages."""

import joblib
import numpy as np
import pytest
from registry_recipes import (
    Checkpoint,
    Pruning,
    load_from_folder,
    resume,
    save_with_card,
)
from variants import digest, quick

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Trial:
    """A trial of Optuna that is pruned at a step."""

    def __init__(self, pruned_at):
        self.pruned_at = pruned_at
        self.reports = {}

    def report(self, value, step):
        assert step not in self.reports
        self.reports[step] = value

    def should_prune(self):
        return max(self.reports) >= self.pruned_at


class FailAfter(Checkpoint):
    """A checkpoint whose process fails in a later epoch."""

    def __init__(self, path, n_epochs):
        super().__init__(path)
        self.n_epochs = n_epochs

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        super().on_fit_task_end(estimator, context, fitted_estimator=fitted_estimator)
        if context.task_name == "epoch" and context.task_id == self.n_epochs - 1:
            raise OSError("the process ends")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.joblib"


@pytest.fixture(scope="module")
def split(digits):
    return digits[:90], digits[90:]


def test_a_pruned_trial_ends_training(split):
    trial, (X, X_val) = Trial(pruned_at=3), split
    model = quick(max_iter=6).set_callbacks(Pruning(trial)).fit(X, X_val=X_val)
    assert model.stop_reason_ == "callback"
    assert list(trial.reports) == [1, 2, 3]
    assert trial.reports[3] == model.best_validation_score_


@pytest.mark.parametrize("early_stopping", [True, "auto"])
def test_pruning_does_not_change_a_trial_that_is_not_pruned(early_stopping, digits):
    params = {"max_iter": 6, "early_stopping": early_stopping}
    trial, without = Trial(pruned_at=np.inf), quick(**params).fit(digits)
    model = quick(**params).set_callbacks(Pruning(trial)).fit(digits)
    assert digest(model) == digest(without)
    assert list(trial.reports) == list(range(1, model.n_iter_ + 1))


def test_a_checkpoint_is_the_model_of_a_fit_that_ended_there(split, path):
    X, X_val = split
    model = quick(max_iter=6).set_callbacks(FailAfter(path, n_epochs=3))
    with pytest.raises(OSError, match="the process ends"):
        model.fit(X, X_val=X_val)
    stopped = quick(max_iter=6).set_callbacks(Pruning(Trial(pruned_at=3)))
    stopped.fit(X, X_val=X_val)
    np.testing.assert_array_equal(joblib.load(path).transform(X), stopped.transform(X))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failure_to_write_leaves_the_earlier_checkpoint(split, path, monkeypatch):
    X, X_val = split
    quick().set_callbacks(Checkpoint(path)).fit(X, X_val=X_val)
    saved = path.read_bytes()

    def dump(model, path):
        with open(path, "wb") as file:
            file.write(b"a part")
        raise OSError("no space left")

    monkeypatch.setattr(joblib, "dump", dump)
    with pytest.raises(OSError, match="no space left"):
        quick().set_callbacks(Checkpoint(path)).fit(X, X_val=X_val)
    assert path.read_bytes() == saved


def test_a_fit_that_fails_twice_is_resumed_twice(split, path):
    X, X_val = split
    model = quick(max_iter=4, learning_rate=1e-3)
    model.set_callbacks(Checkpoint(path)).fit(X, X_val=X_val)
    scores = [model.best_validation_score_]
    for max_iter in (10, 16):
        model = resume(path, X, X_val, max_iter=max_iter, learning_rate=1e-3)
        assert model.n_iter_ == joblib.load(path).n_iter_ == max_iter
        scores.append(model.best_validation_score_)
    assert sorted(set(scores)) == scores


def test_a_complete_checkpoint_is_not_trained_further(split, path):
    X, X_val = split
    model = quick(max_iter=4).set_callbacks(Checkpoint(path)).fit(X, X_val=X_val)
    resumed = resume(path, X, X_val, max_iter=4, learning_rate=1e-3)
    np.testing.assert_array_equal(resumed.transform(X), model.transform(X))


def test_a_model_is_saved_with_its_card(digits, tmp_path):
    pytest.importorskip("skops.card")
    model = quick().fit(digits)
    save_with_card(model, digits, tmp_path)
    loaded = load_from_folder(tmp_path)
    np.testing.assert_array_equal(loaded.transform(digits), model.transform(digits))
    card = (tmp_path / "README.md").read_text()
    assert f"{model.score(digits):.3f}".rstrip("0") in card
