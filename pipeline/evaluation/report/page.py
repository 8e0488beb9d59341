"""A page: everything in one file, which asks nobody for anything."""

from pathlib import Path

from pipeline.base.files import write_file
from pipeline.base.parameters import Parameters
from pipeline.data.spec import DataSpec
from pipeline.evaluation.report import curves, images, texts
from pipeline.evaluation.report.figures import title_of
from pipeline.evaluation.report.record import Record, read
from pipeline.pages.frame import Section, framed, warnings
from pipeline.pages.markup import Content, Html

REPORT_FILE = "report.html"


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
    top = Html(warnings(record.warnings()) + texts.tiles(record))
    return framed(record.name, [trained_on(record), f"; {progress}"], top, sections)


def trained_on(record: Record) -> str:
    """Says what was trained on what."""
    config, data = record.values, record.data
    height, width, channels = data.image_shape
    kind = {1: "grey", 3: "colour", 4: "transparent"}.get(channels, f"{channels}-channel")
    conditional = ", conditional" if config.conditional else ""
    return (
        f"{config.pair} with {config.objective}{conditional}, on {data.name}: {data.num_examples:,} {kind} images of "
        f"{width}x{height} pixels{data.told_labels}"
    )


def _sheet_title(record: Record) -> str:
    if not record.values.conditional:
        return "Newest pictures"
    return "Attributes" if record.data.attributes else "Classes"


def _quality_hint(record: Record) -> Content:
    title = ""
    if "frechet_distance" in record.newest:
        title = f"{title_of('frechet_distance', record.judge()['extractor'])}{texts.against(record)}. "
    others = f" {len(record.others)} evaluations by another judge are left out." if record.others else ""
    return f"{title}A ring marks the best; seconds are those of training alone.{others}"


_FIGURES = (
    "Figures say something beside those of the same extractor, reference and number of samples only. "
    "An interval says how far chance in the samples may have moved a figure, not what another training would give."
)
_NEAREST = (
    "On the left generated pictures, beside each the training images most like it, pixel by pixel, nearest first; a "
    "generator that memorises repeats them."
)
