"""Sweeps with a name: the runs behind results/laptop, and so behind what its page says."""

from collections.abc import Mapping, Sequence

from experiments.config import RunConfig
from experiments.sweeps.grid import AXES, grid

PLACES = ("data_dir", "results", "device")  # what is left to choose
FIVE = ["random", "magnitude", "snip", "grasp", "synflow"]
SEEDS = [0, 1, 2]
SANITY = [10.0, 100.0, 1000.0]
LAPTOP = {"width": 0.25, "train_images": 10_000, "batch_size": 64, "epochs": 8, "lr_drops": (5, 7)}
LAPTOP |= {"device": "cpu", "precision": "float32"}  # unless another device is given
USUAL = {"dataset": ["fashion-mnist"], "model": ["vgg11"], "seed": SEEDS}
USUAL |= {"pruner": FIVE, "ablate": [None], "cycles": [0]}
CERTIFIED = {"pruner": ["synflow"], "schedule": "certified"}

# Fig. 6: with the dense network as its first point; then its ResNet, coarser and longer
TO_10000 = {"compression": [10 ** (k / 2) for k in range(9)]}
RESNET = {"model": ["resnet18"], "compression": [1.0, 10.0, 100.0, 1000.0, 10_000.0]}
RESNET |= {"epochs": 12, "lr_drops": (9, 11)}
# Fig. 5a
CYCLES = {"compression": [10 ** (k / 2) for k in range(1, 7)], "cycles": [1, 2, 3]}

PRESETS: dict[str, list[dict]] = {
    "laptop-pruners": [TO_10000, TO_10000 | CERTIFIED],
    "laptop-ablations": [{"compression": SANITY, "ablate": ["shuffle", "reinit", "invert"]}],
    "laptop-float32": [{"compression": SANITY, "pruner": ["synflow"], "score_dtype": "float32"}],
    "laptop-cycles": [CYCLES, CYCLES | {"rewind": False}],
    "laptop-resnet18": [RESNET, RESNET | CERTIFIED],
}


def preset(names: Sequence[str], given: Mapping[str, object]) -> list[RunConfig]:
    """The runs of these presets, one preset after the other, each with all of seed 0 first.

    Args:
        names: Keys of PRESETS, or "laptop" for all of them.
        given: Options by name, None where not given; only those in PLACES may be.

    Raises:
        ValueError: If there is no such preset, or an option is given that it decides.
    """
    places = {name: value for name, value in given.items() if value is not None}
    if idle := [f"--{name.replace('_', '-')}" for name in places if name not in PLACES]:
        raise ValueError(f"--preset decides itself what {', '.join(idle)} would say")
    configs: list[RunConfig] = []
    for name in PRESETS if "laptop" in names else names:
        if name not in PRESETS:
            raise ValueError(f"--preset must be laptop or of {', '.join(PRESETS)}; not {name}")
        runs = [config for part in PRESETS[name] for config in _runs(part | places)]
        configs += sorted(runs, key=lambda config: config.seed)
    return list(dict.fromkeys(configs))


def _runs(part: dict[str, object]) -> list[RunConfig]:
    chosen = LAPTOP | USUAL | part
    axes = {name: chosen.pop(name) for name in AXES}
    return grid(axes, chosen)
