"""Training: networks, objectives and the distributed train step (TensorFlow, Keras).

  from pipeline import Experiment

  run = Experiment(dataset="mnist5k", steps=2000, conditional=True).train("runs/digits")
  run.sample(16, seed=7)

The names below are imported when they are first used, so that `import pipeline` takes no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.base.errors import MirageError
    from pipeline.config import Config
    from pipeline.experiment import Experiment
    from pipeline.run import Run
    from pipeline.runs.callback import Callback, Training

__all__ = ["Callback", "Config", "Experiment", "MirageError", "Run", "Training"]

_PLACES = {
    "Callback": "pipeline.runs.callback",
    "Config": "pipeline.config",
    "Experiment": "pipeline.experiment",
    "MirageError": "pipeline.base.errors",
    "Run": "pipeline.run",
    "Training": "pipeline.runs.callback",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
