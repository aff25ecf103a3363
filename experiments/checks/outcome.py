"""The outcome of a check, and the exceptions by which a check ends early."""

from typing import NamedTuple


class Failed(Exception):
    """The checked property does not hold; the text states the finding."""


class Impossible(Exception):
    """The check needs something that this machine lacks; the text names it."""


class Outcome(NamedTuple):
    """The outcome of one check."""

    name: str
    verdict: str  # PASS, FAIL, or SKIP for an impossible check
    seconds: float
    detail: str


def expect(holds: bool, otherwise: str) -> None:
    """Raise Failed with the text `otherwise` unless the property holds."""
    if not holds:
        raise Failed(otherwise)
