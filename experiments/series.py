"""The curve that a run is a point of."""

from typing import NamedTuple

from experiments.config import RunConfig
from experiments.pruners import is_own, usual_steps


class Series(NamedTuple):
    """The runs of one curve: they prune in the same way, to any compression, from any seed.

    A field that is None has the value with which the paper uses the pruner.
    """

    pruner: str  # a name in SCORES; the user's function; "imp"; "dense" where nothing is pruned
    schedule: str | None = None
    scope: str | None = None
    score_dtype: str | None = None
    ablate: str | None = None
    steps: int | None = None
    cycles: int = 0  # of imp
    rewound: bool = True  # of imp
    exclude: tuple[str, ...] = ()  # patterns of the weights that stay dense
    allocation: str | None = None
    bn: str | None = None

    @property
    def variant(self) -> str:
        """The difference from the pruner as the paper uses it, in words; empty if there is none."""
        if self.cycles:
            plural = "s" if self.cycles > 1 else ""
            words = [f"{self.cycles} cycle{plural}{'' if self.rewound else ', not rewound'}"]
        else:
            words = [self.schedule, self.scope, self.allocation, self.score_dtype, self.ablate]
            words.append(None if self.bn is None else f"bn {self.bn}")
        words.append(f"without {','.join(self.exclude)}" if self.exclude else None)
        text = " ".join(word for word in words if word is not None)
        if self.steps is None:
            return text
        return f"{text}{', ' if text else ''}{self.steps} step{'s' if self.steps > 1 else ''}"

    @property
    def label(self) -> str:
        """The name of the curve in tables and files: "synflow", "snip shuffle", "snip, 9 steps"."""
        return self.named(self.pruner)

    def named(self, pruner: str) -> str:
        """The name of the curve with the pruner as figures write it: "SNIP, 9 steps"."""
        comma = "," if self.variant[:1].isdigit() else ""  # a number of cycles or steps
        return f"{pruner}{comma} {self.variant}".strip()


DENSE = Series("dense")


def series_of(config: RunConfig) -> Series:
    """Find the curve that a run is a point of; DENSE is the first point of all curves."""
    if config.compression == 1:
        return DENSE
    if config.cycles:
        kind = {"cycles": config.cycles, "rewound": config.rewind, "exclude": config.exclude}
        return Series("imp", **kind)
    return Series(
        config.pruner,
        schedule=_unless(config.schedule, "exponential"),
        scope=_unless(config.scope, "global"),
        score_dtype=_unless(config.score_dtype, "float64"),
        ablate=config.ablate,
        steps=_unless(config.steps, _usual_steps(config)),
        exclude=config.exclude,
        allocation=config.allocation,
        bn=_unless(config.bn, "running"),
    )


def _usual_steps(config: RunConfig) -> int | None:
    """The usual number of steps; none of a user's function, which results must not import."""
    return None if is_own(config.pruner) else usual_steps(config.pruner, config.schedule)


def _unless(value, usual):
    """The value, or None where it is the usual one."""
    return None if value == usual else value
