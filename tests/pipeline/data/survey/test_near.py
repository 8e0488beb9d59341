"""Near hashes are found as by comparing each with each, and pictures that look alike as by eye."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from pipeline.data.survey import near
from pipeline.data.survey.alike import find_alike
from pipeline.data.survey.hashes import distances, hashes
from pipeline.data.survey.measures import ROW, Ruler
from pipeline.data.survey.near import REACH, nearest
from tests.pipeline.data.survey.pictures import again_as_jpeg, picture


def everything(one, other):
    return np.ones(len(one), np.bool_)


def brute_force(values, same, reach):
    apart = distances(values[:, None], values[None]).astype(int)
    apart[np.diag_indices(len(values))] = 99
    one, other = np.nonzero(apart <= reach)
    apart[one[~same(one, other)], other[~same(one, other)]] = 99
    apart[apart > reach] = 99
    best = apart.argmin(axis=1)  # of several the first
    found = apart[np.arange(len(values)), best] < 99
    return np.where(found, best, -1), np.where(found, apart[np.arange(len(values)), best], 0)


def clustered(seed, count=1500, centres=60, flips=6, skew=0xFFFF_FFFF_FFFF_FFFF):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**63, centres, dtype=np.uint64)[rng.integers(0, centres, count)]
    for _ in range(flips):
        flipped = np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
        values = np.where(rng.random(count) < 0.7, values ^ flipped, values)
    return values & np.uint64(skew)


@pytest.mark.parametrize(
    "values",
    [
        clustered(0),
        clustered(1, flips=9),
        clustered(2, centres=1500),
        clustered(3, skew=0x0000_00FF_0000_000F),  # most bands are all the same
        np.zeros(50, np.uint64),
        np.zeros(1, np.uint64),
        np.zeros(0, np.uint64),
    ],
    ids=["clusters", "wide clusters", "hardly any", "skewed", "all the same", "one", "none"],
)
@pytest.mark.parametrize("odd_only", [False, True])
def test_nearest_is_what_comparing_all_finds(values, odd_only, monkeypatch):
    monkeypatch.setattr(near, "_CHUNK", 1000)  # so that there are many

    def same(one, other):
        return (one + other) % 2 == 1 if odd_only else everything(one, other)

    found, apart, reach = nearest(values, same)
    assert reach == REACH
    if len(values):
        expected, expected_apart = brute_force(values, same, reach)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(apart, expected_apart)


def compared_of(monkeypatch):
    """Counts the pairs that are compared."""
    counts = []

    def counting(one, other):
        counts.append(len(one))
        return distances(one, other)

    monkeypatch.setattr(near, "distances", counting)
    return counts


def test_where_too_many_are_too_much_alike_less_far_is_looked(monkeypatch):
    values = clustered(4, skew=0xFFFF_0000_FFFF_FFFF)
    counts = compared_of(monkeypatch)
    assert nearest(values, everything)[2] == REACH
    monkeypatch.setattr(near, "_MOST", sum(counts) - 1)
    counts.clear()
    found, apart, reach = nearest(values, everything)
    assert reach == 3
    assert sum(counts) <= near._MOST
    expected, expected_apart = brute_force(values, everything, 3)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(apart, expected_apart)


def test_a_film_of_the_same_frames_is_compared_in_bounded_time(monkeypatch):
    values = np.repeat(np.random.default_rng(0).integers(0, 2**63, 20, dtype=np.uint64), 250)
    monkeypatch.setattr(near, "_MOST", 100_000)
    counts = compared_of(monkeypatch)
    found, apart, reach = nearest(values, everything)
    assert sum(counts) <= 100_000
    assert reach == 3
    assert (values[found] == values).all()
    assert (apart == 0).all()


def test_far_fewer_pairs_are_compared_than_there_are(monkeypatch):
    rng = np.random.default_rng(5)
    values = rng.integers(0, 2**63, 20_000, dtype=np.uint64)
    counts = compared_of(monkeypatch)
    nearest(values, everything)
    assert sum(counts) < len(values) ** 2 / 2 / 200


def rows_of(images):
    rows, ruler = np.zeros(len(images), ROW), Ruler()
    for row, image in enumerate(images):
        rows[row] = ruler.of_pixels(np.asarray(image).reshape(image.height, image.width, -1))
    return rows


CHANGES = {
    "half": lambda image: image.resize((32, 32), Image.Resampling.LANCZOS),
    "twice": lambda image: image.resize((128, 128), Image.Resampling.BICUBIC),
    "stretched": lambda image: image.resize((64, 80), Image.Resampling.BILINEAR),
    "compressed": lambda image: again_as_jpeg(image, 30),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "flatter": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_that_was_changed_a_little_looks_like_itself_alone(change):
    images = [picture(seed) for seed in range(40)]
    rows = rows_of([*images, *map(CHANGES[change], images)])
    found = find_alike(rows, np.zeros(80, np.bool_)).like
    expected = np.concatenate([np.arange(40, 80), np.arange(40)])
    assert (found == expected).mean() >= 0.95
    assert {*found[found != expected]} <= {-1}  # never another


def test_flat_pictures_do_not_look_alike():
    rng = np.random.default_rng(0)
    tones = [Image.new("RGB", (64, 64), tuple(rng.integers(0, 256, 3))) for _ in range(30)]
    rows = rows_of(tones)
    assert not hashes(rows["little"])[1].any()
    assert (find_alike(rows, np.zeros(30, np.bool_)).like == -1).all()


def test_the_same_shapes_in_other_colours_do_not_look_alike():
    image = np.asarray(picture(0))
    rows = rows_of([Image.fromarray(image), Image.fromarray(np.ascontiguousarray(image[..., ::-1]))])
    assert (find_alike(rows, np.zeros(2, np.bool_)).like == -1).all()


def test_the_same_pixels_are_the_same_whatever_the_file_and_the_first_one_is_the_original():
    rows = rows_of([picture(0), picture(1), picture(0), picture(0)])
    alike = find_alike(rows, np.array([False, False, False, True]))
    assert alike.original.tolist() == [0, 1, 0, 0]
    assert (alike.like == -1).all()
    assert not alike.same_bytes.any()  # there are no files
