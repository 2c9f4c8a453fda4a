"""Parts: equality, hashes, and the values that stand for them."""

import pytest
from sklearn.base import clone

from skae import GaussianNoise, MaskingNoise, Noise
from skae._base import as_part, copy_if_default
from skae.noise import CallableNoise

ABSENT = Noise()


def resolved(value):
    return as_part(value, "corrupt", ABSENT, CallableNoise)


def test_parts_are_equal_if_class_and_parameters_are():
    part = MaskingNoise(0.2)
    assert part == clone(part) == MaskingNoise(0.2)
    assert part != MaskingNoise(0.3)
    assert part != GaussianNoise(0.2)


def test_hash_of_a_part_does_not_change_with_its_parameters():
    part = MaskingNoise(0.2)
    before = hash(part)
    assert before == hash(part.set_params(fraction=0.5)) == hash(MaskingNoise(0.1))


@pytest.mark.parametrize("value", [None, GaussianNoise(0), Noise()], ids=repr)
def test_no_part_and_a_no_op_are_replaced_by_the_absent_one(value):
    assert resolved(value) is ABSENT


def test_a_plain_callable_is_wrapped():
    assert resolved(len) == CallableNoise(len)


def test_a_valid_part_is_returned_as_it_is():
    part = GaussianNoise(0.2)
    assert resolved(part) is part


def test_an_invalid_part_raises():
    with pytest.raises(ValueError, match="'scale' parameter of GaussianNoise"):
        resolved(GaussianNoise(-1))


def test_only_the_default_object_itself_is_copied():
    default, equal = GaussianNoise(0.2), GaussianNoise(0.2)
    assert copy_if_default(default, default) is not default
    assert copy_if_default(default, default) == default
    assert copy_if_default(equal, default) is equal
    assert copy_if_default(None, default) is None
