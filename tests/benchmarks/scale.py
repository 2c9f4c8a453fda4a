"""Time and memory of fits on rows that are not held in memory, beside other libraries.

The rows have 100 columns and 10 hidden factors. An array of 100,000 of them is repeated
as often as needed, so that no disk is needed. Each fit runs in a process of its own, on
one thread. Printed are the CPU seconds of the fit and of the transformation of all
rows, the peak memory of both relative to the start, without the codes, and the share of
variance that is lost on unseen rows:

- AutoencoderTransformer with default parameters, reading blocks of the array;
- IncrementalPCA of scikit-learn;
- an autoencoder written by hand, trained for one epoch of a data loader.

With `--processes 2`, the seconds of 10 epochs of a wide network (1000-500-250 units, 30
components, batches of 512 of 10,000 rows with 784 columns) in one process and in
several are printed instead, each process on one thread.

With `--file 12.3`, a memory-mapped file of 12.3 GB is fitted and encoded in a process
whose data memory is limited to 900 MB. The file is sparse: it takes no disk, and all of
its values are zero. This takes about seven minutes.

    python tests/benchmarks/scale.py [--rows 100000 1000000 10000000]
    python tests/benchmarks/scale.py --processes 2
    python tests/benchmarks/scale.py --file 12.3
"""

import argparse
import multiprocessing
import tempfile
import time
import warnings

import numpy as np
from cost import Peak
from sklearn.utils import gen_batches

N_BASE, N_FEATURES, N_FACTORS, N_COMPONENTS = 100_000, 100, 10, 8
BLOCK = 10_000


def make_rows(n: int, seed: int) -> np.ndarray:
    """Return rows that are a nonlinear function of ten factors, with noise."""
    mixing = np.random.default_rng(0).standard_normal((N_FACTORS, N_FEATURES))
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n, N_FACTORS)) * 0.8 ** np.arange(N_FACTORS)
    noise = 0.1 * rng.standard_normal((n, N_FEATURES))
    return (np.tanh(factors @ mixing) + noise).astype(np.float32)


class Repeated:
    """An array of many rows, of which the first ones are repeated."""

    def __init__(self, base: np.ndarray, n_rows: int):
        self.base = base
        self.shape = n_rows, base.shape[1]
        self.dtype = base.dtype
        self.chunks = BLOCK, base.shape[1]

    def __getitem__(self, rows: slice) -> np.ndarray:
        positions = np.arange(*rows.indices(self.shape[0]))
        return self.base[positions % len(self.base)]


def blocks(X: Repeated):
    """Yield the rows in blocks."""
    for block in gen_batches(X.shape[0], BLOCK):
        yield X[block]


class Skae:
    """AutoencoderTransformer."""

    def __init__(self):
        from skae import AutoencoderTransformer

        self.model = AutoencoderTransformer(N_COMPONENTS, random_state=0)

    def fit(self, X):
        self.model.fit(X)

    def transform(self, X):
        return self.model.transform(X)

    def reconstruct(self, X):
        return self.model.inverse_transform(self.model.transform(X))


class Incremental:
    """IncrementalPCA, which reads all rows once."""

    def __init__(self):
        from sklearn.decomposition import IncrementalPCA

        self.model = IncrementalPCA(N_COMPONENTS)

    def fit(self, X):
        for rows in blocks(X):
            self.model.partial_fit(rows)

    def transform(self, X):
        return np.concatenate([self.model.transform(rows) for rows in blocks(X)])

    def reconstruct(self, X):
        return self.model.inverse_transform(self.model.transform(X))


