"""R3GAN, Huang et al. 2024, arXiv:2501.05441: relativistic pairs, R₁ and R₂, residual networks."""

import torch
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu, softplus

from benchmarks.reference import loaded
from benchmarks.twins import adam, descend, noise


class Block(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.first = torch.nn.Conv2d(n, n, 3, padding=1)
        self.second = torch.nn.Conv2d(n, n, 3, padding=1, bias=False)

    def forward(self, x):
        return x + self.second(leaky_relu(self.first(x), 0.2))


def sizes(side):
    """(the smallest side, how often it was halved)."""
    levels = 0
    while side % 2 == 0 and side > 7:
        side, levels = side // 2, levels + 1
    return side, levels


class Generator(torch.nn.Module):
    def __init__(self, latent, width, shape):
        super().__init__()
        self.side, levels = sizes(shape[0])
        deepest = width * 2 ** (levels - 1)
        self.dense = torch.nn.Linear(latent, deepest * self.side ** 2)
        layers = []
        for level in reversed(range(levels)):
            layers.append(Block(width * 2 ** level))
            if level:
                layers.append(torch.nn.Conv2d(width * 2 ** level, width * 2 ** (level - 1), 1))
        self.layers = torch.nn.ModuleList(layers)
        self.picture = torch.nn.ConvTranspose2d(width, shape[2], 4, 2, 1)

    def forward(self, z):
        x = self.dense(z).view(len(z), self.side, self.side, -1).movedim(-1, 1)
        for layer in self.layers:
            x = layer(x)
            if not isinstance(layer, Block):
                x = interpolate(x, scale_factor=2, mode="nearest")
        return torch.tanh(self.picture(x))


class Discriminator(torch.nn.Module):
    def __init__(self, width, shape):
        super().__init__()
        side, levels = sizes(shape[0])
        self.picture = torch.nn.Conv2d(shape[2], width, 4, 2, 1)
        layers = [Block(width)]
        for level in range(1, levels):
            layers += [torch.nn.Conv2d(width * 2 ** (level - 1), width * 2 ** level, 1),
                       Block(width * 2 ** level)]
        self.layers = torch.nn.ModuleList(layers)
        self.dense = torch.nn.Linear(side ** 2 * width * 2 ** (levels - 1), 1)

    def forward(self, x):
        x = self.picture(x)
        for layer in self.layers:
            x = layer(x if isinstance(layer, Block) else avg_pool2d(x, 2))
        return self.dense(x.movedim(1, -1).flatten(1))


class Twin:
    def __init__(self, model, streams):
        self.latent, self.streams = model.latent, streams
        parts = torch.linspace(1, model.gamma_decay, model.last_step, dtype=torch.float64)
        self.gammas = iter(model.gamma * parts)
        width, shape = model.discriminator.layers[0].weight.shape[-1], model.facts.shape
        self.G = loaded(Generator(self.latent, width, shape), model.generator).double()
        self.D = loaded(Discriminator(width, shape), model.discriminator).double()
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def squared_slope(self, x):
        x = x.detach().requires_grad_()
        [slope] = torch.autograd.grad(self.D(x).sum(), x, create_graph=True)
        return slope.square().flatten(1).sum(1).mean()

    def step(self, x, labels):
        with torch.no_grad():
            fake = self.G(noise(self.streams, len(x), self.latent))
        pairs = softplus(self.D(fake) - self.D(x)).mean()
        penalty = next(self.gammas) / 2 * (self.squared_slope(x) + self.squared_slope(fake))
        descend(self.d_optimizer, pairs + penalty)
        fake = self.G(noise(self.streams, len(x), self.latent))
        g_loss = descend(self.g_optimizer, softplus(self.D(x) - self.D(fake)).mean())
        return {"d_loss": pairs.item(), "penalty_loss": penalty.item(), "g_loss": g_loss}
