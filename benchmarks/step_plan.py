"""What a training step does, read from its traced graph: arithmetic, collectives, and what waits for what."""

import dataclasses
import functools
import math
import types

import numpy as np
import tensorflow as tf

from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import build as networks
from pipeline.networks import resnet
from pipeline.objectives.composition import compose
from pipeline.training.feed import Layout, ResidentFeed
from pipeline.training.step import REDUCTION, TrainStep
from pipeline.training.trainee import build_trainee

TRACED_REPLICAS = 2
# Operations that start nothing on a device.
_FREE = frozenset(
    [
        "AssignVariableOp",
        "BroadcastGradientArgs",
        "Const",
        "ExpandDims",
        "Identity",
        "IdentityN",
        "NoOp",
        "Placeholder",
        "PreventGradient",
        "ReadVariableOp",
        "Reshape",
        "Shape",
        "Squeeze",
        "StopGradient",
    ]
)


@dataclasses.dataclass(frozen=True)
class Task:
    """An operation of one replica.

    Attributes:
      macs: multiply-adds of a convolution or matrix product.
      launches: whether it starts something on a device.
      message: bytes that it reduces over the replicas; 0 for all but collectives.
      gradients: whether these are gradients and metrics of an update, rather than batch norm's moments.
      after: positions of the tasks that must be done before.
    """

    macs: int
    launches: bool
    message: int
    gradients: bool
    after: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """One step of one replica.

    Attributes:
      local_batch: images of each replica.
      tasks: its operations, each after those that it needs.
      weights: trainable weights of each network, by name.
      metrics: figures that are reduced together with the gradients, over all updates.
      random_numbers: what a replica draws.
      input_bytes: images that a replica takes, as uint8.
      checkpoint_bytes: of all variables.
    """

    local_batch: int
    tasks: tuple[Task, ...]
    weights: dict[str, int]
    metrics: int
    random_numbers: int
    input_bytes: int
    checkpoint_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-adds of a replica."""
        return sum(task.macs for task in self.tasks)

    @property
    def launches(self) -> int:
        """Operations that start something on the device."""
        return sum(task.launches for task in self.tasks)

    def messages(self, *, gradients: bool) -> list[int]:
        """Bytes of each collective, in order: those of gradients and metrics, or of batch norm."""
        return [task.message for task in self.tasks if task.message and task.gradients == gradients]


def plan_step(config: Config, data: DataSpec, replicas: int = TRACED_REPLICAS, width: int = 0) -> StepPlan:
    """Traces a step, without running it.

    Args:
      config: the configuration; its batch size is global.
      data: what the networks are built for.
      replicas: number of replicas on this machine's logical CPU devices; at least 2.
      width: feature planes of `resnet` at every size; 0 leaves its own.

    Returns:
      The first replica's share of the step.
    """
    strategy = make_strategy("mirrored", replicas)
    if width:
        config = dataclasses.replace(config, model=_wide_resnet(width))
    with strategy.scope():
        trainee = build_trainee(config, data)
    updates = compose(config.to_dict()).updates()
    layout = Layout(updates, config.batch_size, config.accumulate, replicas)
    images = np.zeros((2, *data.image_shape), np.uint8)
    step = TrainStep(
        config, strategy, trainee, updates, ResidentFeed(strategy, layout, images, np.zeros(2, np.int32), 0)
    )
    graph = step.graph_of_one()
    # On the first device the host also finds the places of the other replicas' images.
    own = (op for op in needed(graph) if not op.device or op.device.endswith("CPU:0"))
    operations = [op for op in own if not op.name.startswith("replica_")]
    position = {op: index for index, op in enumerate(operations)}
    return StepPlan(
        local_batch=config.batch_size // replicas,
        tasks=tuple(_task(op, position) for op in operations),
        weights={
            name: sum(v.value.shape.num_elements() for v in model.trainable_variables)
            for name, model in trainee.networks.items()
        },
        metrics=sum(len(update.metrics) + 1 for update in updates),
        random_numbers=sum(_size(op.outputs[0]) for op in operations if op.type.startswith("StatelessRandom")),
        input_bytes=sum(block.count for block in layout.blocks)
        * config.accumulate
        // replicas
        * math.prod(data.image_shape),
        checkpoint_bytes=sum(_size(v) * v.dtype.size for v in trainee.state().values()),
    )


def _wide_resnet(width: int) -> str:
    """Names a `resnet` with as many feature planes everywhere, as R3GAN's networks for small images have them."""
    networks.ARCHITECTURES[name := f"resnet{width}"] = types.SimpleNamespace(
        build_generator=functools.partial(resnet.build_generator, width=lambda level: width),
        build_features=functools.partial(resnet.build_features, width=lambda level: width),
    )
    return name


def needed(graph: tf.Graph) -> list[tf.Operation]:
    """What a traced function computes of what was traced: TensorFlow drops gradients that nobody asks for."""
    found: set[tf.Operation] = set()
    left = [*(output.op for output in graph.outputs), *graph.control_outputs]
    while left:
        op = left.pop()
        if op not in found:
            found.add(op)
            left += [*(each.op for each in op.inputs), *op.control_inputs]
    return [op for op in graph.get_operations() if op in found]


def _task(op: tf.Operation, position: dict[tf.Operation, int]) -> Task:
    before = {position[each] for each in (*(tensor.op for tensor in op.inputs), *op.control_inputs) if each in position}
    collective = op.type.startswith("CollectiveReduce")
    return Task(
        macs=macs_of(op),
        launches=not collective and op.type not in _FREE,
        message=_size(op.inputs[0]) * op.inputs[0].dtype.size if collective else 0,
        gradients=REDUCTION in op.name,
        after=tuple(sorted(before)),
    )


def macs_of(op: tf.Operation) -> int:
    """Multiply-adds of a convolution, its gradients or a matrix product; of a branch's costlier side; else 0."""
    if op.type == "Conv2D":
        return _size(op.outputs[0]) * math.prod(op.inputs[1].shape[:3])
    if op.type == "Conv2DBackpropInput":
        return _size(op.inputs[2]) * math.prod(op.inputs[1].shape[:3])
    if op.type == "Conv2DBackpropFilter":
        return _size(op.inputs[2]) * math.prod(op.outputs[0].shape[:3])
    if op.type == "MatMul":
        return _size(op.outputs[0]) * op.inputs[0].shape[0 if op.get_attr("transpose_a") else 1]
    if op.type in ("If", "StatelessIf"):
        branches = (op.graph._get_function(op.get_attr(name).name).graph for name in ("then_branch", "else_branch"))
        return max(sum(macs_of(each) for each in branch.get_operations()) for branch in branches)
    return 0


def _size(tensor: tf.Tensor) -> int:
    return tensor.shape.num_elements()
