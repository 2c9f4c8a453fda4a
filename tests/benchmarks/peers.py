"""Capabilities of skae and of other libraries, each tried in code.

A trial calls a library on small data, and checks the result. Cells are

- yes: the call succeeds, and the result has the property that is named in the row;
- no: the library has no such function, or the result does not have the property;
- error: the call raises an error; `--errors` prints it;
- code: possible with a PyTorch module or a loop that the user writes;
- types: after the user has added types to the trusted ones;
- saved: in a file only;
- slow: not finished after 90 seconds;
- "-": does not apply.

Other cells are numbers. The columns are scikit-learn's PCA, `MLPRegressor` and skorch's
`NeuralNetRegressor`, both trained to predict their own input, the autoencoder of
pythae, PyOD's AutoEncoder, and UMAP. Estimators have the default parameters, except for
the number of components and of epochs. Packages that are not installed are left out.

    pip install -e ".[bench,onnx]" skops umap-learn
    python tests/benchmarks/peers.py [--libraries NAME ...] [--rows WORD] [--errors]
"""

import argparse
import contextlib
import importlib.metadata
import io
import logging
import os
import pickle
import random
import re
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ["SCIPY_ARRAY_API"] = "1"  # before scipy is imported

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import trustworthiness
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from threadpoolctl import threadpool_limits
from torch import nn

from skae import (
    SKOPS_TRUSTED,
    Adversarial,
    AutoencoderImputer,
    AutoencoderOutlierDetector,
    AutoencoderTransformer,
    Conv,
    GaussianNoise,
    Sparse,
    Variational,
)

N_EPOCHS = 20
LIMIT = 90  # seconds of a trial
DIGITS, LABELS = load_digits(return_X_y=True)
X = StandardScaler().fit_transform(DIGITS)[:400].astype(np.float32)
y = LABELS[:400]
# Rows of rank eight. `r2_score` is meaningless for digits: some pixels are constant.
RNG = np.random.default_rng(0)
RANK_8 = (RNG.normal(size=(400, 8)) @ RNG.normal(size=(8, 64))).astype(np.float32) / 3


class MissingError(Exception):
    """The library has no function for this."""


class OwnCodeError(Exception):
    """The user writes a module or a loop for this."""


class Library:
    """The calls of the trials, for a library that has none of the functions."""

    name: str
    package: str
    trusted: tuple[str, ...] = ()  # types for skops
    default_epochs: dict[str, int | str] = {}  # of the estimator

    def estimator(self, n_components: int = 2, **params):
        """Return an estimator with the interface of scikit-learn."""
        raise MissingError

    def fit(self, X, n_components: int = 2, **params):
        """Return a model that is fitted to rows."""
        return self.train(self.estimator(n_components, **params), X)

    def train(self, model, X):
        """Fit an estimator to rows, and return it."""
        return model.fit(X)

    def fit_weighted(self, X, weight):
        """Return a model that is fitted to rows with weights."""
        return self.missing("fit_weighted")

    def search(self) -> GridSearchCV:
        """Return a search over one and eight components, fitted without scoring."""
        grid = {"n_components": [1, 8]}
        search = GridSearchCV(self.estimator(), grid, cv=2, error_score="raise")
        return search.fit(RANK_8)

    def codes(self, model, X):
        """Return the codes of rows."""
        return _method(model, "transform")(X)

    def decode(self, model, codes):
        """Return the rows of codes."""
        return _method(model, "inverse_transform")(codes)

    def reconstruct(self, model, X):
        """Return rows from their own codes."""
        return self.decode(model, self.codes(model, X))

    def missing(self, name: str):
        """Raise an error for a function that the library does not have."""
        raise MissingError(name)

    def best_epoch(self) -> bool | str:
        """Return whether the fitted model is that of the best epoch in validation."""
        return self.missing("best_epoch")

    def images(self, images):
        """Fit convolutions to images of shape (n, 1, 8, 8), and return their codes."""
        return self.missing("images")

    def sequences(self, sequences):
        """Return codes of sequences of different lengths, padded with NaN."""
        return self.missing("sequences")

    def variant(self, name: str):
        """Fit a variant of the autoencoder."""
        return self.missing(name)

    def sample(self, n: int):
        """Return new rows."""
        return self.missing("sample")

    def impute(self, X):
        """Return rows with their missing values filled in."""
        return self.missing("impute")

    def detector(self):
        """Return an outlier detector, with a method `decision_function`."""
        return self.missing("detector")

    def compress(self, X):
        """Return the bytes of rows, and the rows of these bytes."""
        return self.missing("compress")

    def interrupted(self, X):
        """Return a model whose fit was ended by Ctrl-C."""
        model = self.estimator(max_iter=100_000)
        with contextlib.suppress(KeyboardInterrupt):
            self.train(model, X)
        return model

    def in_blocks(self, blocks: Iterable):
        """Fit to blocks of rows, and return the model."""
        model = self.estimator()
        for block in blocks:
            _method(model, "partial_fit")(block)
        return model

    def onnx(self, model) -> bytes:
        """Return the encoder, or the model, in ONNX format."""
        from skl2onnx import to_onnx

        return to_onnx(model, X[:1]).SerializeToString()

    def n_algorithms(self) -> int:
        """Return the number of estimators of the library for this task."""
        return 1


