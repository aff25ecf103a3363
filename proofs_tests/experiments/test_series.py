"""Series: which runs are points of one curve, and what the curve is called."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config import ABLATIONS, RunConfig
from experiments.figures import style
from experiments.series import DENSE, Series, series_of

LABELS = [  # as tables, files and figures have them
    ({}, "synflow"),
    ({"compression": 1.0}, "dense"),
    ({"compression": 1.0, "pruner": "magnitude", "steps": 1}, "dense"),
    ({"pruner": "snip", "steps": 1}, "snip"),
    ({"pruner": "snip", "steps": 1, "ablate": "shuffle"}, "snip shuffle"),
    ({"pruner": "snip", "steps": 7}, "snip, 7 steps"),
    ({"pruner": "snip", "steps": 7, "schedule": "linear"}, "snip linear, 7 steps"),
    ({"pruner": "snip", "steps": 7, "bn": "batch"}, "snip bn batch, 7 steps"),
    ({"steps": 1}, "synflow, 1 step"),
    ({"pruner": "random", "steps": 1, "allocation": "uniform+"}, "random uniform+"),
    ({"schedule": "certified", "steps": None}, "synflow certified"),
    ({"scope": "local"}, "synflow local"),
    ({"score_dtype": "float32"}, "synflow float32"),
    ({"score_dtype": "float32", "scope": "local", "ablate": "invert"},
     "synflow local float32 invert"),
    ({"pruner": "magnitude", "steps": 1, "cycles": 1}, "imp, 1 cycle"),
    ({"pruner": "magnitude", "steps": 3, "cycles": 3}, "imp, 3 cycles"),
    ({"pruner": "magnitude", "steps": 3, "cycles": 3, "rewind": False},
     "imp, 3 cycles, not rewound"),
]  # fmt: skip


@pytest.mark.parametrize("options, label", LABELS, ids=[label for _, label in LABELS])
def test_the_label_of_a_series(options, label):
    assert series_of(RunConfig(**{"steps": 100} | options)).label == label


configs = st.builds(
    RunConfig,
    pruner=st.sampled_from(["snip", "synflow", "magnitude"]),
    compression=st.sampled_from([1.0, 10.0]),
    steps=st.sampled_from([1, 3, 100]),
    schedule=st.sampled_from(["exponential", "linear"]),
    scope=st.sampled_from(["global", "local"]),
    score_dtype=st.sampled_from(["float64", "float32"]),
    ablate=st.sampled_from([None, *ABLATIONS]),
    allocation=st.sampled_from([None, "erk", "synflow"]),
    cycles=st.sampled_from([0, 1, 2]),
    rewind=st.booleans(),
)


@given(configs, configs)
def test_two_series_have_one_label_only_if_they_are_one(a, b):
    """So a label in a file means one curve, though no code reads it back."""
    a, b = series_of(a), series_of(b)
    assert (a == b) == (a.label == b.label)


@given(configs, st.integers(0, 9), st.sampled_from([2.0, 100.0]), st.sampled_from(["mlp", "vgg11"]))
def test_a_curve_has_runs_of_all_seeds_compressions_and_networks(config, seed, compression, model):
    config = replace(config, compression=10.0)
    other = replace(config, seed=seed, compression=compression, model=model)
    assert series_of(other) == series_of(config) != DENSE


def test_a_series_of_a_pruner_has_its_name_as_figures_write_it():
    """One with an entry in LOOKS has that, any other the look of its place among the others."""
    assert style.look(Series("synflow")).label == "SynFlow"
    assert style.look(Series("synflow", schedule="certified")).label == "SynFlow certified"
    shuffled = style.look(Series("taylor-fo", ablate="shuffle"), place=1)
    assert shuffled == style.other("Taylor-FO shuffle", 1)
    assert style.look(Series("snip", steps=100)).label == "SNIP, 100 steps"
    assert style.look(Series("imp", cycles=2)).label == "imp, 2 cycles"
