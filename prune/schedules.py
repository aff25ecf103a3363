"""How many weights each step leaves; all counts are exact, none goes through a rounded power."""

from bisect import bisect_left
from fractions import Fraction
from math import ceil, inf
from numbers import Rational

ROUNDING = 1e-12  # more than the relative error of N rho^(-k/n) in float64


def _exact(compression: float) -> Fraction:
    if not 1 <= compression < inf:
        raise ValueError(f"compression must be a number of at least 1, not {compression}")
    if isinstance(compression, Rational):  # int: a NumPy integer would overflow in a power
        return Fraction(int(compression.numerator), int(compression.denominator))
    return Fraction(float(compression))


def target(size: int, compression: float) -> int:
    """ceil(N / rho), what the last step of every schedule leaves.

    Raises:
        ValueError: If compression is below 1, or so high that not one of the weights is left.
    """
    if _exact(compression) > size:
        raise ValueError(
            f"compression {float(compression):g} leaves less than one of {size:,} weights; "
            f"at most {size:,} is possible"
        )
    return ceil(size / _exact(compression))


def exponential(size: int, compression: float, step: int, steps: int) -> int:
    """ceil(N rho^(-k/n)), step k of n: Algorithm 1, line 5, and App. 11.

    That is the least integer m with m^n rho^k >= N^n. The integers are tried exactly where
    rounding leaves a choice, which is rare: these powers have thousands of digits.
    """
    p, q = _exact(compression).as_integer_ratio()
    guess = size / float(compression) ** (step / steps)
    low, high = ceil(guess * (1 - ROUNDING)), ceil(guess * (1 + ROUNDING))

    def enough(m: int) -> bool:
        return m**steps * p**step >= size**steps * q**step

    return low + bisect_left(range(low, high), True, key=enough)


def linear(size: int, compression: float, step: int, steps: int) -> int:
    """ceil(N (1 - (1 - 1/rho) k/n)): equal numbers of weights are removed in each step.

    As the authors' code; the rho_k = k rho / n of App. 11 would start below 1.
    """
    return ceil(size * (1 - (1 - 1 / _exact(compression)) * Fraction(step, steps)))


SCHEDULES = {"exponential": exponential, "linear": linear}
