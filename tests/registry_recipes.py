"""Recipes for MLflow, skops, the Hugging Face Hub and Optuna.

The documentation shows them. Each recipe runs on this machine and prints what it has
compared. Nothing is uploaded. It requires the extra `registry`.

    python -m pip install -e ".[registry]"
    python tests/registry_recipes.py
"""

import os
import sys
import tempfile
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skae
from skae import MLP, AutoencoderOutlierDetector, AutoencoderTransformer


def classifier(**params):
    """Return a classifier of codes."""
    return make_pipeline(
        StandardScaler(),
        AutoencoderTransformer(**params),
        LogisticRegression(max_iter=1000),
    )


# MLflow


def log_pipeline(pipeline, X):
    """Log a fitted pipeline, and return its URI."""
    import mlflow
    from mlflow.models import infer_signature

    info = mlflow.sklearn.log_model(
        pipeline,
        name="model",
        serialization_format="skops",
        skops_trusted_types=list(skae.SKOPS_TRUSTED),
        signature=infer_signature(X, pipeline.predict(X)),
        extra_pip_requirements=[f"skae=={skae.__version__}"],
    )
    return info.model_uri


def log_transformer(model, X):
    """Log a fitted transformer, and return its URI."""
    import mlflow
    from mlflow.models import infer_signature

    info = mlflow.sklearn.log_model(
        model,
        name="model",
        serialization_format="skops",
        skops_trusted_types=list(skae.SKOPS_TRUSTED),
        signature=infer_signature(X, model.transform(X)),
        extra_pip_requirements=[f"skae=={skae.__version__}"],
    )
    return info.model_uri


def log_training(model, X):
    """Fit a transformer, and log parameters, losses and score."""
    import mlflow

    with mlflow.start_run() as run:
        mlflow.log_params(model.get_params())
        model.fit(X)
        for step, loss in enumerate(model.loss_curve_, start=1):
            mlflow.log_metric("loss", loss, step=step)
        mlflow.log_metric("score", model.score(X))
    return run.info.run_id


def search_with_autolog(X, y):
    """Search a pipeline, and log each candidate."""
    import mlflow

    mlflow.sklearn.autolog(log_models=False)
    grid = {"autoencodertransformer__n_components": [2, 8]}
    pipeline = classifier(max_iter=5, random_state=0)
    return GridSearchCV(pipeline, grid, cv=3).fit(X, y)


# skops and the Hugging Face Hub


def save_with_card(model, X, folder):
    """Write a fitted model and its model card to a folder."""
    import skops.card
    import skops.io

    skops.io.dump(model, f"{folder}/model.skops")
    card = skops.card.Card(model, model_diagram=False)
    card.add(
        **{
            "Model description": "Encodes handwritten digits.",
            "Model description/Intended uses & limitations": "Digits.",
            "Model Card Authors": "Ada Lovelace",
        }
    )
    card.add_metrics(score=round(model.score(X), 3))
    card.save(f"{folder}/README.md")


def add_metadata(folder):
    """Add what the Hugging Face Hub reads from a model card."""
    from huggingface_hub import metadata_save

    metadata = {"library_name": "sklearn", "license": "bsd-3-clause"}
    metadata_save(f"{folder}/README.md", metadata | {"tags": ["skae"]})


def load_from_folder(folder):
    """Load a model of a folder, of trusted types only."""
    import skops.io

    return skops.io.load(f"{folder}/model.skops", trusted=list(skae.SKOPS_TRUSTED))


