"""What befalls runs and commands in everyday use: two at once, data that move, old runs, odd terminals, full disks."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from minigan import classifier, data, evaluate, fast, plots, report, sample
from minigan import train as training
from minigan.data import DataError
from minigan.metrics import classifiers
from minigan.runs import loop, models, options, run_folder, versions
from minigan.trainer import Facts
from helpers import IMAGES, OFTEN, POINTS, assert_same_run, done, environment, refused, save_images, start, train

__all__ = ["train"]  # the fixture
RUN = Path("runs/00000-digits-gan-s0")


# Two at once

def test_a_run_that_is_alive_is_not_gone_on_with_and_one_that_was_killed_is(train, tmp_path):
    process = start(tmp_path, *IMAGES, "--steps", 10_000_000, "--log-every", 5, "--snapshot-every", 10**6)
    while not process.stdout.readline().startswith("step 5/"):
        pass
    try:
        for chosen in ((), (RUN,)):
            refused(train("--resume", *chosen, "--steps", 20_000_000), str(RUN), "another process")
    finally:
        process.kill()
        process.communicate()
    steps = int(run_folder.checkpoints(RUN)[0].stem) + 1
    done(train("--resume", "--steps", steps))


def test_writers_of_one_file_do_not_hurt_each_other(tmp_path):
    path, failures = tmp_path / "page.html", []
    contents = [bytes([65 + i]) * 300_000 for i in range(6)]

    def write(content):
        try:
            for _ in range(15):
                run_folder.write_whole(path, content)
        except Exception as error:
            failures.append(error)
    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert not path.exists() or path.read_bytes() in contents
    assert failures == [] and os.listdir(tmp_path) == ["page.html"]


def test_what_somebody_is_writing_is_not_taken_for_a_half_that_a_crash_left(tmp_path):
    from minigan.data import disk
    (tmp_path / "options.json.00000000.partial").write_bytes(b"half")
    with disk.whole(tmp_path / "report.html") as file:
        file.write(b"page")
        run_folder.remove_halves(tmp_path)
    assert os.listdir(tmp_path) == ["report.html"]


# Finished

def test_the_last_pictures_are_drawn_again_where_they_are_missing(train):
    done(train(*IMAGES, "--steps", 4, *OFTEN))
    before = {name: (RUN / name).read_bytes() for name in ("losses.png", "progress.gif")}
    for lost in (["losses.png"], ["progress.gif"], list(before)):
        for name in lost:
            (RUN / name).unlink()
        assert "drawn again" in done(train("--resume"))
        assert {name: (RUN / name).read_bytes() for name in before} == before
        refused(train("--resume"), "already done 4 steps")


def test_a_run_that_dies_while_it_draws_its_last_pictures_draws_them_later(train, monkeypatch):
    done(train(*IMAGES, "--steps", 2, *OFTEN))
    with monkeypatch.context() as patch:
        def full(*what, **how):
            raise OSError(errno.ENOSPC, "No space left on device")
        patch.setattr(plots, "save_gif", full)
        assert train("--resume", "--steps", 4)[0] == 1
    assert "drawn again" in done(train("--resume"))


# Data

def pictures(folder, n=12):
    for i in range(n):
        (folder / f"{i % 2}").mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).uniform(-1, 1, (1, 8, 8, 1))
        from PIL import Image
        Image.fromarray(plots.to_pixels(pixels)[0, :, :, 0]).save(folder / f"{i % 2}" / f"{i}.png")


def test_the_pictures_of_runs_and_sheets_of_samples_are_no_data(train, capsys):
    pictures(Path("."))
    tiny = ("--data", ".", "--image-size", 8, "--batch-size", 4, "--width", 2, "--latent", 2, "--steps", 1)
    done(train(*tiny))
    done(train(*tiny, "--out", "0/deep"))
    [run] = Path("runs").iterdir()
    assert sample.main([str(run), "--n", "4"]) == 0
    capsys.readouterr()
    assert len(data.load(".", image_size=8).x) == 12
    assert "1 files passed over, sheets of samples" in capsys.readouterr().err
    status, out, err = train("--resume", run, "--steps", 2)
    assert (status, err.count("\n")) == (0, 1)


def test_hidden_files_and_folders_are_neither_classes_nor_pictures(tmp_path):
    pictures(tmp_path)
    for name in (".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes((tmp_path / "1" / "1.png").read_bytes())
    (tmp_path / "1" / "._1.png").write_bytes((tmp_path / "1" / "1.png").read_bytes())
    found = data.load(tmp_path, image_size=8)
    assert found.classes == ("0", "1") and len(found.x) == 12


def test_a_picture_above_the_class_folders_is_named(tmp_path, capsys):
    pictures(tmp_path)
    (tmp_path / "stray.png").write_bytes((tmp_path / "1" / "1.png").read_bytes())
    assert data.load(tmp_path, image_size=8).labels is None
    assert "such as stray.png" in capsys.readouterr().err


def test_the_limit_on_a_folder_counts_pictures_only(tmp_path, monkeypatch):
    pictures(tmp_path)
    for i in range(50):
        (tmp_path / f"{i}.txt").write_text("text")
    monkeypatch.setattr("minigan.data.files.MAX_BYTES", 12 * 8 * 8 * 3)
    assert len(data.load(tmp_path, image_size=8).x) == 12
    monkeypatch.setattr("minigan.data.files.MAX_BYTES", 11 * 8 * 8 * 3)
    with pytest.raises(DataError, match="more than 11 pictures"):
        data.load(tmp_path, image_size=8)


def test_a_tiny_negative_number_is_not_another_range(tmp_path, capsys):
    images = np.random.default_rng(0).uniform(0, 1, (5, 4, 4))
    images[0, 0, 0] = -1e-9
    np.savez(tmp_path / "a.npz", images=images)
    x = data.load(tmp_path / "a.npz").x
    assert x.min() == -1 and x.max() > 0.8 and capsys.readouterr().err == ""
    images[0, 0, 0] = -0.01
    np.savez(tmp_path / "a.npz", images=images)
    assert data.load(tmp_path / "a.npz").x.min() > -0.02 and "taken as pictures in [-1, 1]" in capsys.readouterr().err


def test_an_npz_with_points_and_images_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8), np.uint8), points=np.zeros((4, 2)))
    with pytest.raises(DataError, match="both points and images"):
        data.load(tmp_path / "a.npz")


def test_data_that_moved_are_known_by_their_fingerprint(train, capsys):
    save_images("mine.npz")
    done(train("--data", "mine.npz", *IMAGES[2:], "--steps", 1, "--name", "run"))
    Path("else").mkdir()
    Path("mine.npz").rename("else/moved.npz")
    refused(train("--resume", "--steps", 2), "mine.npz")
    save_images("other.npz", seed=1)
    refused(train("--resume", "--steps", 2, "--data", "other.npz"), "other.npz")
    done(train("--resume", "--steps", 2, "--data", "else/moved.npz"))
    done(train("--resume", "--steps", 3))
    refused(train("--resume", "--steps", 4, "--data", "other.npz"), "other.npz")  # not where they were before


def test_a_relative_path_is_found_from_another_folder(train, monkeypatch):
    save_images("mine.npz")
    done(train("--data", "mine.npz", *IMAGES[2:], "--steps", 1, "--name", "run"))
    Path("else").mkdir()
    monkeypatch.chdir("else")
    done(train("--resume", "../runs/00000-run", "--steps", 2))
    Path("../tree").mkdir()
    Path("../runs").rename("../tree/runs")
    Path("../mine.npz").rename("../tree/mine.npz")
    done(train("--resume", "../tree/runs/00000-run", "--steps", 3))


# Older and newer runs

def test_a_run_from_before_an_option_goes_on_with_what_it_was_in_effect(train, capsys):
    done(train(*IMAGES, "--steps", 1))
    record = json.loads((RUN / "options.json").read_text())
    for name in ("pack", "lr_decay", "classifier", "evaluate_every"):
        del record["options"][name]
    record.pop("format", None)
    (RUN / "options.json").write_text(json.dumps(record))
    assert sample.main([str(RUN)]) == 0
    capsys.readouterr()
    done(train("--resume", "--steps", 2))
    record = json.loads((RUN / "options.json").read_text())
    assert record["options"]["pack"] == 1
    known = options.DEFAULTS | models.complete(options.DEFAULTS, Facts((8, 8, 1)))
    assert models.BEFORE.keys() <= known.keys()


@pytest.mark.parametrize("change, words", [({"format": 99}, ["format 99"]), ({"options": {"shine": 3}}, ["shine"])])
def test_a_run_of_a_newer_version_is_refused_with_what_is_new(train, change, words):
    done(train(*IMAGES, "--steps", 1))
    record = json.loads((RUN / "options.json").read_text())
    change = {name: record[name] | value if isinstance(value, dict) else value for name, value in change.items()}
    (RUN / "options.json").write_text(json.dumps(record | change))
    refused(train("--resume", "--steps", 2), "newer minigan", *words)


# Other systems

def test_a_run_on_windows(train, monkeypatch):
    """Where folders cannot be opened, and there is neither fcntl nor O_NOFOLLOW, O_NONBLOCK, SIGHUP."""
    real = os.open

    def opened(path, flags, *more, **how):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, flags, *more, **how)
    monkeypatch.setattr(os, "open", opened)
    for name in ("O_NOFOLLOW", "O_NONBLOCK"):
        monkeypatch.delattr(os, name)
    monkeypatch.setattr("minigan.data.disk.fcntl", None, raising=False)
    monkeypatch.setattr(loop, "HANGUP", None, raising=False)
    done(train(*IMAGES, "--steps", 2, *OFTEN))
    done(train("--resume", "--steps", 4))
    assert not list(Path().rglob("*.partial"))


def test_a_training_in_a_thread(train):
    ends = []
    thread = threading.Thread(target=lambda: ends.append(training.main(
        [*map(str, POINTS), "--steps", "1", "--out", "threaded"])))
    thread.start()
    thread.join()
    assert ends == [0]


def test_trainings_in_threads_are_as_one_alone(train):
    """Each has random streams of its own."""
    given = [*map(str, IMAGES), "--steps", "6", "--log-every", "1", "--snapshot-every", "3", "--out"]
    threads = [threading.Thread(target=training.main, args=([*given, name],)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done(train(*given, "alone"))
    for name in ("a", "b"):
        assert_same_run(Path(name, RUN.name), Path("alone", RUN.name))


# Terminals

@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """A folder with a run on points, in another script."""
    where = tmp_path_factory.mktemp("прогон")
    np.savez(where / "few.npz", points=np.random.default_rng(0).standard_normal((40, 2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        patch.setattr(plots, "save_game", lambda path, *what: plots.save_grid(path, np.zeros((1, 8, 8, 1))))
        tiny = ["--name", "a", "--width", "4", "--batch-size", "8", "--steps", "1"]
        assert training.main(["--data", "few.npz", *tiny]) == 0
    return where


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "cp932", "utf-8"])
def test_output_of_any_encoding(points, monkeypatch, encoding):
    monkeypatch.chdir(points.parent)
    monkeypatch.setattr(plots, "save_densities", lambda *what: None)
    run = str(Path(points.name, "runs", "00000-a"))
    (points / "runs" / "00000-a" / "metrics.json").unlink(missing_ok=True)
    for main, arguments in ((evaluate.main, [run]), (report.main, [run]), (sample.main, [run, "--n", "4"]),
                            (training.main, ["--resume", run, "--steps", "1"]), (training.main, ["--help"]),
                            (classifier.main, ["--data", run])):
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code or 0
        assert status in (0, 2)
        out.flush(), err.flush()
    monkeypatch.undo()
    assert (points / "runs" / "00000-a" / "metrics.json").exists()


COMMANDS = ["train", "sample", "evaluate", "report", "classifier"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("where", ["full", "broken"])
def test_output_that_cannot_be_written_is_one_line_and_status_1(tmp_path, command, where):
    if where == "full":
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        end, out = os.pipe()
        os.close(end)
    module = f"minigan.{command}".rstrip(".")
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=tmp_path, env=environment(), stdout=out,
                          stderr=subprocess.PIPE, text=True)
    os.close(out)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "cannot be written" in done.stderr


def test_without_any_output_work_is_done_in_silence(tmp_path):
    for what in (">&-", ">&- 2>&-"):
        command = f"{sys.executable} -m minigan.train {' '.join(POINTS)} --steps 1 --resume nowhere {what}"
        end = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
        assert end.returncode == 2 and end.stderr.count("\n") <= 1
    command = f"{sys.executable} -m minigan.train {' '.join(POINTS)} --steps 1 --dry-run >&-"
    end = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    assert (end.returncode, end.stderr) == (0, "")


def test_a_plain_run_that_goes_on_leaves_the_fast_engine_on(train):
    """The engine is the process's: what is trained or measured after it would be slow in silence."""
    assert fast.is_on()
    fast.off()
    try:
        done(train(*POINTS, "--steps", 2, *OFTEN))
    finally:
        fast.on()
    found = []
    with pytest.MonkeyPatch.context() as patch:
        step = loop.Experiment.run
        patch.setattr(loop.Experiment, "run", lambda *a: found.append(fast.is_on()) or step(*a))
        done(train("--resume", "--steps", 3))
    assert found == [False] and fast.is_on()


