"""The sections of a run's page that are text: figures, configuration, machine and commands."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from pipeline.base.parameters import flag_default
from pipeline.evaluation.report.figures import Figure, figures_of
from pipeline.evaluation.report.record import Record, interval, number
from pipeline.metrics import TITLES
from pipeline.pages.frame import tile
from pipeline.pages.markup import Content, Html, printed, table, tag
from pipeline.pages.numbers import duration, shown
from pipeline.runs.run_file import read_automatic

_ARROWS = {"lower": "↓", "higher": "↑"}
_LONGEST = 400  # of a value in a table
_OBJECTS = "python:"  # how a data set is named that was passed in Python


def judged(record: Record) -> str:
    """Says by what a run was judged, such as "by EfficientNet-Lite0 against test, 5,000 samples"."""
    extractor = record.judge()["extractor"]
    return f"by {TITLES.get(extractor, extractor)}{against(record)}"


def against(record: Record) -> str:
    """What follows the name of a figure: " against test, 5,000 samples", as far as that is known."""
    judge = record.judge()
    reference = f" against {judge['reference']}" if judge["reference"] else ""
    return reference + (f", {judge['num_samples']:,} samples" if judge["num_samples"] else "")


def with_interval(scores: Mapping[str, Any], name: str) -> Content:
    """A figure with its 95 % interval."""
    bounds = interval(scores, name)
    value = tag("b", shown(number(scores.get(name))))
    return [value, tag("small", f" {shown(bounds[0])} to {shown(bounds[1])}") if bounds else None]


def with_arrow(figure: Figure) -> Content:
    """A figure's title, and which way is better."""
    arrow = _ARROWS.get(figure.better)
    return [figure.title, tag("span", f" {arrow}", title=f"{figure.better} is better") if arrow else None]


def tiles(record: Record) -> Html:
    """The few figures that are looked at first."""
    scores, extractor = record.newest, record.judge()["extractor"]
    figures = figures_of(scores, record.measured, extractor)
    parts = [_main_tile(record, figure) for figure in figures if figure.name == "frechet_distance"]
    for figure in [each for each in figures if each.is_share][:3]:
        parts.append(tile(figure.title, with_interval(scores, figure.name), figure.meaning))
    log = record.log[-1] if record.log else {}
    seconds, images, speed = (number(log.get(name)) for name in ("seconds", "images", "images_per_s"))
    if seconds:
        parts.append(tile("Training", duration(seconds), f"{images:,.0f} images" if images else ""))
    if speed:
        parts.append(tile("Images per second", f"{speed:,.0f}", "in the last log line"))
    return tag("div", parts, class_="tiles") if parts else Html("")


def _main_tile(record: Record, figure: Figure) -> Html:
    scores = record.newest
    notes = []
    if figure.floor:
        notes.append(f"real images: {shown(number(scores.get(figure.floor)))}")
    known = [
        (value, line["step"]) for line in record.evaluations if (value := number(line.get(figure.name))) is not None
    ]
    if known and not record.scores:
        best, step = min(known)
        notes.append("the best so far" if step == known[-1][1] else f"best {shown(best)} at step {step:,}")
    return tile(figure.title, with_interval(scores, figure.name), "; ".join(notes), "main")


def figures_table(record: Record) -> Html:
    """All figures of the newest evaluation, with what real images get and what they mean."""
    scores = record.newest
    rows = []
    for figure in figures_of(scores, record.measured, record.judge()["extractor"]):
        bounds = interval(scores, figure.name)
        floor = with_interval(scores, figure.floor) if figure.floor else ""
        between = f"{shown(bounds[0])} to {shown(bounds[1])}" if bounds else ""
        rows.append((with_arrow(figure), tag("b", shown(number(scores[figure.name]))), between, floor, figure.meaning))
    if not rows:
        return Html("")
    head = ["figure", "generated", "95 % interval", "real images", "meaning"]
    keep = [any(row[i] for row in rows) for i in range(len(head))]
    chosen = [[cell for cell, kept in zip(row, keep, strict=True) if kept] for row in (head, *rows)]
    step = scores.get("step")
    at = f"At step {step:,}, " if type(step) is int else ""
    return table(chosen[0], chosen[1:], "meanings", f"{at}{judged(record)}.")


def flags(record: Record) -> Html:
    """The configuration: what differs from the defaults, and below it the rest."""
    derived = read_automatic(record.run_dir)
    changed: list[list[Content]] = []
    rest: list[list[Content]] = []
    for field in dataclasses.fields(record.config):
        value = getattr(record.config, field.name)
        default = flag_default(field)
        note = tag("small", " derived from data and device") if field.name in derived else None
        name, text = tag("code", f"--{field.name}"), [tag("code", flag_text(value)), note]
        row: list[Content] = [name, text, tag("code", flag_text(default)), field.metadata["help"]]
        (changed if value != default else rest).append(row)
    head = ("flag", "value", "default", "meaning")
    shown_rest = tag("details", tag("summary", f"{len(rest)} flags with their defaults"), table(head, rest, "flags"))
    top = table(head, changed, "flags") if changed else tag("p", "All flags have their defaults.")
    return Html(top + shown_rest)


def machines(record: Record) -> Html:
    """On what it was trained."""
    entries = record.machines
    if not entries:
        return tag("p", "Not noted: the run began with a version that did not.")
    names = list(dict.fromkeys(name for each in entries for name in each if name != "from_step"))
    head = ["", *(f"from step {each['from_step']:,}" for each in entries)]
    return table(
        head, [(_label(name), *(_fact(name, each.get(name)) for each in entries)) for name in names], "machine"
    )


def commands(record: Record) -> Html:
    """How the run is continued, evaluated and exported."""
    run_dir = shlex.quote(printed(str(record.run_dir)))  # where it is now
    bundle = shlex.quote(printed(f"bundles/{record.run_dir.resolve().name}"))
    given, derived = [], read_automatic(record.run_dir)
    for field in dataclasses.fields(record.config):
        value = getattr(record.config, field.name)
        if field.name == "run_dir":
            given.append(f"--run_dir={run_dir}")
        elif value != field.default and field.name not in derived:
            given.append(_flag(field.name, value))
    begin = "python -m pipeline " + " ".join(given)
    if str(record.values.dataset).startswith(_OBJECTS):
        begin = (
            "# its data were passed in Python: pass them to Experiment(data=...) there, and train with the same flags"
        )
    lines = (
        (f"Continue (a larger --steps trains on{_end_of_decay(record)})", begin),
        ("Evaluate", f"python -m pipeline.evaluate --run_dir={run_dir}"),
        ("Export", f"python -m export --run_dir={run_dir} --out={bundle}"),
    )
    return Html("".join(tag("h3", title) + tag("pre", tag("code", line)) for title, line in lines))


def _end_of_decay(record: Record) -> str:
    decay = record.values.lr_decay_images
    if not decay or record.values.learning_rate_end:
        return ""
    return f" until the learning rate is 0, at {decay:,} images"


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={shlex.quote(printed(str(value)))}"


def flag_text(value: Any) -> str:
    """Writes a flag's value as the command line does."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
    return f"{text[:_LONGEST]} …" if len(text) > _LONGEST else text


def _label(name: str) -> str:
    text = name.replace("_", " ")
    return {"cpu": "processor", "gpus": "GPUs", "replicas on": "devices"}.get(text, text)


def _fact(name: str, value: Any) -> str:
    size = number(value)
    if name == "memory" and size is not None:
        return f"{size / 2**30:.1f} GiB"
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    return "" if value is None else f"{size:g}" if size is not None else str(value)
