"""Heavy commands that need data, a card or a cluster are rehearsed: as written, in small.

Options are added behind those of the page: fewer weights, one epoch, the processor. The images
are those of CIFAR in number and format, each of one colour.
"""

import hashlib
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

from proofs_tests.tools import ROOT, archives
from proofs_tests.tools.site import PAGES, commands, execute
from train import fetch
from train.data import known

SMALL = "--epochs 1 --train-images 1000 --device cpu --data-dir data".split()
NARROW = ["--width", "0.05"]  # not of a network of the reader's
FEWER = "--compressions 10 --seeds 0".split()
MODEL = """
from torch import nn
def make_net(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 9), nn.ReLU(), nn.Linear(9, num_classes))
"""


def in_small(words: list[str]) -> list[str]:
    """The command of a page with the options that make it small."""
    if words[:3] == ["python", "-m", "benchmarks"]:
        cpu = ["--device", "cpu", "--minutes", "20"] if words[3] == "gpu" else []
        return [*words, *cpu, "--quick", "--to", "measured"]
    if "data" in words:
        return [*words, "--data-dir", "fetched"]
    if "figure" in words:
        return words
    narrow = [] if "my_package.my_module:make_net" in words else NARROW
    fewer = FEWER if "sweep" in words else []
    without_a_cluster = ["--dry-run"] if "slurm" in words and "--status" not in words else []
    return [*words, *SMALL, *narrow, *fewer, *without_a_cluster]


CIFAR10 = {f"data_batch_{i}.bin": 10_000 for i in range(1, 6)} | {"test_batch.bin": 10_000}
CIFAR100 = {"train.bin": 50_000, "test.bin": 10_000}


def write_cifar(folder: Path, name: str, files: dict[str, int]) -> Path:
    """CIFAR-10 or CIFAR-100 as it is published, but each image is of the mean colour."""
    dataset = known(name)
    colour = np.repeat(np.round(255 * np.array(dataset.mean)).astype(np.uint8), 32 * 32)
    folder.mkdir(parents=True)
    for file, count in files.items():
        labels = (np.arange(count) % dataset.classes).astype(np.uint8)[:, None]
        heads = labels if name == "cifar10" else np.hstack([labels // 5, labels])
        pixels = np.broadcast_to(colour, (count, 3072))
        (folder / file).write_bytes(np.hstack([heads, pixels]).tobytes())
    return folder


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Path:
    """A reader's folder, with both CIFARs and a module of the reader's."""
    folder = tmp_path_factory.mktemp("reader")
    write_cifar(folder / "data" / "cifar-10-batches-bin", "cifar10", CIFAR10)
    write_cifar(folder / "data" / "cifar-100-binary", "cifar100", CIFAR100)
    (folder / "my_package").mkdir()
    (folder / "my_package" / "my_module.py").write_text(MODEL)
    return folder


@pytest.fixture(scope="module")
def published(reader):
    """The archive of CIFAR-10 as the one that is fetched, from a file in place of its site."""
    name = "cifar-10-binary.tar.gz"
    content = archives.folder_as("tar", reader / "data" / "cifar-10-batches-bin")
    (reader / name).write_bytes(content)
    archive = fetch.Archive(name, (reader / name).as_uri(), hashlib.md5(content).hexdigest())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fetch.ARCHIVES, "cifar10", [archive])
        yield


REHEARSED = {page: commands(page, heavy=True, word="rehearsed") for page in PAGES}
WITH = [page for page, lines in REHEARSED.items() if lines]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "one_process", "published")
@pytest.mark.parametrize("page", WITH)
def test_the_rehearsed_commands_of_the_page_run(page, reader, monkeypatch):
    monkeypatch.chdir(reader)
    monkeypatch.syspath_prepend(str(reader))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", MagicMock())
    for words in map(in_small, REHEARSED[page]):
        if words[0] == "torchrun":
            words[words.index("cli.py")] = str(ROOT / "cli.py")
            words = [sys.executable, "-m", "torch.distributed.run", *words[1:]]
            subprocess.run(words, check=True, timeout=300)
        else:
            execute(words)


def test_pages_with_rehearsed_commands_are_found():
    assert len(WITH) >= 6 and sum(map(len, REHEARSED.values())) >= 20
