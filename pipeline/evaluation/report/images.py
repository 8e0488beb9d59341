"""The sections of a page that show pictures."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.evaluation.report.figures import title_of
from pipeline.evaluation.report.record import Record, number
from pipeline.pages.markup import Html, escaped, table, tag
from pipeline.pages.numbers import count, shown
from pipeline.pages.pictures import cells, img, load, spread, strip
from pipeline.runs.layout import attribute_rows, grid_labels
from serving.contract.attributes import BINARY, Attribute

NEAREST_FILE = "nearest.png"
_FOLLOWED = 8  # latents that are shown over time
_BYTES = 2_000_000  # of all pictures of a kind


def over_time(record: Record, most: int = 12, followed: int = _FOLLOWED) -> Html:
    """Shows what a few latents became, column by column, at up to `most` points of time."""
    figures = []
    names = record.data.class_names if record.values.conditional else ()
    for step, path in spread(record.previews, most):
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            continue
        picture = _column(path, stamp, tuple(record.data.image_shape), len(names), followed, step)
        if picture is not None:
            caption = [tag("b", f"step {step:,}"), _beside(record, step)]
            figures.append(tag("figure", picture, tag("figcaption", caption)))
    if not figures:
        return Html("")
    return tag("div", figures, class_="film scroll", tabindex="0", role="region", aria_label="pictures over time")


@functools.lru_cache(maxsize=32)  # a page is written again and again, with one more picture each time
def _column(
    path: Path, stamp: int, image_shape: tuple[int, ...], num_classes: int, followed: int, step: int
) -> Html | None:
    picture = load(path)
    if picture is None:
        return None
    grid = cells(picture, image_shape)
    if grid is not None:
        wanted = grid[:, 0] if _a_row_a_class(num_classes, grid) else grid.reshape(-1, *grid.shape[2:])
        picture = strip(wanted[:followed], down=True)
    return img(picture, f"generated pictures at step {step:,}", _BYTES // 12)


def class_sheet(record: Record) -> Html:
    """Shows the newest preview, by the names of classes or attributes where there are any."""
    found = [(step, picture) for step, path in record.previews[-1:] if (picture := load(path)) is not None]
    if not found:
        return Html("")
    step, picture = found[0]
    grid = cells(picture, record.data.image_shape)
    names = record.data.class_names
    if grid is not None and record.values.conditional and _a_row_an_attribute(record.data.attributes, grid):
        return _attribute_rows(record.data.attributes, grid)
    if grid is None or not record.values.conditional or not names:
        images = picture if grid is None else np.concatenate([strip(row) for row in grid])
        return tag("figure", img(images, f"the preview at step {step:,}", _BYTES), class_="sheet")
    if _a_row_a_class(len(names), grid):
        rows = [
            (name, img(strip(row), f"generated pictures of the class {name}", _BYTES // len(names)))
            for name, row in zip(names, grid, strict=True)
        ]
        return tag("div", table(("class", "pictures of fixed latents, a latent a column"), rows), class_="classes")
    flat = grid.reshape(-1, *grid.shape[2:])[: len(names)]
    shown_ones = [
        tag("figure", img(image, f"a generated picture of the class {name}", 20_000), tag("figcaption", name))
        for name, image in zip(names[:200], flat, strict=False)
    ]
    rest = f"and {len(names) - 200:,} more classes" if len(names) > 200 else None
    return Html(tag("div", shown_ones, class_="many") + (tag("p", rest) if rest else ""))


def _attribute_rows(attributes: Sequence[Attribute], grid: np.ndarray) -> Html:
    """A row for each of the first of them, as `pipeline.runs.layout.attribute_rows` lays them out."""
    rows = []
    for each, row in zip(attributes, grid, strict=False):
        ends = "without, then with it" if each.kind == BINARY else f"{each.low:g} to {each.high:g}"
        picture = img(strip(row), f"generated pictures by {each.name}, {ends}", _BYTES // len(grid))
        rows.append((each.name, ends, picture))
    head = ("attribute", "from left to right", "pictures of fixed latents, all other attributes typical")
    return tag("div", table(head, rows), class_="classes")


def nearest(record: Record) -> Html:
    """Shows generated pictures and the training images nearest to them, if the run holds such a picture."""
    picture = load(record.run_dir / NEAREST_FILE)
    if picture is None:
        return Html("")
    alt = "generated pictures, each beside the training images nearest to it"
    return tag("figure", img(picture, alt, _BYTES), class_="sheet")


def _a_row_a_class(num_classes: int, grid: np.ndarray) -> bool:
    """Whether a preview's rows are classes, as `grid_labels` lays them out where there are few."""
    labels, columns = grid_labels(num_classes)
    return len(labels) == num_classes * columns and grid.shape[:2] == (num_classes, columns)


def _a_row_an_attribute(attributes: Sequence[Attribute], grid: np.ndarray) -> bool:
    """Whether a preview's rows are attributes, as `attribute_rows` lays them out."""
    if not attributes:
        return False
    labels, _, columns = attribute_rows(attributes)
    return grid.shape[:2] == (len(labels) // columns, columns)


def _beside(record: Record, step: int) -> Html:
    """What else is known of a step: images, and the distance then."""
    parts = []
    for line in record.evaluations:
        if line["step"] == step:
            images, value = number(line.get("images")), number(line.get("frechet_distance"))
            if images is not None:
                parts.append(f"{count(images)} images")
            if value is not None:
                parts.append(f"{title_of('frechet_distance', record.judge()['extractor'])} {shown(value)}")
    return escaped([tag("span", part) for part in parts])
