"""`python -m minigan.train`: a run leaves everything in its folder, goes on exactly, and fails in one line."""

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigan import backend, data, load, plots
from minigan.pictures import report
from minigan.runs import checkpoints, models, run_folder
from minigan.runs.loop import Experiment
from minigan.train import main
from minigan.trainer import RECIPES

ROOT = Path(__file__).parent.parent
OBJECTIVES = ("minimax", "gan", "lsgan", "wgan", "wgan-gp", "hinge")
POINTS = ("--data", "ring8", "--width", "8", "--batch-size", "16")
IMAGES = ("--data", "digits", "--width", "2", "--batch-size", "8", "--latent", "3")
OFTEN = ("--log-every", "2", "--snapshot-every", "4", "--checkpoint-every", "2")


@pytest.fixture
def train(tmp_path, monkeypatch, capsys, backend_name):
    """Run the command line in this process and an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load", partial(data.load, n=40))  # a ring of few points: two batches are an epoch
    choice = () if backend_name == "numpy" else ("--backend", backend_name)

    def call(*arguments):
        try:
            status = main([*map(str, arguments), *choice])
        except SystemExit as end:
            status = end.code
        except KeyboardInterrupt:
            status = "a traceback"
        return status, *capsys.readouterr()
    return call


def done(result):
    """The output of a call that was to succeed."""
    status, out, err = result
    assert (status, err) == (0, "")
    return out


def refused(result, *words):
    """The one line of a call that was to fail because of the user."""
    status, out, err = result
    assert status == 2, (status, out, err)
    assert err.count("\n") == 1 and err.endswith("\n") and err.startswith("minigan.train: ") and out == ""
    assert "Traceback" not in err and "usage" not in err
    for word in words:
        assert word in err
    return err


def save_images(path, n=20, size=(8, 8), channels=1, seed=0):
    images = np.random.default_rng(seed).integers(256, size=(n, *size, channels), dtype=np.uint8)
    np.savez(path, images=images)
    return images


def last_checkpoint(folder):
    return checkpoints.load_checkpoint(run_folder.checkpoints(folder)[0])


def stats_of(folder):
    """What stands in stats.jsonl, without what depends on the clock."""
    records = [json.loads(line) for line in (Path(folder) / "stats.jsonl").read_text().splitlines()]
    assert all(record.pop("steps_per_s") > 0 for record in records)
    return records


def assert_same_weights(folder, other):
    a, b = last_checkpoint(folder), last_checkpoint(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name, strict=True)


def assert_same_run(folder, other):
    assert_same_weights(folder, other)
    assert stats_of(folder) == stats_of(other)


# What a run leaves behind

@pytest.mark.on_each_backend
@pytest.mark.parametrize("source, objective", [(IMAGES, objective) for objective in OBJECTIVES] + [
    (POINTS, objective) for objective in ("gan", "wgan-gp")])
def test_every_file_of_a_run_folder_is_there_and_sound(train, tmp_path, source, objective):
    out = done(train(*source, "--objective", objective, "--steps", 5, *OFTEN))
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name == f"00000-{source[1]}-{objective}-s0"
    expected = ("checkpoints log.txt losses.png options.json progress.gif reals.png report.html samples "
                "stats.jsonl").split() + ["interpolation.png"] * (source is IMAGES)
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)

    record = json.loads((folder / "options.json").read_text())
    assert record["options"] | dict(data=source[1], objective=objective, steps=5, log_every=2, seed=0,
                                    lr_g=RECIPES[objective].lr, ema=0.999) == record["options"]
    assert record["sample_shape"] == ([2] if source is POINTS else [8, 8, 1])
    assert {"minigan", "python", "numpy"} <= record["versions"].keys()

    stats = stats_of(folder)
    expected = {"step", "d_loss", "g_loss", "real_score", "fake_score", "d_grad_norm", "g_grad_norm"}
    expected |= {"penalty"} if objective == "wgan-gp" else set()
    expected |= {"wasserstein"} if "wgan" in objective else set()
    assert [r["step"] for r in stats] == [2, 4, 5] and all(r.keys() == expected for r in stats)
    assert all(np.isfinite(value) for record in stats for value in record.values())

    assert (folder / "log.txt").read_text() == out
    steps = re.findall(r"^step (\d)/5  .*(\bwasserstein|d_loss) .* g_loss .* steps/s .*\d:\d\d left$", out, re.M)
    assert steps == [(n, "wasserstein" if "wgan" in objective else "d_loss") for n in "245"]

    samples = sorted((folder / "samples").iterdir())
    assert [path.name for path in samples] == ["000000.png", "000004.png", "000005.png"]
    assert len({path.read_bytes() for path in samples}) == 3  # the weights moved, at the same noise
    for path in (folder / "reals.png", folder / "losses.png", *samples):
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG" and min(picture.size) > 50
            assert ("generated by minigan" in picture.text.values()) == (path in samples)
    with Image.open(folder / "progress.gif") as film:
        assert film.n_frames == 3
    assert (folder / "report.html").read_text(encoding="utf-8") == report.page(folder)
    assert out.splitlines()[-1].endswith(f"look at {Path('runs') / folder.name / 'report.html'}")
    assert [path.name for path in run_folder.checkpoints(folder)] == ["000005.npz", "000004.npz"]
    assert all(np.isfinite(array).all() for array in last_checkpoint(folder).values())


@pytest.mark.on_each_backend
def test_the_weights_of_wgan_end_inside_the_clip(train):
    done(train(*IMAGES, "--objective", "wgan", "--steps", 3))
    weights = {name: array for name, array in last_checkpoint("runs/00000-digits-wgan-s0").items()
               if name.startswith("trainer.discriminator.") and name.endswith(("weight", "bias"))}
    assert weights and all((abs(array) <= np.float32(0.01)).all() for array in weights.values())


@pytest.mark.on_each_backend
def test_the_preview_is_the_averaged_generator_at_the_noise_of_the_seed(train, tmp_path):
    done(train(*IMAGES, "--steps", 3, "--seed", 7, "--ema", 0.5))
    folder = tmp_path / "runs" / "00000-digits-gan-s7"
    for shown, noise, columns in (("samples/000003.png", models.noise(64, 3, seed=7), 8),
                                  ("interpolation.png", models.ways(4, 3, seed=7), models.WAY)):
        plots.save_grid(tmp_path / "expected.png", load(folder).samples(noise), columns)
        assert (tmp_path / "expected.png").read_bytes() == (folder / shown).read_bytes()


@pytest.mark.on_each_backend
def test_a_run_on_a_folder_of_pictures(train, tmp_path):
    (tmp_path / "my pets").mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(256, size=(20, 24 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "my pets" / f"{i}.png")
    done(train("--data", "my pets", "--image-size", 16, "--batch-size", 4, "--width", 2, "--steps", 2))
    folder = tmp_path / "runs" / "00000-my-pets-gan-s0"
    assert run_folder.read_options(folder)["sample_shape"] == [16, 16, 3]
    done(train("--resume", "--steps", 3))
    assert run_folder.checkpoints(folder)[0].stem == "000003"


def test_a_run_on_an_npz(train, tmp_path):
    save_images(tmp_path / "mine.npz", size=(16, 12), channels=3)
    done(train("--data", "mine.npz", "--batch-size", 4, "--width", 2, "--steps", 2, "--out", "else/where", "--name",
               "../a b/ü"))
    [folder] = (tmp_path / "else" / "where").iterdir()
    assert re.fullmatch(r"00000-[A-Za-z0-9._-]+", folder.name)
    assert run_folder.read_options(folder)["sample_shape"] == [16, 12, 3]


def test_runs_are_numbered(train, tmp_path):
    for _ in range(2):
        done(train(*IMAGES, "--steps", 1))
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["00000-digits-gan-s0", "00001-digits-gan-s0"]


@pytest.mark.on_each_backend
@pytest.mark.parametrize("source, steps", [("digits", 2500), ("ring8", 10_000), ("fashion-mini", 2500)])
def test_a_dry_run_tells_the_resolved_options_and_writes_nothing(train, tmp_path, source, steps):
    out = done(train("--dry-run", "--data", source, "--width", 4, "--batch-size", 4, "--objective", "wgan-gp"))
    assert os.listdir(tmp_path) == []
    shown = dict(line.split(None, 1) for line in out.splitlines() if len(line.split()) == 2)
    assert shown | dict(data=source, objective="wgan-gp", steps=str(steps), lr_g="0.0001", n_critic="5", clip="0.0",
                        gp_weight="0.1" if source == "ring8" else "10.0", seed="0", width="4", ema="0.999") == shown
    sizes = dict(re.findall(r"^(generator|discriminator), ([\d,]+) parameters", out, re.M))
    assert sizes.keys() == {"generator", "discriminator"}
    numbers = re.search(r"^one step: (.*)$", out, re.M)[1].split("  ")
    assert {"d_loss", "g_loss", "penalty"} <= {number.split()[0] for number in numbers}


def test_a_dry_run_of_a_run_that_goes_on_changes_nothing_in_its_folder(train):
    done(train(*IMAGES, "--steps", 2))
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    assert re.search("^steps +9$", done(train("--resume", "--steps", 9, "--dry-run")), re.M)
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before


def test_with_no_flags_it_trains_on_fashion_mini(train):
    shown = done(train("--dry-run", "--batch-size", 4))
    assert re.search(r"^data +fashion-mini$", shown, re.M) and re.search(r"^objective +gan$", shown, re.M)


# Going on exactly

@pytest.mark.on_each_backend
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("source", ["points", "images"])
def test_n_plus_m_steps_are_n_steps_a_stop_and_m_more(train, tmp_path, monkeypatch, objective, source):
    # matplotlib takes its time
    for name in ("save_points", "save_game"):
        monkeypatch.setattr(plots, name, lambda path, x, *more: plots.save_grid(path, x[None, ..., None]))
    monkeypatch.setattr(plots, "save_losses", lambda *what: None)
    save_images(tmp_path / "few.npz", size=(16, 16))  # two batches an epoch, two levels
    given = POINTS if source == "points" else ("--data", "few.npz", "--width", 2, "--batch-size", 8, "--latent", 3)
    given += ("--objective", objective, *OFTEN)
    done(train(*given, "--steps", 10, "--out", "whole"))
    done(train(*given, "--steps", 4, "--out", "parts"))
    done(train("--resume", "--out", "parts", "--steps", 6))
    [whole], [parts] = Path("whole").iterdir(), Path("parts").iterdir()
    out = done(train("--resume", parts, "--steps", 10))
    assert "going on after step 6" in out
    assert_same_run(parts, whole)
    for name in ("samples/000008.png", "samples/000010.png", "reals.png"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.on_each_backend
@pytest.mark.parametrize("objective", ["gan", "wgan-gp"])
def test_a_run_on_digits_goes_on_exactly(train, objective):
    given = (*IMAGES, "--batch-size", 600, "--objective", objective, *OFTEN)
    done(train(*given, "--steps", 6, "--out", "whole"))
    done(train(*given, "--steps", 2, "--out", "parts"))
    done(train("--resume", "--out", "parts", "--steps", 6))
    [whole], [parts] = Path("whole").iterdir(), Path("parts").iterdir()
    assert_same_run(parts, whole)


def test_an_interrupted_run_with_packs_and_falling_rates_goes_on_exactly(train, monkeypatch):
    given = (*POINTS, "--pack", 2, "--lr-decay", 0.1, "--steps", 6, *OFTEN)
    done(train(*given, "--out", "whole"))
    save = plots.save_game

    def full_disk(path, *what, **how):
        if Path(path).stem == "000004":
            raise OSError("the disk is full")
        save(path, *what, **how)
    with monkeypatch.context() as patch:
        patch.setattr(plots, "save_game", full_disk)
        failed(train(*given, "--out", "parts"), "the disk is full")
    [whole], [parts] = Path("whole").iterdir(), Path("parts").iterdir()
    assert run_folder.checkpoints(parts)[0].stem == "000002"
    done(train("--resume", parts))
    assert_same_run(parts, whole)
    assert last_checkpoint(parts)["trainer.g_optimizer.lr"] == pytest.approx(0.1 * 2e-4)


def test_the_page_of_a_run_can_be_opened_while_it_trains_and_has_all_frames_at_the_end(train, monkeypatch):
    pages = []
    monkeypatch.setattr(report, "FRAMES_IN_TRAINING", 2)
    monkeypatch.setattr(Experiment, "say", lambda self, line, passing=False: pages.extend(
        path.read_text(encoding="utf-8") for path in self.folder.glob("report.html")))
    done(train(*IMAGES, "--steps", 6, "--log-every", 1, "--snapshot-every", 2))
    seen = [(re.search(r"step (\d) of 6\.", page)[1], re.findall(r"(\d of \d) snapshots", page)) for page in pages]
    assert seen == [("0", []), ("0", []), ("2", []), ("2", []), ("4", ["2 of 3"]), ("4", ["2 of 3"]), ("6", [])]


def test_a_run_that_goes_on_with_a_new_goal_keeps_it(train):
    done(train(*POINTS, "--steps", 2, *OFTEN))
    done(train("--resume", "--steps", 4, "--keep", 3))
    options = json.loads(Path("runs/00000-ring8-gan-s0/options.json").read_text())["options"]
    assert (options["steps"], options["keep"], options["log_every"]) == (4, 3, 2)
    refused(train("--resume"), "already done 4 steps")


@pytest.mark.on_each_backend
def test_the_same_command_gives_the_same_numbers(train):
    for out in ("a", "b"):
        done(train(*IMAGES, "--steps", 4, *OFTEN, "--out", out))
    [a], [b] = Path("a").iterdir(), Path("b").iterdir()
    assert_same_run(a, b)
    done(train(*IMAGES, "--steps", 4, *OFTEN, "--out", "c", "--seed", 1))
    [c] = Path("c").iterdir()
    assert all(x["d_loss"] != y["d_loss"] for x, y in zip(stats_of(a), stats_of(c)))


@pytest.mark.on_each_backend
def test_looking_at_a_run_does_not_change_it(train, tmp_path):
    save_images(tmp_path / "few.npz", size=(16, 16))
    given = ("--data", "few.npz", "--width", 2, "--batch-size", 8, "--latent", 3, "--steps", 7)
    done(train(*given, "--out", "often", "--log-every", 1, "--snapshot-every", 1, "--checkpoint-every", 1, "--keep", 9))
    done(train(*given, "--out", "rarely", "--log-every", 90, "--snapshot-every", 90, "--checkpoint-every", 90))
    [often], [rarely] = Path("often").iterdir(), Path("rarely").iterdir()
    assert_same_weights(often, rarely)
    assert stats_of(often)[-1] == stats_of(rarely)[-1]
    assert len(run_folder.checkpoints(often)) == 8


def test_only_how_long_and_how_often_may_change(train):
    done(train(*IMAGES, "--steps", 2))
    done(train("--resume", "--steps", 4, *OFTEN, "--keep", 5, "--data", "digits", "--batch-size", 8, "--seed", 0))
    assert [path.stem for path in run_folder.checkpoints("runs/00000-digits-gan-s0")] == [
        "000004", "000002", "000000"]


def test_all_other_options_that_differ_are_listed_and_refused(train):
    done(train(*IMAGES, "--steps", 2))
    before = sorted(Path("runs").rglob("*"))
    line = refused(train("--resume", "--steps", 4, "--objective", "wgan", "--width", 3, "--seed", 9, "--lr-g", 0.5,
                         "--ema", 0.5, "--latent", 3),
                   "--objective wgan", "gan", "--width 3", "2", "--seed 9", "--lr-g 0.5", "0.0002", "--ema 0.5")
    assert "--latent" not in line and "--steps" not in line
    assert sorted(Path("runs").rglob("*")) == before


def test_the_latest_run_that_can_go_on_is_chosen(train):
    for steps in (1, 2):
        done(train(*IMAGES, "--steps", steps))
    Path("runs/00002-halfmade").mkdir()
    done(train("--resume", "latest", "--steps", 3))
    assert run_folder.checkpoints("runs/00001-digits-gan-s0")[0].stem == "000003"
    assert run_folder.checkpoints("runs/00000-digits-gan-s0")[0].stem == "000001"


def test_changed_data_are_refused(train):
    save_images("mine.npz")
    done(train("--data", "mine.npz", "--batch-size", 4, "--width", 2, "--steps", 1))
    for change in (dict(seed=1), dict(n=21)):
        save_images("mine.npz", **change)
        refused(train("--resume", "--steps", 2), "mine.npz", "changed")
    os.unlink("mine.npz")
    refused(train("--resume", "--steps", 2), "mine.npz")
    save_images("mine.npz")
    done(train("--resume", "--steps", 2))


def test_a_run_that_is_complete_says_so(train):
    done(train(*IMAGES, "--steps", 2))
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    for more in ((), ("--steps", 2), ("--steps", 1), ("--keep", 7)):
        refused(train("--resume", *more), "already done 2 steps", "--steps")
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before


@pytest.mark.on_each_backend
def test_a_damaged_checkpoint_is_passed_over_and_said(train):
    done(train(*IMAGES, "--steps", 4, *OFTEN, "--out", "whole"))
    done(train(*IMAGES, "--steps", 4, *OFTEN))
    newest = run_folder.checkpoints("runs/00000-digits-gan-s0")[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    out = done(train("--resume"))
    assert "000004.npz" in out and "using the one before it" in out and "going on after step 2" in out
    assert_same_run("runs/00000-digits-gan-s0", "whole/00000-digits-gan-s0")


# Bad input

BAD = [
    (["--data", "fashon-mini"], ["fashon-mini", "fashion-mini"]),
    (["--data", "rign8"], ["rign8", "ring8"]),
    (["--data", "nowhere/to/be.npz"], ["nowhere/to/be.npz"]),
    (["--data", ""], ["data"]),
    (["--data", "two\nlines"], ["two"]),
    (["--objective", "wgn-gp"], ["wgn-gp", "wgan-gp"]),
    (["--objective", ""], ["gan"]),
    (["--backend", "nunpy"], ["nunpy", "numpy"]),
    (["--batch-size", "1798"], ["1798", "1797"]),
    (["--data", "odd.npz"], ["9×9", "even"]),
    (["--data", "broken.npz"], ["broken.npz"]),
    (["--data", "empty"], ["empty"]),
    (["--data", "text.txt"], ["text.txt"]),
    (["--data", "/dev/null"], ["/dev/null"]),
    (["--data", "digits", "--image-size", "28"], ["28", "8"]),
    (["--data", "pictures", "--image-size", "100000000"], ["pictures"]),
    (["--data", "pictures", "--image-size", "7"], ["7×7"]),
    (["--steps", "0"], ["--steps", "0"]),
    (["--steps", "-5"], ["--steps", "-5"]),
    (["--steps", "many"], ["--steps", "many"]),
    (["--steps", "1.5"], ["--steps", "1.5"]),
    (["--batch-size", "0"], ["--batch-size"]),
    (["--width", "0"], ["--width"]),
    (["--latent", "-1"], ["--latent"]),
    (["--width", "1000000000000000"], []),                  # more than any machine's memory
    (["--latent", "1000000000000000"], []),
    (["--latent", str(10 ** 30)], []),
    (["--n-critic", "0"], ["--n-critic"]),
    (["--lr-g", "nan"], ["--lr-g", "nan"]),
    (["--lr-g", "-1e-3"], ["--lr-g"]),
    (["--lr-d", "inf"], ["--lr-d", "inf"]),
    (["--lr-d", "fast"], ["--lr-d", "fast"]),
    (["--clip", "-1"], ["--clip"]),
    (["--gp-weight", "nan"], ["--gp-weight"]),
    (["--ema", "1"], ["ema"]),
    (["--ema", "nan"], ["--ema"]),
    (["--pack", "0"], ["--pack"]),
    (["--pack", "3"], ["packs of 3"]),
    (["--lr-decay", "1.5"], ["lr_decay"]),
    (["--lr-decay", "nan"], ["--lr-decay"]),
    (["--seed", "-1"], ["--seed"]),
    (["--seed", "x"], ["--seed"]),
    (["--seed", str(2 ** 128)], ["seed"]),
    (["--log-every", "0"], ["--log-every"]),
    (["--keep", "0"], ["--keep"]),
    (["--objective", "wgan", "--clip", "0"], ["clip"]),
    (["--objective", "wgan-gp", "--gp-weight", "0"], ["gp_weight"]),
    (["--no-such-option"], ["--no-such-option"]),
    (["--object", "gan"], ["--object"]),                    # no abbreviations
    (["surplus"], ["surplus"]),
    (["--steps"], ["--steps"]),
    (["--out", "text.txt"], ["text.txt"]),
    (["--out", "text.txt/runs"], ["text.txt"]),
    (["--out", "x" * 300], ["xxx"]),
    (["--resume"], ["runs"]),
    (["--resume", "nowhere"], ["nowhere"]),
    (["--resume", "two\nlines"], ["lines"]),
    (["--resume", "empty"], ["empty"]),
    (["--resume", "text.txt"], ["text.txt"]),
    (["--resume", "latest", "--out", "empty"], ["empty"]),
]


@pytest.mark.parametrize("arguments, words", BAD, ids=[" ".join(arguments)[:40] for arguments, _ in BAD])
def test_bad_input_is_refused_in_one_line_and_leaves_no_folder(train, tmp_path, arguments, words):
    save_images("odd.npz", size=(9, 9))
    Path("broken.npz").write_bytes(Path("odd.npz").read_bytes()[:500])
    Path("text.txt").write_text("not data")
    Path("empty").mkdir()
    Path("pictures").mkdir()
    Image.new("L", (9, 9)).save("pictures/a.png")
    before = sorted(tmp_path.rglob("*"))
    base = [] if {"--data", "--resume"} & set(arguments) else ["--data", "digits"]
    base += [] if {"--batch-size", "--resume"} & set(arguments) else ["--batch-size", "1"]
    refused(train(*base, *arguments), *words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("record", [
    "", "{", "[]", '{"options": {}}', '{"options": {}, "sample_shape": [2]}',
    '{"options": {}, "sample_shape": [2], "data": {}}', '{"options": {"data": 3}, "sample_shape": [], "data": null}'])
def test_a_run_with_damaged_options_is_refused(train, record):
    done(train(*POINTS, "--steps", 1))
    Path("runs/00000-ring8-gan-s0/options.json").write_text(record)
    refused(train("--resume", "--steps", 2))


@pytest.mark.parametrize("option, value", [("width", 9), ("latent", 3), ("width", "8"), ("width", None), ("seed", -1),
                                           ("batch_size", "many"), ("objective", "wgan"), ("objective", 1),
                                           ("backend", None), ("ema", "0"), ("data", 7), ("log_every", 0),
                                           ("steps", "9")])
def test_a_run_whose_options_were_tampered_with_is_refused(train, option, value):
    done(train(*POINTS, "--steps", 1))
    path = Path("runs/00000-ring8-gan-s0/options.json")
    record = json.loads(path.read_text())
    record["options"][option] = value
    path.write_text(json.dumps(record))
    refused(train("--resume", *(() if option == "steps" else ("--steps", 2))))


def test_without_cupy_it_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['cupy'] = None; from minigan.train import main; sys.exit(main(sys.argv[1:]))"
    end = subprocess.run([sys.executable, "-c", code, "--backend", "cupy"], cwd=tmp_path, env=environment(),
                         capture_output=True, text=True)
    refused((end.returncode, end.stdout, end.stderr), "CuPy", "pip install", "cuda12x", "cuda13x")
    assert os.listdir(tmp_path) == []


def test_help_is_not_an_error(train):
    status, out, err = train("--help")
    assert (status, err) == (0, "")
    wanted = ("data objective backend steps batch-size width latent lr-g lr-d n-critic clip gp-weight ema pack "
              "lr-decay seed out name image-size log-every snapshot-every evaluate-every classifier checkpoint-every "
              "resume dry-run").split()
    assert [name for name in wanted if f"--{name}" not in out] == []


# A run that fails

def failed(result, *words):
    status, out, err = result
    assert status == 1, (status, out, err)
    assert err.count("\n") == 1 and err.startswith("minigan.train: ") and "Traceback" not in err
    for word in words:
        assert word in err
    return err


@pytest.mark.on_each_backend
@pytest.mark.parametrize("source", [POINTS, IMAGES])
def test_a_run_that_diverges_names_the_network_and_the_step_and_keeps_the_last_good_checkpoint(train, source):
    line = failed(train(*source, "--lr-d", "1e30", "--steps", 8, *OFTEN), "discriminator", "000000.npz")
    assert 1 <= int(re.search(r"step (\d)", line)[1]) <= 3
    [folder] = Path("runs").iterdir()
    assert [path.stem for path in run_folder.checkpoints(folder)] == ["000000"]
    assert all(np.isfinite(array).all() for array in last_checkpoint(folder).values())
    assert not (folder / "stats.jsonl").exists() or all(
        np.isfinite(value) for record in stats_of(folder) for value in record.values())


@pytest.mark.on_each_backend
def test_a_run_that_diverges_tells_the_layers_and_the_last_finite_statistics(train):
    done(train(*IMAGES, "--steps", 4, *OFTEN))
    [folder] = Path("runs").iterdir()
    last = stats_of(folder)[-1]
    path = folder / "options.json"
    path.write_text(path.read_text().replace('"lr_d": 0.0002', '"lr_d": 1e+30'))
    state = last_checkpoint(folder) | {"trainer.d_optimizer.lr": np.float64(1e30)}
    del state["format"]
    checkpoints.save_checkpoint(run_folder.checkpoints(folder)[0], state)
    line = failed(train("--resume", "--steps", 9), "discriminator", "(Conv2d)", "(Dense)", "000004.npz")
    assert int(re.search(r"not finite since step (\d)", line)[1]) in (5, 6)
    assert "the last finite statistics are those of step 4: " + ", ".join(
        f"{name} {value:.4g}" for name, value in last.items() if name != "step") in line


@pytest.mark.on_each_backend
def test_a_generator_that_is_thrown_off_in_the_last_step_is_not_saved(train):
    failed(train(*IMAGES, "--lr-g", "1e39", "--steps", 1), "generator", "step 1", "000000.npz")
    [folder] = Path("runs").iterdir()
    assert [path.stem for path in run_folder.checkpoints(folder)] == ["000000"]


@pytest.mark.on_each_backend
def test_a_dry_run_that_diverges_fails_in_one_line(train):
    failed(train(*IMAGES, "--lr-d", "1e30", "--dry-run"), "step 1")
    assert os.listdir() == []


@pytest.mark.parametrize("place", ["numpy.savez", "minigan.pictures.plots.save_samples", "minigan.pictures.report.write", "os.fsync"])
def test_a_full_disk_ends_the_run_in_one_line_and_the_last_good_checkpoint_is_named(train, monkeypatch, place):
    done(train(*IMAGES, "--steps", 2, *OFTEN))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(place, full)
        status, out, err = train("--resume", "--steps", 8)
    assert status in (1, 2) and err.count("\n") == 1 and "No space left" in err
    folder = "runs/00000-digits-gan-s0"
    assert run_folder.checkpoints(folder)[0].stem == "000002"
    done(train("--resume", "--steps", 4))
    done(train(*IMAGES, "--steps", 4, *OFTEN, "--out", "whole"))
    assert_same_run(folder, "whole/00000-digits-gan-s0")


# A run that is ended

def environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def command(*arguments, code=None):
    start = ["-m", "minigan.train"] if code is None else ["-c", code]
    return [sys.executable, *start, *(str(argument) for argument in arguments)]


def start(folder, *arguments, code=None):
    return subprocess.Popen(command(*arguments, code=code), cwd=folder, env=environment(), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def finish(folder, *arguments):
    end = subprocess.run(command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True)
    assert (end.returncode, end.stderr) == (0, "")


@pytest.mark.parametrize("number, status, name", [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")])
def test_ended_by_a_signal_it_saves_and_says_how_to_go_on(tmp_path, number, status, name):
    process = start(tmp_path, *IMAGES, "--steps", 1_000_000, "--log-every", 5)
    for line in process.stdout:
        if line.startswith("step 5/"):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, "")
    last = out.splitlines()[-1]
    assert name in last and "python -m minigan.train --resume runs/00000-digits-gan-s0" in last
    folder = tmp_path / "runs" / "00000-digits-gan-s0"
    step = int(re.search(r"step (\d+)", last)[1])
    assert run_folder.checkpoints(folder)[0].stem == f"{step:06d}" and step >= 5
    assert not (folder / "progress.gif").exists()

    finish(tmp_path, "--resume", "runs/00000-digits-gan-s0", "--steps", step + 20)
    finish(tmp_path, *IMAGES, "--steps", step + 20, "--out", "whole")
    assert_same_weights(folder, tmp_path / "whole" / "00000-digits-gan-s0")


def test_ctrl_c_before_there_is_a_run_is_one_line(train, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt
    monkeypatch.setattr(data, "load", interrupted)
    status, out, err = train(*IMAGES)
    assert (status, out, err) == (130, "", "minigan.train: interrupted\n")
    assert os.listdir() == []


def test_no_test_here_left_the_backend_changed():
    assert backend.current().name == "numpy"
