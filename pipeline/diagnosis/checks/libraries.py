"""CUDA's libraries and tools, as TensorFlow looks for them."""

import re

from pipeline.diagnosis.checks.software import numbers, pip
from pipeline.diagnosis.facts import Facts
from pipeline.diagnosis.finding import Finding, bad, good, note

# Without one of these TensorFlow registers no GPU; without the others it lacks something.
_NEEDED = {
    12: (
        *("libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12", "libcufft.so.11", "libcusolver.so.11"),
        *("libcusparse.so.12", "libcudnn.so.9"),
    ),
    13: (
        *("libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcufft.so.12", "libcusolver.so.12"),
        *("libcusparse.so.12", "libcudnn.so.9"),
    ),
}
_USEFUL = {
    12: ("libnccl.so.2", "libcupti.so.12", "libnvrtc.so.12"),
    13: ("libnccl.so.2", "libcupti.so.13", "libnvrtc.so.13"),
}
_WITHOUT = {
    "libnccl": "several GPUs can't add up their gradients",
    "libcupti": "--profile_steps sees nothing of the GPU",
    "libnvrtc": "cuDNN can't compile kernels while it runs",
}


def names(cuda: str) -> list[str]:
    """The libraries that a TensorFlow opens that is built for a version of CUDA, such as "12.5.1"."""
    major = (numbers(cuda) or (0,))[0]
    return [*_NEEDED.get(major, ()), *_USEFUL.get(major, ())]


def check_libraries(facts: Facts) -> list[Finding]:
    """Judges CUDA's libraries, cuDNN, the packages that bring them, and what XLA needs; where there is a GPU."""
    if not facts.driver.hardware or not facts.tensorflow.cuda:
        return []
    if facts.libraries.failure:
        do = f"reinstall them: {complete(facts)}"
        return [bad("cuda-libraries", f"to open CUDA's libraries failed: {facts.libraries.failure}", do)]
    useful = [] if missing(facts) else _useful(facts)
    return [*_opened(facts), *useful, *_cudnn(facts), *_packages(facts), *_xla(facts)]


def complete(facts: Facts) -> str:
    """The command that installs the CUDA libraries of the TensorFlow that is there."""
    version = next(iter(facts.software.tensorflows.values()), "")
    exactly = f"=={version}" if version else ""
    return pip(facts.software, f"install 'tensorflow[and-cuda]{exactly}'")


def missing(facts: Facts) -> dict[str, str]:
    """Libraries without which TensorFlow registers no GPU, each with the reason why it can't be opened."""
    if facts.tensorflow.gpus:
        return {}
    major = (numbers(facts.tensorflow.cuda) or (0,))[0]
    ours = {name: why for name, why in facts.libraries.failed.items() if name in _NEEDED.get(major, ())}
    driver = ("libcuda.", "libnvidia-ml.")
    return ours | {name: why for name, why in facts.tensorflow.missing.items() if not name.startswith(driver)}


def _opened(facts: Facts) -> list[Finding]:
    lacking, seen = missing(facts), facts.tensorflow
    major = str((numbers(seen.cuda) or (0,))[0])
    if not lacking:
        return [good("cuda-libraries", f"all that TensorFlow needs of CUDA {major} can be opened")]
    says = f"TensorFlow can't open {', '.join(lacking)}"
    others = [version for version in facts.libraries.cudart if version != major]
    packages = [name for name, (version, _) in facts.software.nvidia.items() if _of_other_cuda(name, version, major)]
    if others or packages:
        which = f"CUDA {' and '.join(others)}" if others else f"packages such as {packages[0]}"
        says += f": it is built for CUDA {major}, and here is {which}, which can stay beside it"
    elif apart := _apart(facts):
        says += (
            f": its packages are in {apart}, and TensorFlow looks beside itself, in {facts.software.tensorflow_folder}"
        )
    elif facts.libraries.elsewhere:
        name, place = next(iter(facts.libraries.elsewhere.items()))
        says += f": {name} is at {place}, where nobody looks"
        return [bad("cuda-libraries", says, f"export LD_LIBRARY_PATH={place.rpartition('/')[0]}, or {complete(facts)}")]
    elif other := next((why for name, why in lacking.items() if name not in why), ""):
        says += f" ({other})"  # one that it needs itself is missing
    return [bad("cuda-libraries", says, complete(facts))]


