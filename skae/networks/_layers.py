"""Layers that networks share, and what holds for every `NetworkModule`."""

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

    Unlike `torch.nn.Dropout` it has a `generator`, so that training can seed it.
    """

    generator: torch.Generator | None = None

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return x with dropped entries in training, else x."""
        if not self.training:
            return x
        # Scaled in training, so that nothing is scaled after it
        keep = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * keep / (1 - self.p)


class HeLinear(nn.Linear):
    """A linear layer with weights from N(0, 2 / fan-in) and zero bias.

    This keeps the variance of activations under ReLU (He et al. 2015).
    """

    def reset_parameters(self) -> None:
        """Draw the weights and set the bias to zero."""
        # nonlinearity="relu" is the gain sqrt(2), used for every activation here
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        nn.init.zeros_(self.bias)


class ReZero(nn.Module):
    """A network times a learned number that starts at zero (Bachlechner et al. 2021).

    Parameters
    ----------
    network : nn.Module
        The network.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.gain = nn.Parameter(torch.zeros((), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs of the network's shape."""
        return self.gain * self.network(x)


def zero_output_(network: nn.Module) -> nn.Module:
    """Return the network, changed so that its outputs are zero before training.

    The parameters of its last layer, `output`, are set to zero; a network without this
    attribute is wrapped in `ReZero`.
    """
    output = getattr(network, "output", None)
    if not isinstance(output, nn.Module):
        return ReZero(network)
    for parameter in output.parameters():
        nn.init.zeros_(parameter)
    return network


def n_products(module: nn.Module) -> int:
    """Return the number of multiplications for a row.

    It is one for each parameter, unless a submodule has an attribute `n_products`:
    convolutions and recurrent cells use a parameter several times.
    """
    total, remaining = 0, [module]
    while remaining:
        part = remaining.pop()
        if hasattr(part, "n_products"):
            total += part.n_products
        else:
            total += sum(p.numel() for p in part.parameters(recurse=False))
            remaining += part.children()
    return total
