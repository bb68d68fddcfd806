"""Progressive growing, Karras et al. 2018, arXiv:1710.10196, with PyTorch's own pooling, enlarging
and Adam. Real pictures are made small and enlarged here before D sees them."""

from math import ceil

import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, linear, normalize

from benchmarks.reference import loaded
from benchmarks.twins import adam, noise

GAIN = nn.init.calculate_gain("leaky_relu", 0.0)


class Scaled(nn.Module):
    """A layer whose weight is multiplied by He's deviation whenever it is used."""

    def __init__(self, layer, gain=GAIN):
        super().__init__()
        self.layer = layer
        self.deviation = gain / layer.weight[0].numel() ** 0.5  # [0]: of one unit

    def forward(self, x):
        weight, bias = self.layer.weight * self.deviation, self.layer.bias
        if weight.ndim == 2:
            return linear(x, weight, bias)
        return conv2d(x, weight, bias, padding="same")


class Normed(nn.Module):
    """Vectors of channels with the mean square 1."""

    def forward(self, x):
        # √(C · mean + C · eps), as a length with one more component
        extra = torch.full_like(x[:, :1], (x.shape[1] * 1e-8) ** 0.5)
        return normalize(torch.cat([x, extra], 1), dim=1)[:, :-1] * x.shape[1] ** 0.5


class Deviation(nn.Module):
    def forward(self, x):
        number = (x.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([x, number.expand(len(x), 1, *x.shape[2:])], 1)


class ChannelsLast(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class Places(nn.Module):
    """Rows as pictures of h × w."""

    def __init__(self, h, w):
        super().__init__()
        self.h, self.w = h, w

    def forward(self, x):
        return x.unflatten(1, (self.h, self.w, -1)).permute(0, 3, 1, 2)


def conv(before, after, size=3):
    return Scaled(nn.Conv2d(before, after, size))


def active(before, after, size=3):
    return [conv(before, after, size), nn.LeakyReLU(0.2)]


class Generator(nn.Module):
    def __init__(self, latent, width, h, w, channels, levels):
        super().__init__()
        normed = lambda before, after: [*active(before, after), Normed()]
        first = [Normed(), Scaled(nn.Linear(latent, h * w * width)), Places(h, w), nn.LeakyReLU(0.2),
                 Normed(), *normed(width, width)]
        self.blocks = nn.ModuleList([nn.Sequential(*first)])
        self.rgb = nn.ModuleList([Scaled(nn.Conv2d(width, channels, 1), 1.0)])
        for _ in range(levels):
            up, half = nn.Upsample(scale_factor=2), width // 2
            self.blocks.append(nn.Sequential(up, *normed(width, half), *normed(half, half)))
            self.rgb.append(Scaled(nn.Conv2d(half, channels, 1), 1.0))
            width = half

    def forward(self, z, levels, alpha, full):
        """Pictures after `levels` doublings, the last one there by `alpha`, at their full sides."""
        h = [z]
        for block in self.blocks[:levels + 1]:
            h.append(block(h[-1]))
        x = self.rgb[levels](h[-1])
        if levels:
            x = torch.lerp(interpolate(self.rgb[levels - 1](h[-2]), scale_factor=2), x, alpha)
        return interpolate(x.tanh(), full)


class Discriminator(nn.Module):
    def __init__(self, width, h, w, channels, levels):
        super().__init__()
        last = [Deviation(), *active(width + 1, width), ChannelsLast(),
                Scaled(nn.Linear(h * w * width, width)), nn.LeakyReLU(0.2),
                Scaled(nn.Linear(width, 1))]
        self.blocks = nn.ModuleList([nn.Sequential(*last)])
        for level in range(1, levels + 1):
            n = width // 2 ** level
            self.blocks.append(nn.Sequential(
                *active(n, n), *active(n, 2 * n), nn.AvgPool2d(2)))
        self.features = nn.ModuleList([
            nn.Sequential(*active(channels, width // 2 ** level, 1))
            for level in range(levels + 1)])

    def forward(self, x, levels, alpha):
        for _ in range(len(self.blocks) - 1 - levels):
            x = avg_pool2d(x, 2)
        h = self.features[levels](x)
        for level in range(levels, -1, -1):
            h = self.blocks[level](h)
            if level == levels > 0:
                h = torch.lerp(self.features[levels - 1](avg_pool2d(x, 2)), h, alpha)
        return h


class Twin:
    def __init__(self, model, streams):
        self.streams, self.latent, self.levels = streams, model.latent, model.levels
        self.penalty, self.drift, self.phase, self.steps = model.lam, model.drift, model.phase, 0
        _, H, W, channels = model.averaged(model.noise(1, np.random.default_rng())).shape
        *_, width = model.generator.blocks[0][5].layer.weight.shape
        h, w = H // 2 ** self.levels, W // 2 ** self.levels
        self.G = loaded(Generator(self.latent, width, h, w, channels, self.levels), model.generator)
        self.D = loaded(Discriminator(width, h, w, channels, self.levels), model.discriminator)
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def size(self):
        """(doublings, α) in this step: corners of a line that stays and rises in turn."""
        corners = np.arange(2 * self.levels + 1)
        at = (self.steps - 1) / self.phase if self.phase else np.inf
        size = np.interp(at, corners, corners // 2)
        return ceil(size), size % 1 or 1.0

    def step(self, x, labels):
        self.steps += 1
        levels, alpha = self.size()
        judged = lambda x: self.D(x, levels, alpha)
        made = lambda: self.G(noise(self.streams, len(x), self.latent), levels, alpha, x.shape[2:])
        sides = [side // 2 ** (self.levels - levels) for side in x.shape[2:]]
        now = avg_pool2d(x, 2 ** (self.levels - levels))
        if levels:
            now = torch.lerp(interpolate(avg_pool2d(now, 2), sides), now, alpha)
        real = interpolate(now, x.shape[2:])

        with torch.no_grad():
            fake = made()
        real_scores, fake_scores = judged(real), judged(fake)
        weights = torch.from_numpy(self.streams["penalty"].random((len(x), 1, 1, 1)))
        mixed = torch.lerp(fake, real, weights).requires_grad_()
        [slope] = torch.autograd.grad(judged(mixed).sum(), mixed, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        drift = self.drift * real_scores.square().mean()
        d_loss = descend(self.d_optimizer, fake_scores.mean() - real_scores.mean()
                         + self.penalty * penalty + drift)
        g_loss = descend(self.g_optimizer, -judged(made()).mean())
        return {"d_loss": d_loss, "g_loss": g_loss, "penalty_loss": penalty.item()}


def descend(optimizer, loss):
    """A step in which weights that are not in use have a gradient of zeros."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.zeros_like(p)
    loss.backward()
    optimizer.step()
    return loss.item()
