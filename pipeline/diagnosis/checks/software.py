"""Python and packages."""

import re

from pipeline.diagnosis.facts import Facts, Software
from pipeline.diagnosis.finding import Finding, bad, good, note

# As in setup.cfg.
PYTHONS = ((3, 11), (3, 14))
TENSORFLOWS = ((2, 20), (2, 22))
KERAS = (3, 10)
GPU = "tensorflow[and-cuda]>=2.20,<2.22"
CPU = "tensorflow-cpu>=2.20,<2.22"
KERAS_REQUIREMENT = "keras>=3.10"
# Of the extra `tools`, without Keras: distributions, and what is imported of them.
TOOLS = {
    "tensorflow-datasets": "tensorflow_datasets",
    "importlib-resources": "importlib_resources",
    "tf2onnx": "tf2onnx",
    "onnx": "onnx",
    "tensorboard": "tensorboard",
    "mlxtend": "mlxtend",
    "pillow": "PIL",
    "tqdm": "tqdm",
    "filelock": "filelock",
    "matplotlib": "matplotlib",
    "scipy": "scipy",
}


def check_software(facts: Facts) -> list[Finding]:
    """Judges Python, Mirage, TensorFlow, Keras and onnxruntime."""
    software = facts.software
    return [
        _python(software),
        good("mirage", software.mirage or "imported from its folder, not installed"),
        *_tensorflow(facts),
        *_keras(facts),
        *_packages(software),
        _onnxruntime(software),
    ]


def pip(software: Software, arguments: str) -> str:
    """A command of pip for this interpreter."""
    return f"{software.executable} -m pip {arguments}"


def install_tensorflow(facts: Facts) -> str:
    """The command that installs TensorFlow as this machine needs it, instead of what is there."""
    software, wanted = facts.software, GPU if facts.driver.hardware else CPU
    install = pip(software, f"install '{wanted}'")
    if not software.tensorflows:
        return install
    uninstall = pip(software, f"uninstall -y {' '.join(software.tensorflows)}")
    return f"{uninstall} && {install}"


def numbers(version: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version: (2, 21, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _python(software: Software) -> Finding:
    version = ".".join(map(str, software.python))
    first, end = PYTHONS
    if first <= software.python[:2] < end:
        return good("python", f"{version}, {software.executable}")
    return bad(
        "python",
        f"{version} is not supported; Mirage needs {first[0]}.{first[1]} to {end[0]}.{end[1] - 1}",
        "make an environment with another Python, such as: python3.12 -m venv .venv",
    )


def _tensorflow(facts: Facts) -> list[Finding]:
    software, seen = facts.software, facts.tensorflow
    builds = [f"{name} {version}" for name, version in software.tensorflows.items()]
    remedy = install_tensorflow(facts)
    if len(builds) > 1:
        return [
            bad(
                "tensorflow",
                f"{' and '.join(builds)} are both installed, and have overwritten each other's files",
                remedy,
            )
        ]
    if software.tensorflow_broken:
        return [bad("tensorflow", "its folder is there, but files are missing (uninstalled by halves)", remedy)]
    if not software.tensorflow_folder:
        return [bad("tensorflow", "not installed: nothing can be trained or exported", remedy)]
    if not seen.version:
        return [bad("tensorflow", f"{' '.join(builds)} can't be imported: {seen.failure}", _import_remedy(facts))]
    name = next(iter(software.tensorflows), "tensorflow")
    built = f"built for CUDA {seen.cuda} and cuDNN {seen.cudnn}" if seen.cuda else "built without CUDA"
    says = f"{seen.version} ({name}), {built}, imported in {seen.seconds:.1f} s"
    first, end = TENSORFLOWS
    if numbers(seen.version)[:2] < first:
        return [bad("tensorflow", f"{says}; Mirage needs {first[0]}.{first[1]} or newer", remedy)]
    if numbers(seen.version)[:2] >= end or "nightly" in name:
        return [note("tensorflow", f"{says}; Mirage is not tested with it", remedy)]
    return [good("tensorflow", says)]


def _import_remedy(facts: Facts) -> str:
    if module := re.search(r"No module named '(?!tensorflow')(\w+)'", facts.tensorflow.failure):
        return f"install what it lacks, such as: {pip(facts.software, f'install {module[1]}')}"
    machine = facts.machine
    if machine.architecture == "x86_64" and machine.instructions and "avx" not in machine.instructions:
        return "use another machine: this processor has no AVX, which TensorFlow's builds need"
    return f"install it anew: {install_tensorflow(facts)}"


def _keras(facts: Facts) -> list[Finding]:
    software, seen = facts.software, facts.tensorflow
    install = pip(software, f"install '{KERAS_REQUIREMENT}'")
    if not software.keras:
        return [bad("keras", "not installed", install)]
    wanted = facts.environment.get("KERAS_BACKEND", "")
    if wanted not in ("", "tensorflow"):
        return [bad("keras", f"KERAS_BACKEND={wanted} is set, and Mirage needs tensorflow", "unset KERAS_BACKEND")]
    version = seen.keras or software.keras
    if () < numbers(version) < KERAS:
        return [bad("keras", f"{version} is too old; Mirage needs {KERAS[0]}.{KERAS[1]} or newer", install)]
    if seen.keras_failure:
        return [bad("keras", f"{version} can't be imported: {seen.keras_failure}", install)]
    if seen.backend not in ("", "tensorflow"):
        return [
            bad(
                "keras",
                f"its backend is {seen.backend}, and Mirage needs tensorflow",
                'set "backend": "tensorflow" in ~/.keras/keras.json, or: export KERAS_BACKEND=tensorflow',
            )
        ]
    return [good("keras", f"{version}{', on TensorFlow' if seen.backend else ''}")]


def _packages(software: Software) -> list[Finding]:
    if not software.absent:
        return []
    says = f"not installed: {', '.join(software.absent)}"
    return [bad("packages", says, pip(software, f"install {' '.join(software.absent)}"))]


def _onnxruntime(software: Software) -> Finding:
    if software.onnxruntime:
        return good("onnxruntime", software.onnxruntime)
    return note(
        "onnxruntime",
        "not installed: bundles can be neither checked nor served here",
        pip(software, "install 'onnxruntime>=1.22'"),
    )
