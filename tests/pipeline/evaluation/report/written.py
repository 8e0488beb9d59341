"""Run directories as trainings leave them, without a training."""

import json

import numpy as np

from pipeline.runs.layout import grid_labels
from pipeline.runs.preview import grid, write_png

SIDE = 12


def evaluation(step, distance, **more):
    return {
        "step": step,
        "images": 64 * step,
        "seconds": 0.5 * step,
        "frechet_distance": distance,
        "precision": 0.6,
        "recall": 0.5,
        "frechet_floor": 0.7,
        **more,
    }


def line(step, **more):
    figures = {"d_loss": 1 / step, "g_loss": 1.5, "d_acc_real": 0.8, "d_acc_fake": 0.7, "images_per_s": 320.5}
    return {"step": step, "images": 64 * step, "epoch": 0.1, **figures, "seconds": 0.5 * step, **more}


def previews(run_dir, steps, num_classes=0, side=SIDE, channels=1):
    labels, columns = grid_labels(num_classes)
    rng = np.random.default_rng(0)
    (run_dir / "samples").mkdir(exist_ok=True)
    for step in steps:
        pixels = rng.integers(0, 255, (len(labels), side, side, channels), np.uint8)
        write_png(run_dir / "samples" / f"step_{step:07}.png", grid(pixels, columns))


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
