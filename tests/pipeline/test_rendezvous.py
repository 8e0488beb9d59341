import socket
import threading

import pytest

from pipeline.cluster import Cluster
from pipeline.errors import MirageError, WorkerLostError
from pipeline.rendezvous import meet


def addresses(count):
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = tuple(f"127.0.0.1:{server.getsockname()[1]}" for server in servers)
    for server in servers:
        server.close()
    return found


def test_all_leave_when_all_have_come():
    workers = addresses(4)
    left = []

    def come(index):
        meet(Cluster(workers, index), 20)
        left.append(index)

    threads = [threading.Thread(target=come, args=(index,)) for index in range(4)]
    for thread in threads[:3]:
        thread.start()
    threads[0].join(timeout=1)
    assert left == []
    threads[3].start()
    for thread in threads:
        thread.join(timeout=20)
    assert sorted(left) == [0, 1, 2, 3]


def test_who_is_missing_is_named():
    workers = addresses(2)
    with pytest.raises(WorkerLostError, match=rf"worker 1 \({workers[1]}\) did not come within --timeout_s=0.3"):
        meet(Cluster(workers, 0), 0.3)


def test_a_stranger_on_the_port_is_no_worker():
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        workers = (*addresses(1), f"127.0.0.1:{stranger.getsockname()[1]}")

        def answer():
            connection, _ = stranger.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(WorkerLostError, match="worker 1"):
            meet(Cluster(workers, 0), 0.5)


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MirageError, match=f"port {port} of worker 0"):
            meet(Cluster((f"127.0.0.1:{port}", "127.0.0.1:1"), 0), 1)