def _method(model, name):
    if not hasattr(model, name):
        raise MissingError(name)
    return getattr(model, name)


class Skae(Library):
    name, package, trusted = "skae", "skae", SKOPS_TRUSTED
    default_epochs = {"max_iter": "auto"}

    def estimator(self, n_components=2, **params):
        params = {"max_iter": N_EPOCHS, "random_state": 0, **params}
        return AutoencoderTransformer(n_components, **params)

    def fit_weighted(self, X, weight):
        return self.estimator().fit(X, sample_weight=weight)

    def best_epoch(self):
        model = self.estimator(8, max_iter=200, learning_rate=0.02, n_iter_no_change=30)
        curve = model.fit(X[:80], X_val=X[80:]).validation_loss_curve_
        best = np.square(self.reconstruct(model, X[80:]) - X[80:]).mean()
        last = best * curve[-1] / min(curve)
        return model.best_iter_ == 1 + np.argmin(curve) and best < last

    def images(self, images):
        return self.fit(images, network=Conv(channels=(4,)), max_iter=2).transform(
            images
        )

    def sequences(self, sequences):
        return self.fit(sequences, max_iter=2).transform(sequences)

    def variant(self, name):
        parts = {
            "variational": {"regularizer": Variational()},
            "adversarial": {"regularizer": Adversarial()},
            "sparse": {"regularizer": Sparse()},
            "denoising": {"noise": GaussianNoise()},
        }
        return self.fit(X, max_iter=2, **parts[name])

    def sample(self, n):
        return self.fit(X).sample(n, random_state=0)

    def impute(self, X):
        return AutoencoderImputer(max_iter=N_EPOCHS, random_state=0).fit_transform(X)

    def detector(self):
        return AutoencoderOutlierDetector(random_state=0)

    def compress(self, X):
        model = self.fit(X, 8)
        data = model.compress(X)
        return data, model.decompress(data)

    def in_blocks(self, blocks):
        blocks = list(blocks)
        return self.fit(lambda: iter(blocks), max_iter=2)

    def onnx(self, model):
        import skae.onnx

        skae.onnx.register()
        return super().onnx(model)


class Pca(Library):
    name, package = "PCA", "scikit-learn"

    def estimator(self, n_components=2, **params):
        return PCA(n_components, **{"random_state": 0, **params})


class Perceptron(Library):
    name, package = "MLPRegressor", "scikit-learn"
    default_epochs = {"max_iter": 200}

    def estimator(self, n_components=2, **params):
        params = {"max_iter": N_EPOCHS, "random_state": 0, **params}
        return MLPRegressor(hidden_layer_sizes=(64, n_components, 64), **params)

    def train(self, model, X):
        return model.fit(X, X.toarray() if sparse.issparse(X) else X)

    def fit_weighted(self, X, weight):
        return self.estimator().fit(X, X, sample_weight=weight)

    def search(self):
        grid = {"hidden_layer_sizes": [(64, 1, 64), (64, 8, 64)]}
        model = self.estimator(max_iter=100)
        search = GridSearchCV(model, grid, cv=2, error_score="raise")
        return search.fit(RANK_8, RANK_8)

    def reconstruct(self, model, X):
        return model.predict(X)

    def best_epoch(self):
        model = self.fit(
            X[:80], 8, early_stopping=True, learning_rate_init=0.03,
            max_iter=400, validation_fraction=0.5, n_iter_no_change=30,
        )  # fmt: skip
        scores = model.validation_scores_
        # The last epochs are no better, and the coefficients are those of the best one.
        same = all(
            np.array_equal(now, best)
            for now, best in zip(model.coefs_, model._best_coefs, strict=True)
        )
        return same and scores[-1] < model.best_validation_score_

    def in_blocks(self, blocks):
        model = self.estimator()
        for block in blocks:
            model.partial_fit(block, block)
        return model


