"""`AutoencoderOutlierDetector`: autoencoders of subsamples, and a threshold."""

import math
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from skae._base import restore_attributes
from skae._sklearn import (
    CONTAINERS,
    Interval,
    RealNotInt,
    StrOptions,
    check_feature_names_in,
    fit_context,
    get_output_config,
    safe_indexing,
    weighted_percentile,
)
from skae._torch import draw_seed
from skae._transformer import AutoencoderTransformer, check_single_process
from skae.data._columns import fit_columns
from skae.data._frames import (
    container_of,
    index_of,
    is_frame,
    read_columns,
    text_as_categories,
)
from skae.data._layout import IncompleteLayout, contains_nan
from skae.data._missing import weighted_nanmean
from skae.data._namespaces import fits_like_input, returns_like_input
from skae.data._rows import check_magnitude
from skae.data._validation import (
    as_array,
    as_table,
    check_in_memory,
    check_numbers,
    declared,
    feature_names,
    is_table,
    named,
    raw_weights,
    validate_weights,
)
from skae.losses import StandardizedLoss, as_loss

# Rows of the smallest and, by default, the largest subsample.
MIN_SAMPLES, MAX_SAMPLES = 64, 1024
MAX_ITER = 40
CODE_WEIGHT = 0.5  # of the code's part of the score; that of the reconstruction is 1
# The smallest unit of an error or of a component, as a share of the mean error or of
# the largest component. Smaller ones are rounding.
MIN_SHARE = 1e-6
LARGEST, TINY = np.finfo(np.float64).max, np.finfo(np.float64).tiny


