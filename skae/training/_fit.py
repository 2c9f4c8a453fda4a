"""The algorithm: start at PCA, train, compare with PCA, fit on all rows."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from skae._generation import prior_codes
from skae.data._counts import fit_input_pca
from skae.data._pca import PCASolution
from skae.data._rows import ScoreRows, StandardizedRows
from skae.data._validation import TrainingData
from skae.losses import as_loss
from skae.model._autoencoder import LinearSkip
from skae.model._config import linear_maps
from skae.noise import as_noise
from skae.training._auto import ResolvedParams
from skae.training._batches import Batches
from skae.training._crossval import CrossValidation, distinct_rows
from skae.training._objective import Objective
from skae.training._optimizers import FlatParameters
from skae.training._run import TrainingRun
from skae.training._trainer import (
    Trainer,
    warmup_constant,
    warmup_cooldown,
    warmup_cosine,
)

REFIT_ROWS = 5000  # below this number, the model is fitted on all rows at the end
REFIT_SHARE = 0.25  # of the epochs, for the last ones on all rows
SHRINKAGE_ROWS = 10_000  # on which the decoder's shrinkage is selected
SUMMARY_ROWS = 500  # on which shrinkages and explained shares are computed
SUMMARY_DECODINGS = 10_000  # rows times prefixes: fewer rows for many prefixes
SUMMARY_PREFIXES = 200  # of the codes, for which explained shares are computed
MIN_SUMMARY_ROWS = 100  # of a call of partial_fit
SHARES = ("explained_variance_ratio_", "n_active_components_")
SUMMARIES = (*SHARES, "_codes", "_lengths")  # of the training rows
STORED_CODES = 1000  # of the training rows, from which `sample` learns a density


@dataclass(frozen=True)
class FitResult:
    """The outcome of a fit.

    Attributes
    ----------
    run : TrainingRun
        The run whose best state is the fitted model.

    runs : tuple of TrainingRun
        All runs of the fit: the first one, and the one on all rows if there was one.

    params : ResolvedParams
        The parameters of the fit.

    interrupt : KeyboardInterrupt or None
        The interrupt that ended the fit early.
    """

    run: TrainingRun
    runs: tuple[TrainingRun, ...]
    params: ResolvedParams
    interrupt: KeyboardInterrupt | None = None


def fit_model(
    data: TrainingData, params: ResolvedParams, train: Callable[[TrainingRun], None]
) -> FitResult:
    """Fit an autoencoder: start at PCA, train, compare with PCA, refit on all rows.

    The epoch is selected on validation rows, or by cross-validation. The fitted model
    is PCA of all rows unless the network is significantly better than PCA on validation
    rows, if these are held out from X and the regularizer has no prior.

    Parameters
    ----------
    data : TrainingData
        The validated rows.

    params : ResolvedParams
        The parameters.

    train : callable
        `train(run)` runs the scheduled epochs and reports each of them.

    Returns
    -------
    result : FitResult
        The result. After Ctrl-C it holds the interrupt and the best state so far.
    """
    run = start_folds(data, params) if params.folds else start_at_pca(data, params)
    runs = [run]
    schedule = schedule_of(params)
    run.schedule_epochs(params.max_iter, schedule, params.n_iter_no_change, params.tol)
    start: Callable | None = None  # of the refit on all rows
    try:
        train(run)
        if params.warm_start or not params.holds_out_rows:
            # PCA is compared only on validation rows held out from X.
            run.revert_if_worse()
        elif not improves_on_pca(run):
            run.revert_to_start()
            start = partial(refit_from_pca, n_epochs=0)
        elif data.X.shape[0] < REFIT_ROWS and not (run.stopped or run.diverged):
            start = start_refit
        if params.share is not None:
            drop_superfluous_components(run, params)
        if start is not None:
            runs.append(start(run, data, params))
        for refit in runs[1:]:
            train(refit)
            refit.revert_if_worse()
    except KeyboardInterrupt as interrupt:
        # The refit is incomplete, but the first run has its best state.
        return FitResult(run, tuple(runs), params, interrupt)
    refit_failed = runs[-1].diverged or runs[-1].reverted
    return FitResult(run if refit_failed else runs[-1], tuple(runs), params)


def schedule_of(params: ResolvedParams) -> Callable:
    """Return the schedule of a run that starts at PCA, or at random weights."""
    if params.warm_start:
        return warmup_constant
    return warmup_cosine if params.config.init == "pca" else warmup_cooldown


def continue_fit(
    run: TrainingRun, params: ResolvedParams, train: Callable[[TrainingRun], None]
) -> FitResult:
    """Train a fitted model further, at a constant learning rate."""
    run.schedule_epochs(
        params.max_iter, warmup_constant, params.n_iter_no_change, params.tol
    )
    try:
        train(run)
        run.revert_if_worse()
        if params.share is not None:
            drop_superfluous_components(run, params)
    except KeyboardInterrupt as interrupt:
        return FitResult(run, (run,), params, interrupt)
    return FitResult(run, (run,), params)


def partial_fit_model(
    run: TrainingRun, params: ResolvedParams, train: Callable[[TrainingRun], None]
) -> FitResult:
    """Train for one epoch on the rows of one call."""
    run.schedule_epochs(1, warmup_constant, params.n_iter_no_change, params.tol)
    train(run)
    run.revert_if_worse(tolerates_rounding=True)
    return FitResult(run, (run,), params)


def start_at_pca(data: TrainingData, params: ResolvedParams) -> TrainingRun:
    """Return a run whose model is PCA of the training rows."""
    pca = params.group.object_from_first(pca_of_training_rows(data, params))
    model = params.config.build(params.seed, pca).to(params.device)
    return start_run(model, pca, data, params)


def pca_of_training_rows(data: TrainingData, params: ResolvedParams) -> PCASolution:
    """Return PCA's solution, which does not depend on the validation rows."""
    n_rows, config = data.X.shape[0], params.config
    weight = (
        np.ones(n_rows) if data.sample_weight is None else data.sample_weight.copy()
    )
    weight[params.validation_index] = 0
    transform = as_loss(config.loss).transform
    rows = data.reconstructed
    return fit_input_pca(config.layout, rows, weight, config.n_axes, transform)


