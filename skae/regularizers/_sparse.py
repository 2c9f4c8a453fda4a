"""Sparse codes: by a penalty, or by keeping the k largest components."""

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from skae._sklearn import Interval
from skae.regularizers._base import (
    NON_NEGATIVE,
    Regularizer,
    WeightedRegularizer,
    mean_square,
    normalized_weights,
)


def activity(codes: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of `z^2 / (z^2 + mean of z^2)` over rows, (n_components,).

    A differentiable count of the rows that use a component: one that is constant in a
    fraction p of the rows, and 0 in the others, has activity p / (1 + p).
    """
    # (n_samples, n_components)
    squares = codes.square()
    used = squares / (squares + mean_square(codes, weights))
    return normalized_weights(weights, codes) @ used


def bernoulli_kl(p: float, q: Tensor) -> Tensor:
    """Return KL(Bernoulli(p) || Bernoulli(q)), elementwise."""
    q = q.clamp(1e-6, 1 - 1e-6)  # finite for components that no row uses
    return p * (math.log(p) - q.log()) + (1 - p) * (math.log1p(-p) - (1 - q).log())


class Sparse(WeightedRegularizer):
    r"""Penalize absolute codes, so that few components of a row are far from zero.

    Added to the loss of a row is the sum of its absolute codes, each divided by the
    root mean square of its component over the batch:

    .. math:: \lambda \sum_j |z_j| / \sqrt{\overline{z_j^2}}

    Without the division, small codes and large weights in the decoder would lower the
    penalty and nothing would be sparse. With a `target`, the penalty is instead the
    Kullback-Leibler divergence between the target and each component's mean activity:

    .. math:: \lambda \sum_j \text{KL}(\rho \,\|\, \hat\rho_j), \quad \hat\rho_j =
        \overline{z_j^2 / (z_j^2 + \overline{z_j^2})}

    Parameters
    ----------
    weight : float, default=0.01
        Strength :math:`\lambda` of the penalty. 0 is no regularizer.

    target : float or None, default=None
        The fraction :math:`\rho` of rows that should use a component, such as 0.05.
        With None, absolute codes are penalized.

    See Also
    --------
    TopK : A fixed number of components that are not zero.

    References
    ----------
    .. [1] H. Lee, C. Ekanadham, A. Ng. "Sparse Deep Belief Net Model for Visual Area
       V2". Advances in Neural Information Processing Systems 20, 2007.
    .. [2] A. Ng. "Sparse Autoencoder". CS294A Lecture Notes, Stanford University, 2011.
       The divergence from a target.

    Examples
    --------
    The fraction of codes below a tenth of their component's root mean square, without
    and with the penalty:

    >>> import numpy as np
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import scale
    >>> from skae import AutoencoderTransformer, Sparse
    >>> X = scale(load_wine().data)
    >>> for regularizer in (None, Sparse(0.3)):
    ...     model = AutoencoderTransformer(
    ...         4, regularizer=regularizer, early_stopping=False, random_state=0
    ...     )
    ...     codes = np.abs(model.fit_transform(X))
    ...     unit = np.sqrt(np.square(codes).mean(axis=0))
    ...     print(f"{(codes < unit / 10).mean():.1f}")
    0.1
    0.7
    """

    _parameter_constraints = {
        "weight": [NON_NEGATIVE],
        "target": [Interval(Real, 0, 1, closed="neither"), None],
    }

    def __init__(self, weight: float = 0.01, *, target: float | None = None):
        self.weight = weight
        self.target = target

    def batch_penalty(self, codes, losses, weights, generator) -> Tensor:
        """Return the penalty of each row, shape (n_samples,)."""
        if self.target is None:
            # The unit has a gradient too: the scale of a component makes no difference.
            # (n_components,)
            unit = mean_square(codes, weights).sqrt()
            return self.weight * (codes.abs() / unit).sum(dim=1)
        divergence = bernoulli_kl(self.target, activity(codes, weights)).sum()
        return self.weight * divergence.expand(len(codes))


def largest(codes: Tensor, k: int) -> Tensor:
    """Return the k entries of largest absolute value of each row, the others at 0."""
    # By indices, not by a threshold: of equal entries exactly k are kept.
    # (n_samples, k)
    kept = codes.abs().topk(k, dim=1).indices
    return torch.zeros_like(codes).scatter(1, kept, codes.gather(1, kept))


class TopK(Regularizer):
    r"""Keep the k largest components of each row's code and set the others to zero.

    The k codes of largest absolute value are kept, in training and after it:

    .. math:: z_j = e_j(x) \ \text{if} \ |e_j(x)| \ \text{is among the k largest, else}
        \ 0

    So `n_components` can be large, even larger than the number of features, while a row
    is described by k values and their positions. Training starts at PCA's scores, of
    which each row keeps the k largest.

    Parameters
    ----------
    k : int, default=8
        Number of components to keep. From `n_components` on it has no effect.

    See Also
    --------
    Sparse : A penalty; the number of components that are not zero differs by row.

    References
    ----------
    .. [1] A. Makhzani, B. Frey. "k-Sparse Autoencoders". International Conference on
       Learning Representations, 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, TopK
    >>> X = load_digits().data[:200]
    >>> model = AutoencoderTransformer(16, regularizer=TopK(4), max_iter=2)
    >>> codes = model.fit_transform(X)
    >>> int((codes != 0).sum(axis=1).max())
    4
    """

    _parameter_constraints = {"k": [Interval(Integral, 1, None, closed="left")]}
    collapse_hint = "Raise the regularizer's k."

    def __init__(self, k: int = 8):
        self.k = k

    def build(self, n_features: int, n_components: int) -> Regularizer:
        """Return the regularizer, or a no-op if k is not below n_components."""
        return self if self.k < n_components else Regularizer()

    def code(self, outputs: Tensor) -> Tensor:
        """Return the k largest outputs of each row, the others at 0."""
        return largest(outputs, min(self.k, outputs.shape[1]))
