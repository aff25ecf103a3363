"""The building blocks of reference/, each against its definition. Exact, like the theorems."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from math import ceil

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proofs_tests.tools.strategies import (
    cases,
    networks,
    networks_with_keeps,
    nonzero_ints,
    small_fractions,
    small_ints,
    units,
)
from reference import extras
from reference.corollaries import certified
from reference.mlp import Mlp, backward, forward, identity, relu
from reference.pruning import (
    all_kept,
    critical_compression,
    exponential,
    flat,
    keep_top,
    kept,
    linear,
    masked,
    path_open,
    prune_one_by_one,
    prune_steps,
    synflow_prune,
    unflat,
)
from reference.saliency import (
    cross_entropy_gradient,
    loss_gradient,
    magnitude,
    skeletonization,
    snip,
    synaptic_saliency,
    synflow_scores,
    taylor_fo,
)
from reference.theorems import equations_9_and_10


def same(left, right):
    """Are two sequences of arrays equal, entry for entry?"""
    return len(left) == len(right) and all(
        np.shape(a) == np.shape(b) and np.all(a == b) for a, b in zip(left, right)
    )


# mlp.py


@given(units, st.fractions(), st.fractions(0, 100))
def test_units_are_homogeneous(phi, z, scale):
    """phi(z) = phi'(z) z, what Theorem 1 asks; and phi(c z) = c phi(z) for c >= 0."""
    z = np.array([z])
    assert phi(z) == phi.derivative(z) * z
    assert phi(scale * z) == scale * phi(z)


def test_relu_and_identity():
    """ReLU cuts below 0, with derivative 0 at 0 as in torch; identity does nothing."""
    z = np.array([-2, 0, 3])
    assert same([relu(z), relu.derivative(z)], [[0, 0, 3], [0, 0, 1]])
    assert same([identity(z), identity.derivative(z)], [z, [1, 1, 1]])


def test_layers_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 2\) give 3 outputs, \(2, 4\) take 4 inputs"):
        Mlp((np.ones((3, 2)), np.ones((2, 4))))


def output_by_hand(mlp, x):
    """One example through the network, neuron by neuron, from the definition."""
    for layer, W in enumerate(mlp.weights):
        z = [sum(w * a for w, a in zip(row, x)) for row in W]
        if mlp.biases:
            z = [zj + b for zj, b in zip(z, mlp.biases[layer])]
        x = [zj if zj > 0 else mlp.phi.slope * zj for zj in z]
    return z


@given(st.booleans().flatmap(lambda biases: cases(biases=biases)))
def test_forward_is_the_network(case):
    """f(x) = W[L] phi( ... phi(W[1] x + b[1])) + b[L], the last layer without a unit (Sec. 4)."""
    mlp, x, _ = case
    assert same(forward(mlp, x).output, [output_by_hand(mlp, row) for row in x])


def derivative(f, h):
    """f'(0), exact for polynomials of degree up to 6, from values at multiples of the step h."""
    odd = [f(k * h) - f(-k * h) for k in (1, 2, 3)]
    return (45 * odd[0] - 9 * odd[1] + odd[2]) / (60 * h)


def nudged(arrays, layer, index, by):
    """A copy of the arrays with one entry of one of them changed."""
    changed = [np.array(a, object) for a in arrays]
    changed[layer][index] += by
    return tuple(changed)


def parameters(mlp):
    """(field, layer, index) of every weight and bias."""
    for field in ("weights", "biases"):
        for layer, array in enumerate(getattr(mlp, field)):
            yield from ((field, layer, index) for index in np.ndindex(array.shape))


nonzero_fractions = small_fractions._replace(elements=small_fractions.elements.filter(bool))
SMALL = Fraction(1, 10**6)  # a step so small that no unit of a drawn network changes side


def on_one_side(mlp, x):
    """Is no preactivation 0, where a unit has no derivative?"""
    return all((z != 0).all() for z in forward(mlp, x).preactivations)


@given(cases(nonzero_fractions, max_depth=3, max_width=3, biases=True))
def test_backward_is_the_derivative(case):
    """dR/dW, dR/db and dR/dx are what exact differences of R = <dR/dy, y> give."""
    mlp, x, dR_dy = case
    assume(on_one_side(mlp, x))
    found = backward(mlp, forward(mlp, x), dR_dy)

    def R(net, x):
        return (dR_dy * forward(net, x).output).sum()

    gradients = {"weights": found.dR_dW, "biases": found.dR_db}
    for field, layer, index in parameters(mlp):

        def R_at(by, field=field, layer=layer, index=index):
            arrays = nudged(getattr(mlp, field), layer, index, by)
            return R(replace(mlp, **{field: arrays}), x)

        assert derivative(R_at, SMALL) == gradients[field][layer][index]
    for index in np.ndindex(x.shape):
        slope = derivative(lambda by, i=index: R(mlp, nudged([x], 0, i, by)[0]), SMALL)
        assert slope == found.dR_dx[index]


