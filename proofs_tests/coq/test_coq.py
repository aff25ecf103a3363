"""The proofs in Coq: named in reference/README.md, accepted, open for a changed statement."""

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from proofs_tests.tools import ROOT

COQ = ROOT / "proofs_tests/coq"
needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="Coq is not installed")
WEAKENED = {  # theorem: (hypothesis, what replaces it)
    "theorem_1": ("homogeneous net", "True"),
    "theorem_2": ("exactly_once net C", "footnote_3 net C"),
    "theorem_2_layer": ("homogeneous net", "True"),
    "theorem_2_inputs": ("homogeneous net", "True"),
    "theorem_2_cut": ("closed_downstream net S", "True"),
    "synflow_conserved": ("exactly_once net C", "footnote_3 net C"),
    "synflow_conserved_layer": ("(l <= last net)", "(l <= (last net).+1)"),
    "loss_of_flow": ("(~~ C l i j)%:R * W net l i j", "W' l i j"),
    "change_of_function": ("phi net 0 = 0", "True"),
    "expected_flow": ("independent_layers draw net", "True"),
    "theorem_4": ("mu mu' < cut_size", "mu mu' <= cut_size"),
    "theorem_4_layers": ("S < total", "S <= total"),
    "theorem_3_layers": ("(forall l i j, 0 <= S l i j)", "True"),
    "theorem_3_step": ("< kept net mu)", "<= kept net mu)"),
    "max_compression": ("path_open (masked net mu)", "path_open net"),
    "theorem_3": ("path_open net ->", "True ->"),
    "theorem_3_axiom": ("synflow_one_by_one net run", "True"),
    "theorem_3_critical": ("path_open net ->", "True ->"),
    "certified": ("< kept net mu)", "<= kept net mu)"),
    "certified_reaches": ("path_open net ->", "True ->"),
}
STRENGTHENED = {  # without such a hypothesis: (a part of the conclusion, one that is false)
    "equation_2": ("phi net (preactivations net x l i)", "preactivations net x l i"),
    "equation_3": ("dR_dz net x dR_dy l i", "dR_dinputs net x dR_dy l.+1 i"),
    "equation_8": ("dR_dy i * output", "output"),
    "theorem_2_footnote": ("footnote_3 net C", "exactly_once net C"),
    "equation_5": ("output (absolute net)", "output net"),
    "equation_6": ("synaptic_saliency (absolute net)", "synaptic_saliency net"),
    "synflow_scores_ge0": ("0 <= ", "0 < "),
    "path_open_iff": ("0 < ", "0 <= "),
    "theorem_3_run": ("exists run", "forall run"),
}
CHANGED = WEAKENED | STRENGTHENED


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


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    """Return a folder with the compiled proofs, which `check` has accepted."""
    folder = tmp_path_factory.mktemp("coq")
    subprocess.run(["bash", COQ / "check", folder], check=True, capture_output=True)
    return folder


@needs_coq
@pytest.mark.slow
def test_coq_accepts_the_proofs(build):
    assert (build / "assumptions").read_text().count("Closed") == len(theorems())


def test_each_theorem_has_a_change():
    assert set(CHANGED) == theorems()


def changed_copy(file: str) -> tuple[str, set[str]]:
    """Return commands for Coq, and the names that they define if no changed theorem is proved.

    Each theorem of the file is proved again; then its changed statement is assumed, which shows
    that it means something; then the same proof is tried for the changed statement.
    """
    text = (COQ / f"{file}.v").read_text()
    header = re.match(r".*?Implicit Types.*?\.\n", text, re.DOTALL).group()
    commands = [f"{header}Require Import SynFlow.{file}.\nSet Default Timeout 60."]
    names = set()
    pattern = re.compile(r"^Theorem (\w+)(.*?)Proof\.(.*?)Qed\.", re.MULTILINE | re.DOTALL)
    for name, before, proof in pattern.findall(text):
        old, new = CHANGED[name]
        assert old in before, name
        after = before.replace(old, new)
        commands += [f"Theorem {name}_again{before}Proof.{proof}Qed.\nAbort All."]
        commands += [f"Theorem {name}_assumed{after}Proof. Admitted.\nAbort All."]
        commands += [f"Theorem {name}_changed{after}Proof.{proof}Qed.\nAbort All."]
        commands += [f"Locate {name}_{copy}." for copy in ("again", "assumed", "changed")]
        names |= {f"{name}_again", f"{name}_assumed"}
    return "\n".join(commands) + "\n", names


@needs_coq
@pytest.mark.slow
@pytest.mark.parametrize("file", ["conservation", "synaptic_flow", "pruning", "one_by_one"])
def test_no_proof_survives_the_change_of_its_statement(build, file):
    """Coq reads on after an error, so one run tries all theorems of a file."""
    commands, names = changed_copy(file)
    coq = ["bash", "-c", "ulimit -v 3000000; exec coqtop -q -w none -Q . SynFlow"]
    run = subprocess.run(coq, cwd=build, input=commands, capture_output=True, text=True)
    assert set(re.findall(r"^.*Constant \S*\.(\w+)$", run.stdout, re.MULTILINE)) == names
