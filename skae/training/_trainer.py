"""Training: epochs of steps on batches of rows, one record yielded for each epoch."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import repeat

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from skae._torch import SeededDispatch
from skae.data._rows import StandardizedRows
from skae.networks._layers import n_products
from skae.training._manual_step import WrittenGradient, weighted_mean

RESIDENT_BYTES = 2**30  # larger data is read from where it lies
SHUFFLED_ENTRIES = 2**20  # of rows that are gathered at once: 4 MB of float32
SMALL_STEP = 1e9  # operations
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
WARM_UP, WARM_UP_STEPS = 0.05, 20  # Adam's first steps follow rounding errors

if hasattr(os, "register_at_fork"):  # a forked child has none of OpenMP's threads
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


@contextmanager
def threads(n_threads: int):
    """Let torch use so many threads, and the caller's number again afterwards."""
    before = torch.get_num_threads()
    if n_threads == before:
        yield
        return
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def isolated_torch():
    """Compute the same whatever the caller's own settings are, on one thread.

    Steps that gain by more threads take them; see `Trainer`. Only what autograd is to
    differentiate turns it on.
    """
    with threads(1), torch.inference_mode(False), torch.no_grad():
        yield


def warmup_cosine(step: int, n_steps: int) -> float:
    """Return the factor on the learning rate: linear warm-up, then cosine to zero."""
    warm_up = max(WARM_UP_STEPS, WARM_UP * n_steps)
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (n_steps - warm_up)))


def constant(step: int, n_steps: int) -> float:
    """Return the factor of training that may go on: there is no end to anneal to."""
    return 1.0


@contextmanager
def eval_norms_for_single_row(model: nn.Module, n_rows: int):
    """Let batch normalization take its running statistics for a single row.

    One row has no variance, and torch refuses it.
    """
    norms = [m for m in model.modules() if isinstance(m, NORMS)] if n_rows == 1 else []
    in_training = [norm for norm in norms if norm.training]
    for norm in in_training:
        norm.eval()
    try:
        yield
    finally:
        for norm in in_training:
            norm.train()


