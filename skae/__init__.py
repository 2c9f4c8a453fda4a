"""Autoencoders as scikit-learn transformers: PCA's non-linear successor."""

from skae._imputer import AutoencoderImputer
from skae._outlier import AutoencoderOutlierDetector
from skae._transformer import AutoencoderTransformer
from skae._version import __version__
from skae.displays._codes import CodeDisplay
from skae.displays._explained_variance import ExplainedVarianceDisplay
from skae.displays._loss_curve import LossCurveDisplay
from skae.displays._outlier import OutlierDisplay
from skae.displays._reconstruction import ReconstructionDisplay
from skae.displays._traversal import TraversalDisplay
from skae.losses import CrossEntropy
from skae.metrics import cross_val_reconstruction_error, reconstruction_r2
from skae.networks import MLP, Conv, Modules, Network, Recurrent
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
    "AutoencoderImputer",
    "AutoencoderOutlierDetector",
    "AutoencoderTransformer",
    "CodeDisplay",
    "Contractive",
    "Conv",
    "CrossEntropy",
    "ExplainedVarianceDisplay",
    "GaussianNoise",
    "LossCurveDisplay",
    "MaskingNoise",
    "Modules",
    "Network",
    "Noise",
    "Ordered",
    "OutlierDisplay",
    "ReconstructionDisplay",
    "Recurrent",
    "Regularizer",
    "Sparse",
    "SwapNoise",
    "TopK",
    "TraversalDisplay",
    "Variational",
    "__version__",
    "cross_val_reconstruction_error",
    "reconstruction_r2",
]

_functions = {"cross_val_reconstruction_error", "reconstruction_r2"}
_displays = {name for name in __all__ if name.endswith("Display")}
_classes = set(__all__) - _functions - _displays - {"SKOPS_TRUSTED", "__version__"}
for _name in _classes | _functions | _displays:
    # Saved models name the public module, which stays when the code is moved.
    globals()[_name].__module__ = "skae"

# The types that a file written by skops names, for `skops.io.load(trusted=...)`.
# `Modules` holds torch modules, which skops cannot save; `Network` has no parameters.
SKOPS_TRUSTED = tuple(
    f"skae.{name}" for name in sorted(_classes - {"Modules", "Network"})
)
