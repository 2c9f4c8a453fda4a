"""Batches: rows as tensors, shuffled for training or in order for evaluation."""

import math
from collections.abc import Iterator
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from skae.data._rows import StandardizedRows, row_blocks

# Larger data is read from X in blocks. In the memory of the CPU, the copy gains little.
RESIDENT_BYTES, RESIDENT_BYTES_OF_DEVICE = 2**28, 2**30
GATHERED_ENTRIES = 2**20  # gathered at once: 4 MB of float32
BUFFER_ENTRIES = 2**23  # of rows from blocks that are shuffled: 32 MB of float32


class Batches:
    """Rows as tensors: shuffled batches for training, blocks for evaluation.

    Dense rows and scores of at most 256 MB, or 1 GB on a device other than the CPU, are
    kept as one tensor. Larger data is read from X in blocks, and sparse rows are made
    dense, whenever they are needed.

    Parameters
    ----------
    rows : StandardizedRows
        The rows.

    dtype : torch.dtype
        The type of the model.

    device : str
        The device of the model.
    """

    def __init__(self, rows: StandardizedRows, dtype: torch.dtype, device: str):
        self.rows = rows
        self.dtype = dtype
        self.device = device
        self.resident = None
        # (n_samples,)
        self.weight = (
            torch.ones(1, dtype=dtype, device=device).expand(len(rows))
            if rows.weight is None
            else torch.from_numpy(rows.weight).to(device, dtype)
        )
        is_cpu = torch.device(device).type == "cpu"
        limit = RESIDENT_BYTES if is_cpu else RESIDENT_BYTES_OF_DEVICE
        n_bytes = len(rows) * rows.n_columns * dtype.itemsize
        if not rows.is_expanded and n_bytes <= limit:
            self.resident = self.read(slice(None))

    def shuffled(
        self, n_batches: int, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield (rows, weights) of random batches whose sizes differ by at most one.

        A single batch keeps the order of the rows, so that a full-batch step is the
        same for every seed. Equal weights are yielded as None.
        """
        has_weights = self.rows.weight is not None
        # A permutation of one batch would change only the order of summation.
        if n_batches == 1:
            yield self.read(slice(None)), self.weight if has_weights else None
            return
        if self.resident is None and self.rows.is_read_in_blocks:
            yield from self._shuffled_blocks(n_batches, generator)
            return
        order = torch.randperm(len(self.rows), generator=generator, device=self.device)
        parts = order.tensor_split(n_batches)
        # Rows of several batches are gathered at once: slices of them cost nothing.
        n_gathered = max(1, GATHERED_ENTRIES // (len(parts[0]) * self.rows.n_columns))
        for start in range(0, n_batches, n_gathered):
            some = parts[start : start + n_gathered]
            sizes, index = [len(part) for part in some], torch.cat(some)
            rows = self.read(index).split(sizes)
            weights = self.weight[index].split(sizes) if has_weights else repeat(None)
            yield from zip(rows, weights, strict=False)

    def _shuffled_blocks(
        self, n_batches: int, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield (rows, weights) of batches from blocks, shuffled within a buffer.

        Blocks are permuted, unless they can only be read in order.
        """
        n, has_weights = len(self.rows), self.rows.weight is not None
        sizes = [n // n_batches + (i < n % n_batches) for i in range(n_batches)]
        ends, n_read, first = np.cumsum(sizes), 0, 0
        rows, weight = self.read(slice(0)), self.weight[:0]
        for positions in self._buffers(generator):
            order = torch.randperm(
                len(positions), generator=generator, device=self.device
            )
            rows = torch.cat([rows, self.read(positions)[order]])
            weight = torch.cat([weight, self.weight[positions][order]])
            n_read += len(positions)
            last = int(np.searchsorted(ends, n_read, side="right"))
            # The last rows are a part of a batch that the next buffer completes.
            split = [*sizes[first:last], len(rows) - sum(sizes[first:last])]
            *batches, rows = rows.split(split)
            *weights, weight = weight.split(split)
            yield from zip(
                batches, weights if has_weights else repeat(None), strict=False
            )
            first = last

    def _buffers(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the positions of the rows of several blocks, in order."""
        starts, is_sequential = self.rows.block_starts, self.rows.X.is_sequential
        n_blocks = len(starts) - 1
        order = np.arange(n_blocks)
        if not is_sequential:
            order = torch.randperm(
                n_blocks, generator=generator, device=self.device
            ).numpy(force=True)
        n_rows = max(1, BUFFER_ENTRIES // self.rows.n_columns)
        # The buffer of each block, by the number of rows up to its end.
        buffers = (np.cumsum(np.diff(starts)[order]) - 1) // n_rows
        for blocks in np.split(order, np.flatnonzero(np.diff(buffers)) + 1):
            ranges = [np.arange(starts[i], starts[i + 1]) for i in np.sort(blocks)]
            yield torch.from_numpy(np.concatenate(ranges)).to(self.device)

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (rows, weights) in order."""
        for block in self.rows.blocks():
            yield self.read(block), self.weight[block]

    def sample(self, n_rows: int) -> "Batches":
        """Return at most `n_rows` evenly spaced rows, as batches of their own."""
        step = max(1, math.ceil(len(self.rows) / n_rows))
        positions = np.arange(0, len(self.rows), step)
        return Batches(self.rows.subset(positions), self.dtype, self.device)

    def read(self, index: Tensor | slice) -> Tensor:
        """Return some standardized rows, shape (n_rows, n_columns)."""
        if self.resident is None:
            return self._read_blocks(index)
        if isinstance(index, Tensor):
            return self.resident.index_select(0, index)
        return self.resident[index]

    def _read_blocks(self, index):
        """Return rows read from X. Only a block of them is in float64 at a time."""
        if isinstance(index, slice):
            positions = np.arange(*index.indices(len(self.rows)))
        else:
            positions = index.cpu().numpy()
        shape = len(positions), self.rows.n_columns
        rows = torch.empty(shape, dtype=self.dtype, device=self.device)
        width = max(self.rows.n_columns, self.rows.X.shape[1])
        for block in row_blocks(len(positions), width):
            standardized = torch.from_numpy(self.rows[positions[block]])
            rows[block] = standardized.to(self.dtype)
        return rows
