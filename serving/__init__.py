"""Embedding: a bundle, or its ONNX file alone, makes images with numpy and onnxruntime only.

The names below are imported when they are first used, so that who takes a part of the contract alone needs neither.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.contract.manifest import BundleError
    from serving.generator import Generator

__all__ = ["BundleError", "Generator"]

_PLACES = {"BundleError": "serving.contract.manifest", "Generator": "serving.generator"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