def upload(folder, repo_id):
    """Upload a folder to the Hub, which needs an account."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo_id, exist_ok=True)
    return api.upload_folder(folder_path=folder, repo_id=repo_id)


def download(repo_id, revision):
    """Load a model of the Hub, of trusted types only."""
    import skops.io
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(repo_id, "model.skops", revision=revision)
    return skops.io.load(path, trusted=list(skae.SKOPS_TRUSTED))


# Optuna


def search(X, y, n_trials):
    """Search the parameters of the most accurate classifier."""
    import optuna

    def objective(trial):
        width = trial.suggest_int("width", 16, 256, log=True)
        model = classifier(
            n_components=trial.suggest_int("n_components", 2, 32, log=True),
            network=MLP((width, width)),
            alpha=trial.suggest_float("alpha", 1e-3, 10, log=True),
            max_iter=20,
            random_state=0,
        )
        return cross_val_score(model, X, y, cv=3).mean()

    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials)
    return study


class Pruning:
    """Reports validation scores to a trial, and ends it if pruned."""

    def __init__(self, trial):
        self.trial = trial

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name != "epoch":
            return False
        model = fitted_estimator
        self.trial.report(model.best_validation_score_, model.n_iter_)
        return self.trial.should_prune()


def search_with_pruning(X, X_val, n_trials):
    """Search the parameters of the best reconstruction."""
    import optuna

    def objective(trial):
        width = trial.suggest_int("width", 16, 256, log=True)
        model = AutoencoderTransformer(
            n_components=8,
            network=MLP((width, width)),
            alpha=trial.suggest_float("alpha", 1e-3, 10, log=True),
            learning_rate=trial.suggest_float("rate", 1e-4, 0.1, log=True),
            max_iter=20,
            random_state=0,
        )
        model.set_callbacks(Pruning(trial)).fit(X, X_val=X_val)
        if model.stop_reason_ == "callback":
            raise optuna.TrialPruned
        return model.best_validation_score_

    sampler = optuna.samplers.TPESampler(seed=0)
    pruner = optuna.pruners.MedianPruner(3, n_warmup_steps=5)
    options = {"sampler": sampler, "pruner": pruner}
    study = optuna.create_study(direction="maximize", **options)
    study.optimize(objective, n_trials)
    return study


def search_with_optuna_integration(X, y, n_trials):
    """Search with the interface of `GridSearchCV`."""
    from optuna.distributions import FloatDistribution, IntDistribution
    from optuna_integration import OptunaSearchCV

    name = "autoencodertransformer"
    distributions = {
        f"{name}__n_components": IntDistribution(2, 32, log=True),
        f"{name}__alpha": FloatDistribution(1e-3, 10, log=True),
    }
    return OptunaSearchCV(
        classifier(max_iter=20, random_state=0),
        distributions,
        cv=3,
        n_trials=n_trials,
        random_state=0,
    ).fit(X, y)


# Checkpoints


class Checkpoint:
    """Saves the model after each epoch."""

    def __init__(self, path):
        self.path = path

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name == "epoch":
            joblib.dump(fitted_estimator, f"{self.path}.tmp")
            # At once: a crash never leaves a part of a model.
            os.replace(f"{self.path}.tmp", self.path)


def resume(path, X, X_val, max_iter, learning_rate):
    """Continue from a checkpoint, up to `max_iter` epochs in all."""
    model = joblib.load(path)
    n_left = max(max_iter - model.n_iter_, 0)
    model.set_params(warm_start=True, max_iter=n_left)
    model.set_params(learning_rate=learning_rate)
    return model.set_callbacks(Checkpoint(path)).fit(X, X_val=X_val)


# Comparisons


def check(name, result, expected, tolerance=0.0):
    """Print the difference between two arrays; raise if it is large."""
    difference = np.abs(np.asarray(result) - np.asarray(expected)).max()
    print(f"{name:<30} difference {difference:.1e}", flush=True)
    if not difference <= tolerance:
        raise SystemExit(f"{name}: the results differ")


def check_mlflow(X, y):
    """Compare logged models with those that were logged."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.create_experiment("skae", artifact_location=f"file://{folder}/artifacts")
        mlflow.set_experiment("skae")
        pipeline = classifier(max_iter=5, random_state=0).fit(X, y)
        uri = log_pipeline(pipeline, X)
        loaded = mlflow.pyfunc.load_model(uri)
        check("log_pipeline: classes", loaded.predict(X), pipeline.predict(X))
        detector = AutoencoderOutlierDetector(random_state=0).fit(X[:100])
        loaded = mlflow.pyfunc.load_model(log_pipeline(detector, X))
        check("log_pipeline: labels", loaded.predict(X), detector.predict(X))
        required = Path(mlflow.pyfunc.get_model_dependencies(uri)).read_text()
        for package in ("scikit-learn", "skae", "skops", "torch"):
            if f"{package}==" not in required:
                raise SystemExit(f"log_pipeline: {package} is not required")
        model = AutoencoderTransformer(3, max_iter=5, random_state=0).fit(X)
        loaded = mlflow.sklearn.load_model(log_transformer(model, X))
        check("log_transformer: codes", loaded.transform(X), model.transform(X))
        run = mlflow.get_run(log_training(model, X))
        check("log_training: score", run.data.metrics["score"], model.score(X))
        grid = search_with_autolog(X, y)
        run = mlflow.last_active_run()
        logged = run.data.metrics["best_cv_score"]
        check("search_with_autolog: score", logged, grid.best_score_)
        mlflow.sklearn.autolog(disable=True)


