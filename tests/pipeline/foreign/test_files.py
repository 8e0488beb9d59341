"""Saved networks of all kinds are opened and compute what they did; what would run code isn't opened."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.rewrites.layouts import session_of
from pipeline.base.errors import MirageError
from pipeline.foreign.files import open_network
from pipeline.foreign.network import Opening
from tests import foreign_networks as made

OPENING = Opening()


def feeds(network, count=3):
    rng = np.random.default_rng(0)
    values = {}
    for port in network.inputs:
        shape = [count if size is None else size for size in port.shape]
        value = rng.standard_normal(shape) if port.dtype == "float32" else np.ones(shape)
        values[port.name] = value.astype(port.dtype) if port.dtype != "bool" else np.zeros(shape, bool)
    return values


def graph_agrees(network):
    given = feeds(network)
    expected = network.run(given)
    names = [port.name for port in network.outputs]
    session = session_of(network.graph())
    wanted = {each.name for each in session.get_inputs()}
    actual = session.run(names, {name: value for name, value in given.items() if name in wanted})
    for name, value in zip(names, actual, strict=True):
        np.testing.assert_allclose(value, expected[name], atol=1e-4)
    return given, [expected[name] for name in names]


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_files_of_keras_3(tmp_path, ending):
    model = made.conditional()
    path = tmp_path / f"theirs.{ending}"
    model.save(path)
    network = open_network(path, OPENING)
    assert keras.__version__ in network.kind
    assert [(port.dtype, port.shape) for port in network.inputs] == [("float32", (None, 4)), ("int32", (None, 1))]
    given, (image,) = graph_agrees(network)
    np.testing.assert_allclose(image, model([given["noise"], given["which"]], training=False), atol=1e-6)


def test_weights_need_the_network_that_they_are_of(tmp_path):
    model = made.sequential()
    model.save_weights(tmp_path / "theirs.weights.h5")
    with pytest.raises(MirageError, match="--model=module:function"):
        open_network(tmp_path / "theirs.weights.h5", OPENING)
    network = open_network(tmp_path / "theirs.weights.h5", Opening(build=made.sequential))
    graph_agrees(network)
    with pytest.raises(MirageError, match="can't be opened by Keras"):
        open_network(tmp_path / "theirs.weights.h5", Opening(build=made.conditional))


def test_a_saved_model_of_anything(tmp_path):
    network = open_network(made.save_module(tmp_path / "module"), OPENING)
    assert {(port.name, port.dtype, port.shape) for port in network.inputs} == {
        ("noise", "float32", (None, 6)),
        ("training", "bool", ()),
    }
    graph_agrees(network)


def test_a_saved_model_of_tensorflow_1(tmp_path):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        z = v1.placeholder(tf.float32, [None, 4], "z")
        weights = v1.get_variable("w", [4, 12], initializer=v1.initializers.glorot_uniform(seed=1))
        image = tf.reshape(tf.tanh(z @ weights), [-1, 2, 2, 3])
        session.run(v1.global_variables_initializer())
        expected = session.run(image, {z: np.ones([2, 4])})
        v1.saved_model.simple_save(session, str(tmp_path / "old"), {"z": z}, {"image": image})
    network = open_network(tmp_path / "old", OPENING)
    graph_agrees(network)
    np.testing.assert_allclose(network.run({"z": np.ones([2, 4], np.float32)})["image"], expected, atol=1e-6)


def test_a_saved_model_has_the_signature_that_is_asked_for(tmp_path):
    module = tf.Module()
    functions = {
        name: tf.function(lambda z, factor=factor: factor * z, input_signature=[tf.TensorSpec([None, 2], name="z")])
        for name, factor in {"one": 1.0, "two": 2.0}.items()
    }
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=functions)
    with pytest.raises(MirageError, match="signatures one, two; choose one by --signature="):
        open_network(tmp_path / "m", OPENING)
    network = open_network(tmp_path / "m", Opening(signature="two"))
    assert network.run({"z": np.ones([1, 2], np.float32)})["output_0"].tolist() == [[2, 2]]


def test_an_onnx_file_of_another_exporter(tmp_path):
    network = open_network(made.save_onnx(tmp_path / "theirs.onnx"), OPENING)
    assert "pytorch" in network.kind
    assert network.inputs[0].shape == (None, 7, 1, 1)
    graph_agrees(network)
    assert network.graph().opset_import[0].version == 18


def test_a_litert_file(tmp_path):
    network = open_network(made.save_litert(tmp_path / "theirs.tflite"), OPENING)
    (port,) = network.inputs
    assert port.shape[1:] == (5,)
    z = np.random.default_rng(0).standard_normal([1, 5]).astype(np.float32)
    (made_image,) = network.run({port.name: z}).values()
    np.testing.assert_allclose(made_image, made.sequential()(z), atol=1e-5)
    (of_graph,) = session_of(network.graph()).run(None, {port.name: z})
    np.testing.assert_allclose(of_graph, made_image, atol=1e-5)


def lambda_model(path):
    model = keras.Sequential([keras.layers.Input([4]), keras.layers.Lambda(lambda x: x + 1)])
    model.save(path)


def test_code_that_is_trusted_runs(tmp_path):
    lambda_model(tmp_path / "code.keras")
    network = open_network(tmp_path / "code.keras", Opening(trust=True))
    (value,) = network.run({network.inputs[0].name: np.ones([1, 4], np.float32)}).values()
    assert value.tolist() == [[2, 2, 2, 2]]
