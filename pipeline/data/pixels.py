"""Images of any size and mode, made into the uint8 squares that networks take."""

import numpy as np
from PIL import Image, ImageOps

_GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"}


_ORIENTATION = 0x0112


def probe(image: Image.Image) -> tuple[tuple[int, int], bool]:
    """Reads of an image's head what `to_grey_or_rgb` will make of it.

    Returns:
      ((width, height), whether it is grey).
    """
    width, height = image.size
    turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height), image.mode in _GREY_MODES


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Converts to mode L if the image is grey, else to RGB.

    Orientation marks of cameras are applied, transparency is laid over white, and 16-bit greys
    are scaled to 8 bits.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image, np.int64) >> 8).clip(0, 255).astype(np.uint8))
    grey = image.mode in _GREY_MODES
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("L" if grey else "RGB")


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
