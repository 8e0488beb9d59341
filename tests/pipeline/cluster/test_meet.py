import asyncio
import concurrent.futures
import contextlib
import gc
import json
import re
import socket
import threading
import time

import pytest

from pipeline.base.errors import MirageError, WorkerLostError
from pipeline.cluster.find import Cluster
from pipeline.cluster.meet import Peers, meet

FACTS = {"--batch_size": "32"}


def addresses(count):
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = tuple(f"127.0.0.1:{server.getsockname()[1]}" for server in servers)
    for server in servers:
        server.close()
    return found


def port_of(address):
    return int(address.rpartition(":")[2])


class Come:
    """Workers that come, each in a thread; leaves with all of them."""

    def __init__(self, *clusters, facts=None, timeout_s=20):
        facts = facts or [FACTS] * len(clusters)
        self.pool = concurrent.futures.ThreadPoolExecutor()
        self.each = [self.pool.submit(meet, *pair, timeout_s) for pair in zip(clusters, facts, strict=True)]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for each in self.each:
            with contextlib.suppress(MirageError):
                each.result().close()
        self.pool.shutdown()

    def peers(self):
        return [each.result() for each in self.each]

    def errors(self):
        return [str(each.exception()) for each in self.each]


def clusters(workers):
    return [Cluster(workers, index) for index in range(len(workers))]


