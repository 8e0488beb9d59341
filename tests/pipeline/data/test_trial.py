"""A part of a data set for a rehearsal is what a training would see."""

import numpy as np
import pytest

from pipeline.config import Config
from pipeline.data.dataset import load
from pipeline.data.trial import read_trial, write_trial


@pytest.mark.parametrize("crop", [1.0, 1.5])
@pytest.mark.parametrize("device_data_mb", [2048, 0])
def test_images_are_those_of_the_training_with_its_margin(image_folder, tmp_path, crop, device_data_mb):
    config = Config(dataset=f"folder:{image_folder()}", image_size=8, random_crop=crop, batch_size=2)
    whole = load(config)
    spec, _ = write_trial(config, 2, tmp_path, "")
    dataset = read_trial(tmp_path, device_data_mb)
    assert spec.image_shape == dataset.spec.image_shape == whole.spec.image_shape == (8, 8, 1)
    assert dataset.margin == whole.margin
    np.testing.assert_array_equal(dataset.images, whole.images[: len(dataset.images)])
    np.testing.assert_array_equal(dataset.drawn, whole.drawn[: len(dataset.images)])
