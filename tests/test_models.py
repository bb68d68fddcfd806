"""Options to a trainer, and a run folder to its generator."""

import json

import numpy as np
import pytest

import minigan as mg
from minigan import backend, data, nn
from minigan.runs import checkpoints, models, run_folder
from minigan.backend import to_numpy
from minigan.runs.loop import Experiment
from minigan.trainer import Facts

pytestmark = pytest.mark.on_each_backend

SIZES = {"digits": dict(batch_size=8, width=2, latent=3), "ring8": dict(batch_size=16, width=8, latent=2)}


def options_of(source, objective="gan", **more):
    shape = data.load(source).x.shape[1:]
    chosen = models.complete(dict(model="gan", objective=objective, recipe="dcgan"), Facts(shape))
    return chosen | SIZES[source] | dict(ema=0.5, seed=0) | more


def make_run(folder, source, objective="gan", steps=3):
    """A run folder after a few steps, and its trainer."""
    x, options = data.load(source).x, options_of(source, objective)
    streams = backend.Streams(0)
    trainer = models.made(options, Facts(x.shape[1:]), streams)
    folder.mkdir()
    run_folder.write_options(folder, {"options": options, "sample_shape": list(x.shape[1:])})
    work = Experiment(folder, trainer, data.Batches(x, options["batch_size"], streams["data"]), streams,
                      lambda step: None, lambda: None)
    work.run(steps, log_every=10, snapshot_every=10, checkpoint_every=1, keep=2)
    return trainer


@pytest.mark.parametrize("objective, expected", [
    ("gan", dict(lr_g=2e-4, lr_d=2e-4, n_critic=1, clip=0, gp_weight=0)),
    ("minimax", dict(lr_g=2e-4, lr_d=2e-4, n_critic=1, clip=0, gp_weight=0)),
    ("lsgan", dict(lr_g=2e-4, lr_d=2e-4, n_critic=1, clip=0, gp_weight=0)),
    ("hinge", dict(lr_g=2e-4, lr_d=2e-4, n_critic=1, clip=0, gp_weight=0)),
    ("wgan", dict(lr_g=5e-5, lr_d=5e-5, n_critic=5, clip=0.01, gp_weight=0)),
    ("wgan-gp", dict(lr_g=1e-4, lr_d=1e-4, n_critic=5, clip=0, gp_weight=10)),
])
@pytest.mark.parametrize("shape", [(2,), (28, 28, 1)])
def test_the_defaults_are_those_of_the_objectives_paper(objective, expected, shape):
    chosen = models.complete(dict(model="gan", objective=objective, recipe="dcgan"), Facts(shape))
    if len(shape) == 1 and objective == "wgan-gp":
        expected = expected | dict(gp_weight=0.1)  # the authors' own for such mixtures
    assert {name: chosen[name] for name in expected} == expected
    assert chosen["latent"] == (100 if len(shape) == 3 else 2)


def test_an_unknown_objective_is_refused_with_the_names():
    with pytest.raises(ValueError, match="wgn.*wgan"):
        models.complete(dict(model="gan", objective="wgn"), Facts((2,)))


def test_the_trainer_is_what_the_options_say():
    options = options_of("digits", "wgan", lr_g=0.5, lr_d=0.25, n_critic=2, clip=0.125, latent=7, width=3)
    streams = backend.Streams(0)
    trainer = models.made(options, Facts((8, 8, 1)), streams)
    assert (trainer.g_optimizer.lr, trainer.d_optimizer.lr, trainer.average.decay) == (0.5, 0.25, 0.5)
    assert (trainer.batches_per_step, trainer.clip, trainer.gp_weight) == (2, 0.125, 0)
    assert trainer.sample(np.zeros((4, 7), np.float32)).shape == (4, 8, 8, 1)
    assert trainer.discriminator[0].weight.shape == (4, 4, 1, 3)
    assert trainer.streams is streams


def test_a_penalised_critic_gets_layer_norm_by_itself():
    def norms(objective):
        network = models.made(options_of("digits", objective), Facts((16, 16, 1)), backend.Streams(0)).discriminator
        return {type(module) for _, module in network.named_modules()} & {nn.BatchNorm, nn.LayerNorm}
    assert norms("wgan-gp") == {nn.LayerNorm} and norms("gan") == {nn.BatchNorm}