def _of_other_cuda(name: str, version: str, major: str) -> bool:
    named = re.search(r"-cu(\d+)$", name)
    if named:
        return named[1] != major
    # From CUDA 13 on, the name says nothing of it.
    return name == "nvidia-cuda-runtime" and version.partition(".")[0] != major


def _apart(facts: Facts) -> str:
    software = facts.software
    places = {place for name, (_, place) in software.nvidia.items() if name.startswith("nvidia-cublas")}
    return next(iter(places - {software.tensorflow_folder}), "")


def _useful(facts: Facts) -> list[Finding]:
    findings = []
    for name in facts.libraries.failed:
        if says := _WITHOUT.get(name.partition(".")[0]):
            several = name.startswith("libnccl") and facts.driver.visible > 1
            verdict = bad if several else note
            if name.startswith("libnccl") and not several:
                continue
            findings.append(verdict(name.partition(".")[0], f"{name} can't be opened, so {says}", complete(facts)))
    return findings


def _cudnn(facts: Facts) -> list[Finding]:
    version = facts.libraries.cudnn
    if version is None:
        return []
    text = ".".join(map(str, version))
    path = next((path for name, path in facts.libraries.opened.items() if name.startswith("libcudnn.")), "")
    needed = _oldest(facts, "nvidia-cudnn-")
    if needed and version[:2] < needed[:2]:
        do = complete(facts)
        if path and facts.software.tensorflow_folder not in path:
            do = f"take its folder from LD_LIBRARY_PATH, which comes first, and {do}"
        says = f"{text} is older than {needed[0]}.{needed[1]}, for which this TensorFlow is built ({path})"
        return [bad("cudnn", says, do)]
    return [good("cudnn", f"{text}, {path}")]


def _oldest(facts: Facts, prefix: str) -> tuple[int, ...]:
    for each in facts.software.wanted:
        if each.startswith(prefix) and (match := re.search(r">=\s*([\d.]+)", each)):
            return numbers(match[1])
    return ()


def _packages(facts: Facts) -> list[Finding]:
    """Where some of NVIDIA's packages are installed, all that TensorFlow asks for should be, in its versions."""
    wrong = []
    installed = facts.software.nvidia
    wanted = {re.split(r"[^\w-]", each)[0]: each for each in facts.software.wanted}
    if not any(name in installed for name in wanted):
        return []
    for name, each in wanted.items():
        version = numbers(installed.get(name, ("", ""))[0])
        oldest, end = (re.search(rf"{sign}\s*([\d.]+)", each) for sign in (">=", "<"))
        if not version:
            wrong.append(f"{name} is missing")
        elif (oldest and version < numbers(oldest[1])) or (end and version >= numbers(end[1])):
            wrong.append(f"{name} is {installed[name][0]} and should be {each[len(name) :]}")
    if wrong:
        return [note("cuda-packages", f"this TensorFlow asks for others: {', '.join(wrong)}", complete(facts))]
    return [good("cuda-packages", f"all {len(wanted)} that this TensorFlow asks for are installed")]


def _xla(facts: Facts) -> list[Finding]:
    libraries, findings = facts.libraries, []
    if libraries.ptxas and libraries.ptxas_version:
        findings.append(good("ptxas", f"{libraries.ptxas_version}, {libraries.ptxas}"))
    else:
        why = f" ({libraries.ptxas_version})" if libraries.ptxas_version else ""
        says = f"there is no ptxas that XLA could use{why}, so nothing can be compiled for the GPU (--jit)"
        findings.append(bad("ptxas", says, complete(facts)))
    if not libraries.libdevice:
        says = "libdevice.10.bc is not found, which XLA needs for functions such as sin and erf (--jit)"
        findings.append(bad("libdevice", says, complete(facts)))
    return findings
