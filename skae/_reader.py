"""Readers: how a model takes rows in, and how its numbers become an output."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skae._layout import Numbers


def present_mean(elementwise: Callable, output: Tensor, target: Tensor) -> Tensor:
    """Return each row's mean loss over what is not NaN in the target, (n_samples,)."""
    present = ~target.isnan()
    # The gradient of NaN is NaN even where it is multiplied by zero.
    output, target = (torch.where(present, x, 0.0) for x in (output, target))
    losses = torch.where(present, elementwise(output, target), 0.0)
    return losses.sum(dim=1) / present.sum(dim=1)


class Reader(nn.Module):
    """Takes standardised rows as they are, and gives outputs as they are.

    Parameters
    ----------
    layout : Numbers
        What a row stands for.
    """

    writable = True

    def __init__(self, layout: Numbers):
        super().__init__()

    def start(self) -> None:
        """Take what PCA starts from: nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what is disturbed and encoded, of shape (n_samples, n_read)."""
        return x

    def write(self, decoded: Tensor) -> Tensor:
        """Return outputs, of shape (n_samples, n_outputs)."""
        return decoded

    def sample_loss(self, elementwise, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of each sample, shape (n_samples,)."""
        return elementwise(output, target).mean(dim=1)


class PaddedReader(Reader):
    """Takes the mean for what is NaN, and leaves it out of the loss."""

    writable = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the rows with zeros after the end."""
        return x.nan_to_num(nan=0.0)

    def sample_loss(self, elementwise, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over the steps that are there."""
        return present_mean(elementwise, output, target)


class TokenReader(Reader):
    """An embedding in, and a linear map to logits out.

    Parameters
    ----------
    layout : Tokens
        Tells the size of the vocabulary and of the embedding.
    """

    writable = False

    def __init__(self, layout):
        super().__init__(layout)
        size = layout.n_tokens, layout.embedding_size
        like = {"dtype": torch.float32}
        self.shape, self.channels_first = layout.read_shape, layout.channels_first
        self.table = nn.Parameter(torch.zeros(size, **like))
        self.logits = nn.Parameter(torch.zeros(size, **like))
        self.bias = nn.Parameter(torch.zeros(layout.n_tokens, **like))
        n_read = layout.n_features * layout.embedding_size
        self.register_buffer("mean", torch.zeros(n_read, **like))

    @property
    def undecayed(self) -> list[nn.Parameter]:
        """What weight decay is not to shrink: the start at PCA goes through it."""
        return [self.table, self.logits]

    @torch.no_grad()
    def start(self, table, mean, logits) -> None:
        """Take the table, the mean of the embedded rows, and the way to logits."""
        for ours, array in ((self.table, table), (self.logits, logits)):
            ours.copy_(torch.from_numpy(array))
        self.mean.copy_(torch.from_numpy(mean))

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedded tokens, centred."""
        numbers = F.embedding(x.long(), self.table)  # (n_samples, time, embedding)
        numbers = numbers.transpose(1, 2) if self.channels_first else numbers
        return numbers.flatten(1) - self.mean

    def write(self, decoded: Tensor) -> Tensor:
        """Return the logits of all steps."""
        numbers = decoded.unflatten(1, self.shape)
        numbers = numbers.transpose(1, 2) if self.channels_first else numbers
        return F.linear(numbers, self.logits, self.bias).flatten(1)


READERS = {"numbers": Reader, "padded": PaddedReader, "tokens": TokenReader}
