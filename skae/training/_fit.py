"""The steps of a fit: choose, start at PCA, settle on a model, tell the outcome."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.base import clone

from skae._generation import some_codes
from skae.data._pca import LinearPath, n_axes_for_share
from skae.data._rows import StandardizedRows
from skae.data._validation import TrainingData
from skae.losses import as_loss
from skae.model._config import Blueprint
from skae.networks._base import for_rows
from skae.regularizers._ordered import Ordered
from skae.training import _auto as recipe
from skae.training._optimizers import FlatParameters, Solver, as_solver
from skae.training._run import Course
from skae.training._trainer import Batches, Objective, Trainer, constant, warmup_cosine

SHARE_ROWS = 500  # rows that shares and shrinkages are measured on,
SHARE_DECODINGS = 10_000  # fewer where so many codes would be decoded
MASTERS = {"bfloat16": "float32"}  # what weights are in, where products are in less


@dataclass(frozen=True)
class Choices:
    """An estimator's parameters with every "auto" resolved, and the rows held out."""

    blueprint: Blueprint
    solver: Solver
    learning_rate: float
    alpha: float
    batch_size: int
    max_iter: int
    patience: int
    tol: float
    goes_on: bool
    share: float | None
    held_out: np.ndarray
    device: str
    products: torch.dtype
    n_threads: int
    seed: int

    def like(self, earlier: Blueprint) -> "Choices":
        """Return the same for a model that is there, refusing to make it another."""
        for name in ("n_components", "init", "loss"):
            was, wanted = getattr(earlier, name), getattr(self.blueprint, name)
            if was != wanted and self.share is None:
                raise ValueError(
                    f"Got {name}={wanted!r} for a model that was begun with {was!r}. "
                    "Training goes on with the same model: call fit with "
                    "warm_start=False to begin another."
                )
        lowered = self.products == torch.bfloat16
        products = self.products if lowered else getattr(torch, earlier.dtype)
        return replace(self, blueprint=earlier, products=products)


def choose(estimator, table: TrainingData, seed: int, **changes) -> Choices:
    """Resolve an estimator's parameters for a table; `changes` override them."""
    p = {**estimator.get_params(deep=False), **changes}
    n, auto = table.X.shape[0], recipe.auto
    solver = as_solver(p["solver"])
    device = str(auto(p["device"], recipe.device))
    size = auto(
        p["batch_size"], lambda: n if solver.full_batch else recipe.batch_size(n)
    )
    max_iter = auto(p["max_iter"], lambda: recipe.n_epochs(n, size))
    splits = table.X_val is None and max_iter > 0
    stopping = p["early_stopping"] if splits else False
    n_out = recipe.n_held_out(n, p["validation_fraction"], stopping)
    model = blueprint(p, table, device)
    return Choices(
        blueprint=model,
        solver=solver,
        learning_rate=p["learning_rate"],
        alpha=auto(p["alpha"], lambda: recipe.alpha(n, solver.decoupled)),
        batch_size=min(size, n),
        max_iter=max_iter,
        patience=auto(p["n_iter_no_change"], lambda: recipe.patience(max_iter)),
        tol=p["tol"],
        goes_on=p["warm_start"],
        share=p["n_components"] if p["n_components"] < 1 else None,
        held_out=np.random.default_rng(seed).permutation(n)[:n_out],
        device=device,
        products=products(p["precision"], model.dtype, device),
        n_threads=torch.get_num_threads(),
        seed=seed,
    )


def blueprint(p: dict, table: TrainingData, device: str) -> Blueprint:
    """Return what parameters p say of the model."""
    n, layout = table.X.shape[0], table.layout.for_network(p["network"])
    k, regularizer = p["n_components"], p["regularizer"]
    precision = recipe.auto(
        p["precision"], lambda: recipe.precision(table.X.dtype, n, device)
    )
    if k < 1:
        weight = np.ones(n) if table.weight is None else table.weight
        k = n_axes_for_share(layout.continuous(table.X, weight), weight, k)
        regularizer = Ordered() if regularizer is None else regularizer
    else:
        k = layout.n_free(k)
    return Blueprint(
        layout=layout,
        n_components=int(k),
        n_samples=n,
        network=for_rows(clone(p["network"], safe=False), layout.read_shape),
        loss=clone(p["loss"], safe=False),
        noise=clone(p["noise"], safe=False),
        regularizer=clone(regularizer, safe=False),
        init=p["init"],
        dtype=MASTERS.get(precision, precision),
    )


