"""Autoencoders as scikit-learn transformers: PCA's non-linear successor."""

from skae._transformer import SKOPS_TRUSTED, AutoencoderTransformer
from skae._version import __version__
from skae.losses import CrossEntropy
from skae.networks._base import Network
from skae.networks._conv import Conv
from skae.networks._mlp import MLP
from skae.networks._modules import Modules
from skae.networks._recurrent import Recurrent
from skae.noise import GaussianNoise, MaskingNoise, Noise, SwapNoise
from skae.regularizers._base import Regularizer
from skae.regularizers._contractive import Contractive
from skae.regularizers._ordered import Ordered
from skae.regularizers._prior import MMD, Adversarial
from skae.regularizers._sparse import Sparse, TopK
from skae.regularizers._variational import Variational

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
