"""What is written down about a pruned network: per tensor, per step, and as a whole."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from prune import Step, connected, prunable
from prune.masks import Masks, kept, size


def layer_rows(model: nn.Module, masks: Masks, scores: Mapping[str, Tensor] | None) -> list[dict]:
    """One row for each prunable tensor, in the order of `named_parameters`.

    `score_sum` and `score_mean` are those of the last scoring pass, over the whole tensor (what
    was pruned before it scores 0, but for random); `mean_square_weight` is that of the kept
    weights at initialisation, empty where none is kept.
    """
    rows = []
    for name, weight in prunable(model).items():
        mask = masks[name]
        score_sum = scores[name].double().sum().item() if scores else None
        squares = weight.detach()[mask].double().square()
        rows.append(
            {
                "name": name,
                "shape": "x".join(map(str, weight.shape)),
                "size": mask.numel(),
                "kept": int(mask.sum()),
                "density": int(mask.sum()) / mask.numel(),
                "score_sum": score_sum,
                "score_mean": None if score_sum is None else score_sum / mask.numel(),
                "mean_square_weight": squares.mean().item() if len(squares) else None,
            }
        )
    return rows


def weight_rows(model: nn.Module, epoch: int) -> list[dict]:
    """The mean squared weight of each prunable tensor; pruned weights count as the 0 they are."""
    return [
        {
            "epoch": epoch,
            "name": name,
            "mean_square": weight.detach().double().square().mean().item(),
        }
        for name, weight in prunable(model).items()
    ]


def step_row(step: Step, seconds: float) -> dict:
    """One row for a pruning step; R and the ratio are empty for other scores than synflow."""
    columns = {"step": step.step, "kept": step.kept, "R": step.R}
    return columns | {"prune_cut_ratio": step.prune_cut_ratio, "seconds": seconds}


def pruning_facts(
    model: nn.Module, masks: Masks, steps: list[dict[str, str]], shape: tuple[int, int, int]
) -> dict:
    """What result.json says of the masks; `steps` are the rows of steps.csv."""
    ratios = [float(row["prune_cut_ratio"]) for row in steps if row["prune_cut_ratio"]]
    density = {name: int(mask.sum()) / mask.numel() for name, mask in masks.items()}
    return {
        "prunable": size(masks),
        "kept": kept(masks),
        "compression": size(masks) / kept(masks),
        "density": density,
        "empty_tensors": [name for name, fraction in density.items() if fraction == 0],
        "connected": connected(model, masks, shape),
        "max_prune_cut_ratio": max(ratios, default=None),
        "steps": len(steps),
    }


def fingerprint(masks: Masks) -> str:
    """SHA-256 of names, shapes and bits, in their order: equal for equal masks on any device."""
    digest = hashlib.sha256()
    for name, mask in masks.items():
        digest.update(f"{name} {tuple(mask.shape)}".encode())
        digest.update(np.packbits(mask.cpu().numpy()).tobytes())
    return digest.hexdigest()


def flops_of(network: nn.Module, images: torch.Tensor) -> int:
    """Additions and multiplications of a forward pass; those with a 0 count, too."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return counter.get_total_flops()
