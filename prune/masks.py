"""Masks: one bool tensor for each prunable weight, keyed by its name; True = kept."""

import io
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from prune import safe
from prune.weights import Choice, candidates, prunable

Masks = Mapping[str, Tensor]
Scores = Mapping[str, Tensor]


def dense_masks(
    model: nn.Module, layers: Choice | None = None, exclude: Choice = ()
) -> dict[str, Tensor]:
    """Return masks that are True everywhere, on the device of each weight that `prunable` names."""
    weights = prunable(model, layers, exclude)
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}


def size(masks: Masks) -> int:
    """Return N, the number of prunable weights."""
    return sum(mask.numel() for mask in masks.values())


def kept(masks: Masks) -> int:
    """Return the number of weights that survive."""
    return sum(int(mask.sum()) for mask in masks.values())


def density(masks: Masks) -> float:
    """Return the fraction of prunable weights that survive, the inverse of compression."""
    return kept(masks) / size(masks)


def masked(tensors: Mapping[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    """Return mu * theta (Algorithm 1, line 2); tensors without a mask are not changed."""
    return {name: t * masks[name] if name in masks else t for name, t in tensors.items()}


def top(scores: Tensor, keep: int) -> Tensor:
    """Return bool (n,), True for the `keep` highest of scores (n,); of equals the earlier wins."""
    if keep == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = _lowest(scores, scores.numel() - keep)  # tau of Algorithm 1, line 5
    above, ties = scores > threshold, (scores == threshold).nonzero().squeeze(1)
    return above.index_fill_(0, ties[: keep - int(above.count_nonzero())], True)


def _lowest(scores: Tensor, k: int) -> float | Tensor:
    """Return the score above k others; on a CPU by NumPy, in a fraction of the time of torch."""
    if scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64):
        return float(np.partition(scores.detach().numpy(), k)[k])
    return scores.kthvalue(k + 1).values


def survivors(tensors: Mapping[str, Tensor], masks: Masks) -> Tensor:
    """Return the entries of `tensors` where masks is True as one flat tensor, in their order."""
    return torch.cat([tensors[name][mask] for name, mask in masks.items()])


def keep_top(scores: Scores, masks: Masks, keep: int) -> dict[str, Tensor]:
    """Keep exactly the `keep` best-scored survivors of `masks` (Algorithm 1, lines 5 and 6).

    Of equal scores, the earlier in the order of `masks`, then row-major, survives. Pruned weights
    stay pruned, whatever their score.

    Args:
        scores: name -> tensor; further names are ignored.
        masks: name -> bool tensor; the weights that survive so far.
        keep: The number of weights to keep, over all of `masks`.

    Returns:
        name -> bool tensor, True in exactly `keep` places, all of them True in `masks`.

    Raises:
        ValueError: If fewer than `keep` weights survive in `masks`, or scores do not fit them.
        FloatingPointError: If a survivor's score is not finite; names the tensors.
    """
    check_scores(scores, masks)
    flat = survivors(scores, masks)
    if not 0 <= keep <= flat.numel():
        raise ValueError(f"cannot keep {keep:,} weights: {flat.numel():,} survive")
    if not flat.isfinite().all():
        bad = [name for name, mask in masks.items() if not scores[name][mask].isfinite().all()]
        raise FloatingPointError(f"scores of {', '.join(bad)} are not finite")
    chosen = top(flat, keep).split([int(mask.sum()) for mask in masks.values()])
    return {
        name: torch.zeros_like(mask).masked_scatter_(mask, part)
        for part, (name, mask) in zip(chosen, masks.items(), strict=True)
    }


def without(mask: Tensor, entries: Tensor) -> Tensor:
    """Return a copy of the mask with the entries (k,) set to False."""
    left = mask.clone(memory_format=torch.contiguous_format)
    left.view(-1).index_fill_(0, entries, False)
    return left


def check_scores(scores: Scores, masks: Masks) -> None:
    """Raise ValueError unless there is a score of the same shape for each mask."""
    for name, mask in masks.items():
        if name not in scores or scores[name].shape != mask.shape:
            raise ValueError(f"scores lack a tensor {name!r} of shape {tuple(mask.shape)}")


def check_masks(model: nn.Module, masks: Masks) -> None:
    """Compare masks with the model; weights without a mask are allowed.

    Raises:
        ValueError: Unless each mask is a bool tensor shaped like the parameter of its name, which
            has two or more dimensions.
    """
    weights = candidates(model)
    for name, mask in masks.items():
        if name not in weights:
            raise ValueError(f"mask {name!r} fits no prunable weight of this model")
        if mask.dtype != torch.bool or mask.shape != weights[name].shape:
            raise ValueError(
                f"mask {name!r} is {mask.dtype} of shape {tuple(mask.shape)}; "
                f"the weight needs torch.bool of shape {tuple(weights[name].shape)}"
            )


def save_masks(masks: Masks, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write masks as a compressed .npz or as .safetensors, whole or not at all.

    Equal masks give equal bytes. Until it is whole, the file is named `path`.part.

    Args:
        masks: name -> bool tensor.
        path: The file, which is replaced if it exists. A suffix other than .safetensors: .npz.
        metadata: Texts by name; an .npz file holds them under `__name`.

    Raises:
        ValueError: If a name begins with `__`, as those of metadata do.
        ImportError: If the path ends in .safetensors and that package is not installed.
    """
    if hidden := [name for name in masks if name.startswith("__")]:
        raise ValueError(f"mask {hidden[0]!r} cannot be saved: names with __ are for metadata")
    arrays = {name: mask.cpu().contiguous().numpy() for name, mask in masks.items()}
    texts, path = dict(metadata or {}), Path(path)
    content = safe.written if path.suffix == safe.SUFFIX else _npz
    partial = path.with_name(path.name + ".part")
    try:
        with open(partial, "wb") as file:
            file.write(content(arrays, texts))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno:  # of the system: a full disk, a missing folder
            error.filename, error.filename2 = str(path), None
            with suppress(OSError):  # the first error is the one to report
                partial.unlink(missing_ok=True)
        raise


def _npz(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> bytes:
    """Return the bytes of a compressed .npz, with fixed dates."""
    named = {f"__{key}": np.array(text) for key, text in texts.items()} | dict(arrays)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, array in named.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")  # its date is fixed
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED)
    return whole.getvalue()


def _arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of a mask file, without metadata."""
    if Path(path).suffix == safe.SUFFIX:
        return safe.read(Path(path).read_bytes())
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if not name.startswith("__")}


def load_masks(
    path: str | Path,
    model: nn.Module | None = None,
    layers: Choice | None = None,
    exclude: Choice = (),
) -> dict[str, Tensor]:
    """Read a file of `save_masks`.

    Args:
        path: The file. In .safetensors, masks of 0 and 1 as uint8 are read, too.
        model: If given, the masks must be those of its weights that `prunable(model, layers,
            exclude)` names, and are moved to the device of each weight.
        layers: As in `prunable`.
        exclude: As in `prunable`.

    Returns:
        name -> bool tensor, in the order of the file, or of `named_parameters` with `model`.

    Raises:
        ValueError: If the file is damaged, is no mask file, or does not fit `model`.
        FileNotFoundError: If there is no such file.
        ImportError: If the path ends in .safetensors and that package is not installed.
    """
    try:
        masks = {name: torch.from_numpy(array) for name, array in _arrays(path).items()}
    except FileNotFoundError:
        raise FileNotFoundError(f"no mask file at {path}") from None
    except ImportError:
        raise
    except Exception as error:  # zip, zlib, npy header and EOF errors share no base class
        kind = type(error).__name__
        raise ValueError(f"mask file {path} is damaged, or no mask file ({kind})") from None
    if wrong := [name for name, mask in masks.items() if mask.dtype != torch.bool]:
        raise ValueError(f"mask file {path} holds {wrong[0]!r}, which is not a bool array")
    if not masks:
        raise ValueError(f"{path} is no mask file: it holds no mask")
    if model is None:
        return masks
    weights = prunable(model, layers, exclude)
    if missing := set(weights) - set(masks):
        raise ValueError(f"mask file {path} has no mask for {', '.join(sorted(missing))}")
    check_masks(model, masks)
    known = candidates(model).items()
    return {name: masks[name].to(weight.device) for name, weight in known if name in masks}
