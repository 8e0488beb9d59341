"""Holds that who trains and records knows nothing of what can be chosen: no loss, no network, no measure."""

import ast
import re

import pytest

from pipeline.metrics import EXTRACTORS, METRICS
from pipeline.networks import ARCHITECTURES
from pipeline.objectives import OBJECTIVES, TERMS
from tests.test_architecture import IMPORTS, ROOT, within

# What trains and records whatever is chosen.
GENERAL = (
    "pipeline.runs.callback",
    "pipeline.runs.calling",
    "pipeline.runs.checkpoint",
    "pipeline.runs.checkpoint_files",
    "pipeline.runs.preview",
    "pipeline.runs.recording",
    "pipeline.runs.run_log",
    "pipeline.training.configured",
    "pipeline.training.feed",
    "pipeline.training.loop",
    "pipeline.training.step",
    "pipeline.training.trainee",
    "pipeline.training.trainer",
)
# Of the rooms of what can be chosen, the files that look at no choice.
OPEN = ("build", "composition", "figures", "models", "options", "stored", "NETWORKS_FILE", "Batch", "Update")
# What objectives report, among else.
FIGURES = ("augment_p", "class_error", "class_loss", "d_acc_fake", "d_acc_real", "d_loss", "g_loss", "gp", "r1", "r2")


def words_of(tree: ast.AST) -> set[str]:
    """All words of a file's code: of names and of texts, but for what documents it."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        values = [value for _, value in ast.iter_fields(node)] if id(node) not in documentation else []
        for value in values:
            found |= {
                word.lower()
                for each in (value if isinstance(value, list) else [value])
                if isinstance(each, str)
                for word in re.findall(r"\w+", each)
            }
    return found


def choices() -> set[str]:
    """Names of what can be chosen, and of the figures that objectives and metrics report."""
    named = {*OBJECTIVES, *ARCHITECTURES, *METRICS, *EXTRACTORS, *(each.__name__ for each in TERMS)}
    named |= {kind.__name__ for kind in OBJECTIVES.values()}
    text = "".join(path.read_text() for path in (ROOT / "pipeline" / "objectives").glob("*.py"))
    assert [figure for figure in FIGURES if f'"{figure}"' not in text] == []
    # But for what a step draws random numbers for.
    return {each.lower() for each in {*named, *FIGURES}} - {"augmentation"}


@pytest.mark.parametrize("module", GENERAL)
def test_who_trains_and_records_knows_neither_loss_nor_network(module):
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    assert words_of(tree) & choices() == set()
    chosen = ("pipeline.networks", "pipeline.objectives", "pipeline.metrics")
    assert [n for n in IMPORTS[module] if within(n, chosen) and not {*n.split(".")} & {*OPEN}] == []


def test_words_of_code_are_found():
    tree = ast.parse(
        '"""Says d_loss."""\nfrom a.hinge import Hinge\nx = f"{y}: g_loss" if z == "dcgan" else w["d_real"]'
    )
    assert {"hinge", "g_loss", "dcgan", "d_real"} <= words_of(tree)
    assert "d_loss" not in words_of(tree)