def check_skops(X, y):
    """Compare a model that was saved with a card."""
    with tempfile.TemporaryDirectory() as folder:
        model = AutoencoderTransformer(3, max_iter=5, random_state=0).fit(X)
        save_with_card(model, X, folder)
        add_metadata(folder)
        loaded = load_from_folder(folder)
        check("save_with_card: codes", loaded.transform(X), model.transform(X))
        card = Path(folder, "README.md").read_text()
        for expected in ("library_name: sklearn", "handwritten", "n_components"):
            if expected not in card:
                raise SystemExit(f"save_with_card: the card has no {expected!r}")


def check_optuna(X, y):
    """Compare the best trials with fits of their parameters."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = search(X, y, n_trials=5)
    print(f"search: accuracy {study.best_value:.3f} with {study.best_params}")
    X_train, X_val = train_test_split(X, random_state=0)
    study = search_with_pruning(X_train, X_val, n_trials=20)
    pruned = study.get_trials(states=[optuna.trial.TrialState.PRUNED])
    n_epochs = sum(max(trial.intermediate_values) for trial in study.trials)
    print(f"search_with_pruning: {len(pruned)} of {len(study.trials)} trials pruned")
    print(f"search_with_pruning: {n_epochs} epochs of {20 * len(study.trials)}")
    found = search_with_optuna_integration(X, y, n_trials=3)
    print(f"search_with_optuna_integration: accuracy {found.best_score_:.3f}")


def check_checkpoint(X, y):
    """Compare the checkpoints of an interrupted fit with models of whole fits."""
    X_train, X_val = train_test_split(X, random_state=0)

    def model(max_iter):
        return AutoencoderTransformer(8, max_iter=max_iter, random_state=0)

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.joblib"
        short = model(30).set_callbacks(Checkpoint(path)).fit(X_train, X_val=X_val)
        saved = joblib.load(path)
        check("Checkpoint: codes", saved.transform(X_val), short.transform(X_val))
        resumed = resume(path, X_train, X_val, max_iter=60, learning_rate=3e-4)
        check(
            "resume: checkpoint", joblib.load(path).score(X_val), resumed.score(X_val)
        )
    whole = model(60).fit(X_train, X_val=X_val)
    scores = (m.score(X_val) for m in (short, resumed, whole))
    names = "30 epochs", "30 + 30 epochs", "60 epochs"
    for name, score in zip(names, scores, strict=True):
        print(f"resume: score {score:.4f} after {name}")


def main():
    """Run the recipes of the libraries named as arguments, by default of all."""
    X, y = load_digits(return_X_y=True, as_frame=True)
    checks = {"mlflow": check_mlflow, "skops": check_skops, "optuna": check_optuna}
    checks["checkpoint"] = check_checkpoint
    for name in sys.argv[1:] or checks:
        checks[name](X, y)


if __name__ == "__main__":
    main()
