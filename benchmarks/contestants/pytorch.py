"""PyTorch, eager, with its fused Adam: the loop of the usual tutorial, without its wasted gradients."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.worker import Rounds, Work

_LATENT_DIM = 100


def _mlp() -> tuple[nn.Module, nn.Module]:
    parts: list[nn.Module] = []
    width = _LATENT_DIM
    for units in (256, 512, 1024):
        parts += [nn.Linear(width, units), nn.LeakyReLU(0.2), nn.BatchNorm1d(units, eps=1e-3, momentum=0.2)]
        width = units
    generator = nn.Sequential(*parts, nn.Linear(width, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))
    discriminator = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 512),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 1),
    )
    return generator, discriminator


def _dcgan() -> tuple[nn.Module, nn.Module]:
    def norm(channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)

    generator = nn.Sequential(
        nn.Linear(_LATENT_DIM, 7 * 7 * 128, bias=False),
        nn.BatchNorm1d(7 * 7 * 128, eps=1e-3, momentum=0.1),
        nn.ReLU(),
        nn.Unflatten(1, (128, 7, 7)),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False),
        norm(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False),
        norm(32),
        nn.ReLU(),
        nn.Conv2d(32, 1, 3, padding=1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 3, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(4 * 4 * 128, 1),
    )
    return generator, discriminator


class _Trainer:
    def __init__(self, generator: nn.Module, discriminator: nn.Module, images: Tensor) -> None:
        self._generator, self._discriminator, self._images = generator, discriminator, images
        self._g_optimizer, self._d_optimizer = (
            torch.optim.Adam(each.parameters(), 2e-4, (0.5, 0.999), fused=True) for each in (generator, discriminator)
        )

    def split_step(self, batch_size: int) -> Tensor:
        half = batch_size // 2
        self._d_update(functional.softplus(-self._discriminator(self._real(half))).mean())
        self._d_update(functional.softplus(self._discriminator(self._generated(half))).mean())
        return self._g_update(batch_size)

    def joint_step(self, batch_size: int) -> Tensor:
        real = functional.softplus(-self._discriminator(self._real(batch_size))).mean()
        fake = functional.softplus(self._discriminator(self._generated(batch_size))).mean()
        self._d_update((real + fake) / 2)
        return self._g_update(batch_size)

    def _real(self, count: int) -> Tensor:
        chosen = self._images[torch.randint(len(self._images), (count,))]
        return chosen.float() / 127.5 - 1

    @torch.no_grad()
    def _generated(self, count: int) -> Tensor:
        return self._generator(torch.randn(count, _LATENT_DIM))

    def _d_update(self, loss: Tensor) -> None:
        self._d_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._d_optimizer.step()

    def _g_update(self, count: int) -> Tensor:
        self._discriminator.requires_grad_(False)
        self._g_optimizer.zero_grad(set_to_none=True)
        generated = self._generator(torch.randn(count, _LATENT_DIM))
        loss = functional.softplus(-self._discriminator(generated)).mean()
        loss.backward()
        self._g_optimizer.step()
        self._discriminator.requires_grad_(True)
        return loss.detach()


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`."""
    generator, discriminator = {"mlp": _mlp, "dcgan": _dcgan}[work.networks]()
    # [N, H, W, C] to PyTorch's [N, C, H, W].
    images = torch.from_numpy(np.load(work.images)).permute(0, 3, 1, 2).contiguous()
    trainer = _Trainer(generator, discriminator, images)
    step = trainer.split_step if work.networks == "mlp" else trainer.joint_step
    rounds.ready(
        generator=sum(parameter.numel() for parameter in generator.parameters()),
        discriminator=sum(parameter.numel() for parameter in discriminator.parameters()),
    )
    for steps in rounds:
        for _ in range(steps):
            loss = step(work.batch_size)
        assert torch.isfinite(loss)
