"""After `apply`, pruned weights are 0 in every forward pass and stay so (Algorithm 1, line 7)."""

import copy
import gc
import io
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from proofs_tests.tools import ROOT
from proofs_tests.tools.torch_strategies import batch, networks
from prune import Probe, apply, prunable, prune
from prune.held import mask_of
from prune.masks import dense_masks


def network(dtype=torch.float32):
    """A small network with each kind of layer that matters here, the same at each call."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, 3, padding=1)
    layers = [conv, nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
    return nn.Sequential(*layers).to(dtype)


def masks_of(model, seed=0, density=0.5):
    generator = torch.Generator().manual_seed(seed)
    return {
        n: torch.rand(w.shape, generator=generator) < density for n, w in prunable(model).items()
    }


def pruned_are_zero(model, masks):
    return all((w[~masks[n]] == 0).all() for n, w in prunable(model).items())


def kept_are_not(model, masks):
    return all((w[masks[n]] != 0).all() for n, w in prunable(model).items())


def gradients_are_zero(model, masks):
    return all((w.grad[~masks[n]] == 0).all() for n, w in prunable(model).items())


def disturb(model):
    """Write to all weights, as code outside this project may."""
    for p in model.parameters():
        p.data.add_(1)


def data(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        yield torch.randn(5, 2, 4, 4, generator=generator).to(dtype), torch.arange(5) % 3


def train(model, optimizer):
    """A few ordinary steps."""
    model.train()
    for images, labels in data(next(model.parameters()).dtype):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()


def train_plainly(model, optimizer, masks):
    """The same, with explicit products by the masks after each backward pass and each step."""
    weights = prunable(model)
    for images, labels in data(next(model.parameters()).dtype):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        for name, w in weights.items():
            w.grad *= masks[name]
        optimizer.step()
        for name, w in weights.items():
            w.data *= masks[name]


OPTIMIZERS = {
    "sgd": lambda ps: torch.optim.SGD(ps, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "sgd foreach": lambda ps: torch.optim.SGD(ps, 0.1, momentum=0.9, foreach=True),
    "sgd fused": lambda ps: torch.optim.SGD(ps, 0.1, momentum=0.9, weight_decay=0.1, fused=True),
    "adam": lambda ps: torch.optim.Adam(ps, 0.1, weight_decay=0.1, amsgrad=True),
    "adamw": lambda ps: torch.optim.AdamW(ps, 0.1, weight_decay=0.1),
    "adamw fused": lambda ps: torch.optim.AdamW(ps, 0.1, weight_decay=0.1, fused=True),
    "rmsprop": lambda ps: torch.optim.RMSprop(ps, 0.01, momentum=0.9, centered=True),
    "adagrad": lambda ps: torch.optim.Adagrad(ps, 0.1, weight_decay=0.1),
    "nadam": lambda ps: torch.optim.NAdam(ps, 0.1),
}
optimizers = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


# Training


@optimizers
@pytest.mark.parametrize("dense_steps_first", [False, True])
def test_pruned_weights_stay_zero_and_the_others_train_as_ever(make, dense_steps_first):
    """Equal to a plain masked loop bit for bit, also with momentum from before pruning."""
    model, plain = network(), network()
    masks = masks_of(model)
    optimizer, plain_optimizer = make(model.parameters()), make(plain.parameters())
    if dense_steps_first:
        train(model, optimizer)
        train(plain, plain_optimizer)
    apply(model, masks)
    for name, w in prunable(plain).items():
        w.data *= masks[name]
    train(model, optimizer)
    train_plainly(plain, plain_optimizer, masks)
    assert pruned_are_zero(model, masks)
    assert kept_are_not(model, masks)
    for (name, t), expected in zip(model.state_dict().items(), plain.state_dict().values()):
        assert torch.equal(t, expected), name


@optimizers
def test_pruned_weights_are_zero_between_any_two_lines(make):
    """Directly after each step, before the next forward pass; and their gradients are 0."""
    model = network()
    masks = masks_of(model)
    optimizer = make(model.parameters())
    train(model, optimizer)
    apply(model, masks)
    for images, labels in data():
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        assert gradients_are_zero(model, masks)
        optimizer.step()
        assert pruned_are_zero(model, masks)


def test_an_optimizer_that_runs_the_model_itself():
    """L-BFGS moves all weights in one vector and evaluates the loss many times a step."""
    model = network(torch.float64)
    masks = masks_of(model)
    apply(model, masks)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    images, labels = next(data(torch.float64))

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        assert pruned_are_zero(model, masks)
        return loss

    optimizer.step(closure)
    assert pruned_are_zero(model, masks)


def test_gradients_that_add_up_over_passes():
    """All forward passes run before the backward pass; no weight changes in between."""
    model = network().eval()
    masks = masks_of(model)
    apply(model, masks)
    losses = [F.cross_entropy(model(images), labels) for images, labels in data()]
    sum(losses).backward()
    assert gradients_are_zero(model, masks)


def test_weights_that_get_one_gradient_are_masked_each_by_its_own_mask():
    """Both terms of a sum get the same gradient tensor; masking one must not change the other."""
    model = nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)])
    masks = masks_of(model)
    apply(model, masks)
    x = torch.ones(2, 4)
    for layer in model:
        layer(x)
    F.linear(x, model[0].weight + model[1].weight).sum().backward()
    for name, w in prunable(model).items():
        assert torch.equal(w.grad, 2.0 * masks[name])


def test_a_weight_frozen_at_first_is_guarded_when_it_trains():
    """Fine-tuning often unfreezes layers later."""
    model = network().requires_grad_(False)
    masks = masks_of(model)
    apply(model, masks)
    model.requires_grad_(True)
    train(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    assert pruned_are_zero(model, masks)
    assert gradients_are_zero(model, masks)


@given(networks(exact=True), st.integers(0, 2**16))
def test_any_network_runs_as_if_its_weights_were_masked(net, seed):
    """The output is f(x; mu * theta) (Algorithm 1, line 7); names, keys and class stay."""
    model, plain = net.model.double(), copy.deepcopy(net.model).double()
    masks = masks_of(model, seed)
    for name, w in prunable(plain).items():
        w.data *= masks[name]
    keys = list(model.state_dict())
    apply(model, masks)
    x = batch(net.shape, seed)
    assert torch.equal(model.eval()(x), plain.eval()(x))
    assert list(model.state_dict()) == keys
    assert type(model) is type(plain)
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in plain.named_parameters()]


# Other code that writes to the weights


def assert_zero_in_forward(model, masks):
    """Compare a forward pass with that of a twin whose weights are masked by hand."""
    twin = network(next(model.parameters()).dtype).eval()
    twin.load_state_dict({**dict(model.named_parameters()), **dict(model.named_buffers())}, False)
    for name, w in prunable(twin).items():
        w.data *= masks[name]
    images, _ = next(data(next(model.parameters()).dtype))
    assert torch.equal(model.eval()(images), twin(images))
    assert pruned_are_zero(model, masks)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_foreign_writes_are_undone_before_the_forward_pass(mode):
    """No hook runs at such a write. The next pass undoes it, in any mode of autograd."""
    model = network()
    masks = masks_of(model)
    apply(model, masks)
    disturb(model)
    with mode():
        assert_zero_in_forward(model, masks)
    vector_to_parameters(parameters_to_vector(model.parameters()) + 1, model.parameters())
    with mode():
        assert_zero_in_forward(model, masks)


def test_foreign_writes_are_not_saved():
    """A state_dict holds the weights that a forward pass would use."""
    model = network()
    masks = masks_of(model)
    apply(model, masks)
    disturb(model)
    state = model.state_dict()
    assert all((state[name][~mask] == 0).all() for name, mask in masks.items())


@pytest.mark.parametrize("assign", [False, True])
def test_a_dense_state_dict_is_masked_when_loaded(assign):
    """Loading with `assign` replaces the parameters; these are guarded in training, too."""
    model = network()
    masks = masks_of(model)
    apply(model, masks)
    dense = {name: t + 1 for name, t in network().state_dict().items()}
    model.load_state_dict(dense, assign=assign)
    assert pruned_are_zero(model, masks)
    train(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    assert pruned_are_zero(model, masks)
    assert gradients_are_zero(model, masks)


def test_a_state_dict_has_no_trace_of_masks():
    """Its keys are those of a model without `apply`, and a fresh model loads it strictly."""
    model, fresh = network(), network()
    masks = masks_of(model)
    apply(model, masks)
    assert list(model.state_dict()) == list(fresh.state_dict())
    fresh.load_state_dict(model.state_dict())
    assert pruned_are_zero(fresh, masks)


@pytest.mark.parametrize("run_first", [False, True])
def test_a_deep_copy_is_guarded_and_independent(run_first):
    """It is copied before or after the first pass; changes of one leave the other as it is."""
    model = network()
    masks = masks_of(model)
    apply(model, masks)
    if run_first:
        train(model, torch.optim.SGD(model.parameters(), 0.1))
    clone = copy.deepcopy(model)
    train(clone, torch.optim.SGD(clone.parameters(), 0.1, momentum=0.9, weight_decay=0.1))
    assert pruned_are_zero(clone, masks)
    assert gradients_are_zero(clone, masks)
    disturb(clone)
    assert_zero_in_forward(clone, masks)
    other = masks_of(model, seed=1)
    apply(model, other)
    assert pruned_are_zero(model, other)
    assert_zero_in_forward(clone, masks)


def test_a_copy_outlives_its_original():
    """The guards of a copy do not depend on the original."""
    model = network()
    masks = masks_of(model)
    apply(model, masks)
    clone = copy.deepcopy(model)
    train(model, torch.optim.SGD(model.parameters(), 0.1))
    del model
    gc.collect()
    train(clone, torch.optim.SGD(clone.parameters(), 0.1, momentum=0.9))
    assert pruned_are_zero(clone, masks)


def test_an_average_of_models_is_guarded():
    """Exponential averages copy the model and write to the copy."""
    model = network()
    masks = masks_of(model)
    apply(model, masks)
    average = torch.optim.swa_utils.AveragedModel(model)
    train(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    average.update_parameters(model)
    average.update_parameters(model)
    assert_zero_in_forward(average.module, masks)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_masks_follow_the_model_to_another_dtype(dtype):
    """There and back, with gradients and an optimizer that is made afterwards."""
    model = network()
    masks = masks_of(model)
    apply(model, masks)
    train(model, torch.optim.SGD(model.parameters(), 0.1))
    model.zero_grad()
    model = model.to(dtype)
    train(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    assert pruned_are_zero(model, masks)
    assert mask_of(model[0].weight).dtype == dtype  # a product with another takes longer
    disturb(model)
    assert_zero_in_forward(model, masks)
    model = model.float()
    disturb(model)
    assert_zero_in_forward(model, masks)


@pytest.mark.gpu
def test_masks_follow_the_model_to_another_device():
    model = network()
    masks = masks_of(model)
    apply(model, masks)
    model = model.cuda()
    disturb(model)
    model(next(data())[0].cuda())
    assert pruned_are_zero(model.cpu(), masks)


def test_a_whole_model_can_be_pickled():
    """torch.save keeps the masks and the guards."""
    model = network()
    masks = masks_of(model)
    apply(model, masks)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    disturb(loaded)
    assert_zero_in_forward(loaded, masks)
    train(loaded, torch.optim.SGD(loaded.parameters(), 0.1, momentum=0.9))
    assert pruned_are_zero(loaded, masks)


@pytest.mark.slow
def test_a_compiled_model_is_guarded():
    """torch.compile traces the guard along with the layer."""
    model = network()
    masks = masks_of(model)
    apply(model, masks)
    compiled = torch.compile(model, backend="aot_eager")
    train(compiled, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    assert pruned_are_zero(model, masks)
    images, _ = next(data())
    compiled.eval()
    disturb(model)
    output = compiled(images)
    assert torch.equal(output, copy.deepcopy(model)(images))
    assert pruned_are_zero(model, masks)


# Masks applied again, shared, partial


def test_applying_again_replaces_the_masks():
    """Weights that were 0 stay 0 until they are trained; after that only the new masks count."""
    model = network()
    first, second = masks_of(model), masks_of(model, seed=1)
    apply(model, first)
    apply(model, second)
    assert pruned_are_zero(model, second)
    assert pruned_are_zero(model, first)
    train(model, torch.optim.SGD(model.parameters(), 0.1))
    assert pruned_are_zero(model, second)
    assert kept_are_not(model, second)


def test_applying_again_adds_no_hooks():
    model = network()
    apply(model, masks_of(model))
    hooks = [len(m._forward_pre_hooks) for m in model.modules()]
    apply(model, masks_of(model))
    assert [len(m._forward_pre_hooks) for m in model.modules()] == hooks


HOOKS = """
from torch import nn, ones
from torch.optim import optimizer
import prune

