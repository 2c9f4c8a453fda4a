"""The only module that touches torch's global state: threads, modes, random numbers."""

import os
from contextlib import ExitStack, contextmanager
from functools import cache

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.utils._python_dispatch import TorchDispatchMode

# The process that imported this module; others are forked children.
PROCESS = os.getpid()
AUTOCAST_DEVICES = ("cpu", "cuda", "mps")


@contextmanager
def isolated_torch(n_threads: int | None = 1):
    """Disable gradients, inference mode and autocast, and set the number of threads.

    The number of torch's threads is process-wide. It is restored afterwards, also after
    an error.

    A forked child uses one thread, whatever the number: it inherits OpenMP's state but
    not its threads, and would wait for them forever (pytorch#17199).

    Parameters
    ----------
    n_threads : int or None, default=1
        The number of threads. Small products are fastest on one. None keeps the
        caller's number.

    Yields
    ------
    n_available : int
        The caller's number of threads, or 1 in a forked child.
    """
    before = torch.get_num_threads()
    is_forked = os.getpid() != PROCESS
    n_available = 1 if is_forked else before
    n_threads = 1 if is_forked else n_threads or before
    if n_threads != before:
        torch.set_num_threads(n_threads)
    try:
        with ExitStack() as stack:
            # Entering a mode takes microseconds, which matter for a single row.
            if torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
            for device in filter(torch.is_autocast_enabled, AUTOCAST_DEVICES):
                stack.enter_context(torch.autocast(device, enabled=False))
            # Last, since disabling inference mode enables gradients.
            with torch.no_grad():
                yield n_available
    finally:
        if n_threads != before:
            torch.set_num_threads(before)


def draw_seed(random_state) -> int:
    """Draw the seed of a call; None draws it from the operating system's entropy."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


class SeededDispatch(TorchDispatchMode):
    """Dispatch mode that passes one generator to every random operation of a thread.

    Constructors of modules, and many users' modules, draw from torch's global generator
    and accept no other. `torch.random.fork_rng` around them is not thread-safe. This
    mode is: it passes the generator to each operation as an argument.

    Parameters
    ----------
    generator : torch.Generator
        The source of random numbers.

    Attributes
    ----------
    n_unseeded : int
        Number of operations that drew random numbers without a generator.
    """

    def __init__(self, generator: torch.Generator):
        super().__init__()
        self.generator = generator
        self.n_unseeded = 0

    @classmethod
    def _should_skip_dynamo(cls):
        # Otherwise the first operation imports torch's compiler, which takes a second.
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operation, with the generator if it is random and has none."""
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        if is_meta(*args, **kwargs):
            # Tensors without memory, for which torch would import its compiler.
            name = func.overloadpacket.__name__
            if name.endswith("_"):
                return args[0]
            if name in SAME_SHAPE:
                packet = getattr(torch.ops.aten, SAME_SHAPE[name])
                func = getattr(packet, func._overloadname)
        if kwargs.get("generator") is None:
            self.n_unseeded += 1
            func, accepts_generator = overload_with_generator(func)
            if accepts_generator:
                kwargs["generator"] = self.generator_for(device_of(*args, **kwargs))
        return func(*args, **kwargs)

    def generator_for(self, device: torch.device) -> torch.Generator:
        """Return the generator, or on another device one that it seeds."""
        # Tensors without memory accept any generator.
        if device.type in ("meta", self.generator.device.type):
            return self.generator
        seed = torch.randint(
            2**31, (), generator=self.generator, device=self.generator.device
        )
        return torch.Generator(device).manual_seed(int(seed))


# Random operations, and others with the same arguments, result and shape.
SAME_SHAPE = {"randn": "rand", "randn_like": "rand_like"}


def is_meta(*args, device=None, **kwargs) -> bool:
    """Return whether an operation with these arguments returns a meta tensor."""
    return device_of(*args, device=device).type == "meta"


def device_of(*args, device=None, **kwargs) -> torch.device:
    """Return the device of the result of an operation with these arguments."""
    if device is None:
        tensors = (a for a in args if isinstance(a, torch.Tensor))
        return next((tensor.device for tensor in tensors), torch.device("cpu"))
    return torch.device(device)


@cache
def overload_with_generator(func):
    """Return the overload of an operation that accepts a generator, and True.

    If there is none, return the operation itself, and False.
    """
    packet = func.overloadpacket
    overloads = [func, *(getattr(packet, name) for name in packet.overloads())]
    names = [[argument.name for argument in o._schema.arguments] for o in overloads]
    wanted = {*names[0], "generator"}
    for overload, arguments in zip(overloads, names, strict=True):
        if set(arguments) == wanted:
            return overload, True
    return func, False
