"""Adapters: how rows of one layout enter a network and how its outputs leave it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skae.data._layout import (
    ColumnsLayout,
    IncompleteLayout,
    Layout,
    NumericLayout,
    PaddedLayout,
    TokenLayout,
)
from skae.data._missing import n_fill_axes
from skae.model._columns import ColumnsLoss
from skae.noise import random_entries

HIDE_PROBABILITY = 0.15  # of a value in training
MAX_RATIO = 100  # of a reconstructed count and the largest one of its column


class InputAdapter(nn.Module):
    """Adapter of numeric rows: inputs and outputs are unchanged.

    For a loss with a transform, inputs are the standardized values of the transform,
    and outputs are bounded by the largest values of the data.

    Parameters
    ----------
    layout : Layout
        The layout of a row.

    loss : loss
        The loss, with `elementwise(output, target)`, the loss of each entry.

    Attributes
    ----------
    loss : loss
        The loss of outputs and targets.

    read : nn.Module
        From standardized rows to the network's inputs, of shape
        (n_samples, n_inputs).

    write : nn.Module
        From the network's outputs to the outputs that the loss takes, of shape
        (n_samples, n_outputs).
    """

    def __init__(self, layout: Layout, loss):
        super().__init__()
        self.n_features = layout.n_features
        self.loss = loss
        self.elementwise = loss.elementwise
        self.read: nn.Module = nn.Identity()
        self.write: nn.Module = nn.Identity()
        if loss.transform is not None:
            self.read = TransformedInputs(layout.n_features, loss)
            self.write = BoundedOutputs(layout.n_features, loss)

    def inputs(self, rows: Tensor) -> Tensor:
        """Return the network's inputs for rows, which clean versions may follow."""
        return self.read(rows[:, : self.n_features])

    def moments(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean square of the means of features, and their mean variance."""
        x = self.inputs(rows)
        mean = x.mean(dim=0)
        return mean.square().mean(), (x - mean).square().mean()

    @torch.no_grad()
    def initialize(self, embedding) -> None:
        """Set the buffers of a loss with a transform.

        Parameters
        ----------
        embedding : CountEmbedding
            Moments of the data.
        """
        for module in self.modules():
            if isinstance(module, TransformedInputs | BoundedOutputs):
                module.initialize(embedding)

    def corrupt(self, noise, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Return the network's inputs with noise."""
        return noise.corrupt(inputs, generator)

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each entry, shape (n_samples, n_features)."""
        return self.elementwise(output, target)

    def sample_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of each row, shape (n_samples,)."""
        return self.elementwise(output, target).mean(dim=1)


class ScoreAdapter(InputAdapter):
    """Adapter of rows that are reduced to principal scores.

    A row has the scores, and a last entry: the mean square of what they leave out, to
    which the model's output makes no difference.

    Parameters
    ----------
    scores : PrincipalScores
        The maps between features and scores.

    loss : loss
        The squared error.

    Attributes
    ----------
    factor : float
        Squared error of features, over that of the scores, each a mean.
    """

    def __init__(self, scores, loss):
        nn.Module.__init__(self)
        self.n_scores = len(scores.axes)
        self.n_features = self.n_scores + 1
        self.factor = scores.loss_factor
        self.elementwise = loss.elementwise
        self.read, self.write = nn.Identity(), nn.Identity()

    def inputs(self, rows: Tensor) -> Tensor:
        """Return the scores of rows."""
        return rows[:, : self.n_scores]

    def moments(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moments of features, of which the scores are a part."""
        mean_square, variance = super().moments(rows)
        return self.factor * mean_square, self.factor * variance + rows[:, -1].mean()

    def sample_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of each row over its features, shape (n_samples,)."""
        losses = self.elementwise(output, target[:, :-1])
        return self.factor * losses.mean(dim=1) + target[:, -1]


class MaskedAdapter(InputAdapter):
    """Base class of adapters of rows with NaN, which are masked out of the loss."""

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each entry; NaN where the target is NaN."""
        return masked_losses(self.elementwise, output, target)

    def sample_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of each row over the entries that are not NaN."""
        return self.losses(output, target).nanmean(dim=1)


class PaddedAdapter(MaskedAdapter):
    """Padded sequences: NaN are read as the mean."""

    def __init__(self, layout: PaddedLayout, loss):
        super().__init__(layout, loss)
        self.read = nn.Sequential(self.read, ZeroPadding())


class IncompleteAdapter(MaskedAdapter):
    """Adapter of numbers of which some are missing."""

    def __init__(self, layout: IncompleteLayout, loss):
        super().__init__(layout, loss)
        columns = layout.column_of_entry
        masks = np.arange(layout.n_columns * layout.has_mask)
        column_of_input = torch.from_numpy(np.append(columns, masks))
        self.register_buffer("column_of_input", column_of_input, persistent=False)
        self.read = FilledInputs(layout) if layout.has_mask else ZeroPadding()
        self.write = FirstOutputs(layout.n_features)

    @torch.no_grad()
    def initialize(self, embedding) -> None:
        """Set the axes by which missing entries are predicted.

        Parameters
        ----------
        embedding : FillAxes
            Axes from PCA.
        """
        self.read.axes.copy_(torch.from_numpy(embedding.axes))
        self.read.ridge.copy_(torch.from_numpy(embedding.ridge))

    def moments(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moments of entries that are not missing."""
        x = rows[:, : self.n_features].nan_to_num(nan=0.0)
        mean = x.mean(dim=0)
        return mean.square().mean(), (x - mean).square().mean()

    def corrupt(self, noise, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Return the network's inputs with noise that keeps columns together."""
        return noise.corrupt_columns(inputs, self.column_of_input, generator)


class ColumnsAdapter(IncompleteAdapter):
    """Adapter of encoded tables: outputs are z-scores and logits.

    The losses are those of columns, over the loss of the constant model.
    """

    def __init__(self, layout: ColumnsLayout, loss):
        super().__init__(layout, loss)
        self.loss = ColumnsLoss(layout)

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each column, shape (n_samples, n_columns), or NaN."""
        return self.loss.losses(output, target)


class TokenAdapter(InputAdapter):
    """Adapter of tokens: inputs are embeddings, outputs are logits.

    Both maps start with a shared table of embeddings; see `initialize`.
    """

    def __init__(self, layout: TokenLayout, loss):
        super().__init__(layout, loss)
        self.read = TokenEmbeddings(layout)
        self.write = TokenLogits(layout)

    @torch.no_grad()
    def initialize(self, embedding) -> None:
        """Set the weights to those at which training starts.

        Parameters
        ----------
        embedding : TokenEmbedding
            Arrays from PCA.
        """
        # In place: the optimizer may already hold the parameters.
        self.read.table.copy_(torch.from_numpy(embedding.table))
        self.read.mean.copy_(torch.from_numpy(embedding.mean))
        self.write.logits.copy_(torch.from_numpy(embedding.logits))


class TransformedInputs(nn.Module):
    """Standardized values of a function of the data, such as its logarithm.

    Parameters
    ----------
    n_features : int
        Number of entries of a row.

    loss : loss
        The loss, with `target(rows, mean, scale)` and `transform`.
    """

    def __init__(self, n_features: int, loss):
        super().__init__()
        self.loss = loss
        for name in ("row_mean", "mean"):
            self.register_buffer(name, torch.zeros(n_features, dtype=torch.float64))
        for name in ("row_scale", "scale"):
            self.register_buffer(name, torch.ones((), dtype=torch.float64))

    def initialize(self, embedding) -> None:
        """Set the moments of rows and of transformed rows."""
        self.row_mean.copy_(torch.from_numpy(embedding.mean))
        self.mean.copy_(torch.from_numpy(embedding.input_mean))
        self.row_scale.fill_(embedding.scale)
        self.scale.fill_(embedding.input_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return inputs of shape (n_samples, n_features)."""
        data = self.loss.target(x, self.row_mean, self.row_scale)
        return (self.loss.transform.tensor(data) - self.mean) / self.scale


class BoundedOutputs(nn.Module):
    """Outputs of which the reconstruction is at most 100 times the column's maximum.

    Without a bound, the exponential of one output can exceed all data by any factor. A
    lower bound would slow down training, in which rates overshoot. Gradients are those
    of the outputs without the bound, which they lower.

    Parameters
    ----------
    n_features : int
        Number of entries of a row.

    loss : loss
        The loss, with a link.
    """

    def __init__(self, n_features: int, loss):
        super().__init__()
        self.link = loss.link
        self.register_buffer("room", torch.zeros(n_features, dtype=torch.float64))

    def initialize(self, embedding) -> None:
        """Set the largest outputs, as distances from those for the mean."""
        # A column may be zero in the first rows.
        highest = np.maximum(embedding.highest, embedding.mean.mean())
        bound = self.link.offset(MAX_RATIO * highest)
        room = bound - self.link.offset(embedding.mean)
        self.room.copy_(torch.from_numpy(room))

    def forward(self, output: Tensor) -> Tensor:
        """Return bounded outputs, without the offset, (n_samples, n_features)."""
        return output - (output - self.room).clamp(min=0).detach()


class ZeroPadding(nn.Module):
    """Replace NaN by zero, the mean of standardized rows."""

    def forward(self, x: Tensor) -> Tensor:
        """Return rows of the same shape, without NaN."""
        return x.nan_to_num(nan=0.0)


class FilledInputs(nn.Module):
    """Entries with linear predictions in place of the missing ones, and the mask.

    In training, further values are hidden at random, so that the network learns to
    fill in.

    Parameters
    ----------
    layout : IncompleteLayout
        The layout of a row.
    """

    n_products = 0

    def __init__(self, layout: IncompleteLayout):
        super().__init__()
        columns = layout.column_of_entry
        # The entries of a column are missing together: the first one is enough.
        first = np.unique(columns, return_index=True)[1]
        for name, array in {"columns": columns, "first": first}.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        n_axes = n_fill_axes(layout.n_features)
        axes = torch.zeros(n_axes, layout.n_features, dtype=torch.float64)
        self.register_buffer("axes", axes)
        self.register_buffer("ridge", torch.ones(n_axes, dtype=torch.float64))
        self.generator: torch.Generator | None = None
        self.solve: Callable = torch.linalg.solve_ex

    def forward(self, x: Tensor) -> Tensor:
        """Return inputs of shape (n_samples, n_features + n_columns)."""
        # (n_samples, n_columns)
        missing = x[:, self.first].isnan()
        if self.training:
            missing = self.hide(missing)
        filled = self.fill(x, missing[:, self.columns])
        return torch.cat([filled, missing.to(x.dtype)], dim=1)

    def hide(self, missing: Tensor) -> Tensor:
        """Return a mask in which further values are missing, but not all of a row."""
        hidden = missing | random_entries(missing, HIDE_PROBABILITY, self.generator)
        return torch.where(hidden.all(dim=1, keepdim=True), missing, hidden)

    def fill(self, x: Tensor, missing: Tensor) -> Tensor:
        """Return entries with predictions; see `skae.data._missing.fill`."""
        axes, present = self.axes, (~missing).to(x.dtype)
        products = (axes.unsqueeze(1) * axes).flatten(0, 1).T
        # In the type of the weights: linear systems cannot be solved in bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            # (n_samples, n_axes, n_axes)
            gram = (present @ products).unflatten(1, (len(axes), -1))
            gram = gram + torch.diag(self.ridge)
            centered = torch.where(missing, 0.0, x)
            scores = self.solve(gram, centered @ axes.T)[0]
            return torch.where(missing, scores @ axes, centered)


class FirstOutputs(nn.Module):
    """The outputs of entries, without those of the mask.

    Parameters
    ----------
    n_features : int
        Number of entries of a row.
    """

    def __init__(self, n_features: int):
        super().__init__()
        self.n_features = n_features

    def forward(self, output: Tensor) -> Tensor:
        """Return outputs of shape (n_samples, n_features)."""
        return output[:, : self.n_features]


class TokenEmbeddings(nn.Module):
    """Centered embeddings of tokens, as one flat row.

    Parameters
    ----------
    layout : TokenLayout
        Layout with the sizes of the vocabulary and of an embedding.
    """

    n_products = 0  # a look-up
    undecayed = ("table",)  # a part of PCA's solution

    def __init__(self, layout: TokenLayout):
        super().__init__()
        self.channels_first = layout.channels_first
        size = layout.n_tokens, layout.embedding_size
        self.table = nn.Parameter(torch.zeros(size, dtype=torch.float32))
        n_inputs = layout.n_features * layout.embedding_size
        self.register_buffer("mean", torch.zeros(n_inputs, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings of tokens of shape (n_samples, n_steps)."""
        # (n_samples, n_steps, size)
        embedded = F.embedding(x.long(), self.table)
        if self.channels_first:
            embedded = embedded.transpose(1, 2)
        return embedded.flatten(1) - self.mean


class TokenLogits(nn.Module):
    """A linear map from the embedding of each step to the logits of all tokens.

    Parameters
    ----------
    layout : TokenLayout
        Layout with the sizes of the vocabulary and of an embedding.
    """

    undecayed = ("logits",)  # a part of PCA's solution

    def __init__(self, layout: TokenLayout):
        super().__init__()
        self.channels_first = layout.channels_first
        self.shape = layout.network_shape
        size = layout.n_tokens, layout.embedding_size
        self.n_products = layout.n_features * layout.n_tokens * layout.embedding_size
        self.logits = nn.Parameter(torch.zeros(size, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(layout.n_tokens, dtype=torch.float32))

    def forward(self, decoded: Tensor) -> Tensor:
        """Return logits of shape (n_samples, n_steps * n_tokens)."""
        # (n_samples, *network_shape)
        embedded = decoded.unflatten(1, self.shape)
        if self.channels_first:
            # (n_samples, n_steps, size)
            embedded = embedded.transpose(1, 2)
        return F.linear(embedded, self.logits, self.bias).flatten(1)


def masked_losses(elementwise: Callable, output: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each entry, and NaN where the target is NaN."""
    present = ~target.isnan()
    # Masked before the loss: the gradient of NaN is NaN even when multiplied by zero.
    output, target = (torch.where(present, x, 0.0) for x in (output, target))
    return torch.where(present, elementwise(output, target), torch.nan)


ADAPTERS = {
    NumericLayout: InputAdapter,
    IncompleteLayout: IncompleteAdapter,
    ColumnsLayout: ColumnsAdapter,
    PaddedLayout: PaddedAdapter,
    TokenLayout: TokenAdapter,
}
