"""Networks: sizes as published, names frozen, widths, first weights, and models of others.

Most are built on the meta device, which knows shapes and holds no numbers. After an intended
change of names, `python -m proofs_tests.train.test_models` writes the golden file anew.
"""

import re
import sys
import zlib
from math import sqrt
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from proofs_tests.tools import ROOT
from prune import prunable
from train.data import DATASETS
from train.foreign import check_output
from train.initial import INITS
from train.models import MODELS, build, check_name, input_shape

GOLDEN = Path(__file__).with_name("tensor_names.txt")
VGGS = [name for name in MODELS if name.startswith("vgg")]
PUBLISHED = [*VGGS, "resnet18", "wrn18"]


def on_meta(model: str, dataset: str, width: float = 1) -> nn.Module:
    known = DATASETS[dataset]
    with torch.device("meta"):
        return build(model, input_shape(model, known.shape), known.classes, width)


def counts(network: nn.Module) -> tuple[int, int, int]:
    """N, L and the number of all parameters."""
    weights = prunable(network).values()
    everything = sum(p.numel() for p in network.parameters())
    return sum(w.numel() for w in weights), len(weights), everything


# ---- sizes ----------------------------------------------------------------------------------

IDENTITIES = 1024  # in the published ResNet-18: multiplicative weights of 1 on its shortcuts
SIZES = [  # N, L and all parameters of the published models (App. 12.2), and of Fig. 5b's VGG-19
    ("vgg11", "cifar10", 9_222_848, 9, 9_231_114),
    ("vgg16", "cifar10", 14_715_584, 14, 14_728_266),
    ("resnet18", "cifar10", 11_164_352, 21, 11_174_986 - IDENTITIES),
    ("vgg11", "cifar100", 9_268_928, 9, 9_277_284),
    ("vgg16", "cifar100", 14_761_664, 14, 14_774_436),
    ("resnet18", "cifar100", 11_210_432, 21, 11_221_156 - IDENTITIES),
    ("vgg11", "tiny-imagenet", 12_568_256, 11, 12_578_760),
    ("vgg16", "tiny-imagenet", 18_060_992, 16, 18_075_912),
    ("resnet18", "tiny-imagenet", 11_261_632, 21, 11_272_456 - IDENTITIES),
    ("vgg19-plain", "imagenet", 143_652_544, 19, 143_667_240),
    ("vgg19-plain", "cifar10", 20_024_000, 17, 20_029_514),
]


@pytest.mark.parametrize("model, dataset, N, L, everything", SIZES)
def test_sizes_are_those_of_the_published_models(model, dataset, N, L, everything):
    assert counts(on_meta(model, dataset)) == (N, L, everything)


def test_wrn18_is_twice_as_wide_as_resnet18_from_the_stem_on():
    N, L, _ = counts(on_meta("wrn18", "tiny-imagenet"))
    assert (N, L) == (44_838_272, 21)
    narrow, wide = (prunable(on_meta(name, "cifar10")) for name in ("resnet18", "wrn18"))
    assert [len(w) for w in wide.values()][:-1] == [2 * len(w) for w in narrow.values()][:-1]


@pytest.mark.parametrize(
    "model, expected",
    [
        ("resnet20", 272_474),
        ("resnet32", 466_906),
        ("resnet56", 855_770),
        ("resnet110", 1_730_714),
    ],
)
def test_cifar_resnets_have_the_size_of_he_et_al_and_two_shortcut_convolutions(model, expected):
    """Ours have 1x1 convolutions with batch norm where theirs have no weights."""
    without = expected - (16 * 32 + 32 * 64 + 2 * 32 + 2 * 64)
    assert counts(on_meta(model, "cifar10"))[2] == expected
    assert round(without / 1e6, 2) in (0.27, 0.46, 0.85, 1.73)  # their Table 6


def test_mlp_is_lenet_300_100_with_biases():
    assert counts(on_meta("mlp", "digits"))[:2] == (64 * 300 + 300 * 100 + 100 * 10, 3)
    assert counts(on_meta("mlp", "mnist"))[2] == 266_610  # known of LeNet-300-100


# ---- names ----------------------------------------------------------------------------------

