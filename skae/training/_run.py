"""A training run: the epochs of one model, its curves, its best state, its end."""

import copy

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from skae.data._pca import PCASolution
from skae.model._autoencoder import Autoencoder
from skae.training._batches import Batches
from skae.training._objective import set_generator
from skae.training._trainer import Trainer, warmup_constant, warmup_cosine

EVALUATION_ROWS = 500  # training rows evaluated if there are no validation rows
WORSENING = 0.01  # share of the null loss; less may be rounding
# Significance levels of the t-test against PCA. Few rows may lack the outliers.
LEVEL, LEVEL_OF_FEW_VALIDATION_ROWS, FEW_VALIDATION_ROWS = 0.025, 0.005, 50
WINSORIZED = 0.05  # share of the rows at each end whose gains are limited in the test
DIVERGENCE = 10  # times the larger of the start's loss and the null loss


class BestState:
    """Copies of a model's weights and buffers, of which the best is kept.

    Parameters
    ----------
    model : Autoencoder
        The model.

    values : Tensor of shape (n_parameters,)
        The flat vector of its parameters.

    Attributes
    ----------
    start, best, current : list of Tensor
        The state before the first epoch, the best one, and the latest one.
    """

    def __init__(self, model: Autoencoder, values: Tensor):
        self.model = model
        self.values = values
        copies = ([t.clone() for t in self.tensors()] for _ in range(3))
        self.start, self.best, self.current = copies

    def tensors(self) -> list[Tensor]:
        """Return what training changes: parameters, and buffers of the networks."""
        # Listed anew every time: a module may replace its buffers by other tensors.
        networks = self.model.encoder, self.model.decoder
        return [self.values, *(b for network in networks for b in network.buffers())]

    @torch.no_grad()
    def load(self, state: list[Tensor]) -> None:
        """Write a state into the model."""
        for tensor, value in zip(self.tensors(), state, strict=True):
            tensor.copy_(value)

    @torch.no_grad()
    def save(self, state: list[Tensor]) -> None:
        """Write the model's state into one of the copies."""
        for tensor, value in zip(state, self.tensors(), strict=True):
            tensor.copy_(value)


