"""scikit-learn's own checks, for one estimator per part."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skae import AutoencoderTransformer


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([AutoencoderTransformer(), AutoencoderTransformer(max_iter=2)])
def test_sklearn_check(estimator, check):
    check(estimator)