class Autoencoder(nn.Module):
    """The module for skorch."""

    def __init__(self, n_components=2, n_features=64):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(n_features, 64), nn.ReLU(), nn.Linear(64, n_components)
        )
        self.decoder = nn.Sequential(
            nn.Linear(n_components, 64), nn.ReLU(), nn.Linear(64, n_features)
        )

    def forward(self, X):
        """Return the reconstructions of rows."""
        return self.decoder(self.encoder(X))


class Skorch(Library):
    name, package = "skorch", "skorch"
    default_epochs = {"max_iter": 10}

    def estimator(self, n_components=2, max_iter=N_EPOCHS, **params):
        from skorch import NeuralNetRegressor

        return NeuralNetRegressor(
            Autoencoder, module__n_components=n_components, max_epochs=max_iter,
            verbose=0, **{"optimizer": torch.optim.Adam, "lr": 1e-3, **params},
        )  # fmt: skip

    def train(self, model, X):
        return model.fit(X, X)

    def search(self):
        grid, net = {"module__n_components": [1, 8]}, self.estimator(max_iter=100)
        search = GridSearchCV(net, grid, cv=2, error_score="raise")
        return search.fit(RANK_8, RANK_8)

    def codes(self, model, X):
        raise OwnCodeError

    decode = codes

    def reconstruct(self, model, X):
        return model.predict(X)

    def best_epoch(self):
        from skorch.callbacks import EarlyStopping

        model = self.fit(
            X[:80], 8, max_iter=400, lr=0.02,
            callbacks=[EarlyStopping(patience=30, load_best=True)],
        )  # fmt: skip
        losses = model.history[:, "valid_loss"]
        dataset = model.get_split_datasets(X[:80], X[:80])[1]
        rows = np.stack([row for row, _ in dataset])
        now = np.square(model.predict(rows) - rows).mean()
        return np.isclose(now, min(losses), rtol=1e-3) and losses[-1] > min(losses)

    def missing(self, name):
        if name in ("best_epoch", "impute", "detector", "compress"):
            raise MissingError(name)
        raise OwnCodeError(name)

    def in_blocks(self, blocks):
        model = self.estimator()
        for block in blocks:
            model.partial_fit(block, block)
        return model

    def onnx(self, model):
        raise OwnCodeError


