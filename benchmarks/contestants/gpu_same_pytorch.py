"""Compares PyTorch's networks, losses and gradients with what `gpu_same_ours` wrote, eager and as they are compiled."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks import torch_networks
from benchmarks.torch_r3gan import Losses, to_images
from benchmarks.worker import Rounds, Work


class _Counter(TorchDispatchMode):
    """Counts operations by PyTorch's own formulas; its FlopCounterMode can't watch `torch.autograd.grad`."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`; its facts are the largest differences, as shares of the largest value."""
    with np.load(work.options["exchange"]) as file:
        ours = dict(file)
    height, _, channels = work.options["image_shape"]
    generator, discriminator = torch_networks.build(work.networks, height, channels)
    networks = {"g": generator, "d": discriminator}
    for name, network in networks.items():
        torch_networks.load_weights(network, [ours[key] for key in sorted(ours) if key.startswith(f"{name}.weight.")])
    pixels, z = torch.from_numpy(ours["pixels"]), torch.from_numpy(ours["z"])
    facts: dict[str, Any] = {}
    with torch.no_grad():
        images = generator(z[0]).permute(0, 2, 3, 1).numpy()
        facts["images"] = _difference([(images, ours["images"])])
        facts["logits"] = _difference([(discriminator(to_images(pixels)).numpy(), ours["logits"])])
    for kind, functional in (("", False), (" (torch.func)", True)):
        losses = Losses(generator, discriminator, gamma=0.5, functional=functional)
        with _Counter() as counter:
            d_figures, d_gradients = _gradients(losses.d, pixels, z[0], discriminator)
            discriminator.requires_grad_(False)
            g_figures, g_gradients = _gradients(losses.g, pixels, z[1], generator)
            discriminator.requires_grad_(True)
        facts[f"losses{kind}"] = _difference(
            zip(
                [*d_figures[[0, 1]], *g_figures],
                [ours["d.d_loss"], ours["d.d_acc_real"], ours["g.g_loss"]],
                strict=True,
            )
        )
        facts[f"penalties{kind}"] = _difference(zip(d_figures[2:], [ours["d.r1"], ours["d.r2"]], strict=True))
        for name, gradients in (("d", d_gradients), ("g", g_gradients)):
            theirs = [ours[key] for key in sorted(ours) if key.startswith(f"{name}.gradient.")]
            facts[f"{name}_gradients{kind}"] = _difference(zip(gradients, theirs, strict=True))
        facts[f"operations{kind}"] = counter.total
    rounds.explain(lambda: facts)
    rounds.ready(**torch_networks.sizes(generator=generator, discriminator=discriminator))
    for _ in rounds:
        raise ValueError("this only compares.")


def _gradients(
    loss_of: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    pixels: torch.Tensor,
    z: torch.Tensor,
    network: torch.nn.Module,
) -> tuple[np.ndarray, list[np.ndarray]]:
    network.zero_grad(set_to_none=True)
    loss, figures = loss_of(pixels, z)
    loss.backward()
    return figures.numpy(), [torch_networks.to_keras(each.grad.numpy()) for each in network.parameters()]


def _difference(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """The largest difference of each pair as a share of its largest value, of which some (a bias's gradient) are 0."""
    both = list(pairs)
    floor = 1e-3 * max(np.abs(b).max() for _, b in both)
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), floor)) for a, b in both)
