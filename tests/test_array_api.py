"""The array API: results are in the namespace and on the device of the input."""

import copy
import os
import pickle

import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from skae import (
    MLP,
    AutoencoderImputer,
    AutoencoderOutlierDetector,
    AutoencoderTransformer,
    CodeDisplay,
    ExplainedVarianceDisplay,
    OutlierDisplay,
    ReconstructionDisplay,
    TraversalDisplay,
    cross_val_reconstruction_error,
)

strict = pytest.importorskip("array_api_strict")

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("SCIPY_ARRAY_API") != "1",
        reason="array_api_dispatch needs SCIPY_ARRAY_API=1 before SciPy is imported",
    ),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

DEVICE = strict.Device("device1")
# Functions of NumPy arrays, and the devices of the arrays that they return.
NAMESPACES = {
    "torch": (torch.tensor, torch.device("cpu")),
    "array_api_strict": (lambda X: strict.asarray(X, device=DEVICE), DEVICE),
}
QUICK = {"network": MLP((8,)), "max_iter": 2, "random_state": 0}
ARRAYS = ("mean_", "explained_variance_ratio_", "_codes", "_lengths")
# Functions of a model and rows that return arrays.
METHODS = {
    "transform": lambda model, X: model.transform(X),
    "inverse_transform": lambda model, X: model.inverse_transform(model.transform(X)),
    "reconstruction_error": lambda model, X: model.reconstruction_error(X),
    "error of features": lambda model, X: model.reconstruction_error(X, True),
    "impute": lambda model, X: model.impute(X),
    "sample": lambda model, X: model.sample(5, random_state=0),
    "interpolate": lambda model, X: model.interpolate(X[0, :], X[1, :]),
    "decompress": lambda model, X: model.decompress(model.compress(X)),
    "keywords": lambda model, X: model.transform(X=X),
}
# Functions of rows that fit a model, and return an array.
FITS = {
    "fit_transform": lambda X: AutoencoderTransformer(**QUICK).fit_transform(X),
    "partial_fit": lambda X: (
        AutoencoderTransformer(**QUICK).partial_fit(X).partial_fit(X).transform(X)
    ),
    "warm_start": lambda X: (
        AutoencoderTransformer(warm_start=True, **QUICK).fit(X).fit(X).transform(X)
    ),
    "sample_weight": lambda X: (
        AutoencoderTransformer(**QUICK).fit(X, sample_weight=X[:, 0]).transform(X)
    ),
    "X_val": lambda X: AutoencoderTransformer(**QUICK).fit(X, X_val=X).transform(X),
    "X_clean": lambda X: AutoencoderTransformer(**QUICK).fit(X, X_clean=X).transform(X),
    "predict": lambda X: detector().fit_predict(X),
    "score_samples": lambda X: detector().fit(X).score_samples(X),
    "decision_function": lambda X: (
        detector().fit(X, sample_weight=X[:, 0]).decision_function(X)
    ),
    "feature_scores": lambda X: detector().fit(X).feature_scores(X),
    "imputer": lambda X: AutoencoderImputer(max_iter=2, random_state=0).fit_transform(
        X
    ),
    "errors of folds": lambda X: cross_val_reconstruction_error(
        AutoencoderTransformer(**QUICK), X, cv=2
    ),
}


def detector():
    return AutoencoderOutlierDetector(n_estimators=1, random_state=0)


@pytest.fixture
def dispatch():
    with sklearn.config_context(array_api_dispatch=True):
        yield


@pytest.fixture(params=["float64", "float32"])
def rows(request):
    X = load_iris().data[:60].astype(request.param)
    X.flags.writeable = False
    return X


@pytest.fixture(params=NAMESPACES)
def namespace(request):
    return NAMESPACES[request.param]


def assert_moved(result, expected, device):
    """Assert that an array is on a device, and has a NumPy array's bits and type."""
    assert type(result) is not np.ndarray
    assert result.device == device
    assert str(result.dtype).rpartition(".")[2] == expected.dtype.name
    assert_array_equal(as_numpy(result), expected)


