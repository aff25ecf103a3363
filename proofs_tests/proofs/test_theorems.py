"""The paper's claims as properties: strategy = hypotheses, assertion = conclusion.

`==` on purpose: integers and fractions leave no rounding, so the laws hold exactly.
"""

from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proofs_tests.tools.strategies import (
    cases,
    cases_with_cut,
    networks,
    networks_with_keeps,
    neuron_sets,
    nonzero_ints,
    positive_ints,
    small_fractions,
)
from reference import corollaries, theorems
from reference.corollaries import certified
from reference.mlp import Mlp, forward
from reference.pruning import (
    all_kept,
    flat,
    keep_top,
    kept,
    masked,
    path_open,
    prune_one_by_one,
    prune_steps,
    synflow_prune,
    unflat,
)
from reference.saliency import magnitude, synaptic_saliency, synflow_objective, synflow_scores

nonzero_fractions = small_fractions._replace(elements=small_fractions.elements.filter(bool))


def same(left, right):
    """Are two sequences of arrays equal, entry for entry?"""
    assert len(left) == len(right)
    return all(np.shape(a) == np.shape(b) and np.all(a == b) for a, b in zip(left, right))


def all_ones(*shape):
    return np.ones(shape, dtype=int)


@st.composite
def off_the_kinks(draw):
    """(mlp, x, dR_dy) in which no hidden neuron is at z = 0, where its unit has no derivative."""
    numbers = draw(st.sampled_from([nonzero_ints, nonzero_fractions]))
    mlp, x, dR_dy = draw(cases(numbers, max_width=3))
    assume(all((z != 0).all() for z in forward(mlp, x).preactivations[:-1]))
    return mlp, x, dR_dy


# Sec. 4: conservation


@given(cases())
def test_theorem_1_neuron_wise_conservation(case):
    """S_in of every hidden neuron equals its S_out, for homogeneous units (Theorem 1)."""
    for S_in, S_out in theorems.theorem_1(*case):
        assert same(S_in, S_out)


@given(cases())
def test_equations_2_and_3(case):
    """S_out = dR/dphi(z) phi(z) (Eq. 2), S_in = dR/dz z (Eq. 3), for every hidden neuron."""
    for (S_in, S_out), (eq_2, eq_3) in zip(
        theorems.theorem_1(*case), theorems.equations_2_and_3(*case), strict=True
    ):
        assert same(S_out, eq_2)
        assert same(S_in, eq_3)


@given(cases(biases=True) | cases())
def test_theorem_1_with_biases(case):
    """With a bias, S_in plus the saliency of the bias itself equals S_out (Theorem 1)."""
    for S_in, S_out in corollaries.theorem_1_with_biases(*case):
        assert same(S_in, S_out)


@given(cases_with_cut())
def test_theorem_2_network_wise_conservation(case):
    """Over every C(S), S closed downstream, S sums to <dR/dx, x> = <dR/dy, y> (Theorem 2)."""
    mlp, x, dR_dy, S = case
    over_C, at_inputs, at_outputs = theorems.theorem_2(mlp, x, dR_dy, theorems.cut(S))
    assert over_C == at_inputs == at_outputs


@given(cases(max_width=3, max_depth=3, max_size=8))
def test_theorem_2_for_all_sets_that_each_path_crosses_exactly_once(case):
    """The same for whatever set of weights has the property, C(S) or not (Theorem 2)."""
    mlp = case[0]
    masks = all_kept(mlp)
    S, N = flat(synaptic_saliency(*case)), kept(masks)
    _, at_inputs, at_outputs = theorems.theorem_2(*case, masks)
    for size in range(N + 1):
        for chosen in combinations(range(N), size):
            C = np.isin(np.arange(N), chosen)
            if theorems.crossings(mlp, unflat(C, masks)) == {1}:
                assert S[C].sum() == at_inputs == at_outputs


@given(cases_with_cut())
def test_closed_downstream_means_crossed_exactly_once(case):
    """If nothing leads out of S, each path enters S once: it crosses C(S) exactly once (Eq. 7)."""
    mlp, _, _, S = case
    assert theorems.crossings(mlp, theorems.cut(S)) <= {1}  # the empty set: there is no path


@given(networks(nonzero_ints), st.data())
def test_crossed_exactly_once_means_closed_downstream(mlp, data):
    """In a dense network only such S will do: the condition on Theorem 2 is not too strong."""
    S = data.draw(neuron_sets(mlp))
    once = theorems.crossings(mlp, theorems.cut(S)) == {1}
    assert once == same(theorems.closed_downstream(mlp, S), S)


@given(cases())
def test_equation_8(case):
    """The output layer's weights sum to <dR/dy, y> (Eq. 8), and so does every layer's sum."""
    at_outputs = theorems.theorem_2(*case, all_kept(case[0])).at_outputs
    assert all(S.sum() == at_outputs for S in synaptic_saliency(*case))


