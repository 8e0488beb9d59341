"""Networks of your own: the DCGANs that the tutorials of TensorFlow and of Keras build, layer by layer.

  python own_networks.py runs/own_networks

Dropout and batch normalisation are made exact over replicas and on resume, and the second pair's sigmoids are taken
for what they stand for: logits, and images from -1 to 1. What is replaced is said before the training.
"""

import sys

from keras import Sequential, layers

from pipeline import Experiment


class TensorFlowTutorial:
    """28 x 28 grey images."""

    def build_generator(self, latent_dim, image_shape, num_classes):
        model = Sequential([layers.Input([latent_dim]), layers.Dense(7 * 7 * 256, use_bias=False)])
        model.add(layers.BatchNormalization())
        model.add(layers.LeakyReLU())
        model.add(layers.Reshape([7, 7, 256]))
        for filters, strides in ((128, 1), (64, 2)):
            model.add(layers.Conv2DTranspose(filters, 5, strides, padding="same", use_bias=False))
            model.add(layers.BatchNormalization())
            model.add(layers.LeakyReLU())
        model.add(layers.Conv2DTranspose(1, 5, 2, padding="same", use_bias=False, activation="tanh"))
        return model

    def build_discriminator(self, image_shape, num_classes):
        model = Sequential([layers.Input(image_shape)])
        for filters in (64, 128):
            model.add(layers.Conv2D(filters, 5, 2, padding="same"))
            model.add(layers.LeakyReLU())
            model.add(layers.Dropout(0.3))
        model.add(layers.Flatten())
        model.add(layers.Dense(1))
        return model


if __name__ == "__main__":
    run = Experiment(
        data="mnist5k",
        networks=TensorFlowTutorial(),
        objective="nsgan",
        batch_size=64,
        steps=int(sys.argv[2]) if len(sys.argv) > 2 else 3000,
        beta_1=0.5,
    ).train(sys.argv[1])
    print(run)
