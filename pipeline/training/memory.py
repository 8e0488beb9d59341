"""How much memory a configuration needs on each device, estimated before it is trained."""

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.cluster.find import Cluster
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.devices.gpu_memory import gpu_memory
from pipeline.devices.live_memory import peak_bytes
from pipeline.devices.logical_devices import kind_and_count
from pipeline.devices.options import DeviceOptions
from pipeline.objectives.composition import check_divisible, compose
from pipeline.training.configured import trainee_of
from pipeline.training.feed import Layout
from pipeline.training.options import TrainingOptions
from pipeline.training.step import TrainStep
from pipeline.training.trainee import Trainee

_MIB = 2**20
# What TensorFlow and its libraries take beside tensors: on a GPU its context, kernels and the convolutions' workspace,
# on the CPU the process itself. Allowances, as that depends on versions and cards.
_LIBRARIES = {"GPU": 1024 * _MIB, "CPU": 768 * _MIB}
_STREAMED_BATCHES = 3  # one that is used, two that are read ahead
_SOME_IMAGES = 60_000  # where their number isn't known
_UNKNOWN_DATA = "data set, not prepared yet"
# Of micro-batches that are traced one by one.
_MOST_PARTS = 2


@dataclasses.dataclass(frozen=True)
class Devices:
    """What a run would use.

    Attributes:
      kind: "GPU" or "CPU".
      replicas: number over all workers.
      per_memory: how many of them share one GPU, or this machine's memory.
      free: bytes of memory that are free on the fullest GPU, or on this machine; None if that isn't known.
    """

    kind: str
    replicas: int
    per_memory: int
    free: int | None

    @classmethod
    def find(cls, options: DeviceOptions, cluster: Cluster | None) -> "Devices":
        """Looks at this machine, and leaves its GPUs alone."""
        kind, count = kind_and_count(options.virtual_devices)
        count = 1 if options.strategy == "one_device" else count
        replicas = count * (len(cluster.workers) if cluster else 1)
        if kind == "CPU":
            return cls(kind, replicas, count, free_host_memory())
        memory = gpu_memory()
        free = min((each.free for each in memory), default=None)
        return cls(kind, replicas, math.ceil(count / max(len(memory), 1)), free)


