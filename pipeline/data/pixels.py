"""Images of any size and mode, made into the uint8 squares that networks take."""

import re

import numpy as np
from PIL import Image, ImageCms, ImageOps

from pipeline.data.deep import Depths, is_deep, to_eight_bits

_GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"}
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def is_grey(image: Image.Image) -> bool:
    """Whether `to_grey_or_rgb` will make mode L of it."""
    return image.mode in _GREY_MODES


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of what `to_grey_or_rgb` will make of it."""
    width, height = image.size
    # The mark of a square doesn't matter, and may stand behind a PNG file's pixels.
    if width == height or _orientation(image) not in (5, 6, 7, 8):
        return width, height
    if image.format == "TIFF":  # which Pillow turns itself, the size sooner than the pixels
        image.load()
        return image.size
    return height, width


def to_grey_or_rgb(image: Image.Image, depths: Depths | None = None) -> Image.Image:
    """Converts to mode L if the image is grey, else to RGB.

    Orientation marks of cameras are applied, transparency is laid over white, and deep greys are scaled to 8 bits.

    Args:
      image: of any mode.
      depths: is told how much of their range deep images use.

    Raises:
      ValueError: if the file does not say what its values mean.
    """
    depths = depths or Depths()
    if is_deep(image):
        return _turned(image, to_eight_bits(image, depths))
    tile = str(getattr(image, "tile", ""))
    deep_colours = ";16" in tile and re.search(r";16[BLN]'", tile)  # Pillow takes their higher bytes
    image.load()
    image = _turned(image, image)
    if deep_colours:
        depths.add(0, max(high for _, high in _extrema(image)) / 255)
    grey = is_grey(image)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(lab, rgb, "LAB", "RGB").apply(image)
    return in_mode(image, "L" if grey else "RGB")


def _turned(original: Image.Image, image: Image.Image) -> Image.Image:
    """Applies the orientation mark of `original`, whose pixels are loaded, to `image`."""
    turn = _TURNS.get(_orientation(original))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The orientation mark, 1 to 8; 1 also if there is none.

    The other metadata are not decoded, and none are written, as `ImageOps.exif_transpose` does: cameras and editors
    leave many in which types are wrong.
    """
    if image.format == "PNG":
        image.load()  # metadata may stand behind the pixels
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises what it likes of metadata that are no EXIF: there is no mark in them
        return 1
    return value if value in _TURNS else 1


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    return [band.getextrema() for band in image.split()]  # type: ignore[misc]


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Converts, without a copy where there is nothing to do."""
    return image if image.mode == mode else image.convert(mode)


def fit(image: Image.Image, size: int) -> Image.Image:
    """Resizes so that the shorter side has `size` pixels, antialiased, and crops the centre."""
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS)


def fit_array(pixels: np.ndarray, size: int) -> np.ndarray:
    """Does what `fit` does to uint8 [H, W, C], C 1 or 3."""
    if pixels.shape[:2] == (size, size):
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return np.asarray(fit(image, size)).reshape(size, size, -1)
