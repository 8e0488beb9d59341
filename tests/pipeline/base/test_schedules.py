import math

import numpy as np
import pytest
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.base.schedules import half_cosine
from pipeline.config import Config


@pytest.mark.parametrize(("start", "end"), [(0.05, 0.005), (0.0, 5e6), (0.9, 0.99)])
def test_half_a_cosine_and_then_constant(start, end):
    length = 20_000_000
    images = np.array([0, 512, 1e6, 1e7, 19e6, 2e7, 2e8])
    part = (1 - np.cos(math.pi * np.minimum(1, images / length))) / 2
    actual = [float(half_cosine(tf.constant(each, tf.float32), start, end, length)) for each in images]
    np.testing.assert_allclose(actual, start + (end - start) * part, rtol=1e-5)


def test_the_first_steps_of_a_long_schedule_are_not_lost_to_rounding():
    # The cosine of an angle so small is 1 in float32.
    assert float(half_cosine(tf.constant(64.0), 0.0, 5e6, 2e8)) == pytest.approx(
        5e6 * (math.pi * 64 / 4e8) ** 2, rel=1e-4
    )


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"gamma_end": 0.1}, "--gamma_end=0.1 needs to know over how many images; set --schedule_images"),
        ({"beta_2_end": 0.99}, "--beta_2_end=0.99 needs"),
        ({"ema_scheduled": True}, "--ema_scheduled=True needs"),
        ({"schedule_images": 1000}, "--schedule_images=1000 is the length of schedules, and none is asked for; add"),
        ({"schedule_images": 1000, "learning_rate_end": 1e-5}, "--schedule_images=1000 is"),
        ({"gamma_end": 0.1, "schedule_images": 1000, "objective": "nsgan"}, "--gamma_end=0.1 does not go with"),
        ({"ema_scheduled": True, "schedule_images": 1000, "ema_images": 0}, "--ema_scheduled needs an average"),
        ({"epsilon": 0.0}, "--epsilon=0.0 is too small"),
    ],
)
def test_refuses_schedules_that_would_do_nothing(flags, named):
    with pytest.raises(MirageError, match=f"^{named}"):
        Config(**flags).validate()


def test_schedules_go_together():
    Config(gamma_end=0.1, beta_2_end=0.99, ema_scheduled=True, schedule_images=1000).validate()
