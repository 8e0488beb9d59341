"""Seeds and pixels inside the model: `serving.contract.latents` and `.pixels` as ONNX graph and TensorFlow operations.

Integers and float64 as there, so that a seed gives the same latent, and the same picture, wherever the model runs.

A runtime that computes 64-bit integers in fewer bits, as OpenVINO does, would make another picture, and say nothing. So
the ONNX graph looks whether it can: there all pictures are black.
"""

import math

import numpy as np
import onnx
import tensorflow as tf
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from serving.contract.latents import PARITY, ROTATIONS, ROUNDS
from serving.contract.manifest import NORMAL, PREMULTIPLIED, UNIFORM

_HIGH = 2**60


class _Nodes:
    """Nodes and constants in the making; a call adds a node and returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"sampler_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, value: ArrayLike, dtype: type) -> str:
        name = f"sampler_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name


def _key(op: _Nodes, bits: str) -> tuple[str, str]:
    """The low and the high half of uint64 [N, 1], each uint32 [N, 1]."""
    high = op("BitShift", bits, op.constant(32, np.uint64), direction="RIGHT")
    return op("Cast", bits, to=TensorProto.UINT32), op("Cast", high, to=TensorProto.UINT32)


def _high_bit(op: _Nodes, bits: str) -> str:
    """A high bit of uint64 [N, 1], after it was set: float32 [N, 1], `_HIGH`; or at most 2^32 if cut to 32 bits."""
    bit = op.constant(_HIGH, np.uint64)
    return op("Cast", op("BitwiseAnd", op("BitwiseOr", bits, bit), bit), to=TensorProto.FLOAT)


def _threefry(op: _Nodes, key: tuple[str, str], pairs: int) -> tuple[str, str]:
    """Threefry-2x32-20 of counters (0 .. pairs - 1, 0); see `serving.contract.latents.threefry2x32`."""
    keys = [*key, op("BitwiseXor", op("BitwiseXor", *key), op.constant(PARITY, np.uint32))]
    x0 = op("Add", op.constant(np.arange(pairs)[None, :], np.uint32), keys[0])
    x1 = keys[1]
    for number in range(ROUNDS):
        x0 = op("Add", x0, x1)
        bits = ROTATIONS[number % 8]
        left = op("BitShift", x1, op.constant(bits, np.uint32), direction="LEFT")
        right = op("BitShift", x1, op.constant(32 - bits, np.uint32), direction="RIGHT")
        x1 = op("BitwiseXor", op("BitwiseOr", left, right), x0)
        if number % 4 == 3:
            injection = number // 4 + 1
            x0 = op("Add", x0, keys[injection % 3])
            x1 = op("Add", x1, op("Add", keys[(injection + 1) % 3], op.constant(injection, np.uint32)))
    return x0, x1


def _latents(op: _Nodes, bits: str, latent_dim: int, distribution: str) -> str:
    """Latents, float32 [N, latent_dim], of seeds as uint64 [N, 1]."""
    pairs, last = (latent_dim + 1) // 2, op.constant([2], np.int64)
    eight = op.constant(8, np.uint32)
    u1, u2 = (
        op("Cast", op("BitShift", x, eight, direction="RIGHT"), to=TensorProto.DOUBLE)
        for x in _threefry(op, _key(op, bits), pairs)
    )
    if distribution == UNIFORM:
        both = op("Concat", op("Unsqueeze", u1, last), op("Unsqueeze", u2, last), axis=2)
        both = op("Mul", op("Add", both, op.constant(0.5, np.float64)), op.constant(2.0**-23, np.float64))
        return _flat(op, op("Sub", both, op.constant(1.0, np.float64)), latent_dim)
    u1 = op("Mul", op("Add", u1, op.constant(0.5, np.float64)), op.constant(2.0**-24, np.float64))
    radius = op("Unsqueeze", op("Sqrt", op("Mul", op("Log", u1), op.constant(-2.0, np.float64))), last)
    # Multiplied by 2^-24 only here: powers of two change no rounding.
    turns = op("Add", op("Unsqueeze", u2, last), op.constant([0.25 * 2**24, 0.0], np.float64))
    return _flat(
        op, op("Mul", op("Sin", op("Mul", turns, op.constant(2 * math.pi * 2.0**-24, np.float64))), radius), latent_dim
    )


def _flat(op: _Nodes, both: str, latent_dim: int) -> str:
    """Latents of their components in pairs, float64 [N, pairs, 2]."""
    pairs = (latent_dim + 1) // 2
    z = op("Reshape", op("Cast", both, to=TensorProto.FLOAT), op.constant([-1, 2 * pairs], np.int64))
    if latent_dim % 2:
        z = op("Slice", z, *(op.constant([bound], np.int64) for bound in (0, latent_dim, 1)))
    return z


def _straight(op: _Nodes, levels: str) -> str:
    """Straight pixels of premultiplied ones, both uint8 [N, H, W, 4]; see `serving.contract.pixels.straight`."""
    wide = op("Cast", levels, to=TensorProto.INT32)
    bounds = [op.constant([bound], np.int64) for bound in (0, 3, 4)]
    last = op.constant([-1], np.int64)
    colour, alpha = (op("Slice", wide, *bounds[side : side + 2], last) for side in (0, 1))
    one, two, white = (op.constant(np.full((1, 1, 1, 1), value), np.int32) for value in (1, 2, 255))
    raised = op("Add", op("Mul", op("Min", colour, alpha), white), op("Div", alpha, two))
    both = op("Concat", op("Div", raised, op("Max", alpha, one)), alpha, axis=3)
    return op("Cast", both, to=TensorProto.UINT8)


def sampler_of(generator: onnx.ModelProto, distribution: str = NORMAL, alpha: str | None = None) -> onnx.ModelProto:
    """Puts seeds before a generator and pixels behind it.

    Args:
      generator: a model of `z` [N, latent_dim] and perhaps `label` or `attributes`, to `image` in [-1, 1]; with styles
        also of `truncation` [N] or [1].
      distribution: what its latents are drawn from.
      alpha: of four channels, what their colours are, as in `ModelInfo`.

    Returns:
      A model of `seed` int64 [N] and perhaps that, to `pixels` uint8 [N, H, W, C]. Latents are multiplied by
      `truncation`, a float32 scalar that may be left out and then is 1: with less, pictures are more usual and more
      alike. A generator that has such an input gets it, instead.
    """
    model = onnx.ModelProto()
    model.CopyFrom(generator)
    graph = model.graph
    latent_dim = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    op = _Nodes()
    bits = op("Cast", op("Unsqueeze", "seed", op.constant([1], np.int64)), to=TensorProto.UINT64)
    styled = any(each.name == "truncation" for each in graph.input)
    if styled:
        psi = op("Reshape", "truncation", op.constant([1], np.int64))
        for node in graph.node:
            node.input[:] = [psi if name == "truncation" else name for name in node.input]
        before = helper.make_node("Identity", [_latents(op, bits, latent_dim, distribution)], ["z"])
    else:
        before = helper.make_node("Mul", [_latents(op, bits, latent_dim, distribution), "truncation"], ["z"])
    before_nodes, op.nodes = [*op.nodes, before], list(op.nodes)
    count = len(op.nodes)
    # Of four axes: where a scalar meets grey pictures, whose last axis is 1, onnxruntime takes one value at a time.
    one, half = (op.constant(np.full((1, 1, 1, 1), value), np.float32) for value in (1, 127.5 / _HIGH))
    half = op("Mul", op("Unsqueeze", _high_bit(op, bits), op.constant([2, 3], np.int64)), half)
    raised = op("Mul", op("Add", "image", one), half)
    # Rounds half to even and clips, in one pass over the picture.
    unchanged = [op.constant(1, np.float32), op.constant(0, np.uint8)]
    pixels = op("QuantizeLinear", raised, *unchanged)
    if alpha == PREMULTIPLIED:
        pixels = _straight(op, pixels)
    op.nodes[-1].output[0] = "pixels"
    after_nodes = op.nodes[count:]
    nodes = [*before_nodes, *graph.node, *after_nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*op.constants, numpy_helper.from_array(np.float32(1), "truncation")])
    batch, *shape = ((dim.dim_param or dim.dim_value) for dim in graph.output[0].type.tensor_type.shape.dim)
    others = [each for each in list(graph.input)[1:] if each.name != "truncation"]
    del graph.input[:], graph.output[:]
    # An input that is also an initialiser may be left out.
    truncation = helper.make_tensor_value_info("truncation", TensorProto.FLOAT, [])
    graph.input.extend([helper.make_tensor_value_info("seed", TensorProto.INT64, [batch]), *others, truncation])
    graph.output.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, [batch, *shape]))
    graph.name = "sampler"
    return model


def tensorflow_latents(seeds: tf.Tensor, latent_dim: int, distribution: str = NORMAL) -> tf.Tensor:
    """Latents of seeds, as `serving.contract.latents.latents`.

    Args:
      seeds: int64 [N].
      latent_dim: components of each latent.
      distribution: what those are drawn from.

    Returns:
      float32 [N, latent_dim].
    """
    pairs = (latent_dim + 1) // 2
    bits = tf.bitcast(seeds, tf.uint64)[:, None]
    key = (
        tf.cast(bits & 0xFFFFFFFF, tf.uint32),
        tf.cast(tf.bitwise.right_shift(bits, tf.constant(32, tf.uint64)), tf.uint32),
    )
    keys = [*key, key[0] ^ key[1] ^ tf.constant(int(PARITY), tf.uint32)]
    x0 = tf.range(pairs, dtype=tf.int64)[None, :]
    x0 = tf.cast(x0, tf.uint32) + keys[0]
    x1 = tf.broadcast_to(keys[1], tf.shape(x0))
    for number in range(ROUNDS):
        x0 = x0 + x1
        bits_left = ROTATIONS[number % 8]
        left = tf.bitwise.left_shift(x1, tf.constant(bits_left, tf.uint32))
        x1 = (left | tf.bitwise.right_shift(x1, tf.constant(32 - bits_left, tf.uint32))) ^ x0
        if number % 4 == 3:
            injection = number // 4 + 1
            x0 = x0 + keys[injection % 3]
            x1 = x1 + keys[(injection + 1) % 3] + tf.constant(injection, tf.uint32)
    u1, u2 = (tf.cast(tf.bitwise.right_shift(x, tf.constant(8, tf.uint32)), tf.float64) for x in (x0, x1))
    if distribution == UNIFORM:
        both = tf.reshape((tf.stack([u1, u2], axis=-1) + 0.5) * 2.0**-23 - 1.0, [-1, 2 * pairs])
        return tf.cast(both[:, :latent_dim], tf.float32)
    radius = tf.sqrt(-2.0 * tf.math.log((u1 + 0.5) * 2.0**-24))
    angles = ((u2 * 2.0**-24)[..., None] + tf.constant([0.25, 0.0], tf.float64)) * (2 * math.pi)
    z = tf.reshape(tf.sin(angles) * radius[..., None], [-1, 2 * pairs])
    return tf.cast(z[:, :latent_dim], tf.float32)


def tensorflow_pixels(images: tf.Tensor, alpha: str | None = None) -> tf.Tensor:
    """Pixels of images, as `serving.contract.pixels.to_pixels`.

    Args:
      images: float32 [N, H, W, C] in [-1, 1].
      alpha: of four channels, what their colours are, as in `ModelInfo`.

    Returns:
      uint8 [N, H, W, C].
    """
    levels = tf.round(tf.clip_by_value((images + 1) * 127.5, 0, 255))
    if alpha == PREMULTIPLIED:
        wide = tf.cast(levels, tf.int32)
        colour, opacity = wide[..., :3], wide[..., 3:]
        colour = (255 * tf.minimum(colour, opacity) + opacity // 2) // tf.maximum(opacity, 1)
        levels = tf.concat([colour, opacity], axis=-1)
    return tf.cast(levels, tf.uint8)
