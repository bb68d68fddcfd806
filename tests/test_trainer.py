"""A training step is Algorithm 1 and nothing else."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, data, networks, objectives, ops
from minigan.backend import to_numpy
from minigan.trainer import RECIPES, GANTrainer
from trainers import (LATENT, N, PAPERS, Watched, arrays_of, assert_equal, both_kinds, every_objective, pair,
                      real_batches, step, train, trainer_of)

pytestmark = [pytest.mark.on_each_backend, pytest.mark.on_each_engine]


# The step

def algorithm_1(objective, generator, discriminator, steps, streams, pack):
    """The published algorithm, as a plain loop. Returns the statistics of the last step."""
    kind, n_critic, clip, gp_weight, optimizer, settings = PAPERS[objective]
    loss, weights_d, weights_g = kind(), discriminator.parameters(), generator.parameters()
    optimizer_d, optimizer_g = optimizer(weights_d, **settings), optimizer(weights_g, **settings)

    def noise():
        return mg.Tensor(streams["noise"].standard_normal((N, LATENT)))

    def packed(x):
        return ops.concatenate(*[x[i::pack] for i in range(pack)], axis=-1)

    def descend(value, weights, rule):
        gradients = mg.grad(value, weights)
        for p, g in zip(weights, gradients):
            p.grad = g
        rule.step()
        return np.sqrt(sum((to_numpy(g.data) ** 2).sum() for g in gradients))

    for batches in steps:
        assert len(batches) == n_critic
        for batch in batches:
            real = packed(mg.Tensor(batch))
            fake = packed(generator(noise()).detach())
            r, f = discriminator(real), discriminator(fake)
            value = loss.discriminator_loss(r, f)
            stats = {"real_score": r.mean().item(), "fake_score": f.mean().item()}
            if gp_weight:
                epsilon = streams["penalty"].random((N // pack,) + (1,) * (batch.ndim - 1))
                penalty = objectives.gradient_penalty(discriminator, real, fake, epsilon)
                stats["penalty"] = penalty.item()
                value = value + gp_weight * penalty
            if kind is objectives.Wasserstein:
                stats["wasserstein"] = (r.mean() - f.mean()).item()
            stats |= {"d_loss": value.item(), "d_grad_norm": descend(value, weights_d, optimizer_d)}
            if clip:
                for p in weights_d:
                    p.data = backend.asarray(np.clip(p.numpy(), -clip, clip))
        scores = [discriminator(packed(generator(noise())))]
        if kind is objectives.Relativistic:
            scores.append(discriminator(real))
        value = loss.generator_loss(*scores)
        stats |= {"g_loss": value.item(), "g_grad_norm": descend(value, weights_g, optimizer_g)}
    return stats


@pytest.mark.parametrize("pack", [1, 3])
@both_kinds
@every_objective
def test_a_step_is_algorithm_1(objective, kind, pack):
    steps = real_batches(kind, 2, PAPERS[objective][1])
    by_hand, trained = pair(kind, objective, pack=pack), pair(kind, objective, pack=pack)
    expected = algorithm_1(objective, *by_hand, steps, backend.Streams(1), pack)
    trainer = GANTrainer(*trained, LATENT, objective, pack=pack, streams=backend.Streams(1))
    for batches in steps:
        stats = step(trainer, batches)
    expected_arrays, arrays = arrays_of(*by_hand), arrays_of(*trained)
    assert arrays.keys() == expected_arrays.keys()
    for name in arrays:
        np.testing.assert_allclose(arrays[name], expected_arrays[name], rtol=1e-12, atol=1e-12, err_msg=str(name))
    assert stats.keys() == expected.keys()
    for name in stats:
        np.testing.assert_allclose(stats[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_there_are_these_objectives_and_no_others():
    assert RECIPES.keys() == PAPERS.keys()


@every_objective
@pytest.mark.parametrize("source", ["ring8", "digits"])
def test_every_objective_trains_on_points_and_on_pictures(objective, source):
    x = data.load(source, n=200).x if source == "ring8" else data.load(source).x[:200]
    batches = data.Batches(x, 16, backend.streams["data"])
    nets = networks.mlp_pair(width=8) if source == "ring8" else networks.dcgan_pair(
        (8, 8, 1), LATENT, width=2, penalised=objective == "wgan-gp")
    trainer = GANTrainer(*nets, 2 if source == "ring8" else LATENT, objective)
    before = arrays_of(*nets)
    for _ in range(4):
        stats = step(trainer, [batches.next() for _ in range(trainer.batches_per_step)])
        assert all(np.isfinite(value) for value in stats.values())
    trainer.check_finite()
    assert trainer.steps == 4
    after = arrays_of(*nets)
    unmoved = {name for name in before if np.array_equal(before[name], after[name])}
    last_bias = (1, nets[1].named_parameters()[-1][0])  # it cancels out of f − r
    assert unmoved <= {last_bias}, "every other weight and running statistic takes part"


def test_the_discriminator_rests_during_the_generator_step_and_the_generator_during_the_other():
    for resting, moving in ((0, 1), (1, 0)):
        generator, discriminator = networks_ = pair()
        trainer = GANTrainer(generator, discriminator, LATENT, **{("lr_g", "lr_d")[resting]: 0.0})
        before = [arrays_of(network) for network in networks_]
        train(trainer)
        after = [arrays_of(network) for network in networks_]
        assert_equal(after[resting], before[resting])
        assert all((after[moving][name] != before[moving][name]).any() for name in before[moving])


@both_kinds
def test_the_generator_step_goes_through_the_discriminator(kind):
    """The derivative with respect to G's first weight is that of the loss D gives, by finite differences."""
    generator, discriminator = pair(kind)
    trainer = GANTrainer(generator, discriminator, LATENT, lr_g=0.0, lr_d=0.0, streams=backend.Streams(1))
    train(trainer, kind, steps=1)
    streams = backend.Streams(1)
    _, noise = (streams["noise"].standard_normal((N, LATENT)) for _ in range(2))
    weight = generator.parameters()[0]
    start, slope = np.array(weight.numpy()), np.array(weight.grad.numpy())

    def loss(array):
        weight.data = backend.asarray(array)
        return objectives.NonSaturating().generator_loss(discriminator(generator(mg.Tensor(noise)))).item()

    move = 1e-7 * np.random.default_rng(3).standard_normal(start.shape)  # so small that no ReLU changes its mind
    numeric = loss(start + move) - loss(start - move)
    assert abs(numeric) > 1e-10
    np.testing.assert_allclose((slope * 2 * move).sum(), numeric, rtol=1e-5)


