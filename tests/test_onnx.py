"""ONNX models have the results of scikit-learn's estimators, within 1e-5."""

import logging

import numpy as np
import onnxruntime
import pytest
import torch
from configurations import FITS
from numpy.testing import assert_allclose, assert_array_equal
from skl2onnx import to_onnx
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_torch_module import inputs_and_results, rows_of, table

import skae.onnx
from skae import (
    MLP,
    AutoencoderImputer,
    AutoencoderOutlierDetector,
    AutoencoderTransformer,
    Conv,
    Recurrent,
    TopK,
    Variational,
)
from skae.networks._layers import ACTIVATIONS
from skae.onnx._graph import eliminate, graph_of, traced_graph

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS.astype(np.float32)
PARTS = ["encode", "decode", "both"]
LOSSES = ["squared_error", "absolute_error", "huber", "log_loss", "brier", "poisson"]
PARTS_OF_MODELS = {
    "conv": {"network": Conv((1, 8, 8))},
    "recurrent": {"network": Recurrent((8, 8), hidden_size=4)},
    "TopK": {"regularizer": TopK(2)},
    "Variational": {"regularizer": Variational()},
    "gelu": {"network": MLP(activation="gelu")},
}
no_convergence = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(autouse=True, scope="module")
def _register():
    skae.onnx.register()


