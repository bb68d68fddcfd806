"""The run folder: nothing half-made is taken for whole, nothing is lost, and going on is going on exactly."""

import errno
import io
import json
import os
import pickle
import re
import signal
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minigan import backend, data, networks
from minigan.runs import checkpoints, run_folder
from minigan.runs.loop import Experiment
from minigan.runs.run_folder import RunError
from minigan.trainer import GANTrainer


class Walk:
    """A trainer that is no GAN: numbers that drift with the data and a random stream. Deeds happen before a step."""

    batches_per_step = 2
    headline = ("drift",)

    def __init__(self, streams):
        self.steps, self.weights, self.streams, self.deeds = 0, np.zeros(3), streams, {}

    def step(self, batches):
        assert len(batches) == 2 and (batches[0] != batches[1]).any()
        self.deeds.get(self.steps + 1, lambda: None)()
        self.steps += 1
        self.weights = (0.9 * self.weights + sum(batch.mean() for batch in batches)
                        + self.streams["noise"].standard_normal(3))
        return {"drift": np.asarray(self.weights.sum()), "first": np.asarray(self.weights[0])}

    def check_finite(self):
        if not np.isfinite(self.weights).all():
            raise ArithmeticError(f"no number since step {self.steps}")

    def state_dict(self):
        return {"steps": np.int64(self.steps), "weights": self.weights.copy()}

    def load_state_dict(self, state):
        self.steps, self.weights = int(state["steps"]), state["weights"].copy()


class Crash(BaseException):
    """The end of the process, as far as the code under test can tell."""


def crash(*args, **kwargs):
    raise Crash


def experiment_in(folder, on_finish=lambda: None):
    folder.mkdir(exist_ok=True)
    streams = backend.Streams(0)
    x = np.arange(46, dtype=np.float32).reshape(23, 2)
    batches = data.Batches(x, 4, streams["data"])

    def snapshot(step):
        (folder / "samples" / f"{step:06d}.png").write_text(str(step))
    return Experiment(folder, Walk(streams), batches, streams, snapshot, on_finish)


def run(work, steps=12, log_every=2, snapshot_every=4, checkpoint_every=3, keep=2):
    return work.run(steps, log_every, snapshot_every, checkpoint_every, keep)


def whole_run(folder):
    work = experiment_in(folder)
    assert run(work) is None
    return work


def saved_steps(folder):
    return [int(path.stem) for path in run_folder.checkpoints(folder)]


def stats_of(folder):
    """The records as they are on the disk, without what depends on the clock."""
    records = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "steps_per_s"} for record in records]


def assert_same_end(folder, other):
    """The same numbers as in the folder of an uninterrupted run: last checkpoint and statistics."""
    a, b = (checkpoints.load_checkpoint(run_folder.checkpoints(f)[0]) for f in (folder, other))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name, strict=True)
    assert stats_of(folder) == stats_of(other)


# Folders

def test_run_folders_are_numbered_from_the_highest_there_is(tmp_path):
    out = tmp_path / "deep" / "runs"
    assert run_folder.new_folder(out, "a") == out / "00000-a"
    assert run_folder.new_folder(out, "a") == out / "00001-a"
    for other in ("00007-b", "123456-c", "9-short", "000099", "notes-00200", "old-99999-d"):
        (out / other).mkdir()
    (out / "00300-file").write_text("a file has a number too")
    assert run_folder.new_folder(str(out), "e") == out / "123457-e"
    assert (out / "123457-e").is_dir()


def test_a_number_taken_by_another_run_in_between_is_not_shared(tmp_path, monkeypatch):
    real = Path.iterdir
    rivals = iter(("00000-x", "00001-y"))

    def iterdir(path):
        before = list(real(path))
        if rival := next(rivals, None):
            (path / rival).mkdir()  # after we looked
        return iter(before)
    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert run_folder.new_folder(tmp_path, "x").name == "00002-x"


def test_runs_started_at_once_get_a_folder_each(tmp_path):
    folders, gate = [], threading.Barrier(8)

    def start():
        for _ in range(5):
            gate.wait()
            folders.append(run_folder.new_folder(tmp_path / "runs", "x"))
    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == len(folders) == 40


