"""Finds out what the inputs and outputs of somebody's generator mean: seen in the file, measured, or asked for."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.adoption.analysis import classes_of, ends_in, range_of
from export.adoption.meaning import LAYOUTS, Asked, Label, Meaning
from export.conditions import conditions
from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.foreign.network import Foreign, Port
from serving.contract.latents import latents
from serving.contract.manifest import STRAIGHT

_LABEL = re.compile(r"label|class|cond|one.?hot|categor|(^|_)y($|_)", re.IGNORECASE)
_LATENT = re.compile(r"latent|noise|rand|seed|(^|_)z($|_)", re.IGNORECASE)
_MEASURED = 64
_CHANNELS = (1, 3, 4)
_MIN_SIDE = 5  # of a picture with an alpha channel: fewer columns than that are rather those of another layout
_SLACK = 0.02
# Latents of tutorials, some of which have the one-hot code of a digit behind them.
_USUAL_LATENTS, _USUAL_CLASSES = (32, 50, 62, 64, 100, 128, 256, 512), 10
_CLASSIFYING = ("Softmax", "LogSoftmax")


def understand(network: Foreign, graph: onnx.ModelProto, asked: Asked) -> tuple[Meaning, dict[str, str]]:
    """Finds out what inputs and outputs mean.

    Args:
      network: the generator.
      graph: the same as an ONNX graph.
      asked: what is known.

    Returns:
      (the meaning; how each part of it is known, in words, by the part).

    Raises:
      MirageError: if it is no generator, or something could mean several things: then the flag that says it is named.
    """
    how: dict[str, str] = {}
    ports = {port.name: port for port in network.inputs}
    constants = _constants(ports, asked, how)
    left = [port for port in network.inputs if port.name not in constants]
    latent, label_port = _roles(left, graph, asked, how)
    label = _label(label_port, graph, asked, how) if label_port else _joined(latent, asked, how)
    output = _output(network.outputs, asked, how)
    if ends_in(graph, output.name) in _CLASSIFYING:
        raise MirageError(f"this is no generator: its output {output} ends in a softmax, as those of classifiers do.")
    batches = {port.shape[0] for port in network.inputs if port.shape and port.shape[0] is not None}
    names = tuple(asked.class_names) or tuple(str(each) for each in range(label.classes if label else 0))
    draft = Meaning(
        latent=latent,
        distribution=asked.distribution,
        latent_shape=tuple(1 if size is None else size for size in latent.shape[1:]),
        label=label,
        constants=constants,
        batched=frozenset(name for name in constants if ports[name].shape[:1] == (None,)),
        output=output,
        layout="",
        image_shape=(1, 1, 1),
        value_range=(-1.0, 1.0),
        clipped=False,
        class_names=names,
        batch=max(batches) if batches else None,
        attributes=tuple(asked.attributes),
    )
    value = sample(network, draft)
    layout, image_shape = _picture(value.shape[1:], output, asked, how)
    alpha = (asked.alpha or STRAIGHT) if image_shape[2] == 4 else None
    if alpha is not None:
        how["alpha"] = "by --alpha" if asked.alpha else "as most are; --alpha=premultiplied says otherwise"
    if layout == "flat" and draft.latent_dim == math.prod(image_shape) and not asked.latent_input:
        raise MirageError(
            f"this looks like no generator: its input {latent} has as many values as its output {output}; pass "
            "--latent_input= if it is a latent nevertheless."
        )
    _check_same(sample(network, draft, 2), value[:2])
    value_range, clipped = _range(value, range_of(graph, output.name), asked, how)
    if draft.batch is not None:
        how["batch"] = f"{draft.batch} only in the source; any in the bundle"
    found = dataclasses.replace(draft, layout=layout, image_shape=image_shape, alpha=alpha)
    return dataclasses.replace(found, value_range=value_range, clipped=clipped), how


def _check_same(again: NDArray, before: NDArray) -> None:
    """Refuses a source whose pictures aren't functions of the latents; raises MirageError."""
    if not np.allclose(again, before, rtol=1e-3, atol=1e-3, equal_nan=True):
        raise MirageError(
            "the source makes another picture of the same latent each time, since it draws random numbers inside; save "
            "it with those turned off or made inputs."
        )


