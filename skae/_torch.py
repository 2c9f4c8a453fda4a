"""Random numbers that come from a generator of ours, whatever the code that draws."""

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.utils._python_dispatch import TorchDispatchMode


def draw_seed(random_state) -> int:
    """Draw the one seed of a call; None takes it from the operating system."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


class SeededDispatch(TorchDispatchMode):
    """Let every random operation of this thread draw from one generator.

    Constructors of modules and users' own modules draw from torch's global generator
    and take no other. `torch.random.fork_rng` around them is not safe among threads;
    this mode is, since it hands each operation the generator as an argument.

    Parameters
    ----------
    generator : torch.Generator
        Where random numbers come from.

    Attributes
    ----------
    n_unseeded : int
        How many operations drew random numbers without a generator of their own.
    """

    def __init__(self, generator: torch.Generator):
        super().__init__()
        self.generator = generator
        self.n_unseeded = 0

    @classmethod
    def _should_skip_dynamo(cls):
        # Else the first operation imports torch's compiler, which takes a second.
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operation, with the generator if it draws and was given none."""
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded in func.tags:
            if _fills_nothing(func, args):
                return args[0]
            func, kwargs = self._seeded(func, kwargs)
        return func(*args, **kwargs)

    def _seeded(self, func, kwargs):
        if kwargs.get("generator") is not None:
            return func, kwargs
        self.n_unseeded += 1
        func = _seedable(func)
        if "generator" in _arguments(func):
            kwargs["generator"] = self.generator
        return func, kwargs


def _fills_nothing(func, args):
    """Tell whether numbers are drawn into a tensor that has no memory.

    That would draw none, but torch's way of doing so imports its compiler.
    """
    in_place = func.overloadpacket.__name__.endswith("_")
    return in_place and args[0].is_meta


def _seedable(func):
    """Return the overload that takes the same arguments and a generator, if any."""
    packet = func.overloadpacket
    overloads = [func, *(getattr(packet, name) for name in packet.overloads())]
    wanted = [*_arguments(func), "generator"]
    return next((o for o in overloads if sorted(_arguments(o)) == sorted(wanted)), func)


def _arguments(func):
    return [argument.name for argument in func._schema.arguments]