def test_the_latest_run_is_the_highest_numbered_one_that_can_go_on(tmp_path):
    runnable = ("00002-old", "99999-older", "100000-latest", "notes-999999")
    for name in (*runnable, "100011-halfmade", "100012-nocheckpoint", "100013-partial"):
        (tmp_path / name).mkdir()
    for name in (*runnable, "100012-nocheckpoint", "100013-partial"):
        (tmp_path / name / "checkpoints").mkdir()
    for name in runnable:
        checkpoints.save_checkpoint(tmp_path / name / "checkpoints" / "000005.npz", {})
    (tmp_path / "100013-partial" / "checkpoints" / "000005.partial").write_bytes(b"half")
    (tmp_path / "100020-file").write_text("")
    for out in (tmp_path, str(tmp_path)):
        assert run_folder.latest_folder(out).name == "100000-latest"


@pytest.mark.parametrize("missing", ["", "nowhere"])
def test_without_a_run_to_go_on_with_the_folder_is_named(tmp_path, missing):
    with pytest.raises(RunError, match=str(tmp_path / missing)):
        run_folder.latest_folder(tmp_path / missing)


# Options

def test_options_come_back_as_they_were_written(tmp_path):
    record = {"options": {"data": "größe \"x\"\n", "lr_g": 2e-4, "clip": 0.0, "image_size": None, "seed": 2**70},
              "sample_shape": [28, 28, 1], "data": {"sha256": "0"}}
    run_folder.write_options(tmp_path, record)
    assert run_folder.read_options(tmp_path) == record
    assert os.listdir(tmp_path) == ["options.json"]
    assert (tmp_path / "options.json").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"options": {}}', b"[" * 10_000,
                                     b'{"options": 1, "sample_shape": [2]}', b'{"options": {}, "sample_shape": 2}'])
def test_damaged_options_are_refused_by_name(tmp_path, content):
    (tmp_path / "options.json").write_bytes(content)
    with pytest.raises(RunError, match=str(tmp_path / "options.json")):
        run_folder.read_options(tmp_path)


def test_a_folder_without_options_is_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(RunError, match=f"{folder} is not a run folder"):
            run_folder.read_options(folder)


# Checkpoints: written

ARRAYS = {"trainer.w": np.arange(6, dtype=np.float32).reshape(2, 3), "trainer.steps": np.int64(7),
          "batches.order": np.empty(0, np.int64), "streams.noise": np.arange(13, dtype=np.uint64)}


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    checkpoints.save_checkpoint(tmp_path / "000007.npz", ARRAYS)
    assert os.listdir(tmp_path) == ["000007.npz"]
    arrays = checkpoints.load_checkpoint(tmp_path / "000007.npz")
    assert arrays.pop("format") == checkpoints.FORMAT
    assert arrays.keys() == ARRAYS.keys()
    for name in ARRAYS:
        np.testing.assert_array_equal(arrays[name], ARRAYS[name], strict=True)


def test_a_checkpoint_is_an_npz_without_pickle_that_tells_its_format(tmp_path):
    checkpoints.save_checkpoint(tmp_path / "000007.npz", ARRAYS)
    with np.load(tmp_path / "000007.npz", allow_pickle=False) as file:
        assert file["format"].dtype.kind == "i" and file["format"].shape == ()
        assert all(file[name].dtype.kind in "fiu" for name in file.files)


def test_a_file_is_flushed_before_it_gets_its_name_and_the_folder_after(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor):
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        sync(descriptor)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("rename"), replace(*names)))
    checkpoints.save_checkpoint(tmp_path / "000007.npz", ARRAYS)
    run_folder.write_options(tmp_path, {})
    assert done == ["file", "rename", "folder"] * 2


@pytest.mark.parametrize("place", ["numpy.savez", "os.fsync", "os.replace"])
def test_a_checkpoint_that_could_not_be_written_leaves_the_last_one_whole(tmp_path, monkeypatch, place):
    path = tmp_path / "checkpoints" / "000007.npz"
    path.parent.mkdir()
    checkpoints.save_checkpoint(path, ARRAYS)
    before = path.read_bytes()

    def full(file, *args, **kwargs):
        if place == "numpy.savez":
            file.write(b"PK\x03\x04 half a file")
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(place, full)
    for target in (path, path.with_name("000008.npz")):
        with pytest.raises(OSError, match="No space"):
            checkpoints.save_checkpoint(target, {name: array + 1 for name, array in ARRAYS.items()})
    assert path.read_bytes() == before
    assert run_folder.checkpoints(tmp_path) == [path]


