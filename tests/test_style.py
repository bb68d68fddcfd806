"""The benchmark of StyleGAN2's parts: who learns from what for how long, and its measures."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import style, training
from minigan import data, metrics
from minigan.metrics.judges import judge_for
from minigan.tensor import Tensor, no_grad


@pytest.fixture(scope="module")
def known():
    return data.load("fashion-mini")


@pytest.fixture
def seen(monkeypatch):
    """The (pictures, options, seed) of each training, none of which is made."""
    found = []
    monkeypatch.setattr(style, "trained", lambda *given: found.append(given) or (None, 1.0, "not made"))
    return found


def test_with_and_without_ada_it_learns_from_the_same_few_pictures(known, seen):
    for run in style.runs_of(30, 2):
        assert style.train(run, known, None, None) == dict(seconds=1, failed="not made")
    few = [(dataset, options) for dataset, options, _ in seen if len(dataset.x) == 500]
    assert [options.pop("ada", False) for _, options in few] == [True, False, True, False]
    assert [options for _, options in few] == 4 * [dict(model="stylegan2", path=0.0, steps=60)]
    (a, _), (b, _), (c, _), (d, _) = few
    assert (a.x == b.x).all() and (c.x == d.x).all() and (a.x != c.x).any()
    where = {row.tobytes(): label for row, label in zip(known.x, known.labels)}
    assert [where[row.tobytes()] for row in a.x] == list(a.labels)


def test_of_all_pictures_it_learns_with_path_lengths_and_without_and_dcgan_stands_beside_it(known, seen):
    for run in style.runs_of(30, 2):
        style.train(run, known, None, None)
    assert [seed for *_, seed in seen] == 5 * [0] + 5 * [1]
    assert [options for dataset, options, _ in seen[:5] if dataset is known] == [
        dict(model="stylegan2", steps=30), dict(model="stylegan2", path=0.0, steps=30),
        dict(model="gan", recipe="dcgan", steps=25)]


def test_a_run_has_all_measures(known, monkeypatch):
    monkeypatch.setattr(style, "SAMPLES", 60)
    monkeypatch.setattr(style, "WAYS", 8)
    monkeypatch.setitem(style.SETTINGS, "few", style.Setting(dict(width=2, latent=4, batch_size=4, ada=True), 20))
    models, judge = [], judge_for("fashion-mini", known.x[:100])
    monkeypatch.setattr(style, "trained", lambda *given: models.append(training.trained(*given)) or models[-1])
    found = style.train(dict(setting="few", steps=2, seed=3), known, known._replace(x=known.x[:100]), judge)
    assert found.keys() == style.MEASURES.keys() | {"seconds"}
    assert all(np.isfinite(list(found.values()))) and found["path_W"] != found["path_Z"]
    [(model, *_)] = models
    samples = judge.features_of(training.samples_of(model, 60, 3))
    assert found["FD"] == pytest.approx(metrics.frechet_distance(judge.features, samples), abs=1e-3)


def test_ways_are_straight_between_styles_and_arcs_between_noises(known, monkeypatch):
    """Of the averaged generator, without the noise of its layers."""
    asked = []
    monkeypatch.setattr(style, "perceptual_path_length", lambda generator, *_, **options: (
        asked.append((generator, options)) or SimpleNamespace(mean=len(asked))))
    model, *_ = training.trained(known, dict(model="stylegan2", width=2, latent=4, batch_size=4, steps=2), 0)
    assert style.path_lengths(model) == dict(path_W=1, path_Z=2)
    (of_styles, options), (of_noise, others) = asked
    G, latest = [copy.deepcopy(network).astype("float64") for network in (model.averaged, model.generator)]
    a, b = np.random.default_rng(0).standard_normal((2, 3, 4))
    with no_grad():
        styles = [G.mapping(Tensor(z)).numpy() for z in (a, b)]
        [middle] = options["way"](a, b, np.full((3, 1), 0.25)).transpose(1, 0, 2)
        np.testing.assert_allclose(middle, 0.75 * styles[0] + 0.25 * styles[1], rtol=1e-10)
        assert "way" not in others
        expected = G(Tensor(a)).numpy()
        for made in (of_noise(Tensor(a)), of_styles(Tensor(styles[0]))):
            np.testing.assert_allclose(made.numpy(), expected, rtol=1e-10)
        assert np.abs(latest(Tensor(a)).numpy() - expected).max() > 1e-6


def test_samples_and_scores_tell_what_was_learned_by_heart(known):
    """Samples that are copies, and a discriminator that takes the pictures it knows for real."""
    few, new = known.x[:48], known.x[100:200]
    judge = judge_for("fashion-mini", new)
    real = data.to_unit(few[:45])  # in [−1, 1], as D has learned them
    model = SimpleNamespace(discriminator=lambda x: Tensor(
        [[0.1 if any((one == other).all() for other in real) else -0.1] for one in x.numpy()]))
    copied = style.by_heart(model, few, new, judge.features_of(few), judge)
    assert copied == dict(training_distance=pytest.approx(0.0, abs=1e-3), real_known=45 / 48, real_new=0.0)
    assert style.by_heart(model, few, new, judge.features, judge)["training_distance"] == 1.0


def test_d_judges_whole_batches(known):
    """The last 8 of 40 pictures are no batch of 16."""
    sizes = []
    style.taken_for_real(lambda x: sizes.append(len(x)) or Tensor(np.ones((len(x), 1))), known.x[:40])
    assert sizes == [16, 16]


def test_the_table_has_a_row_for_each_setting_that_was_run():
    runs = [dict(setting="all pictures", steps=3000, seed=seed, FD=20.0 + seed, path_W=2000.0, path_Z=3000.0,
                 seconds=120) for seed in (0, 2)]
    runs.append(dict(setting="500 pictures, `--path 0`", steps=6000, seed=0, seconds=60, failed="NaN"))
    lines = style.table(runs).splitlines()[2:]
    assert lines[0] == "| all pictures | 2 | 3,000 | 21 ± 1 | 2 ± 0 | 3 ± 0 | – | – | – | 2 ± 0 |"
    assert lines[1].startswith("| 500 pictures, `--path 0` | 0 of 1 | 6,000 | – | – | – |") and len(lines) == 2
