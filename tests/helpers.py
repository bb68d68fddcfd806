"""What several tests share: training in this process and in others, a trainer that is no GAN, definitions."""

import json
import math
import os
import struct
import subprocess
import sys
import zlib
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings, strategies as st

from minigan import backend, classifier, data, plots, report, train as training
from minigan.data import sources
from minigan.metrics import (
    density_coverage, frechet_distance, kernel_distance, likeness, precision_recall, sliced_wasserstein)
from minigan.runs import checkpoints, models, run_folder
from minigan.runs.loop import Experiment
from minigan.train import main

ROOT = Path(__file__).parent.parent
OBJECTIVES = ("minimax", "gan", "lsgan", "wgan", "wgan-gp", "hinge")
POINTS = ("--data", "ring8", "--width", "8", "--batch-size", "16")
IMAGES = ("--data", "digits", "--recipe", "dcgan", "--width", "2", "--batch-size", "8", "--latent", "3")
FUZZ_QUICK = {"train": 60, "sample": 40, "evaluate": 15, "classifier": 15}  # made-up command lines
FUZZ_MANY = {"train": 500, "sample": 500, "evaluate": 150, "classifier": 150}  # the table in tests/README.md has them
OFTEN = ("--log-every", "2", "--snapshot-every", "4", "--checkpoint-every", "2")


def draw_quickly(patch):
    """In place of matplotlib's pictures, which take most of a short run's time, quick ones of the same numbers."""
    def save_points(path, points, real=None, generated=True):
        plots.save_grid(path, np.resize(points, (1, 60, 60, 1)), generated=generated)

    def save_game(path, points, real, feedback, transform, *how):
        feedback(points[:40])
        transform(points[:40])
        save_points(path, points)

    def save_losses(path, records, names):
        if records:
            numbers = np.array([[record.get(name, 0.0) for name in names] for record in records])
            save_points(path, numbers, generated=False)
    for function in (save_points, save_game, save_losses):
        patch.setattr(plots, function.__name__, function)


@pytest.fixture
def train(request, tmp_path, monkeypatch, capsys, backend_name):
    """Run the command line in this process and an empty folder: (exit status, stdout, stderr). A test that asks for
    `drawn` too gets matplotlib's pictures."""
    monkeypatch.chdir(tmp_path)
    if "drawn" not in request.fixturenames:
        draw_quickly(monkeypatch)
    monkeypatch.setattr(data, "load", partial(data.load, n=40))  # a ring of few points: two batches are an epoch
    choice = () if backend_name == "numpy" else ("--backend", backend_name)

    def call(*arguments):
        try:
            status = main([*map(str, arguments), *choice])
        except SystemExit as end:
            status = end.code
        except KeyboardInterrupt:
            status = "a traceback"
        return status, *capsys.readouterr()
    return call


@pytest.fixture
def call(capsys, backend_name):
    """Run another command, of which `main` is given: (exit status, stdout, stderr)."""
    def call(main, *arguments):
        choice = () if backend_name == "numpy" or main is report.main else ("--backend", backend_name)
        try:
            status = main([*map(str, arguments), *choice])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()
    return call


def done(result):
    """The output of a call that was to succeed."""
    status, out, err = result
    assert (status, err) == (0, "")
    return out


def refused(result, *words):
    """The one line of a training that was to fail because of the user."""
    return refused_by(result, "minigan.train: ", *words)


def refused_by(result, *words):
    """The same of any command."""
    status, out, err = result
    assert status == 2, (status, out, err)
    assert err.count("\n") == 1 and err.endswith("\n") and err.startswith("minigan.") and out == ""
    assert "Traceback" not in err and "usage" not in err
    for word in words:
        assert word in err
    return err


def save_images(path, n=20, size=(8, 8), channels=1, seed=0):
    images = np.random.default_rng(seed).integers(256, size=(n, *size, channels), dtype=np.uint8)
    np.savez(path, images=images)
    return images


def last_checkpoint(folder):
    return checkpoints.load_checkpoint(run_folder.checkpoints(folder)[0])


def stats_of(folder):
    """What stands in stats.jsonl, without what depends on the clock."""
    records = [json.loads(line) for line in (Path(folder) / "stats.jsonl").read_text().splitlines()]
    assert all(record.pop("steps_per_s") > 0 for record in records)
    return records


def assert_same_weights(folder, other):
    a, b = last_checkpoint(folder), last_checkpoint(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name, strict=True)


def assert_same_run(folder, other):
    assert_same_weights(folder, other)
    assert stats_of(folder) == stats_of(other)


def failed(result, *words):
    status, out, err = result
    assert status == 1, (status, out, err)
    assert err.count("\n") == 1 and err.startswith("minigan.train: ") and "Traceback" not in err
    for word in words:
        assert word in err
    return err


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def command(*arguments, code=None):
    start = ["-m", "minigan.train"] if code is None else ["-c", code]
    return [sys.executable, *start, *(str(argument) for argument in arguments)]


def start(folder, *arguments, code=None):
    return subprocess.Popen(command(*arguments, code=code), cwd=folder, env=environment(), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


class Walk:
    """A trainer that is no GAN: numbers that drift with the data and a random stream. Deeds happen before a step."""

    batches_per_step, accumulate = 2, 1
    headline = ("drift",)

    def __init__(self, streams):
        self.steps, self.weights, self.streams, self.deeds = 0, np.zeros(3), streams, {}

    def step(self, batch):
        batches = [part.x for part in batch.parts(2)]
        assert (batches[0] != batches[1]).any()
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


def flip(content, position, bit):
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1:]


