"""Effective weights: those on a path of kept weights from input to output, in all that shows them.

The reference is a walk through the masks of an MLP in NumPy.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from cli import main
from experiments.figures import accuracy
from experiments.runs.build import initial_model
from experiments.runs.channels import dead_channels
from experiments.runs.files import read_result
from experiments.runs.inspection import inspect
from experiments.runs.run import run
from proofs_tests.tools.runs import configured
from proofs_tests.tools.sweeps import result
from prune import Probe, apply, effective, load_masks, prune

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("1.weight", "3.weight", "5.weight")


def walked(masks) -> list[np.ndarray]:
    """The effective weights of a chain of linear layers: forwards reached, backwards read."""
    layers = [np.asarray(masks[name]) for name in NAMES]
    reached, read = [np.ones(64, bool)], [np.ones(10, bool)]
    for layer in layers:
        reached.append((layer & reached[-1]).any(1))
    for layer in layers[::-1]:
        read.append((layer & read[-1][:, None]).any(0))
    read = read[-2::-1]
    return [m & a & b[:, None] for m, a, b in zip(layers, reached[:-1], read, strict=True)]


def test_of_502_random_weights_34_are_effective(tmp_path):
    """The MLP at compression 100, scores from torch's generator of seed 0."""
    model = initial_model(configured(tmp_path, pruner="random"))
    probe = Probe((1, 8, 8), generator=torch.Generator().manual_seed(0))
    masks = prune(model, "random", probe, 100)
    live = effective(model, masks, probe)
    assert sum(int(mask.sum()) for mask in masks.values()) == 502
    assert sum(int(mask.sum()) for mask in live.values()) == 34
    for ours, theirs in zip(live.values(), walked(masks), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.fixture(scope="module")
def random(tmp_path_factory) -> Path:
    """The directory of a run that keeps 502 of 50,200 weights at random; tests only read it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("random")
    given = {"pruner": "random", "compression": 100, "steps": 1, "epochs": 0}
    return run(configured(folder, **given)).parent


def test_the_result_counts_them(random):
    found = read_result(random / "result.json")
    with np.load(random / "masks.npz") as masks:
        live = walked(masks)
    assert found["kept"] == 502 and found["effective"] == sum(int(m.sum()) for m in live) == 40
    assert found["effective_density"] == dict(zip(NAMES, (m.mean() for m in live), strict=True))


def test_inspect_shows_them_and_dead_channels_in_each_tensor(random):
    with np.load(random / "masks.npz") as masks:
        live = walked(masks)
    shown = CliRunner().invoke(main, ["inspect", str(random)]).stdout.splitlines()
    for line, mask in zip(shown[1:4], live, strict=True):
        dead = ~mask
        numbers = [int(mask.sum()), int(dead.all(0).sum()), int(dead.all(1).sum())]
        cells = line.split()
        assert [int(cells[i]) for i in (4, 6, 7)] == numbers
    assert "effective: 40 lie on a path from input to output" in shown
    inputs, first, second = live[0].any(0).sum(), live[0].any(1).sum(), live[1].any(1).sum()
    small = 64 * first + first + first * second + second + second * 10 + 10
    assert inputs < 64 and first < 300 and second < 100
    (line,) = [line for line in shown if line.startswith("compact")]
    kept = int(line.split()[3].replace(",", ""))
    assert small <= kept < 50_610 and line.endswith(" of 50,610 parameters")


def test_inspect_bounds_the_change_of_the_outputs(random, tmp_path):
    """No image within -1 and 1 moves an output further; other weights have another bound."""
    moved = inspect(random).moved
    change, outputs = map(float, re.search(r"than (\S+) for .* is (\S+)$", moved).groups())
    assert moved in CliRunner().invoke(main, ["inspect", str(random)]).stdout.splitlines()
    model = initial_model(configured(tmp_path))
    x = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        before = model.eval()(x)
        apply(model, load_masks(random / "masks.npz", model))
        after = model(x)
    assert 0 < (before - after).abs().max() <= change <= outputs
    again = {"pruner": "random", "compression": 100, "steps": 1, "ablate": "reinit"}
    assert inspect(run(configured(tmp_path, **again)).parent).moved is None


def test_a_result_that_was_written_without_them_is_inspected(random, tmp_path):
    for file in random.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = json.loads((random / "result.json").read_text())
    for name in ("effective", "effective_density", "notes", "sha256"):
        del content[name]
    (tmp_path / "result.json").write_text(json.dumps(content))
    assert inspect(tmp_path).result["effective"] == 40
    content["effective"] = 41
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"effective of the masks is not that of result\.json"):
        inspect(tmp_path)


def test_inspect_says_why_a_network_cannot_get_smaller(tmp_path, monkeypatch):
    code = (
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x if x.sum() > -1e9 else -x)\n"
        "def net(): return Net(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 10))\n"
    )
    (tmp_path / "branching.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    config = configured(tmp_path, model="branching:net", pruner="magnitude", steps=1, epochs=0)
    found = inspect(run(config).parent, "branching:net")
    assert found.compact.startswith("no smaller network: ")


def test_inspect_says_that_the_trained_weights_are_gone(finished, tmp_path):
    for file in finished.iterdir():
        if file.name != "checkpoint.pt":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    assert inspect(tmp_path).compact.startswith("no smaller network: ")
    assert "checkpoint.pt" in inspect(tmp_path).compact


def test_tables_of_figures_have_a_column_only_if_a_run_tells(tmp_path):
    result(tmp_path, "random", 100, 50.0)
    before = accuracy.draw_all(tmp_path, {})
    assert not {"kept", "effective"} & set(before.rows[0])
    assert not any("effective" in note for note in before.notes)
    result(tmp_path, "random", 100, 50.0, seed=1, kept=502, effective=34)
    drawn = accuracy.draw_all(tmp_path, {})
    pairs = {(row["kept"], row["effective"]) for row in drawn.rows}
    assert pairs == {(1000, None), (502, 34)}
    assert drawn.notes[0].endswith("; effective at 10^2: 34 of 502 (seed 1)")


LAYERS = {
    "linear": (nn.Linear(6, 4), ()),
    "convolution": (nn.Conv2d(6, 4, 3, padding=1), (5, 5)),
    "grouped": (nn.Conv2d(6, 4, 3, padding=1, groups=2), (5, 5)),
    "depthwise": (nn.Conv1d(6, 6, 3, padding=1, groups=6), (5,)),
    "transposed": (nn.ConvTranspose2d(6, 4, 3), (5, 5)),
    "transposed in groups": (nn.ConvTranspose2d(6, 4, 3, groups=2), (5, 5)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", LAYERS)
def test_a_channel_is_dead_if_it_changes_nothing_or_does_not_change(kind, seed):
    """Measured: the layer with its mask as its weight reads one channel of ones at a time."""
    layer, pixels = LAYERS[kind]
    chance = torch.Generator().manual_seed(seed)
    mask = torch.rand(layer.weight.shape, generator=chance) < 0.3 / layer.weight[0, 0].numel()
    with torch.no_grad():
        layer.weight.copy_(mask)
        layer.bias.zero_()
        one_each = torch.eye(6).reshape(6, 6, *(1 for _ in pixels)).expand(6, 6, *pixels)
        moved = layer(one_each).flatten(2).any(2) if pixels else layer(one_each).bool()
    found = dead_channels(nn.Sequential(layer), {"0.weight": mask})
    assert found == {"0.weight": (int((~moved.any(1)).sum()), int((~moved.any(0)).sum()))}
