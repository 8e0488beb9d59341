"""A page: everything in one file, which asks nobody for anything."""

import datetime
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from pipeline.base.files import write_file
from pipeline.base.parameters import Parameters
from pipeline.data.spec import DataSpec
from pipeline.evaluation.report import curves, images, texts
from pipeline.evaluation.report.figures import title_of
from pipeline.evaluation.report.markup import Content, Html, escaped, tag
from pipeline.evaluation.report.record import Record, read

REPORT_FILE = "report.html"
# The page itself shall keep to that: no request leaves it, whatever stands in a record.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

Section = tuple[str, str, Content, Html]  # name, heading, what is said of it, content


def write_report(run_dir: Path, *, config: Parameters | None = None, data: DataSpec | None = None) -> Path:
    """Writes a run's page into its folder.

    Args:
      run_dir: the run directory.
      config: the configuration, where it is at hand.
      data: what it is trained on, where that is at hand.

    Returns:
      The file.

    Raises:
      MirageError: if there is no run.
      OSError: if it can't be written.
    """
    path = run_dir / REPORT_FILE
    write_file(path, page_of_run(read(run_dir, config=config, data=data)).encode())
    return path


def page_of_run(record: Record) -> str:
    """Lays out a run's page."""
    sections: list[Section] = [
        ("figures", "Figures", _FIGURES, texts.figures_table(record)),
        ("quality", "Quality over images and time", _quality_hint(record), curves.quality([record])),
        ("pictures", "Pictures over time", "The same latents at each point of time.", images.over_time(record)),
        ("classes", _sheet_title(record), None, images.class_sheet(record)),
        ("nearest", "Nearest training images", _NEAREST, images.nearest(record)),
        ("training", "Training", None, curves.training([record])),
        ("flags", "Configuration", "What differs from the defaults comes first.", texts.flags(record)),
        ("machine", "Machine", None, texts.machines(record)),
        ("commands", "Commands", None, texts.commands(record)),
    ]
    steps = record.values.steps
    progress = f"step {record.step:,} of {steps:,}"
    top = Html(texts.warnings(record.warnings()) + texts.tiles(record))
    return framed(record.name, [trained_on(record), f"; {progress}"], top, sections)


def framed(title: str, lead: Content, top: Html, sections: Sequence[Section]) -> str:
    """Puts sections, those that have something to show, into a whole page."""
    there = [each for each in sections if each[3]]
    links = [tag("a", heading, href=f"#{name}") for name, heading, _, _ in there]
    body = [
        tag(
            "section",
            tag("h2", heading, id=f"{name}-title"),
            tag("p", hint, class_="hint") if hint else None,
            content,
            id=name,
            aria_labelledby=f"{name}-title",
        )
        for name, heading, hint, content in there
    ]
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    web = resources.files("pipeline.evaluation.report") / "web"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", f"{title} · Mirage"),
        tag("style", Html((web / "page.css").read_text(encoding="utf-8"))),
    ]
    heading = tag(
        "header", tag("h1", title), tag("p", lead, class_="lead"), tag("nav", links, aria_label="sections"), top
    )
    foot = tag("footer", f"Written by Mirage, {now}.")
    script = tag("script", Html((web / "page.js").read_text(encoding="utf-8")))
    content = escaped([tag("head", head), tag("body", heading, tag("main", body), foot, script)])
    return f'<!doctype html>\n<html lang="en">{content}</html>\n'


def trained_on(record: Record) -> str:
    """Says what was trained on what."""
    config, data = record.values, record.data
    height, width, channels = data.image_shape
    kind = {1: "grey", 3: "colour", 4: "transparent"}.get(channels, f"{channels}-channel")
    classes = f", {len(data.class_names):,} classes" if data.class_names else ""
    conditional = ", conditional" if config.conditional else ""
    return (
        f"{config.model} with {config.objective}{conditional}, on {data.name}: {data.num_examples:,} {kind} images of "
        f"{width}x{height} pixels{classes}"
    )


def _sheet_title(record: Record) -> str:
    return "Classes" if record.values.conditional else "Newest pictures"


def _quality_hint(record: Record) -> Content:
    title = ""
    if "frechet_distance" in record.newest:
        title = f"{title_of('frechet_distance', record.judge()['extractor'])}{texts.against(record)}. "
    others = f" {len(record.others)} evaluations by another judge are left out." if record.others else ""
    return f"{title}A ring marks the best; seconds are those of training alone.{others}"


_FIGURES = (
    "Figures say something beside those of the same extractor, reference and number of samples only. "
    "An interval says what other samples would give, not what another training would."
)
_NEAREST = (
    "On the left generated pictures, beside each the training images most like it, pixel by pixel, nearest first; a "
    "generator that memorises repeats them."
)
