"""Progressive growing: small pictures first, then larger. Karras et al. 2018, arXiv:1710.10196.

Both networks begin with the smallest size, 7 × 7 for pictures of 28 × 28, and get a block l for
each doubling, which fades in as α goes from 0 to 1 (fig. 2; ↑ repeats pixels, ↓ averages four):

    G:  x = tanh((1 − α) ↑ rgbₗ₋₁(hₗ₋₁) + α rgbₗ(hₗ))
    D:  h = (1 − α) featuresₗ₋₁(↓x) + α blockₗ(featuresₗ(x))

and real pictures fade alike, (1 − α) ↑↓x + α x. As in the authors' program, G enlarges small
pictures and D reduces what it is given, so that ‖∇D‖ is of as many pixels at all sizes. Pictures
grow in the first `grow` of the steps: a size stays for a while, and the next fades in for as long.

    L_D = E D(G(z)) − E D(x) + λ E (‖∇D(x̂)‖₂ − 1)² + ε E D(x)²,    L_G = −E D(G(z))

is WGAN-GP's loss, with a drift of ε that keeps scores near 0 (appendix A.1). Rates are equalised
(§4.1), G has pixel norm (§4.2), D sees how the batch varies (§3). A new block's first steps are up
to 1/√(1 − β₂) = 10 times as large: its means in Adam begin at 0, and count as if from step 1. The
authors begin Adam anew, with smaller gains in G's first layer and D's last one, and without tanh.
"""

from math import ceil

from minigan import backend, networks, nn, objectives, ops, optim
from minigan.shapes import in_range
from minigan.tensor import no_grad
from minigan.trainer import Model, averaged, frozen