def start_folds(data: TrainingData, params: ResolvedParams) -> CrossValidation:
    """Return the runs of all folds, each at PCA of the rows of the other folds."""
    folds = (replace(params, validation_index=index) for index in params.folds)
    n_distinct = int(distinct_rows(data.reconstructed).max()) + 1
    return CrossValidation([start_at_pca(data, fold) for fold in folds], n_distinct)


def start_refit(
    run: TrainingRun, data: TrainingData, params: ResolvedParams
) -> TrainingRun:
    """Return a run on all rows, from the best state or, after folds, from PCA.

    The components that the first run drops are zero in training as well, so that only
    the others are trained.
    """
    if params.folds:
        # As many epochs, and so more steps: on few rows this has lower errors than as
        # many steps.
        return refit_from_pca(run, data, params, run.best_iter)
    pca = PCASolution(run.pca.mean, run.pca.scale)
    model = run.best_model(copied=True)
    run.free_buffers()
    refit = start_run(model, pca, data, on_all_rows(params))
    refit.n_dropped = run.n_dropped
    n_steps = REFIT_SHARE * run.best_iter * run.trainer.n_batches
    refit.schedule_epochs(max(1, round(n_steps / refit.trainer.n_batches)))
    refit.n_scheduled = 0  # the regularizer has its full strength already
    refit.search = run
    return refit


def refit_from_pca(
    run: TrainingRun, data: TrainingData, params: ResolvedParams, n_epochs: int
) -> TrainingRun:
    """Return a run of `n_epochs` on all rows, from PCA of all rows."""
    run.free_buffers()
    config = replace(params.config, n_dropped=run.n_dropped)
    refit = start_at_pca(data, replace(on_all_rows(params), config=config))
    refit.n_dropped = run.n_dropped
    # Unlike in the first run, the learning rate reaches zero at the end.
    refit.schedule_epochs(n_epochs, schedule_of(params))
    refit.search = run
    return refit


