"""Numbers at the edge of what training may meet: they stay finite, or are refused by name."""

import numpy as np
import pytest

from minigan import backend, classifier, load, nn, objectives, sample
from minigan.runs import checkpoints, run_folder
from minigan.tensor import Tensor
from helpers import IMAGES, OBJECTIVES, POINTS, done, refused, save_images, train

__all__ = ["train"]  # the fixture
TINY = ("--width", 2, "--batch-size", 4, "--latent", 3, "--steps", 3, "--log-every", 1)
every_objective = pytest.mark.parametrize("objective", OBJECTIVES)


def finite(run):
    arrays = checkpoints.load_checkpoint(run_folder.checkpoints(run)[0])  # which refuses what is not
    return arrays["trainer.steps"] == 3 and len(run_folder.read_stats(run)) == 3


@every_objective
@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_of_one_colour_are_learned_from(train, objective, value):
    np.savez("flat.npz", images=np.full((8, 8, 8), value, np.uint8))
    done(train("--data", "flat.npz", "--objective", objective, *TINY))
    assert finite(f"runs/00000-flat-{objective}-s0")


@every_objective
def test_points_all_in_one_place_are_learned_from(train, objective):
    for place in (0.0, 1e4):
        np.savez("one.npz", points=np.full((8, 2), place, np.float32))
        done(train("--data", "one.npz", "--objective", objective, *TINY, "--name", f"at-{place:.0f}"))
    assert finite("runs/00000-at-0") and finite("runs/00001-at-10000")


@every_objective
@pytest.mark.parametrize("source", [IMAGES, POINTS])
def test_one_number_of_noise_and_batches_of_one_train_and_walk(train, objective, source, capsys):
    done(train(*source, *TINY, "--latent", 1, "--batch-size", 1, "--objective", objective))
    run = f"runs/00000-{source[1]}-{objective}-s0"
    assert finite(run)
    assert np.isfinite(load(run).sample(5)).all()
    assert sample.main([run, "--n", "16", "--interpolate", "--npz", "way.npz"]) == 0  # between opposite ends of a line
    capsys.readouterr()


def test_data_of_one_class_are_trained_on_and_refused_where_classes_are_to_be_told_apart(train, capsys):
    save_images("few.npz")
    with np.load("few.npz") as file:
        np.savez("one.npz", images=file["images"], labels=np.zeros(20, np.int64))
    done(train("--data", "one.npz", *TINY))
    assert finite("runs/00000-one-gan-s0")
    assert classifier.main(["--data", "one.npz", "--epochs", "1"]) == 2
    assert "at least 2 classes" in capsys.readouterr().err


def test_batch_norm_of_a_single_number_is_refused_by_name_and_has_an_answer_once_trained():
    layer = nn.BatchNorm(3)
    with pytest.raises(ValueError, match=r"BatchNorm: x \(1, 3\) has one value per channel"):
        layer(Tensor(np.ones((1, 3), np.float32)))
    assert np.isfinite(layer.eval()(Tensor(np.ones((1, 3), np.float32))).numpy()).all()


@pytest.mark.on_each_backend
@pytest.mark.parametrize("name", ["Minimax", "NonSaturating", "LeastSquares", "Wasserstein", "Hinge"])
@pytest.mark.parametrize("score", [1e4, -1e4])
def test_losses_and_their_slopes_are_finite_at_logits_of_ten_thousand(name, score):
    objective = getattr(objectives, name)()
    real, fake = (Tensor(backend.asarray(np.full((2, 1), s, np.float32)), requires_grad=True) for s in (score, -score))
    for loss in (objective.discriminator_loss(real, fake), objective.generator_loss(fake)):
        loss.backward()
        assert np.isfinite(loss.item())
    assert np.isfinite(real.grad.numpy()).all() and np.isfinite(fake.grad.numpy()).all()


@pytest.mark.on_each_backend
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_penalty_between_samples_that_are_all_equal_is_finite_with_its_gradient(value):
    critic = nn.Sequential(nn.Dense(2, 4, rng=backend.streams["init"]), nn.LeakyReLU(),
                           nn.Dense(4, 1, rng=backend.streams["init"]))
    same = Tensor(backend.asarray(np.full((3, 2), value, np.float32)))
    penalty = objectives.gradient_penalty(critic, same, same, backend.asarray(np.full((3, 1), 0.5, np.float32)))
    penalty.backward()
    assert np.isfinite(penalty.item())
    assert all(np.isfinite(p.grad.numpy()).all() for p in critic.parameters() if p.grad is not None)


def test_a_number_that_is_not_finite_in_a_checkpoint_is_not_gone_on_from(train):
    done(train(*IMAGES, "--steps", 2, "--checkpoint-every", 2))
    path = run_folder.checkpoints("runs/00000-digits-gan-s0")[0]
    arrays = checkpoints.load_checkpoint(path)
    del arrays["format"]
    arrays["trainer.generator.0.weight"][0, 0] = np.nan
    checkpoints.save_checkpoint(path, arrays)
    assert "using the one before it" in done(train("--resume", "--steps", 4))
    for path in run_folder.checkpoints("runs/00000-digits-gan-s0"):
        checkpoints.save_checkpoint(path, arrays)
    refused(train("--resume", "--steps", 6), "trainer.generator.0.weight", "finite")
