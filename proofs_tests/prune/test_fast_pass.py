"""The fast pass of prune/fast equals the plain pass: plateaus, products, cut matrices.

Networks with integer weights are computed without rounding, so both agree with `==`.
"""

import copy
import gc
from math import gcd
from unittest.mock import patch

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmarks.literal import literal_synflow
from proofs_tests.tools.oracles import algorithm_1, counts, positive, row
from proofs_tests.tools.torch_strategies import EPS, Apply, Network, Residual, fill, shape_after
from prune import Probe, apply, prunable, prune
from prune.fast.flow import synaptic_flow
from prune.fast.maps import NONE, Plateau, SmallMap, added, joined, narrowed, windowed
from prune.fast.matrices import cut_down, drop_, full_mask, matrix_of, spread
from prune.fast.products import Gradient, Products
from prune.fast.small import SMALL
from prune.masks import dense_masks, size
from train.models import build


def plain_flow(model, shape, masks):
    """R and its scores by autograd, on the whole image, with all weights."""
    twin = positive(model)
    with torch.no_grad():
        for name, weight in prunable(twin).items():
            weight *= masks[name]
    R = twin(torch.ones(1, *shape, dtype=torch.float64)).sum()
    R.backward()
    zero = torch.zeros(())
    return R.item(), {
        n: (zero if w.grad is None else w.grad) * w for n, w in prunable(twin).items()
    }


def assert_same_flow(model, shape, masks):
    R, scores = plain_flow(model, shape, masks)
    flow = synaptic_flow(model, masks, Probe(shape))
    assert flow.R == R
    for name in masks:
        assert flow.scores[name].shape == masks[name].shape
        assert (flow.scores[name] == scores[name]).all()


# Images


class Unseen(torch.autograd.Function):
    """2 x where x > 0, by an autograd function that torch does not show to modes."""

    @staticmethod
    def forward(ctx, x):
        return torch.where(x > 0, 2 * x, 0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def in_place(x):
    """In-place functions with and without a rule, on a tensor with two names."""
    x = torch.add(x, x)
    y = F.dropout(x, 0.5, False, inplace=True)  # x itself
    y += x
    y.mul_(2)
    y.add_(x)
    return x


STRANGE = {
    "scaled": lambda x: 2 * x,
    "in place": in_place,
    "relu": lambda x: torch.relu(x).relu(),
    "turned": lambda x: x.flip(3),
    "cropped": lambda x: x[..., : max(1, x.shape[3] - 1)],
    "joined": lambda x: torch.cat([x, x.relu()], 1),
    "summed": lambda x: x + F.max_pool2d(x, 3, 1, 1),
    "summed by name": lambda x: torch.add(x, other=F.max_pool2d(x, 3, 1, 1)),
    "summed with a factor": lambda x: torch.add(x, F.max_pool2d(x, 3, 1, 1), alpha=2),
    "maximum of cut windows": lambda x: F.max_pool2d(x, 3, 3, 1, ceil_mode=True),
    "average of cut windows": lambda x: F.avg_pool2d(x, 2, 3, 1, ceil_mode=True),
    "average": lambda x: F.avg_pool2d(x, 2, padding=1, count_include_pad=False),
    "by name": lambda x: F.relu(input=x),
    "one added": lambda x: x + 1.0,
    "indices": lambda x: F.max_pool2d(x, 1, return_indices=True)[0],
    "weighed": lambda x: x * x.new_ones(x.size(2), x.size(3)).cumsum(1),
    "weighed by rows": lambda x: x * torch.ones(x.size(2), x.size(3)).cumsum(0),
    "unseen": Unseen.apply,
}

READ = {"one added": lambda x: x}  # what does not depend on the input is a shift


@st.composite
def pairs(draw, most, least=1):
    """An option for height and width."""
    return draw(st.tuples(*[st.integers(least, most)] * 2))


@st.composite
def moving(draw, shape):
    """A convolution or pooling, of any window that fits."""
    channels, *size = shape
    dilation, stride = draw(pairs(2)), draw(pairs(3))
    kind = draw(st.sampled_from(["conv", "same", "max", "average", "average of the image"]))
    most = [max(k for k in (1, 2, 3, 4) if d * (k - 1) < n) for n, d in zip(size, dilation)]
    kernel = tuple(draw(st.integers(1, k)) for k in most)
    if kind == "max":
        padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
        return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=draw(st.booleans()))
    if kind.startswith("average"):
        options = {"ceil_mode": draw(st.booleans()), "count_include_pad": kind == "average"}
        return nn.AvgPool2d(tuple(min(2, k, n) for k, n in zip(kernel, size)), stride, 0, **options)
    out = draw(st.integers(1, 3))
    if kind == "same":
        return nn.Conv2d(channels, out, 3, padding="same", padding_mode="circular")
    groups = draw(st.sampled_from([1, gcd(channels, out)]))
    return nn.Conv2d(channels, out, kernel, stride, draw(pairs(3, 0)), dilation, groups)


