"""From image seeds to latents: the same numbers on every platform.

An image seed is an int64. Its latent of d components is computed so:

1. key = (low 32 bits, high 32 bits) of the seed in two's complement.
2. For each pair j = 0 .. ceil(d / 2) - 1: (x0, x1) = Threefry-2x32-20(key, counter = (j, 0))
   (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11).
3. u1 = (floor(x0 / 2^8) + 1/2) / 2^24, in (0, 1); u2 = floor(x1 / 2^8) / 2^24, in [0, 1).
4. Box and Muller (1958): r = sqrt(-2 ln u1); z[2j] = r cos(2 pi u2) = r sin(2 pi (u2 + 1/4)); z[2j+1] =
   r sin(2 pi u2). All in float64, rounded to float32 at the end. An odd d drops the last number.

Where latents are uniform, 3 and 4 are instead: z[2j] = 2 (floor(x0 / 2^8) + 1/2) / 2^24 - 1, and z[2j+1] the same of
x1, so that they lie between -1 and 1.

24 bits are kept so that the law can also be computed in float32 arithmetic, inside an ONNX graph.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.contract.manifest import NORMAL, UNIFORM

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = np.uint32(0x1BD11BDA)
ROUNDS = 20
_QUARTERS = np.array([0.25, 0.0])
_ZERO = np.zeros((1, 1), np.uint32)
_HALF = np.uint64(0xFFFFFFFF)
_SHIFTS = tuple((np.uint32(rotation), np.uint32(32 - rotation)) for rotation in ROTATIONS)


def threefry2x32(
    key: tuple[NDArray[np.uint32], NDArray[np.uint32]], counter: tuple[NDArray[np.uint32], NDArray[np.uint32]]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Threefry-2x32 with 20 rounds, elementwise over broadcast arrays.

    Args:
      key: two uint32 arrays.
      counter: two uint32 arrays.

    Returns:
      Two uint32 arrays of pseudo-random bits.
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    x0 = counter[0] + keys[0]
    x1, spare = np.empty_like(x0), np.empty_like(x0)
    np.add(counter[1], keys[1], out=x1)
    # In place, since for few images making arrays takes longer than filling them.
    for number in range(ROUNDS):
        left, right = _SHIFTS[number % 8]
        np.add(x0, x1, out=x0)
        np.right_shift(x1, right, out=spare)
        np.left_shift(x1, left, out=x1)
        np.bitwise_or(x1, spare, out=x1)
        np.bitwise_xor(x1, x0, out=x1)
        if number % 4 == 3:
            injection = number // 4 + 1
            np.add(x0, keys[injection % 3], out=x0)
            np.add(x1, keys[(injection + 1) % 3] + np.uint32(injection), out=x1)
    return x0, x1


def latents(seeds: ArrayLike, latent_dim: int, distribution: str = NORMAL) -> NDArray[np.float32]:
    """Computes the latents of image seeds.

    Args:
      seeds: int64 [n].
      latent_dim: components of each latent.
      distribution: "standard_normal", or "uniform" from -1 to 1.

    Returns:
      float32 [n, latent_dim].
    """
    bits = np.asarray(seeds, np.int64).astype(np.uint64)[:, None]
    pairs = np.arange((latent_dim + 1) // 2, dtype=np.uint32)[None, :]
    key = ((bits & _HALF).astype(np.uint32), (bits >> np.uint64(32)).astype(np.uint32))
    x0, x1 = threefry2x32(key, (pairs, _ZERO))
    if distribution == UNIFORM:
        both = (np.stack([x0, x1], axis=-1) >> np.uint32(8)) + 0.5
        return (both * 2.0**-23 - 1).reshape(len(bits), 2 * pairs.size)[:, :latent_dim].astype(np.float32)
    radius = (x0 >> np.uint32(8)) + 0.5
    radius *= 2.0**-24
    np.log(radius, out=radius)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    u2 = (x1 >> np.uint32(8)) * 2.0**-24
    # A sine for both, because onnxruntime before 1.24 has no cosine in float64.
    z = u2[..., None] + _QUARTERS
    z *= 2.0 * np.pi
    np.sin(z, out=z)
    z *= radius[..., None]
    return z.reshape(len(bits), 2 * pairs.size)[:, :latent_dim].astype(np.float32)


def between(
    a: NDArray[np.float32], b: NDArray[np.float32], t: NDArray[np.float64], distribution: str
) -> NDArray[np.float32]:
    """Walks from one latent to another one through latents that a generator knows.

    Args:
      a: float32 [d], the latent at t = 0.
      b: float32 [d], the latent at t = 1.
      t: float64 [n].
      distribution: of the latents, as in `ModelInfo`.

    Returns:
      float32 [n, d].
    """
    if distribution == UNIFORM:
        return ((1 - t[:, None]) * a + t[:, None] * b).astype(np.float32)
    return slerp(a, b, t)


def slerp(a: NDArray[np.float32], b: NDArray[np.float32], t: NDArray[np.float64]) -> NDArray[np.float32]:
    """Spherical linear interpolation (Shoemake 1985).

    Args:
      a: [d], the vector at t = 0.
      b: [d], the vector at t = 1.
      t: [n], in [0, 1].

    Returns:
      float32 [n, d]; where the two vectors are parallel, the straight line.
    """
    start, end = a.astype(np.float64), b.astype(np.float64)
    cosine = start @ end / max(float(np.linalg.norm(start) * np.linalg.norm(end)), np.finfo(np.float64).tiny)
    angle = np.arccos(np.clip(cosine, -1, 1))
    t = t[:, None]
    if np.sin(angle) < 1e-6:
        return ((1 - t) * start + t * end).astype(np.float32)
    return ((np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / np.sin(angle)).astype(np.float32)
