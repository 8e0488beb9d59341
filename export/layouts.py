"""Which exact form of a generator's graph is the fastest on a CPU."""

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from export.graph_rewrites import canonical, fold_affine, one_kernel_per_phase, one_padded_kernel, reorder_dense

LAYOUTS = ("portable", "measured")
# What serving's Generator cuts larger batches into, and the batch of a single picture.
_BATCH_SIZES = (1, 16)
_ROUNDS = 30

Form = Callable[[onnx.ModelProto], onnx.ModelProto]
_FORMS: Mapping[str, Form] = {
    "phases": one_kernel_per_phase,
    "padded": one_padded_kernel,
    "transposed": lambda model: model,
}
_PORTABLE = "phases"  # the fastest of most generators on most CPUs


def optimise(
    model: onnx.ModelProto, feeds: Callable[[int], Mapping[str, NDArray]], layout: str
) -> tuple[onnx.ModelProto, dict[str, object]]:
    """Rewrites a generator for CPUs.

    Args:
      model: as tf2onnx converts it.
      feeds: makes inputs for a batch size.
      layout: "measured" times all forms of transposed convolutions here and takes the fastest; "portable" takes
        the one that usually is, without timing, so that files don't depend on the machine.

    Returns:
      (the rewritten model; what was chosen and, if measured, each form's milliseconds at each batch size).
    """
    plain = reorder_dense(fold_affine(model))
    forms = {name: canonical(form(plain)) for name, form in _FORMS.items()}
    if layout == "portable" or not any(node.op_type == "ConvTranspose" for node in plain.graph.node):
        return forms[_PORTABLE], {"form": _PORTABLE}
    milliseconds = {size: measure(forms, feeds(size)) for size in _BATCH_SIZES}
    best = min(forms, key=lambda name: float(np.prod([times[name] for times in milliseconds.values()])))
    table = {name: {str(size): round(times[name], 4) for size, times in milliseconds.items()} for name in forms}
    return forms[best], {"form": best, "milliseconds": table}


def measure(models: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray]) -> dict[str, float]:
    """Times models in turn; returns each one's median in milliseconds, on one thread."""
    sessions = {name: session_of(model) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for round_number in range(_ROUNDS + 3):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, feeds)
            if round_number >= 3:  # the first ones warm up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) * 1e3 for name, each in times.items()}


def session_of(model: onnx.ModelProto, threads: int = 1) -> ort.InferenceSession:
    """Loads a model into onnxruntime, on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
