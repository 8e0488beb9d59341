"""Holds the project's structure: who imports whom, who defines flags, how large things grow."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipeline", "export", "serving")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
HEAVY = {"tensorflow", "tensorflow_datasets", "keras", "tf2onnx", "onnx"}
FLAG_FILES = {
    "pipeline/base/command_line.py",
    "pipeline/__main__.py",
    "pipeline/compare.py",
    "pipeline/doctor.py",
    "pipeline/evaluate.py",
    "pipeline/launch.py",
    "pipeline/prepare.py",
    "export/__main__.py",
    "export/adoption/options.py",
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
    but = (*but, "pipeline.base.errors")  # which everything of ours but serving may raise
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


# From below: each room may import those on the floors beneath it, and nothing of its neighbours. `pipeline.config`, the
# sum of all rooms' parameters, is on no floor: it takes the light `options.py` of each, and few may take it, see below.
FLOORS = (
    {"base"},
    {"devices", "pages", "pretrained"},
    {"data", "foreign", "networks", "objectives", "metrics"},
    {"cluster", "runs"},
    {"training"},
    {"evaluation"},
    {"diagnosis"},
)
# Rooms that are imported before TensorFlow and NumPy are, or where those may be broken.
LIGHT = (
    "pipeline.base",
    "pipeline.cluster.find",
    "pipeline.cluster.greeting",
    "pipeline.cluster.launch",
    "pipeline.cluster.watch",
    "pipeline.compare",
    "pipeline.config",
    "pipeline.data.names",
    "pipeline.data.options",
    "pipeline.data.spec",
    "pipeline.devices.compilation",
    "pipeline.devices.gpu_memory",
    "pipeline.devices.xla_flags",
    "pipeline.doctor",
    "pipeline.evaluate",
    "pipeline.evaluation.collapse",
    "pipeline.evaluation.options",
    "pipeline.launch",
    "pipeline.metrics.names",
    "pipeline.prepare",
    "pipeline.pretrained.lite0_file",
    "pipeline.runs.run_file",
)


def room_of(module: str) -> str:
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "pipeline" else ""


@pytest.mark.parametrize("floor", range(len(FLOORS)), ids=lambda floor: "-".join(sorted(FLOORS[floor])))
def test_no_room_knows_a_higher_floor_or_its_neighbours(floor):
    beneath = set().union(*FLOORS[:floor])
    rooms = set().union(*FLOORS)
    wrong = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if room_of(module) in FLOORS[floor]
        for name in names
        if within(name, ("pipeline",)) and room_of(name) != room_of(module)
        # Of what is beside the rooms, the face may be used by none of them.
        if room_of(name) not in beneath and (room_of(name) in rooms or room_of(name) != "config")
    ]
    assert wrong == []


def test_few_take_the_whole_configuration():
    taking = {module for module, names in IMPORTS.items() if "pipeline.config.Config" in names}
    ours = [path for path in FILES if within(name_of(path), ("pipeline", "export"))]
    naming = {name_of(path) for path in ours if re.search(r"\bConfig\b", path.read_text())}
    assert "pipeline.training.trainer" in taking
    assert naming == {*taking, "pipeline.config"}
    assert len(naming) <= 10
    assert {m for m, names in IMPORTS.items() if "pipeline.config" in names} == set()  # the module as a whole


def test_every_file_of_the_pipeline_is_in_a_room_or_is_a_command():
    loose = {p.stem for p in (ROOT / "pipeline").glob("*.py")} - {"__init__", "__main__", "config"}
    assert loose == {"compare", "doctor", "evaluate", "launch", "prepare", "experiment", "run"}
    assert {p.parent.name for p in (ROOT / "pipeline").glob("*/__init__.py")} == set().union(*FLOORS)


def test_modules_do_not_import_in_circles():
    files = set(IMPORTS)
    graph = {
        module: {next((n for n in (name, name.rpartition(".")[0]) if n in files), "") for name in names} - {"", module}
        for module, names in IMPORTS.items()
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize("module", LIGHT)
def test_what_must_start_fast_needs_no_library(module):
    but = {f"pipeline.base.libraries imports {name}" for name in ("keras", "tensorflow")}  # when they are used
    assert {*violations(module, (*HEAVY, "numpy"))} - but == set()


# How a bundle is asked for pictures: a run is asked in the same way.
SAMPLING = ("serving.arguments", "serving.attributes", "serving.contract.latents", "serving.labels")
EXPORTING = "export.bundle.export_bundle"


@pytest.mark.parametrize(
    ("importer", "forbidden", "but"),
    [
        ("serving", ("pipeline", "export", *HEAVY), ()),
        ("serving.contract", ("serving",), ("serving.contract",)),
        ("pipeline.data", ("pipeline.config",), ()),
        (
            "pipeline",
            ("export", "serving"),
            (
                "serving.contract.attributes",
                "serving.contract.latents",
                "serving.contract.manifest",
                "serving.contract.pixels",
                "serving.generator",
                "serving.runtime",
                *SAMPLING,
                "export.bundle.export_bundle",
            ),
        ),
        (
            "pipeline.diagnosis.checks",
            ("pipeline", *HEAVY, "numpy"),
            ("pipeline.diagnosis.checks", "pipeline.diagnosis.facts", "pipeline.diagnosis.finding"),
        ),
        ("export", ("pipeline.cluster", "pipeline.objectives", "pipeline.training", "pipeline.diagnosis"), ()),
        ("export", ("serving",), ("serving.contract", "serving.generator", "serving.runtime")),
    ],
)
def test_who_imports_whom(importer, forbidden, but):
    assert violations(importer, forbidden, but) == []


def test_only_a_run_as_an_object_exports():
    exporting = {
        m for m, names in IMPORTS.items() if within(m, ("pipeline",)) if any(within(n, ("export",)) for n in names)
    }
    assert exporting == {"pipeline.run"}


def test_the_contract_needs_numpy_and_nothing_else():
    names = set().union(*(names for module, names in IMPORTS.items() if within(module, ("serving.contract",))))
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"numpy", "serving"}


COMMON = ("serving.contract.attributes", "serving.contract.pixels")


def test_of_training_only_who_samples_and_evaluates_knows_the_edge():
    assert {
        module
        for module, names in IMPORTS.items()
        if within(module, ("pipeline",))
        # What labels and pixels are, is the same from the data to the edge.
        and any(within(name, ("serving",)) and not within(name, COMMON) for name in names)
    } == {
        "pipeline.evaluation.comparison",
        "pipeline.evaluation.evaluate",
        "pipeline.evaluation.provenance",
        "pipeline.foreign.onnx_files",  # which runs somebody's network
        "pipeline.metrics.efficientnet",  # which runs a network in onnxruntime
        "pipeline.metrics.onnx_file",  # the same
        "pipeline.run",
        "pipeline.runs.callback",
        "pipeline.runs.sampling",
        "pipeline.training.transfer",  # which begins with a bundle's weights
    }


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
    assert [m for m, names in IMPORTS.items() if within(m, ("serving",)) and "pipeline.base.errors" in str(names)] == []


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
    assert IMPORTS["export"] == {"serving.runtime", "typing.Any", "export.adoption.adopt.adopt"}  # the last when called


def test_the_doctor_imports_what_may_crash_in_other_processes_only():
    children = ("pipeline.diagnosis.children",)
    others = {m for m in IMPORTS if within(m, ("pipeline.doctor", "pipeline.diagnosis")) and not within(m, children)}
    assert len(others) > 10
    forbidden = (*HEAVY, "numpy", *children)
    assert [f"{m} imports {name}" for m in others for name in IMPORTS[m] if within(name, forbidden)] == []


def test_nothing_imports_a_command_line():
    parts = {"pipeline/base/command_line.py", "export/adoption/options.py"}  # of command lines
    commands = tuple(name.removesuffix(".py").replace("/", ".") for name in FLAG_FILES - parts)
    found = {f"{m} imports {n}" for m, names in IMPORTS.items() for n in names if within(n, commands)}
    assert found == set()


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


OUTSIDE = [path for place in ("benchmarks", "examples") for path in sorted((ROOT / place).rglob("*.py"))]


def own_names(tree: ast.AST) -> set[str]:
    """Names under which a file knows what it imports of the three packages."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.asname or each.name.partition(".")[0] for each in node.names if within(each.name, PACKAGES)}
        elif isinstance(node, ast.ImportFrom) and within(node.module or "", PACKAGES):
            found |= {each.asname or each.name for each in node.names}
    return found


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names(tree: ast.AST) -> set[str]:
    """Underscore names that a file defines, or gives to its objects."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in found if private(name)}


def root_of(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def intrusions(tree: ast.AST, privates: set[str]) -> list[str]:
    """Where a file uses or replaces what is private to the three packages."""
    ours, found = own_names(tree), []
    for node in ast.walk(tree):
        line = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ImportFrom) and within(node.module or "", PACKAGES):
            parts = [*(node.module or "").split("."), *(each.name for each in node.names)]
            found += [f"{line} imports {part}" for part in parts if private(part)]
        elif isinstance(node, ast.Attribute):
            if node.attr in privates and root_of(node.value) not in ("self", "cls"):
                found.append(f"{line} uses {node.attr}")
            if isinstance(node.ctx, ast.Store | ast.Del) and root_of(node) in ours:
                found.append(f"{line} replaces {node.attr}")
        elif isinstance(node, ast.ClassDef) and any(root_of(base) in ours for base in node.bases):
            found += [f"{line} overrides {name}" for name in private_names(node) & privates]
        elif (
            isinstance(node, ast.Call)
            and node.args
            and re.search(r"\b(set|del)attr$|\bpatch\b", ast.unparse(node.func))
        ):
            target = node.args[0]
            text = target.value if isinstance(target, ast.Constant) else root_of(target)
            if isinstance(text, str) and (text in ours or within(text, PACKAGES)):
                found.append(f"{line} replaces {ast.unparse(node)}")
    return found


PRIVATE = set().union(*(private_names(ast.parse(path.read_text())) for path in FILES))


@pytest.mark.parametrize("path", OUTSIDE, ids=name_of)
def test_benchmarks_and_examples_use_what_is_public(path):
    assert intrusions(ast.parse(path.read_text()), PRIVATE) == []


@pytest.mark.parametrize(
    "code",
    [
        "from pipeline.training.trainer import _loop",
        "from pipeline.training import trainer\ntrainer.load = print",
        "from pipeline.training import trainer\ntrainer.TrainStep.__call__ = print",
        "from unittest import mock\nfrom pipeline.networks import resnet\nmock.patch.object(resnet, 'width')",
        "mock.patch('pipeline.networks.resnet.width')",
        "from serving import Generator\nsetattr(Generator, 'sample', print)",
        "def f(step):\n    return step._reduce",
        "from pipeline.training.step import TrainStep\nclass Mine(TrainStep):\n    def _reduce(self): pass",
    ],
)
def test_what_is_private_is_recognised(code):
    assert "_reduce" in PRIVATE
    assert len(intrusions(ast.parse(code), PRIVATE)) == 1
