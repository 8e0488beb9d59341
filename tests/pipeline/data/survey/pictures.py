"""Pictures that look like photographs as far as hashes can tell: smooth, colourful, each another."""

import io

import numpy as np
from PIL import Image


def picture(seed, size=(64, 64)):
    """Random colours at few places, with smooth ones between."""
    rng = np.random.default_rng(seed)
    few = Image.fromarray(rng.integers(20, 225, (5, 5, 3), dtype=np.uint8))
    return few.resize(size, Image.Resampling.BICUBIC)


def again_as_jpeg(image, quality):
    """Compressed and read again."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(io.BytesIO(content.getvalue())).convert("RGB")
