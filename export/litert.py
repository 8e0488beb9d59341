"""LiteRT (once TensorFlow Lite), for phones and microcontrollers: `--formats=...,litert`."""

from pathlib import Path

import tensorflow as tf

from export.saved_model import generator_function, module_of
from export.source import Source
from pipeline.base.errors import MirageError
from pipeline.base.quiet_tensorflow import without_noise

LITERT_FILE = "generator.tflite"


def write_litert(folder: Path, source: Source) -> None:
    """Writes `generator.tflite`, whose signature `serving_default` maps `z` (and `label`) to `image`.

    Args:
      folder: where to write.
      source: what is exported.

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

    # Its parameters' names become the signature's.
    def generate(z: tf.Tensor, label: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        z = z * _one_unless_empty(z)
        return function(z) if label is None else function(z, label)

    concrete = tf.function(generate, input_signature=signature).get_concrete_function()
    with without_noise():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module_of(source.model))
        (folder / LITERT_FILE).write_bytes(converter.convert())


def _one_unless_empty(z: tf.Tensor) -> tf.Tensor:
    """Returns 1; in an empty batch the look-up fails, while the converter drops assertions."""
    return tf.gather(tf.ones([1]), tf.minimum(tf.shape(z)[0] - 1, 0))
