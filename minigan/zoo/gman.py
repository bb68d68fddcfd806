"""Several discriminators at once. Durugkar et al. 2017 (GMAN), arXiv:1611.01673.

    each D_i maximises   V_i = E log D_i(x) + E log(1 − D_i(G(z)))
    G minimises      −Σ w_i E log D_i(G(z)),   w = softmax(λ V_1, …, λ V_N)

x is real, z noise. λ says whom G listens to: with 0 to all alike, and the larger λ is the more to
the discriminator that tells best. These are the weights of GMAN-λ, and constants for G.
Discriminators that begin differently make different mistakes, and G must please all of them.

In the paper G minimises Σ w_i V_i, with the original log(1 − D_i(G(z))), whose slope vanishes
where D_i is sure. On pictures of clothes all three were sure at once, and G stayed at noise. This
form, of arXiv:1406.2661, §3, has its largest slope there.

The discriminators differ in their first weights, and all see the same batch. The networks are
those of `gan`.
"""

import contextlib

from minigan import networks, ops, optim
from minigan.objectives import NonSaturating
from minigan.tensor import no_grad
from minigan.trainer import Model, averaged, frozen


class GMAN(Model):
    OPTIONS = Model.OPTIONS | {
        "width": (32, "channels next to the image, or hidden units (default: 32, 128)"),
        "latent": (100, "width of the noise (default: 100 for images, 2 for points)"),
        "discriminators": (3, "how many of them"),
        "sharpness": (1.0, "λ: 0 weighs all discriminators alike, a larger one the best more"),
        "lr_g": (2e-4, "the generator's learning rate"),
        "lr_d": (2e-4, "that of each discriminator"),
        "ema": (0.999, "decay of the averaged generator, below 1")}
    ON_POINTS = dict(steps=10_000, batch_size=256, width=128, latent=2)
    BETAS = 0.5, 0.999
    objective = NonSaturating()  # whose loss of a discriminator is −V

    def build(self, facts, options, rng):
        self.latent, self.sharpness = options["latent"], options["sharpness"]
        if not 0.0 <= self.sharpness < float("inf"):
            raise ValueError(f"expected sharpness ≥ 0, got {self.sharpness}")
        pair = lambda: networks.pair(facts.shape, latent=self.latent, width=options["width"],
                                     rng=rng)
        self.generator, first = pair()
        self.discriminators = [first, *[pair()[1] for _ in range(options["discriminators"] - 1)]]
        judging = [p for D in self.discriminators for p in D.parameters()]
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(judging, options["lr_d"], self.BETAS)
        self.averaged, self.average = averaged(self.generator, options["ema"])

    def step(self, batch):
        self.steps += 1
        x = self.real(batch.x)
        loss_of = self.objective.discriminator_loss

        # Each D raises its V: no weight is in two of them, so that their sum is as good
        with no_grad():
            fake = self.generator(self.noise(len(x)))
        d_losses = [loss_of(D(x), D(fake)) for D in self.discriminators]
        d_loss = sum(d_losses[1:], d_losses[0])
        d_norm = self.descend(self.d_optimizer, d_loss)

        # G raises its samples' scores, most of all by the one that tells best
        with contextlib.ExitStack() as stack:
            for D in self.discriminators:
                stack.enter_context(frozen(D))
            fake = self.generator(self.noise(len(x)))
            scores = [(D(x), D(fake)) for D in self.discriminators]
            values = joined(-loss_of(*both) for both in scores)
            g_losses = joined(self.objective.generator_loss(fooled) for _, fooled in scores)
            weights = ops.softmax(self.sharpness * values).detach()
            g_loss = (weights * g_losses).sum()
            g_norm = self.descend(self.g_optimizer, g_loss)

        self.average.update(self.steps)
        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "d_grad_norm": d_norm,
                "g_grad_norm": g_norm,
                **{f"d{i}_loss": loss.data for i, loss in enumerate(d_losses)}}


def joined(numbers):
    """Tensors of one number each → one tensor of all of them."""
    return ops.concatenate(*[number.reshape(1) for number in numbers])
