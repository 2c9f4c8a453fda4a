"""What a model asks of its code, beside sufficient for reconstruction: here nothing."""

from numbers import Real

import numpy as np
import torch
from torch import Tensor

from skae._base import Part
from skae._sklearn import Interval

LEAST_VARIANCE = 1e-4  # of what a component's mean square is compared with
# What the model calls in training, but for what only tells of it.
TRAINING = (
    "build",
    "code",
    "decoder_input",
    "training_codes",
    "penalty",
    "batch_penalty",
    "encoder_penalty",
)
WEIGHT = Interval(Real, 0, None, closed="left")


def validation_generator(codes: Tensor) -> torch.Generator:
    """Return a generator that draws the same numbers whenever a model is judged."""
    return torch.Generator(codes.device).manual_seed(0)


def normalized_weights(weights: Tensor | None, codes: Tensor) -> Tensor:
    """Return the rows' weights divided by their sum; None stands for equal weights."""
    if weights is None:
        return codes.new_full((len(codes),), 1 / len(codes))
    return weights / weights.sum()


def mean_square(codes: Tensor, weights: Tensor | None) -> Tensor:
    """Return each component's mean square, never quite 0, shape (n_components,)."""
    return normalized_weights(weights, codes) @ codes.square() + LEAST_VARIANCE


