"""Recurrent layers are read with open gates, as written out in plain loops here."""

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.overrides import TorchFunctionMode

from prune.skeleton.recurrent import RECURRENT

KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


class Replaced(TorchFunctionMode):
    """Call the replacements, and record the functions that were replaced."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen += [func] if func in RECURRENT else []
        return RECURRENT.get(func, func)(*args, **(kwargs or {}))


def integers(*shape: int) -> Tensor:
    """Return small integers, of which sums and products are exact."""
    return torch.randint(0, 3, shape, dtype=torch.float64)


def positive(layer: nn.Module) -> nn.Module:
    """The layer with integer weights that are at least 0; its biases must not matter."""
    with torch.no_grad():
        for name, weight in layer.double().named_parameters():
            weight.copy_(integers(*weight.shape) if "weight" in name else torch.tensor(torch.pi))
    return layer


def rows(weight: Tensor, kind: str) -> list[list[float]]:
    """The candidate's rows: block 2 (the third) of i, f, g, o or of r, z, n; all of an RNN."""
    if kind == "RNN":
        return weight.tolist()
    size = len(weight) // {"LSTM": 4, "GRU": 3}[kind]
    return weight[2 * size : 3 * size].tolist()


def times(matrix: list[list[float]], vector: list[float]) -> list[float]:
    return [sum(w * v for w, v in zip(row, vector)) for row in matrix]


def plus(*vectors: list[float]) -> list[float]:
    return [sum(entries) for entries in zip(*vectors)]


def direction(kind: str, layer: nn.Module, end: str, xs: list, h: list, c: list):
    """All h of one direction over the vectors xs, and the last c, by the definition."""
    W, U = (rows(getattr(layer, f"weight_{name}_{end}"), kind) for name in ("ih", "hh"))
    projection = getattr(layer, f"weight_hr_{end}", None)
    hs = []
    for x in xs:
        new = plus(times(W, x), times(U, h))
        if kind == "LSTM":
            c = plus(c, new)
            h = c if projection is None else times(projection.tolist(), c)
        else:
            h = plus(h, new) if kind == "GRU" else new
        hs.append(h)
    return hs, c


def by_definition(kind: str, layer: nn.Module, x: Tensor, h0: Tensor, c0: Tensor):
    """Output (time, batch, features) and the states of one layer after another."""
    ends = ["", "_reverse"] if layer.bidirectional else [""]
    batch, hn, cn = x.shape[1], h0.clone(), c0.clone()
    xs = [x[:, b].tolist() for b in range(batch)]
    for level in range(layer.num_layers):
        for b in range(batch):
            parts = []
            for k, end in enumerate(ends):
                i = level * len(ends) + k
                seen = xs[b][::-1] if end else xs[b]
                start = h0[i, b].tolist(), c0[i, b].tolist()
                hs, c = direction(kind, layer, f"l{level}{end}", seen, *start)
                hn[i, b], cn[i, b] = torch.tensor(hs[-1]).double(), torch.tensor(c).double()
                parts.append(hs[::-1] if end else hs)
            xs[b] = [list(chain.from_iterable(vectors)) for vectors in zip(*parts)]
    return torch.tensor(xs).double().transpose(0, 1), hn, cn


SIZES = st.integers(1, 3)
LAYERS = dict(
    kind=st.sampled_from(sorted(KINDS)),
    batch=SIZES,
    time=SIZES,
    inputs=SIZES,
    size=st.integers(2, 3),
    num_layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
    bias=st.booleans(),
    projected=st.booleans(),
    seed=st.integers(0, 1000),
)


