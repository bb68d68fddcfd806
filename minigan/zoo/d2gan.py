"""Two discriminators with opposite tastes. Nguyen et al. 2017 (D2GAN), arXiv:1709.03831.

    min over G, max over D₁ and D₂ of
    α E log D₁(x) − E D₁(G(z)) − E D₂(x) + β E log D₂(G(z))

x is real, z noise, 0 < α, β ≤ 1. D₁ > 0 is high where the data are dense, D₂ > 0 where the samples
are. The best D₁ is α p(x)/q(x) and the best D₂ is β q(x)/p(x), for the densities p of the data and
q of the samples; G then lowers both KL(p‖q), which punishes a mode that is left out, and KL(q‖p),
which punishes a sample where there is no data.

D = softplus(score) is positive, as in the authors' published code. The constant 1e-8 in the
logarithm is ours: where D rounds to 0, it is finite. The networks are those of `gan`.
"""

from minigan import networks, ops, optim
from minigan.tensor import no_grad
from minigan.trainer import Model, averaged, frozen


def log(d):
    return ops.log(d + 1e-8)


class D2GAN(Model):
    OPTIONS = Model.OPTIONS | {
        "width": (32, "channels next to the image, or hidden units (default: 32, 128)"),
        "latent": (100, "width of the noise (default: 100 for images, 2 for points)"),
        "alpha": (0.2, "weight of log D1 on real samples, in (0, 1]"),
        "beta": (0.1, "weight of log D2 on generated ones, in (0, 1]"),
        "lr_g": (2e-4, "the generator's learning rate"),
        "lr_d": (2e-4, "that of both discriminators"),
        "ema": (0.999, "decay of the averaged generator, below 1")}
    ON_POINTS = dict(steps=10_000, batch_size=256, width=128, latent=2)
    BETAS = 0.5, 0.999

    def build(self, facts, options, rng):
        self.latent = options["latent"]
        self.alpha, self.beta = options["alpha"], options["beta"]
        if not (0.0 < self.alpha <= 1.0 and 0.0 < self.beta <= 1.0):
            raise ValueError(f"expected 0 < alpha, beta ≤ 1, got {self.alpha} and {self.beta}")
        pair = lambda: networks.pair(facts.shape, latent=self.latent, width=options["width"],
                                     rng=rng)
        self.generator, self.discriminator = pair()
        _, self.opposite = pair()
        both = self.discriminator.parameters() + self.opposite.parameters()
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(both, options["lr_d"], self.BETAS)
        self.averaged, self.average = averaged(self.generator, options["ema"])

    def D1(self, x):
        return ops.softplus(self.discriminator(x))

    def D2(self, x):
        return ops.softplus(self.opposite(x))

    def step(self, batch):
        self.steps += 1
        x = self.real(batch.x)

        # D₁ up on real samples and down on generated ones, D₂ the other way round
        with no_grad():
            fake = self.generator(self.noise(len(x)))
        d1_loss = self.D1(fake).mean() - self.alpha * log(self.D1(x)).mean()
        d2_loss = self.D2(x).mean() - self.beta * log(self.D2(fake)).mean()
        d_loss = d1_loss + d2_loss
        d_norm = self.descend(self.d_optimizer, d_loss)

        # G: what D₁ likes and D₂ does not
        with frozen(self.discriminator), frozen(self.opposite):
            fake = self.generator(self.noise(len(x)))
            g_loss = self.beta * log(self.D2(fake)).mean() - self.D1(fake).mean()
            g_norm = self.descend(self.g_optimizer, g_loss)

        self.average.update(self.steps)
        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "d1_loss": d1_loss.data,
                "d2_loss": d2_loss.data, "d_grad_norm": d_norm, "g_grad_norm": g_norm}
