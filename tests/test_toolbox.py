"""The remedies of the model `gan`: each is its paper's formula, written a second time in PyTorch where it can be; each
mistake that is easily made there is caught; and a run that has them all resumes exactly."""

import numpy as np
import pytest

import minigan as mg
import strict
from minigan import backend, networks, nn
from minigan.backend import to_numpy
from minigan.objectives import NonSaturating, Penalty, zero_centred_penalty
from minigan.pictures.snapshots import feedback
from minigan.runs import checkpoints, models
from minigan.trainer import Facts, GANTrainer
from helpers import torch
from trainers import LATENT, pair, step, train

__all__ = ["torch"]  # the fixture

pytestmark = pytest.mark.on_each_engine

IMAGES, POINTS = Facts((16, 16, 1)), Facts((2,))
REMEDIES = {"r1": dict(d_norm="none", r1=0.5), "r2": dict(d_norm="none", r2=0.5), "dragan": dict(dragan=2.0),
            "lazy": dict(r1=0.5, penalty_every=2), "smooth": dict(label_smoothing=0.1),
            "noise": dict(instance_noise=0.3), "dropout": dict(dropout=0.4), "deviation": dict(minibatch="deviation"),
            "discrimination": dict(minibatch="discrimination"), "augment": dict(augment="all"),
            "adaptive": dict(augment="all", adaptive=0.1, adaptive_images=64, lr_d=0.05),
            "spectral": dict(d_norm="spectral"), "dense": dict(dense=5),
            "spectral and dense": dict(d_norm="spectral", dense=5), "relativistic": dict(objective="relativistic")}


def model_of(facts=IMAGES, dtype="float32", seed=1, **options):
    """A tiny `gan` with these options, and weights that are large enough to matter."""
    given = dict(model="gan", recipe="dcgan", width=3, latent=LATENT, batch_size=8, steps=10, ema=0.5) | options
    model = models.made(models.complete(given, facts), facts, backend.Streams(seed))
    for network in model.networks().values():
        for p in network.parameters():
            if len(facts.shape) == 3 and p.ndim > 1:
                p.data = p.data * 5.0
        network.astype(dtype)
    return model


def batches(steps, facts=IMAGES, n=8, seed=2):
    rng = np.random.default_rng(seed)
    return [[rng.uniform(-1, 1, (n, *facts.shape)).astype(np.float32)] for _ in range(steps)]


# Penalties

@pytest.mark.parametrize("name", ["r1", "r2"])
@pytest.mark.parametrize("every", [1, 3])
def test_ds_loss_gets_half_gamma_times_the_penalty_and_lazily_so_many_times_as_much(name, every):
    """In the first step and every k-th after it; in between there is none."""
    plain = model_of(POINTS, "float64", lr_d=0.0, lr_g=0.0)
    added = model_of(POINTS, "float64", lr_d=0.0, lr_g=0.0, penalty_every=every, **{name: 0.5})
    streams = backend.Streams(1)
    for number, [batch] in enumerate(batches(7, POINTS)):
        noise, _ = (streams["noise"].standard_normal((8, LATENT)) for _ in range(2))
        without, with_it = step(plain, [batch]), step(added, [batch])
        x = batch.astype(np.float64) if name == "r1" else plain.generator(mg.Tensor(noise))
        expected = zero_centred_penalty(plain.discriminator, x).item()
        if number % every == 0:
            assert with_it["d_loss"] - without["d_loss"] == pytest.approx(0.25 * every * expected, rel=1e-9)
            assert with_it[f"{name}_penalty"] == pytest.approx(0.5 * expected, rel=1e-9)
        else:
            assert with_it["d_loss"] == without["d_loss"] and f"{name}_penalty" not in with_it


@pytest.mark.parametrize("name", ["r1", "r2", "dragan"])
def test_a_critic_with_a_penalty_has_no_batch_norm(name):
    with pytest.raises(ValueError, match="batch norm"):
        model_of(d_norm="batch", **{name: 1.0})
    critic = model_of(**{name: 1.0}).discriminator
    assert not any(isinstance(module, nn.BatchNorm) for _, module in critic.named_modules())


# Spectral norm

