"""The augmentation pipeline of ADA against a slow one in float64, and its gradients."""

import numpy as np
import pytest
import tensorflow as tf

from pipeline.objectives import ada
from pipeline.objectives.ada import wavelets
from tests.pipeline.objectives import ada_reference as reference

RNG = np.random.default_rng(3)
COUNT = 24
SHAPES = {"grey": (8, 8, 1), "colour": (9, 9, 3), "alpha": (8, 8, 4), "tall": (12, 8, 3), "wide": (7, 10, 1)}
SYM6 = np.array(wavelets.SYM6)


def images_of(shape, count=COUNT):
    images = RNG.uniform(-1, 1, (count, *shape))
    if shape[2] == 4:  # alpha from 0.1 on, and colours multiplied by it
        images[..., 3] = RNG.uniform(-0.8, 1, images.shape[:3])
        images[..., :3] = (images[..., :3] + 1) * (images[..., 3:] + 1) / 2 - 1
    return images.astype(np.float32)


def numbers_of(count=COUNT):
    return RNG.uniform(size=(count, ada.NUMBERS)).astype(np.float32)


def applied(images, numbers, p, *groups, noise=None):
    noise = np.zeros([len(images), 0], np.float32) if noise is None else noise.reshape(len(images), -1)
    return ada.apply(tf.constant(images), tf.constant(numbers), noise, {group: tf.constant(p) for group in groups})


def of(group, numbers, p):
    """An image's numbers of one group."""
    groups = [*ada.GROUPS]
    first = sum(ada.GROUPS[each] for each in groups[: groups.index(group)])
    return reference.Numbers(numbers[first : first + ada.GROUPS[group]], p)


@pytest.mark.parametrize("p", [0.6, 1.0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("blit", [False, True])
def test_geometry_against_numpy(shape, p, blit):
    images, numbers = images_of(shape, 6), numbers_of(6)
    found = applied(images, numbers, p, *(["blit"] if blit else []), "geom")
    for image, row, actual in zip(images, numbers, found, strict=True):
        matrix = reference.blit_matrix(of("blit", row, p), *shape[:2]) if blit else np.eye(3)
        matrix = reference.geometry_matrix(of("geom", row, p), *shape[:2], matrix)
        expected = reference.resampled(image.astype(np.float64), matrix, SYM6)
        np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_blitting_moves_pixels_and_changes_none(shape):
    images, numbers = images_of(shape), numbers_of()
    found = applied(images, numbers, 0.8, "blit").numpy()
    height, width, _ = shape
    kinds = set()
    for image, row, actual in zip(images, numbers, found, strict=True):
        matrix = np.round(reference.blit_matrix(of("blit", row, 0.8), height, width))
        kinds.add(str(matrix))
        inverse = np.linalg.inv(matrix)
        wide = np.pad(image, [[height, height], [width, width], [0, 0]], "reflect")
        for y in range(height):
            for x in range(width):
                left, top, _ = inverse @ [x - (width - 1) / 2, y - (height - 1) / 2, 1]
                there = wide[round(top + (height - 1) / 2) + height, round(left + (width - 1) / 2) + width]
                np.testing.assert_array_equal(actual[y, x], there)
    assert len(kinds) > 12


def test_what_is_no_square_is_turned_upside_down_only():
    assert reference.blit_matrix(reference.Numbers([1, 0, 0, 0.99, 1, 0, 0], 0.5), 12, 8)[0, 0] == -1
    image = np.arange(96, dtype=np.float32).reshape(1, 12, 8, 1) / 96
    numbers = np.ones([1, ada.NUMBERS], np.float32)
    numbers[0, 2], numbers[0, 3] = 0.0, 0.99
    np.testing.assert_array_equal(applied(image, numbers, 0.5, "blit"), image[:, ::-1, ::-1])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_colours_against_numpy(shape):
    images, numbers = images_of(shape), numbers_of()
    found = applied(images, numbers, 0.7, "ada_color").numpy()
    for image, row, actual in zip(images, numbers, found, strict=True):
        matrix = reference.color_matrix(of("ada_color", row, 0.7))
        expected = reference.recoloured(image.astype(np.float64), matrix)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=2e-5)


def test_what_is_transparent_stays_so_and_has_no_colour():
    images = images_of(SHAPES["alpha"])
    images[:, :4] = -1
    noise = RNG.normal(size=images.shape).astype(np.float32)
    found = applied(images, numbers_of(), 1.0, "ada_color", "noise", noise=noise).numpy()
    np.testing.assert_allclose(found[:, :4], -1, atol=1e-5)
    np.testing.assert_array_equal(found[..., 3], images[..., 3])


@pytest.mark.parametrize("shape", [*SHAPES.values(), (64, 48, 1)], ids=[*SHAPES, "large"])
def test_filters_against_numpy(shape):
    images, numbers = images_of(shape, 8), numbers_of(8)
    found = applied(images, numbers, 0.7, "filter").numpy()
    for image, row, actual in zip(images, numbers, found, strict=True):
        expected = reference.filtered(image.astype(np.float64), of("filter", row, 0.7))
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=2e-5)


