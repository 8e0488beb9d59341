"""Golden vectors: inputs and outputs to check a port, or another machine, against."""

import io
import zipfile
from pathlib import Path

import numpy as np

from export.readers import Generate
from serving.generator import to_pixels
from serving.latents import latents
from serving.manifest import GOLDEN_FILE, ModelInfo

_SEEDS = (*range(12), -1, 2**31, 2**63 - 1, -(2**63))


def write_golden(folder: Path, info: ModelInfo, reference: Generate) -> None:
    """Writes `golden.npz`, the same bytes for the same arrays.

    It holds `seed` int64 [n], `label` int64 [n], their latents `z` float32 [n, latent_dim], `image` float32
    [n, H, W, C] and `pixels` uint8 [n, H, W, C]; labels are zeros if the generator takes none.

    Args:
      folder: where to write.
      info: the generator's description.
      reference: the trained network.
    """
    seed = np.array(_SEEDS, np.int64)
    label = np.arange(len(seed), dtype=np.int64) % max(1, len(info.class_names))
    z = latents(seed, info.latent_dim)
    image = reference(z, label)
    arrays: dict[str, np.ndarray] = {"seed": seed, "label": label, "z": z, "image": image, "pixels": to_pixels(image)}
    with zipfile.ZipFile(folder / GOLDEN_FILE, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, array)
            # numpy.savez would write the time.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), data.getvalue())
