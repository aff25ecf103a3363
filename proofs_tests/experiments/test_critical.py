"""Critical compressions (Sec. 3): the search finds the last path, and results are kept."""

import json

import pytest
import torch
from torch import nn
from torch.nn.utils.prune import custom_from_mask

from experiments.figures import catalogue, collapse, critical, one_shot
from experiments.figures.collapse import Found, Method
from experiments.resolve import resolve
from experiments.runs.build import initial_model, probe_shape
from experiments.runs.progress import Silent
from proofs_tests.tools.network_figures import figure
from prune import SCORES, Probe, connected, prune
from prune.connected import fewest
from prune.masks import dense_masks, keep_top, size
from prune.schedules import CertifiedStop
from train.models import build


@pytest.fixture
def config(tmp_path):
    """A ResNet-20 of 4,876 weights."""
    options = {"model": "resnet20", "dataset": "cifar10", "width": 0.125, "epochs": 0}
    return resolve(options | {"results": str(tmp_path), "device": "cpu"})


# ---- the fewest weights of a path -------------------------------------------------------------


@pytest.mark.parametrize(
    "name, shape, count",
    [
        ("mlp", (1, 8, 8), 3),
        ("vgg11", (3, 32, 32), 9),
        ("vgg16", (3, 32, 32), 14),
        ("vgg19-plain", (3, 224, 224), 19),
        ("resnet18", (3, 32, 32), 5),  # stem, three projections of shortcuts, classifier
        ("resnet20", (3, 32, 32), 4),
        ("resnet110", (3, 32, 32), 4),
    ],
)
def test_a_shortest_path_has_so_many_weights(name, shape, count):
    assert fewest(build(name, shape, 10, 0.125), shape) == count


