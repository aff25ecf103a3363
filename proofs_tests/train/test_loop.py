"""The training loop: what it measures, and that in pieces it is the same as in one go."""

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from proofs_tests.tools.runs import single_thread
from proofs_tests.tools.same import same
from prune import Probe, apply, prune
from train import checkpoint, loop
from train.batches import Task, normalised, task
from train.data import DATASETS, Split
from train.evaluation import evaluate
from train.recipes import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SHAPE, CLASSES = (3, 8, 8), 7
KIND = replace(DATASETS["cifar10"], classes=CLASSES, crop=1, flip=True)
RECIPE = Recipe(4, 16, 0.05, (1, 3), 0.5, 1e-3)
BATCHES = 3  # of 16, 16 and 8 images in an epoch
COLUMNS = ["epoch", "lr", "train_loss", "test_loss", "top1", "top5", "seconds"]


def images(n: int) -> Split:
    drawn = np.random.default_rng(n)
    pixels = torch.from_numpy(drawn.integers(0, 256, (n, *SHAPE), np.uint8))
    return Split(pixels, torch.from_numpy(drawn.integers(0, CLASSES, n)))


def small_task(train: int = 40, test: int = 25) -> Task:
    return task((images(train), images(test)), KIND, SHAPE, CPU)


def network(masked: bool = True, seed: int = 0) -> nn.Module:
    """Convolution, batch norm and dropout: all that has a state or is random."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Flatten(), nn.Dropout(), nn.Linear(144, CLASSES)),
    )
    if masked:
        apply(net, prune(net, "magnitude", Probe(SHAPE), 4))
    return net


# ---- measures -------------------------------------------------------------------------------


class Oracle(nn.Module):
    """Logits that depend on the image alone, so that they can be looked up."""

    def __init__(self, classes: int):
        super().__init__()
        torch.manual_seed(1)
        self.weight = nn.Parameter(torch.randn(classes, 192))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight.T


def measured(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Top-1 and top-5 in percent and mean cross-entropy, by their definitions."""
    own = logits[np.arange(len(labels)), labels]
    rank = (logits > own[:, None]).sum(1)  # how many classes come before the right one
    loss = np.log(np.exp(logits).sum(1)) - own
    return 100 * np.mean(rank < 1), 100 * np.mean(rank < 5), loss.mean()


@pytest.mark.parametrize("n", [1, 25, 500, 1003])
@pytest.mark.parametrize("classes", [2, 5, 7, 30])
def test_top_1_top_5_and_loss_are_what_they_are_called(n, classes):
    """Over all test images, whatever the evaluation batch; of fewer than five classes, all."""
    few = small_task(test=n)
    few = few._replace(test=Split(few.test.images, few.test.labels % classes))
    model = Oracle(classes)
    logits = model(normalised(few.test.images, few)).detach().double().numpy()
    expected = measured(logits, few.test.labels.numpy())
    found = evaluate(model, few)
    assert list(found) == ["top1", "top5", "loss"]
    assert (found["top1"], found["top5"]) == pytest.approx(expected[:2], rel=1e-15)  # counts
    assert found["loss"] == pytest.approx(expected[2], rel=1e-5)  # torch's is float32
    assert found["top5"] == 100 or classes > 5


def test_percentages_are_the_nearest_floats():
    """57 of 100 is 57.0, not 56.99999999999999."""
    model, few = Oracle(CLASSES), small_task(test=100)
    guesses = model(normalised(few.test.images, few)).argmax(1)
    for right in range(101):
        labels = torch.where(torch.arange(100) < right, guesses, (guesses + 1) % CLASSES)
        found = evaluate(model, few._replace(test=Split(few.test.images, labels)))
        assert found["top1"] == right


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("frozen", [(), (1,), (0, 1, 4)], ids=str)
def test_evaluation_is_in_eval_mode_without_augmentation_and_changes_nothing(frozen):
    """Some submodules may be in eval mode before, as frozen batch norm is: each keeps its mode."""
    model, few, during = network(), small_task(), []
    model.train()
    for position in frozen:
        model[position].eval()
    model.register_forward_hook(lambda *_: during.append(modes(model)))
    before, random = (
        {name: t.clone() for name, t in model.state_dict().items()},
        torch.get_rng_state(),
    )
    own = modes(model)
    first, second = (evaluate(model, few) for _ in range(2))
    assert first == second and same(before, dict(model.state_dict()))
    assert torch.equal(random, torch.get_rng_state())
    assert modes(model) == own and len(during) == 2 and not any(map(any, during))


