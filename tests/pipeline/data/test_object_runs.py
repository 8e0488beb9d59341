"""Runs on data that an import path leads to: continued to the same bits, judged, refused where the data are others."""

import dataclasses
import sys

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.dataset import load
from pipeline.evaluation.scoring import load_known, make_judge
from pipeline.metrics import classifier as classifiers
from pipeline.runs.run_file import read_run
from pipeline.training.trainer import train
from tests.processes import last_checkpoint

# In another order whenever it is read; elsewhere the same, as other objects.
MODULE = """
import numpy as np
import tensorflow as tf

def pictures(count, seed):
    labels = np.arange(count) % 2
    images = np.random.default_rng(seed).integers(0, 100, (count, 16, 16), dtype=np.uint8)
    return images + labels[:, None, None].astype(np.uint8) * 150, labels

def shuffled(split="train", count=40, seed=0):
    images, labels = pictures(count, seed + (split != "train"))
    return tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(count).batch(7)

def arrays():
    return pictures(40, 0)

def elsewhere():
    images, labels = pictures(40, 0)
    return [{"image": image, "label": label} for image, label in zip(images, labels)]
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    (tmp_path / "data_of_runs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield Config(
        dataset="data_of_runs:shuffled",
        data_dir=str(tmp_path / "kept"),
        model="mlp",
        latent_dim=4,
        conditional=True,
        batch_size=4,
        steps=4,
        jit="off",
        strategy="one_device",
        run_dir=str(tmp_path / "run"),
    )
    sys.modules.pop("data_of_runs", None)


@pytest.mark.parametrize("device_data_mb", [0, 2048], ids=["streamed", "resident"])
def test_a_run_on_data_that_are_shuffled_at_each_start_is_continued_to_the_same_bits(config, tmp_path, device_data_mb):
    config = dataclasses.replace(config, device_data_mb=device_data_mb)
    whole = dataclasses.replace(config, run_dir=str(tmp_path / "whole"))
    train(whole)
    train(dataclasses.replace(config, steps=2))
    train(dataclasses.replace(config, dataset="data_of_runs:elsewhere"))  # the same content, from another place
    expected, continued = (last_checkpoint(tmp_path / name) for name in ("whole", "run"))
    assert set(continued) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(continued[name], values)


def test_arrays_that_are_streamed_from_memory_train_to_the_bits_of_resident_ones(config, tmp_path):
    for name, device_data_mb in (("resident", 2048), ("streamed", 0)):
        changes = {"device_data_mb": device_data_mb, "run_dir": str(tmp_path / name)}
        train(dataclasses.replace(config, dataset="data_of_runs:arrays", steps=3, **changes))
    assert not (tmp_path / "kept" / "decoded").exists()
    resident, streamed = (last_checkpoint(tmp_path / name) for name in ("resident", "streamed"))
    for name, values in resident.items():
        np.testing.assert_array_equal(streamed[name], values)


@pytest.mark.parametrize("changes", [{"dataset_args": "seed=1"}, {"dataset_args": "count=41"}, {"dataset": "mnist5k"}])
def test_other_data_are_refused(config, changes):
    train(dataclasses.replace(config, steps=1))
    with pytest.raises(MirageError, match=r"was trained on other data|--dataset=mnist5k \(the run has data_of_runs:"):
        train(dataclasses.replace(config, **changes))


def test_a_run_finds_its_data_again_and_is_judged_by_those_kept_apart(config, monkeypatch, tmp_path):
    monkeypatch.setattr(classifiers, "_IMAGES", 500)
    train(dataclasses.replace(config, dataset_args="count=30,seed=7", steps=1))
    read, data = read_run(tmp_path / "run")
    assert (read.dataset, read.dataset_args) == ("data_of_runs:shuffled", "count=30,seed=7")
    dataset = load_known(read, data)
    judge = make_judge(read, dataset, 20)
    assert (judge.facts()["reference"], judge.facts()["num_reference"]) == ("test", 30)
    assert judge.full(np.asarray(dataset.images[:20]), conditional=False)["frechet_distance"] >= 0


def test_that_the_data_of_a_run_were_passed_in_python_is_said(config, tmp_path):
    train(dataclasses.replace(config, steps=1))
    read, data = read_run(tmp_path / "run")
    passed = dataclasses.replace(read, dataset="python:tf.data")
    with pytest.raises(
        MirageError, match=r"--dataset=python:tf\.data was passed in Python; .*package\.module:function"
    ):
        load_known(passed, data)
    # So they may be given by their import path instead.
    assert load_known(dataclasses.replace(passed, dataset=config.dataset), dataclasses.replace(data, name="python:x"))
    assert load(config).fingerprint == data.fingerprint
