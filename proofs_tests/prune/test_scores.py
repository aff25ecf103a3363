"""The scores equal their definitions, and scoring leaves no trace."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, jvp
from torch.nn import functional as F

from proofs_tests.tools.torch_strategies import EPS, Residual, batch, networks
from prune import SCORES, Probe, connected, prunable
from prune.masks import dense_masks
from prune.scores import READS_DATA

READ_NOTHING = sorted(set(SCORES) - READS_DATA)


@st.composite
def cases(draw, **kwargs):
    """(model, masks, probe): a network with small weights, some pruned, and labelled batches."""
    model, shape = draw(networks(exact=False, **kwargs))
    seed = draw(st.integers(0, 2**16))
    generator = torch.Generator().manual_seed(seed)
    masks = {
        name: torch.rand(w.shape, generator=generator) < 0.8 for name, w in prunable(model).items()
    }
    classes = model[-1].out_features
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    labels = torch.randint(classes, (sum(sizes),), generator=generator).split(sizes)
    images = batch(shape, seed, sum(sizes)).split(sizes)
    return model, masks, Probe(shape, tuple(zip(images, labels)), generator)


def twin(model, masks):
    """A float64 copy in eval mode with the pruned weights at 0."""
    model = copy.deepcopy(model).double().eval()
    for name, w in prunable(model).items():
        w.data *= masks[name]
    return model


def loss(model, inputs, labels):
    return F.cross_entropy(model(inputs), labels)  # the mean of the batch


def summed_gradients(model, masks, probe):
    """dL/dtheta * theta with L the sum over batches of the batch-mean loss."""
    network = twin(model, masks)
    for inputs, labels in probe.batches:
        loss(network, inputs, labels).backward()  # .grad adds up
    return {n: (w.grad * w).detach() for n, w in prunable(network).items()}


def assert_close(scores, expected):
    """Equal but for the order of summation, which differs: 1e-10 of the largest score."""
    assert list(scores) == list(expected)
    for name, S in expected.items():
        largest = max(S.abs().max().item(), 1e-12)
        torch.testing.assert_close(scores[name], S, rtol=1e-10, atol=1e-10 * largest)


# Definitions


@given(cases())
def test_magnitude_is_the_absolute_weight(case):
    """|theta| (App. 12.1)."""
    model, masks, probe = case
    for name, S in SCORES["magnitude"](model, masks, probe).items():
        assert torch.equal(S, prunable(model)[name].detach().double().abs() * masks[name])


@given(cases())
def test_skeletonization_is_minus_gradient_times_weight(case):
    """-dL/dtheta * theta (Sec. 4)."""
    S = summed_gradients(*case)
    assert_close(SCORES["skeletonization"](*case), {name: -S[name] for name in S})


@given(cases())
def test_snip_is_the_absolute_gradient_times_weight(case):
    """|dL/dtheta * theta|, L summed over the batches before the absolute value (App. 12.1)."""
    S = summed_gradients(*case)
    assert_close(SCORES["snip"](*case), {name: S[name].abs() for name in S})


@given(cases())
def test_taylor_fo_is_the_squared_gradient_times_weight(case):
    """(dL/dtheta * theta)^2 (Sec. 4)."""
    S = summed_gradients(*case)
    assert_close(SCORES["taylor-fo"](*case), {name: S[name] ** 2 for name in S})


def test_batches_are_not_pooled():
    """A sum over batches of means: an example in a small batch weighs more (App. 12.1).

    Equal but for the rounding of float64 sums in another order.
    """
    model = nn.Linear(3, 2).double()
    images, labels = torch.randn(4, 3).double(), torch.tensor([0, 1, 1, 0])
    split = tuple(zip(images.split([1, 3]), labels.split([1, 3])))
    masks = dense_masks(model)
    S = SCORES["skeletonization"](model, masks, Probe((3,), split))["weight"]
    first, second = (
        SCORES["skeletonization"](model, masks, Probe((3,), (part,)))["weight"] for part in split
    )
    whole = SCORES["skeletonization"](model, masks, Probe((3,), ((images, labels),)))["weight"]
    torch.testing.assert_close(S, first + second)
    assert not torch.allclose(S, 2 * whole)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # inside torch.func.jvp
@given(cases())
def test_grasp_text_is_weight_times_hessian_times_gradient(case):
    """theta * sum over batches of H_b g_b (App. 12.1), H_b g_b as the derivative of g_b along g_b.

    The test differentiates forward over reverse, the score reverse over reverse.
    """
    model, masks, probe = case
    network = twin(model, masks)
    theta = {name: w.detach() for name, w in prunable(network).items()}
    Hg = {name: torch.zeros_like(w) for name, w in theta.items()}
    for inputs, labels in probe.batches:
        gradient = grad(lambda t, x=inputs, y=labels: loss_with(network, t, x, y))
        g = gradient(theta)
        _, along_g = jvp(gradient, (theta,), (g,))
        Hg = {name: Hg[name] + along_g[name] for name in Hg}
    assert_close(SCORES["grasp-text"](*case), {name: Hg[name] * theta[name] for name in Hg})


def loss_with(network, theta, inputs, labels):
    return F.cross_entropy(functional_call(network, theta, (inputs,)), labels)


def test_grasp_text_against_finite_differences():
    """H g is (g(theta + h g) - g(theta - h g)) / 2h, to order h^2 (h = 1e-4): 1e-6 relative."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    data = (torch.randn(6, 5).double(), torch.tensor([0, 1, 2, 0, 1, 2]))
    theta = {name: w.detach() for name, w in prunable(model).items()}
    gradient = grad(lambda t: loss_with(model, t, *data))
    g, h = gradient(theta), 1e-4
    ahead, behind = (
        gradient({name: theta[name] + step * g[name] for name in theta}) for step in (h, -h)
    )
    S = SCORES["grasp-text"](model, dense_masks(model), Probe((5,), (data,)))
    for name, w in theta.items():
        expected = (ahead[name] - behind[name]) / (2 * h) * w
        torch.testing.assert_close(S[name], expected, rtol=1e-6, atol=1e-9)