hooks = optimizer._global_optimizer_post_hooks
counts = [len(hooks)]
for _ in range(2):
    net = nn.Linear(2, 2)
    prune.apply(net, {"weight": ones(2, 2) > 0})
    counts.append(len(hooks))
print(counts)
"""


def test_the_hook_on_optimizers_is_registered_at_the_first_apply():
    """An import changes nothing in the process; a second `apply` adds no second hook."""
    line = [sys.executable, "-c", HOOKS]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("[0, 1, 1]\n", "")


def test_masks_are_copied():
    """Later changes of the caller's masks do not affect the model."""
    model = network()
    masks = masks_of(model)
    apply(model, masks)
    expected = {name: mask.clone() for name, mask in masks.items()}
    for mask in masks.values():
        mask.fill_(True)
    disturb(model)
    assert_zero_in_forward(model, expected)


def test_weights_without_a_mask_are_left_alone():
    model = network()
    masks = masks_of(model)
    apply(model, {"0.weight": masks["0.weight"]})
    disturb(model)
    assert_zero_in_forward(model, {**dense_masks(model), "0.weight": masks["0.weight"]})


class Tied(nn.Module):
    """Two layers and an embedding with one weight; the last in the list of modules runs first."""

    def __init__(self):
        super().__init__()
        self.last, self.embedding, self.first = nn.Linear(4, 4), nn.Embedding(4, 4), nn.Linear(4, 4)
        self.first.weight = self.embedding.weight = self.last.weight

    def forward(self, tokens):
        return self.last(self.first(self.embedding(tokens)))


