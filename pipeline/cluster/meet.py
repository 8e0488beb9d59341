"""The workers of a cluster among themselves: they meet, agree, and tell each other that they live.

TensorFlow waits for peers for ever, and so deep inside that no other thread of the process runs. So the
workers first greet each other on the ports that TensorFlow's servers will use. Each dials all others, and
keeps these connections: it says there, line by line, what all must have in common, and that it lives.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from pipeline.base.errors import MirageError, WorkerLostError
from pipeline.cluster.agreement import difference
from pipeline.cluster.find import Cluster
from pipeline.cluster.greeting import (
    REFUSAL,
    check_cluster,
    greeting,
    printable,
    read_facts,
    refusal,
    refused,
    twice,
    understand,
    wrong_index,
)

_RETRY_S = 0.2
_BEAT_S = 0.5
_SILENCE_S = 5.0
_GREETING_S = 5.0  # for a greeting and its answer
_LONGEST_LINE = 2**18
_WORKING, _WAITING = b"working\n", b"waiting\n"


@dataclasses.dataclass
class _Incoming:
    """What another worker says, on the connection that it dialled."""

    identity: str
    process: str
    writer: asyncio.StreamWriter
    heard: float
    worked: float
    facts: list[dict[str, str]] = dataclasses.field(default_factory=list)
    is_open: bool = True


@dataclasses.dataclass
class _Outgoing:
    """Where another worker listens."""

    writer: asyncio.StreamWriter
    told: int = 0  # how many of this worker's facts it has been told


def meet(cluster: Cluster, facts: Mapping[str, str], timeout_s: float) -> "Peers":
    """Returns when every worker has reached every other one, and all agree.

    Args:
      cluster: the cluster, and this process's place in it.
      facts: what must be the same on all workers, by name.
      timeout_s: longest time to wait.

    Returns:
      The other workers. The port is free again.

    Raises:
      WorkerLostError: if a worker did not come in time; the message says which.
      MirageError: if this worker's port is taken, or the workers differ; the message says in what.
    """
    port = int(cluster.workers[cluster.index].rpartition(":")[2])
    try:
        server = socket.create_server(("", port))
    except OSError as error:
        raise MirageError(
            f"port {port} of worker {cluster.index} can't be used ({error.strerror}); end the process that uses it "
            "(a second one with this index, perhaps), or choose another port."
        ) from None
    peers = Peers(cluster, server)
    try:
        peers.meet(facts, timeout_s)
    except BaseException:
        peers.close()
        raise
    return peers


class Peers:
    """The other workers. Made by `meet`; use it as a context manager.

    A thread of its own sends a beat to each of them, twice a second, and takes theirs.

    Attributes:
      working: whether this worker does work of its own, which others have to wait for; its beats say so.
      failure: why the meeting failed, or with what another worker gave up later; or None.
    """

    def __init__(self, cluster: Cluster, server: socket.socket) -> None:
        """Starts to listen and to dial.

        Args:
          cluster: the cluster, and this process's place in it.
          server: listens on this worker's port.
        """
        self.working = True
        self._cluster = cluster
        self._others = [index for index in range(len(cluster.workers)) if index != cluster.index]
        # Tells a process that comes again from one that is there twice.
        self._process = f"process {os.getpid()} on {socket.gethostname()}"
        self._id = uuid.uuid4().hex
        self._greeting = greeting(self._id, self._process, cluster)
        self._facts: list[bytes] = []
        self._incoming: dict[int, _Incoming] = {}
        self._outgoing: dict[int, _Outgoing] = {}
        self._why = dict.fromkeys(self._others, "no answer")  # why it wasn't reached
        self._reached: set[int] = set()  # once
        self.failure: BaseException | None = None
        self._met = False
        self._changed = threading.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        started = threading.Event()
        run = self._run(server, started)
        self._thread = threading.Thread(target=asyncio.run, args=(run,), name="peers", daemon=True)
        self._thread.start()
        started.wait()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Hangs up; if a mistake ends this worker, the others are told which."""
        if isinstance(error, MirageError) and not isinstance(error, WorkerLostError) and error is not self.failure:
            self._loop.call_soon_threadsafe(self._give_up, error)
        self.close()

    def close(self) -> None:
        """Hangs up."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it has just ended
                self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def meet(self, facts: Mapping[str, str], timeout_s: float) -> None:
        """Waits until all are there and agree, and frees the port; see the function `meet`."""
        deadline = time.monotonic() + timeout_s
        stage = self._say(facts)
        with self._changed:
            while not (self._agreed(stage, facts) and all(self._has_come(index) for index in self._others)):
                if time.monotonic() > deadline:
                    raise WorkerLostError(self._who_is_missing(timeout_s))
                self._changed.wait(deadline - time.monotonic())
        asyncio.run_coroutine_threadsafe(self._stop_listening(), self._loop).result()

    def agree(self, facts: Mapping[str, str]) -> None:
        """Waits until all others have said the same facts.

        Args:
          facts: what must be the same on all workers, by name.

        Raises:
          WorkerLostError: if one left before.
          MirageError: if the workers differ, or one gave up; the message says in what, or why.
        """
        stage = self._say(facts)
        with self._changed:
            while True:
                # Looked at first: who gives up says why before it hangs up.
                left = [index for index, peer in self._incoming.items() if not peer.is_open]
                if self._agreed(stage, facts):
                    return
                if gone := [index for index in left if len(self._incoming[index].facts) <= stage]:
                    raise WorkerLostError(
                        f"worker {self._name(gone[0])} has left; look at what it printed, then start all workers again."
                    )
                self._changed.wait()

    def alive_until(self) -> float:
        """Until when all others are known to live, as `time.monotonic` counts."""
        return min(peer.heard for peer in self._incoming.values())

    def worked_until(self) -> float:
        """Until when one of the others is known to have done work of its own, as `time.monotonic` counts."""
        return max(peer.worked for peer in self._incoming.values())

    def silent(self) -> list[str]:
        """Names the workers that have not been heard of for some seconds."""
        then = time.monotonic() - _SILENCE_S
        return [self._name(index) for index, peer in sorted(self._incoming.items()) if peer.heard < then]

    def _name(self, index: int) -> str:
        return f"{index} ({self._cluster.workers[index]})"

    def _has_come(self, index: int) -> bool:
        return index in self._incoming and self._incoming[index].is_open and index in self._outgoing

    def _say(self, facts: Mapping[str, str]) -> int:
        """Tells all others, as soon as all have come; returns how many facts were said before."""
        self._facts.append(json.dumps(dict(facts)).encode() + b"\n")
        # Waited for: TensorFlow may be next, which lets no other thread run.
        asyncio.run_coroutine_threadsafe(self._tell(), self._loop).result()
        return len(self._facts) - 1

    def _agreed(self, stage: int, facts: Mapping[str, str]) -> bool:
        """Whether all others have said the same; raises MirageError if they differ, or don't fit together."""
        present = {index: self._incoming[index] for index in self._others if index in self._incoming}
        said = {index: peer.facts[stage] for index, peer in present.items() if len(peer.facts) > stage}
        complete = len(said) == len(self._others)
        if complete and (sentence := difference({**said, self._cluster.index: facts})):
            raise MirageError(printable(sentence))
        if self.failure is not None:
            raise self.failure
        return complete

    def _who_is_missing(self, timeout_s: float) -> str:
        missing = [index for index in self._others if not self._has_come(index)]
        if missing:
            reasons = (f"worker {index}: {self._reason(index)}" for index in missing)
            return (
                f"worker {', '.join(map(self._name, missing))} did not come within --timeout_s={timeout_s:g} seconds; "
                f"start all {len(self._cluster.workers)} workers, and make sure that they can reach each other "
                f"({'; '.join(reasons)})."
            )
        waiting = [index for index in self._others if not self._incoming[index].facts]
        return (
            f"worker {', '.join(map(self._name, waiting))} did not reach all others within --timeout_s={timeout_s:g} "
            "seconds; make sure that all workers can reach each other."
        )

    def _reason(self, index: int) -> str:
        if index in self._outgoing:
            return "it does not reach this one"
        return ("it came and left; " if index in self._reached else "") + self._why[index]

    # What follows runs in the thread.

    async def _run(self, server: socket.socket, started: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._server = await asyncio.start_server(self._accept, sock=server, limit=_LONGEST_LINE)
        tasks = [asyncio.create_task(self._dial(index)) for index in self._others]
        tasks.append(asyncio.create_task(self._beat()))
        for task in tasks:
            task.add_done_callback(self._ended)
        started.set()
        await self._end.wait()
        await self._stop_listening()
        for writer in self._writers:
            writer.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=1)

    async def _stop_listening(self) -> None:
        self._met = True
        for listening in self._server.sockets:
            self._loop.remove_reader(listening)
        # Until who was accepted in this moment has a transport: a server that is closed would leave it open.
        await asyncio.sleep(0)
        self._server.close()

    def _ended(self, task: asyncio.Task) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failure = error  # which nobody else would see
            self._notify()

    async def _beat(self) -> None:
        while True:
            for each in self._outgoing.values():
                if not each.writer.transport.get_write_buffer_size():  # otherwise it doesn't listen
                    each.writer.write(_WORKING if self.working else _WAITING)
            await asyncio.sleep(_BEAT_S)

    async def _tell(self) -> None:
        if self._met or all(self._has_come(index) for index in self._others):
            for each in self._outgoing.values():
                each.writer.writelines(self._facts[each.told :])
                each.told = len(self._facts)
        self._notify()

    def _fail(self, error: MirageError) -> None:
        """Ends the meeting, of all who are there; what comes after it doesn't matter."""
        if not self._met and self.failure is None:
            self.failure = MirageError(printable(str(error)))
            for each in self._incoming.values():
                each.writer.write(refusal(error))
        self._notify()

    def _give_up(self, error: MirageError) -> None:
        for each in self._outgoing.values():
            each.writer.write(refusal(error))

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = None
        self._writers.add(writer)
        try:
            async with asyncio.timeout(_GREETING_S):
                hello = understand(await reader.readline(), _host(writer))
            # A stranger gets no answer; nor does this process itself, which sees whom it has reached.
            if hello is None or hello["id"] == self._id or self._met:
                return
            writer.write(self._greeting)  # where they don't fit together, both shall say so
            peer = self._welcome(hello, writer)
            await self._tell()
            while line := await reader.readline():
                peer.heard = time.monotonic()
                if line == _WORKING:
                    peer.worked = peer.heard
                elif line.startswith(REFUSAL):
                    self.failure = MirageError(
                        printable(f"worker {self._name(hello['index'])} gave up: {refused(line)}")
                    )
                    self._notify()
                elif line != _WAITING:
                    peer.facts.append(read_facts(line))
                    self._notify()
        except MirageError as error:
            writer.write(refusal(error))
            self._fail(error)
        except (OSError, ValueError):  # a stranger, or the connection is gone
            pass
        finally:
            if peer is not None:
                peer.is_open = False
                self._notify()
            self._writers.discard(writer)
            writer.close()

    def _welcome(self, hello: dict[str, Any], writer: asyncio.StreamWriter) -> _Incoming:
        check_cluster(hello, self._cluster)
        index, now = hello["index"], time.monotonic()
        before = self._incoming.get(index)
        if index == self._cluster.index:
            raise twice(index, self._process, hello["process"])
        if before is not None and before.is_open:
            if before.identity != hello["id"] and before.heard > now - _SILENCE_S:
                raise twice(index, before.process, hello["process"])
            before.writer.close()
        self._incoming[index] = _Incoming(hello["id"], hello["process"], writer, heard=now, worked=now)
        return self._incoming[index]

    async def _dial(self, index: int) -> None:
        while not self._met:
            await self._talk(index)
            await asyncio.sleep(_RETRY_S)

    async def _talk(self, index: int) -> None:
        """Greets a worker, and stays until one of both hangs up."""
        host, _, port = self._cluster.workers[index].rpartition(":")
        writer = None
        try:
            async with asyncio.timeout(_GREETING_S):
                reader, writer = await asyncio.open_connection(host, int(port), limit=_LONGEST_LINE)
                self._writers.add(writer)
                writer.write(self._greeting)
                hello = understand(await reader.readline(), self._cluster.workers[index])
            if hello is None:
                self._why[index] = "what answers there is no worker of Mirage"
                return
            check_cluster(hello, self._cluster)
            if hello["index"] != index:
                raise wrong_index(index, self._cluster, hello)
            self._outgoing[index] = _Outgoing(writer)
            self._reached.add(index)
            await self._tell()
            if (line := await reader.readline()).startswith(REFUSAL):
                raise refused(line)
        except MirageError as error:
            self._fail(error)
        except (OSError, ValueError) as error:
            self._why[index] = _reason(error)
        finally:
            self._outgoing.pop(index, None)
            if writer is not None:
                self._writers.discard(writer)
                writer.close()


def _host(writer: asyncio.StreamWriter) -> str:
    address = writer.get_extra_info("peername")
    return address[0] if address else "an address unknown"


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio's text is another one
    return getattr(error, "strerror", None) or "no answer"
