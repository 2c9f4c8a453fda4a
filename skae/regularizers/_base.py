"""The hooks of a regularizer: where training and validation call it, each a no-op."""

from collections.abc import Callable
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from skae._base import Part, as_part
from skae._sklearn import Interval

MEAN_SQUARE_OFFSET = 1e-4  # so that nothing is divided by 0
NON_NEGATIVE = Interval(Real, 0, None, closed="left")


def validation_generator(codes: Tensor) -> torch.Generator:
    """Return a generator of fixed seed, so that validation losses are comparable."""
    return torch.Generator(codes.device).manual_seed(0)


def normalized_weights(weights: Tensor | None, codes: Tensor) -> Tensor:
    """Return sample weights that sum to 1, shape (n_samples,).

    None stands for equal weights.
    """
    if weights is None:
        return codes.new_full((len(codes),), 1 / len(codes))
    return weights / weights.sum()


def mean_square(codes: Tensor, weights: Tensor | None) -> Tensor:
    """Return each component's mean square plus a small number, (n_components,)."""
    return normalized_weights(weights, codes) @ codes.square() + MEAN_SQUARE_OFFSET


def standard_normal(shape: tuple, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return draws from N(0, 1), with the device and dtype of a tensor."""
    # In float32 for any default dtype, so that a seed always gives the same numbers.
    options = {"generator": generator, "dtype": torch.float32, "device": like.device}
    return torch.randn(shape, **options).to(like.dtype)


class BaseRegularizer:
    """The hooks of a regularizer, each a no-op.

    A regularizer, and a module that it builds, overrides some of them. With an encoder
    and a decoder, training minimizes the mean over the rows x of a batch of ::

        codes = code(encoder(x))
        loss(decoder(decoder_input(training_codes(codes))), x)
            + batch_penalty(codes, losses) + encoder_penalty(encode, x)

    Validation computes the loss on `validation_codes(codes)` instead and combines it
    with the penalties in `validation_loss`.

    Attributes
    ----------
    collapse_hint : str
        What to change if components of the code collapse, for the warning of `fit`.

    compare_with_pca : bool
        Whether `fit` falls back to PCA unless the network is significantly better on
        validation rows.

    is_noop : bool
        Whether training is the same as without a regularizer.
    """

    collapse_hint = "Weaken the regularizer."
    compare_with_pca = True
    is_noop = False

    def build(self, n_features: int, n_components: int) -> "BaseRegularizer":
        """Return the object whose hooks are called in training and after it.

        Parameters
        ----------
        n_features : int
            Number of entries of a row.

        n_components : int
            Number of components of a code.

        Returns
        -------
        built : BaseRegularizer
            The regularizer itself, or a `torch.nn.Module` with the same hooks if it has
            parameters that are learned.
        """
        return self

    def initialize(self, deviations: np.ndarray, n_features: int) -> None:
        """Set parameters that are learned to their values at PCA's solution.

        Parameters
        ----------
        deviations : ndarray of shape (n_components,)
            Standard deviations of the principal scores of standardized rows.

        n_features : int
            Number of inputs of the encoder; standardized, their variances sum to it.
        """

    def pca_factors(
        self, deviations: np.ndarray, n_features: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the factors between principal scores and the codes at the start.

        By default codes are in the unit of the first score's standard deviation.

        Parameters
        ----------
        deviations : ndarray of shape (n_components,)
            Standard deviations of the principal scores of standardized rows.

        n_features : int
            Number of inputs of the encoder; standardized, their variances sum to it.

        Returns
        -------
        to_codes, to_scores : ndarray of shape (n_components,)
            Training starts at `codes = to_codes * scores`, decoded as the scores
            `to_scores * codes`.
        """
        # One unit for all components keeps the ratios of PCA's distances.
        unit = np.full_like(deviations, deviations[0] or 1.0)
        return 1 / unit, unit

    def set_progress(self, progress: float) -> None:
        """Receive the fraction of the planned epochs that is over, before an epoch.

        Parameters
        ----------
        progress : float
            From 0 to 1; always 1 if training has no planned end.
        """

    def code(self, outputs: Tensor) -> Tensor:
        """Return the code, in training and after it.

        Parameters
        ----------
        outputs : Tensor of shape (n_samples, n_components)
            Outputs of the encoder.

        Returns
        -------
        codes : Tensor of shape (n_samples, n_components)
            The codes, as `transform` returns them.
        """
        return outputs

    def decoder_input(self, codes: Tensor) -> Tensor:
        """Return the decoder's input, in training and after it.

        Parameters
        ----------
        codes : Tensor of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        inputs : Tensor of shape (n_samples, n_components)
            What the decoder is applied to.
        """
        return codes

    def training_codes(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return the codes that are decoded in training.

        Parameters
        ----------
        codes : Tensor of shape (n_samples, n_components)
            Codes of a batch.

        generator : torch.Generator
            Source of all random numbers.

        Returns
        -------
        codes : Tensor of shape (n_draws * n_samples, n_components)
            One code for each row, or the first codes of all rows, then their second
            ones and so on. The loss of a row is the mean over its codes.
        """
        return codes

    def penalty(self, codes: Tensor) -> Tensor | float:
        """Return what is added to the loss of each row.

        Parameters
        ----------
        codes : Tensor of shape (n_samples, n_components)
            Codes of a batch.

        Returns
        -------
        penalty : Tensor of shape (n_samples,) or float
            The penalty of each row.
        """
        return 0.0

    def batch_penalty(
        self,
        codes: Tensor,
        losses: Tensor,
        weights: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor | float:
        """Return `penalty`, or a penalty that is random or depends on other rows.

        Parameters
        ----------
        codes : Tensor of shape (n_samples, n_components)
            Codes of a batch.

        losses : Tensor of shape (n_samples,)
            Losses of the rows, as constants: no gradient flows through them.

        weights : Tensor of shape (n_samples,) or None
            Sample weights; None stands for equal weights.

        generator : torch.Generator
            Source of all random numbers.

        Returns
        -------
        penalty : Tensor of shape (n_samples,) or float
            The penalty of each row.
        """
        return self.penalty(codes)

    def encoder_penalty(
        self,
        encode: Callable,
        x: Tensor,
        weights: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor | float:
        """Return a penalty on how the encoder maps rows, such as on its derivative.

        Parameters
        ----------
        encode : callable
            `encode(x)` returns codes of shape (n_samples, n_components).

        x : Tensor of shape (n_samples, n_inputs)
            Input of the encoder.

        weights : Tensor of shape (n_samples,) or None
            Sample weights; None stands for equal weights.

        generator : torch.Generator
            Source of all random numbers.

        Returns
        -------
        penalty : Tensor of shape (n_samples,) or float
            The penalty of each row.
        """
        return 0.0

    def validation_codes(self, codes: Tensor) -> list[Tensor]:
        """Return the codes over which the validation loss is averaged.

        Parameters
        ----------
        codes : Tensor of shape (n_samples, n_components)
            Codes of validation rows.

        Returns
        -------
        codes : list of Tensor of shape (n_samples, n_components)
            One or more codes for each row. Random ones must be the same at each call;
            see `validation_generator`.
        """
        return [codes]

    def validation_loss(
        self,
        codes: Tensor,
        losses: Tensor,
        weights: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        """Return the contribution of each row to the validation loss.

        Parameters
        ----------
        codes : Tensor of shape (n_samples, n_components)
            Codes of validation rows.

        losses : Tensor of shape (n_samples,)
            Their losses, averaged over `validation_codes`.

        weights : Tensor of shape (n_samples,) or None
            Sample weights; None stands for equal weights.

        generator : torch.Generator
            Source of all random numbers, of fixed seed.

        Returns
        -------
        losses : Tensor of shape (n_samples,)
            Losses with the penalty; that of `encoder_penalty` is added to it.
        """
        return losses + self.batch_penalty(codes, losses, weights, generator)

    def prior(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor | None:
        """Return draws from the distribution that codes should follow.

        `sample` decodes them. Without a prior it fits a density to the training codes.

        Parameters
        ----------
        n_samples : int
            Number of draws.

        n_components : int
            Number of components of a code.

        generator : torch.Generator
            Source of all random numbers; the draws are on its device.

        Returns
        -------
        codes : Tensor of shape (n_samples, n_components) or None
            The draws in float32; None if there is no prior.
        """
        return None

    def active_components(self, variances: np.ndarray) -> np.ndarray:
        """Return which components have not collapsed.

        By default these are the ones whose standard deviation is above 1 % of the
        largest.

        Parameters
        ----------
        variances : ndarray of shape (n_components,)
            Variances of the components over training rows.

        Returns
        -------
        active : ndarray of bool, shape (n_components,)
            Whether each component varies.
        """
        return variances > 1e-4 * variances.max()


class Regularizer(BaseRegularizer, Part):
    """Base class of regularizers: every hook is a no-op.

    For a regularizer of your own, override one or more of the hooks: `penalty` adds a
    penalty on the codes, `code` changes the codes themselves, `training_codes` only
    those that training decodes, `validation_codes` those that validation decodes, and
    `prior` gives codes of new rows to `sample`. For a penalty without parameters, pass
    a function of the codes to the estimator instead.

    See Also
    --------
    Ordered : Components in order of importance.
    Sparse : A penalty on absolute codes.

    Examples
    --------
    A penalty on squared codes, and the first component's standard deviation without and
    with it:

    >>> from sklearn.datasets import load_iris
    >>> from skae import AutoencoderTransformer, Regularizer
    >>> class SmallCodes(Regularizer):
    ...     def __init__(self, weight=0.3):
    ...         self.weight = weight
    ...
    ...     def penalty(self, codes):
    ...         return self.weight * codes.square().mean(dim=1)
    >>> X = load_iris().data
    >>> for regularizer in (None, SmallCodes()):
    ...     model = AutoencoderTransformer(
    ...         2, regularizer=regularizer, max_iter=50, early_stopping=False,
    ...         random_state=0,
    ...     )
    ...     print(f"{model.fit_transform(X)[:, 0].std():.1f}")
    1.0
    0.2
    """

    @property
    def is_noop(self) -> bool:
        """Whether training is the same as without a regularizer."""
        return type(self) is Regularizer


class WeightedRegularizer(Regularizer):
    """Base class of regularizers whose strength is their parameter `weight`."""

    collapse_hint = "Lower the regularizer's weight."

    @property
    def is_noop(self) -> bool:
        """Whether the weight is 0."""
        return self.weight == 0


class CodePenalty(Regularizer):
    """A penalty given as a function.

    Parameters
    ----------
    function : callable
        `function(codes)` returns the penalty of each row: a tensor of shape
        (n_samples,) from one of shape (n_samples, n_components).
    """

    def __init__(self, function):
        self.function = function

    def penalty(self, codes: Tensor) -> Tensor:
        """Return the function's value, or raise ValueError if its shape is wrong."""
        penalty = self.function(codes)
        if getattr(penalty, "shape", None) != codes.shape[:1]:
            shape = tuple(penalty.shape) if isinstance(penalty, Tensor) else None
            came = type(penalty).__name__ if shape is None else f"shape {shape}"
            raise ValueError(
                f"The regularizer returned a penalty of {came} for codes of shape "
                f"{tuple(codes.shape)}, but expected a tensor of shape "
                f"{tuple(codes.shape[:1])}: one penalty for each row, such as "
                "codes.square().sum(dim=1)."
            )
        return penalty


class NormalPrior(BaseRegularizer):
    """Base class of regularizers that bring the codes' distribution near to N(0, I)."""

    # A test on the losses of single rows cannot assess a penalty on a distribution.
    compare_with_pca = False

    def pca_factors(self, deviations: np.ndarray, n_features: int):
        """Return the factors between principal scores and codes of variance 1."""
        # Scores of deviation 0 are all 0, in any unit.
        unit = np.where(deviations > 0, deviations, 1.0)
        return 1 / unit, unit

    def prior(self, n_samples, n_components, generator) -> Tensor:
        """Return draws from the standard normal distribution."""
        like = torch.empty(0, dtype=torch.float32, device=generator.device)
        return standard_normal((n_samples, n_components), like, generator)

    def active_components(self, variances: np.ndarray) -> np.ndarray:
        """Return which components have a variance above 0.01."""
        # The rule of Burda, Grosse and Salakhutdinov 2016
        return variances > 0.01


def as_regularizer(regularizer) -> Regularizer:
    """Return the regularizer that the value of an estimator's parameter stands for."""
    return as_part(regularizer, "penalty", Regularizer(), CodePenalty)
