"""The step written out: loss and gradient of fully connected autoencoders by hand.

Autograd spends more time on bookkeeping than a small network on arithmetic. Here a step
is a list of operations that are laid out once for a number of rows: each is one call of
torch on memory that stays where it is, and gradients land in the flat gradient. What
can be written out is what the parts offer: modules a method `write_out`, losses a
`derivative`. What a regularizer does to the codes is left to autograd, on them alone.
"""

from collections.abc import Callable
from functools import partial, singledispatch
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skae.networks._layers import ACTIVATIONS, HeLinear
from skae.networks._mlp import FullyConnected

aten = torch.ops.aten

# forward(x, out) and backward(gradient, x, y, out), where y = forward(x).
BY_HAND = {
    "relu": (
        lambda x, out: torch.clamp_min(x, 0, out=out),
        lambda g, x, y, out: aten.threshold_backward.grad_input(
            g, x, 0, grad_input=out
        ),
    ),
    "leaky_relu": (
        lambda x, out: aten.leaky_relu.out(x, 0.01, out=out),
        lambda g, x, y, out: aten.leaky_relu_backward.grad_input(
            g, x, 0.01, False, grad_input=out
        ),
    ),
    "elu": (
        lambda x, out: aten.elu.out(x, out=out),
        lambda g, x, y, out: aten.elu_backward.grad_input(
            g, 1, 1, 1, False, x, grad_input=out
        ),
    ),
    "gelu": (
        lambda x, out: aten.gelu.out(x, out=out),
        lambda g, x, y, out: aten.gelu_backward.grad_input(g, x, grad_input=out),
    ),
    "silu": (
        lambda x, out: aten.silu.out(x, out=out),
        lambda g, x, y, out: aten.silu_backward.grad_input(g, x, grad_input=out),
    ),
    "softplus": (
        lambda x, out: aten.softplus.out(x, out=out),
        lambda g, x, y, out: aten.softplus_backward.grad_input(
            g, x, 1, 20, grad_input=out
        ),
    ),
    "tanh": (
        lambda x, out: torch.tanh(x, out=out),
        lambda g, x, y, out: aten.tanh_backward.grad_input(g, y, grad_input=out),
    ),
    "sigmoid": (
        lambda x, out: torch.sigmoid(x, out=out),
        lambda g, x, y, out: aten.sigmoid_backward.grad_input(g, y, grad_input=out),
    ),
    "identity": (
        lambda x, out: out.copy_(x),
        lambda g, x, y, out: out.copy_(g),
    ),
}


class Place(NamedTuple):
    """Memory for a value, and for the gradient by it unless nobody needs that."""

    value: Tensor
    gradient: Tensor | None

    @classmethod
    def like(cls, value: Tensor) -> "Place":
        """Return a place of the value's shape and type."""
        return cls(torch.empty_like(value), torch.empty_like(value))


class Passes(NamedTuple):
    """A module written out: where its output will be, and what computes it.

    Attributes
    ----------
    output : Place
        The output, and the gradient by it, which `backward` starts from.

    forward, backward : list of callable
        Operations without arguments, to be called in order.
    """

    output: Place
    forward: list[Callable]
    backward: list[Callable]


class Lowered(NamedTuple):
    """A parameter and its gradient in the precision of products.

    Attributes
    ----------
    value, gradient : Tensor
        The parameter's own memory where it has that precision, else copies.

    fill, drain : list of callable
        Operations that fill the copy of the value, and drain that of the gradient.
    """

    value: Tensor
    gradient: Tensor
    fill: list[Callable]
    drain: list[Callable]

    @classmethod
    def of(cls, parameter: nn.Parameter, dtype: torch.dtype) -> "Lowered":
        """Return a parameter in a precision."""
        value, gradient = parameter.detach(), parameter.grad
        if value.dtype == dtype:
            return cls(value, gradient, [], [])
        low, low_gradient = (torch.empty_like(value, dtype=dtype) for _ in range(2))
        fill, drain = partial(low.copy_, value), partial(gradient.copy_, low_gradient)
        return cls(low, low_gradient, [fill], [drain])


