"""What `--dry_run` estimates, against what TensorFlow's own allocator counts while a step runs."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.cluster.find import Cluster
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.devices.gpu_memory import GpuMemory
from pipeline.training import memory
from pipeline.training.configured import trainee_of
from tests.processes import ENVIRONMENT, ROOT

MIB = 2**20
DIGITS = DataSpec("digits", "", (16, 16, 1), tuple("0123456789"), 1000)
SMALL = Config(dataset="mnist5k", model="mlp", latent_dim=8, batch_size=16)

# Prints the estimate and the real peak, in bytes; TensorFlow keeps count of the CPU's memory where oneDNN is on.
MEASURE = """
import json, sys
from pipeline.base.quiet_tensorflow import quiet_tensorflow
quiet_tensorflow()
import numpy as np
import tensorflow as tf
from pipeline.objectives.composition import compose
from pipeline.training import memory
from pipeline.config import Config
from pipeline.data.dataset import Dataset
from pipeline.data.spec import DataSpec
from pipeline.training.feed import Layout, make_feed
from pipeline.training.step import TrainStep
from pipeline.cluster.strategy import make_strategy
from pipeline.training.configured import trainee_of

flags, size, channels = json.loads(sys.argv[1])
config = Config(**flags)
data = DataSpec("x", "", (size, size, channels), tuple("0123456789"), max(500, config.batch_size))
strategy = make_strategy("auto", config.virtual_devices)
replicas = strategy.num_replicas_in_sync
rows, trainee = memory.estimate(config, data, replicas)
del trainee
before = tf.config.experimental.get_memory_info("CPU:0")["current"]
with strategy.scope():
    trainee = trainee_of(config, data)
updates = compose(config.to_dict()).updates()
layout = Layout(updates, config.batch_size, config.accumulate, replicas)
images = np.zeros((data.num_examples, *data.image_shape), np.uint8)
feed = make_feed(strategy, layout, Dataset(data, images, np.zeros(len(images), np.int32)), config, 0)
step = TrainStep(config, strategy, trainee, updates, feed)
for _ in range(3):
    step(tf.constant(1, tf.int64), tf.constant(0.0))[0].numpy()
