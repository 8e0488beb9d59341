"""Augmentations against plain NumPy, and the heuristic that adapts their probability."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pipeline.config import Config
from pipeline.objectives import Batch, ada
from pipeline.objectives.augment import AUGMENTATIONS, KINDS, NUMBERS, adapted, augment, shares_of
from pipeline.objectives.composition import compose

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (6, 16, 16, 3)).astype(np.float32)
NUMBERS_OF = RNG.uniform(size=(6, NUMBERS)).astype(np.float32)
ONE = tf.constant(1.0)


def test_translation_shifts_by_whole_pixels_and_fills_with_zero():
    numbers = np.full((6, NUMBERS), 0.5, np.float32)
    numbers[:, 1], numbers[:, 2] = 0.999, 0.0  # two pixels up, two to the right
    moved = augment(IMAGES, numbers, ONE, shares_of("translation")).numpy()
    np.testing.assert_array_equal(moved[:, :-2, 2:], IMAGES[:, 2:, :-2])
    assert not moved[:, -2:].any()
    assert not moved[:, :, :2].any()
    numbers[:, 1:3] = 0.5
    np.testing.assert_array_equal(augment(IMAGES, numbers, ONE, shares_of("translation")), IMAGES)


def test_cutout_covers_a_square_of_half_the_side():
    numbers = np.full((6, NUMBERS), 0.5, np.float32)
    cut = augment(IMAGES, numbers, ONE, shares_of("cutout")).numpy()
    expected = IMAGES.copy()
    expected[:, 4:12, 4:12] = 0
    np.testing.assert_array_equal(cut, expected)


def test_each_axis_has_its_own_measure():
    tall = RNG.uniform(-1, 1, (6, 24, 16, 3)).astype(np.float32)
    numbers = np.full((6, NUMBERS), 0.5, np.float32)
    expected = tall.copy()
    expected[:, 6:18, 4:12] = 0
    np.testing.assert_array_equal(augment(tall, numbers, ONE, shares_of("cutout")), expected)
    numbers[:, 1], numbers[:, 2] = 0.999, 0.0  # three pixels up, two to the right
    moved = augment(tall, numbers, ONE, shares_of("translation")).numpy()
    np.testing.assert_array_equal(moved[:, :-3, 2:], tall[:, 3:, :-2])
    assert not moved[:, -3:].any()
    assert not moved[:, :, :2].any()


def test_color_against_numpy():
    u = NUMBERS_OF[:, 9:12].T[:, :, None, None, None]
    expected = IMAGES + u[0] - 0.5
    grey = expected.mean(axis=3, keepdims=True)
    expected = grey + (expected - grey) * 2 * u[1]
    mean = expected.mean(axis=(1, 2, 3), keepdims=True)
    expected = mean + (expected - mean) * (0.5 + u[2])
    np.testing.assert_allclose(augment(IMAGES, NUMBERS_OF, ONE, shares_of("color")), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_probability_decides_for_each_image(kind):
    np.testing.assert_array_equal(augment(IMAGES, NUMBERS_OF, tf.constant(0.0), shares_of(kind)), IMAGES)
    column = 4 * AUGMENTATIONS.index(kind)
    p = float(np.median(NUMBERS_OF[:, column]))
    partly = augment(IMAGES, NUMBERS_OF, tf.constant(p), shares_of(kind)).numpy()
    always = augment(IMAGES, NUMBERS_OF, ONE, shares_of(kind)).numpy()
    for index, decide in enumerate(NUMBERS_OF[:, column]):
        np.testing.assert_array_equal(partly[index], always[index] if decide < p else IMAGES[index])


def test_gradients_pass_through_everything_that_is_still_seen():
    x = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(augment(x, np.full((6, NUMBERS), 0.5, np.float32), ONE, shares_of("cutout")))
    gradient = tape.gradient(total, x).numpy()
    assert not gradient[:, 4:12, 4:12].any()
    assert gradient.sum() == 6 * 3 * (16 * 16 - 8 * 8)


def _plainly_translated(images, numbers):
    """With TensorFlow's own gradient, of a gathering."""
    for axis in (1, 2):
        shift = tf.cast(tf.floor(numbers[:, axis] * 5), tf.int32)  # two pixels of 16 either way
        padded = tf.pad(images, [[0, 0] if other != axis else [2, 2] for other in range(4)])
        images = tf.gather(padded, shift[:, None] + tf.range(16), axis=axis, batch_dims=1)
    return images


