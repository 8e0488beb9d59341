"""Image files: which there are, and how one is read whatever its bytes are."""

import contextlib
import io
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

from PIL import Image, UnidentifiedImageError

from pipeline.base.names import printable

_T = TypeVar("_T")

# Formats of which Pillow knows the head only, or which other programs must draw.
_UNREADABLE = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}

Image.preinit()  # so that the usual formats are tried first
Image.init()
_FORMATS = tuple(name for name in Image.ID if name not in _UNREADABLE)
_READABLE = {*_FORMATS, "MPO"}  # which Pillow opens as JPEG
ENDINGS = frozenset(ending for ending, name in Image.registered_extensions().items() if name in _READABLE)

logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)  # what it logs of a bad file is in its error


class BadImageError(Exception):
    """A file that holds no image that can be read; its message says why, in a clause."""


def read(content: bytes, use: Callable[[Image.Image], _T]) -> _T:
    """Opens an image and lets a function use it; nothing is printed. Several threads may do so at once.

    Args:
      content: of the file.
      use: what to do with the image, whose pixels are not decoded yet.

    Returns:
      What `use` returns.

    Raises:
      BadImageError: if the file can't be opened, identified or decoded.
    """
    if not content:
        raise BadImageError("empty file")
    try:
        with _UNWARNED, Image.open(io.BytesIO(content), formats=_FORMATS) as image, _quiet(image.format == "TIFF"):
            return use(image)
    except Exception as error:  # decoders raise what they like: whatever it is, the image can't be read
        raise BadImageError(reason_of(error)) from None


def several_pictures(image: Image.Image) -> bool:
    """Whether a file holds other pictures than the first one, such as an animation."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # of what stands behind the first picture
        return False


class _Unwarned:
    """Ignores warnings while any thread is in it: their filters belong to the whole process."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.__exit__(None, None, None)


_UNWARNED = _Unwarned()
_STDERR = threading.Lock()


@contextlib.contextmanager
def _quiet(needed: bool) -> Iterator[None]:
    """Keeps what libtiff prints of bad files from the terminal: it writes to standard error itself."""
    if not needed:
        yield
        return
    with _STDERR:
        kept = os.dup(2)
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def reason_of(error: Exception) -> str:
    """Says in a clause why a file can't be read."""
    if isinstance(error, UnidentifiedImageError):
        return "no image format that is known"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = printable(str(error), "\n").strip().splitlines()
    known = isinstance(error, OSError | ValueError | SyntaxError | Image.DecompressionBombError)
    text = lines[0][:150] if lines else ""
    return text if known and text else f"{type(error).__name__}: {text}".rstrip(": ")
