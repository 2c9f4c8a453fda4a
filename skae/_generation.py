"""Generation: new rows, decoded from codes that are drawn or lie between two others."""

from numbers import Integral

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from skae._sklearn import CONTAINERS, check_feature_names_in, get_output_config
from skae._torch import SeededDispatch, draw_seed
from skae.data._rows import StandardizedRows, cast_rows
from skae.data._validation import one_row

MOST_CODES = 1000  # kept of the training rows, to learn a density from
N_CLUSTERS = (1, 2, 4, 8, 16, 32)
NUMBERS_PER_PARAMETER = 8  # below that, clusters shrink to single rows


class GenerationMixin:
    """New rows from a fitted autoencoder, by way of its code."""

    def sample(self, n_samples=1, random_state=None):
        """Draw new rows that are like the training rows.

        Codes are drawn and decoded. They come from the regularizer's prior where it has
        one. Else they come from a Gaussian mixture that is fitted, by this method, to
        the codes of at most 1000 training rows; the number of Gaussians and the shape
        of their covariances are those of least BIC. That takes a part of a second, so
        draw all the rows you need at once.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.

        random_state : int, RandomState instance or None, default=None
            Determines the rows. The same int gives the same rows. No global random
            state is used.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_samples, ...)
            Rows in the unit and float type of the training rows, in random order. A
            data frame where `set_output` asks for one, or where `fit` was given one.

        See Also
        --------
        interpolate : Rows between two given ones.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skae import AutoencoderTransformer
        >>> X = load_iris(as_frame=True).data
        >>> model = AutoencoderTransformer(2, max_iter=20, random_state=0).fit(X)
        >>> model.sample(100, random_state=0).shape
        (100, 4)
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        seed, regularizer = draw_seed(random_state), self.module_.regularizer
        codes = prior_codes(regularizer, n_samples, self._codes.shape[1], seed)
        if codes is None:
            known = np.hstack([self._codes, self._marks])
            codes = mixture_codes(known, self._seed, n_samples, seed)
        else:
            codes = np.hstack([codes, resample(self._marks, n_samples, seed)])
        return self._like_training_rows(codes)

    def interpolate(self, start, end, n_steps=10):
        """Return rows on the way from one row to another, through the code.

        The two rows' codes are joined by a straight line, and evenly spaced points on
        it are decoded.

        Parameters
        ----------
        start, end : array-like, Series or DataFrame of shape (n_features,) or \
                (1, n_features), or array-like of the shape that `fit` saw
            The two rows.

        n_steps : int, default=10
            Number of rows to return, at least 2.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_steps, ...)
            The rows; the first and the last are the reconstructions of `start` and
            `end`. Unit, float type and container are as in `sample`.

        See Also
        --------
        sample : New rows that are like the training rows.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skae import AutoencoderTransformer
        >>> X = load_iris().data
        >>> model = AutoencoderTransformer(2, max_iter=20, random_state=0).fit(X)
        >>> model.interpolate(X[0], X[-1], n_steps=5).shape
        (5, 4)
        """
        check_is_fitted(self)
        check_scalar(n_steps, "n_steps", Integral, min_val=2)
        start, end = one_row(self, start, "start"), one_row(self, end, "end")
        codes = np.linspace(self._encode(start)[0], self._encode(end)[0], n_steps)
        return self._like_training_rows(codes)

    def _like_training_rows(self, codes):
        """Return decoded codes in the float type and container of the training rows."""
        rows = self._decode(cast_rows(codes, self._dtype))
        asked = get_output_config("transform", self)["dense"]
        container = self._container if asked == "default" else asked
        if container == "default" or rows.ndim > 2:
            return rows
        names = check_feature_names_in(self)
        return CONTAINERS[container].create_container(rows, rows, columns=names)


def some_codes(model, rows: StandardizedRows, layout):
    """Return codes and marks of at most 1000 rows, to learn a density from.

    There are no codes, but still their width, where they have a prior.
    """
    chosen = representatives(len(rows), rows.weight, min(MOST_CODES, len(rows)))
    some = rows.subset(chosen)
    with torch.no_grad():
        tensors = (torch.from_numpy(some[b]).to(model.offset) for b in some.blocks())
        codes = torch.cat([model.encode(tensor) for tensor in tensors])
    codes, marks = codes.cpu().numpy(), layout.lengths(some.X[some.index])
    if prior_codes(model.regularizer, 1, codes.shape[1], seed=0) is not None:
        codes = codes[:0]
    return codes, marks.astype(codes.dtype)


def resample(rows: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
    """Return rows drawn with replacement."""
    return rows[np.random.default_rng(seed).integers(len(rows), size=n_samples)]


def representatives(n_rows: int, weight, n_chosen: int) -> np.ndarray:
    """Return indices of evenly spaced rows, each about as often as its weight asks."""
    middles = (np.arange(n_chosen) + 0.5) / n_chosen
    if weight is None:
        return (middles * n_rows).astype(int)
    ends = np.cumsum(weight)
    return np.searchsorted(ends, middles * ends[-1], side="right")


def prior_codes(regularizer, n_samples: int, n_components: int, seed: int):
    """Return codes drawn from the regularizer's prior, or None where it has none."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("cpu"), torch.no_grad(), SeededDispatch(generator):
        codes = regularizer.prior(n_samples, n_components, generator)
    if codes is None:
        return None
    if codes.shape != (n_samples, n_components):
        raise ValueError(
            f"The prior of {regularizer} returned codes of shape "
            f"{tuple(codes.shape)}, but expected {(n_samples, n_components)}."
        )
    return codes.cpu().numpy()


