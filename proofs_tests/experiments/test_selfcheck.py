"""`selfcheck`: each check passes here, and fails on a copy of the source with one broken line."""

import csv
import importlib
import json
import random
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import cli
from experiments.checks import selfcheck as module
from experiments.checks.outcome import Failed, Impossible
from proofs_tests.tools import ROOT, archives
from proofs_tests.tools.runs import CPU
from train.data import DATASETS, known

OURS = ("experiments", "prune", "train")
pytestmark = pytest.mark.usefixtures("one_thread")

# Changes that make long checks short.
QUICK = {
    "rehearsal": [
        ("experiments/checks/rehearsal.py", "in MODELS:\n", 'in ("mlp", "vgg11", "resnet20"):\n')
    ],
    "overfit": [
        ("experiments/checks/overfit.py", "IMAGES = 256", "IMAGES = 64"),
        ("experiments/checks/overfit.py", "epochs=25, batch_size=64", "epochs=10, batch_size=16"),
        ("experiments/checks/overfit.py", '("vgg16", "resnet18")', '("resnet18",)'),
        ("experiments/checks/overfit.py", "(1, 10)", "(10,)"),
        ("experiments/checks/overfit.py", "width=0.25", "width=0.125"),
    ],
    "compile": [("experiments/checks/numerics.py", '"vgg11"', '"mlp"')],
}
ONEDNN = "int(torch._C._get_mkldnn_enabled())"  # differs between the two sides of the check
LOOP, BATCHING = "train/loop.py", "train/batches.py"
MODELS, RECIPES = "train/models.py", "train/recipes.py"
BROKEN = {
    "rehearsal": [
        (BATCHING, "torch.tensor(m, device=device)", "torch.tensor(m)"),
        (BATCHING, "white - task.mean", "white - task.mean.cpu()"),
        (BATCHING, "part) for part in shares)", "part) for part in shares[1:])"),
        (LOOP, "return loss.detach().double()", "return loss.detach().item()"),
    ],
    "architectures": [
        (MODELS, "nn.MaxPool2d(3, 2, 1) if large", "nn.AvgPool2d(3, 2, 1) if large"),
        (MODELS, "(self.bn2(self.conv2(x)) + shortcut)", "(self.bn2(self.conv2(x)))"),
    ],
    "steps": [
        (LOOP, "nesterov=True", "nesterov=False"),
        (LOOP, "optimizer.zero_grad()", "pass"),
        (LOOP, "weight_decay=recipe.weight_decay", "weight_decay=0"),
        (LOOP, "if drop <= epoch", "if drop < epoch"),
        ("prune/enforce.py", "weight.data.mul_(mask)", "pass"),
    ],
    "schedule": [
        (RECIPES, "(60, 120), 0.2, 5e-4)", "(60, 120), 0.1, 5e-4)"),
        (RECIPES, "CIFAR_VGG = Recipe(160, 128, 0.1", "CIFAR_VGG = Recipe(159, 128, 0.1"),
        (RECIPES, "CIFAR_VGG = Recipe(160, 128, 0.1", "CIFAR_VGG = Recipe(160, 64, 0.1"),
        (RECIPES, "TINY_IMAGENET = Recipe(100, 128, 0.01", "TINY_IMAGENET = Recipe(100, 128, 0.02"),
        (RECIPES, "momentum: float = 0.9", "momentum: float = 0.8"),
        (LOOP, "if drop <= epoch", "if drop < epoch"),
    ],
    "augmentation": [
        (BATCHING, "padded.flip(3)", "padded.flip(2)"),
        (BATCHING, ":, down, right]", ":, right, down]"),
        (BATCHING, "2 * padding - right", "right"),
        (BATCHING, "labels[drawn.order.to(labels.device)]", "labels"),
    ],
    "readers": [
        ("train/readers.py", "records[:, label_bytes - 1]\n", "records[:, 0]\n"),
        ("train/readers.py", "label[row[1]]", "0"),
        ("train/imagenet.py", "seed_of(*self.key, row)", "torch.initial_seed()"),
    ],
    "overfit": [(LOOP, "(model(inputs), labels, ", "(model(inputs), labels.flip(0), ")],
    "bfloat16": [("train/prepared.py", "self.module(x)", "self.module(x.roll(1, 1))")],
    "compile": [("train/prepared.py", "net.compile()", "net.compile(), net[1].bias.data.add_(1)")],
    "masks": [
        ("prune/schedules.py", "return low + bisect", "return 1 + low + bisect"),
        ("prune/scores.py", "S.abs() for name, S in _loss", "S for name, S in _loss"),
        ("prune/scores.py", "TEMPERATURE = 200", "TEMPERATURE = 1"),
    ],
    "device": [(BATCHING, "((images / white", f"((images.roll({ONEDNN}, 1) / white")],
}
CASES = [
    pytest.param(name, line, id=f"{name}-{line[2]}")
    for name, lines in BROKEN.items()
    for line in lines
]


