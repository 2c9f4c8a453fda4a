"""What each variant of the autoencoder does to codes: the family beside PCA.

Four tables, on the digits that come with scikit-learn unless said otherwise. Three
quarters are learned from, the rest are judged by. Parameters are at their defaults, but
for those that a row's name states; one seed, one thread.

- denoising: noisy images in, and the share of the clean images' variance that is not
  given back. Models learn from noisy images, or from clean ones;
- sparsity: the share of entries near zero, that is, below a tenth of their component's
  root mean square, and how many components a row uses, by the participation ratio
  (sum of |z|)^2 / (sum of z^2) with components in that unit. `active` is the number of
  components that vary at all;
- factors: the mutual information gap (Chen et al., 2018) of codes of images that are
  made from three independent factors. It is 1 where each factor has a component to
  itself, 0 where two components tell as much;
- the family, at equal width: how far codes move, in the unit of each component's
  standard deviation, when normal noise of a tenth of the data's scale is added; how far
  they are from N(0, I), as the mean Kolmogorov-Smirnov distance over random directions;
  the share of whitened codes and normal draws, as many of each, whose nearest neighbor
  is of their own kind, 0.5 where nothing tells the two apart; and the accuracy of
  logistic regression on codes.

`score` is the share of variance that is explained on the rows that are judged by.

    python tests/benchmarks/variants.py [--tables NAME ...]
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
import torch
from scipy.stats import kstest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skae import (
    MMD,
    Adversarial,
    AutoencoderTransformer,
    Contractive,
    GaussianNoise,
    MaskingNoise,
    Ordered,
    Sparse,
    SwapNoise,
    TopK,
    Variational,
)

SEED = 0
NOISES = (None, GaussianNoise(1.0), MaskingNoise(), SwapNoise())
SPARSE = (None, Sparse(0.01), Sparse(0.1), Sparse(0.1, target=0.1), TopK(8))
BETAS = (1, 4, 16, 32)
REGULARIZERS = (
    Ordered(), Sparse(), TopK(4), Contractive(), Variational(), MMD(), Adversarial(),
)  # fmt: skip
NEAR_ZERO = 0.1  # of the component's root mean square
N_BINS = 20  # of a code, for its mutual information
N_IMAGES, SIDE, PIXEL_NOISE = 1000, 12, 0.05
N_DIRECTIONS = 200


def digits() -> list[np.ndarray]:
    """Return the images and labels to learn from and to judge by."""
    return train_test_split(*load_digits(return_X_y=True), random_state=SEED)


def autoencoder(k: int, **options) -> AutoencoderTransformer:
    """Return an autoencoder at its defaults, but for the options."""
    return AutoencoderTransformer(k, device="cpu", random_state=SEED, **options)


def variants(k: int, axis: str, parts) -> dict[str, AutoencoderTransformer]:
    """Return an autoencoder for each choice of a part, by its spelling."""
    return {str(part or "plain"): autoencoder(k, **{axis: part}) for part in parts}


def explained(model, X: np.ndarray, inputs: np.ndarray | None = None) -> float:
    """Return the share of the variance of X that comes back from codes of the inputs.

    The inputs are X itself, if not given.
    """
    output = model.inverse_transform(model.transform(X if inputs is None else inputs))
    return 1 - np.square(X - output).sum() / np.square(X - X.mean(axis=0)).sum()


def add_noise(X: np.ndarray, scale: float, seed: int) -> np.ndarray:
    """Return rows with normal noise, its scale a multiple of the data's."""
    unit = np.sqrt(X.var(axis=0).mean())
    return X + scale * unit * np.random.default_rng(seed).standard_normal(X.shape)


