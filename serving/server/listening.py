"""How a server begins to listen, and stops without resetting a connection that a client has already been given.

Closing a listening socket resets what waits there to be accepted, and what arrives while it is closed. So handshakes
are ignored first: a client repeats its own after a second, and meets the next server at this port, or none.
"""

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Iterator

from serving.server.output import say

_BACKLOG = 2048
# For so long handshakes that have begun may still be completed.
HANDSHAKE_S = 0.2

# Linux's number of the option; Python's socket module has no name for it.
_SO_ATTACH_FILTER = 26
# A classic BPF program, which sees a packet from its TCP header on (Linux's networking/filter documentation).
_IGNORE_SYN = (
    (0x30, 0, 0, 13),  # load the byte of the flags
    (0x45, 0, 1, 0x02),  # is SYN set?
    (0x06, 0, 0, 0),  # yes: drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # no: keep all of it
)


def listen(host: str, port: int) -> socket.socket:
    """Opens a port.

    Args:
      host: an address of this machine, or its name; of several addresses the first of IPv4 counts.
      port: TCP port; 0 takes a free one.

    Returns:
      A listening socket: whoever connects waits from now on.

    Raises:
      ValueError: naming the flags, if it can't be done.
    """
    if not host:
        raise ValueError("--host= is empty; pass 127.0.0.1 for this machine alone, or 0.0.0.0 for all its addresses.")
    place = f"--host={host} --port={port} can't be listened at"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no name"
        raise ValueError(f"{place} ({reason}); choose an address or a name of this machine.") from None
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    try:
        # asyncio turns off Nagle's algorithm, which would hold answers for 40 ms, only for sockets that name TCP.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise ValueError(f"{place} ({error.strerror}); choose an address of another kind.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Here, since two servers can bind the same port, and only one of them listen.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        other = "port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "address"
        raise ValueError(f"{place} ({error.strerror}); choose another {other}.") from None
    return listener


def ignore_handshakes(listener: socket.socket) -> None:
    """Has the kernel drop attempts to connect, for all processes that share the socket; a client's own repeats them.

    Only on Linux. Elsewhere, and where a sandbox forbids it, connections of a server's last microseconds are reset.

    Args:
      listener: a TCP socket.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _IGNORE_SYN))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_IGNORE_SYN), ctypes.addressof(program))
        )
    except OSError as error:
        say(f"connections of the last moment may be reset: {error}")


def waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """Accepts the connections that wait at a socket.

    Args:
      listener: a listening socket that doesn't block.

    Yields:
      Their sockets.
    """
    while True:
        try:
            yield listener.accept()[0]
        except BlockingIOError:
            return
