"""The objectives: the published formulas, their slopes in the far tails, and the mistakes that are easily made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan import networks, nn, ops
from minigan.objectives import Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein, clip_weights, gradient_penalty

pytestmark = pytest.mark.on_each_engine

R, F = np.array([1.3, 2.9, 8.4, 6.3]), np.array([4.8, 1.2, -3.5, 5.9])


def log_sigmoid(x):
    return -np.logaddexp(0.0, -x)


def sigmoid(x):
    return np.exp(log_sigmoid(x))


def goodfellow(r, f):
    return -np.mean(log_sigmoid(r)) - np.mean(log_sigmoid(-f))  # 1 − σ(f) = σ(−f)


def least_squares(r, f):
    return np.mean((r - 1) ** 2) / 2 + np.mean(f ** 2) / 2


def hinge(r, f):
    return np.mean(np.maximum(0, 1 - r)) + np.mean(np.maximum(0, 1 + f))


# objective, its check values for R and F, the formulas D and G, and the slopes dD/dr, dD/df, dG/df of one sample
FORMULAS = {
    "minimax": (Minimax(), 3.1251488, -3.0509912, goodfellow, lambda f: np.mean(log_sigmoid(-f)),
                lambda r: -sigmoid(-r), sigmoid, lambda f: -sigmoid(f)),
    "gan": (NonSaturating(), 3.1251488, 0.9509912, goodfellow, lambda f: -np.mean(log_sigmoid(f)),
            lambda r: -sigmoid(-r), sigmoid, lambda f: -sigmoid(-f)),
    "lsgan": (LeastSquares(), 19.76125, 7.3425, least_squares, lambda f: np.mean((f - 1) ** 2) / 2,
              lambda r: r - 1, lambda f: f, lambda f: f - 1),
    "wgan": (Wasserstein(), -2.625, -2.1, lambda r, f: np.mean(f) - np.mean(r), lambda f: -np.mean(f),
             lambda r: -1.0 + 0 * r, lambda f: 1.0 + 0 * f, lambda f: -1.0 + 0 * f),
    "hinge": (Hinge(), 3.725, -2.1, hinge, lambda f: -np.mean(f),
              lambda r: -1.0 * (r < 1), lambda f: 1.0 * (f > -1), lambda f: -1.0 + 0 * f),
}
every_formula = pytest.mark.parametrize("objective, d_value, g_value, d, g, d_r, d_f, g_f", FORMULAS.values(),
                                        ids=FORMULAS)
each_objective = pytest.mark.parametrize("objective", [row[0] for row in FORMULAS.values()], ids=FORMULAS)

scores = st.lists(st.floats(-100, 100), min_size=1, max_size=6).map(np.array)


@every_formula
def test_check_values(objective, d_value, g_value, d, g, d_r, d_f, g_f):
    assert objective.discriminator_loss(mg.Tensor(R), mg.Tensor(F)).item() == pytest.approx(d_value, abs=5e-8)
    assert objective.generator_loss(mg.Tensor(F)).item() == pytest.approx(g_value, abs=5e-8)


def test_the_hinge_has_an_inside_too():
    loss = Hinge().discriminator_loss(mg.Tensor(np.array([-0.5, 0.4, 1.3, 2.9])), mg.Tensor(F))
    assert loss.item() == pytest.approx(4.25, abs=1e-12)


@every_formula
@given(r=scores, f=scores)
def test_losses_are_the_published_formulas(objective, d_value, g_value, d, g, d_r, d_f, g_f, r, f):
    """Each a mean over its own batch: there may be more real samples than fake ones."""
    loss = objective.discriminator_loss(mg.Tensor(r), mg.Tensor(f))
    assert loss.shape == () and loss.item() == pytest.approx(d(r, f), rel=1e-12, abs=1e-12)
    loss = objective.generator_loss(mg.Tensor(f))
    assert loss.shape == () and loss.item() == pytest.approx(g(f), rel=1e-12, abs=1e-12)


@every_formula
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_are_right_and_finite_in_the_far_tails(objective, d_value, g_value, d, g, d_r, d_f, g_f, dtype):
    """At ±50 and ±1e4, where the logarithm of a computed sigmoid would be −∞ and its slope 0 or NaN."""
    x = np.array([-1e4, -50.0, -20.0, -1.5, 0.0, 0.5, 20.0, 50.0, 1e4], dtype)
    r, f = mg.Tensor(x, requires_grad=True), mg.Tensor(x[::-1].copy(), requires_grad=True)
    loss = objective.discriminator_loss(r, f)
    assert loss.dtype == dtype and loss.item() == pytest.approx(d(r.data.astype(float), f.data.astype(float)), rel=1e-5)
    gradients = [*mg.grad(loss, [r, f]), *mg.grad(objective.generator_loss(f), f)]
    for gradient, slope, score in zip(gradients, (d_r, d_f, g_f), (r, f, f)):
        np.testing.assert_allclose(gradient.data * len(x), slope(score.data.astype(float)), rtol=1e-5)


@each_objective
def test_scores_come_as_a_column_or_as_a_row_of_numbers(objective):
    column = objective.discriminator_loss(mg.Tensor(R.reshape(4, 1)), mg.Tensor(F.reshape(4, 1)))
    row = objective.discriminator_loss(mg.Tensor(R), mg.Tensor(F))
    assert column.shape == row.shape == () and column.item() == pytest.approx(row.item(), rel=1e-14)
    assert objective.generator_loss(mg.Tensor(F.reshape(4, 1))).item() == pytest.approx(
        objective.generator_loss(mg.Tensor(F)).item(), rel=1e-14)


@each_objective
@pytest.mark.parametrize("shape", [(), (4, 2), (2, 2, 1)])
def test_other_shapes_are_no_scores(objective, shape):
    good, bad = mg.Tensor(F), mg.Tensor(np.zeros(shape))
    for call in (lambda: objective.generator_loss(bad), lambda: objective.discriminator_loss(good, bad),
                 lambda: objective.discriminator_loss(bad, good)):
        with pytest.raises(ValueError, match=r"one score per sample, shape \(N, 1\) or \(N,\)"):
            call()


@each_objective
def test_losses_have_right_derivatives_to_the_second_order(objective):
    if isinstance(objective, Hinge):  # relu has no curvature to compare, so x itself stands beside it
        mg.check_grads(lambda r, f: [objective.discriminator_loss(r, f), r * f], [R - 3.0, F])
    else:
        mg.check_grads(objective.discriminator_loss, [R, F])
    mg.check_grads(objective.generator_loss, [F])


@each_objective
def test_a_discriminator_step_raises_real_scores_and_lowers_fake_ones(objective):
    r, f = mg.Tensor(np.array([0.2, 0.4]), requires_grad=True), mg.Tensor(np.array([0.3, 0.6]), requires_grad=True)
    d_r, d_f = mg.grad(objective.discriminator_loss(r, f), [r, f])
    assert (d_r.data < 0).all() and (d_f.data > 0).all()
    assert (mg.grad(objective.generator_loss(f), f)[0].data < 0).all()


def test_minimax_saturates_where_the_non_saturating_loss_does_not():
    f = mg.Tensor(np.array([-50.0]), requires_grad=True)
    assert mg.grad(Minimax().generator_loss(f), f)[0].item() == pytest.approx(-np.exp(-50.0), rel=1e-12)
    assert mg.grad(NonSaturating().generator_loss(f), f)[0].item() == pytest.approx(-1.0, rel=1e-12)


def test_every_least_squares_term_has_its_half_and_no_sigmoid():
    one, zero = mg.Tensor(np.ones(2)), mg.Tensor(np.zeros(2))
    loss = LeastSquares()
    assert loss.discriminator_loss(one, zero).item() == 0.0
    assert loss.discriminator_loss(one + 2.0, zero).item() == 2.0
    assert loss.discriminator_loss(one, zero - 2.0).item() == 2.0
    assert loss.generator_loss(one).item() == 0.0 and loss.generator_loss(one - 2.0).item() == 2.0


# The generator's gradient

def pair_of_perceptrons(rng):
    return *networks.mlp_pair(features=2, latent=3, width=6, depth=2, rng=rng), (5, 3)


def pair_for_images(rng):
    return *networks.dcgan_pair((8, 8, 1), latent=3, width=2, rng=rng), (5, 3)


@each_objective
@pytest.mark.parametrize("make_pair", [pair_of_perceptrons, pair_for_images])
def test_the_generators_gradient_goes_through_the_discriminator(objective, make_pair, rng):
    """Its first weight, which only the whole way back from the loss through both networks reaches."""
    generator, discriminator, shape = make_pair(rng)
    generator.astype(np.float64)
    discriminator.astype(np.float64).requires_grad_(False)
    for p in (*generator.parameters(), *discriminator.parameters()):
        p.data = p.data + 0.2 * rng.standard_normal(p.shape)
    z = mg.Tensor(rng.standard_normal(shape))
    first = generator.parameters()[0]

    def loss():
        return objective.generator_loss(discriminator(generator(z)))

    loss().backward()
    gradient, start = first.grad.data, first.data
    assert np.abs(gradient).max() > 1e-4
    for _ in range(3):
        direction = rng.standard_normal(start.shape)
        values = []
        for step in (1e-6, -1e-6):
            first.data = start + step * direction
            values.append(loss().item())
        expected = (values[0] - values[1]) / 2e-6
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert all(p.grad is None for p in discriminator.parameters())


# The gradient penalty

def epsilons(rng, shape):
    return rng.random((shape[0], *[1] * (len(shape) - 1)))


SHAPES = pytest.mark.parametrize("shape", [(1, 2), (5, 2), (3, 4, 5, 2)])


@SHAPES
@pytest.mark.parametrize("target", [1.0, 0.0, 2.5])
def test_a_linear_critic_gives_exactly_its_length_less_one_squared(shape, target, rng):
    """(‖w‖ − 1)², whatever the samples: so the norm is over all axes of one sample, not per pixel, not per batch."""
    w = rng.standard_normal(shape[1:])
    critic = lambda x: (x * w).sum(tuple(range(1, len(shape))))
    real, fake = rng.standard_normal(shape), rng.standard_normal(shape)
    penalty = gradient_penalty(critic, real, fake, epsilons(rng, shape), target)
    assert penalty.shape == () and penalty.dtype == np.float64
    assert penalty.item() == pytest.approx((np.linalg.norm(w.ravel()) - target) ** 2, rel=1e-12, abs=1e-12)


@SHAPES
def test_the_slope_is_taken_between_real_and_fake_sample_by_sample(shape, rng):
    """The critic Σx² has the slope 2x̂, so the penalty shows x̂ = εx + (1 − ε)G(z) and the norm of each sample."""
    axes = tuple(range(1, len(shape)))
    real, fake, epsilon = rng.standard_normal(shape), rng.standard_normal(shape), epsilons(rng, shape)
    for e in (epsilon, np.zeros_like(epsilon), np.ones_like(epsilon)):
        mixed = e * real + (1 - e) * fake
        expected = np.mean([(np.linalg.norm(2 * sample) - 1) ** 2 for sample in mixed.reshape(len(mixed), -1)])
        penalty = gradient_penalty(lambda x: (x * x).sum(axes), real, fake, e)
        assert penalty.item() == pytest.approx(expected, rel=1e-12)


def test_a_critic_without_slope_has_a_penalty_and_no_nan(rng):
    """√0: the norm's derivative there is 0, first and second order (warnings are errors here)."""
    w = mg.Tensor(np.zeros((3, 1)), requires_grad=True)
    real, fake = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    penalty = gradient_penalty(lambda x: x @ w, real, fake, epsilons(rng, real.shape))
    assert penalty.item() == 1.0
    [g] = mg.grad(penalty, w, create_graph=True)
    assert not g.data.any()
    assert not mg.grad(g.sum(), w)[0].data.any()


