"""Weights of the Inception network of 2015, out of the files that people have, and where they can be fetched.

  pt_inception-2015-12-05-6726825d.pth   of pytorch-fid; torch-fidelity has one of the same names
  inception-2015-12-05.pt                of StyleGAN 2 and 3, and of clean-fid: TorchScript
  classify_image_graph_def.pb            the original graph, also within inception-2015-12-05.tgz

None of their code is run.
"""

import hashlib
import http.client
import re
import tarfile
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file
from pipeline.base.folders import cache_folder
from pipeline.metrics.inception_network import Weights, layers
from pipeline.pretrained.torch_file import read_tensors

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
HASH = "6726825d"  # the first digits of its SHA-256, which its name ends with
_GRAPH = "classify_image_graph_def.pb"
_LARGEST = 1 << 28  # bytes of a graph; the real one has 96 million
_TIMEOUT_S = 10
_KNOWN = "pt_inception-2015-12-05-6726825d.pth, inception-2015-12-05.pt or classify_image_graph_def.pb"


_Shape = tuple[int, int, int, int]  # of a kernel: [height, width, in, out]
# Finds a layer's weights by its two names and its kernel's shape, or raises `_UnfitError`.
_Finder = Callable[[str, str, _Shape], Weights]


class _UnfitError(Exception):
    """The message says what is wrong with a file, as a part of a sentence."""


def find_weights(given: str, data_dir: str, download: bool) -> Path:
    """Finds the file of weights, or fetches it if that is permitted.

    Args:
      given: the value of `--inception_weights`.
      data_dir: below which what was fetched is kept.
      download: whether it may be fetched.

    Raises:
      MirageError: if there is none, or it can't be fetched or kept.
    """
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise MirageError(f"--inception_weights={given} is no file; expected {_KNOWN}.")
        return path
    path = cache_folder(data_dir) / "extractors" / URL.rpartition("/")[2]
    if path.is_file():
        return path
    if not download:
        raise MirageError(
            "--extractor=inception needs the weights of the network of 2015: pass --inception_weights= with "
            f"{_KNOWN}, or --download to fetch them (91 MB), or do without: --extractor=efficientnet."
        )
    fetch(URL, path, HASH)
    return path


