"""The SavedModel: for users who have TensorFlow."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.formats.base import Format, Reader, Work, label_feed, truncation_feed
from serving.contract.manifest import ModelInfo

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

FOLDER = "saved_model"


class SavedModel(Format):
    """A SavedModel with the signatures of both ONNX files."""

    name = "saved_model"
    help = "for programs that have TensorFlow"
    title = "SavedModel"
    traced = True

    def write(self, folder: Path, work: Work) -> None:
        """Writes the folder `saved_model`."""
        write_saved_model(work.source.model, work.source.info, folder / FOLDER)

    def readers(self, folder: Path, info: ModelInfo) -> Iterator[Reader]:
        """See `saved_model_readers`."""
        return saved_model_readers(folder / FOLDER, info)

    def notes(self, info: ModelInfo) -> Sequence[str]:
        """What its signatures are."""
        arguments = ", ".join(filter(None, ("seed", info.condition)))
        less = " without `truncation`" if info.styles else ""
        return (
            f"The SavedModel's signature `serving_default` is that of `generator.onnx`{less}, and `sample` that of "
            f"`sampler.onnx`; in Python, where a signature wants all of its inputs, `tf.saved_model.load(...).sample("
            f"{arguments})` does without `truncation`.",
        )


def write_saved_model(model: "keras.Model", info: ModelInfo, folder: Path) -> None:
    """Writes a SavedModel.

    Its signature `serving_default` maps `z` (and `label` or `attributes`) to `image`, and `sample` maps `seed`,
    perhaps one of these, and `truncation`, which is 1 for the plain law, to `pixels`.

    Args:
      model: the generator.
      info: its description.
      folder: where to write.

    Raises:
      MirageError: naming the layers that hold what can't be exported.
    """
    import tensorflow as tf

    from export.signatures import generator_function, module_of, sampler_function

    module = module_of(model)
    module.model = model
    signatures = {}
    for name, (function, signature) in {
        "serving_default": generator_function(model, info),
        "sample": sampler_function(model, info),
    }.items():
        signatures[name] = tf.function(function, input_signature=signature)
    module.generate, module.sample = signatures.values()
    tf.saved_model.save(module, str(folder), signatures=signatures)
    _check_operations(folder / "saved_model.pb", model, info)
    _fix_fingerprint(folder / "fingerprint.pb")


def _check_operations(path: Path, model: "keras.Model", info: ModelInfo) -> None:
    """Refuses what this process can load again, but no other can, and what gives a latent no picture of its own."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as Proto

    from export.layers import PYTHON, RANDOM, Layers, calls_python, is_random

    graph = Proto.FromString(path.read_bytes()).meta_graphs[0].graph_def
    held = {node.op for nodes in [graph.node, *(each.node_def for each in graph.library.function)] for node in nodes}
    if held & {*PYTHON}:
        raise calls_python(Layers(model, info).with_operations(PYTHON))
    if held & RANDOM:
        raise is_random(Layers(model, info).with_operations(RANDOM))


def _fix_fingerprint(path: Path) -> None:
    """Replaces the random number in a SavedModel's fingerprint, so that the same model is the same bytes."""
    from tensorflow.core.protobuf import fingerprint_pb2

    fingerprint = fingerprint_pb2.FingerprintDef.FromString(path.read_bytes())
    fingerprint.uuid = ""
    fingerprint.uuid = str(uuid.uuid5(uuid.NAMESPACE_OID, fingerprint.SerializeToString(deterministic=True).hex()))
    path.write_bytes(fingerprint.SerializeToString(deterministic=True))


def saved_model_readers(folder: Path, info: ModelInfo) -> Iterator[Reader]:
    """A SavedModel in TensorFlow 2, and in a session as TensorFlow Serving and `saved_model_cli run` load it."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    of_latents, of_seeds = (loaded.signatures[name] for name in ("serving_default", "sample"))

    def tensors(**values: NDArray) -> "dict[str, tf.Tensor]":
        assert loaded is not None  # a signature alone does not keep its variables alive
        return {name: tf.constant(value) for name, value in values.items()}

    def generate(z: NDArray, label: NDArray) -> NDArray:
        return of_latents(**tensors(z=z, **label_feed(label, info)))["image"].numpy()

    def sample(seed: NDArray, label: NDArray, truncation: float) -> NDArray:
        return of_seeds(**tensors(seed=seed, truncation=np.array(truncation, np.float32), **label_feed(label, info)))[
            "pixels"
        ].numpy()

    yield Reader(f"tf.saved_model.load {tf.__version__}", generate, sample)
    yield _session_reader(folder, info)


def _session_reader(folder: Path, info: ModelInfo) -> Reader:
    import tensorflow as tf
    from tensorflow.python.saved_model.loader_impl import SavedModelLoader

    session = tf.compat.v1.Session(graph=tf.Graph(), config=tf.compat.v1.ConfigProto(device_count={"GPU": 0}))
    with session.graph.as_default():
        # What `tf.compat.v1.saved_model.load` calls, after it has said that it is deprecated.
        meta = SavedModelLoader(str(folder)).load(session, ["serve"])

    def run(name: str, output: str, values: dict[str, NDArray]) -> NDArray:
        signature = meta.signature_def[name]
        feeds = {signature.inputs[key].name: value for key, value in values.items()}
        return session.run(signature.outputs[output].name, feeds)

    def generate(z: NDArray, label: NDArray) -> NDArray:
        return run("serving_default", "image", {"z": z, **label_feed(label, info)})

    def sample(seed: NDArray, label: NDArray, truncation: float) -> NDArray:
        return run("sample", "pixels", {"seed": seed, **label_feed(label, info), **truncation_feed(truncation)})

    return Reader(f"tf.compat.v1.saved_model.loader {tf.__version__}", generate, sample)
