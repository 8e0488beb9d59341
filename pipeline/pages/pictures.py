"""Pictures of a page: cut out of previews, made small enough, and written into it."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.pages.markup import Html, tag

_GAP = 2  # of previews, see `pipeline.runs.preview.grid`
_SIDE = 128  # pixels of an image on the page, at most
_JPEG_QUALITIES = (90, 80, 65, 50)
_MOST_OF_PNG = 100_000  # pixels: of more, it takes long to find out
_MOST_PIXELS = 60_000_000  # of a preview that is looked at

Pixels = NDArray[np.uint8]


def load(path: Path) -> Pixels | None:
    """Reads a picture, uint8 [H, W, C]; None if it isn't there or none."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            pixels = np.asarray(image.convert("L" if image.mode in ("L", "1", "I;16") else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return pixels[..., None] if pixels.ndim == 2 else pixels


def cells(picture: Pixels, image_shape: Sequence[int]) -> Pixels | None:
    """Cuts a preview into its images.

    Args:
      picture: as `pipeline.runs.preview.grid` lays it out.
      image_shape: (height, width, channels) of an image.

    Returns:
      uint8 [rows, columns, H, W, C]; None if it is laid out in another way.
    """
    height, width = image_shape[:2]
    rows, columns = ((size - _GAP) // (side + _GAP) for size, side in zip(picture.shape, (height, width), strict=False))
    if picture.shape[:2] != (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP) or not rows * columns:
        return None
    grid = picture[_GAP:, _GAP:].reshape(rows, height + _GAP, columns, width + _GAP, -1)
    return grid[:, :height, :, :width].transpose(0, 2, 1, 3, 4)


def strip(images: Iterable[Pixels], *, down: bool = False, side: int = _SIDE) -> Pixels:
    """Puts images in a row, or below one another, small ones enlarged and large ones reduced.

    Args:
      images: uint8 [H, W, C] each.
      down: below one another.
      side: of an image, in pixels, at most.
    """
    parts = []
    for image in images:
        shrink = max(image.shape[:2]) / side
        if shrink > 1:
            size = (max(1, round(image.shape[1] / shrink)), max(1, round(image.shape[0] / shrink)))
            image = np.asarray(_image(image).resize(size, Image.Resampling.LANCZOS)).reshape(*size[::-1], -1)
        parts.append(image)
    return np.concatenate(parts, axis=0 if down else 1)


def encoded(picture: Pixels, limit: int) -> tuple[str, bytes]:
    """Compresses a picture.

    Args:
      picture: uint8 [H, W, C].
      limit: bytes; it is coarsened until it fits.

    Returns:
      (media type, bytes): PNG, which loses nothing, unless JPEG is much smaller.
    """
    image = _image(picture)
    while True:
        png = _written(image, "PNG", optimize=True) if image.width * image.height < _MOST_OF_PNG else None
        for quality in _JPEG_QUALITIES:
            jpeg = _written(image, "JPEG", quality=quality, subsampling=0 if quality == _JPEG_QUALITIES[0] else 2)
            if png is not None and len(png) <= min(limit, 1.3 * len(jpeg)):
                return "image/png", png
            if len(jpeg) <= limit:
                return "image/jpeg", jpeg
        if min(image.size) < 2:
            return "image/jpeg", jpeg
        image = image.reduce(2)


def img(picture: Pixels, alt: str, limit: int = 150_000, **attributes: Any) -> Html:
    """Writes a picture into the page.

    Args:
      picture: uint8 [H, W, C].
      alt: what it shows.
      limit: bytes at most.
      **attributes: further ones of the element.
    """
    kind, content = encoded(picture, limit)
    height, width = picture.shape[:2]
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return tag("img", src=source, alt=alt, width=width, height=height, **attributes)


def spread(items: Sequence[Any], most: int = 12) -> list[Any]:
    """Chooses some over time, denser in the beginning where more happens, with the first and the last."""
    if len(items) <= most:
        return list(items)
    last = len(items) - 1
    places = {0, 1, last}
    for index in range(most - 1):
        places.add(round(math.exp(math.log(last) * index / (most - 2))))
    rest = iter(range(2, last))
    while len(places) < most:  # where the first ones fall together
        places.add(next(rest))
    return [items[place] for place in sorted(places)]


def _image(picture: Pixels) -> Image.Image:
    return Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)


def _written(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
