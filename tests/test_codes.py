"""The benchmark of codes: the surprise of a code, which codes pictures have, and the pictures it leaves."""

from math import log
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import codes
from minigan import backend
from minigan.runs import models
from minigan.tensor import Tensor
from minigan.trainer import Facts


def one_hot(chosen, K):
    return np.eye(K)[chosen]


def test_who_knows_nothing_is_surprised_by_ln_k_and_who_knows_the_next_code_by_nothing():
    written = one_hot(np.random.default_rng(0).integers(8, size=(5, 6)), 8)
    ignorant = SimpleNamespace(transformer=lambda some: Tensor(0.0 * some))
    knowing = SimpleNamespace(transformer=lambda some: Tensor(50.0 * some))
    assert codes.surprise(ignorant, written, block=2) == pytest.approx(log(8))
    assert codes.surprise(knowing, written, block=2) == pytest.approx(0.0, abs=1e-12)


def test_the_codes_of_pictures_are_those_of_all_blocks_in_order():
    facts = Facts((8, 8, 1), (), ())
    options = models.complete(dict(model="vqgan", width=4, codes=6, prior_width=4, batch_size=4), facts)
    model = models.made(options, facts, backend.Streams(1))
    x = np.random.default_rng(2).uniform(-1, 1, (5, 8, 8, 1)).astype(np.float32)
    found = codes.codes_of(model, x, block=2)
    assert found.shape == (5, 4, 6) and (found.sum(-1) == 1).all()
    np.testing.assert_array_equal(found, codes.codes_of(model, x))


def test_the_last_samples_the_reconstructions_and_the_codebook_are_kept(tmp_path, monkeypatch):
    made, kept = tmp_path / "made", tmp_path / "kept"
    (made / "samples").mkdir(parents=True), kept.mkdir()
    for name in ("samples/000100.png", "samples/000200.png", "reconstructions.png", "codebook.png"):
        (made / name).write_text(name)
    monkeypatch.setattr(codes, "RESULTS", kept)
    codes.show(made, "emoji")
    assert {path.name: path.read_text() for path in kept.iterdir()} == {
        "codes_emoji_samples.png": "samples/000200.png", "codes_emoji_reconstructions.png": "reconstructions.png",
        "codes_emoji_codebook.png": "codebook.png"}
