"""Masks hold, or say so, when other code renames, replaces or moves the weights after `apply`."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import prune as theirs

from proofs_tests.tools.masked import alive, half_of, network, train, x
from prune import apply, masks_of, release

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
X = torch.ones(4, 12)


def two_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 4))


def one_more_by_torch(layer):
    theirs.random_unstructured(layer, "weight", amount=1)


LATER = {
    "spectral_norm": (parametrizations.spectral_norm, "0.parametrizations.weight.original"),
    "weight_norm": (parametrizations.weight_norm, "0.parametrizations.weight.original1"),
    "older weight_norm": (nn.utils.weight_norm, "0.weight_v"),
    "older spectral_norm": (nn.utils.spectral_norm, "0.weight_orig"),
    "torch.nn.utils.prune": (one_more_by_torch, "0.weight_orig"),
}


@pytest.mark.parametrize("put_on, trained", LATER.values(), ids=LATER)
def test_masks_move_to_the_tensor_that_is_trained(put_on, trained):
    """Bug reports 37 and 38: 177 and 178 of 192 pruned weights were alive again."""
    model = two_layers()
    masks = half_of(model)
    apply(model, masks)
    put_on(model[0])
    train(model, X)
    model(X)
    assert alive(model[0].weight, masks["0.weight"]) == 0
    found = masks_of(model)
    assert list(found) == [trained, "2.weight"]
    assert (found[trained] <= masks["0.weight"]).all()
    dict(model.named_parameters())[trained].data.add_(1)
    model(X)
    assert alive(model[0].weight, masks["0.weight"]) == 0


@pytest.mark.parametrize("put_on, trained", LATER.values(), ids=LATER)
def test_masks_of_the_trained_tensor_are_held(put_on, trained):
    """The other order: `apply` is called with the names that the model has by then."""
    model = two_layers()
    put_on(model[0])
    masks = {trained: half_of(two_layers())["0.weight"]}
    apply(model, masks)
    train(model, X)
    dict(model.named_parameters())[trained].data.add_(1)
    model[0](X)  # the layer alone
    assert alive(model[0].weight, masks[trained]) == 0
    assert masks_of(model)[trained].sum() in (masks[trained].sum(), masks[trained].sum() - 1)


def test_masks_survive_the_removal_of_a_parametrization():
    model = two_layers()
    masks = half_of(model)
    apply(model, masks)
    parametrizations.weight_norm(model[0])
    model(X)
    parametrize.remove_parametrizations(model[0], "weight")
    train(model, X)
    model[0].weight.data.add_(1)
    model(X)
    assert alive(model[0].weight, masks["0.weight"]) == 0
    assert list(masks_of(model)) == ["0.weight", "2.weight"]


def test_masks_can_be_replaced_after_the_weight_was_renamed():
    """The earlier mask of the same weight is gone, though no forward pass ran in between."""
    model = two_layers()
    apply(model, half_of(model))
    parametrizations.weight_norm(model[0])
    other = {"0.parametrizations.weight.original1": half_of(two_layers(), seed=1)["0.weight"]}
    apply(model, other)
    model.load_state_dict({name: t + 1 for name, t in model.state_dict().items()})
    (expected,) = other.values()
    assert torch.equal(masks_of(model)["0.parametrizations.weight.original1"], expected)
    assert torch.equal(model[0].parametrizations.weight.original1 != 0, expected)


def test_a_parametrization_that_mixes_weights_is_refused():
    model = two_layers()
    apply(model, half_of(model))
    parametrizations.orthogonal(model[0])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="_Orthogonal was put on 'weight' after apply"):
            model(X)
    assert release(model) is model
    assert model(X).isfinite().all()


def test_a_weight_of_another_shape_is_refused():
    model = two_layers()
    apply(model, half_of(model))
    model[2].weight = nn.Parameter(torch.ones(7, 32))
    with pytest.raises(RuntimeError, match=r"shape \(7, 32\) and a mask of shape \(4, 32\)"):
        model(X)


def test_a_weight_that_is_gone_is_refused():
    model = two_layers()
    apply(model, half_of(model))
    del model[2].weight
    model[2].other = nn.Parameter(torch.ones(3, 3))
    with pytest.raises(RuntimeError, match="the masked 'weight' of a Linear is gone"):
        model(X)


def test_a_replaced_weight_is_held():
    model = two_layers()
    masks = half_of(model)
    apply(model, masks)
    model[2].weight = nn.Parameter(torch.ones(4, 32))
    train(model, X)
    assert alive(model[2].weight, masks["2.weight"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_quantization_aware_training(inplace, fuse):
    """It swaps modules, and takes only their weights and hooks over; fusing moves the weights."""
    from torch.ao import quantization

    model = network().train()
    masks = half_of(model)
    apply(model, masks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if fuse:
            model = quantization.fuse_modules_qat(model, [["0", "1", "2"]], inplace=inplace)
        model.qconfig = quantization.get_default_qat_qconfig("fbgemm")
        model = quantization.prepare_qat(model, inplace=inplace)
    train(model)
    assert [alive(model[i].weight, masks[f"{i}.weight"]) for i in (0, 4)] == [0, 0]
    model[4].weight.data.add_(1)
    model(x())
    assert alive(model[4].weight, masks["4.weight"]) == 0


@pytest.mark.parametrize("clone", [False, True])
def test_layers_that_are_fused(clone):
    """The hooks of the convolution are then on the pair, and its weight is in the first of it."""
    from torch.ao import quantization

    model = network().train()
    masks = half_of(model)
    apply(model, masks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = quantization.fuse_modules_qat(model, [["0", "1"]])
    model = copy.deepcopy(model) if clone else model
    train(model)
    model[0][0].weight.data.add_(1)
    model(x())
    assert alive(model[0][0].weight, masks["0.weight"]) == 0
    assert list(masks_of(model)) == ["0.0.weight", "4.weight"]


def test_a_model_on_the_meta_device_is_masked_when_it_is_loaded():
    with torch.device("meta"):
        model = network()
    masks = half_of(model)
    apply(model, masks)
    assert model(x().to("meta")).is_meta
    model = model.to_empty(device="cpu")
    model.load_state_dict(network().state_dict())
    train(model)
    assert all(alive(model.get_parameter(name), mask) == 0 for name, mask in masks.items())


def test_replicas_of_data_parallel_are_masked():
    """nn.DataParallel runs copies of the modules that have no parameters."""
    model = network()
    masks = half_of(model)
    apply(model, masks)
    replica = model[4]._replicate_for_data_parallel()
    replica.weight, replica.bias = torch.ones(3, 64), model[4].bias
    replica(torch.ones(2, 64))
    assert alive(replica.weight, masks["4.weight"]) == 0
    assert alive(model[4].weight, masks["4.weight"]) == 0


@pytest.mark.parametrize("set_future", ["set_overwrite_module_params_on_conversion"])
def test_conversions_may_make_new_parameters(set_future):
    model = network()
    masks = half_of(model)
    apply(model, masks)
    setting = getattr(torch.__future__, set_future)
    setting(True)
    try:
        model = model.double().float()
    finally:
        setting(False)
    train(copy.deepcopy(model))
    train(model)
    assert all(alive(model.get_parameter(name), mask) == 0 for name, mask in masks.items())
