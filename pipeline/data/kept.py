"""The prepared data sets that are kept below `--data_dir`: listed, removed."""

import dataclasses
import json
import shutil
import time
from pathlib import Path

import filelock

from pipeline.base.errors import MirageError
from pipeline.base.folders import cache_folder
from pipeline.base.kept_files import DamagedFileError, unsealed
from pipeline.data.prepared import ABOUT, FOLDER, PARTIAL
from pipeline.data.spec import DataSpec


@dataclasses.dataclass(frozen=True)
class Kept:
    """A prepared data set.

    Attributes:
      key: its folder's name.
      path: its folder.
      num_bytes: what it takes.
      used: when it was used last, in seconds since the epoch.
      about: what it is, in words.
    """

    key: str
    path: Path
    num_bytes: int
    used: float
    about: str


def kept(data_dir: str) -> list[Kept]:
    """Finds all prepared data sets, the last used ones first.

    Raises:
      MirageError: if `data_dir` can't be a folder, or can't be read.
    """
    parent = cache_folder(data_dir) / FOLDER
    try:
        folders = [each for each in parent.iterdir() if each.is_dir()] if parent.is_dir() else []
        found = [_described(each) for each in folders]
    except OSError as error:
        raise MirageError(f"{parent} can't be looked through ({error.strerror}); mend its permissions.") from None
    return sorted(found, key=lambda each: -each.used)


def _described(path: Path) -> Kept:
    files = [each.stat() for each in path.iterdir() if each.is_file()]
    used = max((each.st_mtime for each in files), default=path.stat().st_mtime)
    # Blocks, since a file that is being filled has its full size from the start.
    num_bytes = sum(min(each.st_size, each.st_blocks * 512) for each in files)
    if path.suffix == PARTIAL:
        return Kept(path.name, path, num_bytes, used, "not finished; the command that began it goes on with it")
    try:
        about = json.loads(unsealed((path / ABOUT).read_bytes()))
        used = (path / ABOUT).stat().st_mtime
        spec = DataSpec.from_dict(about["spec"])
        shape = "x".join(map(str, spec.image_shape))
        told = f"{spec.name}: {spec.num_examples:,} images of {shape}{spec.told_labels}"
    except (OSError, DamagedFileError, KeyError, TypeError, ValueError):
        told = "of a version that kept no description"
    return Kept(path.name, path, num_bytes, used, told)


def table(sets: list[Kept]) -> str:
    """A line for each, and one for all."""
    lines = [f"{each.key:32} {each.num_bytes / 1e6:10,.1f} MB  used {_date(each.used)}  {each.about}" for each in sets]
    total = sum(each.num_bytes for each in sets)
    return "\n".join([*lines, f"{'together':32} {total / 1e6:10,.1f} MB"])


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def remove(data_dir: str, keys: list[str]) -> list[Kept]:
    """Removes prepared data sets.

    Args:
      data_dir: where they are.
      keys: their names, or how these begin; "all" for all of them.

    Returns:
      Those that are gone.

    Raises:
      MirageError: if a name is none of theirs, or one is being written.
    """
    sets = kept(data_dir)
    chosen: dict[str, Kept] = {}
    for key in keys:
        found = [each for each in sets if key == "all" or (key and each.key.startswith(key))]
        if not found:
            raise MirageError(f"--remove={key} is no prepared data set; --list names {len(sets)} of them.")
        if len(found) > 1 and key != "all":
            raise MirageError(f"--remove={key} could be {' or '.join(each.key for each in found)}; give more of it.")
        chosen |= {each.key: each for each in found}
    return [_removed(each) for each in chosen.values()]


def bound(data_dir: str, num_bytes: float) -> list[Kept]:
    """Removes those that were used the longest ago, until the others take at most `num_bytes`; returns those."""
    gone, sets = [], kept(data_dir)
    total = sum(each.num_bytes for each in sets)
    for each in reversed(sets):
        if total <= num_bytes:
            break
        gone.append(_removed(each))
        total -= each.num_bytes
    return gone


def _removed(each: Kept) -> Kept:
    lock = each.path.parent / f".{each.key.removesuffix(PARTIAL)}.lock"
    try:
        with filelock.FileLock(lock, timeout=0):
            shutil.rmtree(each.path)
            lock.unlink(missing_ok=True)
    except filelock.Timeout:
        raise MirageError(f"{each.key} is being written by another process; end that first.") from None
    except OSError as error:
        raise MirageError(f"{each.path} can't be removed ({error.strerror}); mend its permissions.") from None
    return each
