"""R3GAN's networks of three stages of one block, in groups of four planes: slow, in float64, from the paper."""

import numpy as np


def pointwise(x, kernel):
    return np.einsum("nhwc,cd->nhwd", x, kernel[0, 0])


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def grouped(x, kernel, group):
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    height, width = x.shape[1:3]
    parts = []
    for first in range(0, x.shape[3], group):
        own = kernel[..., first : first + group]
        planes = padded[..., first : first + group]
        parts.append(
            sum(
                np.einsum("nhwc,cd->nhwd", planes[:, row : row + height, column : column + width], own[row, column])
                for row in range(3)
                for column in range(3)
            )
        )
    return np.concatenate(parts, axis=3)


def block(x, weights):
    widen, bias, kernel, other_bias, narrow = (weights.pop(0) for _ in range(5))
    y = leaky(pointwise(x, widen) + bias)
    y = leaky(grouped(y, kernel, 4) + other_bias)
    return x + pointwise(y, narrow)


def interpolated(size):
    matrix = np.zeros((2 * size, size))
    for i in range(size):
        matrix[2 * i + 1, i] = 1
        for j in (2 * i, 2 * i + 2):
            if j < 2 * size:
                matrix[j, i] = 0.5
    return matrix


def doubled(x):
    return np.einsum("ah,bw,nhwc->nabc", interpolated(x.shape[1]), interpolated(x.shape[2]), x)


def halved(x):
    for axis in (1, 2):
        x = np.moveaxis(x, axis, 0)
        before = np.concatenate([np.zeros_like(x[:1]), x[1:-1:2]])
        x = np.moveaxis(before / 4 + x[::2] / 2 + x[1::2] / 4, 0, axis)
    return x


def generate(weights, z, labels):
    weights = list(weights)
    x = np.concatenate([z, weights.pop(0)[labels]], axis=1) @ weights.pop(0)
    x = block(x[:, None, None, :] * weights.pop(0), weights)
    x = block(doubled(x), weights)
    x = block(doubled(pointwise(x, weights.pop(0))), weights)
    image = pointwise(x, weights.pop(0))
    assert not weights
    return image


def judge(weights, images, labels):
    weights = list(weights)
    x = block(pointwise(images, weights.pop(0)), weights)
    x = block(pointwise(halved(x), weights.pop(0)), weights)
    x = block(halved(x), weights)
    x = np.einsum("nhwc,hwc->nc", x, weights.pop(0))
    features, embedded = x @ weights.pop(0), weights.pop(0)[labels]
    assert not weights
    return np.sum(features * embedded, axis=1)