@st.composite
def image_networks(draw):
    """Networks of all kinds of layers, on images of up to 40 x 40 pixels."""
    shape = image = (draw(st.integers(1, 2)), *draw(pairs(40)))
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["moving", "moving", "residual", "other", "strange"]))
        if kind == "moving":
            layer = draw(moving(shape))
        elif kind == "residual":
            same = [nn.Conv2d(shape[0], shape[0], 3, 1, 1) for _ in range(draw(st.integers(1, 2)))]
            layer = Residual(nn.Sequential(*same), nn.Identity())
        elif kind == "other":
            # In place only on tensors that no other layer has saved, as torch requires.
            in_place = bool(layers) and isinstance(
                layers[-1], nn.Conv2d | nn.BatchNorm2d | Residual
            )
            relu = nn.ReLU(in_place)
            others = relu, nn.LeakyReLU(0.5), nn.Dropout(), nn.BatchNorm2d(shape[0], EPS)
            layer = draw(st.sampled_from(others))
        else:
            strange = draw(st.sampled_from(sorted(STRANGE)))
            layer = Apply(STRANGE[strange], READ.get(strange))
        layers.append(layer)
        shape = shape_after(layer, shape)
    layers += [draw(st.sampled_from([nn.AdaptiveMaxPool2d(2), nn.Identity()])), nn.Flatten()]
    (features,) = shape_after(nn.Sequential(*layers[-2:]), shape)
    model = nn.Sequential(*layers, nn.Linear(features, 2))
    fill(model, draw(st.integers(0, 2**16)))
    return Network(model, image)


@st.composite
def masked_image_networks(draw):
    """A network, and masks that may empty channels, taps and layers."""
    network = draw(image_networks())
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    density = draw(st.sampled_from([0.1, 0.5, 0.9, 1]))

    def some(*shape):
        return torch.rand(shape, generator=generator) < density**0.5

    masks = {
        name: (some(*w.shape) & some(len(w), *[1] * (w.dim() - 1)))
        for name, w in prunable(network.model).items()
    }
    return network, masks


@given(masked_image_networks())
def test_small_images_give_the_flow_of_the_large_one(case):
    """R (Eq. 5) and scores (Eq. 6) are equal to the last bit, for any layers."""
    network, masks = case
    R, _ = plain_flow(*network, masks)
    assume(R < 2**40)  # beyond, sums are rounded
    assert_same_flow(*network, masks)


@pytest.mark.parametrize("kind", STRANGE)
def test_functions_without_a_rule_get_the_whole_image(kind):
    """A function that torch does not show to modes makes the whole network run on it."""
    shape = (1, 20, 30)
    layers = [nn.Conv2d(1, 2, 3, padding=1), Apply(STRANGE[kind], READ.get(kind))]
    channels = shape_after(nn.Sequential(*layers), shape)[0]
    layers += [nn.Conv2d(channels, 2, 3, stride=2, padding=1), nn.MaxPool2d(2), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(*shape_after(nn.Sequential(*layers), shape), 2))
    fill(model, seed=0)
    assert_same_flow(model, shape, dense_masks(model))


