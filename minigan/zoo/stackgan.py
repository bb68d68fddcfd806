"""StackGAN: from words to a picture, in two stages. Zhang et al. 2017, arXiv:1612.03242.

A text encoder makes t of a caption; here each network learns its own. Of t the generator makes the
mean μ and the deviation σ of a normal distribution (§3.2):

    c = μ + σ ε, ε from N(0, I), with the loss KL(N(μ, σ²) | N(0, I)) = ½ Σ (μ² + σ² − 1 − ln σ²)

Stage I draws a picture of half the size from (z, c); stage II makes the picture itself of that one
and c (§3.3, §3.4). Each has a discriminator, which is told the caption too and knows three kinds of
pairs (the matching-aware one of Reed et al. 2016, arXiv:1605.05396):

    L_D = −E log D(x, t) − ½ E log(1 − D(G(z, t), t)) − ½ E log(1 − D(x, t′))
    L_G = −E log D(G(z, t), t),   of both stages together, + λ KL

x is a real picture, t its caption, t′ that of another one. Without the last pair D is slow to look
at the caption. The paper trains stage II when stage I is done; here every step trains both, with
one c, as in the authors' later arXiv:1710.10916. λ is small, for the authors' program takes the
mean over c where the formula has a sum. D sees pictures with spectral norm, and no batch norm.
"""

import numpy as np

from minigan import backend, init, networks, nn, ops, optim
from minigan.captioned import Captioned, TextEncoder
from minigan.model import averaged, frozen
from minigan.tensor import no_grad


