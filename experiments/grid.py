"""Which runs a sweep is made of."""

from collections.abc import Mapping, Sequence
from itertools import product

from experiments.config import RunConfig, resolve

PAPER_COMPRESSIONS = tuple(10 ** (k / 4) for k in range(13))  # 10^0, 10^0.25, ..., 10^3 (Sec. 7)
AXES = ("seed", "dataset", "model", "compression", "pruner", "ablate")  # the first varies slowest
PRUNERS_OPTIONS = ("steps", "schedule", "scope", "ablate")  # of no effect where all is kept
DENSE = {"compression": 1, "pruner": "magnitude"}


def grid(axes: Mapping[str, Sequence], given: Mapping[str, object]) -> list[RunConfig]:
    """Every combination of the axes, each run once; the dense network once for all pruners.

    An option applies where it means something: `schedule` to pruners that take several steps.

    Args:
        axes: Names in AXES -> values.
        given: The options that all runs share, None where not given.

    Raises:
        ValueError: If an option is wrong, or does nothing in all of the grid.
    """
    configs = []
    for values in product(*(axes[name] for name in AXES)):
        configs.append(_point(dict(given) | dict(zip(AXES, values))))
    configs = list(dict.fromkeys(configs))
    for name in ("steps", "schedule", "scope"):
        if given.get(name) is not None and all(getattr(c, name) != given[name] for c in configs):
            raise ValueError(f"--{name} {given[name]} does nothing in this sweep")
    return configs


def _point(options: dict[str, object]) -> RunConfig:
    if options["compression"] == 1:
        return resolve({k: v for k, v in options.items() if k not in PRUNERS_OPTIONS} | DENSE)
    one_step = options["pruner"] != "synflow" and options.get("steps") in (None, 1)
    if one_step and options.get("schedule") != "certified":
        options |= {"schedule": None}
    return resolve(options)


def shard(configs: Sequence[RunConfig], part: int, parts: int) -> list[RunConfig]:
    """Part 1, 2, ..., `parts` of the runs, dealt like cards; together the parts are all.

    Raises:
        ValueError: If there is no such part.
    """
    if not 1 <= part <= parts:
        raise ValueError(f"--shard {part}/{parts}: the first number must be 1 to the second")
    return list(configs[part - 1 :: parts])


def series_name(config: RunConfig) -> str:
    """A pruner, with what makes it another curve: schedule, ablation, scope and so on."""
    usual = resolve({"pruner": config.pruner})
    parts = ["dense" if config.compression == 1 else config.pruner]
    if config.compression > 1:
        names = ("schedule", "steps", "scope", "score_dtype", "ablate")
        values = [str(getattr(config, n)) for n in names if getattr(config, n) != getattr(usual, n)]
        parts += [value for value in values if value != "None"]
    return " ".join(parts)
