"""Sources: rows of arrays on disk, functions and iterables, read in blocks."""

import dask.array
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
import zarr
from numpy.testing import assert_array_equal

from skae.data._sources import IteratedBlocks, Source, array_starts, blocks_of
from skae.data._sources import is_source as is_source_
from skae.data._validation import read_block


def h5py_dataset(X, chunks):
    file = h5py.File.in_memory()
    return file.create_dataset("X", data=X, chunks=chunks)


def zarr_array(X):
    return zarr.array(X, chunks=(16, *X.shape[1:]))


def frames(X):
    names = [f"x{i}" for i in range(X.shape[1])]
    return [pd.DataFrame(rows, columns=names) for rows in np.array_split(X, 5)]


SOURCES = {
    "h5py": lambda X: h5py_dataset(X, None),
    "h5py chunks": lambda X: h5py_dataset(X, (7, *X.shape[1:])),
    "zarr": zarr_array,
    "dask": lambda X: dask.array.from_array(X, chunks=(50, -1)),
    "function of arrays": lambda X: lambda: iter(np.array_split(X, 5)),
    "function of a list": lambda X: lambda: np.array_split(X, 5),
    "function of pandas": lambda X: lambda: iter(frames(X)),
    "function of polars": lambda X: lambda: map(pl.from_pandas, frames(X)),
    "function of pyarrow": lambda X: (
        pa.Table.from_pandas(pd.concat(frames(X), ignore_index=True)).to_batches
    ),
    "data loader": lambda X: torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(X.copy())), batch_size=33
    ),
}


@pytest.fixture(params=SOURCES)
def make(request):
    """A function that returns a source of rows."""
    return SOURCES[request.param]


def opened(X):
    return Source(blocks_of(X), read_block)


@pytest.mark.parametrize(
    "index",
    [
        slice(None),
        slice(3, 90),
        slice(2, 110, 7),
        [5],
        [119, 3, 3, 60, 0],
        np.arange(120) % 3 == 0,
        np.empty(0, dtype=int),
    ],
    ids=str,
)
def test_rows_are_selected_as_in_an_array(digits, make, index):
    source = opened(make(digits))
    assert source.shape == digits.shape
    assert_array_equal(source[index], digits[index])


def test_extremes_and_nan_are_those_of_all_rows(digits, make):
    X = digits.copy()
    X[100, 3], X[2, 5], X[60, 60] = np.nan, -7.0, 99.0
    source = opened(make(X))
    assert source.extremes == (-7.0, 99.0)
    assert source.has_nan
    assert not opened(make(digits)).has_nan


def test_a_pass_in_order_reads_each_block_once(digits):
    calls, blocks = [], np.array_split(digits, 5)

    def iterate():
        for i, block in enumerate(blocks):
            calls.append(i)
            yield block

    source = opened(iterate)
    assert calls == [0, 1, 2, 3, 4]
    for start in range(0, 120, 9):
        source[start : start + 9]
    assert calls[5:] == [0, 1, 2, 3, 4]


def test_blocks_of_an_array_are_whole_chunks():
    X = np.zeros((100, 10))
    assert_array_equal(
        array_starts(dask.array.from_array(X, (30, 5))), [0, 30, 60, 90, 100]
    )
    large = h5py_dataset(np.zeros((3000, 1000), dtype=np.float32), (700, 10))
    assert_array_equal(array_starts(large), [0, 700, 1400, 2100, 2800, 3000])
    assert_array_equal(array_starts(h5py_dataset(X, (30, 10))), [0, 100])


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((2, 2)),
        [[1.0], [2.0]],
        pd.DataFrame({"x": [1.0]}),
        pl.DataFrame({"x": [1.0]}),
        torch.zeros(2, 2),
        None,
        "text",
    ],
    ids=lambda X: type(X).__name__,
)
def test_matrices_in_memory_are_no_sources(X):
    assert not is_source_(X)


def test_arrays_on_disk_functions_and_iterables_are_sources(digits, make):
    assert is_source_(make(digits))


def test_rows_with_several_axes_are_flattened(digits):
    images = digits.reshape(-1, 8, 8)
    for X in (h5py_dataset(images, (16, 8, 8)), zarr_array(images), lambda: [images]):
        source = opened(X)
        assert source.row_shape == (8, 8)
        assert_array_equal(source[:], digits)


