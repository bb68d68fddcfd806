"""What people ask for every day: begin from another run, change a rate, look at one picture, use their own files."""

import csv
import json
import re
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigan as mg
from minigan import data, plots, sample
from minigan.metrics import latent
from minigan.runs import best, models, run_folder
from minigan.trainer import RECIPES
from helpers import IMAGES, OFTEN, POINTS, done, last_checkpoint, refused, save_images, stats_of, train

__all__ = ["train"]  # the fixture
RUN = Path("runs/00000-digits-gan-s0")


@pytest.fixture
def draw(capsys):
    """Run the command line of sampling: (exit status, stdout, stderr)."""
    def call(*arguments):
        try:
            status = sample.main([*map(str, arguments)])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()
    return call


def weights(run, part):
    return {name: array for name, array in last_checkpoint(run).items() if name.startswith(f"trainer.{part}.")}


# Another run's weights

def test_a_run_begins_with_the_weights_of_another_and_says_which(train):
    done(train(*IMAGES, "--steps", 2))
    out = done(train("--data", "digits", "--batch-size", 8, "--from", RUN, "--steps", 1, "--lr-g", 0, "--lr-d", 0,
                     "--recipe", "dcgan", "--name", "next"))
    assert f"begun with the generator of {RUN} after step 2 and its discriminator; the optimizers begin anew" in out
    for part in ("generator", "discriminator"):
        old, new = weights(RUN, part), weights("runs/00001-next", part)
        kept = [name for name in old if not name.endswith(("running_mean", "running_var"))]
        assert kept and all((old[name] == new[name]).all() for name in kept)
    options = run_folder.read_options("runs/00001-next")["options"]
    assert (options["width"], options["latent"], options["from"]) == (2, 3, str(RUN))
    done(train("--resume", "runs/00001-next", "--steps", 2))


def test_a_discriminator_that_does_not_fit_begins_anew_and_a_generator_is_refused(train):
    done(train(*IMAGES, "--steps", 1))
    out = done(train(*IMAGES, "--from", RUN, "--pack", 2, "--steps", 1, "--name", "packs"))
    assert "so does the discriminator, which has other layers or shapes here" in out
    refused(train(*IMAGES[:2], "--from", RUN, "--width", 3, "--batch-size", 8), "--from", "generator", "(3, 32)")
    refused(train(*IMAGES, "--from", "nowhere"), "nowhere is not a run folder")
    assert len(list(Path("runs").iterdir())) == 2


def test_a_run_begun_from_another_is_trained_as_that_was_unless_asked_otherwise(train):
    """Or its discriminator would have another normalisation, and begin anew beside a trained generator."""
    done(train(*IMAGES, "--objective", "lsgan", "--d-norm", "layer", "--minibatch", "deviation", "--steps", 1,
               "--name", "a"))
    small = ("--data", "digits", "--batch-size", 8, "--steps", 1, "--from", "runs/00000-a")

    def options_of(name, *more):
        out = done(train(*small, *more, "--name", name))
        [folder] = Path("runs").glob(f"*-{name}")
        options = run_folder.read_options(folder)["options"]
        return "its discriminator; the" in out, [options[name] for name in (
            "recipe", "objective", "d_norm", "minibatch")]
    assert options_of("b") == (True, ["dcgan", "lsgan", "layer", "deviation"])
    assert options_of("c", "--recipe", "spectral") == (False, ["spectral", "hinge", "spectral", "deviation"])
    assert options_of("d", "--objective", "wgan-gp")[1] == ["dcgan", "wgan-gp", "default", "deviation"]


@pytest.mark.parametrize("name, value", [("recipe", ["dcgan"]), ("objective", "no"), ("d_norm", None), ("width", 2.0),
                                         ("minibatch", 3)])
def test_a_strangers_run_cannot_begin_another_with_options_that_do_not_exist(train, name, value):
    done(train(*IMAGES, "--steps", 1))
    path = RUN / "options.json"
    record = json.loads(path.read_text())
    record["options"][name] = value
    path.write_text(json.dumps(record))
    refused(train("--data", "digits", "--from", RUN, "--steps", 1), f"its options.json has {name}")


