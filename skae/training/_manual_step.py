"""The manual step: loss and gradient of fully connected autoencoders, by hand.

For a small network, autograd's bookkeeping takes longer than the arithmetic. Here, a
step is a list of operations that is laid out once for each number of rows. Each
operation is one call of torch on fixed memory, and gradients are written to the flat
gradient of the optimizer.

This is an optimization only. `Trainer` uses autograd where `manual_gradient` returns
None, with the same results up to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, singledispatch
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skae.losses import (
    absolute_error,
    brier,
    huber,
    log_loss,
    poisson,
    squared_error,
)
from skae.model._adapters import BoundedOutputs, InputAdapter, ScoreAdapter
from skae.model._autoencoder import Autoencoder, LinearSkip, PrincipalScores
from skae.networks._layers import HeLinear
from skae.networks._mlp import FullyConnected
from skae.training._objective import Objective

aten = torch.ops.aten

# forward(x, out) and backward(gradient, x, y, out), where y = forward(x).
ACTIVATIONS = {
    nn.ReLU: (
        lambda x, out: torch.clamp_min(x, 0, out=out),
        lambda g, x, y, out: aten.threshold_backward.grad_input(
            g, x, 0, grad_input=out
        ),
    ),
    nn.LeakyReLU: (
        lambda x, out: aten.leaky_relu.out(x, 0.01, out=out),
        lambda g, x, y, out: aten.leaky_relu_backward.grad_input(
            g, x, 0.01, False, grad_input=out
        ),
    ),
    nn.ELU: (
        lambda x, out: aten.elu.out(x, out=out),
        lambda g, x, y, out: aten.elu_backward.grad_input(
            g, 1, 1, 1, False, x, grad_input=out
        ),
    ),
    nn.GELU: (
        lambda x, out: aten.gelu.out(x, out=out),
        lambda g, x, y, out: aten.gelu_backward.grad_input(g, x, grad_input=out),
    ),
    nn.SiLU: (
        lambda x, out: aten.silu.out(x, out=out),
        lambda g, x, y, out: aten.silu_backward.grad_input(g, x, grad_input=out),
    ),
    nn.Softplus: (
        lambda x, out: aten.softplus.out(x, out=out),
        lambda g, x, y, out: aten.softplus_backward.grad_input(
            g, x, 1, 20, grad_input=out
        ),
    ),
    nn.Tanh: (
        lambda x, out: torch.tanh(x, out=out),
        lambda g, x, y, out: aten.tanh_backward.grad_input(g, y, grad_input=out),
    ),
    nn.Sigmoid: (
        lambda x, out: torch.sigmoid(x, out=out),
        lambda g, x, y, out: aten.sigmoid_backward.grad_input(g, y, grad_input=out),
    ),
    nn.Identity: (
        lambda x, out: out.copy_(x),
        lambda g, x, y, out: out.copy_(g),
    ),
}


def _brier_derivative(output, target, out):
    p = torch.sigmoid(output)
    return torch.sub(p, target, out=out).mul_(p).mul_(1 - p).mul_(2)


# Derivatives of the losses by the output, elementwise, written to `out`.
DERIVATIVES = {
    squared_error: lambda o, t, out: torch.sub(o, t, out=out).mul_(2),
    absolute_error: lambda o, t, out: torch.sub(o, t, out=out).sign_(),
    huber: lambda o, t, out: torch.sub(o, t, out=out).clamp_(-1, 1),
    log_loss: lambda o, t, out: torch.sigmoid(o, out=out).sub_(t),
    poisson: lambda o, t, out: torch.exp(o, out=out).sub_(t),
    brier: _brier_derivative,
}


class Buffer(NamedTuple):
    """Memory for a value, and for the gradient by it, or None if it is not needed."""

    value: Tensor
    gradient: Tensor | None


class ForwardBackward(NamedTuple):
    """The operations of a module, and the buffer of its output.

    Attributes
    ----------
    output : Buffer
        The output. `backward` starts from the gradient by it.

    forward, backward : list of callable
        Operations without arguments, in order.
    """

    output: Buffer
    forward: list[Callable]
    backward: list[Callable]


class CastParameter:
    """A copy of a parameter, and of its gradient, in the type of the products.

    It replaces the parameter under mixed precision, and so has its attributes.

    Parameters
    ----------
    parameter : nn.Parameter
        The master weight.

    dtype : torch.dtype
        The type of the products.

    Attributes
    ----------
    data, grad : Tensor
        The copies.

    load, store : callable
        Operations that fill the copy of the values, and return the gradient.
    """

    def __init__(self, parameter: nn.Parameter, dtype: torch.dtype):
        # Filled before every forward pass: the optimizer changes the master weight.
        self.data = torch.empty_like(parameter.data, dtype=dtype)
        self.grad = torch.empty_like(self.data)
        self.load = partial(self.data.copy_, parameter.data)
        self.store = partial(parameter.grad.copy_, self.grad)


@singledispatch
def lay_out(module: nn.Module, x: Buffer) -> ForwardBackward:
    """Return the operations of a module on an input, by the type of the module."""
    raise TypeError(f"Got {type(module).__name__}, which has no manual gradient.")


@lay_out.register
def lay_out_linear(layer: HeLinear, x: Buffer) -> ForwardBackward:
    """Return the operations of `x @ W.T + b`."""
    weight, bias, copies = layer.weight, layer.bias, []
    if weight.dtype != x.value.dtype:
        weight, bias = (CastParameter(p, x.value.dtype) for p in (weight, bias))
        copies = [weight, bias]
    # (n_rows, n_outputs)
    shape = len(x.value), layer.out_features
    y = Buffer(x.value.new_empty(shape), x.value.new_empty(shape))
    product = partial(torch.addmm, bias.data, x.value, weight.data.T, out=y.value)
    backward = [
        partial(torch.mm, y.gradient.T, x.value, out=weight.grad),
        partial(torch.sum, y.gradient, 0, out=bias.grad),
    ]
    # Nothing needs the gradient by the encoder's input.
    if x.gradient is not None:
        backward.append(partial(torch.mm, y.gradient, weight.data, out=x.gradient))
    return ForwardBackward(
        y,
        [*(copy.load for copy in copies), product],
        [*backward, *(copy.store for copy in copies)],
    )


@lay_out.register
def lay_out_fully_connected(network: FullyConnected, x: Buffer) -> ForwardBackward:
    """Return the operations of linear layers with activations between them."""
    forward: list[Callable] = []
    backward: list[Callable] = []
    activate, differentiate = ACTIVATIONS[type(network.activation)]
    for layer in network.hidden:
        y, *linear = lay_out(layer, x)
        # The gradient by the activation's output is overwritten by that by its input,
        # after which it is not needed any more.
        x = Buffer(torch.empty_like(y.value), y.gradient)
        forward += [*linear[0], partial(activate, y.value, x.value)]
        step = partial(differentiate, x.gradient, y.value, x.value, y.gradient)
        backward = [step, *linear[1], *backward]
    output, *linear = lay_out(network.output, x)
    return ForwardBackward(output, forward + linear[0], linear[1] + backward)


@lay_out.register
def lay_out_linear_skip(module: LinearSkip, x: Buffer) -> ForwardBackward:
    """Return the operations of `x @ axes.T + network(x)`."""
    y, forward, backward = lay_out(module.network, x)
    axes, copies = module.axes, []
    if axes.dtype != x.value.dtype:
        axes = CastParameter(axes, x.value.dtype)
        copies = [axes]
    # In place, on the output of the network.
    add = partial(y.value.addmm_, x.value, axes.data.T)
    differentiate = partial(torch.mm, y.gradient.T, x.value, out=axes.grad)
    backward = [differentiate, *(copy.store for copy in copies), *backward]
    # Added to what the operations of the network have written.
    if x.gradient is not None:
        backward.append(partial(x.gradient.addmm_, y.gradient, axes.data))
    return ForwardBackward(
        y, [*forward, *(copy.load for copy in copies), add], backward
    )


def cast_output(steps: ForwardBackward, dtype: torch.dtype) -> ForwardBackward:
    """Return the operations followed by a conversion of the output to a type."""
    x = steps.output
    y = Buffer(x.value.to(dtype), x.gradient.to(dtype))
    return ForwardBackward(
        y,
        [*steps.forward, partial(y.value.copy_, x.value)],
        [partial(x.gradient.copy_, y.gradient), *steps.backward],
    )


def write_scores(steps: ForwardBackward, scores: PrincipalScores) -> ForwardBackward:
    """Return the operations followed by the map from scores to outputs."""
    x = steps.output
    # (n_scores, n_outputs)
    axes = scores.unit * scores.axes
    shape = len(x.value), axes.shape[1]
    y = Buffer(x.value.new_empty(shape), x.value.new_empty(shape))
    return ForwardBackward(
        y,
        [*steps.forward, partial(torch.mm, x.value, axes, out=y.value)],
        [partial(torch.mm, y.gradient, axes.T, out=x.gradient), *steps.backward],
    )


def loss_and_grad(
    elementwise: Callable,
    output: Tensor,
    target: Tensor,
    weights: Tensor | None,
    grad: Tensor,
) -> Tensor:
    """Return the weighted mean loss, and write its gradient by the output to `grad`."""
    if elementwise is squared_error and weights is None:
        # The default: the residual gives both, in fewer passes over memory.
        residual = torch.sub(output, target, out=grad).view(-1)
        loss = torch.dot(residual, residual) / residual.numel()
        residual.mul_(2 / residual.numel())
        return loss
    # (n_samples, 1)
    weights = 1.0 if weights is None else weights.unsqueeze(1)
    DERIVATIVES[elementwise](output, target, grad).mul_(weights / target.numel())
    return (weights * elementwise(output, target)).mean()


@dataclass
class ManualGradient:
    """Loss and gradient of a batch, laid out once for each number of rows.

    Attributes
    ----------
    objective : Objective
        The objective of a supported model.

    steps : dict
        The operations that are laid out, by number of rows.
    """

    objective: Objective
    steps: dict = field(default_factory=dict)

    def __call__(self, rows: Tensor, weights: Tensor | None) -> Tensor:
        """Write the gradient of the mean loss, and return the loss."""
        inputs = self._inputs(rows)
        x, (output, forward, backward) = self._steps_for(inputs, rows.dtype)
        x.copy_(inputs)
        for operation in forward:
            operation()
        loss = self._loss_and_grad(output, self.objective.target(rows), weights)
        for operation in backward:
            operation()
        return loss

    def _inputs(self, rows):
        """Return the inputs of the encoder, with noise that is drawn anew."""
        model = self.objective.model
        inputs = model.adapter.inputs(rows)
        noisy = model.noise.corrupt(inputs, self.objective.generator)
        return noisy if model.scores is None else model.scores(noisy)

    def _steps_for(self, inputs, dtype):
        """Return memory for inputs, and the operations for their number of rows."""
        n_rows, model = len(inputs), self.objective.model
        if n_rows not in self.steps:
            x = torch.empty_like(inputs, dtype=self.objective.compute_dtype)
            encoder = lay_out(model.encoder, Buffer(x, None))
            decoder = lay_out(model.decoder, encoder.output)
            self.steps[n_rows] = x, join(encoder, decoder, model, dtype)
        return self.steps[n_rows]

    def _loss_and_grad(self, output, target, weights):
        """Return the mean loss, and write its gradient by the output."""
        adapter = self.objective.model.adapter
        elementwise = adapter.elementwise
        if not isinstance(adapter, ScoreAdapter):
            return loss_and_grad(
                elementwise, output.value, target, weights, output.gradient
            )
        scores, left_out = target[:, :-1], target[:, -1]
        loss = loss_and_grad(
            elementwise, output.value, scores, weights, output.gradient
        )
        output.gradient.mul_(adapter.factor)
        # What the scores leave out is constant.
        left_out = left_out if weights is None else weights * left_out
        return adapter.factor * loss + left_out.mean()


def join(
    encoder: ForwardBackward,
    decoder: ForwardBackward,
    model: Autoencoder,
    dtype: torch.dtype,
) -> ForwardBackward:
    """Return the operations of a model's networks, with the output in a type."""
    steps = ForwardBackward(
        decoder.output,
        encoder.forward + decoder.forward,
        decoder.backward + encoder.backward,
    )
    if steps.output.value.dtype != dtype:
        steps = cast_output(steps, dtype)
    if model.scores is not None:
        steps = write_scores(steps, model.scores)
    output, write = steps.output.value, model.adapter.write
    # The bound does not change the gradient.
    if isinstance(write, BoundedOutputs):
        steps.forward.append(partial(torch.minimum, output, write.room, out=output))
    # It is zero in standardized units.
    if model.offset.any():
        steps.forward.append(partial(output.add_, model.offset))
    return steps


def manual_gradient(objective: Objective) -> ManualGradient | None:
    """Return the manual gradient of an objective, or None if a part is unsupported."""
    model = objective.model
    networks = model.encoder, model.decoder
    modules = [module for network in networks for module in network.modules()]
    parameters = [p for network in networks for p in network.parameters()]
    supported = {*lay_out.registry, *ACTIVATIONS, nn.ModuleList}
    is_supported = (
        # Exact types: a subclass may compute something else.
        type(model.adapter) in (InputAdapter, ScoreAdapter)
        and model.loss.elementwise in DERIVATIVES
        and model.regularizer.is_noop
        and not model.n_dropped
        and all(type(m) in supported for m in modules)
        and all(p.requires_grad for p in parameters)
        # Gradients are written, not added: a shared parameter would get one of two.
        and len(set(parameters)) == len(parameters)
    )
    return ManualGradient(objective) if is_supported else None
