"""Where a bundle appears: all or nothing, and nothing of anybody else's is touched."""

import contextlib
import errno
import filecmp
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from pipeline.base.errors import MirageError
from serving.contract.manifest import MANIFEST_FILE, BundleError, read_manifest

_LOCK = "mirage-export.lock"  # in every folder that an export builds in, held as long as it lives
_WORKSHOP = ".mirage-export-"  # how their names begin
_NAMED = 5  # files that an error names


def target_of(out: Path) -> Path:
    """Finds where a bundle shall appear, and whether it may.

    Args:
      out: new, an empty folder, one that holds a bundle, or a symbolic link to such a place.

    Returns:
      The place itself, behind all symbolic links.

    Raises:
      MirageError: if there is something else.
    """
    try:
        target = out.resolve()
        if target.is_symlink():  # Python 3.13 gives a loop of links as it is
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.is_dir():
            _listed(target, out)
        elif target.exists():
            raise MirageError(f"--out={out} is a file; choose a new folder.")
    except (OSError, RuntimeError) as error:  # a loop of symbolic links is a RuntimeError before Python 3.13
        raise MirageError(f"--out={out} can't be used ({_reason(error)}); choose a new folder.") from None
    return target


@contextlib.contextmanager
def placed(out: Path) -> Iterator[Path]:
    """Puts a bundle in its place.

    Only files that an older bundle's manifest lists are replaced or removed; whatever else lies there stays. What
    killed exports to the same place left is removed.

    Args:
      out: see `target_of`.

    Yields:
      An empty folder, on the same disk. What it holds in the end becomes the bundle, unless an exception leaves it.

    Raises:
      MirageError: if the bundle can't be put there, or another export is at it.
    """
    target = target_of(out)
    made: list[Path] = []
    try:
        made = [each for each in target.parents if not each.exists()]  # innermost first
        target.parent.mkdir(parents=True, exist_ok=True)
        with _workshop(target, out) as folder:
            new = folder / "new"
            new.mkdir()
            yield new
            if target.exists():
                _replace(new, target, folder / "old", out)
            else:
                new.replace(target)
            made = []
    except NotImplementedError:  # of filelock
        raise MirageError(f"--out={out} is on a disk that knows no file locks; choose a folder on another.") from None
    except OSError as error:
        raise MirageError(f"--out={out} can't be written ({_reason(error)}); nothing was exported.") from None
    finally:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextlib.contextmanager
def _workshop(target: Path, out: Path) -> Iterator[Path]:
    """A folder to build in: inside the target if there is one, which may be a mount point, and beside it otherwise."""
    inside = target.is_dir()
    # Of any name a few letters, since names are of any length and may begin with each other.
    mark = "" if inside else f"{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"
    place, prefix = target if inside else target.parent, f"{_WORKSHOP}{mark}"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with FileLock(folder / _LOCK):
            _clear(place, prefix, folder, out)
            yield folder


def _clear(place: Path, prefix: str, own: Path, out: Path) -> None:
    """Removes what killed exports left."""
    for path in place.glob(f"{prefix}*"):
        of_another = "-" in path.name.removeprefix(prefix)
        if path == own or of_another or path.is_symlink() or not (path / _LOCK).is_file():
            continue
        try:
            with FileLock(path / _LOCK, timeout=0):
                shutil.rmtree(path, ignore_errors=True)
        except Timeout:
            raise MirageError(
                f"another export to --out={out} is at work; wait for its end, or choose another folder."
            ) from None


def _listed(folder: Path, out: Path) -> list[str]:
    """Files of the bundle in a folder, its manifest last; none if the folder is empty.

    Raises:
      MirageError: if there are files, but no bundle, or if its manifest lists what is not in the folder.
    """
    if all(_is_workshop(path) for path in folder.iterdir()):
        return []
    try:
        names = [*read_manifest(folder).files, MANIFEST_FILE]
    except BundleError as error:
        if (folder / MANIFEST_FILE).exists():
            raise MirageError(
                f"--out={out} holds a manifest that can't be used, so nothing is replaced: {error}"
            ) from None
        raise MirageError(f"--out={out} is a folder with other files; choose a new folder.") from None
    for name in names:
        path = folder / name
        # The file itself may be a link: then the link is replaced.
        if not _is_inside(folder, name) or (path.is_dir() and not path.is_symlink()):
            raise MirageError(f"the manifest in {folder} lists {name!r}, which is no file in it; choose a new folder.")
    return names


def _is_inside(folder: Path, name: str) -> bool:
    """Whether a path that is relative to a folder leads to a place in it, through symbolic links too."""
    parent, root = (folder / name).parent.resolve(), folder.resolve()
    return ".." not in PurePosixPath(name).parts and (parent == root or root in parent.parents)


def _is_workshop(path: Path) -> bool:
    return path.name.startswith(_WORKSHOP) and (path / _LOCK).is_file()


def _replace(new: Path, target: Path, old: Path, out: Path) -> None:
    """Puts the files of a new bundle in the place of an older one's, or leaves these as they are.

    The manifest is replaced at the very end: what is killed before leaves files that the older one lists, or that the
    next export of the same generator recognises.
    """
    before = _listed(target, out)
    after = [path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file()]
    after.sort(key=lambda name: name == MANIFEST_FILE)  # last
    foreign = [name for name in after if not _is_inside(target, name)]
    foreign += [
        name
        for name in after
        if name not in before
        and os.path.lexists(target / name)
        and not ((target / name).is_file() and filecmp.cmp(new / name, target / name, shallow=False))
    ]
    if foreign:
        raise MirageError(
            f"--out={out} holds {', '.join(foreign[:_NAMED])}, which its bundle doesn't list and the new one would "
            "overwrite; move it, or choose another folder."
        )
    moves = [(target / name, old / name) for name in before[:-1] if os.path.lexists(target / name)]
    moves += [(new / name, target / name) for name in after]
    done: list[tuple[Path, Path]] = []
    try:
        for source, destination in moves:
            destination.parent.mkdir(parents=True, exist_ok=True)
            source.replace(destination)
            done.append((source, destination))
    except BaseException:
        for source, destination in reversed(done):
            source.parent.mkdir(parents=True, exist_ok=True)
            destination.replace(source)
        raise
    _remove_empty(target, before, after)


def _remove_empty(target: Path, before: list[str], after: list[str]) -> None:
    """Removes folders in which the older bundle had files, and the new one has none, if nobody else has."""
    older, newer = ({parent for name in names for parent in PurePosixPath(name).parents} for names in (before, after))
    for folder in sorted(older - newer, key=lambda each: len(each.parts), reverse=True):
        with contextlib.suppress(OSError):  # others' files are in it, or it is gone
            for inner in (target / folder).iterdir():  # TensorFlow makes folders without files
                if inner.is_dir() and not inner.is_symlink():
                    with contextlib.suppress(OSError):
                        inner.rmdir()
            (target / folder).rmdir()
