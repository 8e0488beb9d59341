"""What a run writes when it is told to stop, and where it can't write: whole runs, tiny, in this process."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest

from pipeline import checkpoint, trainer
from pipeline.config import Config
from pipeline.interrupt import Stopped
from pipeline.preview import Preview
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
        jit="off",
        strategy="one_device",
        run_dir=str(tmp_path / "run"),
    )


def checkpoints(config):
    return sorted(path.name for path in (Path(config.run_dir) / "checkpoints").glob("*"))


def records(config):
    return [json.loads(line) for line in (Path(config.run_dir) / "metrics.jsonl").read_text().splitlines()]


def test_what_is_due_is_saved_before_it_is_drawn_and_judged(config, monkeypatch, image_folder, tmp_path):
    """A signal during the evaluation breaks it off; the state is on disk, and nothing else is done."""
    run = dataclasses.replace(
        config,
        dataset=f"folder:{image_folder(per_class=20)}",
        steps=40,
        steps_per_call=20,
        eval_every=8,
        eval_samples=20,
        preview_every=8,
        checkpoint_every=8,
        data_dir=str(tmp_path / "data"),
    )
    on_disk = {}
    draw = Preview.draw

    def watched_draw(self):
        on_disk.setdefault("drawn", []).append(checkpoints(run))
        return draw(self)

    def told_to_stop(self):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("evaluated all the same")

    monkeypatch.setattr(Preview, "draw", watched_draw)
    monkeypatch.setattr(trainer.Evaluation, "__call__", told_to_stop)
    save = checkpoint.Checkpoints.save

    def save_at_once(self, *arguments):
        save(self, *arguments)
        self.wait()

    monkeypatch.setattr(checkpoint.Checkpoints, "save", save_at_once)
    outcome = train(run)
    assert (outcome.step, outcome.stopped_by) == (8, signal.SIGTERM)
    assert on_disk["drawn"] == [[], ["step_0000008"]]
    assert checkpoints(run) == ["step_0000008"]
    assert not (Path(run.run_dir) / "evaluations.jsonl").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_after_a_request_nothing_is_done_but_a_save(config, monkeypatch, capsys, number):
    call = trainer.TrainStep.__call__

    def call_then_signal(self, num_steps, stop):
        result = call(self, num_steps, stop)
        if int(self._trainee.step.numpy()) == 4:
            os.kill(os.getpid(), number)
        return result

    monkeypatch.setattr(trainer.TrainStep, "__call__", call_then_signal)
    run = dataclasses.replace(config, preview_every=4, checkpoint_every=100)
    outcome = train(run)
    assert (outcome.step, outcome.stopped_by) == (4, number)
    assert [path.name for path in (Path(run.run_dir) / "samples").iterdir()] == ["step_0000000.png"]
    assert checkpoints(run) == ["step_0000004"]
    assert [record["step"] for record in records(run)] == [2, 4]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{number.name}: saved at step 4; the same command goes on from there."
    assert lines[-2].startswith("step 4/6")


def test_a_request_before_the_first_steps_are_done_finds_nothing_to_save(config, monkeypatch):
    draw = Preview.draw

    def draw_then_signal(self):
        picture = draw(self)
        os.kill(os.getpid(), signal.SIGTERM)
        return picture

    monkeypatch.setattr(Preview, "draw", draw_then_signal)
    with pytest.raises(Stopped):
        train(config)
    assert checkpoints(config) == []
    monkeypatch.undo()
    assert train(config).step == 6


def test_a_request_in_the_last_evaluation_leaves_only_that_out(config, monkeypatch):
    def scored(self):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(trainer, "Evaluation", type("Told", (), {"__init__": lambda *_: None, "__call__": scored}))
    outcome = train(dataclasses.replace(config, eval_every=100))
    assert (outcome.step, outcome.stopped_by) == (6, signal.SIGINT)
    assert checkpoints(config) == ["step_0000004", "step_0000006"]
    assert (Path(config.run_dir) / "samples" / "step_0000006.png").exists()
    assert train(config).stopped_by is None
