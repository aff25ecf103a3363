"""Scores: synaptic saliency and its relatives (Sec. 4), Synaptic Flow (Sec. 6)."""

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from reference.mlp import Mlp, Real, backward, forward

Scores = tuple[NDArray, ...]  # one array per layer, shaped like its weights
Batch = tuple[NDArray, NDArray]  # x (batch, n_in) and the targets of f(x)
LossGradient = Callable[[NDArray, NDArray], NDArray]  # (y, targets) -> dL/dy (batch, n_out)


def synaptic_saliency(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> Scores:
    """Return S = dR/dtheta * theta, entry by entry (Eq. 1).

    Args:
        mlp: Any network; with homogeneous units and no biases S is conserved (Theorems 1, 2).
        x: A batch (batch, n_in).
        dR_dy: The gradient of R in the outputs (batch, n_out); it stands for any R.
    """
    dR_dW = backward(mlp, forward(mlp, x), dR_dy).dR_dW
    return tuple(g * W for g, W in zip(dR_dW, mlp.weights, strict=True))


def magnitude(mlp: Mlp) -> Scores:
    """Return |theta| (App. 12.1)."""
    return tuple(np.abs(W) for W in mlp.weights)


def cross_entropy_gradient(y: NDArray, labels: NDArray) -> NDArray:
    """Return dL/dy = (softmax(y) - one_hot(labels)) / batch, L the mean cross-entropy."""
    p = np.exp(y - y.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)  # (batch, classes)
    return (p - np.eye(y.shape[1])[labels]) / len(y)


def loss_gradient(mlp: Mlp, batches: Sequence[Batch], dL_dy: LossGradient) -> Scores:
    """Return dL/dtheta, summed over the batches (App. 12.1)."""
    gradients = []
    for x, targets in batches:
        trace = forward(mlp, x)
        gradients.append(backward(mlp, trace, dL_dy(trace.output, targets)).dR_dW)
    return tuple(reduce(np.add, layer) for layer in zip(*gradients, strict=True))


def skeletonization(
    mlp: Mlp, batches: Sequence[Batch], dL_dy: LossGradient = cross_entropy_gradient
) -> Scores:
    """Return -dL/dtheta * theta (Sec. 4): the saliency of R = -L, so it is conserved."""
    gradients = loss_gradient(mlp, batches, dL_dy)
    return tuple(-g * W for g, W in zip(gradients, mlp.weights, strict=True))


def snip(
    mlp: Mlp, batches: Sequence[Batch], dL_dy: LossGradient = cross_entropy_gradient
) -> Scores:
    """Return |dL/dtheta * theta| (App. 12.1): positive, but not conserved."""
    return tuple(np.abs(S) for S in skeletonization(mlp, batches, dL_dy))


def taylor_fo(
    mlp: Mlp, batches: Sequence[Batch], dL_dy: LossGradient = cross_entropy_gradient
) -> Scores:
    """Return (dL/dtheta * theta)^2 (Sec. 4): positive, but not conserved."""
    return tuple(S**2 for S in skeletonization(mlp, batches, dL_dy))


def synflow_objective(mlp: Mlp) -> Real:
    """Return R = 1^T |W[L]| ... |W[1]| 1, the strength of all input-output paths (Eq. 5)."""
    n_in, dtype = mlp.weights[0].shape[1], mlp.weights[0].dtype
    return reduce(lambda flow, W: np.abs(W) @ flow, mlp.weights, np.ones(n_in, dtype)).sum()


def synflow_scores(mlp: Mlp) -> Scores:
    """Return S(w_ij) = [1^T |W[L]| ... |W[l+1]|]_i |w_ij| [|W[l-1]| ... |W[1]| 1]_j (Eq. 6).

    The strength of all paths below the weight, times |w_ij|, times the strength of all paths
    above it: the share of R (Eq. 5) that passes through the weight. No data and no gradient is
    used; biases are ignored.

    Returns:
        Scores >= 0, positive exactly on the open input-output paths. They sum to R over every
        set of weights that each path crosses exactly once (Theorem 2).
    """
    W = magnitude(mlp)
    flow_in = [np.ones(W[0].shape[1], W[0].dtype)]
    for layer in W[:-1]:
        flow_in.append(layer @ flow_in[-1])  # (n_in of the next layer,)
    flow_out = [np.ones(W[-1].shape[0], W[-1].dtype)]
    for layer in W[:0:-1]:
        flow_out.append(flow_out[-1] @ layer)  # (n_out of the layer below,)
    by_layer = zip(flow_out[::-1], W, flow_in, strict=True)
    return tuple(out[:, None] * w * into for out, w, into in by_layer)
