"""Dual discriminator GAN, Nguyen et al. 2017, arXiv:1709.03831, eq. 1: its value J, which the
discriminators raise and the generator lowers."""

import torch
from torch.nn.functional import softplus

from benchmarks.reference import converted
from benchmarks.twins import adam, descend, noise


class Twin:
    def __init__(self, model, streams):
        self.latent, self.streams = model.latent, streams
        self.alpha, self.beta = model.alpha, model.beta
        self.G, self.D1, self.D2 = [converted(network).double() for network in (
            model.generator, model.discriminator, model.opposite)]
        self.networks = {"generator": self.G, "discriminator": self.D1, "opposite": self.D2}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d1_optimizer = adam(self.D1, model.d_optimizer)
        self.d2_optimizer = adam(self.D2, model.d_optimizer)

    def step(self, x, labels):
        with torch.no_grad():
            fake = self.G(noise(self.streams, len(x), self.latent))
        log = lambda D: torch.log(D + 1e-8)
        of_1 = (self.alpha * log(softplus(self.D1(x))) - softplus(self.D1(fake))).mean()
        of_2 = (self.beta * log(softplus(self.D2(fake))) - softplus(self.D2(x))).mean()
        d1_loss, d2_loss = descend(self.d1_optimizer, -of_1), descend(self.d2_optimizer, -of_2)

        fake = self.G(noise(self.streams, len(x), self.latent))
        on_fake = self.beta * log(softplus(self.D2(fake))) - softplus(self.D1(fake))
        return {"d1_loss": d1_loss, "d2_loss": d2_loss,
                "g_loss": descend(self.g_optimizer, on_fake.mean())}
