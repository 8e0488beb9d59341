"""int8: a quarter of the size and, on CPUs with dot products of bytes, faster; if pictures stay as good."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from export.formats.base import label_feed
from export.onnx_export import example_feeds, explained, write_onnx
from export.rewrites.canonical import canonical
from export.rewrites.layouts import BYTE_FORMS, Feeds, fastest_first, session_of
from export.source import Draw, Source
from export.styles import may_be_left_out
from serving.contract.manifest import INT8_FILE
from serving.contract.pixels import to_pixels

_CALIBRATION_IMAGES = 512
_CALIBRATION_BATCH = 16
# All that only moves values works on bytes too.
_OPERATORS = ("Conv", "MatMul", "Add", "Relu", "Concat", "Reshape", "DepthToSpace", "Slice")
# What leaves attributes as they are, and where they go into a network.
_MOVING = ("Cast", "Concat", "Identity", "Reshape", "Unsqueeze")
_LAYERS = ("Concat", "Conv", "MatMul")


class _Latents(CalibrationDataReader):
    """Batches of a generator's inputs."""

    def __init__(self, feeds: Feeds) -> None:
        whole = feeds(_CALIBRATION_IMAGES)
        self._batches = iter(
            {name: values[start : start + _CALIBRATION_BATCH] for name, values in whole.items()}
            for start in range(0, _CALIBRATION_IMAGES, _CALIBRATION_BATCH)
        )

    def get_next(self) -> dict[str, NDArray] | None:
        return next(self._batches, None)


def quantize(model: onnx.ModelProto, feeds: Feeds) -> onnx.ModelProto:
    """Quantises a generator: weights to int8 per channel, what goes into layers to uint8.

    Quantised and dequantised values stand in the graph as such (QDQ), in ONNX's own operators.

    Args:
      model: a generator without transposed convolutions.
      feeds: makes its inputs for a batch size; 512 of them show the range of each value.

    Returns:
      A generator of the same signature.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(model.SerializeToString())
        logger = logging.getLogger()
        level = logger.level
        logger.setLevel(logging.ERROR)  # it recommends a preprocessing that the rewrites have done
        try:
            quantize_static(
                source,
                target,
                _Latents(feeds),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_OPERATORS),
                nodes_to_exclude=[
                    *_of_latents(model),
                    *_of_attributes(model),
                    *_of_truncation(model),
                    *_of_means(model),
                    *_of_pictures(model),
                ],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        finally:
            logger.setLevel(level)
        result = onnx.load(target)
    del result.metadata_props[:]
    result.producer_name = result.producer_version = ""
    return canonical(result)


def _of_latents(model: onnx.ModelProto) -> list[str]:
    """Name of the node that only looks at latents, see `export.rewrites.inputs.guarded`."""
    return [node.name for node in model.graph.node if "z" in node.input]


def _of_attributes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that see attributes in units of their own, of which one scale would leave the small nothing.

    These are all up to the layer that they go into, and that one too if nothing has brought them into one unit before.
    """
    names, as_given, scaled = [], {"attributes"}, set[str]()
    for node in model.graph.node:
        inputs, enters = {*node.input}, node.op_type in _LAYERS
        if inputs & as_given and node.op_type in _MOVING:
            as_given |= {*node.output}
        elif (inputs & as_given or inputs & scaled) and not enters:
            scaled |= {*node.output}
        elif not inputs & as_given:
            continue
        names.append(node.name)
    return names


def _of_truncation(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that draw styles towards their mean, see `export.styles`."""
    names, seen = [], {"truncation"}
    for node in model.graph.node:
        if seen & {*node.input}:
            names.append(node.name)
            seen |= {*node.output} if node.op_type != "Add" else set()  # which ends it
    return names


def _of_means(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that compute means by which rows are divided, see `export.rewrites.operators`."""
    columns = {each.name for each in model.graph.initializer if len(each.dims) == 2 and each.dims[1] == 1}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in columns]


def _of_pictures(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that work on the picture itself, which keeps its precision."""
    nodes = list(model.graph.node)
    ends = [index for index, node in enumerate(nodes) if node.op_type in ("Tanh", "Sigmoid")]
    start = ends[-1] if ends else len(nodes)
    return [node.name for node in nodes[start:]]


def slower(milliseconds: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Says for which batch sizes int8 is no faster.

    Args:
      milliseconds: for "float32" and "int8", by batch size.

    Yields:
      A clause for each.
    """
    for size, reference in milliseconds["float32"].items():
        mine = milliseconds["int8"][size]
        if not mine < reference:
            yield f"a batch of {size} takes {mine:.3f} ms, and {reference:.3f} ms in float32"


def write_int8(folder: Path, source: Source, forms: Mapping[str, onnx.ModelProto], num_samples: int) -> dict[str, Any]:
    """Writes an int8 generator, if it is as good as the float32 one and faster.

    Args:
      folder: where the float32 generator is.
      source: what is exported; its training data are loaded to judge by.
      forms: of the float32 generator, see `export.rewrites.layouts.forms_of`.
      num_samples: number of images to judge by.

    Returns:
      What the manifest says of it: `verdict`, "shipped" or "not shipped: " and why, and at its end what it could not be
      judged by; scores and times of both, and the scores that were asked for.

    Raises:
      MirageError: if the data set can't be loaded.
    """
    feeds = example_feeds(source.info)
    quantised = {f"int8 {name}": quantize(forms[name], feeds) for name in forms if name in BYTE_FORMS}
    table = fastest_first({**forms, **quantised}, feeds)
    best32, best8 = (next(name for name in table if name in kind) for kind in (forms, quantised))
    milliseconds = {"float32": table[best32], "int8": table[best8]}
    judged = source.int8_gate(num_samples)(_drawing(forms[best32], source), _drawing(quantised[best8], source))
    failed = [*judged.failed, *slower(milliseconds)]
    if not failed:
        write_onnx(explained(may_be_left_out(quantised[best8]), source.info, source.facts()), folder / INT8_FILE)
    verdict = "not shipped: " + "; ".join(failed) if failed else "shipped"
    return {
        "verdict": f"{verdict}; {judged.note}" if judged.note else verdict,
        "scores": judged.scores,
        "thresholds": {name: dict(bounds) for name, bounds in judged.thresholds.items()},
        "milliseconds": milliseconds,
    }


def _drawing(model: onnx.ModelProto, source: Source) -> Draw:
    session, info, plain = session_of(model, threads=0), source.info, np.ones(1, np.float32)

    def draw(z: NDArray, label: NDArray) -> NDArray:
        feeds = {"z": z, **label_feed(label, info), **({"truncation": plain} if info.styles else {})}
        return to_pixels(session.run(["image"], feeds)[0], info.alpha)

    return draw
