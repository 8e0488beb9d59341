"""PyTorch's generators as ONNX files, by its own exporter. Needs PyTorch and onnx only.

python benchmarks/adoption_torch.py FOLDER
"""

import itertools
import sys
from pathlib import Path

import torch
from torch import nn


def dcgan() -> nn.Module:
    """The generator of PyTorch's DCGAN tutorial, 64 pixels."""
    blocks: list[nn.Module] = []
    sizes = (100, 512, 256, 128, 64)
    for place, (a, b) in enumerate(itertools.pairwise(sizes)):
        stride, pad = (2, 1) if place else (1, 0)
        blocks += [nn.ConvTranspose2d(a, b, 4, stride, pad, bias=False), nn.BatchNorm2d(b), nn.ReLU(True)]
    return nn.Sequential(*blocks, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())


class Upsampling(nn.Module):
    """A dense layer, and convolutions of enlarged pictures, as in PyTorch-GAN's DCGAN."""

    def __init__(self) -> None:
        """Makes the layers."""
        super().__init__()
        self.dense = nn.Linear(100, 128 * 8 * 8)
        self.blocks = nn.Sequential(
            *[nn.BatchNorm2d(128), nn.Upsample(scale_factor=2), nn.Conv2d(128, 128, 3, padding=1)],
            *[
                nn.BatchNorm2d(128, 0.8),
                nn.LeakyReLU(0.2),
                nn.Upsample(scale_factor=2),
                nn.Conv2d(128, 64, 3, padding=1),
            ],
            *[nn.BatchNorm2d(64, 0.8), nn.LeakyReLU(0.2), nn.Conv2d(64, 1, 3, padding=1), nn.Tanh()],
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Makes pictures, [N, 1, 32, 32]."""
        return self.blocks(self.dense(z).view(z.shape[0], 128, 8, 8))


class Conditional(nn.Module):
    """Dense layers of a latent and an embedded label, as in PyTorch-GAN's CGAN."""

    def __init__(self) -> None:
        """Makes the layers."""
        super().__init__()
        self.embedding = nn.Embedding(10, 10)
        layers: list[nn.Module] = [nn.Linear(110, 128), nn.LeakyReLU(0.2)]
        for a, b in ((128, 256), (256, 512), (512, 1024)):
            layers += [nn.Linear(a, b), nn.BatchNorm1d(b, 0.8), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(1024, 28 * 28), nn.Tanh())

    def forward(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Makes pictures, [N, 1, 28, 28]."""
        return self.layers(torch.cat((self.embedding(labels), noise), -1)).view(-1, 1, 28, 28)


def main(folder: Path) -> None:
    """Exports all."""
    torch.manual_seed(0)
    z = torch.randn(2, 100)
    cases = {
        "torch_dcgan": (dcgan(), (z[:, :, None, None],), ["z"]),
        "torch_upsampling": (Upsampling(), (z,), ["z"]),
        "torch_conditional": (Conditional(), (z, torch.tensor([0, 1])), ["noise", "labels"]),
    }
    for name, (network, inputs, names) in cases.items():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(layer.running_var, 0.5, 2)
                nn.init.normal_(layer.running_mean, std=0.3)
                nn.init.uniform_(layer.weight, 0.5, 2)
                nn.init.normal_(layer.bias, std=0.3)
        free = {each: {0: "batch"} for each in [*names, "image"]}
        options = {"input_names": names, "output_names": ["image"], "dynamic_axes": free, "dynamo": False}
        torch.onnx.export(network.eval(), inputs, str(folder / f"{name}.onnx"), **options)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
