"""Conditional GAN, Mirza & Osindero 2014, arXiv:1411.1784, with the non-saturating loss."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from benchmarks.reference import converted
from benchmarks.twins import Labelled, adam, descend, noise


class Twin:
    def __init__(self, model, streams):
        self.latent, self.streams = model.latent, streams
        self.G, self.D = [
            Labelled(converted(network.network).double(), network.classes)
            for network in (model.generator, model.discriminator)]
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def step(self, x, labels):
        with torch.no_grad():
            fake = self.G(noise(self.streams, len(x), self.latent), labels)
        real_scores, fake_scores = self.D(x, labels), self.D(fake, labels)
        d_loss = descend(self.d_optimizer,
                         cross_entropy(real_scores, torch.ones_like(real_scores))
                         + cross_entropy(fake_scores, torch.zeros_like(fake_scores)))
        scores = self.D(self.G(noise(self.streams, len(x), self.latent), labels), labels)
        g_loss = descend(self.g_optimizer, cross_entropy(scores, torch.ones_like(scores)))
        return {"d_loss": d_loss, "g_loss": g_loss}
