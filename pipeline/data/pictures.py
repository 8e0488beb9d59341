"""The chosen picture files of a data set: looked at, decoded by all cores, and all bad ones told together."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.base.crew import CHUNK, by_all_cores
from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.data.collection import Collection
from pipeline.data.decoding import Decoding, Way
from pipeline.data.deep import Depths
from pipeline.data.fingerprint import memory_of
from pipeline.data.looks import Looks, fingerprint, look
from pipeline.data.notices import say_once
from pipeline.data.options import DataOptions
from pipeline.data.pixels import wrong_size

_NAMED = 10
_CHUNK_BYTES = 2**21


class Pictures:
    """The pictures of a collection, all of one size and mode.

    The files are looked at at once. Pixels are decoded when they are asked for, and only then are damaged ones found;
    with `--skip_bad_images` all are decoded at once to find them.

    Attributes:
      chosen: numbers of the files; with `--skip_bad_images`, of those that can be read.
      looks: of each of these.
      size: (height, width) of all.
      mode: "RGBA" if some are transparent and that is kept; "L" if all are grey, else "RGB".
    """

    def __init__(self, options: DataOptions, files: Collection) -> None:
        """Looks at all files.

        Args:
          options: all but `split`, `labels` and `class_depth` count.
          files: the files.

        Raises:
          MirageError: naming those that can't be read; with `skip_bad_images`, if none can be.
        """
        self._name, self._files, self._options = printable(options.dataset), files, options
        looks = self._look(options)
        self.chosen = np.setdiff1d(np.arange(len(files)), list(looks.bad))
        self.looks = looks.chosen(self.chosen)
        size = options.prepared_size
        if size is None or options.fit == "none":
            self._check_sizes()
        width, height = map(int, self.looks.sizes[0])
        self.size = (height, width) if size is None else size
        keep = options.transparency == "keep" and bool(self.looks.transparent.any())
        self.mode = "RGBA" if keep else "L" if self.looks.grey.all() else "RGB"
        several = int(self.looks.several.sum())
        if several:
            say_once(f"--dataset={self._name}: {several:,} files hold several pictures, of which the first is taken.")

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.chosen)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return *self.size, Image.getmodebands(self.mode)

    def identify(self) -> str:
        """The pictures' fingerprint: by their files' names and bytes."""
        return fingerprint([self._files.names[each] for each in self.chosen], self.looks)

    def contents(self, start: int) -> Iterator[bytes]:
        """Like `examples`, but picture files of which the same pixels can be decoded."""
        right = (self.looks.sizes[:, ::-1] == self.size).all(axis=1) & (self.mode != "RGBA")
        return self._each(start, right)

    def examples(self, start: int) -> Iterator[np.ndarray]:
        """Decodes.

        Args:
          start: number of the first one among the chosen.

        Yields:
          uint8 [H, W, C], in order.

        Raises:
          MirageError: at the end, if some can't be decoded.
        """
        return self._each(start, None)

    def _each(self, start: int, as_they_are: NDArray[np.bool_] | None) -> Iterator[Any]:
        bad: dict[int, str] = {}
        depths = Depths()
        chunk = max(1, min(CHUNK, _CHUNK_BYTES // math.prod(self.image_shape)))
        job = Decoding(self._files, self.chosen, Way.of(self._options), self.size, self.mode, as_they_are)
        for number, (result, used) in enumerate(by_all_cores(job, start, len(self), chunk), start):
            if used is not None:
                depths.add(*used)
            if isinstance(result, str):
                bad[int(self.chosen[number])] = result
            elif not bad:
                yield result
        self._refuse(bad, len(self))
        if warning := depths.warning():
            say_once(f"warning: --dataset={self._name}: {warning}")

    def _look(self, options: DataOptions) -> Looks:
        memory, way = memory_of(self._files.root, options.data_dir), Way.of(options)
        looks = look(self._files, memory, self._name, way if options.skip_bad_images else None)
        bad = looks.bad
        if options.skip_bad_images and len(bad) < len(self._files):
            if bad:
                say_once(
                    f"warning: --dataset={self._name}: --skip_bad_images leaves out {len(bad):,} of "
                    f"{len(self._files):,} images: {self._told(bad)}."
                )
        elif bad:  # so the others are decoded only to name all bad ones at once
            self._refuse(bad | look(self._files, memory, self._name, way).bad, len(self._files))
        return looks

    def _check_sizes(self) -> None:
        sizes = self.looks.sizes[:, ::-1]
        expected = sizes[0] if self._options.prepared_size is None else self._options.prepared_size
        others = np.flatnonzero((sizes != expected).any(axis=1))
        if not len(others):
            return
        if self._options.prepared_size is not None:
            height, width = map(int, sizes[others[0]])
            one = printable(self._files.names[int(self.chosen[others[0]])])
            raise wrong_size(self._options, f"--dataset={self._name}", one, (height, width))
        (one, first), (other, size) = ((self._path(self.chosen[row]).name, sizes[row]) for row in (0, others[0]))
        raise MirageError(
            f"--dataset={self._name} mixes sizes: {printable(one)} is {first[0]}x{first[1]} and {printable(other)} is "
            f"{size[0]}x{size[1]}; set --image_size to bring all to one."
        )

    def _path(self, index: int) -> Path:
        return self._files.path(int(index))

    def _told(self, bad: dict[int, str]) -> str:
        by_name = sorted((self._files.names[index], why) for index, why in bad.items())
        named = [f"{printable(name)} ({why})" for name, why in by_name[:_NAMED]]
        if len(bad) > _NAMED:
            named.append(f"and {len(bad) - _NAMED:,} more")
        return ", ".join(named)

    def _refuse(self, bad: dict[int, str], count: int) -> None:
        if len(bad) == 1:
            [(index, why)] = bad.items()
            raise MirageError(
                f"image {printable(self._path(index))} can't be read ({why}); mend or remove it, or leave it out with "
                "--skip_bad_images."
            )
        if bad:
            raise MirageError(
                f"--dataset={self._name}: {len(bad):,} of {count:,} images can't be read: {self._told(bad)}; "
                "mend or remove them, or leave them out with --skip_bad_images."
            )