@pytest.mark.parametrize("clone", [False, True])
def test_a_shared_weight_is_masked_wherever_it_is_used(clone):
    """It is masked in the layer that runs first, and after all of its layers were loaded."""
    torch.manual_seed(0)
    model = Tied()
    masks = masks_of(model)
    assert list(masks) == ["last.weight"]
    apply(model, masks)
    model = copy.deepcopy(model) if clone else model
    disturb(model)
    tokens = torch.arange(4)
    plain = Tied()
    plain.load_state_dict(dict(model.named_parameters()), strict=False)
    plain.last.weight.data *= masks["last.weight"]
    assert torch.equal(model(tokens), plain(tokens))
    model.load_state_dict({name: t + 1 for name, t in model.state_dict().items()})
    assert pruned_are_zero(model, masks)
    disturb(model)
    state, pruned = model.state_dict(), ~masks["last.weight"]
    assert all((state[f"{layer}.weight"][pruned] == 0).all() for layer, _ in model.named_children())
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        model(tokens).square().mean().backward()
        optimizer.step()
        assert pruned_are_zero(model, masks)


def test_a_shared_weight_is_guarded_when_one_of_its_layers_is_gone():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    masks = masks_of(model)
    apply(model, masks)
    layer = model[1]
    del model
    gc.collect()
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        layer(torch.ones(1, 4)).square().sum().backward()
        optimizer.step()
        assert (layer.weight[~masks["0.weight"]] == 0).all()