def as_numpy(array):
    if isinstance(array, torch.Tensor):
        return array.numpy()
    return np.asarray(strict.asarray(array, device=strict.Device("CPU_DEVICE")))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_results_follow_the_input(method, namespace, rows):
    convert, device = namespace
    expected = method(AutoencoderTransformer(**QUICK).fit(rows), rows)
    X = convert(rows)
    with sklearn.config_context(array_api_dispatch=True):
        result = method(AutoencoderTransformer(**QUICK).fit(X), X)
    assert_moved(result, expected, device)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS.keys())
def test_fits_to_arrays_of_a_namespace_equal_those_to_numpys(fit, namespace):
    convert, device = namespace
    X = load_iris().data[:60].astype(np.float32)
    expected = fit(X)
    with sklearn.config_context(array_api_dispatch=True):
        result = fit(convert(X))
    assert_moved(result, expected, device)


def test_pipelines_of_scalers_follow_the_input(rows):
    pipeline = make_pipeline(StandardScaler(), AutoencoderTransformer(**QUICK))
    expected = torch.tensor(pipeline.fit_transform(rows))
    with sklearn.config_context(array_api_dispatch=True):
        codes = pipeline.fit_transform(torch.tensor(rows))
    # The scaler rounds the mean of tensors differently.
    torch.testing.assert_close(codes, expected, rtol=1e-3, atol=1e-4)


def test_fitted_arrays_follow_the_input_and_are_saved_as_numpys(namespace, rows):
    convert, device = namespace
    expected, X = AutoencoderTransformer(**QUICK).fit(rows), convert(rows)
    with sklearn.config_context(array_api_dispatch=True):
        model = AutoencoderTransformer(**QUICK).fit(X)
        for name in ARRAYS:
            assert_moved(getattr(model, name), getattr(expected, name), device)
        loaded = pickle.loads(pickle.dumps(model))
        for name in ARRAYS:
            assert_array_equal(getattr(loaded, name), getattr(expected, name))
        # A loaded model accepts all namespaces.
        assert_moved(loaded.transform(X), expected.transform(rows), device)
        assert_array_equal(loaded.transform(rows), expected.transform(rows))


def test_scores_are_floats(namespace, rows):
    convert, _ = namespace
    expected = AutoencoderTransformer(**QUICK).fit(rows).score(rows, None, rows[:, 0])
    X = convert(rows)
    with sklearn.config_context(array_api_dispatch=True):
        model = AutoencoderTransformer(**QUICK).fit(X)
        score = model.score(X, sample_weight=X[:, 0])
    assert type(score) is float
    assert score == expected


def test_without_dispatch_results_are_numpys(namespace):
    convert, _ = namespace
    rows = load_iris().data[:60].astype(np.float32)
    expected = AutoencoderTransformer(**QUICK).fit(rows)
    X = convert(rows)
    with sklearn.config_context(array_api_dispatch=True):
        moved = AutoencoderTransformer(**QUICK).fit(X)
    for model in (AutoencoderTransformer(**QUICK).fit(X), moved, copy.deepcopy(moved)):
        for method in METHODS.values():
            result = method(model, X)
            assert type(result) is np.ndarray
            assert_array_equal(result, method(expected, rows))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float16),
        (torch.int32, torch.float64),
        (torch.bool, torch.float64),
    ],
)
@pytest.mark.usefixtures("dispatch")
def test_codes_of_other_types_are_floats(kind, expected):
    X = torch.tensor(load_iris().data[:60] > 1.5).to(kind)
    assert AutoencoderTransformer(**QUICK).fit_transform(X).dtype == expected


@pytest.mark.usefixtures("dispatch")
def test_results_have_no_gradients():
    X = torch.tensor(load_iris().data[:60], requires_grad=True)
    with torch.enable_grad():
        assert not AutoencoderTransformer(**QUICK).fit_transform(X).requires_grad


