"""Balls around samples, which metrics of fidelity and of variety share: who lies in whose, measured in one pass.

A set's manifold is the union of balls around its samples, each as large as the distance to the sample's k-th nearest
neighbour within the set (Kynkäänniemi et al. 2019, arXiv 1904.06991).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from pipeline.base.ahead import ahead
from pipeline.metrics.metric import Evidence, Kept, Samples, TooFewError
from pipeline.metrics.neighbours import smallest, squared_distances
from pipeline.metrics.shares import error_of_share, halves

_NUMBERS = 1 << 22  # of a distance matrix at a time: 16 MiB
_NEIGHBOURS = 32  # that are kept: a random half has at least k = 5 of them but for one case in 100,000
_LEVELS = (1, 1.4, 2, 2.8, 4)  # of k: radii at which balls' contents are counted
USUAL_K = (3, 5)  # of precision and recall; of density and coverage
_TINY = np.finfo(np.float32).tiny


@dataclasses.dataclass(frozen=True)
class Nearest:
    """Nearest neighbours of each of n points: indices, int [n, k], and squared distances, float32 [n, k]."""

    indices: np.ndarray
    distances: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, count: int, start: int = 0) -> "Nearest":
        """Takes the `count` smallest of each row, or all, in any order; `start` is the number of the first column."""
        indices = smallest(values, count)
        return cls(indices + np.int32(start), np.take_along_axis(values, indices, axis=1))

    def joined(self, other: "Nearest", count: int) -> "Nearest":
        """The nearest of both."""
        indices = np.concatenate([self.indices, other.indices], axis=1)
        best = Nearest.of(np.concatenate([self.distances, other.distances], axis=1), count)
        return Nearest(np.take_along_axis(indices, best.indices, axis=1), best.distances)

    def sorted(self) -> "Nearest":
        """The same, nearest first."""
        order = np.argsort(self.distances, axis=1, kind="stable")
        return Nearest(*(np.take_along_axis(each, order, axis=1) for each in (self.indices, self.distances)))


def within(points: np.ndarray, count: int = _NEIGHBOURS) -> Nearest:
    """Nearest neighbours of points among the others, nearest first.

    Args:
      points: float [n, d].
      count: how many; fewer where there are fewer.
    """
    points = np.asarray(points, np.float32)
    found = []
    for rows in _parts(len(points), len(points)):
        distances = squared_distances(points[rows], points)
        own = np.arange(rows.start, rows.stop)
        distances[own - rows.start, own] = np.inf
        found.append(Nearest.of(distances, min(count, len(points) - 1)).sorted())
    return _stacked(found)


class Balls:
    """The balls around a set's samples.

    Attributes:
      k: which neighbour gives radii.
      radii: squared, float32 [n].
    """

    def __init__(self, neighbours: Nearest, k: int) -> None:
        """Takes the nearest neighbours of the samples within the set; some more than k of them."""
        if neighbours.distances.shape[1] < k:
            raise TooFewError(
                f"k={k} needs more than {k} samples of each kind, and there are {len(neighbours.distances)}"
            )
        self._neighbours = neighbours
        self.k = k
        self.radii = self._neighbours.distances[:, k - 1]

    def __len__(self) -> int:
        return len(self.radii)

    def radius_of_neighbour(self, k: int) -> np.ndarray:
        """Squared radii that another k would give, [n]; of a neighbour that is kept."""
        return self._neighbours.distances[:, min(k, self._neighbours.distances.shape[1]) - 1]

    def halved(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Draws random halves of the set: (who is in it, bool [n]; what k is in the whole set; radii, [n])."""
        for half in halves(len(self)):
            members = half[self._neighbours.indices].cumsum(axis=1)
            reached = np.minimum((members < self.k).sum(axis=1), members.shape[1] - 1)
            yield half, reached + 1, self._neighbours.distances[np.arange(len(self)), reached]


