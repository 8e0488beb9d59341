"""What is set on GPUs, proved without one: TensorFlow lists one that it hasn't, and what is set can be read."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tensorflow_config

from pipeline.base.errors import MirageError
from pipeline.devices import numerics
from tests.experiments import train
from tests.processes import ENVIRONMENT

GPU = "/replica:0/task:0/device:GPU:0"


def tf32() -> bool:
    return tf.config.experimental.tensor_float_32_execution_enabled()


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is removed again
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    yield
    tf.config.experimental.enable_tensor_float_32_execution(True)
    tensorflow_config.disable_op_determinism()


@pytest.fixture
def gpu(monkeypatch):
    """Returns a function that makes TensorFlow list a GPU of a compute capability."""
    devices, details = [], {}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: devices if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)

    def appear(capability=(9, 0)):
        devices[:] = [tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")]
        details["compute_capability"] = capability

    return appear


@pytest.mark.parametrize("tf32_wanted", [True, False])
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_gpu_computes_as_the_flags_say(gpu, config, tf32_wanted, deterministic):
    gpu()
    numerics.prepare(dataclasses.replace(config, tf32=tf32_wanted, deterministic=deterministic))
    assert (tf32(), tensorflow_config.is_op_determinism_enabled()) == (tf32_wanted, deterministic)
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if deterministic else None)


@pytest.mark.parametrize("deterministic", [True, False])
def test_after_a_training_a_gpu_computes_as_before(gpu, config, deterministic):
    gpu()
    if deterministic:
        tensorflow_config.enable_op_determinism()
    with numerics.prepared(dataclasses.replace(config, tf32=False)):
        assert (tf32(), tensorflow_config.is_op_determinism_enabled()) == (False, True)
    assert (tf32(), tensorflow_config.is_op_determinism_enabled()) == (True, deterministic)
    with numerics.prepared(dataclasses.replace(config, deterministic=False)):
        assert ("not deterministic" in numerics.described(dataclasses.replace(config, deterministic=False), [GPU])) is (
            not deterministic
        )


def test_nothing_is_set_on_cpus(config):
    numerics.prepare(dataclasses.replace(config, tf32=False, deterministic=True))
    assert (tf32(), tensorflow_config.is_op_determinism_enabled()) == (True, False)
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_the_opening_line_says_it_of_gpus_alone(gpu, config):
    assert numerics.described(config, ["/device:CPU:0"]) == ""
    gpu()
    assert numerics.described(config, [GPU]) == ", with TF32"
    loose = dataclasses.replace(config, tf32=False, deterministic=False)
    assert numerics.described(loose, [GPU]) == (
        ", without TF32, not deterministic: a continued run ends with other bits than one that was never stopped"
    )


def test_a_gpu_that_has_no_tf32_uses_none(gpu, config):
    gpu((7, 5))
    assert numerics.described(config, [GPU]) == ", without TF32"


def test_tf32_is_off_within_and_then_as_before():
    @numerics.full_float32()
    def inside():
        return tf32()

    for before in (True, False):
        tf.config.experimental.enable_tensor_float_32_execution(before)
        assert not inside()
        assert tf32() is before
    tf.config.experimental.enable_tensor_float_32_execution(True)
    with pytest.raises(ZeroDivisionError), numerics.full_float32():
        raise ZeroDivisionError
    assert tf32()


def test_without_gpus(monkeypatch):
    hidden = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: hidden.append((devices, kind)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    numerics.cpu_only()
    assert hidden == [([], "GPU")]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    assert not tf32()


def test_training_is_prepared_before_devices_are_made(config, monkeypatch):
    order = []
    monkeypatch.setattr("pipeline.devices.numerics.prepare", lambda config: order.append("prepare"))
    monkeypatch.setattr("pipeline.training.trainer.make_strategy", lambda *args: order.append("strategy") or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(config)
    assert order == ["prepare", "strategy"]


def test_a_run_of_before_these_flags_goes_on_and_keeps_to_tf32(config):
    train(dataclasses.replace(config, steps=2))
    path = Path(config.run_dir) / "config.json"
    document = json.loads(path.read_text())
    for name in ("tf32", "deterministic"):
        assert document["config"].pop(name) is True
    path.write_text(json.dumps(document))
    assert train(dataclasses.replace(config, steps=3, deterministic=False)).step == 3
    with pytest.raises(MirageError, match=r"can't be continued with --tf32=False \(the run has True\)"):
        train(dataclasses.replace(config, steps=4, tf32=False))


def test_xla_is_told_to_be_deterministic(tmp_path):
    program = """
import sys
import tensorflow as tf
if "deterministic" in sys.argv:
    tf.config.experimental.enable_op_determinism()
tf.function(lambda x: x * 2, jit_compile=True, autograph=False)(tf.constant(1.0))
"""
    for argument in ("deterministic", "not"):
        environment = {**ENVIRONMENT, "XLA_FLAGS": f"--xla_dump_to={tmp_path / argument}"}
        subprocess.run(
            [sys.executable, "-c", program, argument], env=environment, check=True, stderr=subprocess.DEVNULL
        )
        (options,) = (tmp_path / argument).glob("*debug_options")
        assert ("xla_gpu_deterministic_ops: true" in options.read_text()) == (argument == "deterministic")


@pytest.mark.parametrize("wanted", [True, False])
def test_xla_obeys_the_switch_of_tf32(wanted):
    tf.config.experimental.enable_tensor_float_32_execution(wanted)
    x, kernel = tf.ones([1, 4, 4, 2]), tf.ones([3, 3, 2, 2])

    @tf.function(jit_compile=True)
    def products(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            y = tf.reduce_sum(tf.matmul(tf.nn.conv2d(x, kernel, 1, "SAME")[0, 0], kernel[0, 0]))
        return tape.gradient(y, kernel)

    text = products.experimental_get_compiler_ir(x, kernel)(stage="hlo")
    lines = [line for line in text.splitlines() if re.search(r" (dot|convolution)\(", line)]
    assert len(lines) >= 3
    assert all(("operand_precision={highest,highest}" in line) != wanted for line in lines)
