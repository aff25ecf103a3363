"""Random networks for the theorems. Small integers and fractions make all arithmetic exact."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reference.mlp import LeakyRelu, Mlp
from reference.pruning import all_kept, kept
from reference.theorems import closed_downstream


class Numbers(NamedTuple):
    """The entries of arrays, and the dtype that keeps them exact."""

    elements: st.SearchStrategy
    dtype: type

    def arrays(self, shape):
        return arrays(self.dtype, shape, elements=self.elements, fill=st.nothing())


small_ints = Numbers(st.integers(-3, 3), np.int64)
nonzero_ints = Numbers(st.integers(-3, 3).filter(bool), np.int64)
positive_ints = Numbers(st.integers(1, 3), np.int64)
_fractions = {Fraction(p, q) for p in range(-4, 5) for q in range(1, 6)}
small_fractions = Numbers(st.sampled_from(sorted(_fractions, key=lambda f: (abs(f), f))), object)
units = st.sampled_from([0, 1, -1, 3, Fraction(1, 2)]).map(LeakyRelu)  # any slope is homogeneous


@st.composite
def networks(
    draw, numbers=small_ints, max_width=4, min_depth=1, max_depth=4, max_size=64, biases=False
):
    """An Mlp; its zero weights, if `numbers` has 0, are present but useless."""
    widths = draw(
        st.lists(st.integers(1, max_width), min_size=min_depth + 1, max_size=max_depth + 1).filter(
            lambda widths: np.dot(widths[1:], widths[:-1]) <= max_size
        )
    )
    weights = tuple(draw(numbers.arrays(shape)) for shape in zip(widths[1:], widths[:-1]))
    b = tuple(draw(numbers.arrays(n)) for n in widths[1:]) if biases else ()
    return Mlp(weights, draw(units), b)


@st.composite
def cases(draw, numbers=None, **kwargs):
    """(mlp, x, dR_dy): a network, a batch and a gradient in its outputs, which stands for any R."""
    numbers = numbers or draw(st.sampled_from([small_ints, small_fractions]))
    mlp = draw(networks(numbers, **kwargs))
    batch = draw(st.integers(1, 3))
    x = draw(numbers.arrays((batch, mlp.weights[0].shape[1])))
    dR_dy = draw(numbers.arrays((batch, mlp.weights[-1].shape[0])))
    return mlp, x, dR_dy


def neuron_sets(mlp):
    """Any S of App. 10: all outputs, no input, and whichever hidden neurons."""
    n_in, *hidden = (W.shape[1] for W in mlp.weights)
    n_out = mlp.weights[-1].shape[0]
    ends = st.just(np.zeros(n_in, bool)), st.just(np.ones(n_out, bool))
    return st.tuples(ends[0], *(arrays(bool, n) for n in hidden), ends[1])


@st.composite
def cases_with_cut(draw, **kwargs):
    """(mlp, x, dR_dy, S) with S closed downstream: every path crosses C(S) exactly once."""
    mlp, x, dR_dy = draw(cases(**kwargs))
    return mlp, x, dR_dy, closed_downstream(mlp, draw(neuron_sets(mlp)))


@st.composite
def networks_with_keeps(draw, numbers=small_ints, **kwargs):
    """A network and a schedule: how many weights each step leaves, never more than the last."""
    mlp = draw(networks(numbers, **kwargs))
    keeps = st.lists(st.integers(0, kept(all_kept(mlp))), min_size=1, max_size=8)
    return mlp, sorted(draw(keeps), reverse=True)
