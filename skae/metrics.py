"""Scores of reconstructions in the unit of the data, and errors by cross-validation."""

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import check_cv
from sklearn.utils.parallel import Parallel, delayed

from skae._sklearn import safe_indexing
from skae.data._namespaces import like, to_numpy
from skae.data._validation import as_array


def reconstruction_r2(estimator, X, y=None):
    r"""Return the share of the variance of X that reconstructions explain.

    .. math::

        1 - \frac{\sum_{ij} (x_{ij} - \hat x_{ij})^2}{\sum_{ij} (x_{ij} - \bar x_j)^2}

    Unlike :meth:`AutoencoderTransformer.score`, it is in the same unit for every loss,
    and for every transformer with an inverse, such as PCA and pipelines. Pass it as
    `scoring` to compare them in a search.

    Parameters
    ----------
    estimator : estimator
        A fitted transformer with `inverse_transform`.

    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, ...)
        The rows. NaN, such as the padding of sequences, are left out.

    y : None
        Ignored.

    Returns
    -------
    score : float
        The share: 1 for a perfect reconstruction, and 0 for the mean of X.

    See Also
    --------
    AutoencoderTransformer.score : The share of the loss's deviance that is explained.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skae import AutoencoderTransformer, reconstruction_r2
    >>> X = load_digits().data[:400] / 16
    >>> model = AutoencoderTransformer(8, max_iter=20, random_state=0)
    >>> grid = {"loss": ["squared_error", "absolute_error"]}
    >>> search = GridSearchCV(model, grid, scoring=reconstruction_r2, cv=2).fit(X)
    >>> search.best_params_
    {'loss': 'squared_error'}
    """
    reconstruction = as_dense(estimator.inverse_transform(estimator.transform(X)))
    # (n_samples, n_features)
    rows, reconstruction = (as_floats(a) for a in (as_dense(X), reconstruction))
    # Steps that are padding in all rows have no mean.
    is_given = ~np.isnan(rows).all(axis=0)
    rows, reconstruction = rows[:, is_given], reconstruction[:, is_given]
    if not np.isnan(rows).any():
        return float(r2_score(rows, reconstruction, multioutput="variance_weighted"))
    residuals = np.nansum(np.square(rows - reconstruction))
    return float(1 - residuals / np.nansum(np.square(rows - np.nanmean(rows, axis=0))))


def cross_val_reconstruction_error(estimator, X, *, groups=None, cv=None, n_jobs=None):
    """Return the reconstruction error of each row by a model fitted without it.

    A model can overfit a few unusual training rows, so that their errors are small.
    Here, the rows are split into folds, and the errors of a fold are those of a model
    that is fitted to the other folds.

    Parameters
    ----------
    estimator : AutoencoderTransformer
        The estimator, which is cloned and not fitted itself.

    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
            or array-like of shape (n_samples, ...)
        The rows.

    groups : array-like of shape (n_samples,), default=None
        Groups of the rows, for a splitter that uses them.

    cv : int, splitter or iterable, default=None
        As in :func:`sklearn.model_selection.cross_val_predict`: each row must be in
        exactly one test set. None is 5 folds of consecutive rows.

    n_jobs : int, default=None
        Number of folds that are fitted in parallel.

    Returns
    -------
    errors : ndarray of shape (n_samples,)
        The errors; see :meth:`AutoencoderTransformer.reconstruction_error`.

    See Also
    --------
    AutoencoderTransformer.reconstruction_error : The errors by a fitted model.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skae import AutoencoderTransformer, cross_val_reconstruction_error
    >>> X = load_iris().data
    >>> X[7] += [2, -2, 2, -2]
    >>> model = AutoencoderTransformer(2, random_state=0)
    >>> int(cross_val_reconstruction_error(model, X).argmax())
    7
    """
    splits = list(check_cv(cv).split(X, groups=groups))
    tests = np.concatenate([test for _, test in splits])
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    if not np.array_equal(np.sort(tests), np.arange(n_samples)):
        raise ValueError(
            f"Got cv={cv!r}, of which the test sets do not contain every row exactly "
            "once. Pass a number of folds or a splitter such as KFold."
        )

    def errors_of_fold(train, test):
        model = clone(estimator).fit(safe_indexing(X, train))
        return model.reconstruction_error(safe_indexing(X, test))

    folds = Parallel(n_jobs=n_jobs)(delayed(errors_of_fold)(*s) for s in splits)
    errors = np.empty(n_samples)
    errors[tests] = np.concatenate([to_numpy(fold) for fold in folds])
    return like(errors, X)


def as_floats(X: np.ndarray) -> np.ndarray:
    """Return flat rows of floats, or raise ValueError if X does not have numbers."""
    try:
        return X.reshape(len(X), -1).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"X has columns other than numbers ({error}), of which there is no "
            "variance. Use the estimator's `score`, the share of deviance that is "
            "explained."
        ) from error


def as_dense(X) -> np.ndarray:
    """Return an array."""
    return X.toarray() if sparse.issparse(X) else np.asarray(as_array(X))
