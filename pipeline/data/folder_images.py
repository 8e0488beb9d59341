"""The chosen images of a folder: looked at, decoded, and all bad ones told together."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.data.deep import Depths
from pipeline.data.image_file import BadImageError, read, several_pictures
from pipeline.data.notices import say_once
from pipeline.data.options import DataOptions
from pipeline.data.pixels import fit, in_mode, is_grey, to_grey_or_rgb, upright_size

_NAMED = 10
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Head:
    """What decides what all images are brought to.

    Attributes:
      size: (width, height).
      grey: whether the image has no colours.
      several: whether the file holds further pictures.
    """

    size: tuple[int, int]
    grey: bool
    several: bool


class Images:
    """The chosen images of a folder; iterating yields each as (path, image of one mode and size).

    Their heads are read at once. Pixels are decoded while iterating, and only then are damaged ones found; with
    `--skip_bad_images` all are decoded at once, and kept if a device could hold them.

    Attributes:
      paths: the images; with `--skip_bad_images`, those that can be read.
      heads: of each.
      size: (width, height) of all.
      mode: "L" if all are grey, else "RGB".
    """

    def __init__(self, options: DataOptions, root: Path, paths: list[Path]) -> None:
        """Looks at all images.

        Args:
          options: `dataset`, `image_size`, `skip_bad_images` and `device_data_mb` count.
          root: the data set's folder.
          paths: the images.

        Raises:
          MirageError: naming those that can't be read; with `skip_bad_images`, if none can be.
        """
        self._name, self._root, self._side = printable(options.dataset), root, options.image_size
        self._depths = Depths()
        self._bad: dict[Path, str] = {}
        self._kept: dict[Path, Image.Image] = {}
        heads = self._decode_all(options, paths) if options.skip_bad_images else self._look(paths)
        self.paths, self.heads = list(heads), list(heads.values())
        self.size = (self._side, self._side) if self._side else self.heads[0].size
        self.mode = "L" if all(head.grey for head in self.heads) else "RGB"
        several = sum(head.several for head in self.heads)
        if several:
            say_once(f"--dataset={self._name}: {several:,} files hold several pictures, of which the first is taken.")

    def __iter__(self) -> Iterator[tuple[Path, Image.Image]]:
        """Decodes; raises MirageError at the end if some images can't be."""
        for path in self.paths:
            image = self._kept.get(path) or self._try(path, self._decode)
            if image is None:
                continue
            if image.size != self.size:
                self._bad[path] = f"its pixels are {image.size[0]}x{image.size[1]}, other than its head says"
            elif self.mode == "L" != image.mode:
                self._bad[path] = "its pixels have colours, other than its head says"
            else:
                yield path, in_mode(image, self.mode)
        self._refuse_bad(len(self.paths))
        if warning := self._depths.warning():
            say_once(f"warning: --dataset={self._name}: {warning}")

    def _look(self, paths: list[Path]) -> dict[Path, Head]:
        heads = {path: head for path in paths if (head := self._try(path, self._head)) is not None}
        if self._bad:  # so the others are decoded only to name all bad ones at once
            for path in heads:
                self._try(path, self._decode)
            self._refuse_bad(len(paths))
        return heads

    def _decode_all(self, options: DataOptions, paths: list[Path]) -> dict[Path, Head]:
        heads, room = {}, options.device_data_mb * 2**20
        for path in paths:
            pair = self._try(path, lambda file: (self._decode(file), several_pictures(file)))
            if pair is None:
                continue
            image, several = pair
            heads[path] = Head(image.size, image.mode == "L", several)
            room -= image.size[0] * image.size[1] * len(image.getbands())
            if room >= 0:
                self._kept[path] = Image.fromarray(np.array(image))  # without metadata
        if not heads:
            self._refuse_bad(len(paths))
        if room < 0:
            self._kept.clear()  # a larger data set is decoded into a file, once
            self._depths = Depths()
        if self._bad:
            say_once(
                f"warning: --dataset={self._name}: --skip_bad_images leaves out {len(self._bad):,} of {len(paths):,} "
                f"images: {self._bad_ones()}."
            )
            self._bad.clear()
        return heads

    def _head(self, file: Image.Image) -> Head:
        size = (self._side, self._side) if self._side else upright_size(file)
        return Head(size, is_grey(file), several_pictures(file))

    def _decode(self, file: Image.Image) -> Image.Image:
        image = to_grey_or_rgb(file, self._depths)
        return fit(image, self._side) if self._side else image

    def _try(self, path: Path, use: Callable[[Image.Image], _T]) -> _T | None:
        try:
            return read(path, use)
        except BadImageError as error:
            self._bad[path] = str(error)
            return None

    def _bad_ones(self) -> str:
        named = [
            f"{printable(path.relative_to(self._root))} ({why})" for path, why in sorted(self._bad.items())[:_NAMED]
        ]
        if len(self._bad) > _NAMED:
            named.append(f"and {len(self._bad) - _NAMED:,} more")
        return ", ".join(named)

    def _refuse_bad(self, count: int) -> None:
        if len(self._bad) == 1:
            [(path, why)] = self._bad.items()
            raise MirageError(
                f"image {printable(path)} can't be read ({why}); mend or remove it, or leave it out with "
                "--skip_bad_images."
            )
        if self._bad:
            raise MirageError(
                f"--dataset={self._name}: {len(self._bad):,} of {count:,} images can't be read: {self._bad_ones()}; "
                "mend or remove them, or leave them out with --skip_bad_images."
            )