def sample(network: Foreign, meaning: Meaning, count: int = _MEASURED) -> NDArray:
    """Computes the source's output, as it is, of the latents of the seeds 0, 1, ..."""
    z = latents(np.arange(count), meaning.latent_dim, meaning.distribution)
    return raw(network, meaning, z, conditions(np.arange(count), meaning.info))


def raw(network: Foreign, meaning: Meaning, z: NDArray[np.float32], label: NDArray) -> NDArray:
    """Computes the source's output, in batches that it takes."""
    size = meaning.batch or len(z)
    parts = []
    for start in range(0, len(z), size):
        part = [values[start : start + size] for values in (z, label)]
        count = len(part[0])
        filled = [np.concatenate([each, np.repeat(each[-1:], size - count, axis=0)]) for each in part]
        try:
            result = network.run(meaning.feeds(*filled))[meaning.output.name]
        except Exception as error:  # of the source's framework
            reason = in_a_line(error, 300)
            raise MirageError(f"the source fails in {network.framework} ({reason}).") from error
        parts.append(np.asarray(result)[:count])
    return np.concatenate(parts)


def _constants(ports: Mapping[str, Port], asked: Asked, how: dict[str, str]) -> dict[str, NDArray]:
    found: dict[str, NDArray] = {}
    for name, value in asked.inputs.items():
        if name not in ports:
            raise MirageError(f"--input={name}={value:g} is no input; there are {', '.join(ports)}.")
        sizes = [1 if size is None else size for size in ports[name].shape]
        found[name] = np.full(sizes, value).astype(ports[name].dtype)
        how[f"input {name}"] = f"always {value:g}, by --input"
    for name, port in ports.items():
        if name not in found and port.dtype == "bool":
            found[name] = np.zeros([1 if size is None else size for size in port.shape], bool)
            how[f"input {name}"] = "always false: no training"
        elif name not in found and 0 in port.shape:
            found[name] = np.zeros([1 if size is None else size for size in port.shape], port.dtype)
            how[f"input {name}"] = "holds nothing"
    return found


def _roles(
    ports: Sequence[Port], graph: onnx.ModelProto, asked: Asked, how: dict[str, str]
) -> tuple[Port, Port | None]:
    """Finds the latent and the label among inputs."""
    by_name = {port.name: port for port in ports}
    for flag, name in (("latent_input", asked.latent_input), ("label_input", asked.label_input)):
        if name and name not in by_name:
            raise MirageError(f"--{flag}={name} is no input; there are {', '.join(map(str, ports))}.")
    for port in ports:
        if not port.shape and port.name not in (asked.latent_input, asked.label_input):
            raise MirageError(
                f"what the input {port} shall be can't be seen, a number for all pictures; pass "
                f"--input={port.name}=value."
            )
    left = list(ports)
    label = by_name.get(asked.label_input)
    latent = by_name.get(asked.latent_input)
    for port in left:
        if port not in (label, latent) and _looks_like_picture(port):
            raise MirageError(f"this is no generator: its input {port} is a picture.")
    others = [port for port in left if port not in (label, latent)]
    if label is None:
        sure = [port for port in others if _is_label(port, graph)]
        if len(sure) == 1 and len(others) + (latent is not None) > 1:
            label = sure[0]
            how["label"] = "looked up in a table" if classes_of(graph, label.name) else "integers, or by its name"
    others = [port for port in others if port is not label]
    if latent is None and len(others) == 1:
        latent = others.pop()
        how["latent"] = "the only input" if label is None else "the other input"
    if latent is None or others:
        listing = ", ".join(map(str, ports)) or "none"
        raise MirageError(
            f"which input is the latent can't be seen; there are {listing}: pass --latent_input=, and --label_input= "
            "for a class and --input=name=value for what stays the same."
        )
    if len(latent.shape) < 2:
        raise MirageError(f"the input {latent} is no latent, which would have sizes [N, z]; pass --latent_input=.")
    if not latent.dtype.startswith("float"):
        raise MirageError(f"the input {latent} is no latent, which would be of floats; pass --latent_input=.")
    how.setdefault("latent", "by --latent_input")
    if label is not None:
        how.setdefault("label", "by --label_input")
    return latent, label