@given(cases())
def test_random_is_what_the_generator_draws(case):
    """Standard normal (App. 12.1): one seed, one score on every device, another seed another."""
    model, masks, probe = case
    state = probe.generator.get_state()
    first = SCORES["random"](model, masks, probe)
    generator = torch.Generator()
    generator.set_state(state)
    for name, mask in masks.items():
        drawn = torch.randn(mask.shape, generator=generator, dtype=torch.float64)
        assert torch.equal(first[name], drawn * mask)
    second = SCORES["random"](model, dense_masks(model), probe)
    assert not any(torch.equal(first[name], second[name]) for name in masks)


def test_random_scores_are_standard_normal():
    """Of a million draws: 5 standard errors of mean and variance."""
    model = nn.Linear(1000, 1000)
    probe = Probe((1000,), generator=torch.Generator().manual_seed(0))
    S = SCORES["random"](model, dense_masks(model), probe)["weight"]
    assert abs(S.mean()) < 5 / 1000
    assert abs(S.var() - 1) < 5 * 2**0.5 / 1000


def test_random_scores_are_where_the_weights_are():
    """Tested with the device `meta`, which every machine has."""
    model = nn.Linear(3, 3, device="meta")
    S = SCORES["random"](model, dense_masks(model), Probe((3,)))["weight"]
    assert S.device.type == "meta"


def test_random_scores_without_a_generator_follow_the_global_seed():
    model = nn.Linear(3, 3)
    torch.manual_seed(1)
    first = SCORES["random"](model, dense_masks(model), Probe((3,)))["weight"]
    second = SCORES["random"](model, dense_masks(model), Probe((3,)))["weight"]
    torch.manual_seed(1)
    assert torch.equal(SCORES["random"](model, dense_masks(model), Probe((3,)))["weight"], first)
    assert not torch.equal(first, second)


# Synaptic flow. test_agreement.py compares it with Eq. 6; test_conservation.py: conservation.


def flow_through(*layers, shape=(2,)):
    """The synflow scores of the layers in a row, first weight first."""
    model = nn.Sequential(*layers).double()
    return list(SCORES["synflow"](model, dense_masks(model), Probe(shape)).values())


def linear(rows, bias=None):
    """A linear layer with these weights (and biases)."""
    layer = nn.Linear(len(rows[0]), len(rows), bias=bias is not None)
    layer.weight.data = torch.tensor(rows, dtype=torch.float64)
    if bias is not None:
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    return layer


def test_synflow_by_hand():
    """R = 1^T |W[2]| |W[1]| 1 (Eq. 5): flow in x |w| x flow out (Eq. 6)."""
    first, second = flow_through(linear([[1, -2], [0, 3]]), nn.ReLU(), linear([[-5, 7]]))
    assert first.tolist() == [[5, 10], [0, 21]]
    assert second.tolist() == [[15, 21]]


def test_synflow_of_a_bare_layer():
    """|w|: flow in and flow out are 1."""
    layer = linear([[1, -2, 0]])
    S = SCORES["synflow"](layer, dense_masks(layer), Probe((3,)))
    assert S["weight"].tolist() == [[1, 2, 0]]