def products(precision: str, dtype: str, device: str) -> torch.dtype:
    """Return what training computes products in, for a model of a type."""
    if precision == "bfloat16":
        recipe.check_bfloat16(device)
        return torch.bfloat16
    return getattr(torch, dtype)


class Fit:
    """One fit of one table, step by step.

    Parameters
    ----------
    table : TrainingData
        The rows.

    choices : Choices
        What to do with them.
    """

    def __init__(self, table: TrainingData, choices: Choices):
        self.table = table
        self.choices = choices

    def start(self) -> Course:
        """Return a course whose model is still PCA of the rows it will learn from."""
        n_axes = self.choices.blueprint.n_axes
        weight, layout = self._training_weight(), self.choices.blueprint.layout
        path = layout.linear_path(self.table.X, weight, n_axes)
        return self._course(self._model(self._shrunk(path)), path)

    def resume(self, course: Course) -> Course:
        """Return an earlier fit's course, to go on with this one's rows."""
        batches, held_out = self._batches(course.path)
        course.go_on_with(batches, held_out, self.choices.batch_size)
        return course

    def revive(self, fitted) -> Course:
        """Return a course that goes on from a fitted estimator's weights."""
        path = LinearPath(fitted.mean_, fitted.scale_, axes=None, deviations=None)
        model = copy.deepcopy(fitted.module_).to(self.choices.device)
        course = self._course(model, path)
        course.n_dropped = fitted._blueprint.n_dropped
        course.loss_curve = list(fitted.loss_curve_)
        course.validation_loss_curve = list(fitted.validation_loss_curve_)
        course.best_iter = fitted.best_iter_
        return course

    def plan(self, course: Course) -> None:
        """Plan the course's epochs."""
        c = self.choices
        schedule = constant if c.goes_on else warmup_cosine
        course.begin(c.max_iter, schedule, c.patience, c.tol)

    def settle(self, course: Course) -> Course:
        """Return the course to end with; it may have epochs yet to run.

        Where rows were held out, a network that is not clearly better than PCA on them,
        penalties included, gives way to PCA of all rows, unless a prior is asked for.
        On little data one that is better is trained once more on all rows.
        """
        course.retreat()
        if self.choices.goes_on or not len(self.choices.held_out):
            self._cut(course, course)
            return course
        guarded = course.model.regularizer.compare_with_pca
        if guarded and not recipe.clearly_lower(*course.held_out_losses()):
            course.give_up()
            return self._once_more(course, n_epochs=0)
        enough = course.stopped or course.diverged
        if enough or self.table.X.shape[0] >= recipe.SMALL:
            self._cut(course, course)
            return course
        per_epoch = course.trainer.n_batches / self._n_batches_of_all()
        return self._once_more(course, round(course.best_iter * per_epoch))

    def conclude(self, course: Course, final: Course) -> Course:
        """Return the final course, or the one before where more training failed."""
        if final is course:
            return course
        final.retreat()
        return course if final.diverged or final.retreated else final

    def attributes(self, course: Course, over: bool = False) -> dict:
        """Return the fitted attributes of the course's best state.

        A course that is over gives its model away; else it is a copy.
        """
        course.restore()
        c, explained = self.choices, self._explained(course)
        module = course.release() if over else course.best_model()
        blueprint = replace(c.blueprint, n_dropped=course.n_dropped)
        mean, scale = blueprint.layout.standard(course.path)
        rows = course.trainer.batches.rows
        codes, marks = some_codes(module, rows, blueprint.layout)
        return {
            "n_components_": blueprint.n_columns,
            "mean_": mean,
            "scale_": scale,
            "module_": module,
            "explained_variance_ratio_": explained,
            "loss_curve_": list(course.loss_curve),
            "validation_loss_curve_": list(course.validation_loss_curve),
            "n_active_components_": self._n_active(course),
            "best_iter_": course.best_iter,
            "n_iter_": len(course.loss_curve),
            "batch_size_": c.batch_size,
            "max_iter_": c.max_iter,
            "alpha_": float(c.alpha),
            "precision_": str(course.trainer.objective.products)[len("torch.") :],
            "device_": c.device,
            "_blueprint": blueprint,
            "_seed": c.seed,
            "_codes": codes,
            "_marks": marks,
        }

    def _training_weight(self):
        n = self.table.X.shape[0]
        weight = np.ones(n) if self.table.weight is None else self.table.weight.copy()
        weight[self.choices.held_out] = 0
        return weight

    def _shrunk(self, path):
        """Return the path with the shrinkage of least loss, of those the loss names."""
        shrinkages = as_loss(self.choices.blueprint.loss).shrinkages
        paths = [replace(path, shrinkage=shrinkage) for shrinkage in shrinkages]
        if len(paths) == 1:
            return paths[0]
        rows = self._batches(path)[0].sample(SHARE_ROWS)
        return min(
            paths, key=lambda p: self._objective(self._model(p), p).validate(rows)
        )

    def _model(self, path):
        model = self.choices.blueprint.build(self.choices.seed, path)
        return model.to(self.choices.device)

    def _objective(self, model, path):
        c = self.choices
        mean, scale = c.blueprint.layout.standard(path)
        return Objective(model, mean, scale, c.seed, c.products)

    def _course(self, model, path):
        c = self.choices
        objective = self._objective(model, path)
        flat = FlatParameters(model)
        solver = c.solver.build(flat, c.learning_rate, c.alpha)
        batches, held_out = self._batches(path)
        trainer = Trainer(objective, solver, flat, batches, c.batch_size, c.n_threads)
        return Course(trainer, path, held_out)

    def _batches(self, path):
        """Return the rows to learn from, and those to judge by or None."""
        table, out = self.table, self.choices.held_out
        if not len(out):
            judges = None if table.X_val is None else self._rows(path, table.X_val)
            return self._rows(path, table.X, table.weight), judges
        kept = np.setdiff1d(np.arange(table.X.shape[0]), out)
        return tuple(
            self._rows(path, table.X, _take(table.weight, index), index)
            for index in (kept, out)
        )

    def _rows(self, path, X, weight=None, index=None):
        c, layout = self.choices, self.choices.blueprint.layout
        rows = StandardizedRows(
            X, *layout.standard(path), weight, index, layout.n_outputs
        )
        return Batches(rows, c.blueprint.dtype, c.device)

    def _n_batches_of_all(self):
        return -(-self.table.X.shape[0] // self.choices.batch_size)

    def _once_more(self, course, n_epochs):
        course.rest()
        everything = np.empty(0, dtype=int)
        fit = Fit(self.table, replace(self.choices, held_out=everything))
        final = fit.start()
        final.begin(n_epochs)
        final.follow(course)
        self._cut(final, course)
        return final

    def _cut(self, final, judge):
        """Leave out components that the wanted share does not need."""
        if self.choices.share is not None:
            judge.restore()
            enough = judge.shares(judge.judges) >= self.choices.share
            n_needed = np.argmax(enough) + 1 if enough.any() else len(enough)
            final.n_dropped = int(self.choices.blueprint.n_components - n_needed)

    def _n_active(self, course):
        k = self.choices.blueprint.n_components - course.n_dropped
        rows = course.trainer.batches.sample(SHARE_ROWS)
        variances = code_variances(course.model, rows)[:k]
        return int(course.model.regularizer.active_components(variances).sum())

    def _explained(self, course):
        k = self.choices.blueprint.n_components - course.n_dropped
        n = max(100, min(SHARE_ROWS, SHARE_DECODINGS // k))
        rows = course.trainer.batches.sample(n)
        shares = np.diff(course.shares(rows), prepend=0.0)[:k]
        return np.append(shares, np.zeros(self.choices.blueprint.layout.n_marks))


@torch.no_grad()
def code_variances(model, batches: Batches) -> np.ndarray:
    """Return the weighted variance of each component over rows, (n_components,)."""
    codes = torch.cat([model.encode(rows) for rows, _ in batches.blocks()])
    shares = batches.weight / batches.weight.sum()
    return (shares @ (codes - shares @ codes).square()).cpu().numpy()


def _take(weight, index):
    return None if weight is None else weight[index]