def test_a_weight_may_outlive_its_layer():
    """An optimizer may still hold it, and a graph that has not been run backward."""
    model = nn.Sequential(nn.Linear(4, 4))
    apply(model, masks_of(model))
    weight, loss = model[0].weight, model(torch.ones(1, 4)).sum()
    optimizer = torch.optim.SGD([weight], 0.1)
    del model
    gc.collect()
    loss.backward()
    optimizer.step()
    assert weight.isfinite().all()


def test_attention_is_masked_though_it_never_calls_its_projection():
    """nn.MultiheadAttention reads out_proj.weight; a deep copy is guarded by its pass alone."""
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    masks = masks_of(model)
    assert "self_attn.out_proj.weight" in masks
    apply(model, masks)
    model = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.1)
    x = torch.randn(3, 5, 4)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        assert gradients_are_zero(model, masks)
        optimizer.step()
        assert pruned_are_zero(model, masks)
    disturb(model)
    with torch.no_grad():
        model.eval()(x)
    assert pruned_are_zero(model, masks)


class Cosine(nn.Module):
    """Reads the weight of a layer that it never calls."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 3, bias=False)

    def forward(self, x):
        return F.linear(x, F.normalize(self.head.weight))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("clone", [False, True])
def test_a_weight_that_another_module_reads_is_masked(clone, whole):
    """The reader runs alone or within its model, in which all weights are looked after."""
    torch.manual_seed(0)
    model = nn.Sequential(Cosine())
    masks = masks_of(model)
    apply(model, masks)
    model = copy.deepcopy(model) if clone else model
    net = model if whole else model[0]
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.ones(2, 16)).square().sum().backward()
        assert gradients_are_zero(model, masks)
        optimizer.step()
        assert pruned_are_zero(model, masks)
    disturb(model)
    net(torch.ones(2, 16))
    assert pruned_are_zero(model, masks)


class Grandparent(nn.Module):
    """Reads a weight two levels below."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(16, 3))

    def forward(self, x):
        return F.linear(x, self.inner[0].weight)


def test_a_weight_that_the_model_reads_from_afar_is_masked():
    model = Grandparent()
    masks = masks_of(model)
    apply(model, masks)
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        disturb(model)
        model(torch.ones(2, 16)).square().sum().backward()
        assert pruned_are_zero(model, masks)
        assert gradients_are_zero(model, masks)
        optimizer.step()
        assert pruned_are_zero(model, masks)