def test_weights_begin_from_the_stream_given():
    def weights(seed):
        return models.made(options_of("ring8"), Facts((2,)), backend.Streams(seed)).generator[0].weight.numpy()
    first, again, other = map(weights, (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("source", ["ring8", "digits"])
def test_a_loaded_generator_draws_the_averaged_generators_samples_bit_for_bit(tmp_path, source):
    trainer = make_run(tmp_path / "run", source)
    generator = mg.load(tmp_path / "run")
    noise = models.noise(300, generator.latent, seed=5)
    expected = to_numpy(trainer.sample(noise))
    np.testing.assert_array_equal(generator.samples(noise), expected, strict=True)
    np.testing.assert_array_equal(generator.sample(300, seed=5), expected, strict=True)
    averaged, current = trainer.averaged.state_dict(), trainer.generator.state_dict()
    assert any((averaged[name] != current[name]).any() for name in averaged)  # so it could not be the other one


@pytest.mark.parametrize("source", ["ring8", "digits"])
def test_a_loaded_generator_is_called_like_a_function(tmp_path, source):
    make_run(tmp_path / "run", source)
    generator = mg.load(str(tmp_path / "run"))  # a string is as good as a path
    noise = models.noise(5, generator.latent, seed=5)
    for argument in (noise, mg.Tensor(noise)):
        samples = generator(argument)
        assert isinstance(samples, mg.Tensor)
        np.testing.assert_array_equal(samples.numpy(), generator.samples(noise))


def test_noise_is_decided_by_its_seed_alone():
    mg.seed(3)
    first = models.noise(4, 3, seed=1)
    assert first.shape == (4, 3) and first.dtype == np.float32
    mg.seed(4)
    np.testing.assert_array_equal(first, models.noise(4, 3, seed=1))
    assert (first != models.noise(4, 3, seed=2)).any()
    np.testing.assert_array_equal(first[:2], models.noise(2, 3, seed=1))  # a smaller picture shows the same samples


def test_samples_do_not_depend_on_how_many_are_computed_at_a_time(tmp_path):
    make_run(tmp_path / "run", "digits")
    generator = mg.load(tmp_path / "run")
    noise = models.noise(10, generator.latent, seed=0)
    np.testing.assert_allclose(generator.samples(noise, block=3), generator.samples(noise), rtol=1e-5, atol=1e-6)


def test_loading_disturbs_no_random_stream(tmp_path):
    make_run(tmp_path / "run", "digits")
    mg.seed(0)
    backend.streams["init"].random()
    before = backend.streams.state_dict()
    mg.load(tmp_path / "run").sample(2)
    after = backend.streams.state_dict()
    assert before.keys() == after.keys() and all((before[name] == after[name]).all() for name in before)


def test_the_newest_sound_checkpoint_is_loaded(tmp_path):
    make_run(tmp_path / "run", "ring8")
    before, newest = (path.with_name(path.name) for path in sorted((tmp_path / "run" / "checkpoints").glob("*.npz")))
    newest.write_bytes(newest.read_bytes()[:-50])
    weights = checkpoints.load_checkpoint(before)["trainer.averaged.0.weight"]
    np.testing.assert_array_equal(mg.load(tmp_path / "run").network[0].weight.numpy(), weights)


def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ValueError, match=str(folder)):
            mg.load(folder)


def test_a_run_without_a_checkpoint_is_refused_by_name(tmp_path):
    run_folder.write_options(tmp_path, {"options": options_of("ring8"), "sample_shape": [2]})
    with pytest.raises(ValueError, match=str(tmp_path)):
        mg.load(tmp_path)


@pytest.mark.parametrize("damage", [
    lambda record: record["options"].update(width=9),          # weights of other shapes
    lambda record: record.update(sample_shape=[8, 8, 1]),      # another network altogether
    lambda record: record.update(sample_shape=[]),
    lambda record: record.update(sample_shape=[2.5]),
    lambda record: record["options"].pop("latent"),
    lambda record: record["options"].update(width="many"),
])
def test_a_run_whose_options_do_not_fit_its_checkpoint_is_refused(tmp_path, damage):
    make_run(tmp_path / "run", "ring8")
    path = tmp_path / "run" / "options.json"
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError):
        mg.load(tmp_path / "run")
