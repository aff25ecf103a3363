"""`prune.prune` equals Algorithm 1 as written; counts, scopes, open paths and refusals."""

import copy
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from math import ceil, inf, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from proofs_tests.tools.draws import half_as_many
from proofs_tests.tools.oracles import Scale, algorithm_1, counts, positive, row
from proofs_tests.tools.torch_strategies import Apply, batch, fill, networks
from prune import SCORES, Probe, apply, connected, prunable, prune
from prune.masks import dense_masks, keep_top, kept, size
from prune.positive import FLOWS
from prune.schedules import CertifiedStop
from train.models import build

DATA_SCORES = ("snip", "grasp", "grasp-text", "skeletonization", "taylor-fo")


schedules = st.sampled_from(["exponential", "linear"])


@st.composite
def plans(draw, **kwargs):
    """(network, compression, steps, schedule), all of them allowed."""
    network = draw(networks(**kwargs))
    N = size(dense_masks(network.model))
    compression = draw(st.one_of(st.integers(1, N), st.floats(1, N)))
    return network, compression, draw(st.integers(1, 5)), draw(schedules)


@half_as_many
@given(plans())
def test_masks_are_those_of_algorithm_1(plan):
    """Weight for weight and with ties, on networks whose scores are not rounded."""
    network, compression, steps, schedule = plan
    N = size(dense_masks(network.model))
    expected = algorithm_1(*network, counts(N, compression, steps, schedule))
    masks = prune(network.model, "synflow", Probe(network.shape), compression, steps, schedule)
    assert row(masks) == list(expected)[-1]


@pytest.mark.parametrize(("name", "width"), [("vgg11", 0.15), ("resnet20", 0.5)])
def test_masks_of_ordinary_networks_are_those_of_algorithm_1(name, width):
    """With normal weights scores differ by more than rounding, so masks are equal."""
    model = small(name, width)
    *_, expected = algorithm_1(
        model, (3, 32, 32), counts(size(dense_masks(model)), 50, 4, "exponential")
    )
    assert row(prune(model, "synflow", Probe((3, 32, 32)), 50, steps=4)) == expected


def test_masks_of_a_large_network_full_of_ties_are_those_of_algorithm_1():
    """300,000 scores of few values: of equal scores the earlier survives everywhere."""
    model = nn.Sequential(nn.Linear(300, 500), nn.ReLU(), nn.Linear(500, 300))
    fill(model, seed=0)
    *_, expected = algorithm_1(model, (300,), counts(300_000, 20, 3, "linear"))
    assert row(prune(model, "synflow", Probe((300,)), 20, 3, "linear")) == expected


def test_a_large_network_keeps_the_best_of_any_score():
    """So many weights that selection takes a sample of the scores first; ties as ever."""
    model = nn.Sequential(nn.Linear(300, 500), nn.ReLU(), nn.Linear(500, 300))
    fill(model, seed=0)
    masks = dense_masks(model)
    expected = keep_top(SCORES["magnitude"](model, masks, Probe((300,))), masks, 15_000)
    assert row(prune(model, "magnitude", Probe((300,)), 20)) == row(expected)


def small(name, width=0.1):
    """An ordinary network with few channels, freshly initialised."""
    torch.manual_seed(0)
    return build(name, (3, 32, 32), 10, width)


# Any score, schedule and scope


def literal(model, score, probe, keeps, scope):
    """(scores, masks) of each step: score, sort, keep; of all weights or of each tensor."""
    masks = dense_masks(model)
    for keep in keeps:
        S = score(model, masks, probe)
        groups = [list(masks)] if scope == "global" else [[name] for name in masks]
        for names in groups:
            flat = torch.cat([S[name].flatten() for name in names]).tolist()
            alive = row({name: masks[name] for name in names})
            best = sorted(range(len(flat)), key=lambda i: (not alive[i], -flat[i], i))
            bits = torch.zeros(len(flat), dtype=torch.bool)
            bits[best[: keep(len(flat))]] = True
            for name, part in zip(names, bits.split([masks[name].numel() for name in names])):
                masks = masks | {name: part.view(masks[name].shape)}
        yield S, masks


def probe_of(network, seed):
    """A probe with two batches of labelled images and a generator, the same at each call."""
    classes = network.model[-1].out_features
    images = batch(network.shape, seed, examples=5).split([3, 2])
    labels = torch.arange(5).remainder(classes).split([3, 2])
    return Probe(network.shape, tuple(zip(images, labels)), torch.Generator().manual_seed(seed))