def png(width, height, body=b""):
    """The bytes of a grey PNG that claims this size, whatever its body holds."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body))
            + chunk(b"IEND", b""))


TINY = ("--width", "2", "--latent", "3", "--batch-size", "16", "--steps", "2", "--ema", "0.5")


def like_mnist(name, split):
    """The bundled digits, enlarged to 28 × 28: published data on a machine without any."""
    x, labels, classes = data.load("digits")
    x = np.pad(x.repeat(3, 1).repeat(3, 2), ((0, 0), (2, 2), (2, 2), (0, 0)))
    half = slice(0, 900) if split == "train" else slice(900, None)
    return x[half], labels[half], classes


def draw_nothing(patch):
    """matplotlib takes its time."""
    for name in ("save_points", "save_game", "save_losses", "save_gif", "save_judged_images", "save_densities"):
        patch.setattr(plots, name, lambda *what, **how: None)


@pytest.fixture
def torch():
    """PyTorch on one thread, as these works are small. The test is skipped where it is not installed."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


@pytest.fixture
def drawn():
    """For tests of pictures; the others draw none."""


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    if "drawn" not in request.fixturenames:
        draw_nothing(monkeypatch)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run on each kind of data, and a classifier for two of them."""
    home = tmp_path_factory.mktemp("home")
    x = np.random.default_rng(0).integers(256, size=(60, 12, 12, 3), dtype=np.uint8)
    np.savez(home / "mine.npz", images=x, labels=np.arange(60) % 2)
    np.savez(home / "free.npz", points=np.random.default_rng(0).standard_normal((300, 2)))
    back = os.getcwd()
    os.chdir(home)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()):
        draw_nothing(patch)
        patch.setattr(data, "load", partial(data.load, n=600))
        patch.setattr(sources, "read_published", like_mnist)
        for source in ("digits", "mine.npz"):
            assert classifier.main(["--data", source, "--epochs", "1"]) == 0
        for source, name in (("fashion-mini", "clothes"), ("ring8", "points"), ("digits", "digits"),
                             ("mine.npz", "mine"), ("mnist", "mnist"), ("free.npz", "free")):
            assert training.main(["--data", source, "--name", name, *TINY]) == 0
    os.chdir(back)
    return home


# Hypothesis warns of a folder shared between its examples; here each example overwrites what the last one left.
sharing = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def one_line(error):
    """The message of a caught DataError, which must be a single printable line."""
    message = str(error.value)
    assert message.isprintable() and len(message) > 10
    return message


generators = st.integers(0, 2 ** 32 - 1).map(np.random.default_rng)
COMPARISONS = [frechet_distance, kernel_distance, precision_recall, density_coverage]


def noise_pictures(rng, *shape):
    return rng.uniform(-1, 1, shape)


def flat_pictures(values, *shape):
    """Pictures of one value each."""
    return np.array(values, float)[:, None, None, None] * np.ones(shape)


def sliced_distance(real, fake, seed=0):
    return sliced_wasserstein(real, fake, np.random.default_rng(seed))


@pytest.fixture
def few_patches(monkeypatch):
    """Few patches and directions, for the loops of the definition."""
    monkeypatch.setattr(likeness, "PATCHES", 3)
    monkeypatch.setattr(likeness, "DIRECTIONS", 4)


def orthogonal(d, rng):
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


@pytest.fixture
def pair(rng):
    return rng.standard_normal((60, 5)), 0.7 * rng.standard_normal((45, 5)) + 0.3


bad = {
    "NaN": (lambda x: np.where(np.arange(5) == 3, np.nan, x), "NaN"),
    "infinity": (lambda x: x / np.where(np.arange(5) == 3, 0.0, 1.0), "infinity"),
    "one sample": (lambda x: x[:1], "(1, 5)"),
    "no sample": (lambda x: x[:0], "(0, 5)"),
    "no features": (lambda x: x[:, :0], "(20, 0)"),
    "another width": (lambda x: x[:, :4], "(20, 4)"),
    "images": (lambda x: x.reshape(10, 2, 5), "(10, 2, 5)"),
    "one feature without an axis": (lambda x: x[:, 0], "(20,)"),
    "text": (lambda x: x.astype(str), "<U"),
    "complex numbers": (lambda x: x + 1j, "complex"),
}


def slow_log_softmax(row):
    total = math.fsum(math.exp(z) for z in row)
    return [z - math.log(total) for z in row]


def slow_kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q) if a > 0)


def squared(x, y):
    return sum((a - b) ** 2 for a, b in zip(x, y))


GRID, RING = data.MIXTURES["grid25"], data.MIXTURES["ring8"]


def small_translator(name, facts, **options):
    """A tiny model of pictures from pictures, in float64, whose weights are large enough to matter."""
    options = models.complete(dict(model=name, width=2, steps=10) | options, facts)
    model = models.made(options, facts, backend.Streams(1))
    for network in model.networks().values():
        for p in network.parameters():
            p.data = p.data * (10.0 if p.ndim > 1 and abs(p.data).max() < 0.2 else 1.0)
        network.astype("float64")
    return model


def gradient_of(network):
    return np.concatenate([p.grad.numpy().ravel() for p in network.parameters()])