FROZEN = [
    ("mlp", "digits"),
    *((name, "cifar10") for name in MODELS if name != "mlp"),
    *((name, "tiny-imagenet") for name in ("vgg11", "resnet18")),
    *((name, "imagenet") for name in ("vgg19-plain", "resnet18")),
]


def description(model: str, dataset: str) -> str:
    """The prunable tensors; of all names in the state_dict, which checkpoints need, a checksum."""
    network = on_meta(model, dataset)
    names = list(network.state_dict())
    head = f"{model} {dataset}: {len(names)} tensors {zlib.crc32(' '.join(names).encode()):08x}"
    rows = (f"  {name} {'x'.join(map(str, w.shape))}" for name, w in prunable(network).items())
    return "\n".join([head, *rows])


@pytest.mark.parametrize("model, dataset", FROZEN)
def test_tensor_names_and_shapes_are_frozen(model, dataset):
    """Masks and checkpoints are keyed by them: a changed name makes all saved files useless."""
    assert description(model, dataset) + "\n" in GOLDEN.read_text()


def test_every_model_has_its_names_frozen():
    assert {model for model, _ in FROZEN} == set(MODELS)


# ---- widths and images ----------------------------------------------------------------------


def hidden_widths(network: nn.Module) -> list[int]:
    return [len(weight) for weight in prunable(network).values()][:-1]


@settings(max_examples=50)
@given(st.sampled_from(sorted(MODELS.keys() - {"resnet56", "resnet110"})), st.floats(0.001, 1.5))
def test_width_scales_every_hidden_width(model, width):
    """round(w c), at least one; images and classes stay what they are."""
    dataset = "digits" if model == "mlp" else "cifar100"
    full, scaled = on_meta(model, dataset), on_meta(model, dataset, width)
    assert hidden_widths(scaled) == [max(1, round(width * c)) for c in hidden_widths(full)]
    first, *_, last = prunable(scaled).values()
    assert first.shape[1:] == next(iter(prunable(full).values())).shape[1:]
    assert len(last) == DATASETS[dataset].classes


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_classifies_the_images_of_every_data_set(model, dataset):
    """But VGG, whose five halvings and head need 32, 64 or 224 px."""
    known = DATASETS[dataset]
    shape = input_shape(model, known.shape)
    if model in VGGS and shape[1] == 8:
        with pytest.raises(ValueError, match="VGG takes images of 32, 64 or 224 px, not 8 x 8"):
            on_meta(model, dataset)
        return
    network = on_meta(model, dataset).eval()
    assert network(torch.empty(2, *shape, device="meta")).shape == (2, known.classes)


@pytest.mark.parametrize("shape", [(3, 48, 48), (3, 32, 64), (3, 16, 16), (3, 256, 256)])
def test_vgg_refuses_other_images(shape):
    with pytest.raises(ValueError, match=f"not {shape[1]} x {shape[2]}"):
        build("vgg11", shape, 10)


def test_input_shapes():
    """28 px become 32 for VGG and ResNet; torchvision sees three channels, mlp the image."""
    assert input_shape("vgg16", (1, 28, 28)) == input_shape("resnet20", (1, 28, 28)) == (1, 32, 32)
    assert input_shape("mlp", (1, 28, 28)) == input_shape("a.b:c", (1, 28, 28)) == (1, 28, 28)
    assert input_shape("torchvision:resnet18", (1, 28, 28)) == (3, 28, 28)
    for shape in [(1, 8, 8), (3, 32, 32), (3, 64, 64), (3, 224, 224)]:
        assert input_shape("resnet18", shape) == shape


# ---- first weights --------------------------------------------------------------------------


def layers(network: nn.Module, kind: type) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, kind)]


def deviation(weight: torch.Tensor, std: float) -> float:
    """The distance of a normal sample's mean square from std^2, in standard errors."""
    return abs((weight / std).square().mean().item() - 1) * sqrt(weight.numel() / 2)


def kurtosis(weight: torch.Tensor) -> float:
    """3 for normal, 1.8 for uniform weights."""
    return (weight.double() ** 4).mean().item() / weight.double().square().mean().item() ** 2


def built(model: str, shape: tuple, width: float, init: str) -> nn.Module:
    torch.manual_seed(0)
    return build(model, shape, 100, width, init)


def fan_in(layer: nn.Module) -> int:
    return layer.weight[0].numel()


