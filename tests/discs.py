"""Pictures that follow three attributes: the colour of a disc, its side, and its size, a number."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = ("red", "right", "diameter")


def discs(count, size=16, seed=0):
    """Draws discs: (uint8 [N, size, size, 3], float32 [N, 3], whose columns are `COLUMNS`)."""
    rng = np.random.default_rng(seed)
    labels = np.stack(
        [rng.random(count) < 0.4, rng.random(count) < 0.6, rng.uniform(0.25, 0.6, count) * size], 1
    ).astype(np.float32)
    rows, columns = np.mgrid[:size, :size]
    images = np.empty((count, size, size, 3), np.uint8)
    for image, (red, right, diameter), wobble in zip(images, labels, rng.uniform(-1, 1, (count, 2)), strict=True):
        middle = size * (0.66 if right else 0.34) + wobble[0]
        distance = np.hypot(rows + 0.5 - size / 2 - wobble[1], columns + 0.5 - middle)
        inside = np.clip(diameter / 2 - distance + 0.5, 0, 1)[..., None]
        colour = np.array([230, 40, 40] if red else [40, 90, 230])
        image[:] = np.rint(40 + inside * (colour - 40))
    return images, labels


def write_discs(folder, count, size=16, seed=0):
    """Writes them as PNG files, with labels.csv beside them, in which yes and no are -1 and 1."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = discs(count, size, seed)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", *COLUMNS))
        for number, (image, (red, right, diameter)) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(folder / f"{number:05}.png")
            table.writerow((f"{number:05}.png", int(2 * red - 1), int(2 * right - 1), float(diameter)))
    return folder
