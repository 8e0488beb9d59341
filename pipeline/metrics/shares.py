"""How sure shares of samples are."""

from collections.abc import Iterator

import numpy as np

_HALVES = 40


def error_of_share(hits: np.ndarray) -> float:
    """Standard error of a share, as if there were two hits and two misses more, so that none is certain.

    That is what makes a 95 % interval of a small or large share honest (Agresti and Coull 1998).

    Args:
      hits: bool [n].
    """
    count = len(hits) + 4
    share = (np.count_nonzero(hits) + 2) / count
    return float(np.sqrt(share * (1 - share) / count))


def halves(count: int) -> Iterator[np.ndarray]:
    """Draws random halves, bool [n], always the same.

    A figure spreads over them as over wholes: they are half as large, and have half in common (delete-half jackknife,
    Shao and Wu 1989).
    """
    rng = np.random.default_rng(0)
    for _ in range(_HALVES):
        half = np.zeros(count, bool)
        half[rng.choice(count, count // 2, replace=False)] = True
        yield half
