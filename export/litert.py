"""LiteRT (once TensorFlow Lite), for phones and microcontrollers: `--formats=...,litert`."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from export.parity import Generate
from export.saved_model import generator_function
from export.source import Source
from pipeline.errors import MirageError
from serving.manifest import ModelInfo

LITERT_FILE = "generator.tflite"


def write_litert(folder: Path, source: Source) -> Generate:
    """Writes `generator.tflite`: `z` (and `label`) to `image`, as the SavedModel.

    Args:
      folder: where to write.
      source: what is exported.

    Returns:
      The file, loaded into LiteRT's interpreter, as a function of latents and labels.

    Raises:
      MirageError: if ai-edge-litert is not installed, which runs the file to check it.
    """
    try:
        import ai_edge_litert  # noqa: F401
    except ImportError:
        raise MirageError(
            "--formats with litert needs ai-edge-litert, to check the file; pip install 'mirage-gan[litert]', or leave "
            "litert out."
        ) from None
    function, signature = generator_function(source.model, source.info)
    concrete = tf.function(function, input_signature=signature).get_concrete_function()
    # The converter does not find the values of variables that Keras 3 made, so they become constants first.
    frozen = convert_variables_to_constants_v2(concrete)
    with _quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        (folder / LITERT_FILE).write_bytes(converter.convert())
    return litert_generator(folder / LITERT_FILE, source.info)


def litert_generator(path: Path, info: ModelInfo) -> Generate:
    """A LiteRT file in its interpreter, on the CPU."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    inputs = {details["name"]: details["index"] for details in interpreter.get_input_details()}
    (output,) = interpreter.get_output_details()

    def generate(z: NDArray, label: NDArray) -> NDArray:
        feeds = {"z": z, **({"label": label} if info.conditional else {})}
        for name, values in feeds.items():
            interpreter.resize_tensor_input(inputs[name], values.shape)
        interpreter.allocate_tensors()
        for name, values in feeds.items():
            interpreter.set_tensor(inputs[name], values)
        interpreter.invoke()
        return interpreter.get_tensor(output["index"]).copy()

    return generate


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps off the terminal what the converter's C++ says on its way to success."""
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
