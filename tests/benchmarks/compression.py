"""Bytes per row against error: skae, PCA with the same coding, zstd and JPEG.

Models are trained with default parameters on 75 % of a data set (6000 training images
of MNIST). Other rows (2000 test images) are compressed in one call. The measure is the
fraction of variance unexplained, FVU: the squared error on these rows divided by their
squared deviation from the training mean. Images are measured in gray values, tables
after standardization. Bytes include headers, but not the model.

- `skae` and `pca` are `AutoencoderTransformer`, the second with `max_iter=0`, with
  several numbers of components and values of `added_error`.
- `zstd` is level 19 on values that are rounded to multiples of a step, by rows or by
  columns, whichever is smaller. The step is the same for all columns.
- `jpeg` is one picture in which all images are tiles, so that there is one header.

Of each method's points, those are kept at which no other one is smaller and better.

    python tests/benchmarks/compression.py [--data FOLDER] [--table FILE] [--plot FILE]

FOLDER holds mnist.npz with `X_train` and `X_test` of 784 gray values from 0 to 255,
FILE arrays of the same names, or `X`. Needs zstandard and pillow, and matplotlib for
the plot.
"""

import argparse
import io
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import zstandard
from PIL import Image
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skae import AutoencoderTransformer

ADDED = (0.01, 0.1, 0.5)
STEPS = 2.0 ** np.arange(-4, 2.5, 0.5)  # of zstd, in standard deviations of all entries
QUALITIES = (1, 5, 10, 20, 35, 50, 75, 90)
TARGETS = (0.5, 0.2, 0.1, 0.05)
BOUNDS = (0.02, 0.05, 0.1, 0.2)  # fractions of the range of the data
COLORS = {"skae": "C0", "pca": "C1", "zstd": "C2", "jpeg": "C3"}


@dataclass(frozen=True)
class Data:
    """Training rows, rows to compress, and the measure of the error."""

    name: str
    train: np.ndarray
    test: np.ndarray
    components: tuple[int, ...]
    gray: float | None = None  # largest value of images

    def fvu(self, rows: np.ndarray) -> float:
        """Return the fraction of variance unexplained by reconstructed test rows."""
        deviation = np.square(self.test - self.train.mean(axis=0)).sum()
        return float(np.square(rows - self.test).sum() / deviation)

    @property
    def span(self) -> float:
        """Return the range of the test rows."""
        return float(np.ptp(self.test))


@dataclass(frozen=True)
class Point:
    """The result of a method at one setting."""

    method: str
    setting: str
    bytes_per_row: float
    fvu: float


@cache
def model(data_name: str, k: int, max_iter) -> AutoencoderTransformer:
    """Return the model of a data set, which is fitted once."""
    params = {"max_iter": max_iter, "device": "cpu", "random_state": 0}
    start = time.process_time()
    fitted = AutoencoderTransformer(k, **params).fit(SETS[data_name].train)
    seconds = time.process_time() - start
    n_numbers = sum(p.numel() for p in fitted.module_.parameters())
    print(f"  k={k:<3} fit {seconds:5.1f} s, {n_numbers:,} parameters", flush=True)
    return fitted


def autoencoder(data: Data, max_iter="auto", method="skae") -> Iterator[Point]:
    """Yield points of an estimator that compresses rows."""
    for k in data.components:
        fitted = model(data.name, k, max_iter)
        for added in ADDED:
            blob = fitted.compress(data.test, added_error=added)
            fvu = data.fvu(fitted.decompress(blob))
            setting = f"k={k} added_error={added}"
            yield Point(method, setting, len(blob) / len(data.test), fvu)


def pca(data: Data) -> Iterator[Point]:
    """Yield points of PCA with the same quantization and coding."""
    return autoencoder(data, max_iter=0, method="pca")


def zstd(data: Data) -> Iterator[Point]:
    """Yield points of rounded values, compressed by zstd."""
    for step in STEPS * data.train.std():
        n_bytes, rows = rounded(data, step)
        yield Point("zstd", f"step={step:.3g}", n_bytes / len(rows), data.fvu(rows))


def rounded(data: Data, step: float) -> tuple[int, np.ndarray]:
    """Return the number of bytes of rounded rows, and these rows."""
    levels = np.rint(data.test / step)
    narrow = levels.astype(np.min_scalar_type(-int(np.abs(levels).max()) - 1))
    coder = zstandard.ZstdCompressor(level=19)
    n_bytes = min(len(coder.compress(part.tobytes())) for part in (narrow, narrow.T))
    return n_bytes, levels * step


