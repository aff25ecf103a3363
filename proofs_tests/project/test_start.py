"""Every way to start the command line imports our modules, and none of the current folder's.

The folder is a user's: it has a train.py, a csv.py and others, and each writes a file when it is
executed.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proofs_tests.tools import ROOT
from proofs_tests.tools.runs import ONE_THREAD

OURS = ("cli", "experiments", "prune", "reference", "train")
OTHERS = ("click", "csv", "json", "numpy", "torch")  # of Python and of our dependencies
LATE = ("random", "socket")  # imported by multiprocessing before a worker has its sys.path
NET = """
from torch import nn
def net(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
"""
CONSOLE_SCRIPT = "from synflow import main\nif __name__ == '__main__':\n    main()\n"
# As `pip install -e` does it: a hook that Python asks after all of sys.path.
EDITABLE = f"""
import sys
from importlib.machinery import PathFinder
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [{str(ROOT)!r}]) if path is None else None
sys.meta_path.append(Finder)
{CONSOLE_SCRIPT}"""
TORCHRUN = "from torch.distributed.run import main\nif __name__ == '__main__':\n    main()\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The user's folder, which is the current one."""
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    for name in (*OURS, *OTHERS, *(LATE if sys.version_info >= (3, 11) else ())):
        write(tmp_path / "mine" / f"{name}.py")
    (tmp_path / "mine" / "my_net.py").write_text(NET)
    return tmp_path / "mine"


def write(path: Path) -> None:
    """A module that leaves a file when it is executed."""
    path.parent.mkdir(exist_ok=True)
    mark = path.parent / f"executed-{path.stem}"
    path.write_text(f"open({str(mark)!r}, 'w')\nraise SystemExit(77)\n")


@pytest.fixture
def scripts(tmp_path) -> Path:
    """A folder of console scripts, as `bin` of a virtual environment."""
    (tmp_path / "bin").mkdir()
    for name, text in {
        "synflow": CONSOLE_SCRIPT,
        "editable": EDITABLE,
        "torchrun": TORCHRUN,
    }.items():
        (tmp_path / "bin" / name).write_text(text)
    return tmp_path / "bin"


def way(name: str, scripts: Path) -> list[str]:
    """The words that start the command line in one of the ways."""
    torchrun = [str(scripts / "torchrun"), "--standalone", "--nproc-per-node=2"]
    words = {
        "python cli.py": [str(ROOT / "cli.py")],
        "python -m synflow": ["-m", "synflow"],
        "synflow": [str(scripts / "synflow")],
        "synflow, editable": [str(scripts / "editable")],
        "torchrun": [*torchrun, str(ROOT / "cli.py")],
    }
    return [sys.executable, *words[name]]


def start(words: list[str], *path: Path, **extra) -> subprocess.CompletedProcess:
    environment = ONE_THREAD | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(words, env=environment, capture_output=True, text=True, **extra)


def executed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("executed-*"))


WAYS = {  # -> the folders of PYTHONPATH; ours stands for site-packages
    "python cli.py": (),
    "python -m synflow": (ROOT,),
    "synflow": (ROOT,),
    "synflow, editable": (),
    "torchrun": (),
}


@pytest.mark.parametrize(
    "name",
    [
        "python cli.py",
        "python -m synflow",
        pytest.param("synflow", marks=pytest.mark.slow),
        pytest.param("torchrun", marks=pytest.mark.slow),
    ],
)
def test_a_run_executes_no_module_of_the_current_folder_but_the_factory(folder, scripts, name):
    extra = ("run", "--model", "my_net:net", "--device", "cpu", "--epochs", "0")
    ended = start([*way(name, scripts), *extra], *WAYS[name])
    assert ended.returncode == 0, ended.stderr
    assert "kept 64 of 640 weights" in ended.stdout and executed(folder) == []


