"""Masks are read off a model, go to torch.nn.utils.prune, and into files of safetensors."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.nn.utils import prune as theirs

from proofs_tests.tools.masked import alive, half_of, network, train, x
from prune import apply, importance, load_masks, masks_of, prunable, save_masks, to_torch


def assert_equal(found, expected):
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], mask) for name, mask in expected.items())
    assert all(mask.dtype == torch.bool for mask in found.values())


# masks_of


def test_a_checkpoint_alone_resumes():
    """Bug report 18: of 920 zeros 322 were left after 3 steps."""
    model = network()
    masks = half_of(model)
    apply(model, masks)
    train(model)
    fresh = network()
    fresh.load_state_dict(model.state_dict())
    apply(fresh, masks_of(fresh))
    assert_equal(masks_of(fresh), masks)
    train(fresh)
    assert all(alive(fresh.get_parameter(name), mask) == 0 for name, mask in masks.items())


def test_masks_of_a_masked_model_are_those_applied():
    """A kept weight that is 0 by chance stays kept; what has no mask is not named."""
    model = network()
    masks = {"4.weight": half_of(model)["4.weight"]}
    apply(model, masks)
    model[4].weight.data.zero_()
    found = masks_of(model)
    assert_equal(found, masks)
    found["4.weight"].zero_()
    assert_equal(masks_of(model), masks)


def test_masks_of_a_shared_weight_and_of_other_parameters():
    """The name is the first one in `named_parameters`."""
    model = nn.ModuleDict({"embedding": nn.Embedding(4, 3), "head": nn.Linear(3, 4)})
    model["head"].weight = model["embedding"].weight
    masks = half_of(model)
    assert list(masks) == ["embedding.weight"]
    apply(model, masks)
    assert_equal(masks_of(model), masks)


def test_masks_of_a_dense_model_are_true():
    assert all(mask.all() for mask in masks_of(network()).values())
    assert list(masks_of(network())) == list(prunable(network()))


def test_masks_of_torch_are_read_at_the_trained_tensor():
    model = network()
    theirs.l1_unstructured(model[4], "weight", 0.5)
    kept = model[4].weight_mask.bool()
    assert_equal(masks_of(model), {"4.weight_orig": kept})
    masks = {"4.weight_orig": half_of(network())["4.weight"]}
    apply(model, masks)
    assert_equal(masks_of(model), {"4.weight_orig": kept & masks["4.weight_orig"]})


def test_layers_are_left_out():
    model = network()
    assert list(masks_of(model, exclude=("4.*",))) == ["0.weight"]
    masks = half_of(model)
    apply(model, masks)
    assert_equal(masks_of(model, layers=("4.*",)), {"4.weight": masks["4.weight"]})


# torch.nn.utils.prune


def test_torch_holds_the_masks_that_are_handed_over():
    model = network()
    masks = half_of(model)
    apply(model, masks)
    assert to_torch(model, masks_of(model)) is model
    assert [type(h) for h in model[4]._forward_pre_hooks.values()] == [theirs.CustomFromMask]
    train(model)
    model(x())
    assert all(alive(model.get_submodule(n[0]).weight, mask) == 0 for n, mask in masks.items())
    assert_equal(masks_of(model), {f"{name}_orig": mask for name, mask in masks.items()})


def test_masks_go_to_torch_and_back():
    model = network()
    masks = half_of(model)
    to_torch(model, masks)
    found = masks_of(model)
    to_torch(model, found)  # by the names that the trained tensors have now
    for index in (0, 4):
        theirs.remove(model[index], "weight")
    assert_equal(masks_of(model), masks)


def test_a_shared_weight_is_handed_over_in_each_layer():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    masks = half_of(model)
    to_torch(model, masks)
    assert all(alive(layer.weight, masks["0.weight"]) == 0 for layer in model)


def test_scores_choose_the_same_weights_in_torch():
    model = network()
    scores = {name: torch.rand(w.shape) for name, w in prunable(model).items()}
    found = importance(model, scores)
    assert list(found) == [(model[0], "weight"), (model[4], "weight")]
    theirs.global_unstructured(
        list(found), theirs.L1Unstructured, importance_scores=found, amount=0.75
    )
    kept = parameters_to_vector([m.weight_mask for m in (model[0], model[4])])
    flat = parameters_to_vector(scores.values())
    assert torch.equal(kept.bool(), flat > flat.kthvalue(round(0.75 * flat.numel())).values)
    assert list(importance(model, {"4.weight_orig": scores["4.weight"]})) == [(model[4], "weight")]


@pytest.mark.parametrize("hand_over", [to_torch, importance])
def test_names_that_fit_nothing_are_refused(hand_over):
    model = network()
    with pytest.raises(ValueError, match=r"'5\.weight' fits no parameter of this model"):
        hand_over(model, {**half_of(model), "5.weight": torch.ones(1, 1) > 0})
    assert not model[4]._forward_pre_hooks


# safetensors


def test_files_of_safetensors(tmp_path):
    """Names, masks and metadata are those of the .npz; equal masks give equal bytes."""
    pytest.importorskip("safetensors")
    model, path = network(), tmp_path / "masks.safetensors"
    masks, texts = half_of(model), {"b": "1", "a": "2", "c": "3"}
    save_masks(masks, path, texts)
    assert_equal(load_masks(path, model), masks)
    assert load_masks(path).keys() == masks.keys()
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    assert json.loads(content[8 : 8 + size])["__metadata__"] == texts
    save_masks(masks, path, texts)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["masks.safetensors"]


def test_safetensors_of_bytes_are_read(tmp_path):
    safe = pytest.importorskip("safetensors.numpy")
    bits = np.array([[0, 1], [1, 1]], np.uint8)
    safe.save_file({"weight": bits}, tmp_path / "masks.safetensors")
    assert_equal(load_masks(tmp_path / "masks.safetensors"), {"weight": torch.tensor(bits) > 0})
    safe.save_file({"weight": 2 * bits}, tmp_path / "masks.safetensors")
    with pytest.raises(ValueError, match="holds 'weight', which is not a bool array"):
        load_masks(tmp_path / "masks.safetensors")


def test_safetensors_that_are_damaged_or_do_not_fit(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "masks.safetensors"
    with pytest.raises(FileNotFoundError, match="no mask file at"):
        load_masks(path)
    path.write_bytes(b"no mask file")
    with pytest.raises(ValueError, match="damaged, or no mask file"):
        load_masks(path)
    save_masks({"0.weight": torch.ones(4, 2, 3, 3) > 0}, path)
    with pytest.raises(ValueError, match=r"has no mask for 4\.weight"):
        load_masks(path, network())


def test_safetensors_name_the_extra_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    path = tmp_path / "masks.safetensors"
    with pytest.raises(ImportError, match=r"pip install 'synflow\[safetensors\]'"):
        save_masks(half_of(network()), path)
    path.write_bytes(b"")
    with pytest.raises(ImportError, match="safetensors"):
        load_masks(path)
