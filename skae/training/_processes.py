"""Process groups: the operations by which the processes of one fit exchange values."""

import copy
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

FALSE, TRUE, ERROR = 0, 1, 2  # outcomes of an action, of which the largest counts


class SingleProcess:
    """The group of a fit in one process, in which nothing is exchanged.

    Attributes
    ----------
    rank, size : int
        The number of this process, and the number of processes.
    """

    rank, size = 0, 1

    def attempt(self, action: Callable) -> Any:
        """Return the result of an action; if it raises on any rank, raise on all."""
        return action()

    def any(self, action: Callable) -> bool:
        """Return whether the result of an action is true on any rank.

        If the action raises on one of them, or Ctrl-C was pressed, raise on all.
        """
        return action()

    def from_first(self, *values: float) -> tuple[float, ...]:
        """Return the numbers that rank 0 has."""
        return values

    def object_from_first(self, value: Any) -> Any:
        """Return the object that rank 0 has."""
        return value

    def copy_from_first(self, tensors: list[Tensor]) -> None:
        """Write the values that rank 0 has into tensors."""

    def divide(self, gradient: Callable, written: Tensor) -> Callable:
        """Return a function that divides the rows of a batch among all ranks.

        Parameters
        ----------
        gradient : callable
            `gradient(rows, weights)` writes the gradient of the mean loss of a batch,
            and returns the loss.

        written : Tensor of shape (n_parameters + 1,)
            The memory to which it writes, and an entry for the loss.
        """
        return gradient


SINGLE_PROCESS = SingleProcess()