def largest(weight):
    return np.linalg.svd(weight.numpy().reshape(-1, weight.shape[-1]), compute_uv=False)[0]


def test_spectral_norm_divides_by_the_largest_singular_value(rng):
    for layer, x in ((nn.Dense(5, 4), rng.standard_normal((3, 5))),
                     (nn.Conv2d(2, 3, 3), rng.standard_normal((2, 5, 5, 2)))):
        layer.bias.data = 0.0 * layer.bias.data
        normed = nn.SpectralNorm(layer).astype(np.float64)
        for _ in range(200):
            y = normed(mg.Tensor(x))
        np.testing.assert_allclose(y.numpy(), layer(mg.Tensor(x)).numpy() / largest(layer.weight), rtol=1e-8)


def test_power_iteration_rests_in_evaluation_and_moves_once_in_each_call_of_training(rng):
    normed, x = nn.SpectralNorm(nn.Dense(5, 4)), rng.standard_normal((3, 5)).astype(np.float32)
    W = normed.layer.weight.numpy()
    before = normed.u.copy()
    normed.eval()(x)
    np.testing.assert_array_equal(normed.u, before)
    normed.train()(x)
    v = W @ before / np.linalg.norm(W @ before)
    np.testing.assert_allclose(normed.u, W.T @ v / np.linalg.norm(W.T @ v), rtol=1e-5)


def test_the_gradient_takes_u_and_v_as_constants(torch, rng):
    """PyTorch's own spectral norm begins with the same u, and gives the same value and gradient three times."""
    layer = nn.Dense(5, 4)
    ours = nn.SpectralNorm(layer).astype(np.float64)
    inner = torch.nn.Linear(5, 4).double()
    inner.weight.data = torch.from_numpy(layer.weight.numpy().T.copy())
    inner.bias.data = torch.from_numpy(layer.bias.numpy().copy())
    theirs = torch.nn.utils.spectral_norm(inner)
    theirs.weight_u.data = torch.from_numpy(ours.u.copy())
    for _ in range(3):
        x = rng.standard_normal((3, 5))
        y, z = ours(mg.Tensor(x)), theirs(torch.from_numpy(x))
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10)
        [gradient] = mg.grad((y * y).sum(), layer.weight)
        [expected] = torch.autograd.grad(z.square().sum(), theirs.weight_orig)
        np.testing.assert_allclose(gradient.numpy(), expected.numpy().T, rtol=1e-9)


@pytest.mark.parametrize("facts", [IMAGES, POINTS])
def test_a_spectral_discriminator_is_normalised_in_every_layer_and_lipschitz(facts):
    model = model_of(facts, d_norm="spectral")
    layers = [layer for layer in model.discriminator if hasattr(layer, "layer")]
    assert not [layer for layer in model.discriminator if hasattr(layer, "weight")] and len(layers) > 2
    for layer in layers:  # u belongs to the weights that training begins with
        sigma = float(layer.v @ layer._matrix() @ layer.u)
        assert sigma == pytest.approx(largest(layer.layer.weight), rel=0.02)


def test_a_checkpoint_with_negative_numbers_in_v_is_sound(tmp_path):
    """`v` is a singular vector here, and a mean of squares in an optimizer."""
    v = np.array([0.6, -0.8], np.float32)
    for name, good in (("trainer.discriminator.0.v", True), ("trainer.d_optimizer.0.v", False)):
        checkpoints.save_checkpoint(tmp_path / "000001.npz", {name: v})
        if good:
            checkpoints.load_checkpoint(tmp_path / "000001.npz")
        else:
            with pytest.raises(ValueError, match="expected numbers ≥ 0"):
                checkpoints.load_checkpoint(tmp_path / "000001.npz")


# What D learns of a batch

@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3, 3)])
def test_minibatch_deviation_is_one_number_that_tells_how_samples_differ(torch, shape, rng):
    x = rng.standard_normal(shape) * rng.uniform(0.5, 3, shape[1:])
    y = nn.MinibatchDeviation()(mg.Tensor(x)).numpy()
    np.testing.assert_array_equal(y[..., :-1], x)
    expected = torch.sqrt(torch.from_numpy(x).var(0, correction=0) + 1e-8).mean().item()
    np.testing.assert_allclose(y[..., -1], expected, rtol=1e-12)
    mg.check_grads(nn.MinibatchDeviation(), [x])


