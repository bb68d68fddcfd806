"""CycleGAN: between two kinds of pictures, without pairs. Zhu et al. 2017, arXiv:1703.10593.

G makes of a picture a of kind A one of kind B, and F of a picture b one of kind A. Each has a
discriminator, which is to tell its results from pictures of that kind:

    L(G, D_B) = E (D_B(b) − 1)² + E D_B(G(a))²,  and likewise L(F, D_A)            (eq. 1, §4)
    L_cyc(G, F) = E |F(G(a)) − a| + E |G(F(b)) − b|                                (eq. 2)
    L_identity(G, F) = E |G(b) − b| + E |F(a) − a|                                 (§5.2)

D_B alone would let G make any picture of kind B from a. The cycle asks that a can be got back, so
that what the kinds share must stay. The identity asks that what is of kind B already stays as it
is. G and F minimise E (D_B(G(a)) − 1)² + E (D_A(F(b)) − 1)² + λ (L_cyc + ½ L_identity), ½ being the
option `identity`. Discriminators are slowed down: their loss is halved (appendix 7.1), and half of
the fakes that they see come from a pool of 50 earlier ones (§4). Rates are constant in the first
half of the steps, and fall linearly in the second (appendix 7.1).

Networks (appendix 7.2): G and F are convolutions that halve, residual blocks, and as many that
double, all with instance norm; discriminators judge patches, here of 22 × 22 pixels.
"""

import numpy as np

from minigan import backend, init, networks, nn, objectives, ops, optim
from minigan.model import frozen
from minigan.tensor import constant
from minigan.translation import Translator


class CycleGAN(Translator):
    OPTIONS = Translator.OPTIONS | {
        "steps": (5000, "training steps"),
        "batch_size": (4, "pictures of each kind per batch"),
        "width": (16, "channels of the first layer"),
        "blocks": (4, "residual blocks"),
        "cycle": (10.0, "λ, the weight of the cycle's L1 distance"),
        "identity": (0.5, "weight of the identity's L1 distance, as a part of λ"),
        "pool": (50, "how many earlier fakes a discriminator is shown some of"),
        "lr_g": (5e-4, "the generators' learning rate"),
        "lr_d": (5e-4, "the discriminators'"),
        "lr_decay": (0.0, "part of the learning rates that is left at the last step; they fall in "
                          "the second half")}
    NEEDS = ("domains",)
    BETAS = 0.5, 0.999
    headline = "d_loss", "g_loss", "cycle_loss"

    def build(self, facts, options, rng):
        self.cycle, self.identity = options["cycle"], options["identity"]
        width, shape = options["width"], facts.shape
        networks.check_sides("CycleGAN", shape[:2], 2, 8)
        if facts.other != shape:
            raise ValueError(f"CycleGAN: pictures of both kinds have the same shape, got "
                             f"{facts.other} and {shape}")
        self.generator, self.backward = [
            init.dcgan(networks.residual_translator(shape[:2], shape[-1], shape[-1], width,
                                                    options["blocks"], rng=rng), rng) for _ in "ab"]
        self.discriminator_a, self.discriminator_b = [
            init.dcgan(networks.patches(shape[-1], width, nn.InstanceNorm, rng), rng) for _ in "ab"]
        self.pool_a, self.pool_b = Pool(options["pool"], shape), Pool(options["pool"], shape)
        both = lambda *networks: [p for network in networks for p in network.parameters()]
        self.g_optimizer = optim.Adam(both(self.generator, self.backward), options["lr_g"],
                                      self.BETAS)
        self.d_optimizer = optim.Adam(both(self.discriminator_a, self.discriminator_b),
                                      options["lr_d"], self.BETAS)

    objective = objectives.LeastSquares()

    def step(self, batch):
        self.steps += 1
        G, F, D_a, D_b = (self.generator, self.backward, self.discriminator_a,
                          self.discriminator_b)
        a, b = self.real(batch.other), self.real(batch.x)
        fake_b, fake_a = G(a), F(b)

        # G and F: fakes that pass, from which the picture can be got back
        with frozen(D_a), frozen(D_b):
            g_loss = 2.0 * (self.objective.generator_loss(D_b(fake_b))
                            + self.objective.generator_loss(D_a(fake_a)))
            cycle_loss = distance(F(fake_b), a) + distance(G(fake_a), b)
            identity_loss = distance(G(b), b) + distance(F(a), a)
            loss = g_loss + self.cycle * (cycle_loss + self.identity * identity_loss)
            g_norm = self.descend(self.g_optimizer, loss)

        # D: scores of both kinds to 1, of these and of earlier fakes to 0
        seen_a = self.pool_a.mixed(fake_a, self.steps, self.streams["pool"])
        seen_b = self.pool_b.mixed(fake_b, self.steps, self.streams["pool"])
        real_scores, fake_scores = D_b(b), D_b(seen_b)
        d_loss = (self.objective.discriminator_loss(real_scores, fake_scores)
                  + self.objective.discriminator_loss(D_a(a), D_a(seen_a)))
        d_norm = self.descend(self.d_optimizer, d_loss)

        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "cycle_loss": cycle_loss.data,
                "identity_loss": identity_loss.data, "real_score": real_scores.mean().data,
                "fake_score": fake_scores.mean().data, "d_grad_norm": d_norm, "g_grad_norm": g_norm}

    def share_of_rate(self):
        return 1.0 + (self.lr_decay - 1.0) * max(0.0, 2.0 * self.done() - 1.0)

    # What is drawn

    def draw(self, n, rng, inputs=None, label=None):
        """n pictures of the kind `label`, 0 for A and 1 for B, from `inputs` of the other one; by
        default of kind B, and of the examples in both directions."""
        shown = self.shown(inputs)
        if inputs is None and label is not None:
            shown = shown.where(shown.labels == label)
        return self.drawn(n, rng, shown, 1 if label is None and inputs is not None else label)

    def translated(self, inputs, rng, labels):
        to_b = backend.asarray((labels == 1).reshape(-1, 1, 1, 1), self.dtype)
        return to_b * self.generator(inputs) + (1.0 - to_b) * self.backward(inputs)


def distance(x, y):
    return ops.abs(x - y).mean()


class Pool(nn.Module):
    """Earlier fakes, for a discriminator that forgets. Shrivastava et al. 2017, arXiv:1612.07828,
    §2.3, as CycleGAN's program has it: once the pool is full, a new fake is shown and forgotten, or
    by chance ½ exchanged for one in the pool, which is shown instead."""

    buffer_names = ("pictures",)

    def __init__(self, size, shape):
        super().__init__()
        self.pictures = backend.asarray(np.zeros((size, *shape), np.float32))

    def mixed(self, fakes, step, rng):
        """What is shown for the fakes (n, …) of this step, a constant."""
        size, n, shown = len(self.pictures), len(fakes), fakes.data.copy()
        for i in range(n):
            count = (step - 1) * n + i  # of fakes before this one
            if count < size:
                self.pictures[count] = fakes.data[i]
            elif size and rng.random() < 0.5:
                at = int(rng.integers(size))
                shown[i], self.pictures[at] = self.pictures[at], fakes.data[i]
        return constant(shown)
