"""The ladder's results: a Markdown table, the picture, and their places in the documents."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import place
from pipeline.metrics import distance_title

TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "cats": "cats", "flowers": "flowers", "fewcats": "600 cats"}
# The share of the cores that others may take; with more of it, a time means little.
DISTURBED = 0.05
_DISTANCE = "frechet_distance"
_FIGURES = ("frechet_floor", "precision", "recall", "density", "coverage")

Records = Sequence[Mapping[str, Any]]


def current(
    records: Iterable[Mapping[str, Any]], is_wanted: Callable[[Mapping[str, Any]], bool] = lambda record: False
) -> list[dict[str, Any]]:
    """Leaves out what has been measured anew, and seeds of a preset that has changed since.

    Args:
      records: in the order in which they were measured.
      is_wanted: whether one is of the presets as they are now, and judged as is asked for.

    Returns:
      One of each rung, device and seed; of each rung and device, those that are wanted, and where there are none, those
      of the version that was measured last.
    """
    records = sorted(records, key=is_wanted)  # otherwise in their order
    newest: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    kept: dict[tuple[str, str, int], dict[str, Any]] = {}
    for record in records:
        place, judged = (record["rung"], _device(record)), record["judged"]
        if place in newest and newest[place] != (record["version"], judged):
            kept = {key: each for key, each in kept.items() if key[:2] != place}
        newest[place] = record["version"], judged
        kept[*place, record["seed"]] = dict(record)
    return sorted(kept.values(), key=_order)


def _device(record: Mapping[str, Any]) -> str:
    facts = record["machine"]
    return facts["gpu"] or f"{facts['cores']} cores of {facts['cpu']}"


def _order(record: Mapping[str, Any]) -> tuple[Any, ...]:
    known = list(TITLES)
    data = record["data"]
    place = known.index(data) if data in known else len(known)
    gpu, networks = bool(record["machine"]["gpu"]), record.get("networks", "")
    return place, data, record["size"], gpu, record["minutes"], networks, record["seed"]


def groups(records: Records, *names: str) -> list[list[Mapping[str, Any]]]:
    """Groups records by what they have in common under these names and by device, in their order."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        found.setdefault((*(record[name] for name in names), _device(record)), []).append(record)
    return list(found.values())


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _cell(rows: Records, name: str) -> str:
    """Formats a figure: of several seeds the median and the range, of one its interval."""
    values = [row["scores"][name] for row in rows if row["scores"].get(name) is not None]
    if not values:
        return ""
    low, high = min(values), max(values)
    if len(values) == 1:
        low, high = rows[0]["scores"].get(f"{name}_interval", (values[0], values[0]))
    middle = _number(statistics.median(values))
    return middle if low == high else f"{middle} ({_number(low)} to {_number(high)})"


def table(records: Records) -> str:
    """Writes the table.

    Args:
      records: of `current`.

    Returns:
      Markdown: the machines, a line for each rung, and how to read them.
    """
    if not records:
        return "Not measured yet.\n"
    lines = [*_machines(records), ""]
    names = [name for name in _FIGURES if any(name in record["scores"] for record in records)]
    compared = any(record.get("networks") for record in records)
    head = ["pictures", *(["networks"] if compared else []), "minutes", "on", "distance"]
    head += [name.removeprefix("frechet_") for name in names] + ["seeds", "steps", "images/s", "seconds"]
    lines += [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for rows in groups(records, "rung"):
        first = rows[0]
        what = f"{TITLES.get(first['data'], first['data'])}, {first['size']} px"
        seconds = " ".join(f"{row['seconds']:,.0f}{_marks(row)}" for row in rows)
        device = first["machine"]["gpu"] or f"{first['machine']['cores']} cores"
        cells = [
            what,
            *([first.get("networks", "")] if compared else []),
            str(first["minutes"]),
            device,
            f"{distance_title(first['scores']['extractor'])} {_cell(rows, _DISTANCE)}",
        ]
        cells += [_cell(rows, name) for name in names]
        rate = statistics.median(row["images_per_s"] for row in rows)
        cells += [str(len(rows)), f"{first['steps']:,}", f"{rate:,.0f}", seconds]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_notes(records)]) + "\n"