@half_as_many
@given(plans(), st.sampled_from(sorted(SCORES)), st.sampled_from(["global", "local"]))
def test_every_score_schedule_and_scope(plan, name, scope):
    """After step k of n exactly the scheduled number survives, the best of all or of each tensor.

    Masks nest, and `report` gets the scores that chose them.
    """
    network, compression, steps, schedule = plan
    model, probe = network.model, probe_of(network, 0)
    again = replace(probe, generator=torch.Generator().manual_seed(0))
    keeps = [lambda N, k=k: counts(N, compression, steps, schedule)[k] for k in range(steps)]
    scores, expected = zip(*literal(model, SCORES[name], again, keeps, scope))
    if not any(S.any() for S in scores[0].values()):
        refused(f"all scores of {name} are 0", name, probe, compression, steps, model=model)
        return
    taken = []
    masks = prune(model, name, probe, compression, steps, schedule, scope, report=taken.append)
    assert row(masks) == row(expected[-1])
    assert list(masks) == list(prunable(model))
    assert [step.step for step in taken] == list(range(1, steps + 1))
    assert [step.kept for step in taken] == [kept(m) for m in expected]
    assert all(torch.equal(step.scores[n], S[n]) for step, S in zip(taken, scores) for n in S)
    for before, after in zip([dense_masks(model), *expected], expected):
        assert all((after[n] <= before[n]).all() for n in after)


@half_as_many
@given(plans())
def test_report_gets_the_scores_of_each_step(plan):
    """Scores and R before each step, and prune size / cut size (Theorem 4), exactly."""
    network, compression, steps, schedule = plan
    taken = []
    probe = Probe(network.shape)
    prune(network.model, "synflow", probe, compression, steps, schedule, report=taken.append)
    keeps = counts(size(dense_masks(network.model)), compression, steps, schedule)
    masks = [[True] * size(dense_masks(network.model)), *algorithm_1(*network, keeps)]
    for step, before, after in zip(taken, masks, masks[1:], strict=False):
        S = torch.cat([s.flatten() for s in step.scores.values()]).tolist()
        prune_size = sum(s for s, b, a in zip(S, before, after) if b and not a)
        assert step.R == step.scores[list(step.scores)[-1]].sum()  # the last layer is a cut
        assert step.prune_cut_ratio == (prune_size / step.R if step.R else 0)
        assert all(s == 0 for s, b in zip(S, before) if not b)


@pytest.mark.parametrize(("name", "steps"), [("synflow", 100), ("magnitude", 1), ("random", 1)])
def test_default_steps(name, steps):
    """100 for synflow, which needs iteration (Theorem 3), 1 for the others."""
    taken = []
    prune(nn.Linear(20, 20), name, Probe((20,)), 10, report=taken.append)
    assert len(taken) == steps
    assert (taken[-1].R is None) == (name not in FLOWS) == (taken[-1].prune_cut_ratio is None)


def test_compression_1_keeps_everything():
    model = nn.Linear(3, 2)
    for schedule in ("exponential", "linear", "certified"):
        assert all(prune(model, "synflow", Probe((3,)), 1, schedule=schedule)["weight"].flatten())


def test_a_function_may_be_the_score():
    """It gets the model, the masks so far and the probe, with the dtype of the scores."""
    model, seen = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), []

    def last_first(model, masks, probe):
        seen.append((kept(masks), probe.dtype, probe.input_shape))
        rising = torch.arange(6.0)
        return {"0.weight": rising[:4].view(2, 2), "2.weight": rising[4:].view(1, 2)}

    masks = prune(model, last_first, Probe((2,)), 3, steps=2, score_dtype=torch.float32)
    assert row(masks) == [0, 0, 0, 0, 1, 1]
    assert seen == [(6, torch.float32, (2,)), (4, torch.float32, (2,))]
    assert row(prune(model, last_first, Probe((2,)), 6)) == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("scores", "error", "why"),
    [
        ({}, ValueError, r"scores lack a tensor 'weight' of shape \(2, 2\)"),
        ({"weight": torch.ones(4)}, ValueError, r"scores lack a tensor 'weight' of shape"),
        ({"weight": torch.full((2, 2), nan)}, FloatingPointError, "scores of weight are not fin"),
    ],
)
def test_the_result_of_a_function_is_checked(scores, error, why):
    with pytest.raises(error, match=why):
        prune(nn.Linear(2, 2), lambda model, masks, probe: scores, Probe((2,)), 2)


