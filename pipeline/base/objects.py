"""What a flag chooses by name is an object: one of ours, or anybody's by its import path. Standard library only.

    --model=dcgan                                     a name in a registry
    --model=my_package.my_networks:MyNetworks         an import path; a class is called with
    --model_args=width=64,blocks=2                    these arguments

In Python the object itself may be passed; `described` says how it is written as flags.
"""

import ast
import dataclasses
import difflib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import reason

# By name: an import path, or what it would lead to.
Registry = Mapping[str, Any]
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def resolve(flag: str, text: str, registry: Registry, arguments: str = "") -> Any:
    """Finds and makes what a flag chooses.

    Args:
      flag: the flag's name, such as `model`; its arguments are those of `model_args`.
      text: the flag's value: a name in `registry`, or an import path.
      registry: what has a name.
      arguments: such as `width=64,blocks=2`.

    Returns:
      The object; of a class, an instance made with the arguments.

    Raises:
      MirageError: naming the flag and what it should be.
    """
    found = registry.get(text)
    if found is None:
        if ":" not in text:
            near = difflib.get_close_matches(text, registry, 1)
            meant = f"did you mean {near[0]}? Or" if near else f"choose from {', '.join(sorted(registry))}, or"
            raise MirageError(f"--{flag}={text} is not known; {meant} give package.module:Name.")
        found = text
    if isinstance(found, str):
        found = load_object(found, flag)
    given = parsed_arguments(arguments, f"{flag}_args")
    if not isinstance(found, type):
        if given:
            raise MirageError(
                f"--{flag}_args={arguments} does not go with --{flag}={text}, which is no class; leave it out."
            )
        return found
    return _made(found, given, f"--{flag}_args={arguments}" if arguments else f"--{flag}={text}")


def load_object(text: str, flag: str) -> Any:
    """Imports an object.

    Args:
      text: `package.module:Name`; the module may lie in the working directory.
      flag: the flag's name, for errors.

    Raises:
      MirageError: if there is no such object, or its module fails.
    """
    name, colon, attributes = text.partition(":")
    if colon and (name == "__main__" or "<locals>" in attributes) and _is_missing(name, attributes):
        raise MirageError(
            f"--{flag}={text} was passed in Python, by a script, notebook or function; pass it there again, or put it "
            "into a module."
        )
    if not (colon and all(part.isidentifier() for part in [*name.split("."), *attributes.split(".")])):
        raise MirageError(f"--{flag}={text} is no import path; expected package.module:Name.")
    found: Any = _module(name, f"--{flag}={text}")
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            near = difflib.get_close_matches(attribute, dir(found), 1)
            meant = f"; did you mean {near[0]}?" if near else "; name a class or object that is there."
            raise MirageError(f"--{flag}={text}: {name} has no {attribute}{meant}")
        found = getattr(found, attribute)
    return found


def _is_missing(name: str, attributes: str) -> bool:
    found: Any = sys.modules.get(name)
    for attribute in attributes.split("."):
        found = getattr(found, attribute, None)
    return found is None


def _module(name: str, given: str) -> ModuleType:
    # As `python -m` has it; console scripts look beside themselves instead.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise MirageError(
                f"{given}: there is no module {error.name}; expected package.module:Name, from the working directory "
                "or installed."
            ) from None
        raise MirageError(f"{given}: {name} needs {error.name}, which is not installed; install it.") from error
    except Exception as error:
        raise MirageError(f"{given} can't be imported: {reason(error)}; mend it.") from error


def parsed_arguments(text: str, flag: str) -> dict[str, Any]:
    """Reads `width=64,blocks=2`: numbers, true or false, words, quoted text, and tuples of them.

    Raises:
      MirageError: if it is something else.
    """
    if not text:
        return {}
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError
        names = [keyword.arg for keyword in call.keywords]
        if None in names or len(set(names)) < len(names):
            raise ValueError
        return {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise MirageError(f"--{flag}={text} can't be understood; expected name=value,name=value.") from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):  # a word without quotes
        return {"true": True, "false": False, "none": None}.get(node.id.lower(), node.id)
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(element) for element in node.elts)
    return ast.literal_eval(node)


def _made(kind: type, given: dict[str, Any], flag: str) -> Any:
    try:
        inspect.signature(kind).bind(**given)
    except TypeError as error:
        known = [str(each) for each in inspect.signature(kind).parameters.values()]
        takes = f"takes {', '.join(known)}" if known else "takes no arguments"
        raise MirageError(f"{flag}: {error}; {kind.__name__} {takes}.") from None
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise MirageError(f"{flag}: {kind.__name__} can't be made with that ({error}).") from error


def described(thing: Any, registry: Registry) -> tuple[str, str]:
    """Says how an object is written as flags, so that a run directory can name it.

    Args:
      thing: an object; its arguments are known if it is a dataclass, has a `get_config` as Keras's objects have, or
        keeps them under their own names.
      registry: what has a name.

    Returns:
      (name or import path, arguments), such as ("my_package.my_networks:MyNetworks", "width=64"). What lies in a
      script or notebook has `__main__` for its module.
    """
    itself = isinstance(thing, type | ModuleType) or hasattr(thing, "__qualname__")
    kind = thing if itself else type(thing)
    module, name = getattr(kind, "__module__", None), getattr(kind, "__qualname__", None)
    path = kind.__name__ if isinstance(kind, ModuleType) else f"{module}:{name}"
    known = next((name for name, registered in registry.items() if registered in (kind, path)), path)
    if itself:
        return known, ""
    if dataclasses.is_dataclass(thing):
        values = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing) if field.init}
    elif callable(getattr(thing, "get_config", None)):
        values = thing.get_config()
    else:
        attributes = getattr(thing, "__dict__", {})
        values = {name: attributes[name] for name in _parameters(kind) if name in attributes}
    # Where an object lies in memory is another in each process.
    return known, ",".join(f"{name}={_ADDRESS.sub('', repr(value))}" for name, value in values.items())


def _parameters(kind: Any) -> list[str]:
    try:
        return [*inspect.signature(kind).parameters]
    except (TypeError, ValueError):  # of something that is no Python
        return []


def offered(function: Callable[..., Any], *given: Any, **extra: Any) -> Any:
    """Calls somebody's function with what it takes.

    Args:
      function: takes `given`, and any of `extra` by name.
      *given: what every such function is called with.
      **extra: what a function may ask for besides, by the names of its parameters.

    Returns:
      What it returns.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return function(*given, **extra)
    positional = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    asked = {each.name for each in parameters if each.kind is not each.POSITIONAL_ONLY} - {*positional[: len(given)]}
    return function(*given, **{name: value for name, value in extra.items() if name in asked})