class StackGAN(Captioned):
    OPTIONS = Captioned.OPTIONS | {
        "steps": (12_000, "training steps"),
        "batch_size": (32, "pictures per batch"),
        "width": (32, "channels next to the picture"),
        "latent": (32, "width of the noise z"),
        "code": (32, "width of c"),
        "features": (64, "of words and of captions"),
        "kl": (0.05, "λ, the weight of the divergence of c from N(0, I)"),
        "lr_g": (2e-3, "the generator's learning rate"),
        "lr_d": (4e-3, "the discriminators'"),
        "lr_decay": (0.02, "part of the learning rates that is left at the last step"),
        "ema": (0.999, "decay of the averaged generator, below 1")}
    BETAS = 0.0, 0.9
    headline = "d_loss", "g_loss", "kl_loss"

    def build(self, facts, options, rng):
        H, W, C = facts.shape
        if H % 4 or W % 4 or min(H, W) < 16:
            raise ValueError(f"StackGAN: expected sides that are multiples of 4 and at least 16, "
                             f"got {H} × {W}")
        self.words, self.kl = facts.words, options["kl"]
        self.latent = options["latent"] + options["code"]  # of z and ε side by side
        self.generator = Generator(facts.shape, len(facts.words), options, rng)
        self.discriminator_small, self.discriminator = [
            Discriminator(shape, len(facts.words), options, rng)
            for shape in ((H // 2, W // 2, C), facts.shape)]
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        learned = self.discriminator_small.parameters() + self.discriminator.parameters()
        self.d_optimizer = optim.Adam(learned, options["lr_d"], self.BETAS)
        self.averaged, self.average = averaged(self.generator, options["ema"])

    def step(self, batch):
        self.steps += 1
        both = self.discriminator_small, self.discriminator
        x, told = self.real(batch.x), self.told(batch.captions)
        reals, others = (ops.average_pool(x, 2), x), np.roll(told, 1, axis=0)
        differs = (others != told).any(1, keepdims=True)  # equal captions are no wrong pairs
        weights = backend.asarray(differs / max(1, differs.sum()), self.dtype)

        # D of each stage: scores of right pairs up, of fakes and of wrong captions down
        with no_grad():
            fakes = self.generator.stages(self.noise(len(x)), told)[:2]
        d_loss = 0.0
        for D, real, fake in zip(both, reals, fakes):
            seen, fake_scores = D.picture(real), D(fake, told)
            real_scores, wrong_scores = D.judged(seen, told), D.judged(seen, others)
            fake_loss = ops.softplus(fake_scores).mean() + (
                weights * ops.softplus(wrong_scores)).sum()
            d_loss = d_loss + ops.softplus(-real_scores).mean() + 0.5 * fake_loss
        d_norm = self.descend(self.d_optimizer, d_loss)

        # G: the scores of both stages' pictures up, beside their caption
        with frozen(both[0]), frozen(both[1]):
            *fakes, mean, log_deviation = self.generator.stages(self.noise(len(x)), told)
            g_loss = sum(ops.softplus(-D(fake, told)).mean() for D, fake in zip(both, fakes))
            variance = ops.exp(2.0 * log_deviation)
            kl_loss = 0.5 * (mean ** 2 + variance - 1.0 - 2.0 * log_deviation).sum(1).mean()
            g_norm = self.descend(self.g_optimizer, g_loss + self.kl * kl_loss)

        self.average.update(self.steps)
        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "kl_loss": kl_loss.data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm, "real_score": real_scores.mean().data,
                "fake_score": fake_scores.mean().data, "wrong_score": wrong_scores.mean().data}


class Generator(nn.Module):
    """Noise z and ε side by side, and bags of words → pictures (N, H, W, C) in (−1, 1)."""

    def __init__(self, shape, words, options, rng):
        super().__init__()
        (H, W, C), n, wide = shape, options["width"], 2 * options["width"]
        self.latent, self.code = options["latent"], options["code"]
        self.text = TextEncoder(words, options["features"], rng)
        self.mean = init.lecun(nn.Dense(options["features"], self.code, rng=rng), rng)
        self.log_deviation = nn.Dense(options["features"], self.code, rng=rng)
        self.log_deviation.bias.data = self.log_deviation.bias.data - 1.0  # σ = 1 would drown μ
        norm = lambda layer, n: [layer, nn.BatchNorm(n), nn.ReLU()]
        conv = lambda a, b, size=3, stride=1: nn.Conv2d(a, b, size, stride, 1, bias=False, rng=rng)
        up = lambda a, b: nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=False, rng=rng)
        self.first = networks.dcgan_generator((H // 2, W // 2, C), self.latent + self.code, wide,
                                              rng=rng)
        self.down = nn.Sequential(nn.Conv2d(C, n, 3, padding=1, rng=rng), nn.ReLU(),
                                  *norm(conv(n, wide, 4, 2), wide))
        block = nn.Sequential(*norm(conv(wide, wide), wide), conv(wide, wide), nn.BatchNorm(wide))
        self.second = nn.Sequential(
            *norm(conv(wide + self.code, wide), wide), nn.Residual(block), nn.ReLU(),
            *norm(up(wide, n), n), *norm(up(n, n), n), nn.Conv2d(n, C, 3, padding=1, rng=rng),
            nn.Tanh())
        init.dcgan(self.first, rng), init.dcgan(self.down, rng), init.dcgan(self.second, rng)

    def stages(self, noise, told):
        """(stage I's pictures, stage II's, μ and ln σ of c)."""
        text = self.text(told)
        mean, log_deviation = self.mean(text), self.log_deviation(text)
        code = mean + ops.exp(log_deviation) * noise[:, self.latent:]
        small = self.first(ops.concatenate(noise[:, :self.latent], code, axis=-1))
        x = self.down(small)
        planes = ops.broadcast_to(code.reshape(len(code), 1, 1, -1), (*x.shape[:3], self.code))
        large = self.second(ops.concatenate(x, planes, axis=-1))
        return small, large, mean, log_deviation

    def forward(self, noise, told):
        return self.stages(noise, told)[1]


class Discriminator(nn.Module):
    """Pictures (N, H, W, C) and bags of words → logits (N, 1)."""

    def __init__(self, shape, words, options, rng):
        super().__init__()
        n = options["features"]
        self.text = TextEncoder(words, n, rng)
        picture = networks.dcgan_discriminator(shape, options["width"], "none", 2 * n, rng=rng)
        self.picture = networks.spectral(init.dcgan(picture, rng), rng)
        self.both = networks.mlp(3 * n, 2 * n, 1, 1, nn.LeakyReLU, rng)

    def forward(self, x, told):
        return self.judged(self.picture(x), told)

    def judged(self, seen, told):
        return self.both(ops.concatenate(ops.leaky_relu(seen), self.text(told), axis=-1))
