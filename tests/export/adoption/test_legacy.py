"""Files of Keras 2 are opened by tf-keras, in a process of its own."""

import subprocess
import sys

import numpy as np
import pytest

from export.adoption.meaning import Asked
from export.adoption.source import AdoptedSource
from pipeline.base.errors import MirageError
from pipeline.foreign.files import open_network
from pipeline.foreign.network import Opening
from serving import Generator
from tests.processes import ENVIRONMENT, ROOT

pytestmark = pytest.mark.slow

# As the tutorials of Keras 2 do it: a label through an Embedding, multiplied with the noise.
PROGRAM = """
import sys
import numpy as np
import tf_keras as keras
from tf_keras import layers
from tests import foreign_layers_of_keras_2 as own
keras.utils.set_random_seed(1)
inner = keras.Sequential([
    layers.Dense(4 * 4 * 2, input_dim=8), layers.LeakyReLU(alpha=0.2), layers.BatchNormalization(momentum=0.8),
    layers.Reshape((4, 4, 2)), layers.UpSampling2D(), layers.Conv2D(1, 3, padding="same"), layers.Activation("tanh"),
])
noise, label = layers.Input(shape=(8,)), layers.Input(shape=(1,), dtype="int32")
told = layers.Flatten()(layers.Embedding(4, 8)(label))
model = keras.Model([noise, label], inner(layers.multiply([noise, told])))
for name in ("theirs.h5", "theirs.keras"):
    model.save(f"{sys.argv[1]}/{name}")
keras.Model([noise], layers.Lambda(lambda x: 2 * x)(noise)).save(f"{sys.argv[1]}/code.h5")
own.network(own.InstanceNormalization(name="conv_1")).save(f"{sys.argv[1]}/addons.h5")
own.network(own.InstanceNormalization(name="conv_1")).save(f"{sys.argv[1]}/addons.keras")
own.network().save_weights(f"{sys.argv[1]}/weights.h5")
keras.mixed_precision.set_global_policy("mixed_float16")
own.network().save(f"{sys.argv[1]}/mixed.h5")
z = np.random.default_rng(0).standard_normal((5, 8)).astype("float32")
label = np.arange(5) % 4
np.savez(f"{sys.argv[1]}/made.npz", z=z, label=label, image=model.predict([z, label[:, None]], verbose=0))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras2")
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True
    )
    return folder


@pytest.mark.parametrize("name", ["theirs.h5", "theirs.keras"])
def test_a_file_of_keras_2_is_understood_and_computes_what_it_did(saved, name):
    network = open_network(saved / name, Opening())
    assert network.framework.startswith("tf-keras 2.")
    source = AdoptedSource(network, name, "", Asked())
    assert source.info.class_names == ("0", "1", "2", "3")
    assert source.info.image_shape == (8, 8, 1)
    made = np.load(saved / "made.npz")
    image = source.reference().generate(made["z"], made["label"])
    np.testing.assert_allclose(image, made["image"], atol=1e-6)


def test_code_in_a_file_of_keras_2_is_refused(saved):
    with pytest.raises(MirageError, match="holds code, in the layer Lambda"):
        open_network(saved / "code.h5", Opening())


def export(tmp_path, *arguments):
    command = [sys.executable, "-m", "export", f"--out={tmp_path / 'out'}", "--formats=onnx", *arguments]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["addons.h5", "addons.keras"])
def test_layers_of_their_own_are_named_until_they_are_given(saved, tmp_path, name):
    with pytest.raises(
        MirageError, match=r"the layer conv_1 \(InstanceNormalization.* is not known; pass --custom_obj"
    ):
        open_network(saved / name, Opening())
    given = f"--generator={saved / name}", "--custom_objects=tests.foreign_layers_of_keras_2"
    process = export(tmp_path, *given)
    assert process.returncode == 0, process.stderr
    assert Generator.load(tmp_path / "out").sample(2).shape == (2, 8, 8, 1)


def test_weights_of_keras_2_with_a_function_of_tf_keras(saved, tmp_path):
    process = export(tmp_path, f"--generator={saved / 'weights.h5'}", "--model=tests.foreign_layers_of_keras_2:network")
    assert process.returncode == 0, process.stderr
    assert "computed by tf-keras" in process.stdout


def test_what_was_trained_in_mixed_precision_is_computed_in_float32(saved):
    network = open_network(saved / "mixed.h5", Opening())
    (image,) = network.run({network.inputs[0].name: np.ones([2, 8], np.float32)}).values()
    assert image.dtype == np.float32
    assert "Half" not in str(network.graph().graph.node[0])


def test_what_tf_keras_cannot_open_is_said_in_a_sentence(saved, tmp_path):
    text = (saved / "theirs.h5").read_bytes().replace(b"LeakyReLU", b"TheirReLU")
    (tmp_path / "own.h5").write_bytes(text)
    with pytest.raises(MirageError, match=r"the layer leaky_re_lu \(TheirReLU\) is not known; pass --custom_objects="):
        open_network(tmp_path / "own.h5", Opening())
