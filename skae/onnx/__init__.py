"""Conversion of fitted estimators to ONNX; it requires the extra `onnx`.

`register` adds converters to skl2onnx, for pipelines. `to_onnx` converts an autoencoder
alone, also from codes to rows.
"""

from skae.onnx._converters import register
from skae.onnx._graph import to_onnx

__all__ = ["register", "to_onnx"]
