"""Regularizers: penalties and constraints on the codes."""

from skae.regularizers._base import Regularizer
from skae.regularizers._contractive import Contractive
from skae.regularizers._ordered import Ordered
from skae.regularizers._prior import MMD, Adversarial
from skae.regularizers._sparse import Sparse, TopK
from skae.regularizers._variational import Variational

__all__ = [
    "MMD",
    "Adversarial",
    "Contractive",
    "Ordered",
    "Regularizer",
    "Sparse",
    "TopK",
    "Variational",
]
