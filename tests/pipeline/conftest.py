"""TensorFlow is set up before any test uses it; a tiny run."""

import pytest

import tests.tensorflow_devices  # noqa: F401
from pipeline.config import Config


@pytest.fixture
def config(image_folder, tmp_path):
    """What trains in a second: six steps on twelve images, on two replicas."""
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
        virtual_devices=2,
        run_dir=str(tmp_path / "run"),
    )