def on_all_rows(params: ResolvedParams) -> ResolvedParams:
    """Return the parameters without validation rows."""
    return replace(params, validation_index=np.empty(0, dtype=int))


def start_run(
    model, pca: PCASolution, data: TrainingData, params: ResolvedParams
) -> TrainingRun:
    """Return a run of a model, with its optimizer and batches."""
    objective = Objective(model, pca.mean, pca.scale, params.seed, params.compute_dtype)
    batches, validation = split_batches(data, params, pca, objective.to_scores)
    # A fitted model, which is trained further, has no axes.
    if len(model.loss.shrinkages) > 1 and pca.axes is not None:
        shrink_decoder(objective, pca, batches)
    flat = FlatParameters(model)
    optimizer = params.optimizer.build(flat, params.learning_rate, params.alpha)
    trainer = Trainer(
        objective,
        optimizer,
        flat,
        batches,
        params.batch_size,
        params.config.n_samples,
        params.n_threads,
        params.group,
    )
    params.group.copy_from_first([flat.values])
    return TrainingRun(trainer, pca, validation)


def split_batches(
    data: TrainingData, params: ResolvedParams, pca: PCASolution, to_scores=None
) -> tuple[Batches, Batches | None]:
    """Return the training rows and the validation rows, or None without any.

    With a map of shape (n_features, n_scores) they are reduced to scores.
    """
    config, validation_index = params.config, params.validation_index
    reduced = partial(ScoreRows, to_scores=to_scores)
    rows = partial(
        StandardizedRows if to_scores is None else reduced,
        mean=pca.mean,
        scale=pca.scale,
        width=config.layout.n_outputs,
        clean=data.X_clean,
    )
    batches = partial(Batches, dtype=getattr(torch, config.dtype), device=params.device)
    X, weight = data.X, data.sample_weight
    if not len(validation_index):
        validation = None if data.X_val is None else batches(rows(data.X_val))
        return batches(rows(X, weight=weight)), validation
    # Half the memory of int64, if they are enough.
    index_dtype = np.int32 if X.shape[0] < 2**31 else np.int64
    training_index = np.delete(
        np.arange(X.shape[0], dtype=index_dtype), validation_index
    )
    training_weight, validation_weight = None, None
    if weight is not None:
        # With mean 1, since the loss is the mean of weighted losses over a batch.
        training_weight = weight[training_index] / weight[training_index].mean()
        validation_weight = weight[validation_index]
    return (
        batches(rows(X, weight=training_weight, index=training_index)),
        batches(rows(X, weight=validation_weight, index=validation_index)),
    )


@torch.no_grad()
def shrink_decoder(objective: Objective, pca: PCASolution, batches: Batches) -> None:
    """Multiply the decoder's axes by the shrinkage of lowest loss.

    For a loss with a link, the tangent at the mean overshoots far from the mean.
    """
    model = objective.model
    if not isinstance(model.decoder, LinearSkip):
        return
    # The decoder's axes are linear in the shrinkage; nothing else is built anew.
    rows, losses = batches.sample(SHRINKAGE_ROWS), {}
    for shrinkage in model.loss.shrinkages:
        model.decoder.axes.copy_(linear_maps(model, pca, shrinkage)[1])
        losses[shrinkage] = objective.validation_loss(rows)
    best = min(losses, key=losses.get)
    model.decoder.axes.copy_(linear_maps(model, pca, best)[1])


def improves_on_pca(run: TrainingRun) -> bool:
    """Return whether the best state is significantly better than PCA.

    Penalties are included. A prior is a property of the distribution of all codes,
    which a test on rows cannot assess: then the network is kept.
    """
    if not run.model.regularizer.compare_with_pca:
        return True
    (improves,) = run.trainer.group.from_first(run.improves_on_start())
    return bool(improves)


def drop_superfluous_components(run: TrainingRun, params: ResolvedParams) -> None:
    """Drop the last components, if the others explain the requested share."""
    run.state.load(run.state.best)
    k = params.config.n_components
    run.n_dropped = k - n_components_for_share(run, params.share, k)


