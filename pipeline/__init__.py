"""Training: networks, objectives and the distributed train step (TensorFlow, Keras)."""