@contextmanager
def copied(folder: Path, changes: list[tuple[str, str, str]]) -> Iterator:
    """Import selfcheck from a copy of the source with the changes (file, old, new)."""
    for package in OURS:
        shutil.copytree(ROOT / package, folder / package)
    for file, old, new in changes:
        text = (folder / file).read_text()
        assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times"
        (folder / file).write_text(text.replace(old, new))
    mine = {name: m for name, m in sys.modules.items() if name.partition(".")[0] in OURS}
    for name in mine:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("experiments.checks.selfcheck")
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
        sys.modules.update(mine)


@pytest.mark.parametrize("name", [name for name in module.CHECKS if name not in QUICK])
def test_every_check_passes_here(name):
    assert module.CHECKS[name](CPU)


@pytest.mark.parametrize("name", QUICK)
def test_the_longer_checks_pass_on_less(tmp_path, name):
    with copied(tmp_path, QUICK[name]) as copy:
        assert copy.CHECKS[name](CPU)


@pytest.mark.parametrize(("name", "line"), CASES)
def test_every_check_fails_on_a_sabotaged_copy(tmp_path, name, line):
    with copied(tmp_path, [*QUICK.get(name, []), line]) as copy:
        assert Path(copy.__file__).is_relative_to(tmp_path)
        verdict, detail = copy.verdict_of(copy.CHECKS[name], CPU)
    assert verdict == "FAIL" and detail


def test_every_check_is_sabotaged():
    assert set(BROKEN) == set(module.CHECKS)


@pytest.mark.slow
def test_all_of_it_passes_here():
    outcome = CliRunner().invoke(cli.main, ["selfcheck", "--device", "cpu"])
    assert outcome.exit_code == 0 and "11 PASS, 0 FAIL" in outcome.stdout


def broken(device: torch.device) -> str:
    raise Failed("0.3 is not 0.1 + 0.2")


def impossible(device: torch.device) -> str:
    raise Impossible("there is no compiler")


def test_the_report_and_the_exit_code_show_a_failed_check(monkeypatch):
    checks = {"good": lambda device: "all well", "bad": broken, "torn": lambda d: 1 / 0}
    monkeypatch.setattr(module, "CHECKS", checks)
    outcome = CliRunner().invoke(cli.main, ["selfcheck", "--device", "cpu"])
    lines = outcome.stdout.splitlines()
    assert outcome.exit_code == 1 and lines[-1] == "1 PASS, 2 FAIL, 0 SKIP"
    assert "CPU" in lines[0] and f"torch {torch.__version__.partition('+')[0]}" in lines[0]
    assert lines[3].startswith("FAIL  bad") and lines[3].endswith("0.3 is not 0.1 + 0.2")
    assert lines[4].endswith("ZeroDivisionError: division by zero")


