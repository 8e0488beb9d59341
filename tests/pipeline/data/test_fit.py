"""`--image_size`, `--fit` and `--random_crop`: how images get their size, from all kinds of data."""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from pipeline.base.errors import MirageError
from pipeline.data.dataset import describe, load, open_data
from pipeline.data.objects import origin_of
from pipeline.data.options import DataOptions
from pipeline.data.pixels import fit, fit_array
from pipeline.data.prepared import folder_of

LANCZOS = Image.Resampling.LANCZOS
SIZES = [(24, 16), (16, 24), (17, 31), (8, 8), (64, 64), (40, 3)]  # (height, width)


def noise(height, width, channels=3):
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, channels), dtype=np.uint8)


def image_of(pixels):
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def options(**changes):
    return DataOptions(**changes)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("original", [(30, 20), (20, 30), (25, 25), (7, 50)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_pillows(original, size, channels):
    pixels = noise(*original, channels)
    image, turned = image_of(pixels), size[::-1]
    expected = {
        "crop": ImageOps.fit(image, turned, LANCZOS),
        "stretch": image.resize(turned, LANCZOS),
        "none": image,
    }
    for how, one in expected.items():
        np.testing.assert_array_equal(np.asarray(fit(image, size, how)), np.asarray(one))
        if how != "none":
            array = fit_array(pixels, options(image_size=size, fit=how), "data")
            np.testing.assert_array_equal(array, np.asarray(one).reshape(*size, channels))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("original", [(30, 20), (20, 30), (25, 25)])
@pytest.mark.parametrize("channels", [1, 3])
def test_padding_is_pillows_on_a_ground_of_the_edges_colour(original, size, channels):
    pixels, colour = noise(*original, channels), (200, 100, 50)[:channels]
    pixels[0] = pixels[-1] = pixels[:, 0] = pixels[:, -1] = colour
    pixels[0, :4] = 7
    image = image_of(pixels)
    expected = ImageOps.pad(image, size[::-1], LANCZOS, color=colour if channels > 1 else colour[0])
    np.testing.assert_array_equal(np.asarray(fit(image, size, "pad")), np.asarray(expected))


def test_the_ground_is_the_edges_median_and_not_its_mean():
    pixels = np.full((8, 16, 1), 255, np.uint8)
    pixels[0, :5] = 0  # something that touches the edge
    padded = fit_array(pixels, options(image_size=16, fit="pad"), "data")
    np.testing.assert_array_equal(padded[4:12], pixels)
    assert (padded[:4] == 255).all()
    assert (padded[12:] == 255).all()


def test_a_sliver_is_padded_too():
    assert fit_array(noise(1, 400), options(image_size=16, fit="pad"), "data").shape == (16, 16, 3)
    assert fit_array(noise(400, 1), options(image_size=(24, 16), fit="pad"), "data").shape == (24, 16, 3)


def test_resizing_is_antialiased_and_keeps_the_centre():
    stripes = np.tile(np.array([0, 255], np.uint8), (32, 32))[..., None]  # alternating columns of 64
    small = fit_array(stripes[:, :32], options(image_size=8), "data")
    assert small.shape == (8, 8, 1)
    assert abs(small[2:-2, 2:-2].astype(int) - 127).max() < 16  # not 0 or 255, as without antialiasing
    wide = np.zeros((8, 24, 1), np.uint8)
    wide[:, 8:16] = 200
    np.testing.assert_array_equal(fit_array(wide, options(image_size=8), "data"), np.full((8, 8, 1), 200))


@pytest.mark.parametrize("how", ["crop", "pad", "stretch", "none"])
def test_an_image_of_the_right_size_is_not_touched(how):
    pixels = noise(9, 6)
    assert fit_array(pixels, options(image_size=(9, 6), fit=how), "data") is pixels
    assert fit_array(pixels, options(), "data") is pixels


@pytest.fixture
def pictures(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    for index, size in enumerate([(30, 20), (20, 30), (24, 16)]):
        Image.fromarray(noise(*size)).save(root / f"{index}.png")
    return root


def kinds(root):
    """The same pictures as folder, arrays of one size are not: as a stream of NumPy's, and of tf.data."""
    originals = [np.asarray(Image.open(path)) for path in sorted(root.iterdir())]
    signature = tf.TensorSpec((None, None, 3), tf.uint8)
    return {
        "folder": f"folder:{root}",
        "generator": lambda: iter(originals),
        "tf.data": tf.data.Dataset.from_generator(lambda: iter(originals), output_signature=signature),
    }


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
def test_all_kinds_of_data_give_the_same_pixels(pictures, how):
    expected = {np.asarray(fit(Image.open(path), (24, 16), how)).tobytes() for path in sorted(pictures.iterdir())}
    for data in kinds(pictures).values():
        dataset = open_data(data, options(image_size="24x16", fit=how))
        assert dataset.spec.image_shape == (24, 16, 3)
        assert {image.tobytes() for image in dataset.images} == expected
    one = noise(30, 20)
    [array] = open_data(one[None], options(image_size="24x16", fit=how)).images
    assert array.tobytes() in expected


def test_none_refuses_other_sizes(pictures):
    for data in kinds(pictures).values():
        with pytest.raises(
            MirageError, match=r"(30x20|20x30) pixels, and with --fit=none all must have 24x16, which is"
        ):
            open_data(data, options(image_size="24x16", fit="none"))
    for data in (noise(30, 20)[None], [noise(30, 20)]):
        with pytest.raises(MirageError, match=r"data: .* has 30x20 pixels, and with --fit=none all must have 24x16"):
            open_data(data, options(image_size="24x16", fit="none"))
    (pictures / "0.png").unlink()
    (pictures / "1.png").unlink()
    for data in kinds(pictures).values():
        [image] = open_data(data, options(image_size="24x16", fit="none")).images
        np.testing.assert_array_equal(image, noise(24, 16))


def test_none_is_also_of_images_that_are_skipped_if_bad(pictures):
    (pictures / "bad.png").write_bytes(b"no picture")
    with pytest.raises(MirageError, match=r"[01]\.png has (30x20|20x30) pixels, and with --fit=none"):
        load(options(dataset=f"folder:{pictures}", image_size="24x16", fit="none", skip_bad_images=True))


def test_sizes_need_no_flag_where_all_are_the_same(tmp_path):
    for index in range(2):
        Image.fromarray(noise(24, 16)).save(tmp_path / f"{index}.png")
    for how in ("crop", "none"):
        dataset = load(options(dataset=f"folder:{tmp_path}", fit=how))
        assert dataset.spec.image_shape == (24, 16, 3)
        assert dataset.margin == (0, 0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"fit": "pad"}, "--fit=pad needs a size"),
        ({"fit": "stretch"}, "--fit=stretch needs a size"),
        ({"random_crop": 1.5}, "--random_crop=1.5 needs a size"),
        ({"random_crop": 1.01, "image_size": 16}, "--random_crop=1.01 adds no pixel to --image_size=16"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, named):
    given = options(**changes)
    with pytest.raises(MirageError, match=named):
        given.check(given.to_dict())


def test_what_a_square_was_prepared_as_is_found_again(pictures):
    def key(**changes):
        given = options(dataset=f"folder:{pictures}", data_dir=str(pictures.parent / "kept"), **changes)
        source = origin_of(None, given).open()
        return folder_of(given, source).name, source

    def of(size, source, shape):
        parts = [2, [3, *shape, 3], [], "train", size, source.fingerprint]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    for given in (16, "16", "16x16", (16, 16)):
        name, source = key(image_size=given)
        assert name == of(16, source, (16, 16))
    found = {key(image_size=size, fit=how)[0] for size in (16, "24x16", "16x24") for how in ("crop", "pad", "stretch")}
    assert len(found) == 9
    # What is prepared is the same, whatever is then cut out of it.
    assert key(image_size=16, random_crop=1.5)[0] == key(image_size=24)[0]
    assert key(image_size="24x16", random_crop=1.25)[0] == key(image_size="30x20")[0]


def test_a_random_crop_keeps_larger_images_whose_centres_are_judged(pictures):
    larger = {np.asarray(fit(Image.open(path), (30, 20), "crop")).tobytes() for path in sorted(pictures.iterdir())}
    for limit in (2048, 0):
        given = options(
            image_size="24x16", random_crop=1.25, data_dir=str(pictures.parent / "kept"), device_data_mb=limit
        )
        for data in kinds(pictures).values():
            dataset = open_data(data, given)
            assert dataset.spec.image_shape == (24, 16, 3)
            assert dataset.images.shape == (3, 24, 16, 3)
            assert dataset.margin == (6, 4)
            assert {image.tobytes() for image in dataset.drawn} == larger
            np.testing.assert_array_equal(dataset.images, dataset.drawn[:, 3:27, 2:18])
            assert dataset.streamed == (limit == 0)
    named = options(dataset=f"folder:{pictures}", image_size="24x16", random_crop=1.25)
    assert describe(named).image_shape == (24, 16, 3)


def test_a_random_crop_of_none_wants_the_larger_size():
    given = options(image_size="24x16", random_crop=1.25, fit="none")
    assert open_data(noise(30, 20)[None], given).images.shape == (1, 24, 16, 3)
    with pytest.raises(
        MirageError, match=r"must have 30x20, which is --image_size=24x16 longer by --random_crop=1\.25"
    ):
        open_data(noise(24, 16)[None], given)
