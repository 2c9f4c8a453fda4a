"""The trainer: epochs of optimizer steps on shuffled batches."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from skae._torch import isolated_torch
from skae.networks._layers import n_products
from skae.training import _manual_step
from skae.training._batches import Batches
from skae.training._objective import Objective
from skae.training._optimizers import FlatParameters
from skae.training._processes import SINGLE_PROCESS, SingleProcess

SMALL_STEP = 1e9  # operations; below, several threads are slower
DIVIDED_STEP = 5e8  # operations; below, several processes are slower
WARM_UP, WARM_UP_STEPS = 0.05, 20  # Adam's first steps follow rounding errors
COOL_DOWN = 0.2  # share of the steps
FULL_RATE_ROWS = 64  # of a step
MAX_LOSSES = 64  # each of its own memory, which fragments that of batches


def warmup_cosine(step: int, n_steps: int, row_share: float = 1.0) -> float:
    """Return the factor of the learning rate: linear warm-up, then cosine to zero.

    The warm-up takes 5 % of the steps, but at least 20 (Goyal et al. 2017; Loshchilov &
    Hutter 2017). The share of rows in a step does not change the rate.
    """
    warm_up = max(WARM_UP_STEPS, WARM_UP * n_steps)
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (n_steps - warm_up)))


def warmup_cooldown(step: int, n_steps: int, row_share: float = 1.0) -> float:
    """Return the factor of the learning rate: warm-up, constant, then linear to zero.

    The decrease takes the last 20 % of the steps (Hägele et al. 2024). The mean rate is
    1.8 times that of the cosine, which random weights need more than a start at PCA.
    The share of rows in a step does not change the rate.
    """
    warm_up = min(1.0, (step + 1) / (WARM_UP_STEPS + 1))
    return warm_up * min(1.0, (n_steps - step) / (COOL_DOWN * n_steps))


def warmup_constant(step: int, n_steps: int, row_share: float) -> float:
    """Return the factor for training without a planned end: warm-up, then constant.

    The rate is proportional to the share of rows in a step (the linear scaling rule,
    Goyal et al. 2017). At the full rate a few rows would undo a fit on many.
    """
    return row_share * min(1.0, (step + 1) / (WARM_UP_STEPS + 1))


class Trainer:
    """Optimizer steps on the batches of an objective.

    Parameters
    ----------
    objective : Objective
        The objective.

    optimizer : object
        With the method `step(closure, factor)`.

    flat : FlatParameters
        The model's parameters.

    batches : Batches
        The training rows.

    batch_size : int
        The largest number of rows in a step.

    n_samples : int
        The number of rows of the first training call. With a constant learning rate,
        steps of fewer rows, or of fewer than 64, are smaller.

    n_threads : int
        The number of threads of a large step. Small steps use one: a second thread
        costs more than it gains, and much more on a busy machine.

    group : SingleProcess
        The process, or the processes that divide the rows of a large step.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer,
        flat: FlatParameters,
        batches: Batches,
        batch_size: int,
        n_samples: int,
        n_threads: int,
        group: SingleProcess = SINGLE_PROCESS,
    ):
        self.objective = objective
        self.optimizer = optimizer
        self.flat = flat
        self.batches = batches
        self.batch_size = batch_size
        self.group = group
        self.full_rate_rows = min(FULL_RATE_ROWS, n_samples)
        self.n_steps = 0  # taken so far
        # A product and its two derivatives, each a multiplication and an addition.
        n_operations = 6 * n_products(objective.model) * batch_size
        self.n_threads = n_threads if n_operations > SMALL_STEP else 1
        # `gradient(rows, weights)` writes the gradient and returns the loss.
        self.gradient: Callable = (
            _manual_step.manual_gradient(objective) or self.autograd
        )
        # The modules of a manual step behave alike in training and evaluation.
        is_manual = self.gradient != self.autograd and objective.model.noise.is_noop
        self.needs_training_mode = not is_manual
        if not is_manual:
            objective.detect_global_rng(batches)
        if objective.uses_global_rng:  # which only autograd's objective handles
            self.gradient = self.autograd
        # All processes compute smaller steps, since an exchange would take longer.
        if n_operations > DIVIDED_STEP and objective.is_mean_over_rows:
            self.gradient = group.divide(self.gradient, flat.gradient_and_loss)

    def autograd(self, rows: Tensor, weights: Tensor | None) -> Tensor:
        """Write the gradient of a batch by autograd, and return the loss."""
        self.flat.gradient.zero_()
        with torch.enable_grad():
            loss = self.objective.loss(rows, weights)
            loss.backward()
        return loss.detach()

    def free_buffers(self) -> None:
        """Free the memory that was laid out for steps."""
        if isinstance(self.gradient, _manual_step.ManualGradient):
            self.gradient.steps.clear()

    @property
    def n_batches(self) -> int:
        """Number of steps in an epoch."""
        return math.ceil(len(self.batches.rows) / self.batch_size)

    def epochs(self, n_epochs: int, schedule=warmup_cosine) -> Iterator[float]:
        """Yield the mean training loss of each epoch, after its last step."""
        n_batches, generator = self.n_batches, self.objective.generator
        row_share = len(self.batches.rows) / n_batches / self.full_rate_rows
        last_step = self.n_steps + n_epochs * n_batches
        for _ in range(n_epochs):
            if self.needs_training_mode:
                self.objective.model.train()
            losses = []
            # Drawn before the steps, whose noise uses the same generator.
            batches = self.batches.shuffled(n_batches, generator)
            with isolated_torch(self.n_threads):
                for batch in batches:
                    factor = schedule(self.n_steps, last_step, min(1.0, row_share))
                    loss = self.optimizer.step(
                        lambda b=batch: self.gradient(*b), factor
                    )
                    losses.append(loss)
                    self.n_steps += 1
                    if len(losses) == MAX_LOSSES:
                        losses = [torch.hstack(losses)]
            # One transfer from the device for an epoch, not one for each step.
            yield float(torch.hstack(losses).mean())
