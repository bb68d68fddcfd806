"""R3GAN: a loss with a stable equilibrium, residual networks, and no tricks. Huang et al. 2024,
arXiv:2501.05441.

A real and a generated sample are scored as a pair: only the difference counts (RpGAN). D's slope is
penalised on real samples and on generated ones (R₁ and R₂):

    L_D = E softplus(D(G(z)) − D(x)) + γ/2 E‖∇D(x)‖² + γ/2 E‖∇D(G(z))‖²
    L_G = E softplus(D(x) − D(G(z)))

Each generated sample is compared with a real one, so none can hide on its own side of a boundary:
a lost mode costs loss. Pairs alone may circle for ever, and with R₁ alone they still diverge in
practice: far from the data only R₂ bounds D's slope (§2). With both, training is stable without
normalisation, noise, or features of the batch. γ falls as the rates do, in the authors' settings
to a tenth: a strong penalty brings G near to the data, a weak one lets D see the last differences.

Then the networks can be ordinary ones (§3): residual blocks without normalisation, one at each
size. A block begins as the identity, for its last convolution begins at 0. Its first one is scaled
down by the root of the number of blocks (Fixup, Zhang et al. 2019, arXiv:1901.09321). Between sizes
are repeated pixels or means of four, and a 1 × 1 convolution. There is no block at the full size:
D's first layer and G's last one have stride 2. The paper has one, and also grouped convolutions in
inverted bottlenecks and smooth filters where sizes change. Its G does not end with tanh. On points
both networks are perceptrons.
"""

from math import sqrt

from minigan import init, networks, nn, objectives, ops, optim
from minigan.autograd import grad
from minigan.shapes import in_range
from minigan.tensor import Tensor, no_grad
from minigan.trainer import Model, averaged, frozen


class R3GAN(Model):
    OPTIONS = Model.OPTIONS | {
        "steps": (4000, "training steps"),
        "width": (32, "channels at half the size, twice as many at each smaller one; or units"),
        "latent": (64, "width of the noise"),
        "gamma": (0.15, "γ of R₁ and R₂ (default: 0.15, on points 1)"),
        "gamma_decay": (0.3, "part of γ that is left at the last step (default: 0.3, on points 1)"),
        "lr_g": (1e-3, "the generator's learning rate"),
        "lr_d": (1e-3, "the discriminator's"),
        "lr_decay": (0.02, "part of the learning rates that is left at the last step"),
        "ema": (0.999, "decay of the averaged generator, below 1")}
    ON_POINTS = {"steps": 10_000, "batch_size": 256, "width": 128, "latent": 2, "gamma": 1.0,
                 "gamma_decay": 1.0}
    BETAS = 0.0, 0.99
    objective = objectives.Relativistic()

    def build(self, facts, options, rng):
        self.latent, width = options["latent"], options["width"]
        self.gamma = in_range("r3gan: gamma", options["gamma"])
        self.gamma_decay = options["gamma_decay"]
        if not 0.0 <= self.gamma_decay <= 1.0:
            raise ValueError(f"r3gan: expected 0 ≤ gamma_decay ≤ 1, got {self.gamma_decay}")
        if len(facts.shape) == 3:
            self.generator = generator(facts.shape, self.latent, width, rng)
            self.discriminator = discriminator(facts.shape, width, rng)
        else:
            self.generator, self.discriminator = networks.mlp_pair(
                *facts.shape, self.latent, width, rng=rng)
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), options["lr_d"], self.BETAS)
        self.averaged, self.average = averaged(self.generator, options["ema"])

    def step(self, batch):
        self.steps += 1
        real, n = self.real(batch.x), len(batch.x)

        # D: each real sample above its generated one, and no steep slope at either
        with no_grad():
            fake = self.generator(self.noise(n))
        both = Tensor(ops.concatenate(real, fake).data, requires_grad=True)
        scores = self.discriminator(both)
        [slope] = grad(scores.sum(), both, create_graph=True)
        pair_loss = self.objective.discriminator_loss(scores[:n], scores[n:])
        gamma = self.gamma * (1.0 + (self.gamma_decay - 1.0) * self.done())
        r1_and_r2 = 0.5 * gamma * (slope ** 2).sum() / n
        d_norm = self.descend(self.d_optimizer, pair_loss + r1_and_r2)

        # G: each generated sample above its real one
        with frozen(self.discriminator):
            fake_scores = self.discriminator(self.generator(self.noise(n)))
            g_loss = self.objective.generator_loss(fake_scores, self.discriminator(real))
            g_norm = self.descend(self.g_optimizer, g_loss)

        self.average.update(self.steps)
        return {"d_loss": pair_loss.data, "g_loss": g_loss.data, "penalty_loss": r1_and_r2.data,
                "real_score": scores[:n].mean().data, "fake_score": scores[n:].mean().data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm}


def generator(shape, latent, width, rng):
    """Noise (N, latent) → pictures (N, H, W, C) in (−1, 1): from the smallest size to half the
    full one, and a transposed convolution."""
    (h, w), levels = networks.halved(shape)
    wide = width * 2 ** (levels - 1)
    layers = [nn.Dense(latent, h * w * wide, rng=rng), nn.Reshape(h, w, wide)]
    for level in reversed(range(levels)):
        layers.append(block(width * 2 ** level, levels, rng))
        if level:
            layers += [change(width * 2 ** level, width * 2 ** (level - 1), rng), nn.Upsample()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, shape[2], 4, 2, 1, rng=rng),
                         nn.Tanh())


def discriminator(shape, width, rng):
    """Pictures (N, H, W, C) → scores (N, 1): the way back."""
    (h, w), levels = networks.halved(shape)
    layers = [nn.Conv2d(shape[2], width, 4, 2, 1, rng=rng)]
    for level in range(levels):
        if level:
            layers += [nn.AveragePool(), change(width * 2 ** (level - 1), width * 2 ** level, rng)]
        layers.append(block(width * 2 ** level, levels, rng))
    return nn.Sequential(*layers, nn.Flatten(),
                         nn.Dense(h * w * width * 2 ** (levels - 1), 1, rng=rng))


def change(before, after, rng):
    """From so many channels to others, each pixel for itself."""
    return init.he(nn.Conv2d(before, after, 1, rng=rng), 1.0, rng)


def block(channels, blocks, rng):
    """x + conv(leaky(conv(x))), at first x; one of so many in its network."""
    conv = lambda gain, bias: init.he(
        nn.Conv2d(channels, channels, 3, padding=1, bias=bias, rng=rng), gain, rng)
    return nn.Residual(nn.Sequential(
        conv(init.LEAKY / sqrt(blocks), True), nn.LeakyReLU(0.2), conv(0.0, False)))