def test_the_penalty_has_right_derivatives_by_the_critics_weights(rng):
    real, fake = rng.standard_normal((4, 2)), rng.standard_normal((4, 2))
    epsilon = epsilons(rng, real.shape)
    weights = [rng.standard_normal((2, 5)), rng.standard_normal(5), rng.standard_normal((5, 1))]
    for activation in (ops.tanh, ops.leaky_relu, ops.softplus):
        def penalty(w, b, v):
            return gradient_penalty(lambda x: activation(x @ w + b) @ v, real, fake, epsilon)

        if activation is ops.leaky_relu:  # the slope is constant in b: the finite differences would be zero
            mg.check_grads(lambda w, v: penalty(w, mg.Tensor(weights[1]), v), [weights[0], weights[2]], order=2)
        else:
            mg.check_grads(penalty, weights, order=2)


def test_the_penalty_has_right_derivatives_through_convolution_and_layer_norm(rng):
    """A whole critic as networks.dcgan_pair makes it: convolutions, layer norm, leaky ReLU, a dense end."""
    _, critic = networks.dcgan_pair((16, 16, 1), latent=2, width=2, penalised=True, rng=rng)
    critic.astype(np.float64)
    layers = {0: "weight", 2: "weight", 3: "weight", 6: "weight"}
    assert [type(critic[i]).__name__ for i in layers] == ["Conv2d", "Conv2d", "LayerNorm", "Dense"]
    real, fake = rng.standard_normal((2, 16, 16, 1)), rng.standard_normal((2, 16, 16, 1))
    epsilon = epsilons(rng, real.shape)
    weights = [getattr(critic[i], name).data + 0.3 * rng.standard_normal(getattr(critic[i], name).shape)
               for i, name in layers.items()]

    def penalty(*arguments):
        for (i, name), weight in zip(layers.items(), arguments):
            setattr(critic[i], name, weight)
        return gradient_penalty(critic, real, fake, epsilon)

    mg.check_grads(penalty, weights, order=2, max_entries=6, rtol=1e-5)


