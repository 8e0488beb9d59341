"""Generated images are made block by block, on all devices, again and again, and not all kept."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from pipeline.evaluation.sampling import sampler_of
from pipeline.metrics import metric
from pipeline.metrics.extractor import Features
from pipeline.metrics.metric import Images, Samples
from pipeline.runs.preview import to_pixels
from tests.processes import ENVIRONMENT, ROOT


def latents_of(numbers):
    return np.sin(numbers[:, None] * np.arange(1, 9, dtype=np.float32)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    z, label = keras.Input((8,), name="z"), keras.Input((), dtype="int32", name="label")
    x = keras.layers.Concatenate()([z, keras.layers.Embedding(3, 4)(label)])
    x = keras.layers.Dense(8 * 8 * 3, "tanh", kernel_initializer="glorot_normal")(x)
    return keras.Model([z, label], keras.layers.Reshape((8, 8, 3))(x))


def test_images_are_those_of_the_generator_on_however_many_devices(model):
    sampler = sampler_of(model, 7)
    assert len(sampler.devices) == 4  # those of the tests
    assert (sampler.step, sampler.latent_dim, sampler.conditional, sampler.block) == (7, 8, True, 512)
    numbers = np.random.default_rng(0).permutation(1000)
    labels = (np.arange(1000) % 3).astype(np.int32)
    expected = to_pixels(model([latents_of(numbers), labels[numbers]], training=False).numpy())
    for size in (512, 70):
        blocks = list(sampler.read(latents_of, labels, numbers, size))
        assert max(map(len, blocks)) <= size
        np.testing.assert_array_equal(np.concatenate(blocks), expected)
    np.testing.assert_array_equal(sampler.make(latents_of(numbers), labels[numbers]), expected)


def test_large_images_are_made_fewer_at_once():
    z = keras.Input((1,))
    x = keras.layers.Reshape((256, 256, 1))(keras.layers.Dense(256 * 256, use_bias=False)(z))
    assert sampler_of(keras.Model(z, x)).block == 16


class Counting:
    """A source that counts how many images it has made."""

    name = "generated"

    def __init__(self, count):
        self.labels = np.arange(count, dtype=np.int32)
        self.made = 0

    def read(self, indices, size):
        for start in range(0, len(indices), size):
            block = indices[start : start + size]
            self.made += len(block)
            yield np.broadcast_to(block[:, None, None, None], (len(block), 2, 2, 1)).astype(np.uint8)


class Mean:
    name = "mean"

    def __call__(self, pixels):
        return Features(pixels.mean(axis=(1, 2)).astype(np.float32), None)


@pytest.mark.parametrize("few", [True, False])
def test_samples_are_gone_through_again_and_kept_only_if_few(monkeypatch, few):
    monkeypatch.setattr(metric, "_KEPT", 4 * 200 if few else 4 * 199)
    source = Counting(200)
    samples = Samples(source, Mean())
    np.testing.assert_array_equal(samples.features[:, 0], np.arange(200))
    assert source.made == 200
    assert [len(block) for block in samples.batches(90)] == [90, 90, 20]
    pixels = samples.pixels
    assert samples.pixels is pixels  # while a metric looks at it
    assert pixels.shape == (200, 2, 2, 1)
    samples.let_go()
    np.testing.assert_array_equal(samples.pixels, pixels)
    assert source.made == (200 if few else 800)
    some = samples.take(np.array([5, 3, 150]))
    np.testing.assert_array_equal(some.features[:, 0], [5, 3, 150])  # known already
    assert source.made == (200 if few else 800)
    np.testing.assert_array_equal(some.take(np.array([2, 0])).pixels[:, 0, 0, 0], [150, 5])
    np.testing.assert_array_equal(some.labels, [5, 3, 150])


def test_images_at_hand_are_not_copied():
    images = Images("test", np.zeros((600, 2, 2, 1), np.uint8), np.zeros(600, np.int32))
    samples = Samples(images, None)
    assert samples.pixels is images.pixels
    assert samples.images is images
    assert [len(block) for block in samples.batches()] == [512, 88]
    assert len(samples.some(10)) == 10


MEMORY = """
import resource, sys
import numpy as np
from pipeline.evaluation.judge import Judge
from pipeline.evaluation.sampling import Sampler
from pipeline.metrics.choice import choose
from pipeline.metrics.extractor import Features
from pipeline.metrics.metric import Images

class Mean:
    name = "mean"
    def __call__(self, pixels):
        return Features(pixels.mean(axis=(1, 2)).astype(np.float32), None)

side, count = 96, int(sys.argv[1])
real = Images("test", np.zeros((100, side, side, 3), np.uint8), np.zeros(100, np.int32))
judge = Judge(Mean(), real, real, count, None, choose("frechet_distance"))
make = lambda z, labels: np.broadcast_to((z * 50)[:, :1, None, None], (len(z), side, side, 3)).astype(np.uint8)
sampler = Sampler(make, 1, 2, False, block=64)
latents = lambda numbers: np.random.default_rng(0).random((len(numbers), 2), np.float32)
judge.full(sampler.generated(latents, judge.labels), conditional=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak(count):
    arguments = [sys.executable, "-c", MEMORY, str(count)]
    done = subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, check=True, env={**ENVIRONMENT, "PYTHONPATH": ROOT}
    )
    return int(done.stdout)


def test_more_samples_need_no_more_memory():
    # 200 and 830 MB of pixels.
    assert peak(30_000) - peak(7_500) < 100 * 2**20
