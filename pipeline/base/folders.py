"""Folders that a flag names, and the one where Mirage keeps what it can make again. Needs only the standard library."""

import re
from pathlib import Path

from pipeline.base.errors import MirageError
from pipeline.base.names import printable

_CACHE = "~/.cache/mirage"


def local_folder(flag: str, value: str) -> Path:
    """Returns the folder that a flag names, with ~ and ~user replaced by home directories.

    Args:
      flag: the flag with its value, as an error shall name it, such as "--data_dir=~/data".
      value: the path.

    Raises:
      MirageError: if it can't be a folder of this machine, or if nobody knows that home directory.
    """
    if re.match(r"[a-z][a-z0-9+.-]*://", value, re.IGNORECASE) or "\0" in value:
        raise MirageError(f"{printable(flag)} is no folder of this machine; give a path.")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise MirageError(
            f"{flag} can't be found, because this user has no home directory; give a path without ~, or set HOME."
            if re.match(r"~(/|$)", value)
            else f"{flag} names the home directory of a user that this machine doesn't know; give a path without ~."
        ) from None


def cache_folder(data_dir: str) -> Path:
    """Returns the folder of what can be made again: `--data_dir`, or ~/.cache/mirage if that is empty.

    Raises:
      MirageError: if it can't be a folder, or if it's empty and there is no home directory.
    """
    if data_dir:
        return local_folder(f"--data_dir={data_dir}", data_dir)
    return local_folder("--data_dir= is empty, and its default ~/.cache/mirage", _CACHE)