def test_a_run_is_compared_with_how_it_went_on_last():
    """A run that went on with one thread and then goes on with two again is not what it would have been either."""
    began = versions.versions()
    other = began | {"engine": "another"}
    resumed = {"versions": began, "resumed": [{"step": 1, "versions": other}]}
    assert versions.keep_engine({"versions": began}) == ""
    assert f"engine {began['engine']} (it had another)" in versions.keep_engine(resumed)
    assert versions.with_versions(resumed, 2)["resumed"][1:] == [{"step": 2, "versions": began}]
    for strange in ({}, {"versions": 3}, {"resumed": [7]}, {"resumed": "x", "versions": began}):
        assert versions.keep_engine(strange) == ""


def test_a_signal_before_the_first_step_of_a_new_run_is_heeded(train):
    """From the moment when it has a folder: a run that was begun can be gone on with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "first_words", lambda *a: os.kill(os.getpid(), signal.SIGTERM) or "begun")
        status, out, _ = train(*POINTS, "--steps", 2, "--name", "a")
    assert status == 128 + signal.SIGTERM and "stopped after step 0 by SIGTERM" in out
    done(train("--resume"))


def test_the_hint_for_a_folder_with_a_dash_can_be_typed(train, tmp_path):
    assert training.as_typed(Path("-odd/00000-a")) == "./-odd/00000-a"
    assert training.as_typed(Path("a b")) == "'a b'"


def test_report_prints_names_printably(points, tmp_path, monkeypatch, capsys):
    odd = tmp_path / "\x1b[31mred"
    (points / "runs" / "00000-a").rename(odd)
    try:
        assert report.main([str(odd)]) == 0
    finally:
        odd.rename(points / "runs" / "00000-a")
    assert "\x1b" not in capsys.readouterr().out


def test_when_the_terminal_goes_the_run_is_saved(tmp_path):
    process = start(tmp_path, *POINTS, "--steps", 10_000_000, "--log-every", 5, "--snapshot-every", 10**6)
    while not process.stdout.readline().startswith("step 5/"):
        pass
    process.stdout.close()
    process.send_signal(signal.SIGHUP)
    err = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    saved = run_folder.checkpoints(tmp_path / "runs" / "00000-ring8-gan-s0")[0]
    assert process.returncode in (129, 1) and err.count("\n") <= 1
    assert process.returncode == 1 or int(saved.stem) >= 5


# Whole or not at all

@pytest.mark.parametrize("write", [
    lambda run: sample.main([run, "--grid", "out"]), lambda run: sample.main([run, "--npz", "out"]),
    lambda run: report.main([run, "--out", "out"])])
def test_a_full_disk_leaves_what_was_there(points, monkeypatch, tmp_path, capsys, write):
    monkeypatch.chdir(tmp_path)
    Path("out").write_text("before")

    def full(*what):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    assert write(str(points / "runs" / "00000-a")) == 2
    assert os.listdir() == ["out"] and Path("out").read_text() == "before"
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "/out'" in error  # says which file it is


def test_a_classifier_is_written_whole_and_a_device_as_it_is(tmp_path, monkeypatch):
    network = classifiers.load("mnist")
    classifiers.save(tmp_path / "out", network)
    before = (tmp_path / "out").read_bytes()
    classifiers.save("/dev/null", network)
    assert not os.path.isfile("/dev/null")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    classifiers.save(tmp_path / "link", network)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "out").read_bytes() == before

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError):
        classifiers.save(tmp_path / "out", network)
    assert (tmp_path / "out").read_bytes() == before and sorted(os.listdir(tmp_path)) == ["link", "out"]


# Growth

def test_the_log_is_read_once_and_not_at_each_snapshot(train, monkeypatch):
    parsed, loads = [], json.loads
    monkeypatch.setattr(json, "loads", lambda text, **how: parsed.append(text) or loads(text, **how))
    done(train(*IMAGES, "--steps", 30, "--log-every", 1, "--snapshot-every", 1))
    assert len(parsed) < 30 * 4


def test_of_a_long_log_extremes_evaluations_and_the_end_are_kept(tmp_path):
    with open(tmp_path / "stats.jsonl", "w") as file:
        for step in range(1, 60_001):
            record = {"step": step, "d_loss": 99.0 if step == 12_345 else 1.0, "g_loss": 0.5}
            file.write(json.dumps(record | ({"evaluation": {"FD": 3.0}} if step % 6000 == 0 else {})) + "\n")
        file.write("x" * 3_000_000 + "\n" + json.dumps({"step": 60_001, "d_loss": 2.0}) + "\n")
    found = run_folder.read_stats(tmp_path)
    assert len(found) <= 20_001 and found[-1]["step"] == 60_001
    assert max(record["d_loss"] for record in found) == 99.0
    assert sum("evaluation" in record for record in found) == 10
    steps = [record["step"] for record in found]
    assert steps == sorted(set(steps))
