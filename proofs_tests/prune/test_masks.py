"""Masks: prunable weights, selection by scores, and files that are whole or refused."""

import copy
import os
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from prune import density, load_masks, prunable, save_masks
from prune.masks import check_masks, dense_masks, keep_top, kept, size, survivors, top

# Prunable weights


class Zoo(nn.Module):
    """One layer of every kind."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, groups=2)
        self.norm = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose1d(2, 3, 2)
        self.group_norm = nn.GroupNorm(1, 4)
        self.embedding = nn.Embedding(5, 3)
        self.bilinear = nn.Bilinear(2, 2, 2)
        self.scale = nn.Parameter(torch.ones(3))
        self.weight = nn.Parameter(torch.ones(3))
        self.head = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 2, bias=False))


def test_weights_of_convolutional_and_linear_layers_are_prunable():
    """Biases and normalisation are not (App. 12.2). The order is that of `named_parameters`."""
    model = Zoo()
    weights = prunable(model)
    assert list(weights) == ["conv.weight", "up.weight", "head.0.weight", "head.2.weight"]
    assert all(w is model.get_parameter(name) for name, w in weights.items())


def test_a_bare_layer_is_prunable():
    assert list(prunable(nn.Linear(2, 3))) == ["weight"]


def test_a_frozen_weight_is_prunable():
    """A weight may be pruned though it is not trained."""
    assert list(prunable(nn.Linear(2, 3).requires_grad_(False))) == ["weight"]


def test_a_shared_weight_is_listed_once():
    """N counts a weight once, under its first name, which may be that of an embedding."""
    first, second, embedding = nn.Linear(3, 3), nn.Linear(3, 3), nn.Embedding(3, 3)
    second.weight = first.weight
    assert list(prunable(nn.Sequential(first, second))) == ["0.weight"]
    embedding.weight = first.weight
    assert list(prunable(nn.Sequential(embedding, first, second))) == ["0.weight"]
    assert list(prunable(nn.Sequential(first, first))) == ["0.weight"]


@pytest.mark.parametrize("model", [nn.ReLU(), nn.BatchNorm1d(3), nn.Sequential()])
def test_a_model_without_such_a_layer_is_refused(model):
    with pytest.raises(ValueError, match=r"^nothing to prune: the model has no conv.* layer$"):
        prunable(model)


@pytest.mark.parametrize("lazy", [lambda: nn.LazyLinear(3), lambda: nn.LazyConv2d(3, 1)])
def test_a_lazy_layer_is_refused_until_it_has_a_shape(lazy):
    """The error names each lazy layer."""
    model = nn.Sequential(nn.Linear(3, 3), lazy(), lazy())
    why = r"^run the model once before pruning, to give a shape to 1\.weight, 2\.weight$"
    with pytest.raises(ValueError, match=why):
        prunable(model)


def test_a_lazy_layer_that_has_run_is_prunable():
    model = nn.Sequential(nn.LazyLinear(3))
    model(torch.ones(1, 2))
    assert prunable(model)["0.weight"].shape == (3, 2)


# Selection by scores

TIES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 1e-300, 1e300])
SHAPES = [(2, 3), (4,), (1, 2, 2, 3)]


@st.composite
def scored(draw, values=TIES):
    """(scores, masks, keep): scores full of ties, some weights pruned already, a count to keep."""
    names = [f"layer{i}.weight" for i in range(draw(st.integers(1, 3)))]
    shapes = {name: draw(st.sampled_from(SHAPES)) for name in names}
    lists = {name: st.lists(values, min_size=n, max_size=n) for name, n in _sizes(shapes)}
    bools = {name: st.lists(st.booleans(), min_size=n, max_size=n) for name, n in _sizes(shapes)}
    scores = {n: torch.tensor(draw(lists[n]), dtype=torch.float64).view(shapes[n]) for n in names}
    masks = {n: torch.tensor(draw(bools[n])).view(shapes[n]) for n in names}
    return scores, masks, draw(st.integers(0, kept(masks)))


def _sizes(shapes):
    return [(name, int(np.prod(shape))) for name, shape in shapes.items()]


def last_index_first(tensor):
    """The same tensor, laid out in memory with its first index running fastest."""
    return (
        tensor.permute(*reversed(range(tensor.dim())))
        .contiguous()
        .permute(*reversed(range(tensor.dim())))
    )


def row(tensors):
    return torch.cat([t.flatten() for t in tensors.values()]).tolist()


@given(scored())
def test_keep_top_keeps_the_first_of_the_best(case):
    """Exactly `keep` survive: the highest, of equals the earlier, then row-major (Algorithm 1)."""
    scores, masks, keep = case
    flat, alive = row(scores), row(masks)
    best_first = sorted((i for i in range(len(flat)) if alive[i]), key=lambda i: (-flat[i], i))
    after = keep_top(scores, masks, keep)
    assert row(after) == [i in best_first[:keep] for i in range(len(flat))]
    assert [(n, m.shape) for n, m in after.items()] == [(n, m.shape) for n, m in masks.items()]


@given(scored(), st.integers(0, 30))
def test_masks_nest(case, fewer):
    """Pruned weights stay pruned, and a lower count keeps a subset (Algorithm 1, line 6)."""
    scores, masks, keep = case
    more = keep_top(scores, masks, keep)
    less = keep_top(scores, more, min(fewer, keep))
    for name in masks:
        assert (more[name] <= masks[name]).all()
        assert (less[name] <= more[name]).all()
        assert (less[name] == keep_top(scores, masks, kept(less))[name]).all()


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64]
)
@given(values=st.lists(st.integers(-3, 3), min_size=1, max_size=30), data=st.data())
def test_the_highest_scores_and_of_equals_the_earlier_win(dtype, values, data):
    """In every dtype as by a stable sort; half of the scores are equal to others."""
    keep = data.draw(st.integers(0, len(values)))
    order = sorted(range(len(values)), key=lambda i: -values[i])[:keep]
    expected = torch.tensor([i in order for i in range(len(values))])
    assert top(torch.tensor(values, dtype=dtype), keep).equal(expected)


@given(scored())
def test_keep_top_does_not_depend_on_memory_layout(case):
    """Row-major is the order of the indices, not of the memory (channels_last, transposed)."""
    scores, masks, keep = case

    turned = [{n: last_index_first(t) for n, t in tensors.items()} for tensors in (scores, masks)]
    assert row(keep_top(*turned, keep)) == row(keep_top(scores, masks, keep))


@given(scored(), st.sampled_from([np.inf, -np.inf, np.nan]))
def test_the_score_of_a_pruned_weight_is_not_read(case, bad):
    """It may be infinite or NaN."""
    scores, masks, keep = case
    spoilt = {name: s.where(masks[name], bad) for name, s in scores.items()}
    assert row(keep_top(spoilt, masks, keep)) == row(keep_top(scores, masks, keep))


@given(scored(), st.sampled_from([np.inf, -np.inf, np.nan]), st.data())
def test_the_score_of_a_survivor_must_be_finite(case, bad, data):
    """Else its tensor is named, but no tensor in which only pruned weights score so."""
    scores, masks, keep = case
    spoilt = {name: s.where(masks[name], bad) for name, s in scores.items()}
    guilty = data.draw(st.sets(st.sampled_from(sorted(masks)), min_size=1))
    for name in guilty:
        where = data.draw(st.integers(0, masks[name].numel() - 1))
        masks[name].view(-1)[where] = True
        spoilt[name].view(-1)[where] = bad
    named = ", ".join(name for name in masks if name in guilty)
    with pytest.raises(FloatingPointError, match=f"^scores of {named} are not finite$"):
        keep_top(spoilt, masks, keep)


@given(scored())
def test_keeping_more_than_survive_is_refused(case):
    scores, masks, _ = case
    for keep in (kept(masks) + 1, -1):
        with pytest.raises(ValueError, match=f"cannot keep {keep} weights: {kept(masks)} survive"):
            keep_top(scores, masks, keep)


@pytest.mark.parametrize("scores", [{}, {"b": torch.zeros(2)}, {"a": torch.zeros(3)}])
def test_scores_that_do_not_fit_the_masks_are_refused(scores):
    with pytest.raises(ValueError, match=r"^scores lack a tensor 'a' of shape \(2,\)$"):
        keep_top(scores, {"a": torch.ones(2, dtype=torch.bool)}, 1)


@given(scored())
def test_counts_of_masks(case):
    """N, kept and density = kept / N, the inverse of compression."""
    scores, masks, _ = case
    assert size(masks) == len(row(masks))
    assert kept(masks) == sum(row(masks)) == len(survivors(scores, masks))
    assert density(masks) == kept(masks) / size(masks)


def test_dense_masks_keep_everything():
    masks = dense_masks(Zoo())
    assert density(masks) == 1
    check_masks(Zoo(), masks)


# Files

MODELS = [
    nn.Linear(3, 2),
    nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Linear(3, 2, bias=False)),
    nn.ModuleDict({"a/b": nn.Linear(2, 1), "größe": nn.Conv1d(1, 2, 2), "npy": nn.Linear(1, 1)}),
]


@st.composite
def mask_sets(draw):
    """(model, masks): any masks of any of the models."""
    model = draw(st.sampled_from(MODELS))
    shapes = {name: w.shape for name, w in prunable(model).items()}
    bits = {n: draw(st.lists(st.booleans(), min_size=k, max_size=k)) for n, k in _sizes(shapes)}
    return model, {name: torch.tensor(bits[name]).view(shapes[name]) for name in shapes}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """One file for all examples: each overwrites that of the one before."""
    return tmp_path_factory.mktemp("masks") / "masks.npz"


def same(left, right):
    """Return True if names, order, shapes and bits are equal."""
    return list(left) == list(right) and all(torch.equal(left[n], right[n]) for n in left)


def refusal(path, model=None):
    """The one-line message with which the file is refused."""
    with pytest.raises(ValueError) as caught:
        load_masks(path, model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(case=mask_sets(), text=st.text().map(lambda text: text.rstrip("\0")))
def test_masks_come_back_as_they_were_saved(path, case, text):
    """NumPy reads them without pickle; metadata is under `__`. (NumPy strips trailing NULs.)"""
    model, masks = case
    save_masks(masks, path, {"config": text})
    assert same(load_masks(path), masks)
    assert same(load_masks(path, model), masks)
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive.files) == {*masks, "__config"}
        assert archive["__config"].item() == text
        assert all(archive[name].dtype == bool for name in masks)


@given(case=mask_sets())
def test_equal_masks_give_equal_bytes(path, case):
    """Time and memory layout do not matter, so runs can be compared by their files."""
    _, masks = case
    save_masks(masks, path)
    content = path.read_bytes()
    save_masks({name: last_index_first(mask) for name, mask in masks.items()}, path)
    assert path.read_bytes() == content


def test_bytes_do_not_depend_on_the_clock(path, monkeypatch):
    masks = dense_masks(MODELS[0])
    save_masks(masks, path)
    content = path.read_bytes()
    monkeypatch.setattr("time.time", lambda: 1e9)
    save_masks(masks, path)
    assert path.read_bytes() == content


def test_a_file_is_compressed(path):
    """A bool takes a byte in memory; a layer without pruned weights takes little in the file."""
    save_masks(dense_masks(nn.Linear(1000, 100)), path)
    assert path.stat().st_size < 1000


def test_metadata_that_needs_pickle_is_not_written(path):
    """`load_masks` would refuse the file."""
    with pytest.raises(ValueError, match="pickle"):
        save_masks(dense_masks(MODELS[0]), path, {"config": object()})


def test_a_loaded_mask_is_where_its_weight_is(path):
    """Tested with the device `meta`, which every machine has."""
    save_masks(dense_masks(MODELS[1]), path)
    loaded = load_masks(path, copy.deepcopy(MODELS[1]).to("meta"))
    assert {mask.device.type for mask in loaded.values()} == {"meta"}
    assert {mask.device.type for mask in load_masks(path).values()} == {"cpu"}


def test_a_loaded_mask_is_in_the_order_of_the_model(path):
    """The order in the file does not matter."""
    masks = dense_masks(MODELS[1])
    save_masks(dict(reversed(masks.items())), path)
    assert list(load_masks(path, MODELS[1])) == list(masks)


@given(case=mask_sets(), torn=st.floats(0, 1, exclude_max=True))
def test_a_torn_file_is_refused(path, case, torn):
    """It may end at any byte."""
    save_masks(case[1], path, {"config": "{}"})
    content = path.read_bytes()
    path.write_bytes(content[: int(torn * len(content))])
    assert refusal(path).startswith(f"mask file {path} is damaged, or no mask file")


@given(case=mask_sets(), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_harmless(path, case, where, bit):
    """A check sum protects every mask; only dates, flags and the like may change."""
    model, masks = case
    save_masks(masks, path)
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        loaded = load_masks(path, model)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert same(loaded, masks)


class Trap:
    """An object that fails the test when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a mask file ran code",)


