"""Attention as SynFlow reads it: the mean over the tokens of the values, no biases.

Each replacement takes the arguments of the function of torch that it replaces. Masks are not read.
Queries and keys have no flow.
"""

from collections.abc import Callable
from math import prod
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F


def mean_product(attention: Tensor, values: Tensor) -> Tensor:
    """Return attention @ values with 1/n for each of the n entries of a row of attention.

    Args:
        attention: (..., queries, n); its shape is read.
        values: (..., n, features), or (n,).
    """
    if values.dim() == 1:
        return values.mean().expand(attention.shape[:-1])
    return _spread(values, attention.shape[:-2], attention.shape[-2:-1])


def mean_einsum(equation: str, attention: Tensor, values: Tensor) -> Tensor:
    """Return einsum(equation, attention, values) with 1/n in place of attention.

    Args:
        equation: As torch.einsum takes it, of two operands.
        attention: n is the number of its entries that one sum runs over; its shape is read.
        values: The tensor whose mean is taken.
    """
    both, _, result = equation.replace(" ", "").partition("->")
    of_attention, of_values = both.split(",")
    if "->" not in equation:
        result = "".join(name for name in both if both.count(name) == 1)
    summed = (set(of_attention) & set(of_values)) - set(result) - {"."}
    sizes = _sizes(of_attention, attention)
    n = prod(sizes[name] for name in summed)
    return torch.einsum(equation, torch.ones_like(attention), values) / n


def _sizes(names: str, tensor: Tensor) -> dict[str, int]:
    """Return the size of each index of one operand; the sizes of an ellipsis are left out."""
    before, _, after = names.partition("...")
    last = dict(zip(reversed(after), reversed(tensor.shape), strict=False))
    return last | dict(zip(before, tensor.shape, strict=False))


def _spread(values: Tensor, batch: torch.Size, queries: torch.Size | tuple[int, ...]) -> Tensor:
    """Return the mean of values (..., n, features) over n for each query."""
    batch = torch.broadcast_shapes(batch, values.shape[:-2])
    return values.mean(-2, keepdim=True).expand(*batch, *queries, values.shape[-1])


def _scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, *_: Any, enable_gqa: bool = False, **__: Any
) -> Tensor:
    if enable_gqa:
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    return _spread(value, query.shape[:-2], query.shape[-2:-1])


def _projected(value: Tensor, in_proj: Tensor | None, separate: Tensor | None) -> Tensor:
    """Return the sum over the tokens of W_v v; in_proj holds W_q, W_k and W_v one below another."""
    own = separate if in_proj is None or separate is not None else in_proj.chunk(3)[2]
    return F.linear(value.sum(0), cast(Tensor, own))


def _multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Take time first: query (L, N, E) or (L, E), value (S, N, E) or (S, E).

    `bias_v` and `add_zero_attn` add a token of value 0 each.
    """
    if static_v is None:
        separate = v_proj_weight if use_separate_proj_weight else None
        V, tokens = _projected(value, in_proj_weight, separate), value.shape[0]
    else:  # (N * heads, S, E / heads)
        V, tokens = static_v.sum(1).reshape(*query.shape[1:]), static_v.shape[1]
    tokens += (bias_v is not None) + add_zero_attn
    mean = F.linear(V / tokens, out_proj_weight)
    output = mean.expand(query.shape[0], *mean.shape)
    if not need_weights:
        return output, None
    heads = () if average_attn_weights else (num_heads,)
    shape = (*query.shape[1:-1], *heads, query.shape[0], tokens)
    return output, query.new_full(shape, 1 / tokens)


ATTENTION: dict[Callable[..., Any], Callable[..., Any]] = {
    F.scaled_dot_product_attention: _scaled_dot_product_attention,
    F.multi_head_attention_forward: _multi_head_attention_forward,
}
