"""What a saved network would run of its own: found before anything of it is opened. Needs only the standard library."""

import builtins
import json
import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import MirageError

if TYPE_CHECKING:
    from pipeline.foreign.network import Opening

# Functions of TensorFlow that a layer of Keras 2 may name: those that compute, none that reads, writes or calls.
_NAMESPACES = """math nn linalg image signal random __operators__ keras.activations keras.backend compat.v1.nn
compat.v1.math compat.v1.image"""
_FUNCTIONS = """add argmax broadcast_to cast clip_by_value concat convert_to_tensor exp expand_dims fill gather identity
multiply norm one_hot ones ones_like pad range reduce_mean reduce_sum repeat reshape shape sigmoid slice split sqrt
square squeeze stack strided_slice subtract tanh tile transpose unstack where zeros zeros_like compat.v1.shape
compat.v1.gather compat.v1.transpose compat.v1.concat"""
_MODULES = {"keras", "tf_keras", "builtins"}
# Where Keras's functions that only compute stand.
_COMPUTING = {"activations", "constraints", "initializers", "losses", "metrics", "nn", "ops", "random", "regularizers"}
# Settings of layers that have at least as many weights.
_COUNTS = ("units", "filters", "input_dim", "output_dim")
# Operations of TensorFlow that do something besides computing.
_ACTING = """File Summary Dataset Reader PyFunc Print Debug Socket Rpc TPU Outfeed ImmutableConst Save Restore Proto
MergeV2Checkpoints LoadAndRemap Iterator Abort"""


def check_config(config: Any, name: str, size: int, opening: "Opening") -> None:
    """Refuses a Keras model's description that holds code, or names functions that don't only compute.

    Args:
      config: as parsed from JSON.
      name: the file's, for errors.
      size: its bytes.
      opening: whether code may run, and what the names of custom objects are.

    Raises:
      MirageError: naming what stands in the way.
    """
    known = {*opening.custom_objects}
    for part in _parts(config):
        kind, settings = part.get("class_name"), part.get("config")
        if isinstance(settings, Mapping):
            _check_counts(settings, name, size)
        if kind is not None and not opening.trust and not {str(kind), *_tails(part)} & known:
            _check_part(part, str(kind), name)


def _check_part(part: Mapping[str, Any], kind: str, name: str) -> None:
    settings = part.get("config")
    inner = settings if isinstance(settings, Mapping) else {}
    shown = f"{kind} {inner.get('name')!r}"
    if "Lambda" in _tails(part) or "__lambda__" in kind or inner.get("function_type") == "lambda":
        raise MirageError(
            f"{name} holds code, in the layer {shown}, that opening it would run; if you know where it comes from, "
            "pass --trust."
        )
    function = inner.get("function")
    if kind in ("TFOpLambda", "SlicingOpLambda") and not _computes(function):
        raise MirageError(f"{name} calls {function} in the layer {shown}: more than computing; pass --trust.")
    module = part.get("module")
    module = module if isinstance(module, str) else "builtins"
    root, *inside = [each for each in module.split(".") if each not in ("src", "api", "_tf_keras")]
    if kind == "function":
        if hasattr(builtins, str(settings)) or (root in ("keras", "tf_keras") and {*inside[:1]} - _COMPUTING):
            raise MirageError(f"{name} calls {module}.{settings}: more than computing; pass --trust.")
        shown = f"the function {settings}"
    special = root in ("numpy", "tensorflow") and (kind.startswith("__") or "keras" in inside)
    if root not in _MODULES and not special:
        layer = inner.get("name")
        what = f"the layer {layer} ({kind} of {module})" if layer else f"{kind} of {module}"
        what = f"{shown} of {module}" if kind == "function" else what
        raise MirageError(
            f"{name} can't be opened: {what} is not known; pass --custom_objects=module, of a module that has it."
        )


def _check_counts(settings: Mapping[str, Any], name: str, size: int) -> None:
    for key in _COUNTS:
        count = settings.get(key)
        if isinstance(count, int | float):
            check_size([(int(min(count, 2**62)) if count > 0 else 0,)], name, size)


def _tails(part: Mapping[str, Any]) -> set[str]:
    """The bare names under which a part is known, such as those of `Addons>InstanceNormalization`."""
    names = (part.get("class_name"), part.get("registered_name"))
    return {re.split("[.>]", each)[-1] for each in names if isinstance(each, str)}


def by_registered_names(config: Any, custom_objects: Mapping[str, Any]) -> dict[str, Any]:
    """Custom objects also by the full names that a description has for them, such as `Addons>InstanceNormalization`."""
    found = dict(custom_objects)
    for part in _parts(config):
        for full in (part.get("class_name"), part.get("registered_name")):
            if isinstance(full, str) and full.rpartition(">")[2] in custom_objects:
                found.setdefault(full, custom_objects[full.rpartition(">")[2]])
    return found


def layer_of(config: Any, kind: str) -> str:
    """Name of the first layer of a kind; empty if there is none."""
    for part in _parts(config):
        settings = part.get("config")
        if isinstance(settings, Mapping) and kind in (part.get("class_name"), part.get("registered_name")):
            return str(settings.get("name", ""))
    return ""


def check_members(archive: zipfile.ZipFile, name: str, size: int) -> None:
    """Refuses a zip file whose members lie outside of it, or would be far larger than it.

    Raises:
      MirageError: naming the member.
    """
    members = archive.infolist()
    for each in members:
        parts = each.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise MirageError(f"{name} holds {each.filename!r}, which leads out of it; it is not opened.")
    total = sum(each.file_size for each in members)
    if total > 50 * max(2**20, size):
        raise MirageError(f"{name} announces {total:,} bytes, but has {size:,}; it is damaged.")


def _computes(function: Any) -> bool:
    if not isinstance(function, str):
        return False
    return function in _FUNCTIONS.split() or function.rpartition(".")[0] in _NAMESPACES.split()


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yields all objects of a JSON value, at any depth."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            yield value
            left += value.values()
        elif isinstance(value, list):
            left += value


def parsed_config(text: Any, name: str) -> Any:
    """Parses a model's description.

    Raises:
      MirageError: if it is damaged.
    """
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise MirageError(f"{name} has a damaged description ({str(error)[:100]}); save it again.") from None


def check_operations(operations: Iterable[str], name: str) -> None:
    """Refuses TensorFlow's operations that read, write or call something.

    Raises:
      MirageError: naming them.
    """
    acting = sorted({each for each in operations if any(word in each for word in _ACTING.split())})
    if acting:
        raise MirageError(f"{name} doesn't only compute: it holds {', '.join(acting[:5])}; it is not opened.")


def check_size(shapes: Iterable[tuple[int, ...]], name: str, available: int) -> None:
    """Refuses weights that can't be in a file of that size.

    Args:
      shapes: theirs.
      name: the file's.
      available: its bytes; compression makes weights hardly smaller.

    Raises:
      MirageError: if they are far larger.
    """
    announced = sum(math.prod(shape) for shape in shapes)
    if announced > max(2**20, 16 * available):
        raise MirageError(f"{name} announces {announced:,} weights, but has {available:,} bytes; it is damaged.")