class Pythae(Library):
    name, package = "pythae", "pythae"
    default_epochs = {"max_iter": 100}

    def _train(self, model, X, n_epochs=N_EPOCHS, X_val=None, **params):
        from pythae.pipelines import TrainingPipeline
        from pythae.trainers import AdversarialTrainerConfig, BaseTrainerConfig

        adversarial = model.model_name == "Adversarial_AE"
        config = AdversarialTrainerConfig if adversarial else BaseTrainerConfig
        config = config(
            output_dir="pythae", num_epochs=n_epochs, no_cuda=True, **params
        )
        pipeline = TrainingPipeline(model=model, training_config=config)
        pipeline(train_data=X, eval_data=X_val)
        return model.eval()

    def _model(self, kind="AE", n_components=2, shape=(64,)):
        from pythae import models

        config = getattr(models, f"{kind}_Config" if "_" in kind else f"{kind}Config")
        return getattr(models, kind)(config(input_dim=shape, latent_dim=n_components))

    def fit(self, X, n_components=2, max_iter=N_EPOCHS, **params):
        shape = tuple(np.shape(X)[1:]) or (64,)
        random_state = params.pop("random_state", 0)
        model = self._model("AE", n_components, shape)
        return self._train(model, X, max_iter, seed=random_state)

    def codes(self, model, X):
        return model.embed(torch.as_tensor(X)).detach().numpy()

    def decode(self, model, codes):
        return model.decoder(torch.as_tensor(codes)).reconstruction.detach().numpy()

    def reconstruct(self, model, X):
        return model.reconstruct(torch.as_tensor(X)).detach().numpy()

    def best_epoch(self):
        model = self._model("AE", 8)
        self._train(
            model, X[:80], 200, X[80:], learning_rate=0.02,
            per_device_train_batch_size=20, per_device_eval_batch_size=1000,
        )  # fmt: skip
        from pythae.models import AutoModel

        (run,) = os.listdir("pythae")
        saved = AutoModel.load_from_folder(f"pythae/{run}/final_model").eval()
        given, stored = (
            np.square(self.reconstruct(one, X[80:]) - X[80:]).mean()
            for one in (model, saved)
        )
        return "saved" if stored < given else "no"

    def images(self, images):
        from pythae.models.nn.benchmarks.mnist import (
            Decoder_Conv_AE_MNIST,
            Encoder_Conv_AE_MNIST,
        )

        images = np.pad(images, [(0, 0), (0, 0), (10, 10), (10, 10)])
        model = self._model("AE", 2, (1, 28, 28))
        model.set_encoder(Encoder_Conv_AE_MNIST(model.model_config))
        model.set_decoder(Decoder_Conv_AE_MNIST(model.model_config))
        return self.codes(self._train(model, images, 1), images)

    def sequences(self, sequences):
        raise OwnCodeError

    def variant(self, name):
        kinds = {"variational": "VAE", "adversarial": "Adversarial_AE"}
        if name not in kinds:
            raise MissingError
        return self._train(self._model(kinds[name]), np.abs(X) / 10, 1)

    def sample(self, n):
        from pythae.samplers import GaussianMixtureSampler

        unit = (X - X.min()) / np.ptp(X)  # the sampler requires rows in [0, 1]
        sampler = GaussianMixtureSampler(self._train(self._model("VAE"), unit))
        sampler.fit(unit)
        return sampler.sample(n).numpy()

    def onnx(self, model):
        raise OwnCodeError

    def interrupted(self, X):
        model = self._model()
        with contextlib.suppress(KeyboardInterrupt):
            self._train(model, X, 100_000)
        return model.eval()

    def in_blocks(self, blocks):
        raise OwnCodeError

    def n_algorithms(self):
        import pythae.models

        names = pythae.models.__all__
        return sum(not re.search("Auto|Base|Config", name) for name in names)


class Pyod(Library):
    name, package = "PyOD", "pyod"
    default_epochs = {"max_iter": 10}

    def estimator(self, n_components=2, max_iter=N_EPOCHS, **params):
        from pyod.models.auto_encoder import AutoEncoder

        params = {"random_state": 0, **params}
        return AutoEncoder(
            hidden_neuron_list=[64, n_components], epoch_num=max_iter,
            device="cpu", verbose=0, **params,
        )  # fmt: skip

    def search(self):
        grid = {"hidden_neuron_list": [[64, 1], [64, 8]]}
        search = GridSearchCV(self.estimator(), grid, cv=2, error_score="raise")
        return search.fit(RANK_8)

    def codes(self, model, X):
        raise OwnCodeError

    decode = codes

    def reconstruct(self, model, X):
        raise OwnCodeError

    def variant(self, name):
        from pyod.models.vae import VAE

        if name != "variational":
            raise MissingError
        return VAE(epoch_num=1, device="cpu", verbose=0).fit(X)

    def detector(self):
        return self.estimator()

    def onnx(self, model):
        raise OwnCodeError

    def n_algorithms(self):
        import pyod.models

        # Read from the source, as some modules need packages that are not installed.
        text = "".join(
            file.read_text() for file in Path(pyod.models.__path__[0]).glob("*.py")
        )
        names = re.findall(r"^class (\w+)\(Base\w*Detector\)", text, re.MULTILINE)
        return len(set(names) - {"BaseDeepLearningDetector"})


