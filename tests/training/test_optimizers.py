"""Optimizers take the steps of torch.optim, on a flat vector of parameters."""

import numpy as np
import pytest
import torch
from torch import nn

from skae import MLP, AutoencoderTransformer
from skae.model._autoencoder import LinearSkip
from skae.training._optimizers import (
    EPSILON,
    SOLVERS,
    Adam,
    FlatParameters,
    adam_,
    as_optimizer,
    fused_adam_,
)

X = np.random.default_rng(0).random((40, 5))


def small_module(dtype=torch.float64):
    """Return a network beside a skip connection, with all kinds of parameters."""
    generator = torch.Generator().manual_seed(0)
    network, _ = MLP((), activation="tanh")(4, 3, n_samples=10)
    module = LinearSkip(network, torch.ones(3, 4))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module.to(dtype)


def fall(flat, optimizer, n_steps=6):
    """Take steps on a sum of fourth powers around one, at changing learning rates."""

    def closure():
        flat.gradient.copy_(4 * (flat.values - 1) ** 3)
        return ((flat.values - 1) ** 4).sum()

    return [optimizer.step(closure, 1 / (1 + i)).item() for i in range(n_steps)]


def torch_fall(parameters, optimizer, n_steps=6):
    """Take the same steps by `torch.optim`."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for i in range(n_steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate / (1 + i)
        for p in parameters:
            p.grad = 4 * (p.detach() - 1) ** 3
        optimizer.step()
    return torch.cat([p.detach().ravel() for p in parameters])


def reference(name, alpha, dtype):
    """Return values after steps of `torch.optim`, ordered as in `FlatParameters`."""
    parameters = FlatParameters(small_module(dtype)).parameters
    parameters = [nn.Parameter(p.detach().clone()) for p in parameters]
    groups = [
        {"params": parameters[:1], "weight_decay": alpha},
        {"params": parameters[1:], "weight_decay": 0.0},
    ]
    return torch_fall(
        parameters, getattr(torch.optim, name)(groups, lr=0.1, eps=EPSILON[dtype])
    )


@pytest.mark.parametrize("update", [adam_, fused_adam_])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize(
    ("decoupled", "name"), [(False, "Adam"), (True, "AdamW")], ids=["adam", "adamw"]
)
def test_adam_takes_the_steps_of_torch(
    decoupled, name, alpha, dtype, update, monkeypatch
):
    monkeypatch.setattr(Adam, "update", staticmethod(update))
    flat = FlatParameters(small_module(dtype))
    fall(flat, Adam(flat, 0.1, alpha, decoupled=decoupled))
    torch.testing.assert_close(flat.values, reference(name, alpha, dtype))


def test_parameters_and_gradients_are_views_of_the_flat_vectors():
    module = small_module()
    before = [p.detach().clone() for p in module.parameters()]
    flat = FlatParameters(module)
    torch.testing.assert_close([p.data for p in module.parameters()], before)
    flat.values.zero_()
    assert all((p == 0).all() for p in module.parameters())
    sum((p + 2).square().sum() for p in module.parameters()).backward()
    torch.testing.assert_close(flat.gradient, torch.full_like(flat.values, 4))


def test_frozen_parameters_are_left_out():
    module = small_module()
    module.network.output.bias.requires_grad_(False)
    flat = FlatParameters(module)
    assert len(flat.values) == 12 + 12


@pytest.mark.parametrize("name", SOLVERS)
def test_decay_shrinks_the_networks_matrices_only(name):
    module = small_module()
    weight, bias = module.network.output.weight, module.network.output.bias
    flat = FlatParameters(module)
    before = [p.detach().clone() for p in (weight, bias, module.axes)]

    def closure():
        flat.gradient.zero_()
        return torch.zeros((), dtype=torch.float64)

    optimizer = SOLVERS[name].build(flat, 0.1, 0.5)
    for _ in range(3):
        optimizer.step(closure, 1.0)
    assert weight.norm() < 0.99 * before[0].norm()
    torch.testing.assert_close(bias.detach(), before[1], rtol=0, atol=0)
    torch.testing.assert_close(module.axes.detach(), before[2], rtol=0, atol=0)


@pytest.mark.parametrize("name", SOLVERS)
def test_steps_return_the_loss_before_them_and_lower_it(name):
    flat = FlatParameters(small_module())
    start = ((flat.values - 1) ** 4).sum().item()
    rate = 1e-4 if name == "sgd" else 0.05
    losses = fall(flat, SOLVERS[name].build(flat, rate, 0.0))
    assert losses[0] == pytest.approx(start)
    assert losses[-1] < start


def test_lbfgs_solves_a_quadratic_in_two_steps():
    flat = FlatParameters(small_module())
    curvature = torch.linspace(1, 10, len(flat.values), dtype=torch.float64)

    def closure():
        flat.gradient.copy_(2 * curvature * (flat.values - 3))
        return (curvature * (flat.values - 3) ** 2).sum()

    optimizer = SOLVERS["lbfgs"].build(flat, 1.0, 0.0)
    for _ in range(2):
        optimizer.step(closure, 1.0)
    torch.testing.assert_close(
        flat.values, torch.full_like(flat.values, 3), rtol=0, atol=1e-4
    )


def test_penalty_is_half_the_sum_of_squares_times_alpha():
    flat = FlatParameters(small_module())
    flat.add_penalty(0.3)
    leaf = flat.decayed.clone().requires_grad_()
    (0.15 * leaf.square().sum()).backward()
    assert flat.penalty(0.3).item() == pytest.approx(0.15 * leaf.square().sum().item())
    torch.testing.assert_close(flat.gradient[: len(leaf)], leaf.grad)
    assert (flat.gradient[len(leaf) :] == 0).all()


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("adam", lambda p: torch.optim.Adam(p, lr=0.1, eps=1e-7)),
        ("rmsprop", lambda p: torch.optim.RMSprop(p, lr=0.1)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
    ],
)
def test_callable_solver_equals_the_named_one(name, build):
    flat, other = FlatParameters(small_module()), FlatParameters(small_module())
    fall(flat, as_optimizer(build).build(flat, None, 0.2))
    fall(other, SOLVERS[name].build(other, 0.1, 0.2))
    torch.testing.assert_close(flat.values, other.values)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "solver", [*SOLVERS, lambda p: torch.optim.SGD(p, lr=0.05)], ids=[*SOLVERS, "own"]
)
def test_every_solver_trains_a_model(solver):
    options = {"network": MLP((8,)), "init": "random", "early_stopping": False}
    model = AutoencoderTransformer(2, solver=solver, max_iter=15, **options)
    curve = model.set_params(random_state=0).fit(X).loss_curve_
    assert curve[-1] < curve[0]


@pytest.mark.parametrize("solver", ["newton", None, 3])
def test_unknown_solvers_raise(solver):
    with pytest.raises(ValueError, match="'solver' parameter"):
        AutoencoderTransformer(1, solver=solver).fit(X)
