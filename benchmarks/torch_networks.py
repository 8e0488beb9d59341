"""The networks of `pipeline/networks/` in PyTorch, for images of a size that halves down to 4 pixels or to 7.

They compute on [N, C, H, W] with the channels last in memory, so that flattening and unflattening, in the order of
[N, H, W, C], move nothing, and weights of dense layers mean what they mean in Keras.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

LATENT_DIM = 100
_SLOPE = 0.2


def _width(level: int) -> int:
    return min(32 * 2**level, 512)


class _Unflatten(nn.Module):
    """[N, H * W * C] to [N, C, H, W]."""

    def __init__(self, size: int, planes: int) -> None:
        super().__init__()
        self._shape = size, size, planes

    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, *self._shape).permute(0, 3, 1, 2)


class _Logit(nn.Module):
    """[N, C, H, W] to [N]."""

    def __init__(self, size: int, planes: int) -> None:
        super().__init__()
        self._dense = nn.Linear(size * size * planes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self._dense(x.permute(0, 2, 3, 1).flatten(1)).squeeze(1)


class _Block(nn.Module):
    def __init__(self, planes: int) -> None:
        super().__init__()
        inner = planes // 2
        self._inner = nn.Sequential(
            nn.Conv2d(planes, inner, 1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(inner, inner, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(inner, planes, 1, bias=False),
        )
        nn.init.zeros_(self._inner[-1].weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self._inner(x)


def _dcgan_generator(size: int, channels: int) -> nn.Module:
    levels, base = _levels(size)
    planes = base**2 * _width(levels)
    parts: list[nn.Module] = [nn.Linear(LATENT_DIM, planes, bias=False), nn.BatchNorm1d(planes, 1e-3, 0.1), nn.ReLU()]
    parts.append(_Unflatten(base, _width(levels)))
    for level in reversed(range(levels)):
        parts.append(nn.ConvTranspose2d(_width(level + 1), _width(level), 4, 2, 1, bias=False))
        parts += [nn.BatchNorm2d(_width(level), 1e-3, 0.1), nn.ReLU()]
    return nn.Sequential(*parts, nn.Conv2d(_width(0), channels, 3, padding=1), nn.Tanh())


def _dcgan_discriminator(size: int, channels: int) -> nn.Module:
    parts: list[nn.Module] = []
    level = 0
    while size > 4:
        planes = _width(level - 1) if level else channels
        parts += [nn.Conv2d(planes, _width(level), 4 if size % 2 == 0 else 3, 2, 1), nn.LeakyReLU(_SLOPE)]
        size, level = math.ceil(size / 2), level + 1
    return nn.Sequential(*parts, _Logit(size, _width(level - 1)))


def _resnet_generator(size: int, channels: int) -> nn.Module:
    levels, base = _levels(size)
    widest = _width(levels)
    parts: list[nn.Module] = [nn.Linear(LATENT_DIM, base**2 * widest), _Unflatten(base, widest)]
    parts += [_Block(widest), _Block(widest)]
    for level in reversed(range(levels)):
        parts += [_fit(_width(level + 1), _width(level)), nn.Upsample(scale_factor=2, mode="bilinear")]
        parts += [_Block(_width(level)), _Block(_width(level))]
    return nn.Sequential(*parts, nn.Conv2d(_width(0), channels, 3, padding=1), nn.Tanh())


def _resnet_discriminator(size: int, channels: int) -> nn.Module:
    parts: list[nn.Module] = [nn.Conv2d(channels, _width(0), 3, padding=1), _Block(_width(0)), _Block(_width(0))]
    level = 0
    while size > 4:
        parts += [nn.AvgPool2d(2), _fit(_width(level), _width(level + 1))]
        size, level = size // 2, level + 1
        parts += [_Block(_width(level)), _Block(_width(level))]
    return nn.Sequential(*parts, _Logit(size, _width(level)))


def _levels(size: int) -> tuple[int, int]:
    levels = int(math.log2(size / 4))
    return levels, size // 2**levels


def _fit(planes: int, wanted: int) -> nn.Module:
    return nn.Conv2d(planes, wanted, 1, bias=False) if planes != wanted else nn.Identity()


_PAIRS = {
    "dcgan": (_dcgan_generator, _dcgan_discriminator),
    "resnet": (_resnet_generator, _resnet_discriminator),
}


def build(networks: str, size: int, channels: int) -> tuple[nn.Module, nn.Module]:
    """Builds the generator and the discriminator.

    Args:
      networks: "dcgan" or "resnet".
      size: pixels on each side.
      channels: 1 or 3.

    Returns:
      (generator of z [N, 100] -> images [N, channels, size, size] in [-1, 1], discriminator of images -> logits [N]).

    Raises:
      ValueError: if the size doesn't halve to 4 pixels (for "dcgan" also to 7), where PyTorch's layers crop and pad
        as Keras's do.
    """
    _, base = _levels(size)
    if size != base * 2 ** _levels(size)[0] or base not in ((4, 7) if networks == "dcgan" else (4,)):
        raise ValueError(f"{networks} is not built for {size} pixels here.")
    generator, discriminator = _PAIRS[networks]
    last = torch.channels_last
    return generator(size, channels).to(memory_format=last), discriminator(size, channels).to(memory_format=last)


def to_keras(parameter: np.ndarray) -> np.ndarray:
    """Turns a kernel of PyTorch, or its gradient, into Keras's order; vectors stay as they are."""
    return parameter.transpose(2, 3, 1, 0) if parameter.ndim == 4 else parameter.T


def load_weights(network: nn.Module, weights: Sequence[np.ndarray]) -> None:
    """Gives a network the trainable weights of a Keras model, in its order.

    Args:
      network: the same network.
      weights: of `model.trainable_variables`.

    Raises:
      ValueError: if they are not as many, or a shape differs.
    """
    for parameter, values in zip(network.parameters(), weights, strict=True):
        turned = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T
        if turned.shape != tuple(parameter.shape):
            raise ValueError(f"a weight of shape {values.shape} is no weight of shape {tuple(parameter.shape)}.")
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(turned)))


def sizes(**networks: nn.Module) -> Mapping[str, int]:
    """Numbers of trainable weights by name."""
    return {name: sum(each.numel() for each in network.parameters()) for name, network in networks.items()}
