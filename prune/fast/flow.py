"""R (Eq. 5) and its gradient from one pass on small matrices and few pixels.

`synaptic_flow` returns what `prune.scores.synaptic_flow` does, to rounding.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prune.fast.matrices import Matrix, full_mask, matrix_of, spread
from prune.fast.plateaus import Plateaus
from prune.fast.products import Gradient, Products
from prune.masks import Masks
from prune.overflow import in_range, refuse_range
from prune.positive import positive_pass, reading
from prune.probe import Call, Probe, is_floating, ones
from prune.scores import Flow
from prune.scoring import Tensors, undisturbed


@torch.inference_mode(False)  # the tensors made here must be differentiable
def synaptic_flow(model: nn.Module, masks: Masks, probe: Probe) -> Flow:
    """Return R and all scores (Eq. 5, Eq. 6), as `prune.scores.synaptic_flow` does.

    Arguments, result and errors are the same; the numbers differ by rounding only.
    """
    matrices, around = read(model, masks, probe.dtype)
    R, gradients = flow_gradients(model, matrices, around, probe)
    scores = {n: gradients[n].rows(slice(None)).mul_(m.theta) for n, m in matrices.items()}
    return Flow(R, {name: spread(matrices[name], S) for name, S in scores.items()})


def read(model: nn.Module, masks: Masks, dtype: torch.dtype) -> tuple[dict[str, Matrix], Tensors]:
    """Return each masked weight as a matrix of |theta|, and what else the network is made of."""
    with undisturbed(model):
        tensors = reading(model, dtype)
    around = {name: t for name, t in tensors.items() if name not in masks}
    return {name: matrix_of(tensors[name], mask) for name, mask in masks.items()}, around


def flow_gradients(
    model: nn.Module, matrices: Mapping[str, Matrix], around: Tensors, probe: Probe
) -> tuple[float, dict[str, Gradient]]:
    """Return R (Eq. 5) and dR/dtheta of each matrix, from one forward and one backward pass.

    Args:
        model: Read, not changed.
        matrices: name -> the remaining part of each weight that is scored.
        around: All other floating tensors, as `read` returns them.
        probe: `input_shape` or `example`, and `dtype` are read.

    Raises:
        FloatingPointError: If R leaves the range of `probe.dtype` (App. 11); names a layer.
    """

    def run(small: bool) -> tuple[Tensor, Products, Plateaus]:
        given = {name: _given(matrix) for name, matrix in matrices.items()}
        products = Products(given, matrices)
        plateaus = Plateaus(probe.dtype, next(iter(given.values())).device)
        hold = plateaus.hold if small else torch.clone
        theta = given | {name: t.clone() for name, t in around.items()}
        found = positive_pass(model, theta, call, products, plateaus, hold)
        return found.R, products, plateaus

    with undisturbed(model):
        call = ones(model, probe)
        R, products, plateaus = run(small=_is_image(call, matrices))
        if plateaus.bypassed(R):
            R, products, _ = run(small=False)
        if not in_range(R.item(), probe):
            masks = {name: full_mask(matrix) for name, matrix in matrices.items()}
            refuse_range(R.item(), model, masks, probe)
        return R.item(), products.gradients(R)


def _is_image(call: Call, matrices: Mapping[str, Matrix]) -> bool:
    """Return True if the input is one image and nothing else, and convolutions read it."""
    inputs = [value for value in tree_leaves(tuple(call)) if isinstance(value, Tensor)]
    convolves = any(len(matrix.shape) == 4 for matrix in matrices.values())
    return len(inputs) == 1 and is_floating(inputs[0]) and inputs[0].dim() == 4 and convolves


def _given(matrix: Matrix) -> Tensor:
    """Return the tensor that the network gets for this weight.

    It is theta (shaped like the weight), or a stand-in of NaN that takes no memory if the matrix
    was cut down.
    """
    if matrix.rows is None:
        return matrix.theta.view(matrix.shape).detach().requires_grad_()
    return matrix.theta.new_full((), torch.nan).expand(matrix.shape).requires_grad_()
