"""Finds out what a saved network was saved as, by its content, and opens it."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.names import printable
from pipeline.foreign.network import Foreign, Opening

_HDF5, _ZIP, _TFLITE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"TFL3"
_WANTED = "a .keras or .h5 file, a SavedModel's folder, an .onnx or a .tflite file"
_PICKLED = (
    "{name} is {what}, which can run any code when it is opened; export the network with torch.onnx.export, or save it "
    "as .keras, and pass that."
)


def open_network(path: Path, opening: Opening) -> Foreign:
    """Opens a saved network.

    Args:
      path: a file or a folder.
      opening: how.

    Returns:
      The network.

    Raises:
      MirageError: if it is none, is damaged, needs something that isn't known, or would run code.
    """
    name = printable(str(path))
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise MirageError(f"{name} is a folder without a saved_model.pb; expected {_WANTED}.")
        from pipeline.foreign.saved_models import open_saved_model

        return open_saved_model(path, opening.signature)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise MirageError(f"{name} can't be read ({error.strerror}); expected {_WANTED}.") from None
    if head.startswith(_HDF5):
        from pipeline.foreign.keras_files import open_hdf5

        return open_hdf5(path, opening)
    if head.startswith(_ZIP):
        return _open_zip(path, opening)
    if head[4:8] == _TFLITE:
        from pipeline.foreign.litert_files import open_litert

        return open_litert(path)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        raise MirageError(_PICKLED.format(name=name, what="a pickle"))
    from pipeline.foreign.onnx_files import open_onnx

    return open_onnx(path, _WANTED)


def _open_zip(path: Path, opening: Opening) -> Foreign:
    """Opens a zip file: a .keras file, or one of PyTorch, which is refused."""
    name = printable(str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            members = {each.filename for each in archive.infolist()}
            if any(member.endswith("data.pkl") for member in members):
                raise MirageError(_PICKLED.format(name=name, what="a file of torch.save"))
            if not {"config.json", "metadata.json", "model.weights.h5"} <= members:
                raise MirageError(f"{name} is a zip file, but none of Keras; expected {_WANTED}.")
            config, metadata = (_json_of(archive, member) for member in ("config.json", "metadata.json"))
        version = str(metadata["keras_version"])
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
        reason = in_a_line(error, 200)
        raise MirageError(f"{name} is a damaged .keras file ({reason}); save it again.") from None
    from pipeline.foreign.keras_files import open_keras

    return open_keras(path, opening, config, version)


def _json_of(archive: zipfile.ZipFile, member: str) -> Any:
    with archive.open(member) as file:
        return json.loads(file.read(2**26))
