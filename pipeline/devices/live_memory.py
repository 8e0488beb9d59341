"""How much memory a traced function needs at most, found without running it.

TensorFlow's executor starts operations in the order in which their inputs become ready. The walk does the same, counts
what each operation allocates, and frees it behind its last reader.
"""

import collections

import tensorflow as tf

# Allocators hand out memory in such pieces.
_PIECE = 256
# TensorFlow computes what depends on nothing once and keeps it, up to this size.
_LARGEST_CONSTANT = 10 * 2**20
# Operations whose output is their first input under another shape or name.
_VIEWS = frozenset(
    (
        "Bitcast",
        "CheckNumerics",
        "EnsureShape",
        "ExpandDims",
        "Identity",
        "IdentityN",
        "PreventGradient",
        "ReadVariableOp",
        "Reshape",
        "Squeeze",
        "StopGradient",
        "Unpack",
    )
)
# Operations that write into an input of the same size that nobody else reads.
_IN_PLACE = frozenset(
    (
        *("Abs", "Add", "AddN", "AddV2", "BiasAdd", "CollectiveReduceV2", "Div", "DivNoNan", "Exp", "Floor"),
        *("LeakyRelu", "LeakyReluGrad", "Log", "LogicalAnd", "LogicalNot", "Maximum", "Minimum", "Mul", "MulNoNan"),
        *("Neg", "Pow", "RealDiv", "Relu", "ReluGrad", "Round", "Rsqrt", "RsqrtGrad", "Select", "SelectV2", "Sigmoid"),
        *("SigmoidGrad", "Sign", "Softplus", "SoftplusGrad", "Sqrt", "SqrtGrad", "Square", "SquaredDifference", "Sub"),
        *("Tanh", "TanhGrad"),
    )
)
_CALLS = {
    **dict.fromkeys(("While", "StatelessWhile"), ("body",)),
    **dict.fromkeys(("If", "StatelessIf"), ("then_branch", "else_branch")),
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), ("f",)),
}


def peak_bytes(graph: tf.Graph) -> int:
    """Returns the most bytes of tensors that are alive at once while a function runs once.

    Its inputs and variables don't count. A loop counts as one round.

    Args:
      graph: the function's graph, with static shapes.
    """
    return _Walk(graph).peak()


class _Walk:
    def __init__(self, graph: tf.Graph) -> None:
        self._graph = graph
        self._readers: dict[tf.Operation, list[tf.Operation]] = collections.defaultdict(list)
        self._waits_for: dict[tf.Operation, int] = {}
        self._reads: collections.Counter = collections.Counter()  # of a buffer, which are still to come
        self._uses: collections.Counter = collections.Counter(tensor.ref() for tensor in graph.outputs)
        for op in self._needed():
            before = {tensor.op for tensor in op.inputs} | {*op.control_inputs}
            self._waits_for[op] = len(before)
            for each in before:
                self._readers[each].append(op)
            self._uses.update(tensor.ref() for tensor in op.inputs)
        self._buffers: dict[object, int] = {}  # number of the buffer that each tensor lies in
        self._sizes: list[int] = []
        self._constant: set[tf.Operation] = set()
        self._live = 0

    def peak(self) -> int:
        ready = collections.deque(op for op, count in self._waits_for.items() if not count)
        most = 0
        while ready:
            op = ready.popleft()
            buffers = self._allocate(op)
            most = max(most, self._live + self._inside(op))
            for tensor in op.inputs:
                self._release(self._buffers[tensor.ref()])
            for buffer in {*buffers}:
                self._reads[buffer] += 1
                self._release(buffer)  # at once, where nobody reads it
            for reader in self._readers[op]:
                self._waits_for[reader] -= 1
                if not self._waits_for[reader]:
                    ready.append(reader)
        return most

    def _needed(self) -> list[tf.Operation]:
        """What the outputs depend on, in the order of the graph."""
        needed, ahead = set(), [tensor.op for tensor in self._graph.outputs] + list(self._graph.control_outputs)
        while ahead:
            op = ahead.pop()
            if op not in needed:
                needed.add(op)
                ahead += [*(tensor.op for tensor in op.inputs), *op.control_inputs]
        return [op for op in self._graph.get_operations() if op in needed]

    def _allocate(self, op: tf.Operation) -> list[int]:
        """Finds a buffer for each output."""
        inputs = [self._buffers[tensor.ref()] for tensor in op.inputs]
        free_inputs = [buffer for buffer in inputs if self._reads[buffer] == 1] if op.type in _IN_PLACE else []
        constant = self._is_constant(op)
        chosen = []
        for tensor in op.outputs:
            size = 0 if op.type == "Placeholder" else _size(tensor)
            again = next((buffer for buffer in free_inputs if self._sizes[buffer] == size > 0), None)
            if (shared := _shared_input(op)) is not None:
                buffer = inputs[shared]
            elif again is not None:
                free_inputs.remove(again)
                buffer = again
            else:
                buffer = len(self._sizes)
                self._sizes.append(size)
                self._live += size
                self._reads[buffer] += constant  # which is never read for the last time
            self._reads[buffer] += self._uses[tensor.ref()]
            self._buffers[tensor.ref()] = buffer
            chosen.append(buffer)
        return chosen

    def _release(self, buffer: int) -> None:
        self._reads[buffer] -= 1
        if not self._reads[buffer]:
            self._live -= self._sizes[buffer]

    def _is_constant(self, op: tf.Operation) -> bool:
        computed = bool(op.inputs) and all(tensor.op in self._constant for tensor in op.inputs)
        small = sum(map(_size, op.outputs)) <= _LARGEST_CONSTANT
        if op.type == "Const" or (computed and small and not op.op_def.is_stateful):
            self._constant.add(op)
            return True
        return False

    def _inside(self, op: tf.Operation) -> int:
        """What the functions that an operation calls need at most."""
        names = [op.get_attr(attribute).name for attribute in _CALLS.get(op.type, ())]
        return max((peak_bytes(_function_graph(self._graph, name)) for name in names), default=0)


def _function_graph(graph: tf.Graph | None, name: str) -> tf.Graph:
    while graph is not None:
        if (function := graph._get_function(name)) is not None:
            return function.graph
        graph = getattr(graph, "outer_graph", None)
    raise LookupError(f"{name} is no function of this graph or of one around it")


def _shared_input(op: tf.Operation) -> int | None:
    """Index of the input whose memory the outputs are parts of, or None."""
    if op.type in _VIEWS and op.inputs:
        return 0
    axis, values = {"Split": (0, 1), "SplitV": (2, 0)}.get(op.type, (None, None))
    return values if axis is not None and _is_zero(op.inputs[axis]) else None


def _is_zero(tensor: tf.Tensor) -> bool:
    value = tf.get_static_value(tensor)
    return value is not None and not value.any()


def _size(tensor: tf.Tensor) -> int:
    elements: int | None = tensor.shape.num_elements()
    if elements is None or tensor.dtype in (tf.resource, tf.variant, tf.string):
        return 0
    return -(-elements * tensor.dtype.size // _PIECE) * _PIECE