def test_an_evaluation_that_fails_leaves_the_modes_too():
    model = network()
    model[4].eval()
    own = modes(model)
    with pytest.raises(RuntimeError):
        evaluate(model, task((images(4), images(4)), KIND, (1, 8, 8), CPU))
    assert modes(model) == own


def test_training_loss_is_the_mean_over_images_of_the_loss_before_each_step(tmp_path):
    """A smaller last batch counts less; with a vanishing learning rate it is the plain mean."""
    still, few = replace(RECIPE, epochs=1, lr=1e-30, lr_drops=()), small_task()
    model = Oracle(CLASSES)
    few = few._replace(dataset=replace(KIND, crop=0, flip=False))
    expected = measured(
        model(normalised(few.train.images, few)).detach().double().numpy(),
        few.train.labels.numpy(),
    )
    (row,) = loop.train(model, few, still, 0, tmp_path / "checkpoint.pt")
    assert row["train_loss"] == pytest.approx(expected[2], rel=1e-5)  # torch's is float32


# ---- a training -----------------------------------------------------------------------------


def train(model: nn.Module, path: Path, recipe: Recipe = RECIPE, seed: int = 3, **listeners):
    """Whatever torch's own generator holds must not matter."""
    torch.manual_seed(int.from_bytes(path.name.encode()[:4], "big"))
    return loop.train(model, small_task(), recipe, seed, path, **listeners)


def timeless(history: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def contents(path: Path) -> dict:
    """The checkpoint, timings aside."""
    state = checkpoint.load(path, CPU)
    return state | {"history": timeless(state["history"])}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[dict, dict, list[dict]]:
    """Final weights, checkpoint and history of a training in one piece."""
    model, path = network(), tmp_path_factory.mktemp("whole") / "checkpoint.pt"
    with single_thread():
        history = train(model, path)
    return dict(model.state_dict()), contents(path), timeless(history)


def test_what_a_training_reports(tmp_path):
    """A row for each epoch, a tick for each batch; learning rates drop after epochs 1 and 3."""
    rows, ticks = [], []
    history = train(
        network(), tmp_path / "checkpoint.pt", report=rows.append, tick=lambda: ticks.append(1)
    )
    assert rows == history and len(ticks) == RECIPE.epochs * (BATCHES + 1)  # and an evaluation
    assert [list(row) for row in rows] == [COLUMNS] * 4
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["lr"] for row in rows] == [0.05, 0.025, 0.025, 0.0125]
    assert all(row["seconds"] > 0 for row in rows)


def test_an_update_is_the_same_in_any_memory_layout():
    """Torch's fused step would take a gradient in another order than the weight's for its own."""
    plain, mixed = nn.Conv2d(4, 8, 3), nn.Conv2d(4, 8, 3)
    mixed.load_state_dict(plain.state_dict())
    mixed.to(memory_format=torch.channels_last)
    gradient = torch.randn(plain.weight.shape)
    for model in (plain, mixed):
        optimizer = loop.sgd(model, RECIPE)
        for _ in range(3):
            model.weight.grad = gradient.clone()
            loop.update(optimizer)
    assert torch.allclose(plain.weight, mixed.weight)


def test_dropout_is_drawn_from_seed_and_epoch(tmp_path):
    """Another draw in each epoch and for each seed, the same one in each repetition."""

    def drawn(seed: int, folder: str) -> list[bytes]:
        states, model = [], network()

        def remember(layer: nn.Module, _: tuple) -> None:
            if layer.training:
                states.append(torch.get_rng_state().numpy().tobytes())

        model[4].register_forward_pre_hook(remember)
        (tmp_path / folder).mkdir()
        train(model, tmp_path / folder / "checkpoint.pt", seed=seed)
        return states[::BATCHES]

    first, again, other = drawn(0, "first"), drawn(0, "again"), drawn(1, "other")
    assert first == again and len({*first, *other}) == 2 * RECIPE.epochs


def test_the_last_row_is_that_of_the_trained_network(tmp_path):
    model = network()
    *_, last = train(model, tmp_path / "checkpoint.pt")
    found = evaluate(model, small_task())
    assert (last["top1"], last["top5"], last["test_loss"]) == tuple(found.values())


def test_training_reaches_every_weight_but_the_pruned_ones(tmp_path):
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, tmp_path / "checkpoint.pt", replace(RECIPE, weight_decay=0.1))
    for name, after in model.named_parameters():
        pruned = (before[name] == 0) & (name in ("0.weight", "5.weight"))
        assert pruned.any() == (name in ("0.weight", "5.weight"))
        assert torch.equal(after == 0, pruned) and not (after == before[name])[~pruned].any()


