"""`--dry_run` shows what would be trained and what is amiss with the data; `=deep` tries it, and leaves nothing."""

import dataclasses
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from PIL import Image

import pipeline.__main__
from pipeline.base.errors import INTERRUPTED, MISTAKE, TERMINATED, MirageError
from pipeline.config import Config
from pipeline.data.dataset import load
from pipeline.data.spec import DataSpec
from pipeline.data.trial import read_trial, write_trial
from pipeline.diagnosis import rehearsal
from pipeline.diagnosis.child import Outcome
from pipeline.training.configured import trainee_of
from tests.processes import ENVIRONMENT, ROOT


def switch(*arguments):
    values = flags.FlagValues()
    pipeline.__main__.define_flags(values)
    values(["pipeline", *arguments])
    return values.dry_run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], False),
        (["--dry_run"], True),
        (["--nodry_run"], False),
        (["--dry_run=true"], True),
        (["--dry_run=false"], False),
        (["--dry_run=deep"], "deep"),
        (["--dry_run=deep", "--nodry_run"], False),
    ],
)
def test_the_switch_takes_a_word_besides(arguments, expected):
    assert switch(*arguments) == expected


def test_another_word_is_refused():
    with pytest.raises(flags.IllegalFlagValueError, match="expected true, false or deep"):
        switch("--dry_run=shallow")


def test_the_switch_may_stand_in_a_flagfile(tmp_path):
    (tmp_path / "flags").write_text("--dry_run=deep\n")
    assert switch(f"--flagfile={tmp_path}/flags") == "deep"


def call(capsys, *arguments):
    values = flags.FlagValues()
    pipeline.__main__.define_flags(values)
    values(["pipeline", *map(str, arguments)])
    status = pipeline.__main__.main(values, ["pipeline"])
    return status, capsys.readouterr()


def flags_of(root, tmp_path, *more):
    run_dir, data_dir = f"--run_dir={tmp_path / 'run'}", f"--data_dir={tmp_path / 'kept'}"
    model = ("--model=mlp", "--latent_dim=4", "--batch_size=4")
    return f"--dataset=folder:{root}", *model, run_dir, data_dir, *more


def test_a_dry_run_tells_what_is_amiss_and_where_the_report_is(image_folder, tmp_path, capsys):
    root = image_folder()
    (root / "cat" / "6.png").write_bytes((root / "cat" / "0.png").read_bytes())
    status, said = call(capsys, "--dry_run", *flags_of(root, tmp_path))
    assert status == 0
    assert "\nData: 13 pictures, " in said.out
    assert "1 picture is a copy of another" in said.out
    page = said.out.rstrip().rpartition("Report: ")[2]
    assert page.startswith(str(tmp_path / "kept" / "looks"))
    assert os.path.exists(page)
    assert not (tmp_path / "run").exists()


def test_data_that_training_refuses_are_looked_at_all_the_same(image_folder, tmp_path, capsys):
    root = image_folder()
    (root / "cat" / "7.png").write_bytes(b"x")
    Image.new("L", (9, 9)).save(root / "dog" / "8.png")
    status, said = call(capsys, "--dry_run", *flags_of(root, tmp_path))
    assert status == MISTAKE
    assert "training refuses this: 1 picture of 14 can't be read: cat/7.png" in said.out
    assert "training refuses this: Pictures have 2 sizes" in said.out
    assert said.err.splitlines()[-1].startswith("error: ")


def test_a_trial_holds_as_much_as_all_data(image_folder, tmp_path, monkeypatch):
    config = Config(dataset=f"folder:{image_folder(per_class=40)}", batch_size=4)
    monkeypatch.setattr("pipeline.data.trial._MOST_BYTES", 16 * 16 * 20)
    spec, unprepared = write_trial(config, 4, tmp_path, str(tmp_path / "kept"))
    assert unprepared == 0  # so few are decoded at each start
    resident, streamed = read_trial(tmp_path, 2048), read_trial(tmp_path, 0)
    assert spec.num_examples == 80
    assert (resident.images.shape, resident.labels.shape, resident.streamed) == ((80, 16, 16, 1), (80,), False)
    assert resident.spec == spec
    assert (streamed.images.shape, streamed.spec.num_examples, streamed.streamed) == ((20, 16, 16, 1), 20, True)
    np.testing.assert_array_equal(resident.images[20:40], streamed.images)
    assert {*resident.labels} == {0, 1}


