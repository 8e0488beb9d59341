"""What is told of attributes: how they are distributed, which are rare, and which can't be told apart."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.survey.finding import NOTES, WARNS, Finding, in_numbers
from pipeline.data.survey.survey import Survey
from pipeline.pages.markup import Html, table, tag
from pipeline.pages.pictures import img, strip
from serving.contract.attributes import BINARY, Attribute

_RARE = 0.01  # a share of pictures
_TOGETHER = 0.999  # correlation, either way, of what can't be told apart
_NAMED = 5
_SIDE = 96  # of a picture


def values_of(survey: Survey) -> NDArray[np.float64]:
    """[N, A], of all pictures that are trained on where that is known; [0, 0] without attributes."""
    if not survey.attributes:
        return np.zeros((0, 0))
    labels = survey.sides[0].labels if survey.with_files else survey.labels[~survey.apart]
    return labels.astype(np.float64)


def distributions(survey: Survey) -> list[dict[str, Any]]:
    """Of each attribute its name and kind, and the least, mean and greatest value; the mean of 0 and 1 is a share."""
    values = values_of(survey)
    return [
        {
            "name": each.name,
            "kind": each.kind,
            "least": float(column.min()),
            "mean": float(column.mean()),
            "greatest": float(column.max()),
        }
        for each, column in zip(survey.attributes, values.T, strict=True)
    ]


def distribution_table(survey: Survey) -> Html:
    """The same for people; empty without attributes."""
    rows = []
    for each in distributions(survey):
        if each["kind"] == BINARY:
            rows.append((each["name"], "yes or no", f"yes in {each['mean']:.1%}", "", ""))
        else:
            ends = f"{each['least']:g}", f"{each['greatest']:g}"
            rows.append((each["name"], "number", f"{each['mean']:.4g} on average", *ends))
    return table(("attribute", "kind", "pictures", "least", "greatest"), rows) if rows else Html("")


def pictures_by_attribute(
    survey: Survey, chosen: Sequence[Sequence[int]], seen: Mapping[int, NDArray[np.uint8]]
) -> Html:
    """Shows rows that were chosen of each attribute; empty without any."""
    rows = []
    for each, numbers in zip(survey.attributes, chosen, strict=False):
        pictures = [seen[row] for row in numbers if row in seen]
        if pictures:
            ends = "without, then with it" if each.kind == BINARY else f"{each.low:g} to {each.high:g}"
            rows.append((each.name, ends, img(strip(pictures, side=_SIDE), f"pictures by {each.name}, {ends}", 40_000)))
    head = ("attribute", "from left to right", "pictures as the networks will see them")
    return tag("div", table(head, rows), class_="classes") if rows else Html("")


def rare(survey: Survey) -> Finding | None:
    """Attributes that hardly any picture has, or lacks."""
    told, count = [], len(values_of(survey))
    for each in distributions(survey):
        few = min(each["mean"], 1 - each["mean"])
        if each["kind"] == BINARY and few <= _RARE:
            with_it = "with" if each["mean"] <= _RARE else "without"
            told.append(f"{in_numbers(round(few * count), 'picture')} {with_it} {each['name']}")
    if not told:
        return None
    says = f"Of {count:,} pictures there {'is' if told[0].startswith('1 ') else 'are'} only {_listed(told)}."
    do = "Hardly more than these very pictures could be learnt of it: add pictures, or leave the attribute out."
    return Finding("rare_attributes", WARNS, len(told), says, do)


def rare_combinations(survey: Survey) -> Finding | None:
    """Two attributes that are not rare themselves, but in combination."""
    told = []
    for one, other, counts in _pairs(survey):
        total = counts.sum()
        alone = min(counts.sum(axis=0).min(), counts.sum(axis=1).min()) / total
        same = np.trace(counts) / total
        if alone <= _RARE or _excluding(one, other) or not 1 - _TOGETHER < same < _TOGETHER:
            continue  # which is told already, or means nothing
        for has_one, has_other in np.argwhere(counts <= _RARE * total).tolist():
            names = f"{'' if has_one else 'no '}{one.name} with {'' if has_other else 'no '}{other.name}"
            told.append((int(counts[has_one, has_other]), names))
    if not told:
        return None
    told.sort()
    listed = _listed([f"{names} ({number:,})" for number, names in told])
    what = in_numbers(len(told), "combination of two attributes is", "combinations of two attributes are")
    says = f"{what} in at most {_RARE:.0%} of pictures: {listed}."
    do = "What is never seen together can be asked for, but what comes of it is a guess: add pictures of it."
    return Finding("rare_combinations", NOTES, len(told), says, do)


def together(survey: Survey) -> Finding | None:
    """Attributes of which one says the other."""
    values = values_of(survey)
    varying = [place for place, column in enumerate(values.T) if column.min() < column.max()]
    if len(varying) < 2:
        return None
    related = np.atleast_2d(np.corrcoef(values[:, varying].T))
    told = [
        f"{survey.attributes[varying[a]].name} and {survey.attributes[varying[b]].name}"
        f"{' (opposites)' if related[a, b] < 0 else ''}"
        for a, b in itertools.combinations(range(len(varying)), 2)
        if abs(related[a, b]) >= _TOGETHER
    ]
    if not told:
        return None
    says = f"{in_numbers(len(told), 'pair of attributes always goes', 'pairs of attributes always go')} together: "
    do = "Neither can be steered without the other: leave one of them out."
    return Finding("together", WARNS, len(told), f"{says}{_listed(told)}.", do)


def _pairs(survey: Survey) -> Iterator[tuple[Attribute, Attribute, NDArray[np.int64]]]:
    """Two attributes of 0 or 1, and how many pictures have neither, the second, the first or both: [2, 2]."""
    places = [place for place, each in enumerate(survey.attributes) if each.kind == BINARY]
    has = values_of(survey)[:, places]
    both = np.rint(has.T @ has).astype(np.int64)
    for a, b in itertools.combinations(range(len(places)), 2):
        one, other, common = both[a, a], both[b, b], both[a, b]
        counts = np.array([[len(has) - one - other + common, other - common], [one - common, common]])
        yield survey.attributes[places[a]], survey.attributes[places[b]], counts


def _excluding(one: Attribute, other: Attribute) -> bool:
    """Whether two are values of one column, of which a picture has one."""
    column = one.name.rpartition("=")[0]
    return bool(column) and column == other.name.rpartition("=")[0]


def _listed(told: Sequence[str]) -> str:
    rest = f" and {len(told) - _NAMED:,} more" if len(told) > _NAMED else ""
    return ", ".join(told[:_NAMED]) + rest
