"""Conditional GAN: both networks are told the class. Mirza & Osindero 2014, arXiv:1411.1784.

    min over G, max over D of   E log D(x | y) + E log(1 − D(G(z | y) | y))        (eq. 2)

x and y are a sample and its label, z is noise. The generator takes the label beside the noise, the
discriminator beside the picture, at every place of it. What is drawn for a label is compared with
real samples of that label only, so a sample of another class is found out.

The labels of fakes are those of the real batch: were they drawn from another distribution, D could
tell by the label alone. The losses are the non-saturating ones of `gan`. The paper's networks are
perceptrons with maxout units; these are DCGAN's.
"""

import numpy as np

from minigan import init, networks, nn, objectives, optim
from minigan.metrics.judges import class_agreement
from minigan.model import WAY, ways
from minigan.tensor import no_grad
from minigan.trainer import Drawn, Model, averaged, frozen


class CGAN(Model):
    OPTIONS = Model.OPTIONS | {
        "steps": (6000, "training steps"),
        "width": (32, "channels next to the image, or hidden units of points"),
        "latent": (100, "width of the noise"),
        "lr_g": (2e-3, "the generator's learning rate"),
        "lr_d": (2e-3, "the discriminator's"),
        "lr_decay": (0.02, "part of the learning rates that is left at the last step"),
        "ema": (0.999, "decay of the averaged generator, below 1")}
    NEEDS = ("labels",)
    BETAS = 0.5, 0.999

    def build(self, facts, options, rng):
        self.latent, self.shares = options["latent"], np.array(facts.shares)
        self.generator, self.discriminator = self.pair(facts, options, rng)
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), options["lr_d"], self.BETAS)
        self.averaged, self.average = averaged(self.generator, options["ema"])

    def pair(self, facts, options, rng):
        """Networks of (noise, labels) and of (samples, labels)."""
        K, width, latent = len(facts.classes), options["width"], options["latent"]
        if len(facts.shape) == 3:
            H, W, C = facts.shape
            G = networks.dcgan_generator(facts.shape, latent + K, width, rng=rng)
            D = networks.dcgan_discriminator((H, W, C + K), width, rng=rng)
            init.dcgan(G, rng), init.dcgan(D, rng)
        else:
            [features] = facts.shape
            G = networks.mlp(latent + K, width, 3, features, nn.ReLU, rng)
            D = networks.mlp(features + K, width, 3, 1, nn.LeakyReLU, rng)
        return nn.Beside(G, K), nn.Beside(D, K)

    objective = objectives.NonSaturating()

    def step(self, batch):
        self.steps += 1
        x, labels = self.real(batch.x), batch.labels

        # D: scores of real samples up, of generated ones down, each beside its own label
        with no_grad():
            fake = self.generator(self.noise(len(x)), labels)
        real_scores = self.discriminator(x, labels)
        fake_scores = self.discriminator(fake, labels)
        d_loss = self.objective.discriminator_loss(real_scores, fake_scores)
        d_norm = self.descend(self.d_optimizer, d_loss)

        # G: its samples' scores up, beside the labels they were made for
        with frozen(self.discriminator):
            fake = self.generator(self.noise(len(x)), labels)
            g_loss = self.objective.generator_loss(self.discriminator(fake, labels))
            g_norm = self.descend(self.g_optimizer, g_loss)

        self.average.update(self.steps)
        return {"d_loss": d_loss.data, "g_loss": g_loss.data,
                "real_score": real_scores.mean().data, "fake_score": fake_scores.mean().data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm}

    # What is drawn

    def inputs(self, n, rng):
        """Noise, and labels as frequent as in the data."""
        return self.noise(n, rng), rng.choice(len(self.shares), n, p=self.shares)

    def draw(self, n, rng, label=None):
        """n samples: of the class `label`, of a label each, or by default as in the data."""
        noise, labels = self.inputs(n, rng)
        if label is not None:
            labels = np.broadcast_to(np.asarray(label, np.int64), (n,))
        return Drawn(self.sample(noise, labels), labels)

    def walk(self, rng, count=4, label=None):
        """Ways from noise to noise, each within a class."""
        noise = ways(self.noise(2 * count, rng).numpy())
        labels = np.arange(count) % len(self.shares) if label is None else np.full(count, label)
        labels = np.repeat(labels, WAY)
        return Drawn(self.sample(noise, labels), labels)

    def measures(self, drawn, judge):
        return class_agreement(judge, drawn.x, drawn.labels, self.facts.classes)
