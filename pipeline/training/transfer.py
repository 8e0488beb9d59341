"""Begins a training with the weights of another, of a bundle or of a saved generator (`--init_from`)."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.files import sha256_of
from pipeline.data.spec import DataSpec
from pipeline.foreign.files import open_network
from pipeline.foreign.network import Opening
from pipeline.networks.options import NetworkOptions
from pipeline.networks.stored import own_layers
from pipeline.networks.stylegan2.equalised import EqualisedConv, EqualisedDense
from pipeline.networks.stylegan2.modulated import StyledConv, ToImage
from pipeline.runs.checkpoint import CHECKPOINT_DIR, read_newest
from pipeline.runs.checkpoint_files import STATE_FILE, step_of
from pipeline.runs.run_file import CONFIG_FILE, read_run
from pipeline.training.alignment import Facts, Weight, aligned, in_order
from pipeline.training.options import TrainingOptions
from pipeline.training.trainee import Trainee
from serving.contract.manifest import MANIFEST_FILE, BundleError, ModelInfo, read_manifest

_BUNDLED = "saved_model"
_EQUALISED = (EqualisedConv, EqualisedDense, StyledConv, ToImage)
_MOST_LINES = 8  # of a network's weights


@dataclasses.dataclass(frozen=True)
class Source:
    """What weights are taken from.

    Attributes:
      weights: of each network, by its name; `ema` is the average generator.
      facts: what the networks were made for.
      origin: what the run directory says of it: `name`, `sha256`, and of a run the `step`.
    """

    weights: Mapping[str, Sequence[Weight]]
    facts: Facts
    origin: Mapping[str, Any]


@dataclasses.dataclass
class Taken:
    """What became of one network: numbers of weights, and a line for each that isn't simply taken over."""

    network: str
    taken: int = 0
    resized: int = 0
    new: int = 0
    lines: list[str] = dataclasses.field(default_factory=list)


def take_over(
    trainee: Trainee, networks: NetworkOptions, training: TrainingOptions, data: DataSpec
) -> tuple[list[str], dict[str, Any]]:
    """Gives a training's networks the weights of `--init_from`, as far as they have equal names and shapes.

    Args:
      trainee: what is trained, as it was built.
      networks: what it was built by.
      training: whence, and how much of D is held still.
      data: what it is trained on.

    Returns:
      (lines that say what was taken, what the run directory notes of it).

    Raises:
      MirageError: if the source can't be read or nothing of it fits; then nothing has changed.
    """
    source = read_source(Path(training.init_from))
    to = Facts(data.image_shape[2], _labels(data) if networks.conditional else (), networks.latent_dim)
    models = {**trainee.networks, **({"ema": trainee.ema} if trainee.ema is not None else {})}
    found, rows = [], []
    for name, model in models.items():
        theirs = source.weights.get(name) or (source.weights.get("generator", ()) if name == "ema" else ())
        row, values = _matched(name, model, theirs, to, source.facts)
        rows.append(row)
        found += values
    if not any(value.ndim > 1 for _, value in found):  # biases alone are of equal shapes everywhere
        raise MirageError(
            f"--init_from={training.init_from} has no weight of the name and shape of any of these networks' "
            f"(--model={networks.model} at {data.image_shape[0]}x{data.image_shape[1]}); pass a source of the same "
            "architecture and width, or leave --init_from out."
        )
    taken = {id(variable) for variable, _ in found}
    layers = trainee.networks["discriminator"]._flatten_layers(include_self=False) if training.freeze_d else []
    if any(id(variable) not in taken for layer in layers if not layer.trainable for variable in layer.variables):
        raise MirageError(
            f"--freeze_d={training.freeze_d} holds layers still that --init_from={training.init_from} has no weights "
            "for; pass the run directory of a training of the same discriminator, or --freeze_d=0."
        )
    for variable, value in found:
        variable.value.assign(value)
    counts = {row.network: {"taken": row.taken, "resized": row.resized, "new": row.new} for row in rows}
    return _table(source, rows), {**source.origin, "weights": counts}