def test_synflow_reads_biases_as_0():
    """A bias would be an input of its own (Theorem 2)."""
    plain = flow_through(linear([[1, -2], [4, 3]]), nn.ReLU(), linear([[-5, 7]]))
    biased = flow_through(linear([[1, -2], [4, 3]], [5, -6]), nn.ReLU(), linear([[-5, 7]], [100]))
    assert [S.tolist() for S in biased] == [S.tolist() for S in plain]


def batch_norm(kind=nn.BatchNorm1d, **kwargs):
    """Batch norm of two channels as after training: gamma -3 and 5, var 4 and 16, and shifts."""
    norm = kind(2, eps=EPS, **kwargs)
    norm.running_mean.data = torch.tensor([10.0, -20])
    norm.running_var.data = torch.tensor([4 - EPS, 16 - EPS])
    if norm.affine:
        norm.weight.data, norm.bias.data = torch.tensor([-3.0, 5]), torch.tensor([7.0, -8])
    return norm


def test_synflow_reads_batch_norm_as_a_positive_factor():
    """|gamma| / sqrt(var + eps) for each channel: 3/2 and 5/4; no mean, no shift."""
    first, last = flow_through(linear([[1, -2], [4, 3]]), batch_norm(), linear([[2, 8]]))
    assert first.tolist() == [[3, 6], [40, 30]]
    assert last.tolist() == [[9, 70]]


def test_synflow_reads_batch_norm_without_gamma_as_its_scale():
    first, last = flow_through(
        linear([[1, -2], [4, 3]]), batch_norm(affine=False), linear([[2, 8]])
    )
    assert first.tolist() == [[1, 2], [8, 6]]
    assert last.tolist() == [[3, 14]]


def test_synflow_reads_batch_norm_without_statistics_as_gamma():
    norm = nn.BatchNorm1d(2, track_running_stats=False)
    norm.weight.data = torch.tensor([-3.0, 5])
    first, last = flow_through(linear([[1, -2], [4, 3]]), norm, linear([[2, 8]]))
    assert first.tolist() == [[6, 12], [160, 120]]
    assert last.tolist() == [[18, 280]]


@pytest.mark.parametrize("norm", [nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.GroupNorm(2, 2)])
def test_synflow_reads_other_normalisation_as_gamma(norm):
    """They keep no variance: their positive per-channel scale is |gamma|."""
    norm.weight.data, norm.bias.data = torch.tensor([-3.0, 5]), torch.tensor([7.0, -8])
    first, last = flow_through(linear([[1, -2], [4, 3]]), norm, linear([[2, 8]]))
    assert first.tolist() == [[6, 12], [160, 120]]
    assert last.tolist() == [[18, 280]]


def test_synflow_reads_instance_norm_with_statistics_as_its_scale():
    """In eval mode it divides by sqrt(var + eps) as batch norm does."""
    norm = batch_norm(nn.InstanceNorm2d, affine=True, track_running_stats=True)
    conv = nn.Conv2d(1, 2, 1, bias=False)
    conv.weight.data = torch.tensor([2.0, -8]).view(2, 1, 1, 1)
    (S,) = flow_through(conv, norm, shape=(1, 1, 1))
    assert S.flatten().tolist() == [3, 10]


@pytest.mark.parametrize("layer", [nn.Dropout(0.9), nn.Dropout1d(0.9), nn.AlphaDropout(0.9)])
def test_dropout_is_off(layer):
    plain = flow_through(linear([[1, -2], [4, 3]]), linear([[-5, 7]]))
    dropping = flow_through(linear([[1, -2], [4, 3]]), layer, linear([[-5, 7]]))
    assert [S.tolist() for S in dropping] == [S.tolist() for S in plain]


# Of all scores


@given(cases(), st.sampled_from(sorted(SCORES)))
def test_scores_are_float64_keyed_like_masks_and_0_where_pruned(case, score):
    """Shapes, order and dtype, for models of any dtype; pruned weights score 0."""
    model, masks, probe = case
    scores = SCORES[score](model, masks, probe)
    assert list(scores) == list(masks)
    for name, S in scores.items():
        assert (S.shape, S.dtype) == (masks[name].shape, torch.float64)
        assert (S[~masks[name]] == 0).all()
        assert S.isfinite().all()
        assert not S.requires_grad


