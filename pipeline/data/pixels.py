"""Images of any size and mode, made into the uint8 arrays of one size that networks take."""

import re

import numpy as np
from PIL import Image, ImageCms, ImageOps

from pipeline.base.errors import MirageError
from pipeline.base.sizes import Size
from pipeline.data.deep import Depths, is_deep, to_eight_bits
from pipeline.data.options import DataOptions

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


def is_transparent(image: Image.Image) -> bool:
    """Whether an image has an alpha channel or a transparent colour."""
    return "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of what `to_grey_or_rgb` will make of it."""
    width, height = image.size
    # The mark of a square doesn't matter, and may stand behind a PNG file's pixels.
    if width == height or orientation(image) not in (5, 6, 7, 8):
        return width, height
    if image.format == "TIFF":  # which Pillow turns itself, the size sooner than the pixels
        image.load()
        return image.size
    return height, width


def to_grey_or_rgb(image: Image.Image, depths: Depths | None = None, *, keep: bool = False) -> Image.Image:
    """Converts to mode L if the image is grey, else to RGB.

    Orientation marks of cameras are applied, transparency is laid over white, and deep greys are scaled to 8 bits.

    Args:
      image: of any mode.
      depths: is told how much of their range deep images use.
      keep: whether transparent images become RGBA instead.

    Raises:
      ValueError: if the file does not say what its values mean.
    """
    depths = depths or Depths()
    grey = is_grey(image)
    if is_deep(image):
        image = _turned(image, to_eight_bits(image, depths))
    else:
        tile = str(getattr(image, "tile", ""))
        deep_colours = ";16" in tile and re.search(r";16[BLN]'", tile)  # Pillow takes their higher bytes
        image.load()
        image = _turned(image, image)
        if deep_colours:
            depths.add(0, max(high for _, high in _extrema(image)) / 255)
    if is_transparent(image):
        rgba = image.convert("RGBA")
        if keep:
            return rgba
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(lab, rgb, "LAB", "RGB").apply(image)
    return in_mode(image, "L" if grey else "RGB")


def _turned(original: Image.Image, image: Image.Image) -> Image.Image:
    """Applies the orientation mark of `original`, whose pixels are loaded, to `image`."""
    turn = _TURNS.get(orientation(original))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
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


def fit(image: Image.Image, size: Size, how: str) -> Image.Image:
    """Brings an image to a size, antialiased.

    Args:
      image: of mode L, RGB or RGBA.
      size: (height, width).
      how: one of `pipeline.data.options.FITS`: crop fills the size and cuts the centre out; pad puts the whole image
        into the middle, on a ground of the median colour of its outermost pixels; stretch changes its aspect; none
        changes nothing, whatever the image's size.
    """
    height, width = size
    if how == "none" or image.size == (width, height):
        return image
    if how == "crop":
        return ImageOps.fit(image, (width, height), method=Image.Resampling.LANCZOS)
    if how == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    return _padded(image, size)


def _padded(image: Image.Image, size: Size) -> Image.Image:
    """`ImageOps.pad`, which fails of slivers, on a ground of the image's own."""
    height, width = size
    right, bottom = image.size
    sides = [(0, 0, right, 1), (0, bottom - 1, right, bottom), (0, 0, 1, bottom), (right - 1, 0, right, bottom)]
    edge = np.concatenate([np.asarray(image.crop(side)).reshape(-1, len(image.getbands())) for side in sides])
    # The median of a plain ground is its colour whatever stands before it, which a mean is not.
    colour = np.sort(edge, axis=0)[len(edge) // 2].tolist()
    whole = Image.new(image.mode, (width, height), colour[0] if len(colour) == 1 else tuple(colour))
    scale = min(width / right, height / bottom)
    image = image.resize((max(1, round(right * scale)), max(1, round(bottom * scale))), Image.Resampling.LANCZOS)
    whole.paste(image, (round((width - image.width) * 0.5), round((height - image.height) * 0.5)))
    return whole


def fit_array(pixels: np.ndarray, options: DataOptions, given: str) -> np.ndarray:
    """Brings an array to the size in which images are prepared, as `fit` does.

    Args:
      pixels: uint8 [H, W, C].
      options: `image_size`, `fit` and `random_crop` count.
      given: what was given, as an error shall name it.

    Raises:
      MirageError: if `--fit=none` forbids it.
    """
    size = options.prepared_size
    if size is None or pixels.shape[:2] == size:
        return pixels
    if options.fit == "none":
        raise wrong_size(options, given, "an image", (pixels.shape[0], pixels.shape[1]))
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return np.asarray(fit(image, size, options.fit)).reshape(*size, -1)


def wrong_size(options: DataOptions, given: str, what: str, size: Size) -> MirageError:
    """What to raise if an image hasn't the size that `--fit=none` asks for."""
    expected = "x".join(map(str, options.prepared_size or size))
    why = f"--image_size={options.image_size}"
    if options.random_crop > 1:
        why = f"{why} longer by --random_crop={options.random_crop}"
    return MirageError(
        f"{given}: {what} has {size[0]}x{size[1]} pixels, and with --fit=none all must have {expected}, which is {why}"
        "; choose another --image_size, or --fit=crop, pad or stretch."
    )