# Going on with something else

def test_a_new_rate_and_batch_size_are_said_in_the_log_and_kept(train):
    done(train(*IMAGES, "--steps", 3, *OFTEN))
    out = done(train("--resume", "--steps", 5, "--lr-g", 0.003, "--batch-size", 7))
    assert "changed: --batch-size 7 (it was 8), --lr-g 0.003 (it was 0.0002)" in out
    assert "--lr-g 0.003 (it was" in (RUN / "log.txt").read_text()
    done(train("--resume", "--steps", 6))
    saved = last_checkpoint(RUN)
    assert saved["trainer.g_optimizer.lr"] == 0.003 and saved["trainer.d_optimizer.lr"] == RECIPES["gan"].lr
    assert saved["batches.position"] % 7 == 0
    refused(train("--resume", "--steps", 7, "--batch-size", 5000), "batch size 5000")


def test_another_last_step_of_falling_rates_is_said(train):
    done(train(*IMAGES, "--steps", 3, "--lr-decay", 0))
    assert "changed: --steps 5 (it was 3)" in done(train("--resume", "--steps", 5))
    done(train(*IMAGES, "--steps", 3))
    assert "changed" not in done(train("--resume", "--steps", 5))


def test_a_run_that_goes_on_keeps_its_name(train):
    done(train(*IMAGES, "--steps", 1))
    refused(train("--resume", "--steps", 2, "--name", "other"), "--name other", "keeps its own")


def test_the_versions_a_run_goes_on_with_are_recorded_beside_those_it_began_with(train, monkeypatch):
    done(train(*IMAGES, "--steps", 1))
    began = run_folder.read_options(RUN)["versions"]
    monkeypatch.setattr("platform.platform", lambda: "elsewhere")
    for steps in (2, 3):
        done(train("--resume", "--steps", steps))
    record = run_folder.read_options(RUN)
    assert record["versions"] == began
    assert record["resumed"] == [{"step": 1, "versions": began | {"platform": "elsewhere"}}]


# One's own data

def paint(path, size, seed=0):
    Image.fromarray(np.random.default_rng(seed).integers(256, size=(*size, 3), dtype=np.uint8)).save(path)


@pytest.mark.parametrize("size", [(8, 12), [8, 12], "8x12"])
def test_pictures_of_a_folder_may_become_wider_than_high(tmp_path, size):
    paint(tmp_path / "a.png", (16, 48))
    x = data.load(tmp_path, image_size=size).x
    assert x.shape == (1, 8, 12, 3)
    with Image.open(tmp_path / "a.png") as picture:  # the middle half of it
        expected = picture.crop((12, 0, 36, 16)).resize((12, 8), Image.Resampling.LANCZOS)
    assert abs(x[0].astype(int) - np.asarray(expected))[:, 2:-2].max() <= 1  # at the edge the rest is seen too


def test_a_run_on_pictures_that_are_not_square_goes_on(train):
    Path("pets").mkdir()
    for i in range(4):
        paint(f"pets/{i}.png", (20, 30), i)
    given = ("--data", "pets", "--image-size", "8x16", "--batch-size", 2, "--width", 2, "--latent", 3)
    done(train(*given, "--steps", 1))
    done(train("--resume", "--steps", 2))
    assert run_folder.read_options("runs/00000-pets-gan-s0")["sample_shape"] == [8, 16, 3]
    for wrong in ("8x", "8x9x7", "x", "0x8", "big"):
        refused(train(*given, "--image-size", wrong), "--image-size", wrong)


@pytest.mark.parametrize("ending", ["webp", "bmp", "tiff", "tif", "png", "jpg"])
def test_a_picture_may_be_of_each_common_format(tmp_path, ending):
    Image.new("RGB", (9, 9), (200, 30, 60)).save(tmp_path / f"a.{ending}")
    assert abs(data.load(tmp_path, image_size=4).x.astype(int) - [200, 30, 60]).max() <= 4