def read_source(path: Path) -> Source:
    """Reads a run directory, a bundle, or a generator that anything has saved.

    Raises:
      MirageError: if it is none of them, or can't be read.
    """
    if (path / CONFIG_FILE).exists() and (path / CHECKPOINT_DIR).exists():
        return _of_run(path)
    if (path / MANIFEST_FILE).exists():
        return _of_bundle(path)
    if not path.exists():
        raise MirageError(f"--init_from={path} is not there; pass a run directory, a bundle, or a saved generator.")
    weights, channels, latent = _opened(path)
    return Source({"generator": weights}, Facts(channels, (), latent), {"name": path.name, "sha256": sha256_of(path)})


def _of_run(path: Path) -> Source:
    config, data = read_run(path)
    checkpoint, arrays = read_newest(path)
    networks = dict.fromkeys(name.partition(".")[0] for name in arrays if "." in name)
    weights = {name: in_order(arrays, name) for name in networks if name != "optimizer"}
    facts = Facts(data.image_shape[2], _labels(data) if config.conditional else (), config.latent_dim)
    origin = {"name": path.name, "sha256": sha256_of(checkpoint / STATE_FILE), "step": step_of(checkpoint)}
    return Source(weights, facts, origin)


def _of_bundle(path: Path) -> Source:
    try:
        info = read_manifest(path).model
    except BundleError as error:
        raise MirageError(f"--init_from={path}: {error}") from None
    if not (path / _BUNDLED).exists():
        raise MirageError(
            f"--init_from={path} is a bundle without a SavedModel, whose ONNX files hold no weights to train on; "
            "export it with saved_model among its --formats, or pass the run directory."
        )
    weights, _, _ = _opened(path / _BUNDLED)
    facts = Facts(info.image_shape[2], _labels(info), info.latent_dim)
    return Source({"generator": weights}, facts, {"name": path.name, "sha256": sha256_of(path / _BUNDLED)})


def _labels(of: DataSpec | ModelInfo) -> tuple[str, ...]:
    return of.class_names or tuple(each.name for each in of.attributes)


def _opened(path: Path) -> tuple[list[Weight], int, int]:
    """Opens a generator; returns (weights, channels of its images, components of its latent)."""
    network = open_network(path, Opening(custom_objects=own_layers(str(path))))
    if not network.variables:
        raise MirageError(
            f"--init_from={path} is {network.kind}, which holds no weights to train on; pass the .keras, .h5 or "
            "SavedModel that it was made of."
        )
    weights = [
        Weight(variable.name.rpartition("/")[2].partition(":")[0], np.asarray(variable.numpy()))
        for variable in network.variables
    ]
    channels, latent = network.outputs[0].shape[-1] or 0, network.inputs[0].shape[-1] or 0
    return weights, channels, latent


def _matched(
    name: str, model: keras.Model, theirs: Sequence[Weight], to: Facts, of: Facts
) -> tuple[Taken, list[tuple[Any, np.ndarray]]]:
    """Finds what a network takes over: a count, and (variable, value) of each weight."""
    variables = [v for v in model.variables if keras.backend.is_float_dtype(v.dtype)]
    equalised = {
        id(v) for layer in model._flatten_layers() if isinstance(layer, _EQUALISED) for v in layer.trainable_variables
    }
    ours = [Weight(v.name, np.asarray(v), id(v) in equalised and len(v.shape) > 1) for v in variables]
    generates = name in ("generator", "ema")
    found = aligned(ours, theirs, to, of, makes_images=generates)
    row, values = Taken(name), []
    for place, (variable, weight) in enumerate(zip(variables, ours, strict=True)):
        value, changed = found.get(place, (None, False))
        row.taken += value is not None and not changed
        row.resized += changed
        row.new += value is None
        if value is None or changed:
            row.lines.append(f"{'resized' if changed else 'new'}: {variable.path} {list(weight.value.shape)}")
        if value is not None:
            values.append((variable, value))
    return row, values


def _table(source: Source, rows: Sequence[Taken]) -> list[str]:
    step = f", step {source.origin['step']:,}" if "step" in source.origin else ""
    lines = [f"Weights from {source.origin['name']}{step}:", f"{'network':<16}{'taken':>8}{'resized':>9}{'new':>6}"]
    lines += [f"{row.network:<16}{row.taken:>8}{row.resized:>9}{row.new:>6}" for row in rows]
    for row in rows:
        told = [] if row.network == "ema" else [f"  {row.network}, {line}" for line in row.lines]
        more = len(told) - _MOST_LINES
        lines += told[:_MOST_LINES] + ([f"  {row.network}, and {more} more"] if more > 0 else [])
    return lines
