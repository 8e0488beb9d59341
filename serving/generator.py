"""The edge runtime: an exported generator in onnxruntime."""

from __future__ import annotations  # which inner functions would otherwise compute each time

import functools
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.arguments import INT64, described, factor, matrix, whole
from serving.attributes import Attributes, AttributeValues
from serving.contract.attributes import Attribute
from serving.contract.latents import between, latents, slerp
from serving.contract.manifest import (
    CHUNK_KEY,
    GENERATOR_FILE,
    INT8_FILE,
    METADATA_KEY,
    PART_FILES,
    BundleError,
    ModelInfo,
    parse_chunk,
    parse_model_info,
    read_manifest,
    verify_file,
)
from serving.drawing import Rows, draw, room_for
from serving.labels import Classes, Labels
from serving.runtime import ort
from serving.session import (
    Network,
    available_cpus,
    check_signature,
    open_session,
    read_model,
    session_of,
)
from serving.styled import Condition, Origin, Styled

__all__ = ["GENERATOR_FILES", "Generator", "available_cpus", "between", "open_session", "slerp"]

# Larger batches are cut: convolutions gain nothing from them, and fresh large buffers cost more than the arithmetic.
# A file may say otherwise, as fully connected ones do, which would read all their weights again for each part.
_CHUNK = 16
_MAX_THREADS = 1024
GENERATOR_FILES = {"float32": GENERATOR_FILE, "int8": INT8_FILE}


