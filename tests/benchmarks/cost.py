"""How the cost of a fit grows: with rows, features, width and epochs.

Every fit runs in an interpreter of its own, on one thread, on made numbers in float32
that lie on disk. Printed are processor seconds of the fit, and by how much the largest
memory in use grew: during the fit, and during `transform` of all rows, whose result is
subtracted. With `--plot FILE` the figures are drawn.

    python tests/benchmarks/cost.py [--plot FILE]
"""

import argparse
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
    """Write random rows to a file, a block at a time."""
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    rng = np.random.default_rng(0)
    for start in range(0, n, 5000):
        block = rows[start : start + 5000]
        block[:] = rng.standard_normal(block.shape, dtype=np.float32)


def anonymous() -> int:
    """Return the bytes of this process that no file backs."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


class Peak:
    """The most memory that no file backs, looked at every few milliseconds."""

    def __enter__(self):
        self.start = self.most = anonymous()
        self.going = True
        self.watcher = threading.Thread(target=self._watch)
        self.watcher.start()
        return self

    def _watch(self):
        while self.going:
            self.most = max(self.most, anonymous())
            time.sleep(0.002)

    def __exit__(self, *error):
        self.going = False
        self.watcher.join()
        self.growth = (self.most - self.start) / MEGABYTE


def fit(path: Path, width: int, epochs: int) -> dict[str, float]:
    """Fit rows on disk, in this process; return what it took."""
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
    model.fit(X[:300])  # what is imported at first use is not counted
    start = time.process_time()
    with Peak() as fitting:
        model.fit(X)
    seconds = time.process_time() - start
    with Peak() as encoding:
        codes = model.transform(X)
    return {
        "seconds": seconds,
        "MB of rows": X.nbytes / MEGABYTE,
        "MB in fit": fitting.growth,
        "MB in transform": encoding.growth - codes.nbytes / MEGABYTE,
    }


def measure(folder: Path, n: int, d: int, width: int, epochs: int) -> dict[str, float]:
    """Fit in an interpreter of its own."""
    path = folder / "rows.npy"
    write_rows(path, n, d)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(fit, (path, width, epochs))


def run() -> dict[str, list[dict]]:
    """Return the figures along each axis, and print them."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for axis, values in AXES.items():
            print(f"\n{LABELS[axis]:>24}  seconds  MB of rows  in fit  in transform")
            results[axis] = []
            for value in values:
                figures = measure(Path(folder), **BASE | {axis: value})
                results[axis].append(figures)
                cells = figures.values()
                print(f"{value:24}", "".join(f"{cell:10.1f}" for cell in cells))
            print(f"{'slope of log time':>24} {slope(values, results[axis]):8.2f}")
    return results


def slope(values: list[int], figures: list[dict]) -> float:
    """Return the growth exponent of time over the last three values."""
    seconds = [f["seconds"] for f in figures[-3:]]
    return float(np.polyfit(np.log(values[-3:]), np.log(seconds), 1)[0])


def draw(results: dict[str, list[dict]], path: Path) -> None:
    """Draw time along each axis, and memory along the rows."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 5, figsize=(15, 3), layout="constrained")
    for ax, (axis, values) in zip(axes, AXES.items(), strict=False):
        seconds = [f["seconds"] for f in results[axis]]
        ax.plot(values, seconds, "o-")
        ax.set(xlabel=LABELS[axis], ylim=(0, None), xlim=(0, None))
    axes[0].set_ylabel("seconds of a fit")
    for name in ("MB of rows", "MB in fit", "MB in transform"):
        axes[4].plot(AXES["n"], [f[name] for f in results["n"]], "o-", label=name)
    axes[4].set(xlabel="rows", ylabel="megabytes", ylim=(0, None), xlim=(0, None))
    axes[4].legend(frameon=False)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plot", type=Path, help="file to draw the figures to")
    arguments = parser.parse_args()
    results = run()
    if arguments.plot:
        draw(results, arguments.plot)


if __name__ == "__main__":
    main()
