"""From a run directory, or a generator in memory, to a bundle, all or nothing."""

import datetime
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from export.apart import export_apart
from export.conditions import decoded, sheet
from export.formats import DEFAULT, Format, Generate, Work, check_source, chosen, served, waves
from export.golden import write_golden
from export.model_card import model_card
from export.parity import check_formats
from export.placing import placed, target_of
from export.rewrites.layouts import LAYOUTS
from export.run_source import KEPT, NOISES, RunSource
from export.source import Source, producer
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


def export_bundle(
    run_dir: Path | str | Source,
    out: Path | str,
    formats: Sequence[str | Format] = DEFAULT,
    checkpoint: str = "newest",
    layout: str = "portable",
    num_samples: int = 10_000,
    dataset: Any = "",
    noise: str = KEPT,
) -> None:
    """Exports a run's generator, or one that is in memory.

    Everything is built elsewhere and moved to `out` at the end, so that `out` is either untouched or complete. An older
    bundle at `out` is replaced, file by file; what its manifest doesn't list stays. All is computed on CPUs, so that
    GPUs change no byte of a bundle: where this process has some, another one exports, and formats of your own must lie
    in modules that it can import. May be called in any thread.

    Args:
      run_dir: a run directory with a checkpoint; or the generator itself, with what is known of it.
      out: folder of the bundle; see `export.placing.target_of`.
      formats: names in `export.formats.FORMATS`, import paths, or objects.
      checkpoint: "newest" or "best", of a run directory.
      layout: one of `export.rewrites.layouts.LAYOUTS`.
      num_samples: number of images by which int8 is judged.
      dataset: where the training data are now, as for `--dataset`, or the data themselves; empty takes the run's own.
      noise: one of `export.run_source.NOISES`, of a run's generator.

    Raises:
      MirageError: if the run can't be read, the exports disagree with the trained network, or `out`
        can't be written or holds something else.
    """
    found = chosen(formats)
    if layout not in LAYOUTS:
        raise MirageError(f"--layout={layout} is not known; choose from {', '.join(LAYOUTS)}.")
    if noise not in NOISES:
        raise MirageError(f"--noise={noise} is not known; choose from {', '.join(NOISES)}.")
    if noise != KEPT and isinstance(run_dir, Source):
        raise MirageError(f"--noise={noise} goes with a run directory; take the noise out of the generator itself.")
    target_of(Path(out))
    _now()  # before the work
    if tf.config.get_visible_devices("GPU"):
        export_apart(export_bundle, run_dir, out, found, checkpoint, layout, num_samples, dataset, noise)
        return
    source = run_dir if isinstance(run_dir, Source) else RunSource.load(Path(run_dir), checkpoint, noise)
    if not isinstance(dataset, str) or dataset:
        source = source.judged_by(dataset)
    check_source(found, source)
    sections: dict[str, Any] = {**dict.fromkeys(served()), "scores": source.scores, "parity": {}, "sampler_readers": []}
    with placed(Path(out)) as folder:
        _build(folder, Work(source, layout, num_samples, sections), found)


def _build(folder: Path, work: Work, formats: Sequence[Format]) -> None:
    """Writes all files of a bundle into an empty folder."""
    info = work.source.info
    reference = work.source.reference()
    started = time.perf_counter()
    for wave in waves(formats):
        exported = {}
        for each in wave:
            section = each.write(folder, work)
            if section is not None:
                work.sections[each.name] = section
            exported[each.name] = list(each.readers(folder, info))
            verdict = f" ({section['verdict']})" if section and "verdict" in section else ""
            started = _report(f"{each.title or each.name}{verdict}", started)
        compared = {name: readers for name, readers in exported.items() if readers}
        if compared:
            figures, samplers = check_formats(reference, compared, info)
            work.sections["parity"] |= figures
            work.sections["sampler_readers"] += samplers
            started = _report(f"parity of {reference.framework} with " + " and ".join(compared), started)
    _write_sheet(folder, info, reference.generate)
    (folder / "README.md").write_text(model_card(work.source, work.sections, formats), encoding="utf-8")
    write_golden(folder, info, reference.generate)
    _write_manifest(folder, work.source, work.sections)
    _report("model card, sample sheet, manifest", started)


def _report(what: str, started: float) -> float:
    now = time.perf_counter()
    print(f"  {what}: {now - started:.1f} s", flush=True)
    return now


def _write_sheet(folder: Path, info: ModelInfo, reference: Generate) -> None:
    """Draws samples with what the edge will load, or with the source where that is not exported."""
    seeds, condition, columns = sheet(info)
    z = latents(seeds, info.latent_dim, info.latent_distribution)
    if (folder / GENERATOR_FILE).exists():
        images = decoded(Generator.load(folder / GENERATOR_FILE), z, condition)
    else:
        images = to_pixels(reference(z, condition), info.alpha)
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
