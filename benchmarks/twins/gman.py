"""Generative multi-adversarial networks, Durugkar et al. 2017, arXiv:1611.01673: the
weights of GMAN-λ, and a generator's loss that does not saturate."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from benchmarks.reference import converted
from benchmarks.twins import adam, descend, noise


class Twin:
    def __init__(self, model, streams):
        self.latent, self.streams, self.sharpness = model.latent, streams, model.sharpness
        self.G = converted(model.generator).double()
        self.Ds = [converted(D).double() for D in model.discriminators]
        self.networks = {"generator": self.G,
                         **{f"discriminators.{i}": D for i, D in enumerate(self.Ds)}}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizers = [adam(D, model.d_optimizer) for D in self.Ds]

    def value(self, D, x, fake):
        """V: minus both cross-entropies."""
        r, f = D(x), D(fake)
        return -cross_entropy(r, torch.ones_like(r)) - cross_entropy(f, torch.zeros_like(f))

    def step(self, x, labels):
        with torch.no_grad():
            fake = self.G(noise(self.streams, len(x), self.latent))
        losses = {f"d{i}_loss": descend(optimizer, -self.value(D, x, fake))
                  for i, (D, optimizer) in enumerate(zip(self.Ds, self.d_optimizers))}
        fake = self.G(noise(self.streams, len(x), self.latent))
        V = torch.stack([self.value(D, x, fake) for D in self.Ds]).detach()
        weights = torch.exp(self.sharpness * V) / torch.exp(self.sharpness * V).sum()
        scores = torch.stack([D(fake) for D in self.Ds])
        fooled = -torch.log(torch.sigmoid(scores)).flatten(1).mean(1)
        return losses | {"g_loss": descend(self.g_optimizer, (weights * fooled).sum())}
