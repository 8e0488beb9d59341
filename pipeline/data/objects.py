"""From what chooses a data set, a name or an object, to where its images come from.

An object may be

  images                          uint8 [N, H, W, C] or [N, H, W]; a `np.memmap` stays where it is
  (images, labels)                with a number or a name for each; or several, [N, A] or by name
  ((images, labels), (images, labels))   the second pair is kept apart for testing, as Keras gives them
  {"train": ..., "test": ...}     by split, each of them any of these
  a tf.data.Dataset, a Keras PyDataset, a PyTorch-like data set, or anything that can be iterated
                                  of images, (image, label) or {"image": ..., "label": ...}, alone or in batches
  a builder of tensorflow-datasets
  a function that returns one of these; one with a parameter `split` is given what to load

An import path on the command line leads to any of them.
"""

import contextlib
import dataclasses
import functools
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import reason
from pipeline.base.names import printable
from pipeline.base.objects import described, load_object, offered, parsed_arguments
from pipeline.data.arrays import is_array, open_arrays
from pipeline.data.names import is_import_path, is_ours, source_of
from pipeline.data.options import DataOptions
from pipeline.data.source import Origin, Source
from pipeline.data.stream import open_stream

_BATCH = 32
_EXPECTED = (
    "expected uint8 arrays, a tf.data.Dataset, a Keras PyDataset, something that can be iterated, or a function that "
    "returns one of them"
)


def recorded(data: Any) -> tuple[str, str]:
    """How a run directory names what was passed.

    Args:
      data: what chooses a data set, such as `pipeline.data.dataset.open_data` takes.

    Returns:
      (value of `--dataset`, value of `--dataset_args`): an import path where it has one, or what it is, such as
      `python:arrays`.
    """
    if isinstance(data, str):
        return data, ""
    builder = _builder_name(data)
    if builder:
        return builder, ""
    if _is_function(data) or dataclasses.is_dataclass(data):
        path, arguments = described(data, {})
        if _leads_to(path, data if _is_function(data) else type(data)):
            return path, arguments
    return f"python:{_kind(data)}", ""


def refuse_python(options: DataOptions) -> Origin:
    """Says that what was passed in Python can't be found by its name."""
    raise MirageError(
        f"--dataset={printable(options.dataset)} was passed in Python; pass data= there again, or give "
        "--dataset=package.module:function, a function that returns it."
    )


def origin_of(data: Any, options: DataOptions) -> Origin:
    """Finds where a data set comes from.

    Args:
      data: a name or an object; None for what `options.dataset` names.
      options: how to read it.

    Raises:
      MirageError: if there is no such data, or it can't be any.
    """
    if data is None or isinstance(data, str):
        options = options if data is None else dataclasses.replace(options, dataset=data)
        found = source_of(options.dataset)
        if isinstance(found, str):
            found = load_object(found, "dataset")
        if is_ours(options.dataset):
            return found(options)
        return _origin(found, options, f"--dataset={printable(options.dataset)}")
    if isinstance(data, Iterator):
        raise MirageError("data can be read once only; pass the function that makes it, so that it can be read again.")
    dataset, _ = recorded(data)
    arguments = options.dataset_args if _is_function(data) else ""  # of an object they say how it was made
    return _origin(data, dataclasses.replace(options, dataset=dataset, dataset_args=arguments), "data")


def _origin(data: Any, options: DataOptions, given: str) -> Origin:
    if _is_function(data):
        return _of_function(data, options, given)
    if options.dataset_args:
        raise MirageError(f"--dataset_args={options.dataset_args} does not go with {given}, no function; leave it out.")
    return _of_object(data, options, given)


def _of_function(function: Any, options: DataOptions, given: str) -> Origin:
    arguments = parsed_arguments(options.dataset_args, "dataset_args")
    with _failures(given):  # some functions that are no Python have no signature
        signature = inspect.signature(function)
    parameters = signature.parameters
    extra = {"split": options.split, "options": options}
    taken = {name for name in extra if name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())}
    name = getattr(function, "__name__", "the function")
    if "split" in arguments:
        raise MirageError(f"--dataset_args={options.dataset_args} names a split; give it as --split=.")
    try:
        signature.bind(**{**{each: extra[each] for each in taken}, **arguments})
    except TypeError as error:
        takes = ", ".join(str(each) for each in parameters.values()) or "no arguments"
        what = f"--dataset_args={options.dataset_args}" if arguments else given
        raise MirageError(f"{what}: {error}; {name} takes {takes}.") from None

    def call(split: str) -> Any:
        with _failures(given):
            return offered(functools.partial(function, **arguments), **{**extra, "split": split})

    def origin(found: Any, split: str) -> Origin:
        if _is_function(found) or found is None:
            raise MirageError(f"{given}: {name} returned {found!r:.100}; {_EXPECTED}.")
        return _of_object(found, dataclasses.replace(options, split=split), given, chosen="split" in taken)

    def test() -> Origin | None:
        found = call("test")
        return None if found is None else origin(found, "test")

    if "split" in taken:
        return Origin(lambda: origin(call(options.split), options.split).open(), test=test)
    return origin(call(options.split), options.split)