print(json.dumps([replicas * sum(rows.values()), tf.config.experimental.get_memory_info("CPU:0")["peak"] - before]))
"""


def measured(size, channels, **flags):
    """Returns (estimate, truth) in bytes."""
    environment = {**ENVIRONMENT, "TF_ENABLE_ONEDNN_OPTS": "1"}
    command = [sys.executable, "-c", MEASURE, json.dumps([flags, size, channels])]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_estimate_is_within_a_quarter_of_what_a_step_takes():
    estimate, truth = measured(16, 1, batch_size=64)
    assert 0.75 * truth <= estimate <= 1.25 * truth


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "channels", "flags"),
    [
        (28, 1, {"batch_size": 64}),
        (28, 1, {"model": "mlp", "batch_size": 512}),
        (32, 3, {"batch_size": 16}),
        (32, 3, {"batch_size": 64, "accumulate": 8}),
        (32, 3, {"batch_size": 64, "virtual_devices": 2}),
        (32, 3, {"batch_size": 64, "objective": "wgan_gp", "d_steps": 2}),
        (32, 3, {"batch_size": 64, "objective": "nsgan", "r1": 1.0, "penalty_every": 4}),
        (32, 3, {"batch_size": 32, "model": "resnet"}),
        (64, 3, {"batch_size": 128}),
        (64, 3, {"batch_size": 64, "precision": "mixed_bfloat16"}),
        (64, 3, {"batch_size": 8, "model": "resnet"}),
        (32, 3, {"batch_size": 16, "model": "r3gan", "model_args": "width=32"}),
    ],
)
def test_so_it_is_for_all_kinds_of_runs(size, channels, flags):
    estimate, truth = measured(size, channels, **flags)
    assert 0.75 * truth <= estimate <= 1.25 * truth


@pytest.mark.parametrize("changes", [{}, {"ema_images": 0}, {"objective": "vae"}, {"objective": "sgan"}])
def test_state_and_data_are_exact(changes):
    config = dataclasses.replace(SMALL, **changes)
    rows, _ = memory.estimate(config, DIGITS, 1)
    state = trainee_of(config, DIGITS).state()
    sizes = {name: variable.numpy().nbytes for name, variable in state.items()}

    def of(kind):
        return sum(size for name, size in sizes.items() if kind(name))

    assert rows["weights"] == of(lambda name: name.split(".")[0] in ("generator", "discriminator", "encoder"))
    assert rows["Adam's moments"] == of(lambda name: name.endswith(("momentum", "velocity")))
    assert rows.get("moving average", 0) == of(lambda name: name.startswith("ema."))
    largest = max(
        of(lambda name, part=part: name.startswith(f"optimizer.{part}.") and name.endswith("momentum"))
        for part in {name.split(".")[1] for name in sizes if name.startswith("optimizer.")}
    )
    assert rows["gradients"] == largest
    assert rows["data set, resident"] == np.zeros((1000, 16, 16, 1), np.uint8).nbytes + np.zeros(1000, np.int64).nbytes
    assert rows["activations"] >= 0  # none where gradients are applied, and freed, as they come


def test_data_of_which_parts_are_drawn_take_what_all_of_them_do():
    tall = DataSpec("tall", "", (24, 16, 3), (), 1000)
    changes = {"image_size": "24x16", "random_crop": 1.25}
    for limit, share in ((2048, 1000), (0, 3 * 16)):
        small = dataclasses.replace(SMALL, device_data_mb=limit)
        (plain, _), (larger, _) = (
            memory.estimate(each, tall, 1) for each in (small, dataclasses.replace(small, **changes))
        )
        name = "data set, resident" if limit else "data set, streamed"
        assert larger[name] - plain[name] == share * 3 * (30 * 20 - 24 * 16)
        assert larger["weights"] == plain["weights"]


def test_more_images_at_once_need_more_and_more_replicas_less_each():
    def activations(replicas=1, **changes):
        rows, _ = memory.estimate(dataclasses.replace(SMALL, batch_size=8192, **changes), DIGITS, replicas)
        return rows["activations"] + rows["gradients"]

    one = activations()
    assert activations(replicas=4) < 0.5 * one
    assert activations(precision="mixed_bfloat16") < one


def test_streamed_data_need_a_few_batches_only():
    rows, _ = memory.estimate(dataclasses.replace(SMALL, device_data_mb=0), DIGITS, 1)
    assert rows["data set, streamed"] == 3 * 16 * 16 * 16
    unknown, _ = memory.estimate(SMALL, dataclasses.replace(DIGITS, num_examples=0), 1)
    assert unknown["data set, not prepared yet"] == 0
    text = memory.table(unknown, SMALL, memory.Devices("GPU", 1, 1, 6000 * MIB))
    assert text.endswith("\nWithout the data set it fits: 6,000 MiB of a GPU are free.")


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(MirageError, match="--batch_size=16 can't be shared by 3 replicas"):
        memory.estimate(SMALL, DIGITS, 3)


def test_nothing_of_the_estimate_is_left_behind():
    memory.estimate(SMALL, DIGITS, 4)
    assert tf.distribute.get_strategy().num_replicas_in_sync == 1
    assert tf.distribute.OneDeviceStrategy("/cpu:0").num_replicas_in_sync == 1


ROWS = {"weights": 10 * MIB, "activations": 4000 * MIB, "data set, resident": 100 * MIB}


@pytest.mark.parametrize(
    ("free_mib", "rows", "expected"),
    [
        (6000, ROWS, [f"{'total':32}     5,134.0", "It fits: 6,000 MiB of a GPU are free."]),
        (None, ROWS, ["How much of a GPU is free isn't known."]),
        (
            3500,
            ROWS,
            ["It does not fit: 3,500 MiB of a GPU are free.", "--batch_size=32 --accumulate=2 would", "bfloat16"],
        ),
        (
            3500,
            {"activations": 1000 * MIB, "data set, resident": 2000 * MIB},
            ["It does not fit", "--device_data_mb=1000 streams", "--batch_size=16 --accumulate=4 would"],
        ),
        (1500, {"weights": 4000 * MIB, "activations": MIB}, ["It does not fit", "bfloat16"]),
    ],
)
def test_the_table_says_whether_it_fits_and_what_to_change(free_mib, rows, expected):
    devices = memory.Devices("GPU", 1, 1, free_mib and free_mib * MIB)
    text = memory.table(rows, Config(), devices)
    assert text.startswith("Memory of a GPU, estimated for --batch_size=64 over 1 replica, in MiB:\n")
    for part in expected:
        assert part in text


def test_replicas_that_share_a_memory_are_added():
    text = memory.table(ROWS, Config(), memory.Devices("GPU", 8, 4, 20_000 * MIB))
    assert f"{'4 replicas of 4,110.0':32}    16,440.0" in text
    assert f"{'total':32}    17,464.0" in text
    assert "over 8 replicas" in text


@pytest.mark.parametrize(
    ("gpus", "changes", "cluster", "expected"),
    [
        (0, {}, None, ("CPU", 1, 1)),
        (0, {"virtual_devices": 3}, None, ("CPU", 3, 3)),
        (1, {}, None, ("GPU", 1, 1)),
        (1, {"virtual_devices": 4}, None, ("GPU", 4, 4)),
        (8, {}, None, ("GPU", 8, 1)),
        (8, {"strategy": "one_device"}, None, ("GPU", 1, 1)),
        (2, {"virtual_devices": 5}, None, ("GPU", 5, 3)),
        (2, {}, Cluster(("a:1", "b:1", "c:1"), 0), ("GPU", 6, 1)),
    ],
)
def test_the_devices_are_those_of_the_training(monkeypatch, gpus, changes, cluster, expected):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [None] * gpus)
    monkeypatch.setattr(memory, "gpu_memory", lambda: [GpuMemory(9 * MIB, (9 - index) * MIB) for index in range(gpus)])
    devices = memory.Devices.find(Config(**changes), cluster)
    assert (devices.kind, devices.replicas, devices.per_memory) == expected
    if gpus:
        assert devices.free == (10 - gpus) * MIB


def test_free_memory_is_a_part_of_the_machines():
    free = memory.free_host_memory()
    assert free is not None
    assert 0 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