def test_a_zip_of_pictures_is_read_as_its_folder_would_be(tmp_path, capsys):
    for kind in ("cats", "dogs"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for i in range(2):
            paint(tmp_path / "pets" / kind / f"{i}.png", (10, 10), i)
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for path in sorted((tmp_path / "pets").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path))
        archive.writestr("__MACOSX/pets/cats/._0.png", b"nothing")
        archive.writestr("pets/notes.txt", b"text")
    zipped, folder = data.load(tmp_path / "pets.zip", 8), data.load(tmp_path / "pets", 8)
    np.testing.assert_array_equal(zipped.x, folder.x)
    assert zipped.classes == folder.classes == ("cats", "dogs") and (zipped.labels == folder.labels).all()
    assert "1 files skipped" in capsys.readouterr().err


def test_runs_in_a_zip_are_no_data(tmp_path):
    Path(tmp_path, "pets", "run", "checkpoints").mkdir(parents=True)
    Path(tmp_path, "pets", "run", "options.json").write_text("{}")
    for name in ("a.png", "b.png", "run/c.png", "run/checkpoints/d.png", "running.png"):
        paint(tmp_path / "pets" / name, (10, 10), 0)
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for path in sorted((tmp_path / "pets").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path))
    for name in ("pets", "pets.zip"):
        assert len(data.load(tmp_path / name, 8).x) == 3


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\5\6" + bytes(18)])
def test_a_zip_without_pictures_is_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(data.DataError, match="a.zip"):
        data.load(tmp_path / "a.zip")


@pytest.mark.parametrize("d", [1, 3, 5])
def test_points_of_any_width_train_sample_and_go_on(train, draw, d):
    np.savez("mine.npz", points=np.random.default_rng(0).standard_normal((50, d)))
    done(train("--data", "mine.npz", "--width", 4, "--batch-size", 8, "--steps", 1, "--name", "own"))
    done(train("--resume", "--steps", 2))
    done(draw("runs/00000-own", "--n", 5, "--npz", "out.npz", "--grid", "out.png"))
    assert np.load("out.npz")["points"].shape == (5, d)
    assert run_folder.read_options("runs/00000-own")["options"]["latent"] == max(2, d)


def test_mirrored_pictures_are_the_same_pictures_half_of_them_turned():
    x = np.random.default_rng(0).integers(256, size=(100, 4, 4, 1), dtype=np.uint8)
    streams = mg.backend.Streams(0)
    plain, mirrored = (data.Batches(x, 100, mg.backend.Streams(0)["data"], mirror)
                       for mirror in (None, streams["mirror"]))
    a, b = plain.next(), mirrored.next()
    turned = (a != b).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(b[turned], a[turned, :, ::-1])
    assert 30 < turned.sum() < 70
    with pytest.raises(data.DataError, match="mirror"):
        data.Batches(np.zeros((5, 2), np.float32), 2, streams["data"], streams["mirror"])


def test_a_mirrored_run_goes_on_exactly(train):
    given = (*IMAGES, "--mirror", *OFTEN)
    done(train(*given, "--steps", 4, "--out", "whole"))
    done(train(*given, "--steps", 2, "--out", "parts"))
    done(train("--resume", "--out", "parts", "--steps", 4))
    [whole], [parts] = Path("whole").iterdir(), Path("parts").iterdir()
    assert stats_of(whole) == stats_of(parts)
    refused(train(*POINTS, "--mirror"), "mirror")


# An objective of one's own

def test_an_objective_of_ones_own_is_drawn_by_the_command(train, monkeypatch):
    """It has two methods and nothing else."""
    class Mine:
        def discriminator_loss(self, real_scores, fake_scores):
            return ((real_scores - 1.0) ** 2).mean() + (fake_scores ** 2).mean()

        def generator_loss(self, fake_scores):
            return ((fake_scores - 1.0) ** 2).mean()
    seen = []
    monkeypatch.setitem(RECIPES, "gan", RECIPES["gan"]._replace(objective=Mine))
    monkeypatch.setattr(plots, "save_game", lambda path, *what: seen.append(what[4]) or paint(path, (9, 9), 0))
    done(train(*POINTS, "--steps", 1))
    assert seen == [None, None]


