"""Fits on rows that are read in blocks, which are not held in memory."""

import numpy as np
import pytest
import torch
from data.test_sources import SOURCES, h5py_dataset
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from variants import quick, run_script

from skae import Conv, CrossEntropy, Recurrent
from skae.data._rows import StandardizedRows
from skae.data._sources import Source, blocks_of
from skae.data._validation import read_block
from skae.training._batches import Batches

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X does not have valid feature names"),
]


@pytest.fixture
def nothing_held(monkeypatch):
    """Treat small data like data that exceed the memory."""
    monkeypatch.setattr("skae.data._validation.MAX_HELD_ENTRIES", 0)
    monkeypatch.setattr("skae.training._batches.RESIDENT_BYTES", 0)
    monkeypatch.setattr("skae.training._batches.BUFFER_ENTRIES", 40 * 64)


@pytest.mark.parametrize("name", SOURCES)
def test_small_sources_are_fitted_as_arrays(name, digits):
    model = quick().fit(SOURCES[name](digits))
    assert_array_equal(model.transform(digits), quick().fit(digits).transform(digits))


@pytest.mark.usefixtures("nothing_held")
@pytest.mark.parametrize("name", SOURCES)
def test_all_methods_read_sources_as_arrays(name, digits):
    X = SOURCES[name](digits)
    model = quick().fit(X)
    assert_array_equal(model.transform(X), model.transform(digits))
    assert model.score(X) == model.score(digits)
    errors = model.reconstruction_error(X, per_feature=True)
    assert_array_equal(errors, model.reconstruction_error(digits, per_feature=True))
    reference = quick(max_iter=0).fit(digits)
    assert_allclose(quick(max_iter=0).fit(X).mean_, reference.mean_)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_names_of_features_are_those_of_the_first_block(library, digits):
    model = quick().fit(SOURCES[f"function of {library}"](digits))
    assert list(model.feature_names_in_)[:2] == ["x0", "x1"]


@pytest.mark.usefixtures("nothing_held")
@pytest.mark.parametrize("name", SOURCES)
def test_without_training_a_source_has_the_axes_of_an_array(name, digits):
    options = {"max_iter": 0, "precision": "float64"}
    codes = quick(**options).fit(digits).transform(digits)
    model = quick(**options).fit(SOURCES[name](digits))
    assert_allclose(model.transform(digits), codes, atol=1e-9)


def batches_of(X, index=None, weight=None):
    source = Source(blocks_of(X), read_block)
    rows = StandardizedRows(source, np.zeros(source.shape[1]), 1.0, weight, index)
    return Batches(rows, torch.float32, "cpu")


@pytest.mark.usefixtures("nothing_held")
@pytest.mark.parametrize("n_batches", [2, 7, 50, 90])
def test_an_epoch_has_each_training_row_once_with_its_weight(n_batches):
    X = np.arange(150.0)[:, np.newaxis] * np.ones(64)
    index = np.delete(np.arange(150), [3, 50, 51, 149])
    weight = index + 1.0
    batches = batches_of(h5py_dataset(X, (20, 64)), index, weight)
    generator = torch.Generator().manual_seed(0)
    pairs = list(batches.shuffled(n_batches, generator))
    assert len(pairs) == n_batches
    sizes = [len(rows) for rows, _ in pairs]
    assert max(sizes) - min(sizes) <= 1
    rows = torch.cat([rows[:, 0] for rows, _ in pairs]).numpy()
    assert_array_equal(np.sort(rows), index)
    assert_array_equal(torch.cat([w for _, w in pairs]).numpy(), rows + 1)


@pytest.mark.usefixtures("nothing_held")
def test_rows_are_shuffled_within_buffers_and_chunks_are_permuted():
    X = np.arange(400.0)[:, np.newaxis] * np.ones(64)
    orders = []
    for rows in (h5py_dataset(X, (20, 64)), lambda: np.split(X, 20)):
        pairs = batches_of(rows).shuffled(10, torch.Generator().manual_seed(0))
        orders.append(torch.cat([rows[:, 0] for rows, _ in pairs]).numpy())
    chunked, sequential = orders
    # A buffer has two blocks of 20 rows.
    buffers = np.sort(sequential.reshape(10, 40), axis=1)
    assert_array_equal(buffers.ravel(), np.arange(400))
    assert (np.diff(sequential) < 0).mean() > 0.3
    assert (np.diff(chunked.reshape(10, 40).min(axis=1)) < 0).any()


@pytest.mark.usefixtures("nothing_held")
def test_an_epoch_reads_each_block_of_a_function_once(digits):
    n_read = []

    def iterate():
        for block in np.array_split(digits, 6):
            n_read.append(len(block))
            yield block

    options = {"early_stopping": False, "batch_size": 10}
    counts = []
    for max_iter in (3, 8):
        n_read.clear()
        quick(max_iter=max_iter, **options).fit(iterate)
        counts.append(len(n_read))
    # The fit on all rows after the first run is left out.
    assert counts[1] - counts[0] <= 5 * 6 * 2


