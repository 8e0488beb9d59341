"""Perceptual hashes: 64 bits by which pictures that look alike are found, also resized, compressed again or brightened.

The bits are signs of the lowest frequencies of a picture's greys (pHash). A frequency that is hardly there counts as
not there, whatever noise makes of its sign; and a picture in which hardly any is there, such as a sheet of one tone,
has no hash: all such would be alike.
"""

import numpy as np
from numpy.typing import NDArray

BITS, BANDS = 64, 4
_NOISE = 3.0  # grey levels
_FLAT = 3.0  # standard deviation of the little picture
_BLOCK = 1 << 14


def hashes(little: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Hashes pictures.

    Args:
      little: uint8 [N, S, S], pictures made small.

    Returns:
      (uint64 [N]; bool [N], whether a picture has a hash, which flat ones have not).
    """
    side = little.shape[1]
    waves = _waves(side)
    # By frequency, and neighbours in different bands, so that each band tells as much as another.
    chosen = sorted(((u, v) for u in range(side) for v in range(side) if u + v), key=lambda uv: (sum(uv), uv))[:BITS]
    rows, columns = (np.array(each) for each in zip(*chosen, strict=True))
    place = np.array([bit % BANDS * (BITS // BANDS) + bit // BANDS for bit in range(BITS)], np.uint64)
    found, sound = np.empty(len(little), np.uint64), np.empty(len(little), np.bool_)
    for start in range(0, len(little), _BLOCK):
        block = little[start : start + _BLOCK].astype(np.float32)
        strengths = (waves @ block @ waves.T)[:, rows, columns]
        bits = (strengths > _NOISE).astype(np.uint64) << place
        found[start : start + _BLOCK] = np.bitwise_or.reduce(bits, axis=1)
        sound[start : start + _BLOCK] = block.std(axis=(1, 2)) > _FLAT
    return found, sound


def _waves(side: int) -> NDArray[np.float32]:
    """The orthonormal cosine transform (DCT-II) as a matrix."""
    number, place = np.mgrid[:side, :side]
    waves = np.cos(np.pi * number * (2 * place + 1) / (2 * side)) * np.sqrt(2 / side)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)


def distances(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Number of bits in which hashes differ."""
    return np.bitwise_count(one ^ other)
