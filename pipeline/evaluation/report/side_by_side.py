"""The page of several runs: their figures, what of these is noise, curves, pictures, and in what they differ."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file
from pipeline.evaluation.report import curves, images, texts
from pipeline.evaluation.report.figures import Figure, figures_of
from pipeline.evaluation.report.noise import best, difference, sentences
from pipeline.evaluation.report.page import REPORT_FILE, page_of_run, trained_on
from pipeline.evaluation.report.record import JUDGE, Record, number, read
from pipeline.pages.frame import Section, framed, warnings
from pipeline.pages.markup import Content, Html, table, tag
from pipeline.pages.numbers import shown
from pipeline.pages.pictures import img, strip

_NOISE = (
    "Intervals are of 95 %, and say how far chance in the samples may have moved a figure. Two trainings that differ "
    "in their seed alone may differ by more."
)
_PLACES = ("run_dir", "data_dir", "manual_dir")
_BYTES = 2_000_000  # of all pictures of a kind

Strip = tuple[str, np.ndarray]


def check_same_judge(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuses figures that say nothing beside one another.

    Args:
      names: of the runs.
      rows: their scores.

    Raises:
      MirageError: if extractor, reference or number of samples are others.
    """
    of_extractor = {name for row in rows for name in row if name.startswith("extractor_")}  # such as its weights
    for what in (*JUDGE, *sorted(of_extractor)):
        found = {str(row.get(what, "")): name for name, row in zip(reversed(names), reversed(rows), strict=True)}
        if len(found) > 1:
            listing = " and ".join(f"{name} with {value or 'none'}" for value, name in reversed(found.items()))
            raise MirageError(
                f"figures with another {what.replace('_', ' of ').replace('num of', 'number of')} say nothing beside "
                f"each other, and {listing} was judged; evaluate all in the same way."
            )


def verdicts(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], metrics: str, shown_figures: Sequence[str]
) -> str:
    """Says in Markdown which differences are within noise; empty where no figure has an interval.

    Args:
      rows: scores of the runs.
      names: of the runs.
      metrics: the value of `--metrics`.
      shown_figures: names of the figures that are compared.
    """
    lines = sentences(_compared(rows, metrics, shown_figures), rows, names) if len(rows) > 1 else []
    listed = "".join(f"- {line}\n" for line in lines)
    return f"\n{listed}\n{_NOISE}\n" if lines else ""


def write_comparison(
    out: Path,
    run_dirs: Sequence[Path],
    names: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    strips: Sequence[Strip],
    metrics: str,
    shown_figures: Sequence[str],
) -> None:
    """Writes the page of one or several runs that were just evaluated.

    Args:
      out: folder to write.
      run_dirs: the runs.
      names: what they are called.
      rows: their scores.
      strips: titled pictures, uint8 [n, H, W, C]: of each run with the same latents.
      metrics: the value of `--metrics`.
      shown_figures: names of the figures that are compared.

    Raises:
      OSError: if it can't be written.
    """
    records = [
        dataclasses.replace(read(run_dir, name), scores=row, metrics=metrics)
        for run_dir, name, row in zip(run_dirs, names, rows, strict=True)
    ]
    page = page_of_run(records[0]) if len(records) == 1 else page_of_runs(records, strips, shown_figures)
    write_file(out / REPORT_FILE, page.encode())


def page_of_runs(records: Sequence[Record], strips: Sequence[Strip], shown_figures: Sequence[str]) -> str:
    """Lays out the page of several runs, see `write_comparison`."""
    rows = [record.scores for record in records]
    figures = _compared(rows, records[0].measured, shown_figures)
    names = [record.name for record in records]
    lines = sentences(figures, rows, names)
    said = tag("ul", [tag("li", line) for line in lines]) if lines else tag("p", "No figure has an interval.")
    judged = texts.judged(records[0])
    sections: list[Section] = [
        (
            "figures",
            "Figures",
            f"At the checkpoint that was scored, {judged}.",
            _table(records, figures),
        ),
        ("noise", "What is noise", _NOISE, said),
        ("quality", "Quality over images and time", None, _curves(records)),
        ("samples", "Pictures", "The same latents and classes in each run.", _samples(strips)),
        ("pictures", "Pictures over time", None, _films(records)),
        ("training", "Training", None, curves.training(records)),
        ("flags", "Configuration", "The flags that differ.", _flags(records)),
        ("machine", "Machine", None, _machines(records)),
        ("runs", "Runs", None, tag("ul", [tag("li", tag("b", each.name), ": ", trained_on(each)) for each in records])),
    ]
    warned = [f"{record.name}: {line}" for record in records for line in record.warnings()]
    lead = f"{len(records)} runs on {records[0].data.name}, {judged}"
    return framed(" · ".join(names) if len(names) < 5 else f"{len(names)} runs", lead, warnings(warned), sections)


