"""A user's own images: folders of pictures and functions that return arrays."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from cli import main
from experiments.figures import collect
from proofs_tests.tools.own_data import stripes
from train.batches import measured, task
from train.data import known, load

pytestmark = pytest.mark.usefixtures("one_thread")

FUNCTIONS = "proofs_tests.tools.own_data"


def picture(path: Path, seed: int, size=(8, 8), mode: str = "RGB") -> np.ndarray:
    """Write an image of random pixels; return them as (H, W) or (H, W, C)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size[::-1], 3) if mode == "RGB" else size[::-1]
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def folder(root: Path, halves=("train/", "test/"), count: int = 5, **options) -> str:
    """Write `count` images of each of two classes into each half; return the dataset's name."""
    for h, half in enumerate(halves):
        for label, name in enumerate(("cat", "dog")):
            for i in range(count):
                path = root / half / name / f"{i}.png"
                picture(path, seed=100 * h + 10 * label + i, **options)
    return f"folder:{root}"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_folder_is_read_pixel_for_pixel_in_the_order_of_its_classes(tmp_path):
    name = folder(tmp_path)
    described = known(name)
    assert (described.classes, described.shape) == (2, (3, 8, 8))
    assert (described.train_size, described.test_size) == (10, 10)
    train, test = load(name, Path("unused"))
    assert train.labels.tolist() == test.labels.tolist() == [0] * 5 + [1] * 5
    expected = picture(tmp_path / "other.png", seed=113)
    assert np.array_equal(test.images[8].permute(1, 2, 0).numpy(), expected)


def test_val_stands_for_test_and_grey_images_have_one_channel(tmp_path):
    name = folder(tmp_path, ("train/", "val/"), size=(12, 9), mode="L")
    assert known(name).shape == (1, 9, 12)
    assert load(name, tmp_path)[1].images.shape == (10, 1, 9, 12)


def test_without_halves_a_fixed_fifth_of_each_class_is_for_testing(tmp_path):
    name = folder(tmp_path, ("",), count=10)
    train, test = load(name, tmp_path)
    assert train.labels.tolist() == [0] * 8 + [1] * 8 and test.labels.tolist() == [0] * 2 + [1] * 2
    every = {image.numpy().tobytes() for image in (*train.images, *test.images)}
    assert len(every) == 20
    copy = load(folder(tmp_path / "copy", ("",), count=10), tmp_path)
    assert torch.equal(copy[1].images, test.images)


def test_images_are_scaled_where_the_name_says_so(tmp_path):
    name = folder(tmp_path)
    picture(tmp_path / "train/dog/large.png", 0, size=(16, 24))
    with pytest.raises(ValueError, match=r"large.png has 16 x 24 pixels, the first image 8 x 8"):
        load(name, tmp_path)
    assert load(f"{name}@6", tmp_path)[0].images.shape == (11, 3, 6, 6)
    picture(tmp_path / "train/dog/narrow.png", 0, size=(1, 100))
    with pytest.raises(ValueError, match=r"narrow\.png is an image of 1 x 100 pixels"):
        load(f"{name}@7", tmp_path)


def test_statistics_are_those_of_the_training_images(tmp_path):
    name = f"{FUNCTIONS}:stripes"
    made = task(load(name, tmp_path), known(name), (1, 8, 8), torch.device("cpu"))
    images = torch.from_numpy(stripes()[0]) / 255
    assert made.mean.item() == pytest.approx(images.mean().item(), abs=1e-6)
    assert made.std.item() == pytest.approx(images.std(correction=0).item(), abs=1e-6)
    assert measured(known("cifar10"), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).mean == (
        known("cifar10").mean
    )


def test_the_middle_of_a_wide_image_is_scaled(tmp_path):
    name = folder(tmp_path)
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 200  # the middle
    Image.fromarray(wide).save(tmp_path / "train/cat/0.png")
    assert load(f"{name}@2", tmp_path)[0].images[0].unique().tolist() == [200]


