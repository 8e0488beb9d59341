"""The form of a metric, and what it looks at."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.metrics.extractor import Extractor, Features
from pipeline.metrics.moments import Moments
from pipeline.metrics.rows import Rows
from serving.contract.attributes import BINARY, NUMBER, Attribute

# What a metric may need besides pixels: of the extractor, of the generator, of the run's networks.
OF_EXTRACTOR = ("features", "moments", "probabilities", "modes")
OF_ATTRIBUTES = {"yes_or_no": (BINARY,), "numbers": (NUMBER,), "attributes": (BINARY, NUMBER)}
NEEDS = {
    "features": "an extractor's features, also of the real images",
    "moments": "mean and covariance of an extractor's features",
    "probabilities": "an extractor that knows the data's classes",
    "modes": "data with countable modes, such as --dataset=stacked:mnist",
    "labels": "a generator that is asked for classes",
    "yes_or_no": "a generator that is asked for attributes that are 0 or 1",
    "numbers": "a generator that is asked for attributes that are numbers",
    "attributes": "a generator that is asked for attributes",
    "generator": "the generator itself",
    "encoder": "an encoder",
    "discriminator": "a discriminator",
    "classes": "a discriminator that names classes (head `classes`) in a run whose networks are told none",
}


# Images that are read at once, and bytes of images that may be kept rather than made again.
BLOCK = 512
_KEPT = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Images:
    """Images and their labels.

    Attributes:
      name: what they are, such as "test".
      pixels: uint8 [n, H, W, C], or what slices, and `np.asarray`, make such of.
      labels: int32 [n], or of attributes float32 [n, A].
    """

    name: str
    pixels: Any
    labels: np.ndarray

    def take(self, indices: np.ndarray) -> "Images":
        """Those of some numbers, int64 [k], which are not read yet: `pixels` are `pipeline.metrics.rows.Rows`."""
        return Images(self.name, Rows(self.pixels, indices), self.labels[indices])

    def some(self, count: int, seed: int = 0) -> "Images":
        """Chooses up to `count` at random, always the same."""
        if count >= len(self.pixels):
            return self
        indices = chosen(len(self.pixels), count, seed)
        return Images(self.name, self.pixels[indices], self.labels[indices])

    def read(self, indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """See `Source`."""
        for start in range(0, len(indices), size):
            yield self.pixels[indices[start : start + size]]


def labels_of(count: int, real: np.ndarray) -> np.ndarray:
    """Labels as they are among real images, in an order mixed once: int32 [count], or float32 [count, A]."""
    mixed = np.random.default_rng(0).permutation(real)
    return np.resize(mixed, (count, *real.shape[1:])).astype(np.int32 if real.ndim == 1 else np.float32)


def chosen(total: int, count: int, seed: int = 0) -> np.ndarray:
    """Chooses `count` of `total` at random, always the same; returns int64 [count] in rising order."""
    return np.sort(np.random.default_rng(seed).choice(total, count, replace=False))


class Source(Protocol):
    """Images that can be gone through again and again; `Images` is one, and so is a generator with its latents."""

    @property
    def name(self) -> str:
        """What they are."""

    @property
    def labels(self) -> np.ndarray:
        """Int32 [n], or of attributes float32 [n, A]."""

    def read(self, indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Gives some of the images in the order of `indices`, int64 [k]: uint8 [at most size, H, W, C]."""


class TooFewError(Exception):
    """What a metric raises that can't be measured with so few samples: it is left out, with its message as a note."""


