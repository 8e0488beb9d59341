"""A model repository for Triton, or any other server of KServe's protocol: `--formats=...,triton`.

triton/generator/config.pbtxt   triton/generator/1/model.onnx
triton/sampler/config.pbtxt     triton/sampler/1/model.onnx
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.formats.base import Format, Work
from serving.contract.manifest import GENERATOR_FILE, SAMPLER_FILE

FOLDER = "triton"
_MAX_BATCH = 64
_MAX_QUEUE_DELAY_US = 2000
_TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64", "uint8": "TYPE_UINT8"}


class Triton(Format):
    """The folder `triton`."""

    name = "triton"
    help = "a model repository"
    needs = ("onnx",)
    title = "Triton model repository"

    def write(self, folder: Path, work: Work) -> None:
        """See `write_triton`."""
        write_triton(folder, work.sections["onnx"]["models"])


def write_triton(folder: Path, models: Mapping[str, Any]) -> None:
    """Writes a model repository into a bundle that holds the ONNX files.

    Args:
      folder: the bundle.
      models: the signature of each file, as in the manifest.
    """
    for file in (GENERATOR_FILE, SAMPLER_FILE):
        name = file.removesuffix(".onnx")
        version = folder / FOLDER / name / "1"
        version.mkdir(parents=True)
        shutil.copyfile(folder / file, version / "model.onnx")
        (version.parent / "config.pbtxt").write_text(config_of(name, models[file]), encoding="utf-8")


def config_of(name: str, signature: Mapping[str, Any]) -> str:
    """Writes a model's `config.pbtxt`.

    Triton adds the batch axis itself. `truncation`, which may be one for all, is left out: it keeps its default.

    Args:
      name: the model's.
      signature: its inputs and outputs, as in the manifest.
    """
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {_MAX_BATCH}"]
    for kind in ("inputs", "outputs"):
        for tensor in signature[kind]:
            if tensor["name"] == "truncation":
                continue
            shape = tensor["shape"][1:]
            lines += [
                f"{kind.removesuffix('s')} {{",
                f'  name: "{tensor["name"]}"',
                f"  data_type: {_TYPES[tensor['dtype']]}",
                # One number for each picture: an axis of 1 for Triton, which the model does not have.
                f"  dims: {shape or [1]}",
                *([] if shape else ["  reshape { shape: [ ] }"]),
                "}",
            ]
    lines += [
        "dynamic_batching {",
        f"  max_queue_delay_microseconds: {_MAX_QUEUE_DELAY_US}",
        "}",
        "instance_group { kind: KIND_CPU count: 1 }",
        'parameters { key: "intra_op_thread_count" value { string_value: "1" } }',
    ]
    return "\n".join(lines) + "\n"
