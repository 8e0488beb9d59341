"""Ways to run one generator on a CPU, all of which make the same uint8 pictures from the same latents."""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf

from export.conversion import convert
from export.formats.saved_model import write_saved_model
from export.onnx_export import example_feeds, explained, write_onnx
from export.quantize import quantize
from export.rewrites.layouts import Feeds, choose, forms_of
from export.run_source import RunSource
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.training.configured import networks_of
from serving.contract.pixels import to_pixels
from serving.generator import Generator
from serving.runtime import ort

_SHAPES = {"dcgan64": (64, 64, 3)}
Call = Callable[[], np.ndarray]


def with_statistics(model: keras.Model, seed: int = 0) -> None:
    """Gives an untrained generator batch norms whose statistics matter, and residual blocks that do something."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        elif variable.name in ("beta", "mean", "moving_mean"):
            variable.assign(0.3 * rng.standard_normal(variable.shape))
        elif variable.name == "kernel" and not np.any(variable):  # the end of a residual block
            variable.assign(0.05 * rng.standard_normal(variable.shape))
        elif variable.name == "noise_strength":
            variable.assign(rng.uniform(0.1, 0.5))


def untrained(network: str) -> RunSource:
    """An untrained generator of digits, or of 64-pixel colour pictures."""
    names = tuple(str(digit) for digit in range(10))
    return source_of(network, _SHAPES.get(network, (28, 28, 1)), names, model=network.rstrip("0123456789"))


def source_of(name: str, image_shape: tuple[int, int, int], class_names: tuple[str, ...], **settings: Any) -> RunSource:
    """An untrained generator.

    Args:
      name: of its data.
      image_shape: of its pictures, (H, W, C).
      class_names: its classes, if it has labels.
      **settings: fields of `Config`.
    """
    config = Config(conditional=bool(class_names), **settings)
    data = DataSpec(name, "", image_shape, class_names, 1)
    keras.utils.set_random_seed(0)
    model = networks_of(config, data)["generator"]
    with_statistics(model)
    return RunSource(Path(), config, data, model, 0)


@dataclasses.dataclass(frozen=True)
class Sides:
    """Functions by name that take a batch size and return a call to time.

    Attributes:
      makers: the sides.
      bytes: sizes of the ONNX files.
    """

    makers: Mapping[str, Callable[[int], Call]]
    bytes: Mapping[str, int]


def sides(source: RunSource, threads: int) -> Sides:
    """Builds all sides that live in this environment; TensorFlow's threads must have been set before.

    Args:
      source: the generator.
      threads: CPU threads of each.
    """
    feeds = example_feeds(source.info)
    with tempfile.TemporaryDirectory(prefix="mirage-edge-") as parent:
        folder = Path(parent)
        _write_files(folder, source, feeds)
        makers = {
            "Mirage": _of_generator(folder / "float32.onnx", feeds, threads),
            "Mirage int8": _of_generator(folder / "int8.onnx", feeds, threads),
            "tf2onnx": _of_session(folder / "tf2onnx.onnx", feeds, threads),
            "Keras export": _of_session(folder / "keras.onnx", feeds, threads),
            "TensorFlow": _of_tensorflow(folder / "saved_model", feeds),
        }
        sizes = {name: (folder / f"{name}.onnx").stat().st_size for name in ("float32", "int8", "tf2onnx", "keras")}
    return Sides(makers, sizes)


def _write_files(folder: Path, source: RunSource, feeds: Feeds) -> None:
    info = source.info
    plain = convert(source.model, info)
    forms = forms_of(plain)
    form, _ = choose(forms, feeds, "measured")
    facts = {"producer": "benchmark", "dataset": "none"}
    for name, model in (("float32", forms[form]), ("int8", quantize(forms["phases"], feeds))):
        write_onnx(explained(model, info, facts), folder / f"{name}.onnx")
    onnx.save(plain, folder / "tf2onnx.onnx")
    source.model.export(folder / "keras.onnx", format="onnx", verbose=False)
    write_saved_model(source.model, info, folder / "saved_model")


def _of_generator(path: Path, feeds: Feeds, threads: int) -> Callable[[int], Call]:
    generator = Generator.load(path, threads=threads)

    def make(count: int) -> Call:
        inputs = feeds(count)
        return lambda: generator.decode(inputs["z"], inputs["label"])

    return make


def plain_session(path: Path, threads: int) -> ort.InferenceSession:
    """Loads an ONNX file as it is."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # As Generator does; threads that spin after a call would take the CPU from the side whose turn is next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _of_session(path: Path, feeds: Feeds, threads: int) -> Callable[[int], Call]:
    session = plain_session(path, threads)
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    types = {value.name: kinds[value.type] for value in session.get_inputs()}

    def make(count: int) -> Call:
        values = feeds(count)
        given = {
            name: (values["z"] if kind is np.float32 else values["label"]).astype(kind) for name, kind in types.items()
        }
        return lambda: to_pixels(session.run(None, given)[0])

    return make


def _of_tensorflow(folder: Path, feeds: Feeds) -> Callable[[int], Call]:
    loaded = tf.saved_model.load(str(folder))

    def make(count: int) -> Call:
        signature = loaded.signatures["serving_default"]
        given = {name: tf.constant(values) for name, values in feeds(count).items()}
        return lambda: to_pixels(signature(**given)["image"].numpy())

    return make