def test_checkpoints_are_listed_newest_first_by_number(tmp_path):
    assert run_folder.checkpoints(tmp_path) == []
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("000002.npz", "1000000.npz", "000010.npz", "000099.partial", "000098.npz.partial", "latest.npz",
                 "000097.npz~", "-00001.npz", "\u00b2.npz"):
        (folder / name).write_bytes(b"")
    assert [path.name for path in run_folder.checkpoints(tmp_path)] == ["1000000.npz", "000010.npz", "000002.npz"]


def test_snapshots_are_listed_oldest_first_by_number(tmp_path):
    assert run_folder.snapshots(tmp_path) == []
    folder = tmp_path / "samples"
    folder.mkdir()
    for name in ("000002.png", "1000000.png", "000010.png", "000099.png.partial", "last.png", "000011.gif"):
        (folder / name).write_bytes(b"")
    assert [path.name for path in run_folder.snapshots(tmp_path)] == ["000002.png", "000010.png", "1000000.png"]


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    for keep in (1, 2, 3):
        work = experiment_in(tmp_path / str(keep))
        run(work, steps=9, checkpoint_every=2, keep=keep)
        assert saved_steps(work.folder) == [9, 8, 6, 4][:keep]


def test_old_checkpoints_go_only_after_the_new_one_is_there(tmp_path, monkeypatch):
    work = experiment_in(tmp_path / "run")
    run(work, steps=3, keep=1)
    work.trainer.steps = 4
    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(Crash):
        work.save(keep=1)
    assert saved_steps(work.folder) == [3]


# Checkpoints: read

def test_the_newest_sound_checkpoint_is_taken_and_the_others_are_told(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (1, 2, 3, 4):
        checkpoints.save_checkpoint(folder / f"{step:06d}.npz", {"step": np.int64(step)})
    assert checkpoints.newest_checkpoint(tmp_path, dict)[0]["step"] == 4
    assert checkpoints.newest_checkpoint(tmp_path, dict)[1] == []
    (folder / "000004.npz").write_bytes(b"")
    (folder / "000003.npz").write_bytes((folder / "000003.npz").read_bytes()[:-30])
    (folder / "000005.partial").write_bytes((folder / "000002.npz").read_bytes())
    arrays, complaints = checkpoints.newest_checkpoint(tmp_path, dict)
    assert arrays["step"] == 2
    assert [name in line for name, line in zip(("000004.npz", "000003.npz"), complaints, strict=True)] == [True, True]


def test_without_a_sound_checkpoint_each_is_named(tmp_path):
    with pytest.raises(RunError, match=str(tmp_path)):
        checkpoints.newest_checkpoint(tmp_path, dict)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (1, 2):
        (folder / f"{step:06d}.npz").write_bytes(b"x")
    with pytest.raises(RunError, match="(?s)000002.npz.*000001.npz"):
        checkpoints.newest_checkpoint(tmp_path, dict)


# A bit of the first entry's comment length is worth the 64 bytes of the second: an entry can be read over unnoticed.
FEW = {"trainer.w": ARRAYS["trainer.w"], "streams.stream": ARRAYS["streams.noise"], "batches.order": np.arange(3)}


def assert_whole_or_refused(path):
    """False if the file is refused; what is read of it otherwise is what was written."""
    try:
        arrays = checkpoints.load_checkpoint(path)
    except RunError as error:
        assert str(path) in str(error)
        return False
    del arrays["format"]
    assert arrays.keys() == FEW.keys()
    for name in FEW:
        np.testing.assert_array_equal(arrays[name], FEW[name], strict=True)
    return True


def test_a_checkpoint_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "000007.npz"
    checkpoints.save_checkpoint(path, FEW)
    content = path.read_bytes()
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        assert not assert_whole_or_refused(path), length


def flip(content, position, bit):
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1:]