def _of_object(data: Any, options: DataOptions, given: str, *, chosen: bool = False) -> Origin:
    """Of what is no function; `chosen` says that it is the split already."""
    if isinstance(data, Origin):
        return data
    if isinstance(data, Source):
        return Origin(lambda: data)
    if _builder_name(data):
        from pipeline.data.tfds_images import builder_origin

        return builder_origin(options, lambda: data)
    splits = None if chosen else _splits(data)
    if splits is not None:
        return _of_splits(splits, options, given)
    if options.split != "train" and not chosen:
        raise MirageError(
            f"--split={printable(options.split)} does not go with {given}, which has no splits; give a part of it, "
            "or a function that takes split."
        )
    return Origin(lambda: _open(data, options, given))


def _of_splits(splits: Mapping[str, Any], options: DataOptions, given: str) -> Origin:
    if options.split not in splits:
        raise MirageError(
            f"--split={printable(options.split)} is not a split of {given}; choose from "
            f"{', '.join(sorted(map(str, splits)))}."
        )

    def origin(split: str) -> Origin:
        return _of_object(splits[split], dataclasses.replace(options, split=split), given, chosen=True)

    return Origin(origin(options.split).open, test=lambda: origin("test") if "test" in splits else None)


def _open(data: Any, options: DataOptions, given: str) -> Source:
    names = getattr(data, "class_names", None) or getattr(data, "classes", None) or ()
    known = tuple(names) if isinstance(names, tuple | list) and all(isinstance(name, str) for name in names) else ()
    if isinstance(data, Mapping):
        data = (data["image"], data["label"]) if data.get("label") is not None else data["image"]
    with _failures(given):
        if is_array(data):
            return open_arrays(data, None, options, given)
        if isinstance(data, tuple):
            if len(data) != 2 or not is_array(data[0]):
                parts = ", ".join(type(part).__name__ for part in data)
                raise MirageError(f"{given}: a tuple of {parts or 'nothing'}; expected (images, labels), arrays.")
            return open_arrays(*data, options, given)
        elements, ends = _elements(data, given)
        return open_stream(elements, options, given, known, ends=ends)


def _elements(data: Any, given: str) -> tuple[Iterable[Any], bool]:
    """Returns (images one by one or in batches, whether they are known to end)."""
    endless = MirageError(f"{given} has no end; give it one, such as by .take(n).")
    if _is(data, "tensorflow", "data.Dataset"):
        count = int(data.cardinality())
        if count == -1:
            raise endless
        return _in_batches(data).as_numpy_iterator(), count >= 0
    if _is(data, "keras", "utils.PyDataset"):
        if data.num_batches is None:
            raise endless
        return (data[index] for index in range(data.num_batches)), True
    if isinstance(data, str | bytes) or not (hasattr(data, "__getitem__") or hasattr(data, "__iter__")):
        raise MirageError(f"{given} is {type(data).__name__}; {_EXPECTED}.")
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return (data[index] for index in range(len(data))), True
    return iter(data), hasattr(data, "__len__")


def _in_batches(data: Any) -> Any:
    """Has tf.data batch single images, if all have one shape: it hands them over many times as fast."""
    spec = data.element_spec
    parts = [*spec.values()] if isinstance(spec, Mapping) else [*spec] if isinstance(spec, tuple) else [spec]
    shapes = [getattr(part, "shape", None) for part in parts]
    image = getattr(spec.get("image") if isinstance(spec, Mapping) else parts[0], "shape", None)
    single = image is not None and image.rank == 3 and image[-1] in (1, 3)
    fixed = all(shape is not None and shape.is_fully_defined() for shape in shapes)
    return data.batch(_BATCH) if single and fixed else data


def _splits(data: Any) -> Mapping[str, Any] | None:
    if isinstance(data, Mapping):
        return None if "image" in data else data
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, tuple) and len(part) == 2 for part in data):
        return dict(zip(("train", "test"), data, strict=True))
    return None


def _is_function(thing: Any) -> bool:
    if isinstance(thing, type):
        return True
    return callable(thing) and not (hasattr(thing, "__iter__") or hasattr(thing, "__getitem__"))


def _leads_to(path: str, thing: Any) -> bool:
    """Whether an import path is one from anywhere, which that of what lies in a script or a function is not."""
    module, _, name = path.partition(":")
    if not is_import_path(path) or module == "__main__" or module.startswith("pipeline."):
        return False
    found: Any = sys.modules.get(module)
    for attribute in name.split("."):
        found = getattr(found, attribute, None)
    return found is thing


def _is(thing: Any, module: str, name: str) -> bool:
    """Whether it is of a class, without importing the library that has it."""
    if module not in sys.modules:
        return False
    kind: Any = functools.reduce(getattr, name.split("."), sys.modules[module])
    return isinstance(thing, kind)


def _builder_name(thing: Any) -> str:
    """The name by which tensorflow-datasets knows a builder; empty for anything else."""
    if not _is(thing, "tensorflow_datasets", "core.DatasetBuilder"):
        return ""
    name, _, version = thing.info.full_name.rpartition("/")
    return f"{name}:{version}"


def _kind(data: Any) -> str:
    if _is(data, "tensorflow", "data.Dataset"):
        return "tf.data"
    if is_array(data) or isinstance(data, tuple):
        return "arrays"
    return "splits" if isinstance(data, Mapping) else "function" if _is_function(data) else "iterable"


@contextlib.contextmanager
def _failures(given: str) -> Iterator[None]:
    """Makes one sentence of what somebody's data raise."""
    try:
        yield
    except (MirageError, MemoryError):
        raise
    except Exception as error:
        raise MirageError(f"{given} failed: {printable(reason(error))}; mend it.") from error