@given(cases_with_cut(biases=True) | cases_with_cut())
def test_theorem_2_with_biases(case):
    """C(S) and the biases in S together sum to <dR/dy, y>: biases feed the flow (Theorem 2)."""
    left, right = corollaries.theorem_2_with_biases(*case)
    assert left == right


@st.composite
def networks_of_one_magnitude(draw):
    """A dense network whose weights all have the same absolute value."""
    widths = draw(st.lists(st.integers(1, 4), min_size=2, max_size=5))
    signs = st.sampled_from([-1, 1])
    size = draw(positive_ints.elements)
    shapes = zip(widths[1:], widths[:-1], strict=True)
    return Mlp(tuple(size * draw(arrays(np.int64, shape, elements=signs)) for shape in shapes))


@given(networks_of_one_magnitude(), st.data())
def test_one_shot_empties_the_largest_layer_first(mlp, data):
    """Average scores are inverse to layer sizes (Sec. 4), so no smaller layer loses a weight first.

    All layers have one total, and in these networks the weights of a layer have one score.
    """
    masks = all_kept(mlp)
    left = keep_top(synflow_scores(mlp), masks, data.draw(st.integers(0, kept(masks))))
    for a, b in permutations(left, 2):
        if a.size > b.size:
            assert not a.any() or b.all()


@given(off_the_kinks())
def test_equation_4(case):
    """Under gradient flow, d/dt theta^2 / 2 = -dL/dtheta * theta for each weight (Eq. 4).

    The left side is made from values of the loss, the right side by back-propagation.
    """
    assert same(*theorems.equation_4(*case))


@given(off_the_kinks())
def test_equation_4_gives_all_layers_one_rate(case):
    """d/dt |W[l]|^2 = d/dt |W[k]|^2 for all layers l, k of a network without biases (Eq. 4)."""
    rates, _ = theorems.equation_4(*case)
    assert len({rate.sum() for rate in rates}) == 1


# Sec. 6: Synaptic Flow


@given(networks(small_fractions) | networks())
def test_equation_6_is_equation_1_of_equation_5(mlp):
    """Eq. 6 in closed form is dR/dtheta * theta (Eq. 1) for the objective R of Eq. 5."""
    magnitudes = Mlp(magnitude(mlp), mlp.phi)
    x, dR_dy = all_ones(1, mlp.weights[0].shape[1]), all_ones(1, mlp.weights[-1].shape[0])
    assert same(synflow_scores(mlp), synaptic_saliency(magnitudes, x, dR_dy))
    flow = theorems.theorem_2(magnitudes, x, dR_dy, all_kept(mlp))
    assert synflow_objective(mlp) == flow.at_outputs


@given(networks(), st.data())
def test_synaptic_flow_is_conserved(mlp, data):
    """Synaptic Flow sums to R (Eq. 5) over every set that each path crosses once (Theorem 2)."""
    C = theorems.cut(theorems.closed_downstream(mlp, data.draw(neuron_sets(mlp))))
    assert sum(S[c].sum() for S, c in zip(synflow_scores(mlp), C)) == synflow_objective(mlp)


@given(networks(max_size=10))
def test_synaptic_flow_is_positive_on_open_paths(mlp):
    """A score is > 0 if a path of non-zero weights runs through the weight, else 0 (Eq. 6)."""
    masks = all_kept(mlp)
    for i, score in enumerate(flat(synflow_scores(mlp))):
        only_i = unflat(np.arange(kept(masks)) == i, masks)
        assert score >= 0
        assert (score > 0) == (1 in theorems.crossings(mlp, only_i))


@given(networks(small_fractions) | networks())
def test_path_open_means_positive_objective(mlp):
    """The network has collapsed if and only if R = 0 (Sec. 3, Eq. 5)."""
    assert path_open(mlp) == (synflow_objective(mlp) > 0)


# Secs. 3, 6: Maximal Critical Compression


@given(networks(nonzero_ints, max_width=3))
def test_theorem_3_critical_compression_is_max_compression(mlp):
    """One-by-one SynFlow collapses only below one weight a layer: rho_cr = rho_max (Theorem 3)."""
    critical, maximal = theorems.theorem_3(mlp)
    assert critical == maximal


@given(networks(max_width=3, max_depth=3, max_size=9))
def test_theorem_3_satisfies_the_axiom(mlp):
    """No path is closed while any other mask of that cardinality leaves one open (Theorem 3).

    Tried against all masks. Zero weights are allowed: they score 0 and go first, which leaves
    the positive scores that the theorem asks for.
    """
    for masks in prune_one_by_one(mlp):
        is_open, could_be = theorems.axiom(mlp, masks)
        assert is_open == could_be


