"""The flags of `python -m export --generator`: how a file is opened, and what is known of its inputs and outputs."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from export.adoption.meaning import LAYOUTS, Asked
from pipeline.base.errors import MirageError
from pipeline.base.failures import reason
from pipeline.base.objects import load_object
from pipeline.foreign.network import Opening
from serving.contract.attributes import BINARY, NUMBER, Attribute
from serving.contract.manifest import NORMAL, PREMULTIPLIED, STRAIGHT, UNIFORM

# Of no use without --generator.
_NAMES: tuple[str, ...] = (
    "trust",
    "custom_objects",
    "model",
    "signature",
    "latent_input",
    "latent",
    "label_input",
    "classes",
    "input",
)
_NAMES += ("attributes", "output", "alpha", "value_range", "class_names", "license")


def define_flags(values: flags.FlagValues) -> None:
    """Adds the flags that go with --generator to `values`."""

    def text(name: str, help_text: str) -> None:
        flags.DEFINE_string(name, "", f"of --generator: {help_text}", flag_values=values)

    flags.DEFINE_bool(
        "trust", False, "of --generator: run code that the file holds, such as Lambda layers.", flag_values=values
    )
    text("custom_objects", "a module, or several joined by commas, with layers that the file names but Keras lacks.")
    text("model", "module:function that makes the network, for a file that holds weights only.")
    text("signature", "which signature of a SavedModel; left out: the only one, or serving_default.")
    text("latent_input", "name of the input that is the latent, where that can't be seen.")
    flags.DEFINE_enum(
        "latent",
        "normal",
        ["normal", "uniform"],
        "of --generator: what it was trained with: standard normal latents, or uniform ones from -1 to 1.",
        flag_values=values,
    )
    text("label_input", "name of the input that is the class, where that can't be seen.")
    flags.DEFINE_multi_string(
        "input",
        [],
        "of --generator: name=value of another input, which stays so; may be given again.",
        flag_values=values,
    )
    text("output", "name of the output that is the picture, of several.")
    flags.DEFINE_enum(
        "alpha",
        STRAIGHT,
        [STRAIGHT, PREMULTIPLIED],
        "of --generator with pictures of four channels: whether colours are multiplied by alpha, the fourth, already.",
        flag_values=values,
    )
    text("value_range", "the values of black and white, such as -1,1 or 0,255; left out: seen or measured.")
    flags.DEFINE_integer(
        "classes",
        0,
        "of --generator: how many classes there are, where that can't be seen; where no input takes a class, its "
        "one-hot code is then what the latent's input ends with, as in latents of 128 + 10 values.",
        lower_bound=0,
        flag_values=values,
    )
    text("class_names", "one per class, joined by commas; left out: 0, 1, 2, ...")
    text(
        "attributes",
        "what the numbers are that the input for labels takes, in order, joined by commas: a name of what is 0 or 1, "
        "name:low:high, or name:low:high:typical, such as smiling,age:16:80:30.",
    )
    text("license", "under which the generator may be used, for its card, such as CC-BY-4.0.")


def given(values: flags.FlagValues) -> tuple[Opening, Asked]:
    """Reads the flags.

    Raises:
      MirageError: for a value that can't be, or for such a flag without --generator.
    """
    if not values.generator:
        wrong = [name for name in _NAMES if values[name].present]
        if wrong:
            raise MirageError(f"--{wrong[0]} goes with --generator only; leave it out.")
        return Opening(), Asked()
    if values["run_dir"].present:
        raise MirageError("--run_dir and --generator are two things to export; pass one of them.")
    from pipeline.networks.stored import own_layers

    opening = Opening(
        trust=values.trust,
        custom_objects=own_layers(values.generator) | _custom_objects(values.custom_objects),
        build=load_object(values.model, "model") if values.model else None,
        signature=values.signature,
    )
    names = [name.strip() for name in values.class_names.split(",")] if values.class_names else []
    if len(set(names)) != len(names) or "" in names:
        raise MirageError(
            f"--class_names={values.class_names} has an empty name, or one twice; expected a name per class."
        )
    attributes = _attributes(values.attributes) if values.attributes else ()
    if attributes and (names or values.classes):
        raise MirageError("--attributes and classes are two things that a label may be; pass one of them.")
    asked = Asked(
        latent_input=values.latent_input,
        distribution={"normal": NORMAL, "uniform": UNIFORM}[values.latent],
        label_input=values.label_input,
        class_names=names,
        classes=values.classes,
        inputs=dict(_named(each) for each in values.input),
        output=values.output,
        alpha=values.alpha if values["alpha"].present else "",
        attributes=attributes,
        value_range=_range(values.value_range) if values.value_range else None,
    )
    return opening, asked


def split_layout(given_layouts: Sequence[str], asked: Asked, forms: Sequence[str], default: str) -> tuple[str, Asked]:
    """Tells the two meanings of --layout apart: (form of graphs, or its default; what is known, and how pictures lie).

    Raises:
      MirageError: for a word that is neither.
    """
    form = default
    for word in given_layouts:
        if word in forms:
            form = word
        elif word in LAYOUTS:
            asked = dataclasses.replace(asked, layout=word)
        else:
            raise MirageError(f"--layout={word} is not known; choose from {', '.join([*forms, *LAYOUTS])}.")
    return form, asked


def _named(text: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    try:
        if not (name and equals):
            raise ValueError
        return name, float(value)
    except ValueError:
        raise MirageError(f"--input={text} can't be read; expected name=value with a number.") from None


def _attributes(text: str) -> tuple[Attribute, ...]:
    """Reads `smiling,age:16:80`; of a binary attribute 0 is typical, of a number the middle, unless it is said."""
    found = []
    for part in text.split(","):
        name, *numbers = part.split(":")
        try:
            if not numbers:
                found.append(Attribute(name, BINARY, 0, 1, 0))
                continue
            low, high, *typical = map(float, numbers)
            found.append(Attribute(name, NUMBER, low, high, *(typical or [(low + high) / 2])))
        except (ValueError, TypeError):
            raise MirageError(
                f"--attributes={part} can't be read; expected a name, name:low:high or name:low:high:typical."
            ) from None
    if len({each.name for each in found}) != len(found):
        raise MirageError(f"--attributes={text} has a name twice; expected each once.")
    return tuple(found)


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(each) for each in text.split(","))
        if not low < high:
            raise ValueError
        return low, high
    except ValueError:
        raise MirageError(f"--value_range={text} can't be read; expected black,white, such as -1,1.") from None


def _custom_objects(modules: str) -> dict[str, Any]:
    """Imports modules, and finds what is defined in them or beside them in their packages."""
    found: dict[str, Any] = {}
    for name in filter(None, (each.strip() for each in modules.split(","))):
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            module = importlib.import_module(name)
        except Exception as error:  # whatever the module does
            raise MirageError(f"--custom_objects={name} can't be imported: {reason(error)}; mend it.") from None
        package = name.partition(".")[0]
        found |= {
            key: value
            for key, value in vars(module).items()
            if callable(value) and str(getattr(value, "__module__", "")).partition(".")[0] == package
        }
    return found
