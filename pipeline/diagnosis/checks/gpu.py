"""Each GPU, and which of them programs may see here."""

import re

from pipeline.diagnosis.facts import Facts, Gpu
from pipeline.diagnosis.finding import Finding, bad, gib, good, note

_TIGHT = 2 * 2**30
_EXCLUSIVE, _PROHIBITED = 3, 2


def check_gpus(facts: Facts) -> list[Finding]:
    """Judges each GPU that the driver sees, and CUDA_VISIBLE_DEVICES."""
    chosen = visible(facts)
    findings = []
    for gpu in facts.driver.gpus:
        if not chosen or gpu.index in chosen:
            findings += _gpu(facts, gpu)
        else:
            findings.append(note(f"gpu:{gpu.index}", f"{gpu.name}, left out by CUDA_VISIBLE_DEVICES"))
    return [*findings, *_visible(facts), *_order(facts)]


def visible(facts: Facts) -> list[int] | None:
    """Which GPUs CUDA_VISIBLE_DEVICES leaves, as CUDA reads it: those before the first that doesn't exist.

    Returns:
      Their numbers, or None where it isn't set, or names instances of a GPU.
    """
    text = facts.environment.get("CUDA_VISIBLE_DEVICES")
    if text is None or "MIG-" in text:
        return None
    chosen: list[int] = []
    for entry in text.split(","):
        known = _named(facts, entry.strip())
        if known is None:
            break
        chosen.append(known)
    return chosen


def _named(facts: Facts, entry: str) -> int | None:
    for gpu in facts.driver.gpus:
        if entry == str(gpu.index) or (entry.startswith("GPU-") and gpu.uuid.startswith(entry)):
            return gpu.index
    return None


def _gpu(facts: Facts, gpu: Gpu) -> list[Finding]:
    name = f"gpu:{gpu.index}"
    problems = [*_memory(gpu, name), *_state(gpu, name), *_capability(facts, gpu, name)]
    capability = f"compute capability {gpu.capability[0]}.{gpu.capability[1]}" if gpu.capability else ""
    memory = ""
    if gpu.total is not None and gpu.free is not None:
        memory = f"{gib(gpu.free)} of {gib(gpu.total)} GiB free"
    says = ", ".join(filter(None, (gpu.name, capability, memory)))
    return problems if any(each.verdict == "bad" for each in problems) else [good(name, says), *problems]


def _memory(gpu: Gpu, name: str) -> list[Finding]:
    if gpu.total is None or gpu.free is None:
        return []
    users = ", ".join(
        f"process {pid}{f' with {gib(used)} GiB' if used is not None else ''}" for pid, used in gpu.processes
    )
    who = f" (used by {users})" if users else " (used by processes that can't be seen from here)"
    says = f"{gpu.name} has {gib(gpu.free)} of {gib(gpu.total)} GiB free{who}"
    if gpu.free < min(_TIGHT, gpu.total // 2):
        return [bad(name, says, "end those processes, or leave this GPU out with CUDA_VISIBLE_DEVICES")]
    if gpu.processes:
        return [note(name, f"{says}, which will share its speed as well")]
    return []


def _state(gpu: Gpu, name: str) -> list[Finding]:
    findings = []
    if gpu.compute_mode == _PROHIBITED:
        do = f"sudo nvidia-smi -i {gpu.index} --compute-mode=0"
        findings.append(bad(name, f"{gpu.name} lets nobody compute (compute mode Prohibited)", do))
    if gpu.compute_mode == _EXCLUSIVE and gpu.processes:
        do = f"end it, or: sudo nvidia-smi -i {gpu.index} --compute-mode=0"
        findings.append(bad(name, f"process {gpu.processes[0][0]} has {gpu.name} for itself", do))
    if gpu.ecc_errors:
        says = f"{gpu.name} had {gpu.ecc_errors} memory errors that it could not correct"
        findings.append(bad(name, says, f"sudo nvidia-smi -i {gpu.index} --gpu-reset; if they come back, replace it"))
    if gpu.mig and not gpu.instances:
        do = f"sudo nvidia-smi mig -i {gpu.index} -cgi 0 -C for one instance, or sudo nvidia-smi -i {gpu.index} -mig 0"
        findings.append(bad(name, f"{gpu.name} is to be cut into instances (MIG), and there is none", do))
    if gpu.mig and gpu.instances:
        says = f"it is cut into {gpu.instances} instances (MIG), of which a program sees one"
        findings.append(note(name, says, "choose one: CUDA_VISIBLE_DEVICES=MIG-... (nvidia-smi -L)"))
    return findings


def _capability(facts: Facts, gpu: Gpu, name: str) -> list[Finding]:
    codes = [re.fullmatch(r"(sm|compute)_(\d+?)(\d)[a-z]?", each) for each in facts.tensorflow.capabilities]
    kinds = [(match[1], (int(match[2]), int(match[3]))) for match in codes if match]
    if not kinds or gpu.capability is None:
        return []
    own = gpu.capability
    # "compute_90" stands for machine code and for PTX, which the driver can compile for newer GPUs.
    if any(code[0] == own[0] and code <= own for _, code in kinds):
        return []
    number = f"{own[0]}.{own[1]}"
    oldest = min(code for _, code in kinds)
    if any(kind == "compute" and code <= own for kind, code in kinds):
        says = (
            f"this TensorFlow has no machine code for compute capability {number}: the driver compiles its kernels at "
            "the first start, which may take half an hour"
        )
        return [note(name, says, "export CUDA_CACHE_MAXSIZE=4294967296, so that it keeps them")]
    says = (
        f"{gpu.name} has compute capability {number}, and this TensorFlow is built for {oldest[0]}.{oldest[1]} or newer"
    )
    return [bad(name, says, "leave this GPU out with CUDA_VISIBLE_DEVICES; it needs an older TensorFlow")]


def _visible(facts: Facts) -> list[Finding]:
    text, gpus, chosen = facts.environment.get("CUDA_VISIBLE_DEVICES"), len(facts.driver.gpus), visible(facts)
    if chosen is None or not facts.driver.hardware:
        return []
    entries = [entry.strip() for entry in str(text).split(",")]
    if not gpus and entries[0] not in ("", "-1"):  # whether they exist, only NVML could tell
        return []
    name, says = "visible", f"CUDA_VISIBLE_DEVICES={text} leaves {len(chosen)} of {gpus} GPU"
    if len(chosen) == len(entries):
        return [good(name, says) if len(chosen) >= gpus else note(name, says)]
    unset = "unset CUDA_VISIBLE_DEVICES, or name GPUs as nvidia-smi -L does, such as CUDA_VISIBLE_DEVICES=0"
    wrong = entries[len(chosen)]
    if not chosen and wrong in ("", "-1"):
        says = f"CUDA_VISIBLE_DEVICES={text} hides all GPUs"
    else:
        says += f": {wrong} is none of them, and hides all that stand behind it"
    return [bad(name, says, unset)]


def _order(facts: Facts) -> list[Finding]:
    kinds = {gpu.name for gpu in facts.driver.gpus}
    numbered = any(entry.strip().isdigit() for entry in facts.environment.get("CUDA_VISIBLE_DEVICES", "").split(","))
    if len(kinds) < 2 or not numbered or facts.environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return []
    says = "the GPUs are of different kinds, which CUDA numbers by their speed, and nvidia-smi and this list do not"
    return [note("order", says, "export CUDA_DEVICE_ORDER=PCI_BUS_ID")]
