"""`python -m minigan.sample`: pictures and arrays from a run's generator, and the way from noise to noise."""

import io
import os
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigan as mg
from minigan import data, plots
from minigan.runs import models
from minigan.sample import main
from minigan.train import main as train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a short run on images and one on points."""
    out = tmp_path_factory.mktemp("runs")
    tiny = ["--out", str(out), "--steps", "2", "--batch-size", "8", "--ema", "0.5"]
    with redirect_stdout(io.StringIO()):
        assert train([*tiny, "--data", "digits", "--width", "2", "--latent", "5", "--name", "images"]) == 0
        assert train([*tiny, "--data", "ring8", "--width", "8", "--name", "points"]) == 0
    return out


@pytest.fixture
def sample(runs, tmp_path, monkeypatch, capsys, backend_name):
    """Run the command line in this process and an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    choice = () if backend_name == "numpy" else ("--backend", backend_name)

    def call(kind, *arguments):
        run = {"images": runs / "00000-images", "points": runs / "00001-points"}.get(kind, kind)
        try:
            status = main([*map(str, (run, *arguments)), *choice])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()
    return call


def done(result):
    status, out, err = result
    assert (status, err) == (0, "") and out.count("\n") == 1
    return out


# The command line

@pytest.mark.on_each_backend
@pytest.mark.parametrize("kind", ["images", "points"])
def test_without_more_it_draws_a_picture_of_64_samples(sample, runs, kind):
    out = done(sample(kind))
    assert "64 samples" in out and "samples.png" in out
    assert os.listdir() == ["samples.png"]
    with Image.open("samples.png") as picture:
        picture.load()
        assert picture.format == "PNG" and plots.MARK in picture.text.values()
    if kind == "images":
        plots.save_grid("expected.png", mg.load(runs / "00000-images").sample(64, seed=0))
        assert Path("expected.png").read_bytes() == Path("samples.png").read_bytes()


@pytest.mark.on_each_backend
@pytest.mark.parametrize("kind, name, shape", [("images", "images", (5, 8, 8, 1)), ("points", "points", (5, 2))])
def test_the_arrays_are_the_generators_samples(sample, runs, kind, name, shape):
    assert "out.npz" in done(sample(kind, "--n", 5, "--seed", 3, "--npz", "out.npz"))
    assert os.listdir() == ["out.npz"]  # no picture was asked for
    with np.load("out.npz", allow_pickle=False) as file:
        assert file.files == [name]
        array = file[name]
    generator = mg.load(runs / ("00000-images" if kind == "images" else "00001-points"))
    expected = generator.sample(5, seed=3)
    np.testing.assert_array_equal(array, plots.to_pixels(expected) if kind == "images" else expected, strict=True)
    assert array.shape == shape


@pytest.mark.parametrize("kind", ["images", "points"])
def test_what_it_writes_can_be_trained_on(sample, kind):
    done(sample(kind, "--n", 20, "--npz", "mine.npz"))
    x = data.load("mine.npz").x
    assert x.shape == ((20, 8, 8, 1) if kind == "images" else (20, 2))
    assert train(["--data", "mine.npz", "--batch-size", "4", "--width", "2", "--steps", "1", "--dry-run"]) == 0


def test_picture_and_arrays_show_the_same_samples(sample):
    done(sample("images", "--n", 3, "--grid", "a.png", "--npz", "a.npz"))
    assert sorted(os.listdir()) == ["a.npz", "a.png"]
    with np.load("a.npz") as file:
        plots.save_grid("expected.png", file["images"] / np.float32(127.5) - 1)
    assert Path("expected.png").read_bytes() == Path("a.png").read_bytes()


@pytest.mark.on_each_backend
@pytest.mark.parametrize("kind", ["images", "points"])
def test_the_seed_decides_and_nothing_else(sample, kind):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        mg.seed(hash(name) % 1000)
        done(sample(kind, "--n", 4, "--seed", seed, "--npz", f"{name}.npz", "--grid", f"{name}.png"))
    a, b, c = ([Path(f"{name}.{end}").read_bytes() for end in ("npz", "png")] for name in "abc")
    assert a == b and a[0] != c[0] and a[1] != c[1]


