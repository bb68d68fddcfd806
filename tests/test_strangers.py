"""Run folders and files of strangers: nothing is written through them, deleted for them, or believed unbounded."""

import errno
import io
import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigan as mg
from minigan import data, plots
from minigan.data import DataError, files
from minigan.metrics import classifiers
from minigan.pictures import report
from minigan.runs import checkpoints, run_folder
from minigan.runs.run_folder import RunError
from helpers import (IMAGES, OFTEN, POINTS, assert_same_weights, done, environment, experiment_in, png, run,
                     saved_steps, train)

__all__ = ["train"]  # the fixture
RUN = Path("runs/00000-digits-gan-s0")


# Links, pipes

@pytest.mark.parametrize("name", [
    "log.txt", "stats.jsonl", "reals.png", "losses.png", "progress.gif", "report.html", "interpolation.png",
    "samples/000004.png", "checkpoints/000004.npz", "lock", "options.json.partial", "report.html.partial"])
def test_nothing_is_written_through_a_link(train, name):
    done(train(*IMAGES, "--steps", 2, *OFTEN))
    Path("mine").write_text("mine\n")
    (RUN / name).unlink(missing_ok=True)
    (RUN / name).symlink_to(Path("mine").resolve())
    report.write(RUN)
    status, _, err = train("--resume", RUN, "--steps", 4)
    assert Path("mine").read_text() == "mine\n"
    assert status == 0 or err.count("\n") == 1 and name in err and "symbolic link" in err


@pytest.mark.parametrize("name", ["samples", "checkpoints"])
def test_nothing_is_written_or_removed_where_a_folder_s_link_leads(train, name):
    done(train(*IMAGES, "--steps", 2, *OFTEN))
    (RUN / name).rename("elsewhere")
    (RUN / name).symlink_to(Path("elsewhere").resolve())
    Path("elsewhere", "000099.png").write_text("mine")
    before = sorted(os.listdir("elsewhere"))
    status, _, err = train("--resume", RUN, "--steps", 4)
    assert status == 2 and f"{RUN / name} is a symbolic link" in err and err.count("\n") == 1
    assert sorted(os.listdir("elsewhere")) == before


@pytest.mark.parametrize("name", ["log.txt", "stats.jsonl", "report.html", "stats.csv", "lock", "options.json"])
def test_nothing_is_written_into_a_file_that_has_another_name_too(train, name):
    done(train(*IMAGES, "--steps", 2, *OFTEN))
    os.link(RUN / name, "mine")
    before = Path("mine").read_bytes()
    done(train("--resume", "--steps", 4))
    assert Path("mine").read_bytes() == before
    assert (RUN / name).read_bytes().startswith(before) or name not in ("log.txt", "stats.jsonl")


@pytest.mark.parametrize("names, status", [(["options.json"], 2), (["metrics.json", "reals.png"], 0)])
def test_pipes_are_not_waited_for(train, tmp_path, names, status):
    done(train(*IMAGES, "--steps", 1))
    for name in names:
        (RUN / name).unlink(missing_ok=True)
        os.mkfifo(RUN / name)
    end = subprocess.run([sys.executable, "-m", "minigan.report", str(RUN)], cwd=tmp_path, env=environment(),
                         capture_output=True, text=True, timeout=40)
    assert end.returncode == status and end.stderr.count("\n") == (status > 0)


# Checkpoints

def tampered(path, **changes):
    arrays = checkpoints.load_checkpoint(path)
    del arrays["format"]
    checkpoints.save_checkpoint(path, arrays | changes)


@pytest.mark.parametrize("steps", [np.int64(-1), np.int64(0), np.float64(3.7), np.int64(10**9), np.array([9])])
def test_steps_that_are_not_those_of_the_name_delete_nothing(tmp_path, capsys, steps):
    work = experiment_in(tmp_path / "run")
    run(work, steps=9, keep=3)
    tampered(work.folder / "checkpoints" / "000009.npz", **{"trainer.steps": steps})
    again = experiment_in(tmp_path / "run")
    again.restore()
    assert again.trainer.steps == 6 and saved_steps(work.folder) == [6, 3]
    assert "000009.npz is no checkpoint: its trainer.steps" in capsys.readouterr().out


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "denied"), OSError(errno.EIO, "Input/output error"),
                                   OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_a_checkpoint_that_cannot_be_read_just_now_stops_the_run_and_deletes_nothing(tmp_path, monkeypatch, error):
    work = experiment_in(tmp_path / "run")
    run(work, steps=9, keep=3)
    before = sorted(path for path in work.folder.rglob("*"))
    again, whole = experiment_in(tmp_path / "run"), zipfile.ZipFile
    tries = []

    def unreadable(*args):
        tries.append(args)
        if len(tries) == 1:
            raise error
        return whole(*args)
    monkeypatch.setattr(zipfile, "ZipFile", unreadable)
    with pytest.raises(ValueError, match="000009.npz"):
        again.restore()
    assert sorted(path for path in work.folder.rglob("*")) == before and len(tries) == 1


