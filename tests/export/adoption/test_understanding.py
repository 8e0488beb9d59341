"""What inputs and outputs mean is seen, measured, or asked for in a sentence that names the flag."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.adoption.meaning import Asked
from export.adoption.source import AdoptedSource, table
from export.rewrites.layouts import session_of
from pipeline.base.errors import MirageError
from pipeline.foreign.memory import of_object
from tests import foreign_networks as made

RNG = np.random.default_rng(0)
BASE = RNG.standard_normal([7, 192]).astype(np.float32)
TABLE = RNG.standard_normal([5, 7]).astype(np.float32)
F, WHOLE = tf.float32, tf.int32


def draw(z, shape=(8, 8, 3), end=tf.tanh):
    return end(tf.reshape(z @ BASE, [-1, *shape]))


def function(call, *specs):
    return tf.function(call, input_signature=[tf.TensorSpec(shape, kind, name) for name, shape, kind in specs])


def of_latent(call, shape=(None, 7), kind=F):
    return function(call, ("z", shape, kind))


def source_of(thing, **asked):
    return AdoptedSource(of_object(thing), "theirs", "", Asked(**asked))


def agrees(source, count=4, tolerance=1e-5):
    """The source, the ONNX graph and the network of TensorFlow make the same pictures."""
    info = source.info
    z = np.random.default_rng(1).standard_normal([count, info.latent_dim]).astype(np.float32)
    label = np.arange(count) % max(1, len(info.class_names))
    expected = source.reference().generate(z, label)
    assert expected.shape == (count, *info.image_shape)
    session = session_of(source.graph())
    feeds = {"z": z, "label": label}
    (image,) = session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})
    np.testing.assert_allclose(image, expected, atol=tolerance)
    computed = source.model([z, label.astype(np.int32)] if info.conditional else z)
    np.testing.assert_allclose(computed, expected, atol=tolerance)
    return expected


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 1, 7), 7), ((7, 1, 1), 7), ((1, 7), 7), ((7,), 7), ((7, 1), 7)], ids=str
)
@pytest.mark.parametrize("batch", [None, 3])
def test_latents_of_any_shape(shape, size, batch):
    source = source_of(of_latent(lambda z: draw(tf.reshape(z, [-1, size])), (batch, *shape)))
    assert source.info.latent_dim == size
    assert source.meaning.batch == batch
    expected = source.reference().generate(np.ones([4, size], np.float32), np.zeros(4, int))
    (image,) = session_of(source.graph()).run(None, {"z": np.ones([4, size], np.float32)})
    np.testing.assert_allclose(image, expected, atol=1e-5)


def looked_up(z, label):
    return draw(z * tf.gather(TABLE, tf.cast(tf.reshape(label, [-1]), WHOLE)))


LABELS = {
    "index": (looked_up, ("z", (None, 7), F), ("y", (None,), WHOLE)),
    "index of floats": (looked_up, ("z", (None, 7), F), ("label", (None,), F)),
    "column": (looked_up, ("a", (None, 7), F), ("b", (None, 1), tf.int64)),
    "column of floats": (looked_up, ("a", (None, 7), F), ("b", (None, 1), F)),
    "first": (lambda label, z: looked_up(z, label), ("b", (None, 1), WHOLE), ("a", (None, 7), F)),
    "one-hot": (lambda z, y: draw(z * (y @ TABLE)), ("z", (None, 7), F), ("class_code", (None, 5), F)),
    "one-hot of integers": (
        lambda z, y: draw(z * (tf.cast(y, F) @ TABLE)),
        ("a", (None, 7), F),
        ("b", (None, 5), WHOLE),
    ),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_form(kind):
    call, *specs = LABELS[kind]
    source = source_of(function(call, *specs))
    assert source.info.class_names == ("0", "1", "2", "3", "4")
    assert source.info.latent_dim == 7
    images = agrees(source, 5)
    assert np.ptp(source.reference().generate(np.ones([5, 7], np.float32), np.arange(5)), axis=0).max() > 0.1
    assert images.std() > 0.1


def test_classes_that_can_not_be_seen_are_asked_for():
    added = function(lambda z, y: draw(z + tf.cast(y, F)[:, None]), ("z", (None, 7), F), ("y", (None,), WHOLE))
    with pytest.raises(MirageError, match=r"how many classes y int32 \[N\] may have can't be seen; pass --classes="):
        source_of(added)
    assert len(source_of(added, classes=4).info.class_names) == 4
    with pytest.raises(MirageError, match="--class_names has 2 names, but --classes=4; they must agree"):
        source_of(added, classes=4, class_names=["a", "b"])
    call, *specs = LABELS["index"]
    with pytest.raises(MirageError, match=r"--classes=6, but y int32 \[N\] has 5 classes"):
        source_of(function(call, *specs), classes=6)


def joined(width, end="tanh"):
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(8 * 8, activation=end), keras.layers.Reshape([8, 8, 1])]
    return keras.Sequential([keras.layers.Input([width], name="z"), *layers])


def test_a_one_hot_code_may_stand_behind_the_latent_in_its_input():
    model = joined(138)
    plain = source_of(model)
    assert plain.info.latent_dim == 138
    assert "if that is 128 and the one-hot code of 10 classes, pass --classes=10" in table(plain)
    source = source_of(model, classes=10)
    assert (source.info.latent_dim, len(source.info.class_names)) == (128, 10)
    assert "its first 128 values" in table(source)
    assert "one-hot, behind the latent" in table(source)
    agrees(source, 11)
    z = RNG.standard_normal([3, 128]).astype(np.float32)
    code = np.eye(10, dtype=np.float32)[[7, 0, 2]]
    expected = model(np.concatenate([z, code], 1))
    np.testing.assert_allclose(source.reference().generate(z, np.array([7, 0, 2])), expected, atol=1e-6)
    names = [*"abcdefghij"]
    assert source_of(joined(72), classes=10, class_names=names).info.class_names == tuple(names)
    assert "pass --classes" not in table(source_of(joined(100)))


def test_a_one_hot_code_in_channels():
    source = source_of(of_latent(lambda z: draw(tf.reshape(z, [-1, 7])), (None, 7, 1, 1)), classes=3)
    assert (source.info.latent_dim, len(source.info.class_names)) == (4, 3)
    agrees(source)


LAYOUTS = {
    "NHWC": ((8, 8, 3), (8, 8, 3)),
    "NCHW": ((3, 8, 8), (8, 8, 3)),
    "NHW": ((12, 16), (12, 16, 1)),
    "flat": ((192,), (8, 8, 3)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_of_any_layout(layout):
    shape, image_shape = LAYOUTS[layout]
    source = source_of(of_latent(lambda z: draw(z, shape)))
    assert (source.meaning.layout, source.info.image_shape) == (layout, image_shape)
    agrees(source)


RANGES = {
    "tanh": (tf.tanh, (-1, 1), False),
    "sigmoid": (tf.sigmoid, (0, 1), False),
    "clipped": (lambda x: tf.clip_by_value(0.5 + x / 5, 0, 1), (0, 1), True),
    "bytes": (lambda x: tf.cast(127.5 + 127.5 * tf.tanh(x), tf.uint8), (0, 255), True),
    "levels": (lambda x: 127.5 + 127.5 * tf.tanh(x), (0, 255), True),
    "halves": (lambda x: tf.cast(tf.tanh(x), tf.float64), (-1, 1), False),
}


@pytest.mark.parametrize("end", RANGES)
def test_values_of_any_range(end):
    call, value_range, clipped = RANGES[end]
    source = source_of(of_latent(lambda z: draw(z, end=call)))
    assert (source.meaning.value_range, source.meaning.clipped) == (value_range, clipped)
    # Bytes are cut off, not rounded.
    images = agrees(source, tolerance=0.01 if end == "bytes" else 1e-5)
    assert np.abs(images).max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("call", "shape"), [("NHWC", (3, 8, 3)), ("NCHW", (3, 8, 3)), ("NHWC", (1, 8, 1)), ("NCHW", (1, 8, 1))]
)
def test_a_layout_that_can_not_be_seen_is_asked_for(call, shape):
    size = int(np.prod(shape))
    thing = of_latent(lambda z: tf.tanh(tf.reshape(z @ BASE[:, :size], [-1, *shape])))
    with pytest.raises(MirageError, match=r"could be NHWC or NCHW; pass --layout="):
        source_of(thing)
    assert source_of(thing, layout=call).meaning.layout == call


def test_other_inputs_and_outputs():
    everything = function(
        lambda z, c, psi, training: {"image": draw(z * psi), "w": z},
        ("z", (None, 7), F),
        ("c", (None, 0), F),
        ("psi", (), F),
        ("training", (), tf.bool),
    )
    with pytest.raises(MirageError, match=r"what the input psi float32 \[\] shall be .* pass --input=psi=value"):
        source_of(everything)
    source = source_of(everything, inputs={"psi": 0.7})
    shown = table(source)
    for text in ("always 0.7, by --input", "always false: no training", "holds nothing", "only picture of 2 outputs"):
        assert text in shown
    agrees(source)
    batched = function(lambda z, psi: draw(z * psi), ("z", (None, 7), F), ("psi", (None, 1), F))
    with pytest.raises(MirageError, match=r"which input is the latent can't be seen.*--input=name=value"):
        source_of(batched)
    agrees(source_of(batched, inputs={"psi": 0.5}))


REFUSED = {
    "image to image": (of_latent(tf.tanh, (None, 8, 8, 3)), r"its input z float32 \[N, 8, 8, 3\] is a picture"),
    "autoencoder": (of_latent(tf.sigmoid, (None, 48)), "has as many values as its output .*; pass --latent_input="),
    "classifier": (of_latent(tf.nn.softmax, (None, 16)), "ends in a softmax, as those of classifiers do"),
    "discriminator": (of_latent(lambda z: z[:, :1]), "this is no generator of pictures"),
    "sound": (of_latent(lambda z: tf.tile(z, [1, 1000])), "this is no generator of pictures"),
    "two pictures": (of_latent(lambda z: {"a": draw(z), "b": draw(z)}), "which output is the picture .*pass --output="),
    "noise inside": (of_latent(lambda z: draw(z + tf.random.normal([7]))), "draws random numbers inside; save"),
    "NaN": (of_latent(lambda z: draw(z) / 0.0 * 0.0), "makes NaN or Inf; it is not exported"),
    "without end": (of_latent(lambda z: draw(z, end=lambda x: 10 * x)), "are black and white .* pass --value_range="),
    "always the same": (of_latent(lambda z: 0 * draw(z)), "are black and white .* pass --value_range="),
    "one latent": (of_latent(lambda z: draw(z[None]), (7,)), r"is no latent, which would have sizes \[N, z\]"),
    "integers": (of_latent(lambda z: draw(tf.cast(z, F)), kind=WHOLE), "is no latent, which would be of floats"),
    "no input": (of_latent(lambda c: draw(tf.zeros([1, 7])), (None, 0)), "there are none: pass --latent_input="),
    "a branch": (
        of_latent(lambda z: draw(tf.cond(tf.reduce_max(z) > 0.0, lambda: z, lambda: tf.sin(z)))),
        "holds If, and loops and branches are refused where bundles are loaded",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_generator_or_can_not_be_one_here_is_said(kind):
    thing, said = REFUSED[kind]
    with pytest.raises(MirageError, match=said) as caught:
        source_of(thing).graph()
    assert str(caught.value).isprintable()


def test_what_looks_like_no_generator_may_be_one():
    assert source_of(of_latent(tf.sigmoid, (None, 48)), latent_input="z").info.image_shape == (4, 4, 3)


def test_branches_on_the_phase_of_training_are_decided():
    def call(z, training):
        return draw(tf.cond(tf.logical_not(training), lambda: z, lambda: z + 1))

    thing = function(call, ("z", (None, 7), F), ("training", (), tf.bool))
    images = agrees(source_of(thing))
    turned = agrees(source_of(thing, inputs={"training": 1.0}))
    assert np.abs(images - turned).max() > 0.01


def test_too_many_classes_for_the_latent():
    with pytest.raises(MirageError, match=r"--classes=9 leaves nothing of the input z float32 \[N, 9\]"):
        source_of(joined(9), classes=9)
    with pytest.raises(MirageError, match="no input takes a label; leave it out, or pass --label_input="):
        source_of(made.sequential(), class_names=["a"])


def test_names_of_inputs_may_be_anything():
    network = of_object(joined(64))
    (port,) = network.inputs
    odd = dataclasses.replace(port, name="z\n\x1b[31m")
    network = dataclasses.replace(
        network, inputs=(odd,), run=lambda values: {"output_0": draw(values[odd.name][:, :7])}
    )
    source = AdoptedSource(network, "theirs", "", Asked(layout="NHWC"))
    assert all(line.isprintable() for line in table(source).splitlines())
    assert len(table(source).splitlines()) == 4