# saliency.py


@given(cases(small_ints))
def test_scores_of_the_loss(case):
    """Skeletonization, SNIP, Taylor-FO are -S, |S|, S^2 of S = dL/dtheta * theta (Eq. 1, Sec. 4).

    Summed over batches, with L = sum (y - t)^2 / 2, whose gradient y - t is exact.
    """
    mlp, x, targets = case
    batches = [(x, targets), (x[:1], targets[:1])]

    def S(x, t):
        return synaptic_saliency(mlp, x, forward(mlp, x).output - t)

    total = [a + b for a, b in zip(*(S(*batch) for batch in batches))]
    dL_dy = extras.squared_error.gradient
    assert same(skeletonization(mlp, batches, dL_dy), [-s for s in total])
    assert same(snip(mlp, batches, dL_dy), [abs(s) for s in total])
    assert same(taylor_fo(mlp, batches, dL_dy), [s * s for s in total])
    assert same([g * W for g, W in zip(loss_gradient(mlp, batches, dL_dy), mlp.weights)], total)


@given(networks(max_size=12))
def test_equation_6_counts_paths(mlp):
    """A score is the strength of all paths through the weight, path by path (Eq. 6)."""
    W = [abs(w) for w in mlp.weights]
    expected = [np.zeros_like(w) for w in W]
    for path in product(*(range(n) for n in (W[0].shape[1], *(len(w) for w in W)))):
        steps = [(above, below) for below, above in pairwise(path)]
        strength = np.prod([w[step] for w, step in zip(W, steps)])
        for layer, step in zip(expected, steps):
            layer[step] += strength
    assert same(synflow_scores(mlp), expected)


def test_cross_entropy_gradient():
    """(softmax(y) - one_hot) / batch; a tolerance, since exp is not exact. Large y do no harm."""
    y = np.array([[0.0, np.log(3)], [1000.0, 1000.0]])
    expected = [[(1 / 4 - 1) / 2, 3 / 8], [1 / 4, -1 / 4]]
    np.testing.assert_allclose(cross_entropy_gradient(y, np.array([0, 1])), expected, rtol=1e-12)


# pruning.py


@given(networks())
def test_flat_and_back(mlp):
    """`unflat` undoes `flat`, which puts layer after layer, each row-major."""
    row = flat(mlp.weights)
    assert row.tolist() == [w for W in mlp.weights for line in W.tolist() for w in line]
    assert same(unflat(row, mlp.weights), mlp.weights)


@given(networks_with_keeps())
def test_keep_top_keeps_exactly_the_best(case):
    """Exactly `keep` survive, none that was pruned, by score and then by position (Sec. 3)."""
    mlp, keeps = case
    before = all_kept(mlp)
    for keep in keeps:
        masks = keep_top(mlp.weights, before, keep)  # any scores will do, of either sign
        scores, alive = flat(mlp.weights), np.flatnonzero(flat(before))
        ranked = sorted(alive, key=lambda i: (-scores[i], i))
        assert np.flatnonzero(flat(masks)).tolist() == sorted(ranked[:keep])
        assert kept(masks) == keep
        before = masks


@pytest.mark.parametrize("keep", [-1, 3])
def test_keep_top_refuses_a_count_that_is_not_there(keep):
    """Fewer than none, or more than are left."""
    mlp = Mlp((np.array([[1, 2, 3]]),))
    with pytest.raises(ValueError, match=f"cannot keep {keep} of 2 weights"):
        keep_top(magnitude(mlp), (np.array([[True, False, True]]),), keep)


sizes = st.integers(1, 400)
compressions = st.fractions(1, 100)
steps_of = st.integers(1, 8).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(sizes, compressions, steps_of)
def test_exponential_schedule(N, rho, step):
    """m = ceil(N rho^(-k/n)) is the least integer with m^n rho^k >= N^n (Algorithm 1, App. 11)."""
    k, n = step
    m = exponential(N, rho, k, n)
    assert m**n * rho**k >= N**n > (m - 1) ** n * rho**k


@given(sizes, compressions, steps_of)
def test_linear_schedule(N, rho, step):
    """m = ceil(N - k/n of all that is to go) (App. 11)."""
    k, n = step
    exact = N - Fraction(k, n) * (N - N / rho)
    assert exact <= linear(N, rho, k, n) < exact + 1