@pytest.mark.parametrize("name, change", [
    ("trainer.averaged.1.running_var", lambda a: a - 5), ("trainer.d_optimizer.1.v", lambda a: a - 5),
    ("trainer.d_optimizer.lr", lambda a: np.float64(-5)),
    ("trainer.generator.0.weight", lambda a: a.astype(np.float64) + 1e300)])
def test_what_no_training_leaves_is_refused_by_name(train, name, change):
    done(train(*IMAGES, "--steps", 1, "--keep", 1))
    [path] = run_folder.checkpoints(RUN)
    arrays = checkpoints.load_checkpoint(path)
    name = next(key for key in arrays if key.startswith(name.rpartition(".")[0].rpartition(".")[0])
                and key.endswith(name.rpartition(".")[2]))
    tampered(path, **{name: change(arrays[name])})
    with pytest.raises(RunError, match=name):
        checkpoints.load_checkpoint(path)
    status, _, err = train("--resume", "--steps", 2)
    assert status == 2 and name in err and err.count("\n") == 1


WGAN = ("--objective", "wgan", "--n-critic", 3)


@pytest.mark.parametrize("name, number", [
    ("trainer.g_optimizer.steps", 0), ("trainer.g_optimizer.steps", 6), ("trainer.d_optimizer.steps", 2),
    ("trainer.d_optimizer.steps", 5), ("trainer.d_optimizer.steps", [6]), ("streams.seed", 8),
    ("streams.seed", 2**64 - 1)])
def test_counts_and_a_seed_that_are_not_those_of_the_run_do_not_fit(train, name, number):
    done(train(*POINTS, *WGAN, "--steps", 2, "--seed", 7, "--checkpoint-every", 1))
    folder = Path("runs/00000-ring8-wgan-s7")
    tampered(run_folder.checkpoints(folder)[0], **{name: np.array(number, np.uint64)})
    out = done(train("--resume", "--steps", 2))
    assert f"000002.npz does not fit the run's options (its {name} is" in out and "using the one before it" in out
    done(train(*POINTS, *WGAN, "--steps", 2, "--seed", 7))
    assert_same_weights(folder, "runs/00001-ring8-wgan-s7")


def test_counts_fit_after_everything_that_a_run_may_change(train):
    done(train(*POINTS, *WGAN, "--steps", 2))
    begun = ("--from", "runs/00000-ring8-wgan-s0", "--n-critic", 2, "--seed", 2**62 + 1)
    done(train(*POINTS, *WGAN, *begun, "--steps", 3))
    done(train("--resume", "--steps", 5, "--batch-size", 10, "--lr-d", 0.001))
    done(train("--resume", "--steps", 7))
    arrays = checkpoints.load_checkpoint(run_folder.checkpoints(run_folder.latest_folder("runs"))[0])
    assert [arrays[f"trainer.{name}steps"] for name in ("", "g_optimizer.", "d_optimizer.")] == [7, 7, 14]


def test_a_sample_shape_that_is_not_the_data_s_is_refused(train):
    done(train(*IMAGES, "--steps", 1))
    path = RUN / "options.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_shape": [16, 16, 1]}))
    status, _, err = train("--resume", "--steps", 2)
    assert status == 2 and "sample_shape" in err and err.count("\n") == 1


# Memory on a file's word

def peak(work):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as error:
            work()
        return tracemalloc.get_traced_memory()[1], str(error.value)
    finally:
        tracemalloc.stop()


def member(path, name, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def test_a_header_of_many_blanks_takes_no_memory(tmp_path):
    blanks = 1 << 26
    path = member(tmp_path / "a.npz", "images.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", blanks) + b" " * blanks)
    assert peak(lambda: data.load(path))[0] < 10e6


