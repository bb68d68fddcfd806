"""Projection discriminator, Miyato & Koyama 2018, arXiv:1802.05637, with the hinge loss."""

import numpy as np
import torch
from torch.nn.functional import relu
from torch.nn.utils import spectral_norm

from benchmarks.reference import converted
from benchmarks.twins import adam, descend, noise


class ConditionalNorm(torch.nn.Module):
    """Batch norm without weights, then the class's own scale and shift."""

    def __init__(self, ours):
        super().__init__()
        classes, channels = ours.weight.shape
        self.norm = torch.nn.BatchNorm2d(channels, affine=False)
        self.scale = torch.nn.Embedding(classes, channels)
        self.shift = torch.nn.Embedding(classes, channels)
        self.scale.weight.data = torch.from_numpy(ours.weight.numpy().copy())
        self.shift.weight.data = torch.from_numpy(ours.bias.numpy().copy())

    def forward(self, x, labels):
        places = len(x), -1, 1, 1
        return self.norm(x) * self.scale(labels).view(places) + self.shift(labels).view(places)


class Generator(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        layers = ours.network.layers
        plain = [layer for layer in layers if not hasattr(layer, "normalised")]
        pieces = iter(converted(type(ours.network)(*plain)))
        self.layers = torch.nn.ModuleList([
            ConditionalNorm(layer) if hasattr(layer, "normalised") else next(pieces)
            for layer in layers])

    def forward(self, x, labels):
        for layer in self.layers:
            x = layer(x, labels) if isinstance(layer, ConditionalNorm) else layer(x)
        return x


def normalised(theirs, ours, dim=0, order=slice(None)):
    """PyTorch's spectral normalisation, going on from where minigan's is."""
    spectral_norm(theirs, dim=dim)
    theirs.weight_u = torch.from_numpy(ours.u[order].copy())


class Discriminator(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        bare = [getattr(layer, "layer", layer) for layer in ours.features.layers]
        *features, score = converted(type(ours.features)(*bare, ours.score.layer))
        for theirs, mine in zip(features, ours.features.layers):
            if hasattr(mine, "u"):
                normalised(theirs, mine)
        normalised(score, ours.score)
        self.features, self.score = torch.nn.Sequential(*features), score

        # The features are in the order of channels first here
        rows, channels = ours.embedding.layer.weight.numpy(), features[-3].out_channels
        side = round((rows.shape[1] / channels) ** 0.5)
        order = np.arange(rows.shape[1]).reshape(side, side, channels).transpose(2, 0, 1).reshape(-1)
        self.embedding = torch.nn.Embedding(*rows.shape)
        self.embedding.weight.data = torch.from_numpy(rows[:, order].copy())
        normalised(self.embedding, ours.embedding, 1, order)

    def forward(self, x, labels):
        phi = self.features(x)
        return self.score(phi) + (self.embedding(labels) * phi).sum(1, keepdim=True)


class Twin:
    def __init__(self, model, streams):
        self.latent, self.streams = model.latent, streams
        self.G, self.D = Generator(model.generator).double(), Discriminator(model.discriminator)
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def step(self, x, labels):
        labels = torch.from_numpy(labels)
        with torch.no_grad():
            fake = self.G(noise(self.streams, len(x), self.latent), labels)
        d_loss = descend(self.d_optimizer, relu(1 - self.D(x, labels)).mean()
                         + relu(1 + self.D(fake, labels)).mean())
        fake = self.G(noise(self.streams, len(x), self.latent), labels)
        g_loss = descend(self.g_optimizer, -self.D(fake, labels).mean())
        return {"d_loss": d_loss, "g_loss": g_loss}