def test_minibatch_deviation_is_taken_over_samples_and_not_over_places_or_channels(rng):
    """Samples that are all alike have none, however they vary within; flat samples that differ have some."""
    same = np.repeat(rng.standard_normal((1, 4, 4, 3)), 6, axis=0)
    assert nn.MinibatchDeviation()(mg.Tensor(same)).numpy()[..., -1].max() <= 1.0001e-4  # √eps
    flat = np.broadcast_to(np.arange(6.0).reshape(6, 1, 1, 1), (6, 4, 4, 3)).copy()
    np.testing.assert_allclose(nn.MinibatchDeviation()(mg.Tensor(flat)).numpy()[..., -1], np.arange(6.0).std())


def test_minibatch_discrimination_is_the_sum_of_likenesses(rng):
    layer = nn.MinibatchDiscrimination(4, kernels=3, size=2).astype(np.float64)
    x = rng.standard_normal((5, 4))
    y = layer(mg.Tensor(x)).numpy()
    M = (x @ layer.weight.numpy()).reshape(5, 3, 2)
    expected = [[sum(np.exp(-np.abs(M[i, b] - M[j, b]).sum()) for j in range(5)) for b in range(3)] for i in range(5)]
    np.testing.assert_allclose(y, np.concatenate([x, expected], 1), rtol=1e-12)
    assert (nn.MinibatchDiscrimination(4, 3)(np.ones((5, 4), np.float32)).numpy()[:, 4:] == 5.0).all()


def test_minibatch_discrimination_has_right_derivatives(rng):
    layer = nn.MinibatchDiscrimination(3, kernels=2, size=2).astype(np.float64)

    def of(x, weight):
        layer.weight = weight
        return layer(x)
    mg.check_grads(of, [rng.standard_normal((4, 3)), rng.standard_normal((3, 4))])


def test_minibatch_discrimination_says_what_it_takes():
    with pytest.raises(ValueError, match=r"MinibatchDiscrimination: expected x \(N, 4\), got \(2, 3\)"):
        nn.MinibatchDiscrimination(4)(np.ones((2, 3), np.float32))


@pytest.mark.parametrize("facts", [IMAGES, POINTS])
@pytest.mark.parametrize("minibatch", ["deviation", "discrimination"])
def test_the_layer_stands_before_the_last_dense_one(facts, minibatch):
    model = model_of(facts, minibatch=minibatch)
    kinds = [type(layer).__name__ for layer in model.discriminator]
    assert kinds[-1] == "Dense" and sum(kind.startswith("Minibatch") for kind in kinds) == 1
    assert kinds.index(f"Minibatch{minibatch.capitalize()}") >= len(kinds) - 3
    x = mg.Tensor(np.random.default_rng(0).standard_normal((4, *facts.shape)).astype(np.float32))
    alone = np.concatenate([model.discriminator(x[i:i + 1]).numpy() for i in range(4)])
    if facts is POINTS:  # no batch norm there: the other samples are seen by this layer only
        assert np.abs(model.discriminator(x).numpy() - alone).max() > 1e-6


@pytest.mark.parametrize("dense", [0, 64])
def test_a_last_layer_for_more_features_begins_as_a_dcgans_others(dense):
    model = model_of(IMAGES, minibatch="discrimination", dense=dense)
    weight = model.discriminator.layers[-1].weight.numpy()
    assert 0.07 < weight.std() < 0.14  # five times 0.02


# What D sees

def test_instance_noise_falls_on_a_straight_line_to_nothing_and_lies_on_real_and_fake_in_both_steps():
    model, seen = model_of(POINTS, instance_noise=0.5, steps=5), []
    given = []
    see = model.seen
    model.seen = lambda x: (given.append(x), seen.append(see(x)))[1] or seen[-1]
    for [batch] in batches(5, POINTS, n=2000):
        step(model, [batch])
    deviations = [(after.numpy() - before.numpy()).std() for before, after in zip(given, seen)]
    assert len(deviations) == 15  # real and fake in D's step, fake in G's
    expected = np.repeat([0.5, 0.375, 0.25, 0.125, 0.0], 3)
    np.testing.assert_allclose(deviations, expected, atol=0.01)
    first = [after.numpy() - before.numpy() for before, after in zip(given[:3], seen[:3])]
    assert all(abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.1 for a, b in zip(first, first[1:]))