def _compared(rows: Sequence[Mapping[str, Any]], metrics: str, shown_figures: Sequence[str]) -> list[Figure]:
    found: dict[str, Figure] = {}
    for row in rows:
        for figure in figures_of(row, metrics, str(row.get("extractor", ""))):
            if figure.name in shown_figures:
                found.setdefault(figure.name, figure)
    return list(found.values())


def _table(records: Sequence[Record], figures: Sequence[Figure]) -> Html:
    rows = [record.scores for record in records]
    firsts = {figure.name: best(figure, rows) for figure in figures}
    body: list[list[Content]] = []
    for i, record in enumerate(records):
        key = tag("i", class_=f"key c{i % 8}")
        cells: list[Content] = [[key, record.name], _count(record.scores.get("step"))]
        for figure in figures:
            first = firsts[figure.name]
            apart = None if first is None or first == i else difference(figure, rows[i], rows[first])
            verdict = "best" if first == i else str(apart) if apart is not None else None
            parts: list[Content] = [texts.with_interval(rows[i], figure.name)]
            if verdict:
                colour = "best-cell" if first == i else "" if apart is None or apart.within_noise else "worse"
                parts.append(tag("span", verdict, class_=f"verdict {colour}".strip()))
            cells.append(parts)
        body.append(cells)
    floors = [shown(number(rows[0].get(figure.floor))) if figure.floor else "" for figure in figures]
    if any(floors):
        body.append(["real images", "", *floors])
    return table(["run", "step", *(texts.with_arrow(figure) for figure in figures)], body, "figures")


def _count(value: Any) -> str:
    return f"{value:,}" if type(value) is int else ""


def _curves(records: Sequence[Record]) -> Html:
    """Curves of those that were judged alike while they were trained together, others apart."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        if record.evaluations:
            recorded = dataclasses.replace(record, scores={})
            groups.setdefault(tuple(recorded.judge().values()), []).append(recorded)
    parts = []
    for same in groups.values():
        drawn = curves.quality(same, [_place(records, each) for each in same])  # a run has one colour all over
        parts += [tag("p", f"While training, {texts.judged(same[0])}.", class_="hint"), drawn]
    return Html("".join(parts))


def _place(records: Sequence[Record], record: Record) -> int:
    return next(i for i, each in enumerate(records) if each.run_dir == record.run_dir)


def _samples(strips: Sequence[Strip]) -> Html:
    parts = []
    for title, pixels in strips:
        across = np.concatenate([strip(pixels[i : i + 10]) for i in range(0, len(pixels) // 10 * 10 or 1, 10)])
        parts.append(tag("figure", tag("figcaption", title), img(across, title, _BYTES // len(strips)), class_="row"))
    return Html("".join(parts))


def _films(records: Sequence[Record]) -> Html:
    most = 12 if len(records) < 4 else 8
    parts = []
    for record in records:
        if record.previews:
            recorded = dataclasses.replace(record, scores={})
            parts += [tag("h3", record.name), images.over_time(recorded, most, 3)]
    return Html("".join(parts))


def _flags(records: Sequence[Record]) -> Html:
    rows: list[list[Content]] = []
    for field in dataclasses.fields(records[0].config):
        values = [getattr(record.config, field.name) for record in records]
        if field.name not in _PLACES and len({repr(value) for value in values}) > 1:
            cells: list[Content] = [tag("code", texts.flag_text(value)) for value in values]
            rows.append([tag("code", f"--{field.name}"), *cells, field.metadata["help"]])
    if not rows:
        return tag("p", "None: the runs have the same flags.")
    return table(["flag", *(record.name for record in records), "meaning"], rows, "flags")


def _machines(records: Sequence[Record]) -> Html:
    parts: list[str] = []
    for record in records:
        parts += [tag("h3", record.name), texts.machines(record)]
    return Html("".join(parts))
