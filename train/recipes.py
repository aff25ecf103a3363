"""Training hyperparameters: the table of App. 12.3, and sensible ones where the paper has none."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum; the learning rate is multiplied by drop_factor at each drop."""

    epochs: int
    batch_size: int
    lr: float
    lr_drops: tuple[int, ...]  # epochs after which it drops
    drop_factor: float
    weight_decay: float
    momentum: float = 0.9
    updates: tuple[tuple[str, int], ...] = ()  # tensor name's beginning -> updates per step, if > 1

    def updates_of(self, name: str) -> int:
        """The number of updates of the tensor `name` per step, all with the same gradient."""
        return next((count for start, count in self.updates if name.startswith(start)), 1)


# App. 12.3
CIFAR_VGG = Recipe(160, 128, 0.1, (60, 120), 0.1, 1e-4)
CIFAR_RESNET18 = Recipe(160, 128, 0.01, (60, 120), 0.2, 5e-4)
TINY_IMAGENET = Recipe(100, 128, 0.01, (30, 60, 80), 0.1, 1e-4)
# Not in the paper: Fig. 5b's published script; He et al. (2016) for the CIFAR ResNets and ImageNet.
CIFAR_PLAIN = Recipe(100, 128, 0.001, (30, 60, 80), 0.1, 1e-4)
CIFAR_RESNET = Recipe(160, 128, 0.1, (80, 120), 0.1, 1e-4)
IMAGENET = Recipe(90, 256, 0.1, (30, 60, 80), 0.1, 1e-4)
IMAGENET_PLAIN = Recipe(90, 256, 0.01, (30, 60, 80), 0.1, 1e-4)
# Ours, for the small data sets. The early drop lets three epochs end well.
DIGITS = Recipe(30, 64, 0.1, (15, 25), 0.1, 5e-4)
GREY = Recipe(10, 128, 0.05, (2, 7), 0.1, 5e-4)
GREY_PLAIN = Recipe(15, 128, 0.01, (8, 12), 0.1, 1e-4)
GREY_SMALL = Recipe(10, 128, 0.1, (6, 8), 0.1, 5e-4)  # of train/small.py

CIFAR_BY_MODEL = {
    "vgg19-plain": CIFAR_PLAIN,
    "mlp": TINY_IMAGENET,
    **{name: CIFAR_VGG for name in ("vgg11", "vgg16", "vgg19")},
    **{name: CIFAR_RESNET for name in ("resnet20", "resnet32", "resnet56", "resnet110")},
}


def paper(model: str, dataset: str) -> Recipe:
    """The table of App. 12.3 and its complements; a model in neither is trained as ResNet-18.

    Args:
        model: A name as on the command line.
        dataset: A name in DATASETS.
    """
    plain = model in ("vgg19-plain", "mlp")
    if dataset == "digits":
        return DIGITS
    if dataset in ("mnist", "fashion-mnist"):
        if model.startswith("train.small:"):
            return GREY_SMALL
        return GREY_PLAIN if plain else GREY
    if dataset == "tiny-imagenet":
        return TINY_IMAGENET
    if dataset == "imagenet":
        return IMAGENET_PLAIN if plain else IMAGENET
    return CIFAR_BY_MODEL.get(model, CIFAR_RESNET18)


# The published runs listed each tensor in the optimiser once for each module that contains it
# (experiments/figures/published/DEPARTURES.md, row 8).
PUBLISHED_VGG_32 = (("features.", 4), ("classifier.", 2))
PUBLISHED_VGG_64 = (("features.", 3), ("classifier.", 3))
PUBLISHED_RESNET18 = (("conv1.", 3), ("bn1.", 3), ("layer", 5), ("fc.", 2))


def published(model: str, dataset: str) -> Recipe:
    """The table of App. 12.3 with several updates of a tensor per step, as in the published runs.

    Raises:
        ValueError: For a model or data set that is not in the table.
    """
    cifar = dataset in ("cifar10", "cifar100")
    if model in ("vgg11", "vgg16") and (cifar or dataset == "tiny-imagenet"):
        updates = PUBLISHED_VGG_32 if cifar else PUBLISHED_VGG_64
    elif model in ("resnet18", "wrn18") and (cifar or dataset == "tiny-imagenet"):
        updates = PUBLISHED_RESNET18
    else:
        raise ValueError(
            "recipe 'published' is known for vgg11, vgg16, resnet18 and wrn18 on cifar10, "
            f"cifar100 and tiny-imagenet, not for {model} on {dataset}"
        )
    return replace(paper(model, dataset), updates=updates)


RECIPES = {"paper": paper, "published": published}
