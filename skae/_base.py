"""Parts, such as networks and losses, and what estimators have in common."""

from collections.abc import Callable
from functools import wraps

from sklearn.base import BaseEstimator, clone


class Part(BaseEstimator):
    """Base class of networks, noises, regularizers and losses.

    A part holds parameters only, so that `clone`, `set_params` and a grid search over
    `network__activation` work as for any estimator. It is never fitted: `fit` builds
    what is trained from the part and leaves the part unchanged. Two parts of the same
    class with equal parameters are equal.
    """

    _parameter_constraints: dict = {}

    def __eq__(self, other):
        return type(self) is type(other) and self.get_params() == other.get_params()

    def __hash__(self):
        # Parameters can be set after construction, so they cannot enter the hash.
        return hash(type(self))


def as_part(given, hook: str, noop: Part, wrap: Callable) -> Part:
    """Return the part that the value of an estimator's parameter stands for.

    Parameters
    ----------
    given : Part, callable or None
        The value of the parameter.

    hook : str
        A method that every part of this kind has. An object without it is a plain
        callable.

    noop : Part
        Replaces None and parts of strength 0.

    wrap : callable
        Makes a part of a plain callable.

    Returns
    -------
    part : Part
        A part whose parameters are valid.
    """
    if given is None:
        return noop
    if not hasattr(given, hook):
        return wrap(given)
    given._validate_params()
    # Strength 0 must give the same bits as no part at all, random numbers included.
    return noop if given.is_noop else given


def copy_if_default(part, default):
    """Return a copy of the part if it is the default of a signature, else the part.

    A default is one object, shared by all estimators: without the copy,
    `set_params(network__activation=...)` on one of them would change the others.
    """
    return clone(part) if part is default else part


def restore_attributes(method):
    """Restore all attributes of an estimator if one of its methods raises."""

    @wraps(method)
    def restoring(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    return restoring