class Inside:
    """Which queries lie in any of the balls.

    Attributes:
      inside: bool [m].
    """

    def __init__(self, balls: Balls, queries: int) -> None:
        """Takes the balls, and how many queries there will be."""
        self._balls = balls
        self.inside = np.zeros(queries, bool)
        shape = (queries, min(_NEIGHBOURS, len(balls)))
        self._best = Nearest(np.zeros(shape, np.int32), np.full(shape, np.inf, np.float32))

    def see(self, distances: np.ndarray, queries: slice, balls: slice) -> None:
        """Takes squared distances of some queries, its rows, from some centres."""
        radii = self._balls.radii[balls]
        self.inside[queries] |= (distances <= radii).any(axis=1)
        # Of each query, the balls that it is deepest in, or next to: radii change a little from half to half.
        with np.errstate(over="ignore"):  # of copies, whose balls are points
            depths = distances / np.maximum(radii, _TINY)
        deep = Nearest.of(depths, self._best.indices.shape[1], balls.start)
        known = Nearest(self._best.indices[queries], self._best.distances[queries])
        best = known.joined(deep, known.indices.shape[1])
        self._best.indices[queries], self._best.distances[queries] = best.indices, best.distances

    @property
    def share(self) -> float:
        """Share of queries that are."""
        return float(self.inside.mean())

    def error(self) -> float:
        """Standard error of the share: both queries and balls are samples."""
        best = self._best.indices
        distances = self._best.distances * np.maximum(self._balls.radii, _TINY)[best]
        shares = [
            (half[best] & (distances <= radii[best])).any(axis=1).mean() for half, _, radii in self._balls.halved()
        ]
        return float(np.hypot(np.std(shares, ddof=1), error_of_share(self.inside)))


class Contents:
    """How many queries lie in each of the balls, not counting edges.

    Attributes:
      around: in how many balls each query is, int64 [m].
    """

    def __init__(self, balls: Balls, queries: int) -> None:
        """Takes the balls, and how many queries there will be."""
        self._balls = balls
        self._levels = sorted({round(level * balls.k) for level in _LEVELS})
        self._counts = np.zeros((len(balls), len(self._levels)), np.int64)
        self.around = np.zeros(queries, np.int64)
        empty = (len(balls), 0)
        self._closest = Nearest(np.zeros(empty, np.int32), np.zeros(empty, np.float32))

    def see(self, distances: np.ndarray, turned: np.ndarray, queries: slice) -> None:
        """Takes squared distances of some queries, its rows, from all centres; and the same turned, [n, queries]."""
        for level, k in enumerate(self._levels):
            nearer = distances < self._balls.radius_of_neighbour(k)
            self._counts[:, level] += nearer.view(np.uint8).sum(axis=0, dtype=np.uint32)
            if k == self._balls.k:
                self.around[queries] = np.count_nonzero(nearer, axis=1)
        kept = _NEIGHBOURS // 2
        self._closest = self._closest.joined(Nearest.of(turned, kept, queries.start), kept)

    @property
    def density(self) -> float:
        """Balls that a query is in, on average, divided by k."""
        return float(self.around.mean() / self._balls.k)

    @property
    def coverage(self) -> float:
        """Share of balls with a query in them."""
        return float(self._covered.mean())

    @property
    def _covered(self) -> np.ndarray:
        return self._closest.distances.min(axis=1) < self._balls.radii

    def errors(self) -> tuple[float, float]:
        """Standard errors of density and coverage: both queries and balls are samples."""
        queries = len(self.around)
        by_balls = []
        for half, k, radii in self._balls.halved():
            counts = _between(self._levels, self._counts, k)[half].sum()
            covered = self._closest.distances.min(axis=1) < radii
            by_balls.append((counts / (self._balls.k * queries), covered[half].mean()))
        by_queries = []
        for half in halves(queries):
            distances = np.where(half[self._closest.indices], self._closest.distances, np.inf).min(axis=1)
            by_queries.append((distances < self._balls.radii).mean())
        density, coverage = np.std(np.asarray(by_balls), axis=0, ddof=1)
        own = self.around.std(ddof=1) / np.sqrt(queries) / self._balls.k
        least = error_of_share(self._covered) if not 0 < self.coverage < 1 else 0.0
        return float(np.hypot(density, own)), float(max(np.hypot(coverage, np.std(by_queries, ddof=1)), least))


