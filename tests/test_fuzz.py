"""Any command line ends well: the thing is done, or one line says why not. Hypothesis makes them up.

What is merely large or long is left out, for it would be done as asked: numbers are small, wrong, or beyond anything
that exists.
"""

import contextlib
import io
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import minigan as mg
from minigan import classifier, data, evaluate, plots, sample, train
from minigan.metrics import classifiers
from minigan.runs import run_folder
from helpers import FUZZ_MANY, FUZZ_QUICK, draw_quickly

COMMANDS = {module.__name__.split(".")[-1]: module for module in (train, sample, evaluate, classifier)}

RUNS = ["runs/00000-images", "runs/00001-points"]
HUGE = [str(n) for n in (2**60, 2**63, 10**30, 10**400)]
ODD = ["", "-", "--", "-1", "0", "1.5", "nan", "inf", "-inf", "1e999", "1e-999", "٣", "1_0", " 1", "0x10", "None",
       "\0", "\n", "\x1b[2J", "caf\udce9", "<b>&amp;</b>", "$x_", "..", "/", "~", "%s", "{}", "'", '"', "a" * 300,
       "text.txt", "text.txt/x", "cut.npz", "empty", "runs"]
odd = st.one_of(st.sampled_from(ODD), st.sampled_from(HUGE), st.text(max_size=8))


def numbers(*more):
    return st.sampled_from(["1", "2", "3", "4", *more])


reals = st.sampled_from(["0", "0.5", "1", "1e-3", "1e-30", "1e30", "1e300"])
files = st.sampled_from(["out", "a.png", "runs/x", "empty/y", "no/where"])
sources = st.sampled_from(["few.npz", "points.npz", "ring8", "pictures", "digits"])
backends = st.sampled_from(["numpy", "numpy", "cupy"])
OPTIONS = {
    "train": {
        "--data": sources, "--objective": st.sampled_from(["minimax", "gan", "lsgan", "wgan", "wgan-gp", "hinge"]),
        "--backend": backends, "--tf32": None, "--steps": numbers(), "--batch-size": numbers("20"),
        "--width": numbers(*HUGE), "--latent": numbers(*HUGE), "--lr-g": reals, "--lr-d": reals,
        "--n-critic": numbers(), "--clip": reals, "--gp-weight": reals, "--ema": reals, "--pack": numbers(*HUGE),
        "--lr-decay": reals, "--seed": numbers(*HUGE), "--image-size": st.sampled_from(["8", "16", *HUGE]),
        "--out": files, "--name": st.text(),
        "--log-every": numbers(*HUGE), "--snapshot-every": numbers(*HUGE), "--evaluate-every": numbers("0", *HUGE),
        "--checkpoint-every": numbers(*HUGE), "--keep": numbers(*HUGE),
        "--resume": st.sampled_from(["latest", *RUNS]), "--dry-run": None, "--help": None},
    "sample": {
        "--n": numbers("9", "2305843009213693952"), "--seed": numbers(*HUGE), "--grid": files, "--npz": files,
        "--truncation": reals, "--interpolate": None, "--backend": backends, "--help": None},
    "evaluate": {
        "--n": numbers("12", "40", *HUGE), "--against": st.sampled_from(["test", "train"]),
        "--classifier": st.sampled_from(["fashion", "mnist", "lenet.npz", "few.npz"]), "--seed": numbers(*HUGE),
        "--backend": backends, "--help": None},
    "classifier": {
        "--data": sources, "--epochs": numbers(), "--seed": numbers(*HUGE),
        "--image-size": st.sampled_from(["8", *HUGE]), "--out": files, "--backend": backends, "--help": None},
}
FIRST = {  # what keeps an example small; what is drawn comes later and counts
    "train": ["--data", "few.npz", "--batch-size", "4", "--width", "2", "--latent", "2", "--steps", "2"],
    "sample": [], "evaluate": [], "classifier": ["--data", "few.npz", "--epochs", "1"],
}


