"""Quality of generated rows: skae, a Gaussian mixture and the VAE of pythae.

Each model is fitted to one half of a data set and generates as many rows as there are
in the other half, the real rows. The two are compared by nearest neighbors:

- precision: fraction of the generated rows in the neighborhood of a real row; recall:
  fraction of the real rows in the neighborhood of a generated row (Kynkäänniemi et al.,
  2019; 3 neighbors);
- density: number of real neighborhoods that contain a generated row, divided by 5;
  coverage: fraction of the real neighborhoods that contain a generated row (Naeem et
  al., 2020; 5 neighbors);
- accuracy of a support vector classifier on the real rows, trained on rows from one
  generator per class ("train on synthetic, test on real").

"real rows" uses the training rows in place of generated rows, as a perfect generator
would. Data sets are standardized, except for images. Seconds are CPU seconds of fitting
and generating, on one thread.

    python tests/benchmarks/generation.py [--data FOLDER] [--sets NAME ...]

The folder holds labeled data sets as .npz files, with X and y, or X_train, y_train,
X_test and y_test. pythae is included if it is installed.
"""

import argparse
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from skae import MMD, Adversarial, AutoencoderTransformer, Variational
from skae._generation import mixture_codes

BUNDLED = ("digits", "breast_cancer", "wine")
IMAGES = ("digits", "mnist")
MAX_ROWS, SEEDS = 4000, 3
MIN_ROWS_PER_CLASS = 20  # in each half
MEASURES = ["precision", "recall", "density", "coverage", "accuracy", "seconds"]


def real(X: np.ndarray, n_samples: int, k: int, seed: int) -> np.ndarray:
    """Return rows of X in random order, repeated if necessary."""
    order = np.random.default_rng(seed).permutation(len(X))
    return X[np.resize(order, n_samples)]


def mixture(X: np.ndarray, n_samples: int, k: int, seed: int) -> np.ndarray:
    """Return rows from the Gaussian mixture with the lowest BIC, fitted to X."""
    return mixture_codes(X, seed, n_samples, seed)


def skae(X: np.ndarray, n_samples: int, k: int, seed: int, **options) -> np.ndarray:
    """Return rows from skae, with default parameters except for the options."""
    model = AutoencoderTransformer(k, device="cpu", random_state=seed, **options)
    return model.fit(X).sample(n_samples, random_state=seed)


def pythae(
    X: np.ndarray, n_samples: int, k: int, seed: int, beta=1.0, learning_rate=1e-4
) -> np.ndarray:
    """Return rows from the VAE of pythae, whose outputs are in [0, 1]."""
    from pythae.models import BetaVAE, BetaVAEConfig
    from pythae.pipelines import TrainingPipeline
    from pythae.samplers import NormalSampler
    from pythae.trainers import BaseTrainerConfig

    logging.disable(logging.WARNING)
    scaler = MinMaxScaler().fit(X)
    config = BetaVAEConfig(input_dim=(X.shape[1],), latent_dim=k, beta=beta)
    model = BetaVAE(config)
    with (
        tempfile.TemporaryDirectory() as folder,
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
    ):
        options = BaseTrainerConfig(
            folder, seed=seed, no_cuda=True, learning_rate=learning_rate
        )
        train = TrainingPipeline(model=model, training_config=options)
        train(scaler.transform(X).astype(np.float32))
        rows = NormalSampler(model).sample(n_samples)
    return scaler.inverse_transform(rows.numpy().astype(float))


def pythae_tuned(X: np.ndarray, n_samples: int, k: int, seed: int) -> np.ndarray:
    """Return rows from the VAE of pythae with two parameters selected manually.

    With the defaults, the prior dominates the reconstruction of features in [0, 1], and
    all codes are the same.
    """
    return pythae(X, n_samples, k, seed, beta=0.02, learning_rate=1e-3)


METHODS = {
    "real rows": real,
    "Gaussian mixture": mixture,
    "pythae VAE": pythae,
    "pythae VAE, tuned": pythae_tuned,
    "skae": skae,
    "skae, Variational": partial(skae, regularizer=Variational()),
    "skae, MMD": partial(skae, regularizer=MMD()),
    "skae, Adversarial": partial(skae, regularizer=Adversarial()),
}


def available(names: list[str]) -> list[str]:
    """Return the methods whose package is installed, and print the others."""
    missing = [name for name in names if name.startswith("pythae")]
    if not missing or find_spec("pythae"):
        return names
    print(f"pythae is not installed; omitted: {', '.join(missing)}")
    return [name for name in names if name not in missing]