def mask(X: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return rows with a fraction of the entries at the mean of their feature."""
    hidden = np.random.default_rng(seed).random(X.shape) < fraction
    return np.where(hidden, X.mean(axis=0), X)


CORRUPTIONS = {"normal": (add_noise, 1.0), "masked": (mask, 0.3)}


def denoising(k: int = 16) -> pd.DataFrame:
    """Return the variance of clean images that noisy ones do not give back."""
    X, X_test, _, _ = digits()
    table = {}
    for name, (corrupt, strength) in CORRUPTIONS.items():
        noisy, noisy_test = corrupt(X, strength, 1), corrupt(X_test, strength, 2)
        for learned, rows in (("noisy", noisy), ("clean", X)):
            models = {"PCA": PCA(k)} | variants(k, "noise", NOISES)
            table[name, learned] = {
                label: 1 - explained(model.fit(rows), X_test, noisy_test)
                for label, model in models.items()
            }
    return pd.DataFrame(table)


def sparsity(k: int = 32) -> pd.DataFrame:
    """Return how sparse codes are, and what they explain."""
    X, X_test, _, _ = digits()
    models = {"PCA": PCA(k)} | variants(k, "regularizer", SPARSE)
    table = {
        label: usage(model.fit(X).transform(X_test))
        | {"active": n_active(model), "score": explained(model, X_test)}
        for label, model in models.items()
    }
    return pd.DataFrame.from_dict(table, orient="index")


def n_active(model) -> int:
    """Return the number of components that vary."""
    return getattr(model, "n_active_components_", model.n_components)


def usage(codes: np.ndarray) -> dict[str, float]:
    """Return the share of entries near zero and the components that a row uses."""
    unit = np.sqrt(np.square(codes).mean(axis=0))
    size = np.abs(codes) / np.where(unit > 0, unit, 1)
    used = size.sum(axis=1) ** 2 / np.square(size).sum(axis=1)
    return {"near zero": (size < NEAR_ZERO).mean(), "used by a row": used.mean()}


def blobs(n_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images of a round blob, and its place and size, each uniform.

    Its ways across and down are of different length: else any two axes at right angles
    would do as well.
    """
    random = np.random.default_rng(SEED)
    factors = random.random((n_images, 3))
    x, y, size = (factors * (6, 3, 1) + (2.5, 4, 1.5)).T[..., np.newaxis, np.newaxis]
    rows, columns = np.indices((SIDE, SIDE))
    distance = np.square(columns - x) + np.square(rows - y)
    images = np.exp(-distance / (2 * size**2)).reshape(n_images, -1)
    return images + PIXEL_NOISE * random.standard_normal(images.shape), factors


def factor_gap(k: int = 5) -> pd.DataFrame:
    """Return the mutual information gap, which components vary, and the score."""
    X, X_test, _, factors = train_test_split(*blobs(N_IMAGES), random_state=SEED)
    parts = [None, *(Variational(beta) for beta in BETAS)]
    models = {"PCA": PCA(k)} | variants(k, "regularizer", parts)
    table = {
        label: {
            "gap": information_gap(model.fit(X).transform(X_test), factors),
            "active": n_active(model),
            "score": explained(model, X_test),
        }
        for label, model in models.items()
    }
    return pd.DataFrame.from_dict(table, orient="index")


def information_gap(codes: np.ndarray, factors: np.ndarray) -> float:
    """Return how much more of a factor the best component tells than the second.

    In shares of the factor's entropy; the mean over the factors.
    """
    codes, factors = binned(codes, N_BINS), binned(factors, 10)
    gaps = []
    for factor in factors.T:
        told = np.sort([mutual_info_score(factor, code) for code in codes.T])
        gaps.append((told[-1] - told[-2]) / mutual_info_score(factor, factor))
    return np.mean(gaps)


def binned(columns: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the index of each entry's bin, of equally wide ones in each column."""
    low, high = columns.min(axis=0), columns.max(axis=0)
    places = (columns - low) / np.where(high > low, high - low, 1)
    return np.minimum((n_bins * places).astype(int), n_bins - 1)


def family(k: int = 8) -> pd.DataFrame:
    """Return what every variant's codes are like, at equal width."""
    X, X_test, y, y_test = digits()
    models = {"PCA": PCA(k, whiten=True)} | variants(k, "noise", NOISES)
    models |= variants(k, "regularizer", REGULARIZERS)
    table = {label: figures(m, X, X_test, y, y_test) for label, m in models.items()}
    return pd.DataFrame.from_dict(table, orient="index")


def figures(model, X, X_test, y, y_test) -> dict[str, float]:
    """Return what the codes of a model are like, and the seconds it took to fit."""
    start = time.process_time()
    codes = model.fit(X).transform(X)
    seconds = time.process_time() - start
    test_codes = model.transform(X_test)
    whitened = PCA(whiten=True).fit(codes).transform(test_codes)
    return {
        "score": explained(model, X_test),
        "moves": movement(model, X_test),
        "from normal": distance_from_normal(test_codes),
        "told apart": told_apart(whitened),
        "accuracy": accuracy(codes, y, test_codes, y_test),
        "seconds": seconds,
    }


def movement(model, X: np.ndarray) -> float:
    """Return how far noise moves codes, in standard deviations of each component."""
    codes, moved = model.transform(X), model.transform(add_noise(X, 0.1, 3))
    return np.sqrt(np.mean(np.square(moved - codes) / codes.var(axis=0)))


def distance_from_normal(codes: np.ndarray) -> float:
    """Return the mean Kolmogorov-Smirnov distance from N(0, 1) over directions."""
    shape = codes.shape[1], N_DIRECTIONS
    directions = np.random.default_rng(SEED).standard_normal(shape)
    projected = codes @ (directions / np.linalg.norm(directions, axis=0))
    return np.mean([kstest(column, "norm").statistic for column in projected.T])


def told_apart(codes: np.ndarray) -> float:
    """Return how many nearest neighbors are of the own kind, codes or normal draws."""
    normal = np.random.default_rng(SEED).standard_normal(codes.shape)
    neighbors = NearestNeighbors(n_neighbors=1).fit(np.vstack([codes, normal]))
    nearest = neighbors.kneighbors(return_distance=False).ravel()
    is_code = np.arange(len(nearest)) < len(codes)
    return np.mean(is_code[nearest] == is_code)


def accuracy(codes, y, test_codes, y_test) -> float:
    """Return the accuracy of logistic regression on codes."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return classifier.fit(codes, y).score(test_codes, y_test)


TABLES = {
    "denoising": denoising,
    "sparsity": sparsity,
    "factors": factor_gap,
    "family": family,
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name in parser.parse_args().tables:
        start = time.process_time()
        with threadpool_limits(1):
            text = TABLES[name]().to_string(float_format="{:.3f}".format)
        seconds = time.process_time() - start
        print(f"\n{name}, {seconds:.0f} seconds\n{text}", flush=True)


if __name__ == "__main__":
    main()
