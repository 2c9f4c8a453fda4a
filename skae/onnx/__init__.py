"""Conversion of fitted estimators to ONNX; it requires the extra `onnx`.

`register` adds converters to skl2onnx, for pipelines. `to_onnx` converts an autoencoder
alone, also from codes to rows.
"""

try:
    from skae.onnx._converters import register
    from skae.onnx._graph import to_onnx
except ImportError as error:
    raise ImportError(
        f"skae.onnx needs onnx, onnxscript and skl2onnx: {error}. Install the extra "
        "`onnx` of skae."
    ) from error

__all__ = ["register", "to_onnx"]