def test_a_checkpoint_with_any_bit_flipped_is_refused_or_means_the_same(tmp_path):
    path = tmp_path / "000007.npz"
    checkpoints.save_checkpoint(path, FEW)
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")  # nothing in a zip file guards its table of contents
    places = [(i, bit) for i in range(len(content)) for bit in ((0, 3, 6) if i >= directory else [i % 7])]
    refused = 0
    for position, bit in places:
        path.write_bytes(flip(content, position, bit))
        refused += not assert_whole_or_refused(path)
    assert refused > len(places) / 2  # the rest are times, attributes and the like


def test_an_entry_that_the_directory_reads_over_is_missed(tmp_path):
    path = tmp_path / "000007.npz"
    checkpoints.save_checkpoint(path, FEW)
    content = path.read_bytes()
    comment_length = content.index(b"PK\x01\x02") + 32
    path.write_bytes(flip(content, comment_length, 6))
    with np.load(path) as file:
        assert file.files == ["trainer.w", "batches.order", "format"]  # to zipfile all is well
    with pytest.raises(RunError, match="lists 3 arrays and counts 4"):
        checkpoints.load_checkpoint(path)


def raw_npz(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("members, reason", [
    ({}, "not a checkpoint of minigan"),
    ({"images.npy": npy(np.zeros((2, 4, 4), np.uint8))}, "not a checkpoint of minigan"),
    ({"format.npy": npy(np.array([1]))}, "not a checkpoint of minigan"),
    ({"format.npy": npy(np.float64(1))}, "not a checkpoint of minigan"),
    ({"format.npy": npy(np.array("1"))}, "not a checkpoint of minigan"),
    ({"format": b"1"}, "checkpoint"),                                       # no array at all
    ({"format.npy": npy(np.int64(1)), "w": b"text"}, "checkpoint"),
    ({"format.npy": npy(np.int64(checkpoints.FORMAT + 1))}, f"format {checkpoints.FORMAT + 1}.*{checkpoints.FORMAT}"),
    ({"format.npy": npy(np.int64(0))}, "format 0"),
    ({"format.npy": b"\x93NUMPY\x01\x00"}, "damaged"),
    ({"format.npy": npy(np.int64(checkpoints.FORMAT)), "w.npy": npy(np.array("text"))}, "w holds more than .*U4"),
    ({"format.npy": npy(np.int64(checkpoints.FORMAT)), "w.npy": npy(np.array(1j))}, "w holds more than .*complex"),
    ({"format.npy": npy(np.int64(checkpoints.FORMAT)), "w.npy": npy(np.array([1, np.nan]))}, "w holds more than"),
])
def test_a_foreign_file_is_refused(tmp_path, members, reason):
    path = tmp_path / "000007.npz"
    raw_npz(path, members)
    with pytest.raises(RunError, match=reason) as error:
        checkpoints.load_checkpoint(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    path = tmp_path / "000007.npz"
    for content in (b"", b"text", npy(np.zeros(3)), b"PK\x03\x04", b"\x00" * 100):
        path.write_bytes(content)
        with pytest.raises(RunError, match="damaged or no checkpoint"):
            checkpoints.load_checkpoint(path)
    path.unlink()
    path.mkdir()
    for missing in (path, tmp_path / "000008.npz"):
        with pytest.raises(RunError, match=str(missing)):
            checkpoints.load_checkpoint(missing)


def test_an_array_that_claims_more_than_the_file_holds_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "000007.npz"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,), }"
    header += b" " * (117 - len(header)) + b"\n"
    raw_npz(path, {"format.npy": npy(np.int64(checkpoints.FORMAT)),
                   "w.npy": b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"few"})
    with pytest.raises(RunError, match="damaged"):
        checkpoints.load_checkpoint(path)


class Trap:
    """Unpickling an object of this class writes a file."""
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickled_payload_is_refused_and_does_not_execute(tmp_path):
    sprung, path = tmp_path / "sprung", tmp_path / "000007.npz"
    trap = np.array([Trap(sprung)], dtype=object)
    for content in (dict(format=np.int64(checkpoints.FORMAT), w=trap), dict(format=trap)):
        np.savez(path, **content)
        with pytest.raises(RunError, match="damaged or no checkpoint"):
            checkpoints.load_checkpoint(path)
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(RunError):
        checkpoints.load_checkpoint(path)
    assert not sprung.exists()
    pickle.loads(path.read_bytes()).close()  # the trap itself is good
    assert sprung.exists()


