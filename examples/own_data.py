"""Data of your own: arrays, or anything that yields pictures.

  python own_data.py runs/own_data

`rings` is what --dataset=own_data:rings finds, so that the command line trains on the same pictures:

  python -m pipeline --dataset=own_data:rings --dataset_args=count=4000 --conditional --run_dir=runs/own_data
"""

import sys

import numpy as np

from pipeline import Experiment


def rings(count: int = 2000, size: int = 32, seed: int = 0):
    """Draws circles and squares.

    Returns:
      (images uint8 [count, size, size, 3], class names [count]).
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    images, names = np.empty((count, size, size, 3), np.uint8), []
    for index in range(count):
        centre, radius = rng.uniform(0.35, 0.65, 2) * size, rng.uniform(0.15, 0.3) * size
        round_one = index % 2 == 0
        dx, dy = np.abs(x - centre[0]), np.abs(y - centre[1])
        distance = np.hypot(dx, dy) if round_one else np.maximum(dx, dy)
        inside = np.clip(radius + 0.5 - distance, 0, 1)[..., None]
        images[index] = np.rint(inside * rng.uniform(96, 255, 3) + (1 - inside) * rng.uniform(0, 64))
        names.append("circle" if round_one else "square")
    return images, np.array(names)


if __name__ == "__main__":
    run = Experiment(
        data=rings(),
        conditional=True,
        batch_size=64,
        steps=int(sys.argv[2]) if len(sys.argv) > 2 else 1500,
        lr_decay_images=120_000,  # wherever a training of these steps is cut into parts
    ).train(sys.argv[1])
    print(run)
