"""The run folder: runs started at once get one each, and its options come back as they were written."""

import os
import threading
from pathlib import Path

import pytest

from minigan.runs import checkpoints, run_folder
from minigan.runs.run_folder import RunError


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
