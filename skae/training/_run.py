"""A course of training: its curves, its best state, and when it has learned enough."""

import copy

import numpy as np
from torch import Tensor

from skae.data._pca import PCASolution
from skae.model._autoencoder import Autoencoder
from skae.training._trainer import Batches, Trainer, set_training, warmup_cosine

JUDGES = 500  # training rows that tell whether training went well
WORSENED = 0.01  # of the mean's loss: what rounding does not explain
DIVERGED = 10  # times the loss of the worse of the start and the mean


def copy_all(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Write tensors into others, one into each."""
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


class Course:
    """Epochs of one model, judged after each, with the best state kept.

    Where rows are held out, the loss on them judges; else the training loss tells when
    nothing is gained any more, and the last state is kept.

    Parameters
    ----------
    trainer : Trainer
        What yields epochs.

    path : PCASolution
        PCA's solution, which the model started from.

    held_out : Batches or None
        Rows to be judged by.
    """

    def __init__(self, trainer: Trainer, path: PCASolution, held_out: Batches | None):
        self.trainer = trainer
        self.path = path
        self.held_out = held_out
        self.loss_curve = []
        self.validation_loss_curve = []
        self.best_iter = self.n_dropped = self.remaining = 0
        self.stopped = self.diverged = self.retreated = self.worsened = False
        self.judges = self._judges()
        states = ([tensor.clone() for tensor in self._state()] for _ in range(3))
        self.origin, self.kept, self.current = states
        self.start_loss = self.judge()
        self.best_loss = self.start_loss if held_out else np.inf
        self.null_loss = trainer.objective.null(self.judges)
        self.limit = DIVERGED * max(self.start_loss, self.null_loss)

    @property
    def model(self) -> Autoencoder:
        """The model in training."""
        return self.trainer.objective.model

    def _state(self):
        """Return what training changes: parameters, and buffers of the networks."""
        networks = (self.model.encoder, self.model.decoder)
        buffers = [buffer for network in networks for buffer in network.buffers()]
        return [self.trainer.flat.values, *buffers]

    def _judges(self):
        """Return the held-out rows, or else some of the training rows."""
        return self.held_out or self.trainer.batches.sample(JUDGES)

    def judge(self) -> float:
        """Return the present loss on the judges."""
        return self.trainer.objective.validate(self.judges)

    def go_on_with(self, batches, held_out, batch_size: int) -> None:
        """Take other rows to learn from and to be judged by."""
        self.trainer.batches, self.trainer.batch_size = batches, batch_size
        self.held_out = held_out
        self.judges = self._judges()
        self.stopped = self.diverged = False

    def without_rows(self) -> "Course":
        """Let go of the rows, so that they need not stay in memory."""
        self.trainer.without_rows()
        self.epochs = self.held_out = self.judges = None
        return self

    def begin(
        self, n_epochs: int, schedule=warmup_cosine, patience=np.inf, tol=0.0
    ) -> None:
        """Plan epochs, from the state that the last ones ended in."""
        copy_all(self._state(), self.current)
        self.epochs = self.trainer.epochs(n_epochs, schedule)
        self.remaining, self.waited = n_epochs, 0
        self.planned = n_epochs if schedule is warmup_cosine else 0
        self.patience, self.tol = patience, tol

    @property
    def going(self) -> bool:
        """Whether there is an epoch left, and hope that it will gain something."""
        hopeless = self.diverged or self.stopped or self.waited >= self.patience
        return self.remaining > 0 and not hopeless

    @property
    def progress(self) -> float:
        """The share of the planned epochs that has passed; 1 where none are planned."""
        return 1 - self.remaining / self.planned if self.planned else 1.0

    def advance(self) -> None:
        """Train for one epoch, judge it, and keep the model if it is the best."""
        self.model.regularizer.set_progress(self.progress)
        copy_all(self._state(), self.current)  # callbacks look at the kept state
        loss = next(self.epochs)
        judged = self.judge() if self.held_out else loss
        self.remaining -= 1
        self.diverged = not (np.isfinite(loss) and judged <= self.limit)
        self.waited = 0 if judged < self.best_loss * (1 - self.tol) else self.waited + 1
        if not self.diverged:
            self._keep(judged)
        if self.held_out:
            self.validation_loss_curve.append(judged)
        self.loss_curve.append(loss)

    def _keep(self, judged):
        copy_all(self.current, self._state())
        if judged < self.best_loss or not self.held_out:
            copy_all(self.kept, self.current)
            self.best_iter = len(self.loss_curve) + 1
        self.best_loss = min(self.best_loss, judged)

    def restore(self) -> None:
        """Put the kept state into the model."""
        copy_all(self._state(), self.kept)
        set_training(self.model, False)

    def held_out_losses(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return held-out rows' losses as kept and at the start, and weights."""
        objective, losses = self.trainer.objective, []
        for state in (self.origin, self.kept):
            copy_all(self._state(), state)
            losses.append(objective.sample_losses(self.held_out))
        at_start, kept = losses
        return kept, at_start, self.held_out.weight.cpu().numpy()

    def give_up(self) -> None:
        """Keep the state before the first epoch."""
        copy_all(self.kept, self.origin)
        self.best_iter = 0

    def retreat(self) -> None:
        """Give up where training has made the model worse on the rows it learned."""
        self.restore()
        if self.held_out or not self.loss_curve:
            return
        increase = self.judge() - self.start_loss
        self.worsened = increase > WORSENED * self.null_loss
        self.retreated = increase > 0
        if self.retreated:
            self.give_up()

    def rest(self) -> None:
        """Let go of all but the kept state: no epochs follow."""
        self.trainer.rest()
        self.epochs = self.origin = self.current = None

    def follow(self, earlier: "Course") -> None:
        """Go on with the curves of the course by which this one was planned."""
        self.loss_curve = list(earlier.loss_curve)
        self.validation_loss_curve = earlier.validation_loss_curve

    def best_model(self) -> Autoencoder:
        """Return a copy of the model in its kept state, ready to be used."""
        generator = self.trainer.objective.generator
        return self._finished(copy.deepcopy(self.model, {id(generator): None}))

    def release(self) -> Autoencoder:
        """Return the model itself in its kept state; the course is over."""
        self.trainer.objective.hand_generator(None)
        return self._finished(self.model)

    def _finished(self, model):
        model.zero_grad(set_to_none=True)
        model.drop(self.n_dropped)
        return model

    @property
    def improving(self) -> bool:
        """Whether the loss fell by more than a quarter over the second half."""
        curve = self.validation_loss_curve or self.loss_curve
        return len(curve) > 1 and curve[-1] < 0.75 * curve[(len(curve) - 1) // 2]

    @property
    def complete(self) -> bool:
        """Whether all epochs that were planned have been run."""
        return self.remaining == 0

    def report(self) -> str:
        """Return a line on the last epoch."""
        line = f"Epoch {len(self.loss_curve)}, loss = {self.loss_curve[-1]:.6g}"
        if self.held_out:
            line += f", held out = {self.validation_loss_curve[-1]:.6g}"
        return line

    def shares(self, batches: Batches) -> np.ndarray:
        """Return the share of loss that the first 1, 2, ... components explain."""
        objective = self.trainer.objective
        return 1 - objective.prefix_losses(batches) / (objective.null(batches) or 1.0)
