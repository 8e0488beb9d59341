"""The ONNX generator: one file that explains itself and runs without TensorFlow."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import onnx
import tf2onnx

from export.saved_model import generator_function
from serving.manifest import METADATA_KEY, ModelInfo

OPSET = 18  # the highest that tf2onnx 1.17 writes
BATCH_AXIS = "N"


def convert(model: keras.Model, info: ModelInfo, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Converts a generator.

    Args:
      model: the generator.
      info: its description, which becomes metadata.
      metadata: further facts for the file's `metadata_props`.

    Returns:
      A checked model with inputs `z` float32 [N, latent_dim] and, if conditional, `label` int64 [N],
      and the output `image` float32 [N, H, W, C] in [-1, 1].
    """
    import tensorflow as tf

    generate, signature = generator_function(model, info)
    proto, _ = tf2onnx.convert.from_function(
        tf.function(generate, input_signature=signature), input_signature=signature, opset=OPSET
    )
    _name_batch_axis(proto)
    proto.graph.name = "generator"
    facts = {METADATA_KEY: json.dumps(info.to_dict(), sort_keys=True), **metadata}
    onnx.helper.set_model_props(proto, dict(sorted(facts.items())))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def write_onnx(proto: onnx.ModelProto, path: Path) -> None:
    """Writes a model, the same bytes for the same model."""
    path.write_bytes(proto.SerializeToString(deterministic=True))


def signature_of(proto: onnx.ModelProto) -> dict[str, list[dict]]:
    """Describes the inputs and outputs of a model, for the manifest."""

    def describe(values: Iterable[onnx.ValueInfoProto]) -> list[dict]:
        return [
            {
                "name": value.name,
                "dtype": onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
                "shape": [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
            }
            for value in values
        ]

    return {"inputs": describe(proto.graph.input), "outputs": describe(proto.graph.output)}


def _name_batch_axis(proto: onnx.ModelProto) -> None:
    """Says that inputs and output have as many rows as each other; tf2onnx leaves unrelated symbols."""
    for value in [*proto.graph.input, *proto.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = BATCH_AXIS
    # Intermediate shapes still carry the unrelated symbols; they are hints that anyone can infer again.
    del proto.graph.value_info[:]