class AutoencoderOutlierDetector(CallbackSupportMixin, OutlierMixin, BaseEstimator):
    r"""Outlier detection by autoencoders that are fitted to random subsamples.

    As in :class:`sklearn.ensemble.IsolationForest`, each of a few estimators is fitted
    to a small random part of the rows. It contains only a few outliers, so that they
    have little influence. A row is scored by how poorly it is reconstructed, and by how
    far its code is from the others, in units of the training rows:

    .. math::

        s = \log\left(e^r + \tfrac{1}{2} e^c\right), \qquad
        r = \frac{1}{d} \sum_j \log\left(1 + \frac{e_j}{\bar e_j}\right), \qquad
        c = \frac{1}{k} \sum_l \log\left(1 + \frac{p_l^2}{v_l}\right)

    Here :math:`e_j` is the reconstruction error of column j of d, with mean
    :math:`\bar e_j` over the training rows, and :math:`p_l` is one of the k principal
    components of the codes, with variance :math:`v_l`. Both r and c are means over the
    autoencoders, and their logarithms limit the influence of a single column. A row is
    abnormal if either is large. The score of a row is -s.

    Numbers are standardized by column before, so that their units have no influence.

    Parameters
    ----------
    autoencoder : AutoencoderTransformer or None, default=None
        The autoencoder, which is cloned. None has a component for every four columns,
        and is trained for 40 epochs on all rows of a subsample, or not at all below 64
        rows: then it is PCA. For images and sequences, pass one with :class:`Conv` or
        :class:`Recurrent`.

    n_estimators : int, default=8
        Number of autoencoders.

    max_samples : "auto", int or float, default="auto"
        Number of rows of the largest subsample, or their share. "auto" is 1024, or all
        rows if there are fewer. The others are smaller, in equal ratios down to 64
        rows: small subsamples contain fewer outliers, and large ones have more detail.
        Rows with the first of each category, and with missing values, are added.

    contamination : "auto" or float, default="auto"
        The share of outliers in the training rows, at most 0.5, which determines the
        threshold. With "auto", a row is an outlier if its score is below the first
        quartile of the scores of the training rows by more than 1.5 times their
        interquartile range.

    random_state : int, RandomState instance or None, default=None
        Determines subsamples and fits, in place of the autoencoder's.

    Attributes
    ----------
    estimators_ : list of AutoencoderTransformer
        The fitted autoencoders.

    scaler_ : StandardScaler or None
        The standardization of numbers. None for tables of mixed columns, images and
        sequences, and for losses that need data of a certain range.

    max_samples_ : int
        Number of rows of the largest subsample.

    offset_ : float
        The threshold: `decision_function` is `score_samples - offset_`.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen in `fit`, if all are strings.

    See Also
    --------
    AutoencoderTransformer.reconstruction_error : The error of each row or entry.
    sklearn.ensemble.IsolationForest : Random trees of subsamples.
    sklearn.neighbors.LocalOutlierFactor : Densities of neighborhoods.

    References
    ----------
    .. [1] F. T. Liu, K. M. Ting, Z.-H. Zhou. "Isolation Forest". ICDM 2008.

    .. [2] J. Chen, S. Sathe, C. Aggarwal, D. Turaga. "Outlier Detection with
       Autoencoder Ensembles". SDM 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skae import AutoencoderOutlierDetector
    >>> X = load_iris().data
    >>> X[7] += [2, -2, 2, -2]
    >>> detector = AutoencoderOutlierDetector(random_state=0).fit(X)
    >>> int(detector.score_samples(X).argmin()), int(detector.predict(X)[7])
    (7, -1)
    """

    _parameter_constraints = {
        "autoencoder": [AutoencoderTransformer, None],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
        ],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "random_state": ["random_state"],
    }
    _doc_link_module = "skae"
    _doc_link_template = AutoencoderTransformer._doc_link_template

    estimators_: list[AutoencoderTransformer]
    scaler_: StandardScaler | None
    max_samples_: int
    offset_: float
    n_features_in_: int
    feature_names_in_: np.ndarray

    def __init__(
        self,
        autoencoder: AutoencoderTransformer | None = None,
        *,
        n_estimators: int = 8,
        max_samples: str | int | float = "auto",
        contamination: str | float = "auto",
        random_state: int | np.random.RandomState | None = None,
    ):
        self.autoencoder = autoencoder
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.contamination = contamination
        self.random_state = random_state

    @fits_like_input()
    @restore_attributes
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, *, sample_weight=None):
        """Fit the autoencoders, and compute the threshold.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of shape (n_samples, ...)
            The training rows, with or without outliers.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows. Rows of weight zero are left out. Subsamples are drawn
            without regard to the other weights, which are used in each fit.

        Returns
        -------
        self : AutoencoderOutlierDetector
            The fitted detector.
        """
        callbacks = self._init_callback_context(max_subtasks=self.n_estimators)
        callbacks.call_on_fit_task_begin(estimator=self, X=X, y=y)
        rows = self._standardize_first(X, sample_weight)
        weight = validate_weights(rows, sample_weight)
        self.max_samples_ = self._largest_subsample(int(np.count_nonzero(weight)))
        needed = self._rows_of_each_kind(rows, weight)
        rng = np.random.default_rng(draw_seed(self.random_state))
        self.estimators_ = []
        for size in subsample_sizes(self.max_samples_, self.n_estimators):
            task = callbacks.subcontext("fit-autoencoder")
            task.call_on_fit_task_begin(estimator=self, X=X, y=y)
            autoencoder = self._new_autoencoder(rows, rng)
            some = np.union1d(draw(weight, size, rng), needed)
            part = None if sample_weight is None else weight[some]
            with task.propagate_callback_context(autoencoder), self._filter_warnings():
                autoencoder.fit(safe_indexing(rows, some), sample_weight=part)
            self.estimators_.append(autoencoder)
            task.call_on_fit_task_end(estimator=self, X=X, y=y)
        if self.scaler_ is None:
            self._copy_features(self.estimators_[0])
        self.offset_ = self._threshold(self._set_units(rows, weight), weight)
        callbacks.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _set_units(self, rows, weight: np.ndarray) -> np.ndarray:
        """Compute the units of the scores, and return the scores of training rows."""
        self._units, parts = [], []
        for autoencoder in self.estimators_:
            errors, codes = errors_and_codes(autoencoder, rows)
            unit = units(errors.numpy(), codes.numpy(), weight)
            self._units.append(unit)
            parts.append(row_parts(errors, codes, as_tensors(unit)))
        return combine(parts).numpy()

    def _prototype(self) -> AutoencoderTransformer:
        """Return a clone of the autoencoder; raise ValueError if it is distributed."""
        if self.autoencoder is None:
            return AutoencoderTransformer()
        check_single_process(self.autoencoder)
        return clone(self.autoencoder)

    def _standardize_first(self, X, sample_weight):
        """Return the rows to fit, and set the scaler and the features seen."""
        self.scaler_ = None
        autoencoder = self._prototype()
        autoencoder._validate_params()
        with named("X"):
            check_in_memory(X)
            X = as_array(X)
        categorical = autoencoder.categorical_features
        if is_table(X, categorical):
            return checked_table(X, categorical)
        is_standardized = isinstance(as_loss(autoencoder.loss), StandardizedLoss)
        if len(X.shape) > 2 or not is_standardized:
            return X
        rows = self._validated(X, reset=True)
        with named("X"):
            check_magnitude(rows)
            if contains_nan(rows):
                layout = IncompleteLayout(rows.shape[1:])
                layout.check_columns(rows, feature_names(self))
        # Sparse matrices remain sparse.
        scaler = StandardScaler(with_mean=not sparse.issparse(rows))
        if sample_weight is not None:
            sample_weight = raw_weights(rows, sample_weight)
        self.scaler_ = scaler.fit(rows, sample_weight=sample_weight)
        return self._scaled(rows)

    def _copy_features(self, autoencoder) -> None:
        """Set the features that an autoencoder has seen."""
        self.__dict__.pop("feature_names_in_", None)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(autoencoder, name):
                setattr(self, name, getattr(autoencoder, name))

    def _rows_of_each_kind(self, rows, weight: np.ndarray) -> np.ndarray:
        """Return positions of rows that every subsample contains.

        Categories, missing values and tokens that do not occur in a subsample would be
        unknown in `transform`.
        """
        candidates = np.flatnonzero(weight)
        rows = safe_indexing(rows, candidates)
        autoencoder = self._prototype()
        categorical = autoencoder.categorical_features
        if is_table(rows, categorical):
            return candidates[first_of_each_level(rows, categorical)]
        if sparse.issparse(rows):
            return candidates[:0]
        rows = np.asarray(rows).reshape(len(rows), -1)
        missing = np.isnan(rows)
        first = first_of_each_value(missing.T) if missing.any() else candidates[:0]
        if as_loss(autoencoder.loss).vocabulary is not None:
            first = np.append(first, np.nanmax(rows, axis=1).argmax())
        return candidates[first]

    def _largest_subsample(self, n_samples: int) -> int:
        """Return the number of rows of the largest subsample."""
        if isinstance(self.max_samples, str):
            return min(MAX_SAMPLES, n_samples)
        if isinstance(self.max_samples, Integral):
            return min(int(self.max_samples), n_samples)
        return math.ceil(self.max_samples * n_samples)

    def _new_autoencoder(self, rows, rng) -> AutoencoderTransformer:
        """Return an autoencoder to fit."""
        if self.autoencoder is None:
            n_columns = math.prod(rows.shape[1:])
            # A network would overfit a few rows.
            max_iter = MAX_ITER if self.max_samples_ >= MIN_SAMPLES else 0
            smallest = min(MIN_SAMPLES, self.max_samples_)
            autoencoder = AutoencoderTransformer(
                max(1, min(n_columns // 4, smallest)),
                early_stopping=False,
                max_iter=max_iter,
            )
        else:
            autoencoder = clone(self.autoencoder)
        return autoencoder.set_params(random_state=int(rng.integers(2**31)))

    @contextmanager
    def _filter_warnings(self):
        """Ignore that the default autoencoder is trained for a few epochs only."""
        with warnings.catch_warnings():
            if self.autoencoder is None:
                warnings.simplefilter("ignore", ConvergenceWarning)
            yield

    def _threshold(self, scores: np.ndarray, weight: np.ndarray) -> float:
        """Return the score below which rows are outliers."""
        if self.contamination == "auto":
            # Tukey's fence.
            low, high = weighted_percentile(scores, weight, np.array([25.0, 75.0]))
            return float(low - 1.5 * (high - low))
        percentage = 100.0 * self.contamination
        return float(weighted_percentile(scores, weight, percentage, average=True))

    @returns_like_input
    def predict(self, X):
        """Return 1 for inliers and -1 for outliers.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            Whether each row is an inlier (1) or an outlier (-1).
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    @returns_like_input
    def decision_function(self, X):
        """Return `score_samples(X) - offset_`, negative for outliers.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            The shifted scores.
        """
        return self.score_samples(X) - self.offset_

    @returns_like_input
    def score_samples(self, X):
        """Return the score of each row. Lower is more abnormal.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            The scores.
        """
        check_is_fitted(self)
        rows = self._standardize(X)
        members = zip(self.estimators_, self._units, strict=True)
        parts = []
        for autoencoder, unit in members:
            errors, codes = errors_and_codes(autoencoder, rows)
            parts.append(row_parts(errors, codes, as_tensors(unit)))
        return combine(parts).numpy()

    @returns_like_input
    def feature_scores(self, X):
        """Return the contribution of each column to the score; higher is more abnormal.

        The sum over columns is r in the formula of the score. The other part of the
        score is that of the code. All columns have the same unit.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows.

        Returns
        -------
        scores : ndarray or DataFrame of shape (n_samples, n_features)
            The mean over the autoencoders of `log(1 + e / mean(e)) / d`, with the mean
            of the errors e of the column in the training rows. Higher is more abnormal.
            A missing value has the score of the mean error. A data frame if X is one,
            or if scikit-learn's `transform_output` is set.
        """
        check_is_fitted(self)
        rows = self._standardize(X)
        scores = []
        for autoencoder, unit in zip(self.estimators_, self._units, strict=True):
            errors = autoencoder.reconstruction_error(rows, per_feature=True)
            errors = torch.tensor(np.asarray(errors))
            scores.append(error_scores(errors, torch.tensor(unit[0])))
        return self._in_container(torch.stack(scores).mean(dim=0).numpy(), X)

    def _in_container(self, scores: np.ndarray, X):
        """Return an array with a column for each feature as a frame like X."""
        configured = get_output_config("transform", self)["dense"]
        container = container_of(X) if configured == "default" else configured
        if container == "default" or scores.shape[1] != self.n_features_in_:
            return scores
        names = check_feature_names_in(self)
        frame = CONTAINERS[container].create_container(scores, scores, columns=names)
        if container == "pandas" and is_frame(X):
            frame.index = index_of(X)
        return frame

    def _standardize(self, X):
        """Return the input of the autoencoders."""
        if self.scaler_ is None:
            return X  # which the autoencoders validate
        return self._scaled(self._validated(X, reset=False))

    def _scaled(self, rows):
        """Return standardized rows as an array or a CSR matrix, never as a frame."""
        scaled = self.scaler_.transform(rows)
        return scaled if sparse.issparse(scaled) else np.asarray(scaled)

    def _validated(self, X, reset: bool):
        """Return rows of numbers as an array or a CSR matrix, with NaN if missing."""
        with named("X"):
            check_in_memory(X)
            X = as_array(X)
            check_numbers(X)
            return validate_data(
                self,
                X,
                reset=reset,
                accept_sparse="csr",
                dtype=(np.float64, np.float32),
                ensure_all_finite="allow-nan",
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.autoencoder or AutoencoderTransformer()).input_tags
        tags.input_tags = inner
        return tags


def subsample_sizes(largest: int, n_subsamples: int) -> list[int]:
    """Return numbers of rows in equal ratios up to the largest."""
    smallest = min(MIN_SAMPLES, largest)
    if n_subsamples == 1:
        return [largest]
    return np.rint(np.geomspace(smallest, largest, n_subsamples)).astype(int).tolist()


def checked_table(X, categorical_features):
    """Return a table whose strings are categories, however few rows are selected."""
    table = as_table(X)
    raws = read_columns(table)
    mask = declared(categorical_features, [raw.name for raw in raws])
    fit_columns(raws, np.ones(len(table)), mask)
    return text_as_categories(table)


def first_of_each_value(columns) -> np.ndarray:
    """Return positions of the rows with the first of each value of some columns."""
    firsts = [np.unique(column, return_index=True)[1] for column in columns]
    return np.unique(np.concatenate(firsts))


def first_of_each_level(table, categorical_features) -> np.ndarray:
    """Return positions of the rows with the first of each category of a table."""
    raws = read_columns(as_table(table))
    mask = declared(categorical_features, [raw.name for raw in raws])
    raws = [r.as_category() if m else r for r, m in zip(raws, mask, strict=True)]
    levels = [raw.values for raw in raws if raw.kind == "category"]
    return first_of_each_value(levels + [raw.missing for raw in raws])


def draw(weight: np.ndarray, size: int, rng) -> np.ndarray:
    """Draw positions of rows with positive weight, in ascending order."""
    candidates = np.flatnonzero(weight)
    if size == len(candidates):
        return candidates
    return np.sort(rng.choice(candidates, size, replace=False))


def errors_and_codes(autoencoder, rows) -> tuple[Tensor, Tensor]:
    """Return the error of each entry, and the codes, of each row."""
    errors = autoencoder.reconstruction_error(rows, per_feature=True)
    codes = np.asarray(autoencoder.transform(rows), np.float64)
    return torch.tensor(np.asarray(errors)), torch.tensor(codes)


def units(errors, codes, weight) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the units of scores, by weighted training rows.

    Returns
    -------
    mean_error : ndarray of shape (n_columns,)
        The mean error of each column.

    mean_code : ndarray of shape (n_components,)
        The mean code.

    whitening : ndarray of shape (n_components, n_components)
        A matrix by which centered codes have unit covariance.
    """
    weight = weight / weight.sum()
    mean_error = weighted_nanmean(np.minimum(errors, LARGEST / len(errors)), weight)
    mean_error += MIN_SHARE * mean_error.mean() + TINY
    mean_code = weight @ codes
    centered = codes - mean_code
    variances, axes = np.linalg.eigh((centered.T * weight) @ centered)
    variances = np.maximum(variances, MIN_SHARE * variances.max()) + TINY
    return mean_error, mean_code, axes / np.sqrt(variances)


def error_scores(errors: Tensor, mean_error: Tensor) -> Tensor:
    """Return log(1 + e / mean(e)) / d for each entry; that of the mean for NaN."""
    ratios = (errors / mean_error).clamp(max=LARGEST)
    return torch.log1p(torch.where(errors.isnan(), 1.0, ratios)) / errors.shape[1]


def code_scores(codes: Tensor, mean_code: Tensor, whitening: Tensor) -> Tensor:
    """Return the mean of log(1 + p^2) over the whitened components p of codes."""
    whitened = (codes - mean_code) @ whitening
    return torch.log1p(whitened.square().clamp(max=LARGEST)).mean(dim=1)


def row_parts(errors: Tensor, codes: Tensor, unit: Sequence[Tensor]) -> Tensor:
    """Return the parts of the score by one autoencoder, of shape (2, n_samples).

    The unit is that of `units`, as tensors.
    """
    mean_error, *code_unit = unit
    reconstruction = error_scores(errors, mean_error).sum(dim=1)
    return torch.stack([reconstruction, code_scores(codes, *code_unit)])


def combine(parts: list[Tensor]) -> Tensor:
    """Return the scores of rows for the parts by each autoencoder."""
    reconstruction, code = torch.stack(parts).mean(dim=0)
    code = code + math.log(CODE_WEIGHT)
    # torch.logaddexp cannot be converted to ONNX.
    difference = (reconstruction - code).abs()
    return -torch.maximum(reconstruction, code) - torch.log1p(torch.exp(-difference))


def as_tensors(arrays) -> tuple[Tensor, ...]:
    """Return copies of arrays as tensors: memory-mapped arrays may be read-only."""
    return tuple(torch.tensor(array) for array in arrays)
