"""TensorFlow is set up before any test uses it."""

import tests.tensorflow_devices  # noqa: F401