class Umap(Library):
    name, package = "UMAP", "umap-learn"

    def estimator(self, n_components=2, max_iter=None, **params):
        from umap import UMAP

        params = {"random_state": 0, **params}
        return UMAP(n_components=n_components, n_epochs=max_iter, **params)

    def in_blocks(self, blocks):
        first, *others = blocks
        model = self.fit(first)
        for block in others:
            model.update(block)
        return model


LIBRARIES = [Skae(), Pca(), Perceptron(), Skorch(), Pythae(), Pyod(), Umap()]
TRIALS: dict[str, Callable[[Library], object]] = {}


def trial(name: str) -> Callable:
    """Add a function to the trials, as the row of this name."""

    def add(function):
        TRIALS[name] = function
        return function

    return add


# The interface of scikit-learn


@trial("estimator checks passed")
def checks(library):
    results = check_estimator(library.estimator(), on_fail=None, on_skip=None)
    counts = pd.Series([result["status"] for result in results]).value_counts()
    return f"{counts.get('passed', 0)}/{counts.drop('skipped', errors='ignore').sum()}"


@trial("encoding of new rows")
def codes_of_new_rows(library):
    codes = library.codes(library.fit(X[:300]), X[300:])
    return np.shape(codes) == (100, 2) and np.isfinite(codes).all()


@trial("decoding of codes")
def rows_of_codes(library):
    model = library.fit(X[:300])
    rows = library.decode(model, library.codes(model, X[300:]))
    return np.shape(rows) == (100, 64) and np.isfinite(rows).all()


@trial("reconstructions of new rows")
def reconstructions(library):
    return np.shape(library.reconstruct(library.fit(X[:300]), X[300:])) == (100, 64)


@trial("Pipeline before a classifier")
def pipeline(library):
    steps = library.estimator(8), LogisticRegression(max_iter=5000)
    _method(steps[0], "transform")
    return make_pipeline(*steps).fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.2


@trial("GridSearchCV without scoring")
def grid_search(library):
    """Whether the search selects eight components rather than one."""
    return "8" in str(library.search().best_params_)


@trial("set_output to pandas")
def set_output(library):
    model = library.estimator()
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    _method(model, "transform")
    codes = _method(model, "set_output")(transform="pandas").fit(frame).transform(frame)
    return list(codes.columns) == list(model.get_feature_names_out())


# Rows of all kinds


@trial("float64 rows")
def float64(library):
    return _reconstructs_or_encodes(library, library.fit(X.astype(float)), X[:5] * 1.0)


@trial("data frame of numbers")
def frame_of_numbers(library):
    frame = pd.DataFrame(X.astype(float)).add_prefix("pixel ")
    return _reconstructs_or_encodes(library, library.fit(frame), frame[:5])


@trial("data frame of mixed columns")
def mixed_columns(library):
    frame = pd.DataFrame(X[:, 2:5].astype(float)).add_prefix("pixel ")
    frame["digit"] = pd.Categorical.from_codes(y, list("abcdefghij"))
    return _reconstructs_or_encodes(library, library.fit(frame), frame[:5])


@trial("missing values")
def missing_values(library):
    gaps = _with_gaps()
    return _reconstructs_or_encodes(library, library.fit(gaps), gaps[:5])


@trial("sparse matrix")
def sparse_matrix(library):
    rows = sparse.csr_matrix(X)
    return _reconstructs_or_encodes(library, library.fit(rows), rows[:5])


@trial("fewer rows than a batch")
def few_rows(library):
    if library.name in ("PCA", "UMAP"):
        return "-"
    return _reconstructs_or_encodes(library, library.fit(X[:20]), X[:5])


@trial("values far from [0, 1]")
def far_values(library):
    """Whether the reconstruction of rows near 500 is better than the mean."""
    far = np.tile(1000 * X[:, :8] + 500, 8).astype(np.float32)  # 8 different columns
    n_components = 2 if library.name == "UMAP" else 8  # its inverse is slow for more
    model = library.fit(far, n_components, **_epochs(library, 100))
    reconstructed = library.reconstruct(model, far[:50])
    return r2_score(far[:50], reconstructed, multioutput="variance_weighted") > 0.3


