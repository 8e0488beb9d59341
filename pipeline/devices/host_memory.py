"""How the C library's allocator treats what a training on CPUs frees and takes again in every step."""

import ctypes

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_KEPT = 2**30  # bytes


def keep_freed_memory() -> bool:
    """Lets this process keep memory that it has freed, up to 1 GiB at the end of its heap, for what it takes next.

    TensorFlow takes and frees every tensor of a step. From 32 MiB on, unless its heap happens to have a gap as large,
    glibc asks the kernel for each of them and gives it back, and the kernel clears it, page by page.

    Returns:
      Whether the C library is one that can be told; others are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT)) and bool(mallopt(_MMAP_MAX, 0))
