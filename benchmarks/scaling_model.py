"""How long a step takes on many GPUs, by a schedule of its traced graph; no TensorFlow.

Each replica has one device, which computes one operation at a time, and one wire, which carries one collective
at a time, in the order of the graph; both work at once where the graph lets them.

A collective of S bytes takes, on m machines of g GPUs each, as NCCL's rings do,

    2 (g - 1) / g * S / B_link  +  2 (m - 1) / m * S / B_network  +  start  +  2 ceil(log2 m) hop

where the machines' GPUs share one network card: each byte leaves a machine once for the sum and once for the result.
"""

import dataclasses
import heapq
import math
from collections.abc import Callable, Sequence
from typing import Protocol


class Planned(Protocol):
    """What the model needs to know of an operation; see `benchmarks.step_plan.Task`."""

    @property
    def macs(self) -> int:
        """Multiply-adds."""

    @property
    def launches(self) -> bool:
        """Whether it starts something on a device."""

    @property
    def message(self) -> int:
        """Bytes that it reduces over the replicas; 0 for all but collectives."""

    @property
    def after(self) -> tuple[int, ...]:
        """Positions of the operations that must be done before."""


@dataclasses.dataclass(frozen=True)
class Device:
    """What a GPU does.

    Attributes:
      macs_per_s: multiply-adds per second that it reaches.
      launch_s: shortest time of an operation.
    """

    macs_per_s: float
    launch_s: float


@dataclasses.dataclass(frozen=True)
class Wire:
    """What connects GPUs.

    Attributes:
      gpus: GPUs in each machine.
      link: bytes per second that a GPU's collectives reach within a machine, NCCL's "bus bandwidth".
      network: the same between machines, for each machine.
      start_s: time of a collective of no bytes within a machine.
      hop_s: from one machine to another.
    """

    gpus: int
    link: float
    network: float
    start_s: float
    hop_s: float

    def seconds(self, size: int, replicas: int) -> float:
        """Time of one collective.

        Args:
          size: its bytes, on each replica.
          replicas: number of replicas; 1 takes no time.
        """
        if replicas == 1:
            return 0.0
        here = min(replicas, self.gpus)
        machines = math.ceil(replicas / self.gpus)
        inside = 2 * (here - 1) / here * size / self.link
        between = 2 * (machines - 1) / machines * size / self.network
        return inside + between + self.start_s + 2 * math.ceil(math.log2(machines)) * self.hop_s


def scheduled(tasks: Sequence[Planned], compute: Callable[[Planned], float], carry: Callable[[int], float]) -> float:
    """Plays a step.

    Args:
      tasks: one replica's operations, each after those that it needs.
      compute: seconds that the device takes for an operation.
      carry: seconds that the wire takes for so many bytes.

    Returns:
      Seconds until all is done.
    """
    waiting = [len(task.after) for task in tasks]
    next_ones: list[list[int]] = [[] for _ in tasks]
    for index, task in enumerate(tasks):
        for before in task.after:
            next_ones[before].append(index)
    # (time from which it may run, position): in this order TensorFlow's executor takes them.
    ready = [(0.0, index) for index, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    ready_at = [0.0] * len(tasks)
    free = {False: 0.0, True: 0.0}  # the device, the wire
    end = 0.0
    while ready:
        at, index = heapq.heappop(ready)
        task = tasks[index]
        seconds = carry(task.message) if task.message else compute(task)
        done = at
        if seconds:
            done = free[bool(task.message)] = max(at, free[bool(task.message)]) + seconds
        end = max(end, done)
        for each in next_ones[index]:
            ready_at[each] = max(ready_at[each], done)
            waiting[each] -= 1
            if not waiting[each]:
                heapq.heappush(ready, (ready_at[each], each))
    return end


def step_seconds(
    tasks: Sequence[Planned], device: Device, wire: Wire, replicas: int, *, growth: float = 1.0
) -> tuple[float, float]:
    """Time of a step.

    Args:
      tasks: one replica's operations.
      device: what computes them.
      wire: what carries the collectives.
      replicas: how many there are.
      growth: by how much the local batch is larger than that of `tasks`; a smaller one has the same launches.

    Returns:
      (seconds of a step, seconds of its computation alone).
    """
    whole = sum(task.macs for task in tasks)
    launches = sum(task.launches for task in tasks)
    # Arithmetic stands for all work that grows with the batch: what runs between the products is part of the rate.
    work, floor = whole * growth / device.macs_per_s, launches * device.launch_s
    total = max(work, floor)

    def compute(task: Planned) -> float:
        return total * (task.macs / whole if work >= floor else task.launches / launches)

    return scheduled(tasks, compute, lambda size: wire.seconds(size, replicas)), total
