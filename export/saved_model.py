"""The SavedModel: for users who have TensorFlow."""

from pathlib import Path

import keras
import tensorflow as tf

from serving.manifest import ModelInfo


def generator_function(model: keras.Model, info: ModelInfo) -> tuple[object, list[tf.TensorSpec]]:
    """Makes the function that all exports share.

    Args:
      model: a generator, see `pipeline.networks.build_generator`.
      info: its description.

    Returns:
      (function of z float32 [N, latent_dim] and, if conditional, label int64 [N], that returns
      {"image": float32 [N, H, W, C] in [-1, 1]}; its input signature).
    """
    signature = [tf.TensorSpec([None, info.latent_dim], tf.float32, name="z")]
    if info.conditional:
        signature.append(tf.TensorSpec([None], tf.int64, name="label"))

    # Its parameters' names become the signature's.
    def generate(z: tf.Tensor, label: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        image = model(z if label is None else [z, tf.cast(label, tf.int32)], training=False)
        return {"image": tf.identity(image, name="image")}

    return generate, signature


def write_saved_model(model: keras.Model, info: ModelInfo, folder: Path) -> None:
    """Writes a SavedModel whose signature `serving_default` maps `z` (and `label`) to `image`.

    Args:
      model: the generator.
      info: its description.
      folder: where to write.
    """
    generate, signature = generator_function(model, info)
    module = tf.Module()
    module.model = model  # so that its weights are saved
    module.generate = tf.function(generate, input_signature=signature)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.generate})
