"""What reads an exported format: its writer's own library, and those that others use."""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from tensorflow.python.saved_model.loader_impl import SavedModelLoader

from export.rewrites.layouts import session_of
from export.source import version
from pipeline.base.quiet_tensorflow import without_noise
from serving.contract.manifest import GENERATOR_FILE, SAMPLER_FILE, ModelInfo
from serving.runtime import ort

_SLOW_BATCH = 2  # of the reference implementation, which takes up to a second for a picture

Generate = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]
# Of seeds, labels and truncation; pixels uint8.
Sample = Callable[[NDArray[np.int64], NDArray[np.int64], float], NDArray[np.uint8]]


@dataclasses.dataclass(frozen=True)
class Reader:
    """A format's files, loaded again from the disk.

    Attributes:
      name: what reads them, with its version.
      generate: computes images of latents and labels.
      sample: computes pixels of seeds, labels and truncation; None where the format has no sampler, or not for this
        reader.
      max_batch: largest batch that it is worth giving to it; None if any.
    """

    name: str
    generate: Generate
    sample: Sample | None = None
    max_batch: int | None = None


def keras_generator(model: keras.Model, info: ModelInfo) -> Generate:
    """The trained network itself, as a function of latents and labels."""
    if info.conditional:
        return lambda z, label: np.asarray(model([tf.constant(z), tf.constant(label, tf.int32)], training=False))
    return lambda z, label: np.asarray(model(tf.constant(z), training=False))


def saved_model_readers(folder: Path, info: ModelInfo) -> Iterator[Reader]:
    """A SavedModel in TensorFlow 2, and in a session as TensorFlow Serving and `saved_model_cli run` load it."""
    loaded = tf.saved_model.load(str(folder))
    of_latents, of_seeds = (loaded.signatures[name] for name in ("serving_default", "sample"))

    def tensors(**values: NDArray) -> dict[str, tf.Tensor]:
        assert loaded is not None  # a signature alone does not keep its variables alive
        return {name: tf.constant(value) for name, value in values.items()}

    def generate(z: NDArray, label: NDArray) -> NDArray:
        return of_latents(**tensors(z=z, **_label(label, info)))["image"].numpy()

    def sample(seed: NDArray, label: NDArray, truncation: float) -> NDArray:
        return of_seeds(**tensors(seed=seed, truncation=np.array(truncation, np.float32), **_label(label, info)))[
            "pixels"
        ].numpy()

    yield Reader(f"tf.saved_model.load {tf.__version__}", generate, sample)
    yield _session_reader(folder, info)


def _session_reader(folder: Path, info: ModelInfo) -> Reader:
    session = tf.compat.v1.Session(graph=tf.Graph(), config=tf.compat.v1.ConfigProto(device_count={"GPU": 0}))
    with session.graph.as_default():
        # What `tf.compat.v1.saved_model.load` calls, after it has said that it is deprecated.
        meta = SavedModelLoader(str(folder)).load(session, ["serve"])

    def run(name: str, output: str, values: dict[str, NDArray]) -> NDArray:
        signature = meta.signature_def[name]
        feeds = {signature.inputs[key].name: value for key, value in values.items()}
        return session.run(signature.outputs[output].name, feeds)

    def generate(z: NDArray, label: NDArray) -> NDArray:
        return run("serving_default", "image", {"z": z, **_label(label, info)})

    def sample(seed: NDArray, label: NDArray, truncation: float) -> NDArray:
        return run("sample", "pixels", {"seed": seed, **_label(label, info), **_truncation(truncation)})

    return Reader(f"tf.compat.v1.saved_model.loader {tf.__version__}", generate, sample)


def onnx_readers(folder: Path, info: ModelInfo) -> Iterator[Reader]:
    """The ONNX files in onnxruntime, in ONNX's reference implementation and, if it is installed, in OpenVINO."""
    generator, sampler = (onnx.load(folder / name) for name in (GENERATOR_FILE, SAMPLER_FILE))
    name = f"onnxruntime {ort.__version__}"
    yield _onnx_reader(name, info, session_of(generator).run, session_of(sampler).run, None)
    name = f"onnx.reference {onnx.__version__}"
    yield _onnx_reader(name, info, ReferenceEvaluator(generator).run, ReferenceEvaluator(sampler).run, _SLOW_BATCH)
    # Not by looking for a module: any folder of that name would be one.
    if number := version("openvino"):
        run = openvino_function(folder / GENERATOR_FILE)
        # Not the sampler, see there.
        yield Reader(f"openvino {number}", lambda z, label: run({"z": z, **_label(label, info)}))


def _onnx_reader(name: str, info: ModelInfo, generator: Any, sampler: Any, max_batch: int | None) -> Reader:
    def generate(z: NDArray, label: NDArray) -> NDArray:
        return generator(["image"], {"z": z, **_label(label, info)})[0]

    def sample(seed: NDArray, label: NDArray, truncation: float) -> NDArray:
        return sampler(["pixels"], {"seed": seed, **_label(label, info), **_truncation(truncation)})[0]

    return Reader(name, generate, sample, max_batch)


def openvino_function(path: Path) -> Callable[[dict[str, NDArray]], NDArray]:
    """An ONNX file in OpenVINO, on the CPU, as a function of its inputs by name."""
    # Its import reports itself to its makers, unless their package for that is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    # Otherwise it computes in bfloat16 where the CPU can.
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda values: compiled(values)[0]


def litert_reader(path: Path, info: ModelInfo) -> Reader:
    """A LiteRT file in its interpreter, on the CPU: what its signature computes."""
    from ai_edge_litert.interpreter import Interpreter

    with without_noise():
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        run = interpreter.get_signature_runner("serving_default")

    def generate(z: NDArray, label: NDArray) -> NDArray:
        assert interpreter is not None  # a runner does not keep it alive
        return run(z=z, **_label(label, info))["image"]

    return Reader(f"ai-edge-litert {version('ai-edge-litert')}", generate)


def _label(label: NDArray, info: ModelInfo) -> dict[str, NDArray]:
    return {"label": label} if info.conditional else {}


def _truncation(truncation: float) -> dict[str, NDArray]:
    return {} if truncation == 1 else {"truncation": np.array(truncation, np.float32)}