def n_components_for_share(run: TrainingRun, share: float, k: int) -> int:
    """Return the fewest first components that explain a share, or all k."""
    sizes = prefix_sizes(k)
    # If sizes are skipped, all sizes before the first one that is enough follow.
    for _ in range(1 if k <= SUMMARY_PREFIXES else 2):
        shares = run.trainer.objective.explained_shares(run.evaluation, sizes)
        shares = np.array(run.trainer.group.from_first(*shares))
        enough = sizes[shares >= share]
        if not len(enough):
            return k
        too_few = np.append(0, sizes[sizes < enough[0]])
        sizes = np.arange(too_few[-1] + 1, enough[0] + 1)
    return int(enough[0])


def run_from_fitted(estimator, data: TrainingData, params: ResolvedParams):
    """Return a run that starts from the weights of a fitted estimator."""
    pca = PCASolution(estimator._codec.mean, estimator.scale_)
    model = copy.deepcopy(estimator.module_).to(params.device)
    model.noise = as_noise(params.config.noise)
    run = start_run(model, pca, data, params)
    run.n_dropped = estimator._config.n_dropped
    run.loss_curve = list(estimator.loss_curve_)
    run.validation_loss_curve = list(estimator.validation_loss_curve_) or (
        [np.nan] * len(run.loss_curve)
    )
    run.best_iter = run.start_iter = estimator.best_iter_
    return run


def resume_run(
    run: TrainingRun, data: TrainingData, params: ResolvedParams
) -> TrainingRun:
    """Return the run of an earlier fit, to be continued on other rows."""
    to_scores = run.trainer.objective.to_scores
    batches = split_batches(data, params, run.pca, to_scores)
    run.resume(*batches, params.batch_size)
    return run


def fitted_attributes(run: TrainingRun, params: ResolvedParams, copied: bool) -> dict:
    """Return an estimator's fitted attributes for the best state of a run.

    Without a copy, the returned model is that of the run, which cannot be continued.
    """
    run.state.load(run.state.best)
    run.model.eval()  # after an epoch without evaluation, dropout is active
    config = replace(params.config, n_dropped=run.n_dropped)
    ratio, n_active = summarize_components(run, config)
    module = run.best_model(copied)
    # The model of rows as the batches have them.
    reader = module.on_scores() if run.trainer.objective.on_scores else module
    codes, lengths = codes_to_store(reader, run.trainer.batches, config.layout)
    attributes = {
        "n_components_": len(ratio),
        "mean_": run.pca.mean,
        "scale_": run.pca.scale,
        "module_": module,
        "explained_variance_ratio_": ratio,
        "n_active_components_": n_active,
        **training_attributes(run, config.init),
        "batch_size_": params.batch_size,
        "max_iter_": params.max_iter,
        "alpha_": params.alpha,
        "precision_": str(params.compute_dtype).removeprefix("torch."),
        "device_": params.device,
        "_config": config,
        "_seed": params.seed,
        "_codes": codes,
        "_lengths": lengths,
    }
    if not run.earlier:
        return attributes
    return merge_summaries(run.earlier, attributes, len(run.trainer.batches.rows))


def merge_summaries(earlier: dict, attributes: dict, n_rows: int) -> dict:
    """Return the fitted attributes, with those that summarize rows of several calls.

    The latest 1000 codes are kept, and the shares of components of fewer than 100 rows
    are not: they would be those of a few rows.

    Parameters
    ----------
    earlier, attributes : dict
        The attributes of `SUMMARIES` before the last call, and all of them after it.

    n_rows : int
        Number of rows of the last call.
    """
    shares = {name: earlier[name] for name in SHARES}
    codes = {
        name: np.concatenate([earlier[name], attributes[name]])[-STORED_CODES:]
        for name in ("_codes", "_lengths")
    }
    # Without codes, of a regularizer with a prior or removed by the user, none follow.
    if not len(earlier["_codes"]):
        codes["_codes"] = earlier["_codes"]
    return attributes | codes | (shares if n_rows < MIN_SUMMARY_ROWS else {})