def affine(layer: nn.Linear, x: Place) -> Passes:
    """Write out x W' + b."""
    weight = Lowered.of(layer.weight, x.value.dtype)
    bias = Lowered.of(layer.bias, x.value.dtype)
    y = Place.like(x.value.new_empty(len(x.value), layer.out_features))
    product = partial(torch.addmm, bias.value, x.value, weight.value.T, out=y.value)
    backward = [
        partial(torch.mm, y.gradient.T, x.value, out=weight.gradient),
        partial(torch.sum, y.gradient, 0, out=bias.gradient),
    ]
    if x.gradient is not None:
        backward.append(partial(torch.mm, y.gradient, weight.value, out=x.gradient))
    forward = [*weight.fill, *bias.fill, product]
    return Passes(y, forward, [*backward, *weight.drain, *bias.drain])


def hidden(activation: str, x: Place) -> Passes:
    """Write out an activation; the gradient by x takes the place of that by y."""
    forward, backward = BY_HAND[activation]
    y = Place(torch.empty_like(x.value), x.gradient)
    return Passes(
        y,
        [partial(forward, x.value, y.value)],
        [partial(backward, y.gradient, x.value, y.value, x.gradient)],
    )


def linear_beside(passes: Passes, axes: nn.Parameter, x: Place) -> Passes:
    """Write out `x @ axes.T` added to the output of passes that start from x."""
    y, matrix = passes.output, Lowered.of(axes, x.value.dtype)
    add = partial(y.value.addmm_, x.value, matrix.value.T)
    backward = [
        partial(torch.mm, y.gradient.T, x.value, out=matrix.gradient),
        *matrix.drain,
        *passes.backward,
    ]
    if x.gradient is not None:
        backward.append(partial(x.gradient.addmm_, y.gradient, matrix.value))
    return Passes(y, [*passes.forward, *matrix.fill, add], backward)


def converted(passes: Passes, dtype: torch.dtype) -> Passes:
    """Write out the conversion of an output to a type."""
    x = passes.output
    if x.value.dtype == dtype:
        return passes
    y = Place.like(x.value.to(dtype))
    forward, backward = partial(y.value.copy_, x.value), x.gradient.copy_
    return Passes(
        y, [*passes.forward, forward], [partial(backward, y.gradient), *passes.backward]
    )


def joined(first: Passes, then: Passes) -> Passes:
    """Write out passes that start from the output of others."""
    return Passes(
        then.output,
        [*first.forward, *then.forward],
        [*then.backward, *first.backward],
    )


@singledispatch
def is_writable(module) -> bool:
    """Return whether `write_out` has the module's derivatives."""
    return getattr(module, "writable", False)


@is_writable.register
def _(module: FullyConnected) -> bool:
    layers = [*module.hidden, module.output]
    return (
        module.activation_name in BY_HAND
        and type(module.activation) is ACTIVATIONS[module.activation_name]
        and isinstance(module.dropout, nn.Identity)
        and all(type(layer) is HeLinear for layer in layers)
    )


@singledispatch
def write_out(module, x: Place) -> Passes:
    """Return a module as operations that start from x."""
    return module.write_out(x)


@write_out.register
def _(module: FullyConnected, x: Place) -> Passes:
    passes = Passes(x, [], [])
    for layer in module.hidden:
        passes = joined(passes, affine(layer, passes.output))
        passes = joined(passes, hidden(module.activation_name, passes.output))
    return joined(passes, affine(module.output, passes.output))


