"""A model file in onnxruntime, on the CPU."""

import os
from pathlib import Path

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
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no better base class
        line = first_line(error)
        raise BundleError(f"{path} is no model that onnxruntime can run ({line}); export the bundle again.") from None


def first_line(error: Exception) -> str:
    """Returns what fits into a sentence of an exception's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def check_signature(session: ort.InferenceSession, info: ModelInfo) -> None:
    """Refuses a model whose inputs and outputs are not those of a generator with that description.

    Raises:
      BundleError: naming what differs.
    """
    expected: dict[str, tuple[str, tuple[int, ...]]] = {"z": ("tensor(float)", (info.latent_dim,))}
    if info.class_names:
        expected["label"] = ("tensor(int64)", ())
    if info.attributes:
        expected["attributes"] = ("tensor(float)", (len(info.attributes),))
    actual = {node.name: (node.type, tuple(node.shape[1:])) for node in session.get_inputs()}
    if actual != expected:
        raise BundleError(f"its inputs are {shown(actual)}; expected {expected}, each with a batch axis in front.")
    outputs = {node.name: (node.type, tuple(node.shape[1:])) for node in session.get_outputs()}
    if outputs != {"image": ("tensor(float)", info.image_shape)}:
        raise BundleError(f"its outputs are {shown(outputs)}; expected only image, float32 [N, *{info.image_shape}].")
    if any(isinstance(node.shape[0], int) for node in [*session.get_inputs(), *session.get_outputs()]):
        raise BundleError("its batch axis is fixed; expected a symbolic one.")