@trial("error for another number of columns")
def wrong_width(library):
    model = library.fit(X)
    try:
        _rows_or_scores(library, model, X[:6, :32])
    except (ValueError, RuntimeError, TypeError, IndexError, AssertionError):
        return True
    return False


@trial("images (n, 1, 8, 8) with convolutions")
def images(library):
    return len(library.images(X.reshape(-1, 1, 8, 8))) == 400


@trial("sequences of different lengths")
def sequences(library):
    padded = X.reshape(-1, 8, 8).astype(float)
    padded[np.arange(8) >= np.resize([3, 5, 8], 400)[:, np.newaxis]] = np.nan
    return np.isfinite(library.sequences(padded)).all()


def _with_gaps():
    gaps = X.copy()
    gaps[np.random.default_rng(0).random(gaps.shape) < 0.1] = np.nan
    return gaps


def _epochs(library, n):
    return {"max_iter": n} if library.default_epochs else {}


def _rows_or_scores(library, model, X):
    """Return reconstructions, or codes, or scores of outliers, without own code."""
    for method in (library.reconstruct, library.codes):
        with contextlib.suppress(MissingError, OwnCodeError):
            return method(model, X)
    return _method(model, "decision_function")(X)


def _reconstructs_or_encodes(library, model, X):
    if library.name == "UMAP":
        return np.isfinite(np.asarray(library.codes(model, X))).all()
    rows = _rows_or_scores(library, model, X)
    return not pd.isna(rows).all() if np.ndim(rows) == 0 else not _has_nan(rows)


def _has_nan(rows):
    return pd.isna(np.asarray(rows)).any()


# Training


@trial("sample_weight")
def sample_weight(library):
    """Whether the fit depends on the weights of the rows."""
    weight = np.r_[np.ones(200), np.zeros(200)]
    fits = library.fit(X), library.fit_weighted(X, weight)
    return not np.allclose(*(library.reconstruct(fit, X) for fit in fits))


@trial("best epoch in validation restored")
def best_epoch(library):
    return library.best_epoch()


@trial("random_state: the same result twice")
def repeatable(library):
    if isinstance(library, Skorch):
        raise MissingError
    results = [
        _rows_or_scores(library, library.fit(X, random_state=3), X[:20])
        for _ in range(2)
    ]
    return np.array_equal(*results)


@trial("global random states unchanged")
def global_states(library):
    before = _states()
    library.fit(X)
    return before == _states()


def _states():
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
    return random.getstate(), numpy_state, torch.get_rng_state().tolist()


@trial("a fit writes no files")
def no_files(library):
    library.fit(X)
    return not os.listdir()