class TrainingRun:
    """Epochs of one model, each evaluated, with the best state kept.

    With validation rows, the best state is the one of lowest validation loss. Without,
    training stops by the training loss, and the last state is kept.

    Parameters
    ----------
    trainer : Trainer
        Yields epochs.

    pca : PCASolution
        The solution from which the model started.

    validation : Batches or None
        The validation rows.

    Attributes
    ----------
    model : Autoencoder
        The model.

    evaluation : Batches
        The validation rows, or else some of the training rows.

    state : BestState
        The state at the start, at the best epoch and at present.

    start_loss, null_loss : float
        The loss of `evaluation` at the start, and that of the mean.

    search : TrainingRun
        The run that selected the number of epochs: this one, unless it is a refit.

    loss_curve, validation_loss_curve : list of float
        The mean loss in each epoch, and the validation loss after it, which is NaN
        without validation rows.

    best_iter, start_iter : int
        The epochs of the best state, and of the state at the start: 0 for PCA.

    earlier : dict
        Fitted attributes of earlier calls that summarize their rows.

    n_dropped : int
        Number of components left out at the end of the fitted model's codes.

    stopped, diverged, worsened, reverted : bool
        Whether a callback stopped the run, the loss exceeded its limit, the training
        loss increased noticeably, or the start was restored.
    """

    def __init__(self, trainer: Trainer, pca: PCASolution, validation: Batches | None):
        self.trainer = trainer
        self.pca = pca
        self.validation = validation
        self.search = self
        self.earlier: dict = {}
        self.loss_curve: list[float] = []
        self.validation_loss_curve: list[float] = []
        self.best_iter = self.start_iter = self.n_dropped = self.n_remaining = 0
        # Flags of how the run ended.
        self.stopped = self.diverged = self.reverted = self.worsened = False
        self.model = trainer.objective.fitted
        self.state = BestState(self.model, trainer.flat.values)
        self.evaluation = validation or trainer.batches.sample(EVALUATION_ROWS)
        # Computed when the first epochs are scheduled.
        self.start_loss = self.null_loss = np.nan
        self.best_loss = self.loss_limit = np.inf

    def schedule_epochs(
        self, n_epochs: int, schedule=warmup_cosine, n_iter_no_change=np.inf, tol=0.0
    ) -> None:
        """Schedule epochs that start from the current state."""
        if np.isnan(self.start_loss):
            self.start_loss, self.null_loss = self.losses_at_start()
            # Without validation rows every epoch is kept, whatever its loss.
            self.best_loss = self.start_loss if self.validation else np.inf
            self.loss_limit = DIVERGENCE * max(self.start_loss, self.null_loss)
        self.state.load(self.state.current)
        self.epochs = self.trainer.epochs(n_epochs, schedule)
        self.n_remaining, self.n_no_change = n_epochs, 0
        # Without an end of the schedule there is no progress: it counts as complete.
        self.n_scheduled = 0 if schedule is warmup_constant else n_epochs
        self.n_iter_no_change, self.tol = n_iter_no_change, tol

    def losses_at_start(self) -> tuple[float, float]:
        """Return the loss of `evaluation` at the start, and that of the mean."""
        self.state.load(self.state.start)
        null_loss = self.trainer.objective.null_loss(self.evaluation)
        start_loss, null_loss = self.trainer.group.from_first(
            self.evaluate(), null_loss
        )
        return start_loss, null_loss

    def evaluate(self) -> float:
        """Return the loss of `evaluation`."""
        return self.trainer.objective.validation_loss(self.evaluation)

    @property
    def has_next(self) -> bool:
        """Whether another epoch is to be run."""
        is_over = self.stopped or self.diverged or self.n_remaining == 0
        return not is_over and self.n_no_change < self.n_iter_no_change

    @property
    def stop_reason(self) -> str | None:
        """Why the run ended, or None before it has."""
        if self.has_next:
            return None
        if self.stopped or self.diverged:
            return "callback" if self.stopped else "divergence"
        return "max_iter" if self.n_remaining == 0 else "n_iter_no_change"

    def validation_score(self, loss: float) -> float | None:
        """Return the share of the validation rows' null loss that a loss explains.

        None without validation rows.
        """
        if not self.validation or np.isnan(self.start_loss):
            return None
        return 1 - loss / (self.null_loss or 1.0)

    @torch.no_grad()
    def input_moments(self) -> tuple[float, float]:
        """Return mean and standard deviation of the inputs: 0 and 1 in a first fit.

        Each is the root mean square over features.
        """
        adapter = self.trainer.objective.model.adapter
        rows = torch.cat([rows for rows, _ in self.evaluation.blocks()])
        # The moments by which rows are standardized are those of clean rows.
        mean_square, variance = adapter.moments(rows[:, -adapter.n_features :])
        return float(mean_square.sqrt()), float(variance.sqrt())

    def train_steps(self) -> float:
        """Take the steps of an epoch, and return the mean training loss."""
        n = self.n_scheduled
        self.model.regularizer.set_progress(1 - self.n_remaining / n if n else 1.0)
        loss = next(self.epochs)
        self.n_remaining -= 1
        # Other processors may have rounded differently.
        self.trainer.group.copy_from_first(self.state.tensors())
        return loss

    def train_epoch(self) -> None:
        """Train for one epoch, evaluate the model, and keep it if it is the best."""
        # Callbacks may have loaded the best state.
        self.state.load(self.state.current)
        loss = self.train_steps()
        evaluated = self.evaluate() if self.validation else loss
        loss, evaluated = self.trainer.group.from_first(loss, evaluated)
        self.loss_curve.append(loss)
        self.validation_loss_curve.append(evaluated if self.validation else np.nan)
        improved = evaluated < self.best_loss * (1 - self.tol)
        self.n_no_change = 0 if improved else self.n_no_change + 1
        # A NaN fails every comparison, so that it counts as divergence.
        self.diverged = not (np.isfinite(loss) and evaluated <= self.loss_limit)
        if self.diverged:
            return
        self.state.save(self.state.current)
        if evaluated < self.best_loss or not self.validation:
            self.state.save(self.state.best)
            self.best_iter = len(self.loss_curve)
        self.best_loss = min(self.best_loss, evaluated)

    def revert_to_start(self) -> None:
        """Make the start the best state."""
        self.state.best = [tensor.clone() for tensor in self.state.start]
        self.best_iter = self.start_iter

    def revert_if_worse(self, tolerates_rounding: bool = False) -> None:
        """Revert to the start if the loss of training rows is higher than there.

        An increase that may be rounding is no reason for a warning, and if it is to be
        tolerated, not for reverting.
        """
        self.state.load(self.state.best)
        if self.validation or not self.loss_curve:
            return
        (loss,) = self.trainer.group.from_first(self.evaluate())
        scale = max(self.start_loss, self.null_loss)
        self.worsened = loss - self.start_loss > WORSENING * scale
        self.reverted = self.worsened if tolerates_rounding else loss > self.start_loss
        if self.reverted:
            self.revert_to_start()

    def improves_on_start(self) -> bool:
        """Return whether the best state is significantly better than the start."""
        objective, rows = self.trainer.objective, self.validation
        self.state.load(self.state.best)
        losses = objective.validation_losses(rows)
        self.state.load(self.state.start)
        losses_at_start = objective.validation_losses(rows)
        return is_significantly_lower(losses, losses_at_start, rows.weight.cpu())

    def best_model(self, copied: bool) -> Autoencoder:
        """Return the fitted model, in its best state.

        Without a copy it is the model in training, and the run cannot go on.
        """
        self.state.load(self.state.best)
        generator, model = self.trainer.objective.generator, self.model.eval()
        if copied:
            # Generators cannot be copied; the copy has None.
            model = copy.deepcopy(model, {id(generator): None})
        else:
            set_generator(model, None)
        model.zero_grad(set_to_none=True)
        model.n_dropped = self.n_dropped
        return model

    def resume(
        self, batches: Batches, validation: Batches | None, batch_size: int
    ) -> None:
        """Continue with other rows."""
        self.trainer.batches, self.trainer.batch_size = batches, batch_size
        self.validation = validation
        self.evaluation = validation or batches.sample(EVALUATION_ROWS)
        self.stopped = self.diverged = self.worsened = self.reverted = False
        # Losses on earlier rows cannot be compared with those on other rows: the fitted
        # model is the start, and is evaluated anew.
        self.state.start = [tensor.clone() for tensor in self.state.best]
        self.start_iter, self.start_loss, self.earlier = self.best_iter, np.nan, {}

    def free_data(self) -> None:
        """Free the rows and all memory that the next `resume` provides anew."""
        self.trainer.free_buffers()
        self.trainer.batches = self.validation = self.evaluation = self.epochs = None

    def free_buffers(self) -> None:
        """Free all but the best state: no epochs follow, and rows are read from X."""
        self.trainer.batches.resident = None
        self.trainer.optimizer = self.trainer.gradient = self.epochs = None
        self.state.start = self.state.current = None

    def report(self) -> str:
        """Return a line about the last epoch."""
        name = "Epoch" if self.search is self else "Refit epoch"
        line = f"{name} {len(self.loss_curve)}, loss = {self.loss_curve[-1]:.6g}"
        if self.validation:
            line += f", validation loss = {self.validation_loss_curve[-1]:.6g}"
        return line


