"""`AutoencoderImputer`: an autoencoder that fills in missing values, for pipelines."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from skae._base import restore_attributes
from skae._sklearn import (
    Interval,
    StrOptions,
    check_feature_names_in,
    fit_context,
    safe_indexing,
)
from skae._torch import draw_seed
from skae._transformer import AutoencoderTransformer, check_single_process
from skae.data._frames import (
    check_container,
    choose_rows,
    has_only_numbers,
    hide_one_value,
    is_frame,
    is_missing,
)
from skae.data._namespaces import fits_like_input, returns_like_input
from skae.data._validation import as_array, check_in_memory, named
from skae.regularizers._variational import Variational

HIDDEN_IN_FIT = 0.2  # share of the values, if none is missing in `fit`


class AutoencoderImputer(TransformerMixin, BaseEstimator):
    """Imputation of missing values by an autoencoder.

    The autoencoder is fitted to the values that are present. A row is encoded without
    its missing values and decoded, and the reconstruction replaces them. All other
    values are unchanged. Numbers are standardized by column before.

    Parameters
    ----------
    autoencoder : AutoencoderTransformer or None, default=None
        The autoencoder, which is cloned. None has a component for every four columns,
        at least 2.

    missing_values : float, default=nan
        The number that stands for a missing value. In data frames with columns other
        than numbers it must be NaN, which also stands for None, NA and NaT.

    sample_posterior : bool, default=False
        Whether `transform` draws imputed values, differently in each call, for multiple
        imputation. The autoencoder must have ``regularizer=Variational()``. A code is
        drawn from the posterior of each row and decoded. Levels and booleans are drawn
        by their probability, and numbers from a normal distribution around the
        reconstruction. Its variance, the same for all rows, is such that draws deviate
        as much as values that are hidden at the end of `fit`.

    add_indicator : bool, default=False
        Whether to append a column for each column with missing values in `fit`: 1.0
        where its value was missing, and 0.0 elsewhere. Not for data frames with columns
        other than numbers.

    keep_empty_features : bool, default=False
        Whether columns that are all missing in `fit` are kept, filled with 0. Not for
        data frames with columns other than numbers, in which they raise an error.

    max_iter : "auto" or int, default="auto"
        Number of epochs, in place of the autoencoder's unless it is "auto".

    random_state : int, RandomState instance or None, default=None
        Determines the fit, in place of the autoencoder's unless it is None, and the
        draws of `sample_posterior`.

    Attributes
    ----------
    autoencoder_ : AutoencoderTransformer
        The fitted autoencoder.

    scaler_ : StandardScaler or None
        The standardization of numbers; None for tables of mixed columns.

    empty_ : ndarray of bool of shape (n_features,)
        The columns without any value in `fit`.

    indicated_ : ndarray of int of shape (n_indicators,)
        The columns for which `add_indicator` appends a column.

    random_state_ : RandomState instance
        Source of the draws of `sample_posterior`. A fit with the same seed repeats the
        draws of the calls of `transform` that follow.

    n_iter_ : int
        Number of epochs run.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen in `fit`, if all are strings.

    See Also
    --------
    AutoencoderTransformer.impute : The same for a fitted autoencoder.
    sklearn.impute.KNNImputer : The mean of similar rows.
    sklearn.impute.IterativeImputer : A regression for each column.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skae import AutoencoderImputer
    >>> X, y = load_iris(return_X_y=True)
    >>> X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    >>> imputer = AutoencoderImputer(max_iter=20, random_state=0)
    >>> pipeline = make_pipeline(imputer, LogisticRegression(max_iter=1000))
    >>> bool(pipeline.fit(X, y).score(X, y) > 0.9)
    True
    """

    _parameter_constraints = {
        "autoencoder": [AutoencoderTransformer, None],
        "missing_values": [Real],
        "sample_posterior": ["boolean"],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
    }
    _doc_link_module = "skae"
    _doc_link_template = AutoencoderTransformer._doc_link_template

    autoencoder_: AutoencoderTransformer
    scaler_: StandardScaler | None
    empty_: np.ndarray
    indicated_: np.ndarray
    random_state_: np.random.RandomState
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray

    def __init__(
        self,
        autoencoder: AutoencoderTransformer | None = None,
        *,
        missing_values: float = np.nan,
        sample_posterior: bool = False,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        max_iter: str | int = "auto",
        random_state: int | np.random.RandomState | None = None,
    ):
        self.autoencoder = autoencoder
        self.missing_values = missing_values
        self.sample_posterior = sample_posterior
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.max_iter = max_iter
        self.random_state = random_state

    @fits_like_input()
    @restore_attributes
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit the autoencoder.

        Parameters
        ----------
        X : {array-like, DataFrame} of shape (n_samples, n_features)
            Rows with missing values.

        y : None
            Ignored.

        Returns
        -------
        self : AutoencoderImputer
            The fitted imputer.
        """
        check_container(X)
        check_single_process(self.autoencoder)
        with named("X"):
            check_in_memory(X)
        is_table = is_frame(X) and not has_only_numbers(X)
        self._check_applies(is_table)
        self._check_posterior()
        rows = self._validated(X, is_table, reset=True)
        missing = is_missing(rows)
        # Empty columns of tables raise an error.
        self.empty_ = missing.all(axis=0) & np.full(missing.shape[1], not is_table)
        self.indicated_ = np.flatnonzero(missing.any(axis=0))
        self.scaler_ = None
        present = ~missing[:, ~self.empty_].all(axis=1)
        if not is_table:
            rows = rows[present][:, ~self.empty_]
            self.scaler_ = StandardScaler().fit(rows) if rows.size else None
        autoencoder = self._autoencoder(missing.shape[1])
        self.autoencoder_ = autoencoder
        if is_table:
            rows = safe_indexing(rows, np.flatnonzero(present))
            self._fit_table(rows)
        elif rows.size:
            rows = self.scaler_.transform(rows)
            self._fit_numbers(rows)
        self.random_state_ = np.random.RandomState(draw_seed(self.random_state))
        self._deviations = None
        if self.sample_posterior and (is_table or rows.size):
            seed = draw_seed(self.random_state_)
            self._deviations = autoencoder._residual_deviations(rows, seed)
        self.n_iter_ = getattr(autoencoder, "n_iter_", 0)
        return self

    def _check_applies(self, is_table: bool) -> None:
        """Raise ValueError for a parameter that this kind of data does not have."""
        if is_table and self.add_indicator:
            raise ValueError(
                "Got add_indicator=True for a data frame with columns other than "
                "numbers. Set add_indicator=False."
            )
        categorical = getattr(self.autoencoder, "categorical_features", None)
        is_given = not (categorical is None or isinstance(categorical, str))
        if not is_table and is_given:
            raise ValueError(
                f"Got an autoencoder with categorical_features={categorical!r} for "
                "numbers, which are standardized. Pass a data frame whose categorical "
                "columns have the type 'category'."
            )

    def _check_posterior(self) -> None:
        """Raise ValueError if values are to be drawn without a posterior."""
        regularizer = getattr(self.autoencoder, "regularizer", None)
        has_posterior = isinstance(regularizer, Variational) and not regularizer.is_noop
        if self.sample_posterior and not has_posterior:
            raise ValueError(
                f"Got sample_posterior=True for an autoencoder with regularizer="
                f"{regularizer!r}, which has no posterior. Set autoencoder="
                "AutoencoderTransformer(..., regularizer=Variational())."
            )

    def _autoencoder(self, n_columns: int) -> AutoencoderTransformer:
        """Return the autoencoder to fit."""
        if self.autoencoder is None:
            autoencoder = AutoencoderTransformer(max(2, n_columns // 4))
        else:
            autoencoder = clone(self.autoencoder)
        if self.max_iter != "auto":
            autoencoder.set_params(max_iter=self.max_iter)
        if self.random_state is not None:
            autoencoder.set_params(random_state=draw_seed(self.random_state))
        return autoencoder

    def _fit_table(self, rows) -> None:
        """Fit the autoencoder to a table of mixed columns."""
        if not is_missing(rows).any():
            # Training hides further values, as values may be missing later.
            rows = hide_one_value(rows)
        self.autoencoder_.fit(rows)

    def _fit_numbers(self, rows) -> None:
        """Fit the autoencoder to standardized numbers."""
        if np.isnan(rows).any():
            self.autoencoder_.fit(rows)
            return
        # Values may be missing later: some are hidden, and reconstructed.
        hidden = np.random.default_rng(0).random(rows.shape) < HIDDEN_IN_FIT
        hidden[hidden.all(axis=1)] = False
        hidden[0, :] = False
        if not hidden.any() and len(rows) > 1:
            hidden[-1, 0] = rows.shape[1] > 1
        gaps = np.where(hidden, np.nan, rows)
        self.autoencoder_.fit(gaps, X_clean=rows)

    @returns_like_input
    def transform(self, X):
        """Return rows without missing values.

        Parameters
        ----------
        X : {array-like, DataFrame} of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_samples, n_features_out)
            A copy of the rows with predictions in place of missing values. A data frame
            with columns other than numbers is returned as such.
        """
        check_is_fitted(self)
        if self.scaler_ is None and not self.empty_.all():
            return self._fill_table(self._validated(X, True, reset=False))
        rows = self._validated(X, False, reset=False)
        missing = np.isnan(rows)
        kept = rows[:, ~self.empty_]
        if kept.size:
            kept = self._fill(kept)
        if self.keep_empty_features:
            filled = np.where(missing, 0.0, rows).astype(rows.dtype)
            filled[:, ~self.empty_] = kept
        else:
            filled = kept
        if self.add_indicator:
            filled = np.hstack([filled, missing[:, self.indicated_]])
        return filled

    def _impute(self, rows):
        """Return rows with predictions, or draws of them."""
        if not self.sample_posterior:
            return self.autoencoder_.impute(rows)
        if self._deviations is None:
            raise ValueError(
                "Got sample_posterior=True, but the imputer was fitted with "
                "sample_posterior=False. Call `fit` again."
            )
        seed = draw_seed(self.random_state_)
        return self.autoencoder_._impute_draws(rows, self._deviations, seed)

    def _fill_table(self, table):
        """Return a table with predictions in place of missing values."""
        is_empty = np.all(is_missing(table), axis=1)
        if not is_empty.any():
            return self._impute(table)
        constant = self.autoencoder_._fill_constant(table)
        if is_empty.all():
            return constant
        # Another row is imputed in place of one without values.
        positions = np.where(is_empty, np.argmin(is_empty), np.arange(len(is_empty)))
        filled = self._impute(safe_indexing(table, positions))
        return choose_rows(filled, constant, is_empty)

    def _fill(self, rows: np.ndarray) -> np.ndarray:
        """Return rows of numbers with predictions in place of NaN."""
        standardized = self.scaler_.transform(rows)
        # A row without values is filled with the means.
        standardized[np.isnan(rows).all(axis=1)] = 0.0
        filled = self.scaler_.inverse_transform(self._impute(standardized))
        return np.where(np.isnan(rows), filled, rows).astype(rows.dtype)

    def _validated(self, X, is_table: bool, reset: bool):
        """Return rows of floats, or a frame, with NaN for missing values."""
        is_nan = np.isnan(self.missing_values)
        if is_table:
            validate_data(self, X, reset=reset, skip_check_array=True)
            if not is_nan:
                raise ValueError(
                    f"Got missing_values={self.missing_values} for a data frame with "
                    "columns other than numbers. Replace them with NaN before."
                )
            return X
        with named("X"):
            X = as_array(X)
        rows = validate_data(
            self,
            X,
            reset=reset,
            dtype=(np.float64, np.float32),
            ensure_all_finite="allow-nan" if is_nan else True,
            # Of a single row, no value can be predicted.
            ensure_min_samples=2 if reset else 1,
        )
        return rows if is_nan else np.where(rows == self.missing_values, np.nan, rows)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the input's columns, by default those seen in `fit`.

        Returns
        -------
        names : ndarray of str objects
            The names of the kept columns, and those of the indicators:
            ``"missingindicator_"`` before the name of the column.
        """
        check_is_fitted(self)
        names = check_feature_names_in(self, input_features)
        kept = names if self.keep_empty_features else names[~self.empty_]
        if not self.add_indicator or self.scaler_ is None:
            return kept
        indicators = [f"missingindicator_{name}" for name in names[self.indicated_]]
        return np.array([*kept, *indicators], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
