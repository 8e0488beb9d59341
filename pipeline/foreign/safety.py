"""What a saved network would run of its own: found before anything of it is opened. Needs only the standard library."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.base.errors import MirageError

# Functions of TensorFlow that a layer of Keras 2 may name: those that compute, none that reads, writes or calls.
_NAMESPACES = """math nn linalg image signal random __operators__ keras.activations keras.backend compat.v1.nn
compat.v1.math compat.v1.image"""
_FUNCTIONS = """add argmax broadcast_to cast clip_by_value concat convert_to_tensor exp expand_dims fill gather identity
multiply norm one_hot ones ones_like pad range reduce_mean reduce_sum repeat reshape shape sigmoid slice split sqrt
square squeeze stack strided_slice subtract tanh tile transpose unstack where zeros zeros_like compat.v1.shape
compat.v1.gather compat.v1.transpose compat.v1.concat"""
_MODULES = {"keras", "tf_keras", "builtins", "numpy", "tensorflow"}
# Operations of TensorFlow that do something besides computing.
_ACTING = ("File", "Summary", "Dataset", "Reader", "PyFunc", "Print", "Debug", "Socket", "Rpc", "TPU", "Outfeed")
_SAVING = {"ShardedFilename", "MatchingFilesDataset"}  # of the functions by which every SavedModel restores itself


def check_config(config: Any, name: str, known: Iterable[str], trust: bool) -> None:
    """Refuses a Keras model's description that holds code, or names functions that don't only compute.

    Args:
      config: as parsed from JSON.
      name: the file's, for errors.
      known: names of custom objects.
      trust: whether code may run.

    Raises:
      MirageError: naming what stands in the way.
    """
    known = set(known)
    for part in _parts(config):
        kind, settings = part.get("class_name"), part.get("config")
        settings = settings if isinstance(settings, Mapping) else {}
        shown = f"{kind} {settings.get('name')!r}"
        if trust or kind in known:
            continue
        if kind == "Lambda" or kind == "__lambda__" or "__lambda__" in str(kind):
            raise MirageError(
                f"{name} holds code, in the layer {shown}, that opening it would run; if you know where it comes from, "
                "pass --trust."
            )
        function = settings.get("function")
        if kind in ("TFOpLambda", "SlicingOpLambda") and not _computes(function):
            raise MirageError(f"{name} calls {function} in the layer {shown}: more than computing; pass --trust.")
        module = part.get("module")
        module = module if isinstance(module, str) else "keras"
        if module.partition(".")[0] not in _MODULES and part.get("registered_name") not in known:
            raise MirageError(
                f"{name} holds {shown} of {module}, which is not Keras's; pass --custom_objects=module, of a module "
                "that has it."
            )


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
    acting = sorted({each for each in operations if each not in _SAVING and any(word in each for word in _ACTING)})
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
