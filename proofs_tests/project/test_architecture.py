"""Imports point one way: cli -> experiments -> {prune, train}, and reference stands alone."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proofs_tests.tools import ROOT

COMMAND_LINE = (
    "bar.py",
    "console.py",
    "datasets.py",
    "help.py",
    "names.py",
    "option_files.py",
    "options.py",
    "output.py",
    "sweeping.py",
)  # files of experiments/commandline that import click
TORCH = {"numpy", "torch", "torchvision", "PIL"}  # torchvision brings the last
LIGHT = (  # imported before the command is known
    "cli.py",
    "synflow.py",
    "experiments/__init__.py",
    "train/__init__.py",
    "train/launch.py",
    *(f"experiments/commandline/{name}" for name in ("__init__.py", *COMMAND_LINE)),
)
FLOORS = {  # the rooms of a package, from the ground up; a room imports from lower floors only
    "experiments": [
        {"callbacks", "pruners"},
        {"config", "unbuilt"},
        {"resolve", "series"},
        {"runs"},
        {"sweeps"},
        {"checks", "figures"},
        {"commandline"},
    ],
}
MAY_IMPORT = {  # besides the standard library and itself
    "reference": {"numpy"},
    "prune": {"numpy", "torch"},
    "train": TORCH,
    "experiments": TORCH | {"prune", "train", "reference", "synflow", "click"},  # click: see below
    "benchmarks": TORCH | {"prune", "train", "experiments", "click"},
    "cli": {"click", "experiments", "synflow", "train"},
    "synflow": {"cli", "prune"},  # in functions
}
EXTRAS = {"matplotlib", "submitit", "tensorboard", "torch_pruning"}  # in functions


def files(package: str) -> list[Path]:
    found = [*ROOT.glob(f"{package}.py"), *(ROOT / package).rglob("*.py")]
    assert found, f"{package} is not where this test looks for it"
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """The package of each import statement; relative ones are "."."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else node.module.partition(".")[0]


def rooms(path: Path, package: str) -> Iterator[tuple[str, str]]:
    """(room, room it imports from) of one file, without imports within a room."""
    (here, *_) = path.relative_to(ROOT / package).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or node.module.split(".")[0] != package:
            continue
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        for there in {name.split(".")[1] for name in names}:
            if there != here:
                yield here, there


def in_functions(tree: ast.AST) -> set[str]:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {name for function in functions for name in imported(function)}


PRINTS = ("bar.py", "output.py", "progress.py")  # of experiments/commandline and of prune


def violations(source: str, package: str) -> set[str]:
    """The packages that a file of `package` imports against the rule."""
    tree = ast.parse(source)
    foreign = set(imported(tree)) - MAY_IMPORT[package] - {package} - sys.stdlib_module_names
    if package in ("experiments", "benchmarks", "prune"):
        allowed = EXTRAS | {"click"} if package == "prune" else EXTRAS
        outside = set(imported(_without_functions(tree)))
        foreign -= (allowed & in_functions(tree)) - outside
    return foreign


def _without_functions(tree: ast.Module) -> ast.Module:
    """The module's own statements, which run when it is imported; its classes' bodies, too."""
    return ast.Module([*_running(tree.body)], [])


def _running(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in statements:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _running(node.orelse)
        elif not isinstance(node, ast.FunctionDef):
            yield node


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    for path in files(package):
        assert violations(path.read_text(), package) == set(), path


@pytest.mark.parametrize("package", FLOORS)
def test_no_room_imports_from_its_own_floor_or_a_higher_one(package):
    """So there is no circle, and a newcomer can read a package from the ground up."""
    floor = {room: i for i, floor in enumerate(FLOORS[package]) for room in floor}
    paths = [path for path in files(package) if path != ROOT / package / "__init__.py"]
    found = {pair for path in paths for pair in rooms(path, package)}
    assert {room for pair in found for room in pair} == set(floor)
    assert not {(here, there) for here, there in found if floor[there] >= floor[here]}


def test_reference_meets_torch_nowhere_outside_the_tests():
    """Reference and prune share no code: their agreement is a theorem to test."""
    for path in files("experiments"):
        names = set(imported(ast.parse(path.read_text())))
        assert "reference" not in names or not names & {"torch", "prune", "train"}, path


def own_modules(tree: ast.AST) -> Iterator[str]:
    """The files of ours that the statements import; `from train import launch` is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            path = ROOT.joinpath(*module.split("."))
            found = (path.with_suffix(".py"), path / "__init__.py")
            yield from (p.relative_to(ROOT).as_posix() for p in found if p.exists())


@pytest.mark.parametrize("file", LIGHT)
def test_cli_imports_torch_only_in_commands(file):
    """So `--help` is quick: imported are click, the standard library and files of this list."""
    tree = _without_functions(ast.parse((ROOT / file).read_text()))
    ours = {name.partition("/")[0].removesuffix(".py") for name in LIGHT}
    assert set(imported(tree)) <= {"click"} | ours | sys.stdlib_module_names
    assert set(own_modules(tree)) <= set(LIGHT)


def test_only_what_belongs_to_the_command_line_imports_click():
    """Experiments are for scripts, too."""
    for path in files("experiments"):
        click = "click" in imported(ast.parse(path.read_text()))
        assert click == (path.name in COMMAND_LINE), path


def prints(tree: ast.AST) -> bool:
    """True if it calls print or uses the standard streams."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return bool(names & {"print"} or attributes & {"stdout", "stderr", "__stdout__", "__stderr__"})


@pytest.mark.parametrize("package", sorted(MAY_IMPORT.keys() - {"cli", "benchmarks"}))
def test_only_the_command_line_prints(package):
    for path in files(package):
        allowed = path.parent.name in ("commandline", "prune") and path.name in PRINTS
        assert prints(ast.parse(path.read_text())) == allowed, path


def test_dependencies_are_what_is_imported():
    """Core dependencies as in pyproject.toml (tomllib is not in Python 3.10)."""
    project = (ROOT / "pyproject.toml").read_text()
    (listed,) = re.findall(r"^dependencies = (\[.*\])$", project, re.MULTILINE)
    required = {re.match(r"\w+", text)[0] for text in ast.literal_eval(listed)}
    assert required == set.union(*MAY_IMPORT.values()) - set(MAY_IMPORT) - {"PIL"}


@pytest.mark.parametrize(
    "package, source, found",
    [
        ("reference", "import torch", {"torch"}),
        ("reference", "def f():\n  from prune.masks import top", {"prune"}),
        ("prune", "import numpy.linalg, train.data", {"train"}),
        ("prune", "if True:\n  from . import masks", {"."}),
        ("train", "from prune import apply", {"prune"}),
        ("train", "import matplotlib", {"matplotlib"}),
        ("experiments", "import matplotlib.pyplot", {"matplotlib"}),
        (
            "experiments",
            "if 1:\n  import matplotlib\ndef f():\n  import matplotlib",
            {"matplotlib"},
        ),
        ("experiments", "def f():\n  import matplotlib.pyplot", set()),
        ("experiments", "import cli, math", {"cli"}),
        ("synflow", "def main():\n  import cli, torch", {"torch"}),
    ],
)
def test_violations_are_found(package, source, found):
    assert violations(source, package) == found


@pytest.mark.parametrize(
    "source", ["print(1)", "import sys\nsys.stderr.write('')", "f = print", "map(print, 'a')"]
)
def test_printing_is_found(source):
    assert prints(ast.parse(source)) and not prints(ast.parse("def f(fingerprint): ..."))
