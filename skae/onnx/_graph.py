"""ONNX graphs of exported models: written here, or by PyTorch's exporter."""

import logging
import warnings
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from skae._transformer import AutoencoderTransformer
from skae.losses import StandardizedLoss
from skae.model._adapters import FilledInputs, InputAdapter
from skae.model._autoencoder import MAX_INPUT, Autoencoder, LinearSkip
from skae.model._exported import (
    ExportedAutoencoder,
    ExportedDecoder,
    ExportedEncoder,
    Rows,
)
from skae.networks._mlp import FullyConnected
from skae.regularizers._base import Regularizer

MIN_OPSET = 18  # the first one that PyTorch's exporter writes
MIN_WRITTEN_OPSET = 12  # the first one with Clip of float64
INPUT, OUTPUT = "X", "Y"
TYPES = {
    torch.float64: TensorProto.DOUBLE,
    torch.float32: TensorProto.FLOAT,
}
# Activations of one operator with default attributes.
OPERATORS = {
    nn.ReLU: "Relu",
    nn.ELU: "Elu",
    nn.SELU: "Selu",
    nn.Softplus: "Softplus",
    nn.Tanh: "Tanh",
    nn.Sigmoid: "Sigmoid",
    nn.LeakyReLU: "LeakyRelu",
}


def to_onnx(
    model: AutoencoderTransformer, part: str = "both", *, target_opset: int = MIN_OPSET
) -> onnx.ModelProto:
    """Convert an autoencoder to ONNX, from rows to codes, from codes to rows, or both.

    Standardization and links are part of the graph, so that its results are those of
    `transform` and `inverse_transform`.

    Parameters
    ----------
    model : AutoencoderTransformer
        The fitted model.

    part : {"encode", "decode", "both"}, default="both"
        What is computed; see :meth:`skae.AutoencoderTransformer.to_torch_module`.

    target_opset : int, default=18
        Version of ONNX's operators.

    Returns
    -------
    proto : ModelProto
        The model, with an input "X" and an output "Y" of float32, or of int64 for
        tokens. The number of rows is dynamic. For rows of float64, such as times in
        seconds, call :func:`register`, and convert with skl2onnx.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from sklearn.datasets import load_digits
    >>> import skae.onnx
    >>> from skae import AutoencoderTransformer
    >>> X = load_digits().data.astype(np.float32)
    >>> model = AutoencoderTransformer(8, max_iter=5, random_state=0).fit(X)
    >>> proto = skae.onnx.to_onnx(model, "decode")
    >>> session = onnxruntime.InferenceSession(proto.SerializeToString())
    >>> codes = model.transform(X)
    >>> (images,) = session.run(None, {"X": codes})
    >>> bool(np.abs(images - model.inverse_transform(codes)).max() < 1e-4)
    True
    """
    module = model.to_torch_module(part)
    layout, dtype = model._config.layout, "float32"
    if part == "decode":
        shape = (model.n_components_,)
    elif layout.is_table:
        shape = (layout.n_columns,)
    else:
        shape = layout.shape
        dtype = "int64" if layout.kind == "tokens" else dtype
    return graph_of(module, np.zeros((1, *shape), dtype), target_opset)


def graph_of(module: nn.Module, example: np.ndarray, opset: int) -> onnx.ModelProto:
    """Return the ONNX model of a module.

    Parameters
    ----------
    module : nn.Module
        The module, which is changed to one that ONNX can represent.

    example : ndarray of shape (n_samples, ...)
        An input. The number of rows of the model is dynamic.

    opset : int
        Version of the operators.

    Returns
    -------
    model : ModelProto
        The model, with input "X" and output "Y".
    """
    for part in module.modules():
        if isinstance(part, Autoencoder):
            part.float()  # runtimes have no convolutions or cells of float64
        if isinstance(part, FilledInputs):
            part.solve = eliminate
    if is_fully_connected(module) and example.dtype in (np.float32, np.float64):
        return fully_connected_graph(module, example, opset)
    return traced_graph(module, example, opset)