@dataclass(frozen=True)
class Cell:
    """Both halves of a data set, the number of components and the seed."""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    k: int
    seed: int

    def measure(self, method: str) -> dict[str, float]:
        """Return the measures of a method."""
        generate, start = METHODS[method], time.process_time()
        rows = generate(self.X, len(self.X_test), self.k, self.seed)
        seconds = time.process_time() - start
        measures = neighborhood_measures(self.X_test, rows)
        return measures | {"accuracy": self.accuracy(generate), "seconds": seconds}

    def accuracy(self, generate) -> float:
        """Return the accuracy on real rows after training on generated rows."""
        classes, counts = np.unique(self.y, return_counts=True)
        parts = [self.X[self.y == label] for label in classes]
        rows = [
            generate(part, len(part), min(self.k, len(part) // 4), self.seed)
            for part in parts
        ]
        classifier = SVC().fit(np.vstack(rows), np.repeat(classes, counts))
        return classifier.score(self.X_test, self.y_test)


def neighborhood_measures(X: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Return precision, recall, density and coverage of generated rows."""
    distances = pairwise_distances(X, rows)  # (n_real, n_generated)
    among_real = distances <= radii(X, 3)[:, np.newaxis]
    among_generated = distances <= radii(rows, 3)
    near = distances <= radii(X, 5)[:, np.newaxis]
    return {
        "precision": among_real.any(axis=0).mean(),
        "recall": among_generated.any(axis=1).mean(),
        "density": near.sum(axis=0).mean() / 5,
        "coverage": near.any(axis=1).mean(),
    }


def radii(X: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Return the distance of each row to its nth nearest neighbor."""
    distances = pairwise_distances(X)
    return np.partition(distances, n_neighbors, axis=1)[:, n_neighbors]


def bundled() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the data sets that are included in scikit-learn."""
    for name in BUNDLED:
        yield name, *getattr(datasets, f"load_{name}")(return_X_y=True)


def from_folder(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the labeled data sets in a folder, at most 4000 rows of each."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            X, y = (_column(arrays, name) for name in ("X", "y"))
        if y is None or y.dtype.kind not in "iu":
            continue
        rows = np.random.default_rng(0).permutation(len(X))[:MAX_ROWS]
        X, y = X[rows].reshape(len(rows), -1).astype(float), y[rows]
        if np.unique(y, return_counts=True)[1].min() >= 2 * MIN_ROWS_PER_CLASS:
            yield path.stem, X, y


def _column(arrays, name):
    names = [n for n in (name, f"{name}_train", f"{name}_test") if n in arrays]
    return np.concatenate([arrays[n] for n in names]) if names else None


def cells(name: str, X: np.ndarray, y: np.ndarray) -> Iterator[Cell]:
    """Yield the halves of a data set, for each number of components and each seed."""
    for k in sorted({max(2, X.shape[1] // 4), max(2, X.shape[1] // 2)}):
        for seed in range(SEEDS):
            halves = train_test_split(
                X, y, test_size=0.5, stratify=y, random_state=seed
            )
            X_train, X_test, y_train, y_test = halves
            if name not in IMAGES:
                scaler = StandardScaler().fit(X_train)
                X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
            yield Cell(name, X_train, y_train, X_test, y_test, k, seed)


def run(sets, methods: list[str]) -> pd.DataFrame:
    """Return the measures of each cell and method; print their means for each k."""
    results = []
    for name, X, y in sets:
        rows = []
        for cell in cells(name, X, y):
            rows += [
                {"set": name, "k": cell.k, "method": m, **cell.measure(m)}
                for m in methods
            ]
        report(f"{name}: {len(X)} rows of {X.shape[1]}", rows, ["k", "method"])
        results += rows
    return pd.DataFrame(results)


def report(title: str, results, by) -> None:
    """Print mean measures."""
    table = pd.DataFrame(results).groupby(by, sort=False)[MEASURES].mean()
    print(f"\n{title}\n{table.to_string(float_format='{:.3f}'.format)}", flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with .npz files")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--sets", nargs="+", help="names of the data sets")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    sets = [*bundled(), *(from_folder(arguments.data) if arguments.data else ())]
    if arguments.sets:
        sets = [s for s in sets if s[0] in arguments.sets]
    with threadpool_limits(1):
        results = run(sets, available(arguments.methods))
    report("Means over data sets, components and seeds", results, ["method"])


if __name__ == "__main__":
    main()
