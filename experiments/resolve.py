"""Turn options into a RunConfig: fill in defaults, check each value alone and with the others."""

from collections.abc import Collection, Mapping
from math import inf

import torch

from experiments.callbacks import callback
from experiments.config import ABLATIONS, BN, DTYPES, HYPERPARAMETERS, RunConfig
from experiments.pruners import reads_data, usual_steps
from experiments.unbuilt import affordable_facts, check_steps
from prune.allocation import ALLOCATIONS
from prune.positive import FLOWS
from prune.schedules import SCHEDULES, SCOPES, target
from train.data import known
from train.initial import INITS
from train.models import MODELS, check_name
from train.near import near
from train.prepared import PRECISIONS, best_precision
from train.recipes import RECIPES


def resolve(given: Mapping[str, object]) -> RunConfig:
    """Fill in the fields that are not given, and check all that needs no network and no data.

    `resolve({})` is the default run. Checks that `prune` makes too are made here before anything
    is built, in the words of the command line.

    Args:
        given: Field names of RunConfig -> value, or None for the default.

    Raises:
        ValueError: With one sentence that names the option, what was given and what is allowed.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("cycles", 0) > 0:
        given |= {"pruner": "magnitude", "steps": given["cycles"]}
    if "exclude" in given:
        given["exclude"] = tuple(sorted(set(given["exclude"])))
    default = RunConfig()
    model, dataset = (given.get(n, getattr(default, n)) for n in ("model", "dataset"))
    check_name(model)
    known(dataset)
    pruner = given.get("pruner", default.pruner)
    one_of("recipe", given.get("recipe", default.recipe), RECIPES)
    recipe = RECIPES[given.get("recipe", default.recipe)](model, dataset)
    filled = {name: getattr(recipe, name) for name in ("epochs", *HYPERPARAMETERS)}
    filled["steps"] = usual_steps(pruner, given.get("schedule", default.schedule))
    device = device_named(given.get("device", default.device))
    filled["precision"] = best_precision(device)
    config = RunConfig(**filled | given | {"device": device})
    check(config, given)
    return config


def check(config: RunConfig, given: Mapping[str, object]) -> None:
    """Check all that can be checked without building the network in memory and without data.

    Args:
        config: The configuration, with every field filled in.
        given: The values that were given: one that would do nothing is refused.

    Raises:
        ValueError: With one sentence that names the option, what was given and what is allowed.
    """
    _check_pruning(config, given)
    _check_ablation(config)
    _check_allocation(config)
    _check_dense(config, given)
    _check_training(config, given)
    _check_train_images(config)
    _check_speed(config, given)
    _check_cycles(config, given)
    _check_model(config, given)
    if config.log is not None:
        callback(config.log)


def _check_pruning(config: RunConfig, given: Mapping[str, object]) -> None:
    one_of("schedule", config.schedule, (*SCHEDULES, "certified"))
    one_of("scope", config.scope, SCOPES)
    one_of("score-dtype", config.score_dtype, DTYPES)
    one_of("bn", config.bn, BN)
    at_least("compression", config.compression, 1)
    at_least("seed", config.seed, 0)
    if "bn" in given and not reads_data(config.pruner):
        raise ValueError(f"--bn does nothing: {config.pruner} reads no data")
    if config.schedule == "certified":
        if config.pruner not in FLOWS:
            allowed = " or ".join(FLOWS)
            raise ValueError(f"--schedule certified needs a conserved positive score: {allowed}")
        if "steps" in given or config.scope == "local":
            raise ValueError("--schedule certified takes no --steps and no --scope local")
        return
    at_least("cycles" if config.cycles else "steps", config.steps, 1)
    if config.steps == 1 and "schedule" in given:
        raise ValueError("--schedule does nothing with one pruning step; give --steps 2 or more")


def _check_ablation(config: RunConfig) -> None:
    if config.ablate is None:
        return
    one_of("ablate", config.ablate, ABLATIONS)
    if config.compression == 1:
        raise ValueError(f"--ablate {config.ablate} does nothing with --compression 1")
    if config.ablate == "reinit" and config.epochs == 0:
        raise ValueError("--ablate reinit does nothing with --epochs 0: masks stay as they are")
    if config.ablate == "invert" and config.schedule == "certified":
        raise ValueError("--ablate invert would close the last path, which certified refuses")


def _check_allocation(config: RunConfig) -> None:
    if config.allocation is None:
        return
    one_of("allocation", config.allocation, ALLOCATIONS)
    if config.schedule == "certified" or config.scope == "local":
        raise ValueError("--allocation takes no --schedule certified and no --scope local")


def _check_dense(config: RunConfig, given: Mapping[str, object]) -> None:
    for name in ("exclude", "allocation", "bn"):
        if given.get(name) and config.compression == 1:
            raise ValueError(f"--{name} does nothing with --compression 1: all weights stay dense")


def _check_training(config: RunConfig, given: Mapping[str, object]) -> None:
    at_least("epochs", config.epochs, 0)
    if config.epochs > 10**6:  # a slip of the hand, which would not end in years
        raise ValueError(f"--epochs must be at most 1,000,000, not {config.epochs:,}")
    at_least("batch-size", config.batch_size, 1)
    at_least("weight-decay", config.weight_decay, 0)
    for name, value in (("lr", config.lr), ("drop-factor", config.drop_factor)):
        if not 0 < value < inf:
            raise ValueError(f"--{name} must be a positive number, not {value:g}")
    trains = ("recipe", *HYPERPARAMETERS, "record_weights")
    _refuse_without_epochs(config, [name for name in trains if name in given])
    drops = config.lr_drops
    if any(not 0 < drop < config.epochs for drop in drops) and "lr_drops" in given:
        given = ", ".join(number(drop) for drop in drops)
        raise ValueError(f"--lr-drops must lie between 1 and {config.epochs - 1}, not {given}")
    if list(drops) != sorted(set(drops)):
        raise ValueError(f"--lr-drops must increase, not {drops}")
    if "drop_factor" in given and not any(drop < config.epochs for drop in drops):
        raise ValueError(f"--drop-factor does nothing: no drop comes in {config.epochs} epochs")


def _refuse_without_epochs(config: RunConfig, idle: list[str]) -> None:
    if config.epochs == 0 and idle:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        verb = "does" if len(idle) == 1 else "do"
        raise ValueError(f"{options} {verb} nothing with --epochs 0")


def _check_train_images(config: RunConfig) -> None:
    if config.train_images is None:
        return
    if not config.reads_data:
        raise ValueError("--train-images does nothing: nothing is trained, no data is read")
    least, reads = 1, ""
    if reads_data(config.pruner):
        least = 10 * config.data.classes
        reads = f", and {config.pruner} reads {least}"
    most = config.data.train_size - 1
    if not least <= config.train_images <= most:
        raise ValueError(
            f"--train-images must be from {least} to {most}, not {number(config.train_images)}: "
            f"{config.dataset} has {config.data.train_size}{reads}"
        )


def _check_speed(config: RunConfig, given: Mapping[str, object]) -> None:
    one_of("precision", config.precision, PRECISIONS)
    _refuse_without_epochs(
        config, [name for name in ("precision", "compile", "compact") if name in given]
    )
    if config.workers is not None:
        at_least("workers", config.workers, 0)
        if config.dataset != "imagenet" or not config.reads_data:
            raise ValueError("--workers does nothing: only the images of imagenet are decoded")


def _check_cycles(config: RunConfig, given: Mapping[str, object]) -> None:
    at_least("cycles", config.cycles, 0)
    if config.cycles and config.epochs == 0:
        raise ValueError("--cycles does nothing with --epochs 0: pruning in cycles needs training")
    if not config.cycles and "rewind" in given:
        raise ValueError("--rewind does nothing without --cycles")


def _check_model(config: RunConfig, given: Mapping[str, object]) -> None:
    one_of("init", config.init, INITS)
    if not 0 < config.width < inf:
        raise ValueError(f"--width must be a positive number, not {config.width:g}")
    if config.width != 1 and config.model not in MODELS:
        raise ValueError(f"--width scales {', '.join(MODELS)}; not {config.model}")
    if config.model in MODELS or config.model.startswith("torchvision:"):
        size, normalised = affordable_facts(
            config.model, config.dataset, config.width, config.init, config.exclude
        )
        check_steps(config.steps, size)
        target(size, config.compression)
        if "bn" in given and not normalised:
            raise ValueError(f"--bn does nothing: {config.model} has no batch norm")
    elif "init" in given:
        raise ValueError(f"--init does nothing: {config.model} keeps the weights that it makes")


def device_named(name: str) -> str:
    """Replace "auto" by this machine's device, and check that a CUDA device exists."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device must be auto, cpu, cuda or cuda:N, not {name}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices that "
            "torch can use; auto and cpu are possible"
        )
    return name


def one_of(option: str, value: object, allowed: Collection[str]) -> None:
    """Refuse a value that is not among the allowed names."""
    if value not in allowed:
        raise ValueError(
            f"--{option} must be one of {', '.join(allowed)}, not {value}{near(value, allowed)}"
        )


def at_least(option: str, value: float, least: float) -> None:
    """Refuse a number below the least one, above 64 bits, an infinite one and NaN."""
    if not least <= value < inf:
        raise ValueError(f"--{option} must be at least {least}, not {number(value)}")
    if isinstance(value, int) and value >= 2**63:
        raise ValueError(f"--{option} must be below 2^63, not {number(value)}")


def number(value: float) -> str:
    """The text of a number, short also for one of hundreds of digits."""
    long = isinstance(value, int) and abs(value) >= 2**63
    return f"a number of {len(str(abs(value)))} digits" if long else f"{value:g}"