@trial("Ctrl-C keeps the model so far")
def interrupt(library):
    if library.name == "PCA":
        return "-"
    library.fit(X, **_epochs(library, 1))  # imports
    threading.Timer(5.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    model = library.interrupted(np.tile(X, (25, 1)))
    try:
        return not _has_nan(_rows_or_scores(library, model, X[:5]))
    except Exception:
        return False


@trial("partial_fit, or rows in blocks")
def blocks(library):
    model = library.in_blocks(np.array_split(X, 4))
    return _rows_or_scores(library, model, X[:5]) is not None


# Variants and uses


@trial("variational")
def variational(library):
    return library.variant("variational") is not None


@trial("adversarial")
def adversarial(library):
    return library.variant("adversarial") is not None


@trial("sparse codes")
def sparse_codes(library):
    return library.variant("sparse") is not None


@trial("denoising")
def denoising(library):
    return library.variant("denoising") is not None


@trial("generation of new rows")
def new_rows(library):
    return np.shape(library.sample(5)) == (5, 64)


@trial("imputation")
def imputation(library):
    return not _has_nan(library.impute(_with_gaps()))


@trial("outlier scores and labels")
def outliers(library):
    detector = library.detector().fit(X)
    scores = detector.decision_function(X)
    return np.shape(scores) == (400,) and len(np.unique(detector.predict(X))) == 2


@trial("constant columns do not dominate outlier scores")
def constant_column(library):
    """Whether a constant column that moves by 0.001 changes scores little."""
    constant = np.column_stack([X, np.full(len(X), 7.0)])
    moved = constant[:50] + np.r_[np.zeros(64), 1e-3]
    try:
        detector = library.detector().fit(constant)
    except MissingError:
        return "-"
    spread = np.ptp(detector.decision_function(constant))
    change = detector.decision_function(moved) - detector.decision_function(
        constant[:50]
    )
    return np.abs(change).max() < 0.1 * spread


@trial("compression to bytes")
def compression(library):
    data, rows = library.compress(X)
    return len(data) < X.nbytes / 10 and np.shape(rows) == X.shape


# Deployment


@trial("pickle: the same results")
def pickled(library):
    model = library.fit(X)
    loaded = pickle.loads(pickle.dumps(model))
    results = [_rows_or_scores(library, one, X[:20]) for one in (model, loaded)]
    return np.array_equal(*results)


@trial("pickle contains no tensors")
def pickle_without_tensors(library):
    return b"torch" not in pickle.dumps(library.fit(X))


@trial("skops: the same results")
def skops(library):
    import skops.io

    model = library.fit(X)
    data = skops.io.dumps(model)
    types = skops.io.get_untrusted_types(data=data)
    loaded = skops.io.loads(data, trusted=types)
    results = [_rows_or_scores(library, one, X[:20]) for one in (model, loaded)]
    if set(types) - set(library.trusted) and np.array_equal(*results):
        return "types"
    return np.array_equal(*results)


@trial("ONNX")
def onnx(library):
    return len(library.onnx(library.fit(X))) > 0


@trial("array API: tensors in, tensors out")
def array_api(library):
    rows = torch.from_numpy(X)
    with config_context(array_api_dispatch=True):
        return isinstance(library.codes(library.fit(rows), rows), torch.Tensor)


# Numbers


@trial("CPU seconds of a fit, 1797 x 64, 2 components")
def seconds(library):
    rows = StandardScaler().fit_transform(DIGITS).astype(np.float32)
    library.fit(X)  # imports and compilation
    start = time.process_time()
    library.fit(rows, **library.default_epochs)
    return f"{time.process_time() - start:.2g}"


@trial("trustworthiness of 2 components")
def neighborhoods(library):
    """The share of neighbors in the codes that are neighbors of the row."""
    rows = StandardScaler().fit_transform(DIGITS).astype(np.float32)
    codes = library.codes(library.fit(rows, **library.default_epochs), rows)
    return f"{trustworthiness(rows, codes):.2f}"


@trial("number of algorithms")
def algorithms(library):
    return str(library.n_algorithms())


def cell(function: Callable, library: Library) -> tuple[str, str]:
    """Return the result of a trial in words, and the error if there is one."""
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(LIMIT)
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
        try:
            with _quiet():
                result = function(library)
        except MissingError:
            return "no", ""
        except OwnCodeError:
            return "code", ""
        except TimeoutError:
            return "slow", ""
        except Exception as error:
            return "error", f"{type(error).__name__}: {str(error)[:200]}"
        finally:
            signal.alarm(0)
    return (result if isinstance(result, str) else "yes" if result else "no"), ""


def _stop(*_):
    raise TimeoutError


@contextlib.contextmanager
def _quiet():
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        yield


def main():
    """Print the table, and the versions of the packages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--libraries", nargs="+", metavar="NAME")
    parser.add_argument("--rows", default="", metavar="WORD", help="in names of rows")
    parser.add_argument("--errors", action="store_true", help="print messages")
    args = parser.parse_args()
    chosen = [
        library
        for library in LIBRARIES
        if not args.libraries or library.name in args.libraries
    ]
    names = {name: one for name, one in TRIALS.items() if args.rows in name}
    table, errors = pd.DataFrame(index=list(names)), []
    for library in [one for one in chosen if _version(one.package)]:
        cells = {name: cell(one, library) for name, one in names.items()}
        table[library.name] = [text for text, _ in cells.values()]
        errors += [f"{library.name}, {n}: {e}" for n, (_, e) in cells.items() if e]
    print(table.to_string())
    packages = [*dict.fromkeys(one.package for one in chosen), "torch"]
    print("\n" + ", ".join(f"{name} {_version(name)}" for name in packages))
    if args.errors:
        print("\n" + "\n".join(errors))


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    with threadpool_limits(1):
        torch.set_num_threads(1)
        main()