def mixture_codes(codes, fit_seed: int, n_samples: int, seed: int) -> np.ndarray:
    """Return codes drawn from a mixture fitted to some codes, in random order."""
    codes = codes.astype(np.float64)
    scaler = StandardScaler().set_output(transform="default").fit(codes)
    with threadpool_limits(1):  # threads on so few rows cost more than they bring
        mixture = gaussian_mixture(scaler.transform(codes), fit_seed)
    draws = check_random_state(seed)
    drawn, _ = mixture.set_params(random_state=draws).sample(n_samples)
    # A mixture returns one Gaussian's samples after the other's.
    return scaler.inverse_transform(drawn)[draws.permutation(n_samples)]


def gaussian_mixture(codes: np.ndarray, seed: int) -> GaussianMixture:
    """Return the mixture of least BIC, of those that the codes are enough for."""
    if len(codes) == 1:
        codes = np.repeat(codes, 2, axis=0)  # the fewest that a mixture accepts
    n_distinct = len(np.unique(codes.round(6), axis=0))
    mixtures = [
        # So many iterations are never reached: a warning would tell of nothing.
        GaussianMixture(m, covariance_type=kind, max_iter=10_000, random_state=seed)
        for m, kind in candidate_mixtures(n_distinct, codes.shape[1])
    ]
    return min(mixtures, key=lambda mixture: mixture.fit(codes).bic(codes))


def candidate_mixtures(n_codes: int, n_components: int) -> list[tuple[int, str]]:
    """Return the mixtures, as (number, covariances), with enough codes to fit them."""
    most = n_codes * n_components / NUMBERS_PER_PARAMETER
    return [
        (m, kind)
        for m in N_CLUSTERS
        for kind, n_parameters in sizes(m, n_components).items()
        if n_parameters <= most
    ] or [(1, "diag")]


def sizes(m: int, k: int) -> dict[str, int]:
    """Return the number of parameters of m Gaussians in k dimensions, by covariance."""
    means, symmetric = m * k, k * (k + 1) // 2
    return {
        "diag": means + m * k,
        "tied": means + symmetric,
        "full": means + m * symmetric,
    }
