"""Export: from a run directory to a bundle (TensorFlow, tf2onnx, onnx)."""

import serving.runtime  # noqa: F401  # before onnxruntime.quantization can import onnxruntime otherwise
