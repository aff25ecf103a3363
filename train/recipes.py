"""Training hyperparameters: the table of App. 12.3, and sensible ones where the paper has none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum; the learning rate is multiplied by drop_factor at each drop."""

    epochs: int
    batch_size: int
    lr: float
    lr_drops: tuple[int, ...]  # after so many epochs
    drop_factor: float
    weight_decay: float
    momentum: float = 0.9


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

CIFAR_BY_MODEL = {
    "vgg19-plain": CIFAR_PLAIN,
    "mlp": TINY_IMAGENET,
    **{name: CIFAR_VGG for name in ("vgg11", "vgg16", "vgg19")},
    **{name: CIFAR_RESNET for name in ("resnet20", "resnet32", "resnet56", "resnet110")},
}


def paper(model: str, dataset: str) -> Recipe:
    """App. 12.3 for the models and data sets it names; models it does not know train as ResNet-18.

    Args:
        model: A name as on the command line.
        dataset: A name in DATASETS.
    """
    plain = model in ("vgg19-plain", "mlp")
    if dataset == "digits":
        return DIGITS
    if dataset in ("mnist", "fashion-mnist"):
        return GREY_PLAIN if plain else GREY
    if dataset == "tiny-imagenet":
        return TINY_IMAGENET
    if dataset == "imagenet":
        return IMAGENET_PLAIN if plain else IMAGENET
    return CIFAR_BY_MODEL.get(model, CIFAR_RESNET18)


RECIPES = {"paper": paper}
