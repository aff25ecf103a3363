"""The runs that a sweep is made of."""

from collections.abc import Mapping, Sequence
from itertools import product

from experiments.config import PRUNING_DETAILS, RunConfig
from experiments.pruners import reads_data, usual_steps
from experiments.resolve import resolve

PAPER_COMPRESSIONS = tuple(10 ** (k / 4) for k in range(13))  # 10^0, 10^0.25, ..., 10^3 (Sec. 7)
# Slowest first.
AXES = ("seed", "dataset", "model", "compression", "pruner", "ablate", "cycles", "allocation")
NOT_IN_CYCLES = ("steps", "schedule", "scope", "score_dtype", "bn")
DENSE_OPTIONS = {"compression": 1.0, "pruner": "magnitude"}  # the run that stands for all pruners
LISTS = {  # option of a sweep -> its axis, and the values where it is not given
    "models": ("model", ["mlp"]),
    "datasets": ("dataset", ["digits"]),
    "pruners": ("pruner", ["random", "magnitude", "snip", "grasp", "synflow"]),
    "compressions": ("compression", PAPER_COMPRESSIONS),
    "seeds": ("seed", [0, 1, 2]),
    "allocations": ("allocation", ["none"]),
    "ablates": ("ablate", ["none"]),
    "cycles": ("cycles", [0]),
}


def of_lists(given: Mapping[str, object]) -> list[RunConfig]:
    """Make the grid of a sweep's options: those in LISTS are lists, the others hold for all runs.

    Raises:
        ValueError: As in `grid`.
    """
    if given["cycles"] and given["pruners"]:
        raise ValueError("--cycles is for imp, which takes no --pruners: make two sweeps")
    axes = {axis: given[name] or usual for name, (axis, usual) in LISTS.items()}
    for axis in ("ablate", "allocation"):
        axes[axis] = [None if name == "none" else name for name in axes[axis]]
    return grid(axes, {name: value for name, value in given.items() if name not in LISTS})


def grid(axes: Mapping[str, Sequence], given: Mapping[str, object]) -> list[RunConfig]:
    """Make every combination of the axes, each run once; the dense network once for all pruners.

    An option applies where it has a meaning: `schedule` to pruners that take several steps.
    With `cycles` above 0 a run is one of `imp`, which has no pruner of its own. The pruner
    "snip@100" is snip in 100 steps.

    Args:
        axes: Names in AXES -> values.
        given: The options that all runs share, None where not given.

    Raises:
        ValueError: If an option is wrong, or does nothing in all of the grid.
    """
    if any(axes["cycles"]):
        _check_cycles(axes, given)
    if given.get("steps") is not None and any("@" in pruner for pruner in axes["pruner"]):
        raise ValueError("--steps cannot be combined with --pruners that have steps, as snip@100")
    configs = []
    for values in product(*(axes[name] for name in AXES)):
        configs.append(_point(dict(given) | dict(zip(AXES, values, strict=True))))
    configs = list(dict.fromkeys(configs))
    for name in ("steps", "schedule", "scope", "bn", "rewind"):
        if given.get(name) is not None and all(getattr(c, name) != given[name] for c in configs):
            raise ValueError(f"--{name} {given[name]} does nothing in this sweep")
    if any(axes["allocation"]) and not any(config.allocation for config in configs):
        raise ValueError("--allocations does nothing in this sweep: all weights stay dense")
    if given.get("exclude") and not any(config.exclude for config in configs):
        raise ValueError("--exclude does nothing in this sweep: all weights stay dense")
    return configs


def _check_cycles(axes: Mapping[str, Sequence], given: Mapping[str, object]) -> None:
    """Refuse the options without a meaning for `imp`."""
    idle = [name for name in NOT_IN_CYCLES if given.get(name) is not None]
    idle += [f"{axis}s" for axis in ("ablate", "allocation") if any(axes[axis])]
    if idle:
        raise ValueError(f"--{idle[0].replace('_', '-')} means nothing with --cycles")


def _point(options: dict[str, object]) -> RunConfig:
    """The run of one combination, without the options that have no meaning for it."""
    options |= _pruner_and_steps(options["pruner"])
    if options["compression"] == 1:
        shared = {k: v for k, v in options.items() if k not in PRUNING_DETAILS}
        return resolve(shared | DENSE_OPTIONS)
    if options["cycles"]:
        return resolve({k: v for k, v in options.items() if k != "pruner"})
    steps = options.get("steps") or usual_steps(options["pruner"], "exponential")
    if steps == 1 and options.get("schedule") != "certified":
        options |= {"schedule": None}
    if not reads_data(options["pruner"]):
        options |= {"bn": None}
    return resolve(options)


def _pruner_and_steps(text: str) -> dict[str, object]:
    """ "snip@100" -> the pruner snip and 100 steps; "snip" -> the pruner alone."""
    pruner, at, steps = text.partition("@")
    if not at:
        return {"pruner": pruner}
    if not steps.isdecimal():
        raise ValueError(f"--pruners must be like snip or snip@100, not {text}")
    return {"pruner": pruner, "steps": int(steps)}


def shard(configs: Sequence[RunConfig], part: int, parts: int) -> list[RunConfig]:
    """Part 1, 2, ... of `parts`: every parts-th run; together the parts are all runs.

    Raises:
        ValueError: If there is no such part.
    """
    if not 1 <= part <= parts:
        raise ValueError(f"--shard {part}/{parts}: the first number must be 1 to the second")
    return list(configs[part - 1 :: parts])
