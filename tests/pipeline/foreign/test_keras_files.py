"""Files of Keras with somebody's own layers, weights only, in mixed precision, or of models that are classes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.adoption.options import _custom_objects
from pipeline.base.errors import MirageError
from pipeline.foreign.files import open_network
from pipeline.foreign.network import Opening
from tests import foreign_layers as theirs
from tests import foreign_networks as made


@pytest.fixture(scope="module")
def own():
    return Opening(custom_objects=_custom_objects("tests.foreign_layers"))


def computes_as(network, model, tolerance=1e-6):
    (port,) = network.inputs
    z = np.random.default_rng(0).standard_normal([2, 5]).astype(port.dtype)
    (image,) = network.run({port.name: z}).values()
    np.testing.assert_allclose(image, model(z, training=False), atol=tolerance)


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("keras", r"the layer conv_\d \((PixelNorm|Scale) of tests.foreign_layers\) is not known; pass --custom_obj"),
        ("h5", r"the layer conv_1 \(PixelNorm\) is not known; pass --custom_objects=module, of a module that has it"),
    ],
)
def test_layers_of_their_own_are_named_until_they_are_given(tmp_path, own, ending, said):
    model = theirs.own_layers()
    model.save(tmp_path / f"theirs.{ending}")
    with pytest.raises(MirageError, match=said):
        open_network(tmp_path / f"theirs.{ending}", Opening())
    computes_as(open_network(tmp_path / f"theirs.{ending}", own), model)


def test_custom_objects_are_those_of_their_module_only():
    found = _custom_objects("tests.foreign_layers")
    assert {"PixelNorm", "Scale", "bent"} <= {*found}
    assert "keras" not in found
    with pytest.raises(MirageError, match=r"--custom_objects=tests.gone can't be imported: ModuleNotFoundError"):
        _custom_objects("tests.gone")


def test_a_model_that_is_a_class(tmp_path, own):
    model = theirs.Drawn()
    model(np.zeros([1, 5], np.float32))
    model.save(tmp_path / "theirs.keras")
    with pytest.raises(MirageError, match=r"Drawn of tests.foreign_layers is not known"):
        open_network(tmp_path / "theirs.keras", Opening())
    computes_as(open_network(tmp_path / "theirs.keras", own), model)


def test_what_makes_the_network_of_weights_may_fail(tmp_path):
    path = tmp_path / "theirs.weights.h5"
    theirs.own_layers().save_weights(path)
    with pytest.raises(MirageError, match=r"--model fails .ValueError: not today .*foreign_layers.py, line"):
        open_network(path, Opening(build=theirs.broken))
    with pytest.raises(MirageError, match=r"--model made a int; expected a keras\.Model"):
        open_network(path, Opening(build=theirs.number))
    # What no import path leads to is opened in this process only.
    computes_as(open_network(path, Opening(build=lambda: theirs.own_layers())), _loaded(theirs.own_layers(), path))


def _loaded(model, path):
    model.load_weights(path)
    return model


def test_weights_as_keras_2_wrote_them(tmp_path):
    import h5py

    model = made.sequential()
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = weight.numpy()
    computes_as(open_network(tmp_path / "theirs.h5", Opening(build=made.sequential)), model)


def test_what_was_trained_in_mixed_precision_is_computed_in_float32(tmp_path):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = made.sequential()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model.save(tmp_path / "theirs.keras")
    network = open_network(tmp_path / "theirs.keras", Opening())
    (image,) = network.run({network.inputs[0].name: np.ones([1, 5], np.float32)}).values()
    assert image.dtype == np.float32
    computes_as(network, model, tolerance=1e-2)


def test_checkpoints_of_tensorflow_are_named(tmp_path):
    model = made.sequential()
    checkpoint = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))
    for path in (tmp_path, tmp_path / "ckpt-1", tmp_path / "ckpt-1.index"):
        with pytest.raises(MirageError, match="is a TensorFlow checkpoint, which holds weights and no network"):
            open_network(path, Opening())
    assert checkpoint.endswith("ckpt-1")
