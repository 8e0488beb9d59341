"""Writes what a survey found, and tells it in a line each."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file
from pipeline.base.folders import cache_folder, local_folder
from pipeline.data.options import DataOptions
from pipeline.data.survey.document import DOCUMENT_FILE, document_of
from pipeline.data.survey.finding import LEVELS, STOPS, Finding, in_numbers
from pipeline.data.survey.findings import find
from pipeline.data.survey.page import PAGE_FILE, page_of
from pipeline.data.survey.survey import Survey, survey

_GLANCE = 5000  # pictures of a split
_KEY = ("dataset", "dataset_args", "split", "image_size", "class_depth", "labels")  # of what is looked at


def look(options: DataOptions) -> list[str]:
    """Looks through all of a data set, and prints what it finds.

    Returns:
      What stands in the way of a training, a sentence each.

    Raises:
      MirageError: if there are no such data.
    """
    seen = survey(options)
    found = find(seen)
    print(told(seen, found), flush=True)
    return [each.line() for each in found if each.level == STOPS]


def glance(options: DataOptions) -> None:
    """Looks at some thousand pictures of a data set, prints what it finds, and writes a report below `data_dir`.

    Raises:
      MirageError: if there are no such data.
    """
    seen = survey(options, most=_GLANCE)
    found = find(seen)
    print(told(seen, found), flush=True)
    key = hashlib.sha256(repr([getattr(options, name) for name in _KEY]).encode()).hexdigest()[:12]
    try:
        page = write_report(seen, found, str(cache_folder(options.data_dir) / "looks" / key))
    except MirageError as error:
        print(f"warning: {error}", file=sys.stderr, flush=True)
    else:
        print(f"Report: {page}")


def check_place(folder: str) -> Path:
    """Makes the folder of a report, unless it is there; raises MirageError if that can't be."""
    place = local_folder(f"--report={folder}", folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(folder, error) from None
    return place


def write_report(survey: Survey, found: Sequence[Finding], folder: str) -> Path:
    """Writes `data.html` and `data.json`, each complete or not at all.

    Args:
      survey: what was seen.
      found: what is told of it.
      folder: where to; it is made where it is missing.

    Returns:
      The page.

    Raises:
      MirageError: if they can't be written.
    """
    place = check_place(folder)
    document = json.dumps(document_of(survey, found), indent=1, ensure_ascii=False) + "\n"
    page = page_of(survey, found)
    try:
        write_file(place / DOCUMENT_FILE, document.encode("utf-8", "backslashreplace"))
        write_file(place / PAGE_FILE, page.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise _refusal(folder, error) from None
    return place / PAGE_FILE


def _refusal(folder: str, error: OSError) -> MirageError:
    return MirageError(
        f"--report={folder} can't be written ({error.strerror or error}); give a folder where you may write."
    )


def told(survey: Survey, found: Sequence[Finding]) -> str:
    """A line for each finding, below one that says what was looked at."""
    how = "drawn at random" if survey.at_random else "the first"
    part = "" if survey.looked_at == survey.total else f" of {survey.total:,}, {how}"
    number = in_numbers(len(found), "finding") if found else "nothing amiss"
    head = f"Data: {survey.looked_at:,} pictures{part}, {number}"
    return "\n".join([f"{head}{':' if found else '.'}", *(f"  {LEVELS[each.level]}: {each.line()}" for each in found)])
