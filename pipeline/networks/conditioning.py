"""How labels enter the networks: as one-hot vectors, concatenated to the input."""

import keras
from keras import layers


def one_hot_input(num_classes: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Makes a label input and its one-hot form.

    Args:
      num_classes: number of labels.

    Returns:
      (`label` int32 [N], one-hot float32 [N, num_classes]).
    """
    label = keras.Input([], dtype="int32", name="label")
    return label, keras.ops.one_hot(label, num_classes)


def label_planes(one_hot: keras.KerasTensor, height: int, width: int) -> keras.KerasTensor:
    """Repeats one-hot labels over all pixels, as constant feature planes.

    Args:
      one_hot: float32 [N, K].
      height: rows.
      width: columns.

    Returns:
      float32 [N, height, width, K].
    """
    num_classes = one_hot.shape[-1]
    planes = layers.Reshape([1, 1, num_classes])(one_hot)
    return layers.UpSampling2D([height, width])(planes)