@given(cases(), st.sampled_from(sorted(set(SCORES) - {"random"})))
def test_scores_may_be_float32(case, score):
    """Float32 scores are near the float64 ones (1e-3 of the largest, by rounding).

    Random draws other numbers.
    """
    model, masks, probe = case
    double = SCORES[score](model, masks, probe)
    for name, S in SCORES[score](model, masks, replace(probe, dtype=torch.float32)).items():
        assert S.dtype == torch.float32
        largest = max(s.abs().max().item() for s in double.values())
        torch.testing.assert_close(S.double(), double[name], rtol=1e-3, atol=1e-3 * largest)


@given(cases(), st.sampled_from(READ_NOTHING))
def test_scores_without_data_read_none(case, score):
    """They read neither the batches nor an attribute of them."""
    model, masks, probe = case
    state = probe.generator.get_state()
    expected = SCORES[score](model, masks, probe)
    probe.generator.set_state(state)
    blind = Probe(probe.input_shape, object(), probe.generator)
    scores = SCORES[score](model, masks, blind)
    assert all(torch.equal(scores[name], expected[name]) for name in masks)


@given(cases(), st.sampled_from(sorted(READS_DATA)))
def test_scores_of_data_read_no_more_than_the_batches(case, score):
    """They read labels and pixels, but neither the input shape nor the generator."""
    model, masks, probe = case
    state = probe.generator.get_state()
    expected = SCORES[score](model, masks, probe)
    scores = SCORES[score](model, masks, Probe((), probe.batches))
    assert all(torch.equal(scores[name], expected[name]) for name in masks)
    assert torch.equal(probe.generator.get_state(), state)


@pytest.mark.parametrize("score", sorted(set(SCORES) - {"random"}))
def test_the_order_of_training_and_eval_mode_does_not_matter(score):
    """Scores are those of eval mode, in both modes of the model (App. 12)."""
    model, masks, probe = example()
    expected = SCORES[score](model.eval(), masks, probe)
    scores = SCORES[score](model.train(), masks, probe)
    assert all(torch.equal(scores[name], expected[name]) for name in masks)


class Idle(nn.Module):
    """A module with a layer that it does not use."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return x


@pytest.mark.parametrize("score", sorted(SCORES))
def test_parameters_that_are_not_used_score_0(score):
    """There is no error. Random and magnitude do not run the network, so they differ."""
    model, _, probe = example()
    model.append(Idle())
    S = SCORES[score](model, dense_masks(model), probe)["8.layer.weight"]
    assert (S == 0).all() == (score not in ("random", "magnitude"))


@pytest.mark.parametrize("score", sorted(SCORES))
def test_frozen_parameters_are_scored_all_the_same(score):
    model, masks, probe = example()
    expected = SCORES[score](model, masks, replace(probe, generator=seeded()))
    model.requires_grad_(False)
    scores = SCORES[score](model, masks, replace(probe, generator=seeded()))
    assert all(torch.equal(scores[name], expected[name]) for name in masks)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("score", sorted(SCORES))
def test_a_shared_weight_is_scored_once_for_all_its_uses(score):
    """The derivative of a weight used twice is the sum over its uses (Eq. 1)."""
    layer = linear([[1, -2], [4, 3]])
    model = nn.Sequential(layer, nn.ReLU(), layer)
    data = ((torch.ones(1, 2).double(), torch.tensor([0])),)
    masks = dense_masks(model)
    scores = SCORES[score](model, masks, Probe((2,), data, seeded()))
    assert list(scores) == ["0.weight"]
    if score == "synflow":  # R = 1^T |W| |W| 1, and each path holds two factors
        assert scores["0.weight"].sum() == 2 * 50


# No trace


def seeded():
    return torch.Generator().manual_seed(0)


class Stateful(nn.Module):
    """A module that counts its calls in both modes, and reorders channels by a buffer."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("order", torch.arange(channels).flip(0))
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("sum", torch.tensor(0.0))

    def forward(self, x):
        self.calls += 1
        self.sum += 1
        return x[:, self.order]


