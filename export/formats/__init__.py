"""What a generator can be exported as: one file for each format, and a line here.

Nothing in this package imports TensorFlow or onnx before a format is written.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from export.formats.base import Format, Generate, Reader, Sample, Work
from export.source import Source
from pipeline.base.errors import MirageError
from pipeline.base.objects import load_object

__all__ = [
    "DEFAULT",
    "FORMATS",
    "Format",
    "Generate",
    "Reader",
    "Sample",
    "Work",
    "check_source",
    "chosen",
    "help_text",
    "served",
    "waves",
]

# By name, in the order of their work: the import path of a format's class, or an object. Others may be added.
FORMATS: dict[str, Any] = {
    "saved_model": "export.formats.saved_model:SavedModel",
    "onnx": "export.formats.onnx_files:OnnxFiles",
    "int8": "export.formats.int8:Int8",
    "litert": "export.formats.litert:LiteRT",
    "web": "export.formats.web:Web",
    "triton": "export.formats.triton:Triton",
}
DEFAULT = ("saved_model", "onnx")

_WANTED = "an object with name, needs, help, write(folder, work) and readers(folder, info), see export.formats.Format"
_KINDS = {"name": str, "help": str, "needs": Sequence}
_FUNCTIONS = ("write", "readers")
# What a manifest says besides.
_RESERVED = {"format", "format_version", "producer", "created", "model", "files", "provenance"}
_RESERVED |= {"scores", "parity", "sampler_readers"}


def chosen(formats: Iterable[Any]) -> tuple[Format, ...]:
    """Finds formats, and checks that they can be exported together.

    Args:
      formats: names in `FORMATS`, import paths such as `my_package.my_formats:MyFormat`, or objects.

    Returns:
      Each once, in the order of `FORMATS`, and behind them all others as they were given.

    Raises:
      MirageError: for what is no format, or for one that needs another.
    """
    given = formats.split(",") if isinstance(formats, str) else list(formats)
    found: dict[str, Format] = {}
    for place, each in enumerate(given):
        if each in given[:place]:
            continue
        one = _found(each)
        if one.name in found:
            raise MirageError(f"--formats has two that are called {one.name}; leave one of them out.")
        found[one.name] = one
    if not found:
        raise MirageError(f"--formats= is empty; choose from {', '.join(FORMATS)}.")
    for one in found.values():
        for name in one.needs:
            if name not in found:
                raise MirageError(f"--formats with {one.name} needs {name} too; add it.")
    order = {name: place for place, name in enumerate(FORMATS)}
    result = tuple(sorted(found.values(), key=lambda one: order.get(one.name, len(order))))
    list(waves(result))
    return result


def waves(formats: Sequence[Format]) -> Iterable[list[Format]]:
    """Sorts formats into groups, each of which needs only what stands in groups before it.

    Args:
      formats: as `chosen` returns them.

    Yields:
      The groups, in the order of work.

    Raises:
      MirageError: if formats need each other.
    """
    left, done = list(formats), set[str]()
    while left:
        ready = [one for one in left if done.issuperset(one.needs)]
        if not ready:
            names = " and ".join(one.name for one in left)
            raise MirageError(f"--formats with {names} can't be: they need each other; leave them out.")
        yield ready
        done |= {one.name for one in ready}
        left = [one for one in left if one not in ready]


def check_source(formats: Sequence[Format], source: Source) -> None:
    """Refuses formats that a source can't be exported as.

    Args:
      formats: as `chosen` returns them.
      source: what is to be exported.

    Raises:
      MirageError: naming the format.
    """
    for each in formats:
        if each.traced and source.model is None:
            raise MirageError(
                f"--formats with {each.name} needs a generator that TensorFlow computes, and {source.name} is none; "
                "leave it out."
            )


def served() -> list[str]:
    """Names of the formats that the edge runs."""
    return [name for name in FORMATS if _found(name).served]


def help_text() -> str:
    """Says what there is, for the help of `--formats`."""
    clauses = []
    for name in FORMATS:
        one = _found(name)
        needs = f"; needs {' and '.join(one.needs)}" if one.needs else ""
        clauses.append(f"{name} ({one.help}{needs})")
    return f"what to export, separated by commas: {'; '.join(clauses)}; or the import path of a format of your own."


def _found(given: Any) -> Format:
    """Makes a format of what was given; the same one for the same name."""
    text = given if isinstance(given, str) else getattr(given, "__qualname__", type(given).__qualname__)
    if isinstance(given, str):
        if given not in FORMATS and ":" not in given:
            raise MirageError(
                f"--formats={given} is not known; choose from {', '.join(FORMATS)}, or give package.module:Name."
            )
        given = FORMATS.get(given, given)
        if isinstance(given, str):
            given = load_object(given, "formats")
    if isinstance(given, type):
        try:
            given = given()
        except TypeError as error:
            raise MirageError(f"--formats={text} can't be made without arguments ({error}); pass an object.") from None
    return _checked(given, text)


def _checked(thing: Any, text: str) -> Format:
    missing = [name for name, kind in _KINDS.items() if not isinstance(getattr(thing, name, None), kind)]
    missing += [name for name in _FUNCTIONS if not callable(getattr(thing, name, None))]
    if getattr(getattr(thing, "write", None), "__func__", None) is Format.write:
        missing.append("write")
    if missing:
        raise MirageError(f"--formats={text} is no format: it has no {' and no '.join(missing)}; expected {_WANTED}.")
    if isinstance(thing.needs, str) or not all(isinstance(name, str) for name in thing.needs):
        raise MirageError(f"--formats={text} has needs = {thing.needs!r}; expected a tuple of formats' names.")
    if not thing.name.isidentifier() or thing.name in _RESERVED:
        raise MirageError(f"--formats={text} has the name {thing.name!r}; expected an identifier that is not taken.")
    if text in FORMATS and thing.name != text:
        raise MirageError(f"--formats={text} has the name {thing.name!r}; enter it in export.formats.FORMATS by that.")
    return thing if isinstance(thing, Format) else _Others(thing)


class _Others(Format):
    """Somebody's object that has what a format must have, but is not derived from `Format`."""

    def __init__(self, thing: Any) -> None:
        self.name, self.help, self.needs = thing.name, thing.help, tuple(thing.needs)
        for name in ("title", "traced", "served", "write", "readers", "notes", "chapter"):
            if hasattr(thing, name):
                setattr(self, name, getattr(thing, name))
