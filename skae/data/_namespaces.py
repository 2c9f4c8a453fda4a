"""Arrays of all libraries that implement the array API standard.

All computation is in NumPy and PyTorch. Validation converts input to NumPy arrays. With
scikit-learn's option `array_api_dispatch`, results are moved to the namespace and the
device of the input.
"""

from functools import wraps

import numpy as np

from skae._sklearn import (
    array_namespace,
    check_same_namespace,
    config_context,
    convert_to_numpy,
    get_config,
    get_namespace_and_device,
    is_array_api_obj,
    move_to,
)
from skae.data._frames import is_frame
from skae.data._sources import is_source

FLOATS = ("torch.float64", "torch.float32", "torch.float16")  # that numpy has as well


def to_numpy(array) -> np.ndarray:
    """Return an array of any namespace and device as a NumPy array."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):
        return array_of_tensor(array)
    return convert_to_numpy(array, array_namespace(array))


def array_of_tensor(X) -> np.ndarray:
    """Return the values of a torch tensor, from any device and without gradients."""
    try:
        if X.is_floating_point() and str(X.dtype) not in FLOATS:
            X = X.float()  # such as bfloat16, which numpy does not have
        return X.numpy(force=True)
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"The tensor cannot be converted to an array: {error}"
        ) from error


def like(array, X):
    """Return a NumPy array in the namespace and on the device of X.

    Parameters
    ----------
    array : object
        Returned unchanged if it is not a NumPy array, such as a data frame.

    X : array-like, sparse matrix or DataFrame
        Input of a public method. The array is returned unchanged if X is not an array
        in memory, and without `array_api_dispatch`.
    """
    if not get_config()["array_api_dispatch"] or not isinstance(array, np.ndarray):
        return array
    if not is_array_api_obj(X) or is_source(X):
        return array
    namespace, _, device = get_namespace_and_device(X)
    return move_to(array, xp=namespace, device=device)


def returns_like_input(method):
    """Return the result of a method of X in the namespace and on the device of X.

    The method itself computes with NumPy arrays, without `array_api_dispatch`.
    """

    @wraps(method)
    def dispatching(self, X, *args, **kwargs):
        if not get_config()["array_api_dispatch"]:
            return method(self, X, *args, **kwargs)
        check_namespace(X, self, method.__name__)
        with config_context(array_api_dispatch=False):
            result = method(self, X, *args, **kwargs)
        # An array that was given for the result is returned as it is.
        is_given = any(result is argument for argument in (*args, *kwargs.values()))
        return result if is_given else like(result, X)

    return dispatching


def fits_like_input(*names):
    """Return a decorator of `fit` that moves fitted arrays to the namespace of X.

    `fit` itself computes with NumPy arrays, without `array_api_dispatch`.

    Parameters
    ----------
    *names : str
        Names of the attributes to move.
    """

    def decorator(method):
        @wraps(method)
        def dispatching(self, X, *args, **kwargs):
            if not get_config()["array_api_dispatch"]:
                return method(self, X, *args, **kwargs)
            with config_context(array_api_dispatch=False):
                method(self, X, *args, **kwargs)
            # All before the first is set: memory of a device may not suffice.
            moved = {name: like(vars(self)[name], X) for name in names}
            vars(self).update(moved)
            return self

        return dispatching

    return decorator


def check_namespace(X, estimator, method: str) -> None:
    """Raise ValueError if X is in another namespace or on another device than in `fit`.

    As in scikit-learn, but a model that was fitted to NumPy arrays, or loaded, accepts
    all of them. Data frames, which `set_output` requests, have no namespace.
    """
    mean = getattr(estimator, "mean_", None)
    if is_frame(X) or is_source(X):
        return
    if mean is not None and not isinstance(mean, np.ndarray):
        check_same_namespace(X, estimator, attribute="mean_", method=method)