@pytest.mark.on_each_backend
@pytest.mark.parametrize("kind, name", [("images", "images"), ("points", "points")])
def test_ways_from_noise_to_noise_begin_and_end_at_samples(sample, runs, kind, name):
    done(sample(kind, "--n", 24, "--seed", 4, "--interpolate", "--npz", "out.npz", "--grid", "out.png"))
    with np.load("out.npz") as file:
        ways = file[name].reshape(3, 8, *file[name].shape[1:])
    generator = mg.load(runs / ("00000-images" if kind == "images" else "00001-points"))
    ends = generator.samples(models.noise(6, generator.latent, seed=4))
    if kind == "images":
        assert abs(ways[:, 0].astype(int) - plots.to_pixels(ends[:3])).max() <= 1
        assert abs(ways[:, -1].astype(int) - plots.to_pixels(ends[3:])).max() <= 1
        with Image.open("out.png") as picture:
            assert abs(picture.width / picture.height - 82 / 32) < 1e-3  # three rows of eight
    else:
        np.testing.assert_allclose(ways[:, 0], ends[:3], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(ways[:, -1], ends[3:], rtol=1e-4, atol=1e-6)
    assert len(np.unique(ways.reshape(24, -1), axis=0)) > 8


def test_a_picture_has_the_name_that_was_asked_for(sample):
    for kind in ("images", "points"):
        for name in ("plain", "a.b", "photo.PNG"):
            done(sample(kind, "--n", 2, "--grid", name))
            with Image.open(name) as picture:
                assert picture.format == "PNG"
            os.unlink(name)
    assert os.listdir() == []


@pytest.mark.parametrize("arguments, words", [
    (["nowhere"], ["nowhere"]), (["."], ["options.json"]), (["images", "--n", "0"], ["--n"]),
    (["images", "--n", "few"], ["--n", "few"]), (["images", "--seed", "-1"], ["--seed"]),
    (["images", "--backend", "nunpy"], ["numpy"]), (["images", "--grid", "no/such/folder.png"], ["no/such/folder.png"]),
    (["images", "--npz", "no/such/folder.npz"], ["no/such/folder.npz"]), (["images", "--grid", "."], []),
    (["points", "--grid", "no/such/folder.png"], ["no/such/folder.png"]), (["images", "--n", "10" * 8], []),
    (["images", "--frobnicate"], ["--frobnicate"]), (["images", "more"], ["more"])])
def test_bad_input_is_refused_in_one_line(sample, arguments, words):
    status, out, err = sample(*arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith("minigan.sample: ")
    assert [word for word in words if word not in err] == []
    assert os.listdir() == []


# Samples among pictures that others train on

def paint(*paths):
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(path)


@pytest.mark.parametrize("folder", ["mine/new", "mine/some/where/new", "mine/there", "mine/a/../new", "link/new"])
def test_samples_are_not_laid_among_pictures(sample, folder):
    paint("mine/0.png")
    Path("mine/notes.txt").write_text("no picture")
    Path("mine/there").mkdir()
    Path("mine/a").mkdir()
    Path("link").symlink_to("mine")
    before = sorted(Path().rglob("*"))
    status, out, err = sample("images", "--files", folder)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert f"--files {folder}" in err and str(Path("mine").resolve()) in err and "train" in err
    assert sorted(Path().rglob("*")) == before


def test_nor_among_the_classes_of_the_runs_own_data(sample, monkeypatch):
    paint(*(f"mine/{name}/{i}.png" for name in ("cats", "dogs") for i in range(2)))
    given = ["--image-size", "8", "--batch-size", "2", "--width", "2", "--latent", "2", "--steps", "1", "--name", "own"]
    assert train(["--data", "mine", "--out", "mine/runs", *given]) == 0
    sample("images", "--n", 1)  # forgets what was said
    run = Path("mine/runs/00000-own").resolve()
    for place, folder in ((".", "mine/fakes"), ("mine", "fakes"), ("/", run.parent / "fakes")):
        monkeypatch.chdir(run.parent.parent.parent / place)
        status, _, err = sample(run, "--files", folder)
        assert status == 2 and "train" in err and err.count("\n") == 1
    monkeypatch.chdir(run.parent.parent)
    for folder in (run / "fakes", ".hidden/fakes", "../fakes"):  # which no training reads
        done(sample(run, "--n", 2, "--files", folder))
    assert data.load(".").classes == ("cats", "dogs")


def test_samples_beside_sheets_and_other_files_are_fine(sample):
    Path("notes.txt").write_text("no picture")
    paint(".hidden.png")
    done(sample("images", "--n", 2, "--grid", "a.png"))
    done(sample("images", "--n", 2, "--grid", "b.png", "--files", "new"))
    done(sample("images", "--n", 2, "--files", "new too"))
    assert len(os.listdir("new")) == len(os.listdir("new too")) == 2


def test_ctrl_c_is_one_line(sample, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt
    monkeypatch.setattr(models, "load", interrupted)
    assert sample("images") == (130, "", "minigan.sample: interrupted\n")


def test_the_run_must_be_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert capsys.readouterr().err.count("\n") == 1
