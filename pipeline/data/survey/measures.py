"""What is measured of each picture, as a row of a table that stays small with a million of them."""

import hashlib
import threading

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.deep import Depths, is_deep
from pipeline.data.image_file import several_pictures
from pipeline.data.pixels import is_grey, is_transparent, orientation, to_grey_or_rgb
from serving.contract.pixels import over_white

SIDE = 16  # of the little grey picture by which pictures are compared
_PATCHES = 4  # a side of the still smaller one of their colours

# What a file is that a reader of the report should know of, a bit each.
ANIMATED, TRANSPARENT, CMYK, DEEP, TURNED, GREY, ALPHA = (1 << bit for bit in range(7))

ROW = np.dtype(
    [
        ("file", "<u8", 2),  # of the SHA-256 of its bytes; zeros where there is no file
        ("pixels", "<u8", 2),  # of a checksum of its pixels, upright
        ("bytes", "<i8"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("traits", "<u2"),
        ("format", "<u1"),  # numbers in `Kinds`
        ("mode", "<u1"),
        ("mean", "<f4"),  # of its greys, 0 to 255
        ("deviation", "<f4"),
        ("little", "u1", (SIDE, SIDE)),
        ("colours", "u1", (_PATCHES, _PATCHES, 2)),
    ]
)
_LEVELS = np.arange(256.0)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Kinds:
    """Numbers names, such as those of formats; safe in threads."""

    def __init__(self) -> None:
        """Without any."""
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def number(self, name: str) -> int:
        """The number of a name."""
        with self._lock:
            return self._numbers.setdefault(name, min(len(self._numbers), 255))

    def counts(self, column: NDArray[np.uint8]) -> dict[str, int]:
        """How often each name stands in a column, the most frequent first."""
        found = np.bincount(column, minlength=256)
        named: dict[str, int] = {}
        for name, number in self._numbers.items():
            if found[number]:
                named[name] = int(found[number])
        return dict(sorted(named.items(), key=lambda each: -each[1]))


class Ruler:
    """Measures pictures; several threads may at once.

    Attributes:
      formats: of files.
      modes: of files, as Pillow names them.
      depths: what pictures of more than eight bits use of their range.
    """

    def __init__(self) -> None:
        """Before any picture."""
        self.formats, self.modes, self.depths = Kinds(), Kinds(), Depths()

    def of_file(self, content: bytes, file: Image.Image) -> tuple:
        """Measures a file.

        Args:
          content: its bytes.
          file: the image in them, not decoded yet.

        Returns:
          A value for each field of `ROW`.

        Raises:
          Exception: whatever decoders raise of bad files.
        """
        # Before the pixels, which may take these with them.
        traits = ANIMATED * several_pictures(file) + CMYK * (file.mode == "CMYK") + DEEP * _deep(file)
        traits += ALPHA * is_transparent(file)
        name, mode = file.format or "", file.mode
        image = to_grey_or_rgb(file, self.depths)
        traits += TRANSPARENT * _transparent(file) + TURNED * (orientation(file) != 1)
        digest = np.frombuffer(hashlib.sha256(content).digest()[:16], "<u8")
        head = digest, _checksum(image), len(content), *image.size, traits + GREY * (image.mode == "L")
        return *head, self.formats.number(name), self.modes.number(mode), *looks_of(image)

    def of_pixels(self, pixels: NDArray[np.uint8]) -> tuple:
        """Measures a picture that is no file, uint8 [H, W, C]; returns a value for each field of `ROW`."""
        image, mode = as_image(pixels), _MODES[pixels.shape[2]]
        traits = GREY * is_grey(image) + ALPHA * (mode == "RGBA")
        traits += TRANSPARENT * (mode == "RGBA" and bool((pixels[..., 3] < 255).any()))
        none = np.zeros(2, np.uint64)
        head = none, _checksum(image), pixels.nbytes, *image.size, traits, self.formats.number("")
        return *head, self.modes.number(mode), *looks_of(image)


def as_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """An image of uint8 [H, W, C], of four channels over white."""
    pixels = over_white(pixels) if pixels.shape[2] == 4 else pixels
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def looks_of(image: Image.Image) -> tuple[float, float, NDArray[np.uint8], NDArray[np.uint8]]:
    """Measures the looks of a picture of mode L or RGB: mean, deviation, and the two little pictures."""
    grey = image if image.mode == "L" else image.convert("L")
    histogram = np.array(grey.histogram(), float)
    mean = histogram @ _LEVELS / histogram.sum()
    deviation = np.sqrt(histogram @ (_LEVELS - mean) ** 2 / histogram.sum())
    little = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))
    if image.mode == "L":
        return mean, deviation, little, np.full((_PATCHES, _PATCHES, 2), 128, np.uint8)
    patches = image.resize((_PATCHES, _PATCHES), Image.Resampling.BOX).convert("YCbCr")
    return mean, deviation, little, np.asarray(patches)[..., 1:]


def _checksum(image: Image.Image) -> NDArray[np.uint64]:
    digest = hashlib.blake2b(f"{image.mode} {image.size}".encode(), digest_size=16)
    digest.update(image.tobytes())
    return np.frombuffer(digest.digest(), "<u8")


def _deep(file: Image.Image) -> bool:
    return is_deep(file) or ";16" in str(getattr(file, "tile", ""))


def _transparent(file: Image.Image) -> bool:
    """Whether any pixel is not opaque: many files have an alpha channel of which nothing is to be seen."""
    if not is_transparent(file):
        return False
    if "transparency" in file.info:
        return True
    low, _ = file.getchannel(len(file.getbands()) - 1).getextrema()
    return low < 255  # type: ignore[operator]