def test_dropout_is_in_the_discriminator_alone_by_the_runs_own_stream():
    for facts in (IMAGES, POINTS):
        model = model_of(facts, dropout=0.4)
        kinds = [type(layer).__name__ for layer in model.discriminator]
        behind = [kinds[i + 1] for i, kind in enumerate(kinds) if kind == "LeakyReLU"]
        assert behind and set(behind) == {"Dropout"} and kinds.count("Dropout") == len(behind)
        assert not any(isinstance(m, nn.Dropout) for _, m in model.generator.named_modules())
        before = backend.streams.state_dict().keys()
        train_some(model, facts, 1)
        assert backend.streams.state_dict().keys() == before and "dropout" in model.streams.state_dict()


def train_some(model, facts, steps, seed=2):
    return [step(model, batch) for batch in batches(steps, facts, seed=seed)]


# Each of them in a run

@pytest.mark.parametrize("name", ["none", *REMEDIES])
def test_three_steps_are_those_of_a_pytorch_program(torch, name):
    """In float64: both losses, and at the end every weight, to 1e-8."""
    from benchmarks.twins.gan import Twin

    given = REMEDIES.get(name, {})
    model = model_of(dtype="float64", **given)
    options = models.complete(dict(model="gan", recipe="dcgan", steps=10) | given, IMAGES)
    twin = Twin(model, backend.Streams(1), options)
    for [batch] in batches(3):
        ours = step(model, [batch])
        theirs = twin.step(torch.from_numpy(batch.transpose(0, 3, 1, 2).astype(np.float64)))
        for key, value in theirs.items():
            assert ours[key] == pytest.approx(value, rel=1e-8, abs=1e-8), key
    again = Twin(model, backend.Streams(1), options)
    for key, network in twin.networks.items():
        for (weight, found), expected in zip(network.named_parameters(), again.networks[key].parameters()):
            np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=0, atol=1e-8,
                                       err_msg=f"{key} {weight}")
    if name == "adaptive":
        assert 0.0 < model.adaptive.p.item() == pytest.approx(twin.p)


@pytest.mark.parametrize("name", REMEDIES)
def test_a_run_with_a_remedy_resumes_exactly(tmp_path, name):
    """Weights, statistics and p after 2 + 3 steps are bit for bit those after 5."""
    whole, first, second = [model_of(**REMEDIES[name]) for _ in range(3)]
    all_batches = batches(5)
    for batch in all_batches[:2]:
        whole.step(batch), first.step(batch)
    checkpoints.save_checkpoint(tmp_path / "000002.npz", {
        f"{part}.{key}": array for part, owner in (("trainer", first), ("streams", first.streams))
        for key, array in owner.state_dict().items()})
    arrays = checkpoints.load_checkpoint(tmp_path / "000002.npz")
    second.load_state_dict({key.removeprefix("trainer."): array for key, array in arrays.items()
                            if key.startswith("trainer.")})
    second.streams.load_state_dict({key.removeprefix("streams."): array for key, array in arrays.items()
                                    if key.startswith("streams.")})
    whole.state_dict()  # as saving does
    for batch in all_batches[2:]:
        expected, found = step(whole, batch), step(second, batch)
        assert expected == found
    for key, array in whole.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[key], array, err_msg=key)
    whole.check_finite()


@pytest.mark.parametrize("backend_name", ["strict", "cupy"], indirect=True)
@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedy_never_waits_for_the_device_and_loses_the_same_as_on_numpy(backend_name, name):
    model = model_of(dtype="float64", **REMEDIES[name])
    strict.costs.clear()
    found = [model.step(batch) for batch in batches(3)]
    assert strict.costs == []
    with mg.use_backend("numpy"):
        expected = train_some(model_of(dtype="float64", **REMEDIES[name]), IMAGES, 3)
    for ours, theirs in zip(found, expected):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            np.testing.assert_allclose(to_numpy(value), theirs[key], rtol=1e-8, atol=1e-10, err_msg=key)


