"""Golden vectors: inputs and outputs to check a port, or another machine, against."""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from export.conditions import conditions
from export.formats import Generate
from serving.contract.files import read_file
from serving.contract.latents import latents
from serving.contract.manifest import GOLDEN_FILE, BundleError, ModelInfo
from serving.contract.pixels import to_pixels

_SEEDS = (*range(12), -1, 2**31, 2**63 - 1, -(2**63))
_MAX_IMAGES = 256


def write_golden(folder: Path, info: ModelInfo, reference: Generate) -> None:
    """Writes `golden.npz`, the same bytes for the same arrays.

    It holds `seed` int64 [n], `label` int64 [n] or `attributes` float32 [n, number of them], the seeds' latents `z`
    float32 [n, latent_dim], `image` float32 [n, H, W, C] and `pixels` uint8 [n, H, W, C]; labels are zeros if the
    generator takes nothing.

    Args:
      folder: where to write.
      info: the generator's description.
      reference: the trained network.
    """
    seed = np.array(_SEEDS, np.int64)
    condition = conditions(np.arange(len(seed)), info)
    z = latents(seed, info.latent_dim, info.latent_distribution)
    image = reference(z, condition)
    pixels = to_pixels(image, info.alpha)
    arrays: dict[str, np.ndarray] = {
        "seed": seed,
        _condition(info): condition,
        "z": z,
        "image": image,
        "pixels": pixels,
    }
    with zipfile.ZipFile(folder / GOLDEN_FILE, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, array)
            # numpy.savez would write the time.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), data.getvalue())


def read_golden(path: Path, info: ModelInfo) -> dict[str, NDArray]:
    """Reads `golden.npz`, each array only after a look at what it says of itself.

    Args:
      path: the file.
      info: the generator's description.

    Returns:
      The arrays that `write_golden` names.

    Raises:
      BundleError: if it is no such file, or its arrays are not those of the generator.
    """
    kinds = _kinds(info)
    limit = 2**20 + _MAX_IMAGES * sum(_bytes_of(dtype, shape) for dtype, shape in kinds.values())
    try:
        with zipfile.ZipFile(io.BytesIO(read_file(path, limit))) as archive:
            if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in kinds):
                raise BundleError(f"{path} must hold the arrays {', '.join(kinds)}; export the bundle again.")
            counts = {_count(archive, name, *kind) for name, kind in kinds.items()}
            if len(counts) != 1 or not 1 <= min(counts) <= _MAX_IMAGES:
                raise BundleError(f"{path} has arrays of {sorted(counts)} images; expected 1 to {_MAX_IMAGES} in all.")
            return {name: npy.read_array(io.BytesIO(archive.read(f"{name}.npy"))) for name in kinds}
    except OSError as error:
        raise BundleError(f"{path} can't be read ({error.strerror or error}); export the bundle again.") from None
    except BundleError:
        raise
    except Exception as error:  # zipfile, zlib and numpy have many for what is damaged
        kind = type(error).__name__
        raise BundleError(f"{path} holds no golden vectors ({kind}); export the bundle again.") from None


def _kinds(info: ModelInfo) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Type of each array, and its shape without the axis of images."""
    return {
        "seed": (np.dtype(np.int64), ()),
        _condition(info): (np.dtype(np.float32), (len(info.attributes),))
        if info.attributes
        else (np.dtype(np.int64), ()),
        "z": (np.dtype(np.float32), (info.latent_dim,)),
        "image": (np.dtype(np.float32), info.image_shape),
        "pixels": (np.dtype(np.uint8), info.image_shape),
    }


def _condition(info: ModelInfo) -> str:
    return info.condition or "label"


def _bytes_of(dtype: np.dtype, shape: tuple[int, ...]) -> int:
    return dtype.itemsize * int(np.prod(shape, dtype=np.int64))


def _count(archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> int:
    """Reads an array's header, not its data; returns its number of images."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        if npy.read_magic(file) != (1, 0):
            raise BundleError(f"{name} of {GOLDEN_FILE} is no array in numpy's format 1.0; export the bundle again.")
        actual_shape, _, actual_dtype = npy.read_array_header_1_0(file)
        if actual_dtype != dtype or len(actual_shape) != len(shape) + 1 or actual_shape[1:] != shape:
            raise BundleError(f"{name} of {GOLDEN_FILE} is not {dtype} {['n', *shape]}; export the bundle again.")
        count = actual_shape[0]
        if count > _MAX_IMAGES or member.file_size != file.tell() + count * _bytes_of(dtype, shape):
            raise BundleError(f"{name} of {GOLDEN_FILE} has not the size of {count} images; export the bundle again.")
    return count
