"""Ordered components: nested dropout."""

import pytest
import torch
from parts import generator

from skae import Ordered
from skae.regularizers._ordered import prefix_mask


def test_prefix_mask_is_true_for_the_first_components():
    mask = prefix_mask(torch.tensor([1, 3]), 3)
    assert mask.tolist() == [[True, False, False], [True, True, True]]


def test_training_keeps_random_prefixes_and_their_values():
    codes = torch.rand(4000, 4, generator=generator()) + 1
    kept = Ordered(full=0.5).training_codes(codes, generator())
    mask = kept != 0
    assert torch.equal(kept, codes * mask)
    assert (mask[:, :-1] >= mask[:, 1:]).all()
    shares = torch.bincount(mask.sum(dim=1), minlength=5) / len(codes)
    expected = torch.tensor([0, 0.125, 0.125, 0.125, 0.625])
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.03)


def test_with_all_rows_full_codes_are_unchanged():
    codes = torch.rand(50, 4)
    assert torch.equal(Ordered(full=1.0).training_codes(codes, generator()), codes)


@pytest.mark.parametrize("k", [1, 2, 8, 30])
def test_validation_has_up_to_eight_prefixes_from_one_component_to_all(k):
    codes = Ordered().validation_codes(torch.ones(3, k))
    lengths = [int(prefix[0].sum()) for prefix in codes]
    assert lengths == sorted(set(lengths))
    assert (lengths[0], lengths[-1], len(lengths)) == (1, k, min(k, 8))
    for prefix, length in zip(codes, lengths, strict=True):
        assert (prefix[:, :length] == 1).all()
        assert (prefix[:, length:] == 0).all()


def test_only_validation_and_training_cut_codes_off():
    codes = torch.rand(50, 4)
    assert Ordered().code(codes) is codes
    assert Ordered().decoder_input(codes) is codes