def not_masks(path, kind):
    """Write a file that is no mask file."""
    if kind == "a text":
        path.write_text("no mask")
    elif kind == "an array":
        with path.open("wb") as file:
            np.save(file, np.ones(3, bool))
    elif kind == "pickled objects":
        np.savez(path, weight=np.array([Trap()], dtype=object), allow_pickle=True)
    elif kind == "a zip of something else":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weight.npy", "no array")
    else:
        np.savez(path, __config="{}")


@pytest.mark.parametrize(
    "kind",
    ["a text", "an array", "pickled objects", "a zip of something else", "only metadata"],
)
def test_another_file_is_refused(tmp_path, kind):
    """Pickled objects above all, because reading them would run code."""
    not_masks(tmp_path / "masks.npz", kind)
    assert "no mask" in refusal(tmp_path / "masks.npz")


def test_a_folder_is_refused(tmp_path):
    """The message holds the type of the system's error."""
    assert refusal(tmp_path).endswith("is damaged, or no mask file (IsADirectoryError)")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^no mask file at .*none\.npz$"):
        load_masks(tmp_path / "none.npz")


def test_masks_that_do_not_fit_the_model_are_refused(path):
    """A missing, an extra, a wrongly shaped mask and one that is not bool: each is named."""
    model = MODELS[1]
    masks = dense_masks(model)
    save_masks({"0.weight": masks["0.weight"]}, path)
    assert refusal(path, model) == f"mask file {path} has no mask for 2.weight"
    save_masks({"1.weight": torch.ones(3, dtype=torch.bool)}, path)
    assert refusal(path, model) == f"mask file {path} has no mask for 0.weight, 2.weight"
    save_masks(masks | {"1.weight": torch.ones(3, dtype=torch.bool)}, path)
    assert "'1.weight' fits no prunable weight" in refusal(path, model)
    save_masks(masks | {"0.weight": masks["2.weight"]}, path)
    assert "needs torch.bool of shape (3, 2, 2, 2)" in refusal(path, model)
    save_masks(masks | {"2.weight": masks["2.weight"].float()}, path)
    assert "'2.weight', which is not a bool array" in refusal(path, model)
    assert "'2.weight', which is not a bool array" in refusal(path)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    """Masks are written beside the file, to .part, and moved into its place at the end."""
    path = tmp_path / "masks.npz"
    save_masks(dense_masks(MODELS[0]), path)
    content = path.read_bytes()

    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space left"):
        save_masks(dense_masks(MODELS[1]), path)
    assert path.read_bytes() == content
    assert sorted(file.name for file in tmp_path.iterdir()) == ["masks.npz", "masks.npz.part"]