class BaseRegularizer:
    """Asks nothing of the code: what the model calls, before a regularizer overrides.

    The objective of a row is its loss, at the codes that training decodes, plus what
    `batch_penalty` adds. Both are functions of the encoder's output alone, so the
    gradient by that output is all that the encoder needs; only `encoder_penalty`,
    where it is overridden, sees encoder and input (see `of_codes_alone`).
    """

    collapse_hint = "Weaken the regularizer."
    compare_with_pca = (
        True  # whether to give way to the start that is not clearly beaten
    )

    @property
    def is_noop(self) -> bool:
        """Whether training is as if there were no regularizer."""
        mine, none = type(self), BaseRegularizer
        return all(getattr(mine, name) is getattr(none, name) for name in TRAINING)

    @property
    def of_codes_alone(self) -> bool:
        """Whether the objective is a function of the encoder's output alone."""
        return type(self).encoder_penalty is BaseRegularizer.encoder_penalty

    def build(self, n_features: int, n_components: int) -> "BaseRegularizer":
        """Return what a model calls: itself, or a module where there are weights."""
        return self

    def start(self, deviations: np.ndarray, n_features: int):
        """Return factors from principal scores to codes, and from codes to scores.

        `deviations` are the scores' standard deviations in standardized units. Codes
        are in the unit of the first.
        """
        unit = np.full_like(deviations, deviations[0] or 1.0)
        return 1 / unit, unit

    def set_progress(self, progress: float) -> None:
        """Hear what share of the planned epochs has passed; 1 if there is no plan."""

    def code(self, outputs: Tensor) -> Tensor:
        """Return the code, in training and after it, from the encoder's output."""
        return outputs

    def decoder_input(self, codes: Tensor) -> Tensor:
        """Return what the decoder is given for codes."""
        return codes

    def training_codes(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return the codes that training decodes, shape (n_samples, n_components).

        Or several for each row: all rows' first ones, then all rows' second ones, ...
        """
        return codes

    def penalty(self, codes: Tensor) -> Tensor | float:
        """Return what is added to the loss of each sample, shape (n_samples,) or 0."""
        return 0.0

    def batch_penalty(
        self,
        codes: Tensor,
        losses: Tensor,
        weights: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor | float:
        """Return the penalty where it depends on the other rows, or is random.

        `losses` of the rows are constants: no gradient flows through them.
        """
        return self.penalty(codes)

    def encoder_penalty(
        self, encode, x: Tensor, weights: Tensor | None, generator: torch.Generator
    ) -> Tensor | float:
        """Return what is added for how `encode` maps x, shape (n_samples,) or 0."""
        return 0.0

    def validation_codes(self, codes: Tensor) -> list[Tensor]:
        """Return the codes by whose mean loss a model is validated."""
        return [codes]

    def validation_loss(
        self,
        codes: Tensor,
        losses: Tensor,
        weights: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        """Return what each sample's loss counts for in validation, the views' mean."""
        return losses + self.batch_penalty(codes, losses, weights, generator)

    def prior(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor | None:
        """Return codes drawn from what codes are to follow; None if nothing is asked.

        They are float32, on the generator's device.
        """
        return None

    def active(self, variances: np.ndarray) -> np.ndarray:
        """Tell of each component whether it varies, by the variance of its codes.

        Its standard deviation is above 1 % of the largest.
        """
        return variances > 1e-4 * variances.max()


class Regularizer(BaseRegularizer, Part):
    """Asks nothing of the code, and is what every regularizer overrides.

    A subclass changes the code (`code`) or the codes that training sees
    (`training_codes`), adds a penalty (`penalty`), tells by which codes a model is
    judged (`validation_codes`), or from which codes new rows are decoded (`prior`).

    See Also
    --------
    Ordered : Components in order of importance.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skae import AutoencoderTransformer, Regularizer
    >>> class Small(Regularizer):
    ...     def __init__(self, weight=1e-3):
    ...         self.weight = weight
    ...
    ...     def penalty(self, codes):
    ...         return self.weight * codes.abs().mean(dim=1)
    >>> model = AutoencoderTransformer(2, regularizer=Small(), max_iter=2)
    >>> model.fit_transform(load_iris().data).shape
    (150, 2)
    """

    @property
    def is_noop(self) -> bool:
        """Whether a strength of 0 makes it as if there were no regularizer."""
        return False


class WeightedRegularizer(Regularizer):
    """A regularizer whose strength is its parameter `weight`."""

    collapse_hint = "Lower the regularizer's weight."

    @property
    def is_noop(self) -> bool:
        """Whether the weight is 0."""
        return self.weight == 0


class CodePenalty(Regularizer):
    """A penalty on the code given as a function.

    Parameters
    ----------
    function : callable
        `function(codes) -> penalty` of each sample: a tensor of shape (n_samples,) from
        one of shape (n_samples, n_components).
    """

    def __init__(self, function):
        self.function = function

    def penalty(self, codes: Tensor) -> Tensor:
        """Return the function's value."""
        return self.function(codes)


def as_regularizer(regularizer):
    """Return a regularizer; None asks nothing, a callable is a penalty on codes."""
    if regularizer is None:
        return Regularizer()
    if not hasattr(regularizer, "penalty"):
        return CodePenalty(regularizer)
    regularizer._validate_params()
    return Regularizer() if regularizer.is_noop else regularizer


class NormalPrior(BaseRegularizer):
    """Codes are to follow the standard normal distribution."""

    compare_with_pca = (
        False  # no single row shows how all follow it, as a test on rows asks
    )

    def start(self, deviations: np.ndarray, n_features: int):
        """Return factors that make principal scores of variance 1, and back."""
        unit = np.where(deviations > 0, deviations, 1.0)
        return 1 / unit, unit

    def prior(self, n_samples, n_components, generator) -> Tensor:
        """Return draws from the standard normal distribution."""
        like = torch.empty(0, dtype=torch.float32, device=generator.device)
        return standard_normal((n_samples, n_components), like, generator)

    def active(self, variances: np.ndarray) -> np.ndarray:
        """Tell of each component whether its variance is above 0.01.

        Burda, Grosse and Salakhutdinov (2016) call a unit active by this rule.
        """
        return variances > 0.01


def standard_normal(shape: tuple, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return draws from N(0, 1), on the device and in the type of a tensor."""
    # float32 whatever torch's default dtype: the same seed draws the same numbers.
    options = {"generator": generator, "dtype": torch.float32, "device": like.device}
    return torch.randn(shape, **options).to(like.dtype)
