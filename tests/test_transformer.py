"""The causal transformer: no code sees a later one, the start token is seen, and samples are of its distribution."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, ops
from minigan.transformer import CausalAttention, Transformer

K, T, C = 5, 6, 8


def transformer(scale=8.0, seed=0):
    """In float64, with weights that are large enough to matter."""
    made = Transformer(K, T, C, 2, 2, np.random.default_rng(seed)).astype("float64")
    for p in made.parameters():
        p.data = p.data * (scale if p.ndim > 1 and abs(p.data).max() < 0.2 else 1.0)
    return made


def codes(n=3, seed=1):
    return np.eye(K)[np.random.default_rng(seed).integers(K, size=(n, T))]


def logits(made, rows):
    with mg.no_grad():
        return made(rows).numpy()


@pytest.mark.on_each_engine
def test_a_later_code_changes_no_earlier_logit_nor_that_of_its_own_place():
    made, rows = transformer(), codes()
    before = logits(made, rows)
    for place in range(T):
        other = rows.copy()
        other[:, place] = np.roll(rows[:, place], 1, axis=-1)
        after = logits(made, other)
        np.testing.assert_array_equal(after[:, :place + 1], before[:, :place + 1])
        if place + 1 < T:  # each later place sees it
            assert (abs(after - before)[:, place + 1:].max((0, 2)) > 1e-9).all()


def test_the_first_place_sees_the_start_token():
    made = transformer()
    before = logits(made, codes())
    np.testing.assert_array_equal(before[0, 0], before[1, 0])  # whatever the codes
    made.start.data = made.start.data + np.linspace(-1, 1, C)
    after = logits(made, codes())
    assert (abs(after - before).max(axis=(0, 2)) > 1e-9).all()


def test_places_are_told_apart_by_their_positions():
    made, rows = transformer(), np.repeat(np.eye(K)[None, :1], T, axis=1)  # the same code everywhere
    made.start.data = made.embedding.data[:1].reshape(1, 1, C)
    assert abs(np.diff(logits(made, rows), axis=1)).max((0, 2)).min() > 1e-9
    made.positions.data = 0.0 * made.positions.data
    assert abs(np.diff(logits(made, rows), axis=1)).max() < 1e-9


def test_attention_is_its_formula(rng):
    """Head by head and place by place."""
    layer = CausalAttention(C, 2, rng).astype("float64")
    x = rng.standard_normal((2, T, C))
    project = lambda dense, y: y @ dense.weight.numpy() + dense.bias.numpy()
    Q, K_, V = (project(dense, x) for dense in (layer.query, layer.key, layer.value))
    seen = np.zeros_like(x)
    for n, head, t in np.ndindex(2, 2, T):
        part = slice(head * C // 2, (head + 1) * C // 2)
        weights = np.exp(K_[n, :t + 1, part] @ Q[n, t, part] / np.sqrt(C // 2))
        seen[n, t, part] = weights @ V[n, :t + 1, part] / weights.sum()
    np.testing.assert_allclose(layer(mg.Tensor(x)).numpy(), project(layer.mix, seen), rtol=1e-9)


def test_attention_has_right_derivatives(rng):
    layer = CausalAttention(4, 2, rng).astype("float64")

    def of(x, weight):
        layer.query.weight = weight
        return layer(x)
    mg.check_grads(of, [rng.standard_normal((2, 3, 4)), rng.standard_normal((4, 4))])


def test_heads_divide_the_features():
    with pytest.raises(ValueError, match="CausalAttention: 6 features are no multiple of 4 heads"):
        CausalAttention(6, 4)


@pytest.mark.on_each_engine
def test_places_one_after_the_other_are_places_all_at_once():
    """With keys and values kept of those before: which is how it samples."""
    made, rows = transformer(), codes()
    x = np.concatenate([np.broadcast_to(made.start.numpy(), (3, 1, C)), rows[:, :-1] @ made.embedding.numpy()], 1)
    x = x + made.positions.numpy()
    with mg.no_grad():
        for block in made.blocks:
            past = []
            apart = [block(mg.Tensor(x[:, a:b]), past).numpy() for a, b in ((0, 1), (1, 4), (4, T))]
            x = block(mg.Tensor(x)).numpy()
            np.testing.assert_allclose(np.concatenate(apart, 1), x, rtol=1e-10, atol=1e-12)


class Noise:
    """A generator that keeps what it gives."""

    def __init__(self):
        self.rng, self.given = np.random.default_rng(0), []

    def gumbel(self, size):
        self.given.append(self.rng.gumbel(size=size))
        return self.given[-1]


@pytest.mark.on_each_engine
@pytest.mark.parametrize("temperature, top_k", [(1.0, None), (0.5, None), (1.0, 2)])
def test_a_sample_is_that_of_the_plain_way(temperature, top_k):
    """The whole network on all codes so far, for each code anew."""
    made, noise = transformer(), Noise()
    drawn = made.sample(4, noise, temperature, top_k)
    rows = np.zeros((4, T, K))
    for place in range(T):
        scores = logits(made, rows)[:, place] / temperature
        if top_k:
            scores[scores < np.sort(scores, 1)[:, -top_k][:, None]] = -np.inf
        rows[np.arange(4), place, (scores + noise.given[place]).argmax(1)] = 1.0
    np.testing.assert_array_equal(drawn, rows)
    assert len(np.unique(rows.argmax(-1), axis=0)) > 1


def test_codes_are_as_frequent_as_their_probabilities_say():
    """Of the first two places, all pairs."""
    made = transformer(4.0)
    drawn = made.sample(40_000, np.random.default_rng(0)).argmax(-1)
    pairs = np.eye(K)[np.arange(K)[:, None].repeat(T, 1)]
    p = np.exp(ops.log_softmax(mg.Tensor(logits(made, pairs))).numpy())
    expected = p[0, 0][:, None] * p[:, 1]  # of the second, given the first
    found = np.histogram2d(drawn[:, 0], drawn[:, 1], bins=[np.arange(K + 1)] * 2)[0] / len(drawn)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_the_likeliest_alone_are_drawn_at_a_low_temperature_or_of_one():
    made = transformer()
    for asked in (dict(temperature=1e-6), dict(top_k=1)):
        one, other = (made.sample(3, np.random.default_rng(seed), **asked) for seed in (0, 1))
        np.testing.assert_array_equal(one, other)
    for asked in (dict(temperature=0.0), dict(top_k=0), dict(top_k=K + 1)):
        with pytest.raises(ValueError, match="a temperature above 0 and a top_k from 1 to 5"):
            made.sample(3, np.random.default_rng(0), **asked)


def test_it_learns_a_sequence_by_heart():
    made, rows = transformer(1.0), np.repeat(codes(1), 8, axis=0)
    optimizer = mg.optim.Adam(made.parameters(), 0.02)
    for _ in range(60):
        loss = -(ops.log_softmax(made(rows)) * rows).sum(-1).mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    assert loss.item() < 0.02
    np.testing.assert_array_equal(made.sample(2, np.random.default_rng(0), top_k=1), rows[:2])


@pytest.mark.on_each_backend
def test_the_largest_of_a_row_is_one_and_all_else_zero(backend_name):
    rows = backend.asarray(np.array([[1.0, 3.0, 2.0], [4.0, 4.0, -9.0]]), "float32")
    np.testing.assert_array_equal(backend.to_numpy(ops.one_hot_largest(rows)), [[0, 1, 0], [1, 0, 0]])


def test_all_that_is_learned_of_a_place_begins_small():
    made = Transformer(50, 20, 32, 2, 1, np.random.default_rng(0))
    for p in (made.start, made.embedding, made.positions):
        assert p.numpy().std() == pytest.approx(0.02, rel=0.3)