def test_a_penalty_reaches_the_weights_by_backward(rng):
    critic = nn.Sequential(nn.Dense(2, 8), nn.LeakyReLU(), nn.Dense(8, 1)).astype(np.float64)
    real, fake = rng.standard_normal((4, 2)), rng.standard_normal((4, 2))
    gradient_penalty(critic, real, fake, epsilons(rng, real.shape)).backward()
    assert critic[0].weight.grad.data.any() and critic[2].weight.grad.data.any()


def test_samples_are_constants_to_the_penalty(rng):
    fake = mg.Tensor(rng.standard_normal((4, 2)), requires_grad=True)
    w = mg.Tensor(rng.standard_normal((2, 1)), requires_grad=True)
    penalty = gradient_penalty(lambda x: (x * x) @ w, rng.standard_normal((4, 2)), fake * 2.0, np.full((4, 1), 0.5))
    assert mg.grad(penalty, [w, fake], allow_unused=True)[1] is None


def test_the_penalty_keeps_float32(rng):
    critic = networks.mlp_pair(width=4, depth=1, rng=rng)[1]
    real, fake = rng.standard_normal((2, 4, 2)).astype(np.float32)
    epsilon = epsilons(rng, real.shape)
    penalty = gradient_penalty(critic, real, mg.Tensor(fake), epsilon.astype(np.float32))
    penalty.backward()
    assert penalty.dtype == critic[0].weight.grad.dtype == np.float32
    assert gradient_penalty(critic, real, fake, epsilon).dtype == np.float32  # whatever it was drawn in


