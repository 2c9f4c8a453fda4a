"""Solvers: one step of an optimizer on a model's flat vector of parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
# In float64 little data is computed, to be the same to seven digits however it came. A
# gradient that is zero but for rounding must not become a step.
EPSILON = {torch.float32: 1e-8, torch.float64: 1e-7}


class FlatParameters:
    """All parameters of a module as views of one vector, and gradients of another.

    The matrices that weight decay shrinks come first. Linear paths are not among them,
    nor what else a module names as `undecayed`: decay pulls towards PCA, not away.

    Attributes
    ----------
    parameters : list of nn.Parameter
        The parameters.

    values, gradient : Tensor of shape (n_parameters,)
        All of them, and their gradients.

    decayed, decayed_gradient : Tensor of shape (n_decayed,)
        The part of `values` that weight decay shrinks, and the gradient by it.
    """

    def __init__(self, module: nn.Module):
        decayed, others = split_parameters(module)
        parameters = self.parameters = decayed + others
        self.values = torch.cat([p.detach().ravel() for p in parameters])
        self.gradient = torch.zeros_like(self.values)
        start = 0
        for p in parameters:
            place = slice(start, start + p.numel())
            p.data = self.values[place].view_as(p)
            p.grad = self.gradient[place].view_as(p)
            start = place.stop
        n_decayed = sum(p.numel() for p in decayed)
        self.decayed = self.values[:n_decayed]
        self.decayed_gradient = self.gradient[:n_decayed]

    def add_penalty(self, alpha: float) -> None:
        """Add the gradient of `alpha / 2 * |decayed|^2`."""
        self.decayed_gradient.add_(self.decayed, alpha=alpha)

    def penalty(self, alpha: float) -> Tensor:
        """Return `alpha / 2 * |decayed|^2`."""
        return alpha / 2 * self.decayed.square().sum()


def split_parameters(module: nn.Module):
    """Return the matrices of the networks, and all other parameters."""
    spared = {id(p) for m in module.modules() for p in getattr(m, "undecayed", ())}
    parameters = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1 and id(p) not in spared]
    chosen = {id(p) for p in decayed}
    return decayed, [p for p in parameters if id(p) not in chosen]


@cache
def endless(device: torch.device) -> Tensor:
    """Return a count of steps that makes torch correct nothing."""
    return torch.tensor(torch.inf, dtype=torch.float32, device=device)


def adam_(values, gradient, mean, square, n_steps, learning_rate):
    """Update values in place by Adam (Kingma & Ba 2015), in public operations."""
    beta1, beta2 = BETAS
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    root = (square / (1 - beta2**n_steps)).sqrt_().add_(EPSILON[values.dtype])
    values.addcdiv_(mean, root, value=-learning_rate / (1 - beta1**n_steps))


def fused_adam_(values, gradient, mean, square, n_steps, learning_rate):
    """Update values in place by Adam, in one pass over memory.

    The corrections for the first steps are left to the numbers, as in the paper's
    section 2: torch's own want the count as a tensor, whose upkeep costs more time.
    """
    beta1, beta2 = BETAS
    correction = (1 - beta2**n_steps) ** 0.5
    torch._fused_adam_(
        [values], [gradient], [mean], [square], [], [endless(values.device)],
        lr=learning_rate * correction / (1 - beta1**n_steps),
        eps=EPSILON[values.dtype] * correction,
        beta1=beta1, beta2=beta2, weight_decay=0.0, amsgrad=False, maximize=False,
    )  # fmt: skip


class Adam:
    """Adam on a flat vector, with the penalty in the gradient.

    `torch.optim` offers the same, but its first use imports torch's compiler, which
    takes longer than a small fit.
    """

    update = staticmethod(fused_adam_ if hasattr(torch, "_fused_adam_") else adam_)

    def __init__(self, flat: FlatParameters, learning_rate: float, alpha: float):
        self.flat = flat
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.mean = torch.zeros_like(flat.values)
        self.square = torch.zeros_like(flat.values)
        self.n_steps = 0

    def step(self, closure: Callable, factor: float) -> Tensor:
        """Take a step at `factor * learning_rate`, and return the loss before it."""
        loss = closure()
        self.n_steps += 1
        self.shrink(factor * self.learning_rate)
        self.update(
            self.flat.values, self.flat.gradient, self.mean, self.square,
            self.n_steps, factor * self.learning_rate,
        )  # fmt: skip
        return loss

    def shrink(self, learning_rate: float) -> None:
        """Add the penalty's gradient."""
        if self.alpha:
            self.flat.add_penalty(self.alpha)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    def shrink(self, learning_rate: float) -> None:
        """Shrink the matrices."""
        self.flat.decayed.mul_(1 - learning_rate * self.alpha)


