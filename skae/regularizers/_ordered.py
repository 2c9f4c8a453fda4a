"""Ordered components: nested dropout."""

from numbers import Real

import torch
from torch import Tensor

from skae._sklearn import Interval
from skae.regularizers._base import Regularizer

N_VALIDATION_LENGTHS = 8  # prefixes on which validation averages the loss


def prefix_mask(lengths: Tensor, n_components: int) -> Tensor:
    """Return True for the first `lengths[i]` components of row i, else False."""
    positions = torch.arange(n_components, device=lengths.device)
    # (n_samples, n_components)
    return positions < lengths.unsqueeze(1)


class Ordered(Regularizer):
    r"""Order the components by importance, as PCA does: nested dropout.

    In training, each row of a batch keeps all its components with probability `full`;
    else it keeps the first b, with b drawn uniformly from 1 to n_components, and the
    others are set to zero. So the first component alone must reconstruct as well as it
    can, the second one must add as much as it can, and so on:

    .. math:: \min \; \mathbb{E}_b \, L(x, d(z_{1:b})), \quad z = e(x)

    The validation loss is the mean over up to eight evenly spaced lengths b. After
    training, codes have all components.

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
    The share of variance that each component explains:

    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import scale
    >>> from skae import AutoencoderTransformer, Ordered
    >>> X = scale(load_wine().data)
    >>> model = AutoencoderTransformer(3, regularizer=Ordered(), random_state=0).fit(X)
    >>> model.explained_variance_ratio_.round(1)
    array([0.5, 0.2, 0.1])
    """

    _parameter_constraints = {"full": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, full: float = 0.5):
        self.full = full

    def training_codes(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return the codes, with the last components of random rows at zero."""
        n, k = codes.shape
        like = {"generator": generator, "device": codes.device}
        lengths = torch.randint(1, k + 1, (n,), **like)
        # In float32 for any default dtype, so that a seed always gives the same rows.
        keep_all = torch.rand(n, dtype=torch.float32, **like) < self.full
        return codes * prefix_mask(torch.where(keep_all, k, lengths), k)

    def validation_codes(self, codes: Tensor) -> list[Tensor]:
        """Return the codes cut off at up to eight evenly spaced lengths."""
        k = codes.shape[1]
        n_lengths = min(k, N_VALIDATION_LENGTHS)
        lengths = torch.linspace(1, k, n_lengths, dtype=torch.float64).round().unique()
        return [codes * (torch.arange(k, device=codes.device) < b) for b in lengths]
