"""Converters of skae's estimators for skl2onnx."""

import numpy as np
import onnx
from onnx import compose
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from torch import nn

from skae._imputer import AutoencoderImputer
from skae._outlier import AutoencoderOutlierDetector
from skae._transformer import AutoencoderTransformer
from skae.data._columns import CategoryColumn
from skae.data._layout import ColumnsLayout, Layout, NumericLayout
from skae.onnx._graph import INPUT, OUTPUT, graph_of
from skae.onnx._modules import ImputedRows, OutlierScores

ELEMENTS = {
    FloatTensorType: onnx.TensorProto.FLOAT,
    DoubleTensorType: onnx.TensorProto.DOUBLE,
    Int64TensorType: onnx.TensorProto.INT64,
}
RECURRENT = ("GRU", "LSTM", "RNN")
LENGTHS = 4  # position of the lengths of sequences among their inputs
# Functions that convert a level to the type of an input.
LEVELS = {
    StringTensorType: str,
    BooleanTensorType: bool,
    Int64TensorType: int,
    FloatTensorType: np.float32,
    DoubleTensorType: np.float64,
}


def register() -> None:
    """Register converters of skae's estimators with skl2onnx.

    Afterwards, `skl2onnx.to_onnx` converts :class:`skae.AutoencoderTransformer`,
    :class:`skae.AutoencoderOutlierDetector` and :class:`skae.AutoencoderImputer`, alone
    and in pipelines.

    Examples
    --------
    >>> import numpy as np
    >>> from skl2onnx import to_onnx
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import skae.onnx
    >>> from skae import AutoencoderTransformer
    >>> X = load_iris().data.astype(np.float32)
    >>> autoencoder = AutoencoderTransformer(2, max_iter=5, random_state=0)
    >>> pipeline = make_pipeline(StandardScaler(), autoencoder).fit(X)
    >>> skae.onnx.register()
    >>> model = to_onnx(pipeline, X[:1])
    >>> [output.name for output in model.graph.output]
    ['variable']
    """
    for estimator, shapes, convert in (
        (AutoencoderTransformer, transformer_shapes, convert_transformer),
        (AutoencoderOutlierDetector, detector_shapes, convert_detector),
        (AutoencoderImputer, imputer_shapes, convert_imputer),
    ):
        name = f"Skae{estimator.__name__}"
        update_registered_converter(estimator, name, shapes, convert)


def float_type(operator) -> type:
    """Return the type of results: float64 if the first input has it, else float32."""
    # The same rule as that of skl2onnx, which the following steps expect.
    is_double = isinstance(operator.inputs[0].type, DoubleTensorType)
    return DoubleTensorType if is_double else FloatTensorType


def transformer_shapes(operator) -> None:
    """Set the type and shape of codes."""
    n_components = operator.raw_operator.n_components_
    operator.outputs[0].type = float_type(operator)([None, n_components])


def imputer_shapes(operator) -> None:
    """Set the type and shape of imputed rows."""
    n_columns = len(operator.raw_operator.get_feature_names_out())
    operator.outputs[0].type = float_type(operator)([None, n_columns])


def detector_shapes(operator) -> None:
    """Set the types and shapes of labels and of the decision function."""
    labels, scores = operator.outputs
    labels.type = Int64TensorType([None])
    scores.type = float_type(operator)([None, 1])


def convert_transformer(scope, operator, container) -> None:
    """Add the operators from rows to codes."""
    estimator, graph = operator.raw_operator, OperatorGraph(scope, operator, container)
    module = estimator.to_torch_module("encode")
    graph.set_output(0, graph.add_module(module, estimator._config.layout))


def convert_imputer(scope, operator, container) -> None:
    """Add the operators from rows with missing values to rows without."""
    imputer, graph = operator.raw_operator, OperatorGraph(scope, operator, container)
    module = ImputedRows(imputer)
    layout = NumericLayout((imputer.n_features_in_,))
    graph.set_output(0, graph.add_module(module, layout))


