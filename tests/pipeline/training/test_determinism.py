"""Every operation of a training has a form that GPUs compute the same way each time, and nothing else is at random.

`enable_op_determinism` makes TensorFlow take those forms, and raise an error where there is none. The table below is
what was found in its documentation and in the sources of the kernels; look there before you add an operation.
"""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tensorflow_config
from tensorflow.python.framework import op_callbacks

from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.objectives.composition import compose
from pipeline.training.configured import trainee_of
from pipeline.training.feed import Layout, ResidentFeed
from pipeline.training.step import TrainStep
from tests.experiments import train

# One value for each place, from the values of that place; or no arithmetic at all.
PLAIN = """
    Abs AddV2 All ArgMax AssignAddVariableOp AssignSubVariableOp AssignVariableOp BroadcastGradientArgs BroadcastTo Cast
    ConcatOffset ConcatV2 Const Cos DestroyResourceOp EnsureShape Equal Erf Exp ExpandDims Fill Floor FloorDiv FloorMod
    GatherV2 Greater GreaterEqual Identity IdentityN If InvertPermutation IsFinite LeakyRelu LeakyReluGrad Less
    LessEqual Log LogicalAnd LogicalOr Maximum Minimum MirrorPad Mul Ndtri Neg NoOp NotEqual OneHot OptionalFromValue
    OptionalGetValue OptionalNone Pack Pad PadV2 PartitionedCall Placeholder Pow Range ReadVariableOp RealDiv Reciprocal
    Relu Relu6 Relu6Grad ReluGrad Reshape ResourceApplyAdam ReverseV2 Roll Round Rsqrt RsqrtGrad Select SelectV2 Shape
    ShapeN Sigmoid Sign Sin Slice Softplus Split SplitV Sqrt SqrtGrad Square SquaredDifference Squeeze
    StatefulPartitionedCall StatelessIf StopGradient StridedSlice StridedSliceGrad Sub Tanh TanhGrad Tile Transpose
    Unpack VarHandleOp While ZerosLike
"""

# Why each of the others is the same each time on GPUs, if determinism is enabled.
REVIEWED = {
    "AddN": "adds its inputs in their order",
    "AvgPool": "a kernel that collects, or cuDNN, which is deterministic for averages",
    "AvgPoolGrad": "likewise: cuDNN's backward pooling varies for maxima only",
    "BatchMatMulV2": "cuBLAS, see pipeline.devices.numerics",
    "BiasAdd": "one value for each place",
    "BiasAddGrad": "takes the reduction of Sum instead of one with atomics",
    "CollectiveReduceV2": "a ring of a fixed order on CPUs, NCCL between GPUs",
    "Conv2D": "cuDNN, of whose plans the first deterministic one is taken, without timing them",
    "Conv2DBackpropFilter": "likewise",
    "Conv2DBackpropInput": "likewise",
    "DepthwiseConv2dNative": "one value for each place",
    "DepthwiseConv2dNativeBackpropFilter": "raises an error; here of constants alone, and so pruned before it runs",
    "DepthwiseConv2dNativeBackpropInput": "a kernel that collects",
    "FusedBatchNormGradV3": "raises an error unless training, which it is here",
    "FusedBatchNormV3": "cuDNN",
    "LogSoftmax": "reduces rows in a fixed order",
    "MatMul": "cuBLAS, see pipeline.devices.numerics",
    "Max": "of any order",
    "MaxPool": "one value for each place",
    "MaxPoolGrad": "cuDNN's deterministic mode for maxima",
    "Mean": "reductions take no atomics",
    "MirrorPadGrad": "folds one edge after the other, each place with the one that it mirrors",
    "Prod": "reductions take no atomics",
    "RandomIndexShuffle": "a function of its seed",
    "ResizeBilinear": "one value for each place",
    "ResizeBilinearGrad": "a kernel that collects instead of scattering",
    "Softmax": "reduces rows in a fixed order",
    "StatelessRandomGetKeyCounter": "a function of its seed",
    "StatelessRandomNormalV2": "a function of key and counter",
    "StatelessRandomUniformFullIntV2": "likewise",
    "StatelessRandomUniformV2": "likewise",
    "Sum": "reductions take no atomics",
    "UnsortedSegmentSum": "sorts first",
}
# What reads, writes and calls: parts of the names of operations, none of which computes with floats.
OTHER = re.compile("Bitwise|Dataset|EncodePng|GetOptions|Iterator|PyFunc|RemoteCall|Shift|String|Summary|__inference_")


@pytest.fixture(autouse=True)
def _deterministic():
    tf.config.experimental.enable_op_determinism()
    yield
    tensorflow_config.disable_op_determinism()


def unknown(kinds: set[str]) -> set[str]:
    return {kind for kind in kinds - {*PLAIN.split(), *REVIEWED} if not OTHER.search(kind)}