def fetch(url: str, path: Path, digits: str) -> None:
    """Downloads a file, which appears only when complete.

    Args:
      url: where it is.
      path: where it goes.
      digits: that its SHA-256 begins with.

    Raises:
      MirageError: if it can't be had, is another one, or can't be kept.
    """
    print(f"fetching {url} ...", flush=True)
    elsewhere = "fetch it elsewhere and pass --inception_weights=, or do without: --extractor=efficientnet"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise MirageError(
            f"--download can't fetch {url} ({' '.join(str(reason).split())[:150]}); {elsewhere}."
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if not digest.startswith(digits):
        raise MirageError(
            f"--download got another file from {url} than expected, whose SHA-256 begins with {digest[:8]} instead of "
            f"{digits}; {elsewhere}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
    except OSError as error:
        raise MirageError(
            f"Inception's weights can't be kept in {path.parent} ({error.strerror or error}); pass --data_dir= where "
            "you may write."
        ) from None


def read_weights(path: Path) -> dict[str, Weights]:
    """Reads the weights of every layer.

    Args:
      path: a file of one of the three kinds, whatever its name.

    Returns:
      Weights by PyTorch's names of layers.

    Raises:
      MirageError: if it is another file, or damaged.
    """
    try:
        find = _finder(path)
        return {torch: find(torch, tensorflow, shape) for torch, tensorflow, shape in layers()}
    except (MirageError, _UnfitError, OSError) as error:
        said = str(error).removeprefix(f"{path} ").partition("; expected")[0].rstrip(".")
        raise MirageError(f"--inception_weights={path} can't be used: it {said}; expected {_KNOWN}.") from None


def _finder(path: Path) -> _Finder:
    with path.open("rb") as file:
        head = file.read(8)
    if head == b"\x89HDF\r\n\x1a\n":
        raise _UnfitError("holds weights of Keras, whose InceptionV3 is another network than that of the papers")
    if head[:2] == b"\x1f\x8b":
        return _of_graph(_unpacked(path))
    if head[:4] == b"PK\x03\x04" or head[:2] == b"\x80\x02":
        tensors = read_tensors(path)
        return _of_script(tensors) if any(name.startswith("layers.") for name in tensors) else _of_torch(tensors)
    if path.stat().st_size > _LARGEST:
        raise _UnfitError("is larger than the graph of 2015 could be")
    return _of_graph(path.read_bytes())


def _of_torch(tensors: Mapping[str, np.ndarray]) -> _Finder:
    def find(torch: str, tensorflow: str, shape: _Shape) -> Weights:
        height, width, fan_in, out = shape
        kernel = _checked(tensors, f"{torch}.conv.weight", (out, fan_in, height, width)).transpose(2, 3, 1, 0)
        norm = ("weight", "bias", "running_mean", "running_var")
        return Weights(kernel, *(_checked(tensors, f"{torch}.bn.{each}", (out,)) for each in norm))

    return find


def _of_script(tensors: Mapping[str, np.ndarray]) -> _Finder:
    """Of TorchScript, whose modules have the graph's names; what an array is in its layer is told by its own name."""
    flat = {name.removeprefix("layers.").replace(".", "_"): array for name, array in tensors.items()}

    def find(torch: str, tensorflow: str, shape: _Shape) -> Weights:
        height, width, fan_in, out = shape
        layer = tensorflow.replace("/", "_")
        inner = re.compile(rf"{layer}_(?!\d)(?!.*(tower|mixed))(.+)")
        found = {match[2]: array for name, array in flat.items() if (match := inner.fullmatch(name))}
        kernels = {name: array for name, array in found.items() if array.ndim == 4}
        if len(kernels) != 1:
            raise _UnfitError(f"has {len(kernels)} kernels for the layer {tensorflow}")
        kernel = _checked(kernels, next(iter(kernels)), (out, fan_in, height, width)).transpose(2, 3, 1, 0)

        def vector(*words: str) -> np.ndarray:
            names = [name for name, array in found.items() if array.ndim == 1 and any(each in name for each in words)]
            if len(names) != 1:
                raise _UnfitError(f"has {len(names)} arrays called {words[0]} for the layer {tensorflow}")
            return _checked(found, names[0], (out,))

        named = [name for name, array in found.items() if array.ndim == 1 and ("gamma" in name or "weight" in name)]
        gamma = _checked(found, named[0], (out,)) if named else np.ones(out, np.float32)
        return Weights(kernel, gamma, vector("beta", "bias"), vector("mean"), vector("var"))

    return find


def _of_graph(content: bytes) -> _Finder:
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(content)
    except Exception:  # protobuf's, which has another class in each of its implementations
        raise _UnfitError("is no file of weights that is known, or damaged") from None
    constants = {node.name: node.attr["value"].tensor for node in graph.node if node.op == "Const"}

    def array(name: str, shape: tuple[int, ...]) -> np.ndarray:
        constant = constants.get(name)
        # Before it is made, since few bytes can announce many numbers.
        if constant is not None and tuple(each.size for each in constant.tensor_shape.dim) != shape:
            raise _UnfitError(f"has {name} of another shape than {list(shape)}")
        try:
            return _checked({} if constant is None else {name: tf.make_ndarray(constant)}, name, shape)
        except (TypeError, ValueError):
            raise _UnfitError(f"has a damaged {name}") from None

    def find(torch: str, tensorflow: str, shape: _Shape) -> Weights:
        norm = ("gamma", "beta", "moving_mean", "moving_variance")
        kernel = array(f"{tensorflow}/conv2d_params", shape)
        return Weights(kernel, *(array(f"{tensorflow}/batchnorm/{each}", shape[3:]) for each in norm))

    return find


def _checked(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in arrays:
        raise _UnfitError(f"lacks {name}, so it is of another network")
    if arrays[name].shape != shape or arrays[name].dtype.kind != "f":
        raise _UnfitError(f"has {name} of shape {list(arrays[name].shape)} instead of {list(shape)}")
    return arrays[name].astype(np.float32)


def _unpacked(path: Path) -> bytes:
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.name.rpartition("/")[2] == _GRAPH and member.isfile() and member.size <= _LARGEST:
                    file = archive.extractfile(member)
                    assert file is not None
                    return file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        raise _UnfitError("is a damaged archive") from None
    raise _UnfitError(f"is an archive without {_GRAPH}")
