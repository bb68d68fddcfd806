"""What happens to long runs: they are killed, the disk is full, their folder goes away. Nothing is lost."""

import errno
import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks import kills
from minigan import data
from minigan.data import disk
from minigan.runs import run_folder
from helpers import (IMAGES, OFTEN, assert_same_run, command, done, environment, experiment_in, failed, refused, run,
                     saved_steps, start, stats_of, train, whole_run)

__all__ = ["train"]  # the fixture
EVERY = ("file", "line", "picture", "entry")
NOTHING_LOST = {"checkpoints_lost": 0, "arrays_that_differ": 0, "lines_lost": 0, "lines_doubled": 0,
                "lines_that_differ": 0, "pictures_that_differ": 0, "files_left_over": 0}


# Killed

def test_a_run_that_is_killed_ends_with_the_same_weights_statistics_and_pictures(tmp_path):
    found = kills.survive(tmp_path, kills=4)
    assert found | NOTHING_LOST | {"survived": 4} == found


@pytest.mark.slow
@pytest.mark.parametrize("dozen", ["first", "second", "third"])
def test_a_run_that_is_killed_a_dozen_times_loses_nothing(tmp_path, dozen):
    found = kills.survive(tmp_path, kills=12, seed=len(dozen))
    assert found | NOTHING_LOST | {"survived": 12} == found


BUSY = dict(steps=2, log_every=1, snapshot_every=1, checkpoint_every=1, keep=1)


def killed_in_call(n, folder):
    """Train in a process that kills itself in its n-th call. Returns whether it came to that. A fork, which costs
    nothing, will do: the little arithmetic of `Walk` needs no other thread."""
    child = os.fork()
    if child == 0:
        kills.die_in_call(n, *EVERY)
        sys.stdout = open(os.devnull, "w")
        work = experiment_in(folder)
        if run_folder.checkpoints(folder):
            work.restore()
        run(work, **BUSY)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_run_killed_in_any_write_of_all_goes_on_as_if_it_had_not(tmp_path):
    """In each one, and in each one of what the run does first when it goes on."""
    run(experiment_in(tmp_path / "whole"), **BUSY)
    gc.freeze()  # a child's collector would otherwise go through, and copy, all that the other tests have left
    try:
        kill_in_every_call(tmp_path)
    finally:
        gc.unfreeze()


def kill_in_every_call(tmp_path):
    n, deaths, died = 0, 0, True
    while died:
        n += 1
        folder = tmp_path / str(n)
        died = killed_in_call(n, folder)
        if run_folder.checkpoints(folder):
            deaths += died + (died and killed_in_call(n % 9 + 1, folder))
            again = experiment_in(folder)
            again.restore()
            assert not list(folder.rglob("*.partial"))
            run(again, **BUSY)
            assert_same_run(folder, tmp_path / "whole")
            assert [record["step"] for record in stats_of(folder)] == [1, 2]
    assert deaths > 100


def test_a_run_killed_before_its_first_checkpoint_is_not_gone_on_with(tmp_path, train):
    for die in ((1, "file"), (1, "picture"), (2, "file"), (2, "entry"), (5, "entry")):
        process = kills.start(tmp_path, *IMAGES, "--steps", 2, die=die)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "runs").iterdir())) == 5
    refused(train("--resume"), "no run with a checkpoint")
    done(train(*IMAGES, "--steps", 1))
    done(train("--resume", "--steps", 2))
    for folder in sorted(Path("runs").iterdir())[:-1]:
        refused(train("--resume", folder, "--steps", 2), str(folder))


def test_a_signal_that_comes_before_the_first_step_saves_too(tmp_path):
    work = experiment_in(tmp_path / "run")
    work.on_snapshot = lambda step: os.kill(os.getpid(), signal.SIGTERM)
    assert run(work) == signal.SIGTERM
    assert saved_steps(work.folder) == [0]


def test_what_a_crash_left_half_written_is_removed_when_the_run_goes_on(tmp_path):
    run(experiment_in(tmp_path / "run"), steps=3)
    folder = tmp_path / "run"
    for name in ("checkpoints/000006.npz.0a1b2c3d.partial", "options.json.partial",
                 "samples/000004.png.00ff00ff.partial"):
        (folder / name).write_bytes(b"half")
    (folder / "samples" / "mine.partial").write_text("not of the run's making")
    experiment_in(folder).restore()
    assert [path.name for path in folder.rglob("*.partial")] == ["mine.partial"]


