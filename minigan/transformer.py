"""A causal transformer: how likely is each code of a sequence, given those before it?

Vaswani et al. 2017, arXiv:1706.03762, the decoder without its look at an encoder; layer norm comes
before each part and not behind it, as in GPT-2 (Radford et al. 2019). Sequences of features are
(N, T, C), N of them with T places each.
"""

from math import sqrt

import numpy as np

from minigan import backend, init, nn, ops
from minigan.tensor import constant, no_grad

FORBIDDEN = -1e9  # e to this power is 0


def at_each_place(layer, x):
    """What a layer of (N, C) makes of each place of x (N, T, C): no place sees another one."""
    N, T, C = x.shape
    return layer(x.reshape(N * T, C)).reshape(N, T, -1)


class CausalAttention(nn.Module):
    """softmax(Q Kᵀ/√d + M) V in each of `heads` heads, side by side and once more linearly mixed:
    (N, T, C) → (N, T, C). Q, K and V are linear in x, of d = C/heads features in each head. M is 0
    where the place of K is that of Q or before it, and −∞ elsewhere. arXiv:1706.03762, eq. 1, §3.2.

    `past`, a list that may be empty, holds K and V of all places before those of x, and is given
    those of x too: so places may come one after the other, and each is computed once."""

    def __init__(self, features, heads, rng=None):
        super().__init__()
        if features % heads:
            raise ValueError(f"CausalAttention: {features} features are no multiple of {heads} "
                             "heads")
        self.heads = heads
        self.query, self.key, self.value, self.mix = [
            nn.Dense(features, features, rng=rng) for _ in range(4)]

    def forward(self, x, past=None):
        Q, K, V = [self._in_heads(at_each_place(layer, x))
                   for layer in (self.query, self.key, self.value)]
        if past:
            K, V = [ops.concatenate(*both, axis=2) for both in zip(past, (K, V))]
        if past is not None:
            past[:] = K, V
        scores = Q @ K.transpose(0, 1, 3, 2) * (1.0 / sqrt(Q.shape[-1]))
        weights = ops.softmax(scores + self._mask(*scores.shape[2:]))
        N, T, C = x.shape
        seen = (weights @ V).transpose(0, 2, 1, 3).reshape(N, T, C)
        return at_each_place(self.mix, seen)

    def _in_heads(self, x):
        """(N, T, C) → (N, heads, T, d)."""
        N, T, C = x.shape
        return x.reshape(N, T, self.heads, C // self.heads).transpose(0, 2, 1, 3)

    def _mask(self, T, S):
        """M (T, S): for the last T of S places."""
        later = np.arange(S) > np.arange(S - T, S)[:, None]
        return backend.asarray(FORBIDDEN * later, self.mix.weight.dtype)


class Block(nn.Module):
    """x + attention(norm(x)), and of that y + perceptron(norm(y)), (N, T, C) → (N, T, C). The
    perceptron has one hidden layer of 4C units with ReLU, as in arXiv:1706.03762, §3.3."""

    def __init__(self, features, heads, rng=None):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(features), CausalAttention(features, heads, rng)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(features), nn.Dense(features, 4 * features, rng=rng), nn.ReLU(),
            nn.Dense(4 * features, features, rng=rng))

    def forward(self, x, past=None):
        x = x + self.attention(at_each_place(self.norm, x), past)
        return x + at_each_place(self.perceptron, x)


class Transformer(nn.Module):
    """Codes, one-hot (N, T, count), → logits (N, T, count) of the code at each place, given the
    codes before it. What the first place sees is a start token; each place has a learned position
    of its own, and there are `places` of them."""

    def __init__(self, count, places, features, heads, blocks, rng=None):
        super().__init__()
        rng = rng or backend.streams["init"]
        self.start = nn.Parameter(init.normal((1, 1, features), 0.0, 0.02, rng))
        self.embedding = nn.Parameter(init.normal((count, features), 0.0, 0.02, rng))
        self.positions = nn.Parameter(init.normal((places, features), 0.0, 0.02, rng))
        self.blocks = [Block(features, heads, rng) for _ in range(blocks)]
        self.last = nn.Sequential(nn.LayerNorm(features), nn.Dense(features, count, rng=rng))

    def forward(self, codes):
        start = ops.broadcast_to(self.start, (len(codes), *self.start.shape[1:]))
        before = at_each_place(lambda rows: rows @ self.embedding, codes[:, :-1])
        x = ops.concatenate(start, before, axis=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return at_each_place(self.last, x)

    def sample(self, n, rng, temperature=1.0, top_k=None):
        """n sequences of codes, one-hot (n, T, count), place after place. Logits are divided by
        `temperature`, and only the `top_k` likeliest codes are drawn of.

        A code is the largest of logits to each of which noise g = −ln(−ln u) was added, u uniform:
        so it is drawn from their softmax, and no number need leave the device for it."""
        places, count = len(self.positions), len(self.embedding)
        if not temperature > 0.0 or top_k is not None and not 1 <= top_k <= count:
            raise ValueError(f"expected a temperature above 0 and a top_k from 1 to {count}, got "
                             f"{temperature} and {top_k}")
        pasts, drawn = [[] for _ in self.blocks], []
        with no_grad():
            x = ops.broadcast_to(self.start, (n, *self.start.shape[1:]))
            for place in range(places):
                x = x + self.positions[place]
                for block, past in zip(self.blocks, pasts):
                    x = block(x, past)
                logits = at_each_place(self.last, x).data[:, 0] / temperature
                if top_k is not None:
                    xp = backend.xp_of(logits)
                    least = xp.sort(logits, axis=1)[:, -top_k][:, None]
                    logits = xp.where(logits < least, FORBIDDEN, logits)
                noise = backend.asarray(rng.gumbel(size=logits.shape), logits.dtype)
                drawn.append(ops.one_hot_largest(logits + noise))
                x = (constant(drawn[-1]) @ self.embedding).reshape(n, 1, -1)
        return backend.xp_of(x.data).stack(drawn, axis=1)