def test_an_error_in_report_leaves_the_model_unchanged():
    model = small("vgg11").train()
    before = copy.deepcopy(model.state_dict())

    def stop(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(model, "synflow", Probe((3, 32, 32)), 10, report=stop)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert all(module.training for module in model.modules())


# The same masks however they are computed


@contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def without_onednn():
    torch.backends.mkldnn.set_flags(False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(True)


@pytest.mark.parametrize(("pruner", "steps"), [("synflow", 4), ("snip", 1), ("grasp", 1)])
@pytest.mark.parametrize("name", ["vgg11", pytest.param("resnet20", marks=pytest.mark.slow)])
def test_masks_do_not_depend_on_threads_or_kernels(name, pruner, steps):
    """1 and 2 threads, with oneDNN and without: sums differ in the last bit, masks do not."""
    model = small(name, 0.25)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    probe = Probe((3, 32, 32), ((images, torch.arange(4)),))
    expected = row(prune(model, pruner, probe, 100, steps))
    for number in (1, 2):
        with threads(number), without_onednn():
            assert row(prune(model, pruner, probe, 100, steps)) == expected
    with threads(2):
        assert row(prune(model, pruner, probe, 100, steps)) == expected


def test_masks_do_not_depend_on_memory_layout():
    """channels_last changes the speed alone."""
    model = small("vgg16", 0.125)
    expected = row(prune(model, "synflow", Probe((3, 32, 32)), 100, steps=4))
    model = model.to(memory_format=torch.channels_last)
    assert row(prune(model, "synflow", Probe((3, 32, 32)), 100, steps=4)) == expected


def test_masks_do_not_depend_on_the_dtype_of_the_model():
    """Scores are float64 for a model of any dtype; float32 weights are exact in float64."""
    model = small("vgg16", 0.125)
    expected = row(prune(model, "synflow", Probe((3, 32, 32)), 100, steps=4))
    assert row(prune(model.double(), "synflow", Probe((3, 32, 32)), 100, steps=4)) == expected


def test_masks_found_in_inference_mode_can_be_trained_with():
    """Scoring needs gradients, so `prune` turns the mode off."""
    model = nn.Linear(4, 3)
    expected = prune(model, "synflow", Probe((4,)), 2, steps=2)
    with torch.inference_mode():
        masks = prune(model, "synflow", Probe((4,)), 2, steps=2)
    assert row(masks) == row(expected)
    apply(model, masks)
    model(torch.ones(2, 4)).sum().backward()
    assert (model.weight.grad[~masks["weight"]] == 0).all()


# Paths


@given(networks(), st.integers(0, 2**16), st.floats(0, 1))
def test_connected_means_positive_flow_of_kept_weights(network, seed, density):
    """R > 0 with every kept weight 1, normalisation 1, biases 0 (Eq. 5), so some path is open."""
    model, shape = network
    generator = torch.Generator().manual_seed(seed)
    masks = {
        n: torch.rand(w.shape, generator=generator) < density for n, w in prunable(model).items()
    }
    twin = positive(model)
    for module in twin.modules():
        if isinstance(module, Scale):
            module.factor.fill_(1)
    for name, w in prunable(twin).items():
        w.data = masks[name].double()
    R = twin(torch.ones(1, *shape, dtype=torch.float64)).sum()
    assert connected(model, masks, shape) == (R > 0)


@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_connected_neither_overflows_nor_vanishes(factor):
    """200 layers of tiny or huge numbers, 3^200 paths: only the masks are read."""
    model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(200))).double()
    for w in prunable(model).values():
        nn.init.constant_(w, factor)
    masks = dense_masks(model)
    assert connected(model, masks, (3,))
    masks["150.weight"][:] = torch.eye(3)
    assert connected(model, masks, (3,))
    masks["150.weight"][:] = False
    assert not connected(model, masks, (3,))


def test_connected_does_not_vanish_in_averages():
    """200 halvings of the one open path, between layers."""
    layers = [nn.Sequential(nn.AvgPool1d(2, padding=1), nn.Linear(2, 2)) for _ in range(200)]
    model = nn.Sequential(*layers)
    masks = {name: torch.eye(2, dtype=torch.bool) for name in prunable(model)}
    assert connected(model, masks, (2,))


def test_connected_refuses_masks_of_another_model():
    with pytest.raises(ValueError, match="fits no prunable weight"):
        connected(nn.Linear(2, 2), {"0.weight": torch.ones(2, 2, dtype=torch.bool)}, (2,))


@given(plans())
def test_theorem_4_prune_size_below_cut_size(plan):
    """While every prune size is below the cut size, a path stays open (Theorem 4)."""
    network, compression, steps, schedule = plan
    taken = []
    probe = Probe(network.shape)
    masks = prune(
        network.model, "synflow", probe, compression, steps, schedule, report=taken.append
    )
    if all(step.R > 0 and step.prune_cut_ratio < 1 for step in taken):
        assert connected(network.model, masks, network.shape)


