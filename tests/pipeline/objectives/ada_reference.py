"""The augmentation pipeline of ADA for one image, slowly and in float64, as appendix B of arXiv 2006.06676 states it.

Numbers are taken in the paper's order: one that decides whether a transformation is applied, then those that say how.
"""

import math
from statistics import NormalDist

import numpy as np

SYM2 = np.array([1 + 3**0.5, 3 + 3**0.5, 3 - 3**0.5, 1 - 3**0.5]) / (4 * 2**0.5)


def scale2d(x, y):
    return np.diag([x, y, 1.0])


def translate2d(x, y):
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def rotate2d(angle):
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


class Numbers:
    """Uniform numbers of one image, one after the other."""

    def __init__(self, numbers, p):
        self.left, self.p = list(map(float, numbers)), p

    def take(self):
        return self.left.pop(0)

    def applied(self, p=None):
        return self.take() < (self.p if p is None else p)

    def normal(self, deviation):
        return deviation * NormalDist().inv_cdf(self.take() + 2**-24)

    def lognormal(self, deviation):
        return math.exp(self.normal(deviation))


def blit_matrix(numbers, height, width):
    """G after pixel blitting."""
    matrix = np.eye(3)
    if numbers.applied():
        matrix = scale2d(1 - 2 * int(2 * numbers.take()), 1) @ matrix
    else:
        numbers.take()
    applied, u = numbers.applied(), numbers.take()
    if applied:
        turns = int(4 * u) if height == width else 2 * int(2 * u)
        matrix = rotate2d(-math.pi / 2 * turns) @ matrix
    applied, *shares = numbers.applied(), numbers.take() / 4 - 1 / 8, numbers.take() / 4 - 1 / 8
    if applied:
        matrix = translate2d(round(shares[0] * width), round(shares[1] * height)) @ matrix
    return matrix


def geometry_matrix(numbers, height, width, matrix):
    """G after general geometric transformations."""
    deviation = 0.2 * math.log(2)
    p_rotation = 1 - math.sqrt(1 - numbers.p)
    applied, s = numbers.applied(), numbers.lognormal(deviation)
    matrix = scale2d(s, s) @ matrix if applied else matrix
    applied, angle = numbers.applied(p_rotation), math.pi * (2 * numbers.take() - 1)
    matrix = rotate2d(-angle) @ matrix if applied else matrix
    applied, s = numbers.applied(), numbers.lognormal(deviation)
    matrix = scale2d(s, 1 / s) @ matrix if applied else matrix
    applied, angle = numbers.applied(p_rotation), math.pi * (2 * numbers.take() - 1)
    matrix = rotate2d(-angle) @ matrix if applied else matrix
    applied, x, y = numbers.applied(), numbers.normal(0.125), numbers.normal(0.125)
    return translate2d(x * width, y * height) @ matrix if applied else matrix


def resampled(image, matrix, sym6):
    """Pads by reflection, doubles the resolution, looks up bilinearly, halves it."""
    height, width, channels = image.shape
    margin = 4 * max(height, width)
    wide = np.pad(image, [[margin, margin], [margin, margin], [0, 0]], "reflect")
    for axis in (0, 1):
        zeros = np.zeros([2 * side if each == axis else side for each, side in enumerate(wide.shape)])
        zeros[(slice(None),) * axis + (slice(None, None, 2),)] = wide
        wide = np.apply_along_axis(np.convolve, axis, zeros, sym6)
    # The middle of a pixel is that of the taps which it has been spread over.
    middle = (len(sym6) - 1) / 2
    inverse = np.linalg.inv(matrix)
    read = np.zeros((2 * height + 10, 2 * width + 10, channels))
    for row in range(read.shape[0]):
        for column in range(read.shape[1]):
            place = [(column - middle) / 2 - (width - 1) / 2, (row - middle) / 2 - (height - 1) / 2, 1]
            x, y, _ = inverse @ place
            x, y = (2 * (at + (side - 1) / 2 + margin) + middle for at, side in ((x, width), (y, height)))
            left, top = math.floor(x), math.floor(y)
            right, below = x - left, y - top
            read[row, column] = (1 - below) * ((1 - right) * wide[top, left] + right * wide[top, left + 1]) + below * (
                (1 - right) * wide[top + 1, left] + right * wide[top + 1, left + 1]
            )
    for axis in (0, 1):
        read = np.apply_along_axis(lambda line: np.convolve(line, sym6[::-1], "valid")[::2], axis, read)
    return read


def color_matrix(numbers):
    """C, of (r, g, b, 1)."""
    axis = np.array([[1, 1, 1, 0]]) / 3**0.5
    onto = axis.T @ axis
    matrix = np.eye(4)
    applied, b = numbers.applied(), numbers.normal(0.2)
    if applied:
        change = np.eye(4)
        change[:3, 3] = b
        matrix = change @ matrix
    applied, c = numbers.applied(), numbers.lognormal(0.5 * math.log(2))
    matrix = np.diag([c, c, c, 1]) @ matrix if applied else matrix
    applied, i = numbers.applied(), int(2 * numbers.take())
    matrix = (np.eye(4) - 2 * onto * i) @ matrix if applied else matrix
    applied, angle = numbers.applied(), math.pi * (2 * numbers.take() - 1)
    if applied:  # by the formula of Rodrigues
        x, y, z, _ = axis[0]
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        change = np.eye(4)
        change[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
        matrix = change @ matrix
    applied, s = numbers.applied(), numbers.lognormal(math.log(2))
    return (onto + (np.eye(4) - onto) * s) @ matrix if applied else matrix


def recoloured(image, matrix):
    """Applies C to opaque colours in [-1, 1]; of four channels the last one is alpha, and they are multiplied by it."""
    if image.shape[2] == 1:
        return recoloured(np.repeat(image, 3, axis=2), matrix).mean(axis=2, keepdims=True)
    if image.shape[2] == 3:
        return image @ matrix[:3, :3].T + matrix[:3, 3]
    alpha = (image[..., 3:] + 1) / 2
    colours = (image[..., :3] + 1) / alpha - 1
    return np.concatenate([(recoloured(colours, matrix) + 1) * alpha - 1, image[..., 3:]], axis=2)


def filtered(image, numbers):
    """Amplifies bands, whose filters are made here out of their frequency responses."""
    powers = np.array([10, 1, 1, 1]) / 13
    gains = np.ones(4)
    for band in range(4):
        applied, t = numbers.applied(), np.ones(4)
        t[band] = numbers.lognormal(math.log(2))
        gains = gains * t / np.sqrt(np.sum(powers * t**2)) if applied else gains

    def low(octaves):
        frequency = 2 * np.pi * np.arange(64) / 64 * octaves
        return np.abs(np.exp(-1j * np.outer(frequency, np.arange(4))) @ SYM2) ** 2 / 2

    bands = [
        low(1) * low(2) * low(4),
        low(1) * low(2) * (1 - low(4)),
        low(1) * (1 - low(2)),
        1 - low(1),
    ]
    response = np.roll(np.fft.ifft(gains @ np.array(bands)).real, 32)[11:54]  # 21 taps on each side of the middle
    wide = np.pad(image, [[21, 21], [21, 21], [0, 0]], "reflect")
    for axis in (0, 1):
        wide = np.apply_along_axis(np.convolve, axis, wide, response, "valid")
    return wide


def noisy(image, numbers, noise):
    """Adds noise of half-normal strength."""
    applied, strength = numbers.applied(), abs(numbers.normal(0.1))
    return image + strength * noise if applied else image