class Unlike(nn.Module):
    """Parameters of many kinds of layers."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.rnn = nn.LSTM(4, 6, bidirectional=True, proj_size=2)
        self.attention = nn.MultiheadAttention(4, 2)
        self.bilinear = nn.Bilinear(4, 4, 3)
        self.own = nn.Parameter(torch.ones(3, 3))
        self.several = nn.ParameterList([nn.Parameter(torch.ones(3, 3))])

    def forward(self, tokens):
        h, _ = self.rnn(self.embedding(tokens))
        h, _ = self.attention(h, h, h)
        return self.bilinear(h, h) @ self.own @ self.several[0]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("clone", [False, True])
def test_any_matrix_may_be_masked(clone):
    """Recurrent weights, attention, embeddings and parameters that belong to no layer."""
    torch.manual_seed(0)
    model = Unlike()
    masks = {n: torch.rand(p.shape) < 0.5 for n, p in model.named_parameters() if p.dim() > 1}
    assert {"rnn.weight_hr_l0", "attention.in_proj_weight", "own", "several.0"} <= masks.keys()
    apply(model, masks)
    model = copy.deepcopy(model) if clone else model
    disturb(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.arange(5)[:, None]).tanh().mean().backward()
        optimizer.step()
        for name, mask in masks.items():
            assert (model.get_parameter(name)[~mask] == 0).all(), name
            assert (model.get_parameter(name).grad[~mask] == 0).all(), name


def test_sparse_gradients_are_masked():
    model = nn.Embedding(5, 3, sparse=True)
    masks = {"weight": torch.rand(5, 3) < 0.5}
    apply(model, masks)
    optimizer = torch.optim.SparseAdam(model.parameters())
    model(torch.tensor([0, 1, 1, 4])).sum().backward()
    expected = torch.tensor([1, 2, 0, 0, 1])[:, None] * masks["weight"]
    assert torch.equal(model.weight.grad.to_dense(), expected.float())
    optimizer.step()
    assert (model.weight[~masks["weight"]] == 0).all()


def test_a_buffer_of_the_same_name_is_left_alone():
    """The user's own `weight_mask`."""

    class Own(nn.Linear):
        def __init__(self):
            super().__init__(12, 10)
            self.register_buffer("weight_mask", (torch.rand(10, 12) > 0.5).float())

        def forward(self, x):
            return F.linear(x, self.weight * self.weight_mask, self.bias)

    model = nn.Sequential(Own())
    own, masks = model[0].weight_mask.clone(), masks_of(model)
    apply(model, masks)
    clone = copy.deepcopy(model)
    disturb(clone)
    clone(torch.ones(4, 12))
    assert pruned_are_zero(clone, masks)
    assert torch.equal(clone[0].weight_mask, own)
    assert [name for name, _ in model.named_buffers()] == ["0.weight_mask"]


def test_an_average_made_before_is_updated():
    """torch pairs the buffers of both by position. Its zeros are a matter of `apply` to it."""
    model = network()
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    masks = masks_of(model)
    apply(model, masks)
    average.update_parameters(model)
    train(model, torch.optim.SGD(model.parameters(), 0.1))
    average.update_parameters(model)
    apply(average.module, masks)
    average.update_parameters(model)
    assert pruned_are_zero(average.module, masks)
    assert kept_are_not(average.module, masks)


# Refusals


def test_a_bias_has_no_mask():
    model = network()
    with pytest.raises(ValueError, match=r"mask '5\.bias' fits no prunable weight"):
        apply(model, {"5.bias": torch.ones(3) > 0})


def test_masks_that_do_not_fit_change_nothing():
    """A mask among them that fits is not applied either."""
    model = network()
    before = copy.deepcopy(model.state_dict())
    masks = masks_of(model)
    with pytest.raises(ValueError, match=r"mask '5.weight' is torch.bool of shape \(3, 1\)"):
        apply(model, {**masks, "5.weight": masks["5.weight"][:, :1]})
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert len(list(model.buffers())) == 3


def test_a_pruned_model_can_be_pruned_again():
    """Weights that `apply` holds at 0 score 0 and are pruned first."""
    model = network()
    first = prune(model, "synflow", Probe((2, 4, 4)), 4, steps=5)
    apply(model, first)
    second = prune(model, "synflow", Probe((2, 4, 4)), 8, steps=5)
    assert all((second[name] <= first[name]).all() for name in first)
    apply(model, second)
    assert pruned_are_zero(model, second)
    assert kept_are_not(model, second)
