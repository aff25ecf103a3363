"""The examples run, give what they promise, are short, and use the stable names only."""

import ast
import importlib
from functools import partial
from math import ceil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from cli import main
from proofs_tests.tools import ROOT
from prune import Probe, masks_of, prune

pytestmark = pytest.mark.usefixtures("one_thread")

FILES = sorted((ROOT / "examples").glob("*.py"))
PACKAGES = {
    "examples", "lightning", "numpy", "synflow", "torch", "torchvision", "transformers",
}  # fmt: skip


def example(name: str, package: str | None = None):
    """Import an example; skip the test where the package that it needs is not installed."""
    if package:
        pytest.importorskip(package, reason=f"the example needs `pip install {package}`")
    return importlib.import_module(f"examples.{name}")


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)).double()


def batches(count: int = 2) -> list:
    draw = torch.Generator().manual_seed(1)
    images = [torch.randn(8, 1, 4, 4, generator=draw) for _ in range(count)]
    return [(x, torch.arange(8) % 3) for x in images]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_short_and_imports_stable_names(path):
    text = path.read_text()
    assert text.count("\n") < 60
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    modules = [node.module for node in nodes] + [
        alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    for module in modules:
        top = module.partition(".")[0]
        assert top in PACKAGES or top in ("collections", "copy", "functools", "pathlib"), module
        assert top != "synflow" or module == "synflow"


def test_the_page_names_each_example():
    page = (ROOT / "examples" / "README.md").read_text()
    assert all(f"({path.name})" in page for path in FILES if path.stem != "__init__")


# ---- scores and data ------------------------------------------------------------------------


def test_force_in_one_step_is_snip():
    force, probe = example("force").force, Probe((1, 4, 4), batches())
    mine, snip = force(network(), probe, 4, steps=1), prune(network(), "snip", probe, 4)
    assert all(torch.equal(mine[name], snip[name]) for name in snip)


def test_force_keeps_the_count_and_lets_weights_come_back():
    """Weights that an earlier step has pruned are there again after a later one."""
    module, probe = example("force"), Probe((1, 4, 4), batches())
    N, back = 16 * 12 + 12 * 3, 0
    left: dict = {}
    for k in range(1, 6):
        before = left
        left = prune(network(), partial(module.sensitivity, left=before), probe, 8 ** (k / 5))
        back += sum(int((left[name] & ~before[name]).sum()) for name in before)
    masks = module.force(network(), probe, 8, steps=5)
    assert back > 0 and all(torch.equal(masks[name], left[name]) for name in left)
    assert sum(int(mask.sum()) for mask in masks.values()) == ceil(N / 8)


def test_ntk_sap_is_its_formula_in_one_layer():
    """For f = W x: d/dm of ||delta m x||^2 is 2 (delta m x)_i delta_ij x_j."""
    module = example("ntk_sap")
    net = nn.Sequential(nn.Linear(5, 3)).double()
    masks = {"0.weight": torch.rand(3, 5, generator=torch.Generator().manual_seed(2)) < 0.7}
    seeded = Probe((5,), generator=torch.Generator().manual_seed(3))
    found = module.ntk_sap(net, masks, seeded)["0.weight"]
    total = torch.zeros(3, 5).double()
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for _ in range(module.ROUNDS):
        draw(3, 5)  # the weights do not matter here
        delta, x = module.EPSILON * draw(3, 5), draw(module.BATCH, 5)
        moved = x @ (delta * masks["0.weight"]).T
        total += 2 * (moved[:, :, None] * delta * x[:, None, :]).sum(0)
    assert torch.allclose(found, total.abs() * masks["0.weight"], rtol=1e-9)


def test_ntk_sap_does_not_read_the_weights():
    """Biases are 0, as after the paper's initialisation."""
    score, masks = example("ntk_sap").ntk_sap, {}
    for seed in (0, 1):
        probe = Probe((1, 4, 4), generator=torch.Generator().manual_seed(5))
        net = network(seed)
        net[1].bias.data.zero_(), net[3].bias.data.zero_()
        masks[seed] = prune(net, score, probe, 4, steps=2)
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_score_and_data_of_the_examples_are_names_of_the_command_line(tmp_path):
    given = "--pruner examples.ntk_sap:ntk_sap --dataset examples.own_data:load --steps 3"
    options = [*given.split(), "--epochs", "2", "--device", "cpu", "--results", str(tmp_path)]
    done = CliRunner().invoke(main, ["run", *options])
    assert done.exit_code == 0, done.output
    assert "kept 10,720 of 107,200 weights" in done.stdout


# ---- loops ----------------------------------------------------------------------------------


def density(net: nn.Module) -> float:
    masks = masks_of(net).values()
    return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def test_the_trained_network_survives_its_rounds():
    net, found = example("fine_tune").main(compression=20)
    assert len(found) == 4 and found[0] > 0.9 and found[-1] > 0.9
    weights = [net.get_parameter(name) for name in ("4.weight", "9.weight")]
    left = sum(int((w != 0).sum()) for w in weights)
    assert left == ceil(sum(w.numel() for w in weights) / 20)


@pytest.mark.slow
def test_the_loop_ends_with_a_small_network_of_the_same_accuracy(tmp_path, capsys):
    onnx = tmp_path / "small.onnx" if importlib.util.find_spec("onnxscript") else None
    small = example("own_loop").main(onnx=onnx)
    accuracies = capsys.readouterr().out.replace(",", "").split()
    assert accuracies[1] == accuracies[3] and float(accuracies[1]) > 0.8
    assert sum(p.numel() for p in small.parameters()) < 5e6
    assert onnx is None or onnx.stat().st_size > 0


@pytest.mark.filterwarnings("ignore")  # Lightning's, on the machine
def test_a_callback_of_lightning_prunes():
    assert density(example("lightning_loop", "lightning").main(epochs=1)) == pytest.approx(
        0.2, 0.01
    )


def test_a_transformer_of_hugging_face_is_pruned_and_learns(capsys):
    net = example("hugging_face_vit", "transformers").main(epochs=2)
    assert density(net) == pytest.approx(0.2, 0.01)
    assert "20.0% of the weights are left" in capsys.readouterr().out


def test_the_examples_are_in_the_sdist():
    assert "graft examples" in Path(ROOT / "MANIFEST.in").read_text().splitlines()