class Batches:
    """Rows as tensors: shuffled batches to learn from, blocks to be judged by.

    Dense rows that fit are held on the device as one tensor, others are read from where
    they lie, and sparse ones made dense then. In an epoch, permuted rows are gathered
    for some batches at a time, which are slices of them.

    Parameters
    ----------
    rows : StandardizedRows
        The standardised rows.

    dtype : str
        What the model computes in.

    device : str
        Where.
    """

    def __init__(self, rows: StandardizedRows, dtype: str, device: str):
        self.rows = rows
        self.dtype = getattr(torch, dtype)
        self.device = device
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        self.weight = self._tensor(weight).to(device)
        size = len(rows) * rows.X.shape[1] * self.dtype.itemsize
        held = size <= RESIDENT_BYTES and not sparse.issparse(rows.X)
        self.resident = self._load() if held else None

    def __len__(self):
        return len(self.rows)

    def shuffled(
        self, n_batches: int, generator
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield (rows, weights) of batches that differ in size by one row at most.

        One batch keeps the rows' order: a full step is the same for every seed.
        """
        if n_batches == 1:
            yield self._read(slice(None)), self._weights(slice(None))
            return
        order = torch.randperm(len(self), generator=generator, device=self.device)
        for parts in self._portions(order.tensor_split(n_batches)):
            sizes = [len(part) for part in parts]
            index = torch.cat(parts)
            rows, weights = self._read(index).split(sizes), self._weights(index)
            weights = repeat(None) if weights is None else weights.split(sizes)
            yield from zip(rows, weights, strict=False)

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (rows, weights) in order."""
        for block in self.rows.blocks():
            yield self._read(block), self.weight[block]

    def sample(self, n_rows: int) -> "Batches":
        """Return evenly spaced rows, at most so many, as batches of their own."""
        step = max(1, math.ceil(len(self) / n_rows))
        rows = self.rows.subset(np.arange(0, len(self), step))
        return Batches(rows, str(self.dtype).removeprefix("torch."), self.device)

    def _portions(self, parts):
        """Yield as many parts at a time as may be gathered at once."""
        entries = len(parts[0]) * self.rows.X.shape[1]
        n_parts = max(1, SHUFFLED_ENTRIES // entries)
        for start in range(0, len(parts), n_parts):
            yield parts[start : start + n_parts]

    def _weights(self, rows):
        return None if self.rows.weight is None else self.weight[rows]

    def _read(self, rows):
        if self.resident is None:
            rows = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
            return self._tensor(self.rows[rows]).to(self.device)
        if isinstance(rows, Tensor):
            return self.resident.index_select(0, rows)
        return self.resident[rows]

    def _load(self):
        shape = len(self.rows), self.rows.X.shape[1]
        resident = torch.empty(shape, dtype=self.dtype, device=self.device)
        for block in self.rows.blocks():
            resident[block] = self._tensor(self.rows[block])
        return resident

    def _tensor(self, array):
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.dtype)


class Objective:
    """A model's training loss on a batch, and its validation loss on all rows.

    Parameters
    ----------
    model : Autoencoder
        The model.

    mean, scale : ndarray of shape (n_features,), float
        What the rows were standardised by; some losses compare with the rows' own unit.

    seed : int
        Determines all random numbers in training.

    products : torch.dtype
        What training computes products in, and activations; weights are in the model's
        own type.
    """

    def __init__(self, model, mean, scale, seed: int, products: torch.dtype):
        self.model = model
        self.products = products
        self.mean = torch.tensor(mean).to(model.offset)  # a copy: it may lie on disk
        self.scale = scale
        self.generator = torch.Generator(model.offset.device).manual_seed(seed)
        self.draws_unasked = False
        self.hand_generator(self.generator)

    def hand_generator(self, generator: torch.Generator | None) -> None:
        """Let modules that draw random numbers take them from a generator."""
        for module in self.model.modules():
            if hasattr(module, "generator"):
                module.generator = generator

    def loss(self, rows: Tensor, weights: Tensor | None) -> Tensor:
        """Return the weighted mean loss of a batch."""
        with (
            self._seeded(),
            self._lowered(rows),
            eval_norms_for_single_row(self.model, len(rows)),
        ):
            losses = self.model.objective(
                rows, self.target(rows), self.generator, weights
            )
        return weighted_mean(losses, weights)

    def _seeded(self):
        return SeededDispatch(self.generator) if self.draws_unasked else nullcontext()

    def _lowered(self, rows):
        if self.products == rows.dtype:
            return nullcontext()
        return torch.autocast(rows.device.type, self.products)

    def validate(self, batches: Batches) -> float:
        """Return the weighted mean loss of all rows."""
        return float(
            np.average(self.sample_losses(batches), weights=batches.weight.cpu())
        )

    @torch.no_grad()
    def sample_losses(self, batches: Batches) -> np.ndarray:
        """Return the loss of each row, in evaluation mode."""
        set_training(self.model, False)
        losses = [
            self.model.validation(rows, self.target(rows), weights).cpu()
            for rows, weights in batches.blocks()
        ]
        return torch.cat(losses).numpy().astype(np.float64)

    @torch.no_grad()
    def null(self, batches: Batches) -> float:
        """Return the weighted mean loss of the model that knows only the mean."""
        model, total = self.model, 0.0
        for rows, weights in batches.blocks():
            losses = model.sample_loss(model.constant(rows), self.target(rows))
            total += float((weights * losses).sum())
        return total / float(batches.weight.sum())

    @torch.no_grad()
    def prefix_losses(self, batches: Batches) -> np.ndarray:
        """Return the mean loss of the first 1, 2, ... components, the others at 0."""
        total = 0.0
        for rows, weights in batches.blocks():
            codes, target = self.model.encode(rows), self.target(rows)
            positions = torch.arange(codes.shape[1], device=codes.device)
            outputs = (self.model.decode(codes * (positions <= j)) for j in positions)
            losses = [self.model.sample_loss(output, target) for output in outputs]
            total = total + (torch.stack(losses) @ weights).cpu().numpy()
        return total / float(batches.weight.sum())

    def probe(self, batches: Batches) -> None:
        """Try one step's loss, to see whether parts draw random numbers unasked.

        If they do, they are made to draw from the generator at every step. The try
        leaves no trace, neither in the generator nor in running statistics.
        """
        state = self.generator.get_state()
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        rows, _ = next(batches.sample(2).blocks())
        set_training(self.model, True)
        with torch.no_grad(), SeededDispatch(self.generator) as seeded:
            self.loss(rows, None)
        for buffer, before in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        self.generator.set_state(state)
        self.draws_unasked = seeded.n_unseeded > 0

    def target(self, rows: Tensor) -> Tensor:
        """Return what the outputs for rows are compared with."""
        return self.model.loss.target(rows, self.mean, self.scale)


class Trainer:
    """Steps of one model: its objective, its rows, its solver.

    Parameters
    ----------
    objective : Objective
        What is minimised.

    solver : object
        With a method `step(closure, factor)`.

    flat : FlatParameters
        The model's parameters.

    batches : Batches
        The rows.

    batch_size : int
        The largest number of rows in a step.

    n_threads : int
        How many threads a step may use. Small ones use one: there a second costs more
        than it brings, and many times more on a busy machine.
    """

    def __init__(self, objective, solver, flat, batches, batch_size, n_threads):
        # A product and its two derivatives, each a multiplication and an addition.
        n_operations = 6 * n_products(objective.model) * batch_size
        self.n_threads = n_threads if n_operations > SMALL_STEP else 1
        self.objective = objective
        self.solver = solver
        self.flat = flat
        self.batches = batches
        self.batch_size = batch_size
        objective.probe(batches)
        self.gradient = self._way()

    def _way(self):
        """Return what writes the gradient: the step written out, or autograd."""
        objective = self.objective
        if objective.model.writable and not objective.draws_unasked:
            return WrittenGradient(
                objective.model,
                objective.target,
                objective.generator,
                objective.products,
            )
        return self.differentiate

    def without_rows(self) -> None:
        """Let go of the rows, and of the memory that was laid out for them."""
        self.batches = None
        self.gradient = self._way()

    def rest(self) -> None:
        """Let go of the memory that only further steps need."""
        self.gradient = self._way()
        self.solver = None

    @property
    def n_batches(self) -> int:
        """Number of steps in an epoch."""
        return math.ceil(len(self.batches) / self.batch_size)

    def epochs(self, n_epochs: int, schedule=warmup_cosine) -> Iterator[float]:
        """Yield the mean training loss of each epoch, after its last step."""
        n_steps = n_epochs * self.n_batches
        generator = self.objective.generator
        for epoch in range(n_epochs):
            set_training(self.objective.model, True)
            losses = []
            batches = self.batches.shuffled(self.n_batches, generator)
            with threads(self.n_threads), torch.no_grad():
                for step, batch in enumerate(batches, start=epoch * self.n_batches):
                    losses.append(self.step(batch, schedule(step, n_steps)))
            yield float(torch.stack(losses).mean())

    def step(self, batch: tuple[Tensor, Tensor], factor: float) -> Tensor:
        """Take one step of the solver and return the loss before it."""
        return self.solver.step(lambda: self.gradient(*batch), factor)

    def differentiate(self, rows: Tensor, weights: Tensor | None) -> Tensor:
        """Write the gradient of a batch's loss by autograd, and return the loss."""
        self.flat.gradient.zero_()
        with torch.enable_grad():
            loss = self.objective.loss(rows, weights)
            loss.backward()
        return loss.detach()


def set_training(module: nn.Module, mode: bool) -> None:
    """Put a module into training or evaluation mode, unless it is in it."""
    if module.training != mode:
        module.train(mode)


def to_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """Return a module's parameters and buffers as arrays on the CPU."""
    state = module.state_dict()
    return {name: value.cpu().numpy().copy() for name, value in state.items()}
