"""Trainings and runs as objects: what is left in a folder, and what is left of them in a process."""

import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import threading
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline import Callback, Experiment, MirageError, Run
from pipeline.runs.checkpoint import load_sampler
from tests.processes import last_checkpoint, saved


def experiment_of(config, callbacks=(), **changes):
    return Experiment.of(dataclasses.replace(config, **changes), callbacks)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of mnist5k's digits by a few flags."""
    run_dir = tmp_path_factory.mktemp("run") / "digits"
    flags = {"networks": "mlp", "latent_dim": 4, "conditional": True, "batch_size": 8, "log_every": 3}
    return Experiment(data="mnist5k", steps=6, **flags).train(run_dir)


def test_a_run_tells_what_it_is(trained):
    assert (trained.step, trained.stopped_by) == (6, None)
    assert (trained.config.latent_dim, trained.data.num_examples) == (4, 5000)
    opened = Run.open(str(trained.run_dir))
    assert repr(opened) == repr(trained) == f"Run({str(trained.run_dir)!r}, step=6)"
    page = opened._repr_html_()
    assert "step_0000006.png" in page
    assert "[D loss: " in page
    with pytest.raises(MirageError, match="holds no training run"):
        Run(trained.run_dir / "nowhere")


def test_history_is_a_frame_or_without_pandas_a_dict_of_arrays(trained, monkeypatch):
    lines = [json.loads(line) for line in (trained.run_dir / "metrics.jsonl").read_text().splitlines()]
    frame = trained.history()
    assert type(frame).__module__.startswith("pandas")
    monkeypatch.setitem(sys.modules, "pandas", None)
    history = trained.history()
    assert isinstance(history, dict)
    assert list(history) == list(frame.columns)
    for name, column in history.items():
        assert column.tolist() == frame[name].tolist() == [line[name] for line in lines]
    assert trained.evaluations() == {}


def test_what_a_damaged_log_says_besides_numbers_is_left_out(trained, tmp_path):
    shutil.copytree(trained.run_dir, tmp_path / "run")
    run = Run(tmp_path / "run")
    with (run.run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "d_loss": null, "g_loss": [1, 2], "r1": "x"}\n')
    last = run.history().iloc[-1]
    assert (last["step"], np.isnan(last[["d_loss", "g_loss", "r1"]]).all()) == (7, True)
    assert "step 7: " in run._repr_html_()


def test_samples_follow_the_law_of_seeds(trained):
    from serving.contract.latents import latents

    images = trained.sample(4, seed=7)
    assert (images.dtype, images.shape) == (np.uint8, (4, 28, 28, 1))
    drawn = trained.generator([latents(np.arange(7, 11), 4), np.arange(4)], training=False).numpy()
    assert np.abs(images - (drawn + 1) * 127.5).max() <= 0.51
    np.testing.assert_array_equal(trained.sample(1, seed=9, labels=2)[0], images[2])
    np.testing.assert_array_equal(trained.sample(2, seed=8, labels=[1, 2]), images[1:3])
    assert trained.sample(0).shape == (0, 28, 28, 1)
    for arguments, sentence in (
        ({"n": -1}, "n is -1; expected 0 or more"),
        ({"n": 2.5}, "n is .*2.5.*; expected an integer"),
        ({"n": 2, "labels": [1]}, "1 labels were passed for 2 images"),
        ({"n": 2, "labels": 10}, "label 10 is unknown"),
        ({"n": 2, "seed": 2**63 - 1}, "expected at most"),
    ):
        with pytest.raises(MirageError, match=sentence):
            trained.sample(**arguments)


def test_a_run_is_exported_and_its_bundle_makes_the_same_pictures(trained, tmp_path):
    from serving import Generator

    assert trained.export(tmp_path / "bundle", formats="onnx") == tmp_path / "bundle"
    images = Generator.load(tmp_path / "bundle").sample(6, seed=3).astype(int)
    assert np.abs(images - trained.sample(6, seed=3)).max() <= 1


def test_a_run_is_evaluated(config, image_folder, tmp_path):
    folder = image_folder(per_class=20)
    run = experiment_of(config, dataset=f"folder:{folder}", data_dir=str(tmp_path / "data")).train()
    scores = run.evaluate(num_samples=20)
    assert scores["step"] == 6
    assert scores["frechet_distance"] > 0
    with pytest.raises(MirageError, match=r"num_sample=20: evaluate knows .*num_samples.*, and no num_sample"):
        run.evaluate(num_sample=20)
    with pytest.raises(MirageError, match="--checkpoint=better is not known; choose from newest, best"):
        run.load("better")
    with pytest.raises(MirageError, match=r"form=1: export knows checkpoint, .*dataset, noise, and no form\."):
        run.export(tmp_path / "bundle", form=1)
    assert not (tmp_path / "bundle").exists()


def weights(run):
    return last_checkpoint(Path(run.run_dir))


def same(one, other):
    assert one.keys() == other.keys()
    return all(np.array_equal(one[name], other[name]) for name in one)


def process_state():
    """What a process has only once, and a training may not leave changed."""
    return {
        "policy": keras.config.dtype_policy().name,
        "floatx": keras.config.floatx(),
        "layout": keras.config.image_data_format(),
        "keras_seed": keras.utils.rng_utils.get_random_seed() if hasattr(keras.utils, "rng_utils") else None,
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "working_directory": os.getcwd(),
        "filters": list(warnings.filters),
        "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "environment": dict(os.environ),
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "standard": (sys.stdout, sys.stderr),
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }


