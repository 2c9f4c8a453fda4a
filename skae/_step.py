"""The step written out: loss and gradient of fully connected autoencoders by hand.

Autograd spends more time on bookkeeping than a small network on arithmetic. Here every
product is one call that writes into memory that was laid out before, and gradients land
directly in the flat gradient. What can be written out is what the parts offer: modules
a method `by_hand`, losses a `derivative`, regularizers that leave the code alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

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


class Hidden:
    """An activation on memory for one number of rows."""

    def __init__(self, activation: str, like: Tensor):
        self.forward_, self.backward_ = BY_HAND[activation]
        self.output = torch.empty_like(like)
        self.gradient = torch.empty_like(like)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of x."""
        self.input = x
        self.forward_(x, self.output)
        return self.output

    def backward(self, gradient: Tensor) -> Tensor:
        """Return the gradient by x, from that by the output."""
        self.backward_(gradient, self.input, self.output, self.gradient)
        return self.gradient


class Affine:
    """A linear layer on memory for one number of rows.

    Parameters
    ----------
    layer : nn.Linear
        Its gradients are written where `layer.weight.grad` and `layer.bias.grad` lie.

    n_rows : int
        Rows of every input.

    first : bool, default=False
        Whether nothing lies before it, so that nobody needs the gradient by its input.
    """

    def __init__(self, layer: nn.Linear, n_rows: int, first: bool = False):
        self.weight, self.bias = layer.weight.detach(), layer.bias.detach()
        self.transposed = self.weight.T
        self.weight_gradient, self.bias_gradient = layer.weight.grad, layer.bias.grad
        self.output = self.weight.new_empty(n_rows, layer.out_features)
        n_needed = 0 if first else n_rows
        self.gradient = self.weight.new_empty(n_needed, layer.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Return x W' + b."""
        self.input = x
        return torch.addmm(self.bias, x, self.transposed, out=self.output)

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the parameters' gradients, and return that by x unless it is first."""
        torch.mm(gradient.T, self.input, out=self.weight_gradient)
        torch.sum(gradient, 0, out=self.bias_gradient)
        if len(self.gradient):
            torch.mm(gradient, self.weight, out=self.gradient)
        return self.gradient


class Chain:
    """Layers one after another."""

    def __init__(self, layers: list):
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, gradient: Tensor) -> Tensor:
        """Return the gradient by the first layer's input."""
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        return gradient


class Sum:
    """A chain plus a linear map of the same input.

    Parameters
    ----------
    chain : Chain
        Its output and gradient are added to in place.

    axes : nn.Parameter of shape (n_outputs, n_inputs)
        The linear map.
    """

    def __init__(self, chain: Chain, axes: nn.Parameter):
        self.chain = chain
        self.axes, self.axes_gradient = axes.detach(), axes.grad
        self.transposed = self.axes.T

    def forward(self, x: Tensor) -> Tensor:
        """Return axes @ x + chain(x), for each row."""
        self.input = x
        return self.chain.forward(x).addmm_(x, self.transposed)

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the map's gradient, and return that by x unless the chain is first."""
        torch.mm(gradient.T, self.input, out=self.axes_gradient)
        by_input = self.chain.backward(gradient)
        return by_input.addmm_(gradient, self.axes) if len(by_input) else by_input


class WrittenGradient:
    """Loss and gradient of a batch, written out, for as many row counts as come.

    Parameters
    ----------
    model : Autoencoder
        Its encoder and decoder offer `by_hand`, its loss a `derivative`.

    target : callable
        `target(rows)` is what outputs are compared with.

    generator : torch.Generator
        Where noise comes from.
    """

    def __init__(self, model, target: Callable, generator: torch.Generator):
        self.model = model
        self.generator = generator
        self.loss = model.loss
        self.target = target
        # Nothing is added for losses in standardised units.
        self.offset = model.offset if model.offset.any() else None
        self.networks = {}

    @torch.no_grad()
    def __call__(self, rows: Tensor, weights: Tensor | None) -> Tensor:
        """Write the gradient of the mean loss, and return that loss."""
        encoder, decoder, gradient = self._memory(rows)
        target = self.target(rows)
        noisy = self.model.noise.disturb(rows, self.generator)
        output = decoder.forward(encoder.forward(noisy))
        if self.offset is not None:
            output += self.offset
        self.loss.derivative(output, target, gradient)
        losses = self.loss.elementwise(output, target)
        if weights is not None:
            gradient *= weights.unsqueeze(1)
            losses *= weights.unsqueeze(1)
        encoder.backward(decoder.backward(gradient.div_(gradient.numel())))
        return losses.mean()

    def _memory(self, rows):
        """Return both networks and the gradient of the output, for so many rows."""
        n_rows = len(rows)
        if n_rows not in self.networks:
            self.networks[n_rows] = (
                self.model.encoder.by_hand(n_rows, first=True),
                self.model.decoder.by_hand(n_rows),
                torch.empty_like(rows),
            )
        return self.networks[n_rows]
