"""Runs side by side: a table of scores, samples, and how they learned."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.evaluation.evaluate import score, writing_out
from pipeline.evaluation.judge import Images
from pipeline.evaluation.options import ScoringOptions
from pipeline.evaluation.report.record import judge_of
from pipeline.evaluation.report.side_by_side import check_same_judge, verdicts, write_comparison
from pipeline.evaluation.sampling import reconstruct, sample_run
from pipeline.metrics import chosen_extractor, distance_title
from pipeline.metrics.metric import labels_of
from pipeline.runs.patience import by_one_extractor
from pipeline.runs.preview import grid, write_png
from pipeline.runs.run_file import read_run
from pipeline.runs.run_log import EVALUATIONS_FILE, read_records
from serving.contract.latents import latents

_COLUMNS = 10
_ROWS = 2
_TITLE_HEIGHT = 14
_DRAWN = ("images", "seconds", "frechet_distance")
_SHOWN = (
    "step",
    "frechet_distance",
    "frechet_floor",
    "precision",
    "recall",
    "label_accuracy",
    "attribute_accuracy",
    "attribute_correlation",
    "sharpness",
    "sharpness_of_reference",
    "reconstruction_error",
    "classification_error",
    "modes",
    "kl_to_uniform",
)


def table(rows: Sequence[Mapping[str, Any]], figures: Sequence[str] = ()) -> str:
    """Writes scores as a Markdown table, a line for each run.

    Args:
      rows: what `pipeline.evaluation.evaluate.score` returned of each.
      figures: what to show besides the usual ones.
    """
    columns = [name for name in dict.fromkeys((*_SHOWN, *figures)) if any(name in row for row in rows)]

    def cell(row: Mapping[str, Any], name: str) -> str:
        value = row.get(name, "")
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = [f"| run | {' | '.join(name.replace('_', ' ') for name in columns)} |", "|" + " --- |" * (len(columns) + 1)]
    lines += [f"| {row['source']} | {' | '.join(cell(row, name) for name in columns)} |" for row in rows]
    first = rows[0]
    judged = f"Extractor {first.get('extractor', 'none')}, {first['num_samples']:,} samples"
    lines += ["", f"{judged}, reference {first['reference']}."]
    return "\n".join(lines) + "\n"


def distinct_names(run_dirs: Sequence[Path]) -> list[str]:
    """Names run directories by as many of the last parts of their paths as tell them apart, such as a/run, b/run.

    Raises:
      MirageError: if two are the same folder.
    """
    parts = [run_dir.resolve().parts for run_dir in run_dirs]
    twice = [str(run_dir) for run_dir, each in zip(run_dirs, parts, strict=True) if parts.count(each) > 1]
    if twice:
        raise MirageError(f"{' and '.join(twice)} are the same run; name each run once.")
    names = []
    for each in parts:
        alike = [other for other in parts if other != each]
        count = next(n for n in range(1, len(each) + 1) if all(other[-n:] != each[-n:] for other in alike))
        names.append(printable(Path(*each[-count:])))
    return names


def _strips(name: str, run_dir: Path, checkpoint: str, reference: Images) -> list[tuple[str, np.ndarray]]:
    """Pictures of a run, each with its title: uint8 [n, H, W, C]."""
    _, data = read_run(run_dir)
    count = _ROWS * _COLUMNS
    labels = np.arange(count, dtype=np.int32) % max(1, len(data.class_names))
    if data.attributes:
        labels = labels_of(count, reference.labels)
    sampler = sample_run(run_dir, checkpoint)
    strips = [(f"{name}: samples", sampler.make(latents(np.arange(count), sampler.latent_dim), labels))]
    chosen = reference.some(_COLUMNS)
    reconstructed = reconstruct(run_dir, chosen, checkpoint)
    if reconstructed is not None:
        strips.append((f"{name}: images", chosen.pixels))
        strips.append((f"{name}: reconstructed", reconstructed))
    return strips


def picture(strips: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Stacks titled strips of images of one size, ten a row; returns uint8 [height, width, C]."""
    parts = []
    for title, images in strips:
        rows = grid(images, _COLUMNS)
        head = Image.new("L", (rows.shape[1], _TITLE_HEIGHT), 255)
        ImageDraw.Draw(head).text((2, 1), title, fill=0)
        parts += [np.repeat(np.asarray(head)[..., None], rows.shape[2], axis=2), rows]
    return np.concatenate(parts)


