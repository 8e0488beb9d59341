"""Styles, of generators that map latents to them: the parts of such a generator by themselves."""

from __future__ import annotations  # which inner functions would otherwise compute each time

import abc
import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.arguments import INT64, described, factor, integer, matrix, whole
from serving.attributes import AttributeValues
from serving.contract.latents import latents
from serving.contract.manifest import (
    MAPPING_FILE,
    METADATA_KEY,
    SYNTHESIS_FILE,
    BundleError,
    ModelInfo,
    parse_model_info,
    shown,
)
from serving.drawing import BLOCK, draw, room_for
from serving.labels import Labels
from serving.runtime import ort
from serving.session import Network, available_cpus, check_tensors, first_line, inputs_of, read_model, session_of

# What a picture shall be of, for each: labels int64 [n], attributes float32 [n, number of them], or neither.
Condition = NDArray[Any] | None


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a generator comes from, to load it again, or its parts.

    Attributes:
      path: absolute; a bundle or a single file.
      threads: as given to `Generator.load`.
      precision: as given to `Generator.load`.
      seal: the end of the file's seal, by which another file would be noticed.
      parts: of a bundle with styles, SHA-256 of the files of mapping and synthesis, by name.
    """

    path: str
    threads: int | None
    precision: str
    seal: bytes
    parts: tuple[tuple[str, str], ...] = ()


class Styled(abc.ABC):
    """What a generator does with styles, if it has any; see `Generator`."""

    info: ModelInfo
    _chunk: int
    _source: Origin | None
    _parts: dict[str, Network]

    @abc.abstractmethod
    def condition(self, labels: Labels, attributes: AttributeValues, n: int) -> Condition:
        """Makes an array of the labels or the attributes."""

    def map(
        self,
        z: ArrayLike | None = None,
        labels: Labels = None,
        *,
        seeds: ArrayLike | None = None,
        attributes: AttributeValues = None,
        truncation: float = 1.0,
    ) -> NDArray[np.float32]:
        """Maps latents, or seeds, to styles: w of Karras et al. 2018 (arXiv 1812.04948).

        Args:
          z: real numbers [n, latent_dim], converted to float32; or else `seeds`.
          labels: as for `sample`.
          seeds: int64 [n], or one, in place of `z`: those of `sample`.
          attributes: as for `sample`.
          truncation: ψ: styles become mean + ψ (w - mean). At 0 all are the mean; less than 1 makes pictures more usual
            and more alike.

        Returns:
          float32 [n, L, W], a style of W components for each of L layers; `info.styles` says how many.

        Raises:
          ValueError: for arguments that don't fit, or of a generator without styles.
          BundleError: if the bundle's `mapping.onnx` can't be used.
        """
        network = self._part("map", MAPPING_FILE)
        if (z is None) == (seeds is None):
            given = "neither" if z is None else "both"
            raise ValueError(f"map takes z or seeds, and {given} of them was passed; pass one.")
        law, size = self.info.latent_distribution, self.info.latent_dim
        latent = latents(_integers(seeds), size, law) if z is None else matrix("z", z, size)
        scale, condition = factor("truncation", truncation), self.condition(labels, attributes, len(latent))
        parts = [np.zeros((0, *self._styles("map")), np.float32)]
        for start in range(0, len(latent), BLOCK):
            place = slice(start, start + BLOCK)
            feeds = {"z": latent[place]}
            if condition is not None:
                feeds[self.info.condition] = condition[place]
            if scale != 1:
                feeds["truncation"] = np.array([scale], np.float32)
            try:
                parts.append(network.run("w", feeds))
            except BundleError:
                raise
            except Exception as error:  # onnxruntime's exceptions share no better base class
                raise BundleError(f"{MAPPING_FILE} can't be run ({first_line(error)}); export it again.") from None
        w = np.concatenate(parts) if len(parts) != 2 else parts[1]
        if w.shape != (len(latent), *self._styles("map")):
            raise BundleError(f"{len(latent)} latents gave styles of the shape {w.shape}; export the bundle again.")
        if not np.isfinite(w).all():
            raise ValueError("the mapping gives no finite numbers for these; pass a smaller truncation or z.")
        return w

    def synthesise(self, w: ArrayLike) -> NDArray[np.uint8]:
        """Makes an image of each set of styles.

        Args:
          w: real numbers [n, L, W], converted to float32: what `map` and `mix` return, or anything between.

        Returns:
          uint8 [n, H, W, C]; of `map(z)` the images of `decode(z)`.

        Raises:
          ValueError: for styles of another shape or not finite, or of a generator without styles.
          BundleError: if the bundle's `synthesis.onnx` can't be used.
        """
        network = self._part("synthesise", SYNTHESIS_FILE)
        styles = matrix("w", w, *self._styles("synthesise"))
        n = len(styles)

        def images_of(part: NDArray[np.float32], place: slice) -> NDArray[np.float32]:
            return network.run("image", {"w": part})

        room = None if 0 < n <= self._chunk else room_for(n, self.info)
        return draw(n, self.info, self._chunk, lambda start, stop: styles[start:stop], images_of, room)

    def mix(self, coarse: ArrayLike, fine: ArrayLike, layers: int) -> NDArray[np.float32]:
        """Joins the first layers' styles of one picture and the others' of another (section 3.1).

        Early layers, of few pixels, decide pose and shape; late ones colours and detail.

        Args:
          coarse: real numbers [n, L, W], whose first `layers` layers are taken.
          fine: real numbers [n, L, W], whose others are; either may be of one picture, for all of the other's.
          layers: from 0, all of `fine`, to L, all of `coarse`.

        Returns:
          float32 [n, L, W].

        Raises:
          ValueError: for arguments that don't fit, or of a generator without styles.
        """
        shape = self._styles("mix")
        place = whole("layers", layers, 0, shape[0])
        first, last = matrix("coarse", coarse, *shape), matrix("fine", fine, *shape)
        if len(first) != len(last) and 1 not in (len(first), len(last)):
            raise ValueError(f"coarse has {len(first)} pictures and fine {len(last)}; expected as many, or one of one.")
        first, last = np.broadcast_arrays(first, last)
        return np.concatenate([first[:, :place], last[:, place:]], axis=1)

    def _styles(self, what: str) -> tuple[int, int]:
        if self.info.styles is None:
            raise ValueError(
                f"{what} was called, but this generator has no styles: it does not consist of a mapping and a "
                "synthesis, as those of --model=stylegan2 do."
            )
        return self.info.styles

    def _part(self, what: str, file: str) -> Network:
        """A part, which is opened when it is first asked for: who only draws needs none."""
        self._styles(what)
        if file not in self._parts:
            if self._source is None or not self._source.parts:
                raise ValueError(
                    f"{what} was called, but the generator was loaded from a single file; load the bundle's folder, "
                    f"which holds {MAPPING_FILE} and {SYNTHESIS_FILE}."
                )
            opened = functools.partial(_opened, self._source, file, self.info)
            self._parts[file] = Network(opened(), opened if self._source.threads != 1 else None)
        return self._parts[file]


def _opened(source: Origin, file: str, info: ModelInfo) -> ort.InferenceSession:
    path = Path(source.path) / file
    digest = dict(source.parts).get(file)
    if digest is None:
        raise BundleError(f"{source.path} lists no {file}; export it again with --formats=onnx.")
    data = read_model(path)
    if hashlib.sha256(data).hexdigest() != digest:
        raise BundleError(f"{path} does not have the checksum of its manifest; copy or export the bundle again.")
    session = session_of(data, path, source.threads or available_cpus())
    style = {"w": ("tensor(float)", info.styles or ())}
    try:
        if parse_model_info(session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")) != info:
            raise BundleError("it and the generator describe different models; export the bundle again.")
        if file == MAPPING_FILE:
            check_tensors(session, inputs_of(info), style, truncated=True)
        else:
            check_tensors(session, style, {"image": ("tensor(float)", info.image_shape)})
    except BundleError as error:
        raise BundleError(f"{path} can't be used: {error}") from None
    return session


def _integers(seeds: Any) -> list[int]:
    if integer(seeds) is not None:
        seeds = [seeds]
    try:
        values = list(seeds)
    except TypeError:
        raise ValueError(f"seeds is {described(seeds)}; expected integers.") from None
    if isinstance(seeds, str | bytes):
        raise ValueError(f"seeds is {shown(seeds)}; expected integers.")
    return [whole("seeds", each, *INT64) for each in values]
