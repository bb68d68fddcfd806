"""What a trainer keeps: the averaged generator, everything the next step depends on, and an alarm for numbers."""

import io
import re
from math import prod

import numpy as np
import pytest

import minigan as mg
from minigan import backend, networks, objectives
from minigan.backend import to_numpy
from minigan.pictures.snapshots import feedback
from minigan.trainer import GANTrainer, NonFiniteError
from trainers import (LATENT, Watched, assert_equal, both_kinds, every_objective, pair,
                      real_batches, step, train, trainer_of)

pytestmark = [pytest.mark.on_each_backend, pytest.mark.on_each_engine]


# The averaged generator

@both_kinds
def test_sampling_disturbs_nothing(kind):
    trainer = trainer_of(kind=kind)
    train(trainer, kind)
    before, streams, shared = trainer.state_dict(), trainer.streams.state_dict(), backend.streams.state_dict()
    first = to_numpy(trainer.sample(np.ones((5, LATENT))))
    assert_equal(trainer.state_dict(), before)
    assert_equal(trainer.streams.state_dict(), streams)
    assert_equal(backend.streams.state_dict(), shared)
    assert all(m.training for network in (trainer.generator, trainer.discriminator) for _, m in network.named_modules())
    np.testing.assert_array_equal(first, to_numpy(trainer.sample(np.ones((5, LATENT)))))


@both_kinds
@every_objective
def test_feedback_disturbs_nothing(objective, kind):
    watching, alone = trainer_of(objective, kind), trainer_of(objective, kind)
    for batches in real_batches(kind, 2, alone.batches_per_step):
        before = watching.state_dict()
        feedback(watching, batches[0] / 2)
        assert_equal(watching.state_dict(), before)
        assert all(module.training for _, module in watching.discriminator.named_modules())
        step(watching, batches)
        step(alone, batches)
    assert_equal(watching.state_dict(), alone.state_dict())


@pytest.mark.parametrize("pack", [1, 3])
@every_objective
def test_feedback_is_each_samples_score_and_the_way_down_its_share_of_the_generators_loss(objective, pack):
    generator, discriminator = pair(objective=objective, pack=pack)
    trainer = GANTrainer(generator, discriminator, LATENT, objective, pack=pack, streams=backend.Streams(1))
    x = np.random.default_rng(3).standard_normal((5, 2))

    def loss(x, beside=None):
        scores = discriminator(mg.Tensor(backend.asarray(np.tile(x, pack))))
        if not isinstance(trainer.objective, objectives.Relativistic):
            return scores, trainer.objective.generator_loss(scores).item()
        real_scores = scores if beside is None else loss(beside)[0]  # of a real sample with the same score
        return scores, trainer.objective.generator_loss(scores, real_scores).item()
    scores, pulls = (to_numpy(array) for array in feedback(trainer, x))
    np.testing.assert_allclose(scores, loss(x)[0].numpy()[:, 0], rtol=1e-12)
    for i in range(5):
        for j in range(2):
            moved = 1e-6 * (np.arange(2) == j)
            slope = (loss(x[i:i + 1] + moved, x[i:i + 1])[1] - loss(x[i:i + 1] - moved, x[i:i + 1])[1]) / 2e-6
            np.testing.assert_allclose(pulls[i, j], -slope, rtol=1e-5, atol=1e-9)


def test_feedback_on_a_sample_does_not_depend_on_the_others():
    trainer = trainer_of(kind="images")
    train(trainer, "images")
    [[x]] = real_batches("images", 1, 1)
    together, alone = feedback(trainer, x), feedback(trainer, x[:1])
    for a, b in zip(together, alone):
        np.testing.assert_allclose(to_numpy(a)[:1], to_numpy(b), rtol=1e-9, atol=1e-12)


