"""A multi-layer perceptron, forward and backward (Sec. 4).

Arrays keep their dtype. Integers and `fractions.Fraction` (dtype object) therefore give exact
results; the theorems are tested with them. float64 is for use.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Real = int | float | Fraction


@dataclass(frozen=True)
class LeakyRelu:
    """phi(z) = z where z > 0, else slope * z.

    It is homogeneous for every slope, phi(z) = phi'(z) z, which Theorem 1 needs. At z = 0 the
    derivative is a convention; here it is `slope`, as in torch.
    """

    slope: Real = 0

    def __call__(self, z: NDArray) -> NDArray:
        """Return phi(z), shaped like z."""
        return np.where(z > 0, z, self.slope * z)

    def derivative(self, z: NDArray) -> NDArray:
        """Return phi'(z), shaped like z."""
        ones = np.ones_like(z)
        return np.where(z > 0, ones, self.slope * ones)


relu = LeakyRelu(0)
identity = LeakyRelu(1)


@dataclass(frozen=True)
class Mlp:
    """f(x) = W[L] phi( ... phi(W[2] phi(W[1] x))): the output layer is linear.

    Attributes:
        weights: W[1], ..., W[L], each (n_out, n_in) as in torch.nn.Linear.
        phi: The unit of every hidden neuron.
        biases: One (n_out,) per layer, or () for none, as the theorems assume.
    """

    weights: tuple[NDArray, ...]
    phi: LeakyRelu = relu
    biases: tuple[NDArray, ...] = ()

    def __post_init__(self) -> None:
        """Check that each layer has an input for each output of the layer below."""
        for below, above in pairwise(self.weights):
            if len(below) != above.shape[1]:
                raise ValueError(
                    f"weights {below.shape} give {len(below)} outputs, {above.shape} "
                    f"take {above.shape[1]} inputs; each must be (n_out, n_in)"
                )


@dataclass(frozen=True)
class Trace:
    """The intermediate results of a forward pass, layer by layer; rows are examples."""

    inputs: tuple[NDArray, ...]  # phi(z) of the layer below, or x: (batch, n_in)
    preactivations: tuple[NDArray, ...]  # z: (batch, n_out)

    @property
    def output(self) -> NDArray:
        """The output f(x), (batch, n_out of the last layer)."""
        return self.preactivations[-1]


@dataclass(frozen=True)
class Gradients:
    """The derivatives of a scalar R, layer by layer."""

    dR_dW: tuple[NDArray, ...]  # (n_out, n_in), summed over the batch
    dR_dz: tuple[NDArray, ...]  # (batch, n_out)
    dR_dx: NDArray  # (batch, n_in of the first layer)

    @property
    def dR_db(self) -> tuple[NDArray, ...]:
        """The gradient in the biases, one (n_out,) per layer, summed over the batch."""
        return tuple(delta.sum(axis=0) for delta in self.dR_dz)


def forward(mlp: Mlp, x: NDArray) -> Trace:
    """Run the network on x (batch, n_in): z = W phi(z below) + b, layer after layer."""
    inputs, preactivations = [], []
    biases = mlp.biases or (0,) * len(mlp.weights)
    for W, b in zip(mlp.weights, biases, strict=True):
        inputs.append(x)
        preactivations.append(x @ W.T + b)  # (batch, n_out)
        x = mlp.phi(preactivations[-1])
    return Trace(tuple(inputs), tuple(preactivations))


def backward(mlp: Mlp, trace: Trace, dR_dy: NDArray) -> Gradients:
    """Propagate dR/dy back through every layer.

    dR/dW = dR/dz^T phi(z below) and dR/dphi(z below) = dR/dz W: Theorem 1 rests on these two
    chain rules. R enters by dR/dy only, so it may be any differentiable function of the output.

    Args:
        mlp: The network that made the trace.
        trace: The forward pass at which the derivatives are taken.
        dR_dy: The gradient of R in the output (batch, n_out of the last layer).
    """
    dR_dW, dR_dz = [], []
    delta = dR_dy  # dR/dz of the current layer: (batch, n_out)
    for layer in reversed(range(len(mlp.weights))):
        dR_dW.append(delta.T @ trace.inputs[layer])  # (n_out, n_in)
        dR_dz.append(delta)
        delta = delta @ mlp.weights[layer]  # (batch, n_in)
        if layer > 0:
            delta = delta * mlp.phi.derivative(trace.preactivations[layer - 1])
    return Gradients(tuple(dR_dW[::-1]), tuple(dR_dz[::-1]), dR_dx=delta)