def test_the_shorter_branch_counts():
    """It has two weights for three; the other one has many more paths."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.two = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
            self.three = nn.Sequential(nn.Linear(2, 300), nn.Linear(300, 300), nn.Linear(300, 2))

        def forward(self, x):
            return self.two(x) + self.three(x)

    assert fewest(Branches(), (2,)) == 2


def test_a_weight_that_torch_masks_is_on_no_path():
    """Without the shortcut the path goes through both layers."""

    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.long = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
            self.short = nn.Linear(2, 2)

        def forward(self, x):
            return self.long(x) + self.short(x)

    model = Shortcut()
    assert fewest(model, (2,)) == 1
    custom_from_mask(model.short, "weight", torch.zeros(2, 2))
    assert fewest(model, (2,)) == 2


def test_a_chain_that_is_too_long_is_refused():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(100)))
    with pytest.raises(ValueError, match="too many weights"):
        fewest(model, (2,))


# ---- the search -------------------------------------------------------------------------------


@pytest.mark.parametrize("pruner", ["random", "magnitude", "synflow"])
def test_one_scoring_is_exact(config, pruner):
    """One weight fewer closes the last path; the masks are those of `prune` in one step."""
    found = collapse.search(config, Method(pruner), Silent())
    model, shape = initial_model(config), probe_shape(config)
    probe, _ = one_shot.scoring_probe(config, pruner, Silent())
    masks = dense_masks(model)
    scores = SCORES[pruner](model, masks, probe)
    counts = found.open, found.closed
    assert found.closed == found.open - 1 and found.N == size(masks) and found.exact
    assert [connected(model, keep_top(scores, masks, m), shape) for m in counts] == [True, False]


def test_steps_are_tried_on_the_grid(config):
    """The ends are compressions 10^(k/4), and those of runs by `prune`."""
    found = collapse.search(config, Method("synflow", 3), Silent())
    model, shape = initial_model(config), probe_shape(config)
    grid = {int(-(-found.N // 10 ** (k / 4))): 10 ** (k / 4) for k in range(13)}
    assert found.open in grid and found.closed in grid and not found.exact
    pair = sorted(grid)
    assert pair.index(found.open) == pair.index(found.closed) + 1
    for count, state in ((found.open, True), (found.closed, False)):
        masks = prune(model, "synflow", Probe(shape), grid[count], 3)
        assert connected(model, masks, shape) is state


def test_certified_ends_where_it_refuses_to_go_on(config):
    found = collapse.search(config, Method("synflow", None), Silent())
    model, shape = initial_model(config), probe_shape(config)
    assert found.exact and found.closed is None and found.shortest <= found.open
    rho = found.N / found.open
    masks = prune(model, "synflow", Probe(shape), rho, schedule="certified")
    assert size(masks) == found.N and connected(model, masks, shape)
    if found.open > 1:
        with pytest.raises(CertifiedStop):
            prune(model, "synflow", Probe(shape), found.N / (found.open - 1), schedule="certified")


@pytest.mark.parametrize(
    "states, ends",
    [
        ([True, True, True], (1, None)),
        ([False, True, True], (2, 1)),
        ([False, False, True], (3, 2)),
        ([False] * 9 + [True], (10, 9)),
    ],
)
def test_the_boundary_is_where_paths_begin(states, ends):
    counts = range(1, len(states) + 1)
    assert collapse._boundary(counts, lambda count: states[count - 1]) == ends


def test_to_the_end_is_one_shortest_path_or_the_end_of_the_grid():
    def ended(left, closed, exact):
        return Found(0, "synflow", 100, 4, left, closed, exact, None, 1.0).ended

    assert ended(4, None, True) and ended(8, None, False)
    assert not ended(9, None, True) and not ended(4, 3, False) and not ended(9, 8, True)


# ---- files and the figure ---------------------------------------------------------------------


def test_results_are_kept_and_searched_once(config, monkeypatch):
    monkeypatch.setattr(critical, "METHODS", (Method("magnitude"), Method("synflow", None)))
    critical.compute([config], Silent())
    found = collapse.saved(config)
    assert [one.method for one in found] == ["magnitude", "synflow certified"]
    monkeypatch.setattr(critical, "search", None)
    critical.compute([config], Silent())
    assert collapse.saved(config) == found


def test_slow_methods_are_for_full_and_the_first_seeds(config):
    def labels(seed, full):
        one = resolve({"model": "resnet20", "dataset": "cifar10", "epochs": 0, "seed": seed,
                       "results": config.results})  # fmt: skip
        return {method.label for _, method in critical._missing([one], full)}

    assert "snip 100" in labels(0, True) and "synflow 1000" in labels(2, True)
    assert labels(3, True) == labels(0, False) == {m.label for m in critical.METHODS}


def test_one_seed_of_all_networks_is_searched_once():
    """The networks by default are several seeds of each; --seed leaves one of them."""
    configs = catalogue._networks("critical", {"seed": 1, "epochs": 0})
    assert [(c.model, c.dataset) for c in configs] == list(critical.NETWORKS)
    assert {c.seed for c in configs} == {1}


def test_an_interrupted_line_is_left_out_and_overwritten(config):
    one = Found(0, "magnitude", 100, 4, 10, 9, True, None, 1.0)
    collapse.save(config, one)
    with open(collapse.path(config), "a") as file:
        file.write('{"seed": 1, "met')
    assert collapse.saved(config) == [one]
    collapse.save(config, one._replace(seed=1))
    assert [found.seed for found in collapse.saved(config)] == [0, 1]


def test_a_damaged_line_is_named(config):
    collapse.save(config, Found(0, "magnitude", 100, 4, 10, 9, True, None, 1.0))
    file = collapse.path(config)
    file.write_text(file.read_text() + json.dumps({"seed": 1}) + "\n")
    with pytest.raises(ValueError, match=r"has a damaged line .*delete that line"):
        collapse.saved(config)


def test_the_figure_is_drawn_from_results_of_all_seeds(config):
    seeds = {0: (10, 9), 1: (4, 3), 2: (40, 39)}
    for seed, (left, closed) in seeds.items():
        collapse.save(config, Found(seed, "synflow", 400, 4, left, closed, True, None, 1.0))
        grid = Found(seed, "snip 10", 400, 4, 8, None, False, "48 images of digits", 1.0)
        collapse.save(config, grid)
    drawing = critical.draw([config])
    assert drawing.notes == [
        "resnet20, cifar10: at most 10^2.00 (4 of 400 weights)",
        "  snip 10            10^ 1.70 / 1.70 / 1.70; to the end 3 of 3",
        "  synflow            10^ 1.00 / 1.60 / 2.00; to the end 0 of 3",
    ]
    assert {row["compression"] for row in drawing.rows} == {"50", "40", "100", "10"}
    outcome = figure("critical", config.results, "--model", "resnet20", "--dataset", "cifar10",
                     "--width", "0.125")  # fmt: skip
    assert outcome.exit_code == 0 and "snip 10" in outcome.stdout
    assert outcome.stdout.splitlines()[-1].endswith("critical.png")


def test_without_results_the_command_is_named(config):
    outcome = figure("critical", config.results)
    assert outcome.exit_code == 1 and "--compute" in outcome.output
