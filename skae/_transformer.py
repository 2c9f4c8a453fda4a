"""`AutoencoderTransformer`: parameters, fit, transform, inverse_transform, state."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial, wraps
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_scalar
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from skae._base import copy_if_default
from skae._codec import Codec, row_means
from skae._generation import residual_deviations, sample_codes
from skae._parameters import check_parts, suggestion, warn_of_sizes
from skae._sklearn import (
    CALLBACK_ATTRIBUTES,
    CONTAINERS,
    FIT_CONTEXT,
    Interval,
    InvalidParameterError,
    RealNotInt,
    StrOptions,
    check_feature_names_in,
    config_context,
    fit_context,
    get_output_config,
    validate_parameter_constraints,
)
from skae._torch import draw_seed, isolated_torch
from skae._version import __version__
from skae.compression._compress import compress, decompress
from skae.data._frames import fill_missing, index_of, is_frame
from skae.data._namespaces import (
    fits_like_input,
    like,
    returns_like_input,
    to_numpy,
)
from skae.data._rows import cast_rows
from skae.data._validation import (
    as_array,
    check_in_memory,
    one_row,
    validate_codes,
    validate_rows,
    validate_rows_to_store,
    validate_training_data,
    validate_weights,
)
from skae.losses import CrossEntropy, as_loss
from skae.model._config import PART_CONSTRAINTS, to_arrays
from skae.model._exported import EXPORTED
from skae.model._state import (
    ARRAYS,
    SAVED,
    check_names,
    fitted_state,
    is_fitted,
    version_message,
)
from skae.networks._base import Network
from skae.networks._mlp import MLP
from skae.noise import Noise
from skae.regularizers._base import Regularizer
from skae.training._auto import resolve_params
from skae.training._distributed import share_rows
from skae.training._fit import (
    SUMMARIES,
    continue_fit,
    fit_model,
    fitted_attributes,
    partial_fit_model,
    resume_run,
    run_from_fitted,
    start_at_pca,
)
from skae.training._optimizers import SOLVERS
from skae.training._outcome import (
    check_rows_differ,
    collapse_message,
    describe_outcome,
    divergence_message,
    limit_message,
    warn_of_failure,
    warn_of_other_rows,
)
from skae.training._processes import SINGLE_PROCESS, process_group

DEFAULT_NETWORK = MLP()
RUN_PARAMS = ("solver", "learning_rate", "alpha", "noise", "precision", "device")
# Not sent by rank 0: equal on all ranks, or not a part of the model.
LOCAL = ("module_", "_config", "_run", "_run_params")
# Everything that a fit sets.
FITTED = (*SAVED, "feature_names_in_", "_run", "_run_params")

COUNT = Interval(Integral, 1, None, closed="left")
ERROR_CONSTRAINTS = {"per_feature": ["boolean"]}
COMPRESS_CONSTRAINTS = {
    "added_error": [Interval(Real, 0, None, closed="neither")],
    "max_error": [Interval(Real, 0, None, closed="left"), None],
}
DECOMPRESS_CONSTRAINTS = {"max_bytes": [COUNT]}
EXPORT_CONSTRAINTS = {"part": [StrOptions(set(EXPORTED))]}


def check_single_process(autoencoder) -> None:
    """Raise ValueError for the autoencoder of another estimator if it is distributed.

    The processes would standardize their rows differently.
    """
    if autoencoder is not None and autoencoder.distributed:
        raise ValueError(
            "Got an autoencoder with distributed=True, which is not supported here. "
            "Set distributed=False."
        )


def restore_on_error(method):
    """Restore the fitted attributes of an estimator if one of its methods raises.

    Errors of callbacks and warnings that are errors can be raised after the attributes
    are set. After Ctrl-C a new model is kept. A run that has been trained further is
    discarded: a later call continues from the fitted model.
    """

    @wraps(method)
    def restoring(self, *args, **kwargs):
        before = {name: vars(self)[name] for name in FITTED if name in vars(self)}
        try:
            return method(self, *args, **kwargs)
        except BaseException as error:
            has_new_model = vars(self).get("module_") is not before.get("module_")
            if has_new_model and isinstance(error, KeyboardInterrupt):
                raise
            # `_resume` takes the run that it continues from the estimator.
            if before.get("_run") and (has_new_model or self._run is None):
                before["_run"] = None
            for name in FITTED:
                self.__dict__.pop(name, None)
            self.__dict__.update(before)
            raise

    return restoring


class AutoencoderTransformer(
    ClassNamePrefixFeaturesOutMixin,
    CallbackSupportMixin,
    TransformerMixin,
    BaseEstimator,
):
    r"""Non-linear dimensionality reduction by an autoencoder that starts at PCA.

    An encoder e maps each row x to a code z of `n_components` numbers, and a decoder d
    maps the code back. Both are trained so that `d(e(x))` is close to x. Each is a
    network f or g beside a linear skip connection W, which is set to PCA's solution
    before training. The outputs of the networks are zero at the start:

    .. math::

        z = W_e \tilde x + f(\tilde x), \qquad
        \hat x = (W_d z + g(z)) \, s + m, \qquad
        \tilde x = (x - m) / s

    Here m is the mean, and s is one number, the root mean square of all centered
    entries. Before the first step the model is PCA. Training improves on it, and the
    epoch with the lowest loss on validation rows is kept.

    As with PCA, standardize features of different units first. This does not apply to
    data frames with columns of categories, booleans or dates: each column is then
    standardized by itself, and training starts at factor analysis of mixed data; see
    :ref:`mixed_columns`. Values may be missing (NaN, None, NA or NaT).

    Parameters
    ----------
    n_components : int or float, default=2
        Number of columns of the codes. With a float in (0, 1), the components are
        trained in order of importance (see :class:`Ordered`) unless there is another
        regularizer, and the fewest components
        are kept that explain this share of the variance of the validation rows. For
        sequences of different lengths, the last column is the length.

    network : MLP, Conv, Recurrent, Modules or callable, default=MLP()
        Builds the encoder and the decoder. A callable
        `network(n_features, n_components, n_samples)` returns two `torch.nn.Module`,
        from (n, n_features) to (n, n_components) and back. For tokens, `n_features` is
        the width of their embeddings. The callable is called again when a saved model
        is loaded.

    init : {"pca", "random"}, default="pca"
        Start at PCA's solution, or leave out the skip connections and start at random
        weights. The decoder's last layer is then zero, so that the mean is
        reconstructed, except in networks of your own.

    loss : str, CrossEntropy or callable, default="squared_error"
        The reconstruction loss, averaged over features and samples. Tables of mixed
        columns have the squared error of numbers and the cross-entropy of categories,
        each over that of the constant model:

        - "squared_error", "absolute_error" and "huber" are computed in standardized
          units;
        - "log_loss" (binary cross-entropy) and "brier" (squared error) have a sigmoid
          output and need data in [0, 1];
        - "poisson" has an exponential output and needs data >= 0; the encoder reads
          log(1 + x);
        - "cross_entropy" has a softmax output and needs rows of tokens, integers from
          0 on, which are embedded. :class:`CrossEntropy` sets the size of their
          vocabulary;
        - a callable `loss(output, target)` returns the loss of each entry as a tensor,
          in standardized units.

    categorical_features : array-like, "from_dtype" or None, default="from_dtype"
        The columns of a table that are categories.

        - "from_dtype": a data frame with columns other than numbers is a table of mixed
          columns. Its columns of categories and strings are categories, and those of
          booleans and dates are treated as such; see :ref:`mixed_columns`;
        - a mask, positions or names of columns: these columns are categories, too, of a
          data frame or an array;
        - None: X is a matrix of numbers.

    noise : Noise, callable or None, default=None
        Corrupts the encoder's input in training and validation; the clean rows are
        reconstructed. A callable `noise(batch)` takes standardized rows.

    regularizer : Regularizer, callable or None, default=None
        Penalizes or constrains the codes. A callable `regularizer(codes)` returns a
        penalty for each sample, of shape (n_samples,).

    solver : {"adamw", "adam", "rmsprop", "sgd", "lbfgs"} or callable, default="adamw"
        The optimizer: Adam with decoupled weight decay, Adam, RMSprop, gradient descent
        with Nesterov momentum 0.9, or L-BFGS with a line search. A callable takes the
        parameters and returns a `torch.optim.Optimizer`, with a learning rate of its
        own.

    learning_rate : float, default=3e-3
        The largest step size. It is reached after the first 5 % of the steps, but at
        least 20, and decreases to zero along a cosine. With ``init="random"`` it is
        constant after 20 steps, and decreases to zero in the last 20 % of the steps.
        With `partial_fit` or `warm_start`, it is constant after 20 steps, and
        proportional to the number of rows in a step below 64 rows. "lbfgs" ignores it.

    alpha : "auto" or float, default="auto"
        Strength of the penalty on the networks' weight matrices. Skip connections are
        not penalized. For "adamw" it is the rate of decay per unit of learning rate,
        and "auto" is `min(1, 500 / n_samples)`. For the other solvers it is the factor
        of half the sum of squares that is added to the loss, and "auto" is 1e-4.

    batch_size : "auto" or int, default="auto"
        The largest number of rows in a step. "auto" is the power of two nearest to
        n_samples / 16 between 32 and 256, and all rows up to 64 rows or for "lbfgs".

    max_iter : "auto" or int, default="auto"
        Number of epochs. "auto" is the number that makes 1500 steps, 3000 from 1000
        rows or 4000 from 10,000 rows on, and one below 40 rows without
        cross-validation. With 0 the model is PCA.

    early_stopping : "auto" or bool, default="auto"
        Whether to keep the epoch of lowest loss on validation rows, which are not used
        for training. "auto" uses `validation_fraction` of the rows, at least 100 and at
        most 1000. Below 700 rows it selects the epoch by 5-fold cross-validation. If
        the network is not significantly better than PCA on the validation rows, the
        fitted model is PCA of all rows. Otherwise, below 5000 rows, the network is
        trained further on all rows, unless a callback has stopped training. There is no
        comparison with PCA and no cross-validation for a regularizer with a prior, with
        `X_val`, and with `warm_start`. Then "auto" uses at most a quarter of the rows,
        and none if fewer than 10 are left.

    validation_fraction : float, default=0.1
        Share of the rows that are used for validation, without cross-validation.

    n_iter_no_change : "auto" or int, default="auto"
        Number of epochs without a decrease of the validation loss, or of the training
        loss if there are no validation rows, after which training stops. "auto" is a
        quarter of all epochs, or a sixteenth with cross-validation, but at least 8.

    tol : float, default=0.0
        The smallest decrease of the loss that counts as an improvement, as a share of
        the lowest loss.

    warm_start : bool, default=False
        Whether `fit` continues from the last fit's state, at a constant learning rate.

    device : "auto", str or torch.device, default="auto"
        The device to compute on. "auto" is "cuda" or "mps" if available, else "cpu".

    distributed : bool, default=False
        Whether the processes of `torch.distributed` fit one model together. Each of
        them calls `fit` with its own rows, and has the same fitted model afterwards:
        that of all rows, up to rounding. See :ref:`several_processes`.

    precision : {"auto", "bfloat16", "float32", "float64"}, default="auto"
        The floating point type. "auto" is "float64" for float64 data of at most 64
        rows, else "float32". "bfloat16" applies to products in training only. It is
        faster for wide networks on processors and GPUs that support it, and raises an
        error on others.

    random_state : int, RandomState instance or None, default=None
        Determines weights, validation rows and batches. The same int gives the same
        bits on the same machine with the same versions. Global random states are
        neither used nor changed.

    verbose : int, default=0
        Whether to print a line for every epoch. See also
        :class:`sklearn.callback.ProgressBar`.

    Attributes
    ----------
    n_components_ : int
        Number of columns of the codes.

    mean_ : ndarray of shape (n_features,)
        Mean of the training rows, without missing values; 0 for tokens. For tables of
        mixed columns, that of encoded rows, which have an entry for each level of a
        category.

    scale_ : float
        Root mean square of the centered entries of the training rows; 1 for tokens and
        tables of mixed columns.

    module_ : torch.nn.Module
        The model, with methods `encode` and `decode` of standardized tensors.

    explained_variance_ratio_ : ndarray of shape (n_components,)
        The share of the variance (for other losses: of the deviance) that each
        component adds to the share explained by the components before it, with the
        components after it at zero. Computed on at most 500 of the training rows, and
        on fewer for more than 20 components.

    is_pca_ : bool
        Whether the fitted model is PCA, because training has not improved on it
        significantly. This is a valid result, about which there is no warning.

    stop_reason_ : {"max_iter", "n_iter_no_change", "callback", "divergence"} or None
        Why training stopped, before the fit on all rows. None if Ctrl-C ended it.

    best_validation_score_, pca_validation_score_ : float or None
        The share of the null loss that is explained on the validation rows, by the best
        epoch and by PCA. The loss is the one of `validation_loss_curve_`. None without
        validation rows, and the second one also if training did not start at PCA.

    loss_curve_ : list of float
        Mean training loss during each epoch; the mean over the folds with
        cross-validation, as in `validation_loss_curve_`.

    validation_loss_curve_ : list of float
        Loss on the validation rows after each epoch, including noise and penalties. It
        is empty without validation rows, and NaN for an epoch of a `partial_fit` that
        follows.

    refit_loss_curve_ : list of float
        Mean training loss during each epoch of the fit on all rows; empty without one.

    n_active_components_ : int
        Number of components that vary over at most 500 of the training rows: with a
        standard deviation above 0.1 if the regularizer has a prior, else above 1 % of
        the largest.

    best_iter_ : int
        The epoch of lowest validation loss, `validation_loss_curve_[best_iter_ - 1]`.
        The fitted model is that of this epoch, trained further on all rows if there was
        a refit; after a cross-validation it is fitted on all rows for as many epochs. 0
        is the start: PCA.

    n_iter_ : int
        Number of epochs run, including those of the fit on all rows. An epoch of a
        cross-validation, in which all folds are trained, counts once. After a later
        `partial_fit`, the epochs of an earlier fit on all rows are left out.

    batch_size_, max_iter_ : int
        The resolved values of `batch_size` and `max_iter`.

    alpha_ : float
        The resolved value of `alpha`.

    precision_, device_ : str
        The resolved values of `precision` and `device`.

    column_kinds_ : dict or None
        What each column of a table of mixed columns is treated as, by its name:
        "number", "boolean", "category" or "time". None for a matrix of numbers.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen in `fit`, if all are strings.

    See Also
    --------
    sklearn.decomposition.PCA : The linear solution, from which training starts.
    MLP : The default network, for tables.
    Conv : For images and signals.
    Recurrent : For sequences.
    Modules : Two modules of your own.

    Notes
    -----
    With scikit-learn's option `array_api_dispatch`, results are in the namespace and on
    the device of X; see :ref:`array_api`.

    Ctrl-C ends `fit` with KeyboardInterrupt and leaves the best model so far. After any
    other error the estimator is as it was before.

    References
    ----------
    .. [1] G. Hinton, R. Salakhutdinov. "Reducing the Dimensionality of Data with Neural
       Networks". Science 313, 2006.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import train_test_split
    >>> from skae import AutoencoderTransformer
    >>> X, _ = load_digits(return_X_y=True)
    >>> X_train, X_test = train_test_split(X, random_state=0)
    >>> model = AutoencoderTransformer(8, random_state=0).fit(X_train)
    >>> model.transform(X_test).shape
    (450, 8)
    >>> pca = PCA(8).fit(X_train)
    >>> residual = X_test - pca.inverse_transform(pca.transform(X_test))
    >>> pca_score = 1 - (residual**2).sum() / ((X_test - pca.mean_) ** 2).sum()
    >>> bool(model.score(X_test) > pca_score + 0.1)
    True
    """

    # A pipeline routes no array for the result to its steps.
    __metadata_request__transform = {"out": UNUSED}

    _parameter_constraints = {
        "n_components": [COUNT, Interval(RealNotInt, 0, 1, closed="neither")],
        **PART_CONSTRAINTS,
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "solver": [StrOptions(set(SOLVERS)), callable],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), COUNT],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [StrOptions({"auto"}), COUNT],
        "tol": [Interval(Real, 0, 1, closed="left")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "distributed": ["boolean"],
        "precision": [StrOptions({"auto", "bfloat16", "float32", "float64"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    _doc_link_module = "skae"
    _doc_link_template = (
        "https://skae.readthedocs.io/en/stable/generated/skae.{estimator_name}.html"
    )

    n_components_: int
    mean_: np.ndarray
    scale_: float
    module_: torch.nn.Module
    explained_variance_ratio_: np.ndarray
    is_pca_: bool
    stop_reason_: str | None
    best_validation_score_: float | None
    pca_validation_score_: float | None
    loss_curve_: list[float]
    validation_loss_curve_: list[float]
    refit_loss_curve_: list[float]
    n_active_components_: int
    best_iter_: int
    n_iter_: int
    batch_size_: int
    max_iter_: int
    alpha_: float
    precision_: str
    device_: str
    column_kinds_: dict | None
    n_features_in_: int
    feature_names_in_: np.ndarray

    def __init__(
        self,
        n_components: int | float = 2,
        *,
        network: Network | Callable = DEFAULT_NETWORK,
        init: str = "pca",
        loss: str | CrossEntropy | Callable = "squared_error",
        categorical_features: str | Sequence | None = "from_dtype",
        noise: Noise | Callable | None = None,
        regularizer: Regularizer | Callable | None = None,
        solver: str | Callable = "adamw",
        learning_rate: float = 3e-3,
        alpha: str | float = "auto",
        batch_size: str | int = "auto",
        max_iter: str | int = "auto",
        early_stopping: str | bool = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: str | int = "auto",
        tol: float = 0.0,
        warm_start: bool = False,
        device: str | torch.device = "auto",
        distributed: bool = False,
        precision: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.n_components = n_components
        self.network = copy_if_default(network, DEFAULT_NETWORK)
        self.init = init
        self.loss = loss
        self.categorical_features = categorical_features
        self.noise = noise
        self.regularizer = regularizer
        self.solver = solver
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.distributed = distributed
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @fits_like_input(*ARRAYS)
    @restore_on_error
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, sample_weight=None, X_val=None, X_clean=None):
        """Learn to encode and decode the rows of X.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of shape (n_samples, ...)
            The training rows, such as images of shape (channels, height, width) or
            sequences of shape (length, features). Sequences of different lengths are
            padded with NaN at the end; then the last column of a code is the length.
            In rows of shape (n_features,), NaN are missing values, which are masked out
            of the loss. Rows can also be in an array on disk, or in blocks that a
            function returns, here and in `transform`, `score` and
            `reconstruction_error`; see :ref:`larger_than_memory`.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows. Rows of weight zero are left out.

        X_val : array like X, default=None
            Validation rows. Then all rows of X are used for training, and there is no
            comparison with PCA. By default validation rows are a part of X.

        X_clean : array like X, default=None
            Clean versions of the rows of X, which are reconstructed in their place:
            for pairs of noisy and clean rows. Mean, scale and PCA are those of X_clean.
            Not together with X_val.

        Returns
        -------
        self : AutoencoderTransformer
            The fitted estimator.
        """
        continues = self.warm_start and hasattr(self, "module_")
        with isolated_torch() as n_threads, process_group(self.distributed) as group:
            data, params, metadata = self._prepare(
                X, sample_weight, X_val, X_clean, continues, n_threads, group
            )
            if not continues:
                warn_of_sizes(params.config, data.X.shape[0])
            # At most two runs: one with validation rows or all folds, and the refit.
            callbacks = self._init_callback_context(max_subtasks=2)
            callbacks.call_on_fit_task_begin(estimator=self, X=X, y=X)
            report = {"metadata": metadata, "callbacks": callbacks, "X": X}
            train = partial(self._train, params=params, **report)
            if continues:
                result = continue_fit(self._resume(data, params), params, train)
            else:
                result = fit_model(data, params, train)
            self._set_fitted(result, metadata)
        if result.interrupt is not None:
            # The best model so far is set; the state of training is incomplete.
            self._run = None
            raise result.interrupt
        if self.verbose:
            print(describe_outcome(self))  # noqa: T201
        messages = collapse_message, divergence_message, limit_message
        warn_of_failure(self, result, messages)
        callbacks.call_on_fit_task_end(
            estimator=self, X=X, y=X, reconstruction_attributes=dict
        )
        return self

    @fits_like_input(*ARRAYS)
    @restore_on_error
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, *, sample_weight=None, X_clean=None):
        """Train for one epoch on the rows of X, from where the last call ended.

        The first call computes mean, scale and PCA's solution; later calls keep them.
        Its rows may not all be equal. The learning rate is constant. If the loss of the
        rows is clearly higher afterwards, the model is left as it was, with a warning.

        Parameters of training, such as `learning_rate` or `noise`, may be changed
        between calls; then, and after loading a saved model, training continues with a
        new optimizer. Parameters of the model, such as `n_components` or `regularizer`,
        may not.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of shape (n_samples, ...)
            Some rows.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        X_clean : array like X, default=None
            Clean versions of the rows of X, which are reconstructed in their place.

        Returns
        -------
        self : AutoencoderTransformer
            The fitted estimator.
        """
        if self.distributed is True:
            raise ValueError(
                "Got distributed=True, which partial_fit does not support. Call fit, "
                "or set distributed=False."
            )
        # `fit_context` validates the parameters in the first call only.
        self._validate_params()
        continues = hasattr(self, "module_")
        one_epoch = {"max_iter": 1, "early_stopping": False, "warm_start": True}
        with isolated_torch() as n_threads:
            data, params, metadata = self._prepare(
                X, sample_weight, None, X_clean, continues, n_threads, changes=one_epoch
            )
            callbacks = self._init_callback_context(max_subtasks=1)
            callbacks.call_on_fit_task_begin(estimator=self, X=X, y=X)
            if continues:
                run = self._resume(data, params)
                earlier = vars(self) | {name: self._array(name) for name in ARRAYS}
                run.earlier = {name: earlier[name] for name in SUMMARIES}
            else:
                check_rows_differ(data)
                run = start_at_pca(data, params)
            report = {"metadata": metadata, "callbacks": callbacks, "X": X}
            train = partial(self._train, params=params, **report)
            result = partial_fit_model(run, params, train)
            self._set_fitted(result, metadata)
        warn_of_failure(self, result, (divergence_message,))
        callbacks.call_on_fit_task_end(
            estimator=self, X=X, y=X, reconstruction_attributes=dict
        )
        return self

    def _validate_params(self):
        # An error on one rank is raised on all of them.
        with process_group(self.distributed is True) as group:
            group.attempt(self._validate_own_params)

    def _validate_own_params(self):
        params = self.get_params(deep=False)
        check_parts(type(self).__name__, params)
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            (name,) = (n for n in params if f"The {n!r} parameter" in str(error))
            hint = suggestion(name, params[name])
            raise InvalidParameterError(f"{error}{hint}") from None

    def _prepare(
        self,
        X,
        sample_weight,
        X_val,
        X_clean,
        continues,
        n_threads,
        group=SINGLE_PROCESS,
        changes=None,
    ):
        """Return validated rows, resolved parameters and attributes of the input."""
        loss = as_loss(self.loss)
        if self.distributed:
            X, sample_weight = share_rows(self, X, sample_weight, X_val, X_clean, group)
        data, metadata = validate_training_data(
            self, X, sample_weight, loss, X_val, X_clean, reset=not continues
        )
        # The parts themselves; they are cloned into the configuration of the model.
        params = self.get_params(deep=False) | (changes or {})
        if not continues:
            (seed,) = group.from_first(draw_seed(self.random_state))
            params = resolve_params(params, data, int(seed), n_threads, group)
            return data, params, metadata
        # The first seed again: validation rows must stay unseen.
        params = resolve_params(params, data, self._seed, n_threads)
        params = params.for_model(self._config)
        return data, params, metadata

    def _resume(self, data, params):
        """Return the run of the last fit, or a new run from the fitted weights.

        A new run has a new optimizer. It is needed for a model that was loaded, and for
        parameters of training that were changed by `set_params`.
        """
        if self._run is None or self._run_params != self._training_params():
            run = run_from_fitted(self, data, params)
        else:
            # Training changes the run, which then is not that of the fitted model.
            run, self._run = self._run, None
            run = resume_run(run, data, params)
        warn_of_other_rows(run)
        return run

    def _training_params(self):
        """Return the parameters that are fixed when a run starts."""
        params = self.get_params(deep=False)
        return {name: clone(params[name], safe=False) for name in RUN_PARAMS}

    def _train(self, run, params, metadata, callbacks, X):
        """Run the scheduled epochs, and report each of them to the callbacks."""
        if not run.has_next:
            return
        reported: dict[str, Any] = {"estimator": self, "X": X, "y": X}
        epochs = callbacks.subcontext("epochs", max_subtasks=run.n_remaining)
        epochs.call_on_fit_task_begin(**reported)
        if self.distributed:
            # A callback of one process may compute them, without the rows of others.
            fitted_attributes(run, params, copied=True)
        while run.has_next:
            epoch = epochs.subcontext("epoch").call_on_fit_task_begin(**reported)
            run.train_epoch()
            if self.verbose:
                print(run.report())  # noqa: T201
            # The attributes are computed only for callbacks that use them.
            end = partial(
                epoch.call_on_fit_task_end,
                reconstruction_attributes=lambda: {
                    **fitted_attributes(run, params, copied=True),
                    **metadata,
                    "_run": None,
                },
                **reported,
            )
            run.stopped = params.group.any(end)
        epochs.call_on_fit_task_end(**reported)

    def _set_fitted(self, result, metadata):
        """Set all fitted attributes at once."""
        run = result.run
        # The optimizer of a run that failed has a state that no longer fits the model.
        may_continue = result.params.warm_start and not (run.diverged or run.reverted)
        attributes = fitted_attributes(run, result.params, copied=may_continue)
        if may_continue:
            # The rows need not stay in memory between two calls.
            run.free_data()
            attributes["_run_params"] = self._training_params()
        attributes["_run"] = run if may_continue else None
        shared = {name: attributes[name] for name in attributes if name not in LOCAL}
        attributes |= result.params.group.object_from_first(shared)
        self.__dict__.update(attributes, **metadata)

    @returns_like_input
    @isolated_torch(n_threads=None)
    def transform(self, X, out=None):
        """Encode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows.

        out : array of shape (n_samples, n_components) or None, default=None
            Where the codes are written, block by block, such as a memory map or an
            array of h5py. It is returned. By default, a new array.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components)
            The codes, in the float type of X. Before training they are PCA's scores,
            divided by the standard deviation of the first component, or each by its own
            with :class:`MMD` and :class:`Adversarial`; :class:`Variational` shrinks
            them further. For sequences of different lengths the last
            column is the length, as a share of the number of steps in X.
        """
        # Testing one attribute is faster than all, which matters for a single row.
        check_is_fitted(self, "module_")
        rows = validate_rows(self, X)
        expected = rows.shape[0], self.n_components_
        if out is not None and getattr(out, "shape", None) != expected:
            raise ValueError(
                f"Got out of shape {getattr(out, 'shape', None)}, but expected an "
                f"array of shape {expected}, with a row for each row of X and a column "
                "for each component."
            )
        if out is not None and getattr(out.dtype, "kind", None) != "f":
            raise ValueError(
                f"Got out of type {out.dtype}, but codes are floats of NumPy."
            )
        return self._codec.encode(rows, out)

    @returns_like_input
    @isolated_torch(n_threads=None)
    def inverse_transform(self, X):
        """Decode codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            The codes.

        Returns
        -------
        reconstruction : ndarray of the shape that `fit` saw, or DataFrame
            Rows in the unit of the data and the float type of the codes, padded with
            NaN after the end of sequences. Tokens are integers. Tables of mixed columns
            are returned as data frames of the types that `fit` saw, with the index of
            X; other rows as data frames if `set_output` requests it.
        """
        check_is_fitted(self, "module_")
        codes = validate_codes(X, self.n_components_)
        return self._in_container(self._codec.decode(codes), index_of(X))

    @returns_like_input
    @isolated_torch(n_threads=None)
    def score(self, X, y=None, sample_weight=None):
        """Return the share of variance, or of the loss's deviance, that is explained.

        The score is `1 - loss(model) / loss(mean)`, with the mean of the training rows.
        It is 1 for a perfect reconstruction, 0 for the mean, and negative for a model
        that is worse.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            The share.
        """
        check_is_fitted(self)
        X = validate_rows(self, X)
        weight = validate_weights(X, sample_weight)
        # Not the mean of X, but that of the training rows, as in R^2 on unseen data.
        loss, null_loss = self._codec.total_losses(X, weight)
        return float(loss == 0) if null_loss == 0 else float(1 - loss / null_loss)

    @returns_like_input
    @isolated_torch(n_threads=None)
    def reconstruction_error(self, X, per_feature=False):
        """Return the loss between rows and their reconstructions.

        Errors of the training rows can be too small: the model may overfit a few
        unusual rows. See :func:`cross_val_reconstruction_error`.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows.

        per_feature : bool, default=False
            Whether to return the loss of each entry, and not the mean over features.

        Returns
        -------
        error : ndarray of shape (n_samples,) or (n_samples, n_features), or DataFrame
            The error; NaN for entries of missing values. A data frame if `set_output`
            requests it and `per_feature` is True. Its unit is the square of the data's
            for "squared_error" and "huber" (whose threshold is at `scale_`), that of
            the data for "absolute_error", and none for the other losses. For tables of
            mixed columns, an error of 1 is that of the constant model.
        """
        params = {"per_feature": per_feature}
        validate_parameter_constraints(
            ERROR_CONSTRAINTS, params, "reconstruction_error"
        )
        check_is_fitted(self)
        X, index = validate_rows(self, X), index_of(X)
        shape = X.shape[0], self._config.layout.n_columns
        errors = np.empty(shape if per_feature else shape[:1])
        # Losses are in standardized units.
        unit = self.scale_**self.module_.loss.power
        with np.errstate(over="ignore"):
            for block, losses in self._codec.losses(X):
                losses *= unit
                errors[block] = losses if per_feature else row_means(losses)
        # Squares of huge values exceed float64. NaN mark the padding of sequences.
        errors = np.minimum(errors, np.finfo(np.float64).max)
        return self._framed(errors, index) if per_feature else errors

    @returns_like_input
    @isolated_torch(n_threads=None)
    def impute(self, X):
        """Return rows with reconstructions in place of missing values.

        Values are predicted from the others of the same row: it is encoded without the
        missing ones, and decoded.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        X : ndarray, sparse matrix or DataFrame of shape (n_samples, n_features)
            A copy of the rows, of the same types. All values that are not missing are
            unchanged.

        See Also
        --------
        AutoencoderImputer : An imputer for pipelines.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from skae import AutoencoderTransformer
        >>> X = load_iris().data
        >>> X[::3, 2] = np.nan
        >>> model = AutoencoderTransformer(2, max_iter=20, random_state=0).fit(X)
        >>> bool(np.abs(model.impute(X) - load_iris().data).max() < 1.5)
        True
        """
        check_is_fitted(self)
        return self._fill(X, self._codec.decode)

    def _fill(self, X, decode):
        """Return rows with decoded codes in place of missing values."""
        layout = self._config.layout
        if layout.has_padding or len(layout.shape) > 1:
            raise ValueError(
                "Got a model of images or sequences, but only missing values of tables "
                "are imputed."
            )
        check_in_memory(X)
        decoded = decode(self._codec.encode(validate_rows(self, X)))
        decoded = layout.decode(decoded) if layout.is_table else decoded
        X = X if is_frame(X) or sparse.issparse(X) else np.asarray(as_array(X))
        # An array of integers has no missing values.
        return fill_missing(X, decoded)

    @isolated_torch(n_threads=None)
    def _fill_constant(self, X):
        """Return a table with means and most frequent levels for missing values."""
        constant = self._codec.constant_rows(len(X))
        return fill_missing(X, self._config.layout.decode(constant))

    @isolated_torch(n_threads=None)
    def _residual_deviations(self, X, seed):
        """Return the deviations for `_impute_draws`, of rows such as those of `fit`."""
        return residual_deviations(self._codec, validate_rows(self, X), seed)

    @isolated_torch(n_threads=None)
    def _impute_draws(self, X, deviations, seed):
        """Return rows with draws of predictions in place of missing values."""
        return self._fill(
            X, partial(self._codec.draw, deviations=deviations, seed=seed)
        )

    @isolated_torch(n_threads=None)
    def sample(self, n_samples=1, random_state=None):
        """Draw new rows that resemble the training rows.

        Codes are drawn and decoded. They come from the regularizer's prior if it has
        one, and otherwise from a Gaussian mixture fitted, in this method, to the codes
        of at most 1000 training rows, which are part of the model. The number of
        Gaussians and the shape of their covariances are selected by BIC. This takes a
        fraction of a second, so draw all rows in one call.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.

        random_state : int, RandomState instance or None, default=None
            Determines the rows. The same int gives the same rows. Global random states
            are neither used nor changed.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_samples, ...)
            Rows in the unit and float type of the training rows, in random order. A
            data frame if `set_output` requests one or `fit` was given one.

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
        learned = self._array("_codes"), self._array("_lengths")
        # scikit-learn fits a mixture to NumPy arrays.
        with config_context(array_api_dispatch=False):
            codes = sample_codes(regularizer, *learned, n_samples, seed, self._seed)
        return self._decode_like_training_rows(codes)

    @isolated_torch(n_threads=None)
    def interpolate(self, start, end, n_steps=10):
        """Return rows between two rows, along a straight line in the space of codes.

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
            The decoded rows of evenly spaced codes. The first and the last are the
            reconstructions of `start` and `end`. Unit, float type and container are as
            in `sample`.

        See Also
        --------
        sample : New rows that resemble the training rows.

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
        ends = self._codec.encode(start)[0], self._codec.encode(end)[0]
        return self._decode_like_training_rows(np.linspace(*ends, n_steps))

    def _decode_like_training_rows(self, codes):
        """Return decoded codes in the float type and container of the training rows."""
        # (n_samples, *shape)
        rows = self._codec.decode(cast_rows(codes, self._dtype))
        return like(self._in_container(rows, container=self._container), self.mean_)

    def _in_container(self, rows, index=None, container="default"):
        """Return decoded rows as a data frame, if one is expected.

        The types of a table are those of its library. Otherwise `set_output` has
        precedence over the given container.
        """
        if self._config.layout.is_table:
            return self._config.layout.decode(rows, index)
        return self._framed(rows, index, container)

    def _framed(self, rows, index=None, container="default"):
        """Return an array of a column for each feature as a data frame."""
        configured = get_output_config("transform", self)["dense"]
        container = container if configured == "default" else configured
        if container == "default" or rows.ndim != 2:
            return rows
        names = check_feature_names_in(self)
        frame = CONTAINERS[container].create_container(rows, rows, columns=names)
        if index is not None and container == "pandas":
            frame.index = index
        return frame

    @returns_like_input
    @isolated_torch(n_threads=None)
    def compress(self, X, *, added_error=0.01, max_error=None):
        """Compress rows to bytes by quantizing their codes.

        Each component of the codes is rounded to multiples of a step of its own, which
        is larger where the decoder is less sensitive, and the integers are compressed
        by `lzma`. Only the same fitted model can decompress them, so save the model as
        well.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows. Many rows in one call take fewer bytes than in several calls.

        added_error : float, default=0.01
            The share that rounding may add to the mean of `reconstruction_error(X)`
            over all rows that are not extreme; see Notes.

        max_error : float or None, default=None
            The largest absolute error of an entry of any row, in the unit of the data,
            or for tables of mixed columns in standard deviations of the column. With 0
            all entries are exact. Rows with a larger one are stored with a correction,
            and entries for which a correction is not precise enough are stored exactly,
            so every bound can be met. All rows are stored exactly if that takes fewer
            bytes. Missing values then stay missing. With None there is no bound, and
            the result is smallest.

        Returns
        -------
        data : bytes
            The compressed rows.

        See Also
        --------
        AutoencoderTransformer.decompress : The inverse.

        Notes
        -----
        `added_error` limits the mean error of the rows that are not extreme, so that
        one extreme row cannot make the steps too coarse for the others. A row is
        extreme if the largest magnitude of its code exceeds 5 times the 95th percentile
        of this magnitude. Of the other rows, those are extreme as well whose error
        without rounding, e, exceeds c, which is 5 times the 95th percentile of e.
        A percentile is the value of a row, without interpolation.

        The error of each row, extreme or not, is at most `(1 + added_error) * (e + c)`.
        Rows with a larger one are stored exactly, and so are rows with a code or an
        error that is not finite. If even the finest steps are too coarse for
        `added_error`, the rows with the largest errors are stored exactly.

        The mean and the percentile of e are treated as at least 1e-10 times the
        variance of the rows in standardized units, which is clipped to [1e-10, 1] and
        treated as 1 if it is 0. Errors are those before the rows are rounded to their
        float type.

        A column of a table has the type that it had in `fit`. With `max_error`, values
        that this type cannot hold raise ValueError, such as a fraction in a column of
        integers. So do integers of at least 2**53 that are rounded as floats.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from skae import AutoencoderTransformer
        >>> X = load_digits().data
        >>> model = AutoencoderTransformer(8, max_iter=5, random_state=0).fit(X)
        >>> data = model.compress(X, max_error=4.0)
        >>> bool(np.abs(model.decompress(data) - X).max() <= 4)
        True
        >>> len(data) < X.size / 2
        True
        """
        params = {"added_error": added_error, "max_error": max_error}
        validate_parameter_constraints(COMPRESS_CONSTRAINTS, params, "compress")
        check_is_fitted(self)
        if self._config.layout.has_padding:
            raise ValueError(
                "Sequences that end with NaN cannot be compressed. Fit on rows without "
                "NaN."
            )
        # Scalars of narrower types would overflow.
        max_error = None if max_error is None else float(max_error)
        X, exact = validate_rows_to_store(self, X, max_error)
        return compress(self._codec, X, exact, float(added_error), max_error)

    @isolated_torch(n_threads=None)
    def decompress(self, data, *, max_bytes=2**30):
        """Return the rows that `compress` of this model has written.

        Parameters
        ----------
        data : bytes
            The compressed rows. Data that `compress` did not write raises ValueError.

        max_bytes : int, default=2**30
            The largest size of the rows, and of their codes, that is decoded. A small
            input can decompress to a very large one.

        Returns
        -------
        X : ndarray of the shape that `fit` saw, or DataFrame
            The reconstructed rows, in the float type of those that were compressed.
            Tables of mixed columns, and frames that `set_output` requests, as in
            `inverse_transform`.
        """
        params = {"max_bytes": max_bytes}
        validate_parameter_constraints(DECOMPRESS_CONSTRAINTS, params, "decompress")
        check_is_fitted(self)
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(
                f"Got data of type {type(data).__name__}, but expected bytes, as "
                "`compress` returns."
            )
        rows = decompress(self._codec, bytes(data), max_bytes)
        rows = rows if self._config.layout.is_table else self._framed(rows)
        return like(rows, self.mean_)

    @isolated_torch(n_threads=None)
    def to_torch_module(self, part="both"):
        """Return a copy of the model as a PyTorch module, for export or training.

        Standardization, links, lengths of sequences and the most likely tokens are
        computed by the module, so that its results are those of `transform` and
        `inverse_transform`. It can be passed to `torch.export.export`,
        `torch.onnx.export`, `torch.compile` and `torch.jit.trace`, saved by safetensors
        and trained further. See :ref:`torch_modules`.

        Parameters
        ----------
        part : {"encode", "decode", "both"}, default="both"
            What `forward` returns: the codes of rows, the rows of codes, or
            reconstructions of rows. The module has the weights of this part only. With
            "both", it has methods `encode` and `decode` as well.

        Returns
        -------
        module : torch.nn.Module
            The module, on the CPU and in evaluation mode. Rows and codes are tensors of
            shape (n_samples, ...), in the unit of the data. Tables of mixed columns are
            tensors of shape (n_samples, n_columns), with the positions of levels in
            place of categories.

        Examples
        --------
        >>> import torch
        >>> from sklearn.datasets import load_digits
        >>> from skae import AutoencoderTransformer
        >>> X = load_digits().data
        >>> model = AutoencoderTransformer(8, max_iter=5, random_state=0).fit(X)
        >>> encoder = model.to_torch_module("encode")
        >>> codes = encoder(torch.from_numpy(X))
        >>> bool(abs(codes.detach().numpy() - model.transform(X)).max() < 1e-6)
        True
        """
        params = {"part": part}
        validate_parameter_constraints(EXPORT_CONSTRAINTS, params, "to_torch_module")
        check_is_fitted(self)
        model = self._config.load(to_arrays(self.module_))
        return EXPORTED[part](
            model, self._config.layout, self._array("mean_"), self.scale_
        )

    def get_feature_names_out(self, input_features=None):
        """Return the names of the components: "ae0", "ae1", ...

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Compared with the names seen in `fit`, and not used otherwise.

        Returns
        -------
        names : ndarray of str objects of shape (n_components,)
            The names.
        """
        check_is_fitted(self)
        check_feature_names_in(self, input_features, generate_names=False)
        return np.array([f"ae{i}" for i in range(self.n_components_)], dtype=object)

    @property
    def _n_features_out(self):
        return self.n_components_

    @property
    def _codec(self):
        """The fitted model without scikit-learn."""
        layout, mean = self._config.layout, self._array("mean_")
        return Codec(self.module_, layout, mean, self.scale_, self.n_components_)

    def _array(self, name):
        """Return a fitted array as a NumPy array.

        It may be on a device without float64, where it is in float32.
        """
        dtype = self._config.dtype if name in ("_codes", "_lengths") else np.float64
        return np.asarray(to_numpy(vars(self)[name]), dtype)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # scikit-learn has no tag for arrays of more than three dimensions.
        tags.input_tags.sparse = tags.input_tags.three_d_array = True
        # Networks of images and sequences do not accept missing values.
        tags.input_tags.allow_nan = getattr(self.network, "time_axis", None) is None
        tags.input_tags.categorical = True
        tags.array_api_support = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32", "float16"]
        return tags

    def __copy__(self):
        """Return an estimator with the same attributes, without copying the model."""
        copied = type(self).__new__(type(self))
        copied.__dict__.update(vars(self))
        if vars(self).get("_run"):  # further training would change both
            copied._run = None
        if FIT_CONTEXT in vars(self):
            # During a fit, copies are made for callbacks. The copies have none, so that
            # they can be pickled, and trained further, independently of this fit.
            for name in CALLBACK_ATTRIBUTES:
                copied.__dict__.pop(name, None)
        return copied

    def __getstate__(self):
        # Arrays, not torch objects: skops refuses those, and a GPU may be missing.
        state = super().__getstate__().copy()
        for name in ("_run", "_run_params"):
            state.pop(name, None)
        if "module_" in state:
            state |= {name: self._array(name) for name in ARRAYS}
            state["module_"] = to_arrays(self.module_)
            state["_config"] = self._config.to_state()
            state["_skae_version"] = __version__
        return state

    @isolated_torch(n_threads=None)
    def __setstate__(self, state):
        # A file may be damaged or manipulated: all is validated before it is used.
        state = dict(state)
        check_names(state, self._get_param_names())
        if is_fitted(state):
            message = version_message(state.pop("_skae_version", None))
            try:
                state |= fitted_state(state)
            except ValueError as error:
                raise ValueError(f"{error} {message}".strip()) from error
            if message:
                warnings.warn(message, UserWarning, stacklevel=3)
        super().__setstate__(state)
