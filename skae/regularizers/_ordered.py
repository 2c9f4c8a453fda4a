"""Ordered components: nested dropout."""

from numbers import Real

import torch
from torch import Tensor

from skae._sklearn import Interval
from skae.regularizers._base import Regularizer


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

    def validation_codes(self, codes: Tensor) -> list[Tensor]:
        """Return the codes cut off at up to eight evenly spaced lengths."""
        k = codes.shape[1]
        lengths = torch.linspace(1, k, min(k, 8), dtype=torch.float64).round().unique()
        return [codes * (torch.arange(k, device=codes.device) < b) for b in lengths]
