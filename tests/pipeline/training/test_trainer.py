"""Whole runs, tiny, in this process."""

import dataclasses
import errno
import json
import math
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.dataset import load
from pipeline.evaluation import callback
from pipeline.runs import checkpoint, recording
from pipeline.runs.checkpoint import load_sampler, newest_step
from pipeline.runs.place import lock_run
from pipeline.runs.preview import Preview
from pipeline.runs.run_file import read_decided_jit
from pipeline.training import jit, trainer
from tests.experiments import train


def _folder(config):
    return Path(config.run_dir) / "checkpoints"


def checkpoints(config):
    return sorted(path.name for path in _folder(config).glob("*"))


def records(config):
    return [json.loads(line) for line in (_folder(config).parent / "metrics.jsonl").read_text().splitlines()]


def test_a_run_writes_what_it_promises(on_two):
    outcome = train(on_two)
    assert (outcome.step, outcome.stopped_by) == (6, None)
    run_dir = _folder(on_two).parent
    assert sorted(path.name for path in run_dir.iterdir()) == [
        ".lock",
        "checkpoints",
        "config.json",
        "machine.json",
        "metrics.jsonl",
        "nearest.png",
        "networks.json",
        "report.html",
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
    assert [record["step"] for record in records(on_two)] == [2, 4, 6]
    assert set(records(on_two)[0]) >= {
        "images",
        "epoch",
        "d_loss",
        "g_loss",
        "d_acc_real",
        "d_acc_fake",
        "images_per_s",
    }
    assert checkpoints(on_two) == ["step_0000004", "step_0000006"]


@pytest.mark.parametrize("channels", ["L", "RGB"])
def test_dcgan_trains_on_two_replicas(image_folder, tmp_path, channels):
    config = Config(
        dataset=f"folder:{image_folder(mode=channels)}",
        model_args="width=8",
        batch_size=4,
        steps=2,
        virtual_devices=2,
        run_dir=str(tmp_path / "run"),
    )
    assert train(config).step == 2
    assert load_sampler(tmp_path / "run")[1].image_shape[2] == len(channels)


def final_weights(config):
    return [np.asarray(v) for v in load_sampler(_folder(config).parent)[2].variables]


def test_a_continued_run_is_the_uninterrupted_one_to_the_last_bit(on_two, tmp_path):
    straight = dataclasses.replace(on_two, steps=9)
    train(straight)
    broken = dataclasses.replace(on_two, run_dir=str(tmp_path / "broken"))
    train(dataclasses.replace(broken, steps=5))
    train(dataclasses.replace(broken, steps=9, steps_per_call=3))
    for a, b in zip(final_weights(straight), final_weights(broken), strict=True):
        np.testing.assert_array_equal(a, b)
    pictures = [(_folder(c).parent / "samples" / "step_0000009.png").read_bytes() for c in (straight, broken)]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("decay", "end", "said"), [(0, 1e-5, "end=1e-05 changes nothing"), (8, 0.0, "falls to 0 at step 2"), (8, 1e-5, "")]
)
def test_it_says_where_the_rate_changes_nothing(config, capsys, decay, end, said):
    train(dataclasses.replace(config, lr_decay_images=decay, learning_rate_end=end))
    printed = capsys.readouterr().out
    assert said in printed
    assert ("note: " in printed) == bool(said)


