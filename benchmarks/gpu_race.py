"""Sides of the GPU benchmark, got ready and timed in turn; one that fails drops out, with its reason."""

import contextlib
import dataclasses
import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.gpu_card import process_mib
from benchmarks.worker import Work, Worker, WorkerError

PRECISIONS = ("float32", "tf32", "mixed_bfloat16")
# The trainer comes back to Python after as many steps, see `contestants/gpu_ours.py`.
_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
      networks: "dcgan" or "resnet".
      image_size: pixels on each side.
      channels: of the images.
      batch_size: images per update.
      devices: logical devices to split the GPU into; 0 uses it as it is.
    """

    networks: str
    image_size: int
    channels: int
    batch_size: int
    devices: int = 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.image_size, self.image_size, self.channels


@dataclasses.dataclass(frozen=True)
class Side:
    """A way to train.

    Attributes:
      name: as tables have it.
      family: what it is a form of: "Mirage", "eager" or "torch.compile".
      options: of its contestant.
      needs_gpu: whether there is no such thing on a CPU.
    """

    name: str
    family: str
    options: Mapping[str, Any]
    needs_gpu: bool = False

    @property
    def foreign(self) -> bool:
        """Whether it lives in the peers' environment."""
        return self.family != "Mirage"


SIDES = (
    Side("Mirage, XLA", "Mirage", {"flags": {"jit": "on"}}),
    Side("Mirage, XLA, --nodeterministic", "Mirage", {"flags": {"jit": "on", "deterministic": False}}, True),
    Side("Mirage", "Mirage", {"flags": {"jit": "off"}}),
    Side("PyTorch eager", "eager", {"compile": None, "graph": False}),
    Side("PyTorch eager, CUDA graph", "eager", {"compile": None, "graph": True}, True),
    Side("torch.compile", "torch.compile", {"compile": "default", "graph": False}),
    Side("torch.compile, reduce-overhead", "torch.compile", {"compile": "reduce-overhead", "graph": False}, True),
    Side("torch.compile, CUDA graph", "torch.compile", {"compile": "default", "graph": True}, True),
    Side(
        "torch.compile, max-autotune, CUDA graph",
        "torch.compile",
        {"compile": "max-autotune-no-cudagraphs", "graph": True},
        True,
    ),
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One process of a race."""

    case: Case
    precision: str
    side: Side


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
      device: "gpu" or "cpu".
      peers_python: what starts the interpreter that has PyTorch.
      rounds: measurements of each side.
      round_s: about how long each.
      jobs: how many sides get ready at the same time.
      timeout_s: how long a side may keep silent.
      images: files with uint8 images by their shape.
    """

    device: str
    peers_python: str
    rounds: int
    round_s: float
    jobs: int
    timeout_s: float
    images: Mapping[tuple[int, int, int], str]


def say(text: str) -> None:
    """Tells how far it has come."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


class _Runner:
    """One side: its process, how many steps make a round, and what has been measured."""

    def __init__(self, entry: Entry, settings: Settings, cache: str) -> None:
        case, side = entry.case, entry.side
        options = {**side.options, "precision": entry.precision, "device": settings.device, "cache": cache}
        work = Work(case.networks, case.batch_size, settings.images[case.image_shape], 0, options | _split(case))
        self.row: dict[str, Any] = {**dataclasses.asdict(case), "precision": entry.precision, "side": side.name}
        self.row |= {"family": side.family, "error": ""}
        self._name = f"{case.networks} {case.image_size} px, batch {case.batch_size}, {entry.precision}, {side.name}"
        self._settings, self._batch_size = settings, case.batch_size
        self._steps = 0
        self._seconds: list[float] = []
        self._stack = contextlib.ExitStack()
        python = settings.peers_python if side.foreign else sys.executable
        contestant = "gpu_pytorch" if side.foreign else "gpu_ours"
        self._start_worker = functools.partial(Worker, contestant, work, python, settings.timeout_s)

    def prepare(self) -> None:
        """Starts the process, and has it compile."""
        start = time.perf_counter()
        with self._failing():
            self.worker = self._stack.enter_context(self._start_worker())
            self.worker.parameters()
            self.worker.seconds(_STEPS)
            self.row["start_s"] = round(time.perf_counter() - start, 1)
            self.row |= self.worker.facts()  # from now on it watches the memory of training alone
            compiled = f"compiled in {self.row['compile_s']:.1f} s, "
            say(f"{self._name}: {compiled}ready after {self.row['start_s']:.0f} s")

    def settle(self) -> None:
        """Finds out how many steps make a round; while others compile, it would seem too slow."""
        if not self.row["error"]:
            with self._failing():
                per_call = min(self.worker.seconds(_STEPS) for _ in range(2))
                self._steps = _STEPS * max(1, round(self._settings.round_s / per_call))

    def round(self) -> None:
        """Trains a round."""
        if not self.row["error"]:
            with self._failing():
                self._seconds.append(self.worker.seconds(self._steps))

    def finish(self) -> dict[str, Any]:
        """Returns what was measured."""
        if not self.row["error"]:
            with self._failing():
                rates = [self._batch_size * self._steps / each for each in self._seconds]
                say(f"{self._name}: {statistics.median(rates):,.0f} images/s")
                self.row |= {
                    "images_per_s": statistics.median(rates),
                    "rounds": [round(rate, 1) for rate in rates],
                    **self.worker.facts(),
                    "process_mib": process_mib(self.worker.pid),
                }
        return self.row

    @contextlib.contextmanager
    def _failing(self) -> Any:
        try:
            yield
        except WorkerError as error:
            self.row["error"] = error.reason
            say(f"{self._name} failed:\n{error}")
            self.close()  # so that it leaves its memory to the others

    def close(self) -> None:
        """Ends the process."""
        self._stack.close()


def _split(case: Case) -> dict[str, int]:
    return {"virtual_devices": case.devices} if case.devices > 1 else {}


def race(entries: Iterable[Entry], settings: Settings) -> list[dict[str, Any]]:
    """Trains all entries in turn, each in a process of its own.

    Args:
      entries: who takes part; all are in memory at the same time.
      settings: how to measure.

    Returns:
      A row for each: what it trained; images_per_s (median), rounds, compile_s, start_s, memory_mib, parameters,
      versions; or error.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="mirage-gpu-", ignore_cleanup_errors=True))
        )
        pool = ThreadPoolExecutor(settings.jobs)
        stack.callback(pool.shutdown)  # after all processes have been ended, so that nobody waits for them
        runners = []
        for number, entry in enumerate(entries):
            (folder / str(number)).mkdir()
            runners.append(_Runner(entry, settings, str(folder / str(number))))
            stack.callback(runners[-1].close)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        list(pool.map(_Runner.prepare, runners))
        for runner in runners:
            runner.settle()
        for _ in range(settings.rounds):
            for runner in runners:
                runner.round()
        return [runner.finish() for runner in runners]


def count_operations(cases: Iterable[Case], timeout_s: float) -> dict[tuple[str, tuple[int, int, int]], int]:
    """Counts the operations per training image of each pair of networks, see `contestants/gpu_operations.py`.

    Args:
      cases: of which networks and images.
      timeout_s: how long it may take.

    Returns:
      The number by networks and image shape.

    Raises:
      WorkerError: if they can't be counted.
    """
    with contextlib.ExitStack() as stack:
        workers = {}
        for networks, shape in {(case.networks, case.image_shape): None for case in cases}:
            # As all arithmetic is proportional to the batch, a small one will do.
            config = {"model": networks, "objective": "r3gan", "batch_size": 2}
            work = Work(networks, 2, "", 0, {"image_shape": shape, "config": config})
            workers[networks, shape] = stack.enter_context(Worker("gpu_operations", work, timeout_s=timeout_s))
        return {pair: worker.parameters()["operations"] // 2 for pair, worker in workers.items()}
