"""The chosen picture files of a data set: looked at, decoded by all cores, and all bad ones told together."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from pipeline.base.ahead import ahead
from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.data.collection import Collection
from pipeline.data.deep import Depths
from pipeline.data.encoded import encode
from pipeline.data.fingerprint import memory_of
from pipeline.data.image_file import BadImageError, read
from pipeline.data.looks import Looks, fingerprint, look
from pipeline.data.notices import say_once
from pipeline.data.options import DataOptions
from pipeline.data.pixels import fit, in_mode, to_grey_or_rgb, wrong_size

_NAMED = 10
_T = TypeVar("_T")


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
        self._keep = options.transparency == "keep" and bool(self.looks.transparent.any())
        self.mode = "RGBA" if self._keep else "L" if self.looks.grey.all() else "RGB"
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
        return self._each(start, self._content)

    def examples(self, start: int) -> Iterator[np.ndarray]:
        """Decodes.

        Args:
          start: number of the first one among the chosen.

        Yields:
          uint8 [H, W, C], in order.

        Raises:
          MirageError: at the end, if some can't be decoded.
        """
        return self._each(start, self._decode)

    def _each(self, start: int, make: Callable[[int, Depths], _T | str]) -> Iterator[_T]:
        bad: dict[int, str] = {}
        depths = Depths()
        for number, result in enumerate(ahead(lambda each: make(each, depths), start, len(self)), start):
            if isinstance(result, str):
                bad[int(self.chosen[number])] = result
            elif not bad:
                yield result
        self._refuse(bad, len(self))
        if warning := depths.warning():
            say_once(f"warning: --dataset={self._name}: {warning}")

    def _decode(self, number: int, depths: Depths) -> np.ndarray | str:
        """Returns the pixels, or why they can't be had."""
        try:
            image = read(self._files.read(int(self.chosen[number])), self._fitted(depths))
        except BadImageError as error:
            return str(error)
        if image.size != self.size[::-1]:
            return f"its pixels are {image.height}x{image.width}, other than its head says"
        if self.mode == "L" != image.mode:
            return "its pixels have colours, other than its head says"
        return np.asarray(in_mode(image, self.mode)).reshape(self.image_shape)

    def _content(self, number: int, depths: Depths) -> bytes | str:
        """Returns the file itself, if its picture is of the right size, else a small one; or why it can't be had."""
        pixels = self._decode(number, depths)
        if isinstance(pixels, str):
            return pixels
        if self._keep or tuple(self.looks.sizes[number]) != self.size[::-1]:
            return encode(pixels)
        try:
            return self._files.read(int(self.chosen[number]))
        except BadImageError as error:
            return str(error)

    def _fitted(self, depths: Depths) -> Callable[[Image.Image], Image.Image]:
        size, how = self._options.prepared_size, self._options.fit

        def decode(file: Image.Image) -> Image.Image:
            image = to_grey_or_rgb(file, depths, keep=self._options.transparency == "keep")
            return image if size is None else fit(image, size, how)

        return decode

    def _look(self, options: DataOptions) -> Looks:
        memory, decode = memory_of(self._files.root, options.data_dir), self._fitted(Depths())
        looks = look(self._files, memory, self._name, decode if options.skip_bad_images else None)
        bad = looks.bad
        if options.skip_bad_images and len(bad) < len(self._files):
            if bad:
                say_once(
                    f"warning: --dataset={self._name}: --skip_bad_images leaves out {len(bad):,} of "
                    f"{len(self._files):,} images: {self._told(bad)}."
                )
        elif bad:  # so the others are decoded only to name all bad ones at once
            self._refuse(bad | look(self._files, memory, self._name, decode).bad, len(self._files))
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
