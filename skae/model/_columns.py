"""The loss of a table of mixed columns: squared errors and cross-entropies."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skae.data._layout import ColumnsLayout
from skae.losses import LOGIT, OFFSET_MARGIN, SHRINKAGES, SLOPE_MARGIN


class ColumnsLoss(nn.Module):
    """The loss of each column over that of the constant model.

    It has the interface of the losses in `skae.losses`. The outputs of numbers are
    those of standardized rows; those of indicators are logits.

    Parameters
    ----------
    layout : ColumnsLayout
        The layout of a row.
    """

    power = 0
    domain = (-np.inf, np.inf)
    vocabulary = None
    transform = None
    shrinkages = SHRINKAGES
    elementwise = None  # the losses are those of columns

    def __init__(self, layout: ColumnsLayout):
        super().__init__()
        links = np.array([column.link for column in layout.columns])
        starts = np.cumsum([0, *(column.n_entries for column in layout.columns)])
        entries = np.arange(layout.n_features)
        self.groups = {
            link: [
                entries[start:end]
                for own, start, end in zip(links, starts, starts[1:], strict=False)
                if own == link
            ]
            for link in ("identity", "logit", "softmax")
        }
        self.units = layout.units
        self.n_features = layout.n_features
        nulls = np.array([column.null_loss for column in layout.columns])
        # Constant columns do not count.
        factors = np.divide(1, nulls, where=nulls > 0, out=np.zeros_like(nulls))
        # Columns in the order of their links.
        order = np.concatenate([np.flatnonzero(links == link) for link in self.groups])
        for name, array in {
            "factors": factors,
            "first": starts[:-1],
            "numbers": _padded(self.groups["identity"]),
            "widths": np.array([float(len(g)) for g in self.groups["identity"]]),
            "booleans": _concatenated(self.groups["logit"]),
            "categories": _padded(self.groups["softmax"]),
            "order": np.argsort(order),
            "is_linked": self._is_linked("logit", "softmax"),
            "is_softmax": self._is_linked("softmax"),
            "unit_of_entry": self.units,
        }.items():
            # They follow from the layout, and are not a part of the saved weights.
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def _is_linked(self, *links: str) -> np.ndarray:
        is_linked = np.zeros(self.n_features, dtype=bool)
        for link in links:
            is_linked[_concatenated(self.groups[link])] = True
        return is_linked

    def linearize(self, mean: np.ndarray, scale: float, shrinkage: float = 1.0):
        """Return outputs for the mean, and the slopes of the outputs at the mean.

        Only the slopes of logits are shrunk.
        """
        offset, slope = np.zeros_like(mean), np.ones_like(mean)
        # Frequencies of indicators.
        p = (mean * self.units).clip(0, 1)
        booleans = _concatenated(self.groups["logit"])
        offset[booleans] = LOGIT.offset(p[booleans])
        slope[booleans] = LOGIT.tangent(p[booleans])
        categories = _concatenated(self.groups["softmax"])
        offset[categories] = np.log(p[categories].clip(min=OFFSET_MARGIN))
        slope[categories] = 1 / p[categories].clip(min=SLOPE_MARGIN)
        is_linked = self._is_linked("logit", "softmax")
        return offset, np.where(is_linked, slope * self.units * shrinkage, slope)

    def target(self, rows: Tensor, mean: Tensor, scale: float) -> Tensor:
        """Return numbers as they are, and the indicators that entries stand for."""
        indicators = (rows + mean) * self.unit_of_entry
        return torch.where(self.is_linked, indicators, rows)

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each column, (n_samples, n_columns); NaN if missing."""
        missing = target[:, self.first].isnan()
        # Masked before the loss: gradients of NaN are NaN.
        target = target.nan_to_num(nan=0.0)
        residuals = F.pad(output - target, (0, 1))[:, self.numbers]
        squares = residuals.square().sum(dim=2) / self.widths
        logits, labels = output[:, self.booleans], target[:, self.booleans]
        binary = F.softplus(logits) - labels * logits
        parts = [squares, binary, self.cross_entropies(output, target)]
        losses = torch.cat(parts, dim=1)[:, self.order] * self.factors
        return torch.where(missing, torch.nan, losses)

    def cross_entropies(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of each category, (n_samples, n_categories)."""
        # An entry beyond the last is padding, of probability 0.
        logits = F.pad(output, (0, 1), value=-torch.inf)[:, self.categories]
        indicators = F.pad(target, (0, 1))[:, self.categories]
        chosen = (F.pad(output, (0, 1))[:, self.categories] * indicators).sum(dim=2)
        return logits.logsumexp(dim=2) * indicators.sum(dim=2) - chosen

    def reconstruction(self, output: Tensor, mean: Tensor, scale) -> Tensor:
        """Return encoded rows, with the most likely level of each category."""
        # Outputs of a model on a GPU may have been moved to the CPU.
        buffers = self.categories, self.is_linked, self.is_softmax, self.unit_of_entry
        categories, is_linked, is_softmax, units = (
            b.to(output.device) for b in buffers
        )
        rows = output.to(mean.dtype) + mean
        indicators = (output > 0).to(mean.dtype)
        if len(categories):
            # An entry beyond the last is padding, of probability 0.
            logits = F.pad(output, (0, 1), value=-torch.inf)[:, categories]
            # (n_samples, n_categories), the entry of the most likely level
            likely = categories.gather(1, logits.argmax(dim=2).T).T
            chosen = torch.zeros_like(rows).scatter(1, likely, 1.0)
            indicators = torch.where(is_softmax, chosen, indicators)
        return torch.where(is_linked, indicators / units, rows)

    def draw(self, output: Tensor, mean: Tensor, scale, deviations, rng) -> np.ndarray:
        """Return encoded rows, with levels and booleans drawn by their probability.

        The parameters are those of `StandardizedLoss.draw`.
        """
        shape = tuple(output.shape)
        # The largest sum of a logit and a Gumbel draw is that of a level drawn by its
        # probability. The difference of two Gumbel draws has a logistic distribution.
        noise = rng.gumbel(size=shape)
        booleans = _concatenated(self.groups["logit"])
        noise[:, booleans] = rng.logistic(size=(len(output), len(booleans)))
        drawn = output + torch.from_numpy(noise).to(output)
        rows = self.reconstruction(drawn, mean, scale).numpy()
        numbers = self.reconstruction(output, mean, scale).numpy()
        numbers = numbers + deviations * rng.standard_normal(shape)
        return np.where(self._is_linked("logit", "softmax"), rows, numbers)


def _concatenated(groups: list) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype=int), *groups])


def _padded(groups: list) -> np.ndarray:
    """Return the entries of each column, padded by -1 to the same number."""
    width = max(map(len, groups), default=1)
    padded = np.full((len(groups), width), -1)
    for row, entries in zip(padded, groups, strict=True):
        row[: len(entries)] = entries
    return padded
