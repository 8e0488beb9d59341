"""The ladder can be interrupted anywhere, and its table says what was measured. Times are never asserted."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import flags
from PIL import Image

from benchmarks import ladder, ladder_data, ladder_report, ladder_run
from benchmarks.ladder_judge import sheet_labels
from benchmarks.ladder_rungs import choose, read_rungs
from pipeline.base.errors import MirageError
from pipeline.data.options import DataOptions
from tests.processes import ENVIRONMENT, ROOT, children, saved, wait_for

TINY = """# Tiny.
--dataset=mnist
--model=mlp
--objective=nsgan
--latent_dim=2
--batch_size=4
--jit=off
--steps=2000
--lr_decay_images=10000
--log_every=50
--preview_every=2000
--checkpoint_every=50
"""


class Means:
    """An extractor that needs no training."""

    name = "means"
    facts: dict[str, float] = {}  # noqa: RUF012

    def __call__(self, images):
        from pipeline.metrics.extractor import Features

        rows = images.reshape(len(images), 8, -1).mean(-1)
        return Features(rows.astype(np.float32), None)


@pytest.fixture
def presets(tmp_path):
    """The folder of a tiny preset, beside one of pictures."""
    (tmp_path / "images").mkdir()
    for index in range(40):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "mnist-8-5.flags").write_text(TINY)
    return folder


def command(tmp_path, *more):
    given = ["--out=out", f"--presets={tmp_path / 'presets'}", "--mnist=folder:images", f"--data_dir={tmp_path}", *more]
    return [sys.executable, "-m", "benchmarks.ladder", *given]


def climb(tmp_path, *more):
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command(tmp_path, *more), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )


def ended(pid):
    """Whether a process that is nobody's child any more has ended; it may be in its last moments."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def free(lock):
    """Whether nobody, and no child of anybody, holds a lock."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def test_a_rung_that_was_killed_goes_on_and_is_not_done_again(tmp_path, presets):
    out = tmp_path / "out"
    options = ["--busy", "--num_samples=20", "--extractor=tests.test_ladder:Means"]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command(tmp_path, *options), cwd=tmp_path, env=environment) as process:
        try:
            wait_for(lambda: any(saved(path.parent) for path in out.glob("runs/*/seed0/checkpoints")), 240, process)
            (training,) = children(process)
        finally:
            process.kill()
    # The training that it left is told, saves and ends, and only then the folder is free.
    wait_for(lambda: free(out / ".lock"))
    wait_for(lambda: ended(training), 10)
    (run_dir,) = out.glob("runs/*/seed0")
    before = int(saved(run_dir)[-1].removeprefix("step_"))
    assert 0 < before < 2000
    with (out / "ladder.jsonl").open("w") as file:
        file.write('{"rung": "cut o')

    done = climb(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert "| MNIST, 8 px | 5 | 2 cores | FD-means" in done.stdout
    (record,) = ladder_run.read_lines(out / "ladder.jsonl")
    assert (record["steps"], record["images"], record["resumed"]) == (2000, 8000, True)
    assert 0 < record["training_s"] < record["seconds"]
    assert record["dataset"] == "folder"
    assert record["scores"]["num_samples"] == 20
    assert record["machine"]["cores"] == 2
    with Image.open(out / record["sheet"]) as sheet:
        assert sheet.size == (8 * 10 + 2, 8 * 10 + 2)
    assert (out / "ladder.png").stat().st_size > 1000
    assert str(tmp_path) not in (out / "ladder.md").read_text()

    written = run_dir.stat().st_mtime_ns, (out / "ladder.jsonl").read_bytes()
    assert climb(tmp_path, *options).returncode == 0
    assert (run_dir.stat().st_mtime_ns, (out / "ladder.jsonl").read_bytes()) == written
    assert "seed 0: done" in climb(tmp_path, *options, "--list").stdout
    # What is judged anew is not trained anew; another preset is.
    assert "to do" in climb(tmp_path, *options, "--num_samples=30", "--list").stdout
    np.savez(tmp_path / "others.npz", mu=np.full(8, 1000.0), sigma=np.eye(8))
    done = climb(tmp_path, *options, "--reference=others.npz")
    assert "judged by 20 samples beside others.npz." in done.stdout, done.stderr
    *_, again = ladder_run.read_lines(out / "ladder.jsonl")
    assert again["training_s"] == record["training_s"]
    assert again["scores"]["frechet_distance"] > 10**6 > record["scores"]["frechet_distance"]
    (presets / "mnist-8-5.flags").write_text(TINY.replace("--steps=2000", "--steps=1900"))
    assert "to do" in climb(tmp_path, *options, "--list").stdout


def test_the_steps_that_fit_are_measured_and_written(tmp_path, presets):
    done = climb(tmp_path, "--calibrate", "--calibrate_s=0.1", "--write", "--busy")
    assert done.returncode == 0, done.stderr
    steps = int(re.search(r"mnist-8-5: --steps=(\d+) of 4 images", done.stdout)[1])
    text = (presets / "mnist-8-5.flags").read_text()
    assert f"\n--steps={steps}\n" in text
    assert f"\n--lr_decay_images={5 * steps}\n" in text
    assert text.startswith("# Tiny.\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".lock"]


def test_a_pace_leaves_time_for_the_start():
    pace = ladder_run.Pace(images_per_s=640, overhead_s=20, images_per_step=64)
    assert pace.steps(5) == 2740  # of 2744
    assert pace.steps(60) == 35000
    with pytest.raises(MirageError, match="hold no step here"):
        ladder_run.Pace(640, 400, 64).steps(5)


def test_others_are_seen_and_ones_own_work_is_not():
    others = ladder_run.Others()
    deadline = os.times().elapsed + 0.5
    while os.times().elapsed < deadline:
        pass
    assert others.cores() >= 0
    # One's own second is not others'; on a busy machine there may be others as well.
    watched = ladder_run.Others()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            assert ladder_run.foreign_load(0.5) > 0.2
        finally:
            process.kill()
    assert watched.cores() >= 0


def test_a_machine_without_counts_is_judged_by_its_load(monkeypatch):
    monkeypatch.setattr(ladder_run, "busy_s", lambda cores: None)
    monkeypatch.setattr(os, "getloadavg", lambda: (1.25, 0, 0))
    assert ladder_run.Others().cores() == 1.25


def record(rung="cifar10-32-5", seed=0, distance=200.0, **more):
    data, size, minutes, *more_of_it = rung.split("-")
    card = "NVIDIA H200" if more_of_it == ["gpu"] else ""
    facts = {"date": "2026-11-26", "commit": "abc", "gpu": card, "cores": 2, "cpu": "Xeon", "versions": {"Python": "3"}}
    scores = {"extractor": "small", "frechet_distance": distance, "frechet_floor": 1.5, "reference": "train"}
    scores |= {"precision": 0.5, "recall": 0.25, "frechet_distance_interval": [distance - 1, distance + 1]}
    return {
        "rung": rung,
        "data": data,
        "size": int(size),
        "minutes": int(minutes),
        "seed": seed,
        "version": "1",
        "dataset": data,
        "machine": facts,
        "seconds": 60.0 * int(minutes),
        "training_s": 250.0,
        "steps": 3300,
        "images": 211_200,
        "images_per_s": 844.8,
        "others": 0.0,
        "resumed": False,
        "judged": {"num_samples": 10_000, "extractor": "auto"},
        "sheet": "sheet.png",
        "scores": scores,
        **more,
    }


def titled(extractor):
    return record(scores={**record()["scores"], "extractor": extractor})


def test_the_table_says_what_was_measured():
    records = [record(seed=seed, distance=d) for seed, d in enumerate((210.0, 200.0, 230.0))]
    records += [record("mnist-28-5", others=0.3, resumed=True), record("cifar10-32-5-gpu", distance=90.0)]
    lines = ladder_report.table(ladder_report.current(records)).splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert [row.split(" | ")[:4] for row in rows[2:]] == [
        ["| MNIST, 28 px", "5", "2 cores", "FD-small 200 (199 to 201)"],
        ["| CIFAR-10, 32 px", "5", "2 cores", "FD-small 210 (200 to 230)"],
        ["| CIFAR-10, 32 px", "5", "NVIDIA H200", "FD-small 90 (89 to 91)"],
    ]
    assert rows[2].endswith("| 1.5 | 0.5 | 0.25 | 1 | 3,300 | 845 | 300*+ |")
    assert rows[3].endswith("| 3 | 3,300 | 845 | 300 300 300 |")
    assert any(line.startswith("2 cores of Xeon; Python 3;") for line in lines)
    assert any("the time means little" in line for line in lines)
    assert "| FID 200 (" in ladder_report.table([titled("inception")])
    assert "| FD-EfficientNet-Lite0 200 (" in ladder_report.table([titled("efficientnet")])
    (data,) = (line for line in lines if line.startswith("Data: "))
    judged = "judged by 10,000 samples beside the train images"
    assert data == f"Data: MNIST from mnist, {judged}; CIFAR-10 from cifar10, {judged}."


def test_cats_are_those_of_cats_and_dogs(monkeypatch):
    labels = np.arange(2000) % 2
    both = tf.data.Dataset.from_tensor_slices((np.arange(2000), labels))
    monkeypatch.setattr(tfds, "load", lambda name, **options: both)
    assert list(ladder_data.cats(DataOptions()).as_numpy_iterator()) == list(range(0, 2000, 2))
    assert list(ladder_data.few_cats(DataOptions()).as_numpy_iterator()) == list(range(0, 1200, 2))


def test_networks_stand_beside_one_another(tmp_path):
    for networks in ("resnet", "dcgan"):
        (tmp_path / f"cats-64-30-{networks}.flags").write_text(TINY)
    rungs = read_rungs(tmp_path)
    assert [(rung.name, rung.place, rung.networks, rung.gpu) for rung in rungs] == [
        ("cats-64-30-dcgan", "cats-64", "dcgan", False),
        ("cats-64-30-resnet", "cats-64", "resnet", False),
    ]
    assert choose(rungs, ["cats-64-30-resnet"]) == rungs[1:]
    assert choose(rungs, ["cats-64:30"]) == rungs
    records = [record("cats-64-30-resnet", networks="resnet"), record("cats-64-30-dcgan", networks="dcgan")]
    lines = ladder_report.table(ladder_report.current(records)).splitlines()
    assert lines[2].startswith("| pictures | networks | minutes |")
    assert [line.split(" | ")[1] for line in lines[4:6]] == ["dcgan", "resnet"]


def test_results_of_a_preset_that_has_changed_are_left_out():
    old = [record(seed=seed) for seed in range(2)]
    new = record(seed=0, distance=100.0, version="2")
    assert ladder_report.current([*old, new]) == [new]
    # A preset that is again what it was has again what it had.
    assert ladder_report.current([*old, new], lambda each: each["version"] == "1") == old
    again = record(seed=1, distance=150.0)
    assert ladder_report.current([*old, again]) == [old[0], again]
    assert ladder_report.current([*old, record(machine={**new["machine"], "cpu": "EPYC"})])[:2] != [new]


def test_the_table_takes_its_place_in_a_document(tmp_path):
    document = tmp_path / "RESULTS.md"
    begin, end = ladder_report.marks("ladder")
    document.write_text(f"# Before\n{begin}\nold\n{end}\n## After\n")
    for _ in range(2):
        ladder_report.publish("| new |\n", document, "ladder")
    expected = f"# Before\n{begin}\n\n| new |\n\n{end}\n## After\n"
    assert document.read_text() == expected
    document.write_text("nothing")
    with pytest.raises(MirageError, match="has no place for this"):
        ladder_report.publish("", document, "ladder")
    assert document.read_text() == "nothing"
    for folder in ("ladder", "networks", "transfer"):
        assert ladder.DOCUMENT.read_text().count(ladder_report.marks(folder)[0]) == 1


def test_lines_that_mean_nothing_are_named(tmp_path):
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\n[2]\n{"a": 3}\n')
    with pytest.raises(MirageError, match="line 2 of"):
        ladder_run.read_lines(path)
    assert ladder_run.read_lines(tmp_path / "missing") == []


def test_the_ladder_has_the_rungs_that_it_promises():
    rungs = read_rungs()
    places = ["cats-64", "cats-128", "cifar10-32", "flowers-64", "mnist-28"]
    expected = {
        (place, minutes, gpu) for place in places for gpu in (0, 1) for minutes in ((5, 12) if gpu else (5, 15, 60))
    }
    assert {(rung.place, rung.minutes, rung.gpu) for rung in rungs} == expected
    for rung in rungs:
        values = dict(flag.removeprefix("--").partition("=")[::2] for flag in rung.flags())
        decay = float(values["lr_decay_images"]) / (int(values["steps"]) * int(values["batch_size"]))
        # Against a projected discriminator the rate stays what it is.
        assert decay == pytest.approx(1.25 if values["objective"] == "r3gan" else 0, rel=0.01), rung.name
        assert int(values.get("image_size", rung.size)) == rung.size
        text = rung.preset.read_text()
        assert f"{rung.minutes} minutes on {'one GPU' if rung.gpu else '2 CPU cores'}" in text
    cpu = [rung for rung in rungs if not rung.gpu]
    assert [rung.name for rung in choose(cpu, ["cifar10-32:5", "cats-64"])] == [
        "cats-64-5", "cats-64-15", "cats-64-60", "cifar10-32-5",
    ]  # fmt: skip
    with pytest.raises(MirageError, match=r"--only=cifar10:5 is no rung"):
        choose(cpu, ["cifar10:5"])


def test_a_preset_with_another_name_is_refused(tmp_path):
    (tmp_path / "mine.flags").touch()
    with pytest.raises(MirageError, match="is no rung; expected a name like"):
        read_rungs(tmp_path)


def test_sheets_show_all_classes():
    assert np.bincount(sheet_labels(10, conditional=True)).tolist() == [7, 6, 7, 6, 6, 7, 6, 7, 6, 6]
    assert sheet_labels(10, conditional=False) is None


def run(monkeypatch, *arguments):
    """Runs the command in this process."""
    values = flags.FlagValues()
    ladder.define_flags(values)
    rest = values(["ladder", *arguments])
    monkeypatch.setattr(ladder.flags, "FLAGS", values)
    monkeypatch.setattr(ladder, "visible_gpus", lambda: 0)
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *given: None)
    return ladder.main(rest)


def test_a_second_ladder_waits_for_the_first(monkeypatch, capsys, tmp_path):
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(monkeypatch, f"--out={tmp_path}") == 1
    assert capsys.readouterr().err.startswith(f"error: --out={tmp_path} is in use by another ladder")


def test_a_busy_machine_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(ladder, "foreign_load", lambda seconds: 1.0)
    assert run(monkeypatch, f"--out={tmp_path}", "--only=mnist-28:5") == 1
    assert "others take 1.0 of the" in capsys.readouterr().err
    assert not (tmp_path / "ladder.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--only=cifar10"], "--only=cifar10 is no rung"),
        (["--write"], "--write goes with --calibrate"),
        (["--device=gpu"], "--device=gpu finds no GPU"),
        (["anything"], "'anything' is not a flag"),
    ],
)
def test_mistakes_are_told_in_one_sentence(arguments, named, monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, f"--out={tmp_path / 'out'}", *arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert named in told
    assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_training_that_fails_is_told_by_its_own_words(tmp_path):
    child = ladder_run.Child(["pipeline", "--batch_size=0"], tmp_path / "log", os.open(os.devnull, os.O_RDONLY))
    with pytest.raises(MirageError, match=r"python -m pipeline failed \(.*batch_size=0"):
        child.run()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("steps=5", "lr_decay_images=9"), ("steps=100", "lr_decay_images=4000")),
        (("lr_decay_images=0", "steps=5"), ("lr_decay_images=0", "steps=100")),
        (
            ("schedule_images=7", "steps=5", "lr_decay_images=7"),
            ("schedule_images=3200", "steps=100", "lr_decay_images=3200"),
        ),
    ],
)
def test_what_is_calibrated_goes_with_its_schedules(tmp_path, before, after):
    preset = tmp_path / "cats-64-5.flags"
    preset.write_text("".join(f"{line}\n" for line in ("# Cats.", *(f"--{each}" for each in before))))
    (rung,) = read_rungs(tmp_path)
    rung.write_steps(100, 32)
    assert rung.flags() == [f"--{each}" for each in after]
