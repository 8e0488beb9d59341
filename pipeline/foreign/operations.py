"""Which operations of a SavedModel run when it is loaded and called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

# Of the functions by which every SavedModel saves and restores itself. Only restoring is done, and of its own files.
_SAVING = {"SaveV2", "ShardedFilename", "MergeV2Checkpoints", "MatchingFilesDataset", "RestoreV2", "SaveSlices", "Save"}
_RESTORING = {"RestoreV2", "ShardedFilename"}


def operations_of(meta: Any) -> set[str]:
    """Finds the operations that may run.

    Those that only save it are left out where nothing that runs leads to them, and so is reading its own variables.

    Args:
      meta: a MetaGraphDef.

    Returns:
      Their names.
    """
    functions = {each.signature.name: each.node_def for each in meta.graph_def.library.function}
    saving = {name for name, nodes in functions.items() if {node.op for node in nodes} & _SAVING}
    called = {name for nodes in functions.values() for name in _called(nodes)} | {
        *meta.object_graph_def.concrete_functions
    }
    nodes = {node.name: node for node in meta.graph_def.node}
    run = list(_before(nodes, _fetched(meta)))
    called |= {*_called(run)}
    restoring = list(_before(nodes, [meta.saver_def.restore_op_name] if meta.HasField("saver_def") else []))
    restoring += [node for name in _called(restoring) for node in functions.get(name, ())]
    found = {node.op for node in run} | {node.op for node in restoring} - _RESTORING
    found |= {node.op for node in nodes.values()} - _SAVING
    for name, body in functions.items():
        operations = {node.op for node in body}
        found |= operations if name in called or name not in saving else operations - _SAVING
    return found


def _fetched(meta: Any) -> list[str]:
    """Names of the nodes that a loaded graph is asked for."""
    signatures = meta.signature_def.values()
    names = [each.name for signature in signatures for each in signature.outputs.values()]
    for key in ("saved_model_main_op", "legacy_init_op"):
        if key in meta.collection_def:
            names += meta.collection_def[key].node_list.value
    return names


def _before(nodes: dict[str, Any], names: Iterable[str]) -> Iterator[Any]:
    """Yields nodes and all that they need."""
    left, seen = list(names), set[str]()
    while left:
        name = left.pop().lstrip("^").partition(":")[0]
        if name in nodes and name not in seen:
            seen.add(name)
            yield nodes[name]
            left += nodes[name].input


def _called(nodes: Iterable[Any]) -> Iterator[str]:
    """Yields the names of functions that nodes call."""
    for node in nodes:
        for value in node.attr.values():
            yield value.func.name
            yield from (each.name for each in value.list.func)
