"""`--dataset=folder:/path`: images in a folder, flat or in one sub-folder per class."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.config import Config
from pipeline.data.fingerprint import folder_fingerprint
from pipeline.data.pixels import fit, probe, to_grey_or_rgb
from pipeline.data.source import Source
from pipeline.data_spec import DataSpec
from pipeline.errors import MirageError

PREFIX = "folder:"
_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"}


def open_folder(config: Config) -> Source:
    """Looks through all images of the folder that `config.dataset` names.

    Args:
      config: `dataset`, `split` and `image_size` count.

    Returns:
      The images, in an order that depends on the file names alone; grey if all files are, else RGB.

    Raises:
      MirageError: for a folder or file that can't be used.
    """
    root = Path(config.dataset.removeprefix(PREFIX)).expanduser()
    files, class_names = _list_images(config, root)
    chosen = files[_slice_of_split(config.split, len(files))]
    if not chosen:
        raise MirageError(f"--split={config.split} selects none of the {len(files)} images in {root}; widen it.")
    probes = [_open(path, probe) for path in chosen]
    if not config.image_size:
        _check_sizes(config, chosen, [size for size, _ in probes])
    width, height = (config.image_size, config.image_size) if config.image_size else probes[0][0]
    mode = "L" if all(grey for _, grey in probes) else "RGB"

    def examples() -> Iterator[tuple[np.ndarray, int]]:
        for path in chosen:
            image = _open(path, to_grey_or_rgb)
            image = (fit(image, config.image_size) if config.image_size else image).convert(mode)
            label = class_names.index(path.parent.name) if class_names else 0
            yield np.asarray(image).reshape(height, width, -1), label

    spec = DataSpec(config.dataset, "", (height, width, 1 if mode == "L" else 3), class_names, len(chosen))
    return Source(spec, examples(), lambda: folder_fingerprint(root, chosen, config.data_dir))


def _list_images(config: Config, root: Path) -> tuple[list[Path], tuple[str, ...]]:
    if not root.is_dir():
        raise MirageError(f"--dataset={config.dataset}: there is no folder {root}; expected a folder with images.")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in _ENDINGS and path.is_file())
    if not found:
        raise MirageError(
            f"--dataset={config.dataset}: no image below {root}; expected files that end in "
            f"{', '.join(sorted(_ENDINGS))}."
        )
    depths = {len(path.relative_to(root).parts) for path in found}
    if len(depths) > 1 or max(depths) > 2:
        raise MirageError(
            f"--dataset={config.dataset}: images lie at several depths below {root}; put all directly into it, or each "
            "into one sub-folder per class."
        )
    # Mixed by name, so that a slice of the split holds every class; stable when files are added.
    found.sort(key=lambda path: hashlib.sha256(str(path.relative_to(root)).encode()).digest())
    class_names = tuple(sorted({path.parent.name for path in found})) if depths == {2} else ()
    return found, class_names


def _slice_of_split(split: str, count: int) -> slice:
    match = re.fullmatch(r"train(?:\[(-?\d+%?)?:(-?\d+%?)?\])?", split)
    if not match:
        raise MirageError(
            f"--split={split} is unknown to an image folder; expected train or a slice of it, such as train[:80%]."
        )

    def position(text: str | None) -> int | None:
        if text is None:
            return None
        return round(count * int(text[:-1]) / 100) if text.endswith("%") else int(text)

    return slice(position(match[1]), position(match[2]))


def _open(path: Path, use: Callable[[Image.Image], Any]) -> Any:
    try:
        with Image.open(path) as file:
            return use(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MirageError(f"image {path} can't be read ({error}); mend or remove it.") from None


def _check_sizes(config: Config, files: list[Path], sizes: list[tuple[int, int]]) -> None:
    for path, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise MirageError(
                f"--dataset={config.dataset} mixes sizes: {files[0].name} is {sizes[0][0]}x{sizes[0][1]} and "
                f"{path.name} is {size[0]}x{size[1]}; set --image_size to bring all to one."
            )