def traced_graph(module: nn.Module, example: np.ndarray, opset: int):
    """Return the ONNX model that PyTorch's exporter writes."""
    if opset < MIN_OPSET:
        raise ValueError(
            f"Got target_opset={opset}, but networks other than MLP need at least "
            f"{MIN_OPSET}. Set target_opset={MIN_OPSET}."
        )
    # A single row would be taken for a constant.
    rows = torch.from_numpy(np.repeat(example[:1], 2, axis=0))
    with quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            (rows,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=opset,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            dynamo=True,
            verbose=False,
        )
    return program.model_proto


@contextmanager
def quiet_exporter():
    """Ignore the exporter's own warnings and messages."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # They depend on the version, and are about the exporter's own code.
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def eliminate(matrices: torch.Tensor, vectors: torch.Tensor):
    """Solve positive definite systems by elimination, for which ONNX has no operator.

    Parameters
    ----------
    matrices : Tensor of shape (n, k, k)
        Positive definite matrices, which need no pivots.

    vectors : Tensor of shape (n, k)
        The right sides.

    Returns
    -------
    solutions : tuple of one Tensor of shape (n, k)
        The solutions, as the first element, as of `torch.linalg.solve_ex`.
    """
    k = matrices.shape[1]
    # (n, k, k + 1)
    system = torch.cat([matrices, vectors.unsqueeze(2)], dim=2)
    for i in range(k):
        row = system[:, i : i + 1] / system[:, i : i + 1, i : i + 1]
        # 1 in row i, so that it is replaced by the row itself.
        unit = torch.eye(k, dtype=system.dtype)[i].reshape(1, k, 1)
        column = system[:, :, i : i + 1] * (1 - unit)
        system = system * (1 - unit) + unit * row - column * row
    return (system[:, :, k],)


def is_fully_connected(module: nn.Module) -> bool:
    """Return whether a module has only parts that `fully_connected_graph` writes."""
    if not isinstance(module, ExportedAutoencoder) or type(module.rows) is not Rows:
        return False
    model = module.model
    networks = [
        getattr(part, "network", part)
        for name, part in model.named_children()
        if name in ("encoder", "decoder")
    ]
    regularizer = type(model.regularizer)
    return (
        type(model.adapter) is InputAdapter
        and isinstance(model.loss, StandardizedLoss)
        and regularizer.code is Regularizer.code
        and regularizer.decoder_input is Regularizer.decoder_input
        and all(type(network) is FullyConnected for network in networks)
        and all(type(n.activation) in (*OPERATORS, *WRITTEN) for n in networks)
    )


class Graph:
    """An ONNX graph to which operators are appended.

    Attributes
    ----------
    nodes : list of NodeProto
        The operators.

    constants : list of TensorProto
        The constants.
    """

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, **attributes) -> str:
        """Append an operator, and return the name of its output."""
        output = f"{operator.lower()}_{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [output], output, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, value) -> str:
        """Add an array or a tensor, and return its name."""
        value = value.detach().numpy() if isinstance(value, torch.Tensor) else value
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def fully_connected_graph(module: ExportedAutoencoder, example, opset: int):
    """Return the ONNX model of a fully connected network with linear outputs."""
    if opset < MIN_WRITTEN_OPSET:
        raise ValueError(
            f"Got target_opset={opset}, but expected at least {MIN_WRITTEN_OPSET}."
        )
    graph, name, width = Graph(), INPUT, int(np.prod(example.shape[1:]))
    element = helper.np_dtype_to_tensor_dtype(example.dtype)
    if not isinstance(module, ExportedDecoder):
        name = add_encoder(graph, module, name)
        width = module.n_components
    if not isinstance(module, ExportedEncoder):
        name = add_decoder(graph, module, name)
        shape = module.rows.shape
    else:
        shape = (width,)
    name = graph.add("Cast", name, to=element)
    if len(shape) > 1:
        name = graph.add("Reshape", name, graph.constant(np.array([-1, *shape])))
    graph.nodes.append(helper.make_node("Identity", [name], [OUTPUT]))
    tensors = [
        helper.make_tensor_value_info(name, element, ["n_samples", *shape])
        for name, shape in ((INPUT, example.shape[1:]), (OUTPUT, shape))
    ]
    proto = helper.make_graph(
        graph.nodes, "skae", tensors[:1], tensors[1:], graph.constants
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(proto, opset_imports=opsets)


def add_encoder(graph: Graph, module: ExportedAutoencoder, rows: str) -> str:
    """Append the operators from rows to codes."""
    model = module.model
    flat = graph.add("Flatten", graph.add("Cast", rows, to=TensorProto.DOUBLE))
    centered = graph.add("Sub", flat, graph.constant(module.mean))
    standardized = graph.add("Div", centered, graph.constant(module.scale))
    limits = (graph.constant(np.float64(limit)) for limit in (-MAX_INPUT, MAX_INPUT))
    clipped = graph.add("Clip", standardized, *limits)
    inputs = graph.add("Cast", clipped, to=TYPES[model.offset.dtype])
    if model.scores is not None:
        matrix = model.scores.axes.T / model.scores.unit
        inputs = graph.add("MatMul", inputs, graph.constant(matrix))
    codes = add_network(graph, model.encoder, inputs)
    if not model.n_dropped:
        return codes
    ends = (graph.constant(np.array([value])) for value in (0, module.n_components, 1))
    return graph.add("Slice", codes, *ends)


def add_decoder(graph: Graph, module: ExportedAutoencoder, codes: str) -> str:
    """Append the operators from codes to flat rows."""
    model = module.model
    codes = graph.add("Cast", codes, to=TYPES[model.offset.dtype])
    if model.n_dropped:
        pads = graph.constant(np.array([0, 0, 0, model.n_dropped]))
        codes = graph.add("Pad", codes, pads)
    output = add_network(graph, model.decoder, codes)
    if model.scores is not None:
        matrix = model.scores.axes * model.scores.unit
        output = graph.add("MatMul", output, graph.constant(matrix))
    output = graph.add("Add", output, graph.constant(model.offset))
    output = graph.add("Cast", output, to=TensorProto.DOUBLE)
    scaled = graph.add("Mul", output, graph.constant(module.scale))
    return graph.add("Add", scaled, graph.constant(module.mean))


def add_network(graph: Graph, network: nn.Module, inputs: str) -> str:
    """Append a network, and its linear skip connection if it has one."""
    if isinstance(network, LinearSkip):
        outputs = add_network(graph, network.network, inputs)
        linear = graph.add("MatMul", inputs, graph.constant(network.axes.T))
        return graph.add("Add", outputs, linear)
    x = inputs
    for layer in network.hidden:
        x = add_activation(graph, network.activation, add_linear(graph, layer, x))
    return add_linear(graph, network.output, x)


def add_linear(graph: Graph, layer: nn.Linear, x: str) -> str:
    """Append a linear layer."""
    weight, bias = graph.constant(layer.weight), graph.constant(layer.bias)
    return graph.add("Gemm", x, weight, bias, transB=1)


def add_activation(graph: Graph, activation: nn.Module, x: str) -> str:
    """Append an activation."""
    if type(activation) in WRITTEN:
        return WRITTEN[type(activation)](graph, x)
    return graph.add(OPERATORS[type(activation)], x)


def add_silu(graph: Graph, x: str) -> str:
    """Append x times its sigmoid."""
    return graph.add("Mul", x, graph.add("Sigmoid", x))


# Activations of several operators, or of none.
WRITTEN = {nn.SiLU: add_silu, nn.Identity: lambda graph, x: x}
