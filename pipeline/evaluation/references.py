"""What an extractor says of real images: computed once and kept; and statistics in the form that other tools have."""

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import filelock
import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file
from pipeline.base.folders import cache_folder
from pipeline.base.kept_files import DamagedFileError, check_seal, write_sealed
from pipeline.base.names import printable
from pipeline.evaluation.progress import progress
from pipeline.metrics.extractor import Extractor, Features
from pipeline.metrics.metric import BLOCK, Samples
from pipeline.metrics.moments import Moments

FOLDER = "references"
_FORMAT = 1  # part of the key: to be raised whenever what is kept changes
# Images that are described again to see whether an extractor still says what it said, and by how much it may differ: on
# GPUs, sums have no order.
_LOOKED_AT = 16
_TOLERANCE = 1e-3
_LARGEST = 2**30  # bytes of features, and of an array of statistics


def described(samples: Samples, extractor: Extractor, data_dir: str) -> Features:
    """Returns what an extractor says of real images, from the file where it is kept if that has been made before.

    Args:
      samples: the images.
      extractor: what describes them.
      data_dir: where it is kept; empty means ~/.cache/mirage. Where it can't be, a warning says so.

    Raises:
      MirageError: if the extractor says something else than features.
    """
    try:
        folder = cache_folder(data_dir) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
    except MirageError:
        if data_dir:
            raise
        return _describe(samples)  # a user without home directory
    except OSError as error:
        _warn(folder, error)
        return _describe(samples)
    path = folder / f"{_key(samples, extractor)}.npz"
    try:
        with filelock.FileLock(path.with_suffix(".lock")):
            known = _load(path, samples) if path.exists() else None
            if known is None:
                known = _describe(samples)
                _save(path, known)
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        _warn(folder, error)
        known = _describe(samples)
    return known


def _warn(folder: Path, error: Exception) -> None:
    what = getattr(error, "strerror", None) or error
    print(
        f"warning: what describes the reference can't be kept in {folder} ({what}), "
        "so it is computed each time; pass --data_dir= where you may write.",
        file=sys.stderr,
        flush=True,
    )


def _key(samples: Samples, extractor: Extractor) -> str:
    content = hashlib.sha256()
    for block in samples.batches():
        content.update(np.ascontiguousarray(block).data)
    facts = sorted(getattr(extractor, "facts", {}).items())  # which weights, and how it resizes
    shape = [len(samples), *block.shape[1:]]
    key = json.dumps([_FORMAT, extractor.name, facts, shape, content.hexdigest()], default=str)
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def _describe(samples: Samples) -> Features:
    return samples.describe(progress("reference", "block", -(-len(samples) // BLOCK), samples.batches()))


def _save(path: Path, features: Features) -> None:
    if features.features.nbytes > _LARGEST:
        return
    content = io.BytesIO()
    optional = {name: getattr(features, name) for name in ("probabilities", "modes")}
    arrays = {name: array for name, array in optional.items() if array is not None}
    np.savez(content, features=features.features, num_modes=np.int64(features.num_modes), **arrays)
    write_sealed(path, content.getvalue())


def _load(path: Path, samples: Samples) -> Features | None:
    """Returns what is kept; None if the file is damaged, or of an extractor that says something else now."""
    try:
        check_seal(path)
        with np.load(path, allow_pickle=False) as arrays:  # what stands behind an archive doesn't matter
            optional = {name: arrays[name] for name in ("probabilities", "modes") if name in arrays.files}
            found = Features(
                arrays["features"],
                optional.get("probabilities"),
                optional.get("modes"),
                num_modes=int(arrays["num_modes"]),
            )
    except (DamagedFileError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"warning: {path} is damaged ({error}); it is computed again.", file=sys.stderr, flush=True)
        return None
    count = min(_LOOKED_AT, len(samples))
    now = samples.take(np.arange(count))
    is_now = now.describe(now.batches()).features
    was = found.features[:count]
    same = is_now.shape == was.shape and np.abs(is_now - was).max() <= _TOLERANCE * max(np.abs(was).max(), 1e-12)
    return found if same and len(found.features) == len(samples) else None


def read_moments(path: str, extractor: Extractor, size: int) -> Moments:
    """Reads the statistics of a reference that pytorch-fid, clean-fid and others write: arrays `mu` and `sigma`.

    Args:
      path: an .npz file, the value of `--reference`.
      extractor: what describes the images that are compared with it.
      size: of its features.

    Returns:
      The moments; of how many images they are, it doesn't say.

    Raises:
      MirageError: if it isn't such a file, or not of an extractor with features of this size.
    """
    given = f"--reference={printable(path)}"
    expected = "expected an .npz file with arrays mu [d] and sigma [d, d], as pytorch-fid and clean-fid write it"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if max(each.file_size for each in arrays.zip.infolist()) > _LARGEST:
                raise ValueError("it announces more numbers than statistics have")
            mean, covariance = (np.asarray(arrays[name], np.float64) for name in ("mu", "sigma"))
    except OSError as error:
        raise MirageError(f"{given} can't be read ({error.strerror or error}); {expected}.") from None
    except (ValueError, TypeError, KeyError, EOFError, AttributeError, MemoryError, zipfile.BadZipFile) as error:
        what = str(error).strip("'\"").partition("\n")[0][:100]
        raise MirageError(f"{given} can't be understood ({what}); {expected}.") from None
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        shapes = f"mu {list(mean.shape)} and sigma {list(covariance.shape)}"
        raise MirageError(f"{given} holds {shapes}; {expected}.")
    if len(mean) != size:
        raise MirageError(
            f"{given} is of features of size {len(mean)}, and those of --extractor={extractor.name} have {size}; pass "
            "the extractor that it was made with."
        )
    sound = np.isfinite(mean).all() and np.isfinite(covariance).all()
    if not sound or not np.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-6 * np.abs(covariance).max()):
        what = "a sigma that is not symmetric" if sound else "numbers that are not finite"
        raise MirageError(f"{given} holds {what}; {expected}.")
    return Moments(mean, covariance, 0)


def write_moments(path: Path, moments: Moments) -> None:
    """Writes a reference's statistics, so that pytorch-fid reads them; raises MirageError if that fails."""
    content = io.BytesIO()
    np.savez(content, mu=moments.mean, sigma=moments.covariance)
    try:
        write_file(path, content.getvalue())
    except OSError as error:
        raise MirageError(
            f"--write_reference={printable(path)} can't be written ({error.strerror or error}); choose another file."
        ) from None
