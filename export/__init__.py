"""Export: from a run directory to a bundle (TensorFlow, tf2onnx, onnx)."""
