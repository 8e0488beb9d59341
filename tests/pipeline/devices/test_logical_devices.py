"""Splitting GPUs, by TensorFlow's own rules: a context of its own that believes in GPUs and never starts."""

import types

import pytest
import tensorflow as tf
from tensorflow.python.distribute import cross_device_ops, mirrored_strategy
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended
from tensorflow.python.eager import context

from pipeline.base.errors import MirageError
from pipeline.cluster import strategy
from pipeline.cluster.find import Cluster
from pipeline.devices import logical_devices
from pipeline.devices.gpu_memory import GpuMemory

GIB = 2**30


class Machine:
    """A fake machine, as TensorFlow sees it."""

    def __init__(self, monkeypatch, gpus, free=(80 * GIB,)):
        self.context = context.Context()
        self.context._initialize_physical_devices()
        for index in range(gpus):
            gpu = context.PhysicalDevice(f"/physical_device:GPU:{index}", "GPU")
            self.context._physical_devices.append(gpu)
            self.context._visible_device_list.append(gpu)
            self.context._memory_growth_map[gpu] = None
        self.asked = 0
        self.free = free * gpus if len(free) == 1 else free
        monkeypatch.setattr(context, "_context", self.context)
        monkeypatch.setattr(logical_devices, "gpu_memory", self._gpu_memory)
        monkeypatch.setattr(tf.config, "list_logical_devices", self._list_logical)
        monkeypatch.setattr(tf.distribute, "MirroredStrategy", FakeMirrored)
        monkeypatch.setattr(tf.distribute, "OneDeviceStrategy", FakeOneDevice)
        strategy._mirrored.cache_clear()

    def _gpu_memory(self):
        self.asked += 1
        return [GpuMemory(2 * free, free) for free in self.free]

    def _list_logical(self, kind):
        count = self.config.device_count[kind]
        return [context.LogicalDevice(f"/device:{kind}:{index}", kind) for index in range(count)]

    def start(self):
        self.context._context_handle = "started"

    @property
    def config(self):
        """What TensorFlow would start with."""
        return self.context.config

    @property
    def limits(self):
        return [list(each.memory_limit_mb) for each in self.config.gpu_options.experimental.virtual_devices]


class FakeMirrored:
    def __init__(self, devices):
        self.devices = devices


class FakeOneDevice:
    def __init__(self, device):
        self.devices = (device,)


@pytest.fixture(autouse=True)
def _forget():
    yield
    strategy._mirrored.cache_clear()


@pytest.mark.parametrize("count", [2, 4])
def test_one_gpu_is_split_into_equal_shares_of_its_free_memory(monkeypatch, count):
    machine = Machine(monkeypatch, gpus=1)
    made = strategy.make_strategy("auto", count)
    assert isinstance(made, FakeMirrored)
    assert made.devices == tuple(f"/device:GPU:{index}" for index in range(count))
    share = (80 * 1024 - 1024 - 256 * count) // count
    assert machine.limits == [[share] * count]
    assert machine.config.device_count["GPU"] == count
    assert machine.config.device_count["CPU"] == 1
    assert not machine.config.gpu_options.allow_growth  # which TensorFlow doesn't allow beside shares
    assert strategy.devices_here(count) == f"{count} GPU"


@pytest.mark.parametrize(("name", "virtual"), [("auto", 0), ("one_device", 0), ("auto", 1), ("one_device", 1)])
def test_a_whole_gpu_grows_its_memory_as_before(monkeypatch, name, virtual):
    machine = Machine(monkeypatch, gpus=1)
    made = strategy.make_strategy(name, virtual)
    assert isinstance(made, FakeOneDevice)
    assert made.devices == ("/device:GPU:0",)
    assert machine.config.gpu_options.allow_growth
    assert machine.limits == []
    assert machine.asked == 0
    assert strategy.devices_here(virtual) == "1 GPU"


