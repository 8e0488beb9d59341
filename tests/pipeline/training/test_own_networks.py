"""Networks from outside: one file, and one line or an import path."""

import dataclasses
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.networks import ARCHITECTURES
from pipeline.runs.checkpoint import load_network, load_sampler
from pipeline.runs.networks_file import NETWORKS_FILE
from pipeline.training.trainer import train

OWN = """
import dataclasses
import math

import keras
from keras import layers


@dataclasses.dataclass
class Networks:
    width: int = 8

    def build_generator(self, latent_dim, image_shape, num_classes):
        label, z = keras.Input([1], name="label"), keras.Input([latent_dim], name="z")
        x = layers.Concatenate()([z, layers.Flatten()(layers.Embedding(num_classes, 2)(label))])
        x = layers.Dense(self.width, activation="relu")(x)
        x = layers.Dense(math.prod(image_shape), activation="sigmoid")(x)
        return keras.Model([label, z], layers.Reshape(image_shape)(x))

    def build_discriminator(self, image_shape, num_classes):
        image, label = keras.Input(image_shape), keras.Input([num_classes])
        x = layers.Concatenate()([layers.Flatten()(image), label])
        x = layers.Dense(self.width, activation="softplus")(x)
        return keras.Model([image, label], layers.Dense(1, activation="sigmoid")(x))
"""
MODULE = "own_networks_of_a_test"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file beside the project."""
    (tmp_path / f"{MODULE}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield f"{MODULE}:Networks"
    sys.modules.pop(MODULE, None)


def test_they_train_resume_to_the_same_bits_and_are_loaded_without_their_code(on_two, own, capsys, monkeypatch):
    config = dataclasses.replace(on_two, model=own, model_args="width=6")
    whole = dataclasses.replace(config, run_dir=config.run_dir + "-whole")
    assert train(whole).step == 6
    said = capsys.readouterr().out
    assert said.count("the discriminator's last sigmoid is taken off") == 1
    assert said.count("brought from [0, 1] to [-1, 1]") == 1
    train(dataclasses.replace(config, steps=4))
    assert train(config).step == 6
    with pytest.raises(MirageError, match=r"--model_args=width=7 \(the run has width=6\)"):
        train(dataclasses.replace(config, model_args="width=7"))
    sys.modules.pop(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, None)  # it can't be imported any more
    runs = [load_sampler(Path(each.run_dir)) for each in (whole, config)]
    for one, other in zip(runs[0][2].variables, runs[1][2].variables, strict=True):
        np.testing.assert_array_equal(one, other)
    first = load_network(Path(config.run_dir), "discriminator").variables[0]
    assert first.shape[1] == 6
    (Path(config.run_dir) / NETWORKS_FILE).unlink()
    with pytest.raises(MirageError, match=f"the generator of .* can't be built: --model={MODULE}"):
        load_sampler(Path(config.run_dir))


def test_a_run_goes_on_to_the_same_bits_when_their_code_is_gone(config, own, tmp_path, capsys):
    config = dataclasses.replace(config, model=own, virtual_devices=1)
    whole = dataclasses.replace(config, run_dir=config.run_dir + "-whole")
    train(whole)
    train(dataclasses.replace(config, steps=4))
    (tmp_path / f"{MODULE}.py").unlink()
    sys.modules.pop(MODULE)
    importlib.invalidate_caches()
    capsys.readouterr()
    assert train(config).step == 6
    assert f"the run's networks are built from its {NETWORKS_FILE}, because --model={own}" in capsys.readouterr().out
    runs = [load_sampler(Path(each.run_dir))[2] for each in (whole, config)]
    for one, other in zip(runs[0].variables, runs[1].variables, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(MirageError, match=f"there is no module {MODULE}"):
        train(dataclasses.replace(config, run_dir=str(tmp_path / "new")))


def test_one_line_gives_them_a_name(config, own, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "tiny", own)
    named = dataclasses.replace(config, model="tiny", steps=1, virtual_devices=1)
    named.validate()
    assert train(named).step == 1
    assert load_sampler(Path(config.run_dir))[0].model == "tiny"


def test_what_a_run_says_of_unknown_networks_is_refused(config, own, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "tiny", own)
    train(dataclasses.replace(config, model="tiny", steps=1, virtual_devices=1))
    monkeypatch.delitem(ARCHITECTURES, "tiny")
    assert load_sampler(Path(config.run_dir))[3] == 1
    (Path(config.run_dir) / NETWORKS_FILE).unlink()
    with pytest.raises(MirageError, match="--model=tiny is not known"):
        load_sampler(Path(config.run_dir))


@pytest.mark.parametrize(
    ("model", "lost"),
    [
        ("mlp", False),
        ("json:Gone", False),
        ("nowhere.at:All", True),
        ("__main__:Mine", True),
        ("json:f.<locals>.Mine", True),
    ],
)
def test_code_is_gone_where_its_module_is(config, model, lost):
    config = dataclasses.replace(config, model=model)
    assert not config.lost(config.run_dir)
    Path(config.run_dir).mkdir()
    (Path(config.run_dir) / NETWORKS_FILE).touch()
    assert config.lost(config.run_dir) == lost