class ProGAN(Model):
    OPTIONS = Model.OPTIONS | {
        "steps": (3000, "training steps"),
        "batch_size": (16, "pictures per batch"),
        "width": (16, "channels at the full size, twice as many at each smaller one"),
        "latent": (64, "width of the noise"),
        "grow": (0.6, "part of the steps in which the pictures grow; 0 for none"),
        "gp_weight": (10.0, "λ of the gradient penalty"),
        "drift": (0.001, "ε of the scores' squares"),
        "lr_g": (1e-2, "the generator's learning rate"),
        "lr_d": (1e-2, "the discriminator's"),
        "lr_decay": (0.02, "part of the learning rates that is left at the last step"),
        "ema": (0.995, "decay of the averaged generator, below 1")}
    NEEDS, BETAS = ("pictures",), (0.0, 0.99)

    def build(self, facts, options, rng):
        _, self.levels = networks.halved(facts.shape, "ProGAN")
        grow = in_range("ProGAN: grow", options["grow"], 1.0)
        self.phase = grow * options["steps"] / (2 * self.levels)  # in steps
        self.latent, weights = options["latent"], ("gp_weight", "drift")
        self.lam, self.drift = [in_range(f"ProGAN: {name}", options[name]) for name in weights]
        self.generator = Generator(facts.shape, options["width"], self.latent, rng)
        self.discriminator = Discriminator(facts.shape, options["width"], rng)
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), options["lr_d"], self.BETAS)
        self.averaged, self.average = averaged(self.generator, options["ema"])
        self.grow()

    def grow(self):
        """Tell the networks the size in this step: which block is the last one, and its α."""
        at = max(0, self.steps - 1) / self.phase if self.phase else 2 * self.levels
        size = min(at // 2 + max(0.0, at % 2 - 1.0), self.levels)  # it stays and rises in turn
        self.level, self.alpha = ceil(size), size % 1.0 or 1.0
        for network in self.networks().values():
            network.level, network.alpha = self.level, self.alpha

    def step(self, batch):
        self.steps += 1
        self.grow()
        x = self.real(batch.x)
        if self.alpha < 1.0:
            factor = 2 ** (self.levels - self.level + 1)
            x = mixed(ops.upsample(ops.average_pool(x, factor), factor), x, self.alpha)

        # D: scores of real pictures up, of fakes down, with slopes near 1 between them
        with no_grad():
            fake = self.generator(self.noise(len(x)))
        real_scores, fake_scores = self.discriminator(x), self.discriminator(fake)
        epsilon = backend.asarray(self.streams["penalty"].random((len(x), 1, 1, 1)), self.dtype)
        penalty = objectives.gradient_penalty(self.discriminator, x, fake, epsilon)
        d_loss = (fake_scores.mean() - real_scores.mean() + self.lam * penalty
                  + self.drift * (real_scores ** 2).mean())
        d_norm = self.descend(self.d_optimizer, d_loss)

        # G: the scores of its pictures up
        with frozen(self.discriminator):
            g_loss = -self.discriminator(self.generator(self.noise(len(x)))).mean()
            g_norm = self.descend(self.g_optimizer, g_loss)

        self.average.update(self.steps)
        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "penalty_loss": penalty.data,
                "real_score": real_scores.mean().data, "fake_score": fake_scores.mean().data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.grow()


mixed = lambda old, new, alpha: (1.0 - alpha) * old + alpha * new


def conv(before, after, rng, size=3):
    layer = nn.Conv2d(before, after, size, padding=size // 2, rng=rng)
    return [nn.Equalised(layer, rng=rng), nn.LeakyReLU(0.2)]


class Generator(nn.Module):
    """Noise (N, latent) → pictures (N, H, W, C) in (−1, 1), small ones enlarged."""

    def __init__(self, shape, width, latent, rng):
        super().__init__()
        (h, w, n), widths = networks.halving(shape, width)
        normed = lambda before, after: [*conv(before, after, rng), nn.PixelNorm()]
        dense = nn.Equalised(nn.Dense(latent, h * w * n, rng=rng), rng=rng)
        first = [nn.PixelNorm(), dense, nn.Reshape(h, w, n), nn.LeakyReLU(0.2), nn.PixelNorm(),
                 *normed(n, n)]
        self.blocks = [nn.Sequential(*first), *[
            nn.Sequential(nn.Upsample(), *normed(before, after), *normed(after, after))
            for before, after in zip(widths, widths[1:])]]
        self.rgb = [nn.Equalised(nn.Conv2d(n, shape[2], 1, rng=rng), 1.0, rng=rng) for n in widths]

    def forward(self, h):
        for block in self.blocks[:self.level + 1]:
            before, h = h, block(h)
        x = self.rgb[self.level](h)
        if self.alpha < 1.0:
            x = mixed(ops.upsample(self.rgb[self.level - 1](before)), x, self.alpha)
        return ops.upsample(ops.tanh(x), 2 ** (len(self.blocks) - 1 - self.level))


class Discriminator(nn.Module):
    """Pictures (N, H, W, C), which it reduces to their size → scores (N, 1)."""

    def __init__(self, shape, width, rng):
        super().__init__()
        (h, w, n), widths = networks.halving(shape, width)
        dense = lambda *sizes: nn.Equalised(nn.Dense(*sizes, rng=rng), rng=rng)
        last = [nn.MinibatchDeviation(), *conv(n + 1, n, rng), nn.Flatten(),
                dense(h * w * n, n), nn.LeakyReLU(0.2), dense(n, 1)]
        self.blocks = [nn.Sequential(*last), *[
            nn.Sequential(*conv(before, before, rng), *conv(before, after, rng), nn.AveragePool())
            for after, before in zip(widths, widths[1:])]]
        self.features = [nn.Sequential(*conv(shape[2], n, rng, 1)) for n in widths]

    def forward(self, x):
        x = ops.average_pool(x, 2 ** (len(self.blocks) - 1 - self.level))
        last, *others = self.blocks[self.level::-1]
        h = last(self.features[self.level](x))
        if self.alpha < 1.0:
            h = mixed(self.features[self.level - 1](ops.average_pool(x)), h, self.alpha)
        return nn.Sequential(*others)(h)