def draw_curves(run_dirs: Sequence[Path], path: Path) -> bool:
    """Draws Fréchet distances over images and over training time; returns whether any run has them."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    histories = {}
    settings = [read_run(run_dir) for run_dir in run_dirs]
    recorded = [read_records(run_dir / EVALUATIONS_FILE, _DRAWN) for run_dir in run_dirs]
    judges = [
        (*judge_of(newest, *setting).values(), newest.get("extractor_id", ""))
        for newest, setting in zip((each[-1] if each else {} for each in recorded), settings, strict=True)
    ]
    for records, setting, name, judge in zip(recorded, settings, distinct_names(run_dirs), judges, strict=True):
        # A legend leaves out what begins with a line, and sets formulas between dollars.
        name = f"{'./' * name.startswith('_')}{name}".replace("$", r"\$")
        # Distances by other judges are no worse or better.
        label = name if len({*judges}) == 1 else f"{name} ({judge[0]}, {judge[2]:,} samples)"
        histories[label] = [
            each
            for each in records
            if tuple(judge_of(each, *setting).values()) == judge[:3] and by_one_extractor(each, records[-1])
        ]
    if not any(histories.values()):
        path.unlink(missing_ok=True)  # it would be of other runs
        return False
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    for panel, column, label in zip(panels, ("images", "seconds"), ("images", "seconds of training"), strict=True):
        for name, history in histories.items():
            panel.plot([each[column] for each in history], [each["frechet_distance"] for each in history], label=name)
        panel.set_xlabel(label)
        panel.set_yscale("log")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(distance_title(judges[0][0]) if len({*judges}) == 1 else "Fréchet distance")
    panels[1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return True


def compare(run_dirs: Sequence[Path], out: Path, options: ScoringOptions) -> str:
    """Evaluates runs and writes all files.

    Args:
      run_dirs: run directories.
      out: folder to write.
      options: how runs are scored.

    Returns:
      The table.

    Raises:
      MirageError: if runs can't be compared: other image shapes, data or extractors, or something can't be read or
        written.
    """
    names = distinct_names(run_dirs)
    shapes = {run_dir: read_run(run_dir)[1].image_shape for run_dir in run_dirs}
    if len(set(shapes.values())) > 1:
        listing = ", ".join(f"{run_dir} {shape}" for run_dir, shape in shapes.items())
        raise MirageError(f"runs with images of different shapes can't stand side by side: {listing}.")
    _check_same_data(run_dirs)
    _check_same_judge(options, run_dirs)
    metrics = _same_metrics(options, run_dirs)
    options = dataclasses.replace(options, metrics=metrics)
    rows, strips, figures = [], [], []
    for name, run_dir in zip(names, run_dirs, strict=True):
        print(f"evaluating {run_dir} ...", flush=True)
        scores, judge = score(options, run_dir)
        rows.append(scores)
        figures += judge.compared()
        strips += _strips(name, run_dir, options.checkpoint, judge.reference)
    check_same_judge(names, rows)
    shown = [*_SHOWN, *figures]
    text = table(rows, figures) + verdicts(rows, names, metrics, shown)
    with writing_out(out):
        out.mkdir(parents=True, exist_ok=True)
        write_png(out / "samples.png", picture(strips))
        draw_curves(run_dirs, out / "curves.png")
        write_comparison(out, run_dirs, names, rows, strips, metrics, shown)
        (out / "scores.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        (out / "table.md").write_text(text, encoding="utf-8")
    return text


def _check_same_data(run_dirs: Sequence[Path]) -> None:
    first = read_run(run_dirs[0])[1]
    for run_dir in run_dirs[1:]:
        difference = read_run(run_dir)[1].difference_from(first)
        if difference:
            raise MirageError(
                f"{run_dir} was trained on other data than {run_dirs[0]}, with {difference}, so their figures say "
                "nothing beside each other; compare runs on the same data."
            )


def _same_metrics(options: ScoringOptions, run_dirs: Sequence[Path]) -> str:
    """The value of `--metrics` for all runs: figures of one name may be of other parameters, such as k."""
    found = {read_run(run_dir)[0].metrics: run_dir for run_dir in reversed(run_dirs)}
    if options.metrics or len(found) == 1:
        return options.metrics or next(iter(found))
    listing = " and ".join(f"{run_dir} {metrics or 'auto'}" for metrics, run_dir in reversed(found.items()))
    raise MirageError(f"training measured {listing}; pass --metrics=auto, or what shall be measured of all.")


def _check_same_judge(options: ScoringOptions, run_dirs: Sequence[Path]) -> None:
    judges: dict[str, Path] = {}
    for run_dir in run_dirs:
        config, data = read_run(run_dir)
        config = dataclasses.replace(config, **options.given(config.extractor))
        judges.setdefault(chosen_extractor(config.extractor, data.class_names, data.image_shape), run_dir)
    if len(judges) > 1:
        listing = " and ".join(f"{run_dir} by {extractor}" for extractor, run_dir in judges.items())
        raise MirageError(
            f"figures by different extractors say nothing beside each other, and training judged {listing}; pass "
            "--extractor=."
        )
