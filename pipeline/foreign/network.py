"""What somebody's saved network is to Mirage: its inputs and outputs, and how it is computed. Needs NumPy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pipeline.base.failures import in_a_line

if TYPE_CHECKING:
    import onnx
    import tensorflow as tf

# Values by the name of an input or an output.
Arrays = Mapping[str, NDArray]


@dataclasses.dataclass(frozen=True)
class Opening:
    """How a file shall be opened.

    Attributes:
      trust: whether code in the file may run, such as that of Lambda layers.
      custom_objects: layers and functions by the name under which the file knows them.
      build: makes the network of a file that holds weights only.
      signature: which of a SavedModel's signatures; empty for the only one, or serving_default.
    """

    trust: bool = False
    custom_objects: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    build: Callable[[], Any] | None = None
    signature: str = ""


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or an output.

    Attributes:
      name: by which it is called.
      dtype: NumPy's name of its type.
      shape: its sizes, None where any will do; the first one is the batch.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """As errors and tables show it."""
        name = in_a_line(self.name, 80)
        return f"{name} {self.dtype} [{', '.join('N' if size is None else str(size) for size in self.shape)}]"


@dataclasses.dataclass(frozen=True)
class Foreign:
    """A saved network, opened.

    Attributes:
      kind: what it was saved as, such as "HDF5 of Keras 2.4".
      framework: what computes it here, with its version.
      inputs: what it takes.
      outputs: what it returns.
      run: computes it in that framework; inputs and outputs by name.
      graph: makes the same as an ONNX graph with inputs and outputs of these names and in this order.
      tensors: computes it on TensorFlow's tensors; None where TensorFlow can't.
      variables: TensorFlow's variables that it consists of.
    """

    kind: str
    framework: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    run: Callable[[Arrays], dict[str, NDArray]]
    graph: Callable[[], onnx.ModelProto]
    tensors: Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]] | None = None
    variables: tuple[Any, ...] = ()


# Opens a file of Keras 2, of which a few words say what it is.
Legacy = Callable[[Path, Opening, str], Foreign]
