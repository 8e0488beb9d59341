"""Mixed styles and path lengths, against NumPy and by hand."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.objectives import Batch, Update
from pipeline.objectives.composition import compose
from pipeline.objectives.path_length import PathLength, path_lengths
from pipeline.objectives.style_mixing import StyleMixing, mixed_styles

RNG = np.random.default_rng(0)
LAYERS, WIDTH = 5, 3
KERNEL = RNG.standard_normal((LAYERS, WIDTH, 4 * 6 * 2))


def mapping(z, labels):
    """Styles that say of which latent and label they are."""
    w = tf.stack([z[:, 0], z[:, 1], tf.cast(labels, tf.float32)], 1)
    return tf.tile(w[:, None], [1, LAYERS, 1])


def synthesis(styles, labels):
    """Images that are not linear in their styles."""
    return tf.reshape(tf.tensordot(tf.square(styles), KERNEL.astype(np.float32), 2), [-1, 4, 6, 2])


NETWORKS = {"mapping": mapping, "synthesis": synthesis}


def batch_of(count, step=0, mean=0.0, **more):
    z, labels, none = tf.constant(RNG.standard_normal((count, 2)), tf.float32), tf.range(count), tf.zeros([count])
    pixels = tf.constant(RNG.standard_normal((count, 4, 6, 2)), tf.float32)
    mixing = tf.constant(RNG.standard_normal((count, 3)), tf.float32)
    state = {"path_length_mean": tf.constant(mean)}
    given = {"mixing": mixing, "directions": pixels, **more}
    return Batch(none, labels, z, none, tf.constant(step, tf.int64), none, none, state, none, **given)


def test_styles_are_mixed_as_often_as_asked_and_anywhere():
    batch = batch_of(20_000)
    styles = mixed_styles(NETWORKS, batch.z, batch.labels, batch.mixing, 0.75).numpy()
    own = styles[:, :, 0] == batch.z.numpy()[:, None, 0]
    other = styles[:, :, 0] == batch.mixing.numpy()[:, None, 0]
    assert np.all(own ^ other)
    np.testing.assert_array_equal(styles[:, :, 2], np.repeat(batch.labels.numpy()[:, None], LAYERS, 1))
    count = own.sum(1)
    np.testing.assert_array_equal(own, np.arange(LAYERS) < count[:, None])  # its own first, and never none
    shares = np.bincount(count, minlength=LAYERS + 1) / len(count)
    np.testing.assert_allclose(shares, [0, *[0.75 / (LAYERS - 1)] * (LAYERS - 1), 0.25], atol=0.01)
    always = mixed_styles(NETWORKS, batch.z, batch.labels, batch.mixing, 1.0).numpy()
    assert np.all(always[:, -1, 0] == batch.mixing.numpy()[:, 0])


def test_objectives_generate_of_mixed_styles():
    def loss(networks, batch):
        image = networks["generator"](batch.z, batch.labels)
        return tf.reduce_sum(image, [1, 2, 3]), {}

    (update,) = StyleMixing(style_mixing=1.0).add_to((Update("generator", loss, ()),))
    assert update.needs_mixing
    batch = batch_of(4)
    styles = mixed_styles(NETWORKS, batch.z, batch.labels, batch.mixing, 1.0)
    expected = np.sum(synthesis(styles, batch.labels), axis=(1, 2, 3))
    np.testing.assert_allclose(update.loss(NETWORKS, batch)[0], expected, rtol=1e-5)
    with pytest.raises(MirageError, match="generates 2 images where its batch has 4"):
        mixed_styles(NETWORKS, batch.z[:2], batch.labels[:2], batch.mixing, 1.0)


def lengths_by_hand(styles, pixels):
    # The image is Σ w² K, so that J^T y = 2 w (K y).
    gradient = 2 * styles * (KERNEL @ pixels.reshape(len(pixels), -1).T).transpose(2, 0, 1) / math.sqrt(24)
    return np.sqrt((gradient**2).sum(2).mean(1))


def test_path_lengths_are_norms_of_the_jacobians_products():
    styles, batch = RNG.standard_normal((3, LAYERS, WIDTH)), batch_of(3)
    found = path_lengths(NETWORKS, tf.constant(styles, tf.float32), batch.labels, batch.directions)
    np.testing.assert_allclose(found, lengths_by_hand(styles, batch.directions.numpy()), rtol=1e-5)


def regularised(term, batch):
    def loss(networks, batch):
        image = networks["generator"](batch.z, batch.labels)
        return tf.reduce_sum(image, [1, 2, 3]), {"g_loss": tf.zeros([4])}

    plain = Update("generator", loss, ("g_loss",))
    (update,) = term.add_to((plain,))
    assert update.metrics == ("g_loss", "path_length")
    assert update.needs_directions
    value, figures = update.loss(NETWORKS, batch)
    return value - plain.loss({**NETWORKS, "generator": lambda z, y: synthesis(mapping(z, y), y)}, batch)[0], figures


@pytest.mark.parametrize("every", [1, 3])
def test_path_lengths_of_every_second_image_are_drawn_to_their_running_mean(every):
    term = PathLength(path_length=2.0, path_length_every=every)
    batch = batch_of(4, step=6, mean=0.5)
    added, figures = regularised(term, batch)
    styles = mapping(batch.z, batch.labels).numpy()[::2]
    lengths = np.repeat(lengths_by_hand(styles, batch.directions.numpy()[::2]), 2)
    np.testing.assert_allclose(figures["path_length"], lengths, rtol=1e-5)
    np.testing.assert_allclose(added, 2 * every * (lengths - 0.5) ** 2, rtol=1e-3)
    state = term.next_state(batch.state, {"path_length": tf.constant(lengths.mean(), tf.float32)}, 4)
    np.testing.assert_allclose(state["path_length_mean"], 0.5 + 0.01 * (lengths.mean() - 0.5), rtol=1e-5)
    assert term.state() == {"path_length_mean": 0.0}


def test_steps_without_path_lengths_change_nothing():
    batch = batch_of(4, step=7, mean=0.5)
    added, figures = regularised(PathLength(path_length=2.0, path_length_every=3), batch)
    np.testing.assert_array_equal(added, np.zeros(4))
    np.testing.assert_array_equal(figures["path_length"], np.full(4, 0.5))
    with pytest.raises(MirageError, match=r"every second image of each replica's batch, which has 3"):
        regularised(PathLength(path_length=2.0), batch_of(3))


def test_mixed_styles_are_those_whose_paths_are_measured():
    def loss(networks, batch):
        return tf.reduce_sum(networks["generator"](batch.z, batch.labels), [1, 2, 3]), {}

    updates = (Update("generator", loss, ()),)
    for term in (StyleMixing(style_mixing=1.0), PathLength(path_length=1.0, path_length_every=1)):
        updates = term.add_to(updates)
    batch = batch_of(4)
    styles = mixed_styles(NETWORKS, batch.z, batch.labels, batch.mixing, 1.0).numpy()
    expected = np.repeat(lengths_by_hand(styles[::2], batch.directions.numpy()[::2]), 2)
    np.testing.assert_allclose(updates[0].loss(NETWORKS, batch)[1]["path_length"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style_mixing": 1.5}, "--style_mixing=1.5 is no probability"),
        ({"style_mixing": 0.9, "categories": 3}, "does not go with --categories=3"),
        ({"objective": "vae", "path_length": 2.0}, "--path_length=2.0 does not go with --objective=vae"),
        ({"penalty_every": 16}, "--penalty_every=16 is of the penalties that --r1, --r2 and --gp add"),
        ({"objective": "wgan_gp", "penalty_every": 16}, "--penalty_every=16 is of the penalties"),
        ({"augment": "", "augment_p": 0.5}, "--augment_p=0.5 says nothing without --augment"),
        ({"augment": "bgc", "augment_adaptive_images": 9}, "says nothing without --augment_adaptive"),
        (
            {"objective": "autoencoder", "style_mixing": 0.9},
            "--style_mixing=0.9 does not go with --objective=autoencoder",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    config = dataclasses.replace(Config(), **changes)
    with pytest.raises(MirageError, match=message):
        compose(config.to_dict())
