"""Looks at the models that an architecture has made, before anything is trained.

What comes out is such as `pipeline.networks.build` says: inputs in order, images in [-1, 1], logits. A model that is so
already stays as it is; another is put into one that is, where that is exact, or refused in one sentence.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.base.needs import Needs
from pipeline.networks import endings
from pipeline.networks.conditioning import model_of
from pipeline.networks.inputs import Given, fed, form_of
from pipeline.networks.models import parts_of

Shape = tuple[int, int, int]


def generator(model: Any, latent_dim: int, image_shape: Shape, label: Given | None, say: Any) -> keras.Model:
    """Accepts a generator.

    Args:
      model: what `build_generator` returned.
      latent_dim: components of `z`.
      image_shape: (height, width, channels) of the images.
      label: what of labels it is given, if anything.
      say: told what was changed, a line each.

    Returns:
      A model of `z` or `[z, label]`, of images in [-1, 1].

    Raises:
      MirageError: if it is no such generator.
    """
    _check_model(model, "generator", say)
    given = [Given("z", (latent_dim,))]
    if label:
        given.append(label)
    inputs, images = fed(model, "generator", given, remedy=f"--latent_dim={latent_dim} decides the size of z")
    _check_tensor(images, "generator", "images", image_shape)
    changed = endings.images(model, inputs, images, say)
    return _model(model, inputs, changed, "generator")


def discriminator(model: Any, needs: Needs, image_shape: Shape, label: Given | None, say: Any) -> keras.Model:
    """Accepts a discriminator with heads of its own.

    Args:
      model: what `build_discriminator` returned.
      needs: the objective's.
      image_shape: (height, width, channels) of the images.
      label: what of labels it is given, if anything.
      say: told what was changed, a line each.

    Returns:
      A model of `image`, `[image, label]` or `[image, noise]`, of logits [N], or [N, J] if it judges each image J
      times, or a dictionary of the needed heads.

    Raises:
      MirageError: if it is no such discriminator.
    """
    _check_model(model, "discriminator", say)
    given = [Given("image", image_shape)]
    if needs.noise:
        given.append(Given("noise", (None,), optional=True))
    elif label:
        # Which it needn't take if it names the class, or attributes, itself.
        given.append(dataclasses.replace(label, optional=bool({"classes", "attributes"} & {*needs.heads})))
    inputs, outputs = fed(model, "discriminator", given, remedy="images have the data's size, see --image_size")
    if not isinstance(outputs, Mapping):
        outputs = {"logits": outputs}
    missing = [name for name in ("logits", *needs.heads) if name not in outputs]
    if missing:
        wanted = ", ".join(f"{name} [N, {number}]" for name, number in needs.heads.items())
        raise MirageError(
            f"the discriminator returns {', '.join(sorted(outputs))}, and the objective needs {', '.join(missing)}; "
            f"return a dictionary of logits [N]{', ' if wanted else ''}{wanted}, or write build_features instead, "
            "whose heads are Mirage's."
        )
    found = {"logits": endings.logits(model, inputs, _one_or_more(outputs["logits"], say), say)}
    for name, number in needs.heads.items():
        _check_tensor(outputs[name], "discriminator", name, (number or None,))
        found[name] = outputs[name]
    return _model(model, inputs, found if len(found) > 1 else found["logits"], "discriminator")


def encoder(model: Any, code: int, image_shape: Shape, label: Given | None, say: Any) -> keras.Model:
    """Accepts an encoder, a model of `image` or `[image, label]`, of so many numbers; raises MirageError."""
    return _of_images(model, "encoder", (code,), image_shape, label, say)


def features(model: Any, image_shape: Shape, label: Given | None, say: Any) -> keras.Model:
    """Accepts layers that look at images, of features [N, F]; raises MirageError."""
    return _of_images(model, "features", (None,), image_shape, label, say)


def check_parts(model: keras.Model, parts: tuple[str, ...]) -> None:
    """Refuses a generator that doesn't consist of the models that an objective calls; raises MirageError."""
    found = parts_of(model)
    if not {*parts} <= {*found}:
        raise MirageError(
            f"the generator consists of no models {' and '.join(parts)}, which --style_mixing and --path_length need; "
            "use --model=stylegan2, build it as synthesis(mapping(z)) of two keras.Model of these names, or leave both "
            "out."
        )
    if not parts:
        return
    whole = [found[part] for part in parts]
    others = [layer.name for layer in model.layers if not isinstance(layer, layers.InputLayer) and layer not in whole]
    if others:
        raise MirageError(
            f"--style_mixing and --path_length call the generator's mapping and synthesis themselves, without what "
            f"stands around them ({', '.join(others[:3])}); put it into one of them: inputs z and label in this order, "
            "labels as the data have them, and images in [-1, 1]."
        )
    styles, taken = found["mapping"].outputs[0].shape, found["synthesis"].inputs[0].shape
    if len(styles) != 3 or styles != taken:
        raise MirageError(
            f"the generator's mapping returns {list(styles)} and its synthesis takes {list(taken)}; expected styles of "
            "both, [N, layers, components]."
        )


