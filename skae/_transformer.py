"""`AutoencoderTransformer`: parameters, doors, fit, transform, scores, state."""

import warnings
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skae._base import copy_if_default
from skae._codec import ReconstructionMixin
from skae._generation import GenerationMixin
from skae._sklearn import (
    HasMethods,
    Interval,
    RealNotInt,
    StrOptions,
    check_feature_names_in,
    fit_context,
)
from skae._torch import draw_seed
from skae._version import __version__
from skae.compression._compress import CompressionMixin
from skae.data._rows import ROW_DTYPES
from skae.data._validation import validate_rows, validate_training_data
from skae.losses import LOSSES, as_loss
from skae.model._config import INITS, Blueprint, check_attributes
from skae.networks._mlp import MLP
from skae.training._fit import Fit, choose
from skae.training._optimizers import SOLVERS
from skae.training._trainer import isolated_torch, to_arrays

DEFAULT_NETWORK = MLP()

# The types that a file written by skops names and that its reader is to trust.
SKOPS_TRUSTED = (
    "skae.Adversarial",
    "skae.AutoencoderTransformer",
    "skae.Contractive",
    "skae.Conv",
    "skae.CrossEntropy",
    "skae.GaussianNoise",
    "skae.MLP",
    "skae.MMD",
    "skae.MaskingNoise",
    "skae.Noise",
    "skae.Ordered",
    "skae.Recurrent",
    "skae.Regularizer",
    "skae.Sparse",
    "skae.SwapNoise",
    "skae.TopK",
    "skae.Variational",
)


