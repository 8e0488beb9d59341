"""LiteRT (once TensorFlow Lite), for phones and microcontrollers: `--formats=...,litert`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from export.formats.base import Format, Reader, Work, label_feed
from export.source import Source, version
from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.quiet_tensorflow import without_noise
from serving.contract.manifest import ModelInfo

if TYPE_CHECKING:
    import tensorflow as tf


LITERT_FILE = "generator.tflite"
# The converter's own print of what it raises.
_SAID_TWICE = r"loc\(|error: |Some ops |(Custom|TF Select) ops: |Details:|\ttf\.|\s*$"


class LiteRT(Format):
    """`generator.tflite`."""

    name = "litert"
    help = "a .tflite file"
    title = "LiteRT file"
    traced = True

    def write(self, folder: Path, work: Work) -> None:
        """See `write_litert`."""
        write_litert(folder, work.source)

    def readers(self, folder: Path, info: ModelInfo) -> Iterator[Reader]:
        """See `litert_reader`."""
        yield litert_reader(folder / LITERT_FILE, info)

    def notes(self, info: ModelInfo) -> Sequence[str]:
        """What its signature is."""
        less = " without `truncation`" if info.styles else ""
        return (f"The LiteRT file has the signature `serving_default`, that of `generator.onnx`{less}.",)


def write_litert(folder: Path, source: Source) -> None:
    """Writes `generator.tflite`, whose signature `serving_default` maps `z` (and `label` or `attributes`) to `image`.

    Args:
      folder: where to write.
      source: what is exported.

    Raises:
      MirageError: if ai-edge-litert is not installed, which runs the file to check it; or naming the layers that LiteRT
        can't compute.
    """
    try:
        import ai_edge_litert  # noqa: F401
    except ImportError:
        raise MirageError(
            "--formats with litert needs ai-edge-litert, to check the file; pip install 'mirage-gan[litert]', or leave "
            "litert out."
        ) from None
    import tensorflow as tf

    from export.signatures import generator_function, module_of

    function, signature = generator_function(source.model, source.info)

    # Their parameters' names become the signature's.
    def generate(z: "tf.Tensor", label: "tf.Tensor | None" = None) -> "dict[str, tf.Tensor]":
        z = z * _one_unless_empty(z)
        return function(z) if label is None else function(z, label)

    def generate_with(z: "tf.Tensor", attributes: "tf.Tensor") -> "dict[str, tf.Tensor]":
        return generate(z, attributes)

    made = generate_with if source.info.attributes else generate
    concrete = tf.function(made, input_signature=signature).get_concrete_function()
    with without_noise(also=_SAID_TWICE):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module_of(source.model))
        try:
            content = converter.convert()
        except Exception as error:  # it has one of its own, deep inside
            raise _failed(error, source) from error
    (folder / LITERT_FILE).write_bytes(content)


def _failed(error: Exception, source: Source) -> MirageError:
    from export.layers import PYTHON, Layers, calls_python, named

    operations = sorted(set(re.findall(r"'tf\.(\w+)' op", str(error))))
    layers = Layers(source.model, source.info).with_operations(operations)
    if {*operations} & {*PYTHON}:
        return calls_python(layers)
    reason = f"which has no counterpart of {named(layers)}" if layers else in_a_line(error, 300)
    return MirageError(
        f"the generator can't be converted to LiteRT, {reason}; write the layer with other functions of keras.ops, or "
        "leave litert out of --formats."
    )


def _one_unless_empty(z: "tf.Tensor") -> "tf.Tensor":
    """Returns 1; in an empty batch the look-up fails, while the converter drops assertions."""
    import tensorflow as tf

    return tf.gather(tf.ones([1]), tf.minimum(tf.shape(z)[0] - 1, 0))


def litert_reader(path: Path, info: ModelInfo) -> Reader:
    """A LiteRT file in its interpreter, on the CPU: what its signature computes."""
    from ai_edge_litert.interpreter import Interpreter

    with without_noise():
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        run = interpreter.get_signature_runner("serving_default")

    def generate(z: NDArray, label: NDArray) -> NDArray:
        assert interpreter is not None  # a runner does not keep it alive
        return run(z=z, **label_feed(label, info))["image"]

    return Reader(f"ai-edge-litert {version('ai-edge-litert')}", generate)
