"""Tiny bundles made without TensorFlow."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.contract.attributes import Attribute
from serving.contract.manifest import METADATA_KEY, ModelInfo, sha256
from serving.contract.onnx_file import seal

UNCONDITIONAL = ModelInfo(5, (8, 8, 3), False, ())
CONDITIONAL = ModelInfo(6, (8, 8, 1), True, ("cat", "dog", "owl"))
FACES = ModelInfo(
    6,
    (8, 8, 1),
    True,
    (),
    attributes=(
        Attribute("male", "binary", 0, 1, 0),
        Attribute("smiling", "binary", 0, 1, 1),
        Attribute("age", "number", 16, 80, 41.5),
    ),
)
STYLED = ModelInfo(5, (8, 8, 1), True, ("cat", "dog", "owl"), styles=(4, 3))
TRANSPARENT = ModelInfo(5, (8, 12, 4), True, ("sun", "moon"), alpha="premultiplied")


def build(info: ModelInfo, *, fixed_batch: bool = False) -> onnx.ModelProto:
    """A dense layer, a transposed convolution and tanh; labels, or each attribute, shift the brightness."""
    rng = np.random.default_rng(0)
    height, width, channels = info.image_shape
    batch = 4 if fixed_batch else "N"

    def constant(name: str, value: np.ndarray) -> onnx.TensorProto:
        return numpy_helper.from_array(value, name)

    constants = [
        constant("w", rng.standard_normal((info.latent_dim, 4 * height * width // 4)).astype(np.float32)),
        constant("small", np.array([-1, 4, height // 2, width // 2])),
        constant("kernel", 0.5 * rng.standard_normal((4, channels, 4, 4)).astype(np.float32)),
    ]
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["dense"]),
        helper.make_node("Reshape", ["dense", "small"], ["planes"]),
        helper.make_node("ConvTranspose", ["planes", "kernel"], ["large"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["large"], ["nhwc"], perm=[0, 2, 3, 1]),
    ]
    inputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, info.latent_dim])]
    last = "nhwc"
    if info.conditional:
        constants.append(constant("column", np.array([-1, 1, 1, 1])))
        if count := len(info.attributes):
            inputs.append(helper.make_tensor_value_info("attributes", TensorProto.FLOAT, [batch, count]))
            spans = [each.high - each.low for each in info.attributes]
            constants.append(constant("weights", np.array([[0.5 / span] for span in spans], np.float32)))
            nodes.append(helper.make_node("MatMul", ["attributes", "weights"], ["level"]))
        else:
            inputs.append(helper.make_tensor_value_info("label", TensorProto.INT64, [batch]))
            nodes.append(helper.make_node("Cast", ["label"], ["level"], to=TensorProto.FLOAT))
        nodes += [
            helper.make_node("Reshape", ["level", "column"], ["shift"]),
            helper.make_node("Add", [last, "shift"], ["shifted"]),
        ]
        last = "shifted"
    nodes.append(helper.make_node("Tanh", [last], ["image"]))
    output = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, *info.image_shape])
    graph = helper.make_graph(nodes, "generator", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(info.to_dict())})
    return model


def build_styled(info: ModelInfo, *, kept: str = "", given: str = "") -> onnx.ModelProto:
    """A mapping of a dense layer and tanh, and a synthesis that adds up what each layer's style makes.

    Args:
      info: its description.
      kept: "mapping" or "synthesis", to get that part alone.
      given: description in the file, if it is another.
    """
    rng = np.random.default_rng(1)
    layers, width = info.styles
    size = int(np.prod(info.image_shape))
    values = {
        "dense": rng.standard_normal((info.latent_dim, width)),
        "classes": rng.standard_normal((len(info.class_names), width)),
        "mean": rng.standard_normal((1, width)),
        "one": np.ones(()),
        "planes": 0.3 * rng.standard_normal((layers * width, size)),
        "truncation": np.ones(1),
    }
    places = {"after": [1], "last": [1, 2], "copies": [1, layers, 1], "flat": [-1, layers * width]}
    mapping = [
        helper.make_node("MatMul", ["z", "dense"], ["product"]),
        helper.make_node("Gather", ["classes", "label"], ["row"]),
        helper.make_node("Add", ["product", "row"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["style"]),
        helper.make_node("Unsqueeze", ["style", "after"], ["single"]),
        helper.make_node("Tile", ["single", "copies"], ["every"]),
        helper.make_node("Unsqueeze", ["truncation", "last"], ["psi"]),
        helper.make_node("Mul", ["psi", "every"], ["near"]),
        helper.make_node("Sub", ["one", "psi"], ["rest"]),
        helper.make_node("Mul", ["rest", "mean"], ["far"]),
        helper.make_node("Add", ["near", "far"], ["w"]),
    ]
    synthesis = [
        helper.make_node("Reshape", ["w", "flat"], ["joined"]),
        helper.make_node("MatMul", ["joined", "planes"], ["values"]),
        helper.make_node("Reshape", ["values", "picture"], ["large"]),
        helper.make_node("Tanh", ["large"], ["image"]),
    ]
    nodes = {"mapping": mapping, "synthesis": synthesis}.get(kept, [*mapping, *synthesis])
    used = {name for node in nodes for name in node.input}
    constants = {name: np.float32(value) for name, value in values.items()}
    constants |= {name: np.array(value) for name, value in {**places, "picture": [-1, *info.image_shape]}.items()}
    w = helper.make_tensor_value_info("w", TensorProto.FLOAT, ["N", layers, width])
    inputs = [
        helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", info.latent_dim]),
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("truncation", TensorProto.FLOAT, ["T"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *info.image_shape])
    graph = helper.make_graph(
        nodes,
        kept or "generator",
        [w] if kept == "synthesis" else inputs,
        [w] if kept == "mapping" else [image],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: given or json.dumps(info.to_dict())})
    return model


def write_styled(folder: Path, info: ModelInfo = STYLED, **parts: onnx.ModelProto) -> Path:
    """Writes a bundle with mapping and synthesis; `parts` replace them."""
    write(folder, info, build_styled(info))
    document = json.loads((folder / "manifest.json").read_text())
    for name in ("mapping", "synthesis"):
        path = folder / f"{name}.onnx"
        path.write_bytes(seal((parts.get(name) or build_styled(info, kept=name)).SerializeToString()))
        document["files"][path.name] = {"sha256": sha256(path)}
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


def write(folder: Path, info: ModelInfo, model: onnx.ModelProto) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "generator.onnx").write_bytes(seal(model.SerializeToString()))
    document = {
        "format": "mirage-bundle",
        "format_version": 1,
        "producer": "test",
        "model": info.to_dict(),
        "files": {"generator.onnx": {"sha256": sha256(folder / "generator.onnx")}},
    }
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def write_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes a bundle for a description, or for a given model."""

    def write_bundle(info: ModelInfo, model: onnx.ModelProto | None = None) -> Path:
        return write(tmp_path / "bundle", info, model or build(info))

    return write_bundle


