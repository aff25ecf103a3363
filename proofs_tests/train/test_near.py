"""Near names: the one that was meant is suggested, and no other."""

import pytest
from click.testing import CliRunner

from cli import main
from train.near import near


@pytest.mark.parametrize(
    ("option", "given", "meant"),
    [
        ("model", "vgg-16", "vgg16"),
        ("model", "VGG16", "vgg16"),
        ("model", "resnet50", "torchvision:resnet50"),
        ("model", "torchvision:resnet52", "torchvision:resnet152"),
        ("model", "mynet.make_net", "mynet:make_net"),
        ("dataset", "cifar-10", "cifar10"),
        ("dataset", "MNIST", "mnist"),
        ("dataset", "my.data.load", "my.data:load"),
        ("pruner", "synfow", "synflow"),
        ("pruner", "my.scores.widest", "my.scores:widest"),
        ("scope", "globl", "global"),
        ("recipe", "publishd", "published"),
    ],
)
def test_the_sentence_ends_with_the_name_that_was_meant(option, given, meant):
    done = CliRunner().invoke(main, ["run", f"--{option}", given])
    assert done.exit_code == 2 and done.stderr.endswith(f"; did you mean {meant}?\n")


@pytest.mark.parametrize("given", ["", "nothing", "x", ".", "a.b"])
def test_nothing_is_suggested_where_nothing_is_near(given):
    assert near(given, ["vgg16", "vgg11", "mlp", "torchvision:resnet50"]) == ""