@tf.function
def _penalised(images, weights, numbers, translate):
    """A loss with a penalty on the gradient of what D says, and its gradients: what R1 does."""
    with tf.GradientTape() as outer:
        outer.watch([images, weights])
        with tf.GradientTape() as inner:
            inner.watch(images)
            total = tf.reduce_sum(tf.square(translate(images, numbers)) * weights)
        slope = inner.gradient(total, images)
        loss = total + tf.reduce_sum(tf.square(slope))
    return slope, *outer.gradient(loss, [images, weights])


def test_gradients_of_a_translation_move_back_whatever_their_order():
    weights = tf.constant(RNG.normal(size=IMAGES.shape), tf.float32)
    numbers = tf.constant(NUMBERS_OF)
    expected = _penalised(tf.constant(IMAGES), weights, numbers, _plainly_translated)
    found = _penalised(tf.constant(IMAGES), weights, numbers, lambda x, u: augment(x, u, ONE, shares_of("translation")))
    for actual, reference in zip(found, expected, strict=True):
        assert np.any(reference)
        np.testing.assert_array_equal(actual, reference)


def test_a_translation_adds_nothing_up():
    """What GPUs compute differently each time, or slowly."""

    @tf.function
    def whole(images, weights, numbers):
        return _penalised(images, weights, numbers, lambda x, u: augment(x, u, ONE, shares_of("translation")))

    graph = whole.get_concrete_function(tf.constant(IMAGES), tf.constant(IMAGES), tf.constant(NUMBERS_OF)).graph
    graph = graph.as_graph_def()
    kinds = {node.op for part in (graph.node, *(f.node_def for f in graph.library.function)) for node in part}
    assert "GatherV2" in kinds
    assert not [kind for kind in kinds if "Scatter" in kind or "Segment" in kind]


def test_p_follows_the_overfitting_heuristic():
    p = tf.constant(0.5)
    # r = 0.6 is D being right about 80 % of real images.
    assert float(adapted(p, tf.constant(0.81), 0.8, 0.001, 1.0)) == pytest.approx(0.501)
    assert float(adapted(p, tf.constant(0.79), 0.8, 0.001, 1.0)) == pytest.approx(0.499)
    assert float(adapted(tf.constant(0.0), tf.constant(0.5), 0.8, 0.001, 1.0)) == 0
    assert float(adapted(tf.constant(0.7), tf.constant(1.0), 0.8, 0.001, 0.7)) == pytest.approx(0.7)


def states_of(config, right, steps, images=100):
    """The probabilities of a run whose D is right about some share, step by step."""
    objective = compose(config.to_dict())
    state = {name: tf.constant(value) for name, value in objective.state().items()}
    found = []
    for _ in range(steps):
        state |= objective.next_state(state, {"d_acc_real": tf.constant(right)}, images)
        found.append(float(state["augment_p"]))
    return found


@pytest.mark.parametrize(("objective", "as_it_should"), [("nsgan", 0.8), ("sgan", 0.8), ("r3gan", 0.883)])
def test_every_fourth_step_looks_at_the_four_before(objective, as_it_should):
    config = Config(objective=objective, augment="bgc", augment_adaptive=True, augment_p=0.9)
    found = states_of(config, as_it_should + 0.01, 9)
    assert found[:3] == [0, 0, 0]
    assert found[3:8] == pytest.approx([400 / 500_000] * 4 + [800 / 500_000])
    assert states_of(config, as_it_should - 0.01, 8)[-1] == 0
    fast = dataclasses.replace(config, augment_adaptive_images=1000)
    assert states_of(fast, 1.0, 20)[3::4] == pytest.approx([0.4, 0.8, 0.9, 0.9, 0.9])


def test_pairs_of_two_clouds_are_told_apart_where_single_images_are():
    """Whence the share of pairs: of real and generated images that are as widely spread about two means."""
    real, fake = RNG.normal(2 * 0.8416, 1, 200_000), RNG.normal(0, 1, 200_000)
    assert np.mean(real > 0.8416) == pytest.approx(0.8, abs=0.005)  # the optimal boundary lies in the middle
    assert np.mean(real > fake) == pytest.approx(0.883, abs=0.005)