def convert_detector(scope, operator, container) -> None:
    """Add the operators from rows to labels and decision function."""
    detector, graph = operator.raw_operator, OperatorGraph(scope, operator, container)
    layout = detector.estimators_[0]._config.layout
    scores = graph.add_module(OutlierScores(detector), layout)
    graph.set_output(1, scores)
    flat = graph.add("Reshape", scores, graph.constant(np.array([-1])))
    zero = graph.add("CastLike", graph.constant(np.array(0)), flat)
    # False for NaN, the score of a row that `predict` would refuse.
    is_inlier = graph.add("GreaterOrEqual", flat, zero)
    labels = [graph.constant(np.array(value)) for value in (1, -1)]
    graph.set_output(0, graph.add("Where", is_inlier, *labels))


def check_names(operator) -> None:
    """Raise ValueError if the inputs are the columns of `fit` in another order."""
    seen = list(getattr(operator.raw_operator, "feature_names_in_", []))
    names = [variable.raw_name for variable in operator.inputs]
    if sorted(names) == sorted(seen) and names != seen:
        raise ValueError(
            f"Got inputs in the order {names}, but expected that of `fit`, {seen}. "
            "Pass the initial types in this order."
        )


def levels_of_type(column: CategoryColumn, kind: type) -> list:
    """Return the levels of a column as values of an input of a type."""
    try:
        levels = [LEVELS[kind](level) for level in column.levels]
    except (TypeError, ValueError):
        levels = []
    # As integers, 0.5 and 0 are equal, and as float32 large integers are.
    is_exact = kind not in (Int64TensorType, BooleanTensorType) or (
        levels == list(column.levels)
    )
    if len(set(levels)) < len(column.levels) or not is_exact:
        raise ValueError(
            f"Column {column.name!r} has the levels {list(column.levels)}, which are "
            f"not distinct values of an input of type {kind.__name__}."
        )
    return levels


