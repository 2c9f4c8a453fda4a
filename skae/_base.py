"""Parts: choices with parameters of their own, as objects that hold no data."""

from sklearn.base import BaseEstimator, clone


class Part(BaseEstimator):
    """Parameters without data, in the shape that scikit-learn searches and clones.

    A part (a network, a noise, a regularizer) never learns anything: `fit` builds what
    learns from the part and leaves the part as it was. Parts with the same parameters
    are equal.
    """

    _parameter_constraints: dict = {}

    def __eq__(self, other):
        return type(self) is type(other) and self.get_params() == other.get_params()

    def __hash__(self):
        return hash(type(self))  # parameters can be set, so they cannot take part


def copy_if_default(part, default):
    """Return a copy of the default part where it was passed on, else the part.

    The default in a signature is one object that all estimators share, and
    `set_params(network__activation=...)` on one of them must not reach the others.
    """
    return clone(part) if part is default else part
