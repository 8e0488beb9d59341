"""From a run directory to a bundle, all or nothing."""

import datetime
import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export.golden import write_golden
from export.layouts import LAYOUTS, optimise
from export.model_card import model_card, public_name
from export.onnx_export import OPSET, convert, example_feeds, explained, signature_of, write_onnx
from export.parity import (
    Generate,
    Sample,
    check_parity,
    check_samplers,
    keras_generator,
    onnx_generator,
    onnx_sampler,
    saved_model_generator,
    saved_model_sampler,
)
from export.sampler import sampler_of
from export.saved_model import write_saved_model
from pipeline.checkpoint import load_sampler
from pipeline.config import Config
from pipeline.data_spec import DataSpec
from pipeline.errors import MirageError
from serving import png
from serving.generator import Generator, to_pixels
from serving.latents import latents
from serving.manifest import (
    FORMAT,
    FORMAT_VERSION,
    GENERATOR_FILE,
    MANIFEST_FILE,
    SAMPLER_FILE,
    BundleError,
    ModelInfo,
    read_manifest,
    sha256,
)

FORMATS = ("saved_model", "onnx")
_SHEET_PER_CLASS = 8
_SHEET_CLASSES = 20
_SHEET_SIDE = 5


def export_bundle(
    run_dir: Path,
    out: Path,
    formats: Sequence[str] = FORMATS,
    checkpoint: str = "newest",
    layout: str = "portable",
) -> None:
    """Exports a run's generator.

    Everything is built beside `out` and moved there at the end, so that `out` is either untouched or
    complete. An older bundle at `out` is replaced.

    Args:
      run_dir: a run directory with a checkpoint.
      out: folder of the bundle; new, empty, or an older bundle.
      formats: some of `FORMATS`.
      checkpoint: "newest" or "best".
      layout: one of `export.layouts.LAYOUTS`.

    Raises:
      MirageError: if the run can't be read, the exports disagree with the trained network, or `out`
        can't be written or holds something else.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise MirageError(f"--formats={','.join(formats)} is not known; choose from {', '.join(FORMATS)}.")
    if layout not in LAYOUTS:
        raise MirageError(f"--layout={layout} is not known; choose from {', '.join(LAYOUTS)}.")
    _check_target(out)
    config, data, model, step = load_sampler(run_dir, checkpoint)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as parent:
            folder = Path(parent) / "new"
            folder.mkdir()
            _build(folder, config, data, model, step, formats, layout)
            _swap(folder, out, Path(parent) / "old")
    except OSError as error:
        raise MirageError(f"--out={out} can't be written ({error.strerror}); nothing was exported.") from None


def _build(
    folder: Path,
    config: Config,
    data: DataSpec,
    model: keras.Model,
    step: int,
    formats: Sequence[str],
    layout: str,
) -> None:
    """Writes all files of a bundle into an empty folder."""
    names = data.class_names if config.conditional else ()
    info = ModelInfo(config.latent_dim, data.image_shape, config.conditional, names)
    started = time.perf_counter()
    exported: dict[str, Generate] = {}
    samplers: dict[str, Sample] = {}
    onnx_section = None
    if "saved_model" in formats:
        write_saved_model(model, info, folder / "saved_model")
        exported["saved_model"] = saved_model_generator(folder / "saved_model", info)
        samplers["saved_model"] = saved_model_sampler(folder / "saved_model", info)
        started = _report("SavedModel", started)
    if "onnx" in formats:
        onnx_section = _write_onnx_files(folder, config, data, info, model, step, layout)
        exported["onnx"] = onnx_generator(folder / GENERATOR_FILE, info)
        samplers["onnx"] = onnx_sampler(folder / SAMPLER_FILE, info)
        started = _report("ONNX", started)
    reference = keras_generator(model, info)
    parity = check_parity(reference, exported, info)
    check_samplers(reference, samplers, info)
    started = _report("parity of Keras with " + " and ".join(parity), started)
    _write_sheet(folder, info, reference, "onnx" in formats)
    card = model_card(config, data, info, step=step, parameters=model.count_params(), parity=parity)
    (folder / "README.md").write_text(card, encoding="utf-8")
    write_golden(folder, info, reference)
    _write_manifest(folder, info, onnx_section, parity, _provenance(config, data, step))
    _report("model card, sample sheet, manifest", started)


def _write_onnx_files(
    folder: Path, config: Config, data: DataSpec, info: ModelInfo, model: keras.Model, step: int, layout: str
) -> dict[str, Any]:
    """Writes generator and sampler; returns the manifest's section about them."""
    settings = json.dumps(_public_config(config, data), sort_keys=True)
    facts = {
        "producer": _producer(),
        "dataset": f"{public_name(data)} {data.version}".strip(),
        "step": str(step),
        "config_sha256": hashlib.sha256(settings.encode()).hexdigest(),
        "code_revision": _code_revision() or "unknown",
    }
    generator, chosen = optimise(convert(model, info), example_feeds(info), layout)
    models = {}
    for name, proto in ((GENERATOR_FILE, generator), (SAMPLER_FILE, sampler_of(generator))):
        proto = explained(proto, info, facts)
        write_onnx(proto, folder / name)
        models[name] = signature_of(proto)
    return {"opset": OPSET, "layout": {"rule": layout, **chosen}, "models": models}


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
        images = Generator.load(folder / GENERATOR_FILE).decode(z, labels if classes else None)
    else:
        images = to_pixels(reference(z, labels))
    png.write(folder / "samples.png", png.grid(images, columns))


def _write_manifest(
    folder: Path, info: ModelInfo, onnx_section: dict | None, parity: dict, provenance: dict[str, Any]
) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "producer": _producer(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": info.to_dict(),
        "onnx": onnx_section,
        "files": {
            path.relative_to(folder).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size}
            for path in files
        },
        "parity": parity,
        "scores": {},
        "provenance": provenance,
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _provenance(config: Config, data: DataSpec, step: int) -> dict[str, Any]:
    packages = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy")
    return {
        "config": _public_config(config, data),
        "data": {**data.to_dict(), "name": public_name(data)},
        "step": step,
        "code_revision": _code_revision(),
        "packages": {name: _version(name) for name in packages},
    }


def _public_config(config: Config, data: DataSpec) -> dict[str, Any]:
    """The configuration without paths of the training machine."""
    private = {"data_dir", "manual_dir", "run_dir"}
    settings = {name: value for name, value in config.to_dict().items() if name not in private}
    return {**settings, "dataset": public_name(data)}


def _version(package: str) -> str | None:
    # TensorFlow comes under several distribution names.
    for name in (package, f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _producer() -> str:
    return f"mirage-gan {_version('mirage-gan') or '0.1.0'}"


def _code_revision() -> str | None:
    """The commit of the checkout that this code runs from, if it does."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _check_target(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        try:
            read_manifest(out)
        except BundleError:
            raise MirageError(f"--out={out} is a folder with other files; choose a new folder.") from None
    elif out.exists() and not out.is_dir():
        raise MirageError(f"--out={out} is a file; choose a new folder.")


def _swap(new: Path, out: Path, old: Path) -> None:
    """Puts `new` in the place of `out`; the gap without either is two renames long."""
    replaced = out.exists()
    if replaced:
        out.replace(old)
    try:
        new.replace(out)
    except OSError:
        if replaced:
            old.replace(out)
        raise
    if replaced:
        shutil.rmtree(old)