# Running

def test_a_run_leaves_what_it_was_asked_for(tmp_path):
    finished = []
    work = experiment_in(tmp_path / "run", on_finish=lambda: finished.append(True))
    assert run(work, steps=11, log_every=4, snapshot_every=5, checkpoint_every=3, keep=10) is None
    assert saved_steps(work.folder) == [11, 9, 6, 3, 0]
    assert [record["step"] for record in stats_of(work.folder)] == [4, 8, 11]
    assert sorted(path.name for path in (work.folder / "samples").iterdir()) == [
        f"{step:06d}.png" for step in (0, 5, 10, 11)]
    assert finished == [True] and work.trainer.steps == 11
    log = (work.folder / "log.txt").read_text()
    assert [line.split()[:2] for line in log.splitlines()] == [["step", "4/11"], ["step", "8/11"], ["step", "11/11"]]
    assert all(word in log.splitlines()[0] for word in ("drift", "steps/s", "left"))


def test_there_is_something_to_go_on_with_before_the_first_step(tmp_path):
    work = experiment_in(tmp_path / "run")
    work.trainer.deeds[1] = crash
    with pytest.raises(Crash):
        run(work)
    assert saved_steps(work.folder) == [0]
    again = experiment_in(tmp_path / "run")
    again.restore()
    run(again)
    assert_same_end(again.folder, whole_run(tmp_path / "whole").folder)


@pytest.mark.parametrize("n", [1, 5, 6, 11])
def test_n_plus_m_steps_are_n_steps_a_stop_and_m_more(tmp_path, n):
    whole = whole_run(tmp_path / "whole")
    run(experiment_in(tmp_path / "run"), steps=n, log_every=2 if n % 2 == 0 else 100)
    again = experiment_in(tmp_path / "run")
    again.restore()
    assert again.trainer.steps == n
    run(again)
    np.testing.assert_array_equal(again.trainer.weights, whole.trainer.weights)
    again = checkpoints.load_checkpoint(run_folder.checkpoints(tmp_path / "run")[0])
    before = checkpoints.load_checkpoint(run_folder.checkpoints(whole.folder)[0])
    assert again.keys() == before.keys() and all((again[name] == before[name]).all() for name in again)


@pytest.mark.parametrize("step", range(1, 13))
def test_a_run_that_dies_at_any_step_goes_on_as_if_it_had_not(tmp_path, step):
    whole = whole_run(tmp_path / "whole")
    work = experiment_in(tmp_path / "run")
    work.trainer.deeds[step] = crash
    with pytest.raises(Crash):
        run(work)
    again = experiment_in(tmp_path / "run")
    again.restore()
    assert again.trainer.steps == (step - 1) // 3 * 3
    run(again)
    assert_same_end(again.folder, whole.folder)
    assert [record["step"] for record in stats_of(again.folder)] == [2, 4, 6, 8, 10, 12]
    snapshots = {path.name: path.read_text() for path in (again.folder / "samples").iterdir()}
    assert snapshots == {f"{step:06d}.png": str(step) for step in (0, 4, 8, 12)}


def test_what_was_logged_and_drawn_after_the_checkpoint_is_forgotten(tmp_path):
    work = experiment_in(tmp_path / "run")
    work.trainer.deeds[9] = crash
    with pytest.raises(Crash):
        run(work, log_every=1)
    assert [record["step"] for record in stats_of(work.folder)] == [1, 2, 3, 4, 5, 6, 7, 8]
    (work.folder / "samples" / "mine.png").write_text("not a snapshot")
    again = experiment_in(tmp_path / "run")
    again.restore()
    assert [record["step"] for record in stats_of(work.folder)] == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in (work.folder / "samples").iterdir()) == ["000000.png", "000004.png", "mine.png"]