@pytest.mark.parametrize("n_critic", [1, 3])
def test_the_generator_step_computes_no_gradient_of_the_discriminator(n_critic):
    critic = Watched()
    trainer = GANTrainer(pair()[0], critic, LATENT, n_critic=n_critic)
    train(trainer, steps=2)
    assert critic.judged == 2 * (2 * n_critic + 1)
    assert critic.gradients == 2 * 2 * n_critic  # on the real and on the fake batch of each of its own steps
    assert all(p.requires_grad for p in critic.parameters())


def test_each_critic_step_sees_its_own_real_batch():
    first, second = trainer_of("wgan"), trainer_of("wgan")
    [batches] = real_batches("points", 1, 5)
    first.step(batches)
    second.step(batches[::-1])
    assert any((a != b).any() for a, b in zip(arrays_of(first.discriminator).values(),
                                              arrays_of(second.discriminator).values()))


@pytest.mark.parametrize("given", [0, 1, 4, 6])
def test_another_number_of_batches_is_refused_and_nothing_moves(given):
    trainer = trainer_of("wgan")
    before, streams = trainer.state_dict(), trainer.streams.state_dict()
    with pytest.raises(ValueError, match=f"expected 5 real batches, got {given}"):
        trainer.step(real_batches("points", 1, given)[0])
    assert_equal(trainer.state_dict(), before)
    assert_equal(trainer.streams.state_dict(), streams)


