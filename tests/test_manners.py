"""What the command lines say of themselves, and what they say in time: the option that was meant, what there is, how
long it will take, who has won, whose figures mean little."""

import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from minigan import backend, classifier, data, evaluate, objectives, report, sample, train as training
from minigan.data import published
from minigan.metrics import classifiers, general, judges, lenet
from minigan.runs import pace
from minigan.runs.balance import Balance
from minigan.runs.commandline import OutputError
from minigan.trainer import GANTrainer
from helpers import IMAGES, POINTS, ROOT, Crash, crash, done, environment, experiment_in, refused, run, train

__all__ = ["train"]  # the fixture


@pytest.mark.parametrize("given, meant", [
    (["--lr", "0.1"], "--lr-g and --lr-d"), (["--lr=0.1"], "--lr-g and --lr-d"), (["--epochs", "3"], "--steps, which "),
    (["--batch", "9"], "--batch-size"), (["--gpu"], "--backend cupy"), (["--stps", "3"], "--steps"),
    (["--lr", "1", "--epochs", "2"], "--lr-g and --lr-d, and --steps")])
def test_an_unknown_option_is_answered_with_the_one_that_was_meant(train, given, meant):
    refused(train(*given), f"did you mean {meant}")


@pytest.mark.parametrize("command", [training, sample, evaluate, report, classifier])
def test_help_says_how_it_is_called_with_examples(command, capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    out = capsys.readouterr().out
    name = command.__name__
    assert out.startswith(f"usage: python -m {name} ")
    assert re.search(rf"^examples:\n  python -m {name} .*", out, re.M)
    for line in re.findall(r"^  (python -m minigan\.(\w+) ?(.*))$", out, re.M):
        assert line[1] in ("train", "sample", "evaluate", "report", "classifier")


def test_the_package_itself_says_what_there_is(tmp_path):
    end = subprocess.run([sys.executable, "-m", "minigan"], cwd=tmp_path, env=environment(), capture_output=True,
                         text=True, encoding="utf-8")
    assert (end.returncode, end.stderr) == (0, "")
    commands = {path.stem for path in (ROOT / "minigan").glob("*.py") if "def main(" in path.read_text()}
    assert set(re.findall(r"python -m minigan\.(\w+)  ", end.stdout)) == commands - {"__main__"}
    end = subprocess.run([sys.executable, "-m", "minigan", "sample", "x"], cwd=tmp_path, env=environment(),
                         capture_output=True, text=True, encoding="utf-8")
    assert (end.returncode, end.stdout) == (2, "") and "such as python -m minigan.sample" in end.stderr


def test_a_dry_run_downloads_nothing_and_says_what_a_run_would(train, monkeypatch, tmp_path):
    monkeypatch.setattr(published, "SYSTEM", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIGAN_DATA", raising=False)
    monkeypatch.setattr(published, "_downloaded", lambda *what: pytest.fail("a download"))
    out = done(train("--data", "mnist", "--dry-run"))
    assert "mnist is not on this machine" in out and "train-images-idx3-ubyte.gz" in out and "t10k" not in out


# In time

@pytest.mark.parametrize("each, expected", [
    (0.5, ["a step takes about 0.5 s: the 92 to come take 46 s"]),
    (60.0, ["a step takes about 60 s: the 99 to come take 1.6 h"]), (0.01, [])])
def test_how_long_it_takes_is_said_within_ten_seconds_unless_the_log_has_said_it(each, expected):
    now, said = [0.0], []
    watch = pace.Pace(0, 100, clock=lambda: now[0])
    for step in range(1, 101):
        now[0] += each
        said.append(watch.after(step, logged=step % 50 == 0))
    assert [line for line in said if line] == expected


def test_the_loop_says_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pace, "EARLY", 0.0)
    run(experiment_in(tmp_path / "run"), log_every=5)
    assert capsys.readouterr().out.splitlines()[0].startswith("a step takes about ")


@pytest.mark.parametrize("had, expected", [
    (0, r"step 1 is still at work after \d+ s"),
    (2, r"step 1 is still at work after \d+ s, with 2 of its 1000 batches: a step takes about .*, all 12 take .*")])
def test_a_first_step_that_takes_long_is_told_of_while_it_is_at_work(tmp_path, monkeypatch, capsys, had, expected):
    monkeypatch.setattr(pace, "LATE", 0.05)
    work, counts, log = experiment_in(tmp_path / "run"), iter([0, had]), tmp_path / "run" / "log.txt"
    work.progress, step = lambda: next(counts), work.trainer.step

    def long_step(batch):
        end = time.monotonic() + 20
        while work.trainer.steps == 0 and not log.exists() and time.monotonic() < end:
            time.sleep(0.01)
        work.trainer.batches_per_step = 2
        return step(batch._replace(x=batch.x[:8]))
    work.trainer.batches_per_step = 1000
    monkeypatch.setattr(work.trainer, "step", long_step)
    run(work)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(expected, lines[0]) and sum("still at work" in line for line in lines) == 1
    assert lines == log.read_text().splitlines()


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_very_many_critic_steps_are_told_of_within_ten_seconds(train, monkeypatch, more):
    assert pace.LATE + pace.EARLY <= 10
    monkeypatch.setattr(pace, "LATE", 0.3)
    out = done(train(*POINTS, "--n-critic", 1000, "--steps", 1, *more))
    assert re.search(r"still at work after \d+ s, with \d+ of its 1000 batches: a step takes about", out)


def test_nothing_is_said_after_a_step_that_has_failed_or_was_fast(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pace, "LATE", 0.3)
    for name, step in (("failed", 1), ("fast", 3)):
        work = experiment_in(tmp_path / name)
        work.trainer.deeds[step] = crash
        threads = threading.active_count()
        with pytest.raises(Crash):
            run(work, log_every=12)
        assert threading.active_count() == threads
        time.sleep(0.4)
        assert capsys.readouterr().out == ""


def test_an_output_that_is_gone_ends_the_run_after_its_long_step(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "LATE", 0.05)
    work, told = experiment_in(tmp_path / "run"), threading.Event()

    def say(line):
        told.set()
        raise OutputError("nobody listens")
    monkeypatch.setattr(work, "say", say)
    work.trainer.deeds[1] = lambda: told.wait(20)
    with pytest.raises(OutputError, match="nobody listens"):
        run(work, log_every=12)
    assert work.trainer.steps == 1


LOST = dict(d_loss=1e-4, g_loss=9.0)


@pytest.mark.parametrize("objective, record, side", [
    (objectives.NonSaturating(), LOST, "discriminator"), (objectives.LeastSquares(), LOST, "discriminator"),
    (objectives.Hinge(), dict(d_loss=0.0, g_loss=3.0), "discriminator"),
    (objectives.Minimax(), dict(d_loss=1e-4, g_loss=-1e-4), "discriminator"),
    (objectives.NonSaturating(), dict(d_loss=8.0, g_loss=1e-3), "generator"),
    (objectives.NonSaturating(), dict(d_loss=1.2, g_loss=0.9), None),
    (objectives.Wasserstein(), dict(d_loss=0.0, g_loss=0.0), None)])
def test_a_side_that_has_won_for_long_is_named_once(objective, record, side):
    watch = Balance(objective)
    said = [watch(record | {"step": step}) for step in range(50, 1000, 50)]
    lines = [line for line in said if line]
    assert len(lines) == (side is not None) and not any(said[:4])
    assert all(line.startswith(f"the {side} has won: ") and "What may help" in line for line in lines)


def test_a_side_that_wins_now_and_then_has_not_won():
    watch = Balance(objectives.NonSaturating())
    assert not any(watch({"step": 50 * i, "d_loss": 1e-4 if i % 4 else 0.5, "g_loss": 5.0}) for i in range(40))


def test_training_says_that_a_side_has_won(train, monkeypatch):
    monkeypatch.setattr("minigan.runs.balance.STEPS", 4)

    def step(self, batches):
        self.steps += 1
        return {name: np.asarray(1e-5 if name == "d_loss" else 9.0) for name in
                ("d_loss", "g_loss", "real_score", "fake_score", "d_grad_norm", "g_grad_norm")}
    monkeypatch.setattr(GANTrainer, "step", step)
    assert done(train(*IMAGES, "--steps", 9, "--log-every", 1)).count("the discriminator has won") == 1


# Whose figures mean little

def test_pictures_of_ones_own_are_measured_by_general_features_named_so(rng):
    x = rng.integers(256, size=(30, 40, 24, 3), dtype=np.uint8)
    judge = judges.judge_for("mine", x, "fashion")
    assert judge.name == "general-LeNet-fashion"
    found = [name for measure in judge.measures(data.to_unit(x[:20])) for name in measure.names]
    assert found == ["FD-general-LeNet-fashion", "KD-general-LeNet-fashion", "precision", "recall", "density",
                     "coverage"]
    assert judges.quick(judge, data.to_unit(x)) == pytest.approx({"FD-general-LeNet-fashion": 0.0}, abs=1e-3)
    [doubt] = judges.doubts(judge)
    assert "other pictures" in doubt


def test_resizing_takes_the_mean_of_what_a_pixel_covers(rng):
    x = rng.random((3, 6, 8, 1), np.float32)
    np.testing.assert_allclose(general.resized(x, (3, 2)), x.reshape(3, 3, 2, 2, 4, 1).mean((2, 4)), atol=1e-6)
    np.testing.assert_allclose(general.resized(x, (12, 16)), x.repeat(2, 1).repeat(2, 2), atol=1e-6)
    np.testing.assert_allclose(general.areas(28, 13).sum(axis=1), 1, atol=1e-6)
    white = np.full((1, 5, 5, 3), 255, np.uint8)
    np.testing.assert_allclose(general.resized(white, (28, 28)), 1.0, atol=1e-6)


def test_a_classifier_that_guesses_is_said_to(rng):
    x, classes = rng.integers(256, size=(30, 8, 8, 1), dtype=np.uint8), tuple("0123456789")
    network = lenet.LeNet((8, 8, 1), 10, backend.Streams()["init"])
    for accuracy, doubts in ((0.11, 1), (0.96, 0)):
        found = classifiers.Classifier(network, "LeNet-x", classes, (8, 8, 1), accuracy, "by hand")
        said = judges.doubts(judges.ImageJudge(x, found))
        assert len(said) == doubts and all("11.0%" in line and "guessing has 10.0%" in line for line in said)


def test_points_and_networks_of_ones_own_are_not_doubted(rng):
    assert judges.doubts(judges.PointJudge(rng.standard_normal((30, 2)))) == []


def test_digits_are_judged_out_of_the_box():
    x, labels, classes = data.load("digits")
    judge = judges.judge_for("digits", x[:200])
    assert judge.name == "LeNet-digits" and judge.network.classes == classes
    assert judge.network.share_right(x, labels) > 0.96