def _looks_like_picture(port: Port) -> bool:
    sizes = [size or 64 for size in port.shape[1:]]
    return (
        port.dtype.startswith(("float", "uint8"))
        and len(sizes) == 3
        and (sizes[2] in (1, 3, 4) or sizes[0] in (1, 3, 4))
        and sorted(sizes)[1] > 4
    )


def _is_label(port: Port, graph: onnx.ModelProto) -> bool:
    width = port.shape[1] if len(port.shape) > 1 else 1
    if len(port.shape) > 2 or not port.shape:
        return False
    whole = port.dtype.startswith(("int", "uint"))
    if whole or classes_of(graph, port.name):
        return width == 1 or not classes_of(graph, port.name)
    return bool(_LABEL.search(port.name)) and not _LATENT.search(port.name)


def _joined(latent: Port, asked: Asked, how: dict[str, str]) -> Label | None:
    """Finds whether the latent's input ends with a one-hot code."""
    if asked.attributes:
        raise MirageError("--attributes is given, but no input takes them; leave it out, or pass --label_input=.")
    width = math.prod(1 if size is None else size for size in latent.shape[1:])
    classes = _told(asked)
    if not asked.classes:
        if asked.class_names:
            raise MirageError(
                "--class_names is given, but no input takes a label; leave it out, or pass --label_input=, or "
                "--classes= if the latent's input ends with their one-hot code."
            )
        if width - _USUAL_CLASSES in _USUAL_LATENTS:
            how["latent"] += (
                f"; if that is {width - _USUAL_CLASSES} and the one-hot code of {_USUAL_CLASSES} classes, pass "
                f"--classes={_USUAL_CLASSES}"
            )
        return None
    if classes >= width:
        raise MirageError(f"--classes={classes} leaves nothing of the input {latent} for the latent.")
    how["latent"] += f"; its first {width - classes} values"
    how["label"], how["classes"] = "one-hot, behind the latent", "by --classes"
    return Label(latent, "joined", classes)


def _told(asked: Asked) -> int:
    """How many classes there are by what the user says; 0 if that isn't said."""
    names = len(asked.class_names)
    if names and asked.classes and names != asked.classes:
        raise MirageError(f"--class_names has {names} names, but --classes={asked.classes}; they must agree.")
    return names or asked.classes


def _label(port: Port, graph: onnx.ModelProto, asked: Asked, how: dict[str, str]) -> Label:
    width = port.shape[1] if len(port.shape) > 1 else 1
    if count := len(asked.attributes):
        if len(port.shape) != 2 or width != count or not port.dtype.startswith("float"):
            raise MirageError(f"--attributes names {count}, but {port} doesn't take [N, {count}] floats.")
        return Label(port, "attributes", 0)
    form = "index" if len(port.shape) == 1 else "column" if width == 1 else "one_hot"
    seen = (width or 0) if form == "one_hot" else classes_of(graph, port.name)
    told = _told(asked)
    if not seen and not told:
        raise MirageError(
            f"how many classes {port} may have can't be seen; pass --classes=, or --class_names=, a name for each."
        )
    if told and seen and (told > seen or (form == "one_hot" and told != seen)):
        what = f"--class_names has {told} names" if asked.class_names else f"--classes={told}"
        raise MirageError(f"{what}, but {port} has {seen} classes.")
    if not asked.class_names:
        table = "width of the one-hot code" if form == "one_hot" else "rows of the table"
        how["classes"] = "by --classes" if told else table
    return Label(port, form, told or seen)