def free_host_memory() -> int | None:
    """Returns how many bytes this process may still take of the machine's memory; None if that isn't known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    # A container's limit, of control groups 2 and 1.
    group = Path("/sys/fs/cgroup")
    names = ("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")
    for limit, used in names:
        try:
            free = min(free, max(int((group / limit).read_text()) - int((group / used).read_text()), 0))
        except (OSError, ValueError):  # none, or "max"
            continue
    return free


def estimate(config: Config, data: DataSpec, replicas: int) -> tuple[dict[str, int], Trainee]:
    """Estimates what one replica holds while it trains.

    Networks, optimisers and one step are built, on the CPU, and the step is traced but not run.

    Args:
      config: the run's configuration.
      data: what it is trained on.
      replicas: number of replicas over all workers.

    Returns:
      (bytes by what they are for, the untrained networks). Weights, moments, average, gradients and data set are
      exact; what else the step computes is what TensorFlow without XLA needs, and usually within a quarter of it.

    Raises:
      MirageError: if the configuration can't work.
    """
    strategy = _replica_of(replicas)
    objective = compose(config.to_dict())
    updates = objective.updates(**_no_images(data), seed=config.seed)
    with strategy.scope():
        needs = objective.needs(updates, data.num_labels, config.latent_dim, data.attributes)
        trainee = trainee_of(config, data, objective=objective, needs=needs)
    traced = config if replicas == 1 else dataclasses.replace(config, accumulate=min(config.accumulate, _MOST_PARTS))
    check_divisible(config.batch_size, updates, replicas)
    layout = Layout(updates, config.batch_size, traced.accumulate, replicas)
    height, width, channels = data.image_shape
    given = *config.with_margin((height, width)), channels
    feed, margin = _NoImages(layout, given, len(data.attributes)), (given[0] - height, given[1] - width)
    step = TrainStep(traced, strategy, trainee, updates, feed, margin=margin)
    graph = step.trace(tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.float32))
    # An image lies there as bytes and as floats.
    inputs = (math.prod(given) + 4 * math.prod(data.image_shape)) * feed.count // traced.accumulate
    working = peak_bytes(graph) + (config.accumulate - traced.accumulate) * inputs
    gradients = max(_bytes(optimizer.variables) for optimizer in trainee.optimizers.values())
    weights = _bytes(variable.value for network in trainee.networks.values() for variable in network.variables)
    num_bytes = data.num_examples * math.prod(given)
    resident = num_bytes <= config.device_data_mb * _MIB
    ahead = _STREAMED_BATCHES * math.prod(given) * feed.count // traced.accumulate * config.accumulate
    images = num_bytes + (4 * len(data.attributes) or 8) * data.num_examples if resident else ahead
    how = "resident" if resident else "streamed"
    return {
        "weights": weights,
        "Adam's moments": 2 * sum(_bytes(optimizer.variables) for optimizer in trainee.optimizers.values()),
        **({"moving average": _bytes(v.value for v in trainee.ema.variables)} if trainee.ema is not None else {}),
        "gradients": gradients,
        "activations": max(working - gradients, 0),
        f"data set, {how}" if data.num_examples else _UNKNOWN_DATA: images,
    }, trainee


def table(rows: dict[str, int], options: TrainingOptions, devices: Devices) -> str:
    """Lays an estimate out for people, with what doesn't fit and what to change.

    Args:
      rows: see `estimate`.
      options: the run's batches and precision.
      devices: where it would run.
    """
    where = "the CPU" if devices.kind == "CPU" else "a GPU"
    count = devices.per_memory
    shared = count * sum(rows.values())
    total = shared + _LIBRARIES[devices.kind]
    lines = [
        f"Memory of {where}, estimated for --batch_size={options.batch_size} over {devices.replicas} "
        f"replica{'s' if devices.replicas > 1 else ''}, in MiB:"
    ]
    of_all = f"{count} replicas of {sum(rows.values()) / _MIB:,.1f}"
    more = {of_all: shared} if count > 1 else {}
    for name, size in {**rows, **more, "libraries, about": _LIBRARIES[devices.kind], "total": total}.items():
        lines.append(f"  {name:32}{size / _MIB:12,.1f}")
    if devices.free is None:
        return "\n".join([*lines, f"How much of {where} is free isn't known."])
    free = f"{devices.free / _MIB:,.0f} MiB of {where} are free"
    if total <= devices.free:
        fits = "Without the data set it fits" if _UNKNOWN_DATA in rows else "It fits"
        return "\n".join([*lines, f"{fits}: {free}."])
    return "\n".join([*lines, f"It does not fit: {free}. {_advice(rows, options, devices)}"])


def _advice(rows: dict[str, int], options: TrainingOptions, devices: Devices) -> str:
    """What to change so that it fits."""
    assert devices.free is not None
    room = (devices.free - _LIBRARIES[devices.kind]) / devices.per_memory
    resident = rows.get("data set, resident", 0)
    fixed = sum(rows.values()) - rows["activations"] - resident
    advice = []
    if resident > rows["activations"]:
        advice.append(f"--device_data_mb={resident // _MIB // 2} streams the data set instead")
    # Activations are as many as images.
    for parts in (2**power for power in range(1, 12)):
        if options.batch_size % (parts * devices.replicas):
            break
        if fixed + resident + rows["activations"] / parts <= room:
            smaller = f"--batch_size={options.batch_size // parts} --accumulate={options.accumulate * parts}"
            advice.append(f"{smaller} would, with the same updates but for batch norm")
            break
    if options.precision == "float32":
        advice.append("--precision=mixed_bfloat16 nearly halves activations")
    if not advice:
        advice.append("use smaller images or more devices")
    return f"{'; '.join(advice)}."


def _bytes(variables: Iterable[tf.Variable]) -> int:
    return sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)


class _NoImages:
    """A feed that is only traced."""

    def __init__(self, layout: Layout, image_shape: tuple[int, int, int], attributes: int) -> None:
        self.layout = layout
        self._attributes = attributes
        self.count = sum(layout.accumulate * block.count // layout.replicas for block in layout.blocks)
        self._image_shape = image_shape

    def next(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See `pipeline.training.feed.Feed`."""
        start = tf.cast(step, tf.int32)  # no constant, which would be computed beforehand
        images = tf.fill([self.count, *self._image_shape], tf.cast(start, tf.uint8))
        if self._attributes:
            return images, tf.fill([self.count, self._attributes], tf.cast(start, tf.float32))
        return images, tf.fill([self.count], start)

    def rewound(self) -> "_NoImages":
        """See `pipeline.training.feed.Feed`."""
        return self


def _replica_of(replicas: int) -> tf.distribute.Strategy:
    """A strategy that traces one replica of several, without the others; it can't be run."""
    from tensorflow.python.distribute.one_device_strategy import OneDeviceExtended

    class Extended(OneDeviceExtended):
        @property
        def _num_replicas_in_sync(self) -> int:
            return replicas

    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    strategy._extended = Extended(strategy, "/cpu:0")
    return strategy


def _no_images(data: DataSpec) -> dict[str, Any]:
    """Images and labels of the right shape and number, which take no memory, and what is known of them."""
    count = data.num_examples or _SOME_IMAGES
    labels = np.arange(count, dtype=np.int32) % max(len(data.class_names), 1)
    if data.attributes:
        labels = np.zeros((count, len(data.attributes)), np.float32)
    images = np.broadcast_to(np.uint8(0), (count, *data.image_shape))
    return {"images": images, "labels": labels, "num_labels": data.num_labels, "attributes": data.attributes}