def test_noise_against_numpy():
    images, numbers = images_of(SHAPES["colour"]), numbers_of()
    noise = RNG.normal(size=images.shape).astype(np.float32)
    found = applied(images, numbers, 0.5, "noise", noise=noise).numpy()
    for image, row, each, actual in zip(images, numbers, noise, found, strict=True):
        np.testing.assert_allclose(actual, reference.noisy(image, of("noise", row, 0.5), each), atol=1e-5)


def test_groups_follow_one_another_in_the_papers_order():
    images, numbers = images_of(SHAPES["colour"]), numbers_of()
    noise = RNG.normal(size=images.shape).astype(np.float32)
    expected = images
    for group in ada.GROUPS:
        if group != "blit":
            expected = applied(expected, numbers, 0.6, *(["blit"] * (group == "geom")), group, noise=noise).numpy()
    np.testing.assert_allclose(applied(images, numbers, 0.6, *ada.GROUPS, noise=noise), expected, atol=1e-5)


@pytest.mark.parametrize("group", ada.GROUPS)
def test_nothing_changes_where_nothing_is_chosen(group):
    images = images_of(SHAPES["colour"])
    found = applied(images, numbers_of(), 0.0, group, noise=np.ones_like(images))
    np.testing.assert_allclose(found, images, atol=1e-6)


@tf.function
def _penalised(images, weights, change):
    """A loss with a penalty on the gradient of what D says, and its gradients: what R1 does."""
    with tf.GradientTape() as outer:
        outer.watch([images, weights])
        with tf.GradientTape() as inner:
            inner.watch(images)
            total = tf.reduce_sum(tf.square(change(images)) * weights)
        slope = inner.gradient(total, images)
        loss = total + tf.reduce_sum(tf.square(slope))
    return slope, *outer.gradient(loss, [images, weights])


@pytest.mark.parametrize(
    ("group", "compiled"), [*[(each, False) for each in ada.GROUPS], ("all", False), ("all", True)]
)
def test_gradients_of_second_order_are_those_of_the_matrix_that_it_is(group, compiled):
    groups = ada.GROUPS if group == "all" else (group,)
    shape, numbers = (6, 6, 1), numbers_of(4)
    noise = RNG.normal(size=(4, 36)).astype(np.float32)
    basis = np.concatenate([np.zeros((1, *shape)), np.eye(36).reshape(36, *shape)]).astype(np.float32)
    matrices, offsets = [], []
    for row, each in zip(numbers, noise, strict=True):
        known = (
            applied(basis, np.tile(row, (37, 1)), 0.9, *groups, noise=np.tile(each, (37, 1))).numpy().reshape(37, 36)
        )
        offsets.append(known[0])
        matrices.append(known[1:] - known[0])

    def by_matrix(images):
        flat = tf.reshape(images, [4, 1, 36]) @ tf.constant(np.array(matrices))
        return tf.reshape(flat[:, 0] + np.array(offsets), [4, *shape])

    def directly(images):
        return ada.apply(images, numbers, noise, dict.fromkeys(groups, tf.constant(0.9)))

    images, weights = tf.constant(images_of(shape, 4)), tf.constant(RNG.normal(size=(4, *shape)), tf.float32)
    expected = _penalised(images, weights, by_matrix)
    function = tf.function(_penalised.python_function, jit_compile=True) if compiled else _penalised
    for actual, wanted in zip(function(images, weights, directly), expected, strict=True):
        assert np.any(wanted)
        np.testing.assert_allclose(actual, wanted, rtol=1e-3, atol=1e-3)


def test_wavelets_are_orthogonal_and_flat():
    """The properties that define them."""
    for taps in (np.array(wavelets.SYM2), SYM6):
        assert taps.sum() == pytest.approx(2**0.5)
        for shift in range(0, len(taps), 2):
            assert taps[shift:] @ taps[: len(taps) - shift] == pytest.approx(float(shift == 0), abs=1e-11)
        for power in range(len(taps) // 2):  # vanishing moments
            alternating = taps * (-1.0) ** np.arange(len(taps))
            assert alternating @ np.arange(len(taps), dtype=float) ** power == pytest.approx(0, abs=1e-8)


def test_the_same_numbers_give_the_same_bits_in_any_batch():
    images, numbers = images_of((16, 16, 3)), numbers_of()
    groups = ("blit", "geom", "ada_color", "filter")
    whole = applied(images, numbers, 0.8, *groups).numpy()
    np.testing.assert_array_equal(applied(images, numbers, 0.8, *groups), whole)
    half = applied(images[12:], numbers[12:], 0.8, *groups)
    np.testing.assert_allclose(half, whole[12:], atol=1e-5)