@both_kinds
def test_samples_are_those_of_the_averaged_generator_in_evaluation_mode(kind):
    trainer = trainer_of(kind=kind, lr_g=0.01, ema=0.5)
    train(trainer, kind)
    copy = pair(kind)[0]
    copy.load_state_dict({name.removeprefix("averaged."): array for name, array in trainer.state_dict().items()
                          if name.startswith("averaged.")})
    noise = np.random.default_rng(4).standard_normal((7, LATENT))
    expected = copy.eval()(mg.Tensor(noise)).numpy()
    np.testing.assert_allclose(to_numpy(trainer.sample(noise)), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(to_numpy(trainer.sample(noise, block=3)), expected, rtol=1e-12, atol=1e-15)
    assert not np.allclose(trainer.generator(mg.Tensor(noise)).numpy(), expected)  # by weights, and by mode on images


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_average_is_the_exponential_one_without_bias_and_buffers_are_the_latest(decay):
    trainer = trainer_of(kind="images", lr_g=0.01, ema=decay)
    history = []
    for batches in real_batches("images", 4, 1):
        trainer.step(batches)
        history.append(trainer.generator.state_dict())
        t = len(history)
        shares = [(1 - decay) * decay ** (t - 1 - i) / (1 - decay ** t) for i in range(t)]
        averaged = trainer.averaged.state_dict()
        for name, _ in trainer.generator.named_parameters():
            expected = sum(share * weights[name] for share, weights in zip(shares, history))
            np.testing.assert_allclose(averaged[name], expected, rtol=1e-12, atol=1e-14, err_msg=name)
        for name, buffer in trainer.generator.named_buffers():
            np.testing.assert_array_equal(averaged[name], to_numpy(buffer), err_msg=name)


# State

@both_kinds
@every_objective
def test_n_plus_m_steps_are_n_steps_saved_and_m_in_a_fresh_trainer(objective, kind):
    def fresh():
        return trainer_of(objective, kind, np.float32)

    whole = fresh()
    train(whole, kind, steps=3)

    steps = real_batches(kind, 3, whole.batches_per_step, np.float32)
    first = fresh()
    first.step(steps[0])
    file = io.BytesIO()
    np.savez(file, **first.state_dict())
    streams = first.streams.state_dict()
    for batches in steps[1:]:
        first.step(batches)  # what was saved is a copy
    file.seek(0)
    second = trainer_of(objective, kind, np.float32, ema=0.999)
    train(second, kind, steps=1, seed=9)  # whatever it did before is forgotten
    with np.load(file, allow_pickle=False) as saved:
        second.load_state_dict(dict(saved))
    second.streams.load_state_dict(streams)
    for batches in steps[1:]:
        second.step(batches)
    assert_equal(second.state_dict(), whole.state_dict())
    assert_equal(second.streams.state_dict(), whole.streams.state_dict())
    assert second.steps == 3


def test_a_state_that_does_not_fit_is_refused():
    state = trainer_of().state_dict()
    for wrong in (trainer_of("wgan").state_dict(), trainer_of(kind="images").state_dict(), {},
                  {name: array for name, array in state.items() if name != "steps"}, state | {"critic.w": np.ones(2)}):
        with pytest.raises(ValueError):
            trainer_of().load_state_dict(wrong)


@both_kinds
@every_objective
def test_float32_stays_float32(objective, kind):
    trainer = trainer_of(objective, kind, np.float32)
    for dtype in (np.float32, np.float64):  # whatever the batches are
        for batches in real_batches(kind, 2, trainer.batches_per_step, dtype):
            stats = step(trainer, batches)
    assert {name: value.dtype for name, value in stats.items()} == dict.fromkeys(stats, np.float32)
    assert all(value.shape == () for value in stats.values())
    parameters = trainer.generator.parameters() + trainer.discriminator.parameters() + trainer.averaged.parameters()
    assert {p.dtype for p in parameters} == {np.dtype(np.float32)}
    assert {p.grad.dtype for p in parameters if p.grad is not None} == {np.dtype(np.float32)}
    state = trainer.state_dict()
    numbers = {name for name in state if name.split(".")[-1] in ("steps", "lr")}
    assert {state[name].dtype for name in state if name not in numbers} == {np.dtype(np.float32)}
    assert all(state[name].shape == () for name in numbers)
    assert trainer.sample(np.zeros((2, LATENT))).dtype == np.float32


def test_no_operation_of_a_float32_step_sees_a_float64_array(monkeypatch):
    seen = set()
    make = mg.Tensor.__init__

    def watching(self, value, *args, **kwargs):
        make(self, value, *args, **kwargs)
        seen.add(self.dtype.name)
    trainer = trainer_of("wgan-gp", "images", np.float32)
    monkeypatch.setattr(mg.Tensor, "__init__", watching)
    train(trainer, "images", steps=1)
    assert seen == {"float32"}


@every_objective
def test_the_same_seed_gives_the_same_bytes(objective):
    def run():
        trainer = trainer_of(objective, "images", np.float32)
        stats = train(trainer, "images", steps=2)
        return trainer.state_dict() | {f"stats {i} {name}": value for i, s in enumerate(stats) for name, value in
                                       s.items()}
    assert {name: array.tobytes() for name, array in run().items()} == {
        name: array.tobytes() for name, array in run().items()}


def test_another_seed_gives_other_weights():
    first, second = trainer_of(), GANTrainer(*pair(), LATENT, streams=backend.Streams(7))
    train(first)
    train(second)
    assert not np.array_equal(*(trainer.generator.parameters()[0].numpy() for trainer in (first, second)))


# Numbers that are not finite

@pytest.mark.parametrize("call, network", [(4, "discriminator"), (5, "discriminator"), (6, "generator")])
def test_a_loss_that_is_not_finite_for_one_step_only_is_found_later(call, network):
    """A step judges real, fake, fake: the calls 4, 5 and 6 are those of the second step."""
    critic = Watched()
    critic.offsets[call] = np.inf
    trainer = GANTrainer(pair()[0], critic, LATENT, "wgan", n_critic=1, clip=1.0)
    stats = train(trainer, steps=4)
    assert [np.isfinite(s["d_loss"] + s["g_loss"]) for s in stats] == [True, False, True, True]
    for _ in range(2):
        with pytest.raises(NonFiniteError, match=f"the {network}'s .* step 2"):
            trainer.check_finite()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@every_objective
def test_a_nan_in_the_data_is_found_with_its_first_step(objective):
    trainer = trainer_of(objective)
    steps = real_batches("points", 4, trainer.batches_per_step)
    steps[2][-1][0, 0] = np.nan
    for i, batches in enumerate(steps):
        trainer.step(batches)
        if i < 2:
            trainer.check_finite()
    with pytest.raises(NonFiniteError, match="the discriminator's .* step 3"):
        trainer.check_finite()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_layers_that_were_spoilt_are_named():
    """All of a network by its loss; by a gradient those on its way; none by a loss in a step that learns nothing."""
    trainer = trainer_of("gan", "images")
    critic = trainer.discriminator
    [batches] = real_batches("images", 1, 1)
    trainer.step([np.full_like(batches[0], np.nan)])
    with pytest.raises(NonFiniteError) as error:
        trainer.check_finite()
    arrays = [name for name in critic.state_dict()]
    last = type(dict(critic.named_modules())[arrays[-1].rpartition(".")[0]]).__name__
    assert f"{len(arrays)} of its {len(arrays)} arrays are not, from 0.weight (Conv2d) to {arrays[-1]} ({last})" in (
        str(error.value))

    trainer = trainer_of("gan", "points")
    name, weight = trainer.discriminator.named_parameters()[2]
    trainer._first_bad[trainer.d_optimizer] = np.array(7)
    with pytest.raises(NonFiniteError, match="step 7$"):
        trainer.check_finite()
    weight.data = weight.data * np.nan
    with pytest.raises(NonFiniteError, match=re.escape(f"step 7; 1 of its 6 arrays are not, from {name} (Dense) to")):
        trainer.check_finite()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_good_state_ends_the_alarm():
    trainer = trainer_of()
    train(trainer, steps=1)
    good = trainer.state_dict()
    [batches] = real_batches("points", 1, 1)
    trainer.step([np.full_like(batches[0], np.inf)])
    with pytest.raises(NonFiniteError):
        trainer.check_finite()
    trainer.load_state_dict(good)
    trainer.check_finite()
    train(trainer, steps=1)
    trainer.check_finite()


@pytest.mark.filterwarnings("error")
@every_objective
def test_scores_far_out_stay_finite(objective):
    generator, critic = pair()[0], Watched()
    for scale in (1e4, -1e4):
        critic.weight.data = backend.asarray(np.full((2, 1), scale))
        trainer = GANTrainer(generator, critic, LATENT, objective)
        train(trainer, steps=1)
        trainer.check_finite()


def test_a_batch_of_one_and_equal_real_and_fake_samples_stay_finite():
    for kind, objective in (("points", "wgan-gp"), ("images", "wgan-gp"), ("images", "gan")):
        trainer = trainer_of(objective, kind)
        shape = trainer.sample(np.zeros((1, LATENT))).shape
        assert prod(shape) > 1
        fake = np.zeros(shape)
        for p in trainer.generator.parameters():
            p.data = 0.0 * p.data  # then every sample is 0, as the real ones are
        trainer.step([fake] * trainer.batches_per_step)
        trainer.check_finite()


def test_the_width_of_the_noise_is_that_of_the_generators_first_layer():
    generator, discriminator = networks.mlp_pair(latent=5, width=4)
    trainer = GANTrainer(generator, discriminator)
    assert trainer.latent == 5
    trainer.step([np.zeros((3, 2), np.float32)])