def test_a_torn_last_line_of_the_statistics_is_dropped(tmp_path):
    work = experiment_in(tmp_path / "run")
    work.trainer.deeds[9] = crash
    with pytest.raises(Crash):
        run(work)
    stats = work.folder / "stats.jsonl"
    for torn in (b'{"step": 8, "dri', b'{"step": 8, "drift": 1.0', b"\x00\x00\x00", b'{"step"', b"8", b"[" * 100_000,
                 b'{"step": 8, "dr\xfft": 1.0'):
        stats.write_bytes(b"".join(line + b"\n" for line in stats.read_bytes().splitlines()[:4]) + torn)
        assert [record["step"] for record in run_folder.read_stats(work.folder)][-1] in (6, 8)
    again = experiment_in(tmp_path / "run")
    again.restore()
    run(again)
    assert_same_end(again.folder, whole_run(tmp_path / "whole").folder)


def test_a_run_that_has_logged_nothing_has_no_statistics(tmp_path):
    assert run_folder.read_stats(tmp_path) == []


@pytest.mark.parametrize("damage", [lambda content: content[:-40], lambda content: b"", lambda content:
                                    flip(content, content.index(b"\n", content.index(b"trainer.weights.npy")) + 1, 3)])
def test_after_a_damaged_checkpoint_the_one_before_it_is_used_and_said(tmp_path, damage, capsys):
    work = experiment_in(tmp_path / "run")
    run(work, steps=9)
    newest = run_folder.checkpoints(work.folder)[0]
    newest.write_bytes(damage(newest.read_bytes()))
    again = experiment_in(tmp_path / "run")
    again.restore()
    assert again.trainer.steps == 6
    said = capsys.readouterr().out
    assert str(newest) in said and "using the one before it" in said
    assert said.splitlines()[-1] in (work.folder / "log.txt").read_text()
    assert saved_steps(work.folder) == [6]
    run(again)
    np.testing.assert_array_equal(again.trainer.weights, whole_run(tmp_path / "whole").trainer.weights)


@pytest.mark.parametrize("change", [
    lambda arrays: arrays.pop("trainer.weights"), lambda arrays: arrays.pop("batches.order"),
    lambda arrays: arrays.pop("streams.seed"), lambda arrays: arrays.update({"streams.noise": np.arange(3)}),
    lambda arrays: arrays.update({"batches.order": np.arange(5)})])
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change):
    work = experiment_in(tmp_path / "run")
    run(work, steps=3, keep=1)
    [path] = run_folder.checkpoints(work.folder)
    arrays = checkpoints.load_checkpoint(path)
    change(arrays)
    del arrays["format"]
    checkpoints.save_checkpoint(path, arrays)
    with pytest.raises(RunError, match="does not fit"):
        experiment_in(tmp_path / "run").restore()


@pytest.mark.parametrize("lost", ["trainer.weights", "batches.order", "streams.seed"])
def test_after_a_checkpoint_that_lacks_something_the_one_before_it_is_used_and_said(tmp_path, capsys, lost):
    work = experiment_in(tmp_path / "run")
    run(work, steps=9)
    newest = run_folder.checkpoints(work.folder)[0]
    arrays = checkpoints.load_checkpoint(newest)
    del arrays["format"], arrays[lost]
    checkpoints.save_checkpoint(newest, arrays)
    again = experiment_in(tmp_path / "run")
    again.restore()
    assert again.trainer.steps == 6
    assert re.search(f"{newest} does not fit .*: using the one before it", capsys.readouterr().out)
    run(again)
    assert_same_end(again.folder, whole_run(tmp_path / "whole").folder)


def test_names_from_a_checkpoint_are_made_printable(tmp_path):
    work = experiment_in(tmp_path / "run")
    run(work, steps=3, keep=1)
    [path] = run_folder.checkpoints(work.folder)
    arrays = checkpoints.load_checkpoint(path)
    del arrays["format"]
    checkpoints.save_checkpoint(path, arrays | {"streams.\x1b[2J\n": np.arange(3.0)})
    with pytest.raises(RunError, match="does not fit") as error:
        experiment_in(tmp_path / "run").restore()
    assert str(error.value).isprintable()


# Nothing that is not finite is saved

def test_a_state_that_is_not_finite_ends_the_run_and_the_last_good_checkpoint_stays(tmp_path):
    for step in (7, 8, 9):
        work = experiment_in(tmp_path / str(step))
        work.trainer.deeds[step] = lambda: work.trainer.weights.fill(np.nan)
        with pytest.raises(ArithmeticError, match="no number since"):
            run(work, keep=1)
        assert saved_steps(work.folder) == [6]
        again = experiment_in(work.folder)
        again.restore()
        assert np.isfinite(again.trainer.weights).all() and again.trainer.steps == 6
        assert all(np.isfinite(list(record.values())).all() for record in stats_of(work.folder))


