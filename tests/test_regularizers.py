"""Regularizers change the codes, add a penalty, or ask nothing."""

import numpy as np
import pytest
import torch

from skae import AutoencoderTransformer, Ordered, Regularizer
from skae.regularizers import as_regularizer, prefix_mask


def generator():
    return torch.Generator().manual_seed(0)


def test_prefix_mask_is_one_for_the_first_components():
    mask = prefix_mask(torch.tensor([1, 3]), 3)
    assert mask.tolist() == [[True, False, False], [True, True, True]]


def test_ordered_keeps_random_prefixes_and_their_values():
    codes = torch.rand(4000, 4, generator=generator()) + 1
    kept = Ordered(full=0.5).training_codes(codes, generator())
    mask = kept != 0
    assert torch.equal(kept, codes * mask)
    assert (mask[:, :-1] >= mask[:, 1:]).all()
    shares = torch.bincount(mask.sum(dim=1), minlength=5) / len(codes)
    wanted = torch.tensor([0, 0.125, 0.125, 0.125, 0.625])
    torch.testing.assert_close(shares, wanted, rtol=0, atol=0.03)


def test_ordered_with_all_rows_full_leaves_codes_alone():
    codes = torch.rand(50, 4)
    assert torch.equal(Ordered(full=1.0).training_codes(codes, generator()), codes)


@pytest.mark.parametrize("k", [1, 2, 8, 30])
def test_ordered_is_judged_by_prefixes_from_one_to_all(k):
    codes = torch.ones(3, k)
    lengths = [int(view[0].sum()) for view in Ordered().views(codes)]
    assert lengths == sorted(set(lengths))
    assert (lengths[0], lengths[-1], len(lengths)) == (1, k, min(k, 8))
    for view, b in zip(Ordered().views(codes), lengths, strict=True):
        assert (view[:, :b] == 1).all()
        assert (view[:, b:] == 0).all()


def test_only_what_asks_nothing_is_neutral():
    assert as_regularizer(None).neutral
    assert Regularizer().neutral
    assert not Ordered().neutral
    assert not as_regularizer(lambda codes: codes.sum(dim=1)).neutral


def test_neutral_regularizer_equals_none():
    X = np.random.default_rng(0).random((60, 4))
    options = {"max_iter": 2, "random_state": 0}
    plain = AutoencoderTransformer(2, **options).fit_transform(X)
    model = AutoencoderTransformer(2, regularizer=Regularizer(), **options)
    np.testing.assert_array_equal(model.fit_transform(X), plain)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_callable_penalty_shrinks_the_code():
    X = np.random.default_rng(0).random((60, 4))
    options = {"max_iter": 60, "random_state": 0, "early_stopping": False}
    options["init"] = "random"
    free = AutoencoderTransformer(2, **options).fit_transform(X)
    penalised = AutoencoderTransformer(
        2, regularizer=lambda codes: 10 * codes.square().mean(dim=1), **options
    )
    assert np.square(penalised.fit_transform(X)).mean() < np.square(free).mean() / 2
