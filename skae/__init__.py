"""Autoencoders as scikit-learn transformers: PCA's non-linear successor."""

from skae._transformer import SKOPS_TRUSTED, AutoencoderTransformer
from skae._version import __version__
from skae.networks import MLP
from skae.regularizers import Ordered, Regularizer

__all__ = [
    "MLP",
    "SKOPS_TRUSTED",
    "AutoencoderTransformer",
    "Ordered",
    "Regularizer",
    "__version__",
]

for _name in ("MLP", "AutoencoderTransformer", "Ordered", "Regularizer"):
    # Saved models name the public place, which survives a move of the code.
    globals()[_name].__module__ = "skae"
