"""Mirage as a user runs it on a GPU: the whole trainer, with its default numerics, data resident on the device.

Log lines, previews and checkpoints are left out, which the other sides have not; `benchmarks.train` measures them.
"""

import os
import platform
from typing import Any

import numpy as np

from benchmarks.worker import Rounds, Work

_ENOUGH = 10**9
# More steps per call than the default's 20 gain little, and make rounds long.
STEPS_PER_CALL = 20


def _config(work: Work, device: str) -> Any:
    """Returns the flags that train what `work` says."""
    from pipeline.config import Config

    options, cache = work.options, work.options["cache"]
    never = dict.fromkeys(("log_every", "preview_every", "checkpoint_every", "steps"), _ENOUGH)
    return Config(
        model=work.networks,
        objective="r3gan",
        batch_size=work.batch_size,
        precision="mixed_bfloat16" if options["precision"] == "mixed_bfloat16" else "float32",
        steps_per_call=STEPS_PER_CALL,
        virtual_devices=options.get("virtual_devices", 0),
        strategy="mirrored" if options.get("virtual_devices", 0) > 1 else "one_device",
        run_dir=os.path.join(cache, "run"),
        data_dir=cache,  # so that compiling starts from nothing
        **never,
        **({"tf32": False} if options["precision"] == "float32" and device == "gpu" else {}),  # CPUs have none
        **options["flags"],
    )


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`."""
    device = work.options["device"]
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    from pipeline.devices import compilation

    config = _config(work, device)
    compilation.prepare(config, config.data_dir)  # as `python -m pipeline` does, before TensorFlow is imported
    import tensorflow as tf

    from benchmarks.contestants.ours import Gate, train_gated
    from pipeline.data.dataset import Dataset
    from pipeline.data.spec import DataSpec

    if device == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise SystemExit("TensorFlow sees no GPU; python -m pipeline.doctor says why.")
    images = np.load(work.images)
    spec = DataSpec("random", "", images.shape[1:], (), len(images))
    dataset = Dataset(spec, images, np.zeros(len(images), np.int32))
    gates: list[Gate] = []
    rounds.explain(lambda: _facts(tf, gates[0]))
    rounds.ready()  # nothing is built yet, since that would start TensorFlow's devices before the trainer sets them up
    train_gated(config, iter(rounds), gates, dataset)


def _facts(tf: Any, gate: Any) -> dict[str, Any]:
    build = tf.sysconfig.get_build_info()
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__}
    facts: dict[str, Any] = {"compile_s": gate.first_call_s, "parameters": gate.parameters(), "versions": versions}
    devices = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("GPU")]
    if devices:
        versions |= {"cuda": build["cuda_version"], "cudnn": build["cudnn_version"]}
        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        facts["card"] = details.get("device_name", "unknown")
        facts["memory_mib"] = sum(tf.config.experimental.get_memory_info(each)["peak"] for each in devices) / 2**20
        for each in devices:
            tf.config.experimental.reset_memory_stats(each)
    return facts
