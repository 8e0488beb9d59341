"""Networks as Keras's configuration, from which they are built again without the code that made them.

A configuration is data: Keras's own layers and Mirage's are built from it, and of others the class is imported by its
name, if it is a layer. Python code is never taken out of it.
"""

import copy
import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from pipeline.base.errors import MirageError
from pipeline.base.failures import reason
from pipeline.base.objects import load_object

# Registers Mirage's layers by their names.
from pipeline.networks import (  # noqa: F401
    batch_norm,
    grouped,
    learned_basis,
    pretrained_maps,
    projection,
    resampling,
    spectral_norm,
)
from pipeline.networks.stylegan2 import equalised, modulated, statistics  # noqa: F401
from pipeline.networks.stylegan2 import resampling as filters  # noqa: F401

_KINDS = (keras.Operation, keras.Initializer, keras.Regularizer, keras.constraints.Constraint)
_OURS = "mirage>"


class NeedsCodeError(Exception):
    """A network can't be built from its configuration alone; the message says why."""


def own_layers(path: str) -> dict[str, type]:
    """Mirage's layers that a file may hold, by the names under which it knows them: none in one of Keras 2."""
    if not path.endswith(".keras"):
        return {}
    found = keras.saving.get_custom_objects().items()
    return {name.removeprefix(_OURS): kind for name, kind in found if name.startswith(_OURS)}


def configuration(model: keras.Model) -> dict[str, Any]:
    """Returns what a model is built from, as JSON types; it computes in float32 then.

    Args:
      model: made by `pipeline.networks.build`.

    Raises:
      NeedsCodeError: if it can't be built from that alone.
    """
    try:
        config = _in_float32(keras.saving.serialize_keras_object(model))
        parts = list(_parts(config))
        if any(part["class_name"] in ("Lambda", "__lambda__") for part in parts):
            raise NeedsCodeError("a Lambda is code; write a Layer class instead")
        for part in parts:
            if part["class_name"] == "function" and not _is_registered(str(part["config"])):
                raise NeedsCodeError(
                    f"the function {part['config']} is known to nobody; add "
                    "@keras.saving.register_keras_serializable() to it"
                )
            if _is_custom(part) and not part.get("module"):
                raise NeedsCodeError(f"{part['class_name']} is in no module; put it into one")
        if any(_is_custom(part) for part in parts):
            again = build(config, "network")
            if [v.shape for v in again.variables] != [v.shape for v in model.variables]:
                raise NeedsCodeError("built again, it has other weights; write get_config for its layers")
    except (NeedsCodeError, RecursionError):
        raise
    except MirageError as error:
        raise NeedsCodeError(str(error).rstrip(".")) from error
    except Exception as error:
        raise NeedsCodeError(reason(error)) from error
    return config


def build(config: Mapping[str, Any], name: str) -> keras.Model:
    """Builds a model from its configuration.

    Args:
      config: as `configuration` returns it, and maybe changed by anybody.
      name: what it is, for errors.

    Returns:
      The model, with weights of its own.

    Raises:
      MirageError: naming what can't be imported, or what is wrong.
    """
    custom = {}
    for part in _parts(config):
        if part["class_name"] in ("Lambda", "__lambda__"):
            raise MirageError(f"the {name} has a Lambda, which is code, and none is run that comes from a file.")
        if _is_custom(part):
            found = _imported(part, name)
            if found is not None:
                custom[part.get("registered_name") or part["class_name"]] = _maker(found)
    try:
        # Which takes out of it what it has read.
        model = keras.saving.deserialize_keras_object(copy.deepcopy(config), custom_objects=custom, safe_mode=True)
    except Exception as error:
        raise MirageError(f"the {name} can't be built from its configuration: {reason(error)}.") from error
    if not isinstance(model, keras.Model):
        raise MirageError(f"the {name}'s configuration is that of a {type(model).__name__}; expected a Keras model.")
    return model


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yields every object in a configuration."""
    if isinstance(value, Mapping):
        if isinstance(value.get("class_name"), str):
            yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _parts(each)


def _is_custom(part: Mapping[str, Any]) -> bool:
    """Whether an object is neither Keras's nor Mirage's."""
    if part["class_name"].startswith("__") or str(part.get("registered_name")).startswith(_OURS):
        return False
    package = str(part.get("module") or "").partition(".")[0]
    return package != "keras" and (package != "builtins" or ">" in str(part.get("config")))


def _is_registered(function: str) -> bool:
    return ">" in function or callable(getattr(keras.activations, function, None))


def _maker(found: Any) -> type:
    """Makes what builds a class that does not take what Keras gives to any layer, such as its name."""

    class Maker:
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            taken = inspect.signature(found.__init__).parameters.values()
            if any(each.kind is each.VAR_KEYWORD for each in taken) or "from_config" in vars(found):
                return found.from_config(config)
            names = {each.name for each in taken}
            left_out = {"name", "trainable", "dtype"} - names
            return found.from_config({name: value for name, value in config.items() if name not in left_out})

    return Maker


def _imported(part: Mapping[str, Any], name: str) -> Any:
    """Imports somebody's layer; None for a function, which its module registers."""
    module, kind = str(part.get("module")), str(part["class_name"])
    what = f"{module}.{part['config'] if kind == 'function' else kind}"
    try:
        if kind == "function":
            importlib.import_module(module)
            return None
        found = load_object(f"{module}:{kind}", "model")
    except (ImportError, MirageError) as error:
        raise MirageError(
            f"the run's {name} needs {what}, which can't be imported ({error}); install it, or run in the folder where "
            "its module lies."
        ) from None
    if not (isinstance(found, type) and issubclass(found, _KINDS)):
        raise MirageError(f"the run's {name} needs {what}, which is no layer; restore its configuration.")
    return found


def _in_float32(value: Any) -> Any:
    """The same where weights are float32 and computation, for speed, was something less."""
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy" and str(value["config"]["name"]).startswith("mixed_"):
            return {**value, "config": {**value["config"], "name": "float32"}}
        return {key: _in_float32(each) for key, each in value.items()}
    return [_in_float32(each) for each in value] if isinstance(value, list | tuple) else value
