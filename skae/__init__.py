"""Autoencoders as scikit-learn transformers: PCA's non-linear successor."""

from skae._convolutional import Conv
from skae._recurrent import Recurrent
from skae._transformer import SKOPS_TRUSTED, AutoencoderTransformer
from skae._version import __version__
from skae.losses import CrossEntropy
from skae.networks import MLP, Modules, Network
from skae.noise import GaussianNoise, MaskingNoise, Noise, SwapNoise
from skae.regularizers import (
    MMD,
    Adversarial,
    Contractive,
    Ordered,
    Regularizer,
    Sparse,
    TopK,
    Variational,
)

__all__ = [
    "MLP",
    "MMD",
    "SKOPS_TRUSTED",
    "Adversarial",
    "AutoencoderTransformer",
    "Contractive",
    "Conv",
    "CrossEntropy",
    "GaussianNoise",
    "MaskingNoise",
    "Modules",
    "Network",
    "Noise",
    "Ordered",
    "Recurrent",
    "Regularizer",
    "Sparse",
    "SwapNoise",
    "TopK",
    "Variational",
    "__version__",
]

for _name in set(__all__) - {"SKOPS_TRUSTED", "__version__"}:
    # Saved models name the public place, which survives a move of the code.
    globals()[_name].__module__ = "skae"
