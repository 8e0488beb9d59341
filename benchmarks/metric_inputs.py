"""Pictures and weights that are the same on every machine, to compare metrics with other people's. NumPy only."""

from collections.abc import Mapping

import numpy as np


def inception_weights(layers: Mapping[str, tuple[int, int, int, int]], seed: int = 0) -> dict[str, np.ndarray]:
    """Makes random weights with the names of pytorch-fid's file.

    Args:
      layers: by name, the shape of each kernel: [height, width, in, out].
      seed: of the weights.

    Returns:
      Arrays by name, as PyTorch has them.
    """
    rng = np.random.RandomState(seed)  # whose numbers are promised never to change
    made: dict[str, np.ndarray] = {}
    for name in sorted(layers):
        height, width, fan_in, out = layers[name]
        deviation = np.sqrt(2 / (height * width * fan_in))
        kernel = rng.standard_normal((out, fan_in, height, width)) * deviation
        made[f"{name}.conv.weight"] = kernel.astype(np.float32)
        made[f"{name}.bn.weight"] = rng.uniform(0.8, 1.2, out).astype(np.float32)
        made[f"{name}.bn.bias"] = rng.uniform(-0.3, 0.3, out).astype(np.float32)
        made[f"{name}.bn.running_mean"] = rng.uniform(-0.3, 0.3, out).astype(np.float32)
        made[f"{name}.bn.running_var"] = rng.uniform(0.5, 1.5, out).astype(np.float32)
        made[f"{name}.bn.num_batches_tracked"] = np.array(0)
    made["fc.weight"], made["fc.bias"] = np.zeros((1008, 2048), np.float32), np.zeros(1008, np.float32)
    return made


def pictures(count: int, size: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Makes pictures with shapes and noise.

    Args:
      count: how many.
      size: height and width.
      channels: 1 or 3.
      seed: of what is on them.

    Returns:
      uint8 [count, size, size, channels].
    """
    rng = np.random.RandomState(seed)  # whose numbers are promised never to change
    coarse = rng.randint(0, 256, (count, -(-size // 4), -(-size // 4), channels))
    shapes = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :size, :size]
    return np.clip(shapes + rng.randint(-30, 31, shapes.shape), 0, 255).astype(np.uint8)
