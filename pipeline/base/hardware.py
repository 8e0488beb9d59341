"""What Linux says of processor and memory; elsewhere most of it stays unknown. Standard library only."""

import contextlib
import platform
from pathlib import Path

_CGROUPS, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def processor() -> tuple[str, frozenset[str]]:
    """Returns the processor's name, and its instructions as Linux names them."""
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    instructions = facts.get("flags", facts.get("Features", ""))  # x86, ARM
    return facts.get("model name") or platform.processor() or platform.machine(), frozenset(instructions.split())


def memory() -> dict[str, int]:
    """Returns bytes by the names that Linux gives them, such as MemTotal and MemAvailable."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in fields if len(words) == 3}


def cpu_quota() -> float | None:
    """Cores that control groups grant this process, or None if they set no limit."""
    quotas = []
    for text in _limits("cpu.max", "cpu/cpu.cfs_quota_us"):
        words = text.split()
        if words and words[0].isdigit():  # not "max" or "-1"
            quotas.append(int(words[0]) / (int(words[1]) if len(words) > 1 else 100_000))
    return min(quotas, default=None)


def memory_limit() -> int | None:
    """Bytes that control groups grant this process, or None if they set no limit."""
    texts = [text.strip() for text in _limits("memory.max", "memory/memory.limit_in_bytes")]
    # Version 1 says "no limit" with the largest number of pages.
    return min((int(text) for text in texts if text.isdigit() and int(text) < 2**60), default=None)


def _limits(name: str, older: str) -> list[str]:
    """What the control groups of this process say, from its own to the outermost: version 2, then version 1."""
    try:
        lines = _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    texts = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        controller, _, file = older.partition("/")
        if controllers and controller not in controllers.split(","):
            continue
        base = _CGROUPS / controllers
        for place in (base / path.lstrip("/"), *(base / path.lstrip("/")).parents):
            with contextlib.suppress(OSError):
                texts.append((place / (file if controllers else name)).read_text(encoding="utf-8"))
            if place == base:
                break
    return texts
