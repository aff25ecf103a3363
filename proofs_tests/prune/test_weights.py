"""The choice of weights: by kind of layer, name or function; frozen ones; masks to go on from."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import utils as torch_norms
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

from proofs_tests.prune.test_pruning import refused
from prune import Probe, Uncovered, apply, masks_of, prunable, prune
from prune.masks import dense_masks, kept, size


class Conv1D(nn.Module):
    """The linear layer of transformers, with a transposed weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))

    def forward(self, x):
        return x @ self.weight


class Table(nn.Module):
    """A bare matrix beside an embedding, a normalisation over maps, and vectors."""

    def __init__(self):
        super().__init__()
        self.table, self.token = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(1, 1, 6))
        self.embed, self.linear = nn.Embedding(9, 6), nn.Linear(6, 6)
        self.norm = nn.LayerNorm([5, 6])

    def forward(self, ids):
        return self.linear(self.norm(self.embed(ids) @ self.table + self.token))


NAMES = {
    nn.Linear: (lambda: nn.Linear(6, 4), ["weight"]),
    nn.Conv3d: (lambda: nn.Conv3d(4, 4, 3, groups=2), ["weight"]),
    nn.ConvTranspose1d: (lambda: nn.ConvTranspose1d(4, 4, 3), ["weight"]),
    nn.LSTM: (
        lambda: nn.LSTM(4, 6, 1, proj_size=2),
        ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"],
    ),
    nn.GRUCell: (lambda: nn.GRUCell(4, 6), ["weight_ih", "weight_hh"]),
    nn.MultiheadAttention: (
        lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5),
        ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"],
    ),
    Conv1D: (Conv1D, ["weight"]),
    "weight_norm": (
        lambda: parametrizations.weight_norm(nn.Linear(6, 4)),
        ["parametrizations.weight.original1"],
    ),
    "spectral_norm": (
        lambda: parametrizations.spectral_norm(nn.Linear(6, 4)),
        ["parametrizations.weight.original"],
    ),
    "torch's mask": (lambda: torch_prune.identity(nn.Linear(6, 4), "weight"), ["weight_orig"]),
}


@pytest.mark.parametrize("kind", NAMES)
def test_kinds_of_layers(kind):
    """Each matrix is found at the tensor that is trained."""
    make, names = NAMES[kind]
    assert list(prunable(make())) == names


def chain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"exclude": "4"}, ["0.weight", "2.weight"]),
        ({"exclude": ["0.*", "4.weight"]}, ["2.weight"]),
        ({"exclude": lambda name, layer: layer.out_features == 8}, ["4.weight"]),
        ({"layers": ["4", "0.weight"]}, ["0.weight", "4.weight"]),
        ({"layers": lambda name, layer: name != "2.weight"}, ["0.weight", "4.weight"]),
        ({"layers": "*", "exclude": "[02]"}, ["4.weight"]),
    ],
)
@pytest.mark.parametrize("schedule", ["exponential", "certified"])
def test_weights_are_chosen_by_name_or_by_a_function(choice, names, schedule):
    """The others stay dense and do not count."""
    model = chain()
    masks = prune(model, "synflow", Probe((6,)), 3, schedule=schedule, **choice)
    assert list(masks) == names
    assert kept(masks) == -(-size(masks) // 3)
    assert list(prunable(model, **choice)) == names


def test_a_choice_that_fits_nothing_is_refused():
    given = ("synflow", Probe((6,)), 2)
    refused(
        "exclude '5' fits no weight; the model has 0.weight,", *given, model=chain(), exclude="5"
    )
    refused("layers 'head' fits no weight", *given, model=chain(), layers=["0", "head"])
    refused("nothing to prune: `layers` and `exclude` leave", *given, model=chain(), exclude="*")


def test_embeddings_and_bare_parameters_are_pruned_when_named():
    """Otherwise one warning names them and their share; `exclude` silences it."""
    torch.manual_seed(0)
    model, probe = Table(), Probe(example=torch.randint(9, (2, 5)))
    with pytest.warns(Uncovered, match=r"^45\.5% of all .*: table, embed\.weight; name") as found:
        assert list(prune(model, "synflow", probe, 2)) == ["linear.weight"]
    assert len([one for one in found if one.category is Uncovered]) == 1
    masks = prune(model, "synflow", probe, 2, layers=["table", "embed", "linear"])
    assert list(masks) == ["table", "embed.weight", "linear.weight"]
    assert kept(masks) == 63


def test_frozen_weights_are_left_out_unless_named_or_all_are_frozen():
    model = chain()
    model[0].requires_grad_(False)
    with pytest.warns(Uncovered, match=r"0\.weight \(frozen\)"):
        masks = prune(model, "synflow", Probe((6,)), 2)
    assert list(masks) == ["2.weight", "4.weight"]
    assert list(prunable(model, layers="*")) == ["0.weight", "2.weight", "4.weight"]
    assert list(prunable(model.requires_grad_(False))) == ["0.weight", "2.weight", "4.weight"]


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("score", ["synflow", "magnitude"])
def test_masks_to_go_on_from(score, scope):
    """New masks lie within them; compression counts from all weights."""
    model, probe = chain(), Probe((6,))
    first = prune(model, score, probe, 4, scope=scope)
    second = prune(model, score, probe, 8, steps=3, scope=scope, masks=first)
    assert all((second[name] <= first[name]).all() for name in first)
    names = list(first) if scope == "local" else [None]
    for name in names:
        of = second if name is None else {name: second[name]}
        assert kept(of) == -(-size(of) // 8)
    refused("compression 2 keeps .* and `masks` leave", score, probe, 2, model=model, masks=first)


def test_masks_of_other_weights_are_refused():
    model = chain()
    masks = dense_masks(model)
    why = "mask '0.weight' is of a weight that is not to be pruned"
    refused(why, "synflow", Probe((6,)), 2, model=model, exclude="0", masks=masks)


def test_a_meta_device_has_no_values():
    with torch.device("meta"):
        model = nn.Linear(4, 3)
    for score in ("synflow", "random"):
        refused(
            "weight is on the meta device and has no values", score, Probe((4,)), 2, model=model
        )


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, torch_norms.weight_norm])
def test_an_output_that_weight_norm_would_make_nan_is_held_at_zero(norm):
    """0 / 0 is NaN: the length g is held at 0 in place of v."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the older function deprecated
        model = nn.Sequential(norm(nn.Linear(6, 4)), nn.Linear(4, 2))
    masks = {name: torch.rand(mask.shape) < 0.5 for name, mask in dense_masks(model).items()}
    (name, _) = masks
    masks[name][1] = False
    apply(model, masks)
    assert all(torch.equal(masks_of(model)[n], masks[n]) for n in masks)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(5, 6)).square().sum().backward()
        optimizer.step()
    model(torch.randn(5, 6))
    assert torch.equal(model[0].weight != 0, masks[name])
    apply(model, dense_masks(model))  # replaces the masks, of g too
    assert masks_of(model)[name].all()


def test_a_spectral_norm_of_zero_is_refused():
    model = parametrizations.spectral_norm(nn.Linear(6, 4))
    (name,) = masks = dense_masks(model)
    before = model.get_parameter(name).clone()
    with pytest.raises(ValueError, match=f"^the mask of {name} leaves a norm of 0"):
        apply(model, {name: ~masks[name]})
    assert torch.equal(model.get_parameter(name), before)