@pytest.mark.usefixtures("dispatch")
def test_images_and_integer_tables_follow_the_input(namespace):
    convert, device = namespace
    X = load_iris().data[:60]
    images = convert(X.reshape(-1, 2, 2))
    model = AutoencoderTransformer(**QUICK).fit(images)
    assert model.inverse_transform(model.transform(images)).shape == (60, 2, 2)
    table = convert((2 * X).astype(np.int64))
    model = AutoencoderTransformer(categorical_features=[0], **QUICK).fit(table)
    decoded = model.inverse_transform(model.transform(table))
    assert (decoded.device, decoded.dtype) == (device, table.dtype)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(
    "method", ["transform", "inverse_transform", "score", "reconstruction_error"]
)
def test_another_namespace_than_in_fit_raises(method, namespace):
    convert, _ = namespace
    X = load_iris().data[:60, :2]
    model = AutoencoderTransformer(**QUICK).fit(convert(X))
    with pytest.raises(ValueError, match=rf"{method}\(\) must use the same namespace"):
        getattr(model, method)(X)
    with pytest.raises(ValueError, match="must use the same namespace"):
        getattr(model, method)(X.tolist())


@pytest.mark.usefixtures("dispatch")
def test_a_model_of_numpy_arrays_accepts_all_namespaces(namespace, rows):
    convert, device = namespace
    model = AutoencoderTransformer(**QUICK).fit(rows)
    assert_moved(model.transform(convert(rows)), model.transform(rows), device)


def test_frames_of_codes_are_decoded():
    X = load_iris().data
    with sklearn.config_context(array_api_dispatch=True):
        model = AutoencoderTransformer(2, **QUICK).fit(torch.tensor(X))
        codes = model.set_output(transform="pandas").transform(torch.tensor(X))
        decoded = model.inverse_transform(codes)
    assert_array_equal(decoded, model.inverse_transform(codes))


@pytest.mark.usefixtures("dispatch")
def test_weights_and_validation_rows_may_be_elsewhere(rows):
    weight = strict.asarray(rows[:, 0], device=DEVICE)
    X, X_val = torch.tensor(rows), strict.asarray(rows)
    model = AutoencoderTransformer(**QUICK).fit(X, sample_weight=weight, X_val=X_val)
    assert isinstance(model.transform(X), torch.Tensor)


@pytest.mark.usefixtures("dispatch")
def test_an_array_for_the_codes_is_returned(rows):
    X, out = torch.tensor(rows), np.empty((60, 2))
    model = AutoencoderTransformer(**QUICK).fit(X)
    assert model.transform(X, out=out) is out
    with pytest.raises(ValueError, match=r"Got out of type torch\.float32"):
        model.transform(X, out=torch.empty(60, 2))


@pytest.mark.usefixtures("dispatch")
def test_rows_in_blocks_are_encoded_as_numpys(rows):
    model = AutoencoderTransformer(**QUICK).fit(torch.tensor(rows))
    codes = model.transform(lambda: iter([rows[:30], rows[30:]]))
    assert_array_equal(codes, as_numpy(model.transform(torch.tensor(rows))))


@pytest.mark.usefixtures("dispatch")
def test_arrays_rounded_by_a_device_without_float64_are_saved(rows):
    X = torch.tensor(rows)
    model = AutoencoderTransformer(**QUICK).fit(X)
    for name in ARRAYS:
        setattr(model, name, getattr(model, name).float())
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.mean_.dtype == np.float64
    torch.testing.assert_close(loaded.transform(X), model.transform(X))


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(
    "display",
    [
        CodeDisplay,
        ExplainedVarianceDisplay,
        OutlierDisplay,
        ReconstructionDisplay,
        TraversalDisplay,
    ],
)
def test_displays_draw_arrays_of_all_namespaces(display, namespace):
    convert, _ = namespace
    pyplot = pytest.importorskip("matplotlib.pyplot")
    model = detector() if display is OutlierDisplay else AutoencoderTransformer(**QUICK)
    X = convert(load_iris().data[:60])
    drawn = display.from_estimator(model.fit(X), X)
    assert drawn.figure_.axes
    pyplot.close("all")


@pytest.mark.parametrize(
    ("name", "device", "dtype"),
    [
        ("torch", "cpu", "float64"),
        ("torch", "cpu", "float32"),
        ("array_api_strict", "device1", "float64"),
        ("array_api_strict", "CPU_DEVICE", "float32"),
    ],
)
def test_values_pass_scikit_learns_check(name, device, dtype):
    check = estimator_checks.check_array_api_input_and_values
    check(
        "AutoencoderTransformer",
        AutoencoderTransformer(**QUICK),
        array_namespace=name,
        device_name=device,
        dtype_name=dtype,
        check_sample_weight=True,
    )
