"""Attention is read as the mean over the tokens, as written out in plain loops here."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prune.skeleton.attention import ATTENTION, mean_einsum, mean_product


class Replaced(TorchFunctionMode):
    """Call the replacements, and record the functions that were replaced."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen += [func] if func in ATTENTION else []
        return ATTENTION.get(func, func)(*args, **(kwargs or {}))


def integers(*shape: int) -> Tensor:
    """Return small integers, of which sums and products are exact."""
    return torch.randint(0, 4, shape, dtype=torch.float64)


def mean_token(tokens: list[list[float]], n: int) -> list[float]:
    return [sum(entries) / n for entries in zip(*tokens)]


SIZES = st.integers(1, 4)


# ---- scaled_dot_product_attention -----------------------------------------------------------


@given(
    batch=SIZES,
    kv=st.integers(1, 2),
    group=st.integers(1, 3),
    queries=SIZES,
    tokens=SIZES,
    size=SIZES,
    causal=st.booleans(),
)
def test_each_query_gets_the_mean_of_the_values(batch, kv, group, queries, tokens, size, causal):
    query, key = integers(batch, kv * group, queries, 3), integers(batch, kv, tokens, 3)
    value = integers(batch, kv, tokens, size)
    found = ATTENTION[F.scaled_dot_product_attention](
        query, key, value, None, 0.0, causal, enable_gqa=True
    )
    assert found.shape == (batch, kv * group, queries, size)
    for b in range(batch):
        for h in range(kv * group):
            mean = mean_token(value[b, h // group].tolist(), tokens)
            assert found[b, h].tolist() == [mean] * queries


@pytest.mark.parametrize("q, v", [((3, 5), (4, 2)), ((2, 1, 3, 5), (1, 6, 4, 2)), ((2, 3, 5),) * 2])
def test_shapes_are_those_of_torch(q, v):
    query, key, value = integers(*q), integers(*v[:-1], q[-1]), integers(*v)
    expected = F.scaled_dot_product_attention(query, key, value)
    with Replaced() as mode:
        found = F.scaled_dot_product_attention(query, key, value)
    assert found.shape == expected.shape and len(mode.seen) == 1


# ---- multi_head_attention_forward -----------------------------------------------------------


def attention(size: int, heads: int, **options) -> nn.MultiheadAttention:
    """Attention with integer weights that are at least 0; its biases must not matter."""
    module = nn.MultiheadAttention(size, heads, **options).double()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(torch.tensor(torch.pi) if "bias" in name else integers(*weight.shape))
    return module


def times(matrix: list[list[float]], vector: list[float]) -> list[float]:
    return [sum(w * v for w, v in zip(row, vector)) for row in matrix]


def by_definition(module: nn.MultiheadAttention, value: Tensor) -> list[float]:
    """W_out times the mean of W_v v over the tokens; value (S, E)."""
    W = module.in_proj_weight
    W_v = (module.v_proj_weight if W is None else W[2 * module.embed_dim :]).tolist()
    n = len(value) + module.add_zero_attn + (module.bias_v is not None)
    mean = mean_token([times(W_v, token) for token in value.tolist()], n)
    return times(module.out_proj.weight.tolist(), mean)


@given(
    batch=SIZES,
    queries=SIZES,
    tokens=st.sampled_from([1, 2, 4]),  # with which means of integers are exact
    heads=st.integers(1, 2),
    vdim=st.sampled_from([None, 3]),
    batch_first=st.booleans(),
    average=st.booleans(),
    need_weights=st.booleans(),
)
def test_modules_follow_the_definition(
    batch, queries, tokens, heads, vdim, batch_first, average, need_weights
):
    module = attention(4, heads, vdim=vdim, batch_first=batch_first)
    query, value = integers(batch, queries, 4), integers(batch, tokens, vdim or 4)
    key = integers(batch, tokens, 4)
    given = [query, key, value] if batch_first else [t.transpose(0, 1) for t in (query, key, value)]
    more = {"need_weights": need_weights, "average_attn_weights": average}
    with Replaced() as mode:
        output, weights = module(*given, **more)
    output = output if batch_first else output.transpose(0, 1)
    assert len(mode.seen) == 1
    assert output.tolist() == [[by_definition(module, v)] * queries for v in value]
    if need_weights:
        shape = (batch, queries, tokens) if average else (batch, heads, queries, tokens)
        assert torch.equal(weights, torch.full(shape, 1 / tokens).double())
    else:
        assert weights is None


@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}])
@pytest.mark.parametrize("average", [True, False])
def test_unbatched_and_additional_tokens(options, average):
    """A token more of value 0 takes part in the mean."""
    module, tokens = attention(4, 2, **options), 3 if options else 2
    query, value = integers(5, 4), integers(tokens, 4)
    expected = module(query, value, value, average_attn_weights=average)[1]
    with Replaced():
        output, weights = module(query, value, value, average_attn_weights=average)
    assert output.tolist() == [by_definition(module, value)] * 5
    assert weights.shape == expected.shape and weights.dtype == expected.dtype
    assert (weights == 1 / weights.shape[-1]).all()


