"""`config.json`: what a run directory says of its run. Needs only the standard library."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file
from pipeline.base.parameters import AUTO
from pipeline.config import Config
from pipeline.data.spec import DataSpec

CONFIG_FILE = "config.json"
_REAL_IMAGES = "real images"
# What a run directory says of its run.
KnownRun = tuple[Config, DataSpec]


def write_run(
    run_dir: Path,
    config: Config,
    data: DataSpec,
    *,
    jit: bool | None = None,
    ema_counts_batches: bool = False,
    automatic: Sequence[str] = (),
    init: Mapping[str, Any] | None = None,
) -> None:
    """Writes `config.json`.

    Args:
      run_dir: the run directory.
      config: the configuration.
      data: the data set's description.
      jit: whether XLA compiles the step, once that has been decided.
      ema_counts_batches: see the function of that name.
      automatic: names of the parameters that were chosen rather than given.
      init: what was taken over from where, when the run began; None if nothing.
    """
    decided: dict[str, Any] = {
        "jit": jit,
        "ema_unit": "batches" if ema_counts_batches else _REAL_IMAGES,
        "automatic": [*automatic],
    }
    decided |= {"init_from": dict(init)} if init else {}
    document = {"config": config.to_dict(), "data": data.to_dict(), "decided": decided}
    write_file(run_dir / CONFIG_FILE, (json.dumps(document, indent=2) + "\n").encode(), sync=True)


def read_decided_jit(run_dir: Path) -> bool | None:
    """Returns what `write_run` was told of XLA, or None if that is unknown."""
    try:
        value = json.loads((run_dir / CONFIG_FILE).read_text(encoding="utf-8"))["decided"]["jit"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, bool) else None


def read_automatic(run_dir: Path) -> tuple[str, ...]:
    """Names the parameters of a run that were chosen rather than given; none where that isn't known."""
    try:
        names = json.loads((run_dir / CONFIG_FILE).read_text(encoding="utf-8"))["decided"]["automatic"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def read_init(run_dir: Path) -> dict[str, Any] | None:
    """What a run says of where its first weights came from; None if it says nothing."""
    try:
        found = json.loads((run_dir / CONFIG_FILE).read_text(encoding="utf-8"))["decided"]["init_from"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def ema_counts_batches(run_dir: Path) -> bool:
    """Whether the images of a run's `--ema_images` are those of one batch in each step.

    So it was until they became what "images" are everywhere else, the real ones of all of a step's updates. A run
    that began before keeps to it, and goes on as it would have.
    """
    try:
        document = json.loads((run_dir / CONFIG_FILE).read_text(encoding="utf-8"))
        return document["decided"].get("ema_unit") != _REAL_IMAGES
    except FileNotFoundError:
        return False  # a new run
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def read_run(run_dir: Path) -> KnownRun:
    """Reads what `write_run` wrote.

    Raises:
      MirageError: if `run_dir` holds no run, or its `config.json` can't be understood.
    """
    path = run_dir / CONFIG_FILE
    remedy = "restore it or choose another --run_dir."
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        for part in ("config", "data"):
            if not isinstance(document, dict) or not isinstance(document.get(part), dict):
                raise ValueError(f"it has no {part!r}")
        config = Config.from_dict(document["config"])
        config.check_ranges()
        if config.automatic():
            raise ValueError(f"its {config.automatic()[0]!r} is {AUTO!r}, where a run has a value")
        return config, DataSpec.from_dict(document["data"])
    except (FileNotFoundError, NotADirectoryError):
        raise MirageError(
            f"{run_dir} holds no training run ({CONFIG_FILE} is missing); pass the --run_dir of `python -m pipeline`."
        ) from None
    except OSError as error:
        raise MirageError(f"{path} can't be read ({error.strerror}); {remedy}") from None
    except RecursionError:
        raise MirageError(f"{path} is damaged (nested too deeply); {remedy}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise MirageError(f"{path} is damaged ({error}); {remedy}") from None
    except MirageError as error:
        raise MirageError(f"{path}: {str(error).rstrip('.')}; {remedy}") from None
