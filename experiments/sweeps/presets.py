"""Sweeps with a name: the runs of results/laptop, from which its page is made."""

from collections.abc import Mapping, Sequence

from experiments.config import RunConfig
from experiments.sweeps.grid import AXES, grid
from prune.allocation import ALLOCATIONS

ALLOWED = ("data_dir", "results", "device", "compact", "log")  # options that a preset takes
FIVE = ["random", "magnitude", "snip", "grasp-text", "synflow"]
COMMON = {  # options of all presets; a part of a preset may set others
    "dataset": ["fashion-mnist"],
    "train_images": 10_000,
    "model": ["vgg11"],
    "width": 0.25,
    "pruner": FIVE,
    "ablate": [None],
    "allocation": [None],
    "cycles": [0],
    "seed": [0, 1, 2],
    "epochs": 8,
    "batch_size": 64,
    "lr_drops": (5, 7),
    "device": "cpu",
    "precision": "float32",
}
ITERATED = ["snip@10", "snip@100", "grasp@10", "grasp@100"]
DECADES = [1.0, 10.0, 100.0, 1000.0, 10_000.0]
HALF_DECADES = [10 ** (k / 2) for k in range(9)]  # 1 to 10,000
RESNET = {"model": ["resnet18"], "epochs": 12, "lr_drops": (9, 11), "compression": DECADES}
OTHERS = {
    "model": ["train.small:vit", "train.small:mobilenet_v3"],
    "width": 1.0,
    "compression": [1.0, 3.0, 10.0, 30.0],
}
ABLATED = {"compression": DECADES[1:4], "ablate": ["shuffle", "reinit", "invert"]}

PRESETS: dict[str, list[dict]] = {  # each is made of one to three grids
    "laptop-pruners": [  # Fig. 6
        {"compression": HALF_DECADES},
        {"compression": HALF_DECADES, "pruner": ["synflow"], "schedule": "certified"},
    ],
    "laptop-ablations": [ABLATED],
    "laptop-float32": [
        {"compression": [10.0, 100.0, 1000.0], "pruner": ["synflow"], "score_dtype": "float32"},
    ],
    "laptop-cycles": [  # Fig. 5a
        {"compression": HALF_DECADES[1:7], "cycles": [1, 2, 3]},
        {"compression": HALF_DECADES[1:7], "cycles": [1, 2, 3], "rewind": False},
    ],
    "laptop-resnet18": [  # Fig. 6
        RESNET,
        {**RESNET, "pruner": ["synflow"], "schedule": "certified"},
    ],
    "laptop-iterated": [
        {"compression": HALF_DECADES[2:], "pruner": ITERATED},
    ],
    "laptop-allocations": [
        {"compression": DECADES[1:4], "pruner": ["random"], "allocation": [*ALLOCATIONS]},
        {"compression": DECADES[1:4], "pruner": ["magnitude"], "allocation": ["erk", "synflow"]},
    ],
    "laptop-grasp": [  # GraSP as its authors score, in the places of grasp-text
        {"compression": HALF_DECADES[1:], "pruner": ["grasp"]},
        {**ABLATED, "pruner": ["grasp"]},
        {**RESNET, "compression": DECADES[1:], "pruner": ["grasp"]},
    ],
    "laptop-choices": [  # of definitions: masks by layers, batch statistics, squared weights
        {
            "compression": DECADES[1:4],
            "pruner": ["magnitude", "snip", "synflow"],
            "scope": "local",
        },
        {"compression": DECADES[1:4], "pruner": ["snip", "grasp"], "bn": "batch"},
        {"compression": DECADES[1:4], "pruner": ["synflow-l2"]},
    ],
    "laptop-architectures": [  # a vision transformer and a MobileNetV3
        {**OTHERS, "pruner": ["random", "magnitude", "synflow"]},
        {**OTHERS, "compression": [3.0, 10.0, 30.0], "pruner": ["random"], "allocation": ["erk"]},
    ],
}


def preset(names: Sequence[str], given: Mapping[str, object]) -> list[RunConfig]:
    """The runs of these presets, one preset after the other, each with all runs of seed 0 first.

    Args:
        names: Keys of PRESETS, or "laptop" for all of them.
        given: Options by name, None where not given; only those in ALLOWED may be.

    Raises:
        ValueError: If there is no such preset, or an option is given that presets set.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    if refused := [f"--{name.replace('_', '-')}" for name in chosen if name not in ALLOWED]:
        raise ValueError(f"{', '.join(refused)} cannot be combined with --preset, which sets it")
    configs: list[RunConfig] = []
    for name in PRESETS if "laptop" in names else names:
        if name not in PRESETS:
            raise ValueError(f"--preset must be laptop or of {', '.join(PRESETS)}; not {name}")
        runs = [config for part in PRESETS[name] for config in _runs(part | chosen)]
        configs += sorted(runs, key=lambda config: config.seed)
    return list(dict.fromkeys(configs))


def _runs(part: dict[str, object]) -> list[RunConfig]:
    options = COMMON | part
    axes = {name: options.pop(name) for name in AXES}
    return grid(axes, options)
