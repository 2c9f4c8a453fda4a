"""Contractive codes."""

import math

import torch
from torch import Tensor

from skae.regularizers._base import WEIGHT, WeightedRegularizer, mean_square

EXACT = 8  # components up to which the whole Jacobian is computed
N_PROJECTIONS = 2  # random combinations of components beyond


def directions(codes: Tensor, generator: torch.Generator) -> Tensor:
    """Return u of shape (n_directions, *codes.shape): E[sum of |u'J|^2] = |J|^2.

    These are the unit vectors for few components; else random signs.
    """
    n, k = codes.shape
    if k <= EXACT:
        identity = torch.eye(k, dtype=codes.dtype, device=codes.device)
        return identity.unsqueeze(1).expand(k, n, k)
    shape = N_PROJECTIONS, n, k
    bits = torch.randint(0, 2, shape, generator=generator, device=codes.device)
    return (2 * bits - 1).to(codes.dtype) / math.sqrt(N_PROJECTIONS)


def squared_jacobian(
    encode, x: Tensor, weights: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Return the sum of squared derivatives of each sample's codes, shape (n_samples,).

    Codes are in the unit of their components' root mean square. For many components it
    is an unbiased estimate.
    """
    trains = torch.is_grad_enabled()
    with torch.enable_grad():
        codes = encode(x)
        u = directions(codes, generator) / mean_square(codes, weights).sqrt()
        # One pass for all directions: small batches cost by the call, not by the row.
        copies = x.detach().repeat(len(u), 1).requires_grad_()
        (slopes,) = torch.autograd.grad(
            encode(copies), copies, u.flatten(0, 1), create_graph=trains
        )
        squares = slopes.square().sum(dim=1).unflatten(0, u.shape[:2]).sum(dim=0)
    return squares if trains else squares.detach()


class Contractive(WeightedRegularizer):
    r"""Codes that change little where rows do.

    Adds to the loss of a row the squared Frobenius norm of the encoder's Jacobian at
    it, with codes in the unit of their component's root mean square over the batch:

    .. math:: \lambda \sum_j \big\| \partial z_j / \partial \tilde x \big\|^2 \,/\,
        \overline{z_j^2}

    The unit matters: else small codes and large weights in the decoder would do. The
    Jacobian is exact for up to 8 components; for more, its norm is estimated without
    bias, from two random combinations of the components for each row. Each component
    or combination costs a step another pass of the batch through the encoder.

    Parameters
    ----------
    weight : float, default=0.1
        Strength of the penalty, in standardized units. 0 is no regularizer.

    See Also
    --------
    GaussianNoise : Makes codes robust by examples.

    References
    ----------
    .. [1] S. Rifai, P. Vincent, X. Muller, X. Glorot, Y. Bengio. "Contractive
       Auto-Encoders: Explicit Invariance During Feature Extraction". International
       Conference on Machine Learning, 2011.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, Contractive
    >>> X = load_digits().data[:200]
    >>> model = AutoencoderTransformer(4, regularizer=Contractive(0.1), max_iter=2)
    >>> model.fit_transform(X).shape
    (200, 4)
    """

    _parameter_constraints = {"weight": [WEIGHT]}

    def __init__(self, weight=0.1):
        self.weight = weight

    def encoder_penalty(self, encode, x, weights, generator) -> Tensor:
        """Return the penalty of each sample."""
        return self.weight * squared_jacobian(encode, x, weights, generator)
