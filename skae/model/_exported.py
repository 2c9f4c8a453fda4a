"""A fitted model as a `torch.nn.Module` of its own, from rows to codes and back."""

import numpy as np
import torch
from torch import Tensor, nn

from skae.data._columns import BooleanColumn, CategoryColumn, NumberColumn
from skae.data._layout import (
    ColumnsLayout,
    IncompleteLayout,
    Layout,
    NumericLayout,
    PaddedLayout,
    TokenLayout,
)
from skae.model._autoencoder import MAX_INPUT, Autoencoder


class Rows(nn.Module):
    """Conversion between rows of any shape and flat rows of numbers.

    Parameters
    ----------
    layout : Layout
        The layout of a row.
    """

    def __init__(self, layout: Layout):
        super().__init__()
        self.shape = layout.shape
        self.n_columns = layout.n_columns
        self.n_lengths = layout.n_lengths

    def flatten(self, X: Tensor) -> Tensor:
        """Return flat float rows, of shape (n_samples, n_features)."""
        rows = X.flatten(1)
        if rows.shape[1] != self.n_columns:  # which could be broadcast
            raise ValueError(
                f"Got rows of {rows.shape[1]} entries, but expected {self.n_columns}, "
                "as seen in `fit`."
            )
        return rows

    def append_lengths(self, codes: Tensor, rows: Tensor) -> Tensor:
        """Return codes, which the lengths of sequences follow."""
        return codes

    def unflatten(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Return decoded rows, of shape (n_samples, *shape)."""
        return rows.unflatten(1, self.shape)


class TokenRows(Rows):
    """Rows of tokens."""

    def unflatten(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Return tokens as integers, of shape (n_samples, *shape)."""
        return super().unflatten(rows, lengths).long()


class PaddedRows(Rows):
    """Sequences that end with NaN.

    Parameters
    ----------
    layout : PaddedLayout
        The layout of a row.
    """

    def __init__(self, layout: PaddedLayout):
        super().__init__(layout)
        self.axis = layout.axis + 1  # of time
        self.n_steps, self.length = layout.n_steps, layout.length

    def append_lengths(self, codes: Tensor, rows: Tensor) -> Tensor:
        """Return codes, and the share of steps before the NaN if it differs."""
        if not self.n_lengths:
            return codes
        # (n_samples, n_steps, n_others): all features of a step are missing together
        steps = rows.unflatten(1, self.shape).movedim(self.axis, 1).flatten(2)
        n_missing = steps[:, :, 0].isnan().sum(dim=1, keepdim=True, dtype=rows.dtype)
        return torch.cat([codes, (1 - n_missing / self.n_steps).to(codes.dtype)], dim=1)

    def unflatten(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Return sequences with NaN after their lengths."""
        if self.n_lengths:
            # (n_samples, 1); one step is always kept
            n_present = (lengths * self.n_steps).round().clamp(1, self.n_steps)
        else:
            n_present = torch.full_like(rows[:, :1], self.length)
        # (n_samples, n_steps)
        missing = torch.arange(self.n_steps, device=rows.device) >= n_present
        time_first = rows.unflatten(1, self.shape).movedim(self.axis, 1)
        missing = missing.unflatten(1, (-1, *[1] * (time_first.ndim - 2)))
        return time_first.masked_fill(missing, torch.nan).movedim(1, self.axis)


class TableRows(Rows):
    """Rows of a table of mixed columns, with a number for the value of each column.

    The number of a category is the position of its level, and that of a boolean 0 or 1.

    Parameters
    ----------
    layout : ColumnsLayout
        The layout of a row.

    Attributes
    ----------
    levels : dict
        The levels of each column of categories, by its name.
    """

    def __init__(self, layout: ColumnsLayout):
        super().__init__(layout)
        for column in layout.columns:
            if type(column) not in COLUMN_ENCODERS:
                raise ValueError(
                    f"Column {column.name!r} contains dates or times, which tensors "
                    "cannot hold. Convert them to numbers before `fit`, such as days."
                )
        self.levels = {
            column.name: list(column.levels)
            for column in layout.columns
            if isinstance(column, CategoryColumn)
        }
        self.columns = nn.ModuleList(
            COLUMN_ENCODERS[type(column)](column) for column in layout.columns
        )
        self.widths = [column.n_entries for column in layout.columns]

    def flatten(self, X: Tensor) -> Tensor:
        """Return encoded rows, of shape (n_samples, n_features)."""
        values = super().flatten(X).split(1, dim=1)
        pairs = zip(self.columns, values, strict=True)
        return torch.cat([column.encode(value) for column, value in pairs], dim=1)

    def unflatten(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Return a number for each column, of shape (n_samples, n_columns)."""
        pairs = zip(self.columns, rows.split(self.widths, dim=1), strict=True)
        return torch.cat([column.decode(entries) for column, entries in pairs], dim=1)


class StandardizedNumber(nn.Module):
    """A column of numbers, encoded as z-scores.

    Parameters
    ----------
    column : NumberColumn
        The column.
    """

    def __init__(self, column: NumberColumn):
        super().__init__()
        self.is_integer = bool(column.integer)
        self.register_buffer("center", torch.tensor(column.center, dtype=torch.float64))
        self.register_buffer("unit", torch.tensor(column.unit, dtype=torch.float64))

    def encode(self, values: Tensor) -> Tensor:
        """Return z-scores of values, both of shape (n_samples, 1)."""
        return (values - self.center) / self.unit

    def decode(self, entries: Tensor) -> Tensor:
        """Return numbers, of shape (n_samples, 1)."""
        numbers = entries * self.unit + self.center
        return numbers.round() if self.is_integer else numbers


class BooleanIndicator(nn.Module):
    """A column of booleans, encoded as scaled indicators.

    Parameters
    ----------
    column : BooleanColumn
        The column.
    """

    def __init__(self, column: BooleanColumn):
        super().__init__()
        self.register_buffer("units", torch.from_numpy(column.units))

    def encode(self, values: Tensor) -> Tensor:
        """Return scaled indicators of 0 or 1, NaN for other values, (n_samples, 1)."""
        is_known = (values == 0) | (values == 1)
        return torch.where(is_known, values / self.units, torch.nan)

    def decode(self, entries: Tensor) -> Tensor:
        """Return 0 or 1, of shape (n_samples, 1)."""
        return (entries * self.units > 0.5).to(entries.dtype)


class CategoryIndicators(nn.Module):
    """A column of categories, encoded as scaled indicators of their levels.

    Parameters
    ----------
    column : CategoryColumn
        The column.
    """

    def __init__(self, column: CategoryColumn):
        super().__init__()
        self.register_buffer("units", torch.from_numpy(column.units))
        self.register_buffer("positions", torch.arange(column.n_entries))

    def encode(self, values: Tensor) -> Tensor:
        """Return scaled indicators, NaN for unknown levels, (n_samples, n_levels)."""
        is_level = values == self.positions
        is_known = is_level.any(dim=1, keepdim=True)
        return torch.where(is_known, is_level.to(values.dtype) / self.units, torch.nan)

    def decode(self, entries: Tensor) -> Tensor:
        """Return positions of the most likely levels, of shape (n_samples, 1)."""
        likely = (entries * self.units).argmax(dim=1, keepdim=True)
        return likely.to(entries.dtype)


COLUMN_ENCODERS = {
    NumberColumn: StandardizedNumber,
    BooleanColumn: BooleanIndicator,
    CategoryColumn: CategoryIndicators,
}
ROWS = {
    NumericLayout: Rows,
    IncompleteLayout: Rows,
    PaddedLayout: PaddedRows,
    TokenLayout: TokenRows,
    ColumnsLayout: TableRows,
}


class ExportedAutoencoder(nn.Module):
    """A fitted model from rows in the unit of the data to codes, and back.

    Parameters
    ----------
    model : Autoencoder
        The model of standardized rows, which is not copied.

    layout : Layout
        The layout of a row.

    mean : ndarray of shape (n_features,)
        The mean by which rows are standardized.

    scale : float
        The scale by which rows are standardized.
    """

    def __init__(self, model: Autoencoder, layout: Layout, mean: np.ndarray, scale):
        super().__init__()
        self.rows = ROWS[type(layout)](layout)
        self.model = model
        self.n_components = model.n_components - model.n_dropped
        # In float64: float32 has too few digits if the mean is much larger than the
        # scale.
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.eval()

    def encode(self, X: Tensor) -> Tensor:
        """Return the codes of rows, of shape (n_samples, n_components).

        They have the type of the rows if it is a float type, else that of the model.
        """
        rows = self.flat_rows(X)
        codes = self.model.encode(self.standardize(rows))
        codes = codes.to(X.dtype) if X.is_floating_point() else codes
        return self.rows.append_lengths(codes, rows)

    def flat_rows(self, X: Tensor) -> Tensor:
        """Return flat rows of numbers, in the type of the mean."""
        return self.rows.flatten(X.to(self.mean.dtype))

    def standardize(self, rows: Tensor) -> Tensor:
        """Return standardized flat rows, in the type of the model."""
        limit = min(MAX_INPUT, torch.finfo(rows.dtype).max)
        standardized = ((rows - self.mean) / self.scale).clamp(-limit, limit)
        return standardized.to(self.model.offset.dtype)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the rows of codes, of the type of the codes; tokens are integers."""
        k = self.n_components
        if codes.shape[1] != k + self.rows.n_lengths:
            raise ValueError(
                f"Got codes of {codes.shape[1]} columns, but expected "
                f"{k + self.rows.n_lengths}, as seen in `fit`."
            )
        output = self.model.decode(codes[:, :k].to(self.model.offset.dtype))
        rows = self.model.loss.reconstruction(output, self.mean, self.scale)
        rows = self.rows.unflatten(rows, codes[:, k:].to(rows.dtype))
        return rows.to(codes.dtype) if rows.is_floating_point() else rows

    def forward(self, X: Tensor) -> Tensor:
        """Return reconstructions of rows, of the shape that `fit` saw."""
        return self.decode(self.encode(X))


class ExportedEncoder(ExportedAutoencoder):
    """The part of a model from rows to codes."""

    def __init__(self, model: Autoencoder, layout: Layout, mean: np.ndarray, scale):
        super().__init__(model, layout, mean, scale)
        del model.decoder, model.adapter.write

    def forward(self, X: Tensor) -> Tensor:
        """Return the codes of rows."""
        return self.encode(X)


class ExportedDecoder(ExportedAutoencoder):
    """The part of a model from codes to rows."""

    def __init__(self, model: Autoencoder, layout: Layout, mean: np.ndarray, scale):
        super().__init__(model, layout, mean, scale)
        del model.encoder, model.adapter.read

    def forward(self, codes: Tensor) -> Tensor:
        """Return the rows of codes."""
        return self.decode(codes)


EXPORTED = {
    "encode": ExportedEncoder,
    "decode": ExportedDecoder,
    "both": ExportedAutoencoder,
}
