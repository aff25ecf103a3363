"""How many weights each step leaves; all counts are exact, none goes through a rounded power."""

from fractions import Fraction
from math import ceil


def _exact(compression: float) -> Fraction:
    if not 1 <= compression < float("inf"):
        raise ValueError(f"compression must be a number of at least 1, not {compression}")
    return Fraction(compression)


def target(size: int, compression: float) -> int:
    """ceil(N / rho), what the last step of every schedule leaves.

    Raises:
        ValueError: If compression is below 1, or so high that not one of the weights is left.
    """
    if _exact(compression) > size:
        raise ValueError(
            f"compression {compression:g} leaves less than one of {size:,} weights; "
            f"at most {size:,} is possible"
        )
    return ceil(size / _exact(compression))


def exponential(size: int, compression: float, step: int, steps: int) -> int:
    """ceil(N rho^(-k/n)), step k of n: Algorithm 1, line 5, and App. 11.

    That is the least integer m with m^n rho^k >= N^n, found exactly from a rounded guess.
    """
    rho, least = _exact(compression) ** step, size**steps
    m = ceil(size / compression ** (step / steps))
    while (m - 1) ** steps * rho >= least:
        m -= 1
    while m**steps * rho < least:
        m += 1
    return m


def linear(size: int, compression: float, step: int, steps: int) -> int:
    """ceil(N (1 - (1 - 1/rho) k/n)): equal numbers of weights are removed in each step.

    As the authors' code; the rho_k = k rho / n of App. 11 would start below 1.
    """
    return ceil(size * (1 - (1 - 1 / _exact(compression)) * Fraction(step, steps)))


SCHEDULES = {"exponential": exponential, "linear": linear}
