"""TensorFlow is set up before any test uses it; a tiny run."""

import dataclasses

import pytest

import tests.tensorflow_devices  # noqa: F401
from pipeline.config import Config


@pytest.fixture
def config(image_folder, tmp_path):
    """What trains in a second: six steps on twelve images."""
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
        virtual_devices=1,
        run_dir=str(tmp_path / "run"),
    )


@pytest.fixture
def on_two(config):
    """The same on two replicas, which takes three times as long to trace."""
    return dataclasses.replace(config, virtual_devices=2)
