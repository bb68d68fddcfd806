"""SRGAN, Ledig et al. 2017, arXiv:1609.04802, with PyTorch's own pixel shuffle; and the losses of
ESRGAN, Wang et al. 2018, arXiv:1809.00219."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy, mse_loss

from benchmarks.reference import converted, loaded
from benchmarks.twins import adam, descend


class Block(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1, self.norm1 = torch.nn.Conv2d(n, n, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(n)
        self.conv2, self.norm2 = torch.nn.Conv2d(n, n, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(n)

    def forward(self, x):
        y = torch.nn.functional.leaky_relu(self.norm1(self.conv1(x)), 0.2)
        return x + self.norm2(self.conv2(y))


class SRResNet(torch.nn.Module):
    def __init__(self, channels, n, blocks):
        super().__init__()
        self.first = torch.nn.Conv2d(channels, n, 9, padding=4)
        self.blocks = torch.nn.ModuleList(Block(n) for _ in range(blocks))
        self.conv, self.norm = torch.nn.Conv2d(n, n, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(n)
        self.ups = torch.nn.ModuleList(torch.nn.Conv2d(n, 4 * n, 3, padding=1) for _ in range(2))
        self.last = torch.nn.Conv2d(n, channels, 3, padding=1)

    def forward(self, x):
        y = start = torch.nn.functional.leaky_relu(self.first(x), 0.2)
        for block in self.blocks:
            y = block(y)
        y = start + self.norm(self.conv(y))
        for up in self.ups:
            y = torch.nn.functional.leaky_relu(torch.nn.functional.pixel_shuffle(up(y), 2), 0.2)
        return torch.tanh(self.last(y))


def as_real(scores):
    return cross_entropy(scores, torch.ones_like(scores))


def as_fake(scores):
    return cross_entropy(scores, torch.zeros_like(scores))


class Twin:
    def __init__(self, model, streams):
        channels, width = model.generator[0].weight.shape[2:]
        blocks = sum(hasattr(layer, "residual") for layer in model.generator[2].residual.layers)
        self.G = loaded(SRResNet(channels, width, blocks), model.generator).double()
        self.D = converted(model.discriminator).double()
        self.weight, self.relativistic = model.adversarial, model.relativistic
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def step(self, x, labels, small):
        fake = self.G(small)
        r, f = self.D(x), self.D(fake.detach())
        if self.relativistic:
            d_loss = as_real(r - f.mean()) + as_fake(f - r.mean())
        else:
            d_loss = as_real(r) + as_fake(f)
        descend(self.d_optimizer, d_loss)

        if self.relativistic:
            r, f = self.D(x).detach(), self.D(fake)
            g_loss = as_fake(r - f.mean()) + as_real(f - r.mean())
        else:
            g_loss = as_real(self.D(fake))
        content_loss = mse_loss(fake, x)
        descend(self.g_optimizer, content_loss + self.weight * g_loss)
        return {"d_loss": d_loss.item(), "g_loss": g_loss.item(),
                "content_loss": content_loss.item()}