@given(networks(max_width=3))
def test_equations_9_and_10(mlp):
    """A layer's last scored weight scores more (Eq. 10), not less (Eq. 9), than a fuller layer's.

    So global masking takes from the fuller layer first: the step on which Theorem 3 rests.
    """
    for last, highest in theorems.equations_9_and_10(synflow_scores(mlp)):
        assert last > highest


@given(networks(nonzero_ints, max_width=3), st.randoms(use_true_random=False))
def test_theorem_3_for_any_positive_conserved_scores(mlp, rng):
    """Scores new at each step, positive and of one sum in all layers: none empties (Theorem 3)."""

    def score(net):
        strengths = (np.vectorize(lambda w: w and rng.randint(1, 9))(W) for W in net.weights)
        return tuple(S * Fraction(1, max(1, int(S.sum()))) for S in strengths)

    for masks in prune_one_by_one(mlp, score):
        assert all(m.any() for m in masks) == (kept(masks) >= len(masks))


@given(networks_with_keeps(max_width=3))
def test_theorem_4_prune_size_below_cut_size(case):
    """A step that removes less score than one cut carries leaves a path open (Theorem 4)."""
    for prune_size, cut_size, is_open in theorems.theorem_4(*case):
        assert is_open or prune_size >= cut_size


@given(networks_with_keeps(max_width=3, max_depth=3, max_size=9))
def test_theorem_4_satisfies_the_axiom(case):
    """If every step keeps below the cut size, the axiom holds for the result (Theorem 4)."""
    mlp, keeps = case
    *_, masks = prune_steps(mlp, keeps)
    if all(prune_size < cut_size for prune_size, cut_size, _ in theorems.theorem_4(mlp, keeps)):
        assert theorems.axiom(mlp, masks) == (True, True)


@given(networks(max_width=3) | networks(small_fractions, max_width=3))
def test_certified_satisfies_theorem_4_and_reaches_max_compression(mlp):
    """certified stays below the cut size and still reaches one weight a layer (Theorem 4)."""
    assume(path_open(mlp))
    L = len(mlp.weights)
    steps = [kept(m) for m in certified(mlp, Fraction(kept(all_kept(mlp)), L))]
    assert all(prune < R and is_open for prune, R, is_open in theorems.theorem_4(mlp, steps))
    assert not steps or steps[-1] == L


@given(networks(nonzero_ints, max_width=3))
def test_certified_removes_the_most_it_may(mlp):
    """One weight more, and the prune size would not be below the cut size (Theorem 4)."""
    goal = len(mlp.weights)
    for keep in [kept(m) for m in certified(mlp, Fraction(kept(all_kept(mlp)), goal))]:
        if keep > goal:
            *_, (prune_size, cut_size, _) = theorems.theorem_4(mlp, [keep - 1])
            assert prune_size >= cut_size
        (mlp,) = (masked(mlp, m) for m in prune_steps(mlp, [keep]))


def test_results_have_names_and_read_as_plain_numbers():
    """The two sides of a claim print with names and without NumPy's types; they equal tuples."""
    one = all_ones(1, 1)
    mlp = Mlp((one, one))
    shown = "Conservation(over_C=2, at_inputs=1, at_outputs=1)"
    assert repr(theorems.theorem_2(mlp, one, one, all_kept(mlp))) == shown
    assert theorems.theorem_2(mlp, one, one, all_kept(mlp)) == (2, 1, 1)
    half = Fraction(1, 2)
    assert repr(theorems.Compression(half, half)) == "Compression(critical=1/2, maximal=1/2)"
    (step,) = theorems.theorem_4(mlp, [1])
    assert repr(step) == "Step(prune_size=1, cut_size=1, path_open=False)"
    assert theorems.axiom(mlp, all_kept(mlp)) == (True, True)


# App. 11 and Sec. 5


@given(networks(), st.data())
def test_scale_invariance(mlp, data):
    """Multiplying whole layers multiplies all scores of a chain by one number (App. 11)."""
    factors = data.draw(st.tuples(*(nonzero_ints.elements for _ in mlp.weights)))
    assert same(*corollaries.scale_invariance(mlp, factors))


@given(networks(max_width=3), st.data(), st.integers(1, 5), st.integers(1, 5))
def test_scale_invariance_of_masks(mlp, data, compression, steps):
    """so Algorithm 1 finds the same masks however the layers are scaled (App. 11)."""
    factors = data.draw(st.tuples(*(nonzero_ints.elements for _ in mlp.weights)))
    scaled = Mlp(tuple(c * W for c, W in zip(factors, mlp.weights)))
    assert same(synflow_prune(scaled, compression, steps), synflow_prune(mlp, compression, steps))


@given(networks_with_keeps())
def test_imp_without_training_is_one_shot_magnitude(case):
    """If IMP didn't train, the number of cycles would make no difference (Sec. 5)."""
    assert same(*corollaries.imp_without_training(*case))
