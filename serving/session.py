"""A model file in onnxruntime, on the CPU."""

import ctypes
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.contract.files import read_file
from serving.contract.manifest import GENERATOR_FILE, BundleError, ModelInfo, shown
from serving.contract.onnx_file import MAX_BYTES, check_onnx_file
from serving.runtime import ort


def available_cpus() -> int:
    """Returns the number of CPUs that this process may use."""
    # Not os.cpu_count(): containers and batch systems give a process fewer.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_model(path: Path) -> bytes:
    """Reads a sealed model.

    Raises:
      BundleError: if it can't be read, or is refused by `check_onnx_file`.
    """
    try:
        data = read_file(path, MAX_BYTES)
    except FileNotFoundError:
        raise BundleError(f"there is no file {path}; pass a bundle's folder or its {GENERATOR_FILE}.") from None
    except OSError as error:
        raise BundleError(f"{str(path)!r} can't be read ({error.strerror}); export the bundle again.") from None
    try:
        check_onnx_file(data)
    except BundleError as error:
        raise BundleError(f"{path} can't be used: {error}") from None
    return data


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """Loads a sealed model into onnxruntime, on the CPU.

    Args:
      path: the file.
      threads: CPU threads per call.

    Raises:
      BundleError: if it can't be read, is refused by `check_onnx_file`, or is no model that onnxruntime can run.
    """
    return session_of(read_model(path), path, threads)


def session_of(data: bytes, path: Path, threads: int) -> ort.InferenceSession:
    """As `open_session`, of what `read_model` has read."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, there is no need to print them too
    # Otherwise threads burn CPU for about a second after each call.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no better base class
        line = first_line(error)
        raise BundleError(f"{path} is no model that onnxruntime can run ({line}); export the bundle again.") from None
    # It keeps the file's bytes, as much memory as the weights, to begin again with other providers. There are none.
    session.disable_fallback()
    session._model_bytes = None
    return session


def first_line(error: Exception) -> str:
    """Returns what fits into a sentence of an exception's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


class Network:
    """A session that lives through forks: where it is lost, it is opened again when it is next run."""

    def __init__(self, session: ort.InferenceSession, open_again: Callable[[], ort.InferenceSession] | None) -> None:
        """Wraps a session.

        Args:
          session: the session.
          open_again: opens the same file again; None of a session that has no threads, or comes from no file.
        """
        self._session: ort.InferenceSession | None = session
        self._open_again = open_again
        if open_again is not None:
            _LOST_BY_FORKS.add(self)

    def run(self, output: str, feeds: Mapping[str, Any]) -> Any:
        """Computes one output, an array."""
        return (self._session or self.session).run([output], feeds)[0]

    @property
    def session(self) -> ort.InferenceSession:
        """The session itself."""
        session = self._session
        if session is None:
            assert self._open_again is not None  # see _after_fork
            session = self._session = self._open_again()
        return session

    def lose(self) -> None:
        """Lets go of a session whose threads a forked process has not, and which would wait for them for ever."""
        # Never freed, since that waits for the threads too.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
        self._session = None


_LOST_BY_FORKS: weakref.WeakSet[Network] = weakref.WeakSet()


def _after_fork() -> None:
    for network in list(_LOST_BY_FORKS):
        network.lose()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

# Of inputs and outputs: type and shape without the batch axis, by name.
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]


def check_signature(session: ort.InferenceSession, info: ModelInfo) -> None:
    """Refuses a model whose inputs and outputs are not those of a generator with that description.

    Raises:
      BundleError: naming what differs.
    """
    check_tensors(session, inputs_of(info), {"image": ("tensor(float)", info.image_shape)}, truncated=bool(info.styles))


def inputs_of(info: ModelInfo) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What a generator, or its mapping, takes."""
    inputs: dict[str, tuple[str, tuple[int, ...]]] = {"z": ("tensor(float)", (info.latent_dim,))}
    if info.class_names:
        inputs["label"] = ("tensor(int64)", ())
    if info.attributes:
        inputs["attributes"] = ("tensor(float)", (len(info.attributes),))
    return inputs


def check_tensors(session: ort.InferenceSession, inputs: Tensors, outputs: Tensors, *, truncated: bool = False) -> None:
    """Refuses a model with other inputs or outputs.

    Args:
      session: the model.
      inputs: those that it must have.
      outputs: the same.
      truncated: whether it must have the input `truncation`, which may be left out.

    Raises:
      BundleError: naming what differs.
    """
    actual = _described(session.get_inputs())
    if actual != inputs:
        raise BundleError(f"its inputs are {shown(actual)}; expected {inputs}, each with a batch axis in front.")
    found = _described(session.get_outputs())
    if found != outputs:
        expected = ", ".join(f"{name}, float32 [N, *{shape}]" for name, (_, shape) in outputs.items())
        raise BundleError(f"its outputs are {shown(found)}; expected only {expected}.")
    if any(isinstance(node.shape[0], int) for node in [*session.get_inputs(), *session.get_outputs()]):
        raise BundleError("its batch axis is fixed; expected a symbolic one.")
    optional = _described(session.get_overridable_initializers())
    if truncated and optional.get("truncation") != ("tensor(float)", ()):
        raise BundleError("it lacks truncation, float32 [T], which may be left out; export the bundle again.")


def _described(nodes: Sequence[Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {node.name: (node.type, tuple(node.shape[1:])) for node in nodes}