class HandWritten:
    """An autoencoder with two hidden layers, trained by Adam for one epoch."""

    def __init__(self):
        import torch
        from torch import nn

        torch.manual_seed(0)
        self.encoder = nn.Sequential(
            nn.Linear(N_FEATURES, 128), nn.ReLU(), nn.Linear(128, N_COMPONENTS)
        )
        self.decoder = nn.Sequential(
            nn.Linear(N_COMPONENTS, 128), nn.ReLU(), nn.Linear(128, N_FEATURES)
        )

    def fit(self, X):
        import torch
        from torch.utils.data import DataLoader, IterableDataset

        class Rows(IterableDataset):
            def __iter__(self):
                rng = np.random.default_rng(0)
                for rows in blocks(X):
                    yield from torch.from_numpy(rows[rng.permutation(len(rows))])

        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        optimizer = torch.optim.Adam(parameters)
        for x in DataLoader(Rows(), batch_size=256):
            loss = torch.nn.functional.mse_loss(self.decoder(self.encoder(x)), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def transform(self, X):
        import torch

        with torch.inference_mode():
            codes = [self.encoder(torch.from_numpy(rows)).numpy() for rows in blocks(X)]
        return np.concatenate(codes)

    def reconstruct(self, X):
        import torch

        with torch.inference_mode():
            return self.decoder(self.encoder(torch.from_numpy(X))).numpy()


METHODS = [Skae, Incremental, HandWritten]


def measure(method, n_rows: int) -> tuple[float, float, float, float]:
    """Return seconds of fit and transform, peak memory, and the share lost."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    X = Repeated(make_rows(N_BASE, seed=1), n_rows)
    unseen = make_rows(N_BASE // 10, seed=2)
    model = method()
    with Peak() as peak:
        start = time.process_time()
        model.fit(X)
        middle = time.process_time()
        codes = model.transform(X)
        end = time.process_time()
    residual = np.square(model.reconstruct(unseen) - unseen).sum()
    lost = residual / np.square(unseen - X.base.mean(axis=0)).sum()
    memory = peak.growth - codes.nbytes / 2**20
    return middle - start, end - middle, memory, lost


def fit_rank(rank: int, n_ranks: int, folder: str) -> tuple[float, float, float]:
    """Return the wall and CPU seconds of a fit on a part of the rows, and its score."""
    import torch
    import torch.distributed as dist

    from skae import MLP, AutoencoderTransformer

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((40, 784))
    X = np.tanh(rng.standard_normal((10_000, 40)) @ mixing).astype(np.float32)
    if n_ranks > 1:
        address = f"file://{folder}/address"
        dist.init_process_group("gloo", address, rank=rank, world_size=n_ranks)
    model = AutoencoderTransformer(
        30,
        network=MLP((1000, 500, 250)),
        batch_size=512,
        max_iter=10,
        early_stopping=False,
        distributed=n_ranks > 1,
        random_state=0,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(np.array_split(X, n_ranks)[rank])
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    if n_ranks > 1:
        dist.destroy_process_group()
    return *seconds, model.score(X)


def compare_processes(n_processes: int) -> None:
    """Print the seconds of a fit in one process and in several."""
    context = multiprocessing.get_context("spawn")
    for n_ranks in (1, n_processes):
        with tempfile.TemporaryDirectory() as folder, context.Pool(n_ranks) as pool:
            ranks = [(rank, n_ranks, folder) for rank in range(n_ranks)]
            wall, cpu, score = np.max(pool.starmap(fit_rank, ranks, 1), axis=0)
        line = "{} processes: {:.1f} s, {:.1f} CPU s of each, score {:.6f}"
        print(line.format(n_ranks, wall, cpu, score), flush=True)


def fit_file(n_gigabytes: float, n_megabytes: int = 900) -> None:
    """Print the seconds and the memory of a fit and a transformation of a file."""
    import resource

    from skae import AutoencoderTransformer

    warnings.simplefilter("ignore")
    model = AutoencoderTransformer(2, max_iter=1, batch_size=2048, random_state=0)
    # The memory of libraries is allocated by the first fit.
    model.fit(make_rows(1000, seed=1).astype(np.float64))
    n_rows = int(n_gigabytes * 1e9) // (8 * N_FEATURES)
    limit = n_megabytes * 2**20
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(n_rows * 8 * N_FEATURES)
        X = np.memmap(file.name, np.float64, "r", shape=(n_rows, N_FEATURES))
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        with Peak() as peak:
            start = time.perf_counter()
            codes = model.fit(X).transform(X)
            seconds = time.perf_counter() - start
    line = "{} rows: {:.0f} s, {:.0f} MB above the start, of which {:.0f} MB are codes"
    print(line.format(n_rows, seconds, peak.growth, codes.nbytes / 2**20))


def main() -> None:
    """Print a row for each method and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = [100_000, 1_000_000, 10_000_000]
    parser.add_argument("--rows", type=int, nargs="+", default=sizes)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--file", type=float, metavar="GB")
    options = parser.parse_args()
    if options.file:
        fit_file(options.file)
        return
    if options.processes:
        compare_processes(options.processes)
        return
    header = "rows", "method", "fit s", "transform s", "MB", "variance lost"
    print("{:>10}  {:<12} {:>8} {:>12} {:>7} {:>14}".format(*header))
    context = multiprocessing.get_context("spawn")
    for n_rows in options.rows:
        for method in METHODS:
            with context.Pool(1) as pool:
                values = pool.apply(measure, (method, n_rows))
            line = "{:>10}  {:<12} {:>8.1f} {:>12.1f} {:>7.0f} {:>14.4f}"
            print(line.format(n_rows, method.__name__, *values), flush=True)


if __name__ == "__main__":
    main()
