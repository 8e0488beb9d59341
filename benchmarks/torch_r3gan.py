"""R3GAN's losses and a training step in PyTorch, as `pipeline.objectives.r3gan` and `pipeline.training.step` have them.

What differs from ours, none of it arithmetic that takes time: batch norm averages the unbiased variance, Adam's epsilon
stands where PyTorch puts it, the average generator has a constant half life, and images are drawn with replacement.

How second-order gradients are compiled: AOTAutograd refuses to differentiate its own backward pass, so a compiled
discriminator inside `torch.autograd.grad(create_graph=True)` fails. But the penalty's gradient may be part of what
is compiled, if `torch.func.grad` takes it: then the compiler traces the gradient as ordinary arithmetic, and its
derivative with respect to the weights is a first-order backward pass. So everything is compiled here, forward, penalty
and backward, in one graph for each update (`fullgraph=True`), the look-up of the images and their conversion included.
Outside are the random numbers, Adam (a fused kernel already) and the average.
"""

import copy
import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.torch_networks import LATENT_DIM

METRICS = ("d_loss", "d_acc", "r1", "r2", "g_loss")


@dataclasses.dataclass
class Losses:
    """The losses of both updates.

    Attributes:
      generator: z [n, 100] -> images.
      discriminator: images -> logits.
      gamma: weight of the penalties.
      bfloat16: whether networks compute in it, by autocast.
      functional: whether `torch.func.grad` takes the penalties' gradient, which can be compiled; otherwise autograd,
        which is faster where nothing is.
    """

    generator: nn.Module
    discriminator: nn.Module
    gamma: float
    bfloat16: bool = False
    functional: bool = False

    def d(self, pixels: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (loss, [d_loss, share of pairs judged right, r1, r2]) of uint8 [n, H, W, C] and latents."""
        with torch.no_grad():
            images = torch.cat([to_images(pixels), self._call(self.generator, z)])
        logits, gradient = (self._judged_functionally if self.functional else self._judged)(images)
        penalties = gradient.square().sum([1, 2, 3])
        (real, fake), (r1, r2) = logits.chunk(2), penalties.chunk(2)
        adversarial = functional.softplus(fake - real).mean()
        r1, r2 = r1.mean(), r2.mean()
        figures = torch.stack([adversarial, (real > fake).float().mean(), r1, r2])
        return adversarial + self.gamma / 2 * (r1 + r2), figures.detach()

    def g(self, pixels: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (loss, [g_loss]); the discriminator's weights must not require gradients."""
        with torch.no_grad():
            real = self._call(self.discriminator, to_images(pixels))
        fake = self._call(self.discriminator, self._call(self.generator, z))
        loss = functional.softplus(real - fake).mean()
        return loss, loss.detach()[None]

    def _call(self, network: nn.Module, x: Tensor) -> Tensor:
        # A cache of cast weights would save nothing, as a region calls a network once, and CUDA graphs forbid it.
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16, cache_enabled=False):
            return network(x).float()

    def _judged(self, images: Tensor) -> tuple[Tensor, Tensor]:
        images = images.requires_grad_()
        logits = self._call(self.discriminator, images)
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return logits, gradient

    def _judged_functionally(self, images: Tensor) -> tuple[Tensor, Tensor]:
        def total(x: Tensor) -> tuple[Tensor, Tensor]:
            logits = self._call(self.discriminator, x)
            return logits.sum(), logits

        gradient, logits = torch.func.grad(total, has_aux=True)(images)
        return logits, gradient


def to_images(pixels: Tensor) -> Tensor:
    """Turns uint8 [n, H, W, C] into float32 [n, C, H, W] in [-1, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


class Step:
    """A training step: an update of the discriminator, one of the generator, and the generator's average.

    Attributes:
      sums: float32 [len(METRICS)], sums of the steps' figures.
    """

    def __init__(
        self, losses: Losses, pixels: Tensor, batch_size: int, *, compile_mode: str | None, capturable: bool
    ) -> None:
        """Prepares the step.

        Args:
          losses: with networks on the device.
          pixels: the training images, uint8 [N, H, W, C], on the device.
          batch_size: images per update.
          compile_mode: of `torch.compile`, or None to compile nothing.
          capturable: whether a CUDA graph may hold the step.
        """
        generator, discriminator = losses.generator, losses.discriminator
        for module in generator.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.num_batches_tracked = None  # a kernel each, for a number that nobody reads
        self._discriminator = discriminator
        self._pixels, self._batch_size = pixels, batch_size
        self._optimizers = [
            torch.optim.Adam(each.parameters(), 2e-4, (0.0, 0.99), fused=True, capturable=capturable)
            for each in (discriminator, generator)
        ]
        average = copy.deepcopy(generator)
        self._current, self._average = _state(generator), _state(average)
        self.sums = torch.zeros(len(METRICS), device=pixels.device)
        self._d: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = losses.d
        self._g: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = losses.g
        if compile_mode is not None:
            self._d, self._g = (torch.compile(each, fullgraph=True, mode=compile_mode) for each in (losses.d, losses.g))

    def __call__(self) -> None:
        """Trains one step."""
        device = self._pixels.device
        torch.compiler.cudagraph_mark_step_begin()
        pixels = self._pixels[torch.randint(len(self._pixels), (self._batch_size,), device=device)]
        d_optimizer, g_optimizer = self._optimizers
        z = torch.randn(2, self._batch_size, LATENT_DIM, device=device)
        loss, d_figures = self._d(pixels, z[0])
        self._update(d_optimizer, loss)
        self._discriminator.requires_grad_(False)
        loss, g_figures = self._g(pixels, z[1])
        self._update(g_optimizer, loss)
        self._discriminator.requires_grad_(True)
        self.sums += torch.cat([d_figures, g_figures])
        torch._foreach_lerp_(self._average, self._current, 1e-3)

    def _update(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _state(network: nn.Module) -> list[Tensor]:
    return [each.detach() for each in (*network.parameters(), *network.buffers())]


def captured(step: Step) -> Callable[[], None]:
    """Records the step into a CUDA graph after steps that compile and choose kernels; returns what replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph.replay
