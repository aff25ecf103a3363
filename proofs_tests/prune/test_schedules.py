"""The number of weights that each step leaves (Algorithm 1, line 5; App. 11) is exact."""

from fractions import Fraction
from math import ceil, inf, nan, nextafter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune.schedules import SCHEDULES, exponential, linear, target
from reference import pruning as reference

LARGEST = 143_652_544  # prunable weights of VGG-19 on ImageNet


@st.composite
def schedules(draw, max_size=10**7, max_steps=12):
    """(N, rho, n) with 1 <= rho <= N: whole or not, and often with N rho^(-k/n) all but whole."""
    size = draw(st.integers(1, max_size))
    ratios = [
        st.integers(1, size),
        st.floats(1, size),
        st.fractions(1, size, max_denominator=1000),
        st.integers(1, size).map(lambda rho: nextafter(rho, 1)),
        st.integers(1, size).map(lambda rho: nextafter(rho, size)),
    ]
    return size, draw(st.one_of(ratios)), draw(st.integers(1, max_steps))


def counts(name, size, compression, steps):
    return [SCHEDULES[name](size, compression, k, steps) for k in range(1, steps + 1)]


@given(schedules())
def test_exponential_is_the_ceiling_of_a_power(case):
    """m = ceil(N rho^(-k/n)): m^n rho^k >= N^n, and one less is too few (App. 11)."""
    size, compression, steps = case
    rho = Fraction(compression)
    for k, m in enumerate(counts("exponential", *case), 1):
        assert m**steps * rho**k >= size**steps > (m - 1) ** steps * rho**k


@given(schedules())
def test_linear_removes_equal_numbers(case):
    """m = ceil(N (1 - (1 - 1/rho) k/n)): k/n of what is removed in the end is gone (App. 11)."""
    size, compression, steps = case
    removed = size - size / Fraction(compression)
    for k, m in enumerate(counts("linear", *case), 1):
        assert m == ceil(size - removed * k / steps)


@given(schedules(max_size=10**4), st.sampled_from(sorted(SCHEDULES)))
def test_counts_are_those_of_the_reference(case, name):
    """Both implementations leave the same number at each step (Algorithm 1, line 5)."""
    size, compression, steps = case
    law = {"exponential": reference.exponential, "linear": reference.linear}[name]
    expected = [law(size, compression, k, steps) for k in range(1, steps + 1)]
    assert counts(name, *case) == expected


@given(schedules(), st.sampled_from(sorted(SCHEDULES)))
def test_counts_fall_to_the_target(case, name):
    """No step leaves more than the one before; the last leaves ceil(N / rho), at least 1."""
    size, compression, _ = case
    left = [size, *counts(name, *case)]
    assert left == sorted(left, reverse=True)
    assert left[-1] == target(size, compression) == ceil(size / Fraction(compression)) >= 1


@given(schedules())
def test_one_step_is_one_shot(case):
    """With n = 1 the two schedules are the same: straight to ceil(N / rho)."""
    size, compression, _ = case
    assert exponential(size, compression, 1, 1) == linear(size, compression, 1, 1)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float64, np.float32, float, Fraction])
def test_every_kind_of_number_is_exact(kind):
    """A NumPy integer would overflow in 100^50."""
    for step in range(1, 101):
        m = exponential(10**6, kind(100), step, 100)
        assert m == exponential(10**6, 100, step, 100)
        assert linear(10**6, kind(100), step, 100) == linear(10**6, 100, step, 100)
        assert type(m) is int


@pytest.mark.parametrize("compression", [2**22, 10**5.25, 1234.567])
def test_a_thousand_steps_of_the_largest_network_are_exact(compression):
    """The exact powers have up to 50,000 bits, so they are computed only where they decide."""
    left = counts("exponential", LARGEST, compression, 1000)
    rho = Fraction(compression)
    for k in (1, 499, 500, 999, 1000):
        m = left[k - 1]
        assert m**1000 * rho**k >= LARGEST**1000 > (m - 1) ** 1000 * rho**k


def test_whole_counts_are_not_rounded_up():
    """N rho^(-k/n) = 2^(20 - k) exactly, though the floating-point power may be above it."""
    assert counts("exponential", 2**20, 2**20, 20) == [2 ** (20 - k) for k in range(1, 21)]
    assert counts("exponential", 3**12, 3**12, 12) == [3 ** (12 - k) for k in range(1, 13)]
    assert counts("exponential", 10**9, 10**9, 9) == [10 ** (9 - k) for k in range(1, 10)]


def test_counts_just_above_a_whole_number_are_rounded_up():
    """For rho a hair below 2, N / rho is a hair above N / 2: one weight more."""
    below = nextafter(2, 1)
    assert exponential(2**20, below, 1, 1) == target(2**20, below) == 2**19 + 1
    assert exponential(2**20, nextafter(4, 1), 1, 2) == 2**19 + 1
    assert exponential(2**20, nextafter(2, 3), 1, 1) == 2**19


@pytest.mark.parametrize("law", [exponential, linear])
@pytest.mark.parametrize("compression", [0.999, 0, -1, inf, -inf, nan])
def test_compression_below_1_or_not_finite_is_refused(law, compression):
    """rho = N / kept cannot be below 1."""
    with pytest.raises(ValueError, match="compression must be a number of at least 1, not"):
        law(100, compression, 1, 1)
    with pytest.raises(ValueError, match="compression must be a number of at least 1, not"):
        target(100, compression)


def test_compression_beyond_one_weight_is_refused():
    """At most N: then one weight is left."""
    assert target(1000, 1000) == 1
    for compression in (1000.001, Fraction(2001, 2)):
        with pytest.raises(ValueError, match="at most 1,000 is possible"):
            target(1000, compression)
