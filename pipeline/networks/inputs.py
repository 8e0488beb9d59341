"""Feeds somebody's model by the names of what it takes, in whatever order and form that is."""

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.base.failures import reason
from serving.contract.attributes import Attribute


@dataclasses.dataclass(frozen=True)
class Given:
    """What a network is given.

    Attributes:
      name: of the input.
      shape: of one sample; None where any number will do.
      dtype: its type.
      classes: of labels that say one of several classes, their number.
      optional: whether a network may do without.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    classes: int = 0
    optional: bool = False

    def described(self) -> str:
        """Says what it is, such as `z [N, 100]`."""
        size = ", ".join(["N", *("M" if size is None else str(size) for size in self.shape)])
        return f"{self.name} {'float32 ' * self.numbers}[{size}]"

    @property
    def numbers(self) -> bool:
        """Whether these are labels that are attributes, which whole numbers can't hold."""
        return self.name == "label" and not self.classes

    def takes(self, tensor: Any) -> bool:
        """Whether an input can be fed with this."""
        shape = tuple(tensor.shape[1:])
        if self.numbers:
            return keras.backend.is_float_dtype(tensor.dtype) and shape in (self.shape, *([()] * (self.shape == (1,))))
        if self.classes:
            return shape in ((), (1,), (self.classes,))
        return len(shape) == len(self.shape) and all(
            a == b or a is None or b is None for a, b in zip(shape, self.shape, strict=True)
        )


def label_given(num_classes: int, attributes: Sequence[Attribute] = ()) -> Given | None:
    """What conditional networks are given beside others: one of K classes, or attributes; None if nothing."""
    if attributes:
        return Given("label", (len(attributes),))
    return Given("label", (), "int32", num_classes) if num_classes else None


def fed(model: keras.Model, name: str, given: Sequence[Given], remedy: str) -> tuple[list[Any], Any]:
    """Calls a model.

    Args:
      model: of any kind, built or not.
      name: what it is, for errors.
      given: what it is given.
      remedy: what decides the sizes, for errors.

    Returns:
      (inputs in the order of `given`, without those that it does without; outputs). They are the model's own if it
      takes just those.

    Raises:
      MirageError: if it takes something else.
    """
    if not getattr(model, "inputs", None):
        return _call(model, name, given)
    own = list(model.inputs)
    fixed = [each.shape[0] for each in own if each.shape[0] is not None]
    if fixed:
        raise MirageError(f"the {name} takes batches of {fixed[0]} alone; leave batch_size out of its Input.")
    places = _matched(own, given)
    missing = [each for each in given if each.name not in places and not each.optional]
    if missing or len(places) != len(own):
        takes = ", ".join(f"{each.name} [{', '.join(['N', *map(str, each.shape[1:])])}]" for each in own)
        raise MirageError(
            f"the {name} takes {takes}; expected {' and '.join(each.described() for each in given)}, inputs of these "
            f"names ({remedy}{_of_labels(given, places, own)})."
        )
    used = [each for each in given if each.name in places]
    ordered = [places[each.name] for each in used]
    if ordered == list(range(len(own))) and all(_as_given(own[i], each) for i, each in zip(ordered, used, strict=True)):
        return own, form_of(model)[1]
    sizes = [own[i].shape[1:] if None in each.shape else each.shape for i, each in zip(ordered, used, strict=True)]
    inputs = [keras.Input(size, dtype=each.dtype, name=each.name) for size, each in zip(sizes, used, strict=True)]
    flat: list[Any] = [None] * len(own)
    for place, each, tensor in zip(ordered, used, inputs, strict=True):
        flat[place] = _formed(tensor, own[place], each)
    return inputs, model(keras.tree.pack_sequence_as(form_of(model)[0], flat))


def form_of(model: keras.Model) -> tuple[Any, Any]:
    """Returns the inputs and outputs of a model that knows them, in the form that it was built with."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0], model.outputs[0]
    return model.input, model.output


def _of_labels(given: Sequence[Given], places: dict[str, int], own: Sequence[Any]) -> str:
    labelled = any(each.name == "label" for each in given)
    if labelled and "label" not in places and len(own) < len(given):
        return "; or train with --noconditional"
    if not labelled and len(own) > len(given):
        return "; a label comes with --conditional"
    return ""


def _matched(own: Sequence[Any], given: Sequence[Given]) -> dict[str, int]:
    """Finds the place of each given thing among a model's inputs: by name, and what is left by shape."""
    names = [each.name for each in own]
    known = [each for each in given if each.name in names]
    places = {each.name: names.index(each.name) for each in known if each.takes(own[names.index(each.name)])}
    for each in given:
        free = [i for i in range(len(own)) if i not in places.values()]
        fitting = [i for i in free if each.takes(own[i]) and own[i].name not in {other.name for other in given}]
        if each.name not in places and fitting and (len(fitting) == 1 or len(given) == 1):
            places[each.name] = fitting[0]
    return places


def _as_given(tensor: Any, given: Given) -> bool:
    shape = tuple(tensor.shape[1:])
    sizes = shape == given.shape or (None in given.shape and len(shape) == len(given.shape) and None not in shape)
    # The name of a single input tells nobody anything, but noise is known by it.
    return sizes and tensor.dtype == given.dtype and (given.name in ("z", "image") or tensor.name == given.name)


def _formed(tensor: Any, own: Any, given: Given) -> Any:
    """Gives labels the form that a model takes: whole numbers or floats, [N], [N, 1] or one-hot [N, K]."""
    shape = tuple(own.shape[1:])
    if given.numbers:
        tensor = layers.Reshape(shape, dtype="float32")(tensor) if shape != given.shape else tensor
    if given.classes and shape == (given.classes,) and shape != (1,):
        return keras.ops.one_hot(tensor, given.classes, dtype=own.dtype)
    if shape == (1,) and given.shape == ():
        tensor = layers.Reshape([1], dtype=given.dtype)(tensor)
    return tensor if own.dtype == given.dtype else keras.ops.cast(tensor, own.dtype)


def _call(model: keras.Model, name: str, given: Sequence[Given]) -> tuple[list[Any], Any]:
    """Builds a model that does not say what it takes, by calling it."""
    required = [each for each in given if not each.optional]
    if isinstance(model, keras.Sequential):
        if len(required) > 1:
            raise MirageError(
                f"the {name} is a Sequential, which takes one input; expected "
                f"{' and '.join(each.described() for each in required)}: use keras.Model with these inputs, or train "
                "with --noconditional."
            )
        given = required
    parameters = [
        each.name
        for each in inspect.signature(model.call).parameters.values()
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) and each.name not in ("training", "mask")
    ]
    known = [each for each in given if None not in each.shape]
    inputs = {each.name: keras.Input(each.shape, dtype=each.dtype, name=each.name) for each in known}
    # What it needn't take is not given to a call that has no parameter of that name.
    used = {each.name: inputs[each.name] for each in known if not each.optional or each.name in parameters}
    try:
        if len(parameters) > 1 and {*used} <= {*parameters}:
            return [*used.values()], model(**used)
        if len(parameters) == 1 and len(used) > 1:
            return [*used.values()], model([*used.values()])
        return [*used.values()], model(*used.values())
    except Exception as error:
        wanted = ", ".join(each.described() for each in given)
        raise MirageError(
            f"the {name} can't be called with {wanted}: {reason(error)}; make its call take these, or give it Inputs."
        ) from error