def test_an_impossible_check_is_skipped_and_is_no_failure(monkeypatch):
    monkeypatch.setattr(module, "CHECKS", {"compile": impossible})
    outcome = CliRunner().invoke(cli.main, ["selfcheck"])
    assert outcome.exit_code == 0 and "SKIP  compile" in outcome.stdout
    assert "there is no compiler" in outcome.stdout


def sentence(outcome) -> str:
    """The only line of the error."""
    (line,) = (line for line in outcome.stderr.splitlines() if line.startswith("Error: "))
    return line


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--device", "cuda:99"], "CUDA devices"),
        (["--published", "--device", "cuda:99"], "CUDA devices"),
        (["--device", "tpu"], "auto, cpu, cuda or cuda:N"),
        (["--data-dir", "."], "for selfcheck --published"),
    ],
)
def test_an_option_that_is_impossible_or_unused_is_a_usage_error(options, reason):
    """The error is one sentence; a missing device is never replaced by another."""
    outcome = CliRunner().invoke(cli.main, ["selfcheck", *options])
    assert outcome.exit_code == 2 and reason in sentence(outcome) and outcome.stdout == ""


def test_published_needs_cifar100_and_names_the_command_to_fetch_it(tmp_path):
    options = ["--published", "--device", "cpu", "--data-dir", str(tmp_path)]
    outcome = CliRunner().invoke(cli.main, ["selfcheck", *options, "--results", str(tmp_path)])
    assert outcome.exit_code == 1 and "data fetch cifar100" in sentence(outcome)


@pytest.fixture
def small_cifar100(tmp_path, monkeypatch) -> Path:
    """Write 40 + 10 random images in CIFAR-100's binary format, and set its registered sizes."""
    sizes = {"train_size": 40, "test_size": 10}
    monkeypatch.setitem(DATASETS, "cifar100", replace(known("cifar100"), **sizes))
    draw, folder = random.Random(0), tmp_path / "data" / "cifar-100-binary"
    folder.mkdir(parents=True)
    for name, size in sizes.items():
        labels = [[draw.randrange(classes) for _ in range(size)] for classes in (20, 100)]
        images = [draw.randbytes(3072) for _ in range(size)]
        file = folder / f"{name.removesuffix('_size')}.bin"
        file.write_bytes(archives.cifar(images, *labels))
    return tmp_path / "data"


def test_published_prints_the_losses_of_both_recipes_beside_the_published_ones(
    small_cifar100, tmp_path, monkeypatch
):
    """The whole command, with two epochs and a narrow network; each loss is that of its run."""
    monkeypatch.setattr(module, "PUBLISHED_LOSS", {1: 4.5, 2: 2.25})
    narrow = partial(module.losses_by_recipe, width=1 / 16)
    monkeypatch.setattr(module, "losses_by_recipe", narrow)
    options = ["--published", "--device", "cpu", "--data-dir", str(small_cifar100)]
    options += ["--results", str(tmp_path / "results")]
    outcome = CliRunner().invoke(cli.main, ["selfcheck", *options])
    assert outcome.exit_code == 0
    head, *rows = (re.split(r"  +", line) for line in outcome.stdout.splitlines())
    assert head == ["train loss", "epoch 1", "epoch 2"]
    assert rows[-1] == ["as published", "4.500", "2.250"] and len(rows) == 3
    for recipe, *losses in rows[:-1]:
        (path,) = (p for p in tmp_path.glob("results/*/result.json") if of_recipe(p, recipe))
        assert losses == [f"{row['train_loss']:.3f}" for row in history(path.parent)]
    assert rows[0][1:] != rows[1][1:]


def of_recipe(path: Path, recipe: str) -> bool:
    config = json.loads(path.read_text())["config"]
    assert (config["model"], config["init"]) == ("vgg16", "published")
    assert (config["dataset"], config["compression"]) == ("cifar100", 1)
    return config["recipe"] == recipe


def history(directory: Path) -> list[dict[str, float]]:
    with open(directory / "history.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
