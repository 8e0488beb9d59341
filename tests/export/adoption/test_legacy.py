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
from tests.processes import ENVIRONMENT, ROOT

pytestmark = pytest.mark.slow

# As the tutorials of Keras 2 do it: a label through an Embedding, multiplied with the noise.
PROGRAM = """
import sys
import numpy as np
import tf_keras as keras
from tf_keras import layers
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


def test_what_tf_keras_cannot_open_is_said_in_a_sentence(saved, tmp_path):
    text = (saved / "theirs.h5").read_bytes().replace(b"LeakyReLU", b"TheirReLU")
    (tmp_path / "own.h5").write_bytes(text)
    with pytest.raises(MirageError, match=r"the layer leaky_re_lu \(TheirReLU\) is not known; pass --custom_objects="):
        open_network(tmp_path / "own.h5", Opening())