class Generator(Styled):
    """Makes images from seeds or latents, on the CPU.

    The same seed and label, or attributes, give the same picture, whatever else is in the batch: to the last bit on
    the x86-64 CPUs that were tested, with 1 to 8 threads; onnxruntime itself promises no more than
    float rounding, which can move a pixel by one level on another kind of CPU. An instance may be
    used from several threads at once, and in processes that are forked. It can be pickled and
    copied; its file is then loaded again, and must still be there.

    Attributes:
      info: latent size, image shape, classes, attributes and styles.
    """

    def __init__(
        self, session: ort.InferenceSession, info: ModelInfo, chunk: int = _CHUNK, source: Origin | None = None
    ) -> None:
        """Wraps a session; use `Generator.load`."""
        self.info = info
        has_threads = source is not None and source.threads != 1
        self._network = Network(session, functools.partial(_session_again, type(self), source) if has_threads else None)
        self._parts = {}
        self._chunk = chunk
        self._source = source
        self._classes, self._attributes = Classes(info.class_names), Attributes(info.attributes)
        self._condition = info.condition

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int | None = None, precision: str = "float32") -> Self:
        """Loads a generator.

        Args:
          path: a bundle's folder, whose checksum is verified, or a single `.onnx` file of Mirage's.
          threads: CPU threads per call, 1 to 1024; by default all CPUs that this process may use.
          precision: of a bundle, which of its generators: "float32", or "int8" where the export found it good.

        Returns:
          The generator.

        Raises:
          BundleError: if there is no usable generator at `path`.
          ValueError: if `path` is no path, `threads` not in the range, or the precision another.
        """
        if not isinstance(precision, str) or precision not in GENERATOR_FILES:
            raise ValueError(f"precision is {described(precision)}; expected one of {', '.join(GENERATOR_FILES)}.")
        if threads is not None:
            threads = whole("threads", threads, 1, _MAX_THREADS)
        if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
            raise ValueError(f"path is {described(path)}; expected text or a pathlib.Path.")
        file = Path(path)
        expected = None
        parts: tuple[tuple[str, str], ...] = ()
        if file.suffix != ".onnx" or os.path.isdir(file):
            manifest = read_manifest(file)
            expected = manifest.model
            if expected.styles:
                parts = tuple((each, manifest.files[each]) for each in PART_FILES if each in manifest.files)
            file = verify_file(file, manifest, GENERATOR_FILES[precision])
        data = read_model(file)
        session = session_of(data, file, threads or min(available_cpus(), _MAX_THREADS))
        metadata = session.get_modelmeta().custom_metadata_map
        text = metadata.get(METADATA_KEY)
        if text is None:
            raise BundleError(f"{file} has no metadata {METADATA_KEY!r}; it was not written by `python -m export`.")
        try:
            info = parse_model_info(text)
            chunk = parse_chunk(metadata.get(CHUNK_KEY, str(_CHUNK)))
            check_signature(session, info)
        except BundleError as error:
            raise BundleError(f"{file} can't be used: {error}") from None
        if expected is not None and info != expected:
            raise BundleError(f"{file} and its manifest describe different models; export the bundle again.")
        return cls(session, info, chunk, Origin(os.path.abspath(path), threads, precision, data[-64:], parts))

    def __reduce__(self) -> tuple[Any, ...]:
        if self._source is None:
            raise TypeError("a generator that was made of a session can't be pickled or copied; use Generator.load.")
        return _load_again, (type(self), self._source)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images."""
        return self.info.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in label order; empty if the generator takes no labels."""
        return self.info.class_names

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes in order, each with `name`, `low`, `high` and `typical`; empty if it takes none."""
        return self.info.attributes

    @property
    def latent_dim(self) -> int:
        """Number of components of a latent."""
        return self.info.latent_dim

    @property
    def chunk(self) -> int:
        """Largest batch that is worth running at once; `sample` and `decode` cut what exceeds it."""
        return self._chunk

    @property
    def seal(self) -> str:
        """SHA-256 of what its file held when it was loaded, in hexadecimal; empty if it was made of a session."""
        return self._source.seal.decode() if self._source is not None else ""

    def sample(
        self,
        n: int,
        seed: int = 0,
        labels: Labels = None,
        *,
        attributes: AttributeValues = None,
        truncation: float = 1.0,
    ) -> NDArray[np.uint8]:
        """Makes `n` images; image i has the seed `seed + i`.

        Args:
          n: number of images, 0 or more.
          seed: seed of the first image, an int64.
          labels: for a conditional generator: one label or class name for all images, or an iterable of one for each;
            None takes the classes in turn, image i being of class i modulo the number of classes. A label is a position
            in `class_names`; where a name is a number, that number means the class of this name, and is refused if
            it is another one's position.
          attributes: for a generator of attributes: a mapping of names to a number, or to one for each image; one
            mapping for each image; or numbers in order, for all images or [n, ...]. What is left out is typical.
          truncation: factor of the latents or, where there are styles, of their distance from the mean style (ψ, see
            `map`); less than 1 makes pictures more usual and more alike.

        Returns:
          uint8 [n, H, W, C].

        Raises:
          ValueError: for n, seed, labels, attributes or a truncation that don't fit.
          BundleError: if the file, sound as it looked, can't be run.
        """
        n = whole("n", n, 0, INT64[1])
        seed = whole("seed", seed, *INT64)
        if seed + n - 1 > INT64[1]:
            raise ValueError(f"seed {seed} with n = {n} leaves the range of int64; choose a smaller one.")
        law = self.info.latent_distribution

        def latents_of(start: int, stop: int) -> NDArray[np.float32]:
            return latents(np.int64(seed) + np.arange(start, stop, dtype=np.int64), self.latent_dim, law)

        return self._draw(n, latents_of, labels, attributes, truncation)

    def decode(
        self, z: ArrayLike, labels: Labels = None, *, attributes: AttributeValues = None, truncation: float = 1.0
    ) -> NDArray[np.uint8]:
        """Makes an image of each latent.

        Args:
          z: real numbers [n, latent_dim], converted to float32.
          labels: as for `sample`.
          attributes: as for `sample`.
          truncation: as for `sample`.

        Returns:
          uint8 [n, H, W, C].

        Raises:
          ValueError: for latents of another shape or not finite, or labels or attributes that don't fit.
          BundleError: as for `sample`.
        """
        array = matrix("z", z, self.latent_dim)
        return self._draw(len(array), lambda start, stop: array[start:stop], labels, attributes, truncation)

    def interpolate(
        self,
        first: int,
        last: int,
        n: int,
        labels: Labels = None,
        *,
        attributes: AttributeValues = None,
        truncation: float = 1.0,
    ) -> NDArray[np.uint8]:
        """Walks from one seed's image to another's.

        Normal latents lie on the great arc between the two (White 2016, arXiv 1609.04468), because the straight line
        passes through latents shorter than almost all that the generator was trained on; uniform ones lie on that line.

        Args:
          first: seed of the first image.
          last: seed of the last image.
          n: number of images, both ends included; at least 2.
          labels: as for `sample`, but None means class 0 throughout.
          attributes: as for `sample`; those with a number for each image change on the way.
          truncation: as for `sample`.

        Returns:
          uint8 [n, H, W, C].

        Raises:
          ValueError: for n below 2, or seeds, labels or attributes that don't fit.
          BundleError: as for `sample`.
        """
        n = whole("n", n, 2, INT64[1])
        seeds = [whole(name, value, *INT64) for name, value in (("first", first), ("last", last))]
        ends = latents(seeds, self.latent_dim, self.info.latent_distribution)
        labels = 0 if labels is None and self.info.class_names else labels

        def latents_of(start: int, stop: int) -> NDArray[np.float32]:
            return between(ends[0], ends[1], np.linspace(0, 1, n)[start:stop], self.info.latent_distribution)

        return self._draw(n, latents_of, labels, attributes, truncation)

    def images(
        self, z: NDArray[np.float32], condition: Condition, truncation: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Runs the network once, on a batch as it is: for programs that form batches themselves.

        Args:
          z: float32 [n, latent_dim], finite.
          condition: labels or attributes, as `condition` returns them.
          truncation: float32 [n], or [1] for all; None is 1.

        Returns:
          float32 [n, H, W, C] in [-1, 1]; `to_pixels`, with `info.alpha`, makes uint8 of them.
        """
        feeds = {"z": z} if condition is None else {"z": z, self._condition: condition}
        if truncation is not None and self.info.styles:
            feeds["truncation"] = truncation
        elif truncation is not None:
            with np.errstate(over="ignore"):  # of which the network makes NaN
                feeds["z"] = z * truncation[:, None]
        return self._network.run("image", feeds)

    def condition(self, labels: Labels, attributes: AttributeValues, n: int) -> Condition:
        """Makes an array of the labels or the attributes that `sample` takes.

        Args:
          labels: as for `sample`.
          attributes: as for `sample`.
          n: number of images.

        Returns:
          Of labels int64 [n], of attributes float32 [n, number of attributes]; None if the generator takes neither.

        Raises:
          ValueError: for those that don't fit, or that the generator doesn't take.
        """
        kind = self._condition
        if kind == "label" and attributes is None:
            return self._classes.positions(labels, n)
        if attributes is not None and kind != "attributes":
            what = "takes labels" if kind else "is unconditional"
            raise ValueError(f"attributes were passed, but this generator {what}; leave them out.")
        if labels is not None and kind != "label":
            what = f"takes attributes ({self._attributes.names})" if kind else "is unconditional"
            raise ValueError(f"labels were passed, but this generator {what}; leave them out.")
        return self._attributes.values(attributes, n) if kind else None

    def check_labels(self, labels: Labels, n: int) -> Condition:
        """As `condition`, of labels alone."""
        return self.condition(labels, None, n)

    def check_condition(self, values: NDArray, n: int) -> NDArray:
        """Checks what the ONNX files themselves take: positions in `class_names`, or all attributes.

        Args:
          values: integers [n] that shall mean nothing else than positions, or numbers [n, number of attributes].
          n: number of images.

        Returns:
          Of positions int64 [n], of attributes float32 [n, number of attributes].

        Raises:
          ValueError: for those that don't fit, or if the generator takes neither.
        """
        if not self._condition:
            self.condition(values, None, n)
        return (self._attributes if self.attributes else self._classes).check(values, n)

    def _draw(
        self, n: int, latents_of: Rows, labels: Labels, attributes: AttributeValues, truncation: float
    ) -> NDArray[np.uint8]:
        scale = factor("truncation", truncation)
        psi = np.array([scale], np.float32) if scale != 1 and self.info.styles else None
        rows_of = latents_of if scale == 1 or self.info.styles else _scaled(latents_of, np.float32(scale))
        room = None if 0 < n <= self._chunk else room_for(n, self.info)
        condition = self.condition(labels, attributes, n)

        def images_of(z: NDArray[np.float32], place: slice) -> NDArray[np.float32]:
            return self.images(z, None if condition is None else condition[place], psi)

        return draw(n, self.info, self._chunk, rows_of, images_of, room)


def _scaled(latents_of: Rows, scale: np.float32) -> Rows:
    def scaled(start: int, stop: int) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # of which the network makes NaN
            return latents_of(start, stop) * scale

    return scaled


def _load_again(kind: type[Generator], source: Origin) -> Generator:
    generator = kind.load(source.path, threads=source.threads, precision=source.precision)
    if generator._source != source:
        raise BundleError(f"{source.path} has changed since it was loaded; load it with Generator.load.")
    return generator


def _session_again(kind: type[Generator], source: Origin | None) -> ort.InferenceSession:
    assert source is not None
    return _load_again(kind, source)._network.session