@given(sizes, compressions, st.integers(1, 8))
def test_schedules_go_from_N_to_N_over_rho(N, rho, n):
    """Both start at N, never rise, and end at ceil(N / rho)."""
    for schedule in (exponential, linear):
        counts = [schedule(N, rho, k, n) for k in range(n + 1)]
        assert counts[0] == N
        assert counts == sorted(counts, reverse=True)
        assert N / rho <= counts[-1] < N / rho + 1


@given(networks(), st.integers(1, 9), st.integers(1, 5), st.sampled_from([exponential, linear]))
def test_algorithm_1_is_pruning_by_its_schedule(mlp, compression, steps, schedule):
    """Algorithm 1 scores, keeps the best rho^(-k/n), and scores again, n times."""
    N = kept(all_kept(mlp))
    keeps = [schedule(N, compression, k, steps) for k in range(1, steps + 1)]
    *_, expected = prune_steps(mlp, keeps)
    asked = []

    def noted(*of_step):
        asked.append(of_step)
        return schedule(*of_step)

    assert same(synflow_prune(mlp, compression, steps, noted), expected)
    assert asked == [(N, compression, k, steps) for k in range(1, steps + 1)]


@given(networks_with_keeps())
def test_algorithm_1_prunes_for_good(case):
    """Masks nest, hold the asked counts, and each step keeps the best of what it scored anew."""
    mlp, keeps = case
    before = all_kept(mlp)
    for keep, masks in zip(keeps, prune_steps(mlp, keeps), strict=True):
        scores = synflow_scores(masked(mlp, before))
        assert same(masks, keep_top(scores, before, keep))
        assert not (flat(masks) & ~flat(before)).any()
        before = masks


@given(networks(max_width=3))
def test_one_by_one_is_one_by_one(mlp):
    """Every count from N - 1 to 0 comes once (Theorem 3)."""
    N = kept(all_kept(mlp))
    assert [kept(m) for m in prune_one_by_one(mlp)] == list(range(N - 1, -1, -1))


@pytest.mark.parametrize("weight", [1e-300, 1e300])
def test_path_open_neither_overflows_nor_vanishes(weight):
    """2^1100 paths, of strengths that float64 cannot hold: open, until a layer is 0 (Sec. 3)."""
    layers = (np.full((2, 2), weight),) * 1100
    assert path_open(Mlp(layers))
    assert not path_open(Mlp((*layers, np.zeros((1, 2)))))


@given(networks(nonzero_ints, max_width=3))
def test_critical_compression(mlp):
    """The dense network counts, what comes after the first collapse does not (Sec. 3)."""
    full = all_kept(mlp)
    N, none = kept(full), tuple(np.zeros_like(m) for m in full)
    one_less = keep_top(synflow_scores(mlp), full, N - 1)
    assert critical_compression(mlp, [none, full]) == 1
    assert critical_compression(mlp, [full, one_less, none, one_less]) == (
        Fraction(N, N - 1) if path_open(masked(mlp, one_less)) else 1
    )


def test_equations_9_and_10_compare_single_scores_with_fuller_layers():
    """Layers of one score on the left, layers of several on the right (Eq. 9, Eq. 10)."""
    one, two, none = np.array([[0, 7]]), np.array([[2], [5]]), np.zeros((1, 2), int)
    assert equations_9_and_10((one, two, none, two + 1)) == [(7, 5), (7, 6)]
    assert equations_9_and_10((two, two)) == equations_9_and_10((one, one)) == []


@given(networks(nonzero_ints, max_width=3), st.fractions(0, 1))
def test_certified_ends_at_its_goal(mlp, share):
    """ceil(N / rho) weights are left, not fewer, though Theorem 4 would allow it (App. 11)."""
    N, L = kept(all_kept(mlp)), len(mlp.weights)
    goal = ceil(L + share * (N - L))
    assert [N, *(kept(m) for m in certified(mlp, Fraction(N, goal)))][-1] == goal


def test_certified_says_where_it_stops():
    """Theorem 4 lets nobody remove the last path."""
    mlp = Mlp((np.array([[1], [1]]), np.array([[1, 1]])))
    with pytest.raises(ValueError, match="stops at 2 weights, short of 1"):
        list(certified(mlp, 4))


def test_certified_leaves_its_margin():
    """Prune sizes stay strictly below (1 - margin) R (Theorem 4): of R = 4, 2 is too much for 1/2.

    Dense, the scores are 1 and 3 in both layers; after one removal R = 3, and a weight has no path.
    """
    mlp = Mlp((np.array([[1], [3]]), np.array([[1, 1]])))
    assert [kept(m) for m in certified(mlp, 2)] == [2]
    assert [kept(m) for m in certified(mlp, 2, margin=Fraction(1, 2))] == [3, 2]