def test_batch_norm_in_a_penalised_critic_is_refused(rng):
    real = rng.standard_normal((4, 2)).astype(np.float32)
    epsilon = np.full((4, 1), 0.5, np.float32)
    inner = nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3))
    for critic in (inner, nn.Sequential(inner, nn.Dense(3, 1)), nn.Sequential(inner, nn.Dense(3, 1)).eval()):
        with pytest.raises(ValueError, match="BatchNorm.*LayerNorm"):
            gradient_penalty(critic, real, real, epsilon)
    gradient_penalty(nn.Sequential(nn.Dense(2, 3), nn.LayerNorm(3), nn.Dense(3, 1)), real, -real, epsilon)


@pytest.mark.parametrize("real, fake, epsilon", [
    ((4, 2), (4, 2), (4,)), ((4, 2), (4, 2), (4, 2)), ((4, 2), (4, 2), (1, 1)), ((4, 2), (3, 2), (4, 1)),
    ((4, 2), (4, 1), (4, 1)), ((4, 6, 6, 1), (4, 6, 6, 1), (4, 1)), ((4, 6, 6, 1), (4, 6, 6, 1), ())])
def test_shapes_that_do_not_fit_a_penalty_are_named(real, fake, epsilon):
    ones = (real[0], *[1] * (len(real) - 1))
    with pytest.raises(ValueError) as error:
        gradient_penalty(lambda x: x.sum(), np.zeros(real), np.zeros(fake), np.zeros(epsilon))
    assert (f"gradient_penalty: expected fake like real {real} and epsilon {ones}, got fake {fake} and "
            f"epsilon {epsilon}") in str(error.value)