def test_a_static_value_is_read_in_place_of_the_projection():
    module, value = attention(4, 2), integers(6, 2, 2)  # 3 examples, 2 heads, 2 tokens
    query = integers(1, 3, 4)
    output, _ = ATTENTION[F.multi_head_attention_forward](
        *(query, query, query, 4, 2, module.in_proj_weight, None, None, None, False, 0.0),
        *(module.out_proj.weight, None),
        static_k=value,
        static_v=value,
    )
    heads = [mean_token(tokens, 2) for tokens in value.tolist()]
    projected = [times(module.out_proj.weight.tolist(), heads[i] + heads[i + 1]) for i in (0, 2, 4)]
    assert output[0].tolist() == projected


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_encoders_meet_the_mode_in_every_layer(gradients, norm_first):
    """Neither the fast path of eval mode nor a nested tensor goes past it."""
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    encoder.requires_grad_(gradients)
    with torch.set_grad_enabled(gradients), Replaced() as mode:
        encoder(torch.ones(2, 3, 4), src_key_padding_mask=torch.zeros(2, 3, dtype=torch.bool))
    assert mode.seen == [F.multi_head_attention_forward] * 2


def test_a_nested_tensor_of_padded_tokens_is_not_made():
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval().requires_grad_(False)
    padded = torch.tensor([[False, False, True]])
    with Replaced() as mode:
        found = encoder(torch.ones(1, 3, 4), src_key_padding_mask=padded)
    assert len(mode.seen) == 2 and not found.is_nested


# ---- flow -----------------------------------------------------------------------------------


@given(tokens=SIZES, queries=SIZES, seed=st.integers(0, 100))
def test_flow_is_conserved_and_leaves_out_queries_and_keys(tokens, queries, seed):
    torch.manual_seed(seed)
    module, value = attention(4, 2), integers(tokens, 2, 4).requires_grad_()
    key, query = (integers(n, 2, 4).requires_grad_() for n in (tokens, queries))
    with Replaced():
        R = module(query, key, value)[0].sum()
    theta = [value, module.in_proj_weight, module.out_proj.weight]
    flows = torch.autograd.grad(R, theta, retain_graph=True)
    for flow, W in zip(flows, theta):
        torch.testing.assert_close((flow * W).sum().detach(), R.detach(), rtol=1e-12, atol=0)
    assert not flows[1][:8].any()
    assert torch.autograd.grad(R, [query, key], allow_unused=True) == (None, None)


# ---- attention written by hand --------------------------------------------------------------


@given(shape=st.lists(SIZES, max_size=2), queries=SIZES, tokens=SIZES, size=SIZES)
def test_products_by_hand_are_means(shape, queries, tokens, size):
    scores, values = integers(*shape, queries, tokens), integers(*shape, tokens, size)
    found = mean_product(scores, values)
    assert found.shape == (scores @ values).shape
    flat = values.flatten(0, -3) if shape else values[None]
    means = [[mean_token(one, tokens)] * queries for one in flat.tolist()]
    assert found.flatten(0, -3).tolist() == means if shape else found.tolist() == means[0]


def test_products_with_a_vector_and_of_unlike_batches():
    assert mean_product(torch.ones(3, 2), torch.tensor([1.0, 4.0])).tolist() == [2.5] * 3
    assert mean_product(torch.ones(5, 1, 3, 2), torch.ones(4, 2, 6)).shape == (5, 4, 3, 6)


EQUATIONS = {  # equation -> shapes of attention and values, and the dimension of the mean
    "bhij, bhjd -> bhid": ((2, 2, 3, 4), (2, 2, 4, 5)),
    "bhij,bjhd->bihd": ((2, 2, 3, 4), (2, 4, 2, 5)),
    "...ij,...jd->...id": ((2, 2, 3, 4), (2, 2, 4, 5)),
    "ij,jd": ((3, 4), (4, 5)),
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsums_by_hand_are_means(equation):
    attention, values = (integers(*shape) for shape in EQUATIONS[equation])
    uniform = torch.full_like(attention, 1 / 4)
    assert torch.equal(
        mean_einsum(equation, attention, values), torch.einsum(equation, uniform, values)
    )
