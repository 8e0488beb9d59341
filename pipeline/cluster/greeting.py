"""What the workers of a cluster say to each other when they meet: lines, and what is wrong with them.

A worker greets another with `mirage 2 {...}`, which answers in the same way, or with `mirage no "..."` if they
don't belong together. Lines may come from anybody who finds the port.
"""

import json
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.cluster.find import Cluster

_LONGEST_SENTENCE = 2000
_MIRAGE = b"mirage "
_GREETING = _MIRAGE + b"2 "  # another number, should the lines ever change
REFUSAL = _MIRAGE + b"no "


def printable(text: str) -> str:
    """What came over the network may hold anything."""
    return "".join(letter for letter in text[:_LONGEST_SENTENCE] if letter.isprintable())


def refusal(error: MirageError) -> bytes:
    """The line that tells another worker why it can't come."""
    return REFUSAL + json.dumps(str(error)).encode() + b"\n"


def refused(line: bytes) -> MirageError:
    """Inverse of `refusal`."""
    try:
        return MirageError(str(json.loads(line.removeprefix(REFUSAL))))
    except (ValueError, RecursionError):
        return MirageError("another worker gave up; look at what it printed.")


def greeting(identity: str, process: str, cluster: Cluster) -> bytes:
    """The line with which a worker begins.

    Args:
      identity: tells a process that comes again from one that is there twice.
      process: names it to people.
      cluster: the cluster, and this process's place in it.
    """
    hello = {"id": identity, "process": process, "index": cluster.index, "workers": cluster.workers}
    return _GREETING + json.dumps(hello).encode() + b"\n"


def understand(line: bytes, where: str) -> dict[str, Any] | None:
    """Reads a greeting.

    Args:
      line: what came.
      where: from where, for the error's sentence.

    Returns:
      What `greeting` was given: `id`, `process`, `index`, `workers`; or None if the line is a stranger's.

    Raises:
      MirageError: if it is a refusal, or another version's greeting.
    """
    if not line.startswith(_MIRAGE) or not line.endswith(b"\n"):
        return None
    if line.startswith(REFUSAL):
        raise refused(line)
    try:
        if not line.startswith(_GREETING):
            raise ValueError("another version's")
        hello = json.loads(line.removeprefix(_GREETING))
        types = {"id": str, "process": str, "index": int, "workers": list}
        if any(type(hello[name]) is not kind for name, kind in types.items()):
            raise ValueError("another version's")
        if not 0 <= hello["index"] < len(hello["workers"]):
            raise ValueError("another version's")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MirageError(
            f"a worker at {where} greets as another version of Mirage does; install the same version on all workers."
        ) from None
    return hello


def read_facts(line: bytes) -> dict[str, str]:
    """Reads facts, see `pipeline.cluster.agreement`; raises ValueError if the line holds something else."""
    try:
        facts = json.loads(line)
    except RecursionError:
        raise ValueError("nested facts") from None
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise ValueError("facts of other types")
    return facts


def check_cluster(hello: dict[str, Any], cluster: Cluster) -> None:
    """Raises MirageError if one that greets was given another cluster than this worker."""
    theirs, ours = hello["workers"], list(cluster.workers)
    if theirs == ours:
        return
    if len(theirs) != len(ours):
        what = f"{len(theirs)} workers on {hello['process']}, and {len(ours)} here"
    else:
        position = next(index for index, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
        what = f"{theirs[position]} as worker {position} on {hello['process']}, and {ours[position]} here"
    raise MirageError(
        f"two workers were given different clusters: {what} (worker {cluster.index}); give all of them the same "
        "addresses in TF_CONFIG, or start them with one srun."
    )


def twice(index: int, one: str, other: str) -> MirageError:
    """Says that two processes have one index."""
    return MirageError(
        f"two processes say that they are worker {index}: {one}, and {other}; give each worker an index of its own in "
        "TF_CONFIG, and start each once."
    )


def wrong_index(index: int, cluster: Cluster, hello: dict[str, Any]) -> MirageError:
    """Says that a worker is not the one whose address it has."""
    return MirageError(
        f"at {cluster.workers[index]}, the address of worker {index}, answers one that says it is worker "
        f"{hello['index']}: {hello['process']}; give each worker an index of its own in TF_CONFIG, on the machine of "
        "its address."
    )
