"""Regularizers: what a code is asked to be, beside sufficient for reconstruction."""

from numbers import Real

import torch
from torch import Tensor

from skae._sklearn import Interval
from skae._spec import Spec


class Regularizer(Spec):
    """Asks nothing of the code, and is what every regularizer overrides.

    A subclass changes the codes that training sees (`training_codes`), adds a penalty
    (`penalty`), tells by which codes a model is judged (`views`), or from which codes
    new rows are decoded (`prior`).

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
    def neutral(self) -> bool:
        """Whether training is as if there were no regularizer."""
        mine, none = type(self), Regularizer
        return (
            mine.training_codes is none.training_codes and mine.penalty is none.penalty
        )

    def training_codes(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return the codes that training decodes, shape (n_samples, n_components)."""
        return codes

    def penalty(self, codes: Tensor) -> Tensor | float:
        """Return what is added to the loss of each sample, shape (n_samples,) or 0."""
        return 0.0

    def views(self, codes: Tensor) -> list[Tensor]:
        """Return the codes by whose mean loss a model is validated."""
        return [codes]

    def prior(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor | None:
        """Return codes drawn from the prior that codes are asked to follow, or None."""
        return None


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


def prefix_mask(lengths: Tensor, n_components: int) -> Tensor:
    """Return 1 for the first `lengths[i]` components of row i, else 0."""
    positions = torch.arange(n_components, device=lengths.device)
    return positions < lengths.unsqueeze(1)  # (n_samples, n_components)


class Ordered(Regularizer):
    r"""Components in order of importance, as PCA's are: nested dropout.

    For each row of a batch either all components are kept, or the first b of them, with
    b drawn uniformly from 1 to n_components; the others are set to zero. So the first
    component alone must reconstruct as well as it can, the second must add to it what
    it can, and so on:

    .. math:: \min \; \mathbb{E}_b \, L(x, d(z_{1:b})), \quad z = e(x)

    A model is validated on its mean loss over prefixes of the code.

    Parameters
    ----------
    full : float, default=0.5
        Probability with which a row keeps all its components.

    See Also
    --------
    AutoencoderTransformer : With `n_components` between 0 and 1 it uses this part.

    References
    ----------
    .. [1] O. Rippel, M. Gelbart, R. Adams. "Learning Ordered Representations with
       Nested Dropout". International Conference on Machine Learning, 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, Ordered
    >>> X, _ = load_digits(return_X_y=True)
    >>> model = AutoencoderTransformer(8, regularizer=Ordered(), random_state=0)
    >>> ratio = model.fit(X).explained_variance_ratio_
    >>> bool(ratio[0] > ratio[-1])
    True
    """

    _parameter_constraints = {"full": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, full=0.5):
        self.full = full

    def training_codes(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return codes of which random tails are zero."""
        n, k = codes.shape
        like = {"generator": generator, "device": codes.device}
        lengths = torch.randint(1, k + 1, (n,), **like)
        # float32 whatever torch's default dtype: the same seed draws the same numbers.
        keep_all = torch.rand(n, dtype=torch.float32, **like) < self.full
        return codes * prefix_mask(torch.where(keep_all, k, lengths), k)

    def views(self, codes: Tensor) -> list[Tensor]:
        """Return the codes cut off at up to eight evenly spaced lengths."""
        k = codes.shape[1]
        lengths = torch.linspace(1, k, min(k, 8), dtype=torch.float64).round().unique()
        return [codes * (torch.arange(k, device=codes.device) < b) for b in lengths]


def as_regularizer(regularizer):
    """Return a regularizer; None asks nothing, a callable is a penalty on codes."""
    if regularizer is None:
        return Regularizer()
    if not hasattr(regularizer, "penalty"):
        return CodePenalty(regularizer)
    regularizer._validate_params()
    return regularizer