@pytest.fixture
def build_model() -> Callable[..., onnx.ModelProto]:
    """Returns `build`."""
    return build


@pytest.fixture
def unconditional() -> ModelInfo:
    """An unconditional generator of 8x8 colour images."""
    return UNCONDITIONAL


@pytest.fixture
def conditional() -> ModelInfo:
    """A conditional generator of 8x8 grey images of three classes."""
    return CONDITIONAL


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional bundle that all tests share and none changes."""
    return write(tmp_path_factory.mktemp("session") / "digits", CONDITIONAL, build(CONDITIONAL))


@pytest.fixture(scope="session")
def flags_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unconditional bundle that all tests share and none changes."""
    return write(tmp_path_factory.mktemp("session") / "flags", UNCONDITIONAL, build(UNCONDITIONAL))


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of grey pictures of three attributes that all tests share and none changes."""
    return write(tmp_path_factory.mktemp("session") / "faces", FACES, build(FACES))


@pytest.fixture(scope="session")
def icons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional bundle of RGBA pictures, 8 high and 12 wide, that all tests share and none changes."""
    return write(tmp_path_factory.mktemp("session") / "icons", TRANSPARENT, build(TRANSPARENT))


@pytest.fixture(scope="session")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional bundle of mapping and synthesis that all tests share and none changes."""
    return write_styled(tmp_path_factory.mktemp("session") / "styled")
