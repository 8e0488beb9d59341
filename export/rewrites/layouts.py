"""Which exact form of a generator's graph is the fastest on a CPU."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from export.rewrites.affine import fold_affine
from export.rewrites.canonical import canonical
from export.rewrites.dense import reorder_dense
from export.rewrites.inputs import guarded, labels_as_rows, scalar_depths
from export.rewrites.interleaving import conv_before_interleaving, stacked
from export.rewrites.resizes import asymmetric
from export.rewrites.transposed import one_kernel_per_phase, one_padded_kernel
from export.timing import in_turn, timed
from serving.runtime import ort

LAYOUTS = ("portable", "measured")
# What serving's Generator cuts larger batches into, and the batch of a single picture.
_BATCH_SIZES = (1, 16)
_ROUNDS = 30

Form = Callable[[onnx.ModelProto], onnx.ModelProto]
Feeds = Callable[[int], Mapping[str, NDArray]]
_FORMS: Mapping[str, Form] = {
    "stacked phases": lambda model: labels_as_rows(stacked(conv_before_interleaving(one_kernel_per_phase(model)))),
    "phases": lambda model: conv_before_interleaving(one_kernel_per_phase(model)),
    "padded": lambda model: conv_before_interleaving(one_padded_kernel(model)),
    "transposed": labels_as_rows,
}
# Of which int8 is made: onnxruntime moves bytes by DepthToSpace well, and transposes no convolution of them; a one-hot
# label costs less than a quantised addition.
BYTE_FORMS = ("phases", "padded")
_PORTABLE = "stacked phases"  # the fastest of most generators on most CPUs


def forms_of(model: onnx.ModelProto) -> dict[str, onnx.ModelProto]:
    """Rewrites a generator for CPUs, in all forms that its transposed convolutions and labels can take.

    Args:
      model: as tf2onnx converts it.

    Returns:
      Models that compute the same, by name; "portable" and "measured" choose among them, see `choose`.
    """
    plain = scalar_depths(reorder_dense(fold_affine(asymmetric(model))))
    return {name: canonical(guarded(form(plain))) for name, form in _FORMS.items()}


def choose(forms: Mapping[str, onnx.ModelProto], feeds: Feeds, layout: str) -> tuple[str, dict[str, Any]]:
    """Chooses one of the forms.

    Args:
      forms: from `forms_of`.
      feeds: makes inputs for a batch size.
      layout: "measured" times all forms here and takes the fastest; "portable" takes the one that usually is, without
        timing, so that files don't depend on the machine.

    Returns:
      (the form; what the manifest says of the choice).
    """
    if layout == "portable":
        return _PORTABLE, {"rule": layout, "form": _PORTABLE}
    milliseconds = fastest_first(forms, feeds)
    best = next(iter(milliseconds))
    return best, {"rule": layout, "form": best, "milliseconds": milliseconds}


def fastest_first(models: Mapping[str, onnx.ModelProto], feeds: Feeds) -> dict[str, dict[str, float]]:
    """Times models at the batch sizes that count.

    Args:
      models: models of the same signature, by name.
      feeds: makes inputs for a batch size.

    Returns:
      Each one's milliseconds by batch size, in the order of their product.
    """
    times = {size: measure(models, feeds(size)) for size in _BATCH_SIZES}
    order = sorted(models, key=lambda name: math.prod(each[name] for each in times.values()))
    return {name: {str(size): round(each[name], 4) for size, each in times.items()} for name in order}


def measure(models: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray]) -> dict[str, float]:
    """Times models in turn; returns each one's median in milliseconds, on one thread."""
    runs = {name: functools.partial(session_of(model).run, None, feeds) for name, model in models.items()}
    seconds = in_turn({name: timed(run) for name, run in runs.items()}, _ROUNDS, warm_up=3)
    return {name: each * 1e3 for name, each in seconds.items()}


def session_of(model: onnx.ModelProto, threads: int = 1) -> ort.InferenceSession:
    """Loads a model into onnxruntime, on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