@pytest.mark.usefixtures("nothing_held")
def test_missing_values_images_sequences_and_tokens_are_read_in_blocks(digits):
    incomplete = np.where(
        np.random.default_rng(0).random(digits.shape) < 0.1, np.nan, digits
    )
    padded = digits.reshape(-1, 8, 8).copy()
    padded[::3, 5:] = np.nan
    cases = [
        (incomplete, {}),
        (digits.reshape(-1, 1, 8, 8), {"network": Conv(channels=(2,))}),
        (padded, {"network": Recurrent(hidden_size=4)}),
        (digits[:, 20:28], {"loss": CrossEntropy(17)}),
    ]
    for X, params in cases:
        model = quick(**params).fit(lambda X=X: np.array_split(X, 4))
        reference = quick(**params).fit(X)
        assert type(model._config.layout) is type(reference._config.layout)
        assert model.score(X) == pytest.approx(reference.score(X), abs=0.05)


@pytest.mark.usefixtures("nothing_held")
def test_partial_fit_takes_a_source(digits):
    model = quick().partial_fit(lambda: np.array_split(digits, 3))
    assert model.partial_fit(digits).n_iter_ == 2


@pytest.mark.usefixtures("nothing_held")
def test_weights_of_zero_are_refused_for_sources(digits):
    weight = np.arange(120.0)
    with pytest.raises(ValueError, match="Some weights are zero"):
        quick().fit(lambda: [digits], sample_weight=weight)
    model = quick().fit(lambda: [digits], sample_weight=weight + 1)
    assert model.score(lambda: [digits], sample_weight=weight) > 0


@pytest.mark.usefixtures("nothing_held")
def test_codes_are_written_to_a_given_array(digits, tmp_path):
    model = quick().fit(digits)
    codes = model.transform(digits)
    arrays = [
        np.lib.format.open_memmap(tmp_path / "codes.npy", "w+", shape=(120, 2)),
        h5py_dataset(np.zeros((120, 2)), None),
    ]
    for out in arrays:
        assert model.transform(lambda: np.array_split(digits, 5), out=out) is out
        assert_array_equal(out[:], codes)
    for wrong in (np.empty((120, 3)), [[0.0]]):
        with pytest.raises(ValueError, match=r"expected an array of shape \(120, 2\)"):
            model.transform(digits, out=wrong)
    with pytest.raises(ValueError, match="codes are floats"):
        model.transform(digits, out=np.empty((120, 2), dtype=int))


def test_tables_of_mixed_columns_are_not_read_in_blocks(digits):
    with pytest.raises(TypeError, match="expected rows in memory"):
        quick(categorical_features=[0]).fit(lambda: [digits])


def test_a_source_is_the_input_of_a_pipeline(digits):
    pipeline = make_pipeline(quick()).fit(lambda: np.array_split(digits, 3))
    assert pipeline.transform(digits).shape == (120, 2)


@pytest.mark.slow
def test_shuffling_in_blocks_reconstructs_unseen_rows_as_full_shuffling(monkeypatch):
    X = load_digits().data
    train, test = X[::2], X[1::2]
    scores = [quick(n_components=8, max_iter=60, batch_size=64).fit(train).score(test)]
    monkeypatch.setattr("skae.data._validation.MAX_HELD_ENTRIES", 0)
    monkeypatch.setattr("skae.training._batches.RESIDENT_BYTES", 0)
    monkeypatch.setattr("skae.training._batches.BUFFER_ENTRIES", 256 * 64)
    model = quick(n_components=8, max_iter=60, batch_size=64)
    scores.append(model.fit(h5py_dataset(train, (64, 64))).score(test))
    # FVU within 5 %.
    assert (1 - scores[1]) / (1 - scores[0]) == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_a_gigabyte_of_blocks_is_fitted_in_a_quarter_of_it():
    printed = run_script(
        """
        import numpy as np, resource
        from skae import MLP, AutoencoderTransformer
        block = np.random.default_rng(0).standard_normal((2**13, 128))
        blocks = lambda: (block + i for i in range(128))
        model = AutoencoderTransformer(network=MLP((8,)), max_iter=1, batch_size=4096)
        model.fit(block)
        def data_kilobytes():
            lines = open("/proc/self/status").readlines()
            return next(int(l.split()[1]) for l in lines if l.startswith("VmData"))
        limit = data_kilobytes() * 1024 + 2**28
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        print(model.fit(blocks).transform(blocks).shape)
        """
    )
    assert printed == "(1048576, 2)"