@st.composite
def maps(draw):
    """A map of integers with any plateaus."""
    sizes, plateaus = draw(pairs(6)), []
    for n in sizes:
        start, length = draw(st.integers(0, n - 1)), draw(st.integers(1, 20))
        plateaus.append(Plateau(start, length) if length > 1 else NONE)
    pixels = torch.arange(2.0 * sizes[0] * sizes[1]).view(1, 2, *sizes)
    return SmallMap(pixels, tuple(plateaus))


def whole(x):
    """The full map."""
    return narrowed(x, (NONE, NONE)).image


@given(maps(), st.data())
def test_a_window_moves_over_a_map_as_over_its_pixels(x, data):
    """The expanded result is that of the large map, and no pixel is computed twice."""
    size = whole(x).shape[2:]
    kernel, stride, padding, dilation = (data.draw(pairs(*range_)) for range_ in WINDOW)
    fits = [d * (k - 1) < n + 2 * p for n, k, p, d in zip(size, kernel, padding, dilation)]
    assume(all(fits))

    def patches(image):  # every window, as a pixel of many channels
        y = F.unfold(image, kernel, dilation, padding, stride)
        out = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(image.shape[2:], kernel, stride, padding, dilation)
        ]
        return y.view(1, -1, *out)

    y = windowed(x, patches, kernel, stride, padding, dilation)
    assert torch.equal(whole(y), patches(whole(x)))
    for old, new in zip(x.plateaus, y.plateaus):
        assert new == NONE or 1 < new.length <= old.length


WINDOW = [(4,), (3,), (3, 0), (3,)]


@given(maps(), maps())
def test_maps_are_added_and_joined_where_both_are_constant(x, y):
    """The plateaus may differ; the sizes are equal."""
    height, width = (max(whole(z).shape[i] for z in (x, y)) for i in (2, 3))
    x, y = (padded(z, height, width) for z in (x, y))
    assert torch.equal(whole(added(x, y)), whole(x) + whole(y))
    assert torch.equal(whole(added(x, y, alpha=3)), whole(x) + 3 * whole(y))
    assert torch.equal(whole(joined([x, y])), torch.cat([whole(x), whole(y)], 1))


def padded(x, height, width):
    """The map made larger by zeros below and at the right."""
    _, _, h, w = whole(x).shape
    return SmallMap(F.pad(x.image, (0, width - w, 0, height - h)), x.plateaus)


class Seen(TorchFunctionMode):
    """Record the larger side of each image that a convolution reads."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.unfold:
            self.sizes.append(max(args[0].shape[2:]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "pixels", "first", "most"),
    [
        ("vgg19-plain", 224, [3, 5, 5, 7], 15),
        ("resnet18", 64, [3, 5, 7, 9], 16),
        ("torchvision:resnet50", 224, [8, 4, 6, 6], 16),
    ],
)
def test_first_layers_of_ordinary_networks_read_a_few_pixels(name, pixels, first, most):
    """Else small images would be correct, but save no time."""
    shape = (3, pixels, pixels)
    model = build(name, shape, 10, *[0.1] * (":" not in name))
    with Seen() as seen:
        synaptic_flow(model, dense_masks(model), Probe(shape))
    assert seen.sizes[:4] == first
    assert max(seen.sizes) == most


# Products


class Tied(nn.Module):
    """One weight as embedding, twice as linear layer, and in arithmetic of the model's own."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):  # (batch, 3, 4)
        tokens = F.embedding(torch.tensor([0, 2, 3]), self.linear.weight)
        x = self.linear(x) * tokens + x @ (2 * self.linear.weight)
        return F.linear(input=x, weight=self.linear.weight, bias=None)