class ProcessGroup(SingleProcess):
    """The processes of `torch.distributed`, each of which calls every method.

    A group of its own is used, so that this process can close its connections after an
    error. The others then raise ConnectionError at once, and do not wait.
    """

    def __init__(self):
        self.group = dist.new_group()
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # NCCL exchanges tensors of GPUs only.
        self.device = "cuda" if dist.get_backend(self.group) == "nccl" else "cpu"
        self.interrupt: KeyboardInterrupt | None = None

    def close(self) -> None:
        """Close the connections of the group."""
        group, self.group = self.group, None
        dist.destroy_process_group(group)

    def gather_objects(self, value: Any) -> list:
        """Return the objects of all ranks, in their order."""
        values = [None] * self.size
        with connection_errors():
            dist.all_gather_object(values, value, group=self.group)
        return values

    def gather_rows(self, own: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
        """Return the rows of all ranks.

        Parameters
        ----------
        own : ndarray of shape (n_own, n_features)
            The rows of this rank.

        counts : ndarray of int of shape (size,)
            The number of rows of each rank.
        """
        # As bytes: backends do not support all types of numbers.
        n_bytes = own.shape[1] * own.dtype.itemsize
        owners = np.flatnonzero(counts)
        sent = np.zeros((counts.max(), n_bytes), np.uint8)
        sent[: len(own)] = np.ascontiguousarray(own).view(np.uint8)
        tensor = torch.from_numpy(sent).to(self.device)
        with connection_errors():
            if len(owners) == 1:
                dist.broadcast(tensor, group_src=int(owners[0]), group=self.group)
                parts = [tensor] * self.size
            else:
                # The same number of rows from each, as `all_gather` needs.
                parts = [torch.empty_like(tensor) for _ in range(self.size)]
                dist.all_gather(parts, tensor, group=self.group)
        return [
            part.numpy(force=True)[:n].view(own.dtype)
            for part, n in zip(parts, counts, strict=True)
        ]

    def sum(self, values) -> np.ndarray:
        """Return the sum over all ranks of arrays of the same shape, in float64."""
        total = torch.tensor(np.asarray(values, dtype=np.float64))
        self._reduce(total, dist.ReduceOp.SUM)
        return total.numpy()

    def _reduce(self, values: Tensor, operation) -> None:
        """Write sums or maxima over all ranks into a tensor."""
        exchanged = values.to(self.device)
        with connection_errors():
            dist.all_reduce(exchanged, operation, group=self.group)
        if exchanged is not values:
            values.copy_(exchanged)

    def attempt(self, action: Callable) -> Any:
        """Return the result of an action; if it raises on any rank, raise on all."""
        return self._attempt(action)[0]

    def any(self, action: Callable) -> bool:
        """Return whether the result of an action is true on any rank.

        If the action raises on one of them, or Ctrl-C was pressed, raise on all.
        """
        return self._attempt(action)[1] == TRUE

    def _attempt(self, action):
        """Return the result of an action, and the largest outcome of all ranks."""
        result, error = None, None
        try:
            result = action()
        except (Exception, KeyboardInterrupt) as caught:
            error = caught
        error, self.interrupt = error or self.interrupt, None
        outcome = torch.tensor(ERROR if error else int(result is True))
        self._reduce(outcome, dist.ReduceOp.MAX)
        if outcome == ERROR:
            errors = self.gather_objects(error and portable(error, self.rank))
            raise next(filter(None, errors))
        return result, int(outcome)

    def from_first(self, *values: float) -> tuple[float, ...]:
        """Return the numbers that rank 0 has."""
        numbers = torch.tensor(values, dtype=torch.float64)
        self.copy_from_first([numbers])
        return tuple(numbers.tolist())

    def object_from_first(self, value: Any) -> Any:
        """Return the object that rank 0 has."""
        values = [value]
        with connection_errors():
            dist.broadcast_object_list(values, group_src=0, group=self.group)
        return values[0]

    def copy_from_first(self, tensors: list[Tensor]) -> None:
        """Write the values that rank 0 has into tensors."""
        for values in tensors:
            exchanged = values.contiguous().to(self.device)
            with connection_errors():
                dist.broadcast(exchanged, group_src=0, group=self.group)
            if exchanged is not values:
                values.copy_(exchanged)

    def divide(self, gradient: Callable, written: Tensor) -> Callable:
        """Return a function that divides the rows of a batch among all ranks."""

        def divided(rows: Tensor, weights: Tensor | None) -> Tensor:
            own = rows.tensor_split(self.size)[self.rank]
            if weights is not None:
                weights = weights.tensor_split(self.size)[self.rank]
            if len(own):
                written[-1] = gradient(own, weights)
                # The mean of the batch is the sum of the shares of its parts.
                written.mul_(len(own) / len(rows))
            else:
                written.zero_()
            self._reduce(written, dist.ReduceOp.SUM)
            return written[-1].clone()

        return divided


@contextmanager
def process_group(distributed: bool) -> Iterator[SingleProcess]:
    """Open the group of a fit, and close it afterwards.

    Until then, Ctrl-C does not end this process at once, but all of them together at
    the end of an epoch. A second Ctrl-C does.
    """
    if not distributed:
        yield SINGLE_PROCESS
        return
    check_initialized()
    group = ProcessGroup()
    try:
        with deferred_interrupts(group):
            yield group
            with connection_errors():
                # A rank that is behind still needs the connections of the others.
                dist.barrier()
    finally:
        group.close()


def check_initialized() -> None:
    """Raise ValueError unless `torch.distributed` has a process group."""
    if not dist.is_available():
        raise ValueError(
            "Got distributed=True, but this build of torch has no torch.distributed. "
            "Install another one, or set distributed=False."
        )
    if not dist.is_initialized():
        raise ValueError(
            "Got distributed=True, but there is no process group. Start the script "
            "with `torchrun --nproc-per-node=2 script.py`, and call "
            "torch.distributed.init_process_group() in it before `fit`; or set "
            "distributed=False to fit in one process."
        )


@contextmanager
def connection_errors() -> Iterator[None]:
    """Raise ConnectionError if an exchange fails because another process has ended."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(
            "Another process of the distributed fit has ended or has raised an error; "
            f"see its output. torch.distributed reports: {error}"
        ) from error


@contextmanager
def deferred_interrupts(group: ProcessGroup) -> Iterator[None]:
    """Store the first Ctrl-C in the group, which raises it on all ranks together."""
    # Only the main thread receives signals, and can set a handler. A process may also
    # ignore them, such as one in the background.
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not (is_main and callable(before)) or before == signal.SIG_IGN:
        yield
        return

    def store(number, frame):
        signal.signal(signal.SIGINT, before)
        group.interrupt = KeyboardInterrupt()

    signal.signal(signal.SIGINT, store)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if group.interrupt is not None:
        raise group.interrupt


def portable(error: BaseException, rank: int) -> BaseException:
    """Return an error that other processes can raise, with the rank in its message."""
    if isinstance(error, KeyboardInterrupt):
        return KeyboardInterrupt()
    try:
        error = copy.copy(error)  # by the constructor, as in another process
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    first, *others = error.args or ("",)
    error.args = (f"On rank {rank}: {first}", *others)
    return error.with_traceback(None)
