"""`python -m minigan.train`: a mistake, a failure and an end by force are one line each, and nothing is lost."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigan import backend, data
from minigan.runs import checkpoints, run_folder
from helpers import (IMAGES, OFTEN, POINTS, assert_same_run, assert_same_weights, done, environment, failed,
                     last_checkpoint, refused, save_images, start, stats_of, train)

__all__ = ["train"]  # the fixture


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


@pytest.mark.parametrize("place", [
    "numpy.savez", "minigan.pictures.plots.save_samples", "minigan.pictures.report.write", "os.fsync"])
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

@pytest.mark.parametrize("number, status, name", [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")])
def test_ended_by_a_signal_it_saves_and_says_how_to_go_on(train, tmp_path, number, status, name):
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

    done(train("--resume", "runs/00000-digits-gan-s0", "--steps", step + 20))
    done(train(*IMAGES, "--steps", step + 20, "--out", "whole"))
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
