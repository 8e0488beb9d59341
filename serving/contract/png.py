"""PNG files and picture grids with nothing but numpy and the standard library."""

import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # PNG's numbers for grey, RGB and RGBA


def encode(picture: NDArray[np.uint8]) -> bytes:
    """Encodes a picture as PNG (W3C Portable Network Graphics, third edition).

    Args:
      picture: uint8 [H, W, C], C 1 (grey), 3 (RGB) or 4 (RGBA, straight).

    Returns:
      The file's bytes.

    Raises:
      ValueError: for another shape or dtype.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in _COLOUR_TYPES or not picture.size:
        raise ValueError(f"expected uint8 [H, W, 1, 3 or 4], not {picture.dtype} {list(picture.shape)}.")
    height, width, channels = picture.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    # Each row begins with the number of its filter; 0 is none.
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def grid(images: NDArray[np.uint8], columns: int, gap: int = 2) -> NDArray[np.uint8]:
    """Arranges images row by row on a white ground; those with an alpha channel, on a transparent one.

    Args:
      images: uint8 [n, H, W, C], n at least 1.
      columns: images per row.
      gap: pixels between images and around them.

    Returns:
      uint8 [height, width, C].
    """
    count, height, width, channels = images.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    shape = (rows * (height + gap) + gap, columns * (width + gap) + gap, channels)
    picture = np.full(shape, 0 if channels == 4 else 255, np.uint8)
    for index, image in enumerate(images):
        top = gap + index // columns * (height + gap)
        left = gap + index % columns * (width + gap)
        picture[top : top + height, left : left + width] = image
    return picture


def write(path: Path, picture: NDArray[np.uint8]) -> None:
    """Writes a PNG file, which appears under its name only when complete."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(encode(picture))
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
