"""Sparse codes."""

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from skae._sklearn import Interval
from skae.regularizers._base import (
    WEIGHT,
    Regularizer,
    WeightedRegularizer,
    mean_square,
    normalized_weights,
)


def activity(codes: Tensor, weights: Tensor | None) -> Tensor:
    """Return the share of rows that use each component, shape (n_components,).

    A row counts for `z^2 / (z^2 + mean of z^2)`. A component that is on in a share p of
    the rows, and 0 in the others, has activity p / (1 + p).
    """
    squares = codes.square()
    used = squares / (squares + mean_square(codes, weights))
    return normalized_weights(weights, codes) @ used


def bernoulli_kl(p: float, q: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of Bernoulli(p) from Bernoulli(q)."""
    q = q.clamp(1e-6, 1 - 1e-6)
    return p * (math.log(p) - q.log()) + (1 - p) * (math.log1p(-p) - (1 - q).log())


class Sparse(WeightedRegularizer):
    r"""Few components of the code far from zero for each row.

    Adds to the loss of a row the sum of its absolute codes, each in the unit of its
    component's root mean square over the batch:

    .. math:: \lambda \sum_j |z_j| / \sqrt{\overline{z_j^2}}

    The unit matters: else a code would become small, and the decoder's weights large,
    and nothing sparse. With a target, the Kullback-Leibler divergence of the
    components' mean activity from it is added instead:

    .. math:: \lambda \sum_j \text{KL}(\rho \,\|\, \hat\rho_j), \quad \hat\rho_j =
        \overline{z_j^2 / (z_j^2 + \overline{z_j^2})}

    Parameters
    ----------
    weight : float, default=0.01
        Strength of the penalty. 0 is no regularizer.

    target : float or None, default=None
        The share of rows that is to use a component, such as 0.05. None takes the
        absolute codes.

    See Also
    --------
    TopK : A fixed number of components that are not zero.

    References
    ----------
    .. [1] H. Lee, C. Ekanadham, A. Ng. "Sparse Deep Belief Net Model for Visual Area
       V2". Advances in Neural Information Processing Systems 20, 2007.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, Sparse
    >>> X = load_digits().data[:200]
    >>> model = AutoencoderTransformer(16, regularizer=Sparse(0.01), max_iter=2)
    >>> model.fit_transform(X).shape
    (200, 16)
    """

    _parameter_constraints = {
        "weight": [WEIGHT],
        "target": [Interval(Real, 0, 1, closed="neither"), None],
    }

    def __init__(self, weight=0.01, *, target=None):
        self.weight = weight
        self.target = target

    def batch_penalty(self, codes, losses, weights, generator) -> Tensor:
        """Return the penalty of each sample."""
        if self.target is None:
            unit = mean_square(codes, weights).sqrt()
            return self.weight * (codes.abs() / unit).sum(dim=1)
        divergence = bernoulli_kl(self.target, activity(codes, weights)).sum()
        return self.weight * divergence.expand(len(codes))


def largest(codes: Tensor, k: int) -> Tensor:
    """Return the k entries of largest absolute value of each row, the others at 0."""
    kept = codes.abs().topk(k, dim=1).indices
    return torch.zeros_like(codes).scatter(1, kept, codes.gather(1, kept))


class TopK(Regularizer):
    r"""At most k components of the code that are not zero, chosen for each row.

    The k codes of largest absolute value are kept, in training and after it, and the
    others set to zero:

    .. math:: z_j = e_j(x) \ \text{if} \ |e_j(x)| \ \text{is among the k largest, else}
        \ 0

    So `n_components` can be large, even larger than the number of features, while a row
    is described by k numbers and their places. It starts as PCA's scores, cut off.

    Parameters
    ----------
    k : int, default=8
        Number of components to keep. From `n_components` on there is nothing to cut.

    See Also
    --------
    Sparse : A penalty, which leaves the number of components to each row.

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

    def __init__(self, k=8):
        self.k = k

    def build(self, n_features: int, n_components: int) -> Regularizer:
        """Return itself, or what asks nothing where there is nothing to cut."""
        return self if self.k < n_components else Regularizer()

    def code(self, outputs: Tensor) -> Tensor:
        """Return the largest outputs of each row."""
        return largest(outputs, min(self.k, outputs.shape[1]))
