"""Generators make what they are asked for: as a classifier sees it that has learnt attributes from real pictures."""

import json
from pathlib import Path

import pytest

from pipeline.config import Config
from tests.discs import COLUMNS, write_discs
from tests.experiments import train

LABELS = f"labels.csv:{','.join(COLUMNS)}"
FIGURES = ("attribute_accuracy", "attribute_correlation")


def steered(tmp_path, size, count, **changes):
    """Trains, and returns the run and its figures."""
    folder = write_discs(tmp_path / "discs", count, size)
    config = Config(
        dataset=f"folder:{folder}",
        labels=LABELS,
        conditional=True,
        strategy="one_device",
        jit="off",
        data_dir=str(tmp_path / "kept"),
        run_dir=str(tmp_path / "run"),
        metrics=",".join((*FIGURES, "by_attribute")),
        extractor="efficientnet",
        **changes,
    )
    run = train(config)
    return run, run.evaluate(num_samples=500, out=str(tmp_path / "out"))


def check(scores):
    assert scores["attributes"] == list(COLUMNS)
    red, right, diameter = scores["by_attribute"]
    assert min(red, right) >= 0.9
    assert diameter >= 0.8
    assert min(scores["by_attribute_of_real"]) >= 0.95
    assert scores["attribute_accuracy"] == pytest.approx((red + right) / 2, abs=1e-3)
    assert scores["attribute_correlation"] == pytest.approx(diameter, abs=1e-3)


def test_each_attribute_steers_the_pictures(tmp_path):
    settings = {"model": "mlp", "conditioning": "projection,acgan", "latent_dim": 8, "learning_rate": 0.001}
    run, scores = steered(tmp_path, 16, 600, steps=400, eval_every=200, eval_samples=100, ema_images=2000, **settings)
    check(scores)
    assert {*FIGURES} <= {*run.evaluations()}
    assert (tmp_path / "out" / "samples.png").is_file()
    assert "smiling" not in Path(run.report()).read_text()
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["attributes"] == list(COLUMNS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"model": "dcgan", "learning_rate": 0.002, "gamma": 0.03},
        {"model": "resnet", "model_args": "width=16,blocks=1", "learning_rate": 0.0005, "gamma": 0.5},
    ],
    ids=lambda each: each["model"],
)
def test_they_steer_convolutional_networks(tmp_path, settings):
    more = {"conditioning": "projection,acgan", "class_weight": 0.05, "latent_dim": 64, "beta_2": 0.95}
    _, scores = steered(tmp_path, 32, 2000, steps=700, **more, **settings)
    check(scores)
