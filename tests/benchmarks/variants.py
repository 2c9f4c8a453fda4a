"""Properties of the codes of PCA and of each variant of the autoencoder.

Four tables, on the digits of scikit-learn unless stated otherwise. Models are trained
on three quarters of the rows and evaluated on the others, with default parameters
except for those in the name of a row, one seed and one thread.

- denoising: fraction of the variance of clean images that is not reconstructed from
  corrupted test images. Models are trained on corrupted or on clean images;
- sparsity: "near zero" is the fraction of entries below a tenth of the root mean square
  of their component. "used per row" is the participation ratio
  (sum of |z|)^2 / (sum of z^2), with each component divided by its root mean square.
  "active" is the number of components that vary;
- factors: mutual information gap (Chen et al., 2018) of codes of images that are
  generated from three independent factors. It is 1 if each factor is represented by a
  single component, and 0 if two components contain the same amount of information;
- family, with equal numbers of components: "shift" is the change of the codes, in
  standard deviations of each component, if Gaussian noise with a tenth of the scale of
  the data is added. "distance to normal" is the mean Kolmogorov-Smirnov distance of the
  codes from N(0, I) over random directions. "1-NN two-sample" is the fraction of
  whitened codes and normal samples whose nearest neighbor is of the same type; it is
  0.5 if the two cannot be distinguished. "accuracy" is that of a logistic regression on
  the codes.

"score" is the fraction of variance explained on test rows.

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
N_BINS = 20  # of a component, for its mutual information
N_IMAGES, SIDE, PIXEL_NOISE = 1000, 12, 0.05
N_DIRECTIONS = 200


def digits() -> list[np.ndarray]:
    """Return training and test images, and their labels."""
    return train_test_split(*load_digits(return_X_y=True), random_state=SEED)


def autoencoder(k: int, **options) -> AutoencoderTransformer:
    """Return an autoencoder with default parameters except for the options."""
    return AutoencoderTransformer(k, device="cpu", random_state=SEED, **options)


def variants(k: int, axis: str, parts) -> dict[str, AutoencoderTransformer]:
    """Return an autoencoder for each part, by the name of the part."""
    return {str(part or "default"): autoencoder(k, **{axis: part}) for part in parts}


def explained(model, X: np.ndarray, inputs: np.ndarray | None = None) -> float:
    """Return the fraction of the variance of X that is explained by codes of inputs.

    By default, the inputs are X.
    """
    output = model.inverse_transform(model.transform(X if inputs is None else inputs))
    return 1 - np.square(X - output).sum() / np.square(X - X.mean(axis=0)).sum()


def add_noise(X: np.ndarray, scale: float, seed: int) -> np.ndarray:
    """Return rows with Gaussian noise, whose scale is relative to that of the data."""
    unit = np.sqrt(X.var(axis=0).mean())
    return X + scale * unit * np.random.default_rng(seed).standard_normal(X.shape)


def mask(X: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return rows with a fraction of the entries set to the mean of their feature."""
    hidden = np.random.default_rng(seed).random(X.shape) < fraction
    return np.where(hidden, X.mean(axis=0), X)


CORRUPTIONS = {"Gaussian": (add_noise, 1.0), "masked": (mask, 0.3)}


def denoising(k: int = 16) -> pd.DataFrame:
    """Return the error of reconstructions from corrupted images."""
    X, X_test, _, _ = digits()
    table = {}
    for name, (corrupt, strength) in CORRUPTIONS.items():
        corrupted_test = corrupt(X_test, strength, 2)
        for kind, rows in (("corrupted", corrupt(X, strength, 1)), ("clean", X)):
            models = {"PCA": PCA(k)} | variants(k, "noise", NOISES)
            table[f"{name}, trained on {kind}"] = {
                label: 1 - explained(model.fit(rows), X_test, corrupted_test)
                for label, model in models.items()
            }
    return pd.DataFrame(table)


def sparsity(k: int = 32) -> pd.DataFrame:
    """Return the sparsity of codes, and the variance that they explain."""
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
    """Return the fraction of entries near zero and the components used per row."""
    unit = np.sqrt(np.square(codes).mean(axis=0))
    size = np.abs(codes) / np.where(unit > 0, unit, 1)
    used = size.sum(axis=1) ** 2 / np.square(size).sum(axis=1)
    return {"near zero": (size < NEAR_ZERO).mean(), "used per row": used.mean()}