class AutoencoderTransformer(
    CompressionMixin,
    GenerationMixin,
    ReconstructionMixin,
    ClassNamePrefixFeaturesOutMixin,
    CallbackSupportMixin,
    TransformerMixin,
    BaseEstimator,
):
    r"""Non-linear dimensionality reduction by an autoencoder that starts at PCA.

    An encoder e maps each row x to a code z of `n_components` numbers and a decoder d
    maps it back; both are trained so that `d(e(x))` is close to x. Beside each network
    runs a linear map, set to the solution of PCA, and the networks start at zero:

    .. math::

        z = W_e \tilde x + f(\tilde x), \qquad
        \hat x = (W_d z + g(z)) \, s + m, \qquad
        \tilde x = (x - m) / s

    with the mean m and one number s, the root mean square of all centred entries. So
    before the first step the model is PCA, training only improves on it, and the state
    that is best on held-out rows is kept.

    As in PCA, features of different units should be standardised first.

    Parameters
    ----------
    n_components : int or float, default=2
        Width of the code. With a float in (0, 1), the components are trained in order
        of importance (see :class:`Ordered`), and the fewest are kept that explain this
        share of the variance of held-out rows. For sequences of different lengths one
        column is the length.

    network : MLP, Conv, Recurrent, Modules or callable, default=MLP()
        What builds encoder and decoder. A callable
        `network(n_features, n_components, n_samples)` returns two `torch.nn.Module`,
        from (n, n_features) to (n, n_components) and back, for tokens with
        `n_features` numbers of their embeddings. It is called again when a saved model
        is loaded.

    init : {"pca", "random"}, default="pca"
        Start at PCA's solution, or with networks alone, at random weights.

    loss : str, CrossEntropy or callable, default="squared_error"
        What is minimised, averaged over features and samples: "squared_error",
        "absolute_error", "huber", "log_loss", "brier", "poisson" or "cross_entropy".
        "log_loss" (binary cross-entropy) and "brier" (squared error) have a sigmoid
        output and need data in [0, 1]; "poisson" has an exponential output and needs
        data >= 0; "cross_entropy" has a softmax output and needs rows of tokens,
        integers from 0 on, which are embedded; :class:`CrossEntropy` states the size of
        their vocabulary. The others have a linear output and are
        computed in standardised units, as is a callable `loss(output, target)`, which
        returns the loss of each entry as a tensor.

    noise : Noise, callable or None, default=None
        What is done to the rows that are encoded in training; the rows themselves must
        be reconstructed. A callable `noise(batch)` takes standardised rows.

    regularizer : Regularizer, callable or None, default=None
        What the code is asked to be. A callable `regularizer(codes)` returns a penalty
        for each sample, of shape (n_samples,).

    solver : {"adamw", "adam", "rmsprop", "sgd", "lbfgs"} or callable, default="adamw"
        The optimizer: Adam with decoupled weight decay, Adam, RMSprop, gradient descent
        with Nesterov momentum 0.9, or L-BFGS with a line search. A callable takes the
        parameters and returns a `torch.optim.Optimizer`, with a learning rate of its
        own.

    learning_rate : float, default=3e-3
        The largest step size. It rises to it over the first 5 % of the steps, and falls
        to zero along a cosine; it is constant where training may go on, with
        `partial_fit` or `warm_start`. "lbfgs" does not use it.

    alpha : "auto" or float, default="auto"
        Strength of the penalty on the networks' matrices (never on the linear maps):
        for "adamw" the rate of decay per unit of learning rate, "auto" being
        `min(1, 500 / n_samples)`; for the others the factor of half the sum of squares
        that is added to the loss, "auto" being 1e-4.

    batch_size : "auto" or int, default="auto"
        The largest number of rows in a step. With "auto", the power of two nearest to
        n_samples / 16 between 32 and 256; all rows up to 64 or for "lbfgs".

    max_iter : "auto" or int, default="auto"
        Number of epochs. With "auto", as many as make 1500 steps, 3000 from 1000 rows
        or 4000 from 10,000 rows on; one below 40 rows. With 0 the model is PCA.

    early_stopping : "auto" or bool, default="auto"
        Whether to hold out rows, judge each epoch by them, and keep the best. With
        "auto" 10 % are held out, at least 100 and at most 1000 but never more than a
        quarter, and none if that leaves fewer than 10. If the network is not
        significantly better than PCA on them, the result is PCA of all rows. Else,
        below 5000 rows, the network is trained once more, on all rows.

    validation_fraction : float, default=0.1
        Share of rows to hold out.

    n_iter_no_change : "auto" or int, default="auto"
        Number of epochs without improvement after which training stops; a quarter of
        all epochs, but at least 8, with "auto".

    tol : float, default=0.0
        The smallest improvement that counts, as a share of the best loss.

    warm_start : bool, default=False
        Whether `fit` goes on from the last one's state, at a constant learning rate.

    device : "auto", str or torch.device, default="auto"
        Where to compute. "auto" is "cuda" or "mps" where there is one, else "cpu".

    precision : {"auto", "bfloat16", "float32", "float64"}, default="auto"
        What to compute in. "auto" is "float64" for float64 input of at most 500 rows,
        else "float32". "bfloat16" is for products in training alone: faster for wide
        networks on processors and GPUs that know it, and an error on others.

    random_state : int, RandomState instance or None, default=None
        Determines weights, held-out rows and batches. The same int gives the same bits,
        on the same machine with the same versions. No global random state is used.

    verbose : int, default=0
        Print a line for every epoch if positive. See also
        :class:`sklearn.callback.ProgressBar`.

    Attributes
    ----------
    n_components_ : int
        Width of the code.

    mean_ : ndarray of shape (n_features,)
        Mean of the rows that were learned from; 0 for tokens.

    scale_ : float
        Root mean square of their centred entries; 1 for tokens.

    module_ : torch.nn.Module
        The model, with methods `encode` and `decode` of standardised tensors.

    explained_variance_ratio_ : ndarray of shape (n_components,)
        What each component adds, in order, to the share of variance (for other losses:
        of deviance) explained; components not yet added are zero. Measured on at most
        500 of the rows, fewer where there are many components.

    loss_curve_ : list of float
        Mean training loss of each epoch, in standardised units.

    validation_loss_curve_ : list of float
        Loss on the held-out rows after each epoch; empty where there are none.

    n_active_components_ : int
        Number of components that vary over at most 500 of the rows: with a standard
        deviation of 0.1 under a prior, else of 1 % of the largest.

    best_iter_ : int
        The epoch that was best on them; 0 is PCA.

    n_iter_ : int
        Number of epochs run, those on all rows included.

    batch_size_, max_iter_ : int
        What "auto" chose.

    alpha_ : float
        What "auto" chose.

    precision_, device_ : str
        What "auto" chose.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen in `fit`, where all are strings.

    See Also
    --------
    sklearn.decomposition.PCA : The linear solution, which this one starts at.
    MLP : The default network, for tables.
    Conv : For images and signals.
    Recurrent : For sequences.
    Modules : Two modules of your own.

    Notes
    -----
    Ctrl-C ends `fit` with KeyboardInterrupt and leaves the best model so far. Any other
    error leaves the earlier model.

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

    _parameter_constraints = {
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
        ],
        "network": [callable],
        "init": [StrOptions(set(INITS))],
        "loss": [StrOptions(set(LOSSES)), HasMethods(["elementwise"]), callable],
        "noise": [HasMethods(["corrupt", "_validate_params"]), callable, None],
        "regularizer": [HasMethods(["penalty", "_validate_params"]), callable, None],
        "solver": [StrOptions(set(SOLVERS)), callable],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "tol": [Interval(Real, 0, 1, closed="left")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "precision": [StrOptions({"auto", "bfloat16", "float32", "float64"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    _doc_link_module = "skae"
    _doc_link_template = (
        "https://skae.readthedocs.io/en/stable/generated/skae.{estimator_name}.html"
    )

    def __init__(
        self,
        n_components=2,
        *,
        network=DEFAULT_NETWORK,
        init="pca",
        loss="squared_error",
        noise=None,
        regularizer=None,
        solver="adamw",
        learning_rate=3e-3,
        alpha="auto",
        batch_size="auto",
        max_iter="auto",
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change="auto",
        tol=0.0,
        warm_start=False,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.network = copy_if_default(network, DEFAULT_NETWORK)
        self.init = init
        self.loss = loss
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
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, sample_weight=None, X_val=None):
        """Learn to encode and decode the rows of X.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of shape (n_samples, ...)
            The rows, such as images of shape (channels, height, width) or sequences of
            shape (length, features). Sequences of different lengths have NaN after the
            end; then the last column of a code is the length.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts. Rows of weight zero are left out.

        X_val : array like X, default=None
            Rows to judge epochs by, in place of a part of X.

        Returns
        -------
        self : AutoencoderTransformer
            The fitted estimator.
        """
        with restore_on_error(self):
            goes_on = self.warm_start and hasattr(self, "module_")
            table, seen = self._open(X, sample_weight, X_val, goes_on)
            fit = Fit(table, self._choose(table, goes_on))
            tasks = self._init_callback_context(max_subtasks=2)
            tasks.call_on_fit_task_begin(estimator=self, X=X, y=X)
            with isolated_torch(), forgetful(self):
                course = self._resume(fit) if goes_on else fit.start()
                try:
                    fit.plan(course)
                    self._train(course, fit, tasks, X)
                    searched, final = course, fit.settle(course)
                    self._train(final, fit, tasks, X)
                    course = fit.conclude(course, final)
                except KeyboardInterrupt:
                    self._publish(fit, course, seen)
                    raise
                self._publish(fit, course, seen)
            warn(self, searched, final)
            finish(self, tasks, X)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, *, sample_weight=None):
        """Train for one epoch on the rows of X, from where the last call ended.

        The first call finds mean, scale and PCA's solution; later ones keep them. The
        learning rate is constant. A model that was saved and loaded goes on from its
        weights, with the optimizer's memory lost.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of shape (n_samples, ...)
            Some rows.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.

        Returns
        -------
        self : AutoencoderTransformer
            The fitted estimator.
        """
        with restore_on_error(self):
            goes_on = hasattr(self, "module_")
            table, seen = self._open(X, sample_weight, None, goes_on)
            once = {"max_iter": 1, "early_stopping": False, "warm_start": True}
            fit = Fit(table, self._choose(table, goes_on, **once))
            tasks = self._init_callback_context(max_subtasks=1)
            tasks.call_on_fit_task_begin(estimator=self, X=X, y=X)
            with isolated_torch(), forgetful(self):
                course = self._resume(fit) if goes_on else fit.start()
                fit.plan(course)
                self._train(course, fit, tasks, X)
                self._publish(fit, course, seen)
            finish(self, tasks, X)
        return self

    def _open(self, X, sample_weight, X_val, goes_on):
        """Return the validated input of `fit`, and metadata of X."""
        return validate_training_data(
            self, X, sample_weight, X_val, as_loss(self.loss), reset=not goes_on
        )

    def _choose(self, table, goes_on, **changes):
        seed = self._seed if goes_on else draw_seed(self.random_state)
        choices = choose(self, table, seed, **changes)
        return choices.like(self._blueprint) if goes_on else choices

    def _resume(self, fit):
        """Return the last fit's course, or a new one from a model that was saved."""
        return fit.revive(self) if self._course is None else fit.resume(self._course)

    def _train(self, course, fit, tasks, X):
        """Pull the epochs that are planned, and report each to the callbacks."""
        if not course.going:
            return
        data = {"estimator": self, "X": X, "y": X}
        epochs = tasks.subcontext("epochs", max_subtasks=course.remaining)
        epochs.call_on_fit_task_begin(**data)
        while course.going:
            epoch = epochs.subcontext("epoch").call_on_fit_task_begin(**data)
            course.advance()
            if self.verbose:
                print(course.report())  # noqa: T201
            course.stopped = epoch.call_on_fit_task_end(
                reconstruction_attributes=lambda: fit.attributes(course), **data
            )
        epochs.call_on_fit_task_end(**data)

    def _publish(self, fit, course, seen):
        """Become the fitted model, all at once."""
        attributes = fit.attributes(course, over=not fit.choices.goes_on)
        attributes["_course"] = course.without_rows() if fit.choices.goes_on else None
        vars(self).update(attributes, **seen)

    def transform(self, X):
        """Encode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components)
            Their codes, in the float type of X. At the start of training they are PCA's
            scores divided by the standard deviation of the first component, or of each
            under a prior. For sequences of different lengths the last column is the
            length, as a share of the longest.
        """
        check_is_fitted(self)
        return self._encode(validate_rows(self, X))

    def inverse_transform(self, X):
        """Decode codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            The codes.

        Returns
        -------
        reconstruction : ndarray of the shape that `fit` saw
            Rows in the unit of the data, in the float type of the codes, with NaN after
            the end of sequences; tokens as integers.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=ROW_DTYPES)
        if codes.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {codes.shape[1]} columns, but expected codes with "
                f"n_components_={self.n_components_} columns, as `transform` returns."
            )
        return self._decode(codes)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the components: "ae0", "ae1", ...

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Checked against the names seen in `fit`; of no other use.

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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32", "float16"]
        return tags

    def __copy__(self):
        """Return an estimator that shares everything, without building a model."""
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self))
        if self.__dict__.get("_course"):  # training would change what both share
            copied._course = None
        return copied

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_course", None)
        if "module_" in state:
            state["module_"] = to_arrays(self.module_)
            state["_blueprint"] = self._blueprint.state()
            state["_skae_version"] = __version__
        return state

    def __setstate__(self, state):
        state = dict(state)
        if "module_" in state:
            blueprint = Blueprint.from_state(state.get("_blueprint"))
            check_attributes(state, blueprint)
            state["module_"] = blueprint.load(state["module_"])
            state["_blueprint"] = blueprint
            state["_course"] = None
            state.pop("_skae_version", None)
        super().__setstate__(state)


@contextmanager
def restore_on_error(estimator):
    """Restore the features seen by an earlier fit if the block raises.

    They stay if Ctrl-C has ended the block with a new model. Attributes of callbacks
    stay as well, since scikit-learn removes them after `fit`.
    """
    attributes, names = vars(estimator), ("n_features_in_", "feature_names_in_")
    module = attributes.get("module_")
    before = {name: attributes[name] for name in names if name in attributes}
    try:
        yield
    except BaseException:
        if attributes.get("module_") is module:
            for name in names:
                attributes.pop(name, None)
            attributes.update(before)
        raise


@contextmanager
def forgetful(estimator):
    """Let an estimator forget how training stood where a fit fails.

    What goes on then starts from the model, which is whole.
    """
    try:
        yield
    except BaseException:
        if "_course" in vars(estimator):
            estimator._course = None
        raise


def finish(estimator, tasks, X):
    """Tell callbacks that a fit has ended."""
    tasks.call_on_fit_task_end(
        estimator=estimator, X=X, y=X, reconstruction_attributes=dict
    )


def warn(estimator, searched, final):
    """Tell of training that failed, killed the code, or ended while it improved."""
    if not estimator.n_active_components_ and final.null_loss > 0:
        message = (
            "The code has died: no component varies with regularizer="
            f"{estimator.regularizer!r}. {final.model.regularizer.collapse_hint}"
        )
    elif any(course.diverged or course.worsened for course in (searched, final)):
        message = (
            f"Training diverged with learning_rate={estimator.learning_rate}; the best "
            "state before is kept. Lower learning_rate."
        )
    elif estimator.max_iter != "auto" and searched.complete and searched.improving:
        message = (
            f"Training reached max_iter={estimator.max_iter} while the loss was still "
            "falling. Increase max_iter, or leave it at 'auto'."
        )
    else:
        return
    warnings.warn(message, ConvergenceWarning, stacklevel=4)
