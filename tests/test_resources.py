"""Memory and work: bounded for many rows, many components, and repeated fits."""

import gc
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.decomposition import PCA
from variants import quick, run_script

from skae.model._autoencoder import Autoencoder

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def anonymous_memory():
    """Return the anonymous memory of this process in MB."""
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def n_tensors():
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.mark.slow
def test_cycles_of_fit_and_transform_keep_no_memory(digits):
    model = quick(max_iter=1)
    # The allocator's pools grow at first.
    for _ in range(100):
        model.fit(digits).transform(digits)
    memory, tensors = anonymous_memory(), n_tensors()
    for _ in range(200):
        model.fit(digits).transform(digits)
    assert anonymous_memory() - memory < 20
    assert n_tensors() == tensors


@pytest.mark.slow
def test_a_memory_mapped_array_is_encoded_block_by_block(tmp_path):
    path = tmp_path / "rows"
    with open(path, "wb") as file:
        file.truncate(2**28)  # a sparse file of 256 MB of zeros
    printed = run_script(
        f"""
        import numpy as np, resource
        from skae import MLP, AutoencoderTransformer
        X = np.memmap({str(path)!r}, dtype=np.float64, mode="r", shape=(2**17, 256))
        rows = np.random.default_rng(0).standard_normal((100, 256))
        model = AutoencoderTransformer(network=MLP((8,)), max_iter=1).fit(rows)
        model.transform(X[:9]); model.score(X[:9]); model.reconstruction_error(X[:9])
        def data_kilobytes():
            lines = open("/proc/self/status").readlines()
            return next(int(l.split()[1]) for l in lines if l.startswith("VmData"))
        limit = data_kilobytes() * 1024 + 2**27  # 128 MB, half of the rows
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        print(model.transform(X).shape)
        model.score(X), model.reconstruction_error(X)
        """
    )
    assert printed == "(131072, 2)"


@pytest.mark.slow
def test_a_fit_of_a_memory_mapped_array_keeps_no_copy_of_it(tmp_path):
    path = tmp_path / "rows"
    with open(path, "wb") as file:
        file.truncate(2**29)  # a sparse file of 512 MB of zeros
    printed = run_script(
        f"""
        import numpy as np, resource
        from skae import MLP, AutoencoderTransformer
        X = np.memmap({str(path)!r}, dtype=np.float32, mode="r", shape=(2**17, 1024))
        rows = np.random.default_rng(0).standard_normal((100, 1024))
        model = AutoencoderTransformer(network=MLP((8,)), max_iter=1).fit(rows)
        def data_kilobytes():
            lines = open("/proc/self/status").readlines()
            return next(int(l.split()[1]) for l in lines if l.startswith("VmData"))
        limit = data_kilobytes() * 1024 + 2**28  # 256 MB, half of the rows
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        print(model.fit(X).n_iter_)
        """
    )
    assert printed == "1"


@pytest.mark.filterwarnings("ignore:n_components=")
@pytest.mark.parametrize("k", [1, 30, 200, 201, 1000, 5000])
def test_summaries_of_many_components_take_few_decodings(k, monkeypatch):
    n_decoded, decode = [], Autoencoder.decode

    def counted(model, codes):
        n_decoded.append(len(codes))
        return decode(model, codes)

    monkeypatch.setattr(Autoencoder, "decode", counted)
    X = np.random.default_rng(0).standard_normal((100, 12))
    model = quick(n_components=k, max_iter=0, precision="float64").fit(X)
    # Beside the prefixes, the rows are decoded for the loss at the start.
    assert sum(n_decoded) <= 20_000 + 1000
    expected = np.zeros(k)
    expected[:12] = PCA().fit(X).explained_variance_ratio_[:k]
    assert_allclose(model.explained_variance_ratio_, expected, atol=1e-9)


@pytest.mark.filterwarnings("ignore:n_components=")
def test_shares_of_many_components_add_up_to_that_of_all():
    X = np.random.default_rng(0).standard_normal((100, 12))
    options = {"init": "random", "max_iter": 1, "precision": "float64"}
    model = quick(n_components=500, **options).fit(X)
    assert model.explained_variance_ratio_.sum() == pytest.approx(model.score(X))


USES_OF_TABLES = {
    "fit": lambda model, frame: model.fit(frame),
    "transform": lambda model, frame: model.transform(frame),
    "score": lambda model, frame: model.score(frame),
    "inverse_transform": lambda model, frame: model.inverse_transform(
        np.zeros((len(frame), 2))
    ),
    "impute": lambda model, frame: model.impute(frame),
}


def peak_memory(function, *args):
    """Return the largest memory that a call allocates, in bytes."""
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("use", USES_OF_TABLES)
def test_beside_one_encoded_matrix_tables_take_little_memory(use):
    few, many, n_columns, n_levels = 5000, 15_000, 24, 20
    levels = np.random.default_rng(0).integers(n_levels, size=(many, n_columns))
    frame = pd.DataFrame(levels).astype("category")
    model = quick(max_iter=1, batch_size=1024).fit(frame[:1000])
    peaks = [peak_memory(USES_OF_TABLES[use], model, frame[:n]) for n in (few, many)]
    encoded = 8 * n_columns * n_levels * (many - few)
    assert peaks[1] - peaks[0] < 1.4 * encoded
