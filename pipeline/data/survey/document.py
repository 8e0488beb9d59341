"""`data.json`: the same for programs, complete where the page shows a part."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.base.names import printable
from pipeline.data.survey.attributes import distributions
from pipeline.data.survey.finding import Finding
from pipeline.data.survey.finding_pairs import copies, leaked, near_copies
from pipeline.data.survey.survey import Survey

DOCUMENT_FILE = "data.json"
_FORMAT = 1
_MOST = 10_000  # entries of a list
_PERCENTS = (0, 1, 10, 50, 90, 99, 100)


def document_of(survey: Survey, found: Sequence[Finding]) -> dict[str, Any]:
    """Returns all that a survey found, as JSON types."""
    rows = survey.rows[survey.good]
    alike = survey.alike
    equal, near = leaked(survey)
    sizes, times = np.unique(np.stack([rows["width"], rows["height"]], 1), axis=0, return_counts=True)
    order = np.argsort(-times, kind="stable")[:_MOST]

    def pairs(numbers: Any, of: Any) -> list[list[str]]:
        return [[survey.name(int(of[row])), survey.name(int(row))] for row in numbers[:_MOST]]

    return {
        "format": _FORMAT,
        "dataset": printable(survey.options.dataset),
        "split": survey.options.split,
        "image_size": survey.options.image_size,
        "pictures": survey.total,
        "looked_at": survey.looked_at,
        "compared_with": {"name": survey.other, "pictures": int(survey.apart.sum())} if survey.other else None,
        "mode": survey.mode,
        "classes": dict(zip(survey.class_names, survey.per_class.tolist(), strict=True)),
        "attributes": distributions(survey),
        "bytes": int(rows["bytes"].sum()),
        "sizes": {f"{sizes[each][0]}x{sizes[each][1]}": int(times[each]) for each in order},
        "formats": {name: number for name, number in survey.ruler.formats.counts(rows["format"]).items() if name},
        "modes": survey.ruler.modes.counts(rows["mode"]),
        "percentiles": _percentiles(rows),
        "findings": [
            {
                "name": each.name,
                "level": each.level,
                "count": each.count,
                "says": each.says,
                "do": each.do,
                "examples": [[survey.name(row) for row in example.rows] for example in each.examples],
            }
            for each in found
        ],
        "unreadable": {survey.name(row): why for row, why in sorted(survey.bad.items())},
        "ignored": {**survey.ignored},
        "folders_without_pictures": sorted(map(printable, survey.empty)),
        "copies": pairs(copies(survey), alike.original),
        "alike": pairs(near_copies(survey), alike.like),
        "in_both_splits": [*pairs(equal, alike.original), *pairs(near, alike.across)],
    }


def _percentiles(rows: Any) -> dict[str, dict[str, float]]:
    if not len(rows):
        return {}
    columns = {
        "width": rows["width"],
        "height": rows["height"],
        "width_by_height": rows["width"] / rows["height"],
        "bytes": rows["bytes"],
        "brightness": rows["mean"],
        "contrast": rows["deviation"],
    }
    return {
        name: {str(percent): round(float(np.percentile(column, percent)), 4) for percent in _PERCENTS}
        for name, column in columns.items()
    }
