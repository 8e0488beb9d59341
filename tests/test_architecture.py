"""Holds the project's structure: who imports whom, who defines flags, how large things grow."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipeline", "export", "serving")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
HEAVY = {"tensorflow", "tensorflow_datasets", "keras", "tf2onnx", "onnx"}
FLAG_FILES = {
    "pipeline/__main__.py",
    "pipeline/compare.py",
    "pipeline/doctor.py",
    "pipeline/evaluate.py",
    "pipeline/launch.py",
    "export/__main__.py",
    "serving/__main__.py",
    "serving/sample.py",
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


def imports_of(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


IMPORTS = {name_of(path): imports_of(ast.parse(path.read_text())) for path in FILES}


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def violations(importer: str, forbidden: tuple[str, ...], but: tuple[str, ...] = ()) -> list[str]:
    but = (*but, "pipeline.errors")  # which everything of ours but serving may raise
    return [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if within(module, (importer,))
        for name in names
        if within(name, forbidden) and not within(name, but)
    ]


def test_the_files_are_found():
    assert len(FILES) > 20
    assert {"pipeline.config", "export.bundle", "serving.generator"} <= set(IMPORTS)


@pytest.mark.parametrize(
    ("importer", "forbidden", "but"),
    [
        ("serving", ("pipeline", "export", *HEAVY), ()),
        ("pipeline", ("export", "serving"), ("serving.generator", "serving.latents", "serving.manifest")),
        (
            "export",
            ("pipeline",),
            (
                "pipeline.config",
                "pipeline.data_spec",
                "pipeline.networks",
                "pipeline.checkpoint",
                "pipeline.command_line",
                "pipeline.quiet_tensorflow",
                # int8 is judged by the data, and scores of the run are kept.
                "pipeline.data",
                "pipeline.evaluation",
                "pipeline.files",
                "pipeline.folders",
                "pipeline.metrics",
                "pipeline.numerics",
                "pipeline.run_log",
            ),
        ),
        (
            "export",
            ("serving",),
            (
                "serving.files",
                "serving.manifest",
                "serving.generator",
                "serving.latents",
                "serving.onnx_file",
                "serving.png",
                "serving.runtime",
            ),
        ),
        ("pipeline.config", ("pipeline", *HEAVY, "numpy"), ("pipeline.contradictions", "pipeline.flag_field")),
        ("pipeline.flag_field", ("pipeline", *HEAVY, "numpy"), ()),
        ("pipeline.contradictions", ("pipeline", *HEAVY, "numpy"), ("pipeline.config",)),
        ("pipeline.errors", ("pipeline", *HEAVY, "numpy"), ()),
        (
            "pipeline.run_file",
            ("pipeline", *HEAVY, "numpy"),
            ("pipeline.config", "pipeline.data_spec", "pipeline.files"),
        ),
        ("pipeline.data_spec", ("pipeline", *HEAVY, "numpy"), ()),
        ("pipeline.schedule", ("pipeline",), ()),
        ("pipeline.collapse", ("pipeline", *HEAVY, "numpy"), ()),
        (
            "pipeline.command_line",
            ("pipeline", *HEAVY, "numpy"),
            ("pipeline.interrupt", "pipeline.output", "pipeline.quiet_tensorflow"),
        ),
        ("pipeline.quiet_tensorflow", ("pipeline", *HEAVY, "numpy"), ()),
        ("pipeline.kept_files", ("pipeline", *HEAVY, "numpy"), ("pipeline.files",)),
        (
            "pipeline.metrics",
            ("pipeline",),
            (
                "pipeline.config",
                "pipeline.data_spec",
                "pipeline.folders",
                "pipeline.kept_files",
                "pipeline.metrics",
                "pipeline.numerics",
            ),
        ),
        ("pipeline.numerics", ("pipeline",), ("pipeline.config",)),
        ("pipeline.interrupt", ("pipeline", *HEAVY, "numpy"), ()),
        ("pipeline.output", ("pipeline", *HEAVY, "numpy"), ()),
        ("pipeline.files", ("pipeline", *HEAVY, "numpy"), ()),
        ("pipeline.objectives", ("pipeline",), ("pipeline.config", "pipeline.objectives")),
        (
            "pipeline.data",
            ("pipeline",),
            (
                "pipeline.config",
                "pipeline.data",
                "pipeline.data_spec",
                "pipeline.folders",
                "pipeline.kept_files",
                "pipeline.names",
            ),
        ),
        ("pipeline.folders", ("pipeline", *HEAVY, "numpy"), ("pipeline.names",)),
        ("pipeline.names", ("pipeline", *HEAVY, "numpy"), ()),
        (
            "pipeline.compilation",
            ("pipeline", *HEAVY, "numpy"),
            ("pipeline.config", "pipeline.files", "pipeline.folders", "pipeline.names", "pipeline.xla_flags"),
        ),
        ("pipeline.xla_flags", ("pipeline", *HEAVY, "numpy"), ()),
        ("pipeline.networks", ("pipeline",), ("pipeline.config", "pipeline.data_spec", "pipeline.networks")),
        ("pipeline.cluster", ("pipeline", *HEAVY, "numpy"), ("pipeline.config",)),
        ("pipeline.rendezvous", HEAVY, ()),
        ("pipeline.greeting", ("pipeline", *HEAVY, "numpy"), ("pipeline.cluster",)),
        ("pipeline.watchdog", ("pipeline", *HEAVY, "numpy"), ()),
        ("pipeline.agreement", ("pipeline",), ("pipeline.config", "pipeline.data_spec")),
        ("pipeline.launch", HEAVY, ()),
        (
            "pipeline.doctor",
            ("pipeline", *HEAVY, "numpy"),
            ("pipeline.command_line", "pipeline.diagnosis", "pipeline.files"),
        ),
        (
            "pipeline.diagnosis.checks",
            ("pipeline", *HEAVY, "numpy"),
            ("pipeline.diagnosis.checks", "pipeline.diagnosis.facts", "pipeline.diagnosis.finding"),
        ),
        (
            "pipeline.launch",
            ("pipeline",),
            ("pipeline.cluster", "pipeline.command_line", "pipeline.config", "pipeline.interrupt"),
        ),
        ("pipeline.gpu_memory", ("pipeline", *HEAVY, "numpy"), ()),
        ("pipeline.logical_devices", ("pipeline",), ("pipeline.gpu_memory",)),
        ("pipeline.live_memory", ("pipeline",), ()),
        ("pipeline.out_of_memory", ("pipeline",), ()),
        ("pipeline.checkpoint_files", ("pipeline", *HEAVY), ()),
        ("pipeline.randomness", ("pipeline",), ()),
        ("pipeline.optimizer", ("pipeline",), ()),
        (
            "pipeline.trainee",
            ("pipeline",),
            ("pipeline.config", "pipeline.data_spec", "pipeline.networks", "pipeline.optimizer"),
        ),
        (
            "pipeline.feed",
            ("pipeline",),
            ("pipeline.config", "pipeline.data", "pipeline.objectives", "pipeline.randomness"),
        ),
        (
            "pipeline.step",
            ("pipeline",),
            (
                "pipeline.config",
                "pipeline.feed",
                "pipeline.objectives",
                "pipeline.randomness",
                "pipeline.schedule",
                "pipeline.trainee",
            ),
        ),
    ],
)
def test_who_imports_whom(importer, forbidden, but):
    assert violations(importer, forbidden, but) == []


def test_of_training_only_evaluation_knows_the_edge():
    assert {
        module
        for module, names in IMPORTS.items()
        if within(module, ("pipeline",)) and any(within(name, ("serving",)) for name in names)
    } == {"pipeline.compare", "pipeline.evaluate"}


SERVER_LIBRARIES = ("starlette", "uvicorn", "httptools", "prometheus_client")


def test_only_the_server_needs_the_libraries_of_the_server():
    users = {m for m, names in IMPORTS.items() if any(within(name, SERVER_LIBRARIES) for name in names)}
    assert users
    assert all(within(module, ("serving.server",)) for module in users)


def test_only_its_command_line_imports_the_server():
    others = {m for m, names in IMPORTS.items() if any(within(name, ("serving.server",)) for name in names)}
    assert {module for module in others if not within(module, ("serving.server",))} == {"serving.__main__"}
    # Which reads settings, but imports the libraries only when it starts to serve.
    assert not any(within(name, SERVER_LIBRARIES) for name in IMPORTS["serving.server.settings"])


def test_serving_raises_errors_of_its_own():
    assert [m for m, names in IMPORTS.items() if within(m, ("serving",)) and "pipeline.errors" in str(names)] == []


def test_only_one_file_imports_onnxruntime():
    # Or it would report to its maker, see serving/runtime.py; export/__init__.py imports that before the quantisation.
    importing = re.compile(r"^ *(?:import|from) +onnxruntime\b.*", re.MULTILINE)
    places = [ROOT / name for name in (*PACKAGES, "benchmarks", "tests", "examples")]
    found = {
        f"{path.relative_to(ROOT).as_posix()}: {line.strip().partition(' import ')[0]}"
        for place in places
        for path in place.rglob("*.py")
        for line in importing.findall(path.read_text())
    }
    assert found == {
        "serving/runtime.py: import onnxruntime as ort",
        "export/quantize.py: from onnxruntime.quantization",
    }
    assert IMPORTS["export"] == {"serving.runtime"}


def test_the_doctor_imports_what_may_crash_in_other_processes_only():
    children = ("pipeline.diagnosis.children",)
    others = {m for m in IMPORTS if within(m, ("pipeline.doctor", "pipeline.diagnosis")) and not within(m, children)}
    assert len(others) > 10
    forbidden = (*HEAVY, "numpy", *children)
    assert [f"{m} imports {name}" for m in others for name in IMPORTS[m] if within(name, forbidden)] == []


def test_nothing_imports_a_main():
    assert [f"{m} imports {n}" for m, names in IMPORTS.items() for n in names if "__main__" in n] == []


def test_only_command_lines_define_flags():
    defining = {p.relative_to(ROOT).as_posix() for p in FILES if re.search(r"\bDEFINE_\w+", p.read_text())}
    assert defining == FLAG_FILES


def test_no_module_is_named_like_a_library_that_it_uses():
    libraries = HEAVY | {"onnxruntime", "numpy", "absl", "http", "tqdm", "json", "signal"}
    assert [str(path) for path in FILES if path.stem in libraries] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"