# Clipping

@pytest.mark.parametrize("c", [0.01, 1, np.float64(0.01), np.float32(0.01)], ids=repr)
def test_clipping_reaches_every_parameter_and_no_buffer(c, rng):
    critic = nn.Sequential(nn.Dense(3, 20), nn.BatchNorm(20), nn.Dense(20, 1))
    for p in critic.parameters():
        p.data = (p.data + 3.0 * rng.standard_normal(p.shape) * float(c)).astype(np.float32)
    critic(rng.standard_normal((8, 3)).astype(np.float32) + 50.0)
    before = critic.state_dict()
    clip_weights(critic, c)
    after = critic.state_dict()
    for name, _ in critic.named_parameters():
        np.testing.assert_array_equal(after[name], np.clip(before[name], np.float32(-c), np.float32(c)))
        assert after[name].dtype == np.float32 and np.abs(after[name]).max() <= np.float32(c)
        assert (after[name] != before[name]).any() or name == "2.bias"
    for name, _ in critic.named_buffers():
        np.testing.assert_array_equal(after[name], before[name])
    assert np.abs(after["1.running_mean"]).max() > 1.0 and np.abs(after["1.running_var"] - 1).max() > 0.01


def test_clipping_makes_older_graphs_stale():
    critic = nn.Dense(2, 1)
    loss = critic(mg.Tensor([[1.0, 2.0]])).sum()
    clip_weights(critic, 0.01)
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


@pytest.mark.parametrize("c", [0.0, -0.01, float("nan")])
def test_a_bound_is_positive(c):
    with pytest.raises(ValueError, match="clip_weights: expected a bound c > 0"):
        clip_weights(nn.Dense(2, 1), c)


@pytest.mark.parametrize("objective", [Minimax(), NonSaturating(), LeastSquares(), Hinge()])
def test_undecided_is_the_best_score_where_real_and_fake_samples_are_equally_dense(objective):
    """There one score is given to both, and no other one makes the discriminator's loss smaller."""
    def loss(score):
        scores = mg.Tensor(np.full(1, float(score)))
        return objective.discriminator_loss(scores, scores).item()
    others = [loss(objective.undecided + d) for d in (-3.0, -0.5, -0.01, 0.01, 0.5, 3.0)]
    assert loss(objective.undecided) <= min(others)
    np.testing.assert_allclose(others, others[::-1])  # and it lies in the middle of those that are as good
    assert Wasserstein().undecided is None
