"""A run is the same however often it is done and whoever looks, and in ten thousand steps it takes no more memory."""

import gc
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import minigan as mg
from minigan import backend, data, networks, ops
from minigan.runs import run_folder
from minigan.runs.loop import Experiment
from minigan.trainer import GANTrainer
from helpers import IMAGES, OBJECTIVES, POINTS, done, last_checkpoint, stats_of, train

__all__ = ["train"]  # the fixture
every_objective = pytest.mark.parametrize("objective", OBJECTIVES)


# The same again

def untimed(folder):
    """The bytes of stats.jsonl without the one number that depends on the clock."""
    content = (Path(folder) / "stats.jsonl").read_bytes()
    rest, times = re.subn(rb', "steps_per_s": [0-9.e+]+', b"", content)
    assert times == content.count(b"\n") > 0
    return rest


def weights(folder):
    return {name: array.tobytes() for name, array in last_checkpoint(folder).items()}


@every_objective
@pytest.mark.parametrize("source", [POINTS, IMAGES], ids=["points", "images"])
def test_the_same_command_leaves_the_same_bytes(train, source, objective):
    for out in ("a", "b"):
        done(train(*source, "--objective", objective, "--steps", 4, "--log-every", 1, "--out", out))
    [a], [b] = Path("a").iterdir(), Path("b").iterdir()
    assert untimed(a) == untimed(b) and weights(a) == weights(b)
    assert [path.read_bytes() for path in sorted((a / "samples").iterdir())] == [
        path.read_bytes() for path in sorted((b / "samples").iterdir())]


@every_objective
@pytest.mark.parametrize("source", [POINTS, IMAGES], ids=["points", "images"])
def test_pictures_evaluations_logs_and_checkpoints_change_nothing(train, source, objective):
    given = (*source, "--objective", objective, "--steps", 5)
    often = ("--log-every", 1, "--snapshot-every", 1, "--checkpoint-every", 1)
    evaluated = ("--evaluate-every", 2) if source is POINTS else ()
    done(train(*given, *often, *evaluated, "--out", "watched"))
    done(train(*given, "--log-every", 5, "--snapshot-every", 90, "--checkpoint-every", 90, "--out", "alone"))
    [watched], [alone] = Path("watched").iterdir(), Path("alone").iterdir()
    assert weights(watched) == weights(alone)
    last = stats_of(watched)[-1]
    assert ("evaluation" in last) == bool(evaluated)
    last.pop("evaluation", None)
    assert [last] == stats_of(alone)


# No growth

STEPS, SETTLED = 10_000, 1_000


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads Linux's /proc")
def test_the_memory_of_ten_thousand_steps_is_flat(tmp_path):
    """Of the whole run, log and checkpoints included, without the garbage collector: there are no cycles to collect."""
    streams = backend.Streams(0)
    generator, discriminator = networks.mlp_pair(2, latent=2, width=4, rng=streams["init"])
    trainer = GANTrainer(generator, discriminator, 2, streams=streams)
    batches = data.Batches(np.random.default_rng(0).standard_normal((64, 2)).astype(np.float32), 8, streams["data"])
    objects, resident = {}, {}

    def look(step):
        objects[step] = sys.getallocatedblocks()
        resident[step] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    gc.collect()
    gc.disable()
    try:
        work = Experiment(tmp_path, trainer, batches, streams, look, lambda: None)
        work.run(STEPS, log_every=100, snapshot_every=500, checkpoint_every=2_000, keep=2)
    finally:
        gc.enable()
    print(f"from step {SETTLED} to {STEPS}: {objects[STEPS] - objects[SETTLED]:+} objects, "
          f"{(resident[STEPS] - resident[SETTLED]) / 2**20:+.2f} MiB")
    assert objects[STEPS] - objects[SETTLED] < 500  # one a step would be 9,000
    assert resident[STEPS] - resident[SETTLED] < 2 * 2**20
    assert run_folder.read_stats(tmp_path)[-1]["step"] == STEPS


@pytest.mark.slow
def test_the_memory_of_a_deep_graph_is_given_back():
    """100,000 operations in a row, differentiated, again and again."""
    x = mg.Tensor(np.ones(1), requires_grad=True)
    objects = []
    for _ in range(3):
        y = x
        for _ in range(100_000):
            y = y * 1.0
        [g] = mg.grad(ops.sum(y), x)
        assert g.item() == 1.0
        del y, g
        objects.append(sys.getallocatedblocks())
    assert objects[-1] - objects[0] < 500
