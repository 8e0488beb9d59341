"""One contestant in a process of its own, which trains when it is told to.

Processes, so that no library's threads meet another's. The parent writes a number of steps to standard
input; the worker trains them and answers with a line of JSON. Asked for facts it answers with what the contestant
has to tell of itself. What libraries print goes to standard error.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import re
import select
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, Self

_ROOT = Path(__file__).parent.parent
_FACTS = "facts"


@dataclasses.dataclass(frozen=True)
class Work:
    """What a contestant trains.

    The discriminator and the generator minimise the non-saturating loss with Adam(2e-4, beta_1 0.5).
    "mlp" is the classic Keras MNIST GAN: per step D sees half a batch of real images, then half a batch
    of generated ones, in an update each; then G is updated on a whole batch. "dcgan" is Mirage's
    convolutional pair, whose D sees a batch of both in one update.

    Attributes:
      networks: "mlp" or "dcgan".
      batch_size: images per step.
      images: file with uint8 [N, 28, 28, 1], written by `numpy.save`.
      round_steps: steps after which a contestant that logs, draws and saves does each of them.
      options: for some contestants, such as whether XLA compiles.
    """

    networks: str
    batch_size: int
    images: str
    round_steps: int
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Rounds(Protocol):
    """What `run` of a contestant is given."""

    def ready(self, **parameters: int) -> None:
        """Reports the number of trainable weights of each network."""

    def explain(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Says how to find out what the contestant has to tell of itself."""

    def __iter__(self) -> Iterator[int]:
        """Yields numbers of steps; the time until the next one is asked for is measured."""


class _PipedRounds:
    def __init__(self, answers: IO[str]) -> None:
        self._answers = answers
        self._facts: Callable[[], Mapping[str, Any]] = dict

    def ready(self, **parameters: int) -> None:
        print(json.dumps(parameters), file=self._answers, flush=True)

    def explain(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        self._facts = facts

    def __iter__(self) -> Iterator[int]:
        for line in sys.stdin:
            if line.strip() == _FACTS:
                print(json.dumps(self._facts()), file=self._answers, flush=True)
                continue
            start = time.perf_counter()
            yield int(line)
            print(json.dumps(time.perf_counter() - start), file=self._answers, flush=True)


class WorkerError(Exception):
    """A contestant that failed; the message holds what it printed last."""

    @property
    def reason(self) -> str:
        """One line of the message: the last exception, without the advice that libraries print behind it."""
        lines = [line.strip() for line in str(self).splitlines() if line.strip()]
        if "no answer" in lines[0]:
            return lines[0][:300]
        told = [index for index, line in enumerate(lines) if re.match(r"[\w.]+(Error|Exception)\b.*: ?", line)]
        found = lines[told[-1] :] if told else lines[-1:]
        return " ".join(found[: 2 if found[0].endswith(":") else 1])[:300]


def command_of(python: str) -> list[str]:
    """Splits what starts an interpreter: the path of one, or a command such as `env -u PYTHONPATH python3`."""
    return [python] if Path(python).is_file() else shlex.split(python)


class Worker:
    """A contestant's process. Use it as a context manager."""

    def __init__(
        self, contestant: str, work: Work, python: str = sys.executable, timeout_s: float | None = None
    ) -> None:
        """Starts it; `parameters` waits until it is ready.

        Args:
          contestant: name of a module in `benchmarks/contestants/`.
          work: what it trains.
          python: interpreter of the environment that has its libraries, see `command_of`.
          timeout_s: how long an answer may take; None for any time.
        """
        self._contestant = contestant
        self._timeout_s = timeout_s
        self._log = tempfile.NamedTemporaryFile("w")  # noqa: SIM115 - closed in __exit__
        command = [*command_of(python), "-m", "benchmarks.worker", contestant, json.dumps(dataclasses.asdict(work))]
        self._process = subprocess.Popen(
            command,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()

    def parameters(self) -> dict[str, int]:
        """Waits until the networks are built; returns the number of trainable weights of each."""
        return self._answer()

    def seconds(self, steps: int) -> float:
        """Trains a number of steps; returns how long it took."""
        return self._ask(str(steps))

    def facts(self) -> dict[str, Any]:
        """Returns what the contestant has to tell of itself."""
        return self._ask(_FACTS)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def said(self) -> str:
        """Returns what the contestant has printed."""
        return Path(self._log.name).read_text(errors="replace")

    def _ask(self, question: str) -> Any:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is told with what it printed
            self._process.stdin.write(f"{question}\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], self._timeout_s)[0]:
            raise WorkerError(f"{self._contestant} gave no answer within {self._timeout_s:g} s:\n{self.said()[-2000:]}")
        line = self._process.stdout.readline()
        if not line:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)  # until all is printed
            raise WorkerError(f"{self._contestant} failed:\n{self.said()[-2000:]}")
        return json.loads(line)


def main() -> None:
    """Runs the contestant that the command line names."""
    name, work = sys.argv[1], Work(**json.loads(sys.argv[2]))
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        importlib.import_module(f"benchmarks.contestants.{name}").run(work, _PipedRounds(answers))


if __name__ == "__main__":
    main()
