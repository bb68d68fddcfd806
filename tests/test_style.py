"""The benchmark of StyleGAN2's parts: who learns from what for how long, and its measures."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import style
from minigan import data
from minigan.metrics.judges import judge_for
from minigan.tensor import Tensor


@pytest.fixture(scope="module")
def known():
    return data.load("fashion-mini")


@pytest.fixture
def seen(monkeypatch):
    """The (pictures, options) of each training, none of which is made."""
    found = []
    monkeypatch.setattr(style, "trained", lambda dataset, options, seed: (
        found.append((dataset, options)) or (None, 1.0, "not made")))
    return found


def test_with_and_without_ada_it_learns_from_the_same_few_pictures(known, seen):
    for run in style.runs_of(30, 2):
        assert style.train(run, known, None, None) == dict(seconds=1, failed="not made")
    few = [(dataset, options) for dataset, options in seen if len(dataset.x) == 500]
    assert [options.pop("ada", False) for _, options in few] == [True, False, True, False]
    assert [options for _, options in few] == 4 * [dict(model="stylegan2", path=0.0, steps=60)]
    (a, _), (b, _), (c, _), (d, _) = few
    assert (a.x == b.x).all() and (c.x == d.x).all() and (a.x != c.x).any()
    where = {row.tobytes(): label for row, label in zip(known.x, known.labels)}
    assert [where[row.tobytes()] for row in a.x] == list(a.labels)


def test_dcgan_stands_beside_all_pictures(known, seen):
    style.train(dict(setting="all, `gan --recipe dcgan`", steps=25, seed=0), known, None, None)
    [(dataset, options)] = seen
    assert len(dataset.x) == len(known.x) and options == dict(model="gan", recipe="dcgan", steps=25)


def test_a_run_has_all_measures(known, monkeypatch):
    monkeypatch.setattr(style, "SAMPLES", 60)
    monkeypatch.setattr(style, "WAYS", 8)
    monkeypatch.setitem(style.SETTINGS, "few", style.Setting(dict(width=2, latent=4, batch_size=4, ada=True), 20))
    found = style.train(dict(setting="few", steps=2, seed=0), known, known._replace(x=known.x[:100]),
                        judge_for("fashion-mini", known.x[:100]))
    assert found.keys() == style.MEASURES.keys() | {"seconds"}
    assert all(np.isfinite(list(found.values()))) and found["path_W"] != found["path_Z"]


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
    assert lines[1].startswith("| 500 pictures, `--path 0` | 1 | 6,000 | – | – | – |") and len(lines) == 2