def test_a_generator_is_refused_with_the_way_out(digits):
    with pytest.raises(TypeError, match=r"generator.*only once.*function"):
        blocks_of(rows for rows in [digits])


def test_blocks_of_other_sizes_in_a_later_pass_are_refused(digits):
    n_calls = []

    def iterate():
        n_calls.append(1)
        return np.array_split(digits, 4 if len(n_calls) == 1 else 5)

    with pytest.raises(ValueError, match="Block 0 has 24 rows, but had 30 at first"):
        opened(iterate)[:]


def test_fewer_blocks_in_a_later_pass_are_refused(digits):
    n_calls = []

    def iterate():
        n_calls.append(1)
        return np.array_split(digits, 4)[: 4 if len(n_calls) == 1 else 2]

    with pytest.raises(ValueError, match="returned 2 blocks, but more"):
        opened(iterate)[:]


@pytest.mark.parametrize(
    ("blocks", "match"),
    [
        ([], "0 sample"),
        ([np.empty((0, 3))], "0 sample"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], r"shape \(3,\) and \(4,\)"),
        ([np.zeros((2, 3)), np.full((2, 3), np.inf)], "infinity"),
        (
            [pd.DataFrame({"x": [1], "y": [2]}), pd.DataFrame({"y": [2], "x": [1]})],
            r"columns \['x', 'y'\] and \['y', 'x'\]",
        ),
        ([pd.DataFrame({"x": [1.0]}), np.zeros((2, 1))], r"columns \['x'\] and None"),
        ([pd.DataFrame({"x": ["a", "b"]})], "columns other than numbers"),
        ([["a", "b"]], "not numbers|array"),
    ],
    ids=["none", "empty", "widths", "infinite", "order", "names", "text", "strings"],
)
def test_blocks_that_are_no_rows_of_numbers_are_refused(blocks, match):
    with pytest.raises((TypeError, ValueError), match=match):
        opened(lambda: blocks)


def test_blocks_in_another_order_are_refused(digits):
    n_calls = []

    def iterate():
        n_calls.append(1)
        return np.array_split(digits, 4)[:: 1 if len(n_calls) == 1 else -1]

    with pytest.raises(ValueError, match="Block 0 has another first row"):
        opened(iterate)[:]


@pytest.mark.parametrize(
    "result", [np.zeros((3, 2, 2)), pd.DataFrame({"x": [1.0]}), None, 3], ids=type
)
def test_a_function_must_return_blocks(result):
    with pytest.raises(TypeError, match="expected an iterator of blocks"):
        opened(lambda: result)


def test_a_block_may_be_a_list_of_rows_or_a_batch(digits):
    images = digits.reshape(-1, 8, 8)
    for blocks in ([list(images[:60]), list(images[60:])], [[images, digits[:, 0]]]):
        source = opened(lambda blocks=blocks: blocks)
        assert source.row_shape == (8, 8)
        assert_array_equal(source[:], digits)
    assert_array_equal(opened(lambda: [digits.tolist()])[:], digits)


def test_an_array_of_unknown_length_is_refused(digits):
    array = dask.array.from_array(digits, chunks=(50, -1))
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        opened(array[array[:, 2] > 0])


def test_a_class_of_iterators_is_a_function(digits):
    class Once:
        def __init__(self):
            self.blocks = iter([digits])

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.blocks)

    assert_array_equal(opened(Once)[:], digits)
    with pytest.raises(TypeError, match="only once"):
        opened(Once())


def test_empty_blocks_among_others_are_no_rows(digits):
    blocks = [digits[:0], digits[:50], digits[:0], digits[50:]]
    assert_array_equal(opened(lambda: blocks)[:], digits)
    assert isinstance(blocks_of(lambda: blocks), IteratedBlocks)


def test_iterators_are_closed_if_they_are_not_exhausted(digits):
    n_open = []

    def iterate():
        n_open.append(1)
        try:
            yield from np.array_split(digits, 3)
        finally:
            n_open.pop()

    source = opened(iterate)
    source[:5]
    assert len(n_open) == 1
    source[60:70]
    source[:5]
    assert len(n_open) == 1
    source.blocks.close()
    assert not n_open
