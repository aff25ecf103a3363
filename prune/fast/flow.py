"""R (Eq. 5) and its gradient from one pass on small matrices and few pixels.

`synaptic_flow` returns what `prune.scores.synaptic_flow` does, to rounding.
"""

from collections.abc import Callable, Mapping
from math import isclose
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from prune.fast.matrices import Matrix, full_mask, matrix_of, spread
from prune.fast.products import Gradient, Products
from prune.fast.replay import replay
from prune.fast.tape import Recorder, Tape
from prune.in_dtype import default_dtype
from prune.masks import Masks
from prune.overflow import fitted, in_range, refuse_range
from prune.positive import positive_pass, reading
from prune.probe import Probe, ones
from prune.scores import Flow
from prune.scoring import Tensors, gradients, settings, undisturbed

SAME = {torch.float64: 1e-9, torch.float32: 1e-3}  # relative rounding of R on another way

Matrices = Mapping[str, Matrix]


class Network(NamedTuple):
    """A network as SynFlow reads it, besides the weights that are scored."""

    model: nn.Module
    probe: Probe
    around: Tensors  # all other floating tensors; {} with a tape, which has those it needs
    tape: Tape | None  # None: the model itself is run at each step
    R: float  # (Eq. 5) when it was read


@torch.inference_mode(False)  # the tensors made here must be differentiable
def synaptic_flow(model: nn.Module, masks: Masks, probe: Probe) -> Flow:
    """Return R and all scores (Eq. 5, Eq. 6), as `prune.scores.synaptic_flow` does.

    Arguments, result and errors are the same; the numbers differ by rounding only.
    """
    network, matrices = read(model, masks, probe)
    R, found = flow_gradients(network, matrices)
    scores = {n: found[n].rows(slice(None)).mul_(m.theta) for n, m in matrices.items()}
    return Flow(R, {name: spread(matrices[name], S) for name, S in scores.items()})


def read(model: nn.Module, masks: Masks, probe: Probe) -> tuple[Network, dict[str, Matrix]]:
    """Return the network, read by running it once, and each masked weight as a matrix of |theta|.

    Raises:
        ValueError: If the model cannot be run on the probe.
    """
    with undisturbed(model):
        tensors = reading(model, probe.dtype, probe.power)
        around = {name: t for name, t in tensors.items() if name not in masks}
        matrices = {name: matrix_of(tensors[name], mask) for name, mask in masks.items()}
        given = {name: _given(matrix) for name, matrix in matrices.items()}
        recorder = Recorder(given)
        theta = given | {name: t.clone() for name, t in around.items()}
        with saved_tensors_hooks(lambda saved: None, lambda nothing: nothing):  # no backward pass
            call = ones(model, probe)
            run = positive_pass(model, theta, call, recorder, None, recorder.hold, probe.scale)
        tape, R = recorder.tape(run.outputs, probe.scale), run.R.item()
    network = Network(model, probe, around, tape, R)
    if _repeats(network, matrices):
        return network._replace(around={}), matrices
    return network._replace(tape=None), matrices


def read_in_range(
    model: nn.Module, masks: Masks, probe: Probe
) -> tuple[Network, dict[str, Matrix]]:
    """Return what `read` does, with the scale of the probe that brings R into range (App. 11)."""
    network, matrices = read(model, masks, probe)
    if in_range(network.R, probe):
        return network, matrices
    return read(model, masks, fitted(model, masks, probe))


def _repeats(network: Network, matrices: Matrices) -> bool:
    """Return True if the tape gives R once more."""
    if network.tape is None:
        return False
    with torch.no_grad(), settings(network.model), default_dtype(network.probe.dtype):
        again, _ = _replayed(network.tape, matrices)
    return isclose(again.item(), network.R, rel_tol=SAME[network.probe.dtype])


def flow_gradients(network: Network, matrices: Matrices) -> tuple[float, dict[str, Gradient]]:
    """Return R (Eq. 5) and dR/dtheta of each matrix, from one forward and one backward pass.

    Args:
        network: As `read` returns it.
        matrices: name -> the remaining part of each weight that is scored.

    Raises:
        FloatingPointError: If R leaves the range of `probe.dtype` (App. 11); names a layer.
    """
    model, probe, _, tape, _ = network
    if tape is None:
        R, found = _plain(network, matrices)
    else:
        with settings(model), default_dtype(probe.dtype):
            total, products = _replayed(tape, matrices)
            found = products.gradients(total)
            R = total.item()
    within_range(R, network, lambda: {name: full_mask(m) for name, m in matrices.items()})
    return R, found


def within_range(R: float, network: Network, masks: Callable[[], Masks]) -> None:
    """Raise FloatingPointError if R, of these masks, leaves the range of the dtype (App. 11)."""
    if not in_range(R, network.probe):
        refuse_range(R, network.model, masks(), network.probe)


def _replayed(tape: Tape, matrices: Matrices) -> tuple[Tensor, Products]:
    """Return R from the tape, and the products that it took."""
    given = {name: _given(matrix) for name, matrix in matrices.items()}
    products = Products(given, matrices)
    convolves = any(len(matrix.shape) == 4 for matrix in matrices.values())
    images = [x.dim() == 4 and len(x) == 1 for x in tape.inputs.values()]
    small = convolves and images == [True]
    return replay(tape, given, products.call, small), products


def _plain(network: Network, matrices: Matrices) -> tuple[float, dict[str, Gradient]]:
    """Return R and dR/dtheta by running the model itself."""
    model, probe, around, *_ = network
    with undisturbed(model):
        given = {name: _given(matrix) for name, matrix in matrices.items()}
        theta = given | {name: t.clone() for name, t in around.items()}
        R = positive_pass(model, theta, ones(model, probe), scale=probe.scale).R
        found = gradients(R, theta, matrices)
    return R.item(), {name: _whole(m, found[name]) for name, m in matrices.items()}


def _whole(matrix: Matrix, dR_dtheta: Tensor) -> Gradient:
    """Return a gradient that autograd has found."""
    rest = dR_dtheta.reshape(matrix.theta.shape)
    return Gradient(rest[:, :0], rest[:0].T, rest)


def _given(matrix: Matrix) -> Tensor:
    """Return the tensor that the network gets for this weight.

    It is theta (shaped like the weight), or a stand-in of NaN that takes no memory if the matrix
    was cut down.
    """
    if matrix.rows is None:
        return matrix.theta.view(matrix.shape).detach().requires_grad_()
    return matrix.theta.new_full((), torch.nan).expand(matrix.shape).requires_grad_()
