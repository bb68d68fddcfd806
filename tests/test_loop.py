"""A run: nothing is lost, and going on is going on exactly."""

import os
import re
import signal

import numpy as np
import pytest

from minigan import backend, data, networks
from minigan.runs import checkpoints, run_folder
from minigan.runs.loop import Experiment
from minigan.runs.run_folder import RunError
from minigan.trainer import GANTrainer
from helpers import Crash, assert_same_run, crash, experiment_in, flip, run, saved_steps, stats_of, whole_run


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
    assert_same_run(again.folder, whole_run(tmp_path / "whole").folder)


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
    assert_same_run(again.folder, whole.folder)
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
    assert_same_run(again.folder, whole_run(tmp_path / "whole").folder)


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
    assert_same_run(again.folder, whole_run(tmp_path / "whole").folder)


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
    assert_same_run(again.folder, whole_run(tmp_path / "whole").folder)


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
