"""`--extractor=FILE.onnx`: features of any network in an ONNX file that takes images, such as DINO's or CLIP's.

How images get to the network: bicubic, antialiased, to its input's size (224 where it takes any); levels divided by
255, `mean` taken away and divided by `std`, as ImageNet has them unless told otherwise:

  --extractor='clip.onnx(mean=(0.4815,0.4578,0.4082),std=(0.2686,0.2613,0.2758))'

`size=256` is for networks of any size; `output=NAME` where there are several. The same names in the file's
`metadata_props` are what it wants by itself.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.names import printable
from pipeline.base.objects import parsed_arguments
from pipeline.metrics.extractor import Features
from pipeline.metrics.names import split_onnx
from pipeline.metrics.resizing import in_blocks, resized
from serving.runtime import ort

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_SIZE = 224
_BATCH = 16
_KNOWN = ("mean", "std", "size", "output")


class OnnxFile:
    """See `pipeline.metrics.extractor.Extractor`.

    Attributes:
      name: the file's name.
      title: the same.
      facts: `resize`, `mean` and `std`, and `weights`, the first digits of the file's SHA-256.
    """

    def __init__(self, text: str) -> None:
        """Opens the file.

        Args:
          text: its path, with what is to be known in brackets.

        Raises:
          MirageError: if it can't be read, or doesn't take images and give features.
        """
        self._given = f"--extractor={printable(text)}"
        path, arguments = split_onnx(text)
        place = Path(path).expanduser()
        digest = self._digest(place)
        self.name = self.title = printable(place.name)
        self._open(place)
        asked = parsed_arguments(arguments, "extractor")
        unknown = [name for name in asked if name not in _KNOWN]
        if unknown:
            raise MirageError(f"{self._given} says {unknown[0]}, which is not known; choose from {', '.join(_KNOWN)}.")
        options = {**_IMAGENET, **self._own(), **asked}
        self._mean, self._std = (self._levels(name, options[name]) for name in _IMAGENET)
        self._choose_input(options.get("size"))
        self._choose_output(options.get("output"))
        self.facts: dict[str, float | str] = {
            "resize": f"bicubic, antialiased, to {self._size} pixels",
            "mean": " ".join(f"{each:.6g}" for each in self._mean),
            "std": " ".join(f"{each:.6g}" for each in self._std),
            "weights": digest[:8],
        }
        self._prepare = tf.function(self._prepared)

    def __call__(self, images: np.ndarray) -> Features:
        """Describes uint8 [n, H, W, C], grey or RGB."""
        return Features(in_blocks(lambda block: self._run(self._prepare(block)), images, self._batch), None)

    def _digest(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise MirageError(f"{self._given} can't be read ({error.strerror or error}); give an ONNX file.") from None

    def _open(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other things compute as well
        options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of onnxruntime, which has many kinds
            raise self._unfit(f"can't be run ({in_a_line(error, 200)})") from None

    def _own(self) -> dict[str, Any]:
        """What the file says of itself."""
        metadata = self._session.get_modelmeta().custom_metadata_map
        return {
            name: parsed_arguments(f"{name}={metadata[name]}", "extractor")[name] for name in _KNOWN if name in metadata
        }

    def _levels(self, name: str, value: Any) -> np.ndarray:
        levels = value if isinstance(value, tuple) else (value,) * 3
        numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in levels)
        if len(levels) != 3 or not numbers or (name == "std" and 0 in levels):
            what = "a number other than 0" if name == "std" else "a number"
            raise MirageError(f"{self._given} has {name}={printable(str(value))}; expected {what}, or three of them.")
        return np.array(levels, np.float32)

    def _choose_input(self, size: Any) -> None:
        inputs = self._session.get_inputs()
        shape: list[Any] = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or inputs[0].type != "tensor(float)" or 3 not in (shape[1], shape[3]):
            told = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
            raise self._unfit(f"takes {told}; expected one input, float32 [n, 3, H, W] or [n, H, W, 3]")
        self._input, self._channels_first = inputs[0].name, shape[1] == 3
        sides = shape[2:] if self._channels_first else shape[1:3]
        fixed = {each for each in sides if isinstance(each, int)}
        self._size = fixed.pop() if fixed else size or _SIZE
        if fixed or not isinstance(self._size, int) or self._size < 1 or size not in (None, self._size):
            raise self._unfit(
                f"takes images of {sides[0]} by {sides[1]} pixels, which size={size} and squares don't fit"
            )
        self._batch = shape[0] if isinstance(shape[0], int) else _BATCH

    def _choose_output(self, name: Any) -> None:
        outputs = {each.name: each for each in self._session.get_outputs()}
        name = name or next(iter(outputs))
        if name not in outputs:
            raise self._unfit(f"has no output {name}, only {', '.join(outputs)}")
        self._output, shape = name, outputs[name].shape
        if outputs[name].type not in ("tensor(float)", "tensor(float16)") or len(shape) not in (2, 3, 4):
            raise self._unfit(
                f"gives {name} {outputs[name].type} {shape}; expected floats, [n, d], or [n, T, d], of which the first "
                "of T is taken"
            )

    def _unfit(self, what: str) -> MirageError:
        return MirageError(f"{self._given} {what}; give a network of images, or --extractor=efficientnet.")

    def _prepared(self, images: tf.Tensor) -> tf.Tensor:
        x = (resized(images, self._size, "pillow") / 255 - self._mean) / self._std
        return tf.transpose(x, [0, 3, 1, 2]) if self._channels_first else x

    def _run(self, x: tf.Tensor) -> np.ndarray:
        try:
            (found,) = self._session.run([self._output], {self._input: x.numpy()})
        except Exception as error:  # of onnxruntime, which has many kinds
            raise self._unfit(f"fails ({in_a_line(error, 200)})") from None
        found = found[:, 0] if found.ndim == 3 else found
        if found.ndim == 4 and found.shape[2:] == (1, 1):
            found = found[:, :, 0, 0]
        if found.ndim != 2 or len(found) != len(x):
            raise self._unfit(f"gives {self._output} of shape {list(found.shape)} for {len(x)} images; expected [n, d]")
        return found.astype(np.float32)
