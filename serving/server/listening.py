"""How a server stops listening without resetting a connection that a client has already been given.

Closing a listening socket resets what waits there to be accepted, and what arrives while it is closed. So handshakes
are ignored first: a client repeats its own after a second, and meets the next server at this port, or none.
"""

import ctypes
import socket
import struct
import sys
from collections.abc import Iterator

from serving.command_line import say

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
