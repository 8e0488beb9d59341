"""Opens SavedModels: of TensorFlow 1 and 2, of Keras or of anything."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.libraries import tf
from pipeline.base.names import printable
from pipeline.foreign.apart import is_memory
from pipeline.foreign.conversion import of_tensors
from pipeline.foreign.network import Foreign, Port
from pipeline.foreign.operations import operations_of
from pipeline.foreign.safety import check_operations

_DEFAULT = "serving_default"


def open_saved_model(path: Path, signature: str = "", kind: str = "SavedModel", framework: str = "") -> Foreign:
    """Opens a SavedModel.

    Args:
      path: its folder.
      signature: which of its signatures; empty for the only one, or serving_default.
      kind: what it is called in what is said of it.
      framework: what made it, if that is known better; empty for TensorFlow.

    Raises:
      MirageError: if it is damaged, has no such signature, or doesn't only compute.
    """
    name = printable(str(path))
    _check(path, name)
    try:
        with _plain(path) as folder:
            loaded = tf.saved_model.load(folder)
        signatures = dict(loaded.signatures)
    except Exception as error:  # of many kinds, as it is protobufs, files and graphs
        if is_memory(error):
            raise
        reason = in_a_line(error, 200)
        raise MirageError(f"{name} can't be loaded as a SavedModel ({reason}); save it again.") from None
    function = signatures[chosen_signature(signature, list(signatures), name)]

    def tensors(values: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        assert loaded is not None  # a signature alone does not keep its variables alive
        return function(**values)

    return of_tensors(
        tensors,
        tuple(input_of(key, spec) for key, spec in function.structured_input_signature[1].items()),
        tuple(port_of(key, spec) for key, spec in function.structured_outputs.items()),
        kind=kind,
        framework=framework or f"TensorFlow {tf.__version__}",
        variables=tuple(function.graph.variables),
    )


@contextlib.contextmanager
def _plain(path: Path) -> Iterator[str]:
    """A path that TensorFlow doesn't take for a pattern of several."""
    if not {*"*?[]{}"} & {*str(path)}:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="mirage-") as folder:
        (Path(folder) / "model").symlink_to(path.resolve())
        yield f"{folder}/model"


def input_of(name: str, spec: Any) -> Port:
    """Describes an input of TensorFlow.

    Raises:
      MirageError: if it is of no numbers, or not even how many sizes it has is known.
    """
    if not (spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype == tf.bool):
        raise MirageError(f"this is no generator: its input {name} is of {spec.dtype.name}.")
    if spec.shape.rank is None:
        raise MirageError(f"the shape of the input {name} isn't known; save it with an input_signature that has one.")
    return port_of(name, spec)


def port_of(name: str, spec: Any) -> Port:
    """Describes a tensor of TensorFlow."""
    shape = () if spec.shape.rank is None else tuple(spec.shape.as_list())
    return Port(name, spec.dtype.as_numpy_dtype.__name__ if spec.dtype != tf.bool else "bool", shape)


def chosen_signature(signature: str, there: list[str], name: str) -> str:
    """Chooses among signatures.

    Args:
      signature: the one that is asked for; empty for the only one, or serving_default.
      there: names of all.
      name: what has them, for errors.

    Raises:
      MirageError: if it can't be seen which.
    """
    callable_ = [each for each in there if not each.startswith("__")]
    wanted = signature or (callable_[0] if len(callable_) == 1 else _DEFAULT)
    if wanted not in there:
        listing = ", ".join(callable_) or "none"
        raise MirageError(
            f"{name} has the signatures {listing}; choose one by --signature=."
            if callable_
            else f"{name} has no signature; save it with tf.saved_model.save(..., signatures=...)."
        )
    return wanted


def _check(path: Path, name: str) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        graphs = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    except Exception as error:  # protobuf's own, or the system's
        raise MirageError(f"{name} has a damaged saved_model.pb ({str(error)[:100]}); save it again.") from None
    for meta in graphs:
        check_operations(operations_of(meta), name)
