"""StyleGAN2, Karras et al. 2020, arXiv:1912.04958, as the authors compute it: a kernel for each
sample, all of them in one grouped convolution. Adaptive augmentation is that of arXiv:2006.06676,
with flips, quarter turns and moves, brightness and contrast."""

from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.functional import (
    avg_pool2d, conv2d, interpolate, leaky_relu, linear, normalize)
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from benchmarks.reference import channels_first, loaded
from benchmarks.twins import adam, descend, noise
from benchmarks.twins.gan import brightness, contrast, translation
from benchmarks.twins.progan import ChannelsLast, Deviation, Normed, Scaled, active


class Modulated(nn.Module):
    def __init__(self, before, after, size, features, demodulate=True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(after, before, size, size))
        self.bias = nn.Parameter(torch.empty(after))
        self.style = Scaled(nn.Linear(features, before), 1.0)
        self.demodulate = demodulate

    def forward(self, x, w):
        after, before, size, _ = self.weight.shape
        styles = (1 + self.style(w))[:, None, :, None, None]
        kernels = self.weight / (before * size * size) ** 0.5 * styles
        if self.demodulate:
            rows = kernels.flatten(2)
            extra = torch.full_like(rows[:, :, :1], 1e-4)  # whose square is eps
            rows = normalize(torch.cat([rows, extra], 2), dim=2)[:, :, :-1]
            kernels = rows.reshape(kernels.shape)
        together = x.reshape(1, -1, *x.shape[2:])
        y = conv2d(together, kernels.flatten(0, 1), padding="same", groups=len(w))
        return y.unflatten(1, (len(w), after))[0] + self.bias[:, None, None]


class Styled(nn.Module):
    def __init__(self, before, after, features):
        super().__init__()
        self.strength = nn.Parameter(torch.empty(1))
        self.conv = Modulated(before, after, 3, features)

    def forward(self, x, w, plane):
        return leaky_relu(self.conv(x, w) + self.strength * plane, 0.2) * 2 ** 0.5


class Mapping(nn.Sequential):
    def __init__(self, features, depth, rate=0.01):
        layers = [layer for _ in range(depth)
                  for layer in (Slow(features, rate), nn.LeakyReLU(0.2))]
        super().__init__(Normed(), *layers)


class Slow(Scaled):
    def __init__(self, features, rate):
        super().__init__(nn.Linear(features, features))
        self.rate = rate

    def forward(self, x):
        return linear(x, self.layer.weight * (self.deviation * self.rate),
                      self.layer.bias * self.rate)