def fan_out(layer: nn.Module) -> int:
    return len(layer.weight) * layer.weight[0, 0].numel()


@pytest.mark.parametrize("model", sorted(MODELS.keys() - {"resnet110"}))
def test_paper_init_is_kaiming_normal_with_zero_biases(model):
    """Variance 2 / fan_in for every convolution and linear layer, biases 0 (App. 12.2)."""
    network = built(model, (3, 32, 32), 0.3, "paper")
    for layer in layers(network, nn.Conv2d | nn.Linear):
        assert deviation(layer.weight, sqrt(2 / fan_in(layer))) < 5  # standard errors
        assert layer.bias is None or not layer.bias.any()
    assert kurtosis(torch.cat([w.flatten() / w.std() for w in prunable(network).values()])) > 2.9
    for layer in layers(network, nn.BatchNorm2d):
        assert (layer.weight == 1).all() and not layer.bias.any()


@pytest.mark.parametrize("model", VGGS)
def test_published_init_of_vgg_at_32_px_is_the_papers(model):
    paper, published = (built(model, (3, 32, 32), 0.1, init) for init in INITS)
    for (name, p), q in zip(paper.named_parameters(), published.parameters(), strict=True):
        assert torch.equal(p, q), name


@pytest.mark.parametrize("model", VGGS)
def test_published_init_of_vgg_with_three_linear_layers(model):
    """Convolutions fan_out, linear N(0, 0.01), biases 0: not what App. 12.2 says."""
    network = built(model, (3, 64, 64), 0.5, "published")
    for layer in layers(network, nn.Conv2d):
        assert deviation(layer.weight, sqrt(2 / fan_out(layer))) < 5
    for layer in layers(network, nn.Linear):
        assert deviation(layer.weight, 0.01) < 5
    assert not any(layer.bias.any() for layer in layers(network, nn.Conv2d | nn.Linear))


@pytest.mark.parametrize("model", ["resnet18", "wrn18"])
def test_published_init_of_resnet18_keeps_pytorchs_linear_layer(model):
    """Convolutions fan_out; the last layer bounded by 1 / sqrt(fan_in), with biases."""
    network = built(model, (3, 32, 32), 0.5, "published")
    for layer in layers(network, nn.Conv2d):
        assert deviation(layer.weight, sqrt(2 / fan_out(layer))) < 5
    bound = 1 / sqrt(network.fc.in_features)
    assert 0.99 * bound < network.fc.weight.abs().max() <= bound
    assert kurtosis(network.fc.weight) < 2 and 0 < network.fc.bias.abs().max() <= bound


@pytest.mark.parametrize("model", sorted({*MODELS, "torchvision:squeezenet1_1"} - {*PUBLISHED}))
def test_published_init_is_refused_where_nothing_was_published(model):
    with pytest.raises(ValueError, match=f"init 'published' .* not for {re.escape(model)}"):
        build(model, (3, 32, 32), 10, init="published")


# ---- models of others -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "googlenet", "inception_v3"])
def test_torchvision_models_have_one_head_of_as_many_classes(name):
    """Also those that would add auxiliary heads, and warn about their own initial weights."""
    with torch.device("meta"):
        network = build(f"torchvision:{name}", (3, 96, 96), 7)
    logits = network.train()(torch.empty(2, 3, 96, 96, device="meta"))
    assert isinstance(logits, torch.Tensor) and logits.shape == (2, 7)


def test_torchvision_models_get_the_papers_init():
    network = built("torchvision:squeezenet1_1", (3, 64, 64), 1, "paper")
    for layer in layers(network, nn.Conv2d):
        assert deviation(layer.weight, sqrt(2 / fan_in(layer))) < 5 and not layer.bias.any()


UNKNOWN = {
    "vgg12": "model 'vgg12' is unknown; choose from mlp, .*package.module:factory",
    "": "model '' is unknown",
    "VGG16": "is unknown",
    "torchvision:": "torchvision has no classification model ''",
    "torchvision:fcn_resnet50": "torchvision has no classification model 'fcn_resnet50'",
    "torchvision:nn": "torchvision has no classification model 'nn'",
    "no_such_module:net": "'no_such_module:net' is no factory .*No module named 'no_such_module'",
    "math:net": "'math:net' is no factory .*has no attribute 'net'",
    "math:pi": "'math:pi' is no factory .*not a callable",
    ":net": "':net' is no factory .*Empty module name",
}


