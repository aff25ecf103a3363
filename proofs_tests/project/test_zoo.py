"""`python -m benchmarks zoo`: results are judged rightly, kept, and nothing is overlooked."""

import json
import time
import warnings

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks import zoo, zoo_job, zoo_models
from benchmarks.__main__ import main
from proofs_tests.tools import ROOT

# ---- the model is as before -----------------------------------------------------------------


class Cached(nn.Module):
    """A layer that holds a tensor in a list, as caches of rotary embeddings do."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
        self.kept = [torch.tensor([1.0, float("nan")])]


CHANGES = {
    "layer._parameters": [
        lambda m: m.layer.weight.data.add_(1),
        lambda m: m.layer.weight.requires_grad_(False),
        lambda m: setattr(m.layer.weight, "grad", torch.ones(2, 2)),
        lambda m: setattr(m.layer, "weight", nn.Parameter(m.layer.weight.data)),
        lambda m: m.layer.double(),
    ],
    "norm._buffers": [lambda m: m.norm.running_var.add_(1)],
    "norm.training": [lambda m: m.norm.eval()],
    "layer._forward_hooks": [lambda m: m.layer.register_forward_hook(print)],
    "Cached.kept": [
        lambda m: m.kept.append(1),
        lambda m: m.kept[0].mul_(2),
        lambda m: m.kept.__setitem__(0, m.kept[0].double()),
    ],
    "layer.new": [lambda m: setattr(m.layer, "new", 1)],
}


@pytest.mark.parametrize("part, change", [(p, c) for p, cs in CHANGES.items() for c in cs])
def test_each_change_of_a_model_is_found(part, change):
    model = Cached()
    before = zoo_job.state(model)
    assert zoo_job.differences(before, zoo_job.state(model)) == []
    change(model)
    assert part in zoo_job.differences(before, zoo_job.state(model))


# ---- errors and warnings --------------------------------------------------------------------


def raised(function) -> dict:
    try:
        function()
    except Exception as error:
        return zoo_job.failure(error)


def test_only_one_sentence_of_this_project_is_no_traceback():
    from prune.schedules import target

    assert raised(lambda: target(10, 0.5))["sentence"]
    assert not raised(lambda: torch.zeros(2).item())["sentence"]
    assert not raised(lambda: int("x"))["sentence"]  # a ValueError, of Python
    assert "int" in raised(lambda: int("x"))["traceback"]


def test_warnings_of_others_are_left_out():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("of torch", UserWarning, stacklevel=2)
    assert not zoo_job.is_ours(caught[0])


# ---- table and cache ------------------------------------------------------------------------

GOOD = {"kept": 10, "exact": True, "connected": True}
ROW = {
    "model": "torchvision:a",
    "steps": None,
    "device": "cpu",
    "weights": 1000,
    "input": "3x64x64",
    "pruned": {"10": GOOD, "100": GOOD},
    "error": None,
    "said": [],
    "changed": [],
    "seconds": 1.0,
}
BROKEN = {"kind": "RuntimeError", "text": "a | b\nc", "sentence": False}
FATES = {
    "pruned": {},
    "sentence": {"error": BROKEN | {"sentence": True}},
    "traceback": {"error": BROKEN},
    "changed": {"changed": ["layer.training"]},
    "inexact": {"pruned": {"10": GOOD, "100": GOOD | {"exact": False}}},
    "silent collapse": {"pruned": {"10": GOOD, "100": GOOD | {"connected": False}}},
    "collapse": {"pruned": {"10": GOOD | {"connected": False}}, "said": ["LayerCollapse: x"]},
}


@pytest.mark.parametrize("word", FATES)
def test_each_fate_has_its_word_and_a_row_of_nine_cells(word):
    row = ROW | FATES[word]
    assert zoo.fate(row) == word
    text = zoo.page([row])
    assert text.startswith(f"SynFlow on 1 models: 1 {word}\n")
    assert [line.count("|") for line in text.splitlines()[2:]] == [10, 10, 10]


def run(*options: str, cache) -> str:
    outcome = CliRunner().invoke(main, ["zoo", "--cache", str(cache), *options])
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


def test_what_is_in_the_cache_is_not_run_again(tmp_path, monkeypatch):
    cache = tmp_path / "zoo.jsonl"
    monkeypatch.setattr(zoo, "started", lambda *_: pytest.fail("a process was started"))
    rows = [ROW | {"model": "torchvision:vgg16"}, ROW | {"model": "torchvision:vgg16_bn"}]
    cache.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "2 models: 2 pruned" in run("--models", "torchvision:vgg16", cache=cache)
    text = run("--models", "torchvision:vgg1", "--table", cache=cache)
    assert "8 models: 6 absent, 2 pruned\n" in text and "not run yet" in text


def test_the_table_shows_other_steps_where_there_is_no_better_row(tmp_path):
    cache = tmp_path / "zoo.jsonl"
    rows = [("vgg16", None), ("vgg16", 5), ("vgg19", 5)]
    rows = [ROW | {"model": f"torchvision:{name}", "steps": steps} for name, steps in rows]
    cache.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = run("--models", "vgg16=,vgg19=", "--table", cache=cache)
    assert "2 models: 1 pruned, 1 pruned in 5 steps\n" in text


def test_large_models_are_named_with_their_size(tmp_path):
    text = run("--models", "vit_h_14", cache=tmp_path / "none")
    assert "1 absent" in text and "633 M weights: needs --large" in text


@pytest.mark.parametrize("kind", ["timm", "transformers"])
def test_a_missing_library_is_named_with_its_extra(kind, tmp_path, monkeypatch):
    missing = ModuleNotFoundError(f"No module named {kind}", name=kind)
    monkeypatch.setattr(zoo_models, "import_module", lambda name: (_ for _ in ()).throw(missing))
    outcome = CliRunner().invoke(
        main, ["zoo", "--models", f"{kind}:", "--cache", str(tmp_path / "none")]
    )
    assert outcome.exit_code == 1 and f"{kind} is not installed" in outcome.output
    assert "[zoo]" in outcome.output and "zoo = [" in (ROOT / "pyproject.toml").read_text()


# ---- processes ------------------------------------------------------------------------------


def behave(name: str, how: zoo.How, pipe) -> None:
    """Stand in for `zoo.work`."""
    if name == "sleeps":
        time.sleep(60)
    if name == "dies":
        raise SystemExit(3)
    pipe.send(ROW | {"model": name})


@pytest.mark.slow
def test_a_model_that_dies_or_hangs_gets_a_row_and_stops_no_other(monkeypatch):
    monkeypatch.setattr(zoo, "work", behave)
    rows = {row["model"]: row for row in zoo.ran(["dies", "sleeps", "a", "b"], (None, "cpu"), 2, 5)}
    assert zoo.fate(rows["a"]) == zoo.fate(rows["b"]) == "pruned"
    assert "died" in rows["dies"]["error"]["text"]
    assert "no result after" in rows["sleeps"]["error"]["text"]


@pytest.mark.slow
def test_a_model_of_torchvision_is_pruned(tmp_path):
    cache = tmp_path / "zoo.jsonl"
    text = run("--models", "squeezenet1_1", "--steps", "5", cache=cache)
    assert "1 models: 1 pruned" in text and "| 72,468 | 7,247 | yes, yes |" in text
    assert json.loads(cache.read_text())["changed"] == []


def test_every_classification_model_of_torchvision_is_named():
    from torchvision import models

    named = {name.partition(":")[2] for name in zoo_models.names() if "torchvision:" in name}
    assert named == set(models.list_models(module=models))
    assert len(zoo_models.TIMM) == len(set(zoo_models.TIMM)) >= 40