class Generator(nn.Module):
    def __init__(self, channels, h, w, width, features, depth, levels):
        super().__init__()
        self.constant = nn.Parameter(torch.empty(1, width, h, w))
        self.mapping = Mapping(features, depth)
        self.styled = nn.ModuleList([Styled(width, width, features)])
        self.rgb = nn.ModuleList([Modulated(width, channels, 1, features, False)])
        for _ in range(levels):
            half = width // 2
            self.styled += [Styled(width, half, features), Styled(half, half, features)]
            self.rgb.append(Modulated(half, channels, 1, features, False))
            width = half

    def forward(self, styles, numbers):
        x, (h, w) = self.constant.expand(len(numbers), -1, -1, -1), self.constant.shape[2:]
        sides = [2 ** ((i + 1) // 2) for i in range(len(self.styled))]
        planes = numbers.split([side * side * h * w for side in sides], 1)
        picture = None
        for i, (layer, style) in enumerate(zip(self.styled, styles)):
            size = sides[i] * h, sides[i] * w
            x = layer(interpolate(x, size), style, planes[i].view(-1, 1, *size))
            if i % 2 == 0:
                more = self.rgb[i // 2](x, style)
                picture = more if picture is None else interpolate(picture, size) + more
        return picture.tanh()


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.way = nn.Sequential(*active(width, width), *active(width, 2 * width), nn.AvgPool2d(2))
        self.shortcut = Scaled(nn.Conv2d(width, 2 * width, 1, bias=False), 1.0)

    def forward(self, x):
        return (self.way(x) + self.shortcut(avg_pool2d(x, 2))) / 2 ** 0.5


def discriminator(channels, h, w, width, levels):
    first = width // 2 ** levels
    return nn.Sequential(
        *active(channels, first, 1), *[Block(first * 2 ** i) for i in range(levels)],
        Deviation(), *active(width + 1, width), ChannelsLast(),
        Scaled(nn.Linear(h * w * width, width)), nn.LeakyReLU(0.2),
        Scaled(nn.Linear(width, 1), 1.0))


def filled(twin, ours):
    """`loaded`, by names: the same weights in PyTorch's order."""
    named = dict(ours.named_parameters())
    for name, p in twin.named_parameters():
        name = name.replace("mapping.", "mapping.layers.")
        array = named[name].numpy()
        array = array.transpose((3, 2, 0, 1) if array.ndim == 4 and name != "constant" else
                                (0, 3, 1, 2) if array.ndim == 4 else range(array.ndim)[::-1])
        assert array.shape == p.shape, name
        p.data = torch.from_numpy(array.copy())
    return twin


class Twin:
    def __init__(self, model, streams):
        ours, self.streams, self.latent, self.steps = model.generator, streams, model.latent, 0
        _, h, w, width = ours.constant.shape
        levels, channels = len(ours.rgb) - 1, ours.rgb[0].bias.size
        depth = sum(hasattr(layer, "layer") for layer in ours.mapping.layers)
        self.G = filled(Generator(channels, h, w, width, self.latent, depth, levels), ours)
        self.D = loaded(discriminator(channels, h, w, width, levels), model.discriminator)
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)
        self.mixing, self.places = model.mixing, ours.places
        self.r1, self.r1_every, self.path, self.path_every = (
            model.r1, model.r1_every, model.path, model.path_every)
        self.length, self.p, self.rise = 0.0, 0.0, None
        if model.adaptive:
            self.p, self.rise = float(model.adaptive.p[0]), 1 / model.adaptive.images

    def style(self, n):
        return self.G.mapping(noise(self.streams, n, self.latent))

    def numbers(self, n):
        return torch.from_numpy(self.streams["places"].standard_normal((n, self.places)))

    def generated(self, n):
        rng, first, second = self.streams["mixing"], self.style(n), None
        layers = at = len(self.G.styled)
        if rng.random() < self.mixing:
            at, second = rng.integers(1, layers), self.style(n)
        return self.G([first if i < at else second for i in range(layers)], self.numbers(n))

    def seen(self, x):
        if self.rise is None:
            return x
        rng = self.streams["augment"]
        for change in (flip, quarter_turn, partial(translation, mode="reflect"), brightness, contrast):
            changed = change(x, rng)
            chosen = torch.from_numpy(rng.random((len(x), 1, 1, 1)) < np.float32(self.p))
            x = torch.where(chosen, changed, x)
        return x

    def step(self, x, labels):
        self.steps += 1
        with torch.no_grad():
            fake = self.generated(len(x))
        real, fake = self.seen(x).requires_grad_(), self.seen(fake)
        real_scores, fake_scores = self.D(real), self.D(fake)
        d_loss = cross_entropy(real_scores, torch.ones_like(real_scores)) + cross_entropy(
            fake_scores, torch.zeros_like(fake_scores))
        penalty = torch.zeros(())
        if self.r1_every == 1 or self.steps % self.r1_every == 1:
            [slope] = torch.autograd.grad(real_scores.sum(), real, create_graph=True)
            penalty = self.r1 / 2 * slope.square().sum((1, 2, 3)).mean() * self.r1_every
        descend(self.d_optimizer, d_loss + penalty)
        if self.rise is not None:
            sure = real_scores.sign().mean().item() - 0.6
            self.p = min(0.8, max(0.0, self.p + np.sign(sure) * len(x) * self.rise))

        scores = self.D(self.seen(self.generated(len(x))))
        g_loss = cross_entropy(scores, torch.ones_like(scores))
        penalty = torch.zeros(())
        if self.path_every == 1 or self.steps % self.path_every == 1:
            penalty = self.path * self.path_penalty(len(x)) * self.path_every
        descend(self.g_optimizer, g_loss + penalty)
        return {"d_loss": d_loss.item(), "g_loss": g_loss.item()}

    def path_penalty(self, n):
        w = self.style(n)
        x = self.G([w] * len(self.G.styled), self.numbers(n))
        N, C, H, W = x.shape
        y = channels_first(self.streams["paths"].standard_normal((N, H, W, C)))
        [slope] = torch.autograd.grad((x * y).sum() / (H * W) ** 0.5, w, create_graph=True)
        lengths = slope.norm(dim=1)
        mean = lengths.mean().item()
        self.length = 0.99 * self.length + 0.01 * mean if self.length else mean
        return (lengths - self.length).square().mean()


def flip(x, rng):
    flipped = torch.from_numpy(rng.random(len(x)) < 0.5).view(-1, 1, 1, 1)
    return torch.where(flipped, x.flip(3), x)


def quarter_turn(x, rng):
    turns = rng.integers(0, 4, len(x))
    return torch.stack([torch.rot90(picture, int(k), (1, 2)) for picture, k in zip(x, turns)])
