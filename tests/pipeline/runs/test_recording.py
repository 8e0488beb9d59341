"""What a run writes when it is told to stop, and where it can't write: whole runs, tiny, in this process."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.base.errors import MirageError
from pipeline.base.interrupt import Stopped
from pipeline.evaluation import callback
from pipeline.runs import checkpoint
from pipeline.runs.place import check_place
from pipeline.runs.preview import Preview
from pipeline.runs.run_file import read_run
from pipeline.training import trainer
from tests.experiments import train
from tests.processes import ENVIRONMENT, ROOT


@pytest.fixture
def config(config):
    return dataclasses.replace(config, virtual_devices=0, jit="off", strategy="one_device")


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
    monkeypatch.setattr(callback.Evaluation, "__call__", told_to_stop)
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

    monkeypatch.setattr(callback, "Evaluation", type("Told", (), {"__init__": lambda *_: None, "__call__": scored}))
    outcome = train(dataclasses.replace(config, eval_every=100))
    assert (outcome.step, outcome.stopped_by) == (6, signal.SIGINT)
    assert checkpoints(config) == ["step_0000004", "step_0000006"]
    assert (Path(config.run_dir) / "samples" / "step_0000006.png").exists()
    assert train(config).stopped_by is None


@pytest.mark.parametrize("name", ["samples", "tensorboard", "checkpoints"])
@pytest.mark.parametrize("found", ["a file", "a link that leads nowhere"])
def test_something_else_in_the_place_of_a_folder_is_named(config, name, found):
    in_the_way = Path(config.run_dir) / name
    in_the_way.parent.mkdir()
    if found == "a file":
        in_the_way.write_text("mine")
    else:
        in_the_way.symlink_to("nowhere")
    with pytest.raises(MirageError, match=rf"--run_dir=.* holds {name}, which is {found}, and a folder is expected"):
        train(config)
    assert [path.name for path in in_the_way.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluations.jsonl", "config.json", ".lock"])
def test_a_folder_in_the_place_of_a_file_is_named(config, name):
    (Path(config.run_dir) / name).mkdir(parents=True)
    with pytest.raises(MirageError, match=rf"--run_dir=.* holds {name}, which is a folder, and a file is expected"):
        train(config)
    assert [path.name for path in Path(config.run_dir).iterdir()] == [name]


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(config):
    Path(config.run_dir).mkdir()
    os.mkfifo(Path(config.run_dir) / "config.json")
    with pytest.raises(MirageError, match=r"config\.json, which is a device or pipe, and a file is expected there"):
        train(config)


def test_a_run_dir_that_is_something_else_is_refused_before_the_data_are_read(config, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setattr(trainer, "open_data", lambda *given: pytest.fail("the data were read"))
    for run_dir, reason in {
        tmp_path / "file": "is a file, and a folder is expected",
        tmp_path / "dangling": "is a link that leads nowhere",
        tmp_path / "loop": "Too many levels of symbolic links",
        tmp_path / "file" / "below": "Not a directory",
        tmp_path / ("a" * 300): "File name too long",
        tmp_path / ("a/" * 2100): "File name too long",
    }.items():
        with pytest.raises(MirageError, match=reason):
            train(dataclasses.replace(config, run_dir=str(run_dir)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file", "images", "loop"]


@pytest.mark.parametrize("call", ["stat", "lstat"])
def test_a_run_dir_below_a_folder_that_cannot_be_read_is_refused(config, monkeypatch, call):
    def denied(path, **more):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, call, denied)
    with pytest.raises(MirageError, match=r"--run_dir=.*\(Permission denied\)"):
        check_place(Path(config.run_dir))


@pytest.mark.parametrize("when", ["config.json", "step_0000000.png", "metrics.jsonl", "step_0000003.png"])
def test_a_disk_that_is_full_from_some_file_on_is_told_in_one_sentence(config, monkeypatch, when):
    run_dir = Path(config.run_dir)
    open_file = Path.open

    def full(path, mode="r", *arguments, **more):
        if mode != "r" and path.name.startswith(when):
            open_file(path, mode, *arguments, **more).close()  # it is there, but empty
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return open_file(path, mode, *arguments, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(MirageError, match=rf"can't be written \(No space left on device: .*{when}"):
        train(config)
    assert not list(run_dir.rglob("*.partial"))
    monkeypatch.undo()
    assert train(config).step == 6
    assert [record["step"] for record in records(config)] == [2, 4, 6]


def test_a_line_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path):
    """The real system refuses what is longer than it permits."""
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from pipeline.base.files import append_line, write_file\n"
        "path = Path(sys.argv[1])\n"
        "append_line(path / 'log', 'x' * 999)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))\n"
        "for write in (lambda: append_line(path / 'log', 'y' * 999), lambda: write_file(path / 'new', b'z' * 2000)):\n"
        "    try:\n"
        "        write()\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert result.stdout == "File too large\n" * 2
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("log", "x" * 999 + "\n")]


def test_a_run_whose_configuration_is_gone_goes_on_with_a_warning(config, capsys):
    train(dataclasses.replace(config, steps=4))
    (Path(config.run_dir) / "config.json").unlink()
    assert train(config).step == 6
    assert "has checkpoints but no config.json" in capsys.readouterr().err
    assert read_run(Path(config.run_dir))[0].latent_dim == 4


def test_a_name_that_is_no_text_is_trained_in_but_not_profiled(config, tmp_path):
    run = dataclasses.replace(config, run_dir=str(tmp_path / os.fsdecode(b"a\xff b")))
    with pytest.raises(MirageError, match="--profile_steps needs a --run_dir whose name is UTF-8"):
        train(dataclasses.replace(run, profile_steps="2:4"))
    assert train(run).step == 6
