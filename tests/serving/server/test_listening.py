"""The port: who gets it, and what is no address."""

import socket
import subprocess
import sys

import pytest

from serving.server.listening import listen
from tests.processes import ROOT


def test_a_socket_listens_at_once():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        pass


def test_a_name_of_this_machine():
    with listen("localhost", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_ipv6():
    with listen("::1", 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        assert listener.family == socket.AF_INET6


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("", r"--host= is empty; pass 127\.0\.0\.1 for this machine alone, or 0\.0\.0\.0 for all its addresses\."),
        ("256.0.0.1", r"--host=256\.0\.0\.1 --port=0 can't be listened at \(.+\); choose an address or a name of this"),
        ("no.such.host.invalid", r"can't be listened at \(.+\); choose an address or a name of this machine\."),
        ("a..b", r"can't be listened at \(.+\); choose an address or a name of this machine\."),
        ("a" * 70 + ".b", r"can't be listened at \(.+\); choose an address or a name of this machine\."),
        ("http://127.0.0.1", r"can't be listened at \(.+\); choose an address or a name of this machine\."),
        ("192.0.2.1", r"can't be listened at \(Cannot assign requested address\); choose another address\."),
    ],
)
def test_what_is_no_address(host, message):
    with pytest.raises(ValueError, match=message) as caught:
        listen(host, 0)
    assert "\n" not in str(caught.value)


def test_a_port_that_is_bound_but_not_listened_at():
    """With SO_REUSEADDR both can bind; only one can listen."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        with (
            listen("127.0.0.1", other.getsockname()[1]) as listener,
            pytest.raises(ValueError, match=r"can't be listened at \(Address already in use\); choose another port"),
        ):
            listen("127.0.0.1", listener.getsockname()[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_of_two_servers_that_start_at_once_one_gets_the_port(digits, workers, free_port):
    command = [sys.executable, "-m", "serving", f"--port={free_port}", f"--bundle={digits}", f"--workers={workers}"]
    servers = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [server.stderr.readline() for server in servers]
    winner = lines.index(f"serving at http://127.0.0.1:{free_port}\n")
    loser = servers[1 - winner]
    assert loser.wait(20) == 1
    assert "can't be listened at (Address already in use); choose another port." in lines[1 - winner]
    assert loser.stderr.read() == ""
    assert servers[winner].stderr.readline().startswith("ready: ")
    servers[winner].terminate()
    assert servers[winner].wait(20) == 0
    for server in servers:
        server.stderr.close()
