"""Seeds inside the model give the latents of `serving.contract.latents`, to the last bit."""

import numpy as np
import onnx
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export.sampler import sampler_of, tensorflow_latents, tensorflow_pixels
from serving.contract.latents import latents
from serving.contract.pixels import to_pixels
from serving.runtime import ort

SEEDS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20)


def generator(latent_dim):
    """A generator whose picture is its latent, a third as large."""
    nodes = [
        helper.make_node("Mul", ["z", "third"], ["small"]),
        helper.make_node("Reshape", ["small", "shape"], ["image"]),
    ]
    constants = {"third": np.float32(1 / 3), "shape": np.array([-1, 1, latent_dim, 1])}
    graph = helper.make_graph(
        nodes,
        "generator",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", latent_dim])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, latent_dim, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def sessions(latent_dim, distribution="standard_normal"):
    model = sampler_of(generator(latent_dim), distribution)
    onnx.checker.check_model(model, full_check=True)
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", latent_dim]))
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


ODD, EVEN = sessions(7), sessions(100)
UNIFORM = {7: sessions(7, "uniform"), 100: sessions(100, "uniform")}


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_latents_are_the_same_in_onnx_tensorflow_and_numpy(seeds):
    seeds = np.array(seeds, np.int64)
    for latent_dim, session in ((7, ODD), (100, EVEN)):
        expected = latents(seeds, latent_dim)
        np.testing.assert_array_equal(session.run(["z"], {"seed": seeds})[0], expected)
        np.testing.assert_array_equal(tensorflow_latents(tf.constant(seeds), latent_dim), expected)


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_uniform_latents_are_the_same_too(seeds):
    seeds = np.array(seeds, np.int64)
    for latent_dim, session in UNIFORM.items():
        expected = latents(seeds, latent_dim, "uniform")
        np.testing.assert_array_equal(session.run(["z"], {"seed": seeds})[0], expected)
        np.testing.assert_array_equal(tensorflow_latents(tf.constant(seeds), latent_dim, "uniform"), expected)


@pytest.mark.parametrize("truncation", [None, 0.5, 0.0])
def test_pixels_and_truncation(truncation):
    seeds = np.arange(50)
    feeds = {"seed": seeds} | ({} if truncation is None else {"truncation": np.array(truncation, np.float32)})
    pixels, z = ODD.run(["pixels", "z"], feeds)
    expected = latents(seeds, 7) * np.float32(1 if truncation is None else truncation)
    np.testing.assert_array_equal(z, expected)
    np.testing.assert_array_equal(pixels, to_pixels(expected * np.float32(1 / 3)).reshape(50, 1, 7, 1))
    assert pixels.dtype == np.uint8


def every_pixel():
    """Images of all pairs of a colour and an alpha, float32 [256, 16, 16, 4], and of what lies between levels."""
    levels = np.arange(256)
    colour, alpha = (each.ravel() for each in np.meshgrid(levels, levels))
    exact = np.stack([colour, colour[::-1], alpha // 2, alpha], axis=-1) / 127.5 - 1
    between = np.random.default_rng(0).uniform(-1.1, 1.1, exact.shape)
    return np.concatenate([exact, between]).reshape(-1, 16, 16, 4).astype(np.float32)


@pytest.mark.parametrize("alpha", ["premultiplied", "straight"])
def test_pixels_with_alpha_are_the_same_in_onnx_tensorflow_and_numpy(alpha):
    images = every_pixel()
    table = numpy_helper.from_array(images, "table")
    nodes = [
        helper.make_node("Shape", ["z"], ["count"], start=0, end=1),
        helper.make_node("Squeeze", ["count"], ["last"]),
        helper.make_node("Range", ["zero", "last", "one"], ["places"]),
        helper.make_node("Gather", ["table", "places"], ["image"]),
    ]
    graph = helper.make_graph(
        nodes,
        "generator",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 16, 16, 4])],
        [table, *(numpy_helper.from_array(np.array(value), name) for name, value in (("zero", 0), ("one", 1)))],
    )
    generator = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model = sampler_of(generator, alpha=alpha)
    onnx.checker.check_model(model, full_check=True)
    expected = to_pixels(images, alpha)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(["pixels"], {"seed": np.arange(len(images))})[0], expected)
    np.testing.assert_array_equal(tensorflow_pixels(tf.constant(images), alpha), expected)
    (found,) = ReferenceEvaluator(model).run(["pixels"], {"seed": np.arange(len(images))})
    np.testing.assert_array_equal(found, expected)
