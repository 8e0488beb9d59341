"""From a Keras network to an ONNX graph, or to an error that names the layer that stands in the way."""

from collections.abc import Callable

import keras
import onnx
import tensorflow as tf
import tf2onnx

from export.layers import PYTHON, Layers, calls_python, is_random, named
from export.signatures import generator_function, mapping_function, synthesis_function, truncated_function
from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.foreign.conversion import OPSET, converting, nodes_of
from serving.contract.manifest import ModelInfo

BATCH_AXIS, TRUNCATION_AXIS = "N", "T"

_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
_REMEDY = "leave onnx, and what needs it, out of --formats"


def convert(model: keras.Model, info: ModelInfo) -> onnx.ModelProto:
    """Converts a generator.

    Args:
      model: the generator.
      info: its description.

    Returns:
      A checked model with inputs `z` float32 [N, latent_dim] and, if conditional, `label` int64 [N] or
      `attributes` float32 [N, number of them], and, where there are styles, `truncation` float32 [N] or [1]; and the
      output `image` float32 [N, H, W, C] in [-1, 1].

    Raises:
      MirageError: naming the layers that hold what an ONNX file can't.
    """
    make = truncated_function if info.styles else generator_function
    return _converted(*make(model, info), "generator", model, info)


def convert_parts(model: keras.Model, info: ModelInfo) -> dict[str, onnx.ModelProto]:
    """Converts the parts of a generator with styles.

    Returns:
      By name, `mapping`, with the inputs of the generator and the output `w` float32 [N, L, W], and `synthesis`, of
      `w` to `image`.

    Raises:
      MirageError: as `convert`.
    """
    made = {"mapping": mapping_function(model, info), "synthesis": synthesis_function(model, info)}
    return {name: _converted(*each, name, model, info) for name, each in made.items()}


def _converted(
    generate: Callable, signature: list[tf.TensorSpec], name: str, model: keras.Model, info: ModelInfo
) -> onnx.ModelProto:
    function = tf.function(generate, input_signature=signature)
    try:
        with converting():
            proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    except Exception as error:
        raise _failed(error) from error
    _check_operators(proto, model, info)
    _name_batch_axis(proto)
    proto.graph.name = name
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # it has two, and one of shape inference
        raise _failed(error) from error
    return proto


def _failed(error: Exception) -> MirageError:
    reason = in_a_line(error, 300)
    return MirageError(
        f"the generator can't be converted to ONNX ({type(error).__name__}: {reason}); write its layers with other "
        f"functions of keras.ops, or {_REMEDY}."
    )


def _check_operators(proto: onnx.ModelProto, model: keras.Model, info: ModelInfo) -> None:
    """Refuses what tf2onnx left as it was, and what `serving.contract.onnx_file` would refuse at the edge."""
    nodes = list(nodes_of(proto.graph))
    unknown = [node for node in nodes if node.domain not in ("", "ai.onnx") or not _is_known(node)]
    if python := [node for node in unknown if node.op_type in PYTHON]:
        raise calls_python(_layers(python, model, info))
    if unknown:
        where = named(_layers(unknown, model, info))
        raise MirageError(
            f"the generator can't be converted to ONNX, which has no counterpart of {where}; "
            f"write the layer with other functions of keras.ops, or {_REMEDY}."
        )
    if random := [node for node in nodes if node.op_type in _RANDOM]:
        raise is_random(_layers(random, model, info))
    if branches := [node for node in proto.graph.node if any(each.HasField("g") for each in node.attribute)]:
        where = named(_layers(branches, model, info))
        raise MirageError(
            f"the generator's ONNX file would need {where}, and loops and branches are refused where it is loaded; "
            f"write the layer with keras.ops.where and Python's own loops, or {_REMEDY}."
        )


def _is_known(node: onnx.NodeProto) -> bool:
    return onnx.defs.has(node.op_type, OPSET)


def _layers(nodes: list[onnx.NodeProto], model: keras.Model, info: ModelInfo) -> dict[str, list[str]]:
    """Finds the layers that nodes come from, and the nodes' operators in each."""
    layers, found = Layers(model, info), dict[str, list[str]]()
    for node in nodes:
        held = found.setdefault(layers.of_node(node.name), [])
        held += [node.op_type] if node.op_type not in held else []
    return found


def _name_batch_axis(proto: onnx.ModelProto) -> None:
    """Says that inputs and output have as many rows as each other; tf2onnx leaves unrelated symbols."""
    for value in [*proto.graph.input, *proto.graph.output]:
        # Of truncation there may be one for all.
        value.type.tensor_type.shape.dim[0].dim_param = TRUNCATION_AXIS if value.name == "truncation" else BATCH_AXIS
    # Intermediate shapes still carry the unrelated symbols; they are hints that anyone can infer again.
    del proto.graph.value_info[:]
