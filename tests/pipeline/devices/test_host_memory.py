"""Tests of pipeline.devices.host_memory."""

import platform
import subprocess
import sys

import pytest

# A block that is larger than what glibc keeps is written to, and freed, ten times over.
SCRIPT = """
import ctypes, resource
from pipeline.devices.host_memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        block = libc.malloc(2**26)
        ctypes.memset(block, 1, 2**26)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before, told = faults(), keep_freed_memory()
print(before, told, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_taken_again_without_asking_for_pages() -> None:
    before, told, after = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    ).stdout.split()
    assert told == "True"
    assert int(after) < int(before) / 5  # the pages of one block of ten