@contextlib.contextmanager
def dialled(address, timeout=10):
    """A connection to a worker, as soon as it listens."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port_of(address)), timeout)
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    with connection:
        yield connection


def test_all_leave_when_all_have_come():
    each = clusters(addresses(4))
    with Come(*each[:3]) as early:
        done, _ = concurrent.futures.wait(early.each, timeout=1)
        assert not done
        with Come(each[3]) as late:
            assert len(early.peers() + late.peers()) == 4


def test_the_port_is_free_for_tensorflow_while_the_connections_last():
    workers = addresses(2)
    with Come(*clusters(workers)) as come:
        come.peers()
        for address in workers:
            socket.create_server(("", port_of(address))).close()


def test_who_is_missing_is_named_with_the_reason():
    workers = addresses(2)
    missing = rf"worker 1 \({workers[1]}\) did not come within --timeout_s=0.5.*\(worker 1: Connection refused\)"
    with pytest.raises(WorkerLostError, match=missing):
        meet(Cluster(workers, 0), FACTS, 0.5)


def test_a_stranger_on_the_port_is_no_worker():
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        workers = (*addresses(1), f"127.0.0.1:{stranger.getsockname()[1]}")

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = stranger.accept()
                    with connection:
                        connection.recv(10000)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(WorkerLostError, match=r"worker 1: what answers there is no worker of Mirage"):
            meet(Cluster(workers, 0), FACTS, 1)
        stranger.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MirageError, match=f"port {port} of worker 0"):
            meet(Cluster((f"127.0.0.1:{port}", "127.0.0.1:1"), 0), FACTS, 1)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x00\xff\xfe" * 50 + b"\n",
        b"never ending" * 100_000,
        b"mirage 2 {",  # and nothing more
        b"[" * 100_000 + b"\n",
    ],
    ids=["scanner", "http", "binary", "endless", "half", "nested"],
)
def test_strangers_neither_hinder_nor_count(said):
    each = clusters(addresses(2))
    with Come(each[0]) as first, dialled(each[0].workers[0]) as left, dialled(each[0].workers[0]) as stays:
        for connection in (left, stays):
            with contextlib.suppress(OSError):  # it may be closed before all is said
                connection.sendall(said)
        left.close()
        time.sleep(0.3)
        assert not first.each[0].done()
        with Come(each[1]) as second:
            assert len(first.peers() + second.peers()) == 2


@pytest.mark.parametrize("said", [b"mirage worker 1 of 2\n", b"mirage 3 {}\n", b"mirage 2 {}\n", b"mirage 2 []\n"])
def test_a_worker_of_another_version_ends_the_wait(said):
    each = clusters(addresses(2))
    with Come(each[0]) as come:
        with dialled(each[0].workers[0]) as connection:
            connection.sendall(said)
            assert b"install the same version" in connection.recv(1000)
        assert come.errors() == [
            "a worker at 127.0.0.1 greets as another version of Mirage does; install the same version on all workers."
        ]


def test_nonsense_after_a_greeting_ends_the_connection_only():
    each = clusters(addresses(2))
    hello = {"id": "1", "process": "a test", "index": 1, "workers": each[0].workers}
    with Come(each[0]) as first:
        for nonsense in (b"[" * 100_000 + b"\n", b'{"--seed": 1}\n', b"working, perhaps\n", b"x" * 1_000_000):
            with dialled(each[0].workers[0]) as connection, connection.makefile("rb") as answers:
                connection.sendall(b"mirage 2 " + json.dumps(hello).encode() + b"\n")
                assert answers.readline().startswith(b"mirage 2 ")
                with contextlib.suppress(OSError):
                    connection.sendall(nonsense)
                    assert answers.read() == b""
        with Come(each[1]) as second:
            assert len(first.peers() + second.peers()) == 2


def test_who_came_and_gave_up_has_not_come():
    each = clusters(addresses(3))
    with Come(each[0], timeout_s=3) as first:
        with Come(each[1], timeout_s=1) as early:
            assert "worker 2" in early.errors()[0]
        with Come(each[2], timeout_s=1) as late:
            assert f"worker 1 ({each[0].workers[1]}) did not come" in late.errors()[0]
        assert "worker 1: it came and left; Connection refused" in first.errors()[0]


def test_who_comes_again_has_come():
    each = clusters(addresses(3))
    with Come(each[0]) as first:
        with Come(each[1], timeout_s=1) as early:
            early.errors()
        with Come(*each[1:]) as late:
            assert len(first.peers() + late.peers()) == 3


def test_all_say_in_what_they_differ():
    each = clusters(addresses(3))
    facts = [{"--seed": "0", "--flip": "False"}, {"--seed": "1", "--flip": "False"}, {"--seed": "0", "--flip": "False"}]
    with Come(*each, facts=facts) as come:
        assert come.errors() == [
            "the workers differ: --seed is 0 on workers 0 and 2 and 1 on worker 1; start all of them with the same "
            "flags, data and versions."
        ] * len(each)
        assert not any(isinstance(each.exception(), WorkerLostError) for each in come.each)


def test_all_say_in_what_their_data_differ():
    with Come(*clusters(addresses(2))) as come, concurrent.futures.ThreadPoolExecutor() as pool:
        for content in (["a", "a"], ["b", "c"]):
            said = [pool.submit(p.agree, {"data": c}) for p, c in zip(come.peers(), content, strict=True)]
            errors = [each.exception() for each in said]
            if content == ["a", "a"]:
                assert errors == [None, None]
        assert [str(error).partition(";")[0] for error in errors] == [
            "the workers differ: data is b on worker 0 and c on worker 1"
        ] * 2


def test_who_leaves_before_it_has_agreed_is_named():
    workers = addresses(2)
    with Come(*clusters(workers)) as come:
        first, second = come.peers()
        threading.Timer(0.3, second.close).start()
        with pytest.raises(WorkerLostError, match=rf"worker 1 \({workers[1]}\) has left"):
            first.agree({"data": "a"})


def test_who_has_agreed_has_told_the_others():
    """TensorFlow, which comes next, may let the thread no longer run that would tell them."""
    with Come(*clusters(addresses(2))) as come, concurrent.futures.ThreadPoolExecutor() as pool:
        first, second = come.peers()
        told = pool.submit(second.agree, {})
        wait_until(lambda: len(first._incoming[1].facts) == 2)
        first._loop.call_soon_threadsafe(time.sleep, 2)
        first.agree({})
        told.result(timeout=1)


@pytest.mark.parametrize("met", [False, True])
def test_who_dials_in_the_last_moment_is_hung_up_on(met):
    workers = addresses(2)
    peers = Peers(Cluster(workers, 0), socket.create_server(("127.0.0.1", port_of(workers[0]))))
    held = threading.Event()
    peers._loop.call_soon_threadsafe(held.wait)  # so that all that follows is noticed at once
    with dialled(workers[0]) as connection:
        if met:
            asyncio.run_coroutine_threadsafe(peers._stop_listening(), peers._loop)
        else:
            peers._loop.call_soon_threadsafe(peers._end.set)
        held.set()
        peers.close()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    gc.collect()  # which tells of what was left open


def test_who_gives_up_later_says_why_and_the_others_repeat_it_once():
    workers = addresses(3)
    with Come(*clusters(workers)) as come:
        first, second, third = come.peers()
        with pytest.raises(MirageError, match="no such folder"), first:
            raise MirageError("no such folder.")
        for each in (second, third):
            with pytest.raises(MirageError) as told, each:
                each.agree({})
            assert str(told.value) == f"worker 0 ({workers[0]}) gave up: no such folder."
            assert not isinstance(told.value, WorkerLostError)


def test_two_processes_with_one_index_are_named():
    each = clusters(addresses(3))
    with Come(each[0]) as come, Come(each[1]) as one:
        with Peers(each[1], socket.create_server(("127.0.0.1", 0))) as other, pytest.raises(MirageError) as refused:
            other.meet(FACTS, 20)
        for error in [*come.errors(), *one.errors(), str(refused.value)]:
            assert error.startswith("two processes say that they are worker 1: process ")


def test_a_second_process_with_our_own_index_is_named():
    each = clusters(addresses(2))
    with Come(each[0]) as come, Peers(each[0], socket.create_server(("127.0.0.1", port_of(each[0].workers[1])))):
        assert "worker 0" in come.errors()[0]
        # Whichever of both is seen first: it answers at the other's address, or it dials.
        assert "the address of worker 1, answers one" in come.errors()[0] or "two processes" in come.errors()[0]


@pytest.mark.parametrize("count", [2, 3])
def test_different_clusters_are_refused_on_both_sides(count):
    workers = addresses(3)
    one, other = Cluster(workers[:2], 0), Cluster((f"localhost:{port_of(workers[0])}", *workers[1:count]), 1)
    with Come(one, other) as come:
        for error in come.errors():
            assert "two workers were given different clusters" in error
            assert ("localhost" in error) if count == 2 else re.search("3 workers on .* 2 here|2 .* 3 here", error)


def test_beats_tell_who_lives_and_who_works():
    with Come(*clusters(addresses(2))) as come:
        first, second = come.peers()
        start = time.monotonic()
        second.working = True
        wait_until(lambda: first.worked_until() > start)
        second.working = False
        time.sleep(1.2)
        assert first.alive_until() > first.worked_until()
        worked = first.worked_until()
        wait_until(lambda: first.alive_until() > worked + 1)
        assert first.worked_until() == worked
        second.close()
        ended = time.monotonic()
        time.sleep(1)
        assert first.alive_until() <= ended
        assert first.silent() == []


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