# extras.py


@given(cases(nonzero_fractions, max_depth=3, max_width=3), st.data())
def test_hessian_product_is_the_derivative_of_the_gradient(case, data):
    """H V is d/dh of dL/dtheta at theta + h V, exactly, for L = sum (y - t)^2 / 2 (App. 12.1)."""
    mlp, x, targets = case
    assume(on_one_side(mlp, x))
    V = tuple(data.draw(small_fractions.arrays(W.shape)) for W in mlp.weights)
    loss = extras.squared_error

    def gradient(h):
        net = replace(mlp, weights=tuple(W + h * v for W, v in zip(mlp.weights, V)))
        trace = forward(net, x)
        return flat(backward(net, trace, loss.gradient(trace.output, targets)).dR_dW)

    found = extras.hessian_product(mlp, (x, targets), V, loss)
    assert (flat(found) == derivative(gradient, SMALL)).all()


def test_hessian_product_of_the_cross_entropy():
    """The same for the loss that GraSP uses; a tolerance, since exp and differences round."""
    rng = np.random.default_rng(0)
    weights, V = (
        tuple(rng.normal(size=shape) for shape in [(4, 3), (3, 4)]) for _ in ("weights", "V")
    )
    batch = rng.normal(size=(5, 3)), np.array([0, 1, 2, 1, 0])

    def gradient(h):
        net = Mlp(tuple(W + h * v for W, v in zip(weights, V)), identity)
        return flat(loss_gradient(net, [batch], cross_entropy_gradient))

    found = extras.hessian_product(Mlp(weights, identity), batch, V, extras.cross_entropy)
    np.testing.assert_allclose(flat(found), derivative(gradient, 1e-3), rtol=1e-7)


@given(cases(small_fractions, max_depth=3, max_width=3))
def test_grasp_of_the_text(case):
    """theta * sum over batches of H g, g the gradient of the same batch (Sec. 4, App. 12.1)."""
    mlp, batches = two_batches(case)
    loss = extras.squared_error
    total = [0] * len(mlp.weights)
    for batch in batches:
        g = loss_gradient(mlp, [batch], loss.gradient)
        total = [t + h for t, h in zip(total, extras.hessian_product(mlp, batch, g, loss))]
    found = extras.grasp_text(mlp, batches, loss)
    assert same(found, [W * t for W, t in zip(mlp.weights, total)])


@given(cases(small_fractions, max_depth=3, max_width=3), st.integers(1, 3))
def test_grasp(case, temperature):
    """theta * H g, both of the summed loss of the divided outputs."""
    mlp, batches = two_batches(case)
    loss, cold = extras.squared_error, Fraction(1, temperature)
    tempered = extras.Loss(
        lambda y, t: cold * loss.gradient(cold * y, t),
        lambda y, u: cold * loss.curvature(cold * y, cold * u),
    )
    g = loss_gradient(mlp, batches, tempered.gradient)
    parts = [extras.hessian_product(mlp, batch, g, tempered) for batch in batches]
    found = extras.grasp(mlp, batches, loss, temperature)
    assert same(found, [W * (a + b) for W, a, b in zip(mlp.weights, *parts)])


@given(cases(small_fractions, max_depth=3, max_width=3), st.integers(1, 3))
def test_equal_batches_give_the_same_grasp_however_many(case, number):
    """n copies of a batch scale the score by n^2, and so leave the order as it is."""
    mlp, x, targets = case
    once, often = (
        extras.grasp(mlp, [(x, targets)] * n, extras.squared_error, 1) for n in (1, number)
    )
    assert same(often, [number**2 * S for S in once])


def two_batches(case):
    mlp, x, targets = case
    return mlp, [(x, targets), (x[:1], targets[:1])]


def test_cross_entropy_curvature():
    """The derivative of its gradient, by differences: a tolerance, since exp is not exact."""
    rng = np.random.default_rng(0)
    y, u, labels = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), np.array([0, 2, 3])
    slope = derivative(lambda h: cross_entropy_gradient(y + h * u, labels), 1e-2)
    np.testing.assert_allclose(extras.cross_entropy_curvature(y, u), slope, rtol=1e-8)
    far = y + np.array([[0], [1000], [-1000]])  # softmax is the same; exp must not overflow
    np.testing.assert_allclose(extras.cross_entropy_curvature(far, u), slope, rtol=1e-8)


def test_square_is_its_derivative():
    """phi(z) = z^2 and phi'(z) = 2 z, so phi'(z) z = 2 phi(z): degree 2 (Theorem 1 needs 1)."""
    z = np.array([-3, 0, 2])
    assert same([extras.Square()(z), extras.Square().derivative(z)], [z**2, 2 * z])
