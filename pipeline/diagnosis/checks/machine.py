"""Processor, memory and disk."""

from pipeline.diagnosis.facts import Facts, Folder
from pipeline.diagnosis.finding import Finding, bad, gib, good, note

_NEEDED_MEMORY = 2 * 2**30
_LITTLE_DISK = 2 * 2**30
_SLOW = 20e6
_SHM_PER_GPU = 64 * 2**20
# What TensorFlow's builds for x86-64 are compiled for, and what makes it faster.
_REQUIRED = ("sse4_2", "avx")
_FASTER = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def check_machine(facts: Facts) -> list[Finding]:
    """Judges the processor, memory, shared memory where GPUs need it, and the folders that training writes."""
    names = ("disk", "disk-datasets")
    folders = [_folder(folder, name) for folder, name in zip(facts.machine.folders, names, strict=False)]
    return [_cores(facts), *_instructions(facts), _memory(facts), *_shared(facts), *folders]


def _cores(facts: Facts) -> Finding:
    machine = facts.machine
    usable = min(machine.allowed, machine.quota or machine.allowed)
    says = f"{machine.cpu}, {usable:g} of {machine.cores} cores"
    if usable < machine.cores / 2:
        why = "a control group grants no more" if machine.quota and machine.quota <= machine.allowed else "its affinity"
        return note("cpu", f"{says} ({why})", "ask for more cores (docker --cpus, Slurm --cpus-per-task, taskset)")
    return good("cpu", says)


def _instructions(facts: Facts) -> list[Finding]:
    machine = facts.machine
    if machine.architecture != "x86_64" or not machine.instructions:
        return []
    lacking = [name for name in _REQUIRED if name not in machine.instructions]
    if lacking:
        says = f"this processor has no {', '.join(lacking)}, which TensorFlow's builds need"
        return [bad("instructions", says, "use another machine; of a virtual one, choose the processor type host")]
    present = [name for name in _FASTER if name in machine.instructions]
    if "avx2" not in present or "fma" not in present:
        says = "no avx2 and fma, so convolutions on the CPU are slow"
        return [note("instructions", says, "of a virtual machine, choose the processor type host")]
    return [good("instructions", ", ".join(present))]


def _memory(facts: Facts) -> Finding:
    machine = facts.machine
    if machine.memory is None or machine.available is None:
        return note("memory", "unknown on this system")
    usable = min(machine.available, machine.limit or machine.available)
    says = f"{gib(usable)} of {gib(machine.memory)} GiB can be used"
    if machine.limit is not None and machine.limit < machine.memory:
        says += f" (a control group grants {gib(machine.limit)})"
    if usable < _NEEDED_MEMORY:
        return bad(
            "memory", f"{says}; training needs {gib(_NEEDED_MEMORY)} at least", "end other programs, or ask for more"
        )
    return good("memory", says)


def _shared(facts: Facts) -> list[Finding]:
    gpus, free = len(facts.tensorflow.gpus), facts.machine.shm_free
    if gpus < 2 or free is None or free >= gpus * _SHM_PER_GPU:
        return []
    says = f"/dev/shm has {free / 2**20:,.0f} MiB free, and NCCL may need it between {gpus} GPUs"
    return [note("shared-memory", says, "docker run --shm-size=1g (Kubernetes: an emptyDir of medium Memory there)")]


def _folder(folder: Folder, name: str) -> Finding:
    flag = "--data_dir" if name == "disk" else "TFDS_DATA_DIR, or --data_dir,"
    other = f"let {flag} name a folder that you may write"
    if folder.failure:
        return bad(name, f"{folder.path} can't be written: {folder.failure}", other)
    parts = [folder.path]
    if folder.free is not None:
        parts.append(f"{gib(folder.free)} GiB free")
    if folder.write is not None and folder.read is not None:
        parts.append(f"writes {folder.write / 1e6:,.0f} MB/s, reads {folder.read / 1e6:,.0f} MB/s")
    says = ", ".join(parts)
    if folder.free is not None and folder.free < _LITTLE_DISK:
        return note(name, f"{says}: little for data sets and checkpoints", f"make room, or {other}")
    if folder.write is not None and folder.write < _SLOW:
        return note(name, f"{says}: slow", "choose a disk of this machine with --data_dir")
    return good(name, says)
