"""The contractive penalty: the squared norm of the encoder's Jacobian."""

import numpy as np
import pytest
import torch
from parts import codes_of, generator, quick
from torch import nn

from skae import Contractive
from skae.regularizers._contractive import MAX_EXACT_COMPONENTS, squared_jacobian


def exact_jacobian(encode, x, unit):
    jacobian = torch.autograd.functional.jacobian
    matrices = torch.stack([jacobian(encode, row[None])[0, :, 0] for row in x])
    return (matrices / unit[:, None]).square().sum(dim=(1, 2))


def encoder_and_rows(k):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encode = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, k)).double()
    x = codes_of(6, 5)
    unit = (encode(x).square().mean(dim=0) + 1e-4).sqrt().detach()
    return encode, x, unit


@pytest.mark.parametrize("k", [1, 3, MAX_EXACT_COMPONENTS])
def test_squared_jacobian_is_exact_for_few_components(k):
    encode, x, unit = encoder_and_rows(k)
    expected = exact_jacobian(encode, x, unit)
    torch.testing.assert_close(squared_jacobian(encode, x, None, None), expected)


def test_squared_jacobian_of_a_linear_layer_is_that_of_its_matrix():
    layer, x = nn.Linear(5, 2).double(), codes_of(7, 5)
    unit = (layer(x).square().mean(dim=0) + 1e-4).sqrt()
    expected = (layer.weight / unit[:, None]).square().sum().expand(7)
    torch.testing.assert_close(squared_jacobian(layer, x, None, None), expected)


def test_squared_jacobian_of_many_components_is_estimated_without_bias():
    encode, x, unit = encoder_and_rows(20)
    draws = generator()
    estimates = [squared_jacobian(encode, x, None, draws).detach() for _ in range(2000)]
    mean, expected = torch.stack(estimates).mean(dim=0), exact_jacobian(encode, x, unit)
    torch.testing.assert_close(mean, expected, rtol=0.06, atol=0)


def test_squared_jacobian_has_the_gradient_of_its_value():
    encode, x, _ = encoder_and_rows(3)
    matrix = encode[0].weight.detach().clone().requires_grad_()

    def value(matrix):
        def with_matrix(x):
            return torch.func.functional_call(encode, {"0.weight": matrix}, x)

        return squared_jacobian(with_matrix, x, None, None)

    assert torch.autograd.gradcheck(value, (matrix,))


def test_squared_jacobian_under_no_grad_has_no_gradient():
    encode, x, _ = encoder_and_rows(3)
    with torch.no_grad():
        assert not squared_jacobian(encode, x, None, None).requires_grad


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_contractive_codes_move_less_under_noise(digits):
    moves = []
    noisy = digits + np.random.default_rng(0).standard_normal(digits.shape)
    for regularizer in (None, Contractive(1.0)):
        model = quick(4, regularizer=regularizer, max_iter=60, early_stopping=False)
        codes = model.fit_transform(digits)
        move = np.abs(model.transform(noisy) - codes) / codes.std(axis=0)
        moves.append(move.mean())
    assert moves[1] < 0.9 * moves[0]