class TorchSolver:
    """Any `torch.optim.Optimizer`, with the penalty in the gradient.

    Parameters
    ----------
    flat : FlatParameters
        The vector that the optimizer changes, whole or by its views.

    optimizer : torch.optim.Optimizer
        Its groups' learning rates are multiplied by the schedule.

    alpha : float
        Strength of the penalty.
    """

    def __init__(self, flat: FlatParameters, optimizer, alpha: float):
        self.flat = flat
        self.optimizer = optimizer
        self.alpha = alpha
        self.learning_rates = [group["lr"] for group in optimizer.param_groups]

    def step(self, closure: Callable, factor: float) -> Tensor:
        """Take a step at `factor` times the learning rates; return the loss."""
        groups = self.optimizer.param_groups
        for group, learning_rate in zip(groups, self.learning_rates, strict=True):
            group["lr"] = factor * learning_rate
        loss = None

        def penalised():
            nonlocal loss
            value = closure()
            loss = value if loss is None else loss
            with torch.no_grad():
                self.flat.add_penalty(self.alpha)
                return value + self.flat.penalty(self.alpha)

        self.optimizer.step(penalised)
        return loss


def _whole(flat: FlatParameters) -> nn.Parameter:
    parameter = nn.Parameter(flat.values)
    parameter.grad = flat.gradient
    return parameter


def _rmsprop(flat, learning_rate, alpha):
    from torch.optim import RMSprop

    return TorchSolver(flat, RMSprop([_whole(flat)], lr=learning_rate), alpha)


def _sgd(flat, learning_rate, alpha):
    from torch.optim import SGD

    momentum = {"momentum": 0.9, "nesterov": True}
    return TorchSolver(flat, SGD([_whole(flat)], lr=learning_rate, **momentum), alpha)


def _lbfgs(flat, learning_rate, alpha):
    from torch.optim import LBFGS

    # The line search finds the length of the step; learning_rate has no part in it.
    optimizer = LBFGS([_whole(flat)], line_search_fn="strong_wolfe")
    return TorchSolver(flat, optimizer, alpha)


@dataclass(frozen=True)
class Solver:
    """What a solver's name stands for.

    Attributes
    ----------
    build : callable
        `(flat, learning_rate, alpha) -> optimizer` with a method `step`.

    decoupled : bool
        Whether alpha is a rate of decay, rather than a penalty on squared weights.

    full_batch : bool
        Whether a step is made for all rows at once.
    """

    build: Callable
    decoupled: bool = False
    full_batch: bool = False


SOLVERS = {
    "adamw": Solver(AdamW, decoupled=True),
    "adam": Solver(Adam),
    "rmsprop": Solver(_rmsprop),
    "sgd": Solver(_sgd),
    "lbfgs": Solver(_lbfgs, full_batch=True),
}


def as_solver(solver) -> Solver:
    """Return the solver of a name, or one made of a callable."""
    if isinstance(solver, str):
        return SOLVERS[solver]
    return Solver(
        lambda flat, _, alpha: TorchSolver(flat, solver(flat.parameters), alpha)
    )