# What is kept, and taken out again

def test_the_best_state_is_kept_and_any_can_be_chosen(train, draw, monkeypatch):
    found = iter([3.0, 4.0, 2.0, 7.0])
    monkeypatch.setattr("minigan.train.Evaluation.__call__", lambda self: {"FD-LeNet-digits": next(found)})
    given = (*IMAGES, "--evaluate-every", 1, "--keep-best", "--checkpoint-every", 1, "--keep", 1)
    done(train(*given, "--steps", 2))
    assert mg.load(RUN, "best").steps == 1 and mg.load(RUN).steps == 2
    done(train("--resume", "--steps", 4))
    assert mg.load(RUN, "best").steps == 3 and mg.load(RUN, 4).steps == 4
    done(draw(RUN, "--checkpoint", "best", "--n", 1))
    status, _, err = draw(RUN, "--checkpoint", 2)
    assert status == 2 and "no checkpoint 2: there is 4, best" in err
    refused(train(*IMAGES, "--keep-best"), "--evaluate-every")


def test_a_best_state_of_steps_that_were_forgotten_is_no_measure(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    keep = best.KeepBest(tmp_path, lambda: {"FD-x": 4.0}, lambda: {"trainer.steps": np.int64(7)})
    keep()
    again = best.KeepBest(tmp_path, lambda: {"FD-x": 5.0}, lambda: {"trainer.steps": np.int64(3)})
    again()
    assert best.load_checkpoint(tmp_path / "checkpoints" / "best.npz")["trainer.steps"] == 3


def test_the_best_state_is_known_from_a_log_that_is_thinned(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    lines = [{"step": step, "evaluation": {"FD-x": 1.0 if step == 8 else 9.0}} for step in range(1, 31)]
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr("minigan.runs.statistics.MOST", 10)
    assert 8 not in [record["step"] for record in run_folder.read_stats(tmp_path)]
    keep = best.KeepBest(tmp_path, lambda: {"FD-x": 0.5}, lambda: {"trainer.steps": np.int64(8)})
    keep()
    again = best.KeepBest(tmp_path, lambda: {"FD-x": 5.0}, lambda: {"trainer.steps": np.int64(31)})
    again()
    assert best.load_checkpoint(tmp_path / "checkpoints" / "best.npz")["trainer.steps"] == 8


def test_the_discriminator_of_a_run_judges_samples(train):
    done(train(*IMAGES, "--steps", 2))
    run = mg.load(RUN)
    noise = np.random.default_rng(0).standard_normal((4, 3))
    scores = run.discriminator(run(noise))  # float64, as NumPy draws it
    assert scores.shape == (4, 1) and scores.dtype == np.float32
    assert not any(module.training for _, module in run.discriminator.named_modules())
    kept = weights(RUN, "discriminator")
    assert all((array == kept[f"trainer.discriminator.{name}"]).all()
               for name, array in run.discriminator.state_dict().items())
    assert run.sample(0).shape == (0, 8, 8, 1) and run.samples(noise).dtype == np.float32


def test_samples_as_files_have_their_native_size_and_the_mark(train, draw):
    done(train(*IMAGES, "--steps", 1))
    done(draw(RUN, "--n", 3, "--files", "out/here", "--npz", "out.npz"))
    assert sorted(path.name for path in Path("out/here").iterdir()) == ["000000.png", "000001.png", "000002.png"]
    for i, expected in enumerate(np.load("out.npz")["images"]):
        with Image.open(f"out/here/{i:06d}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), expected[..., 0])
            assert picture.text["Description"] == plots.MARK
    status, _, err = draw(RUN, "--files", "out/here")
    assert status == 2 and "new or an empty folder" in err


@pytest.mark.parametrize("n, rows", [(1, 1), (8, 1), (11, 2)])
def test_ways_have_as_many_samples_as_asked_for(train, draw, n, rows):
    done(train(*POINTS, "--steps", 1, "--name", "own"))
    assert done(draw("runs/00000-own", "--interpolate", "--n", n, "--npz", "out.npz")).startswith(f"{n} samples")
    np.testing.assert_array_equal(np.load("out.npz")["points"][:n],
                                  mg.load("runs/00000-own").samples(latent.ways(models.noise(2 * rows, 2, 0))[:n]))


def test_a_grid_is_what_its_name_says(train, draw):
    done(train(*IMAGES, "--steps", 1))
    status, _, err = draw(RUN, "--grid", "x.jpg")
    assert status == 2 and "--grid x.jpg" in err and ".png" in err and not Path("x.jpg").exists()
    for name in ("x.npz", "x.zip"):
        status, _, err = draw(RUN, "--grid", name)
        assert status == 2 and f"--grid {name}" in err and not Path(name).exists()
    status, _, err = draw(RUN, "--grid", "x/")
    assert status == 2 and "expected a file's name: 'x/'" in err and not Path("x").exists()
    done(draw(RUN, "--grid", "x.PNG"))


def test_many_samples_take_at_most_three_times_their_own_memory(train, monkeypatch):
    save_images("mine.npz", size=(32, 32), channels=3)
    done(train("--data", "mine.npz", "--batch-size", 4, "--width", 1, "--latent", 2, "--steps", 1, "--name", "own"))
    n = 4000
    sample.main(["runs/00000-own", "--n", "8", "--npz", "few.npz"])
    tracemalloc.start()
    assert sample.main(["runs/00000-own", "--n", str(n), "--npz", "many.npz"]) == 0
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.load("many.npz")["images"].shape == (n, 32, 32, 3)
    assert most < 3 * n * 32 * 32 * 3


def test_the_statistics_are_a_table_too(train):
    done(train(*IMAGES, "--steps", 3, "--log-every", 1, "--evaluate-every", 3))
    rows = list(csv.DictReader((RUN / "stats.csv").read_text(encoding="utf-8").splitlines()))
    lines = [json.loads(line) for line in (RUN / "stats.jsonl").read_text().splitlines()]
    assert [int(row["step"]) for row in rows] == [1, 2, 3]
    assert [float(row["d_loss"]) for row in rows] == [line["d_loss"] for line in lines]
    assert [row["FD-LeNet-digits"] for row in rows] == ["", "", str(lines[2]["evaluation"]["FD-LeNet-digits"])]


# Names and paths

@pytest.mark.parametrize("name", ["猫", "кошки", "été"])
def test_a_folder_of_any_script_and_the_folder_itself_name_the_run(train, monkeypatch, name):
    Path(name).mkdir()
    for i in range(2):
        paint(f"{name}/{i}.png", (8, 8), i)
    given = ("--image-size", 8, "--batch-size", 2, "--width", 2, "--latent", 2, "--steps", 1)
    done(train("--data", name, *given))
    out = Path("runs").absolute()
    monkeypatch.chdir(name)
    done(train("--data", ".", *given, "--out", out))
    assert sorted(path.name for path in out.iterdir()) == [f"0000{i}-{name}-gan-s0" for i in range(2)]


def test_a_tilde_is_home_in_every_path(train, draw, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    save_images(tmp_path / "home" / "mine.npz")
    done(train("--data", "~/mine.npz", "--out", "~/runs", "--batch-size", 4, "--width", 2, "--steps", 1))
    done(train("--resume", "~/runs/00000-mine-gan-s0", "--steps", 2))
    done(draw("~/runs/00000-mine-gan-s0", "--grid", "~/x.png", "--npz", "~/x.npz", "--files", "~/x"))
    assert {"x.png", "x.npz", "x"} <= {path.name for path in (tmp_path / "home").iterdir()}
    assert not list(tmp_path.glob("~*")) and re.search("mine", str(list((tmp_path / "home" / "runs").iterdir())))