def test_a_saved_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    """Else a power cut could leave an empty file under the final name."""
    done, path = [], tmp_path / "masks.npz"
    fsync, replace = os.fsync, os.replace

    def synced(file):
        done.append(("fsync", os.fstat(file).st_size))
        fsync(file)

    def replaced(source, target):
        done.append(("replace", os.stat(source).st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    save_masks(dense_masks(MODELS[0]), path)
    assert done == [("fsync", path.stat().st_size), ("replace", path.stat().st_size)]


# Masks and a model


def test_masks_of_some_weights_fit_a_model():
    """Weights without a mask are allowed."""
    check_masks(MODELS[1], {"2.weight": torch.zeros(2, 3, dtype=torch.bool)})


@pytest.mark.parametrize(
    ("name", "mask", "why"),
    [
        ("3.weight", torch.ones(2, 3, dtype=torch.bool), "^mask '3.weight' fits no prunable w"),
        ("0.bias", torch.ones(3, dtype=torch.bool), "^mask '0.bias' fits no prunable weight of"),
        ("2.weight", torch.ones(3, 2, dtype=torch.bool), r"of shape \(3, 2\); the weight needs"),
        ("2.weight", torch.ones(6, dtype=torch.bool), r"of shape \(6,\); the weight needs"),
        ("2.weight", torch.ones(2, 3), "is torch.float32 of shape"),
        ("2.weight", torch.ones(2, 3, dtype=torch.uint8), "is torch.uint8 of shape"),
    ],
)
def test_a_mask_that_fits_no_weight_is_refused(name, mask, why):
    with pytest.raises(ValueError, match=why):
        check_masks(MODELS[1], {"0.weight": torch.ones(3, 2, 2, 2, dtype=torch.bool), name: mask})
