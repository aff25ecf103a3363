"""A multi-layer perceptron, forward and backward (Sec. 4).

Arrays keep the dtype they come with. Integers and `fractions.Fraction` (dtype object) therefore
give exact results, and that is how the theorems are tested; float64 is for use.
"""

from dataclasses import dataclass
from itertools import zip_longest
from numbers import Number

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LeakyRelu:
    """phi(z) = z where z > 0, else slope * z.

    Homogeneous as Theorem 1 asks: phi(z) = phi'(z) z, whatever the slope. At z = 0, where the
    derivative is a matter of taste, it is `slope`, as in torch.
    """

    slope: Number = 0

    def __call__(self, z: NDArray) -> NDArray:
        return np.where(z > 0, z, self.slope * z)

    def derivative(self, z: NDArray) -> NDArray:
        return np.where(z > 0, np.ones_like(z), self.slope)


relu = LeakyRelu(0)
identity = LeakyRelu(1)


@dataclass(frozen=True)
class Mlp:
    """f(x) = W[L] phi( ... phi(W[2] phi(W[1] x))): the output layer is linear.

    Attributes:
        weights: W[1], ..., W[L], each (n_out, n_in) as in torch.nn.Linear.
        phi: The unit of every hidden neuron.
        biases: One (n_out,) per layer, or none at all, which is what the theorems assume.
    """

    weights: tuple[NDArray, ...]
    phi: LeakyRelu = relu
    biases: tuple[NDArray, ...] = ()


@dataclass(frozen=True)
class Trace:
    """What a forward pass leaves behind, layer by layer; rows are examples."""

    inputs: tuple[NDArray, ...]  # phi(z) of the layer below, or x: (batch, n_in)
    preactivations: tuple[NDArray, ...]  # z: (batch, n_out)

    @property
    def output(self) -> NDArray:
        return self.preactivations[-1]


@dataclass(frozen=True)
class Gradients:
    """Derivatives of a scalar R, layer by layer."""

    dR_dW: tuple[NDArray, ...]  # (n_out, n_in), summed over the batch
    dR_dz: tuple[NDArray, ...]  # (batch, n_out)
    dR_dx: NDArray  # (batch, n_in of the first layer)

    @property
    def dR_db(self) -> tuple[NDArray, ...]:
        return tuple(delta.sum(axis=0) for delta in self.dR_dz)  # (n_out,)


def forward(mlp: Mlp, x: NDArray) -> Trace:
    """Run the network on x (batch, n_in): z = W phi(z below) + b, layer after layer."""
    inputs, preactivations = [], []
    for W, b in zip_longest(mlp.weights, mlp.biases, fillvalue=0):
        inputs.append(x)
        preactivations.append(x @ W.T + b)  # (batch, n_out)
        x = mlp.phi(preactivations[-1])
    return Trace(tuple(inputs), tuple(preactivations))


def backward(mlp: Mlp, trace: Trace, dR_dy: NDArray) -> Gradients:
    """Carry dR/dy (batch, n_out of the last layer) back through every layer.

    dR/dW = dR/dz^T phi(z below) and dR/dphi(z below) = dR/dz W, the two chain rules behind
    Theorem 1. Any differentiable R is covered: it enters by dR/dy only.
    """
    dR_dW, dR_dz = [], []
    delta = dR_dy  # dR/dz of the layer at hand: (batch, n_out)
    for layer in reversed(range(len(mlp.weights))):
        dR_dW.append(delta.T @ trace.inputs[layer])  # (n_out, n_in)
        dR_dz.append(delta)
        delta = delta @ mlp.weights[layer]  # (batch, n_in)
        if layer > 0:
            delta = delta * mlp.phi.derivative(trace.preactivations[layer - 1])
    return Gradients(tuple(dR_dW[::-1]), tuple(dR_dz[::-1]), dR_dx=delta)