def blobs(n_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images of a blob, and its position and size, which are uniform.

    The range of the horizontal position is twice that of the vertical position;
    otherwise, any two orthogonal axes would represent the position equally well.
    """
    random = np.random.default_rng(SEED)
    factors = random.random((n_images, 3))
    x, y, size = (factors * (6, 3, 1) + (2.5, 4, 1.5)).T[..., np.newaxis, np.newaxis]
    rows, columns = np.indices((SIDE, SIDE))
    distance = np.square(columns - x) + np.square(rows - y)
    images = np.exp(-distance / (2 * size**2)).reshape(n_images, -1)
    return images + PIXEL_NOISE * random.standard_normal(images.shape), factors


def factor_gap(k: int = 5) -> pd.DataFrame:
    """Return the mutual information gap, the number of active components, the score."""
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
    """Return the mutual information gap, averaged over factors.

    It is the difference between the two components with the highest mutual information
    with a factor, divided by the entropy of the factor.
    """
    codes, factors = binned(codes, N_BINS), binned(factors, 10)
    gaps = []
    for factor in factors.T:
        shared = np.sort([mutual_info_score(factor, code) for code in codes.T])
        gaps.append((shared[-1] - shared[-2]) / mutual_info_score(factor, factor))
    return np.mean(gaps)


def binned(columns: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the index of the bin of each entry, for bins of equal width."""
    low, high = columns.min(axis=0), columns.max(axis=0)
    fractions = (columns - low) / np.where(high > low, high - low, 1)
    return np.minimum((n_bins * fractions).astype(int), n_bins - 1)


def family(k: int = 8) -> pd.DataFrame:
    """Return properties of the codes of every variant."""
    X, X_test, y, y_test = digits()
    models = {"PCA": PCA(k, whiten=True)} | variants(k, "noise", NOISES)
    models |= variants(k, "regularizer", REGULARIZERS)
    table = {label: measures(m, X, X_test, y, y_test) for label, m in models.items()}
    return pd.DataFrame.from_dict(table, orient="index")


def measures(model, X, X_test, y, y_test) -> dict[str, float]:
    """Return properties of the codes of a model, and the seconds of the fit."""
    start = time.process_time()
    codes = model.fit(X).transform(X)
    seconds = time.process_time() - start
    test_codes = model.transform(X_test)
    whitened = PCA(whiten=True).fit(codes).transform(test_codes)
    return {
        "score": explained(model, X_test),
        "shift": shift(model, X_test),
        "distance to normal": distance_to_normal(test_codes),
        "1-NN two-sample": two_sample_accuracy(whitened),
        "accuracy": accuracy(codes, y, test_codes, y_test),
        "seconds": seconds,
    }


def shift(model, X: np.ndarray) -> float:
    """Return the change of codes by noise, in standard deviations of each component."""
    codes, shifted = model.transform(X), model.transform(add_noise(X, 0.1, 3))
    return np.sqrt(np.mean(np.square(shifted - codes) / codes.var(axis=0)))


def distance_to_normal(codes: np.ndarray) -> float:
    """Return the mean Kolmogorov-Smirnov distance from N(0, 1) over directions."""
    shape = codes.shape[1], N_DIRECTIONS
    directions = np.random.default_rng(SEED).standard_normal(shape)
    projected = codes @ (directions / np.linalg.norm(directions, axis=0))
    return np.mean([kstest(column, "norm").statistic for column in projected.T])


def two_sample_accuracy(codes: np.ndarray) -> float:
    """Return the fraction of codes and normal samples next to one of the same type."""
    normal = np.random.default_rng(SEED).standard_normal(codes.shape)
    neighbors = NearestNeighbors(n_neighbors=1).fit(np.vstack([codes, normal]))
    nearest = neighbors.kneighbors(return_distance=False).ravel()
    is_code = np.arange(len(nearest)) < len(codes)
    return np.mean(is_code[nearest] == is_code)


def accuracy(codes, y, test_codes, y_test) -> float:
    """Return the accuracy of a logistic regression on codes."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return classifier.fit(codes, y).score(test_codes, y_test)


TABLES = {
    "denoising": denoising,
    "sparsity": sparsity,
    "factors": factor_gap,
    "family": family,
}


def main() -> None:
    """Run the benchmark."""
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
