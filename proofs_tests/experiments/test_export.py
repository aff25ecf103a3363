"""`export`: a smaller network from a run, in a file that runs without the project."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from experiments.config import restore
from experiments.runs import files
from experiments.runs.build import initial_model
from experiments.runs.export import BATCHES, COMPACT, export
from experiments.runs.run import run
from proofs_tests.tools.runs import configured
from prune import apply, load_masks, prunable
from train import checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run's directory: an MLP of 50,200 weights on digits, 1,004 of them kept."""
    folder = tmp_path_factory.mktemp("runs")
    return run(configured(folder, epochs=1, compression=50, steps=10)).parent


def network(directory: Path) -> torch.nn.Module:
    """The trained network of the run, in eval mode."""
    config = restore(files.read_result(directory / files.RESULT)["config"])
    model = initial_model(config)
    if config.epochs:
        state = checkpoint.load(directory / files.CHECKPOINT, torch.device("cpu"))
        model.load_state_dict(state["model"])
    apply(model, load_masks(directory / files.MASKS, model))
    return model.eval()


def parameters(sizes: tuple[int, ...]) -> int:
    return sum((m + 1) * n for m, n in pairwise(sizes))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_counts_and_the_saved_network_are_right(trained, device):
    made = export(trained, device)
    model, x = network(trained), torch.randn(7, 1, 8, 8)
    stem, first, second = prunable(model).values()
    second_live = stem.any(1)  # a neuron that nothing reaches goes into the next bias
    third_live = second.any(0) & first[:, second_live].any(1)
    second_live &= first[third_live].any(0)
    sizes = (64, int(second_live.sum()), int(third_live.sum()), 10)
    assert made.path == trained / COMPACT and sizes < (64, 300, 100, 10)
    assert made.parameters == (parameters((64, 300, 100, 10)), parameters(sizes))
    weights = [n - sum(sizes[1:]) for n in made.parameters]
    assert made.flops == (2 * 50_200, 2 * weights[1])
    assert made.difference < 1e-12
    assert list(made.seconds) == list(BATCHES)
    assert all(t > 0 for rounds in made.seconds.values() for pair in rounds for t in pair)
    small = torch.export.load(made.path).module()
    assert torch.allclose(small(x.to(device)).cpu(), model(x), atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) == made.parameters[1]


def test_the_file_runs_without_the_project(trained, tmp_path):
    path = export(trained, "cpu").path
    code = (
        "import sys, torch; net = torch.export.load(sys.argv[1]).module(); "
        "print(*net(torch.ones(3, 1, 8, 8)).shape)"
    )
    command = [sys.executable, "-c", code, str(path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout == "3 10\n", ran.stderr


def test_a_run_without_epochs_gives_its_network_untrained(tmp_path):
    config = configured(tmp_path, epochs=0, compression=50, steps=10)
    directory = run(config).parent
    small = torch.export.load(export(directory, "cpu").path).module()
    x = torch.randn(5, 1, 8, 8)
    assert torch.allclose(small(x), network(directory)(x), atol=1e-5)


@pytest.mark.parametrize("name", [files.CHECKPOINT, files.MASKS, files.RESULT])
def test_a_run_that_lacks_a_file(trained, tmp_path, name):
    for file in trained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / COMPACT).unlink(missing_ok=True)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        export(tmp_path, "cpu")
    assert not (tmp_path / COMPACT).exists()


def test_a_full_disk_leaves_the_file_of_before(trained, monkeypatch):
    path = export(trained, "cpu").path
    before, names = path.read_bytes(), sorted(p.name for p in trained.iterdir())

    def full(program, file):
        file.write(before[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.export, "save", full)
    with pytest.raises(OSError, match="No space left"):
        export(trained, "cpu")
    assert path.read_bytes() == before and sorted(p.name for p in trained.iterdir()) == names