class RegularizedCodes:
    """What a regularizer makes of codes, differentiated by autograd on them alone.

    Parameters
    ----------
    regularizer : BaseRegularizer
        A function of the encoder's output alone.

    parameters : list of nn.Parameter
        What it learns.

    outputs : Place
        What the encoder returns.

    generator : torch.Generator
        Where random numbers come from.
    """

    def __init__(self, regularizer, parameters, outputs: Place, generator):
        self.regularizer = regularizer
        self.parameters = parameters
        self.outputs = outputs
        self.generator = generator

    def passes(self) -> Passes:
        """Return both directions, as one operation each."""
        state = self.generator.get_state()
        self.outputs.value.zero_()  # tried on numbers, not on rubbish
        self.output = Place.like(self._decoded().detach())
        self.generator.set_state(state)
        return Passes(self.output, [self.forward], [self.backward])

    def forward(self) -> None:
        """Write what the decoder is given: one code for each row, or several."""
        self.decoded = self._decoded()
        self.output.value.copy_(self.decoded.detach())

    @torch.enable_grad()
    def _decoded(self):
        self.leaf = self.outputs.value.clone().requires_grad_()
        self.codes = self.regularizer.code(self.leaf)
        drawn = self.regularizer.training_codes(self.codes, self.generator)
        return self.regularizer.decoder_input(drawn)

    def lose(self, loss, output: Place, target: Tensor, weights) -> Tensor:
        """Return the mean loss with the penalty, and write its gradient by the output.

        That of the penalty is left for `backward`.
        """
        n_blocks = len(output.value) // len(target)
        targets = target.repeat(n_blocks, 1)
        all_weights = None if weights is None else weights.repeat(n_blocks)
        mean = loss.mean(output.value, targets, all_weights, output.gradient)
        losses = loss.elementwise(output.value, targets).mean(dim=1)
        losses = losses.unflatten(0, (n_blocks, -1)).mean(dim=0)
        return mean + self._penalty(losses, weights)

    @torch.enable_grad()
    def _penalty(self, losses, weights):
        added = self.regularizer.batch_penalty(
            self.codes, losses, weights, self.generator
        )
        self.penalty = weighted_mean(added + losses.new_zeros(1), weights)
        return self.penalty.detach()

    @torch.enable_grad()
    def backward(self) -> None:
        """Write the gradient by the encoder's output, and by what is learned."""
        for parameter in self.parameters:
            parameter.grad.zero_()
        # Its derivative by the decoded codes is the gradient that came for them.
        stand_in = (self.decoded * self.output.gradient).sum()
        (stand_in + self.penalty).backward()
        self.outputs.gradient.copy_(self.leaf.grad)


def lose(loss, output: Place, target: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean loss, and write its gradient by the output."""
    return loss.mean(output.value, target, weights, output.gradient)


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of the rows' losses times their weights."""
    return losses.mean() if weights is None else (weights * losses).mean()


class WrittenGradient:
    """Loss and gradient of a batch, written out, for as many row counts as come.

    Parameters
    ----------
    model : Autoencoder
        Its encoder and decoder offer `write_out`, its loss a `derivative`.

    target : callable
        `target(rows)` is what outputs are compared with.

    generator : torch.Generator
        Where random numbers come from.

    dtype : torch.dtype
        What products are computed in.
    """

    def __init__(self, model, target: Callable, generator, dtype: torch.dtype):
        self.model = model
        self.loss, self.noise, self.target = model.loss, model.noise, target
        self.generator = generator
        self.dtype = dtype
        self.steps = {}

    def __call__(self, rows: Tensor, weights: Tensor | None) -> Tensor:
        """Write the gradient of the mean loss, and return that loss."""
        n_rows = rows.shape[0]
        if n_rows not in self.steps:
            self.steps[n_rows] = self._write_out(rows)
        x, lose, (output, forward, backward) = self.steps[n_rows]
        x.copy_(self.noise.corrupt(rows, self.generator))
        for operation in forward:
            operation()
        loss = lose(self.loss, output, self.target(rows), weights)
        for operation in backward:
            operation()
        return loss

    def _write_out(self, rows):
        """Return the memory of the input, what tells the loss, and all passes."""
        x = torch.empty_like(rows, dtype=self.dtype)
        encoder = write_out(self.model.encoder, Place(x, None))
        encoder, lose = self._regularized(encoder, rows.dtype)
        decoder = write_out(self.model.decoder, encoder.output)
        passes = converted(joined(encoder, decoder), rows.dtype)
        if self.model.offset.any():  # nothing is added in standardised units
            add = partial(passes.output.value.add_, self.model.offset)
            passes.forward.append(add)
        return x, lose, passes

    def _regularized(self, encoder, dtype):
        """Return passes to what is decoded, and what tells the loss."""
        model = self.model
        if model.regularizer.is_noop:
            return encoder, lose
        encoder = converted(encoder, dtype)
        networks = {*model.encoder.parameters(), *model.decoder.parameters()}
        others = [p for p in model.parameters() if p not in networks]
        learned = [p for p in others if p.requires_grad]
        codes = RegularizedCodes(
            model.regularizer, learned, encoder.output, self.generator
        )
        return converted(joined(encoder, codes.passes()), self.dtype), codes.lose
