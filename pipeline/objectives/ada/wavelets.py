"""Filters of the paper's pipeline: the lowpass of two of Daubechies' least asymmetric wavelets. Needs NumPy only."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

# Their coefficients add up to the root of 2 (Daubechies 1992, Ten Lectures on Wavelets, table 6.3).
SYM2 = tuple((np.array([1, 3, 3, 1]) + np.sqrt(3) * np.array([1, 1, -1, -1])) / (4 * np.sqrt(2)))
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)


def reflected(place: NDArray, size: int) -> NDArray:
    """Leads places beyond the edges back inside, mirrored at the middle of the outermost pixels, as often as needed."""
    folded = np.mod(place, 2 * (size - 1))
    return np.minimum(folded, 2 * (size - 1) - folded)


@functools.cache
def upsampling(size: int) -> NDArray[np.float32]:
    """Doubles a line's resolution by SYM6.

    The line goes on beyond its edges by reflection, so that it repeats itself after 2 (size - 1) pixels: more than that
    need not be known. Each pixel lies in the middle of what is made of it: pixel 0 at 5.5.

    Returns:
      [4 (size - 1), size].
    """
    matrix = np.zeros((4 * (size - 1), size))
    for place in range(len(matrix)):
        for pixel in range((place - len(SYM6)) // 2, place // 2 + 1):
            if 0 <= (tap := place - 2 * pixel) < len(SYM6):
                matrix[place, reflected(np.array(pixel), size)] += SYM6[tap]
    return matrix.astype(np.float32)


@functools.cache
def downsampling(size: int) -> NDArray[np.float32]:
    """Halves the resolution of a line of 2 size + 10, as the transpose of doubling it does.

    Returns:
      [size, 2 size + 10].
    """
    matrix = np.zeros((size, 2 * size + len(SYM6) - 2))
    for pixel in range(size):
        matrix[pixel, 2 * pixel : 2 * pixel + len(SYM6)] = SYM6
    return matrix.astype(np.float32)


@functools.cache
def bands() -> NDArray[np.float64]:
    """Impulse responses that cut a line into four bands of frequencies, which add up to the line itself.

    The lowest is up to an eighth of the highest frequency, the others are an octave each.

    Returns:
      [4, 43], each about its middle.
    """
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    high = -low * (-1.0) ** np.arange(len(low))  # whose middle is at an odd place
    middle = 1 + 2 + 4
    width = 2 * 3 * middle + 1
    found, passed = [], np.ones(1)
    for octave in (1, 2, 4):
        found.append(np.convolve(passed, _spread(high, octave)))
        passed = np.convolve(passed, _spread(low, octave))
    found.append(passed)
    return np.stack([np.pad(each, (width - len(each)) // 2) for each in reversed(found)])


def _spread(taps: NDArray, step: int) -> NDArray:
    spread = np.zeros(step * (len(taps) - 1) + 1)
    spread[::step] = taps
    return spread


@functools.cache
def band_matrices(size: int) -> NDArray[np.float32]:
    """What `bands` does to a line that goes on by reflection: [4, size, size]."""
    filters = bands()
    reach = filters.shape[1] // 2
    matrix = np.zeros((len(filters), size, size))
    for place in range(size):
        for tap in range(filters.shape[1]):
            matrix[:, place, reflected(np.array(place + reach - tap), size)] += filters[:, tap]
    return matrix.astype(np.float32)
