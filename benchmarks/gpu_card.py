"""What is known of a GPU: how fast it could compute at best, and what nvidia-smi says of it."""

import subprocess
from collections.abc import Mapping

from pipeline.devices.gpu_memory import open_driver

# Peak of matrix arithmetic without sparsity, in 10^12 operations per second: float32 (outside of matrix units), TF32,
# bfloat16. From NVIDIA's data sheets and architecture white papers, which often print twice as much, "with sparsity".
# Names are whole ones, as nvidia-smi has them, since a laptop's card or a part of one (MIG) begins with the same words.
_A100 = 19.5, 156.0, 312.0
_GH100 = 66.9, 494.7, 989.4
_NVL = 60.0, 417.5, 835.5
_PEAKS: Mapping[str, tuple[float, float | None, float | None]] = {
    "NVIDIA A10": (31.2, 62.5, 125.0),
    "NVIDIA A100 80GB PCIe": _A100,
    "NVIDIA A100-PCIE-40GB": _A100,
    "NVIDIA A100-SXM4-40GB": _A100,
    "NVIDIA A100-SXM4-80GB": _A100,
    "NVIDIA A30": (10.3, 82.0, 165.0),
    "NVIDIA A40": (37.4, 74.8, 149.7),
    "NVIDIA GeForce RTX 3090": (35.6, 35.6, 71.0),
    "NVIDIA GeForce RTX 4090": (82.6, 82.6, 165.2),
    "NVIDIA H100 80GB HBM3": _GH100,
    "NVIDIA H100 NVL": _NVL,
    "NVIDIA H100 PCIe": (51.2, 378.0, 756.0),
    "NVIDIA H200": _GH100,
    "NVIDIA H200 NVL": _NVL,
    "NVIDIA L4": (30.3, 60.0, 121.0),
    "NVIDIA L40": (90.5, 90.5, 181.0),
    "NVIDIA L40S": (91.6, 183.0, 362.0),
    "NVIDIA RTX A6000": (38.7, 77.4, 154.8),
    "Tesla T4": (8.1, None, None),
    "Tesla V100-SXM2-16GB": (15.7, None, None),
    "Tesla V100-SXM2-32GB": (15.7, None, None),
}
_COLUMNS = {"float32": 0, "tf32": 1, "mixed_bfloat16": 2}


def peak(card: str, precision: str) -> float | None:
    """Operations per second that a card can do at best.

    Args:
      card: its name, such as "NVIDIA H200".
      precision: "float32", "tf32" or "mixed_bfloat16".

    Returns:
      The number, of which a multiply-add is two; None for a card that isn't known, or can't compute so.
    """
    figure = _PEAKS.get(card, (None, None, None))[_COLUMNS[precision]]
    return figure * 1e12 if figure is not None else None


def visible_gpus() -> int:
    """How many GPUs the driver offers to this process; 0 where there is no driver."""
    opened = open_driver()
    return opened[1] if opened is not None else 0


def driver() -> str:
    """The driver's version, or "unknown" where nvidia-smi doesn't say."""
    lines = _ask("--query-gpu=driver_version")
    return lines[0] if lines else "unknown"


def card() -> str:
    """The first GPU's name, or "unknown" where nvidia-smi doesn't say."""
    lines = _ask("--query-gpu=name")
    return lines[0].strip() if lines else "unknown"


def process_mib(pid: int) -> float | None:
    """Memory of all GPUs that a process holds, its context and libraries included; None where it isn't told."""
    found = [line.split(",") for line in _ask("--query-compute-apps=pid,used_memory")]
    held = [float(row[1]) for row in found if len(row) == 2 and row[0] == str(pid) and row[1].strip().isdecimal()]
    return sum(held) if held else None


def _ask(query: str) -> list[str]:
    try:
        command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
