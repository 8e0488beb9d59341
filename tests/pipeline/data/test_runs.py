"""Runs and their data: what a run directory was trained on decides what it is continued and judged with."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import Config
from pipeline.data import labelling
from pipeline.data.dataset import load, load_test, numbering
from pipeline.data.spec import DataSpec
from pipeline.evaluation.scoring import make_judge
from pipeline.metrics import classifier as classifiers
from pipeline.runs.checkpoint_files import list_checkpoints, read_checkpoint
from tests.experiments import train
from tests.processes import ENVIRONMENT, ROOT


@pytest.fixture
def digits(tmp_path):
    """Classes whose order by number is not the one by text; brighter with their number."""
    rng = np.random.default_rng(0)
    for name in (1, 2, 9, 10):
        for index in range(8):
            path = tmp_path / "digits" / f"{name}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(name * 20, name * 20 + 50, (16, 16), dtype=np.uint8)).save(path)
    return f"folder:{tmp_path / 'digits'}"


def last(run_dir):
    return read_checkpoint(list_checkpoints(run_dir / "checkpoints")[-1])


def test_a_run_whose_classes_are_in_the_order_of_their_text_is_continued_so(digits, tmp_path, monkeypatch):
    config = Config(
        dataset=digits, model="mlp", latent_dim=4, conditional=True, batch_size=4, jit="off", strategy="one_device"
    )
    before, mixed = (str(tmp_path / name) for name in ("before", "mixed"))
    with monkeypatch.context() as patch:
        patch.setattr(labelling, "class_order", lambda names: lambda name: (0, name))
        for run_dir, steps in ((before, 4), (mixed, 2)):
            train(dataclasses.replace(config, run_dir=run_dir, steps=steps))
    assert load(config).spec.class_names == ("1", "2", "9", "10")
    train(dataclasses.replace(config, run_dir=mixed, steps=4))
    assert json.loads((Path(mixed) / "config.json").read_text())["data"]["class_names"] == ["1", "10", "2", "9"]
    expected, continued = (last(Path(run_dir)) for run_dir in (before, mixed))
    for name, values in expected.items():
        np.testing.assert_array_equal(continued[name], values)


def test_classes_are_numbered_as_a_run_did(digits):
    dataset = load(Config(dataset=digits, batch_size=1))
    numbers = numbering(dataset.spec, ("1", "10", "2", "9"))
    other = dataset.renumbered(numbers)
    assert dataset.spec.class_names == ("1", "2", "9", "10")
    assert other.spec.class_names == ("1", "10", "2", "9")
    assert other.images is dataset.images
    for mine, theirs in zip(dataset.labels, other.labels, strict=True):
        assert dataset.spec.class_names[mine] == other.spec.class_names[theirs]
    assert other.labels.dtype == np.int32


@pytest.mark.parametrize("names", [(), ("a", "c"), ("a", "b", "c"), ("a", "a"), ("b",)])
def test_other_classes_keep_their_own_labels(names):
    data = DataSpec("x", "", (2, 2, 1), ("a", "b"), 1)
    assert numbering(data, names).tolist() == [0, 1]


def test_a_stacked_folder_has_no_test_split_and_can_be_judged(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(classifiers, "_IMAGES", 500)
    config = Config(dataset=f"stacked:{digits}", batch_size=4, data_dir=str(tmp_path))
    dataset = load(config)
    assert dataset.spec.class_names[:2] == ("1-1-1", "1-1-2")
    assert load_test(config) is None
    judge = make_judge(config, dataset, 20)
    scores = judge.full(np.asarray(dataset.images[:20]), conditional=False)
    assert 1 <= scores["modes"] <= 64
    assert judge.facts()["extractor"] == "stacked classifier"


_HOMELESS = """
import pwd, runpy
def unknown(_):
    raise KeyError("uid not found")
pwd.getpwuid = unknown
runpy.run_module("pipeline", run_name="__main__")
"""


def test_a_user_without_home_directory_trains_on_files_whose_names_are_no_text(image_folder, tmp_path):
    root = os.fsencode(tmp_path) + b"/\xff"
    os.rename(image_folder(classes=("cat", "naïve"), per_class=2), root)
    os.rename(root + b"/cat", root + b"/\xfe")
    flags = ["--model=mlp", "--latent_dim=2", "--batch_size=2", "--steps=1", "--jit=off", "--run_dir=run"]
    environment = {name: value for name, value in ENVIRONMENT.items() if name not in ("HOME", "KERAS_HOME")}
    (tmp_path / "work").mkdir()
    result = subprocess.run(
        [sys.executable, "-c", _HOMELESS, b"--dataset=folder:" + root, *flags],
        cwd=tmp_path / "work",
        env={**environment, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "\\udcff (16x16x1, 2 classes)" in result.stdout
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["run"]  # no folder named ~
    assert json.loads((tmp_path / "work" / "run" / "config.json").read_text())["data"]["class_names"] == [
        "naïve",
        "\\xfe",
    ]