def test_r3gan_with_all_its_schedules_is_continued_to_the_last_bit(config, tmp_path):
    whole = dataclasses.replace(
        config,
        model="r3gan",
        model_args="width=(4,4,4),group=4,blocks=1,low_precision_stages=2",
        conditioning="projection",
        precision="mixed_bfloat16",
        augment="translation,cutout,color",
        flip=True,
        gamma_end=0.05,
        beta_2=0.9,
        beta_2_end=0.99,
        epsilon=1e-8,
        lr_decay_images=20,
        learning_rate_end=5e-5,
        ema_scheduled=True,
        schedule_images=22,  # so that the last step is behind all of them
    )
    train(whole)
    broken = dataclasses.replace(whole, run_dir=str(tmp_path / "broken"))
    train(dataclasses.replace(broken, steps=3))
    train(broken)
    for a, b in zip(final_weights(whole), final_weights(broken), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(MirageError, match="--gamma_end"):
        train(dataclasses.replace(whole, gamma_end=0.1))


class Watched:
    """Stands before a step, and counts what passes."""

    def __init__(self, step):
        self.step, self.jit, self.trace, self.counts = step, step.jit, step.trace, []

    def __call__(self, count, stop):
        self.counts.append(int(count))
        return self.step(count, stop)


def test_images_at_hand_train_alike_and_every_call_can_be_watched(config, tmp_path):
    dataset = load(config)
    train(config)
    shutil.rmtree(_folder(config).parent.parent / "images")
    watched = []
    other = dataclasses.replace(config, run_dir=str(tmp_path / "other"))
    trainer.train(other, dataset=dataset, around=lambda step: watched.append(Watched(step)) or watched[0])
    assert sum(watched[0].counts) == config.steps
    for a, b in zip(final_weights(config), final_weights(other), strict=True):
        np.testing.assert_array_equal(a, b)


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
    draw = Preview.draw
    calls = []

    def draw_then_signal(self):
        calls.append(1)
        if len(calls) == 3:  # after step 6
            os.kill(os.getpid(), number)
        return draw(self)

    monkeypatch.setattr(Preview, "draw", draw_then_signal)
    outcome = train(longer)
    assert outcome.stopped_by == number
    assert 6 <= outcome.step <= 8
    assert checkpoints(longer)[-1] == f"step_{outcome.step:07}"
    assert train(longer).step == 40


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(config, monkeypatch):
    call = trainer.TrainStep.__call__

    def diverge(self, num_steps, stop):
        means, stopping = call(self, num_steps, stop)
        return means * np.nan if int(self._trainee.step.numpy()) > 4 else means, stopping

    monkeypatch.setattr(trainer.TrainStep, "__call__", diverge)
    with pytest.raises(MirageError, match=r"diverged: at step 6 d_loss = nan.*last good checkpoint"):
        train(config)
    assert checkpoints(config) == ["step_0000004"]


def test_a_learning_rate_that_explodes_is_reported_not_saved(config):
    # Real numbers, no patching: weights of 1e30 overflow within a few steps.
    with pytest.raises(MirageError, match=r"diverged|not finite"):
        train(dataclasses.replace(config, learning_rate=1e30, steps=50))
    if checkpoints(config):
        for value in final_weights(config):
            assert np.isfinite(value).all()


def test_a_batch_that_replicas_cannot_share_is_refused(on_two):
    with pytest.raises(MirageError, match="--batch_size=5 can't be shared by 2 replicas"):
        train(dataclasses.replace(on_two, batch_size=5))
    with pytest.raises(MirageError, match="multiple of 4"):
        train(dataclasses.replace(on_two, batch_size=6, objective="nsgan", d_batches="split"))


def test_a_run_dir_that_cannot_be_written_is_refused(config, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MirageError, match="--run_dir="):
        train(dataclasses.replace(config, run_dir=str(tmp_path / "file" / "run")))


def test_virtual_devices_that_come_too_late_are_refused(config):
    assert len(tf.config.list_logical_devices("CPU")) == 4
    with pytest.raises(MirageError, match="--virtual_devices=5 came too late"):
        train(dataclasses.replace(config, virtual_devices=5))


@pytest.mark.parametrize("failing", ["write_checkpoint", "write_png"])
def test_a_full_disk_is_reported_and_keeps_the_last_checkpoint(config, monkeypatch, failing):
    train(dataclasses.replace(config, steps=4))
    module = checkpoint if failing == "write_checkpoint" else recording

    def no_space(*arguments, **keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, failing, no_space)
    with pytest.raises(MirageError, match="No space left on device"):
        train(config)
    # A picture comes after the checkpoint of its step.
    assert checkpoints(config) == ["step_0000004", *(["step_0000006"] if failing == "write_png" else [])]
    monkeypatch.undo()
    assert train(config).step == 6


def test_a_run_directory_belongs_to_one_process_at_a_time(config):
    with lock_run(Path(config.run_dir)), pytest.raises(MirageError, match="in use by another training process"):
        train(config)
    assert train(config).step == 6


def test_streamed_and_resident_data_train_alike_to_the_last_bit(on_two, tmp_path):
    resident = dataclasses.replace(on_two, steps=7, flip=True, objective="nsgan", d_batches="split")
    train(resident)
    streamed = dataclasses.replace(
        resident, device_data_mb=0, data_dir=str(tmp_path / "data"), run_dir=str(tmp_path / "streamed")
    )
    train(dataclasses.replace(streamed, steps=4))
    assert train(streamed).step == 7  # continued, which must find its place in the data again
    for a, b in zip(final_weights(resident), final_weights(streamed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_number_of_devices_continues_the_trajectory(on_two, tmp_path):
    straight = dataclasses.replace(on_two, batch_size=8, steps=6)
    train(straight)
    moved = dataclasses.replace(straight, run_dir=str(tmp_path / "moved"))
    train(dataclasses.replace(moved, steps=3))
    train(dataclasses.replace(moved, strategy="one_device", virtual_devices=0))
    for a, b in zip(final_weights(straight), final_weights(moved), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device_data_mb", [2048, 0])
def test_the_choice_of_xla_is_measured_recorded_and_kept(config, monkeypatch, capsys, tmp_path, device_data_mb):
    for name, value in (("on_gpus", lambda strategy: True), ("JIT_WORTHWHILE_STEPS", 1), ("_GAIN", math.inf)):
        monkeypatch.setattr(jit, name, value)
    alone = dataclasses.replace(
        config, strategy="one_device", virtual_devices=0, device_data_mb=device_data_mb, data_dir=str(tmp_path / "data")
    )
    train(dataclasses.replace(alone, steps=3))
    first = re.search(r"XLA: (on|off) \(", capsys.readouterr().out)[1]
    assert read_decided_jit(Path(config.run_dir)) == (first == "on")
    train(alone)
    assert "XLA:" not in capsys.readouterr().out
    straight = dataclasses.replace(alone, jit=first, run_dir=config.run_dir + "-straight")
    train(straight)
    for a, b in zip(final_weights(straight), final_weights(alone), strict=True):
        np.testing.assert_array_equal(a, b)  # so the measurement left no trace


def test_xla_across_cpu_devices_is_refused(on_two):
    with pytest.raises(MirageError, match="--jit=on can't compile across 2 devices that are CPUs"):
        train(dataclasses.replace(on_two, jit="on"))


def test_a_profile_is_recorded(config):
    train(dataclasses.replace(config, profile_steps="2:4"))
    assert list((Path(config.run_dir) / "tensorboard" / "plugins" / "profile").rglob("*.xplane.pb"))


def test_a_strategy_for_a_cluster_needs_one(config):
    with pytest.raises(MirageError, match="needs a cluster"):
        train(dataclasses.replace(config, strategy="multi_worker"))


@pytest.fixture
def scripted_scores(monkeypatch):
    """Evaluations that say what the test wants."""
    distances = iter([9.0, 4.0, 6.0, 7.0, 8.0, 2.0])

    class Scripted:
        def __init__(self, options, data, seed, dataset, generator, metrics):
            assert generator.name == "generator"
            self.judged = {"extractor": self.extractor, "num_samples": options.eval_samples, "reference": "test"}

        extractor, extractor_id = "classifier", "1a"

        def __call__(self):
            return {"frechet_distance": next(distances), "recall": 0.5}

    monkeypatch.setattr(callback, "Evaluation", Scripted)


@pytest.mark.usefixtures("scripted_scores")
def test_the_best_checkpoint_outlives_newer_ones(config):
    run = dataclasses.replace(
        config, steps=5, eval_every=1, keep_best=True, keep_checkpoints=1, checkpoint_every=1, preview_every=5
    )
    train(run)
    assert checkpoints(run) == ["best.json", "step_0000002", "step_0000005"]
    evaluations = (_folder(run).parent / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["frechet_distance"] for line in evaluations] == [9, 4, 6, 7, 8]
    assert load_sampler(Path(run.run_dir))[3] == 5
    assert load_sampler(Path(run.run_dir), "best")[3] == 2
    # A continued run remembers what was best.
    train(dataclasses.replace(run, steps=6))
    assert load_sampler(Path(run.run_dir), "best")[3] == 6
    assert checkpoints(run) == ["best.json", "step_0000006"]


@pytest.mark.usefixtures("scripted_scores")
def test_a_best_checkpoint_that_is_damaged_or_was_not_kept_is_refused(config):
    train(config)
    with pytest.raises(MirageError, match="no best checkpoint"):
        load_sampler(Path(config.run_dir), "best")
    run = dataclasses.replace(config, run_dir=config.run_dir + "-2", eval_every=6, keep_best=True)
    train(run)
    (_folder(run) / "step_0000006" / "state.npz").write_bytes(b"")
    with pytest.raises(MirageError, match="the best checkpoint can't be used"):
        load_sampler(Path(run.run_dir), "best")


def test_evaluations_change_nothing_of_the_training(image_folder, config, tmp_path):
    folder = image_folder(per_class=20)
    plain = dataclasses.replace(config, dataset=f"folder:{folder}", steps=4)
    train(plain)
    watched = dataclasses.replace(
        plain, eval_every=2, eval_samples=20, data_dir=str(tmp_path / "data"), run_dir=str(tmp_path / "watched")
    )
    train(watched)
    for a, b in zip(final_weights(plain), final_weights(watched), strict=True):
        np.testing.assert_array_equal(a, b)
    lines = (tmp_path / "watched" / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]
    assert {"frechet_distance", "frechet_floor", "precision", "recall", "label_accuracy"} <= set(json.loads(lines[0]))


def test_what_evaluations_need_is_checked_before_training_begins(config, tmp_path):
    pictures = Path(config.dataset.removeprefix("folder:")) / "cat"  # which as a folder of its own has no labels
    for index in range(20):
        shutil.copy(pictures / "0.png", pictures / f"copy{index}.png")
    unlabelled = dataclasses.replace(config, dataset=f"folder:{pictures}", conditional=False, eval_every=2)
    missing = tmp_path / "none.h5"
    for changes, named in (
        ({"extractor": "classifier"}, "--extractor=classifier needs labels"),
        ({"extractor": "inception"}, "--extractor=inception needs the weights of the network of 2015"),
        ({"extractor": "inception", "inception_weights": str(missing)}, r"--inception_weights=.*none\.h5 is no file"),
        ({"extractor": "none.onnx"}, r"--extractor=none\.onnx can't be read"),
    ):
        with pytest.raises(MirageError, match=named):
            train(dataclasses.replace(unlabelled, **changes))
        assert not (Path(config.run_dir) / "config.json").exists()
        assert not checkpoints(config)


@pytest.mark.usefixtures("scripted_scores")
def test_the_best_so_far_is_not_compared_with_scores_of_more_samples(config):
    run = dataclasses.replace(config, eval_every=3, keep_best=True)
    train(dataclasses.replace(run, steps=3))
    with pytest.raises(MirageError, match=r"--eval_samples=30 can't be compared with \d+, .*remove .*best\.json"):
        train(dataclasses.replace(run, eval_samples=30))  # distances are the smaller, the more samples
    (_folder(run) / "best.json").unlink()
    assert train(dataclasses.replace(run, eval_samples=30)).step == 6


def noted(run):
    note = json.loads((_folder(run) / "best.json").read_text())
    return note["checkpoint"], note["metric"], note["value"], note["extractor"]


@pytest.mark.usefixtures("scripted_scores")
def test_the_best_begins_anew_with_an_extractor_of_the_same_name(config, capfd, monkeypatch):
    """Such as the same ONNX file's name in another folder."""
    run = dataclasses.replace(config, eval_every=1, keep_best=True, steps=2)
    train(run)
    monkeypatch.setattr(callback.Evaluation, "extractor_id", "2b")
    train(dataclasses.replace(run, steps=3))
    assert noted(run) == ("step_0000003", "frechet_distance", 6.0, "classifier")
    assert "the extractor classifier (1a), which can't be compared with" in capfd.readouterr().err


@pytest.mark.usefixtures("scripted_scores")
def test_the_best_begins_anew_with_another_extractor_or_figure(config, capfd, monkeypatch):
    run = dataclasses.replace(config, eval_every=1, keep_best=True, steps=2)
    train(run)
    assert noted(run) == ("step_0000002", "frechet_distance", 4.0, "classifier")
    monkeypatch.setattr(callback.Evaluation, "extractor", "other")
    train(dataclasses.replace(run, steps=3))  # 6, which is no better than 4
    assert noted(run) == ("step_0000003", "frechet_distance", 6.0, "other")
    assert "the best begins anew" in capfd.readouterr().err
    train(dataclasses.replace(run, steps=4, best_by="recall"))
    train(dataclasses.replace(run, steps=5, best_by="recall"))  # which is no better
    assert noted(run) == ("step_0000004", "recall", 0.5, "other")
    lines = (_folder(run).parent / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["extractor"] for line in lines] == ["classifier"] * 2 + ["other"] * 3


@pytest.mark.usefixtures("scripted_scores")
def test_the_best_of_a_run_of_before_is_still_the_best_by_the_same_classifier(config):
    run = dataclasses.replace(config, eval_every=1, keep_best=True, steps=2)
    train(run)
    best = _folder(run) / "best.json"
    best.write_text(json.dumps({"checkpoint": "step_0000002", "frechet_distance": 4.0}))
    train(dataclasses.replace(run, steps=3))
    assert json.loads(best.read_text()) == {"checkpoint": "step_0000002", "frechet_distance": 4.0}
    train(dataclasses.replace(run, steps=6))
    assert noted(run) == ("step_0000006", "frechet_distance", 2.0, "classifier")


@pytest.mark.usefixtures("scripted_scores")
def test_patience_ends_a_training_which_is_saved_and_goes_on_with_more(config, capfd):
    run = dataclasses.replace(config, eval_every=1, patience=2, steps=6, checkpoint_every=3)
    ended = train(run)  # 9, 4, 6, 7
    assert (ended.step, newest_step(Path(run.run_dir))) == (4, 4)
    assert ended.stopped_by == "patience: 2 evaluations without a better frechet distance since step 2"
    assert "saved at step 4, where the training ends; to go on, raise --patience." in capfd.readouterr().out
    again = train(run)
    assert (again.step, again.stopped_by) == (4, ended.stopped_by)
    assert "since step 2: nothing is trained; to go on, raise --patience." in capfd.readouterr().out
    assert len((_folder(run).parent / "evaluations.jsonl").read_text().splitlines()) == 4
    more = train(dataclasses.replace(run, patience=4))  # 8, 2
    assert (more.step, more.stopped_by) == (6, None)


@pytest.mark.usefixtures("scripted_scores")
def test_patience_goes_on_counting_where_a_run_was_interrupted(config):
    run = dataclasses.replace(config, eval_every=1, patience=2, steps=3)
    assert train(run).stopped_by is None
    ended = train(dataclasses.replace(run, steps=6))
    assert (ended.step, ended.stopped_by[:10]) == (4, "patience: ")
