"""Runs a program that the kernel ends, by SIGSYS, as soon as it tries to reach a host or to look up a name.

  python tests/no_network.py PROGRAM ARGUMENT...

A seccomp filter (seccomp(2)), which the program and all that it starts inherit, allows sockets that listen and what
they accept, but neither connect() nor any other kind of socket: without those nobody asks a name server or a name
service cache. It needs no rights, and holds for threads and native code alike.
"""

import ctypes
import os
import platform
import signal
import socket
import struct
import sys

UNDER_THE_FILTER = [sys.executable, __file__]  # what stands before a command
ENDED_BY_THE_FILTER = -signal.SIGSYS
# Where one of these is set, onnxruntime reports nothing anyway, and a test would show nothing.
SILENCING = (
    *("ORT_DISABLE_TELEMETRY", "CI", "APPVEYOR", "BUILDKITE", "CIRCLECI", "CODEBUILD_BUILD_ID", "GITHUB_ACTIONS"),
    *("GITLAB_CI", "JENKINS_URL", "TEAMCITY_VERSION", "TF_BUILD", "TRAVIS"),
)
# (audit's number of the architecture; numbers of the system calls)
_MACHINES = {
    "x86_64": (0xC000003E, {"socket": 41, "connect": 42, "sendmmsg": 307, "io_uring_setup": 425}),
    "aarch64": (0xC00000B7, {"socket": 198, "connect": 203, "sendmmsg": 269, "io_uring_setup": 425}),
}
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_KILL_PROCESS, _ALLOW = 0x80000000, 0x7FFF0000
_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


def forbid_connections() -> None:
    """Puts this process, from now on, under the filter."""
    architecture, calls = _MACHINES[platform.machine()]
    forbidden = [calls["connect"], calls["sendmmsg"], calls["io_uring_setup"]]
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        *((_JUMP_IF_EQUAL, 8 + len(forbidden) - 1 - i, 0, number) for i, number in enumerate(forbidden)),
        (_JUMP_IF_EQUAL, 0, 6, calls["socket"]),
        (_LOAD, 0, 0, _ARGUMENTS),
        (_JUMP_IF_EQUAL, 1, 0, socket.AF_INET),
        (_JUMP_IF_EQUAL, 0, 4, socket.AF_INET6),
        (_LOAD, 0, 0, _ARGUMENTS + 8),
        (_AND, 0, 0, 0xF),
        (_JUMP_IF_EQUAL, 0, 1, socket.SOCK_STREAM),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl failed")


if __name__ == "__main__":
    forbid_connections()
    os.execvp(sys.argv[1], sys.argv[1:])
