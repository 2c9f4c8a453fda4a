"""Optimizers: one step on a model's flat vector of parameters."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)  # Kingma & Ba 2015
MOMENTUM = 0.9  # of gradient descent
SMOOTHING = 0.99  # of the mean square in RMSprop
# float64 is used for small data, whose fit must not depend on the order of the rows in
# the first seven digits. A gradient that is zero except for rounding must not be
# amplified to a step.
EPSILON = {torch.float32: 1e-8, torch.float64: 1e-7}
INFINITE_STEP_COUNT = torch.tensor(torch.inf, dtype=torch.float32)


class FlatParameters:
    """All parameters of a module as views of one vector, and gradients of another.

    The matrices that weight decay shrinks come first. Vectors are not decayed, nor what
    a module names in `undecayed`, such as the linear skip connections: decay must pull
    towards PCA, not away from it.

    Attributes
    ----------
    parameters : list of nn.Parameter
        The parameters.

    values, gradient : Tensor of shape (n_parameters,)
        Their values and gradients.

    gradient_and_loss : Tensor of shape (n_parameters + 1,)
        The gradients, and after them the loss, which processes exchange at once.

    decayed, decayed_gradient : Tensor of shape (n_decayed,)
        The part of `values` that weight decay shrinks, and of `gradient`.
    """

    def __init__(self, module: nn.Module):
        undecayed = {
            id(getattr(m, name))
            for m in module.modules()
            for name in getattr(m, "undecayed", ())
        }
        trained = [p for p in module.parameters() if p.requires_grad]
        decayed = [p for p in trained if p.ndim > 1 and id(p) not in undecayed]
        chosen = {id(p) for p in decayed}
        # Decayed first, so that they are one slice of the vector.
        self.parameters = decayed + [p for p in trained if id(p) not in chosen]
        self.values = torch.cat([p.detach().ravel() for p in self.parameters])
        self.gradient_and_loss = self.values.new_zeros(len(self.values) + 1)
        self.gradient = self.gradient_and_loss[:-1]
        start = 0
        for p in self.parameters:
            position = slice(start, start + p.numel())
            # Views: steps on the vector change the module, and `backward` writes
            # gradients into the other vector.
            p.data = self.values[position].view_as(p)
            p.grad = self.gradient[position].view_as(p)
            start = position.stop
        n_decayed = sum(p.numel() for p in decayed)
        self.decayed = self.values[:n_decayed]
        self.decayed_gradient = self.gradient[:n_decayed]

    def add_penalty(self, alpha: float) -> None:
        """Add the gradient of `alpha / 2 * |decayed|^2`."""
        self.decayed_gradient.add_(self.decayed, alpha=alpha)

    def penalty(self, alpha: float) -> Tensor:
        """Return `alpha / 2 * |decayed|^2`."""
        return alpha / 2 * self.decayed.square().sum()


def adam_(values, gradient, mean, square, n_steps, learning_rate):
    """Update values in place by Adam (Kingma & Ba 2015), in public operations."""
    beta1, beta2 = BETAS
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    root = (square / (1 - beta2**n_steps)).sqrt_().add_(EPSILON[values.dtype])
    values.addcdiv_(mean, root, value=-learning_rate / (1 - beta1**n_steps))


def fused_adam_(values, gradient, mean, square, n_steps, learning_rate):
    """Update values in place by Adam, in one pass over memory.

    The bias correction is applied to the learning rate and epsilon, as at the end of
    section 2 of the paper. The kernel's own correction expects a tensor of the number
    of steps, which is slower to maintain; for infinitely many steps it is 1.
    """
    beta1, beta2 = BETAS
    correction = (1 - beta2**n_steps) ** 0.5
    n_steps_of_kernel = INFINITE_STEP_COUNT.to(values.device)
    torch._fused_adam_(
        [values], [gradient], [mean], [square], [], [n_steps_of_kernel],
        lr=learning_rate * correction / (1 - beta1**n_steps),
        eps=EPSILON[values.dtype] * correction,
        beta1=beta1, beta2=beta2, weight_decay=0.0, amsgrad=False, maximize=False,
    )  # fmt: skip


class FlatOptimizer(ABC):
    """Base class of optimizers of the first order, on a flat vector.

    `torch.optim` computes the same steps. Its first use imports torch's compiler, which
    takes longer than a small fit, creates a folder for temporary files and changes the
    environment.

    Parameters
    ----------
    flat : FlatParameters
        The parameters.

    learning_rate : float
        The largest learning rate.

    alpha : float
        Strength of the penalty, or rate of decay.

    decoupled : bool, default=False
        Whether alpha is a rate of weight decay, as in AdamW (Loshchilov & Hutter 2019),
        and not the strength of a penalty on squared weights.
    """

    def __init__(
        self, flat: FlatParameters, learning_rate: float, alpha: float, decoupled=False
    ):
        self.flat = flat
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.decoupled = decoupled

    def step(self, closure: Callable, factor: float) -> Tensor:
        """Take a step at `factor * learning_rate`, and return the loss before it."""
        loss, flat = closure(), self.flat
        learning_rate = factor * self.learning_rate
        # The order of PyTorch: weights decay before the step.
        if self.decoupled:
            flat.decayed.mul_(1 - learning_rate * self.alpha)
        elif self.alpha:
            flat.add_penalty(self.alpha)
        self.update_values(learning_rate)
        return loss

    @abstractmethod
    def update_values(self, learning_rate: float) -> None:
        """Update the values in place, by the gradient."""


class Adam(FlatOptimizer):
    """Adam (Kingma & Ba 2015)."""

    # A private operation, which torch may rename.
    update = staticmethod(fused_adam_ if hasattr(torch, "_fused_adam_") else adam_)

    def __init__(self, flat, learning_rate, alpha, decoupled=False):
        super().__init__(flat, learning_rate, alpha, decoupled)
        self.mean = torch.zeros_like(flat.values)
        self.square = torch.zeros_like(flat.values)
        self.n_steps = 0

    def update_values(self, learning_rate):
        """Update the values in place, by the gradient."""
        self.n_steps += 1
        self.update(
            self.flat.values, self.flat.gradient, self.mean, self.square,
            self.n_steps, learning_rate,
        )  # fmt: skip


class SGD(FlatOptimizer):
    """Gradient descent with Nesterov momentum (Sutskever et al. 2013)."""

    def __init__(self, flat, learning_rate, alpha):
        super().__init__(flat, learning_rate, alpha)
        self.velocity = torch.zeros_like(flat.values)

    def update_values(self, learning_rate):
        """Update the values in place, by the gradient."""
        self.velocity.mul_(MOMENTUM).add_(self.flat.gradient)
        change = self.flat.gradient.add(self.velocity, alpha=MOMENTUM)
        self.flat.values.add_(change, alpha=-learning_rate)


class RMSprop(FlatOptimizer):
    """RMSprop (Tieleman & Hinton 2012), with the defaults of `torch.optim`."""

    def __init__(self, flat, learning_rate, alpha):
        super().__init__(flat, learning_rate, alpha)
        self.square = torch.zeros_like(flat.values)

    def update_values(self, learning_rate):
        """Update the values in place, by the gradient."""
        gradient = self.flat.gradient
        self.square.mul_(SMOOTHING).addcmul_(gradient, gradient, value=1 - SMOOTHING)
        root = self.square.sqrt().add_(1e-8)
        self.flat.values.addcdiv_(gradient, root, value=-learning_rate)


class TorchOptimizer:
    """Any `torch.optim.Optimizer`, with the penalty in the gradient.

    Parameters
    ----------
    flat : FlatParameters
        The parameters.

    optimizer : torch.optim.Optimizer
        Updates `flat.values`, whole or by its views. The learning rates of its groups
        are multiplied by the schedule.

    alpha : float
        Strength of the penalty.
    """

    def __init__(self, flat: FlatParameters, optimizer, alpha: float):
        self.flat = flat
        self.optimizer = optimizer
        self.alpha = alpha
        self.learning_rates = [group["lr"] for group in optimizer.param_groups]

    def step(self, closure: Callable, factor: float) -> Tensor:
        """Take a step at `factor` times the learning rates, and return the loss."""
        groups = self.optimizer.param_groups
        # The schedule multiplies the rates with which the optimizer was built.
        for group, learning_rate in zip(groups, self.learning_rates, strict=True):
            group["lr"] = factor * learning_rate
        # L-BFGS calls the closure several times; the first loss is before the step.
        losses = []

        def penalized():
            losses.append(closure())
            with torch.no_grad():
                self.flat.add_penalty(self.alpha)
                return losses[-1] + self.flat.penalty(self.alpha)

        self.optimizer.step(penalized)
        return losses[0]


def flat_parameter(flat: FlatParameters) -> nn.Parameter:
    """Return all parameters as one, which shares memory and gradient with them."""
    parameter = nn.Parameter(flat.values)
    parameter.grad = flat.gradient
    return parameter


class LBFGS(torch.optim.LBFGS):
    """L-BFGS whose constructor does not import torch's compiler."""

    # The undecorated method; the decorator excludes it from compilation.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)