@given(**LAYERS)
def test_layers_follow_the_definition(kind, batch, time, inputs, size, projected, seed, **options):
    torch.manual_seed(seed)
    more = {"proj_size": 1} if projected and kind == "LSTM" else {}
    layer = positive(KINDS[kind](inputs, size, **more, **options))
    x, stack = integers(time, batch, inputs), options["num_layers"] * (1 + layer.bidirectional)
    h0, c0 = integers(stack, batch, layer.proj_size or size), integers(stack, batch, size)
    y, hn, cn = by_definition(kind, layer, x, h0, c0)
    with Replaced() as mode:
        given = x.transpose(0, 1) if layer.batch_first else x
        found, states = layer(given, (h0, c0) if kind == "LSTM" else h0)
    assert len(mode.seen) == 1
    assert torch.equal(found.transpose(0, 1) if layer.batch_first else found, y)
    states = states if kind == "LSTM" else (states, c0)
    assert torch.equal(states[0], hn) and torch.equal(states[1], cn)


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.parametrize("bias", [True, False])
def test_cells_are_layers_of_one_step(kind, bias):
    torch.manual_seed(0)
    cell = positive(getattr(nn, kind)(3, 4, bias=bias))
    layer = KINDS[kind.removesuffix("Cell")](3, 4, bias=False).double()
    layer.weight_ih_l0, layer.weight_hh_l0 = cell.weight_ih, cell.weight_hh
    x, h, c = integers(2, 3), integers(2, 4), integers(2, 4)
    _, hn, cn = by_definition(kind.removesuffix("Cell"), layer, x[None], h[None], c[None])
    with Replaced() as mode:
        found = cell(x, (h, c) if kind == "LSTMCell" else h)
    assert len(mode.seen) == 1
    if kind == "LSTMCell":
        assert torch.equal(found[0], hn[0]) and torch.equal(found[1], cn[0])
    else:
        assert torch.equal(found, hn[0])


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_both_kinds_of_rnn_are_met(nonlinearity):
    layer = positive(nn.RNN(2, 2, nonlinearity=nonlinearity))
    cell = positive(nn.RNNCell(2, 2, nonlinearity=nonlinearity))
    with Replaced() as mode:
        layer(integers(1, 1, 2)), cell(integers(1, 2))
    named = [getattr(torch, f"rnn_{nonlinearity}{end}") for end in ("", "_cell")]
    assert mode.seen == named


@given(kind=st.sampled_from(sorted(KINDS)), bidirectional=st.booleans(), seed=st.integers(0, 1000))
def test_flow_is_conserved(kind, bidirectional, seed):
    """One layer's flow from the input is R, and each layer sees paths of its own."""
    torch.manual_seed(seed)
    layer = positive(KINDS[kind](3, 4, 2, bidirectional=bidirectional))
    x = integers(3, 2, 3).requires_grad_()
    with Replaced():
        R = layer(x)[0].sum()
    theta = [layer.weight_ih_l0, layer.weight_ih_l1, layer.weight_hh_l0]
    if bidirectional:
        theta += [layer.weight_ih_l0_reverse, layer.weight_ih_l1_reverse]
    dx, *flows = torch.autograd.grad(R, [x, *theta])
    scores = [(flow * W).sum().item() for flow, W in zip(flows, theta)]
    assert (dx * x).sum().item() == R
    assert sum(scores[0::3]) == R  # each path enters by one weight of the first layer,
    assert sum(scores[1::3]) == R  # and by one of the second


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_gates_and_biases_have_no_flow(kind):
    layer = positive(KINDS[kind](3, 4))
    with Replaced():
        layer(integers(3, 2, 3) + 1)[0].sum().backward()
    blocks = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    kept = 0 if kind == "RNN" else 2
    alive = [bool(part.any()) for part in layer.weight_ih_l0.grad.chunk(blocks)]
    assert alive == [i == kept for i in range(blocks)]
    assert layer.bias_ih_l0.grad is None and layer.bias_hh_l0.grad is None


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_packed_sequences_are_refused_in_a_sentence(kind):
    packed = pack_padded_sequence(integers(3, 2, 3), [3, 1])
    with Replaced(), pytest.raises(ValueError, match=r"packed sequence.*give padded tensors"):
        positive(KINDS[kind](3, 4))(packed)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_flat_weights_of_a_gpu_are_read_alike(kind):
    layer, x = positive(KINDS[kind](3, 4, 2, bidirectional=True)), integers(3, 2, 3)
    with Replaced():
        expected = layer(x)[0]
        found = layer.cuda()(x.cuda())[0]
    assert torch.equal(found.cpu(), expected)
