"""Finds out whether the workers of a cluster can be reached. Standard library only."""

import errno
import os
import socket
import threading
from collections.abc import Mapping

from pipeline.base.errors import MirageError
from pipeline.cluster.find import Cluster, find_cluster
from pipeline.diagnosis.facts import Network, Peer

_CONNECT_S = 3.0
_RESOLVE_S = 6.0


def read_network(environment: Mapping[str, str]) -> Network:
    """Reads the cluster's description, and tries all workers' addresses at once.

    Args:
      environment: such as `os.environ`.
    """
    source = "TF_CONFIG" if environment.get("TF_CONFIG") else "Slurm" if "SLURM_PROCID" in environment else ""
    try:
        cluster = find_cluster(environment)
    except MirageError as error:
        return Network(source, failure=str(error))
    return Network(source, peers=tuple(_try_all(cluster))) if cluster else Network(source)


def _try_all(cluster: Cluster) -> list[Peer]:
    found: dict[int, Peer] = {}

    def look(index: int) -> None:
        address = cluster.workers[index]
        found[index] = _own(index, address) if index == cluster.index else try_peer(index, address)

    threads = [threading.Thread(target=look, args=(index,), daemon=True) for index in range(len(cluster.workers))]
    for thread in threads:
        thread.start()
    for thread in threads:  # a name server may keep it waiting for minutes, and can't be told to stop
        thread.join(_RESOLVE_S + _CONNECT_S)
    late = f"no name server answered within {_RESOLVE_S:g} seconds"
    return [
        found.get(index) or Peer(index, address, index == cluster.index, result="unknown", reason=late)
        for index, address in enumerate(cluster.workers)
    ]


def try_peer(index: int, address: str) -> Peer:
    """Connects to another worker's address, and hangs up.

    Args:
      index: its number.
      address: host:port.
    """
    host, port = _split(address)
    try:
        places = _resolve(host, port)
    except (OSError, UnicodeError) as error:  # the latter for names such as a..b
        return Peer(index, address, result="unknown", reason=_reason(error))
    addresses = tuple(place[0] for place in places)
    result, reason = "unreachable", ""
    for place in places:
        try:
            socket.create_connection(place, timeout=_CONNECT_S).close()
            return Peer(index, address, addresses=addresses, result="answers")
        except ConnectionRefusedError:
            return Peer(index, address, addresses=addresses, result="refused")
        except TimeoutError:
            result, reason = "silent", ""
        except OSError as error:
            result, reason = "unreachable", error.strerror or str(error)
    return Peer(index, address, addresses=addresses, result=result, reason=reason)


def _own(index: int, address: str) -> Peer:
    host, port = _split(address)
    try:
        addresses = tuple(place[0] for place in _resolve(host, port))
    except (OSError, UnicodeError) as error:
        return Peer(index, address, True, result="unknown", reason=_reason(error))
    try:
        socket.create_server(("", port)).close()  # as `pipeline.cluster.meet` listens
    except OSError as error:
        reason = "" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
        return Peer(index, address, True, addresses, "used", reason)
    return Peer(index, address, True, addresses, "free")


def _reason(error: OSError | UnicodeError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _resolve(host: str, port: int) -> list[tuple[str, int]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((str(place[0]), int(place[1])) for *_, place in found))
