"""R (Eq. 5) and its gradient from one pass on small matrices and few pixels.

`synaptic_flow` returns what `prune.scores.synaptic_flow` does, to rounding.
"""

from collections.abc import Container, Mapping

import torch
from torch import Tensor, nn

from prune.fast.matrices import Matrix, full_mask, matrix_of, spread
from prune.fast.plateaus import Plateaus
from prune.fast.products import Gradient, Products
from prune.masks import Masks, prunable
from prune.overflow import in_range, refuse_range
from prune.positive import magnitudes, ones, positive_outputs, total
from prune.scores import Flow
from prune.scoring import Probe, Tensors, undisturbed


@torch.inference_mode(False)  # the tensors made here must be differentiable
def synaptic_flow(model: nn.Module, masks: Masks, probe: Probe) -> Flow:
    """Return R and all scores (Eq. 5, Eq. 6), as `prune.scores.synaptic_flow` does.

    Arguments, result and errors are the same; the numbers differ by rounding only.
    """
    weights = prunable(model)
    matrices = {name: matrix_of(weights[name], m, probe.dtype) for name, m in masks.items()}
    R, gradients = flow_gradients(model, matrices, probe)
    scores = {n: gradients[n].rows(slice(None)).mul_(m.theta) for n, m in matrices.items()}
    return Flow(R, {name: spread(matrices[name], S) for name, S in scores.items()})


def flow_gradients(
    model: nn.Module, matrices: Mapping[str, Matrix], probe: Probe
) -> tuple[float, dict[str, Gradient]]:
    """Return R (Eq. 5) and dR/dtheta of each matrix, from one forward and one backward pass.

    Args:
        model: Read, not changed.
        matrices: name -> the remaining part of each prunable weight.
        probe: `input_shape` and `dtype` are read.

    Raises:
        FloatingPointError: If R leaves the range of `probe.dtype` (App. 11); names a layer.
    """

    def run(small: bool) -> tuple[Tensor, Products, Plateaus]:
        given = {name: _given(matrix) for name, matrix in matrices.items()}
        theta = given | _surroundings(model, matrices, probe)
        products, plateaus = Products(given, matrices), Plateaus(dtype=x.dtype, device=x.device)
        with products:
            outputs = positive_outputs(model, theta, plateaus.hold(x) if small else x, plateaus)
            return total(outputs), products, plateaus

    with undisturbed(model):
        x = ones(model, probe)
        images = x.dim() == 4 and any(len(matrix.shape) == 4 for matrix in matrices.values())
        R, products, plateaus = run(small=images)
        if plateaus.bypassed(R):
            R, products, _ = run(small=False)
        if not in_range(R.item(), probe):
            masks = {name: full_mask(matrix) for name, matrix in matrices.items()}
            refuse_range(R.item(), model, masks, probe)
        return R.item(), products.gradients(R)


def _surroundings(model: nn.Module, weights: Container[str], probe: Probe) -> Tensors:
    """Return |theta| of all floating parameters and buffers other than `weights`, as copies."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    floating = {n: t for n, t in tensors.items() if n not in weights and t.is_floating_point()}
    return magnitudes({n: t.detach().to(probe.dtype) for n, t in floating.items()})


def _given(matrix: Matrix) -> Tensor:
    """Return the tensor that the network gets for this weight.

    It is theta (shaped like the weight), or a stand-in of NaN that takes no memory if the matrix
    was cut down.
    """
    if matrix.rows is None:
        return matrix.theta.view(matrix.shape).detach().requires_grad_()
    return matrix.theta.new_full((), torch.nan).expand(matrix.shape).requires_grad_()
