"""Sweeps with a name: the runs they consist of, and that these can be compared."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner

from cli import main
from experiments.series import series_of
from experiments.sweeps.grid import shard
from experiments.sweeps.presets import ALLOWED, FIVE, OTHERS, PRESETS, preset
from prune.allocation import ALLOCATIONS

ALL = preset(["laptop"], {"device": "cpu"})


def part(name: str) -> list:
    return preset([f"laptop-{name}"], {"device": "cpu"})


def sweep(*arguments: object):
    return CliRunner().invoke(main, ["sweep", *map(str, arguments)])


def exponents(configs) -> list[str]:
    return sorted({f"{config.compression:.4g}" for config in configs}, key=float)


def test_laptop_is_all_parts_one_after_the_other_and_no_run_twice():
    parts = [config for name in PRESETS for config in preset([name], {"device": "cpu"})]
    assert ALL == list(dict.fromkeys(parts))
    assert len({config.directory for config in ALL}) == len(ALL) == 738 + 78
    assert preset([*PRESETS][::-1], {})[0] == preset([[*PRESETS][-1]], {})[0]


@pytest.mark.parametrize("name", PRESETS)
def test_a_part_that_stops_early_has_all_of_the_first_seeds(name):
    configs = preset([name], {})
    seeds = [config.seed for config in configs]
    assert seeds == sorted(seeds) and set(Counter(seeds).values()) == {len(configs) // 3}


def test_all_runs_are_of_one_data_set_and_width_and_those_of_a_model_of_one_training():
    for name in ("dataset", "train_images", "batch_size", "precision"):
        assert len({getattr(config, name) for config in ALL}) == 1
    trainings = {(c.model, c.width, c.epochs, c.lr, c.lr_drops) for c in ALL}
    others = {(model, 1.0, 8, 0.1, (5, 7)) for model in OTHERS["model"]}
    assert trainings == others | {
        ("vgg11", 0.25, 8, 0.05, (5, 7)),
        ("resnet18", 0.25, 12, 0.05, (9, 11)),
    }


def test_the_pruners_go_to_10000_in_half_decades_with_certified_beside_them():
    configs = part("pruners")
    assert exponents(configs) == [
        "1",
        "3.162",
        "10",
        "31.62",
        "100",
        "316.2",
        "1000",
        "3162",
        "1e+04",
    ]
    assert {series_of(c).label for c in configs} == {*FIVE, "synflow certified", "dense"}
    assert len(configs) == 3 * (1 + 8 * 6)


@pytest.mark.parametrize("name", ["ablations", "float32"])
def test_each_variant_has_the_run_beside_it_that_differs_in_nothing_else(name):
    """Only such pairs can be compared."""
    usual = {"ablate": None, "score_dtype": "float64"}
    variants, plain = part(name), set(part("pruners"))
    assert all(config not in plain and replace(config, **usual) in plain for config in variants)
    assert exponents(variants) == ["10", "100", "1000"]


def test_every_method_is_ablated_in_three_ways():
    kinds = Counter((config.pruner, config.ablate) for config in part("ablations"))
    assert kinds == {
        (pruner, kind): 9 for pruner in FIVE for kind in ("shuffle", "reinit", "invert")
    }


def test_grasp_of_its_authors_has_a_run_for_each_of_the_text():
    text = {c for name in ("pruners", "ablations", "resnet18") for c in part(name)}
    text = {replace(c, pruner="grasp") for c in text if c.pruner == "grasp-text"}
    assert set(part("grasp")) == text and len(text) == 63


def test_each_choice_of_a_definition_has_the_usual_run_beside_it():
    usual = {"scope": "global", "bn": "running"}
    plain = set(part("pruners")) | set(part("grasp"))
    for config in part("choices"):
        pruner = config.pruner.removesuffix("-l2")
        assert config not in plain and replace(config, pruner=pruner, **usual) in plain
    kinds = Counter((c.pruner, c.scope, c.bn) for c in part("choices"))
    assert len(kinds) == 6 and set(kinds.values()) == {9}


def test_other_architectures_have_four_ways_to_prune_and_a_dense_run():
    configs = part("architectures")
    kinds = Counter((c.model, c.compression, c.pruner, c.allocation) for c in configs)
    ways = [("random", None), ("magnitude", None), ("synflow", None), ("random", "erk")]
    pruned = [(rho, *way) for rho in (3, 10, 30) for way in ways]
    wanted = {(m, *one) for m in OTHERS["model"] for one in [*pruned, (1, "magnitude", None)]}
    assert kinds == dict.fromkeys(wanted, 3)


def test_cycles_are_rewound_or_not_at_six_compressions():
    kinds = Counter((config.cycles, config.rewind) for config in part("cycles"))
    assert kinds == {(n, rewind): 18 for n in (1, 2, 3) for rewind in (True, False)}
    assert len(exponents(part("cycles"))) == 6


def test_iterated_baselines_are_curves_of_their_own():
    configs = part("iterated")
    names = [f"{pruner}, {steps} steps" for pruner in ("snip", "grasp") for steps in (10, 100)]
    assert Counter(series_of(c).label for c in configs) == dict.fromkeys(names, 3 * 7)
    assert exponents(configs)[0] == "10" and exponents(configs)[-1] == "1e+04"


def test_allocations_have_the_global_scores_beside_them():
    """Random scores in each allocation, magnitude in two; both have runs without one."""
    configs, plain = part("allocations"), set(part("pruners"))
    kinds = [("random", name) for name in ALLOCATIONS] + [("magnitude", "erk")]
    kinds.append(("magnitude", "synflow"))
    assert Counter((c.pruner, c.allocation) for c in configs) == dict.fromkeys(kinds, 9)
    assert all(replace(config, allocation=None) in plain for config in configs)


def test_resnet18_has_the_same_methods_and_its_own_dense_network():
    configs = part("resnet18")
    assert {config.model for config in configs} == {"resnet18"} and len(exponents(configs)) == 5
    assert {series_of(c).label for c in configs} == {*FIVE, "synflow certified", "dense"}


def test_a_preset_is_listed_split_into_shards_and_put_into_a_folder(tmp_path):
    outcome = sweep("--preset", "laptop-float32,laptop-cycles", "--shard", "2/3", "--dry-run",
                    "--json", "--results", tmp_path / "here", "--device", "cpu")  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    found = json.loads(outcome.stdout)
    expected = shard(part("float32") + part("cycles"), 2, 3)
    assert [row["run"] for row in found["runs"]] == [config.directory.name for config in expected]
    assert found["to_do"] == len(expected)
    assert not (tmp_path / "here").exists()
    assert preset(["laptop"], {"results": str(tmp_path)})[0].directory.parent == tmp_path


@pytest.mark.parametrize(
    "option",
    ["--epochs 3", "--models mlp", "--seeds 0", "--cycles 2", "--compile", "--no-rewind",
     "--score-dtype float32", "--lr-drops none", "--train-images 9", "--width 1"],
)  # fmt: skip
def test_what_a_preset_decides_cannot_be_given(option, tmp_path):
    outcome = sweep("--preset", "laptop", "--dry-run", *option.split(), "--results", tmp_path)
    name = option.split()[0].replace("--no-", "--")
    assert outcome.exit_code == 2
    assert f"{name} cannot be combined with --preset, which sets it" in outcome.output
    assert not list(tmp_path.iterdir())


def test_where_and_on_what_it_runs_can_be_given():
    assert set(ALLOWED) == {"data_dir", "results", "device", "compact", "log"}
    assert preset(["laptop-float32"], dict.fromkeys(ALLOWED))


def test_an_unknown_preset_is_refused_with_the_names_there_are(tmp_path):
    outcome = sweep("--preset", "desktop", "--results", tmp_path)
    assert outcome.exit_code == 2 and "laptop-pruners, laptop-ablations" in outcome.output
