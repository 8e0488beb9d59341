"""From a run directory to a bundle, all or nothing."""

import datetime
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from export.apart import export_apart
from export.golden import write_golden
from export.litert import LITERT_FILE, write_litert
from export.model_card import model_card
from export.onnx_export import write_onnx_files
from export.parity import check_formats
from export.placing import placed, target_of
from export.quantize import write_int8
from export.readers import Generate, Reader, keras_generator, litert_reader, onnx_readers, saved_model_readers
from export.rewrites.layouts import LAYOUTS
from export.saved_model import write_saved_model
from export.source import Source, producer
from export.triton import write_triton
from export.web_page import write_web
from pipeline.base.errors import MirageError
from serving.contract import png
from serving.contract.latents import latents
from serving.contract.manifest import (
    FORMAT,
    FORMAT_VERSION,
    GENERATOR_FILE,
    MANIFEST_FILE,
    ModelInfo,
    sha256,
)
from serving.contract.pixels import to_pixels
from serving.generator import Generator

FORMATS = ("saved_model", "onnx", "int8", "litert", "web", "triton")
_OF_ONNX = ("int8", "web", "triton")  # which need the ONNX files
_SHEET_PER_CLASS = 8
_SHEET_CLASSES = 20
_SHEET_SIDE = 5


def export_bundle(
    run_dir: Path,
    out: Path,
    formats: Sequence[str] = ("saved_model", "onnx"),
    checkpoint: str = "newest",
    layout: str = "portable",
    num_samples: int = 10_000,
    dataset: str = "",
) -> None:
    """Exports a run's generator.

    Everything is built elsewhere and moved to `out` at the end, so that `out` is either untouched or complete. An older
    bundle at `out` is replaced, file by file; what its manifest doesn't list stays. All is computed on CPUs, so that
    GPUs change no byte of a bundle: where this process has some, another one exports.

    Args:
      run_dir: a run directory with a checkpoint.
      out: folder of the bundle; see `export.placing.target_of`.
      formats: some of `FORMATS`.
      checkpoint: "newest" or "best".
      layout: one of `export.rewrites.layouts.LAYOUTS`.
      num_samples: number of images by which int8 is judged.
      dataset: where the training data are now, as for `--dataset`; empty takes the run's own.

    Raises:
      MirageError: if the run can't be read, the exports disagree with the trained network, or `out`
        can't be written or holds something else.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise MirageError(f"--formats={','.join(formats)} is not known; choose from {', '.join(FORMATS)}.")
    for name in formats:
        if name in _OF_ONNX and "onnx" not in formats:
            raise MirageError(f"--formats with {name} needs onnx too; add it.")
    if layout not in LAYOUTS:
        raise MirageError(f"--layout={layout} is not known; choose from {', '.join(LAYOUTS)}.")
    target_of(out)
    _now()  # before the work
    if tf.config.get_visible_devices("GPU"):
        names = {"run_dir": run_dir, "out": out, "formats": ",".join(formats), "checkpoint": checkpoint}
        export_apart({**names, "layout": layout, "num_samples": num_samples, "dataset": dataset})
        return
    source = Source.load(run_dir, checkpoint, dataset)
    with placed(out) as folder:
        _build(folder, source, formats, layout, num_samples)


def _build(folder: Path, source: Source, formats: Sequence[str], layout: str, num_samples: int) -> None:
    """Writes all files of a bundle into an empty folder."""
    info, model = source.info, source.model
    started = time.perf_counter()
    exported: dict[str, list[Reader]] = {}
    sections: dict[str, Any] = {"onnx": None, "scores": source.scores}
    if "saved_model" in formats:
        write_saved_model(model, info, folder / "saved_model")
        exported["saved_model"] = list(saved_model_readers(folder / "saved_model", info))
        started = _report("SavedModel", started)
    if "onnx" in formats:
        sections["onnx"], forms = write_onnx_files(folder, source, layout)
        exported["onnx"] = list(onnx_readers(folder, info))
        started = _report("ONNX", started)
    if "litert" in formats:
        write_litert(folder, source)
        exported["litert"] = [litert_reader(folder / LITERT_FILE, info)]
        started = _report("LiteRT", started)
    reference = keras_generator(model, info)
    sections["parity"], sections["sampler_readers"] = check_formats(reference, exported, info)
    started = _report("parity of Keras with " + " and ".join(exported), started)
    if "int8" in formats:
        sections["int8"] = write_int8(folder, source, forms, num_samples)
        sections["scores"] = sections["int8"]["scores"]["float32"]
        started = _report(f"int8 ({sections['int8']['verdict']})", started)
    if "web" in formats:
        write_web(folder, source)
        started = _report("page for browsers", started)
    if "triton" in formats:
        write_triton(folder, sections["onnx"]["models"])
        started = _report("Triton model repository", started)
    _write_sheet(folder, info, reference, "onnx" in formats)
    (folder / "README.md").write_text(model_card(source, sections), encoding="utf-8")
    write_golden(folder, info, reference)
    _write_manifest(folder, source, sections)
    _report("model card, sample sheet, manifest", started)


def _report(what: str, started: float) -> float:
    now = time.perf_counter()
    print(f"  {what}: {now - started:.1f} s", flush=True)
    return now


def _write_sheet(folder: Path, info: ModelInfo, reference: Generate, through_onnx: bool) -> None:
    """Draws samples with the exported file itself, or with Keras where only a SavedModel is exported."""
    classes = len(info.class_names)
    if not classes:
        labels, columns = np.zeros(_SHEET_SIDE**2, np.int64), _SHEET_SIDE
    elif classes <= _SHEET_CLASSES:
        labels, columns = np.repeat(np.arange(classes), _SHEET_PER_CLASS), _SHEET_PER_CLASS
    else:
        labels, columns = np.arange(classes), int(np.ceil(np.sqrt(classes)))
    seeds = np.arange(len(labels)) % (columns if classes else len(labels))
    z = latents(seeds, info.latent_dim)
    if through_onnx:
        names = [info.class_names[label] for label in labels] if classes else None
        images = Generator.load(folder / GENERATOR_FILE).decode(z, names)
    else:
        images = to_pixels(reference(z, labels))
    png.write(folder / "samples.png", png.grid(images, columns))


def _write_manifest(folder: Path, source: Source, sections: Mapping[str, Any]) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "producer": producer(),
        "created": _now().isoformat(timespec="seconds"),
        "model": source.info.to_dict(),
        "files": {
            path.relative_to(folder).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size}
            for path in files
        },
        **sections,
        "provenance": source.provenance(),
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _now() -> datetime.datetime:
    """The time; reproducible builds set it (reproducible-builds.org, SOURCE_DATE_EPOCH)."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    if not fixed:
        return datetime.datetime.now(datetime.UTC)
    try:
        return datetime.datetime.fromtimestamp(int(fixed), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        raise MirageError(f"SOURCE_DATE_EPOCH={fixed} is no time; expected seconds since 1970, or unset it.") from None
