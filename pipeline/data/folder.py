"""`--dataset=folder:/path`: images in a folder, flat or in one sub-folder per class."""

import hashlib
import re
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.config import Config, DataSpec, MirageError
from pipeline.data.pixels import fit, to_grey_or_rgb

PREFIX = "folder:"
_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"}


def load_folder(config: Config) -> tuple[DataSpec, np.ndarray, np.ndarray]:
    """Reads all images of the folder that `config.dataset` names.

    Args:
      config: `dataset`, `split` and `image_size` count.

    Returns:
      (description, uint8 [N, H, W, C], labels int32 [N]), in an order that depends on the file names
      alone; C is 1 if all images are grey, else 3.

    Raises:
      MirageError: for a folder or file that can't be used.
    """
    root = Path(config.dataset.removeprefix(PREFIX)).expanduser()
    files, class_names = _list_images(config, root)
    chosen = files[_slice_of_split(config.split, len(files))]
    if not chosen:
        raise MirageError(f"--split={config.split} selects none of the {len(files)} images in {root}; widen it.")
    images = [_read(path, config.image_size) for path in chosen]
    _check_sizes(config, chosen, images)
    mode = "L" if all(image.mode == "L" for image in images) else "RGB"
    width, height = images[0].size
    pixels = np.stack([np.asarray(image.convert(mode)).reshape(height, width, -1) for image in images])
    labels = [class_names.index(path.parent.name) if class_names else 0 for path in chosen]
    spec = DataSpec(config.dataset, "", (height, width, pixels.shape[-1]), class_names, len(chosen))
    return spec, pixels, np.array(labels, np.int32)


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


def _read(path: Path, size: int) -> Image.Image:
    try:
        with Image.open(path) as file:
            image = to_grey_or_rgb(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MirageError(f"image {path} can't be read ({error}); mend or remove it.") from None
    return fit(image, size) if size else image


def _check_sizes(config: Config, files: list[Path], images: list[Image.Image]) -> None:
    for path, image in zip(files, images, strict=True):
        if image.size != images[0].size:
            raise MirageError(
                f"--dataset={config.dataset} mixes sizes: {files[0].name} is {_size(images[0])} and {path.name} is "
                f"{_size(image)}; set --image_size to bring all to one."
            )


def _size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"
