"""A codec: a fitted model without scikit-learn, from rows to codes and back."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skae.data._layout import Layout
from skae.data._rows import StandardizedRows, cast_rows, dense, float_dtype, row_blocks
from skae.model._autoencoder import Autoencoder


@dataclass(frozen=True)
class Codec:
    """Encoding, decoding and losses of validated rows, a block of rows at a time.

    Attributes
    ----------
    module : Autoencoder
        The fitted model.

    layout : Layout
        The layout of a row.

    mean : ndarray of shape (n_features,)
        The mean by which rows are standardized.

    scale : float
        The scale by which rows are standardized.

    n_components : int
        Number of columns of a code.
    """

    module: Autoencoder
    layout: Layout
    mean: np.ndarray
    scale: float
    n_components: int

    def encode(self, X, out=None):
        """Return codes of shape (n_samples, n_components), in the float type of X.

        They are written to `out` if it is given, an array of this shape.
        """
        dtype = float_dtype(X)
        codes = np.empty((X.shape[0], self.n_components), dtype) if out is None else out
        for block, components in self._encoded(X):
            # float16 input has float32 components, which are clipped to its range.
            columns = self.layout.append_lengths(components, X[block])
            codes[block] = cast_rows(columns, dtype)
        return codes

    def components(self, X) -> np.ndarray:
        """Return the codes without lengths, in float64."""
        codes = np.empty((X.shape[0], self.n_components - self.layout.n_lengths))
        for block, components in self._encoded(X):
            codes[block] = components
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return rows in the shape that `fit` saw, in the float type of the codes."""
        k = self.n_components - self.layout.n_lengths
        # (n_samples, k) and (n_samples, n_lengths)
        components, lengths = codes[:, :k], codes[:, k:]
        dtype = self.layout.cast(np.empty(0), codes.dtype).dtype
        rows = np.empty((len(codes), self.layout.n_features), dtype)
        for block, decoded in self.decode_blocks(components):
            rows[block] = self.layout.cast(decoded, codes.dtype)
        return self.layout.unflatten(rows, lengths)

    def constant_rows(self, n_rows: int) -> np.ndarray:
        """Return reconstructions of the constant model, (n_rows, n_features)."""
        row = self._reconstruct(self.module.offset[np.newaxis])
        return np.repeat(row, n_rows, axis=0)

    def posterior_draws(self, codes: np.ndarray, seed: int) -> np.ndarray:
        """Return codes drawn from the posterior, of the shape of the codes.

        The regularizer is variational.
        """
        with torch.inference_mode():
            # (n_samples, n_components), including those that are dropped
            padded = self.module.pad(self.module.as_input(codes))
            generator = torch.Generator(padded.device).manual_seed(seed)
            (draws,) = self.module.regularizer.draws(padded, 1, generator)
        return draws[:, : self.n_components].cpu().numpy().astype(codes.dtype)

    def draw(self, codes: np.ndarray, deviations: np.ndarray, seed: int) -> np.ndarray:
        """Return rows drawn from what a variational model predicts for codes.

        Parameters
        ----------
        codes : ndarray of shape (n_samples, n_components)
            Means of the posterior.

        deviations : ndarray of shape (n_features,)
            Standard deviations of numbers around the reconstruction of a code.

        seed : int
            Determines the draws.
        """
        drawn, rng = self.posterior_draws(codes, seed), np.random.default_rng(seed)
        loss, rows = self.module.loss, []
        for block in row_blocks(len(codes), self.layout.n_outputs):
            with torch.inference_mode():
                output = self.module.decode(self.module.as_input(drawn[block])).cpu()
            rows.append(loss.draw(output, self._mean, self.scale, deviations, rng))
        return self.layout.cast(np.concatenate(rows), codes.dtype)

    def decode_blocks(self, codes: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks and their flat float64 rows in the unit of the data.

        Codes have no lengths: shape (n_samples, n_components - n_lengths).
        """
        for block in row_blocks(len(codes), self.layout.n_outputs):
            yield block, self._decode(dense(codes[block]))

    def losses(self, X, codes=None) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks and the losses of their entries, shape (n, n_features).

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            The rows.

        codes : ndarray of shape (n_samples, n_components) or None, default=None
            The codes to decode, by default those of the rows.
        """
        for block, rows in self._standardized(X):
            yield block, self._losses(rows, None if codes is None else codes[block])

    def total_losses(self, X, weight: np.ndarray) -> tuple[float, float]:
        """Return the weighted sums of the rows' losses, and of those of the mean."""
        totals = [0.0, 0.0]
        for block, rows in self._standardized(X):
            # Rows of unknown categories alone have no loss.
            is_empty = rows.isnan().all(dim=1).cpu().numpy()
            for i, losses in enumerate((self._losses(rows), self._null_losses(rows))):
                means = np.where(is_empty, 0.0, row_means(losses))
                totals[i] += weight[block] @ means
        return totals[0], totals[1]

    def _standardized(self, X):
        """Yield blocks and their standardized rows as tensors."""
        # Blocks are as small as the wider of a row and its outputs requires.
        rows = StandardizedRows(X, self.mean, self.scale, width=self.layout.n_outputs)
        for block in rows.blocks():
            yield block, self.module.as_input(rows[block])

    def _encoded(self, X):
        """Yield blocks and their codes without lengths, in the model's type."""
        for block, rows in self._standardized(X):
            # Exit before yielding: inference mode holds for the whole thread.
            with torch.inference_mode():
                components = self.module.encode(rows).cpu().numpy()
            yield block, components

    @torch.inference_mode()
    def _decode(self, codes):
        return self._reconstruct(self.module.decode(self.module.as_input(codes)))

    def _reconstruct(self, output: Tensor) -> np.ndarray:
        """Return the float64 rows of outputs, on the CPU: "mps" has no float64."""
        loss = self.module.loss
        return loss.reconstruction(output.cpu(), self._mean, self.scale).numpy()

    @property
    def _mean(self) -> Tensor:
        # A copy, since the array may be memory-mapped and read-only.
        return torch.tensor(self.mean)

    @torch.inference_mode()
    def _losses(self, rows, codes=None):
        codes = (
            self.module.encode(rows) if codes is None else self.module.as_input(codes)
        )
        return self._compare(rows, self.module.decode(codes))

    @torch.inference_mode()
    def _null_losses(self, rows):
        return self._compare(rows, self.module.offset.expand(len(rows), -1))

    def _compare(self, rows: Tensor, output: Tensor) -> np.ndarray:
        """Return the losses of outputs, shape (n, n_features)."""
        target = self.module.loss.target(rows, self._mean.to(rows), self.scale)
        losses = self.module.adapter.losses(output, target)
        return losses.cpu().numpy().astype(np.float64)


def row_means(losses: np.ndarray) -> np.ndarray:
    """Return the mean of each row over the entries that are not NaN, (n_samples,).

    It is NaN for a row of NaN alone, of which no value is known.
    """
    n_known = np.count_nonzero(~np.isnan(losses), axis=1)
    with np.errstate(invalid="ignore"):
        return np.nansum(losses, axis=1) / n_known
