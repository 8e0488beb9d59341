"""Which exact form of a generator's graph is the fastest on a CPU."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from export.rewrites.affine import fold_affine
from export.rewrites.canonical import canonical
from export.rewrites.convolutions import channels_in_fours, dense_of_pixels, enlarged_convolutions, thin_convolutions
from export.rewrites.dense import reorder_dense, widened
from export.rewrites.graph import FEW_CHANNELS
from export.rewrites.inputs import direct_labels, guarded, labels_as_rows, scalar_depths
from export.rewrites.interleaving import conv_before_interleaving, stacked
from export.rewrites.movements import plain_movements
from export.rewrites.operators import (
    batch_norms,
    gemm_as_matmul,
    means_as_products,
    tanh_for_sigmoid,
    without_idle,
)
from export.rewrites.resizes import asymmetric
from export.rewrites.transposed import one_kernel_per_phase, one_padded_kernel
from export.timing import cpu_clock, in_turn, timed
from serving.runtime import ort

LAYOUTS = ("portable", "measured")
# What serving's Generator cuts larger batches into, and the batch of a single picture.
_BATCH_SIZES = (1, 16)
_ROUNDS = 30
_SECONDS = 10.0  # for each batch size, of which large networks get fewer rounds
_TURN = 5e-3
_NOISE = 1.03
_CHUNKS, _AS_GOOD = (16, 32, 64), 1.02

Form = Callable[[onnx.ModelProto], onnx.ModelProto]
Feeds = Callable[[int], Mapping[str, NDArray]]
_FORMS: Mapping[str, Form] = {
    "stacked phases": lambda model: labels_as_rows(stacked(conv_before_interleaving(one_kernel_per_phase(model)))),
    "phases": lambda model: conv_before_interleaving(one_kernel_per_phase(model)),
    "padded": lambda model: conv_before_interleaving(one_padded_kernel(model)),
    "transposed": labels_as_rows,
    "gathered phases": lambda model: labels_as_rows(
        channels_in_fours(thin_convolutions(stacked(one_kernel_per_phase(model, least=FEW_CHANNELS + 1))))
    ),
    "widened phases": lambda model: widened(_FORMS["gathered phases"](model)),
    "gathered": lambda model: labels_as_rows(thin_convolutions(model)),
}
AS_IT_CAME = "as it came"  # of a form that is only made fit for all readers
# Of which int8 is made: onnxruntime moves bytes by DepthToSpace well, and transposes no convolution of them; a one-hot
# label costs less than a quantised addition.
BYTE_FORMS = ("phases", "padded")
_PORTABLE = "stacked phases"  # the fastest of most generators on most CPUs


def forms_of(model: onnx.ModelProto) -> dict[str, onnx.ModelProto]:
    """Rewrites a generator for CPUs, in all forms that its convolutions and labels can take.

    Args:
      model: as tf2onnx, or any other exporter, converts it.

    Returns:
      Models that compute the same, by name; "portable" and "measured" choose among them, see `choose`. One of them is
      `AS_IT_CAME`.
    """
    came = scalar_depths(asymmetric(model))
    plain = _plain(came)
    forms = {name: canonical(guarded(form(plain))) for name, form in _FORMS.items()}
    return {**forms, AS_IT_CAME: canonical(guarded(came))}


def formed(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Rewrites a part of a generator into one of these forms."""
    came = scalar_depths(asymmetric(model))
    return canonical(guarded(came if name == AS_IT_CAME else _FORMS[name](_plain(came))))


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Says a graph in few operators, with constants folded into weights and no convolution of an enlarged picture."""
    model = means_as_products(without_idle(plain_movements(direct_labels(without_idle(model)))))
    model = fold_affine(batch_norms(tanh_for_sigmoid(gemm_as_matmul(model))))
    model = fold_affine(batch_norms(reorder_dense(model)))
    return dense_of_pixels(fold_affine(enlarged_convolutions(model)))


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
    came = milliseconds[AS_IT_CAME]
    best = next(name for name, each in milliseconds.items() if all(each[size] <= _NOISE * came[size] for size in came))
    chosen = {"rule": layout, "form": best, "milliseconds": milliseconds}
    return best, chosen | ({"chunk": fastest_chunk(forms[best], feeds)} if has_convolutions(forms[best]) else {})


def has_convolutions(model: onnx.ModelProto) -> bool:
    """Whether a model is more than dense layers."""
    return any(node.op_type in ("Conv", "ConvTranspose") for node in model.graph.node)


def fastest_chunk(model: onnx.ModelProto, feeds: Feeds) -> int:
    """Finds into which parts a large batch is best cut; the smallest of them that is as good."""
    whole, session = feeds(max(_CHUNKS)), session_of(model)

    def work(size: int) -> Callable[[], object]:
        starts = range(0, max(_CHUNKS), size)
        parts = [{name: values[start : start + size] for name, values in whole.items()} for start in starts]
        return lambda: [session.run(None, part) for part in parts]

    calls = {str(size): timed(work(size), clock=cpu_clock()) for size in _CHUNKS}
    seconds = in_turn(calls, _ROUNDS // 2, seconds=_SECONDS)
    return next(size for size in _CHUNKS if seconds[str(size)] <= _AS_GOOD * min(seconds.values()))


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
    """Times models in turn, equal ones once; returns each one's median in milliseconds, on one thread."""
    data = {name: model.SerializeToString(deterministic=True) for name, model in models.items()}
    first = {each: name for name, each in reversed(data.items())}
    runs = {name: functools.partial(session_of(models[name]).run, None, feeds) for name in sorted(first.values())}
    # Several runs of one before the next, since each finds the other's weights in the cache.
    repeat = max(1, min(20, int(_TURN / max(1e-6, min(timed(run)() for run in runs.values())))))
    calls = {name: timed(run, repeat, cpu_clock()) for name, run in runs.items()}
    seconds = in_turn(calls, _ROUNDS, warm_up=3, seconds=_SECONDS)
    return {name: seconds[first[each]] * 1e3 for name, each in data.items()}


def session_of(model: onnx.ModelProto, threads: int = 1) -> ort.InferenceSession:
    """Loads a model into onnxruntime, on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