def _machines(records: Records) -> list[str]:
    found = {}
    for record in records:
        facts = record["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        device = f"{facts['gpu']}, " if facts["gpu"] else ""
        found[f"{device}{facts['cores']} cores of {facts['cpu']}; {versions}; {facts['date']}, {facts['commit']}."] = 0
    return list(found)


def _marks(record: Mapping[str, Any]) -> str:
    disturbed = record["others"] > DISTURBED * record["machine"]["cores"]
    return ("*" if disturbed else "") + ("+" if record["resumed"] else "")


def _notes(records: Records) -> list[str]:
    notes = ["Of several seeds: the median, and in brackets the least and the most; of one: its 95 % interval."]
    data: dict[str, None] = {}
    for record in records:
        reference = record["judged"].get("reference") or f"the {record['scores']['reference']} images"
        judged = f"judged by {record['judged']['num_samples']:,} samples beside {reference}"
        data[f"{TITLES.get(record['data'], record['data'])} from {record['dataset']}, {judged}"] = None
    notes.append(f"Data: {'; '.join(data)}.")
    if any("*" in _marks(record) for record in records):
        notes.append(
            f"\\*: others took more than {DISTURBED:.0%} of the cores meanwhile, so that the time means little."
        )
    if any("+" in _marks(record) for record in records):
        notes.append("+: interrupted and continued.")
    return notes


def best(rows: Records) -> Mapping[str, Any]:
    """Returns the record with the smallest distance."""
    return min(rows, key=lambda row: row["scores"].get(_DISTANCE, float("inf")))


def draw(records: Records, folder: Path, path: Path) -> None:
    """Draws the sheet of each rung's best seed, a row for each data set, and distance over time where that varies.

    Args:
      records: of `current`, at least one.
      folder: where the records' sheets are.
      path: file to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    places = _places(records)
    rows = [groups(measured, "rung") for measured in places]
    curves = [len({record["minutes"] for record in measured}) > 1 for measured in places]
    columns = max(map(len, rows)) + any(curves)
    figure, panels = pyplot.subplots(len(rows), columns, figsize=(2.6 * columns, 2.75 * len(rows)), squeeze=False)
    for line, rungs, measured, curve in zip(panels, rows, places, curves, strict=True):
        for panel in line:
            panel.axis("off")
        for panel, seeds in zip(line, rungs, strict=False):
            _draw_sheet(panel, best(seeds), folder)
        if curve:
            line[-1].axis("on")
            _draw_curve(line[-1], measured)
    figure.tight_layout(pad=0.6)
    partial = path.with_name(f"{path.name}.partial.png")
    figure.savefig(partial, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
    partial.replace(path)


def _places(records: Records) -> list[Records]:
    found: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for record in records:
        found.setdefault((record["data"], record["size"]), []).append(record)
    return list(found.values())


def _draw_sheet(panel: Any, record: Mapping[str, Any], folder: Path) -> None:
    import numpy as np
    from PIL import Image

    with Image.open(folder / record["sheet"]) as sheet:
        panel.imshow(np.asarray(sheet.convert("RGB")), interpolation="antialiased")
    on = "GPU" if record["machine"]["gpu"] else "CPU"
    distance = record["scores"].get(_DISTANCE)
    told = "" if distance is None else f": {_number(distance)}"
    what = f"{TITLES.get(record['data'], record['data'])} {record['size']} px"
    networks = f", {record['networks']}" if record.get("networks") else ""
    panel.set_title(f"{what}{networks}, {record['minutes']} min, {on}{told}", fontsize=8)


def _draw_curve(panel: Any, records: Records) -> None:
    measured = [record for record in records if record["scores"].get(_DISTANCE) is not None]
    names = sorted({distance_title(record["scores"]["extractor"]) for record in measured})
    for name in names:
        of_name = [record for record in measured if distance_title(record["scores"]["extractor"]) == name]
        for rows in groups(of_name):
            by_minutes: dict[int, list[Mapping[str, Any]]] = {}
            for row in rows:
                by_minutes.setdefault(row["minutes"], []).append(row)
            minutes = [statistics.median(row["seconds"] / 60 for row in each) for each in by_minutes.values()]
            middle = [statistics.median(row["scores"][_DISTANCE] for row in each) for each in by_minutes.values()]
            on = "GPU" if rows[0]["machine"]["gpu"] else "CPU"
            (drawn,) = panel.plot(minutes, middle, marker="o", markersize=3, label=f"{name}, {on}")
            every = [(row["seconds"] / 60, row["scores"][_DISTANCE]) for row in rows]
            panel.plot(*zip(*every, strict=True), ".", markersize=3, alpha=0.5, color=drawn.get_color())
    panel.set_xscale("log")
    panel.set_yscale("log")
    budgets = sorted({record["minutes"] for record in records})
    panel.set_xticks(budgets, [str(minutes) for minutes in budgets])
    panel.set_xticks([], minor=True)
    shown = [*budgets, *(record["seconds"] / 60 for record in records)]
    panel.set_xlim(0.7 * min(shown), 1.4 * max(shown))
    panel.set_xlabel("minutes", fontsize=7)
    panel.tick_params(labelsize=6, which="both")
    panel.grid(alpha=0.3, which="both")
    if measured:
        panel.legend(fontsize=6)


def marks(name: str) -> tuple[str, str]:
    """Returns what stands before and behind the place of a ladder in a document."""
    return f"<!-- {name}: written by benchmarks/ladder.py -->", f"<!-- end of {name} -->"


def publish(text: str, document: Path, name: str) -> None:
    """Writes the table into its place in a document.

    Args:
      text: the table.
      document: a Markdown file with the two marks around that place.
      name: what its marks call it.

    Raises:
      MirageError: if it has no such place.
    """
    place(text, document, *marks(name))
