"""The ONNX files: each explains itself and runs without TensorFlow."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.conditions import conditions
from export.conversion import OPSET
from export.formats.base import label_feed
from export.rewrites.layouts import choose, formed, forms_of, has_convolutions
from export.sampler import sampler_of
from export.source import Source
from export.styles import may_be_left_out
from serving.contract.latents import latents
from serving.contract.manifest import CHUNK_KEY, GENERATOR_FILE, METADATA_KEY, PREMULTIPLIED, SAMPLER_FILE, ModelInfo
from serving.contract.onnx_file import seal

_DOCS = {
    "z": "Latent, drawn from latent_distribution.",
    "seed": "Any number; the same one gives the same picture in every runtime that computes integers of 64 bits. All "
    "pictures are black in those that cut them to 32 bits, such as OpenVINO.",
    "label": "Class, a position in class_names. Others are refused, or make grey pictures where they can't be.",
    "attributes": "What the picture shall be, a number for each of the attributes in order, from its low to its high. "
    "Others are refused, or make grey pictures where they can't be.",
    "truncation": "Factor of the latent; 1 if left out, less for more usual pictures.",
    "w": "Styles, one for each layer: of mapping.onnx, or mixed from several pictures'.",
    "image": "Pictures in [-1, 1]; what lies beyond is to be cut off.",
    "pixels": "Pictures in 0 to 255.",
}
_DOCS_OF_STYLES = {
    "truncation": "ψ, one for all pictures or one for each: styles w become mean + ψ (w - mean); 1 if left out, less "
    "for more usual pictures.",
}
_DOCS_OF_ALPHA = {
    "image": "Pictures in [-1, 1], beyond which they are to be cut off: red, green and blue, {alpha}, and alpha.",
    "pixels": "Pictures in 0 to 255: red, green and blue, straight, and alpha.",
}
# ONNX's own vocabulary for pictures (its documents MetadataProps.md and TypeDenotation.md).
_PIXEL_FORMATS = {1: "Gray8", 3: "Rgb8", 4: "Rgba8"}
_RANGES = {"image": "Normalized_1_1", "pixels": "NominalRange_0_255"}
# Batches worth running at once, as measured by benchmarks/edge.py: see serving.generator.
_CHUNK_OF_CONVOLUTIONS, _CHUNK_OF_MATRICES = 16, 256
_AXES = ("DATA_BATCH", "DATA_FEATURE", "DATA_FEATURE", "DATA_CHANNEL")


def explained(
    proto: onnx.ModelProto, info: ModelInfo, facts: Mapping[str, str], chunk: int | None = None
) -> onnx.ModelProto:
    """Writes into a model what a program, or a person, needs to know of it.

    Args:
      proto: a generator or a sampler.
      info: its description, which becomes metadata.
      facts: further facts for the file's `metadata_props`.
      chunk: the largest batch that is worth running at once; None if it hasn't been measured.

    Returns:
      A checked copy.
    """
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    output = result.graph.output[0]
    docs = _DOCS | (_DOCS_OF_ALPHA if info.alpha else {}) | (_DOCS_OF_STYLES if info.styles else {})
    for value in [*result.graph.input, output]:
        value.doc_string = docs[value.name].format(alpha=info.alpha)
    usual = _CHUNK_OF_CONVOLUTIONS if has_convolutions(proto) else _CHUNK_OF_MATRICES
    props = {
        CHUNK_KEY: str(chunk or usual),
        METADATA_KEY: json.dumps(info.to_dict(), sort_keys=True),
        **_of_pictures(output, info),
        **facts,
    }
    result.producer_name, _, result.producer_version = facts["producer"].partition(" ")
    result.graph.doc_string = f"Makes pictures like those of {facts['dataset']}."
    onnx.helper.set_model_props(result, dict(sorted(props.items())))
    onnx.checker.check_model(result, full_check=True)
    return result


def _of_pictures(output: onnx.ValueInfoProto, info: ModelInfo) -> dict[str, str]:
    """Says of an output that it is a picture, if it is one; returns what metadata say of it."""
    if output.name not in _RANGES:
        return {}
    output.type.denotation = "IMAGE"
    for dimension, meaning in zip(output.type.tensor_type.shape.dim, _AXES, strict=True):
        dimension.denotation = meaning
    props = {"Image.ColorSpaceGamma": "SRGB", "Image.NominalPixelRange": _RANGES[output.name]}
    if info.alpha != PREMULTIPLIED or output.name != "image":  # for which it has no word: Rgba8 is straight
        props["Image.BitmapPixelFormat"] = _PIXEL_FORMATS[info.image_shape[2]]
    return props


def example_feeds(info: ModelInfo) -> Callable[[int], dict[str, NDArray]]:
    """Returns a function that makes a generator's inputs for a batch size."""

    def feeds(count: int) -> dict[str, NDArray]:
        places = np.arange(count)
        z = latents(places, info.latent_dim, info.latent_distribution)
        truncation = {"truncation": np.ones(count, np.float32)} if info.styles else {}
        return {"z": z, **label_feed(conditions(places, info), info), **truncation}

    return feeds


def write_onnx_files(folder: Path, source: Source, layout: str) -> tuple[dict[str, Any], dict[str, onnx.ModelProto]]:
    """Writes a generator, its sampler and, where there are styles, its parts.

    Args:
      folder: where to write.
      source: what is exported.
      layout: see `export.rewrites.layouts.choose`.

    Returns:
      (the manifest's section about them; all forms of the generator).
    """
    info = source.info
    facts = source.facts()
    if source.scores:
        facts["scores"] = json.dumps(source.scores, sort_keys=True)
    forms = forms_of(source.graph())
    form, chosen = choose(forms, example_feeds(info), layout)
    models = {
        GENERATOR_FILE: may_be_left_out(forms[form]),
        SAMPLER_FILE: sampler_of(forms[form], info.latent_distribution, info.alpha),
        **{f"{name}.onnx": may_be_left_out(formed(part, form)) for name, part in source.parts().items()},
    }
    signatures = {}
    for name, proto in models.items():
        proto = explained(proto, info, facts, chosen.get("chunk"))
        write_onnx(proto, folder / name)
        signatures[name] = signature_of(proto)
    return {"opset": OPSET, "layout": chosen, "models": signatures}, forms


def write_onnx(proto: onnx.ModelProto, path: Path) -> None:
    """Writes a sealed model, the same bytes for the same model."""
    path.write_bytes(seal(proto.SerializeToString(deterministic=True)))


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