def test_what_is_given_takes_the_place_of_the_recipe():
    trainer = trainer_of("wgan", lr_g=0.5, lr_d=0.25, n_critic=2, clip=0.125, gp_weight=0.0)
    assert (trainer.g_optimizer.lr, trainer.d_optimizer.lr) == (0.5, 0.25)
    assert (trainer.batches_per_step, trainer.clip, trainer.gp_weight) == (2, 0.125, 0.0)
    train(trainer, steps=1)
    assert max(abs(p.numpy()).max() for p in trainer.discriminator.parameters()) == 0.125


def test_learning_rates_fall_on_a_straight_line_to_the_last_step_and_stay_there():
    trainer = trainer_of("gan", lr_g=0.5, lr_d=0.25, lr_decay=0.2, steps=5)
    seen = []
    for batches in real_batches("points", 7, 1):
        trainer.step(batches)
        share = trainer.share_of_rate()  # which both optimizers' rates are multiplied by
        seen.append((share * trainer.g_optimizer.lr, share * trainer.d_optimizer.lr))
        assert (trainer.g_optimizer.lr, trainer.d_optimizer.lr) == (0.5, 0.25)
    falling = np.array([1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2])
    np.testing.assert_allclose(seen, np.stack([0.5 * falling, 0.25 * falling], axis=1))


def test_a_step_has_the_learning_rate_of_its_number():
    """The third of three steps, taken by a trainer without decay whose rates are set by hand."""
    falling, by_hand = trainer_of("gan", lr_decay=0.5, steps=3), trainer_of("gan")
    for number, batches in enumerate(real_batches("points", 3, 1)):
        for optimizer in (by_hand.g_optimizer, by_hand.d_optimizer):
            optimizer.lr = 2e-4 * (1.0, 0.75, 0.5)[number]
        falling.step(batches)
        by_hand.step(batches)
    assert_equal(falling.generator.state_dict(), by_hand.generator.state_dict())
    assert_equal(falling.discriminator.state_dict(), by_hand.discriminator.state_dict())


def test_a_single_step_keeps_its_learning_rate_whatever_the_decay():
    trainer = trainer_of("gan", lr_decay=0.5, steps=1)
    train(trainer, steps=1)
    assert trainer.g_optimizer.lr == trainer.d_optimizer.lr == 2e-4


# The constraints of a critic

def test_a_clipped_critic_stays_inside_and_its_running_statistics_are_left_alone():
    trainer = trainer_of("wgan", "images", np.float32)
    clip = np.float32(0.01)
    for batches in real_batches("images", 3, 5, np.float32):
        trainer.step(batches)
        assert all((abs(p.numpy()) <= clip).all() for p in trainer.discriminator.parameters())
    variances = [array for name, array in trainer.discriminator.named_buffers() if name.endswith("running_var")]
    assert variances and all((to_numpy(array) > clip).all() for array in variances)


@pytest.mark.parametrize("objective, settings", [("wgan", dict(clip=0.0)), ("wgan-gp", dict(gp_weight=0.0)),
                                                 ("wgan", dict(clip=0.0, gp_weight=0.0))])
def test_a_wasserstein_critic_without_constraint_is_refused(objective, settings):
    with pytest.raises(ValueError, match="clip or gp_weight"):
        trainer_of(objective, **settings)


def test_batch_norm_in_a_penalised_critic_is_refused():
    for objective, settings in (("wgan-gp", {}), ("gan", dict(gp_weight=1.0))):
        with pytest.raises(ValueError, match="BatchNorm"):
            GANTrainer(*pair("images", "gan"), LATENT, objective, **settings)


@pytest.mark.parametrize("settings", [dict(objective="gna"), dict(n_critic=0), dict(clip=-0.1), dict(gp_weight=-1.0),
                                      dict(ema=1.0), dict(ema=-0.1), dict(ema=float("nan")), dict(pack=0),
                                      dict(lr_decay=0.5), dict(lr_decay=1.1, steps=9), dict(lr_decay=-0.1, steps=9),
                                      dict(lr_decay=float("nan"), steps=9)])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        GANTrainer(*pair(), LATENT, **settings)