def lbfgs(flat, learning_rate, alpha):
    """Return L-BFGS, whose line search replaces the learning rate."""
    optimizer = LBFGS([flat_parameter(flat)], line_search_fn="strong_wolfe")
    return TorchOptimizer(flat, optimizer, alpha)


@dataclass(frozen=True)
class OptimizerSpec:
    """The optimizer that a value of `solver` selects.

    Attributes
    ----------
    build : callable
        `build(flat, learning_rate, alpha)` returns an object with the method
        `step(closure, factor)`.

    decoupled : bool
        Whether alpha is a rate of decay, and not a penalty on squared weights.

    full_batch : bool
        Whether a step uses all rows at once by default.
    """

    build: Callable
    decoupled: bool = False
    full_batch: bool = False


SOLVERS = {
    "adamw": OptimizerSpec(partial(Adam, decoupled=True), decoupled=True),
    "adam": OptimizerSpec(Adam),
    "rmsprop": OptimizerSpec(RMSprop),
    "sgd": OptimizerSpec(SGD),
    "lbfgs": OptimizerSpec(lbfgs, full_batch=True),
}


def as_optimizer(solver) -> OptimizerSpec:
    """Return the optimizer of a name, or one that a callable builds."""
    if isinstance(solver, str):
        return SOLVERS[solver]

    def build(flat, learning_rate, alpha):
        optimizer = solver(flat.parameters)
        if not hasattr(optimizer, "param_groups"):
            raise ValueError(
                f"The solver returned {optimizer!r}, but expected a "
                "torch.optim.Optimizer of the parameters that it was given."
            )
        return TorchOptimizer(flat, optimizer, alpha)

    return OptimizerSpec(build)