def test_what_is_to_be_prepared_is_known(image_folder, tmp_path):
    config = Config(dataset=f"folder:{image_folder()}", batch_size=1, device_data_mb=0, data_dir=str(tmp_path / "kept"))
    quiet = dataclasses.replace(config, data_dir=str(tmp_path / "elsewhere"))
    assert write_trial(quiet, 4, tmp_path, config.data_dir)[1] == 12 * 16 * 16
    load(config)
    assert write_trial(quiet, 4, tmp_path, config.data_dir)[1] == 0


FACTS = {
    "first_step_s": 2.0,
    "saving_s": 0.5,
    "restored": True,
    "steps_per_s": 4.0,
    "images_per_step": 64.0,
    "steps": 40,
    "memory": 2**30,
    "gpu_memory": None,
    "checkpoint_bytes": 2**20,
    "preview_bytes": 2**10,
    "line_bytes": 100.0,
}
VALUES = Config(steps=40_000, batch_size=64).to_dict()


@pytest.fixture
def rehearse(monkeypatch, tmp_path):
    """Rehearses with a child that tells some facts, and an export that works."""

    def rehearsed(facts=FACTS, failure="", done=0, unprepared=0, **changes):
        def child(*_, hear, **__):
            hear({"stage": "training"})
            return Outcome(facts, (), failure)

        monkeypatch.setattr(rehearsal, "run_child", child)
        monkeypatch.setattr(rehearsal, "_export", lambda found, *_: found.lines.append("exported"))
        values = {**VALUES, "run_dir": str(tmp_path / "run"), "data_dir": str(tmp_path), **changes}
        return rehearsal.rehearse(values, unprepared, done, tmp_path, lambda line: None)

    return rehearsed


def test_time_and_disk_are_those_of_the_whole_run(rehearse):
    found = rehearse()
    assert found.obstacles == []
    # 40,000 steps at 4 a second, and 41 checkpoints of half a second
    assert found.estimate.startswith("about 2 h 47 min for 40,000 steps, 4.1 MiB in ")
    assert found.verdict().startswith("Verdict: ready: about 2 h 47 min")
    assert "256.0 images/s, 4 steps/s, over 40 steps" in found.lines
    assert any(", without XLA, which --jit=auto may choose" in line for line in rehearse(model="mlp").lines)
    assert rehearse(done=39_000).estimate.startswith("about 4 min for 1,000 steps")
    assert "evaluations not counted" in rehearse(eval_every=100).estimate
    # and 5,000 images at 100 a second, of which real ones are described once
    judged = rehearse({**FACTS, "judging_s": 0.01}, eval_every=20_000, eval_samples=5000)
    assert judged.estimate.startswith("about 2 h 50 min for 40,000 steps, 4.1 MiB in ")
    assert "15,000 images for evaluations, 100 made and described per s" in judged.lines
    assert rehearse({**FACTS, "judging_s": 0.01}).estimate == found.estimate


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"facts": {"error": "out of memory while training: lower it."}}, "out of memory while training: lower it"),
        ({"facts": {}, "failure": "it was ended by SIGKILL"}, "for want of memory perhaps: lower --batch_size"),
        ({"facts": {}, "failure": "it was ended by SIGSEGV: x."}, "failed while training: it was ended by SIGSEGV: x"),
        ({"facts": {**FACTS, "restored": False}}, "the checkpoint was restored to something else than was written"),
        ({"facts": {**FACTS, "checkpoint_bytes": 2**60}}, "are free there"),
        ({"unprepared": 2**60}, "are free there"),
        ({"run_dir": f"{__file__}/run"}, "can't be written to"),
    ],
    ids=["mistake", "killed", "crashed", "not restored", "no room", "no room for data", "no place"],
)
def test_the_verdict_says_what_stands_in_the_way(rehearse, changes, why):
    found = rehearse(**changes)
    assert why in found.verdict()
    assert found.verdict().startswith("Verdict: not ready: ")
    assert "\n" not in found.verdict()


def test_a_cluster_is_no_place_for_a_rehearsal(monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}')
    status, said = call(capsys, "--dry_run=deep")
    assert status == MISTAKE
    assert said.err.startswith("error: --dry_run=deep tries one machine; ")


