"""GraSP and a unit that breaks Theorem 1. SynFlow needs neither; the tests do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from reference.mlp import Mlp, Trace, backward, forward
from reference.saliency import (
    Batch,
    LossGradient,
    Scores,
    cross_entropy_gradient,
    loss_gradient,
)


@dataclass(frozen=True)
class Square:
    """phi(z) = z^2 = phi'(z) z / 2: not homogeneous, so Theorem 1 does not hold."""

    def __call__(self, z: NDArray) -> NDArray:
        """Return phi(z), shaped like z."""
        return z * z

    def derivative(self, z: NDArray) -> NDArray:
        """Return phi'(z), shaped like z."""
        return 2 * z


@dataclass(frozen=True)
class Loss:
    """The first two derivatives of a loss in the outputs of a batch."""

    gradient: LossGradient  # (y, targets) -> dL/dy
    curvature: Callable[[NDArray, NDArray], NDArray]  # (y, u) -> d2L/dy2 u; like y, (batch, n_out)


def cross_entropy_curvature(y: NDArray, u: NDArray) -> NDArray:
    """Return (diag(p) - p p^T) u / batch with p = softmax(y), row by row."""
    p = np.exp(y - y.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)  # (batch, classes)
    return p * (u - (p * u).sum(axis=1, keepdims=True)) / len(y)


cross_entropy = Loss(cross_entropy_gradient, cross_entropy_curvature)
squared_error = Loss(lambda y, t: y - t, lambda y, u: u)  # L = sum (y - t)^2 / 2: exact


def tangent_inputs(mlp: Mlp, trace: Trace, V: Scores) -> tuple[tuple[NDArray, ...], NDArray]:
    """Return the derivatives of `trace.inputs` and `trace.output` along V in weight space.

    z = W a + b has the derivative V a + W a'. A piecewise linear unit multiplies it by phi'(z).
    """
    tangents, dz = [np.zeros_like(trace.inputs[0])], np.zeros_like(trace.output)
    layers = zip(mlp.weights, V, trace.inputs, trace.preactivations, strict=True)
    for W, v, a, z in layers:
        dz = a @ v.T + tangents[-1] @ W.T  # (batch, n_out)
        tangents.append(mlp.phi.derivative(z) * dz)
    return tuple(tangents[:-1]), dz


def hessian_product(mlp: Mlp, batch: Batch, V: Scores, loss: Loss) -> Scores:
    """Return H V, where H is the Hessian of the loss in the weights.

    It is the derivative of `backward` along V. It is exact if phi'' = 0 and no preactivation is 0.
    """
    x, targets = batch
    trace = forward(mlp, x)
    da, dy = tangent_inputs(mlp, trace, V)
    dL_dz = backward(mlp, trace, loss.gradient(trace.output, targets)).dR_dz
    ddelta = loss.curvature(trace.output, dy)  # derivative of dL/dz: (batch, n_out)
    HV = []
    for layer in reversed(range(len(mlp.weights))):
        HV.append(ddelta.T @ trace.inputs[layer] + dL_dz[layer].T @ da[layer])  # (n_out, n_in)
        ddelta = ddelta @ mlp.weights[layer] + dL_dz[layer] @ V[layer]
        if layer > 0:
            ddelta = ddelta * mlp.phi.derivative(trace.preactivations[layer - 1])
    return tuple(HV[::-1])


def tempered(loss: Loss, temperature: float) -> Loss:
    """Return the loss of y / temperature."""

    def gradient(y: NDArray, targets: NDArray) -> NDArray:
        return loss.gradient(y / temperature, targets) / temperature

    def curvature(y: NDArray, u: NDArray) -> NDArray:
        return loss.curvature(y / temperature, u / temperature) / temperature

    return Loss(gradient, curvature)


def grasp(
    mlp: Mlp, batches: Sequence[Batch], loss: Loss = cross_entropy, temperature: float = 200
) -> Scores:
    """Return theta * sum over batches of H_b g with g of all batches; the highest are kept.

    The losses are those of the outputs divided by the temperature.
    """
    loss = tempered(loss, temperature)
    g = loss_gradient(mlp, batches, loss.gradient)
    return _times_weights(mlp, [hessian_product(mlp, batch, g, loss) for batch in batches])


def grasp_text(mlp: Mlp, batches: Sequence[Batch], loss: Loss = cross_entropy) -> Scores:
    """Return theta * sum over batches of H_b g_b; the highest are kept (App. 12.1).

    The paper writes -(H g) * theta (Sec. 4). GraSP removes the highest of those scores.
    """

    def hessian_gradient(batch: Batch) -> Scores:
        return hessian_product(mlp, batch, loss_gradient(mlp, [batch], loss.gradient), loss)

    return _times_weights(mlp, [hessian_gradient(batch) for batch in batches])


def _times_weights(mlp: Mlp, parts: Sequence[Scores]) -> Scores:
    """Return theta * sum of the parts."""
    totals = (reduce(np.add, layer) for layer in zip(*parts, strict=True))
    return tuple(W * total for W, total in zip(mlp.weights, totals, strict=True))
