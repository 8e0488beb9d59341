"""Waits until all workers of a cluster are there, before TensorFlow does.

TensorFlow waits for peers for ever, and so deep inside that no other thread of the process runs. So the
workers first greet each other on the ports that TensorFlow's servers will use.
"""

import contextlib
import socket
import threading
import time

from pipeline.cluster import Cluster
from pipeline.errors import MirageError, WorkerLostError

_RETRY_S = 0.2


def meet(cluster: Cluster, timeout_s: float) -> None:
    """Returns when every worker has reached every other one.

    Args:
      cluster: the cluster, and this process's place in it.
      timeout_s: longest time to wait.

    Raises:
      WorkerLostError: if a worker did not come in time; the message says which.
      MirageError: if this worker's port is taken.
    """
    port = int(cluster.workers[cluster.index].rpartition(":")[2])
    try:
        server = socket.create_server(("", port))
    except OSError as error:
        raise MirageError(
            f"port {port} of worker {cluster.index} can't be used ({error.strerror}); end the process that uses it, or "
            "choose another port."
        ) from None
    came: set[int] = set()
    done = threading.Event()
    listener = threading.Thread(target=_listen, args=(server, cluster, came, done), daemon=True)
    listener.start()
    try:
        _wait_for_all(cluster, came, timeout_s)
    finally:
        done.set()
        listener.join()  # TensorFlow's server needs the port next


def _wait_for_all(cluster: Cluster, came: set[int], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    others = set(range(len(cluster.workers))) - {cluster.index}
    reached: set[int] = set()
    while missing := sorted(others - (came & reached)):
        if time.monotonic() > deadline:
            names = ", ".join(f"{index} ({cluster.workers[index]})" for index in missing)
            raise WorkerLostError(
                f"worker {names} did not come within --timeout_s={timeout_s:g} seconds; start all "
                f"{len(cluster.workers)} workers, and make sure that they can reach each other."
            )
        reached |= {index for index in others - reached if _greet(cluster, index)}
        time.sleep(_RETRY_S)


def _hello(cluster: Cluster, index: int) -> bytes:
    return f"mirage worker {index} of {len(cluster.workers)}\n".encode()


def _listen(server: socket.socket, cluster: Cluster, came: set[int], done: threading.Event) -> None:
    """Answers greetings until `done` is set, and closes the server."""
    greetings = {_hello(cluster, index): index for index in range(len(cluster.workers))}
    server.settimeout(_RETRY_S)
    with server:
        while not done.is_set():
            with contextlib.suppress(OSError):  # a timeout, or a stranger who hangs up
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(2)
                    index = greetings.get(connection.makefile("rb").readline(100))
                    if index is not None:
                        connection.sendall(_hello(cluster, cluster.index))
                        came.add(index)


def _greet(cluster: Cluster, index: int) -> bool:
    host, _, port = cluster.workers[index].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.sendall(_hello(cluster, cluster.index))
            return connection.makefile("rb").readline(100) == _hello(cluster, index)
    except OSError:  # not there yet
        return False
