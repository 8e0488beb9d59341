"""Files of LiteRT, quantised ones among them."""

import numpy as np
import pytest
import tensorflow as tf

from export.rewrites.layouts import session_of
from pipeline.base.errors import MirageError
from pipeline.foreign.files import open_network
from pipeline.foreign.network import Opening
from tests import foreign_networks as made

pytestmark = pytest.mark.filterwarnings(
    "ignore:(?s).*tf.lite.Interpreter is deprecated", "ignore:Statistics for quantized"
)


def save(path, kind=None, io=None):
    converter = tf.lite.TFLiteConverter.from_keras_model(made.sequential())
    if kind:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        rng = np.random.default_rng(0)
        converter.representative_dataset = lambda: ([rng.standard_normal((1, 5)).astype(np.float32)] for _ in range(9))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if io:
        converter.inference_input_type = converter.inference_output_type = io
    path.write_bytes(converter.convert())
    return path


@pytest.mark.parametrize("kind", ["weights", "float16"])
def test_small_weights_become_floats(tmp_path, kind):
    network = open_network(save(tmp_path / "theirs.tflite", kind), Opening())
    (port,) = network.inputs
    z = np.random.default_rng(0).standard_normal([3, 5]).astype(np.float32)
    (image,) = network.run({port.name: z}).values()
    graph = network.graph()
    assert not [node for node in graph.graph.node if "Quantize" in node.op_type or "Dequantize" in node.op_type]
    (of_graph,) = session_of(graph).run(None, {port.name: z})
    np.testing.assert_allclose(of_graph, image, atol=0.02 if kind == "weights" else 1e-4)


@pytest.mark.parametrize("io", [None, tf.int8, tf.uint8])
def test_what_computes_with_integers_is_refused(tmp_path, io):
    with pytest.raises(MirageError, match=r"theirs.tflite computes with integers .*; adopt the network of floats"):
        open_network(save(tmp_path / "theirs.tflite", "int8", io), Opening())
