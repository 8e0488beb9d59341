"""A saved network is opened in a process of its own before it is opened here."""

import functools
import importlib
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import reason
from pipeline.base.names import printable
from pipeline.foreign.apart import ask
from pipeline.foreign.network import Opening


def try_out(path: Path, opening: Opening) -> None:
    """Has another process open a network, compute one picture and convert it, with limits on memory and time.

    Objects of a script or notebook can't go there: what is to be opened with those is opened in this process only.

    Args:
      path: a file or a folder.
      opening: how.

    Raises:
      MirageError: if that process can't, or doesn't survive it.
    """
    order = as_order(path, opening)
    if order is not None:
        ask("trial_worker", order, printable(str(path)))


def as_order(path: Path, opening: Opening) -> dict[str, Any] | None:
    """Describes what to open in words; None if it takes objects that no import path leads to."""
    objects = {name: import_path(each) for name, each in opening.custom_objects.items()}
    build = import_path(opening.build) if opening.build is not None else ""
    if None in objects.values() or build is None:
        return None
    return {
        "path": str(path),
        "trust": opening.trust,
        "signature": opening.signature,
        "objects": objects,
        "build": build,
    }


def from_order(order: dict[str, Any]) -> tuple[Path, Opening]:
    """Reads what `as_order` wrote; imports the objects.

    Raises:
      MirageError: if they can't be imported in this process.
    """
    try:
        objects = {name: _imported(each) for name, each in order["objects"].items()}
        build = _imported(order["build"]) if order["build"] else None
    except Exception as error:  # of their modules
        raise MirageError(f"what --custom_objects or --model name can't be imported: {reason(error)}.") from error
    return Path(order["path"]), Opening(order["trust"], objects, build, order["signature"])


def import_path(thing: Any) -> str | None:
    """By which an object is found in another process, such as `module:Name`; None if it isn't."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not module or not name or module == "__main__":
        return None
    address = f"{module}:{name}"
    try:
        return address if _imported(address) is thing else None
    except (ImportError, AttributeError):
        return None


def _imported(address: str) -> Any:
    module, _, name = address.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))
