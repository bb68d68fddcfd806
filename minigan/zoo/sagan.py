"""Self-attention GAN: every place of a picture can look at every other one. Zhang et al. 2019,
arXiv:1805.08318.

A convolution sees what is near: it cannot tell that two sleeves are alike. Both networks have a
layer, `nn.SelfAttention`, that adds to each place j what it finds at all places i (§3, eq. 1 to 3):

    y_j = x_j + γ v(Σ_i β_ji h(x_i)),   Σ_i β_ji = 1,   γ from 0

The other two of the paper's means against unstable training (§4): spectral norm in the generator as
well as in the discriminator, and a higher learning rate for the discriminator, so that one step of
it is enough for each of the generator's (TTUR, arXiv:1706.08500). Both losses are the hinge's.

The networks are those of `projection`, DCGAN's; the paper's are residual. Attention is where the
sides are half the picture's, ahead of an activation. In the generator the norm before it gives all
that it compares one scale, and a convolution behind it, which DCGAN's has not, can use what was
found. With spectral norm only the direction of a weight counts, and small steps hardly turn it:
rates are far above the paper's 1e-4 and 4e-4, and fall. Data without classes are of one class: the
label then says nothing, and a score is the sum of two linear maps. `--attention False` leaves the
same networks without the layer.
"""

import numpy as np

from minigan import backend, networks, nn
from minigan.tensor import no_grad
from minigan.zoo.projection import Projection, through

QUERIES = (0.5, 0.5), (0.3, 0.3), (0.3, 0.7), (0.8, 0.5)  # places (row, column) of a picture
RED = np.array([1.0, -1.0, -1.0], np.float32)


class SAGAN(Projection):
    """The step of `CGAN`, with the hinge loss and these networks."""

    OPTIONS = Projection.OPTIONS | {
        "steps": (3000, "training steps"),
        "attention": (True, "self-attention in both networks, or False for none"),
        "lr_g": (8e-3, "the generator's learning rate"),
        "lr_d": (1.6e-2, "the discriminator's")}
    NEEDS = ()
    EXHIBITS = {"attention": "samples, in which a place is marked, and what it looks at is red"}

    def build(self, facts, options, rng):
        self.of_classes = bool(facts.classes)
        one = {} if self.of_classes else dict(classes=("all",), shares=(1.0,))
        super().build(facts._replace(**one), options, rng)

    def pair(self, facts, options, rng):
        if len(facts.shape) == 3:
            networks.check_sides("--model sagan", facts.shape[:2], 4, 8)
        G, D = super().pair(facts, options, rng)
        width, classes = options["width"], len(facts.classes)
        *layers, last, tanh = G.network.layers
        one_more = [nn.Conv2d(width, width, 3, padding=1, bias=False, rng=rng),
                    nn.ConditionalBatchNorm(width, classes), nn.ReLU()]
        if options["attention"]:
            layers.insert(-1, nn.SelfAttention(width, rng))
            D.features.layers.insert(1, nn.SelfAttention(width, rng))
        G.network = networks.spectral([*layers, *one_more, last, tanh], rng)
        return G, D

    def step(self, batch):
        labels = batch.labels if self.of_classes else np.zeros(len(batch.x), int)
        return super().step(batch._replace(labels=labels))

    # What is drawn

    def draw(self, n, rng, label=None):
        drawn = super().draw(n, rng, label)
        return drawn if self.of_classes else drawn._replace(labels=None)

    def exhibits(self, rng):
        """Where places look: a row for each of 6 samples, in which each of QUERIES is marked, and
        beside it what it looks at is red."""
        layers = self.averaged.network.layers
        at = [i for i, layer in enumerate(layers) if isinstance(layer, nn.SelfAttention)]
        if not at:
            return {}
        noise, labels = self.inputs(6, rng)
        x = backend.to_numpy(self.sample(noise, labels))
        with no_grad():
            maps = layers[at[0]].map(through(layers[:at[0]], noise, labels)).numpy()
        return {"attention": np.stack([np.stack(looking(*each)) for each in zip(x, maps)])}


def looking(x, beta):
    """A picture (H, W, C) and its attention (HW/4, HW/16) → for each of QUERIES the picture with it
    marked, and the picture with what it looks at, all (H, W, 3)."""
    H, W, _ = x.shape
    x, shown = np.broadcast_to(x, (H, W, 3)), []
    for row, column in QUERIES:
        i, j = int(row * H / 2), int(column * W / 2)
        marked = x.copy()
        marked[2 * i:2 * i + 2, 2 * j:2 * j + 2] = RED
        seen = beta[i * (W // 2) + j].reshape(H // 4, W // 4, 1).repeat(4, 0).repeat(4, 1)
        share = seen / seen.max()
        shown += [marked, (1.0 - share) * x + share * RED]
    return shown
