"""The fast part of the campaign, and proof that its judgement sees each fault."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from proofs_tests.campaign.__main__ import KINDS, page
from proofs_tests.campaign.bench import Answer, Bench, content, wrong
from proofs_tests.tools import ROOT
from proofs_tests.tools.runs import ONE_THREAD

TRACEBACK = 'Traceback (most recent call last):\n  File "x.py"\nValueError: x\n'


@pytest.mark.parametrize(
    "code, err, faults",
    [
        (0, "epoch 1/2", []),
        (1, "pruning\nError: x.npz is damaged", []),
        (2, "Error: no such option", []),
        (1, TRACEBACK, ["traceback", "no sentence"]),
        (0, TRACEBACK, ["traceback"]),
        (1, "", ["no sentence"]),
        (-6, "terminate called", ["crash"]),
        (None, "", ["hang"]),
    ],
)
def test_the_end_of_a_command_is_judged(code, err, faults):
    assert wrong(Answer(code, "", err)) == faults


def test_files_beside_the_results_and_unfinished_ones_are_noted(tmp_path):
    bench = Bench(tmp_path / "bench", 0)
    bench.results.mkdir()
    bench.outside()
    bench.check(Answer(0, "", ""))
    assert bench.problems == []
    for path in (bench.root / "x", bench.here / "y", bench.results / "masks.1.part.npz"):
        path.touch()
    bench.outside()
    bench.check(Answer(0, "", ""))
    assert [fault for fault, _ in bench.problems] == ["outside", "outside", "left over"]


def test_other_results_and_commands_that_do_not_go_on_are_lost(tmp_path):
    bench = Bench(tmp_path / "bench", 0)
    bench.results.mkdir()
    (bench.results / "result.json").write_text(json.dumps({"kept": 7, "seconds": 1.5}))
    bench.whole["run"] = content(bench.results)
    (bench.results / "result.json").write_text(json.dumps({"kept": 7, "seconds": 2.5}))
    bench.compare("run", Answer(0, "", ""))
    assert bench.problems == []  # times may differ
    bench.compare("run", Answer(1, "", "Error: damaged"))
    (bench.results / "result.json").write_text(json.dumps({"kept": 8, "seconds": 1.5}))
    bench.compare("run", Answer(0, "", ""))
    assert bench.problems == [
        ("lost", "run does not go on: Error: damaged"),
        ("lost", "run ends with other result.json"),
    ]


def test_the_page_counts_faults_by_kind():
    text = page(Counter(dict.fromkeys(KINDS, 3)), [("torn file", "run", "lost", "x")], 60, 5)
    assert f"Campaign of {3 * len(KINDS)} faults of {len(KINDS)} kinds" in text
    assert "| torn file | 3 | 1 | 0 |" in text and "- torn file (run): lost: `x`" in text
    assert len(KINDS) >= 12


def test_one_fault_of_some_kinds(tmp_path):
    """Kinds with short commands; the campaign itself takes half an hour."""
    kinds = ("odd place", "bad number", "hostile data", "command line by Hypothesis")
    words = [word for kind in kinds for word in ("--kind", kind)]
    command = [sys.executable, "-m", "proofs_tests.campaign", "--faults", "4", *words]
    command += ["--report", str(tmp_path / "faults.txt")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=ONE_THREAD)
    assert ended.returncode == 0, ended.stdout
    assert "Campaign of 4 faults of 4 kinds" in (tmp_path / "faults.txt").read_text()
