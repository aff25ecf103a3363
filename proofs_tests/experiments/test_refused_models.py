"""Networks of one's own that cannot be pruned: one sentence, exit code 1, no result."""

import pytest
from click.testing import CliRunner

from cli import main

pytestmark = pytest.mark.usefixtures("one_thread")
NETS = """
import torch
from torch import nn
class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(64, 10))
    def forward(self, x): return x.flatten(1) @ self.w
class Nothing(nn.Module):
    def forward(self, x): return x.flatten(1)[:, :10]
class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
    def forward(self, x): return self.layer(x.flatten(1))
class NotFinite(Linear):
    def __init__(self):
        super().__init__()
        self.layer.weight.data[0, 0] = float("nan")
class Detached(Linear):
    def forward(self, x): return super().forward(x).detach()
class Stubborn(Linear):
    def forward(self, x):
        if x.dtype == torch.float64:
            raise KeyError("no float64 here")
        return super().forward(x)
"""
REFUSED = {
    "Bare": ("random", "nothing to prune"),
    "Nothing": ("random", "nothing to prune"),
    "NotFinite": ("random", "layer.weight"),
    "Detached": ("random", "no output depends on the input"),
    "Stubborn": ("synflow", "no float64 here"),
}


@pytest.mark.parametrize("name, pruner, text", [(n, *v) for n, v in REFUSED.items()], ids=REFUSED)
def test_a_network_that_prune_refuses_is_one_sentence(tmp_path, monkeypatch, name, pruner, text):
    (tmp_path / "refused_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    line = ["run", "--model", f"refused_nets:{name}", "--pruner", pruner, "--epochs", "0"]
    outcome = CliRunner().invoke(main, [*line, "--results", str(tmp_path / "there")])
    assert outcome.exit_code == 1 and outcome.stdout == ""
    *progress, last = outcome.stderr.splitlines()
    assert last.startswith("Error: ") and text in last and "Traceback" not in outcome.stderr
    assert all(line.startswith("pruning to") for line in progress)
    assert not list(tmp_path.glob("there/*/result.json"))