# certified


def open_networks(**kwargs):
    """Networks with an open path (a convolution may read only its padding)."""
    return networks(**kwargs).filter(lambda n: connected(n.model, dense_masks(n.model), n.shape))


@given(open_networks(residual=False))
def test_certified_leaves_one_weight_a_layer_in_a_chain(network):
    """Every step below the cut size, a path open, N / L reached (Theorems 3, 4)."""
    model, shape = network
    L = len(prunable(model))
    taken = []
    goal = Fraction(size(dense_masks(model)), L)
    masks = prune(model, "synflow", Probe(shape), goal, schedule="certified", report=taken.append)
    assert [int(mask.sum()) for mask in masks.values()] == [1] * L
    assert connected(model, masks, shape)
    assert all(step.prune_cut_ratio <= 1 - 1e-9 for step in taken)
    left = [step.kept for step in taken]
    assert left == sorted(set(left), reverse=True)


@given(open_networks(residual=False))
def test_certified_refuses_to_close_the_last_path(network):
    """One weight less than L is refused; the error names the count that was reached."""
    model, shape = network
    L, N = len(prunable(model)), size(dense_masks(model))
    if L > 1:
        why = (
            f"^certified stops at {L} weights, short of {L - 1}: removing any one more would close "
            f"the last path; compression {N / L:g} can be reached$"
        )
        with pytest.raises(CertifiedStop, match=why) as stop:
            prune(model, "synflow", Probe(shape), Fraction(N, L - 1), schedule="certified")
        assert stop.value.reached == L


@half_as_many
@given(open_networks())
def test_certified_never_disconnects_a_residual_network(network):
    """It reaches 1 weight, or names a count that can be reached and leaves a path open."""
    model, shape = network
    N = size(dense_masks(model))
    reached = 1
    try:
        masks = prune(model, "synflow", Probe(shape), N, schedule="certified")
    except CertifiedStop as stop:
        reached = stop.reached
        masks = prune(model, "synflow", Probe(shape), Fraction(N, reached), schedule="certified")
    assert kept(masks) == reached
    assert connected(model, masks, shape)


@half_as_many
@given(open_networks())
def test_certified_removes_the_most_it_may(network):
    """One weight more, and the prune size would not be below the cut size (Theorem 4)."""
    model, shape = network
    N = size(dense_masks(model))
    goal, taken = ceil(N / 2), []
    with suppress(ValueError):  # it stops where only one path is left
        compression = Fraction(N, goal)
        prune(
            model, "synflow", Probe(shape), compression, schedule="certified", report=taken.append
        )
    for step in taken[:1]:
        lowest = torch.cat([S.flatten() for S in step.scores.values()]).sort().values
        removed = N - step.kept
        assert lowest[:removed].sum() < step.R
        assert step.kept == goal or lowest[: removed + 1].sum() >= step.R


# Refusals


def refused(why, *args, error=ValueError, model=None, **kwargs):
    with pytest.raises(error, match=f"^{why}") as caught:
        prune(model or nn.Linear(4, 3), *args, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", [0.99, 0, -1, inf, nan])
def test_compression_below_1_is_refused(compression):
    refused(
        "compression must be a number of at least 1, not", "magnitude", Probe((4,)), compression
    )


def test_compression_above_the_number_of_weights_is_refused():
    refused("compression 13 leaves less than one of 12 weights", "magnitude", Probe((4,)), 13)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"score": "sf"}, "score 'sf' is unknown; choose from random, magnitude, snip, grasp,"),
        ({"schedule": "cubic"}, "schedule 'cubic' is unknown; choose from exponential, linear, c"),
        ({"scope": "layer"}, "scope 'layer' is unknown; choose from global, local"),
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"steps": -1}, "steps must be a whole number of at least 1, not -1"),
        ({"steps": 2.5}, "steps must be a whole number of at least 1, not 2.5"),
        ({"score_dtype": torch.int64}, "score_dtype must be torch.float64 or torch.float32, not"),
        ({"score_dtype": torch.float16}, "score_dtype must be torch.float64 or torch.float32, not"),
        ({"schedule": "certified", "steps": 5}, "schedule 'certified' takes no steps"),
        (
            {"schedule": "certified", "scope": "local"},
            "schedule 'certified' takes no steps, and sc",
        ),
        ({"schedule": "certified", "score": "snip"}, "schedule 'certified' needs a conserved pos"),
    ],
)
def test_an_unknown_or_idle_option_is_refused(options, why):
    options = {"score": "synflow", "probe": Probe((4,)), "compression": 2} | options
    refused(why, **options)


