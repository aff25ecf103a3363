"""The scores that a run can name: those of `prune`, and a user's own `package.module:function`."""

from prune import SCORES
from prune.pruning import default_steps
from prune.scores import Score
from prune.scores import reads_data as score_reads_data
from train.foreign import imported
from train.near import near


def is_own(pruner: str) -> bool:
    """True for the name of a user's function. Nothing is imported."""
    return ":" in pruner


def score_of(pruner: str) -> Score:
    """Return the function of this name, and import it if it is the user's.

    Raises:
        ValueError: If there is no such score.
    """
    if is_own(pruner):
        return imported("pruner", pruner)
    if pruner not in SCORES:
        raise ValueError(
            f"--pruner must be one of {', '.join(SCORES)} or package.module:function, not {pruner}"
            f"{near(pruner, SCORES, functions=True)}"
        )
    return SCORES[pruner]


def reads_data(pruner: str) -> bool:
    """True if the score reads training examples."""
    return score_reads_data(score_of(pruner) if is_own(pruner) else pruner)


def usual_steps(pruner: str, schedule: str) -> int | None:
    """The number of pruning steps where none is given; None where certified decides."""
    return None if schedule == "certified" else default_steps(score_of(pruner))