def _output(outputs: Sequence[Port], asked: Asked, how: dict[str, str]) -> Port:
    by_name = {port.name: port for port in outputs}
    if asked.output:
        if asked.output not in by_name:
            raise MirageError(f"--output={asked.output} is no output; there are {', '.join(map(str, outputs))}.")
        return by_name[asked.output]
    if len(outputs) == 1:
        return outputs[0]
    pictures = [port for port in outputs if _looks_like_picture(port)]
    if len(pictures) != 1:
        listing = ", ".join(map(str, outputs))
        raise MirageError(f"which output is the picture can't be seen; there are {listing}: pass --output=.")
    how["output"] = f"the only picture of {len(outputs)} outputs"
    return pictures[0]


def _picture(
    sizes: tuple[int, ...], output: Port, asked: Asked, how: dict[str, str]
) -> tuple[str, tuple[int, int, int]]:
    """Finds layout and shape of a picture."""
    shown = f"{output.name} [N, {', '.join(map(str, sizes))}]"
    fits = _layouts(sizes)
    if asked.alpha:
        fits = _layouts(sizes, (4,))
        if not fits:
            raise MirageError(f"--alpha={asked.alpha} goes with 4 channels, but the output is {shown}; leave it out.")
    elif not asked.layout and len(fits) > 1:
        fits = {each: shape for each, shape in fits.items() if shape[2] != 4 or min(shape[:2]) >= _MIN_SIDE}
    if asked.layout:
        if asked.layout not in fits:
            raise MirageError(f"--layout={asked.layout} does not go with the output {shown}; choose from {LAYOUTS}.")
        return asked.layout, fits[asked.layout]
    if not fits:
        raise MirageError(f"this is no generator of pictures: its output {shown} is none, of 1, 3 or 4 channels.")
    if len(fits) > 1:
        raise MirageError(f"the output {shown} could be {' or '.join(fits)}; pass --layout=.")
    ((layout, shape),) = fits.items()
    how["layout"] = layout
    return layout, shape


def _layouts(sizes: tuple[int, ...], allowed: Sequence[int] = _CHANNELS) -> dict[str, tuple[int, int, int]]:
    """Shapes that a picture may have, by how it may lie in memory; of flat ones, the first number of channels."""
    fits: dict[str, tuple[int, int, int]] = {}
    if len(sizes) == 3 and sizes[2] in allowed:
        fits["NHWC"] = (sizes[0], sizes[1], sizes[2])
    if len(sizes) == 3 and sizes[0] in allowed:
        fits["NCHW"] = (sizes[1], sizes[2], sizes[0])
    if len(sizes) == 2 and 1 in allowed:
        fits["NHW"] = (sizes[0], sizes[1], 1)
    if len(sizes) == 1:
        for channels in allowed:
            side = math.isqrt(sizes[0] // channels)
            if side > 1 and side * side * channels == sizes[0]:
                fits.setdefault("flat", (side, side, channels))
    return fits


def _range(
    value: NDArray, sure: tuple[float, float] | None, asked: Asked, how: dict[str, str]
) -> tuple[tuple[float, float], bool]:
    """Finds the range of values: (black and white, whether others must be clipped)."""
    if not np.isfinite(value).all():
        raise MirageError("the source makes NaN or Inf; it is not exported.")
    low, high = float(value.min()), float(value.max())
    measured = f"{low:.3g} to {high:.3g} in {len(value)} pictures"
    if asked.value_range is not None:
        black, white = asked.value_range
        how["range"] = f"by --value_range; {measured}"
        return asked.value_range, bool(low < black or high > white)
    if sure is not None:
        how["range"] = f"{sure[0]:g} to {sure[1]:g}, by its last layer; {measured}"
        return sure, False
    guesses: dict[tuple[float, float], Any] = {
        (0.0, 255.0): low >= -5 and 2 < high <= 270,
        (0.0, 1.0): low >= -_SLACK and 0.1 < high <= 1 + _SLACK,
        (-1.0, 1.0): -2 <= low < -_SLACK and high <= 2,
    }
    fits = [each for each, holds in guesses.items() if holds]
    if len(fits) != 1 or low == high:
        raise MirageError(
            f"its values are {measured}, so which are black and white can't be seen; pass --value_range=."
        )
    black, white = fits[0]
    how["range"] = f"{black:g} to {white:g}, as {measured}; others are clipped"
    return fits[0], True