def test_items_without_a_size_or_with_an_enormous_one_are_refused(tmp_path):
    for kind, shape in (("<U0", (1_000_000,)), ("<U100000", (2,))):
        header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
        body = bytes(4 * int(kind[2:]) * shape[0])
        path = member(tmp_path / "a.npz", "classes.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
                      + body)
        with pytest.raises(DataError, match="items of"):
            classifiers.load(path)


def test_a_checkpoint_that_unfolds_to_far_more_than_it_is_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_UNPACKED", (1 << 20, 4), raising=False)
    np.savez_compressed(tmp_path / "000001.npz", w=np.zeros(1 << 21, np.float32), format=1)
    taken, said = peak(lambda: checkpoints.load_checkpoint(tmp_path / "000001.npz"))
    assert "expected at most" in said and taken < 4e6


def test_twenty_thousand_members_are_refused_at_once(tmp_path):
    content = io.BytesIO()
    np.save(content, np.zeros(1))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for i in range(20_000):
            archive.writestr(f"{i}.npy", content.getvalue())
    with pytest.raises(DataError, match="20000 members"):
        files.read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("option", [{"pack": 1_000_000}, {"width": 3_000}, {"latent": 10_000_000}])
def test_options_ask_for_no_more_than_the_checkpoint_holds(train, option):
    done(train(*IMAGES, "--steps", 1))
    path = RUN / "options.json"
    record = json.loads(path.read_text())
    record["options"] |= option
    path.write_text(json.dumps(record))
    taken, said = peak(lambda: mg.load(RUN))
    assert "no checkpoint of the run can hold it" in said and taken < 30e6


@pytest.mark.parametrize("option", [{"n_critic": 10**9}, {"n_critic": 10**15}])
def test_batches_of_a_step_have_a_bound(train, option):
    done(train(*IMAGES, "--steps", 1))
    path = RUN / "options.json"
    record = json.loads(path.read_text())
    record["options"] |= option
    path.write_text(json.dumps(record))
    status, _, err = train("--resume", "--steps", 2)
    assert status == 2 and err.count("\n") == 1 and f"{option['n_critic']} batches of 8" in err
    status, _, err = train(*IMAGES, "--n-critic", option["n_critic"])
    assert status == 2 and "--n-critic" in err and os.listdir("runs") == [RUN.name]


# Pictures

def damaged(path, how):
    if how == "folder":
        path.unlink()
        path.mkdir()
    else:
        content = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": content[:len(content) // 2],
                          "huge": png(60_000, 60_000, bytes(200_000)) + b""}[how])


@pytest.mark.parametrize("how", ["empty", "cut", "folder", "huge"])
def test_a_damaged_snapshot_is_left_out_and_told(train, how):
    done(train(*IMAGES, "--steps", 4, *OFTEN, "--snapshot-every", 1))
    damaged(RUN / "samples" / "000002.png", how)
    status, _, err = train("--resume", "--steps", 6)
    assert status == 0 and err.count("\n") == 1 and "1 snapshots" in err and "000002.png" in err
    with Image.open(RUN / "progress.gif") as film:
        assert film.n_frames == 6


def test_a_picture_that_claims_to_be_enormous_is_left_out_of_the_page(train):
    done(train(*IMAGES, "--steps", 1))
    noise = np.random.default_rng(0).integers(256, size=200_000, dtype=np.uint8).tobytes()
    (RUN / "reals.png").write_bytes(png(60_000, 60_000, noise))
    (RUN / "samples" / "000000.png").write_bytes(png(9_400, 9_400, noise))
    assert report.page(RUN).count("<img") == 2  # the last snapshot, and the ways between samples
    assert plots.reduced(png(60_000, 60_000, noise), 640) is None


def test_a_page_has_a_bound_whatever_its_options_and_measures_say(train):
    done(train(*IMAGES, "--steps", 1))
    before = len(report.page(RUN))
    path = RUN / "options.json"
    record = json.loads(path.read_text())
    record["options"] |= {"data": "x" * 3_000_000, **{f"n{i}": i for i in range(20_000)}}
    path.write_text(json.dumps(record))
    (RUN / "metrics.json").write_text(json.dumps({"n": 1, "step": 1, "against": "y" * 3_000_000, "metrics": {
        f"m{i}": {"value": 1.0, "standard_error": 1.0} for i in range(20_000)}}))
    with open(RUN / "stats.jsonl", "a") as file:
        file.write(json.dumps({"step": 2, "evaluation": {f"e{i}": 1.0 for i in range(2_000)}}) + "\n")
    assert len(report.page(RUN)) < before + 300_000
