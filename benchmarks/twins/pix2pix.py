"""pix2pix, Isola et al. 2017, arXiv:1611.07004, its U-Net written from the inside out."""

import torch
from torch.nn.functional import relu

from benchmarks.reference import converted, loaded
from benchmarks.twins import Masked, adam, descend
from benchmarks.twins.projection import normalised


class Level(torch.nn.Module):
    """Down, whatever lies below, up, and beside it what came in."""

    def __init__(self, down, below, up, dropout, first):
        super().__init__()
        self.down, self.below, self.up = down, below, up
        self.dropout, self.first = dropout, first

    def forward(self, x):
        inside = self.down(x if self.first else torch.nn.functional.leaky_relu(x, 0.2))
        if self.below is not None:
            inside = self.below(inside)
        y = self.up(torch.relu(inside))
        if self.first:
            return torch.tanh(y)
        return torch.cat([self.dropout(y) if self.below is None or max(y.shape[2:]) <= 8 else y, x], 1)


def unet(model, stream):
    """The levels of minigan's network, the innermost first."""
    downs = [converted(layers) for layers in model.down]
    ups = [converted(layers) for layers in model.up] + [_last(model.last)]
    level = None
    for i, (down, up) in enumerate(zip(reversed(downs), ups)):
        level = Level(down, level, up, Masked(0.5, stream), first=i == len(downs) - 1)
    return level.double()


def _last(layer):
    kernel = layer.weight.shape
    return loaded(torch.nn.ConvTranspose2d(kernel[3], kernel[2], kernel[:2], 2, 1), layer)


class Twin:
    def __init__(self, model, streams):
        self.G = unet(model.generator, streams["dropout"])
        ours = model.discriminator.layers
        self.D = converted(type(model.discriminator)(
            *[getattr(layer, "layer", layer) for layer in ours])).double()
        for theirs, mine in zip(self.D, ours):
            if hasattr(mine, "u"):
                normalised(theirs, mine)
        self.l1, self.gan = model.l1, model.gan
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def step(self, y, labels, x):
        fake = self.G(x)
        real_scores = self.D(torch.cat([x, y], 1))
        fake_scores = self.D(torch.cat([x, fake.detach()], 1))
        d_loss = relu(1 - real_scores).mean() + relu(1 + fake_scores).mean()
        descend(self.d_optimizer, d_loss)

        scores = self.D(torch.cat([x, fake], 1))
        g_loss = -scores.mean()
        l1_loss = torch.nn.functional.l1_loss(fake, y)
        descend(self.g_optimizer, self.gan * g_loss + self.l1 * l1_loss)
        return {"d_loss": d_loss.item(), "g_loss": g_loss.item(), "l1_loss": l1_loss.item()}