class OperatorGraph:
    """The part of an ONNX graph that skl2onnx writes for an estimator.

    Parameters
    ----------
    scope, operator, container : objects of skl2onnx
        Names, inputs and outputs, and operators of the graph.
    """

    def __init__(self, scope, operator, container):
        check_names(operator)
        self.scope = scope
        self.operator = operator
        self.inputs = operator.inputs
        self.container = container

    def add(self, op_type: str, *inputs: str, **attributes) -> str:
        """Add an operator, and return the name of its output."""
        output = self.scope.get_unique_variable_name(op_type.lower())
        name = self.scope.get_unique_operator_name(op_type)
        self.container.add_node(
            op_type, list(inputs), [output], name=name, **attributes
        )
        return output

    def constant(self, value: np.ndarray) -> str:
        """Add a constant, and return its name."""
        name = self.scope.get_unique_variable_name("constant")
        self.container.initializers.append(onnx.numpy_helper.from_array(value, name))
        return name

    def set_output(self, i: int, name: str) -> None:
        """Set the value of an output of the operator, converted to its type."""
        variable = self.operator.outputs[i]
        self.container.add_node(
            "Cast",
            [name],
            [variable.full_name],
            to=ELEMENTS[type(variable.type)],
            name=self.scope.get_unique_operator_name("Cast"),
        )

    def add_module(self, module: nn.Module, layout: Layout) -> str:
        """Add the operators of a module, and return the name of its output."""
        name, dtype = self.rows(layout)
        shape = (layout.n_columns,) if layout.is_table else self.shape(layout)
        example = np.zeros((1, *shape), dtype)
        return self.inline(graph_of(module, example, self.container.target_opset), name)

    def shape(self, layout: Layout) -> tuple:
        """Return the shape of a row of the input: flat, or as seen in `fit`."""
        shape = tuple(self.inputs[0].type.shape[1:])
        if len(self.inputs) > 1 or len(shape) < 2:
            return (layout.n_features,)
        is_known = all(isinstance(n, int) for n in shape)
        return shape if is_known else layout.shape

    def rows(self, layout: Layout) -> tuple[str, str]:
        """Add operators that join the inputs; return the name and type of rows."""
        if isinstance(layout, ColumnsLayout):
            return self.table(layout), "float64"
        # float32 has too few digits for large integers.
        dtype = "int64" if layout.kind == "tokens" else "float64"
        element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        names = [self.add("Cast", i.full_name, to=element) for i in self.inputs]
        name = names[0] if len(names) == 1 else self.add("Concat", *names, axis=1)
        return name, dtype

    def table(self, layout: ColumnsLayout) -> str:
        """Add operators from columns to a matrix, with positions of levels."""
        names = []
        for column, (name, kind) in zip(
            layout.columns, self.columns(layout), strict=True
        ):
            if column.kind == "category":
                name = self.positions(column, name, kind)
            names.append(self.add("Cast", name, to=ELEMENTS[DoubleTensorType]))
        return self.add("Concat", *names, axis=1)

    def columns(self, layout: ColumnsLayout) -> list[tuple]:
        """Return the name and the type of each column, of shape (n_samples, 1)."""
        if len(self.inputs) == layout.n_columns:
            return [(variable.full_name, variable.type) for variable in self.inputs]
        if len(self.inputs) != 1:
            raise ValueError(
                f"Got {len(self.inputs)} inputs for a table of {layout.n_columns} "
                "columns. Pass an initial type for each column, or one for a matrix of "
                "all of them."
            )
        names = [self.scope.get_unique_variable_name("column") for _ in layout.columns]
        sizes = self.constant(np.ones(len(names), dtype=np.int64))
        self.container.add_node(
            "Split", [self.inputs[0].full_name, sizes], names, axis=1
        )
        return [(name, self.inputs[0].type) for name in names]

    def positions(self, column, name: str, kind) -> str:
        """Add a look-up of the positions of levels, -1 for other values."""
        levels = levels_of_type(column, type(kind))
        if isinstance(kind, StringTensorType):
            return self.add(
                "LabelEncoder",
                name,
                op_domain="ai.onnx.ml",
                op_version=2,
                keys_strings=levels,
                values_floats=[float(i) for i in range(len(levels))],
                default_float=-1.0,
            )
        # LabelEncoder has no keys of float64. Entries that equal a level,
        # (n_samples, n_levels), are multiplied by its position plus 1.
        is_level = self.add("Equal", name, self.constant(np.array([levels])))
        numbers = self.add("Cast", is_level, to=ELEMENTS[DoubleTensorType])
        ranks = np.arange(1.0, len(levels) + 1)[:, np.newaxis]
        rank = self.add("MatMul", numbers, self.constant(ranks))
        return self.add("Sub", rank, self.constant(np.array(1.0)))

    def inline(self, model: onnx.ModelProto, name: str) -> str:
        """Add the operators of a model with the input `name`; return its output."""
        prefix = self.scope.get_unique_operator_name("skae") + "_"
        graph = compose.add_prefix_graph(model.graph, prefix)
        container = self.container
        container.add_node("Identity", [name], [prefix + INPUT], name=prefix + "input")
        container.initializers.extend(graph.initializer)
        container.nodes.extend(
            part for node in graph.node for part in with_lengths(node)
        )
        for opset in model.opset_import:
            container.node_domain_version_pair_sets.add((opset.domain, opset.version))
        return prefix + OUTPUT


def with_lengths(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return an operator, before which the lengths of sequences are computed.

    They are an optional input of recurrent cells, but skl2onnx sorts operators by all
    of their inputs, of which none may be empty.
    """
    if node.op_type not in RECURRENT or node.input[LENGTHS]:
        return [node]
    x = node.input[0]  # (n_steps, n_samples, n_inputs)
    names = {
        part: f"{node.name}_{part}" for part in ("steps", "rows", "cast", "lengths")
    }
    node.input[LENGTHS] = names["lengths"]
    make = onnx.helper.make_node
    return [
        make("Shape", [x], [names["steps"]], names["steps"], start=0, end=1),
        make("Shape", [x], [names["rows"]], names["rows"], start=1, end=2),
        make(
            "Cast",
            [names["steps"]],
            [names["cast"]],
            names["cast"],
            to=onnx.TensorProto.INT32,
        ),
        make("Expand", [names["cast"], names["rows"]], [names["lengths"]]),
        node,
    ]