def run(proto, feeds):
    """Return the outputs of a model for an array, or for arrays by name."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    if not isinstance(feeds, dict):
        feeds = {session.get_inputs()[0].name: feeds}
    return session.run(None, feeds)


def small(X, n_components=3, **params):
    model = AutoencoderTransformer(n_components, max_iter=2, random_state=0, **params)
    return model.fit(X)


def assert_equal_codes(model, proto, X):
    """Assert that codes are those of the model, for all rows and for one."""
    for rows in (X, X[:1]):
        (codes,) = run(proto, rows)
        assert_allclose(codes, model.transform(rows), rtol=1e-5, atol=1e-5)


def single_precision(X):
    """Return rows as an ONNX model takes them."""
    X = rows_of(X)
    return X if X.dtype.kind in "iu" else X.astype(np.float32)


def assert_results_are_equal(name, parts):
    model, X = FITS[name]()
    results = inputs_and_results(model, single_precision(X))
    for part in parts:
        rows, expected = results[part]
        rows = single_precision(rows)
        proto = skae.onnx.to_onnx(model, part)
        (result,) = run(proto, rows)
        scale = max(1.0, np.nanmax(np.abs(expected)))
        assert_allclose(result, expected, atol=1e-5 * scale)
        assert_array_equal(result.shape, expected.shape)
        (one,) = run(proto, rows[:1])
        assert_allclose(one, expected[:1], atol=1e-5 * scale)


@pytest.mark.parametrize("name", ["default", "linear", "scores", "share", "huber"])
def test_fully_connected_models_have_equal_results(name):
    assert_results_are_equal(name, PARTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", FITS)
def test_all_models_have_equal_results(name):
    assert_results_are_equal(name, ["encode", "decode"])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_written_graphs_have_the_results_of_the_module(activation):
    network = MLP((8, 4), activation=activation)
    X = DIGITS[:100]
    model = small(X, network=network)
    (rows,) = run(skae.onnx.to_onnx(model, "both"), X)
    expected = model.inverse_transform(model.transform(X))
    assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_written_graphs_equal_those_of_the_exporter(part):
    model = small(DIGITS[:200])
    rows, _ = inputs_and_results(model, DIGITS[:200])[part]
    written = graph_of(model.to_torch_module(part), rows, 18)
    traced = traced_graph(model.to_torch_module(part).float(), rows, 18)
    assert_allclose(run(written, rows)[0], run(traced, rows)[0], atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pipelines_predict_equal_labels(dtype):
    X = DIGITS.astype(dtype)
    steps = StandardScaler(), AutoencoderTransformer(6, max_iter=2, random_state=0)
    pipeline = make_pipeline(*steps, LogisticRegression(max_iter=500)).fit(X, LABELS)
    labels, probabilities = run(to_onnx(pipeline, X[:1], options={"zipmap": False}), X)
    assert_array_equal(labels, pipeline.predict(X))
    assert_allclose(probabilities, pipeline.predict_proba(X), atol=1e-5)
    assert probabilities.dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", PARTS_OF_MODELS)
def test_pipelines_of_all_parts_predict_equal_labels(name, loss):
    X, y = DIGITS[:200] / 16, LABELS[:200]
    params = PARTS_OF_MODELS[name]
    autoencoder = AutoencoderTransformer(
        4, loss=loss, max_iter=2, random_state=0, **params
    )
    pipeline = make_pipeline(autoencoder, LogisticRegression(max_iter=500)).fit(X, y)
    labels, probabilities = run(to_onnx(pipeline, X[:1], options={"zipmap": False}), X)
    assert_array_equal(labels, pipeline.predict(X))
    assert_allclose(probabilities, pipeline.predict_proba(X), atol=1e-5)


def test_codes_of_some_columns_are_joined_with_others():
    X = DIGITS[:200]
    columns = ColumnTransformer(
        [
            (
                "codes",
                AutoencoderTransformer(2, max_iter=2, random_state=0),
                [*range(32)],
            )
        ],
        remainder="passthrough",
    )
    assert_equal_codes(columns.fit(X), to_onnx(columns, X[:1]), X)


def test_images_are_converted():
    X = DIGITS[:100].reshape(-1, 1, 8, 8)
    model = small(X, network=Conv(channels=(4,)))
    assert_equal_codes(model, to_onnx(model, X[:1]), X)


@pytest.mark.slow
def test_images_of_unknown_shape_are_converted():
    X = DIGITS[:100].reshape(-1, 1, 8, 8)
    model = small(X, network=Conv())
    proto = to_onnx(model, initial_types=[("X", FloatTensorType([None] * 4))])
    assert_equal_codes(model, proto, X)


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_large_integers_keep_their_digits(dtype):
    X = 10**9 + 100 * DIGITS[:100].astype(np.int64)
    X = X.astype(dtype)
    model = small(X)
    assert_equal_codes(model, to_onnx(model, X[:1]), X)


def test_all_columns_of_a_frame_keep_their_digits():
    frame = table()[["count", "size"]]
    frame["time"] = 1e9 + frame["size"]
    model = small(frame, 2)
    feeds = {name: frame[[name]].to_numpy() for name in frame}
    (codes,) = run(to_onnx(model, frame[:1]), feeds)
    assert_allclose(codes, model.transform(frame), rtol=1e-5, atol=1e-5)


def test_tokens_are_converted():
    X = np.random.default_rng(0).integers(0, 5, (100, 6))
    model = small(X, loss="cross_entropy")
    assert_equal_codes(model, to_onnx(model, X[:1]), X)


def test_missing_values_are_converted():
    X = DIGITS[:200].copy()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    model = small(X)
    assert_equal_codes(model, to_onnx(model, X[:1]), X)


def table_types(model):
    """Return the type of each column of a table."""
    types = {
        "category": StringTensorType,
        "boolean": BooleanTensorType,
        "number": DoubleTensorType,
    }
    return [
        (name, types[kind]([None, 1])) for name, kind in model.column_kinds_.items()
    ]


def feeds_of(frame):
    """Return the columns of a table; missing strings are empty."""
    arrays = {}
    for name, column in frame.items():
        is_text = column.dtype.kind not in "biuf"
        values = column.fillna("").astype(object) if is_text else column
        arrays[name] = values.to_numpy()[:, np.newaxis]
    arrays["count"] = arrays["count"].astype(np.float64)
    return arrays


@no_convergence
@pytest.mark.parametrize("missing", [False, True])
def test_tables_are_converted(missing):
    frame = table(missing)
    model = AutoencoderTransformer(3, max_iter=5, random_state=0).fit(frame)
    proto = to_onnx(model, initial_types=table_types(model))
    (codes,) = run(proto, feeds_of(frame))
    assert_allclose(codes, model.transform(frame), atol=1e-5)


@no_convergence
def test_unknown_levels_are_missing_values():
    frame = table(missing=True)
    model = AutoencoderTransformer(3, max_iter=5, random_state=0).fit(frame)
    frame["color"] = frame["color"].replace("red", "violet")
    (codes,) = run(to_onnx(model, initial_types=table_types(model)), feeds_of(frame))
    with pytest.warns(UserWarning, match="violet"):
        expected = model.transform(frame)
    assert_allclose(codes, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_categories_in_arrays_are_converted(dtype):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(3, 6, 150), rng.normal(0, 9, (150, 3))])
    X = X.astype(dtype)
    model = small(X, 2, categorical_features=[0])
    proto = to_onnx(model, X[:1])
    (codes,) = run(proto, X)
    assert_allclose(codes, model.transform(X), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_large_numbers_are_different_levels(dtype):
    rng = np.random.default_rng(0)
    X = np.column_stack([2**24 + rng.integers(0, 3, 150), rng.normal(0, 9, (150, 3))])
    X = X.astype(dtype)
    model = small(X, 2, categorical_features=[0])
    (codes,) = run(to_onnx(model, X[:1]), X)
    assert_allclose(codes, model.transform(X), atol=1e-5)


@pytest.mark.parametrize(
    ("levels", "kind"),
    [
        ([0.5, 1.0, 1.5], Int64TensorType),
        ([0.5, 1.0], BooleanTensorType),
        ([2**24, 2**24 + 1], FloatTensorType),
    ],
)
def test_levels_that_are_equal_in_the_input_type_are_refused(levels, kind):
    frame = table()[["size"]].assign(level=np.resize(levels, 120))
    model = small(frame, 1, categorical_features=["level"])
    types = [("size", FloatTensorType([None, 1])), ("level", kind([None, 1]))]
    with pytest.raises(ValueError, match="not distinct values of an input of type"):
        to_onnx(model, initial_types=types)


@pytest.mark.parametrize("columns", [["size", "count"], ["size", "count", "large"]])
def test_columns_in_another_order_are_refused(columns):
    model = small(table()[columns], 1)
    types = [(name, FloatTensorType([None, 1])) for name in columns]
    with pytest.raises(ValueError, match="expected that of `fit`, \\['size', 'count'"):
        to_onnx(model, initial_types=types[::-1])


def test_levels_that_are_not_of_the_input_type_are_refused():
    model = small(table()[["size", "color"]], 1)
    types = [
        ("size", FloatTensorType([None, 1])),
        ("color", Int64TensorType([None, 1])),
    ]
    with pytest.raises(ValueError, match="Column 'color' has the levels"):
        to_onnx(model, initial_types=types)


def test_a_table_needs_all_columns():
    model = small(table()[["size", "count", "color"]], 1)
    types = [(name, FloatTensorType([None, 1])) for name in ("size", "count")]
    with pytest.raises(ValueError, match="2 inputs for a table of 3 columns"):
        to_onnx(model, initial_types=types)


def assert_equal_decisions(detector, proto, X):
    labels, scores = run(proto, X)
    assert_array_equal(labels, detector.predict(X))
    assert_allclose(scores.ravel(), detector.decision_function(X), atol=1e-5)


def test_outlier_detectors_have_equal_labels_and_scores():
    X = load_breast_cancer().data.astype(np.float32)
    detector = AutoencoderOutlierDetector(n_estimators=2, random_state=0).fit(X)
    assert_equal_decisions(detector, to_onnx(detector, X[:1]), X)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_detectors_refuse_are_outliers(value):
    X = load_iris().data.astype(np.float32)
    detector = AutoencoderOutlierDetector(n_estimators=1, random_state=0).fit(X)
    proto = to_onnx(detector, X[:1])
    X[0, 0] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        detector.predict(X)
    labels, _ = run(proto, X)
    assert labels[0] == -1


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["huber", "poisson", "log_loss"])
def test_outlier_detectors_of_any_loss_have_equal_labels(loss):
    X = DIGITS[:300] / 16
    autoencoder = AutoencoderTransformer(4, loss=loss, max_iter=2)
    detector = AutoencoderOutlierDetector(autoencoder, n_estimators=2, random_state=0)
    detector.fit(X)
    assert_equal_decisions(detector, to_onnx(detector, X[:1]), X)


@pytest.mark.slow
@pytest.mark.parametrize("missing", [False, True])
def test_outlier_detectors_of_tables_have_equal_labels(missing):
    frame = table(missing)
    detector = AutoencoderOutlierDetector(n_estimators=2, random_state=0).fit(frame)
    types = table_types(detector.estimators_[0])
    proto = to_onnx(detector, initial_types=types)
    labels, scores = run(proto, feeds_of(frame))
    assert_array_equal(labels, detector.predict(frame))
    # Small errors are divided by smaller means.
    assert_allclose(scores.ravel(), detector.decision_function(frame), atol=1e-4)


def incomplete():
    """Return rows with missing values, one of them without any value."""
    X = load_iris().data.astype(np.float32)
    X = np.hstack([X, X[:, :2] * X[:, 2:]])
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    X[3] = np.nan
    return X


def imputer(**params):
    return AutoencoderImputer(max_iter=2, random_state=0, **params)


def test_imputers_fill_in_equal_values():
    X = incomplete()
    (filled,) = run(to_onnx(imputer().fit(X), X[:1]), X)
    assert_allclose(filled, imputer().fit_transform(X), rtol=1e-5, atol=1e-5)
    assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])


@pytest.mark.slow
@pytest.mark.parametrize("keep_empty_features", [False, True])
@pytest.mark.parametrize("missing_values", [np.nan, -1])
def test_imputers_keep_columns_and_indicators(keep_empty_features, missing_values):
    X = incomplete()
    X[:, 2] = np.nan
    X = np.where(np.isnan(X), np.float32(missing_values), X)
    fitted = imputer(
        keep_empty_features=keep_empty_features,
        missing_values=missing_values,
        add_indicator=True,
    ).fit(X)
    (filled,) = run(to_onnx(fitted, X[:1]), X)
    assert_allclose(filled, fitted.transform(X), rtol=1e-5, atol=1e-5)


def test_imputers_that_draw_are_refused():
    autoencoder = AutoencoderTransformer(2, regularizer=Variational())
    drawing = imputer(autoencoder=autoencoder, sample_posterior=True)
    X = incomplete()
    with pytest.raises(ValueError, match="exported models draw no random numbers"):
        to_onnx(drawing.fit(X), X[:1])


def test_imputers_of_tables_are_refused():
    frame = table(missing=True)
    fitted = imputer().fit(frame)
    with pytest.raises(ValueError, match="only imputers of numbers are exported"):
        to_onnx(fitted, initial_types=table_types(fitted.autoencoder_))


def test_old_operators_are_refused_for_networks_that_need_newer_ones():
    X = DIGITS[:60]
    model = small(X, network=Conv((1, 8, 8)))
    with pytest.raises(ValueError, match="networks other than MLP need at least 18"):
        skae.onnx.to_onnx(model, target_opset=15)
    with pytest.raises(ValueError, match="target_opset=11, but expected at least 12"):
        skae.onnx.to_onnx(small(X), target_opset=11)
    written = skae.onnx.to_onnx(small(X), "encode", target_opset=12)
    assert_allclose(run(written, X)[0], small(X).transform(X), atol=1e-5)


def test_elimination_solves_positive_definite_systems():
    factors = torch.randn(20, 6, 6, dtype=torch.float64)
    matrices = factors @ factors.mT + 1e-2 * torch.eye(6)
    vectors = torch.randn(20, 6, dtype=torch.float64)
    (solutions,) = eliminate(matrices, vectors)
    assert_allclose(solutions, torch.linalg.solve(matrices, vectors), rtol=1e-6)


def test_messages_of_the_exporter_do_not_change_logging():
    before = logging.root.manager.disable
    model = small(DIGITS[:60], network=MLP(activation="gelu"))
    skae.onnx.to_onnx(model, "encode")
    assert logging.root.manager.disable == before