def jpeg(data: Data) -> Iterator[Point]:
    """Yield points of all images as one picture, where rows are images."""
    if data.gray is None:
        return
    side, n = int(np.sqrt(data.test.shape[1])), len(data.test)
    n_wide = int(np.sqrt(n))
    n_high = -(-n // n_wide)
    tiles = np.zeros((n_wide * n_high, side, side))
    tiles[:n] = data.test.reshape(n, side, side) * (255 / data.gray)
    grid = tiles.reshape(n_high, n_wide, side, side).swapaxes(1, 2)
    picture = Image.fromarray(np.rint(grid.reshape(n_high * side, -1)).astype(np.uint8))
    for quality in QUALITIES:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        back = np.asarray(Image.open(file), dtype=float).reshape(grid.shape)
        rows = back.swapaxes(1, 2).reshape(len(tiles), -1)[:n] * (data.gray / 255)
        size = len(file.getvalue()) / n
        yield Point("jpeg", f"quality={quality}", size, data.fvu(rows))


METHODS: dict[str, Callable] = {"skae": autoencoder, "pca": pca, "zstd": zstd}
METHODS["jpeg"] = jpeg
SETS: dict[str, Data] = {}


def digits() -> Data:
    """Return images of 8 x 8 gray values."""
    train, test = train_test_split(datasets.load_digits().data, random_state=0)
    return Data("digits", train, test, (2, 4, 8, 16, 32), gray=16)


def mnist(folder: Path) -> Data:
    """Return images of 28 x 28 gray values."""
    with np.load(folder / "mnist.npz", allow_pickle=False) as arrays:
        parts = [arrays["X_train"][:6000], arrays["X_test"][:2000]]
    train, test = (part.reshape(len(part), -1).astype(np.float32) for part in parts)
    return Data("mnist", train, test, (8, 16, 32, 64), gray=255)


def table(name: str, X: np.ndarray) -> Data:
    """Return a table with standardized columns."""
    train, test = train_test_split(X.astype(float), random_state=0)
    scaler = StandardScaler().fit(train)
    d = X.shape[1]
    return Data(
        name,
        scaler.transform(train),
        scaler.transform(test),
        tuple(sorted({2, d // 8, d // 4, d // 2})),
    )


def table_in(path: Path) -> Data:
    """Return the table in a file."""
    with np.load(path, allow_pickle=False) as arrays:
        names = ("X",) if "X" in arrays else ("X_train", "X_test")
        return table(path.stem, np.concatenate([arrays[name] for name in names]))


def frontier(points: list[Point]) -> list[Point]:
    """Return the points, by size, at which no other is smaller and better."""
    kept = []
    for point in sorted(points, key=lambda p: (p.bytes_per_row, p.fvu)):
        if not kept or point.fvu < kept[-1].fvu:
            kept.append(point)
    return kept


def bytes_for(points: list[Point], fvu: float) -> float:
    """Return the bytes per row at which a frontier reaches an FVU, or NaN."""
    size = np.log([p.bytes_per_row for p in points])
    error = np.log([p.fvu for p in points])
    log = np.interp(-np.log(fvu), -error, size, left=np.nan, right=np.nan)
    return float(np.exp(log))


def measure(data: Data) -> dict[str, list[Point]]:
    """Print the points of all methods on a data set; return their frontiers."""
    print(
        f"\n{data.name}: {data.train.shape} training rows, {data.test.shape} test rows"
    )
    frontiers = {}
    for name, method in METHODS.items():
        points = list(method(data))
        for point in points:
            size, fvu = point.bytes_per_row, point.fvu
            print(f"  {name:5} {point.setting:24} {size:8.2f} B  FVU {fvu:.4f}")
        if points:
            frontiers[name] = frontier(points)
    return frontiers


def summarize(data: Data, frontiers: dict[str, list[Point]]) -> None:
    """Print the bytes per row of each method for several errors."""
    print(f"\n{data.name}: bytes per row at FVU " + ", ".join(map(str, TARGETS)))
    for name, points in frontiers.items():
        sizes = (bytes_for(points, target) for target in TARGETS)
        print(f"  {name:5} " + " ".join(f"{size:8.2f}" for size in sizes))


def bounded(data: Data) -> None:
    """Print the bytes per row with a bound on the error of every entry."""
    print(f"\n{data.name}: bytes per row by bound, as a fraction of the range")
    for bound in BOUNDS:
        limit = bound * data.span
        line = f"  {bound:<5}"
        for name, max_iter in (("skae", "auto"), ("pca", 0)):
            sizes = {
                k: len(model(data.name, k, max_iter).compress(
                    data.test, added_error=0.1, max_error=limit
                )) / len(data.test)
                for k in data.components
            }  # fmt: skip
            k = min(sizes, key=sizes.get)
            line += f"  {name} {sizes[k]:8.2f} (k={k})"
        n_bytes, _ = rounded(data, 2 * limit)
        print(line + f"  zstd {n_bytes / len(data.test):8.2f}")


def plot(results: dict[str, dict[str, list[Point]]], path: Path) -> None:
    """Plot the frontiers of all data sets."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    n_wide = 2
    n_high = -(-len(results) // n_wide)
    size = 4 * n_wide, 3 * n_high
    figure, axes = plt.subplots(n_high, n_wide, figsize=size, squeeze=False)
    for ax, (name, frontiers) in zip(axes.flat, results.items(), strict=False):
        for method, points in frontiers.items():
            x, y = zip(*((p.bytes_per_row, p.fvu) for p in points), strict=True)
            ax.plot(x, y, ".-", color=COLORS[method], label=method)
        ax.set(title=name, xlabel="bytes per row", ylabel="variance lost")
        ax.set(xscale="log", yscale="log")
        ax.grid(visible=True, which="both", alpha=0.2)
        ax.legend()
    for ax in axes.flat[len(results) :]:
        ax.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with mnist.npz")
    parser.add_argument("--table", type=Path, help="a table, as .npz")
    parser.add_argument("--plot", type=Path, help="file that a plot is written to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    loaded = [digits(), table("breast_cancer", datasets.load_breast_cancer().data)]
    loaded += [mnist(arguments.data)] if arguments.data else []
    loaded += [table_in(arguments.table)] if arguments.table else []
    SETS.update({data.name: data for data in loaded})
    results = {}
    with threadpool_limits(1):
        for data in loaded:
            results[data.name] = measure(data)
            summarize(data, results[data.name])
            bounded(data)
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
