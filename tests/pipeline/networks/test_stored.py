"""Networks that are built again from their configuration, without the code that made them."""

import importlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import stored
from pipeline.networks.models import named_weights
from pipeline.runs.networks_file import NETWORKS_FILE, build_stored, write_networks
from pipeline.training.configured import networks_of

SPEC = DataSpec("shapes", "", (16, 16, 1), ("a", "b", "c"), 9)

OWN = """
import keras
from keras import layers

class Scale(layers.Layer):
    def build(self, shape):
        self.by = self.add_weight(shape=[], initializer="ones", name="by")

    def call(self, x):
        return x * self.by

class Painter(keras.Model):
    def __init__(self, units=16):
        super().__init__()
        self.paint = layers.Dense(units, activation="tanh")
        self.scale = Scale()

    def call(self, z):
        return keras.ops.reshape(self.scale(self.paint(z)), [-1, 4, 4, 1])
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of somebody's layers."""
    (tmp_path / "own_layers_of_a_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("own_layers_of_a_test")
    monkeypatch.delitem(importlib.sys.modules, "own_layers_of_a_test", raising=False)


def painter(own):
    z = keras.Input([6], name="z")
    return keras.Model(z, own.Painter()(z), name="generator")


@pytest.mark.parametrize(
    "flags",
    [
        {"model": "dcgan", "conditional": True, "conditioning": "projection,acgan"},
        {"model": "resnet", "codes": 2},
        {"model": "mlp", "objective": "sgan"},
        {"model": "mlp", "objective": "autoencoder", "conditional": True},
        {"model": "dcgan", "conditional": True, "conditioning": "projection", "spectral_norm": True},
    ],
    ids=lambda flags: flags["model"] + "-" + flags.get("objective", flags.get("conditioning", "codes")),
)
def test_built_again_a_network_computes_the_same(tmp_path, flags):
    models = networks_of(Config(latent_dim=5, **flags), SPEC)
    write_networks(tmp_path, models)
    rng = np.random.default_rng(0)
    for name, model in models.items():
        again = build_stored(tmp_path, name)
        assert list(named_weights(name, again)) == list(named_weights(name, model))
        assert [(each.name, each.dtype) for each in again.inputs] == [(each.name, each.dtype) for each in model.inputs]
        again.set_weights(model.get_weights())
        feeds = [
            np.array([0, 2], np.int32)
            if each.name == "label"
            else rng.standard_normal((2, *each.shape[1:]), np.float32)
            for each in model.inputs
        ]
        feeds = feeds if len(feeds) > 1 else feeds[0]
        for one, other in zip(tf.nest.flatten(model(feeds)), tf.nest.flatten(again(feeds)), strict=True):
            np.testing.assert_array_equal(one, other)


def test_it_computes_in_float32_whatever_it_was_trained_in(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        models = networks_of(Config(model="dcgan", latent_dim=5), SPEC)
    finally:
        keras.config.set_dtype_policy("float32")
    write_networks(tmp_path, models)
    assert {layer.compute_dtype for layer in build_stored(tmp_path, "discriminator").layers} == {"float32"}


def test_somebodys_layers_are_imported_by_name_or_the_missing_one_is_named(tmp_path, own, monkeypatch):
    model = painter(own)
    write_networks(tmp_path, {"generator": model})
    again = build_stored(tmp_path, "generator")
    again.set_weights(model.get_weights())
    z = np.ones((2, 6), np.float32)
    np.testing.assert_array_equal(again(z), model(z))
    monkeypatch.setitem(importlib.sys.modules, "own_layers_of_a_test", None)
    with pytest.raises(MirageError, match=r"generator needs own_layers_of_a_test.Painter, which can't be imported"):
        build_stored(tmp_path, "generator")


def model_with(layer):
    return keras.Sequential([keras.Input([3]), layer])


def unknown(x):
    return x


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: layers.Lambda(lambda x: 2 * x), "a Lambda is code; write a Layer class instead"),
        (lambda: layers.Dense(1, activation=unknown), "the function unknown is known to nobody; add @keras.saving"),
    ],
)
def test_what_needs_its_code_is_said(tmp_path, layer, expected):
    said = []
    write_networks(tmp_path, {"generator": model_with(layer())}, said.append)
    assert expected in said[0]
    assert "the generator can't be built again without its code" in said[0]
    assert build_stored(tmp_path, "generator") is None


def test_no_code_is_taken_out_of_a_file():
    harmless = keras.saving.serialize_keras_object(model_with(layers.Dense(2)))
    for part in (
        keras.saving.serialize_keras_object(layers.Lambda(lambda x: x)),
        {"class_name": "Popen", "module": "subprocess", "config": {"args": ["true"]}, "registered_name": "Popen"},
        {"class_name": "get_file", "module": "keras.utils", "config": {}, "registered_name": None},
        {"class_name": "function", "module": "os", "config": "abort", "registered_name": "abort"},
        {"class_name": "function", "module": "builtins", "config": "exec", "registered_name": "exec"},
    ):
        document = json.loads(json.dumps(harmless))
        document["config"]["layers"][1]["config"]["activation"] = part
        with pytest.raises(MirageError, match="generator"):
            stored.build(document, "generator")


@pytest.mark.parametrize("damage", ["cut", "edited", "list", "newer"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / NETWORKS_FILE
    write_networks(tmp_path, {"generator": model_with(layers.Dense(2))})
    text = path.read_text()
    document = json.loads(text)
    document["format"] = 2
    path.write_text(
        {
            "cut": text[:-20],
            "edited": text.replace('"units": 2', '"units": 3'),
            "list": "[]",
            "newer": json.dumps(document),
        }[damage]
    )
    with pytest.raises(MirageError, match=f"{NETWORKS_FILE} (is damaged|has format 2)"):
        build_stored(tmp_path, "generator")


def test_a_run_of_before_has_no_such_file(tmp_path):
    assert build_stored(tmp_path, "generator") is None