class Conditional(nn.Module):
    """Layers that R does not depend on, or that are never run."""

    def __init__(self):
        super().__init__()
        self.used, self.ignored, self.idle = (nn.Conv2d(1, 2, 2) for _ in range(3))
        self.last = nn.Linear(2, 2, bias=False)
        self.shift = nn.Parameter(torch.tensor([1.0, 2]))  # not named as a bias, but read as 0

    def forward(self, x):
        self.ignored(x)
        x = F.conv2d(x, weight=self.used.weight, padding=(1,), stride=2, bias=self.shift)
        return F.linear(x.amax((2, 3)), self.last.weight, self.shift)


class OneImage(nn.Module):
    """A convolution of an image without a batch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)

    def forward(self, x):
        return self.conv(x[0])


UNUSUAL = {
    "tied": (Tied, (3, 4)),
    "conditional": (Conditional, (1, 3, 5)),
    "one image": (OneImage, (2, 4, 4)),
    "grouped": (lambda: nn.Conv2d(4, 4, 3, groups=2), (4, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 3, 3, stride=2), (2, 4, 4)),
    "named padding": (lambda: nn.Conv2d(2, 3, 3, padding="same"), (2, 4, 6)),
    "of sequences": (lambda: nn.Conv1d(2, 3, 3), (2, 9)),
    "of volumes": (lambda: nn.Conv3d(1, 2, 2), (1, 3, 3, 3)),
    "to all but the last axis": (lambda: nn.Linear(3, 2), (2, 4, 3)),
    "twice": (lambda: nn.Sequential(*[nn.Conv2d(2, 2, 3, padding=1)] * 2), (2, 9, 9)),
}


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("density", [0.3, 1])
def test_a_weight_may_be_used_in_any_way(kind, density):
    """Uses as a product and uses that autograd differentiates add up."""
    make, shape = UNUSUAL[kind]
    model = make()
    fill(model, seed=0)
    generator = torch.Generator().manual_seed(1)
    masks = {
        name: torch.rand(w.shape, generator=generator) < density
        for name, w in prunable(model).items()
    }
    assert_same_flow(model, shape, masks)
    N = size(masks)
    *_, expected = algorithm_1(model, shape, counts(N, 4, 6, "linear"))
    for small in (0, SMALL):
        with patch("prune.fast.algorithm.SMALL", small):
            found = prune(model, "synflow", Probe(shape), 4, steps=6, schedule="linear")
        assert row(found) == expected


def test_single_entries_of_a_gradient_are_those_of_its_rows():
    """Selection samples single entries; with and without a part that autograd found."""
    flow_out, flow_in, rest = torch.randint(9, (2, 3)), torch.randint(9, (4, 3)), torch.ones(2, 4)
    row, column = torch.tensor([0, 1, 1]), torch.tensor([3, 0, 2])
    for more in (None, rest.long()):
        gradient = Gradient(flow_out, flow_in, more)
        assert torch.equal(gradient.at(row, column), gradient.rows(slice(None))[row, column])
        assert torch.equal(gradient.rows(slice(1, 2)), gradient.rows(slice(None))[1:])


def test_nothing_of_a_pass_outlives_it():
    """Else each step would hold the memory of a network until garbage is collected."""
    model = build("vgg11", (3, 32, 32), 10, 0.1)
    gc.collect()
    gc.disable()
    try:
        synaptic_flow(model, dense_masks(model), Probe((3, 32, 32)))
        left = [o for o in gc.get_objects() if type(o) in (Products, SmallMap)]
    finally:
        gc.enable()
    assert not left


# Matrices


@st.composite
def matrices(draw):
    """A weight as a matrix, and one mask after another, each within the one before."""
    shape = draw(st.tuples(*[st.integers(1, 8)] * 2) | st.tuples(*[st.integers(1, 4)] * 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    weight = torch.randn(shape, generator=generator)
    mask, masks = torch.ones(shape, dtype=torch.bool), []
    for axis in draw(st.lists(st.integers(0, len(shape) - 1), max_size=6)):
        size = [n if i == axis else 1 for i, n in enumerate(shape)]
        masks.append(mask := mask & (torch.rand(size, generator=generator) < 0.7))
    return weight, masks


def part(matrix, whole):
    """The entries of a tensor, shaped like the weight, that the matrix holds."""
    rows = slice(None) if matrix.rows is None else matrix.rows[:, None]
    columns = slice(None) if matrix.columns is None else matrix.columns
    return whole.flatten(1)[rows, columns]


@given(matrices(), st.sampled_from([1, 7, 2**17]))
def test_a_cut_down_matrix_holds_the_masked_weight(case, at_once):
    """Entries, their number and their places are the same, however many are cut out at a time."""
    with patch("prune.fast.matrices.AT_ONCE", at_once):
        assert_cut_down(*case)


def assert_cut_down(weight, masks):
    matrix = matrix_of(weight.double().abs(), torch.ones(weight.shape, dtype=torch.bool))
    for mask in masks:
        gone = (matrix.mask & ~part(matrix, mask)).flatten().nonzero().squeeze(1)
        matrix = cut_down(drop_(matrix, gone))
        assert torch.equal(full_mask(matrix), mask)
        assert torch.equal(spread(matrix, matrix.theta), (weight * mask).abs().double())
        assert matrix.kept == mask.sum()


def test_empty_rows_and_columns_are_cut():
    """They are cut when enough of them are empty, and not before."""
    matrix = matrix_of(torch.ones(10, 5, 2, 2).double(), torch.ones(10, 5, 2, 2) > 0)
    fewer = cut_down(drop_(matrix, torch.arange(20)))  # one row of ten
    assert fewer.mask.shape == (10, 20)
    assert cut_down(drop_(fewer, torch.arange(20, 100))).mask.shape == (5, 20)
    taps = torch.arange(0, 200, 2)  # every other column
    assert cut_down(drop_(matrix, taps)).mask.shape == (10, 10)


@given(image_networks(), st.integers(2, 50), st.integers(2, 8))
def test_pruning_cuts_down_and_keeps_to_algorithm_1(network, compression, steps):
    """Few weights are left after many steps: channels, taps and layers become empty."""
    N = size(dense_masks(network.model))
    compression = min(compression, N)
    assume(0 < plain_flow(*network, dense_masks(network.model))[0] < 2**40)
    *_, expected = algorithm_1(*network, counts(N, compression, steps, "exponential"))
    masks = prune(network.model, "synflow", Probe(network.shape), compression, steps)
    assert row(masks) == expected


def test_a_pruned_model_can_be_pruned_further():
    """`apply` multiplies weights in each pass, also the stand-ins of those that were cut down."""
    model = build("vgg11", (3, 32, 32), 10, 0.1)
    twin = copy.deepcopy(model)
    masks = prune(model, "synflow", Probe((3, 32, 32)), 4, steps=5)
    apply(model, masks)
    for name, weight in prunable(twin).items():
        weight.data *= masks[name]
    again, expected = (prune(m, "synflow", Probe((3, 32, 32)), 50, steps=9) for m in (model, twin))
    assert row(again) == row(expected)
    assert all((again[name] <= masks[name]).all() for name in masks)


# The benchmark's baseline


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_masks_are_those_of_the_benchmark_s_literal_algorithm(name):
    """In float64 (Algorithm 1); 100 steps at full width are compared by the benchmark itself."""
    shape = (3, 32, 32)
    model = build(name, shape, 10, 0.2)
    masks = prune(model, "synflow", Probe(shape), 100, steps=20)
    assert row(masks) == row(literal_synflow(model, shape, 100, 20, torch.float64))
