"""Discriminators that name classes themselves, as of `--objective=sgan`."""

import numpy as np
import pytest

from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.training.configured import networks_of

SMALL = {
    "stylegan2": "channel_base=64,channel_max=8,w_dim=8,mapping_layers=1,group=2",
    "r3gan": "width=16,group=4",
}


@pytest.mark.parametrize("architecture", SMALL)
def test_how_real_an_image_is_follows_from_its_classes(architecture):
    config = Config(model=architecture, objective="sgan", model_args=SMALL[architecture], latent_dim=4)
    networks = networks_of(config, DataSpec("squares", "", (16, 16, 3), ("a", "b", "c"), 9))
    images = np.random.default_rng(0).standard_normal((4, 16, 16, 3)).astype(np.float32)
    said = networks["discriminator"](images)
    np.testing.assert_allclose(said["logits"], np.log(np.exp(said["classes"]).sum(axis=1)), rtol=1e-5)