class Kept:
    """Keeps what several metrics make of the same images."""

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Returns what `make` returned when it was first asked for under this key."""
        kept = self.__dict__.setdefault("_once", {})
        if key not in kept:
            kept[key] = make()
        return kept[key]


class Samples(Kept):
    """Images with what the extractor says of them, which is asked once, when it is first needed, block by block.

    The images themselves are read again each time they are asked for, unless they are few.

    Attributes:
      labels: int32 [n], or of attributes float32 [n, A]; of generated ones, what they were asked for.
    """

    def __init__(
        self,
        source: Source,
        extractor: Extractor | None,
        *,
        indices: np.ndarray | None = None,
        described: Features | None = None,
        moments: Moments | None = None,
    ) -> None:
        """Takes images and what describes them.

        Args:
          source: the images.
          extractor: what describes them; None where no metric needs that.
          indices: which of the images, int64 [n]; None for all.
          described: what the extractor says of them, if that is known.
          moments: mean and covariance of features of which nothing else is known, in place of the extractor.
        """
        self._source = source
        self._extractor = extractor
        self._indices = np.arange(len(source.labels)) if indices is None else indices
        self._all = indices is None
        self._given = moments
        self._kept: list[np.ndarray] | None = None
        self.labels = source.labels if self._all else source.labels[self._indices]
        if described is not None:
            self.__dict__["described"] = described

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """Gives the images in their order, uint8 [at most size, H, W, C], for what needs not all at once."""
        if isinstance(self._source, Images):
            yield from self._source.read(self._indices, size)
        elif self._kept is not None:
            yield from (block[start : start + size] for block in self._kept for start in range(0, len(block), size))
        else:
            yield from self._read(size)

    def _read(self, size: int) -> Iterator[np.ndarray]:
        """Reads the source, and keeps what it gives if that is little."""
        blocks: list[np.ndarray] | None = []
        for block in self._source.read(self._indices, size):
            if blocks is not None:
                few = block.nbytes // max(1, len(block)) * len(self) <= _KEPT
                blocks = [*blocks, block] if few else None
            yield block
        self._kept = blocks

    def take(self, indices: np.ndarray) -> "Samples":
        """Chooses some of them, with what is known of them already.

        Args:
          indices: int64 [k].
        """
        described = self.described.take(indices) if self.is_described else None
        return Samples(self._source, self._extractor, indices=self._indices[indices], described=described)

    def some(self, count: int, seed: int = 0) -> "Samples":
        """Chooses up to `count` at random, always the same."""
        return self if count >= len(self) else self.take(chosen(len(self), count, seed))

    def likewise(self, images: Images) -> "Samples":
        """Other images, with the same extractor."""
        return Samples(images, self._extractor)

    @functools.cached_property
    def pixels(self) -> np.ndarray:
        """All of them at once, uint8 [n, H, W, C]: much memory where they are many, so rather use `batches`."""
        if self._all and isinstance(self._source, Images):
            return np.asarray(self._source.pixels)
        return np.concatenate(list(self.batches()))

    @property
    def images(self) -> Images:
        """All of them at once, with name and labels."""
        if self._all and isinstance(self._source, Images):
            return self._source
        return Images(self._source.name, self.pixels, self.labels)

    def let_go(self) -> None:
        """Lets go of the memory that `pixels` has taken."""
        self.__dict__.pop("pixels", None)

    @property
    def is_described(self) -> bool:
        """Whether the extractor has been asked already."""
        return "described" in self.__dict__

    @functools.cached_property
    def described(self) -> Features:
        """What the extractor says of them; raises MirageError if it says something else than features."""
        return self.describe(self.batches())

    def describe(self, blocks: Iterable[np.ndarray]) -> Features:
        """Asks the extractor, of these images given block by block."""
        if self._extractor is None:
            raise MirageError("features were asked for by a metric whose `needs` does not name them; add them there.")
        return _joined([self._checked(self._extractor(block), len(block)) for block in blocks])

    def _checked(self, described: Features, count: int) -> Features:
        assert self._extractor is not None
        shape = np.shape(getattr(described, "features", ()))
        if len(shape) != 2 or shape[0] != count:
            raise MirageError(
                f"--extractor={self._extractor.name} returned {type(described).__name__} with features of shape "
                f"{list(shape)} for {count} images; expected pipeline.metrics.extractor.Features, [n, d]."
            )
        if not np.isfinite(described.features).all():
            raise MirageError(
                f"--extractor={self._extractor.name} returned features that are not finite; mend it, or pass another."
            )
        return described

    @property
    def features(self) -> np.ndarray:
        """What distances are taken between, float [n, d]; for metrics that need `features`."""
        return self.described.features

    @functools.cached_property
    def moments(self) -> Moments:
        """Mean and covariance of the features; for metrics that need `moments` or `features`."""
        return Moments.of(self.features) if self._given is None else self._given

    @property
    def has_features(self) -> bool:
        """Whether more than the moments of their features can be known."""
        return self._given is None

    @property
    def probabilities(self) -> np.ndarray:
        """Of the data's classes, float32 [n, K]; for metrics that need `probabilities`."""
        assert self.described.probabilities is not None
        return self.described.probabilities


def _joined(parts: Sequence[Features]) -> Features:
    """Puts together what was said of images block by block."""
    if len(parts) == 1:
        return parts[0]
    probabilities = [each.probabilities for each in parts if each.probabilities is not None]
    modes = [each.modes for each in parts if each.modes is not None]
    return Features(
        np.concatenate([each.features for each in parts]),
        np.concatenate(probabilities) if probabilities else None,
        np.concatenate(modes) if modes else None,
        parts[0].num_modes,
    )


