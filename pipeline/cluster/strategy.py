"""From flags and environment to a `tf.distribute` strategy."""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.cluster.find import Cluster
from pipeline.devices.logical_devices import configure_devices, kind_and_count, share_a_gpu

_KEYS_PER_STRATEGY = 100_000
_strategies = itertools.count()


def make_strategy(name: str, virtual_devices: int = 0, cluster: Cluster | None = None) -> tf.distribute.Strategy:
    """Creates the distribution strategy.

    Args:
      name: "one_device" (the first GPU, or the CPU), "mirrored" (a replica on each GPU of this machine, or on
        each logical device), "multi_worker" (the same on each worker of the cluster), or "auto": multi_worker in
        a cluster, else mirrored if there are several devices, else one_device.
      virtual_devices: number of logical devices to train on; 0 leaves devices as they are. Where there are fewer
        GPUs, they are split evenly, each of the parts of a GPU with an equal share of its memory; where there is
        none, the CPU is.
      cluster: the cluster that this process is part of, if any.

    Returns:
      The strategy.

    Raises:
      MirageError: if the strategy doesn't go with the cluster or the devices, if TensorFlow has already started
        with fewer logical devices, or if the GPUs can't be split.
    """
    if name == "auto" and cluster is not None:
        name = "multi_worker"
    if name == "multi_worker" and cluster is None:
        raise MirageError(
            "--strategy=multi_worker needs a cluster in the environment (TF_CONFIG, or Slurm's srun); for several "
            "processes on this machine use python -m pipeline.launch."
        )
    if name == "multi_worker" and cluster is not None:
        configure_devices(virtual_devices, start=False)
        return _multi_worker(cluster, virtual_devices)
    configure_devices(virtual_devices)
    kind, _ = kind_and_count(virtual_devices)
    logical = tuple(device.name for device in tf.config.list_logical_devices(kind))
    devices = logical[: virtual_devices or None]
    if name == "one_device" or (name == "auto" and len(devices) == 1):
        return tf.distribute.OneDeviceStrategy(devices[0])
    return _mirrored(devices)


def devices_here(virtual_devices: int) -> str:
    """Says on what this worker of a cluster computes, without starting TensorFlow.

    Args:
      virtual_devices: see `make_strategy`.

    Returns:
      Such as "4 GPU".
    """
    kind, count = kind_and_count(virtual_devices)
    return f"{count} {kind}"


def on_gpus(strategy: tf.distribute.Strategy) -> bool:
    """Whether all its devices on this worker are GPUs."""
    return all("GPU" in device for device in strategy.extended.worker_devices)


def can_compile(strategy: tf.distribute.Strategy) -> bool:
    """Whether XLA can compile a replica's whole step: on one device, or on GPUs of which no two are parts of one.

    On several CPU devices it can't: TensorFlow reduces over them outside of XLA. On parts of a GPU neither: XLA
    reduces with NCCL only, which wants a GPU for each of its ranks.
    """
    if strategy.num_replicas_in_sync == 1:
        return True
    return on_gpus(strategy) and not share_a_gpu(strategy.extended.worker_devices)


def from_chief(strategy: tf.distribute.Strategy, values: tf.Tensor) -> tf.Tensor:
    """Gives all replicas what the chief's first replica has.

    Args:
      strategy: the strategy.
      values: int32 or int64 of any shape.

    Returns:
      The chief's values.
    """

    @tf.function
    def send() -> tf.Tensor:
        def replica() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            first = tf.equal(context.replica_id_in_sync_group, 0)
            # On GPUs TensorFlow's kernels add int32 on the host, where a ring over their memory would not find it.
            wide = tf.cast(values, tf.int64)
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(first, wide, tf.zeros_like(wide)))
            return tf.cast(total, values.dtype)

        return strategy.run(replica)

    return strategy.experimental_local_results(send())[0]


def text_from_chief(strategy: tf.distribute.Strategy, text: str) -> str:
    """Gives all workers the chief's text; others' may be anything."""
    encoded = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
    length = int(from_chief(strategy, tf.constant(len(encoded))))
    padded = np.zeros(length, np.int32)
    padded[: len(encoded)] = encoded[:length]
    return from_chief(strategy, tf.constant(padded)).numpy().astype(np.uint8).tobytes().decode()


def agreed(value: bool | None, strategy: tf.distribute.Strategy, cluster: Cluster | None) -> bool | None:
    """Gives all workers the chief's value.

    Args:
      value: this worker's.
      strategy: the strategy.
      cluster: the cluster that this process is part of, if any.

    Returns:
      The chief's.
    """
    if cluster is None:
        return value
    code = -1 if value is None else int(value)
    return {-1: None, 0: False, 1: True}[int(from_chief(strategy, tf.constant(code)))]


def share_state(strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]) -> None:
    """Gives the chief's values of variables, float32 or int64, to all workers, to the last bit."""
    for dtype, bits in ((tf.float32, tf.int32), (tf.int64, tf.int64)):
        chosen = [variable for variable in variables if variable.dtype == dtype]
        # As integers: a sum of floats would turn -0 into 0.
        flat = [tf.reshape(tf.bitcast(tf.constant(variable.numpy()), bits), [-1]) for variable in chosen]
        shared = tf.split(from_chief(strategy, tf.concat(flat, 0)), [len(each) for each in flat])
        for variable, values in zip(chosen, shared, strict=True):
            variable.assign(tf.reshape(tf.bitcast(values, dtype), variable.shape))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    # Once per process and devices, with collective operations of its own: each MirroredStrategy numbers
    # them from the same start, so those of a second one would be taken for the first one's.
    own = {"_collective_key_base": _KEYS_PER_STRATEGY * next(_strategies)}
    return type("MirroredStrategy", (tf.distribute.MirroredStrategy,), own)(devices)


def _multi_worker(cluster: Cluster, virtual_devices: int) -> tf.distribute.Strategy:
    kind, count = kind_and_count(virtual_devices)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.workers)}),
        task_type="worker",
        task_id=cluster.index,
        num_accelerators={"GPU": count} if kind == "GPU" else {},
        rpc_layer="grpc",
    )
    how = tf.distribute.experimental.CommunicationImplementation
    # NCCL refuses two of its ranks on one GPU.
    nccl = kind == "GPU" and not share_a_gpu(("GPU",) * count)
    options = tf.distribute.experimental.CommunicationOptions(implementation=how.NCCL if nccl else how.RING)
    if kind == "GPU" or count == 1:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)

    # TensorFlow takes one CPU per worker, and offers no way to say otherwise.
    def local_devices(extended: object, resolver: object, worker: str) -> tuple[tuple[str, ...], str]:
        return tuple(f"{worker}/device:CPU:{index}" for index in range(count)), "CPU"

    from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended

    original = CollectiveAllReduceExtended._initialize_local_devices
    CollectiveAllReduceExtended._initialize_local_devices = local_devices
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    finally:
        CollectiveAllReduceExtended._initialize_local_devices = original