def start(root, tmp_path, *more):
    for name in ("home", "tmp", "here", "libraries"):
        (tmp_path / name).mkdir(exist_ok=True)
    environment = {
        **ENVIRONMENT,
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "KERAS_HOME": str(tmp_path / "libraries"),
        "MPLCONFIGDIR": str(tmp_path / "libraries"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "--dry_run=deep", *flags_of(root, tmp_path, *more)],
        cwd=tmp_path / "here",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def left(tmp_path):
    """What there is besides the pictures, and what libraries always keep."""
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    return {name for name in files if not name.startswith(("images", "libraries"))}


BEFORE = {"home", "tmp", "here"}


def test_a_deep_dry_run_is_ready_and_leaves_nothing(image_folder, tmp_path):
    root = image_folder()
    judged = ("--eval_every=1000", "--eval_samples=100", "--extractor=tests.test_ladder:Means")
    process = start(root, tmp_path, "--conditional", "--steps=2000", *judged)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    lines = out.splitlines()
    assert lines[-1].startswith("Verdict: ready: about ")
    assert " for 2,000 steps, " in lines[-1]
    told = "\n".join(lines[lines.index("Rehearsal:") :])
    for each in (
        "first step after ",
        " images/s, ",
        "peak of the process's memory ",
        "restored bit for bit",
        "exported to ONNX",
        "300 images for evaluations, ",  # two evaluations, and what they compare with
    ):
        assert each in told
    assert "evaluations not counted" not in told
    assert f'"data_dir": "{tmp_path / "kept"}"' in out  # the configuration is that of the training
    assert "rehearsal: exporting to ONNX" in err
    assert left(tmp_path) == BEFORE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_deep_dry_run_that_is_stopped_leaves_nothing(image_folder, tmp_path, number):
    process = start(image_folder(), tmp_path, "--steps=2000")
    for line in process.stderr:
        if line.startswith("rehearsal: "):
            break
    assert any((tmp_path / "tmp").iterdir())
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == (INTERRUPTED if number == signal.SIGINT else TERMINATED)
    assert left(tmp_path) == BEFORE


def test_a_deep_dry_run_says_what_stands_in_the_way(image_folder, tmp_path, capsys):
    root = image_folder()
    (root / "cat" / "7.png").write_bytes(b"x")
    status, said = call(capsys, "--dry_run=deep", *flags_of(root, tmp_path))
    assert status == MISTAKE
    assert said.out.splitlines()[-1].startswith("Verdict: not ready: 1 picture of 13 can't be read: cat/7.png")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("classes", "more", "why"),
    [
        (("cat", "dog"), "--batch_size=400", "--batch_size=400 is larger than the 12 images"),
        ((), "--conditional", "--conditional needs labels"),
    ],
)
def test_a_deep_dry_run_refuses_what_training_refuses(image_folder, tmp_path, capsys, monkeypatch, classes, more, why):
    monkeypatch.setattr(rehearsal, "run_child", None)  # so that nothing can be tried
    status, said = call(capsys, "--dry_run=deep", *flags_of(image_folder(classes), tmp_path, more))
    assert status == MISTAKE
    assert said.out.splitlines()[-1].startswith(f"Verdict: not ready: {why}")


def test_what_cannot_be_looked_at_is_a_mistake(tmp_path, capsys):
    status, said = call(capsys, "--dry_run=deep", *flags_of(tmp_path / "none", tmp_path))
    assert status == MISTAKE
    assert said.err.startswith("error: --dataset=folder:")
    with pytest.raises(MirageError):
        write_trial(Config(dataset=f"folder:{tmp_path / 'none'}"), 1, tmp_path, "")


def test_a_dry_run_says_what_becomes_of_weights_to_begin_with(image_folder, tmp_path, capsys):
    root, data = image_folder(), DataSpec("x", "", (16, 16, 1), (), 12)
    theirs = tmp_path / "theirs.keras"
    trainee_of(Config(model="mlp", latent_dim=4, batch_size=4), data).networks["generator"].save(theirs)
    status, said = call(capsys, "--dry_run", *flags_of(root, tmp_path), f"--init_from={theirs}")
    assert (status, said.err) == (0, "")
    assert "Weights from theirs.keras:" in said.out
    status, said = call(capsys, "--dry_run", *flags_of(root, tmp_path), f"--init_from={tmp_path / 'nowhere'}")
    assert status == MISTAKE
    assert "nowhere is not there" in said.err
