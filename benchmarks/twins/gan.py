"""The model `gan` on pictures, with every remedy that its options name: in D, in D's loss, before
D's eyes. `Twin` takes the options too; its step has no labels.

The step is that of arXiv:1406.2661 with the non-saturating loss, or with relativistic pairs,
arXiv:1807.00734.
"""

from types import SimpleNamespace

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.functional import pad

from benchmarks.reference import channels_first, converted
from benchmarks.twins import adam, descend, noise


class Dropped(torch.nn.Module):
    """Dropout by the masks of the stream `rng`, drawn channels last."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        shape = x.shape if x.ndim == 2 else (x.shape[0], *x.shape[2:], x.shape[1])
        return x * channels_first((self.rng.random(shape) >= self.p).astype(float)) / (1 - self.p)


class ChannelsLast(torch.nn.Module):
    """Pictures flattened in the order in which minigan's are."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class Deviation(torch.nn.Module):
    def forward(self, x):
        number = (x.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([x, number.expand(x.shape[0], 1, *x.shape[2:])], 1)


class Discrimination(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.T = torch.nn.Parameter(torch.from_numpy(layer.weight.numpy().copy()))
        self.kernels = layer.kernels

    def forward(self, x):
        M = (x @ self.T).unflatten(1, (self.kernels, -1)).transpose(0, 1)  # (kernels, N, size)
        return torch.cat([x, torch.exp(-torch.cdist(M, M, p=1.0)).sum(2).T], 1)


def layer_of(layer):
    """A layer of D in PyTorch."""
    kind = type(layer).__name__
    if kind == "SpectralNorm":
        normed = torch.nn.utils.spectral_norm(layer_of(layer.layer))
        normed.weight_u.data = torch.from_numpy(layer.u.copy())
        return normed
    if kind == "Dropout":
        return Dropped(layer.p)
    if kind == "MinibatchDiscrimination":
        return Discrimination(layer)
    if kind in ("Flatten", "MinibatchDeviation"):
        return ChannelsLast() if kind == "Flatten" else Deviation()
    return converted(SimpleNamespace(layers=[layer]))[0]


class Twin:
    def __init__(self, model, streams, options):
        self.latent, self.streams, self.options = model.latent, streams, options
        self.G = converted(model.generator).double()
        self.D = torch.nn.Sequential(*map(layer_of, model.discriminator)).double()
        for layer in self.D:
            if isinstance(layer, Dropped):
                layer.rng = streams["dropout"]
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)
        self.steps, self.p = 0, 0.0 if options["adaptive"] else 1.0

    def step(self, x):
        self.steps += 1
        with torch.no_grad():
            fake = self.G(noise(self.streams, len(x), self.latent))
        real, fake = self.seen(x), self.seen(fake)
        r, f = self.D(real), self.D(fake)
        if self.options["objective"] == "relativistic":
            loss = cross_entropy(r - f, torch.ones_like(r))
        else:
            target = torch.full_like(r, 1 - self.options["label_smoothing"])
            loss = cross_entropy(r, target) + cross_entropy(f, torch.zeros_like(f))
        if self.steps % self.options["penalty_every"] == 1 % self.options["penalty_every"]:
            loss = loss + self.options["penalty_every"] * self.penalties(real, fake)
        d_loss = descend(self.d_optimizer, loss)
        if self.options["adaptive"]:
            rises = r.sign().mean().item() > self.options["adaptive"]
            share = len(x) / self.options["adaptive_images"]
            self.p = min(1.0, max(0.0, self.p + (share if rises else -share)))
        f = self.D(self.seen(self.G(noise(self.streams, len(x), self.latent))))
        if self.options["objective"] == "relativistic":
            f = f - self.D(self.seen(x)).detach()
        return {"d_loss": d_loss,
                "g_loss": descend(self.g_optimizer, cross_entropy(f, torch.ones_like(f)))}

    def penalties(self, real, fake):
        found = torch.zeros((), dtype=real.dtype)
        for name, x in (("r1", real), ("r2", fake)):
            if self.options[name]:
                squares = self.slope(x).square().sum(1)
                found = found + self.options[name] / 2 * squares.mean()
        if self.options["dragan"]:
            rng = self.streams["penalty"]
            N, C, H, W = real.shape
            beside = real + 0.5 * real.std(correction=0) * channels_first(rng.random((N, H, W, C)))
            mixed = torch.lerp(beside, real, torch.from_numpy(rng.random((N, 1, 1, 1))))
            lengths = self.slope(mixed).norm(dim=1)
            found = found + self.options["dragan"] * (lengths - 1).square().mean()
        return found

    def slope(self, x):
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(self.D(x).sum(), x, create_graph=True)[0].flatten(1)

    def seen(self, x):
        if self.options["augment"] == "all":
            rng = self.streams["augment"]
            for change in (brightness, contrast, translation, cutout):
                changed = change(x, rng)
                chosen = torch.from_numpy(rng.random((len(x), 1, 1, 1)) < np.float32(self.p))
                x = torch.where(chosen, changed, x)
        if self.options["instance_noise"]:
            N, C, H, W = x.shape
            left = 1 - (self.steps - 1) / (self.options["steps"] - 1)
            drawn = channels_first(self.streams["instance"].standard_normal((N, H, W, C)))
            x = x + self.options["instance_noise"] * left * drawn
        return x


def brightness(x, rng):
    return x + torch.from_numpy(rng.random(len(x)) - 0.5).view(-1, 1, 1, 1)


def contrast(x, rng):
    mean = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, x, torch.from_numpy(rng.random(len(x)) + 0.5).view(-1, 1, 1, 1))


def translation(x, rng, mode="constant"):
    """A window of a padded picture, for each sample."""
    (h, w), N = [side // 8 + (side % 8 >= 4) for side in x.shape[2:]], len(x)
    dy, dx = rng.integers(-h, h + 1, N), rng.integers(-w, w + 1, N)
    padded = pad(x, (w, w, h, h), mode)
    return torch.stack([picture[:, h - a:h - a + x.shape[2], w - b:w - b + x.shape[3]]
                        for picture, a, b in zip(padded, dy, dx)])


def cutout(x, rng):
    N, _, H, W = x.shape
    h, w = (H + 1) // 2, (W + 1) // 2
    rows, columns = rng.integers(0, H + 1 - h % 2, N), rng.integers(0, W + 1 - w % 2, N)
    kept = torch.ones_like(x)
    for i, (a, b) in enumerate(zip(rows - h // 2, columns - w // 2)):
        kept[i, :, max(a, 0):max(a + h, 0), max(b, 0):max(b + w, 0)] = 0
    return x * kept
