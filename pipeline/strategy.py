"""From flags and environment to a `tf.distribute` strategy."""

import functools
import itertools
from collections.abc import Sequence

import tensorflow as tf

from pipeline.cluster import Cluster
from pipeline.errors import MirageError

_KEYS_PER_STRATEGY = 100_000
_strategies = itertools.count()


def make_strategy(name: str, virtual_devices: int = 0, cluster: Cluster | None = None) -> tf.distribute.Strategy:
    """Creates the distribution strategy.

    Args:
      name: "one_device" (the first GPU, or the CPU), "mirrored" (a replica on each GPU of this machine,
        or on each logical CPU device if there is no GPU), "multi_worker" (the same on each worker of
        the cluster), or "auto": multi_worker in a cluster, else mirrored if there are several devices,
        else one_device.
      virtual_devices: number of logical devices to split the CPU into; 0 leaves devices as they are.
        They are used even where there are GPUs.
      cluster: the cluster that this process is part of, if any.

    Returns:
      The strategy.

    Raises:
      MirageError: if the strategy doesn't go with the cluster or the devices, or if TensorFlow has
        already started with fewer logical devices.
    """
    if name == "auto" and cluster is not None:
        name = "multi_worker"
    if name == "multi_worker" and cluster is None:
        raise MirageError(
            "--strategy=multi_worker needs a cluster in the environment (TF_CONFIG, or Slurm's srun); for several "
            "processes on this machine use python -m pipeline.launch."
        )
    _grow_gpu_memory()
    if name == "multi_worker" and cluster is not None:
        return _multi_worker(cluster, virtual_devices)
    devices = _devices(virtual_devices)
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
    gpus = 0 if virtual_devices else len(tf.config.list_physical_devices("GPU"))
    return f"{gpus} GPU" if gpus else f"{max(virtual_devices, 1)} CPU"


def can_compile(strategy: tf.distribute.Strategy) -> bool:
    """Whether XLA can compile a replica's whole step: on one device, or on GPUs.

    On several CPU devices it can't: TensorFlow reduces over them outside of XLA.
    """
    devices = strategy.extended.worker_devices
    return strategy.num_replicas_in_sync == 1 or all("GPU" in device for device in devices)


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
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(first, values, tf.zeros_like(values)))

        return strategy.run(replica)

    return strategy.experimental_local_results(send())[0]


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


def _devices(virtual_devices: int) -> tuple[str, ...]:
    if virtual_devices:
        _split_cpu(virtual_devices)
        return tuple(device.name for device in tf.config.list_logical_devices("CPU"))[:virtual_devices]
    gpus = tf.config.list_logical_devices("GPU")
    return tuple(device.name for device in gpus or tf.config.list_logical_devices("CPU"))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    # Once per process and devices, with collective operations of its own: each MirroredStrategy numbers
    # them from the same start, so those of a second one would be taken for the first one's.
    own = {"_collective_key_base": _KEYS_PER_STRATEGY * next(_strategies)}
    return type("MirroredStrategy", (tf.distribute.MirroredStrategy,), own)(devices)


def _multi_worker(cluster: Cluster, virtual_devices: int) -> tf.distribute.Strategy:
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.workers)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
    )
    nccl = tf.distribute.experimental.CommunicationImplementation
    gpus = bool(tf.config.list_physical_devices("GPU")) and not virtual_devices
    options = tf.distribute.experimental.CommunicationOptions(implementation=nccl.NCCL if gpus else nccl.RING)
    if virtual_devices < 2:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    _split_cpu(virtual_devices, started=False)

    # TensorFlow takes one CPU per worker, and offers no way to say otherwise.
    def local_devices(extended: object, resolver: object, worker: str) -> tuple[tuple[str, ...], str]:
        return tuple(f"{worker}/device:CPU:{index}" for index in range(virtual_devices)), "CPU"

    from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended

    original = CollectiveAllReduceExtended._initialize_local_devices
    CollectiveAllReduceExtended._initialize_local_devices = local_devices
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    finally:
        CollectiveAllReduceExtended._initialize_local_devices = original


def _grow_gpu_memory() -> None:
    """Takes GPU memory as it is needed, so that a GPU can be shared and its use be seen."""
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow has started, so this has been decided
            return


def _split_cpu(count: int, started: bool = True) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:
        # Listing the devices would start TensorFlow, which a cluster's strategy does in its own way.
        present = len(tf.config.list_logical_devices("CPU")) if started else 0
        if present < count:
            raise MirageError(
                f"--virtual_devices={count} came too late: TensorFlow has already started with {present}; set it in "
                "a new process."
            ) from None
