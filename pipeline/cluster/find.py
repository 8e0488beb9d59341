"""Finds the cluster that this process is part of, from its environment. Standard library only.

Two descriptions are understood: `TF_CONFIG`, as Kubeflow's training operator and `pipeline.launch` set
it, and the variables that Slurm's `srun` sets for each task.
"""

import dataclasses
import json
import re
from collections.abc import Mapping

from pipeline.base.errors import MirageError

_FIRST_PORT, _PORTS_PER_JOB, _JOBS = 10000, 32, 700


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster as one of its workers sees it.

    Attributes:
      workers: `host:port` of every worker; the first one is the chief.
      index: which of them this process is.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run directory."""
        return self.index == 0

    def tf_config(self) -> str:
        """Returns the value of `TF_CONFIG` that describes this worker."""
        return json.dumps({"cluster": {"worker": self.workers}, "task": {"type": "worker", "index": self.index}})


def find_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """Reads the environment.

    Args:
      environment: such as `os.environ`.

    Returns:
      The cluster, or None if this process stands alone.

    Raises:
      MirageError: if the description is contradictory or names roles other than chief and worker.
    """
    cluster = None
    if environment.get("TF_CONFIG"):
        cluster = _from_tf_config(environment["TF_CONFIG"])
    elif "SLURM_STEP_NODELIST" in environment and "SLURM_PROCID" in environment:
        cluster = _from_slurm(environment)
    return cluster if cluster is not None and len(cluster.workers) > 1 else None


def _from_tf_config(text: str) -> Cluster | None:
    try:
        document = json.loads(text)
        jobs = {str(job): list(hosts) for job, hosts in document.get("cluster", {}).items() if hosts}
        if not jobs:
            return None
        role, index = str(document["task"]["type"]), int(document["task"]["index"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise MirageError(f"TF_CONFIG={text[:200]} can't be understood; expected JSON such as {_example()}.") from None
    unknown = sorted({*jobs, role} - {"chief", "worker"})
    if unknown:
        raise MirageError(f"TF_CONFIG names the role {unknown[0]!r}; expected only chief and worker.")
    chiefs, workers = jobs.get("chief", []), jobs.get("worker", [])
    hosts = [*chiefs, *workers]
    if len(chiefs) > 1 or not 0 <= index < len(jobs.get(role, [])):
        raise MirageError(
            f"TF_CONFIG gives this task the role {role} with index {index}, and the cluster has {len(chiefs)} chiefs "
            f"and {len(workers)} workers; expected at most one chief, and an index below the role's number."
        )
    if not all(map(_is_address, hosts)) or len(set(hosts)) < len(hosts):
        raise MirageError(
            f"TF_CONFIG's addresses are {', '.join(map(str, hosts))}; expected different ones, each as host:port "
            "with a port of 1 to 65535."
        )
    return Cluster(tuple(hosts), index + (len(chiefs) if role == "worker" else 0))


def _is_address(host: object) -> bool:
    match = re.fullmatch(r"[!-~]+:([0-9]{1,5})", host) if isinstance(host, str) else None
    return match is not None and 0 < int(match[1]) < 2**16


def _example() -> str:
    return Cluster(("a:2222", "b:2222"), 0).tf_config()


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    """Builds the cluster of a Slurm job step.

    TensorFlow's own resolver sorts host names as text, so that it takes node10 for the one before
    node9 and its ranks are not Slurm's; it also insists on nvidia-smi.
    """
    try:
        nodes = expand_hostlist(environment["SLURM_STEP_NODELIST"])
        counts = expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
        rank, job = int(environment["SLURM_PROCID"]), int(environment["SLURM_JOB_ID"])
    except (KeyError, ValueError) as error:
        raise MirageError(
            f"Slurm's variables can't be understood ({error}); start training with srun, or set TF_CONFIG yourself."
        ) from None
    if len(nodes) != len(counts) or not 0 <= rank < sum(counts) or max(counts) > _PORTS_PER_JOB:
        raise MirageError(
            f"Slurm's variables contradict each other: {len(nodes)} nodes, tasks per node {counts}, rank {rank}; start "
            "training with srun."
        )
    hosts = [(node, local) for node, count in zip(nodes, counts, strict=True) for local in range(count)]
    own = environment.get("SLURMD_NODENAME", hosts[rank][0])
    if own != hosts[rank][0]:
        raise MirageError(
            f"Slurm runs rank {rank} on {own}, and in block order it belongs on {hosts[rank][0]}; pass "
            "--distribution=block to srun."
        )
    # Jobs that share a node get different ports, below the range that systems hand out by themselves.
    port = _FIRST_PORT + _PORTS_PER_JOB * (job % _JOBS)
    return Cluster(tuple(f"{node}:{port + local}" for node, local in hosts), rank)


def expand_hostlist(text: str) -> list[str]:
    """Expands Slurm's notation for hosts.

    Args:
      text: such as `gpu[08-10,12],login1`.

    Returns:
      Such as `["gpu08", "gpu09", "gpu10", "gpu12", "login1"]`, in the order of the text.

    Raises:
      ValueError: if the text is not in this notation.
    """
    hosts: list[str] = []
    position = 0
    pattern = re.compile(r"([^\[\],\s]*)((?:\[[\d,-]+\][^\[\],\s]*)*)(?:,|$)")
    while position < len(text):
        match = pattern.match(text, position)
        if match is None or not match[0].rstrip(","):
            raise ValueError(f"host list {text!r}")
        names = [match[1]]
        for numbers, tail in re.findall(r"\[([\d,-]+)\]([^\[\],\s]*)", match[2]):
            names = [name + number + tail for name in names for number in _expand_numbers(numbers)]
        hosts += names
        position = match.end()
    if not hosts or text.endswith(","):
        raise ValueError(f"host list {text!r}")
    return hosts


def _expand_numbers(text: str) -> list[str]:
    numbers = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"host numbers {text!r}")
        width = len(match[1])  # leading zeros belong to the names
        numbers += [f"{number:0{width}}" for number in range(int(match[1]), int(match[2] or match[1]) + 1)]
    return numbers


def expand_counts(text: str) -> list[int]:
    """Expands Slurm's notation for numbers of tasks: `2(x3),1` is `[2, 2, 2, 1]`.

    Raises:
      ValueError: if the text is not in this notation.
    """
    counts = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise ValueError(f"task counts {text!r}")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts
