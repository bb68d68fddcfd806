"""A training step is Algorithm 1 and nothing else, and what is saved is everything the next one depends on."""

import io
import re
from math import prod

import numpy as np
import pytest

import minigan as mg
from minigan import backend, data, networks, nn, objectives, ops, optim
from minigan.backend import to_numpy
from minigan.tensor import op
from minigan.trainer import RECIPES, GANTrainer, NonFiniteError

pytestmark = pytest.mark.on_each_backend

N, LATENT = 6, 3
DCGAN, RMSPROP, WGAN_GP = ((optim.Adam, dict(lr=2e-4, betas=(0.5, 0.999))), (optim.RMSprop, dict(lr=5e-5)),
                           (optim.Adam, dict(lr=1e-4, betas=(0.0, 0.9))))

# From the papers, not from the source: objective, critic steps, clip, penalty weight, optimizer and its settings.
PAPERS = {
    "minimax": (objectives.Minimax, 1, None, None, *DCGAN),
    "gan": (objectives.NonSaturating, 1, None, None, *DCGAN),
    "lsgan": (objectives.LeastSquares, 1, None, None, *DCGAN),
    "wgan": (objectives.Wasserstein, 5, 0.01, None, *RMSPROP),
    "wgan-gp": (objectives.Wasserstein, 5, None, 10.0, *WGAN_GP),
    "hinge": (objectives.Hinge, 1, None, None, *DCGAN),
}
every_objective = pytest.mark.parametrize("objective", PAPERS)
both_kinds = pytest.mark.parametrize("kind", ["points", "images"])


def pair(kind="points", objective="gan", dtype=np.float64, pack=1):
    """Tiny networks, the same ones every time; those of images have two levels, so that D too is normalised."""
    rng = np.random.default_rng(0)
    if kind == "points":
        networks_ = networks.mlp_pair(2, LATENT, width=8, depth=2, pack=pack, rng=rng)
    else:
        networks_ = networks.dcgan_pair((16, 20, 1), LATENT, width=2, penalised=objective == "wgan-gp", pack=pack,
                                        rng=rng)
    return [network.astype(dtype) for network in networks_]


def trainer_of(objective="gan", kind="points", dtype=np.float64, **settings):
    return GANTrainer(*pair(kind, objective, dtype), LATENT, objective, streams=backend.Streams(1), **settings)


def real_batches(kind, steps, per_step, dtype=np.float64, seed=2):
    """`steps` lists of `per_step` different batches."""
    rng = np.random.default_rng(seed)
    shape = (N, 2) if kind == "points" else (N, 16, 20, 1)
    return [[rng.uniform(-1, 1, shape).astype(dtype) for _ in range(per_step)] for _ in range(steps)]


def step(trainer, batches):
    """The statistics of a step, read from the device."""
    return {name: to_numpy(value) for name, value in trainer.step(batches).items()}


def train(trainer, kind="points", steps=3, seed=2):
    dtype = trainer.generator.parameters()[0].dtype
    return [step(trainer, batches) for batches in real_batches(kind, steps, trainer.batches_per_step, dtype, seed)]


def arrays_of(*modules):
    """Copies of all parameters and buffers."""
    return {(i, name): array for i, module in enumerate(modules) for name, array in module.state_dict().items()}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=str(name), strict=True)


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
        value = loss.generator_loss(discriminator(packed(generator(noise()))))
        stats |= {"g_loss": value.item(), "g_grad_norm": descend(value, weights_g, optimizer_g)}
    return stats


@pytest.mark.parametrize("pack", [1, 3])
@both_kinds
@every_objective
def test_a_step_is_algorithm_1(objective, kind, pack):
    steps = real_batches(kind, 3, PAPERS[objective][1])
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


def test_there_are_the_six_objectives_and_no_others():
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


class Watched(nn.Module):
    """A linear discriminator that counts how often its weight's gradient is asked for, and on what it judges."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.full((2, 1), 0.5))
        self.gradients = self.judged = 0
        self.offsets = {}  # call number: added to the scores, without a gradient of its own

    def forward(self, x):
        @op
        def watched(w, /):
            def pull_back(g):
                self.gradients += 1
                return g
            return w.data, (pull_back,)
        self.judged += 1
        return x @ watched(self.weight) + self.offsets.get(self.judged, 0.0)


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
        seen.append((trainer.g_optimizer.lr, trainer.d_optimizer.lr))
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
    for batches in real_batches(kind, 3, alone.batches_per_step):
        before = watching.state_dict()
        watching.feedback(batches[0] / 2)
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

    def loss(x):
        scores = discriminator(mg.Tensor(backend.asarray(np.tile(x, pack))))
        return scores, trainer.objective.generator_loss(scores).item()
    scores, pulls = (to_numpy(array) for array in trainer.feedback(x))
    np.testing.assert_allclose(scores, loss(x)[0].numpy()[:, 0], rtol=1e-12)
    for i in range(5):
        for j in range(2):
            moved = 1e-6 * (np.arange(2) == j)
            slope = (loss(x[i:i + 1] + moved)[1] - loss(x[i:i + 1] - moved)[1]) / 2e-6
            np.testing.assert_allclose(pulls[i, j], -slope, rtol=1e-5, atol=1e-9)


def test_feedback_on_a_sample_does_not_depend_on_the_others():
    trainer = trainer_of(kind="images")
    train(trainer, "images")
    [[x]] = real_batches("images", 1, 1)
    together, alone = trainer.feedback(x), trainer.feedback(x[:1])
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
    np.testing.assert_allclose(to_numpy(trainer.sample(noise)), expected, rtol=1e-12)
    np.testing.assert_allclose(to_numpy(trainer.sample(noise, block=3)), expected, rtol=1e-12)
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
    train(whole, kind, steps=5)

    steps = real_batches(kind, 5, whole.batches_per_step, np.float32)
    first = fresh()
    for batches in steps[:2]:
        first.step(batches)
    file = io.BytesIO()
    np.savez(file, **first.state_dict())
    streams = first.streams.state_dict()
    for batches in steps[2:]:
        first.step(batches)  # what was saved is a copy
    file.seek(0)
    second = trainer_of(objective, kind, np.float32, ema=0.999)
    train(second, kind, steps=1, seed=9)  # whatever it did before is forgotten
    with np.load(file, allow_pickle=False) as saved:
        second.load_state_dict(dict(saved))
    second.streams.load_state_dict(streams)
    for batches in steps[2:]:
        second.step(batches)
    assert_equal(second.state_dict(), whole.state_dict())
    assert_equal(second.streams.state_dict(), whole.streams.state_dict())
    assert second.steps == 5


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
    trainer._first_bad["discriminator"] = np.array(7)
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
