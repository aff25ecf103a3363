"""Habits that a machine can check: short functions and files, docstrings that begin plainly."""

import ast
import re
from pathlib import Path
from statistics import median

import pytest

from proofs_tests.tools import ROOT

FOLDERS = ("reference", "prune", "train", "experiments", "benchmarks", "examples")
PRODUCT = [*ROOT.glob("*.py"), *(p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.py")))]
EVERYTHING = [*PRODUCT, *sorted((ROOT / "proofs_tests").rglob("*.py"))]
OBLIQUE = re.compile(r"(What|Whether|How|Those|That|Which|Who|Where)\b")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def lines_of(function: ast.FunctionDef) -> int:
    """Return the number of lines without the docstring."""
    text = ast.get_docstring(function, clean=False)
    return function.end_lineno - function.lineno + 1 - (text.count("\n") + 1 if text else 0)


def functions(path: Path) -> list[ast.FunctionDef]:
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def oblique(source: str) -> list[str]:
    """Return the first lines of docstrings that begin with a question word or a pronoun."""
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, DOCUMENTED))
    texts = (ast.get_docstring(node) or "" for node in nodes)
    return [text.partition("\n")[0] for text in texts if OBLIQUE.match(text.lstrip(' "'))]


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_begin_with_a_verb_or_with_the_thing_itself(path):
    assert oblique(path.read_text()) == []


def test_files_and_functions_of_the_product_are_short():
    """No file over 250 lines, no function over 40, the median function at most 8."""
    assert [p for p in PRODUCT if p.read_text().count("\n") > 250] == []
    lengths = {f"{p}: {f.name}": lines_of(f) for p in PRODUCT for f in functions(p)}
    assert [name for name, length in lengths.items() if length > 40] == []
    assert median(lengths.values()) <= 8


def test_an_oblique_docstring_is_found():
    assert oblique('def f():\n    """What f does."""') == ["What f does."]
    assert oblique('class A:\n    """Whatever is left."""\n') == []
