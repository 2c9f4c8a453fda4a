"""Sparse codes: the penalties, and the k largest components."""

import numpy as np
import pytest
import torch
from parts import codes_of, quick, rows
from torch.distributions import Bernoulli, kl_divergence

from skae import Sparse, TopK
from skae.regularizers._base import Regularizer
from skae.regularizers._sparse import activity, bernoulli_kl, largest


def penalty_of(codes, **params):
    return Sparse(0.5, **params).batch_penalty(codes, None, None, None)


def test_absolute_codes_are_divided_by_their_components_root_mean_square():
    codes = codes_of()
    expected = (codes.abs() / codes.square().mean(dim=0).sqrt()).sum(dim=1) / 2
    torch.testing.assert_close(penalty_of(codes), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("target", [None, 0.2])
def test_the_scale_of_a_component_makes_no_difference(target):
    codes = codes_of()
    scaled = codes * torch.tensor([1, 9, 99])
    penalties = [penalty_of(c, target=target) for c in (codes, scaled)]
    torch.testing.assert_close(*penalties, rtol=1e-3, atol=0)


def test_divergence_of_bernoullis_is_that_of_torch():
    q = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    expected = kl_divergence(Bernoulli(torch.tensor(0.2).double()), Bernoulli(q))
    torch.testing.assert_close(bernoulli_kl(0.2, q), expected, rtol=1e-6, atol=0)
    assert bernoulli_kl(0.3, torch.tensor([0.3])).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("q", [0.0, 1.0])
def test_divergence_from_a_constant_is_finite(q):
    assert bernoulli_kl(0.2, torch.tensor([q])).isfinite().all()


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5])
def test_activity_of_a_component_that_a_fraction_of_rows_use(p):
    codes = torch.zeros(1000, 1, dtype=torch.float64)
    codes[: int(1000 * p)] = 7.0
    assert activity(codes, None).item() == pytest.approx(p / (1 + p), rel=1e-3)


def test_penalty_towards_a_target_is_lowest_at_the_target():
    used = torch.zeros(100, 1, dtype=torch.float64)
    used[:25] = 7.0  # activity 0.2
    lowest = penalty_of(used, target=0.2).mean()
    assert lowest.item() == pytest.approx(0, abs=1e-6)
    assert penalty_of(used, target=0.1).mean() > 0.01
    assert penalty_of(used, target=0.4).mean() > 0.01


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("part", [Sparse(0.1), Sparse(0.3, target=0.05)], ids=repr)
def test_sparse_codes_have_more_entries_near_zero(part, digits):
    shares = []
    for regularizer in (None, part):
        model = quick(16, regularizer=regularizer, max_iter=60, early_stopping=False)
        codes = model.fit_transform(digits)
        shares.append((np.abs(codes) < 0.1 * codes.std(axis=0)).mean())
    assert shares[1] > 2 * shares[0]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_largest_keeps_exactly_the_k_largest_entries(k):
    codes = codes_of(50, 4)
    kept = largest(codes, k)
    assert ((kept != 0).sum(dim=1) == k).all()
    assert torch.equal(kept[kept != 0], codes[kept != 0])
    dropped = codes.abs().masked_fill(kept != 0, 0).amax(dim=1)
    assert (kept.abs().masked_fill(kept == 0, np.inf).amin(dim=1) >= dropped).all()


def test_of_equal_entries_k_are_kept():
    assert (largest(torch.ones(5, 4), 2) != 0).sum(dim=1).tolist() == [2] * 5


def test_top_k_codes_have_k_entries_after_training():
    codes = quick(4, regularizer=TopK(2)).fit_transform(rows())
    assert ((codes != 0).sum(axis=1) == 2).all()


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_top_k_is_a_no_op_unless_there_are_more_components(n_components):
    built = TopK(2).build(5, n_components)
    assert built == (TopK(2) if n_components > 2 else Regularizer())