def _parts(total: int, columns: int) -> Iterator[slice]:
    size = max(1, _NUMBERS // max(1, columns))
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def _stacked(parts: list[Nearest]) -> Nearest:
    return Nearest(np.concatenate([each.indices for each in parts]), np.concatenate([each.distances for each in parts]))


def _at_once(work: list[Callable[[], None]]) -> None:
    for _ in ahead(lambda number: work[number](), 0, len(work), chunk=1):
        pass


def _between(levels: list[int], counts: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Counts at other levels than those counted at, by straight lines; [n]."""
    if len(levels) == 1:
        return counts[:, 0].astype(np.float64)
    above = np.clip(np.searchsorted(levels, at), 1, len(levels) - 1)
    low, high = np.asarray(levels)[above - 1], np.asarray(levels)[above]
    weight = np.clip((at - low) / (high - low), 0, 1)
    rows = np.arange(len(counts))
    return (1 - weight) * counts[rows, above - 1] + weight * counts[rows, above]


class Manifolds:
    """Who lies in whose balls.

    Attributes:
      precise: generated samples in the balls of real ones.
      recalled: real samples in the balls of generated ones.
    """

    def __init__(self, real: "Located", generated: "Located", k: int, k_of_contents: int) -> None:
        """Goes through all distances once, block by block; each k says which neighbour gives radii."""
        centres, points = real.features, generated.features
        self.precise = Inside(real.balls(k), len(points))
        self.recalled = Inside(generated.balls(k), len(centres))
        self._real, self._k = real, k_of_contents
        self._contents = Contents(real.balls(self._k), len(points)) if len(centres) > self._k else None
        everything = slice(0, len(centres))
        for rows in _parts(len(points), len(centres)):
            distances = squared_distances(points[rows], centres)
            turned = np.ascontiguousarray(distances.T)
            seeing: list[Callable[[], None]] = [
                functools.partial(self.precise.see, distances, rows, everything),
                functools.partial(self.recalled.see, turned, everything, rows),
            ]
            if self._contents is not None:
                seeing.append(functools.partial(self._contents.see, distances, turned, rows))
            _at_once(seeing)

    @property
    def contents(self) -> Contents:
        """Of the balls of real samples, how many generated ones they hold."""
        return self._contents or Contents(self._real.balls(self._k), 0)


class Located(Kept):
    """Features, float32 [n, d], with the nearest neighbours of each within the set, which are looked for once."""

    def __init__(self, features: np.ndarray) -> None:
        """Takes float [n, d]."""
        self.features = np.asarray(features, np.float32)

    def balls(self, k: int) -> Balls:
        """The balls that reach as far as the k-th neighbours."""
        count = max(_NEIGHBOURS, 6 * k)
        return Balls(self.once(count, lambda: within(self.features, count)), k)


def _located(samples: Samples, count: int) -> Located:
    return Located(samples.some(count).features)


def manifolds(evidence: Evidence, k: int = USUAL_K[0], k_of_contents: int = USUAL_K[1]) -> Manifolds:
    """Who lies in whose balls, looked for once for all metrics that ask with the same k.

    As many of both are chosen, since what is found depends on both numbers: only then is what a perfect generator gets
    the same for all, and what the papers say.
    """

    def make() -> Manifolds:
        count = min(len(evidence.real), len(evidence.generated))
        real, generated = (
            each.once(("located", count), functools.partial(_located, each, count))
            for each in (evidence.real, evidence.generated)
        )
        return Manifolds(real, generated, k, k_of_contents)

    return evidence.once(("manifolds", k, k_of_contents), make)
