"""The names that options take, for `--help` and for the completion of shells. Imports no torch."""

import click
from click.shell_completion import CompletionItem

CHOICES = {  # option -> its names; a test compares them with the registries
    "model": (
        *("mlp", "vgg11", "vgg16", "vgg19", "vgg19-plain", "resnet18", "wrn18"),
        *("resnet20", "resnet32", "resnet56", "resnet110"),
    ),
    "dataset": (
        *("digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "tiny-imagenet", "imagenet"),
    ),
    "pruner": (
        *("random", "magnitude", "snip", "grasp", "grasp-text", "synflow", "synflow-l2"),
        *("skeletonization", "taylor-fo"),
    ),
    "schedule": ("exponential", "linear", "certified"),
    "scope": ("global", "local"),
    "allocation": ("uniform", "uniform+", "erk", "igq", "synflow"),
    "ablate": ("shuffle", "reinit", "invert"),
    "bn": ("running", "batch"),
    "init": ("paper", "published"),
    "recipe": ("paper", "published"),
    "device": ("auto", "cpu", "cuda"),
    "score-dtype": ("float64", "float32"),
    "precision": ("float32", "bfloat16"),
    "log": ("tensorboard",),
}


def words(option: str, *more: str) -> str:
    """ "a, b or c": the names of an option, and more."""
    *most, last = (*CHOICES[option], *more)
    return f"{', '.join(most)} or {last}"


class Names(click.ParamType):
    """A text, of which shells complete the names; what is allowed is checked by `resolve`.

    In a list the entry after the last comma is completed.
    """

    name = "name"

    def __init__(self, option: str):
        self.names = CHOICES[option]

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before, comma, begun = incomplete.rpartition(",")
        return [
            CompletionItem(before + comma + name) for name in self.names if name.startswith(begun)
        ]


def entries(text: str) -> list[str]:
    """Split a list at its commas.

    Raises:
        click.BadParameter: If an entry is empty.
    """
    found = [part.strip() for part in text.split(",")]
    if "" in found:
        raise click.BadParameter(f"{text!r} has an empty entry; write a,b,c without further commas")
    return found