def check_apart(models: Mapping[str, keras.Model]) -> None:
    """Refuses networks that share weights; raises MirageError."""
    owners: dict[int, str] = {}
    for name, model in models.items():
        for variable in model.variables:
            other = owners.setdefault(id(variable), name)
            if other != name:
                raise MirageError(
                    f"{other} and {name} share the weight {variable.path}, but each is trained by itself; build new "
                    "layers in each function, each time it is called."
                )


def _of_images(
    model: Any, name: str, shape: tuple[int | None, ...], image_shape: Shape, label: Given | None, say: Any
) -> keras.Model:
    _check_model(model, name, say)
    given = [Given("image", image_shape)]
    if label:
        given.append(label)
    inputs, output = fed(model, name, given, remedy="images have the data's size, see --image_size")
    if name == "features" and hasattr(output, "shape") and len(output.shape) > 2:
        output = layers.Flatten()(output)
    _check_tensor(output, name, "numbers", shape)
    return _model(model, inputs, output, name)


def _model(model: keras.Model, inputs: list[Any], outputs: Any, name: str) -> keras.Model:
    """The model itself if nothing was changed, or one around it."""
    if getattr(model, "inputs", None):
        own, made = form_of(model)
        given = inputs if len(inputs) > 1 else inputs[0]
        if _same(own, given) and _same(made, outputs):
            return model
    return model_of(inputs, outputs, name)


def _same(a: Any, b: Any) -> bool:
    """Whether two structures are of one form and hold the same tensors."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(a[key] is b[key] for key in a)
    return all(x is y for x, y in zip(a, b, strict=True)) if isinstance(a, list) and len(a) == len(b) else a is b


def _check_model(model: Any, name: str, say: Any) -> None:
    """Refuses what is no model, or none that can be trained as others are."""
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        what = "a model of Keras 2; import keras instead of tf_keras" if kind.startswith("tf_keras") else "no model"
        raise MirageError(f"the {name} is a {kind}, which is {what}; expected a keras.Model.")
    if model.compiled:
        say(f"note: what the {name} was compiled with is not used; see --learning_rate and --objective.")
    policy = keras.config.dtype_policy().name
    for layer in model._flatten_layers():
        if layer.dtype_policy.name not in ("float32", policy):
            raise MirageError(
                f"the {name}'s layer {layer.name} computes in {layer.dtype_policy.name}; leave its dtype out, and "
                "choose with --precision for all."
            )


def _check_tensor(tensor: Any, name: str, what: str, shape: tuple[int | None, ...]) -> None:
    """Refuses an output of another type or shape."""
    expected = f"{what} float32 [N, {', '.join('F' if size is None else str(size) for size in shape)}]"
    if not hasattr(tensor, "shape"):
        raise MirageError(f"the {name} returns a {type(tensor).__name__}; expected one tensor, {expected}.")
    found = tuple(tensor.shape)
    if found[0] is not None:
        raise MirageError(
            f"the {name} takes batches of {found[0]} alone; leave batch_size out of its Input, and sizes of the batch "
            "out of its layers."
        )
    fits = len(found) == len(shape) + 1 and all(a == b or b is None for a, b in zip(found[1:], shape, strict=True))
    if not fits or None in found[1:]:
        said = ", ".join("N" if i == 0 else str(size or "?") for i, size in enumerate(found))
        raise MirageError(f"the {name} returns [{said}]; expected {expected}.")
    if not keras.backend.is_float_dtype(tensor.dtype):
        raise MirageError(f"the {name} returns {tensor.dtype}; expected {expected}.")


def _one_or_more(tensor: Any, say: Any) -> Any:
    """Makes logits [N] of [N] or [N, 1]; several of each image, [N, J], stay as they are."""
    shape: Any = getattr(tensor, "shape", ())
    if len(shape) == 1:
        return tensor
    if len(shape) == 2 and shape[1] != 1:
        _check_tensor(tensor, "discriminator", "logits of each image,", (shape[1],))
        say(f"note: the discriminator judges each image {shape[1]} times; losses and figures are means over these.")
        return tensor
    _check_tensor(tensor, "discriminator", "one logit for each image,", (1,))
    return layers.Reshape([], dtype="float32")(tensor)