def test_what_was_logged_is_on_the_disk_before_the_checkpoint_that_counts_on_it(tmp_path, monkeypatch):
    synced, sync = [], os.fsync

    def fsync(descriptor):
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)
    monkeypatch.setattr(os, "fsync", fsync)
    run(experiment_in(tmp_path / "run"), steps=1)
    synced = [re.sub(r"\.[0-9a-f]{8}\.", ".", name) for name in synced]
    assert synced == ["stats.jsonl", "000000.npz.partial", "checkpoints",
                      "stats.jsonl", "000001.npz.partial", "checkpoints"]


def test_the_checkpoint_that_was_just_written_is_not_the_one_that_goes(tmp_path):
    """Whatever numbers other files there have."""
    work = experiment_in(tmp_path / "run")
    run(work, steps=3)
    for name in ("000990.npz", "000991.npz"):
        (work.folder / "checkpoints" / name).write_bytes(b"a stranger's")
    run(work, steps=6, keep=1)
    assert saved_steps(work.folder) == [991, 990, 6]
    again = experiment_in(work.folder)
    again.restore()
    assert again.trainer.steps == 6 and saved_steps(work.folder) == [6]


# Disks

def full_in_write(monkeypatch, n):
    """The n-th write into a run folder gets half of what it should, and there is no more space. Returns a list with the
    path of the file that it happened to, empty until then."""
    left, full = n, []

    def opened(path, mode="r", **how):
        file = open(path, mode, **how)
        write = file.write

        def halfway(content):
            nonlocal left
            left -= 1
            if left > 0:
                return write(content)
            write(content[:len(content) // 2])
            full.append(Path(path))
            raise OSError(errno.ENOSPC, "No space left on device")
        file.write = halfway
        return file
    monkeypatch.setattr(disk, "open", opened, raising=False)
    return full


def test_a_disk_that_is_full_at_any_write_costs_no_checkpoint(tmp_path, monkeypatch):
    run(experiment_in(tmp_path / "whole"), **BUSY)
    n, hit = 0, set()
    while True:
        n += 1
        folder = tmp_path / str(n)
        with monkeypatch.context() as patch:
            full = full_in_write(patch, n)
            try:
                run(experiment_in(folder), **BUSY)
                break
            except OSError as error:
                assert error.errno == errno.ENOSPC
        hit.add(full[0].suffix)
        assert not list(folder.rglob("*.partial")), "a full disk is not to be filled with halves"
        if run_folder.checkpoints(folder):
            again = experiment_in(folder)
            again.restore()
            run(again, **BUSY)
            assert_same_run(folder, tmp_path / "whole")
    assert not full and n > 100 and hit == {".partial", ".jsonl", ".txt"}


@pytest.mark.parametrize("name", ["options.json.partial", "000004.npz.partial", "stats.jsonl", "log.txt"])
def test_a_full_disk_is_said_in_one_line_and_the_run_goes_on_when_there_is_space(train, monkeypatch, name):
    done(train(*IMAGES, "--steps", 6, *OFTEN, "--out", "whole"))
    done(train(*IMAGES, "--steps", 2, *OFTEN))
    folder, n, full = Path("runs/00000-digits-gan-s0"), 0, []
    while not full or re.sub(r"\.[0-9a-f]{8}\.", ".", full[0].name) != name:
        n += 1
        with monkeypatch.context() as patch:
            full = full_in_write(patch, n)
            status, _, err = train("--resume", "--steps", 6)
        assert status in (1, 2) and err.count("\n") == 1 and "No space left" in err
        assert status == 2 or str(run_folder.checkpoints(folder)[0]) in err
    done(train("--resume", "--steps", 6))
    assert_same_run(folder, "whole/00000-digits-gan-s0")


def test_a_checkpoint_beyond_the_limit_on_file_sizes_leaves_the_one_before_it(tmp_path, train):
    done(train(*IMAGES, "--steps", 2, *OFTEN))
    folder = tmp_path / "runs" / "00000-digits-gan-s0"
    last = run_folder.checkpoints(folder)[0]
    limit = last.stat().st_size * 2 // 3
    code = (f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
            "from minigan.train import main; sys.exit(main(sys.argv[1:]))")
    end = subprocess.run(command("--resume", "--steps", 6, code=code), cwd=tmp_path, env=environment(),
                         capture_output=True, text=True)
    failed((end.returncode, end.stdout, end.stderr), "File too large", str(last.relative_to(tmp_path)))
    assert run_folder.checkpoints(folder)[0] == last and not list(folder.rglob("*.partial"))
    done(train("--resume", "--steps", 6))
    done(train(*IMAGES, "--steps", 6, *OFTEN, "--out", "whole"))
    assert_same_run(folder, "whole/00000-digits-gan-s0")


@pytest.mark.parametrize("what", ["moved", "removed"])
def test_a_run_whose_folder_goes_away_ends_in_one_line(tmp_path, what):
    process = start(tmp_path, *IMAGES, "--steps", 10_000_000, "--log-every", 5, "--snapshot-every", 1000)
    folder = tmp_path / "runs" / "00000-digits-gan-s0"
    while not process.stdout.readline().startswith("step 5/"):
        pass
    (tmp_path / "kept").mkdir()
    folder.rename(tmp_path / "kept" / folder.name)
    if what == "removed":
        shutil.rmtree(tmp_path / "runs")
    out, err = process.communicate(timeout=60)
    failed((process.returncode, out, err), "No such file", str(folder.relative_to(tmp_path)), "checkpoint is none")
    assert not folder.exists()
    kills.finish(tmp_path, "--resume", "latest", "--out", "kept", "--steps", 7)
    assert run_folder.checkpoints(tmp_path / "kept" / folder.name)[0].stem == "000007"


@pytest.mark.parametrize("name", ["checkpoints", "samples", "stats.jsonl", "log.txt"])
def test_a_file_where_a_folder_should_be_or_the_reverse_is_named(train, name):
    done(train(*IMAGES, "--steps", 2))
    path = Path("runs/00000-digits-gan-s0", name)
    if path.is_dir():
        path.rename("away")
        path.write_text("in the way")
    else:
        path.unlink()
        path.mkdir()
    status, _, err = train("--resume", path.parent, "--steps", 3)
    assert status in (1, 2) and err.count("\n") == 1 and name in err and "Traceback" not in err


def test_a_run_that_nobody_listens_to_any_more_ends_in_one_line(tmp_path):
    process = start(tmp_path, *IMAGES, "--steps", 10_000_000, "--log-every", 1)
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    failed((process.returncode, "", err), "Broken pipe", "000000.npz")


# Names

def test_runs_started_at_once_under_any_names_get_a_number_each(tmp_path):
    folders, gate = [], threading.Barrier(8)

    def begin(who):
        for _ in range(10):
            gate.wait()
            folders.append(run_folder.new_folder(tmp_path / "runs", who))
    threads = [threading.Thread(target=begin, args=(f"name{who}",)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({folder.name.split("-")[0] for folder in folders}) == len(folders) == 80
    assert sorted(folder.name for folder in folders) == sorted(path.name for path in (tmp_path / "runs").iterdir())


def test_a_number_that_was_claimed_and_never_named_is_no_run_and_is_passed_over(tmp_path):
    (tmp_path / "00004").mkdir()
    assert run_folder.new_folder(tmp_path, "a").name == "00005-a"
    with pytest.raises(run_folder.RunError):
        run_folder.latest_folder(tmp_path)


def test_a_path_of_any_bytes_will_do(tmp_path):
    odd = os.fsdecode(b"caf\xe9 \x1b[31m\n")  # Latin-1, a terminal's code, a line end
    kills.finish(tmp_path, *IMAGES, "--steps", 1, "--out", odd)
    (tmp_path / odd / "00000-digits-gan-s0").rename(tmp_path / odd / "00007-odd")
    shutil.copyfile(data.BUNDLED["digits"], tmp_path / (odd + ".npz"))
    kills.finish(tmp_path, *IMAGES, "--data", odd + ".npz", "--steps", 1, "--out", odd)
    out = kills.finish(tmp_path, "--resume", "latest", "--out", odd, "--steps", 2)
    assert out.replace("\n", "").isprintable() and "caf\\udce9 \\x1b[31m\\n" in out
    assert [path.name for path in sorted((tmp_path / odd).iterdir())][0] == "00007-odd"
    [log] = (tmp_path / odd).glob("00008-*/log.txt")
    assert re.search(r"going on after step 1$", log.read_text(), re.M)


def test_the_uninterrupted_run_of_these_tests_is_one(tmp_path):
    assert saved_steps(whole_run(tmp_path / "whole").folder) == [12, 9]
