"""TensorFlow and Keras, imported when something of them is first used.

So what a flag can choose may state its parameters in the file that computes with them, and `--help` reads them without
waiting for TensorFlow. Files that use this need `from __future__ import annotations`, or their annotations would
import the libraries.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
else:

    class _Later:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(importlib.import_module(self._name), attribute)

    keras, tf = _Later("keras"), _Later("tensorflow")

__all__ = ["keras", "tf"]