@pytest.mark.parametrize("score", DATA_SCORES)
def test_a_score_that_reads_data_needs_data(score):
    refused("this score reads data, and probe.batches is empty,", score, Probe((4,)), 2)


@pytest.mark.parametrize("score", DATA_SCORES)
def test_batches_that_can_be_read_only_once_are_refused_at_the_second_step(score):
    """They are read anew at each step; without data there is no gradient, and scores are 0."""
    once = iter([(torch.ones(1, 4), torch.tensor([0]))])
    refused("this score reads data, and", score, Probe((4,), once), 2, steps=2)


def test_a_model_with_nothing_to_prune_is_refused():
    refused("nothing to prune", "magnitude", Probe((4,)), 2, model=nn.Sequential(nn.ReLU()))


def chain():
    """Three layers of ones without biases."""
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(3))).double()
    for w in model.parameters():
        nn.init.ones_(w)
    return model


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("score", sorted(SCORES))
def test_a_weight_that_is_not_finite_is_refused(score, bad):
    """The error names the tensors, for each score."""
    model = chain()
    model[1].weight.data[2, 3] = bad
    why = r"weights are not finite \(NaN or infinite\) in"
    refused(f"{why} 1.weight$", score, Probe((4,)), 2, model=model)
    model[2].weight.data[0, 0] = bad
    refused(f"{why} 1.weight, 2.weight$", score, Probe((4,)), 2, model=model)


@pytest.mark.parametrize("factor", [1e300, 1e-195])
def test_flow_out_of_range_is_refused_with_the_layer(factor):
    """R is 1e600 or 1e-390, which no scale reaches: the first layer is named (App. 11)."""
    model = chain()
    model[1].weight.data *= factor
    model[2].weight.data *= factor
    why = "synaptic flow leaves the range of torch.float64: R = .*, first seen in 2.weight"
    refused(why, "synflow", Probe((4,)), 2, error=FloatingPointError, model=model)


def test_a_layer_of_zeros_is_read_as_ones():
    """So a zero-initialised layer closes no path."""
    model = chain()
    model[1].weight.data.zero_()
    masks = prune(model, "synflow", Probe((4,)), 2)
    assert not model[1].weight.any()
    model[1].weight.data.fill_(1)
    assert row(masks) == row(prune(model, "synflow", Probe((4,)), 2))
    assert kept(prune(model, "magnitude", Probe((4,)), 2)) == 24


@pytest.mark.parametrize("schedule", ["exponential", "linear"])
def test_a_collapsed_network_is_still_counted(schedule):
    """The other schedules may disconnect: the count is exact, and `connected` is False."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
    for w in model.parameters():
        nn.init.ones_(w)
    masks = prune(model, "synflow", Probe((1,)), 2, steps=1, schedule=schedule)
    assert row(masks) == [1, 1, 0, 0]
    assert not connected(model, masks, (1,))
    assert row(prune(model, "synflow", Probe((1,)), 4, steps=5, schedule=schedule)) == [1, 0, 0, 0]


@pytest.mark.parametrize("function", [torch.sinh, torch.cosh, torch.special.i0])
def test_certified_needs_conservation(function):
    """A unit that is not homogeneous and has no reading adds flow: Theorem 4 does not apply."""
    model = nn.Sequential(nn.Linear(4, 4), Apply(function), nn.Linear(4, 2))
    why = (
        r"schedule 'certified' needs a network that conserves synaptic flow \(Theorem 2\): "
        "[0-9.e+-]+ enters this one and [0-9.e+-]+ leaves it$"
    )
    refused(why, "synflow", Probe((4,)), 2, schedule="certified", model=model)


def test_certified_takes_rounding_for_no_loss_of_flow():
    """In float32, flow in and flow out differ in the last digits only; Theorem 4 holds."""
    model, shape = small("vgg11"), (3, 32, 32)
    float32 = {"schedule": "certified", "score_dtype": torch.float32}
    masks = prune(model, "synflow", Probe(shape), 2, **float32)
    assert kept(masks) == ceil(size(masks) / 2)
    assert connected(model, masks, shape)


def test_certified_needs_an_open_path():
    """There is none through a convolution that reads only its padding."""
    model = nn.Sequential(nn.Conv2d(1, 1, 2, padding=2, dilation=3), nn.Flatten(), nn.Linear(4, 2))
    why = "schedule 'certified' needs an open path, and this network has none$"
    refused(why, "synflow", Probe((1, 1, 1)), 2, schedule="certified", model=model)