@pytest.mark.parametrize(
    ("count", "parts"),
    [(3, (2, 1)), (4, (2, 2)), (5, (3, 2))],
)
def test_several_gpus_are_split_evenly(monkeypatch, count, parts):
    machine = Machine(monkeypatch, gpus=2, free=(80 * GIB, 40 * GIB))
    assert len(strategy.make_strategy("mirrored", count).devices) == count
    assert machine.limits == [
        [(gib * 1024 - 1024 - 256 * number) // number] * number for gib, number in zip((80, 40), parts, strict=True)
    ]


@pytest.mark.parametrize("count", [2, 3])
def test_as_many_gpus_as_devices_are_used_whole(monkeypatch, count):
    machine = Machine(monkeypatch, gpus=3)
    assert strategy.make_strategy("mirrored", count).devices == tuple(f"/device:GPU:{index}" for index in range(count))
    assert machine.limits == []
    assert machine.config.gpu_options.allow_growth


def test_without_gpus_the_cpu_is_split_as_before(monkeypatch):
    machine = Machine(monkeypatch, gpus=0)
    assert strategy.make_strategy("mirrored", 3).devices == tuple(f"/device:CPU:{index}" for index in range(3))
    assert machine.config.device_count["CPU"] == 3
    assert machine.asked == 0
    assert strategy.devices_here(3) == "3 CPU"
    assert strategy.devices_here(0) == "1 CPU"


def test_a_second_run_in_a_process_takes_the_parts_that_are_there(monkeypatch):
    machine = Machine(monkeypatch, gpus=1)
    strategy.make_strategy("mirrored", 4)
    before = machine.limits
    machine.start()
    machine.free = (0,)  # the parts have taken it
    assert len(strategy.make_strategy("mirrored", 4).devices) == 4
    assert len(strategy.make_strategy("mirrored", 2).devices) == 2
    # TensorFlow refuses growth where there are shares, with a ValueError.
    assert len(strategy.make_strategy("mirrored", 0).devices) == 4
    assert machine.limits == before
    assert machine.asked == 1


def test_memory_growth_is_decided_once_tensorflow_has_started(monkeypatch):
    machine = Machine(monkeypatch, gpus=1)
    machine.start()  # from now on TensorFlow raises RuntimeError
    assert strategy.make_strategy("auto").devices == ("/device:GPU:0",)
    assert not machine.config.gpu_options.allow_growth


def test_parts_that_come_too_late_are_refused(monkeypatch):
    machine = Machine(monkeypatch, gpus=1)
    strategy.make_strategy("auto")
    machine.start()
    with pytest.raises(MirageError, match="--virtual_devices=2 came too late: TensorFlow has already started with 1"):
        strategy.make_strategy("mirrored", 2)


def test_a_gpu_without_free_memory_is_not_split(monkeypatch):
    machine = Machine(monkeypatch, gpus=1, free=(2 * GIB,))
    with pytest.raises(MirageError, match=r"--virtual_devices=8 leaves .* less than 256 MiB: 2,048 MiB .* are free"):
        strategy.make_strategy("mirrored", 8)
    assert machine.limits == []
    assert machine.context.get_logical_device_configuration(machine.context.list_physical_devices("GPU")[0]) is None


def test_a_gpu_whose_driver_says_nothing_is_not_split(monkeypatch):
    machine = Machine(monkeypatch, gpus=1)
    machine.free = ()
    with pytest.raises(MirageError, match="--virtual_devices=2 can't split the GPU"):
        strategy.make_strategy("mirrored", 2)


@pytest.mark.parametrize(
    ("gpus", "virtual", "local", "hint"),
    [
        (1, 0, ["GPU:0"], "NCCL"),
        (2, 0, ["GPU:0", "GPU:1"], "NCCL"),
        (2, 2, ["GPU:0", "GPU:1"], "NCCL"),
        (2, 1, ["GPU:0"], "NCCL"),
        (1, 2, ["GPU:0", "GPU:1"], "RING"),
        (0, 0, ["CPU:0"], "RING"),
        (0, 2, ["CPU:0", "CPU:1"], "RING"),
    ],
)
def test_a_worker_of_a_cluster_takes_its_gpus_and_nccl_only_where_each_rank_has_one(
    monkeypatch, gpus, virtual, local, hint
):
    machine = Machine(monkeypatch, gpus)
    made = {}

    def create(resolver, options):
        made["hint"] = options.implementation.value
        find = CollectiveAllReduceExtended._initialize_local_devices
        made["devices"] = find(types.SimpleNamespace(), resolver, "/job:worker/task:1")[0]

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", create)
    original = CollectiveAllReduceExtended._initialize_local_devices
    strategy.make_strategy("auto", virtual, Cluster(("a:1", "b:1"), 1))
    assert made == {"hint": hint, "devices": tuple(f"/job:worker/task:1/device:{name}" for name in local)}
    assert CollectiveAllReduceExtended._initialize_local_devices is original
    assert machine.config.device_count[local[0][:3]] >= len(local)


@pytest.mark.parametrize(
    ("gpus", "devices", "possible"),
    [
        (0, ["CPU:0"], True),
        (0, ["CPU:0", "CPU:1"], False),
        (1, ["GPU:0"], True),
        (2, ["GPU:0", "GPU:1"], True),
        (1, ["GPU:0", "GPU:1"], False),
        (2, ["GPU:0", "GPU:1", "GPU:2"], False),
    ],
)
def test_xla_compiles_over_whole_gpus_only(monkeypatch, gpus, devices, possible):
    Machine(monkeypatch, gpus)
    extended = types.SimpleNamespace(worker_devices=tuple(f"/device:{name}" for name in devices))
    replicas = types.SimpleNamespace(num_replicas_in_sync=len(devices), extended=extended)
    assert strategy.can_compile(replicas) == possible


@pytest.mark.parametrize(("gpus", "virtual", "hint"), [(1, 2, "RING"), (2, 0, "NCCL"), (2, 3, "RING")])
def test_tensorflow_reduces_without_nccl_over_parts_of_a_gpu(monkeypatch, gpus, virtual, hint):
    machine = Machine(monkeypatch, gpus)
    names = strategy.make_strategy("mirrored", virtual).devices
    monkeypatch.setattr(
        machine.context, "list_logical_devices", lambda device_type: [None] * machine.config.device_count[device_type]
    )
    monkeypatch.setattr(cross_device_ops, "CollectiveAllReduce", lambda **arguments: arguments["options"])
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.NCCL
    )
    chosen = mirrored_strategy.MirroredExtended._make_collective_ops_with_fallbacks(
        types.SimpleNamespace(_collective_key_base=0, _devices=names, _communication_options=options)
    )
    assert chosen.implementation.value == hint


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_what_the_chief_sends_is_reduced_as_gpus_can(monkeypatch, dtype):
    """Rings over parts of a GPU can't add int32: TensorFlow's kernel for that reads the host's memory."""
    reduced = []
    all_reduce = tf.distribute.ReplicaContext.all_reduce

    def recorded(self, how, value, options=None):
        reduced.append(value.dtype)
        return all_reduce(self, how, value, options)

    monkeypatch.setattr(tf.distribute.ReplicaContext, "all_reduce", recorded)
    values = [dtype.min, -1, 0, dtype.max]
    sent = strategy.from_chief(strategy.make_strategy("mirrored", 2), tf.constant(values, dtype))
    assert (sent.dtype, sent.numpy().tolist()) == (dtype, values)
    assert {*reduced} == {tf.int64}


@pytest.mark.parametrize("text", ["", '{"learning_rate": 0.1}', "é\n" * 70])
def test_the_chief_sends_texts(text):
    assert strategy.text_from_chief(strategy.make_strategy("mirrored", 2), text) == text