def test_a_statistic_that_is_not_finite_ends_the_run_and_is_not_logged(tmp_path):
    """One that nothing is learned from, so that the weights stay as they should be."""
    work = experiment_in(tmp_path / "run")
    step = work.trainer.step
    work.trainer.step = lambda batches: step(batches) | ({"first": np.array(np.inf)} if work.trainer.steps == 8 else {})
    with pytest.raises(ArithmeticError, match="first is not finite in step 8"):
        run(work)
    assert [record["step"] for record in stats_of(work.folder)] == [2, 4, 6]


def gan_in(folder):
    """A real trainer at work, after a step."""
    folder.mkdir()
    streams = backend.Streams(0)
    trainer = GANTrainer(*networks.dcgan_pair((16, 16, 1), 3, width=2, rng=streams["init"]), 3, streams=streams)
    batches = data.Batches(np.zeros((9, 16, 16, 1), np.uint8), 4, streams["data"])
    work = Experiment(folder, trainer, batches, streams, lambda step: None, lambda: None)
    work.run(1, 1, 1, 1, keep=1)
    return work


@pytest.mark.on_each_backend
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["generator", "discriminator", "averaged"])
def test_networks_that_are_not_finite_are_never_saved(tmp_path, part, value):
    work = gan_in(tmp_path / "run")
    weight = getattr(work.trainer, part).parameters()[0]
    array = np.array(weight.numpy())
    array.flat[-1] = value
    weight.data = backend.asarray(array)
    work.trainer.steps = 2
    with pytest.raises(ArithmeticError):
        work.save(keep=1)
    assert saved_steps(work.folder) == [1]


@pytest.mark.on_each_backend
@pytest.mark.parametrize("part", ["running statistics", "optimizer"])
def test_neither_is_anything_else_that_is_not_finite(tmp_path, part):
    work = gan_in(tmp_path / "run")
    state = work.trainer.state_dict()
    name = next(name for name in state if ("running_var" in name if part != "optimizer" else name.endswith("0.v")))
    state[name] = np.full_like(state[name], np.inf)
    work.trainer.load_state_dict(state)
    work.trainer.steps = 2
    with pytest.raises(ArithmeticError):
        work.save(keep=1)
    assert saved_steps(work.folder) == [1]


# Signals

@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_saves_and_is_returned(tmp_path, number):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    finished = []
    work = experiment_in(tmp_path / "run", on_finish=lambda: finished.append(True))
    work.trainer.deeds[4] = lambda: os.kill(os.getpid(), number)
    assert run(work) == number
    assert work.trainer.steps == 4 and saved_steps(work.folder)[0] == 4
    assert finished == []
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    again = experiment_in(tmp_path / "run")
    again.restore()
    run(again)
    assert_same_end(again.folder, whole_run(tmp_path / "whole").folder)


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    work = experiment_in(tmp_path / "run")

    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    work.trainer.deeds[4] = twice
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it starts in the background ignore it
    with pytest.raises(KeyboardInterrupt):
        run(work)
    assert work.trainer.steps == 3 and saved_steps(work.folder) == [3, 0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_are_put_back_when_a_run_fails(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    work = experiment_in(tmp_path / "run")
    work.trainer.deeds[2] = crash
    with pytest.raises(Crash):
        run(work)
    assert signal.getsignal(signal.SIGTERM) is before


# What is said

def test_a_log_file_gets_plain_lines_and_a_terminal_one_that_is_refreshed(tmp_path, capsys, monkeypatch):
    run(experiment_in(tmp_path / "plain"), steps=4)
    plain = capsys.readouterr().out
    assert plain.count("\n") == 2 and "\r" not in plain and "\x1b" not in plain
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    run(experiment_in(tmp_path / "terminal"), steps=4)
    shown = capsys.readouterr().out
    assert shown.count("\r\x1b[K") == 2 and shown.count("\n") == 1 and shown.endswith("\n")
    lines = (tmp_path / "terminal" / "log.txt").read_text()
    assert lines.count("\n") == 2 and lines.isascii() and "\r" not in lines
