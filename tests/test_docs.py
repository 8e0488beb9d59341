"""The documents tell the truth: every flag is there, every link and every flag in a command exists."""

import ast
import dataclasses
import inspect
import itertools
import pkgutil
import re
from pathlib import Path

import pytest
import yaml
from absl import flags

import benchmarks.adoption
import benchmarks.agreement
import benchmarks.edge
import benchmarks.first_step
import benchmarks.gpu
import benchmarks.gpu_check
import benchmarks.known_answers
import benchmarks.ladder
import benchmarks.scaling
import benchmarks.serving
import benchmarks.train
import export.__main__
import pipeline.__main__
import pipeline.compare
import pipeline.doctor
import pipeline.evaluate
import pipeline.launch
import pipeline.prepare
import serving.__main__
import serving.sample
from pipeline.base.parameters import flag_default
from pipeline.config import Config

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "BUILD.md"]
PRESETS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.flags"))


COMMANDS = (
    pipeline.__main__,
    pipeline.launch,
    pipeline.evaluate,
    pipeline.compare,
    pipeline.doctor,
    pipeline.prepare,
    export.__main__,
    serving.__main__,
    serving.sample,
    benchmarks.train,
    benchmarks.gpu,
    benchmarks.scaling,
    benchmarks.edge,
    benchmarks.first_step,
    benchmarks.serving,
    benchmarks.gpu_check,
    benchmarks.ladder,
    benchmarks.agreement,
    benchmarks.known_answers,
    benchmarks.adoption,
)
DOCUMENTED = [command for command in COMMANDS if command not in (benchmarks.edge, benchmarks.serving)]


def flags_of(command) -> flags.FlagValues:
    values = flags.FlagValues()
    command.define_flags(values)
    return values


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda field: field.name)
def test_every_flag_stands_in_the_manual_with_its_default(field):
    default = flag_default(field)
    default = str(default).lower() if isinstance(default, bool) else default
    row = re.search(rf"^\| `--{field.name}` \| `?([^|`]*?)`? \| (.+) \|$", read("BUILD.md"), re.MULTILINE)
    assert row, f"BUILD.md has no row for --{field.name}"
    assert row[1] == str(default)


@pytest.mark.parametrize("command", DOCUMENTED, ids=lambda command: command.__name__)
def test_every_other_flag_stands_in_the_manual(command):
    assert [name for name in flags_of(command) if f"| `--{name}` |" not in read("BUILD.md")] == []


@pytest.mark.parametrize("document", [*DOCUMENTS, "Makefile", "scripts/demo", *PRESETS])
def test_flags_in_commands_exist(document):
    ours = {name for command in COMMANDS for name in flags_of(command)}
    known = ours | {"no" + name for name in ours} | {"flagfile", "help"}
    # Of pip, pytest, tensorboard, and our tests; of XLA.
    foreign = {"disable-pip-version-check", "dist", "no-loadscope-reorder", "ignore", "no-deps", "logdir", "base_url"}
    foreign |= {"tf_xla_persistent_cache_directory", "xla_gpu_enable_llvm_module_compilation_parallelism"}
    used = set(re.findall(r"(?<![\w-])--([a-z][\w-]*)", read(document)))
    assert used - known - foreign == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_relative_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(document))
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_documented(preset):
    assert f"`{preset}`" in read("BUILD.md")
    values = flags_of(pipeline.__main__)
    flags.DEFINE_multi_string("flagfile", [], "as absl's own", flag_values=values)
    values(values.read_flags_from_files(["test", f"--flagfile={ROOT / preset}"], force_gnu=False))
    config = pipeline.__main__.config_from_flags(values)
    config.validate()
    # Else the last of its steps would learn nothing.
    decay, batch_size = config.lr_decay_images, config.batch_size
    if isinstance(decay, int) and decay and isinstance(batch_size, int) and not config.learning_rate_end:
        assert decay >= config.steps * batch_size * config.accumulate * config.d_steps


REFERENCE = re.findall(r"^::: (\S+)$", read("docs/reference.md"), re.MULTILINE)
ROOMS = ("pipeline.data", "pipeline.objectives")
NOTHING_YET = {"pipeline.data", "export"}


def statements(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body


def assigned(node: ast.stmt) -> str:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return ast.unparse(targets[0]) if targets else ""


def all_of(package: str) -> list[str]:
    body = statements(ROOT / package.replace(".", "/") / "__init__.py")
    return [name for node in body if assigned(node) == "__all__" for name in ast.literal_eval(node.value)]


def description_of(package: str, name: str) -> str | None:
    """The string behind an assignment, which nothing keeps at run time."""
    for path in (ROOT / package.replace(".", "/")).rglob("*.py"):
        body = statements(path)
        for node, after in itertools.pairwise(body):
            if assigned(node) == name and isinstance(after, ast.Expr):
                return ast.literal_eval(after.value)
    return None


@pytest.mark.parametrize("package", ["pipeline", *ROOMS, "export", "serving"])
def test_every_public_object_stands_in_the_reference(package):
    assert all_of(package) or package in NOTHING_YET
    assert [f"{package}.{name}" for name in all_of(package) if f"{package}.{name}" not in REFERENCE] == []


def test_the_reference_names_everything_once():
    assert len(REFERENCE) > 40
    assert len(set(REFERENCE)) == len(REFERENCE)


@pytest.mark.parametrize("name", REFERENCE)
def test_what_the_reference_names_exists_and_is_described(name):
    found = pkgutil.resolve_name(name)
    if inspect.isclass(found) or inspect.isfunction(found):
        methods = [each for each in vars(found).values() if inspect.isfunction(each) and each.__name__[0] != "_"]
        texts = {each.__qualname__: inspect.getdoc(each) for each in (found, *methods)}
    else:
        texts = {name: description_of(*name.rsplit(".", 1))}
    assert [each for each, text in texts.items() if not text] == []
    # A colon in the first line of what is returned would make a type of the words before it.
    assert re.findall(r"^(?:Returns|Yields):\n  .*: .*$", "\n".join(texts.values()), re.MULTILINE) == []


def test_the_site_asks_nobody_for_anything():
    settings = yaml.safe_load(read("mkdocs.yml"))
    assert settings["theme"]["font"] is False
    names = [next(iter(each)) if isinstance(each, dict) else each for each in settings["plugins"]]
    assert names == ["search", "mkdocstrings"]
    # What would make pages fetch a repository's figures, scripts or styles, or report their readers.
    assert {"repo_url", "extra", "extra_css", "extra_javascript"} & set(settings) == set()
    assert settings["strict"] is True
