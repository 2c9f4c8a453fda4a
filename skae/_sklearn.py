"""Private names of scikit-learn that this library uses.

Releases of scikit-learn may change them without notice, so they are imported here only.
"""

from sklearn._config import config_context, get_config
from sklearn.base import _fit_context as fit_context
from sklearn.externals.array_api_compat import array_namespace, is_array_api_obj
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._array_api import _convert_to_numpy as convert_to_numpy
from sklearn.utils._array_api import (
    check_same_namespace,
    get_namespace_and_device,
    move_to,
)
from sklearn.utils._dataframe import is_pandas_df, is_pandas_df_or_series, is_polars_df
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    RealNotInt,
    validate_parameter_constraints,
)
from sklearn.utils._param_validation import StrOptions as UnsortedStrOptions
from sklearn.utils._set_output import ADAPTERS_MANAGER
from sklearn.utils._set_output import _get_output_config as get_output_config
from sklearn.utils.stats import _weighted_percentile as weighted_percentile
from sklearn.utils.validation import (
    _check_feature_names_in as check_feature_names_in,
)
from sklearn.utils.validation import _check_sample_weight as check_sample_weight


class StrOptions(UnsortedStrOptions):
    """Constraint to a set of strings, which errors list in alphabetical order."""

    def __str__(self):
        return f"a str among {{{', '.join(map(repr, sorted(self.options)))}}}"


# Adapters that create DataFrames, by the name of their library: "pandas", "polars".
CONTAINERS = ADAPTERS_MANAGER.adapters

# Attributes that an estimator with callbacks has, the first one only during a fit.
FIT_CONTEXT = "_callback_fit_ctx"
CALLBACK_ATTRIBUTES = (
    FIT_CONTEXT,
    "_parent_callback_ctx",
    "_skl_callbacks",
    "_skl_callbacks_to_teardown",
)

__all__ = [
    "CALLBACK_ATTRIBUTES",
    "CONTAINERS",
    "FIT_CONTEXT",
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "RealNotInt",
    "StrOptions",
    "array_namespace",
    "check_feature_names_in",
    "check_same_namespace",
    "check_sample_weight",
    "config_context",
    "convert_to_numpy",
    "fit_context",
    "get_config",
    "get_namespace_and_device",
    "get_output_config",
    "is_array_api_obj",
    "is_pandas_df",
    "is_pandas_df_or_series",
    "is_polars_df",
    "move_to",
    "safe_indexing",
    "validate_parameter_constraints",
    "weighted_percentile",
]
