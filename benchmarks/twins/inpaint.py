"""The context encoder, Pathak et al. 2016, arXiv:1604.07379, which masks by multiplying."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy, mse_loss

from benchmarks.reference import converted
from benchmarks.twins import adam, descend


class Twin:
    def __init__(self, model, streams):
        self.F = converted(model.generator).double()
        self.D = converted(model.discriminator).double()
        self.weight = model.adversarial
        self.networks = {"generator": self.F, "discriminator": self.D}
        self.g_optimizer = adam(self.F, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def step(self, x, labels, shown):
        quarter = x.shape[-1] // 4
        middle = slice(quarter, 3 * quarter)
        mask = torch.zeros_like(x)
        mask[:, :, middle, middle] = 1
        fake = self.F(shown * (1 - mask))
        content = x[:, :, middle, middle]
        right, wrong = self.D(content), self.D(fake.detach())
        d_loss = (cross_entropy(right, torch.ones_like(right))
                  + cross_entropy(wrong, torch.zeros_like(wrong)))
        descend(self.d_optimizer, d_loss)

        scores = self.D(fake)
        g_loss = cross_entropy(scores, torch.ones_like(scores))
        rec_loss = mse_loss(fake, content)
        descend(self.g_optimizer, (1 - self.weight) * rec_loss + self.weight * g_loss)
        return {"d_loss": d_loss.item(), "g_loss": g_loss.item(), "rec_loss": rec_loss.item()}
