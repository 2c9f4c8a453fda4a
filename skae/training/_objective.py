"""The objective: training loss of a batch, validation loss of rows."""

from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skae._torch import SeededDispatch
from skae.losses import squared_error
from skae.model._autoencoder import Autoencoder
from skae.regularizers._base import BaseRegularizer, validation_generator
from skae.training._batches import Batches

NOISE_DRAWS = 4  # of each validation row
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Objective:
    """The training and validation loss of a model.

    Parameters
    ----------
    model : Autoencoder
        The model.

    mean : ndarray of shape (n_features,)
        The mean by which rows were standardized.

    scale : float
        The scale by which rows were standardized.

    seed : int
        Seed of all random numbers in training.

    compute_dtype : torch.dtype
        The type of products and activations in training. The weights have the model's
        type.

    Attributes
    ----------
    fitted, model : Autoencoder
        The given model, and the one that is applied to rows in training: the same one,
        or one with the same networks for rows that are reduced to scores.

    on_scores : bool
        Whether rows are reduced to scores.

    generator : torch.Generator
        The source of random numbers of noise, regularizer, dropout and batches.

    uses_global_rng : bool
        Whether a part draws from torch's global generator. See `detect_global_rng`.
    """

    def __init__(self, model: Autoencoder, mean, scale, seed, compute_dtype):
        self.fitted = model
        self.on_scores = trains_on_scores(model)
        self.model = model.on_scores() if self.on_scores else model
        self.compute_dtype = compute_dtype
        # Not the global generator, which other threads may use or reset.
        self.generator = torch.Generator(model.offset.device).manual_seed(seed)
        self.uses_global_rng = False
        # A copy, since the array may be memory-mapped and read-only.
        self.mean, self.scale = torch.tensor(mean).to(model.offset), scale
        set_generator(model, self.generator)

    @property
    def to_scores(self) -> np.ndarray | None:
        """Map by which rows are reduced to scores, (n_features, n_scores), or None."""
        return self.fitted.scores.matrix() if self.on_scores else None

    @property
    def is_mean_over_rows(self) -> bool:
        """Whether the loss of each row depends neither on others nor on random numbers.

        Then the loss of a batch is the mean of those of its parts.
        """
        model, kind = self.model, type(self.model.regularizer)
        is_random = self.uses_global_rng or not model.noise.is_noop
        # Dropout has a generator.
        mixes_rows = any(
            isinstance(module, BATCH_NORMS) or hasattr(module, "generator")
            for module in model.modules()
        )
        has_batch_penalty = not model.regularizer.is_noop and any(
            getattr(kind, hook) is not getattr(BaseRegularizer, hook)
            for hook in ("training_codes", "batch_penalty", "encoder_penalty")
        )
        return not (is_random or mixes_rows or has_batch_penalty)

    def target(self, rows: Tensor) -> Tensor:
        """Return the values with which outputs are compared, (n_samples, n_features).

        They are those of the rows, or of the clean versions that follow them.
        """
        clean = rows[:, -self.model.adapter.n_features :]
        return self.model.loss.target(clean, self.mean, self.scale)

    def loss(self, rows: Tensor, weights: Tensor | None) -> Tensor:
        """Return the weighted mean training loss of a batch, a scalar."""
        rng = SeededDispatch(self.generator) if self.uses_global_rng else nullcontext()
        mixed: Any = nullcontext()
        if self.compute_dtype != rows.dtype:
            mixed = torch.autocast(rows.device.type, self.compute_dtype)
        with rng, mixed, eval_norms_for_single_row(self.model, len(rows)):
            losses = self._training_losses(rows, weights)
        return losses.mean() if weights is None else (weights * losses).mean()

    def _training_losses(self, rows, weights):
        """Return the loss of each row, with noise and penalties, (n_samples,)."""
        model, regularizer, generator = (
            self.model,
            self.model.regularizer,
            self.generator,
        )
        inputs, target = model.adapter.inputs(rows), self.target(rows)
        # The noise is on the encoder's input; the target is clean.
        noisy = model.adapter.corrupt(model.noise, inputs, generator)
        # (n_samples, n_components)
        codes = model.pad(model.encode_inputs(noisy))
        training_codes = regularizer.training_codes(codes, generator)
        losses = self._reconstruction_losses(training_codes, target)
        penalty = regularizer.batch_penalty(codes, losses.detach(), weights, generator)
        slope = regularizer.encoder_penalty(
            model.encode_inputs, noisy, weights, generator
        )
        return losses + penalty + slope

    def _reconstruction_losses(self, codes, target):
        """Return the mean loss of each row over its codes, shape (n_samples,).

        Codes have the shape (n_codes * n_samples, n_components): the first codes of all
        rows, then the second codes of all rows, and so on.
        """
        n_codes = len(codes) // len(target)
        targets = target.expand(n_codes, *target.shape).flatten(0, 1)
        # (n_codes * n_samples, n_outputs)
        output = self.model.decode(codes)
        losses = self.model.adapter.sample_loss(output, targets)
        return losses.unflatten(0, (n_codes, -1)).mean(dim=0)

    @torch.no_grad()
    def validation_losses(self, batches: Batches) -> np.ndarray:
        """Return the validation loss of each row, shape (n_samples,).

        Inputs are corrupted as in training, and the loss is the mean over several draws
        of the noise. Noise and regularizer draw the same numbers at every call.
        """
        model, losses = self.model, []
        # A switch visits all modules, which takes as long as a small batch.
        if model.training:
            model.eval()
        generator = validation_generator(model.offset)
        for rows, weights in batches.blocks():
            inputs, target = model.adapter.inputs(rows), self.target(rows)
            draws = [
                self._validation_losses(corrupted, target, weights)
                for corrupted in self._validation_inputs(inputs, generator)
            ]
            losses.append((sum(draws) / len(draws)).cpu())
        return torch.cat(losses).numpy().astype(np.float64)

    def _validation_inputs(self, inputs, generator):
        """Yield inputs of the encoder: corrupted ones, or without noise the given."""
        noise = self.model.noise
        if noise.is_noop:
            yield inputs
            return
        for _ in range(NOISE_DRAWS):
            # A user's noise may draw from torch's global generator.
            with SeededDispatch(generator):
                corrupted = self.model.adapter.corrupt(noise, inputs, generator)
            yield corrupted

    def _validation_losses(self, inputs, target, weights):
        """Return the validation loss of each row, with penalties, (n_samples,)."""
        model, regularizer = self.model, self.model.regularizer
        codes = model.pad(model.encode_inputs(inputs))
        # Without penalties the validation loss is the reconstruction loss.
        if regularizer.is_noop:
            return self._reconstruction_losses(codes, target)
        generator = validation_generator(inputs)
        # Such as draws from a posterior: the mean loss over several codes of a row.
        views = regularizer.validation_codes(codes)
        losses = [self._reconstruction_losses(view, target) for view in views]
        losses = sum(losses) / len(losses)
        slope = regularizer.encoder_penalty(
            model.encode_inputs, inputs, weights, generator
        )
        return regularizer.validation_loss(codes, losses, weights, generator) + slope

    def validation_loss(self, batches: Batches) -> float:
        """Return the weighted mean validation loss."""
        losses = self.validation_losses(batches)
        return float(np.average(losses, weights=batches.weight.cpu()))

    @torch.no_grad()
    def null_loss(self, batches: Batches) -> float:
        """Return the weighted mean loss of a constant model, which returns the mean."""
        model, total = self.model, 0.0
        for rows, weights in batches.blocks():
            constant = model.offset.expand(len(rows), -1)
            losses = model.adapter.sample_loss(constant, self.target(rows))
            total += float((weights * losses).sum())
        return total / float(batches.weight.sum())

    @torch.no_grad()
    def explained_shares(self, batches: Batches, sizes=None) -> np.ndarray:
        """Return the shares of the null loss that prefixes of the codes explain.

        Parameters
        ----------
        batches : Batches
            The rows.

        sizes : ndarray of int of shape (n_sizes,) or None, default=None
            Numbers of first components. With None, 1, 2, ..., n_components.

        Returns
        -------
        shares : ndarray of shape (n_sizes,)
            The share that so many first components explain, with the others at 0.
        """
        model = self.model
        # Becomes an array of shape (n_sizes,).
        total: Any = 0.0
        for rows, weights in batches.blocks():
            codes, target = model.encode(rows), self.target(rows)
            # One decoding for each prefix; the rows are few.
            positions = torch.arange(codes.shape[1], device=codes.device)
            each = range(1, codes.shape[1] + 1) if sizes is None else sizes.tolist()
            outputs = (model.decode(codes * (positions < size)) for size in each)
            losses = [model.adapter.sample_loss(output, target) for output in outputs]
            # (n_sizes, n_samples) @ (n_samples,)
            total = total + (torch.stack(losses) @ weights).cpu().numpy()
        # Without variance nothing is left to explain.
        mean_losses = total / float(batches.weight.sum())
        return 1 - mean_losses / (self.null_loss(batches) or 1.0)

    def detect_global_rng(self, batches: Batches) -> None:
        """Compute one loss to detect parts that draw from torch's global generator.

        Such parts are made to draw from `generator` in every step. The trial changes
        neither the generator nor running statistics.
        """
        # The trial needs two rows, for batch normalization.
        state = self.generator.get_state()
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        rows, _ = next(batches.sample(2).blocks())
        self.model.train()
        self.uses_global_rng = False  # `loss` must not seed the operations itself
        with torch.no_grad(), SeededDispatch(self.generator) as seeded:
            self.loss(rows, None)
        for buffer, before in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        self.generator.set_state(state)
        self.uses_global_rng = seeded.n_unseeded > 0


def trains_on_scores(model: Autoencoder) -> bool:
    """Return whether the training loss is a function of the scores of rows.

    Noise, and penalties on the encoder's slopes, are those of features.
    """
    penalty = type(model.regularizer).encoder_penalty
    has_slopes = penalty is not BaseRegularizer.encoder_penalty
    return (
        model.scores is not None
        and model.loss.elementwise is squared_error
        and model.noise.is_noop
        and (model.regularizer.is_noop or not has_slopes)
    )


def set_generator(model: nn.Module, generator: torch.Generator | None) -> None:
    """Set the generator of every module that draws random numbers."""
    for module in model.modules():
        if hasattr(module, "generator"):
            module.generator = generator


@contextmanager
def eval_norms_for_single_row(model: nn.Module, n_rows: int):
    """Let batch normalization use its running statistics for a batch of one row.

    One row has no variance, and torch raises an error for it in training mode.
    """
    norms = [m for m in model.modules() if isinstance(m, BATCH_NORMS) and m.training]
    norms = norms if n_rows == 1 else []
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()
