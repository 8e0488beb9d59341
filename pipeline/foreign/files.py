"""Finds out what a saved network was saved as, by its content, and opens it."""

import json
import re
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.names import printable
from pipeline.foreign.network import Foreign, Legacy, Opening
from pipeline.foreign.safety import check_members

_HDF5, _ZIP, _TFLITE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"TFL3"
_WANTED = "a .keras or .h5 file, a SavedModel's folder, an .onnx or a .tflite file"
_PICKLED = (
    "{name} is {what}, which can run any code when it is opened; export the network with torch.onnx.export, or save it "
    "as .keras, and pass that."
)
_CHECKPOINT = (
    "{name} is a TensorFlow checkpoint, which holds weights and no network; restore it in Python, save the generator "
    "with model.save('theirs.keras'), and pass that."
)
# What else starts or ends like this, and what it is.
_OTHERS = {
    b"\x93NUMPY": "an array of NumPy",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}
_CONFIG_BYTES = 2**26


def open_network(path: Path, opening: Opening) -> Foreign:
    """Opens a saved network, in a process of its own first.

    Args:
      path: a file or a folder.
      opening: how.

    Returns:
      The network.

    Raises:
      MirageError: if it is none, is damaged, needs something that isn't known, would run code, or wants too much.
    """
    from pipeline.foreign.legacy import open_legacy
    from pipeline.foreign.trial import try_out

    try:
        _kind(path)
        try_out(path, opening)
        return open_here(path, opening, open_legacy)
    except MirageError as error:  # may hold names from the file, which may be anything
        raise MirageError(in_a_line(error, 1000)) from None


def open_here(path: Path, opening: Opening, legacy: Legacy) -> Foreign:
    """Opens a saved network in this process, which some damaged files end.

    Args:
      path: a file or a folder.
      opening: how.
      legacy: opens files of Keras 2.

    Returns:
      The network.

    Raises:
      MirageError: as `open_network`.
    """
    kind = _kind(path)
    if kind == "folder":
        from pipeline.foreign.saved_models import open_saved_model

        return open_saved_model(path, opening.signature)
    if kind == "hdf5":
        from pipeline.foreign.keras_files import open_hdf5

        return open_hdf5(path, opening, legacy)
    if kind == "zip":
        return _open_zip(path, opening, legacy)
    if kind == "tflite":
        from pipeline.foreign.litert_files import open_litert

        return open_litert(path)
    from pipeline.foreign.onnx_files import open_onnx

    return open_onnx(path, _WANTED)


def look_through(path: Path) -> None:
    """Has HDF5's library see all of a file that it is to read, of which damaged ones may keep it busy for ever.

    Raises:
      MirageError: as `open_network`.
    """
    from pipeline.foreign.hdf5 import look_at, look_at_weights

    kind, name, size = _kind(path), printable(str(path)), size_of(path)
    if kind == "hdf5":
        look_at(path, name, size)
    elif kind == "zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "model.weights.h5" in archive.namelist():
                check_members(archive, name, size)
                look_at_weights(archive, name, size)


def size_of(path: Path) -> int:
    """Bytes of a file; of a folder, those of its files."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())


def _kind(path: Path) -> str:
    """Tells by its first bytes what something is: "folder", "hdf5", "zip", "tflite", or else "onnx".

    Raises:
      MirageError: if it can't be a network.
    """
    name = printable(str(path))
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            _check_folder(path, name)
            return "folder"
        if not stat.S_ISREG(mode):
            raise MirageError(f"{name} is a pipe or a device; expected {_WANTED}.")
        with path.open("rb") as file:
            head = file.read(16)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        if path.with_name(f"{path.name}.index").is_file():
            raise MirageError(_CHECKPOINT.format(name=name)) from None
        raise MirageError(f"{name} can't be read ({reason}); expected {_WANTED}.") from None
    if not head:
        raise MirageError(f"{name} is empty; expected {_WANTED}.")
    if head.startswith(_HDF5):
        return "hdf5"
    if head.startswith(_ZIP):
        return "zip"
    if head[4:8] == _TFLITE:
        return "tflite"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        raise MirageError(_PICKLED.format(name=name, what="a pickle"))
    if path.suffix in (".index", ".data-00000-of-00001"):
        raise MirageError(_CHECKPOINT.format(name=name))
    for start, what in _OTHERS.items():
        if head.startswith(start):
            raise MirageError(f"{name} is {what}; expected {_WANTED}.")
    return "onnx"


def _check_folder(path: Path, name: str) -> None:
    """Refuses a folder that is no SavedModel, or holds what isn't files."""
    there = {each.name for each in path.iterdir()}
    if "saved_model.pb" not in there:
        if {"config.json", "checkpoints"} <= there:
            raise MirageError(f"{name} is a run of Mirage's; pass --run_dir={name}.")
        if "manifest.json" in there:
            raise MirageError(f"{name} is a bundle of Mirage's; it need not be adopted.")
        if any(each.endswith(".index") for each in there):
            raise MirageError(_CHECKPOINT.format(name=name))
        raise MirageError(f"{name} is a folder without a saved_model.pb; expected {_WANTED}.")
    for each in path.rglob("*"):
        if not (each.is_file() or each.is_dir()):
            inside = printable(str(each.relative_to(path)))
            raise MirageError(f"{name} holds {inside}, which is no file that can be read; save it again.")


def _open_zip(path: Path, opening: Opening, legacy: Legacy) -> Foreign:
    """Opens a zip file: a .keras file, or one of PyTorch, which is refused."""
    name = printable(str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if any(member.endswith("data.pkl") for member in members):
                raise MirageError(_PICKLED.format(name=name, what="a file of torch.save"))
            if members and all(member.endswith(".npy") for member in members):
                raise MirageError(f"{name} holds arrays of NumPy, and no network; expected {_WANTED}.")
            if not {"config.json", "metadata.json", "model.weights.h5"} <= {*members}:
                raise MirageError(f"{name} is a zip file, but none of Keras; expected {_WANTED}.")
            check_members(archive, name, path.stat().st_size)
            config, metadata = (_json_of(archive, member) for member in ("config.json", "metadata.json"))
        version = metadata["keras_version"]
        if not (isinstance(version, str) and re.match(r"\d+\.\d+", version)):
            raise ValueError(f"its version is {version}")
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
        reason = in_a_line(error, 200)
        raise MirageError(f"{name} is a damaged .keras file ({reason}); save it again.") from None
    from pipeline.foreign.keras_files import open_keras

    return open_keras(path, opening, config, version, legacy)


def _json_of(archive: zipfile.ZipFile, member: str) -> Any:
    with archive.open(member) as file:
        text = file.read(_CONFIG_BYTES + 1)
    if len(text) > _CONFIG_BYTES:
        raise ValueError(f"{member} is longer than {_CONFIG_BYTES:,} bytes")
    return json.loads(text)
