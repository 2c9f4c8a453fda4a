"""Layers that networks share."""

import torch
from torch import Tensor, nn

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


class Dropout(nn.Module):
    """Set each entry to zero with probability p and divide the others by 1 - p.

    Unlike `torch.nn.Dropout` it draws from a generator of its own, set by training.
    """

    generator: torch.Generator | None = None

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return x while evaluating, x with dropped entries while training."""
        if not self.training:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * keep / (1 - self.p)


class HeLinear(nn.Linear):
    """A linear layer of random weights with variance 2 / fan-in (He et al. 2015)."""

    def reset_parameters(self) -> None:
        """Draw the weights, and set the bias to zero."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        nn.init.zeros_(self.bias)


class ReZero(nn.Module):
    """A network times a number that is learned and starts at zero (ReZero)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.gain = nn.Parameter(torch.zeros((), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs of the network's shape."""
        return self.gain * self.network(x)


def zero_output_(network: nn.Module) -> nn.Module:
    """Return the network, changed to give zero for every input until it is trained.

    A network that offers its last layer as `output` has its weights set to zero; any
    other gets a gate.
    """
    output = getattr(network, "output", None)
    if not isinstance(output, nn.Module):
        return ReZero(network)
    for parameter in output.parameters():
        nn.init.zeros_(parameter)
    return network


def n_products(module: nn.Module) -> int:
    """Return the multiplications for a row: one for each parameter.

    A module that uses parameters several times, at many positions, tells `n_products`.
    """
    if hasattr(module, "n_products"):
        return module.n_products
    own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    return own + sum(n_products(child) for child in module.children())