@pytest.mark.parametrize("kind", ["folder", "function"])
def test_runs_train_on_it_and_figure_6_shows_them(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    name = folder(tmp_path / "own", count=12) if kind == "folder" else f"{FUNCTIONS}:stripes"
    given = "--dataset", name, "--device", "cpu", "--epochs", 1, "--pruner", "snip"
    done = call("run", *given, "--compression", 2)
    assert done.exit_code == 0, done.output
    [found] = collect.runs(tmp_path / "results")
    assert found["config"]["dataset"] == name and found["final"]["top1"] >= 0
    drawn = call("figure", 6)
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "results/figures/figure6.png").exists()


def test_a_function_that_a_result_names_is_not_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_data.py").write_text(f"from {FUNCTIONS} import stripes\n")
    done = call("run", "--dataset", "my_data:stripes", "--epochs", 0)
    assert done.exit_code == 0, done.output
    directory = Path(done.stdout.splitlines()[-1].removeprefix("result: ")).parent
    del sys.modules["my_data"]
    refused = call("inspect", directory)
    assert refused.exit_code == 1 and "add --dataset my_data:stripes" in refused.stderr
    assert "my_data" not in sys.modules
    assert call("inspect", directory, "--dataset", "my_data:stripes").exit_code == 0


def test_a_network_learns_the_arrays(tmp_path):
    given = "--dataset", f"{FUNCTIONS}:stripes", "--device", "cpu", "--epochs", 10, "--lr", 0.05
    done = call("run", *given, "--results", tmp_path)
    assert done.exit_code == 0, done.output
    assert collect.runs(tmp_path)[0]["final"]["top1"] == 100


def wrong_folders(root: Path) -> dict[str, tuple[str, str]]:
    """Kind of fault -> the dataset's name, and words of the sentence."""
    folder(root / "no-test", ("train/",))
    folder(root / "torn")
    (root / "torn/train/dog/3.png").write_bytes(b"no image")
    (root / "one/cat").mkdir(parents=True)
    (root / "empty/train/cat").mkdir(parents=True)
    (root / "empty/train/dog").mkdir()
    (root / "empty/test/cat").mkdir(parents=True)
    (root / "empty/test/dog").mkdir()
    folder(root / "strange")
    picture(root / "strange/test/emu/0.png", 0)
    return {
        "absent": (f"folder:{root}/absent", "is no folder of images"),
        "no-test": (f"folder:{root}/no-test", "neither test nor val"),
        "torn": (f"folder:{root}/torn", "3.png is missing, torn or no image"),
        "one": (f"folder:{root}/one", "has 1 folders; one for each class"),
        "empty": (f"folder:{root}/empty", "has no image"),
        "strange": (f"folder:{root}/strange", "has the class 'emu'"),
        "pixels": (f"folder:{root}/torn@big", "must end in a number of pixels"),
    }


@pytest.mark.parametrize(
    "fault", ["absent", "no-test", "torn", "one", "empty", "strange", "pixels"]
)
def test_wrong_folders_are_refused_in_one_sentence(tmp_path, fault):
    name, words = wrong_folders(tmp_path / "data")[fault]
    done = call("run", "--dataset", name, "--results", tmp_path / "results")
    assert done.exit_code in (1, 2) and words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("fractions", "has images of float64"),
        ("negative", "has labels of int64"),
        ("lonely", "of each class 0, 1"),
        ("short", "must return train images"),
        ("failing", "the disk is away"),
        ("nothing", "has no attribute 'nothing'"),
    ],
)
def test_wrong_functions_are_refused_in_one_sentence(tmp_path, function, words):
    done = call("run", "--dataset", f"{FUNCTIONS}:{function}", "--results", tmp_path)
    assert done.exit_code == 2 and words in done.stderr and done.stderr.count("\n") == 1
