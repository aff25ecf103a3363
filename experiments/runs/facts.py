"""Rows and facts about a pruned network: per tensor, per step, and as a whole."""

import hashlib
from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from prune import Probe, Step, connected, effective, prunable
from prune.masks import Masks, kept, size


def layer_rows(model: nn.Module, masks: Masks, scores: Mapping[str, Tensor] | None) -> list[dict]:
    """One row of layers.csv for each tensor that has a mask, in the order of the masks.

    `score_sum` and `score_mean` are those of the last scoring, over the whole tensor, in which a
    weight pruned before scores 0 (except for random scores). `mean_square_weight` is that of the
    kept weights at initialisation, and empty if none is kept.
    """
    return [
        _layer_row(name, model.get_parameter(name).detach(), mask, scores[name] if scores else None)
        for name, mask in masks.items()
    ]


def _layer_row(name: str, weight: Tensor, mask: Tensor, scores: Tensor | None) -> dict:
    score_sum = None if scores is None else scores.double().sum().item()
    squares = weight[mask].double().square()
    return {
        "name": name,
        "shape": "x".join(map(str, weight.shape)),
        "size": mask.numel(),
        "kept": int(mask.sum()),
        "density": int(mask.sum()) / mask.numel(),
        "score_sum": score_sum,
        "score_mean": None if score_sum is None else score_sum / mask.numel(),
        "mean_square_weight": squares.mean().item() if len(squares) else None,
    }


def weight_rows(model: nn.Module, epoch: int, exclude: tuple[str, ...] = ()) -> list[dict]:
    """One row of weights.csv for each tensor that is pruned: the mean over its squared weights.

    Pruned weights are 0 and count as such; tensors that `exclude` leaves dense have no row.
    """
    return [
        {
            "epoch": epoch,
            "name": name,
            "mean_square": weight.detach().double().square().mean().item(),
        }
        for name, weight in prunable(model, exclude=exclude).items()
    ]


def step_row(step: Step, seconds: float) -> dict:
    """One row of steps.csv; R and the prune/cut ratio are empty for other scores than synflow."""
    return {
        "step": step.step,
        "kept": step.kept,
        "R": f"{step.unscaled_R:.12g}" if step.scale else step.R,
        "prune_cut_ratio": step.prune_cut_ratio,
        "seconds": seconds,
    }


def pruning_facts(
    model: nn.Module, masks: Masks, steps: list[dict], shape: tuple[int, int, int]
) -> dict:
    """The entries of result.json that describe the masks; `steps` are the rows of steps.csv."""
    ratios = [row["prune_cut_ratio"] for row in steps if row["prune_cut_ratio"] is not None]
    density, probe = densities(masks), Probe(shape)
    live = effective(model, masks, probe)
    return {
        "prunable": size(masks),
        "kept": kept(masks),
        "compression": size(masks) / kept(masks),
        "density": density,
        "empty_tensors": [name for name, fraction in density.items() if fraction == 0],
        "effective": kept(live),
        "effective_density": densities(live),
        "connected": connected(model, masks, probe),
        "max_prune_cut_ratio": max(ratios, default=None),
        "steps": len(steps),
    }


def densities(masks: Masks) -> dict[str, float]:
    """The density of each tensor."""
    return {name: int(mask.sum()) / mask.numel() for name, mask in masks.items()}


def masks_sha256(masks: Masks) -> str:
    """SHA-256 of the masks' names, shapes and bits, in their order.

    It is equal for equal masks on any device.
    """
    digest = hashlib.sha256()
    for name, mask in masks.items():
        digest.update(f"{name} {tuple(mask.shape)}".encode())
        digest.update(np.packbits(mask.cpu().numpy()).tobytes())
    return digest.hexdigest()