def test_a_schedule_leads_from_none_to_p_by_images_seen():
    config = Config(objective="nsgan", augment="bgc", augment_p=0.6, augment_scheduled=True, schedule_images=1000)
    d, g = compose(config.to_dict()).updates()
    assert "augment_p" in d.metrics
    assert "augment_p" not in g.metrics
    networks = {
        "generator": lambda z, labels: tf.constant(IMAGES[3:]),
        "discriminator": lambda images, labels: tf.reduce_mean(images, axis=[1, 2, 3]),
    }
    empty, numbers = tf.zeros([3]), tf.zeros([3, 2, NUMBERS + ada.NUMBERS])
    batch = Batch(tf.constant(IMAGES[:3]), empty, empty, empty, tf.constant(0), numbers, tf.zeros([3, 2, 0]), {}, empty)
    for seen, p in ((0, 0), (500, 0.3), (1000, 0.6), (5000, 0.6)):
        _, figures = d.loss(networks, dataclasses.replace(batch, seen=tf.constant(float(seen))))
        np.testing.assert_allclose(figures["augment_p"], np.full(3, p), atol=1e-6)


def test_kinds_can_be_named_together_and_be_less_probable():
    assert shares_of("bgc:0.5,cutout") == {"cutout": 1.0, "blit": 0.5, "geom": 0.5, "ada_color": 0.5}
    assert [*shares_of("bgcfnc")] == ["cutout", "blit", "geom", "ada_color", "filter", "noise"]
    assert shares_of("") == {}


@pytest.mark.parametrize("group", ada.GROUPS)
def test_a_factor_makes_a_group_less_probable(group):
    numbers = RNG.uniform(size=(6, NUMBERS + ada.NUMBERS)).astype(np.float32)
    pixels = RNG.normal(size=(6, IMAGES[0].size)).astype(np.float32)
    half = augment(IMAGES, numbers, ONE, shares_of(f"{group}:0.5"), pixels)
    other = augment(IMAGES, numbers, tf.constant(0.5), shares_of(group), pixels)
    np.testing.assert_array_equal(half, other)
    assert not np.allclose(half, IMAGES)


def test_what_covers_comes_last_and_what_was_there_before_stays_as_it_was():
    numbers = np.full((6, NUMBERS + ada.NUMBERS), 0.5, np.float32)
    turned = augment(IMAGES, numbers, ONE, shares_of("bgc,cutout")).numpy()
    assert not turned[:, 4:12, 4:12].any()
    assert turned[:, 0].any()
    assert set(KINDS) == {"translation", "cutout", "color", *ada.GROUPS}


def test_real_and_generated_images_are_augmented_each_in_its_own_way():
    seen = []

    def discriminator(images, labels):
        seen.append(images.numpy())
        return tf.reduce_mean(images, axis=[1, 2, 3])

    networks = {"generator": lambda z, labels: tf.constant(IMAGES[3:]), "discriminator": discriminator}
    empty = tf.zeros([3])
    numbers = tf.constant(RNG.uniform(size=(3, 2, NUMBERS)), tf.float32)
    pixels = tf.zeros([3, 2, 0])
    batch = Batch(
        tf.constant(IMAGES[:3]), empty, empty, empty, tf.constant(0), numbers, pixels, {"augment_p": ONE}, empty
    )
    config = Config(objective="nsgan", augment="translation,cutout")
    d, g = compose(config.to_dict()).updates()
    assert d.needs_augmentation
    assert g.needs_augmentation
    d.loss(networks, batch)
    for half, rows in enumerate((IMAGES[:3], IMAGES[3:])):
        expected = augment(rows, numbers[:, half], ONE, shares_of("translation,cutout"))
        np.testing.assert_array_equal(seen[0][3 * half : 3 * half + 3], expected)
    g.loss(networks, batch)
    assert seen[1].shape == (3, 16, 16, 3)
    never = dataclasses.replace(batch, state={"augment_p": tf.constant(0.0)})
    d.loss(networks, never)
    np.testing.assert_array_equal(seen[2], IMAGES)
