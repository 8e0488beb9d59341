"""What a training computes on, and how. Needs only the standard library."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.parameters import Parameters, parameter

# A shorter run would end sooner without the measurement.
JIT_WORTHWHILE_STEPS = 1000


@dataclasses.dataclass(frozen=True)
class DeviceOptions(Parameters):
    """What a training computes on, and how. Field names are flag names."""

    tf32: bool = parameter(
        True,
        "on GPUs, multiply the float32 matrices and convolutions of training in TF32, which has 10 bits of precision.",
    )
    deterministic: bool = parameter(
        True,
        "on GPUs, use kernels that give the same bits each time only, so that a continued run ends as if it had never "
        "stopped; CPUs do so anyway.",
        may_change=True,
    )
    strategy: str = parameter(
        "auto",
        "one_device: the first device only; mirrored: one replica on each GPU of this machine (or each virtual "
        "device); multi_worker: the same on each worker of a cluster, found in TF_CONFIG or Slurm's variables; auto: "
        "whichever of them fits.",
        choices=("auto", "one_device", "mirrored", "multi_worker"),
        may_change=True,
        may_differ=True,
    )
    virtual_devices: int = parameter(
        0,
        "train on this many logical devices, into which GPUs (or the CPU, where there is none) are split evenly, to "
        "try several replicas on one; 0 uses the real devices.",
        minimum=0,
        may_change=True,
    )
    jit: str = parameter(
        "auto",
        f"compile the step with XLA: on, off, or auto: in a run of at least {JIT_WORTHWHILE_STEPS} steps, what is "
        "faster, which GPUs measure; CPUs compile mlp only.",
        choices=("auto", "on", "off"),
        may_change=True,
    )
    steps_per_call: int = parameter(
        20,
        "training steps that run inside TensorFlow for each call from Python.",
        minimum=1,
        may_change=True,
    )
    timeout_s: int = parameter(
        600,
        "in a cluster: seconds without progress after which a process gives up waiting for the others.",
        minimum=1,
        may_change=True,
        may_differ=True,
    )

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        if self.strategy == "one_device" and self.virtual_devices > 1:
            raise MirageError(
                f"--virtual_devices={self.virtual_devices} does not go with --strategy=one_device, which uses one "
                "device; use --strategy=mirrored."
            )