class Killed(BaseException):
    """Not an Exception, as a kill would not be."""


def killer(at: int) -> Callable[[], None]:
    """Ends the training at a given tick."""
    ticks = iter(range(10**6))

    def tick() -> None:
        if next(ticks) == at:
            raise Killed

    return tick


@settings(max_examples=12)
@given(st.lists(st.integers(0, RECIPE.epochs * BATCHES - 1), max_size=4), st.booleans())
def test_an_interrupted_training_is_the_uninterrupted_one(
    tmp_path_factory, uninterrupted, kills, between
):
    """Weights, momentum, batch norm, dropout, order, augmentation, learning rate and history.

    Killed at any step, several times, each time with a new process's network; or, `between`,
    right after a checkpoint was written and before anybody was told.
    """
    path = tmp_path_factory.mktemp("pieces") / "checkpoint.pt"

    def killed(row: dict) -> None:
        raise Killed

    for at in kills:
        try:
            train(network(), path, tick=killer(at), **({"report": killed} if between else {}))
        except Killed:
            pass
    model, rows = network(), []
    history = train(model, path, report=rows.append)
    weights, state, whole = uninterrupted
    assert same(dict(model.state_dict()), weights)
    assert same(contents(path), state)
    assert timeless(history) == timeless(rows) == whole


def test_a_finished_training_is_not_repeated(tmp_path, uninterrupted):
    path = tmp_path / "checkpoint.pt"
    train(network(), path)
    before = path.read_bytes()
    model, ticks = network(), []
    history = train(model, path, tick=lambda: ticks.append(1))
    assert same(dict(model.state_dict()), uninterrupted[0]) and timeless(history)[3]["epoch"] == 4
    assert not ticks and path.read_bytes() == before


@pytest.mark.parametrize("change", ["seed", "weights", "masks", "layers", "rate", "epochs"])
def test_another_trainings_checkpoint_is_refused(tmp_path, change):
    """One sentence, nothing trained, and the file stays."""
    path = tmp_path / "checkpoint.pt"
    train(network(), path, replace(RECIPE, epochs=2))
    before = path.read_bytes()
    model = network(masked=change != "masks", seed=int(change == "weights"))
    if change == "layers":
        model.append(nn.Linear(CLASSES, CLASSES))
    recipe = replace(RECIPE, epochs=3 if change == "epochs" else 2)
    recipe = replace(recipe, lr=0.06) if change == "rate" else recipe
    weights = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(ValueError) as error:
        train(model, path, recipe, seed=4 if change == "seed" else 3)
    assert str(error.value).startswith(f"checkpoint {path} is that of another training: ")
    assert path.read_bytes() == before and same(dict(model.state_dict()), weights)


def test_a_torn_checkpoint_is_refused_and_kept(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"torn")
    with pytest.raises(ValueError, match=f"checkpoint {path} is damaged"):
        train(network(), path)
    assert path.read_bytes() == b"torn"


@pytest.mark.parametrize("loss", [nan, inf])
@pytest.mark.parametrize("when", ["training", "test"])
def test_a_diverging_loss_ends_the_training_and_keeps_the_last_checkpoint(tmp_path, when, loss):
    """The sentence names the epoch, the loss and the learning rate."""
    model, path, kept = network(), tmp_path / "checkpoint.pt", []

    def diverge(module: nn.Module, inputs: tuple, logits: torch.Tensor) -> torch.Tensor | None:
        if kept and module.training == (when == "training"):
            return torch.where(torch.arange(CLASSES) == 0, loss, logits)
        return None

    model.register_forward_hook(diverge)
    with pytest.raises(FloatingPointError) as error:
        train(model, path, report=lambda row: kept.append(path.read_bytes()))
    text = str(error.value)
    assert text.startswith(f"training diverged in epoch 2: the {when} loss is ")
    assert text.endswith("at learning rate 0.025; try a lower one")
    assert kept == [path.read_bytes()]


def test_a_learning_rate_that_is_too_high_diverges(tmp_path):
    with pytest.raises(FloatingPointError, match=r"epoch 1: the .* at learning rate 1e\+20; try"):
        train(network(), tmp_path / "checkpoint.pt", replace(RECIPE, lr=1e20))
    assert not (tmp_path / "checkpoint.pt").exists()
