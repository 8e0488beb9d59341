"""Work done ahead by threads, its results in order. Needs only the standard library."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

_T = TypeVar("_T")
_MOST = 32


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(work: Callable[[int], _T], start: int, stop: int, chunk: int = 16) -> Iterator[_T]:
    """Does a numbered piece of work after the other, by a thread for each core.

    Args:
      work: does the piece of a number; it must be safe in threads.
      start: the first number.
      stop: behind the last number.
      chunk: numbers that a thread takes at once.

    Yields:
      What `work` returns, in order.
    """
    if stop - start <= chunk:
        yield from map(work, range(start, stop))
        return

    def several(first: int) -> list[_T]:
        return [work(number) for number in range(first, min(first + chunk, stop))]

    threads = min(cores(), _MOST)
    pool = concurrent.futures.ThreadPoolExecutor(threads, "ahead")
    waiting: collections.deque[concurrent.futures.Future[list[_T]]] = collections.deque()
    try:
        for first in range(start, stop, chunk):
            waiting.append(pool.submit(several, first))
            if len(waiting) > 3 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
