"""`score`: mean Synaptic Flow of architectures, and of all cells of NAS-Bench-201."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks import nas
from cli import main
from experiments.nas import bench201, inits, scoring
from proofs_tests.tools.nas_bench_201 import network
from prune import architecture_flow, prunable
from prune.architecture import INITS
from train.models import build

SOME = ("222222", "000000", "110111", "234440", "402132", "441424", "333313", "143240", "120104")


@pytest.mark.parametrize("init", ["paper", "torch", "fan_out"])
@pytest.mark.parametrize("pixels, classes", [(32, 10), (16, 120)])
def test_a_cell_is_the_network_as_it_is_read(pixels, classes, init):
    cells = np.array([[*map(int, name)] for name in SOME])
    flows = bench201.flows(cells, pixels, classes, init)
    for i, name in enumerate(SOME):
        found = architecture_flow(
            lambda name=name: network(name, classes), (3, pixels, pixels), init
        )
        assert flows.log_R[i] == pytest.approx(found.log_R, abs=1e-11)
        assert flows.path_length[i] == pytest.approx(found.path_length, rel=1e-11)
        assert flows.log_score[i] == pytest.approx(found.log_score, abs=1e-11)


def test_a_disconnected_cell_is_not_a_number():
    """Also where operations are there that no path meets."""
    names = ("111111", "221111", "121221")
    flows = bench201.flows(np.array([[*map(int, name)] for name in names]))
    assert np.isnan(flows.log_R).all() and np.isnan(flows.log_score).all()
    assert architecture_flow(network("221111"), (3, 32, 32)).log_R is None


def test_the_cells_have_the_sizes_of_their_networks():
    cells = np.array([[*map(int, name)] for name in SOME])
    parameters, _ = bench201.sizes(cells)
    found = [sum(p.numel() for p in network(name).parameters()) for name in SOME]
    assert parameters.tolist() == found


def test_all_cells_are_there_once():
    assert len({bench201.name(cell) for cell in bench201.CELLS}) == 5**6
    with pytest.raises(ValueError, match="not 30"):
        bench201.flows(pixels=30)


def scored(*arguments):
    result = CliRunner().invoke(main, ["score", *arguments], standalone_mode=False)
    return result.stdout.splitlines()


def test_score_prints_a_table(tmp_path):
    file = tmp_path / "architectures.txt"
    file.write_text("vgg11\n\nproofs_tests.tools.factories:small\n")
    head, *rows = scored("resnet20", str(file), "--dataset", "cifar10")
    assert head == scoring.HEAD + scoring.TAIL
    assert [row.split()[4] for row in rows[:2]] == ["resnet20", "vgg11"]
    assert rows[0].split()[:3] == ["57.9093", "60.9009", "19.918"]
    assert rows[1].endswith("at least: max_pool2d") and len(rows) == 3


def test_score_says_how_the_deviation_is_known():
    """Exact in a small network, at least so large in others, near it where a maximum is taken."""
    rows = scored("mlp", "resnet20", "vgg11", "--width", "0.5", "--dataset", "cifar10")[1:]
    assert [row.split()[3][0] for row in rows[1:]] == [">", "~"]
    assert rows[0].split()[3] == "3.50%"


def test_score_of_draws_is_near_the_mean():
    head, mlp, resnet = scored("mlp", "resnet20", "--draws", "20", "--width", "0.125")
    assert head == scoring.HEAD + scoring.DRAWN + scoring.TAIL
    for row in (mlp, resnet):
        log_R, _, _, deviation, log_mean, drawn = row.split()[:6]
        spread = float(deviation.strip(">%")) / 100
        assert abs(float(log_mean) - float(log_R)) < 4 * spread / 20**0.5
        assert float(drawn.strip("%")) / 100 == pytest.approx(spread, rel=0.5)
    assert scored("mlp", "resnet20", "--draws", "20", "--width", "0.125") == [head, mlp, resnet]


@pytest.mark.parametrize("init", ["paper", "torch", "published"])
@pytest.mark.parametrize("name, pixels", [("vgg11", 32), ("vgg11", 64), ("resnet18", 32)])
def test_moments_are_those_of_the_weights_drawn(name, pixels, init):
    network = build(name, (3, pixels, pixels), 100, width=0.5)
    found = inits.moments(init, name, network)
    moments = INITS[found] if isinstance(found, str) else found
    torch.manual_seed(0)
    inits.draw(init, name, network)
    for weight_name, weight in prunable(network).items():
        mean, square = moments(weight_name, weight.shape)
        within = 6 / weight.numel() ** 0.5
        assert weight.abs().mean().item() == pytest.approx(mean, rel=within)
        assert weight.square().mean().item() == pytest.approx(square, rel=within)


def test_published_weights_of_nas_bench_201_order_the_cells_as_the_paper_s():
    """Kaiming normal by fan_out is by fan_in times one factor for each path, of any cell."""
    cells = np.array([[*map(int, name)] for name in SOME])
    paper, published = (bench201.flows(cells, init=init) for init in ("paper", "fan_out"))
    assert np.ptp(paper.log_R - published.log_R) < 1e-9
    assert published.path_length == pytest.approx(paper.path_length, rel=1e-12)


def test_score_of_nas_bench_201_has_one_line_for_each_cell(monkeypatch):
    monkeypatch.setattr(bench201, "CELLS", np.array([[1] * 6, [2] * 6]))
    monkeypatch.setattr(bench201.flows, "__defaults__", (bench201.CELLS, 32, 10, "paper"))
    rows, lines = scoring.score([], nas_bench_201=True)
    assert lines[1] == "111111,no path,," and lines[2].startswith("222222,150.496526,")
    assert rows[0] == dict.fromkeys(scoring.CELLS_HEAD.split(",")) | {"cell": "111111"}


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "name an architecture"),
        (["vgg11", "--nas-bench-201"], "takes no names"),
        (["--nas-bench-201", "--dataset", "digits"], "square images of three channels"),
        (["--nas-bench-201", "--width", "2"], "no --width"),
        (["--nas-bench-201", "--draws", "2"], "no --draws"),
        (["resnet20", "--mean-init", "published"], "not for resnet20"),
        (["torchvision:alexnet", "--mean-init", "published"], "not for torchvision:alexnet"),
        (["vgg11", "--draws", "1"], "x>=2"),
        (["unknown"], "unknown"),
    ],
)
def test_score_refuses_in_one_sentence(options, words):
    result = CliRunner().invoke(main, ["score", *options])
    assert result.exit_code in (1, 2)
    assert words in result.stderr and result.stderr.count("\n") == 1


def test_rank_correlations_of_small_samples_are_those_by_hand():
    """Of 6 pairs 1 is tied in x, 1 in y, 3 agree and 1 does not: (3 - 1) / 5."""
    x, y = np.array([1, 2, 2, 3]), np.array([1, 3, 2, 2])
    assert nas.kendall(x, y, block=3).value == pytest.approx(2 / 5)
    assert nas.ranks(x).tolist() == [1, 2.5, 2.5, 4]
    assert nas.spearman(x, x).value == pytest.approx(1)
    assert nas.ordered(np.array([0.5, -np.inf, 0.5 + 1e-12, 1])).tolist() == [2.5, 1, 2.5, 4]


def test_the_interval_of_tau_covers_its_spread():
    """Over 200 samples of 100 correlated pairs, 95 % +- 4 % of the intervals hold the true tau."""
    rng, rho = np.random.default_rng(0), 0.5
    true, held = 2 / np.pi * np.arcsin(rho), 0
    for _ in range(200):
        x = rng.normal(size=100)
        found = nas.kendall(x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=100))
        held += abs(found.value - true) < found.half
    assert 182 <= held <= 198


def test_networks_are_matched_by_size_and_by_rank_within_it():
    index = nas.matched(np.array([2, 1, 2]), np.array([5, 9, 3.0]), [1, 2, 2], np.array([7, 4, 6]))
    assert index.tolist() == [2, 0, 1]