@pytest.mark.slow
def test_nor_do_the_workers_of_a_sweep(folder, scripts):
    """They get a copy of sys.path, to which the parent has added the current folder."""
    extra = "--models my_net:net --compressions 2,4 --seeds 0 --pruners random --epochs 0 --jobs 2"
    ended = start([*way("synflow, editable", scripts), "sweep", *extra.split()])
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("1/1") == 2 and executed(folder) == []


@pytest.mark.slow
def test_nor_does_a_figure(folder):
    """Matplotlib and the NumPy side are imported."""
    ended = start([sys.executable, "-m", "synflow", "figure", "0"], ROOT)
    assert ended.returncode == 0, ended.stderr
    assert (folder / "results" / "figures" / "figure0.png").exists() and executed(folder) == []


@pytest.mark.parametrize("name", ["python -m synflow", "synflow"])
@pytest.mark.parametrize("module", ["prune.py", "train/__init__.py", "experiments.py", "cli.py"])
def test_a_module_that_hides_one_of_ours_is_named_in_one_sentence_and_not_executed(
    tmp_path, scripts, name, module
):
    """PYTHONPATH has another module of this name before ours."""
    write(tmp_path / "other" / module) if "/" not in module else write_package(tmp_path / "other")
    ended = start([*way(name, scripts), "data", "list"], tmp_path / "other", ROOT, cwd=tmp_path)
    found = str(tmp_path / "other" / module)
    assert ended.returncode == 1 and ended.stdout == "" and executed(tmp_path) == []
    assert re.fullmatch(r"Error: [^\n]+\n", ended.stderr), ended.stderr
    expected = (f"imports {module.split('/')[0].removesuffix('.py')} from {found}", str(ROOT))
    assert all(text in ended.stderr for text in expected), ended.stderr
    assert "rename it, or remove its folder from PYTHONPATH" in ended.stderr


def write_package(parent: Path) -> None:
    parent.mkdir()
    write(parent / "train" / "__init__.py")


def test_the_checkout_can_be_the_current_folder():
    ended = start([sys.executable, "-m", "synflow", "run", "--help"], cwd=ROOT)
    assert ended.returncode == 0 and ended.stdout.startswith("Usage: python -m synflow run")


# ---- import synflow -------------------------------------------------------------------------


def python(code: str, *path: Path) -> str:
    """The last line that the code prints or, where it fails, of its traceback."""
    ended = start([sys.executable, "-c", code], *path)
    return (ended.stdout + ended.stderr).splitlines()[-1]


def test_the_stable_names_are_those_of_prune():
    import prune
    import synflow

    assert synflow.__all__ == prune.__all__ and set(prune.__all__) <= set(dir(synflow))
    assert all(getattr(synflow, name) is getattr(prune, name) for name in prune.__all__)
    assert callable(synflow.prune) and "prune" in synflow.__all__
    namespace: dict[str, object] = {}
    exec("from synflow import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(prune.__all__)
    for name in ("masks", "nothing", "__path__"):
        with pytest.raises(AttributeError, match=f"module 'synflow' has no attribute '{name}'"):
            getattr(synflow, name)


def test_the_version_needs_no_torch():
    line = python("import sys, synflow; print(synflow.__version__, 'torch' in sys.modules)", ROOT)
    assert re.fullmatch(r"\d+\.\d+\.\d+ False", line)


def test_a_prune_py_is_named_when_a_name_is_used(folder):
    """`import synflow` alone does no harm; the user's module is not executed."""
    (folder / "torch.py").unlink()
    assert python("import synflow; print(synflow.__version__)", ROOT)[0].isdigit()
    line = python("import synflow; synflow.prune", ROOT)
    assert line.startswith(f"ImportError: Python imports prune from {folder / 'prune.py'}")
    assert executed(folder) == []


def test_a_prune_py_that_is_imported_already_is_named(tmp_path, monkeypatch):
    (tmp_path / "prune.py").write_text("")
    monkeypatch.chdir(tmp_path)
    line = python("import prune, synflow; synflow.prune", ROOT)
    assert line.startswith(f"ImportError: Python imports prune from {tmp_path / 'prune.py'}")
