"""The table of readings: which function is read by which rule.

A rule takes the mode, the function and its arguments, at least one of which is a stream (a tensor
that depends on the input), and returns what the skeleton has in place of the result.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from prune.skeleton.attention import ATTENTION
from prune.skeleton.joins import assign, join, masked_fill, where
from prune.skeleton.normalisations import NORMALISATIONS
from prune.skeleton.products import addition, addmm, einsum, matmul, product, quotient, weighted
from prune.skeleton.rare import RARE
from prune.skeleton.recurrent import RECURRENT
from prune.skeleton.roles import Rule, named
from prune.skeleton.single import (
    activation,
    attention,
    gate,
    glu,
    identity,
    normalisation,
    normalise,
    power,
    recurrent,
    relu,
)

ACTIVATIONS = named(
    "relu6", "hardtanh", "hardswish", "silu", "gelu", "mish", "elu", "selu", "celu", "softplus",
    "softsign", "tanh", "tanhshrink", "logsigmoid", "softshrink", "hardshrink", "threshold",
    "clamp", "clip", "clamp_min", "clamp_max", "sqrt", "square", "log", "log1p", "log2", "log10",
    "expm1", "sin", "cos", "atan", "erf",
)  # fmt: skip
GATES = named(
    "sigmoid", "hardsigmoid", "expit", "softmax", "log_softmax", "softmin", "gumbel_softmax",
    "rsqrt", "reciprocal", "exp", "sign", "heaviside",
)  # fmt: skip
SUMS = named("add", "sub", "subtract", "rsub")
PRODUCTS = named("mul", "multiply")
QUOTIENTS = named("div", "divide", "true_divide", "truediv", "rdiv")
MATMULS = named("matmul", "mm", "bmm", "mv")
WEIGHTED: set[Callable[..., Tensor]] = {
    F.linear,
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
}
QUANTISED = named(
    "fused_moving_avg_obs_fake_quant",
    "fake_quantize_per_tensor_affine",
    "fake_quantize_per_channel_affine",
)
SIGNS = named("neg", "negative", "positive", "abs", "absolute", "round", "floor", "ceil")

FAMILIES: list[tuple[set[Any], Rule]] = [
    (ACTIVATIONS, activation),
    (named("relu", "leaky_relu", "prelu", "rrelu"), relu),
    (GATES, gate),
    (QUANTISED | SIGNS, identity),
    (named("pow", "float_power"), power),
    (named("glu"), glu),
    (SUMS, addition),
    (PRODUCTS, product),
    (QUOTIENTS, quotient),
    (MATMULS, matmul),
    (named("einsum"), einsum),
    (named("addmm", "baddbmm", "addbmm"), addmm),
    (set(WEIGHTED), weighted),
    (named("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack"), join),
    (named("where"), where),
    ({Tensor.__setitem__}, assign),
    (named("masked_fill"), masked_fill),
    (named("normalize"), normalise),
    (set(RECURRENT), recurrent),
    (set(ATTENTION), attention),
    (set(NORMALISATIONS), normalisation),
    *RARE,
]
RULES: dict[Callable[..., Any], Rule] = {func: rule for funcs, rule in FAMILIES for func in funcs}
# Functions that are also read otherwise where all arguments come from weights.
EVEN_OF_WEIGHTS = SUMS | QUOTIENTS | QUANTISED | named("normalize") | set(NORMALISATIONS)
# Functions that keep the role of a stream: they move its entries or repeat them.
SHAPES = named(
    "view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "expand", "expand_as",
    "transpose", "permute", "movedim", "swapaxes", "t", "contiguous", "to", "type_as", "clone",
    "getitem", "chunk", "split", "unbind", "tensor_split", "dropout", "repeat", "broadcast_to",
    "repeat_interleave", "interpolate", "mean", "float", "type", "select", "narrow", "view_as",
)  # fmt: skip
SHAPES |= {Tensor.T.__get__, Tensor.mT.__get__}  # type: ignore[attr-defined]