def training_attributes(run: TrainingRun, init: str) -> dict:
    """Return the fitted attributes that describe how training went."""
    search = run.search
    starts_at_pca = init == "pca" and search.start_iter == 0
    validation_loss_curve = list(search.validation_loss_curve)
    if np.isnan(validation_loss_curve).all():
        validation_loss_curve = []
    refit_loss_curve = [] if run is search else list(run.loss_curve)
    return {
        "is_pca_": starts_at_pca and search.best_iter == 0,
        "stop_reason_": search.stop_reason,
        "best_iter_": search.best_iter,
        "n_iter_": len(search.loss_curve) + len(refit_loss_curve),
        "best_validation_score_": search.validation_score(search.best_loss),
        "pca_validation_score_": (
            search.validation_score(search.start_loss) if starts_at_pca else None
        ),
        "loss_curve_": list(search.loss_curve),
        "validation_loss_curve_": validation_loss_curve,
        "refit_loss_curve_": refit_loss_curve,
    }


@torch.no_grad()
def summarize_components(run: TrainingRun, config) -> tuple[np.ndarray, int]:
    """Return each component's share of the explained loss, and how many are active.

    With more than 200 components, a share beyond the first 100 is the mean of a group
    of neighboring components.
    """
    k, batches = config.n_components - config.n_dropped, run.trainer.batches
    sizes = prefix_sizes(k)
    n_rows = max(100, min(SUMMARY_ROWS, SUMMARY_DECODINGS // len(sizes)))
    some = batches.sample(n_rows)
    shares = run.trainer.objective.explained_shares(some, sizes)
    ratio = np.diff(np.interp(np.arange(1, k + 1), sizes, shares), prepend=0.0)
    # A length explains no variance: the columns of lengths are zero.
    ratio = np.append(ratio, np.zeros(config.layout.n_lengths))

    some = batches.sample(SUMMARY_ROWS)
    model = run.trainer.objective.model
    codes = torch.cat([model.encode(rows) for rows, _ in some.blocks()])
    weight = some.weight / some.weight.sum()
    # (n_components,)
    variances = (weight @ (codes - weight @ codes).square()).cpu().numpy()[:k]
    n_active = int(run.model.regularizer.active_components(variances).sum())
    return ratio, n_active


def prefix_sizes(k: int) -> np.ndarray:
    """Return up to 200 numbers of first components, of 1 to k, in increasing order.

    From 101 on they grow geometrically: late components explain little.
    """
    if k <= SUMMARY_PREFIXES:
        return np.arange(1, k + 1)
    n_first = SUMMARY_PREFIXES // 2
    others = np.geomspace(n_first, k, SUMMARY_PREFIXES - n_first + 1)
    return np.append(np.arange(1, n_first), np.unique(np.rint(others).astype(int)))


@torch.no_grad()
def codes_to_store(model, batches: Batches, layout) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and lengths of at most 1000 rows, from which `sample` draws.

    The rows are evenly spaced, each about as often as its weight. If the regularizer
    has a prior, the returned array of codes is empty, of shape (0, n_components).
    """
    rows = batches.rows
    n_stored = min(STORED_CODES, len(rows))
    quantiles = (np.arange(n_stored) + 0.5) / n_stored
    if rows.weight is None:
        positions = (quantiles * len(rows)).astype(int)
    else:
        # The inverse of the rows' weighted distribution function.
        ends = np.cumsum(rows.weight)
        positions = np.searchsorted(ends, quantiles * ends[-1], side="right")
    some = rows.subset(positions)
    # Encoded in blocks to bound the memory.
    tensors = (torch.from_numpy(some[b]).to(model.offset) for b in some.blocks())
    codes = torch.cat([model.encode(tensor) for tensor in tensors]).cpu().numpy()
    regularizer, k = model.regularizer, codes.shape[1]
    if not regularizer.is_noop and prior_codes(regularizer, 1, k, seed=0) is not None:
        codes = codes[:0]
    # (n_stored, n_lengths)
    lengths = np.empty((n_stored, 0))
    if layout.n_lengths:
        lengths = layout.lengths(some.X[some.index])
    return codes, lengths.astype(codes.dtype)
