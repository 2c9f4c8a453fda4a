"""Small fits of every part give the stored values.

Where a change of the values is intended, `python tests/test_configurations.py` stores
the new ones.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from configurations import FITS

REFERENCE_VALUES = Path(__file__).with_name("reference_values.json")


def values(name):
    """Return some numbers that depend on everything that a fit computes."""
    model, X = FITS[name]()
    curve = model.loss_curve_ + model.refit_loss_curve_
    return {
        "score": model.score(X),
        "mean_absolute_code": float(np.abs(model.transform(X)).mean()),
        "n_epochs": len(curve),
        "n_validation_losses": len(model.validation_loss_curve_),
        "first_and_last_loss": curve[:1] + curve[-1:],
    }


@pytest.fixture(scope="module")
def reference():
    return json.loads(REFERENCE_VALUES.read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FITS)
def test_a_fit_gives_the_stored_values(name, reference):
    # The relative differences between processors are up to 5e-7.
    expected = {
        key: pytest.approx(value, rel=1e-3) for key, value in reference[name].items()
    }
    assert values(name) == expected


def test_there_are_no_stored_values_of_other_fits(reference):
    assert set(reference) == set(FITS)


if __name__ == "__main__":
    torch.set_num_threads(1)
    text = json.dumps({name: values(name) for name in FITS}, indent=1)
    REFERENCE_VALUES.write_text(text + "\n", encoding="utf-8")