# Together they use every operation that any flags bring; the slow test traces all.
DATA = DataSpec("shapes", "", (18, 18, 3), ("a", "b", "c"), 21)
IMAGES, LABELS = np.zeros((21, 18, 18, 3), np.uint8), np.arange(21, dtype=np.int32) % 3
STYLES = "channel_base=64,channel_max=4,w_dim=3,mapping_layers=1"
MIXED = {"style_mixing": 0.9, "path_length": 2.0, "categories": 0, "codes": 0}
PROJECTED = Config(
    model="mlp", discriminator="projected", discriminator_args="width=2,side=16", objective="hinge", r1=1.0,
    conditional=True, batch_size=8, latent_dim=6,
)  # fmt: skip
OBJECTIVES = ("autoencoder", "hinge", "lsgan", "minimax", "nsgan", "r3gan", "sgan", "vae", "wgan_gp")


def everything(model: str, objective: str, **more) -> Config:
    """As many flags as go together."""
    config = Config(model=model, objective=objective, batch_size=8, latent_dim=6, flip=True)
    chosen = {"labelled": 6} if objective == "sgan" else {"conditional": True}
    chosen |= {"model_args": "width=8,group=8"} if model == "r3gan" else {}
    chosen |= {"beta_2_end": 0.999, "ema_scheduled": True, "schedule_images": 99}
    if objective not in ("autoencoder", "vae", "sgan"):
        chosen |= {"conditioning": "concat,projection,acgan", "augment": "translation,cutout,color,bgcfn"}
        chosen |= {"categories": 2, "codes": 1, "spectral_norm": model in ("dcgan", "mlp")}
        chosen |= {"augment_adaptive": objective != "wgan_gp"}
        chosen |= {"gamma_end": 0.1} if objective == "r3gan" else {"r1": 1.0, "r2": 1.0, "gp": 1.0}
    return dataclasses.replace(config, **{**chosen, **more})


def operations_of_a_step(config: Config, replicas: int = 1) -> set[str]:
    config.validate()
    strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", replicas)
    with strategy.scope():
        trainee = trainee_of(config, DATA)
    updates = compose(config.to_dict()).updates(images=IMAGES, labels=LABELS, num_labels=3)
    layout = Layout(updates, config.batch_size, config.accumulate, replicas)
    step = TrainStep(config, strategy, trainee, updates, ResidentFeed(strategy, layout, IMAGES, LABELS, 0))
    graph = step.trace(tf.constant(1, tf.int64), tf.constant(0.0)).as_graph_def()
    return {node.op for part in (graph.node, *(f.node_def for f in graph.library.function)) for node in part}


@pytest.mark.parametrize(
    ("config", "replicas"),
    [
        (everything("dcgan", "hinge"), 1),
        (everything("mlp", "sgan", precision="mixed_float16"), 1),
        (dataclasses.replace(everything("mlp", "nsgan"), augment="blit,noise"), 1),
        (everything("resnet", "r3gan", precision="mixed_bfloat16"), 1),
        (everything("r3gan", "r3gan", precision="mixed_bfloat16"), 1),
        (everything("mlp", "vae", accumulate=2), 2),
        (PROJECTED, 1),
        (everything("stylegan2", "nsgan", model_args=STYLES, penalty_every=4, **MIXED), 1),
    ],
    ids=["dcgan-hinge", "mlp-sgan", "mlp-nsgan", "resnet-r3gan", "r3gan-r3gan", "mlp-vae", "projected", "stylegan2"],
)
def test_every_operation_of_a_step_has_been_reviewed(config, replicas):
    assert unknown(operations_of_a_step(config, replicas)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("model", ["dcgan", "mlp", "r3gan", "resnet"])
def test_every_operation_of_any_step_has_been_reviewed(model, objective):
    for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
        assert unknown(operations_of_a_step(everything(model, objective, precision=precision))) == set()


def test_an_operation_that_nobody_has_looked_at_is_found():
    assert unknown({"MatMul", "SparseTensorDenseMatMul", "IteratorGetNext"}) == {"SparseTensorDenseMatMul"}


@pytest.mark.parametrize(
    "more",
    [
        {"virtual_devices": 1, "conditioning": "projection,acgan", "augment": "translation", "r1": 1.0},
        {"virtual_devices": 2, "precision": "mixed_float16", "device_data_mb": 0},
        {"virtual_devices": 4, "objective": "sgan", "conditional": False, "labelled": 2},
    ],
    ids=["one", "two-streamed", "four"],
)
def test_a_whole_run_asks_for_nothing_that_has_no_such_form(config, tmp_path, monkeypatch, more):
    """Data, steps, pictures, a classifier that is trained, evaluations."""
    chosen = {"objective": "nsgan", "steps": 2, "eval_every": 2, "eval_samples": 10, "data_dir": str(tmp_path / "kept")}
    monkeypatch.setattr("pipeline.evaluation.scoring._FEWEST", 4)
    kinds = set()
    op_callbacks.add_op_callback(lambda kind, *args, **more: kinds.add(tf.compat.as_str(kind)))
    try:
        assert train(dataclasses.replace(config, **{**chosen, **more})).step == 2
    finally:
        op_callbacks.clear_op_callbacks()
    assert {"MaxPoolGrad", "MatMul", "ResourceApplyAdam"} <= kinds
    assert unknown(kinds) == set()