def example(dtype=torch.float32):
    """A model with everything that scoring could change, dense masks and two batches."""
    torch.manual_seed(0)
    branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout())
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        Stateful(4),
        Residual(branch, nn.Identity()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    model.train()
    model[1].eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    model[0].bias.requires_grad_(False)
    images, labels = torch.randn(5, 2, 5, 5), torch.tensor([0, 1, 2, 0, 1])
    probe = Probe((2, 5, 5), tuple(zip(images.split(3), labels.split(3))), seeded())
    return model.to(dtype), dense_masks(model), probe


PRECISION = [
    (torch.backends.cuda.matmul, "fp32_precision"),
    (torch.backends.cudnn.conv, "fp32_precision"),
    (torch.backends.mkldnn.matmul, "fp32_precision"),
    (torch.backends.mkldnn.conv, "fp32_precision"),
    (torch.backends.cudnn, "benchmark"),
    (torch.backends.cudnn, "deterministic"),
    (torch.backends.cudnn, "enabled"),
]


def hook_counts(module):
    return [len(hooks) for kind, hooks in sorted(vars(module).items()) if kind.endswith("_hooks")]


def snapshot(model):
    """All state that scoring could change, as one comparable list."""
    state = [(name, t.clone()) for name, t in model.state_dict().items()]
    grads = [(name, p.grad, p.requires_grad, id(p)) for name, p in model.named_parameters()]
    grads = [(n, None if g is None else g.clone(), r, i) for n, g, r, i in grads]
    modules = [(name, m.training, *hook_counts(m)) for name, m in model.named_modules()]
    tensor_hooks = [len(p._backward_hooks or ()) for p in model.parameters()]
    settings = [getattr(owner, name) for owner, name in PRECISION]
    torch_wide = [torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), *settings]
    dtypes = torch.get_default_dtype(), torch.get_num_threads()
    return [state, grads, modules, tensor_hooks, torch_wide, dtypes, torch.get_rng_state()]


def same(left, right):
    """Equality of nested lists with tensors in them; bits, not values."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and torch.equal(left, right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right))
    return left == right


CONTEXTS = {
    "plain": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("context", sorted(CONTEXTS))
@pytest.mark.parametrize("score", sorted(SCORES))
def test_scoring_leaves_no_trace(score, context, dtype):
    """State, modes, gradients, hooks, random state, settings are unchanged; scores are equal."""
    model, masks, probe = example(dtype)
    expected = SCORES[score](model, masks, probe)
    probe = replace(probe, generator=seeded())
    with CONTEXTS[context]():
        before = snapshot(model)
        scores = SCORES[score](model, masks, probe)
        after = snapshot(model)
    assert same(before, after)
    assert all(torch.equal(scores[name], expected[name]) for name in masks)


@pytest.mark.parametrize("score", sorted(SCORES))
def test_scoring_leaves_no_trace_after_an_exception(score):
    """The exception is raised inside the network."""

    class Broken(nn.Module):
        def forward(self, x):
            raise KeyboardInterrupt

    model, _, probe = example()
    model.append(Broken())
    before = snapshot(model)
    with nullcontext() if score in ("random", "magnitude") else pytest.raises(KeyboardInterrupt):
        SCORES[score](model, dense_masks(model), probe)
    assert same(before, snapshot(model))


def test_connected_leaves_no_trace():
    for context in CONTEXTS.values():
        model, masks, probe = example()
        with context():
            before = snapshot(model)
            assert connected(model, masks, probe.input_shape)
            assert same(before, snapshot(model))


def test_data_made_in_inference_mode_can_be_read():
    """Batches of a loader that runs in inference mode are copied, to be differentiated."""
    model, masks, probe = example(torch.float64)
    expected = SCORES["grasp"](model, masks, probe)
    with torch.inference_mode():
        batches = tuple((x.double(), y.clone()) for x, y in probe.batches)
    scores = SCORES["grasp"](model, masks, replace(probe, batches=batches))
    assert all(torch.equal(scores[name], expected[name]) for name in masks)


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
def test_settings_of_precision_survive(precision):
    """They may be set by torch's newer attributes, which exclude the older ones."""
    owners = [owner for owner, name in PRECISION if name == "fp32_precision"][:2]
    before = [owner.fp32_precision for owner in owners]
    try:
        for owner in owners:
            owner.fp32_precision = precision
        model, masks, probe = example()
        snap = snapshot(model)
        SCORES["snip"](model, masks, replace(probe, dtype=torch.float32))
        assert same(snap, snapshot(model))
    finally:
        for owner, value in zip(owners, before):
            owner.fp32_precision = value


def test_scores_are_computed_in_whole_float32():
    """Autocast and TF32 are off inside the network, whatever is set outside."""
    seen = []

    class Recorder(nn.Module):
        def forward(self, x):
            seen.append([getattr(owner, name) for owner, name in PRECISION[:6]])
            seen[-1] += [torch.is_autocast_enabled("cpu"), self.training, x.dtype]
            return x

    model, _, probe = example()
    model.append(Recorder())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        SCORES["snip"](model, dense_masks(model), replace(probe, dtype=torch.float32))
    expected = ["ieee"] * 4 + [False, True, False, False, torch.float32]
    assert seen == [expected] * len(probe.batches)
