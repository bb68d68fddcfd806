"""Checkpoints: nothing half-made is taken for whole, and nothing damaged or foreign is believed."""

import errno
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from minigan.runs import checkpoints, run_folder
from minigan.runs.run_folder import RunError
from helpers import Crash, crash, experiment_in, flip, run, saved_steps


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
