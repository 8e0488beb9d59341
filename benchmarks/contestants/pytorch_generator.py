"""PyTorch, eager: the generators of Mirage's networks, making pictures."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.worker import Rounds, Work

_INPUTS = 110  # a latent of 100 and the one-hot label


def _width(level: int) -> int:
    return min(32 * 2**level, 512)


def _mlp() -> nn.Module:
    parts: list[nn.Module] = []
    width = _INPUTS
    for units in (256, 512, 1024):
        parts += [nn.Linear(width, units), nn.LeakyReLU(0.2), nn.BatchNorm1d(units)]
        width = units
    return nn.Sequential(*parts, nn.Linear(width, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))


def _dcgan(size: int, channels: int) -> nn.Module:
    levels = int(math.log2(size / 4))
    base = math.ceil(size / 2**levels)
    planes = base**2 * _width(levels)
    parts: list[nn.Module] = [nn.Linear(_INPUTS, planes, bias=False), nn.BatchNorm1d(planes), nn.ReLU()]
    parts.append(nn.Unflatten(1, (_width(levels), base, base)))
    for level in reversed(range(levels)):
        parts.append(nn.ConvTranspose2d(_width(level + 1), _width(level), 4, 2, 1, bias=False))
        parts += [nn.BatchNorm2d(_width(level)), nn.ReLU()]
    return nn.Sequential(*parts, nn.Conv2d(_width(0), channels, 3, padding=1), nn.Tanh())


class _Block(nn.Module):
    def __init__(self, planes: int) -> None:
        super().__init__()
        self._inner = nn.Sequential(
            nn.Conv2d(planes, planes // 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(planes // 2, planes // 2, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(planes // 2, planes, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self._inner(x)


def _resnet(size: int, channels: int) -> nn.Module:
    levels = int(math.log2(size / 4))
    base = math.ceil(size / 2**levels)
    parts: list[nn.Module] = [nn.Linear(_INPUTS, base**2 * _width(levels))]
    parts += [nn.Unflatten(1, (_width(levels), base, base)), _Block(_width(levels)), _Block(_width(levels))]
    for level in reversed(range(levels)):
        parts.append(nn.Conv2d(_width(level + 1), _width(level), 1, bias=False))
        parts.append(nn.Upsample(scale_factor=2, mode="bilinear"))
        parts += [_Block(_width(level)), _Block(_width(level))]
    return nn.Sequential(*parts, nn.Conv2d(_width(0), channels, 3, padding=1), nn.Tanh())


_BUILDERS = {
    "mlp": _mlp,
    "dcgan": lambda: _dcgan(28, 1),
    "dcgan64": lambda: _dcgan(64, 3),
    "resnet": lambda: _resnet(28, 1),
}


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`; a step is a call, and options hold the number of threads."""
    torch.set_num_threads(work.options["threads"])
    generator = _BUILDERS[work.networks]().eval()
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((work.batch_size, _INPUTS), np.float32))
    with torch.inference_mode():
        rounds.ready(generator=sum(parameter.numel() for parameter in generator.parameters()))
        for calls in rounds:
            for _ in range(calls):
                image = generator(z)
                image.add(1).mul_(127.5).clamp_(0, 255).round_().to(torch.uint8).permute(0, 2, 3, 1).numpy()