@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedy_changes_what_is_learned(name):
    plain, treated = model_of(), model_of(**REMEDIES[name])
    train_some(plain, IMAGES, 3), train_some(treated, IMAGES, 3)
    before, after = plain.generator.state_dict(), treated.generator.state_dict()
    assert any((before[key] != after[key]).any() for key in before)


def test_no_remedy_is_on_by_default_and_old_runs_had_none():
    defaults = models.complete(dict(model="gan", recipe="dcgan"), IMAGES)
    own = set(models.model_class("gan").OPTIONS) & models.BEFORE.keys()
    assert {name: defaults[name] for name in own} == {name: models.BEFORE[name] for name in own}
    assert {option for remedy in REMEDIES.values() for option in remedy} <= own | {"objective", "lr_d"}


@pytest.mark.parametrize("remedy", [dict(objective="relativistic"), dict(minibatch="discrimination"), {}], ids=str)
def test_what_d_tells_points_is_asked_in_blocks_and_of_pairs_too(remedy):
    """As many as a picture of scores has, and without a table of all their pairs."""
    model = model_of(POINTS, **remedy)
    points = np.random.default_rng(0).standard_normal((600, 2)).astype(np.float32)
    scores, pull = feedback(model, points)
    assert scores.shape == (600,) and pull.shape == (600, 2)
    if not remedy:
        x = mg.Tensor(points[300:301], requires_grad=True)
        [slope] = mg.grad(NonSaturating().generator_loss(model.discriminator(x)), x)
        np.testing.assert_allclose(pull[300], -slope.numpy()[0], rtol=1e-5)
    if "objective" in remedy:  # σ(0) = ½ of the score's own slope
        x = mg.Tensor(points[:1], requires_grad=True)
        [slope] = mg.grad(model.discriminator(x), x)
        np.testing.assert_allclose(pull[0], 0.5 * slope.numpy()[0], rtol=1e-5)


@pytest.mark.parametrize("options, facts, message", [
    (dict(label_smoothing=0.1, objective="hinge"), IMAGES, "label_smoothing is for gan and minimax"),
    (dict(label_smoothing=1.0), IMAGES, "expected 0 ≤ s < 1"),
    (dict(augment="all"), POINTS, "augment all is for images, and these are points"),
    (dict(adaptive=0.6), IMAGES, "adaptive needs augment"),
    (dict(adaptive=0.6, augment="all", objective="relativistic"), IMAGES, "neither wgan nor relativistic"),
    (dict(d_norm="batch"), POINTS, "d_norm batch is for images"),
    (dict(d_norm="layer"), POINTS, "d_norm layer is for images"),
    (dict(dense=3), POINTS, "dense 3 is for images"),
    (dict(d_norm="batch", r1=1.0), IMAGES, "gradient penalty cannot have batch norm"),
    (dict(r1=-1.0), IMAGES, "expected r1 ≥ 0, got -1.0"), (dict(r2=float("nan")), IMAGES, "expected r2 ≥ 0"),
    (dict(dragan=float("inf")), IMAGES, "expected dragan ≥ 0"),
    (dict(instance_noise=-0.1), IMAGES, "expected instance_noise ≥ 0"),
    (dict(adaptive=-0.1), IMAGES, "expected adaptive ≥ 0"), (dict(dropout=1.0), IMAGES, "0 ≤ p < 1")])
def test_what_does_not_fit_is_refused_in_one_line(options, facts, message):
    with pytest.raises(ValueError, match=message) as error:
        model_of(facts, **options)
    assert "\n" not in str(error.value)


def test_what_d_may_learn_of_a_batch_is_named():
    with pytest.raises(ValueError, match="minibatch is one of none, deviation, discrimination, got 'all'"):
        networks.equipped(networks.mlp_pair()[1], minibatch="all")


def test_a_packed_discriminator_takes_penalties_and_pairs():
    trainer = GANTrainer(*pair(pack=2), LATENT, "relativistic", pack=2, streams=backend.Streams(1),
                         penalties=[Penalty("r1_penalty", 1.0), Penalty("r2_penalty", 1.0)])
    assert all(np.isfinite(value) for stats in train(trainer) for value in stats.values())
    assert trainer.discriminator.parameters()[0].shape[0] == 4