def is_significantly_lower(losses, reference, weight) -> bool:
    """Return whether the mean loss of rows is lower than a reference, by a t-test.

    The mean must be lower, and a one-sided paired t-test on the winsorized differences
    significant, at a level of 2.5 %, or of 0.5 % for fewer than 50 rows.

    Parameters
    ----------
    losses, reference, weight : array-like of shape (n_samples,)
        Losses of the same rows, and the weights of the rows.
    """
    gains, n = reference - losses, len(losses)
    limited, share = winsorize(gains, weight)
    mean = np.average(limited, weights=weight)
    variance = np.average(np.square(limited - mean), weights=weight)
    level = LEVEL_OF_FEW_VALIDATION_ROWS if n < FEW_VALIDATION_ROWS else LEVEL
    bound = t_bound(level, n, share)
    is_lower = np.average(gains, weights=weight) > 0
    return bool(is_lower and mean > bound * np.sqrt(variance / n))


def winsorize(gains, weight) -> tuple[np.ndarray, float]:
    """Return gains limited to their quantiles of 5 % and 95 %, and the share within.

    Otherwise a single row whose gain is as large as that of all others together makes
    the variance so large that no mean is significant.

    Parameters
    ----------
    gains, weight : array-like of shape (n_samples,)
        The gain of each row, and its weight.

    Returns
    -------
    limited : ndarray of shape (n_samples,)
        The limited gains.

    share : float
        The share of the weight of rows that are not limited.
    """
    # Rounding of cumulative weights must not select another row.
    q, options = WINSORIZED - 1e-9, {"weights": weight, "method": "inverted_cdf"}
    low, high = np.quantile(gains, q, **options), -np.quantile(-gains, q, **options)
    within = (low <= gains) & (gains <= high)
    return np.clip(gains, low, high), float(np.average(within, weights=weight))


def t_bound(level: float, n: int, share: float) -> float:
    """Return the bound of the t-statistic of n winsorized values.

    The quantile is that of `share * n - 1` degrees of freedom, divided by the share of
    values within the limits, since the variance is underestimated (Dixon & Tukey 1968,
    Approximate behavior of the distribution of Winsorized t, Technometrics 10).
    """
    return stats.t.ppf(1 - level, max(1, share * n - 1)) / share