@pytest.mark.parametrize("name, message", UNKNOWN.items(), ids=UNKNOWN)
def test_unknown_models(name, message):
    for refuse in (check_name, lambda name: build(name, (3, 32, 32), 10)):
        with pytest.raises(ValueError, match=message):
            refuse(name)


FACTORIES = """
import torch
from torch import nn

def plain(): return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
def fitted(input_shape, num_classes, in_channels=None, depth=2):
    assert input_shape[0] == in_channels and depth == 2
    layer = nn.Linear(torch.Size(input_shape).numel(), num_classes)
    nn.init.constant_(layer.weight, 3)
    return nn.Sequential(nn.Flatten(), layer)
class Made(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Linear(8, num_classes)
    def forward(self, x): return self.layer(x.flatten(1)[:, :8])
def demanding(tokens): return plain()
def failing(): raise RuntimeError("out of luck")
def words(): return "network"
"""


@pytest.fixture
def factories(tmp_path, monkeypatch) -> str:
    """The name of a module, outside any package of ours, that holds FACTORIES."""
    (tmp_path / "their_models.py").write_text(FACTORIES)
    (tmp_path / "their_torn.py").write_text("def plain(:")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_models", raising=False)
    return "their_models"


@pytest.mark.parametrize("factory, classes", [("plain", 10), ("fitted", 7), ("Made", 7)])
def test_a_factory_is_told_what_it_asks_for_and_keeps_its_weights(factories, factory, classes):
    network = build(f"{factories}:{factory}", (3, 8, 8), classes)
    check_output(network, (3, 8, 8), classes)
    if factory == "fitted":
        assert (network[1].weight == 3).all() and network[1].bias.any()


FAILURES = {
    "their_models:demanding": "cannot be made: .*tokens",
    "their_models:failing": "cannot be made: out of luck",
    "their_models:words": "made a str, not a torch.nn.Module",
    "their_models:missing": "has no attribute 'missing'",
    "their_torn:plain": "is no factory that can be imported: invalid syntax",
}


@pytest.mark.parametrize("name, message", FAILURES.items(), ids=FAILURES)
def test_factories_that_fail(factories, name, message):
    with pytest.raises(ValueError, match=message) as error:
        build(name, (3, 8, 8), 10)
    assert name in str(error.value)


def test_a_module_that_another_one_hides_is_refused_with_the_file_that_python_finds(
    tmp_path, monkeypatch
):
    """The current folder comes last: a user's package may not be called `train`."""
    (tmp_path / "train.py").write_text("def net(): ...")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ValueError, match="has no attribute 'net'") as error:
        build("train:net", (3, 8, 8), 10)
    assert f"(train is {ROOT / 'train' / '__init__.py'})" in str(error.value)


def test_width_is_for_our_own_models(factories):
    for name in (f"{factories}:plain", "torchvision:resnet18"):
        with pytest.raises(ValueError, match="width scales the models mlp"):
            build(name, (3, 8, 8), 10, width=0.5)


@pytest.mark.parametrize(
    "network, message",
    [
        (nn.Linear(4, 10), r"does not take images of shape \(3, 8, 8\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 9)), r"give \(2, 9\) and not .* \(2, 10\)"),
        (nn.Conv2d(3, 10, 8), r"give \(2, 10, 1, 1\) and not"),
        (nn.LSTM(8, 10), "does not take images"),
        (nn.MultiheadAttention(1, 1), "does not take images"),
    ],
    ids=["shape", "classes", "rank", "rank of input", "arguments"],
)
def test_a_network_of_another_shape_is_refused(network, message):
    with pytest.raises(ValueError, match=message):
        check_output(network, (3, 8, 8), 10)


class Pair(nn.Module):
    """Gives logits and something else, as models with auxiliary heads do."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return x.flatten(1), None


def test_a_network_that_gives_no_tensor_is_refused():
    with pytest.raises(ValueError, match="two images give tuple and not logits"):
        check_output(Pair(), (1, 2, 5), 10)


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(description(*case) for case in FROZEN) + "\n")
