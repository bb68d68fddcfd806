"""Penalties on D's slope, label smoothing and relativistic pairs: each is its paper's formula, written a second time in
PyTorch where it can be."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, networks, nn, objectives
from minigan.objectives import (
    Minimax, NonSaturating, Penalty, Relativistic, Smoothed, perturbed_penalty, zero_centred_penalty)
from helpers import torch
from trainers import LATENT, pair, real_batches, step, trainer_of

__all__ = ["torch"]  # the fixture

pytestmark = pytest.mark.on_each_engine

R, F = np.array([1.3, 2.9, 8.4, 6.3]), np.array([4.8, 1.2, -3.5, 5.9])


# Relativistic pairs

def test_a_relativistic_loss_is_that_of_each_pair():
    d = Relativistic().discriminator_loss(mg.Tensor(R), mg.Tensor(F))
    g = Relativistic().generator_loss(mg.Tensor(F), mg.Tensor(R))
    assert d.item() == pytest.approx(np.mean(np.logaddexp(0, F - R)), rel=1e-14)
    assert g.item() == pytest.approx(np.mean(np.logaddexp(0, R - F)), rel=1e-14)
    mg.check_grads(Relativistic().discriminator_loss, [R, F])
    mg.check_grads(Relativistic().generator_loss, [F, R])


def test_only_differences_of_scores_count_and_far_tails_are_finite():
    loss = Relativistic()
    for shift in (-50.0, 1e3):
        assert loss.discriminator_loss(mg.Tensor(R + shift), mg.Tensor(F + shift)).item() == pytest.approx(
            loss.discriminator_loss(mg.Tensor(R), mg.Tensor(F)).item(), rel=1e-12)
    f = mg.Tensor(np.array([-1e4, -50.0, 1e4]), requires_grad=True)
    value = loss.generator_loss(f, mg.Tensor(np.zeros(3)))
    np.testing.assert_allclose(3 * mg.grad(value, f)[0].numpy(), [-1.0, -1.0, 0.0], atol=1e-12)


def test_a_row_and_a_column_of_scores_make_no_table_of_pairs():
    for real, fake in ((R, F[:, None]), (R[:, None], F), (R, F[:3])):
        with pytest.raises(ValueError, match="beside each real one"):
            Relativistic().discriminator_loss(mg.Tensor(real), mg.Tensor(fake))
        with pytest.raises(ValueError, match="beside each real one"):
            Relativistic().generator_loss(mg.Tensor(fake), mg.Tensor(real))


def test_the_generator_of_a_pair_is_compared_with_real_samples():
    """Were they left out, its loss would be that of a single score."""
    trainer = trainer_of("relativistic")
    [batch] = real_batches("points", 1, 1)
    g_loss = step(trainer, batch)["g_loss"]
    streams = backend.Streams(1)
    generator, _ = pair("points", "relativistic")  # as it was when its loss was taken
    _, noise = (mg.Tensor(streams["noise"].standard_normal((len(batch[0]), LATENT))) for _ in range(2))
    fake, real = trainer.discriminator(generator(noise)), trainer.discriminator(mg.Tensor(batch[0]))
    assert g_loss == pytest.approx(Relativistic().generator_loss(fake, real).item(), rel=1e-12)
    assert g_loss != pytest.approx(NonSaturating().generator_loss(fake).item(), rel=1e-3)


# One-sided label smoothing

@pytest.mark.parametrize("loss", [Minimax, NonSaturating])
@pytest.mark.parametrize("s", [0.1, 0.5])
def test_smoothing_lowers_the_target_of_real_samples_only(torch, loss, s):
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    r, f = torch.from_numpy(R), torch.from_numpy(F)
    expected = cross_entropy(r, torch.full_like(r, 1 - s)) + cross_entropy(f, torch.zeros_like(f))
    found = Smoothed(loss(), s).discriminator_loss(mg.Tensor(R), mg.Tensor(F))
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert Smoothed(loss(), s).generator_loss(mg.Tensor(F)).item() == loss().generator_loss(mg.Tensor(F)).item()
    mg.check_grads(Smoothed(loss(), s).discriminator_loss, [R, F])


def test_undecided_is_ds_best_score_at_a_tie_with_smoothing_too():
    loss = Smoothed(NonSaturating(), 0.2)
    score = mg.Tensor(np.array([loss.undecided]), requires_grad=True)
    assert mg.grad(loss.discriminator_loss(score, score), score)[0].item() == pytest.approx(0.0, abs=1e-15)
    assert Smoothed(NonSaturating(), 0.0).undecided == NonSaturating.undecided


def test_a_smoothing_out_of_range_is_refused():
    for s in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="label smoothing: expected 0 ≤ s < 1"):
            Smoothed(Minimax(), s)


# Penalties

def critic_of_pictures(rng):
    _, critic = networks.dcgan_pair((16, 16, 1), latent=2, width=2, norm="none", rng=rng)
    for p in critic.parameters():
        p.data = p.data + 0.3 * rng.standard_normal(p.shape)
    return critic.astype(np.float64)


@pytest.mark.parametrize("shape", [(1, 2), (5, 2), (3, 4, 5, 2)])
def test_a_zero_centred_penalty_is_the_squared_length_of_each_samples_slope(shape, rng):
    """A linear critic gives exactly ‖w‖²: no norm per pixel, no root, no half and no sum over the batch."""
    w, axes = rng.standard_normal(shape[1:]), tuple(range(1, len(shape)))
    x = rng.standard_normal(shape)
    penalty = zero_centred_penalty(lambda x: (x * w).sum(axes), x)
    assert penalty.shape == () and penalty.item() == pytest.approx(np.sum(w * w), rel=1e-12)
    penalty = zero_centred_penalty(lambda x: (x * x).sum(axes), mg.Tensor(x, requires_grad=True))
    assert penalty.item() == pytest.approx(np.mean(np.sum(4 * x.reshape(len(x), -1) ** 2, 1)), rel=1e-12)


def test_penalties_are_those_of_pytorch_with_their_gradients(torch, rng):
    """Value, and derivative by every weight of a convolutional critic, in float64."""
    from benchmarks import reference

    critic = critic_of_pictures(rng)
    theirs = reference.converted(critic).double()
    x, noise, epsilon = rng.uniform(-1, 1, (4, 16, 16, 1)), rng.random((4, 16, 16, 1)), rng.random((4, 1, 1, 1))
    X, U, E = map(reference.channels_first, (x, noise, epsilon))

    def slopes(at):
        at = at.clone().requires_grad_()
        return torch.autograd.grad(theirs(at).sum(), at, create_graph=True)[0].flatten(1)

    near = X + (1 - E) * 0.5 * X.std(correction=0) * U
    for ours, expected in (
            (lambda: zero_centred_penalty(critic, x), lambda: slopes(X).square().sum(1).mean()),
            (lambda: perturbed_penalty(critic, x, noise, epsilon),
             lambda: (slopes(near).norm(dim=1) - 1).square().mean())):
        critic.zero_grad()
        theirs.zero_grad()
        penalty, of_torch = ours(), expected()
        assert penalty.item() == pytest.approx(of_torch.item(), rel=1e-10)
        penalty.backward()
        of_torch.backward()
        for found, weight in zip(gradients_in_torch_order(reference, critic), theirs.parameters()):
            expected_ = torch.zeros_like(weight) if weight.grad is None else weight.grad
            np.testing.assert_allclose(found.detach().numpy(), expected_.numpy(), rtol=1e-8, atol=1e-10)


def gradients_in_torch_order(reference, network):
    """The gradients, put where the weights were, so that they are converted as weights are."""
    weights = [p.data for p in network.parameters()]
    for p in network.parameters():
        p.data = 0.0 * p.data if p.grad is None else p.grad.data
    found = list(reference.converted(network).parameters())
    for p, weight in zip(network.parameters(), weights):
        p.data = weight
    return found


def test_penalties_have_right_derivatives_to_the_second_order(rng):
    x, noise, epsilon = rng.standard_normal((3, 2)), rng.random((3, 2)), rng.random((3, 1))
    weights = [rng.standard_normal((2, 5)), rng.standard_normal(5), rng.standard_normal((5, 1))]
    critic = lambda w, b, v: lambda x: mg.ops.tanh(x @ w + b) @ v
    mg.check_grads(lambda *all_: zero_centred_penalty(critic(*all_), x), weights, order=2)
    mg.check_grads(lambda *all_: perturbed_penalty(critic(*all_), x, noise, epsilon), weights, order=2)


def test_a_flat_critic_has_a_penalty_of_zero_and_no_nan():
    w = mg.Tensor(np.zeros((3, 1)), requires_grad=True)
    penalty = zero_centred_penalty(lambda x: x @ w, np.ones((2, 3)))
    assert penalty.item() == 0.0 and not mg.grad(penalty, w)[0].numpy().any()


def test_batch_norm_in_a_critic_with_any_penalty_is_refused():
    critic = nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3), nn.Dense(3, 1))
    x = np.ones((4, 2), np.float32)
    for penalty in (lambda: zero_centred_penalty(critic, x), lambda: perturbed_penalty(critic, x, x, x[:, :1])):
        with pytest.raises(ValueError, match="BatchNorm"):
            penalty()
    for name in objectives.PENALTIES:
        with pytest.raises(ValueError, match="BatchNorm"):
            trainer_of("gan", "images", penalties=[Penalty(name, 1.0)])


def test_dragans_penalty_is_taken_beside_real_samples_whatever_the_fake_ones_are():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5, 2)), rng.standard_normal((2, 1))
    critic = lambda x: (x * x) @ w ** 2
    found = [objectives.PENALTIES["dragan_penalty"](critic, mg.Tensor(x), mg.Tensor(fake), np.random.default_rng(1))
             for fake in (x, x + 100.0)]
    assert found[0].item() == found[1].item()
    assert perturbed_penalty(critic, x, 0.0 * x, np.ones((5, 1))).item() == pytest.approx(
        np.mean((np.linalg.norm(2 * x * w.ravel() ** 2, axis=1) - 1) ** 2), rel=1e-12)