@st.composite
def command_lines(draw, command):
    """Mostly words that are right one by one."""
    words = [] if command in ("train", "classifier") else [draw(st.sampled_from(RUNS))]
    for name in draw(st.lists(st.sampled_from(list(OPTIONS[command])), max_size=5, unique=True)):
        values = OPTIONS[command][name]
        right = draw(st.integers(0, 7)) > 0
        words += [name] if values is None else [name, draw(values if right else odd)]
    if "--resume" not in words:  # which has its own
        words = FIRST[command] + words
    if draw(st.integers(0, 9)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(odd))
    endless = [i for i, word in enumerate(words[:-1]) if word in ("--steps", "--epochs", "--n-critic")
               and words[i + 1] in HUGE]
    return words + ["--help"] * len(endless)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data, a classifier, a run on images and one on points; drawing with matplotlib takes too long."""
    place = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(data, "load", partial(data.load, n=40))
        draw_quickly(patch)
        for name in ("save_densities", "save_judged_images"):
            patch.setattr(plots, name, lambda path, *what: Path(path).write_bytes(b"a picture"))
        np.savez("few.npz", images=rng.integers(256, size=(20, 8, 8), dtype=np.uint8), labels=np.arange(20) % 2)
        np.savez("points.npz", points=rng.standard_normal((20, 2)).astype(np.float32))
        Path("cut.npz").write_bytes(Path("few.npz").read_bytes()[:-40])
        Path("text.txt").write_text("text")
        Path("empty").mkdir()
        for i in range(4):
            path = Path("pictures", f"<{i % 2}>", f"{i}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(256, size=(9, 9), dtype=np.uint8)).save(path)
        for name in ("images", "points"):
            source = {"images": "few.npz", "points": "ring8"}[name]
            assert call(train.main, [*FIRST["train"], "--data", source, "--name", name])[0] == 0
        assert call(classifier.main, [*FIRST["classifier"], "--out", "lenet.npz"])[0] == 0
        yield place


def call(main, words):
    """(exit status, what was said on stderr). Whatever is raised but SystemExit would have been a traceback; so would
    have been text that standard output cannot take."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
        out.flush()
    return status, err.getvalue()


def tree(folder):
    return {path: path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}


def check(command, words, place, ends):
    with tempfile.TemporaryDirectory() as where, pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        shutil.copytree(place, where, dirs_exist_ok=True)
        before = tree(where)
        status, err = call(COMMANDS[command].main, words)
        ends.append(status)
        if status == 0:
            assert err == ""
        else:
            assert err.startswith(f"minigan.{command}: ") and err.endswith("\n") and err[:-1].isprintable(), err
            assert len(err) < 2000
        if status == 1:
            assert command == "train" and "not finite" in err, err
        elif status != 0:
            assert status == 2
            if command != "sample":  # which may have drawn its picture before --npz failed
                assert tree(where) == before
        for path in Path(where).rglob("checkpoints"):
            if run_folder.checkpoints(path.parent):
                mg.load(path.parent)
        if any(run_folder.checkpoints(path) for path in Path("runs").glob("*-*")):
            mg.load(run_folder.latest_folder("runs"))


def fuzz(command, place, examples):
    ends = []

    @settings(max_examples=examples, derandomize=True, deadline=None)
    @given(command_lines(command))
    def any_command_line_ends_well(words):
        check(command, words, place, ends)
    any_command_line_ends_well()
    assert len(ends) >= examples
    for status in (0, 2):  # both are met often, or nothing has been tried
        assert ends.count(status) > 0.15 * examples, ends


STRANGE = "\x1b[31mcaf\udce9\n"  # a terminal's code, a byte that is no character, a line end


@pytest.mark.parametrize("command, words", [
    ("train", ["--data", STRANGE + ".npz", "--dry-run", "--batch-size", "4", "--width", "2"]),
    ("sample", [STRANGE, "--n", "2", "--grid", STRANGE + ".png", "--npz", STRANGE + "2.npz"]),
    ("evaluate", [STRANGE]),
    ("classifier", ["--data", STRANGE + ".npz", "--epochs", "1", "--out", STRANGE + ".classifier"])])
def test_strange_names_are_good_names(command, words, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(place / "few.npz", STRANGE + ".npz")
    shutil.copytree(place / "runs" / "00001-points", STRANGE)
    status, err = call(COMMANDS[command].main, words)
    assert (status, err) == (0, "")
    if command == "classifier":
        classifiers.load(STRANGE + ".classifier")


@pytest.mark.parametrize("command", COMMANDS)
def test_command_lines_made_up_end_well(command, place):
    fuzz(command, place, FUZZ_QUICK[command])


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_many_command_lines_made_up_end_well(command, place):
    fuzz(command, place, FUZZ_MANY[command])