class Naming(Protocol):
    """What says which attributes images have, having learnt it from real ones.

    Attributes:
      attributes: in order.
      labels: of real images that it has not seen, float32 [n, A].
      named: what it says of these.
    """

    attributes: tuple[Attribute, ...]
    labels: np.ndarray
    named: np.ndarray

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Says of uint8 [n, H, W, C]: float32 [n, A], logits of what is 0 or 1, and numbers on any scale."""


@dataclasses.dataclass(frozen=True)
class Evidence(Kept):
    """What a metric looks at.

    Attributes:
      generated: the images to score.
      real: the reference, real images to compare with.
      train: what the generator was trained on.
      halves: two sets of real images without a common one, to say what real images would get.
      conditional: whether `generated` were asked for their labels.
      generate: the generator: latents float32 [n, latent_dim] and labels int32 [n] to uint8 images; for metrics that
        need `generator`.
      latent_dim: components of a latent.
      uniform: whether latents are uniform in [-1, 1], rather than normal.
      networks: functions of a run's other networks by name: of images, float32 [n, H, W, C] in [-1, 1], and labels,
        int32 [n], to what they output, in NumPy; noise that they take is zero. For metrics that need one of them.
      naming: says which attributes images have; for metrics of those.
      described_halves: some of both halves, not more than are generated, with what the extractor says of them, if that
        is known already; see `known_and_unseen`.
      describe_train: describes the training images, or very many of them, where there are unseen ones besides; see
        `known`.
    """

    generated: Samples
    real: Samples
    train: Images
    halves: tuple[Images, Images]
    conditional: bool = False
    generate: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    latent_dim: int = 0
    uniform: bool = False
    networks: Mapping[str, Callable[[np.ndarray, np.ndarray], Any]] = dataclasses.field(default_factory=dict)
    naming: Naming | None = None
    described_halves: tuple[Samples, Samples] | None = None
    describe_train: Callable[[], Samples] | None = None

    @functools.cached_property
    def known_and_unseen(self) -> tuple[Samples, Samples]:
        """Of each of the halves up to as many images as are generated, for metrics that need their features."""
        if self.described_halves is not None:
            return self.described_halves
        known, unseen = (self.generated.likewise(half).some(len(self.generated)) for half in self.halves)
        return known, unseen

    @property
    def known(self) -> Samples:
        """Images that were trained on, all if possible; without unseen ones, the first of `known_and_unseen`."""
        return self.known_and_unseen[0] if self.describe_train is None else self.describe_train()


Better = Literal["higher", "lower"]


class Metric:
    """A measure of quality. It may be derived from this class, or any other object with these attributes.

    What it can be told are parameters of the class, best as fields of a dataclass, so that a run can note them.

    Attributes:
      figures: names of the figures that it returns, in their order.
      needs: what it looks at besides pixels, of `NEEDS`. It is left out where that is missing.
      quick: whether it is worth its time during training as well; then each figure must be a single number.
      compared: whether its figures stand in the table of `python -m pipeline.compare`.
      floors: names of what `floor` returns; none if there is nothing to say of real images.
      higher_is_better: names of those figures of which a larger one is better; of the others, a smaller one is.
      neutral: names of those figures of which neither is, such as one that describes the reference.
      limits: the least and the largest that a figure can be, by name, where intervals end.

    It may also have a method `errors`, and one with `floors` a method `floor_errors`. Called as the metric itself and
    as `floor`, they return standard errors of the figures and of the floors, None for one that has none, in the same
    form. Of metrics without them, `pipeline.metrics.resampling` finds errors by measuring again and again.
    """

    figures: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()
    quick: ClassVar[bool] = True
    compared: ClassVar[bool] = True
    floors: ClassVar[tuple[str, ...]] = ()
    higher_is_better: ClassVar[tuple[str, ...]] = ()
    neutral: ClassVar[tuple[str, ...]] = ()
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def better(self, figure: str) -> Better | None:
        """Which figure is the better one: the higher, the lower, or, of floors and of neutral ones, neither."""
        return better(self, figure)

    def __call__(self, evidence: Evidence) -> Any:
        """Measures.

        Args:
          evidence: what there is to look at.

        Returns:
          A finite number, or a list of such, for each of `figures`: by itself if there is one, else a tuple.
        """
        raise NotImplementedError

    def floor(self, one: Samples, other: Samples) -> Any:
        """What real images get against other real ones, of the form of `__call__`, for each of `floors`."""
        raise NotImplementedError


def better(metric: Any, figure: str) -> Better | None:
    """The same as `Metric.better` of any object of that form."""
    if figure not in metric.figures or figure in getattr(metric, "neutral", ()):
        return None
    return "higher" if figure in getattr(metric, "higher_is_better", ()) else "lower"