def test_a_training_leaves_the_process_as_it_was_and_takes_nothing_from_it(config, tmp_path):
    experiment_of(config, run_dir=str(tmp_path / "first"), steps=2).train()  # after which TensorFlow has its threads
    alone = experiment_of(config, run_dir=str(tmp_path / "alone")).train()
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_image_data_format("channels_first")
    tf.random.set_seed(5)
    random.seed(3)
    expected = tf.random.uniform([3]).numpy()
    tf.random.set_seed(5)
    try:
        before = process_state()
        run = experiment_of(config, run_dir=str(tmp_path / "nested")).train()
        images = run.sample(2)
        assert process_state() == before
        np.testing.assert_array_equal(tf.random.uniform([3]).numpy(), expected)
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format("channels_last")
    assert same(weights(run), weights(alone))
    np.testing.assert_array_equal(images, alone.sample(2))


def test_trainings_one_after_the_other_do_not_know_of_each_other(config, tmp_path):
    others = [
        {"seed": 3, "precision": "mixed_bfloat16", "strategy": "one_device", "virtual_devices": 0},
        {"seed": 4, "objective": "nsgan", "conditional": False, "deterministic": False},
    ]
    first = experiment_of(config, run_dir=str(tmp_path / "0")).train()
    for index, changes in enumerate(others):
        experiment_of(config, run_dir=str(tmp_path / f"other{index}"), **changes).train()
    again = experiment_of(config, run_dir=str(tmp_path / "1")).train()
    assert same(weights(first), weights(again))


def test_the_folder_given_to_train_goes_on_where_it_ended(config, tmp_path):
    straight = experiment_of(config, steps=8).train(tmp_path / "straight")
    experiment_of(config, steps=3).train(tmp_path / "broken")
    broken = experiment_of(config, steps=8).train(str(tmp_path / "broken"))
    assert broken.config.run_dir == str(tmp_path / "broken")
    assert same(weights(straight), weights(broken))


def test_a_training_in_a_thread_is_stopped_from_outside(config):
    started = threading.Event()

    class Started(Callback):
        every = 5

        def on_interval(self, training):
            started.set()

    experiment = experiment_of(config, [Started()], steps=10**6, checkpoint_every=10**6, steps_per_call=1)
    assert not experiment.stop()
    found = []
    handler = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: found.append(experiment.train()))
    thread.start()
    assert started.wait(120)
    with pytest.raises(MirageError, match="another training is under way in this process"):
        experiment.train()
    assert experiment.stop("seen enough")
    thread.join(120)
    assert not thread.is_alive()
    (run,) = found
    assert (run.stopped_by, saved(run.run_dir)) == ("seen enough", [f"step_{run.step:07}"])
    assert run.step >= 5
    assert "stopped_by=seen enough" in repr(run)
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupt_saves_and_returns_the_run_and_the_next_one_goes_on(config):
    class Interrupted(Callback):
        at = (3,)

        def on_interval(self, training):
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    run = experiment_of(config, [Interrupted()]).train()
    assert (run.stopped_by, run.step) == (signal.SIGINT, 3)
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(KeyboardInterrupt):  # as anything else that the kernel does
        os.kill(os.getpid(), signal.SIGINT)
    assert experiment_of(config).train().step == 6


def test_an_interrupt_while_there_is_nothing_to_save_is_one(config):
    class Impatient(Callback):
        def on_prepare(self, training):
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        experiment_of(config, [Impatient()]).train()
    assert signal.getsignal(signal.SIGINT) is handler
    assert experiment_of(config).train().step == 6


def test_a_callback_stops_early_by_the_scores_of_evaluations(config, image_folder, tmp_path):
    class EarlyStopping(Callback):
        every = 2

        def __init__(self):
            self.distances = []

        def on_interval(self, training):
            self.distances.append(training.scores["frechet_distance"])
            if len(self.distances) == 2:
                training.stop(f"the distance is {self.distances[-1]:.1f}")

    stopping = EarlyStopping()
    more = {"dataset": f"folder:{image_folder(per_class=20)}", "data_dir": str(tmp_path / "data")}
    run = experiment_of(config, [stopping], eval_every=2, eval_samples=20, steps=100, **more).train()
    assert (run.step, run.stopped_by) == (4, f"the distance is {stopping.distances[-1]:.1f}")
    assert run.evaluations()["frechet_distance"].tolist() == stopping.distances


def test_what_a_callback_raises_ends_the_training_which_is_saved(config):
    class Broken(Callback):
        every = 3

        def on_interval(self, training):
            raise RuntimeError("no paper left\nin the tray")

    with pytest.raises(MirageError, match=r"failed after step 3: RuntimeError: no paper left in the tray \(") as caught:
        experiment_of(config, [Broken()]).train()
    assert str(caught.value).startswith("the callback Broken ")
    assert "\n" not in str(caught.value)
    assert saved(Path(config.run_dir)) == ["step_0000003"]
    assert experiment_of(config).train().step == 6


def test_a_callback_sees_the_training(config):
    seen = {}

    class Looks(Callback):
        at = (4,)

        def on_prepare(self, training):
            training.note("")
            training.say("preparing to look")

        def on_interval(self, training):
            training.say("looking")
            seen.update(
                step=training.step,
                metrics=set(training.metrics),
                shape=training.sample(3, seed=1).shape,
                examples=len(training.dataset.images),
                batch_size=training.config.batch_size,
            )

    run = experiment_of(config, [Looks()]).train()
    assert seen.pop("metrics") >= {"d_loss", "g_loss"}
    assert seen == {"step": 4, "shape": (3, 16, 16, 1), "examples": 12, "batch_size": 4}
    assert load_sampler(run.run_dir)[3] == 6
