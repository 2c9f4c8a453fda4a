"""Contractive codes: a penalty on the encoder's Jacobian."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from skae.regularizers._base import NON_NEGATIVE, WeightedRegularizer, mean_square

MAX_EXACT_COMPONENTS = 8  # up to here the whole Jacobian is computed
N_PROJECTIONS = 2  # random combinations of components for larger codes


def directions(codes: Tensor, generator: torch.Generator) -> Tensor:
    """Return u, (n_directions, n_samples, n_components): E[sum |u'J|^2] = |J|^2.

    These are unit vectors for few components, else random signs (Hutchinson 1990).
    """
    n, k = codes.shape
    if k <= MAX_EXACT_COMPONENTS:
        identity = torch.eye(k, dtype=codes.dtype, device=codes.device)
        return identity.unsqueeze(1).expand(k, n, k)
    shape = N_PROJECTIONS, n, k
    bits = torch.randint(0, 2, shape, generator=generator, device=codes.device)
    return (2 * bits - 1).to(codes.dtype) / math.sqrt(N_PROJECTIONS)


def squared_jacobian(
    encode: Callable, x: Tensor, weights: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Return the squared Frobenius norm of each row's Jacobian, shape (n_samples,).

    Codes are divided by the root mean square of their component. For more than
    `MAX_EXACT_COMPONENTS` components it is an unbiased estimate.
    """
    is_training = torch.is_grad_enabled()
    with torch.enable_grad():
        codes = encode(x)
        u = directions(codes, generator) / mean_square(codes, weights).sqrt()
        # All directions in one pass: for small batches the number of calls costs most.
        copies = x.detach().repeat(len(u), 1).requires_grad_()
        # (n_directions * n_samples, n_inputs)
        (slopes,) = torch.autograd.grad(
            encode(copies), copies, u.flatten(0, 1), create_graph=is_training
        )
        squares = slopes.square().sum(dim=1).unflatten(0, u.shape[:2]).sum(dim=0)
    return squares if is_training else squares.detach()


class Contractive(WeightedRegularizer):
    r"""Penalize the encoder's Jacobian, so that codes change little where rows do.

    Added to the loss of a row is the squared Frobenius norm of the encoder's Jacobian
    at this row, with codes divided by the root mean square of their component over the
    batch:

    .. math:: \lambda \sum_j \big\| \partial z_j / \partial \tilde x \big\|^2 \,/\,
        \overline{z_j^2}

    Without the division, small codes and large weights in the decoder would lower the
    penalty. The Jacobian is exact for up to 8 components. For more, its norm is
    estimated without bias from two random combinations of the components for each row.
    Each component or combination adds one pass of the batch through the encoder to a
    step.

    Parameters
    ----------
    weight : float, default=0.1
        Strength :math:`\lambda` of the penalty, in standardized units. 0 is no
        regularizer.

    See Also
    --------
    GaussianNoise : Makes codes robust by training on noisy rows.

    References
    ----------
    .. [1] S. Rifai, P. Vincent, X. Muller, X. Glorot, Y. Bengio. "Contractive
       Auto-Encoders: Explicit Invariance During Feature Extraction". International
       Conference on Machine Learning, 2011.
    .. [2] M. F. Hutchinson. "A Stochastic Estimator of the Trace of the Influence
       Matrix for Laplacian Smoothing Splines". Communications in Statistics -
       Simulation and Computation 19, 1990. The random combinations.

    Examples
    --------
    How far codes move under noise in the rows, without and with the penalty:

    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer, Contractive
    >>> X = load_digits().data[:200]
    >>> noisy = X + np.random.default_rng(0).standard_normal(X.shape)
    >>> for regularizer in (None, Contractive(1.0)):
    ...     model = AutoencoderTransformer(
    ...         4, regularizer=regularizer, max_iter=20, early_stopping=False,
    ...         random_state=0,
    ...     )
    ...     codes = model.fit_transform(X)
    ...     moves = np.abs(model.transform(noisy) - codes) / codes.std(axis=0)
    ...     print(f"{moves.mean():.2f}")
    0.07
    0.02
    """

    _parameter_constraints = {"weight": [NON_NEGATIVE]}

    def __init__(self, weight: float = 0.1):
        self.weight = weight

    def encoder_penalty(self, encode, x, weights, generator) -> Tensor:
        """Return the penalty of each row, shape (n_samples,)."""
        return self.weight * squared_jacobian(encode, x, weights, generator)
