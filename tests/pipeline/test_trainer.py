"""Whole runs, tiny, in this process."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline import trainer
from pipeline.checkpoint import load_sampler
from pipeline.config import Config, MirageError
from pipeline.trainer import train


@pytest.fixture
def config(image_folder, tmp_path):
    return Config(
        dataset=f"folder:{image_folder()}",
        model="mlp",
        latent_dim=4,
        conditional=True,
        batch_size=4,
        steps=6,
        log_every=2,
        preview_every=3,
        checkpoint_every=4,
        run_dir=str(tmp_path / "run"),
    )


def _folder(config):
    return Path(config.run_dir) / "checkpoints"


def checkpoints(config):
    return sorted(path.stem for path in _folder(config).glob("*.index"))


def records(config):
    return [json.loads(line) for line in (_folder(config).parent / "metrics.jsonl").read_text().splitlines()]


def test_a_run_writes_what_it_promises(config):
    outcome = train(config)
    assert (outcome.step, outcome.stopped_by) == (6, None)
    run_dir = _folder(config).parent
    assert sorted(path.name for path in run_dir.iterdir()) == [
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "samples",
        "tensorboard",
    ]
    assert sorted(path.name for path in (run_dir / "samples").iterdir()) == [
        "step_0000000.png",
        "step_0000003.png",
        "step_0000006.png",
    ]
    with Image.open(run_dir / "samples" / "step_0000006.png") as picture:
        assert picture.size == (8 * 18 + 2, 2 * 18 + 2)  # a row for each of two classes
    assert [record["step"] for record in records(config)] == [2, 4, 6]
    assert set(records(config)[0]) >= {
        "images",
        "epoch",
        "d_loss",
        "g_loss",
        "d_acc_real",
        "d_acc_fake",
        "images_per_s",
    }
    assert checkpoints(config) == ["ckpt-4", "ckpt-6"]


@pytest.mark.parametrize("channels", ["L", "RGB"])
def test_dcgan_trains_on_two_replicas(image_folder, tmp_path, channels):
    config = Config(
        dataset=f"folder:{image_folder(mode=channels)}", batch_size=4, steps=2, run_dir=str(tmp_path / "run")
    )
    assert train(config).step == 2
    assert load_sampler(tmp_path / "run")[1].image_shape[2] == len(channels)


def final_weights(config):
    return [np.asarray(v) for v in load_sampler(_folder(config).parent)[2].variables]


def test_a_continued_run_is_the_uninterrupted_one_to_the_last_bit(config, tmp_path):
    straight = dataclasses.replace(config, steps=9)
    train(straight)
    broken = dataclasses.replace(config, run_dir=str(tmp_path / "broken"))
    train(dataclasses.replace(broken, steps=5))
    train(dataclasses.replace(broken, steps=9, steps_per_call=3))
    for a, b in zip(final_weights(straight), final_weights(broken), strict=True):
        np.testing.assert_array_equal(a, b)
    pictures = [(_folder(c).parent / "samples" / "step_0000009.png").read_bytes() for c in (straight, broken)]
    assert pictures[0] == pictures[1]


def test_a_finished_run_is_left_alone(config):
    train(config)
    before = records(config)
    assert train(config).step == 6
    assert records(config) == before


def test_other_flags_do_not_continue_a_run(config):
    train(config)
    with pytest.raises(MirageError, match=r"--latent_dim=5 \(the run has 4\)"):
        train(dataclasses.replace(config, latent_dim=5))


def test_other_data_do_not_continue_a_run(config):
    train(config)
    (_folder(config).parent.parent / "images" / "cat" / "0.png").unlink()
    with pytest.raises(MirageError, match="other data"):
        train(config)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_and_the_same_command_goes_on(config, monkeypatch, number):
    longer = dataclasses.replace(config, steps=40, steps_per_call=1)
    draw = trainer.Preview.draw
    calls = []

    def draw_then_signal(self):
        calls.append(1)
        if len(calls) == 3:  # after step 6
            os.kill(os.getpid(), number)
        return draw(self)

    monkeypatch.setattr(trainer.Preview, "draw", draw_then_signal)
    outcome = train(longer)
    assert outcome.stopped_by == number
    assert 6 <= outcome.step <= 7
    assert checkpoints(longer)[-1] == f"ckpt-{outcome.step}"
    assert train(longer).step == 40


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(config, monkeypatch):
    call = trainer.TrainStep.__call__

    def diverge(self, num_steps):
        means = call(self, num_steps)
        return means * np.nan if int(self._trainee.step.numpy()) > 4 else means

    monkeypatch.setattr(trainer.TrainStep, "__call__", diverge)
    with pytest.raises(MirageError, match=r"diverged: at step 6 d_loss = nan.*last good checkpoint"):
        train(config)
    assert checkpoints(config) == ["ckpt-4"]


def test_a_learning_rate_that_explodes_is_reported_not_saved(config):
    # Real numbers, no patching: weights of 1e30 overflow within a few steps.
    with pytest.raises(MirageError, match=r"diverged|not finite"):
        train(dataclasses.replace(config, learning_rate=1e30, steps=50))
    if checkpoints(config):
        for value in final_weights(config):
            assert np.isfinite(value).all()


def test_a_batch_that_replicas_cannot_share_is_refused(config):
    with pytest.raises(MirageError, match="--batch_size=5 can't be shared by 2 replicas"):
        train(dataclasses.replace(config, batch_size=5))
    with pytest.raises(MirageError, match="multiple of 4"):
        train(dataclasses.replace(config, batch_size=6, objective="nsgan", d_batches="split"))


def test_a_run_dir_that_cannot_be_written_is_refused(config, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MirageError, match="--run_dir="):
        train(dataclasses.replace(config, run_dir=str(tmp_path / "file" / "run")))


def test_virtual_devices_that_come_too_late_are_refused(config):
    assert len(tf.config.list_logical_devices("CPU")) == 2
    with pytest.raises(MirageError, match="--virtual_devices=3 came too late"):
        train(dataclasses.replace(config, virtual_devices=3))


def test_a_checkpoint_that_cannot_be_written_is_reported(config, monkeypatch):
    def no_space(*arguments, **keywords):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.train.CheckpointManager, "save", no_space)
    with pytest.raises(MirageError, match="No space left on device"):
        train(config)
