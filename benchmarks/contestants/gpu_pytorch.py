"""PyTorch at its best on a GPU: channels last in memory, cuDNN's benchmark, fused Adam, TF32 or autocast bfloat16.

`options["compile"]` is a mode of `torch.compile`, or None for eager execution; `options["graph"]` records the whole
step, optimisers included, into one CUDA graph, so that Python and launches cost nothing. See `benchmarks.torch_r3gan`.
"""

import math
import os
import platform
import time
from typing import Any

import numpy as np

from benchmarks.worker import Rounds, Work


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`."""
    options = work.options
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        os.environ[variable] = os.path.join(options["cache"], variable)  # so that compiling starts from nothing
    import torch

    from benchmarks import torch_networks
    from benchmarks.torch_r3gan import Losses, Step, captured

    device = torch.device("cuda" if options["device"] == "gpu" else "cpu")
    torch.backends.cudnn.benchmark = True
    tf32 = options["precision"] != "float32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32

    images = torch.from_numpy(np.load(work.images))
    torch.manual_seed(0)
    generator, discriminator = torch_networks.build(work.networks, images.shape[1], images.shape[3])
    losses = Losses(
        generator.to(device),
        discriminator.to(device),
        gamma=0.5,
        bfloat16=options["precision"] == "mixed_bfloat16",
        functional=options["compile"] is not None,
    )
    step = Step(
        losses, images.to(device), work.batch_size, compile_mode=options["compile"], capturable=bool(options["graph"])
    )
    facts: dict[str, Any] = {"parameters": torch_networks.sizes(generator=generator, discriminator=discriminator)}
    rounds.explain(lambda: facts | _figures_of(torch, device))
    rounds.ready()
    train = None
    for steps in rounds:
        if train is None:
            start = time.perf_counter()
            train = captured(step) if options["graph"] else step
            train()
            step.sums.sum().item()  # waits
            facts["compile_s"] = time.perf_counter() - start
        for _ in range(steps):
            train()
        assert math.isfinite(step.sums.sum().item()), step.sums
        step.sums.zero_()


def _figures_of(torch: Any, device: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"versions": {"python": platform.python_version(), "torch": torch.__version__}}
    if device.type == "cuda":
        facts["versions"] |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
        facts["card"] = torch.cuda.get_device_name()
        facts["memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
    return facts
