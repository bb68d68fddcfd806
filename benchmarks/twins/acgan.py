"""Auxiliary classifier GAN, Odena et al. 2017, arXiv:1610.09585: the classifier learns from real
and from fake samples, and G's part of the source loss is the non-saturating one."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from benchmarks.reference import converted
from benchmarks.twins import Labelled, adam, descend, noise


def source_loss(scores, real):
    target = torch.ones_like(scores) if real else torch.zeros_like(scores)
    return binary_cross_entropy_with_logits(scores, target)


class Twin:
    def __init__(self, model, streams):
        self.latent, self.streams = model.latent, streams
        self.G = Labelled(converted(model.generator.network).double(), model.generator.classes)
        self.D = converted(model.discriminator).double()
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def generated(self, labels):
        return self.G(noise(self.streams, len(labels), self.latent), labels)

    def step(self, x, labels):
        classes = torch.from_numpy(labels)
        fake = self.generated(labels).detach()
        real_out, fake_out = self.D(x), self.D(fake)
        class_loss = cross_entropy(real_out[:, 1:], classes)
        d_loss = descend(self.d_optimizer, source_loss(real_out[:, 0], True)
                         + source_loss(fake_out[:, 0], False)
                         + class_loss + cross_entropy(fake_out[:, 1:], classes))
        out = self.D(self.generated(labels))
        g_loss = descend(self.g_optimizer, source_loss(out[:, 0], True)
                         + cross_entropy(out[:, 1:], classes))
        return {"d_loss": d_loss, "g_loss": g_loss, "class_loss": class_loss.item()}
