"""Which files below a folder are images by their names, and what was left aside."""

import collections
import dataclasses
import errno
import os
from collections.abc import Container, Iterable
from pathlib import Path

from pipeline.base.errors import MirageError
from pipeline.base.names import printable

# What systems put into folders of pictures: archives of macOS, thumbnails of NAS servers, bins.
_HIDDEN = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__pycache__"})
_SHOWN = 6  # reasons, of which there may be as many as endings


@dataclasses.dataclass
class Scan:
    """What is below a folder.

    Attributes:
      files: images directly in it or at most `levels` folders below it, relative to it, in no order.
      too_deep: an image below those folders, or empty: looking ends with the first one.
      ignored: number of files and folders left aside, by reason.
      empty: folders directly in it that hold no image at any depth.
      levels: see `scan`.
      deeper: see `scan`.
    """

    files: list[str] = dataclasses.field(default_factory=list)
    too_deep: str = ""
    ignored: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    empty: list[str] = dataclasses.field(default_factory=list)
    levels: int = 1
    deeper: bool = False

    def add(self, name: str) -> None:
        """Adds an image."""
        if name.count("/") > self.levels and not self.deeper:
            self.too_deep = self.too_deep or name
        else:
            self.files.append(name)

    def left_aside(self) -> str:
        """Says in a clause what was ignored and why; empty if nothing was."""
        counts = sorted(self.ignored.items(), key=lambda pair: (-pair[1], pair[0]))
        parts = [f"{count:,} {reason}" for reason, count in counts[:_SHOWN]]
        if len(counts) > _SHOWN:
            parts.append(f"{sum(count for _, count in counts[_SHOWN:]):,} for other reasons")
        if self.empty:
            first = f"({printable(min(self.empty, key=os.fsencode))}{', ...' if len(self.empty) > 1 else ''})"
            parts.append(f"{len(self.empty):,} folder{'s' if len(self.empty) > 1 else ''} without images {first}")
        return ", ".join(parts)


def scan(root: Path, endings: Container[str], levels: int = 1, *, deeper: bool = False) -> Scan:
    """Looks for images, through links but not in circles.

    Args:
      root: the folder.
      endings: of images, in lower case, such as ".png".
      levels: how many folders below it images may lie.
      deeper: whether they may lie deeper still.

    Raises:
      MirageError: if a folder can't be looked through.
    """
    found = Scan(levels=levels, deeper=deeper)
    _look(os.fspath(root), "", endings, (), set(), found)
    return found


def scan_names(names: Iterable[str], endings: Container[str], levels: int = 1, *, deeper: bool = False) -> Scan:
    """Looks for images among the files of an archive.

    Args:
      names: of the files, with slashes.
      endings: see `scan`.
      levels: see `scan`.
      deeper: see `scan`.
    """
    found = Scan(levels=levels, deeper=deeper)
    for name in names:
        parts = name.split("/")
        if any(part.startswith(".") or part in _HIDDEN for part in parts):
            found.ignored["hidden"] += 1
        elif os.path.splitext(name)[1].lower() not in endings:
            found.ignored[_other(os.path.splitext(name)[1].lower())] += 1
        else:
            found.add(name)
    return found


def _look(
    folder: str,
    prefix: str,
    endings: Container[str],
    above: tuple[tuple[int, int], ...],
    seen: set[tuple[int, int]],
    found: Scan,
) -> None:
    """Adds what is in a folder, and then in its folders, to `found`.

    Args:
      folder: its path.
      prefix: its path relative to the root, with a slash at the end; empty for the root.
      endings: see `scan`.
      above: device and inode of the folders around it.
      seen: those of all folders that are too deep, which are looked through once.
      found: where to.
    """
    folders = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _add(entry, prefix, endings, found):
                    folders.append(entry)
        status = os.stat(folder)
    except OSError as error:
        raise MirageError(
            f"folder {printable(folder)} can't be looked through ({error.strerror}); mend its permissions or remove it."
        ) from None
    identity = (status.st_dev, status.st_ino)
    if prefix.count("/") > found.levels:
        seen.add(identity)
    for entry in folders:
        status = entry.stat()
        inner = (status.st_dev, status.st_ino)
        if inner in above or inner == identity:
            found.ignored["links in circles"] += 1
        elif not found.too_deep and inner not in seen:
            before = len(found.files)
            _look(entry.path, f"{prefix}{entry.name}/", endings, (*above, identity), seen, found)
            if not prefix and len(found.files) == before and not found.too_deep:
                found.empty.append(entry.name)


def _add(entry: os.DirEntry[str], prefix: str, endings: Container[str], found: Scan) -> bool:
    """Adds a file to `found`, or the reason why it is none that counts; returns whether it is a folder."""
    if entry.name.startswith(".") or entry.name in _HIDDEN:
        found.ignored["hidden"] += 1
        return False
    try:
        if entry.is_dir():
            return True
        ending = os.path.splitext(entry.name)[1].lower()
        if ending in endings and entry.is_file():
            found.add(prefix + entry.name)
            return False
        broken = entry.is_symlink() and not os.path.exists(entry.path)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        broken = True
    if broken:
        found.ignored["broken links"] += 1
    elif ending in endings:
        found.ignored["neither files nor folders"] += 1
    else:
        found.ignored[_other(ending)] += 1
    return False


def _other(ending: str) -> str:
    return f"ending in {printable(ending)[:20]}" if len(ending) > 1 else "without an ending"
