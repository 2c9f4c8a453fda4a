"""Time and memory of a fit, by number of rows, features, hidden units and epochs.

Every fit runs in a separate process, on one thread, on simulated rows in float32 that
are memory-mapped. Printed are the CPU seconds of the fit, and the peak memory in
megabytes relative to the start: of the fit, and of `transform` of all rows, including
its result. With `--plot FILE` the results are plotted.

    python tests/benchmarks/cost.py [--plot FILE]
"""

import argparse
import ctypes
import multiprocessing
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

BASE = {"n": 20_000, "d": 100, "width": 128, "epochs": 4}
AXES = {
    "n": [5_000, 10_000, 20_000, 40_000, 80_000, 160_000],
    "d": [25, 50, 100, 200, 400, 800],
    "width": [32, 64, 128, 256, 512],
    "epochs": [2, 4, 8, 16, 32],
}
LABELS = {
    "n": "rows",
    "d": "features",
    "width": "units of a hidden layer",
    "epochs": "epochs",
}
MEGABYTE = 2**20


def write_rows(path: Path, n: int, d: int) -> None:
    """Write random rows to a file in blocks."""
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    rng = np.random.default_rng(0)
    for start in range(0, n, 5000):
        block = rows[start : start + 5000]
        block[:] = rng.standard_normal(block.shape, dtype=np.float32)


def anonymous_memory() -> int:
    """Return the bytes of this process's memory that are not backed by a file."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


class Peak:
    """Peak memory relative to the start, sampled every two milliseconds."""

    def __enter__(self):
        # Freed memory could be used again, and would not be measured.
        ctypes.CDLL(None).malloc_trim(0)
        self.start = self.peak = anonymous_memory()
        self.running = True
        self.sampler = threading.Thread(target=self._sample)
        self.sampler.start()
        return self

    def _sample(self):
        while self.running:
            self.peak = max(self.peak, anonymous_memory())
            time.sleep(0.002)

    def __exit__(self, *error):
        self.running = False
        self.sampler.join()
        self.growth = (self.peak - self.start) / MEGABYTE


def fit(path: Path, width: int, epochs: int) -> dict[str, float]:
    """Fit memory-mapped rows; return time and memory."""
    import torch

    from skae import MLP, AutoencoderTransformer

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    X = np.load(path, mmap_mode="r")
    model = AutoencoderTransformer(
        8,
        network=MLP((width, width)),
        batch_size=256,
        max_iter=epochs,
        early_stopping=False,
        device="cpu",
        random_state=0,
    )
    model.fit(X[:300])  # imports at first use are not measured
    start = time.process_time()
    with Peak() as fitting:
        model.fit(X)
    seconds = time.process_time() - start
    with Peak() as encoding:
        model.transform(X)
    return {
        "seconds": seconds,
        "MB of rows": X.nbytes / MEGABYTE,
        "MB in fit": fitting.growth,
        "MB in transform": encoding.growth,
    }


def measure(folder: Path, n: int, d: int, width: int, epochs: int) -> dict[str, float]:
    """Fit in a separate process; return time and memory."""
    path = folder / "rows.npy"
    write_rows(path, n, d)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(fit, (path, width, epochs))


def run() -> dict[str, list[dict]]:
    """Return the results along each axis, and print them."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for axis, values in AXES.items():
            print(f"\n{LABELS[axis]:>24}  seconds  MB of rows  in fit  in transform")
            results[axis] = []
            for value in values:
                result = measure(Path(folder), **BASE | {axis: value})
                results[axis].append(result)
                cells = result.values()
                print(f"{value:24}", "".join(f"{cell:10.1f}" for cell in cells))
            print(f"{'slope of log time':>24} {slope(values, results[axis]):8.2f}")
    return results


def slope(values: list[int], results: list[dict]) -> float:
    """Return the growth exponent of time over the last three values."""
    seconds = [result["seconds"] for result in results[-3:]]
    return float(np.polyfit(np.log(values[-3:]), np.log(seconds), 1)[0])


def draw(results: dict[str, list[dict]], path: Path) -> None:
    """Plot time along each axis, and memory by number of rows and features."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(9, 5.6), layout="constrained")
    for ax, (axis, values) in zip(axes.flat, AXES.items(), strict=False):
        ax.plot(values, [result["seconds"] for result in results[axis]], "o-")
        ax.set(title="Time of a fit", ylabel="CPU seconds")
    for ax, axis in zip(axes.flat[4:], ("n", "d"), strict=True):
        draw_memory(ax, axis, results[axis])
    axes[1, 1].legend(frameon=False)
    for ax, axis in zip(axes.flat, [*AXES, "n", "d"], strict=True):
        ax.set(xlabel=LABELS[axis], ylim=(0, None), xlim=(0, None))
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in (axes[0, 0], axes[1, 1]):
        ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:.0f}k")
    figure.savefig(path, dpi=100)


def draw_memory(ax, axis: str, results: list[dict]) -> None:
    """Plot the memory of the rows, of a fit and of `transform`."""
    styles = {
        "MB of rows": ("rows themselves", "0.5", "^--"),
        "MB in fit": ("fit", "#d55e00", "o-"),
        "MB in transform": ("transform", "#0072b2", "s-"),
    }
    for key, (label, color, style) in styles.items():
        megabytes = [result[key] for result in results]
        ax.plot(AXES[axis], megabytes, style, color=color, label=label)
    ax.set(title="Peak memory", ylabel="megabytes")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plot", type=Path, help="file for the plot")
    arguments = parser.parse_args()
    results = run()
    if arguments.plot:
        draw(results, arguments.plot)


if __name__ == "__main__":
    main()
