"""The proofs in Coq: named in reference/README.md, accepted, and false or open when weakened."""

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from proofs_tests.tools import ROOT

COQ = ROOT / "proofs_tests/coq"
needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="Coq is not installed")
WEAKENED = [  # file, theorem, hypothesis, what replaces it
    ("conservation", "theorem_1", "homogeneous net", "True"),
    ("conservation", "theorem_2", "exactly_once net C", "footnote_3 net C"),
    ("conservation", "theorem_2_cut", "closed_downstream net S", "True"),
    ("pruning", "theorem_3_layers", "0 <= S l i j", "True"),
    ("pruning", "theorem_3_step", "< kept net mu)", "<= kept net mu)"),
    ("pruning", "theorem_4", "mu mu' < cut_size", "mu mu' <= cut_size"),
    ("pruning", "theorem_4_layers", "S < total", "S <= total"),
    ("one_by_one", "theorem_3", "path_open net ->", "True ->"),
    ("one_by_one", "certified", "< kept net mu)", "<= kept net mu)"),
]


def theorems() -> set[str]:
    texts = (path.read_text() for path in COQ.glob("*.v"))
    return {name for text in texts for name in re.findall(r"^Theorem (\w+)", text, re.MULTILINE)}


def test_the_table_names_the_theorems_of_coq():
    """Each name of the last column is that of a theorem, and each theorem is named."""
    table = (ROOT / "reference/README.md").read_text().partition("## 11.")[2]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    named = {name for row in rows[2:] for name in re.findall(r"`(\S+)`", row.split("|")[-2])}
    proved = theorems()
    assert [name for name in named if not any(fnmatch(proof, name) for proof in proved)] == []
    assert [proof for proof in proved if not any(fnmatch(proof, name) for name in named)] == []


@needs_coq
@pytest.mark.slow
def test_coq_accepts_the_proofs():
    subprocess.run(["bash", COQ / "check"], check=True, capture_output=True)


def compiled(folder: Path, name: str) -> bool:
    command = ["coqc", "-q", "-w", "none", "-Q", ".", "SynFlow", f"{name}.v"]
    return subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


@needs_coq
@pytest.mark.slow
@pytest.mark.parametrize("file, theorem, old, new", WEAKENED, ids=[row[1] for row in WEAKENED])
def test_no_proof_survives_a_weaker_hypothesis(tmp_path, file, theorem, old, new):
    shutil.copytree(COQ, tmp_path, dirs_exist_ok=True)
    files = ["network", "conservation", "synaptic_flow", "pruning", "one_by_one"]
    assert all(compiled(tmp_path, name) for name in files[: files.index(file) + 1])
    before, head, after = (COQ / f"{file}.v").read_text().partition(f"Theorem {theorem} ")
    statement, end, rest = after.partition("Proof.")
    assert old in statement
    (tmp_path / f"{file}.v").write_text(before + head + statement.replace(old, new) + end + rest)
    assert not compiled(tmp_path, file)
