"""Readers: how a model takes rows in, and how its numbers become an output."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skae.data._layout import Layout


def masked_losses(elementwise: Callable, output: Tensor, target: Tensor) -> Tensor:
    """Return the losses of what is there, and NaN where the target is NaN."""
    present = ~target.isnan()
    # The gradient of NaN is NaN even where it is multiplied by zero.
    output, target = (torch.where(present, x, 0.0) for x in (output, target))
    return torch.where(present, elementwise(output, target), torch.nan)


class InputAdapter(nn.Module):
    """Takes standardised rows as they are, and gives outputs as they are.

    Parameters
    ----------
    layout : Layout
        What a row stands for.
    """

    writable = True

    def __init__(self, layout: Layout):
        super().__init__()

    def start(self) -> None:
        """Take what PCA starts from: nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what is disturbed and encoded, of shape (n_samples, n_read)."""
        return x

    def write(self, decoded: Tensor) -> Tensor:
        """Return outputs, of shape (n_samples, n_outputs)."""
        return decoded

    def losses(self, elementwise, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each entry, shape (n_samples, n_features)."""
        return elementwise(output, target)

    def mean(self, losses: Tensor) -> Tensor:
        """Return each sample's mean loss, shape (n_samples,)."""
        return losses.mean(dim=1)


class PaddedAdapter(InputAdapter):
    """Takes the mean for what is NaN, and leaves it out of the loss."""

    writable = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the rows with zeros after the end."""
        return x.nan_to_num(nan=0.0)

    def losses(self, elementwise, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each entry; NaN after the end."""
        return masked_losses(elementwise, output, target)

    def mean(self, losses: Tensor) -> Tensor:
        """Return each sample's mean loss over the steps that are there."""
        return losses.nanmean(dim=1)


class TokenAdapter(InputAdapter):
    """An embedding in, and a linear map to logits out.

    Parameters
    ----------
    layout : TokenLayout
        Tells the size of the vocabulary and of the embedding.
    """

    writable = False

    def __init__(self, layout):
        super().__init__(layout)
        size = layout.n_tokens, layout.embedding_size
        like = {"dtype": torch.float32}
        self.shape, self.channels_first = layout.network_shape, layout.channels_first
        self.table = nn.Parameter(torch.zeros(size, **like))
        self.logits = nn.Parameter(torch.zeros(size, **like))
        self.bias = nn.Parameter(torch.zeros(layout.n_tokens, **like))
        n_read = layout.n_features * layout.embedding_size
        self.register_buffer("mean_read", torch.zeros(n_read, **like))

    @property
    def n_products(self) -> int:
        """Multiplications for a row: those of the logits."""
        return len(self.mean_read) * len(self.table)

    @property
    def undecayed(self) -> list[nn.Parameter]:
        """What weight decay is not to shrink: the start at PCA goes through it."""
        return [self.table, self.logits]

    @torch.no_grad()
    def start(self, table, mean, logits) -> None:
        """Take the table, the mean of the embedded rows, and the way to logits."""
        for ours, array in ((self.table, table), (self.logits, logits)):
            ours.copy_(torch.from_numpy(array))
        self.mean_read.copy_(torch.from_numpy(mean))

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedded tokens, centred."""
        numbers = F.embedding(x.long(), self.table)  # (n_samples, time, embedding)
        numbers = numbers.transpose(1, 2) if self.channels_first else numbers
        return numbers.flatten(1) - self.mean_read

    def write(self, decoded: Tensor) -> Tensor:
        """Return the logits of all steps."""
        numbers = decoded.unflatten(1, self.shape)
        numbers = numbers.transpose(1, 2) if self.channels_first else numbers
        return F.linear(numbers, self.logits, self.bias).flatten(1)


READERS = {"numbers": InputAdapter, "padded": PaddedAdapter, "tokens": TokenAdapter}
