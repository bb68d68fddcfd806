"""GAN training in PyTorch, written as an expert would: what minigan's training is held against.

Nothing here comes from minigan's own formulas or recipes: losses are PyTorch's, on logits,
gradients its autograd's, updates its optimizers'. Fakes have no graph in the discriminator's step,
and the discriminator is frozen in the generator's. The numbers are those of the papers, as in
`minigan.trainer.RECIPES`.
"""

import copy

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.functional import avg_pool2d, interpolate, mse_loss, relu

from minigan import backend, nn

CLIP, PENALTY = 0.01, 10.0


def _real(scores):
    return torch.ones_like(scores)


def _fake(scores):
    return torch.zeros_like(scores)


def _cross_entropies(r, f):
    return cross_entropy(r, _real(r)) + cross_entropy(f, _fake(f))


def _critics(r, f):
    return f.mean() - r.mean()


LOSSES = {  # of the discriminator, from the scores of real and fake samples, and of the generator
    "minimax": (_cross_entropies, lambda f: -cross_entropy(f, _fake(f))),
    "gan": (_cross_entropies, lambda f: cross_entropy(f, _real(f))),
    "lsgan": (lambda r, f: (mse_loss(r, _real(r)) + mse_loss(f, _fake(f))) / 2,
              lambda f: mse_loss(f, _real(f)) / 2),
    "wgan": (_critics, lambda f: -f.mean()),
    "wgan-gp": (_critics, lambda f: -f.mean()),
    "hinge": (lambda r, f: relu(1 - r).mean() + relu(1 + f).mean(), lambda f: -f.mean()),
    "relativistic": (lambda r, f: cross_entropy(r - f, _real(r)),
                     lambda f, r: cross_entropy(f - r, _real(f))),
}


class Trainer:
    """The networks `G` and `D` in training. `noise(n)` draws n latents, and `mixing(n)` the weights
    of a gradient penalty, (n, 1, …), as tensors where the networks are. Real batches are given to
    `step`, channels first. The papers' learning rates are multiplied by `haste`."""

    def __init__(self, G, D, objective, noise, mixing=None, haste=1.0):
        self.G, self.D, self.objective, self.noise, self.mixing = G, D, objective, noise, mixing
        self.d_loss, self.g_loss = LOSSES[objective]
        if objective == "wgan":
            make = lambda parameters: torch.optim.RMSprop(parameters, lr=haste * 5e-5)
        elif objective == "wgan-gp":
            make = lambda parameters: torch.optim.Adam(parameters, lr=haste * 1e-4,
                                                       betas=(0.0, 0.9))
        else:
            make = lambda parameters: torch.optim.Adam(parameters, lr=haste * 2e-4,
                                                       betas=(0.5, 0.999))
        self.g_optimizer, self.d_optimizer = make(G.parameters()), make(D.parameters())

    def step(self, batches):
        """A discriminator step on each real batch and one generator step; both losses, of the
        discriminator's the last, as tensors not yet read."""
        for real in batches:
            d_loss = self._discriminator_step(real)
        return d_loss, self._generator_step(real)

    def _discriminator_step(self, real):
        with torch.no_grad():
            fake = self.G(self.noise(len(real)))
        loss = self.d_loss(self.D(real), self.D(fake))
        if self.objective == "wgan-gp":
            loss = loss + PENALTY * self._penalty(real, fake)
        self.d_optimizer.zero_grad()
        loss.backward()
        self.d_optimizer.step()
        if self.objective == "wgan":
            with torch.no_grad():
                for parameter in self.D.parameters():
                    parameter.clamp_(-CLIP, CLIP)
        return loss.detach()

    def _penalty(self, real, fake):
        mixed = torch.lerp(fake, real, self.mixing(len(real))).requires_grad_()
        [slope] = torch.autograd.grad(self.D(mixed).sum(), mixed, create_graph=True)
        return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()

    def _generator_step(self, real):
        self.D.requires_grad_(False)
        scores = [self.D(self.G(self.noise(len(real))))]
        if self.objective == "relativistic":
            scores.append(self.D(real))
        loss = self.g_loss(*scores)
        self.g_optimizer.zero_grad()
        loss.backward()
        self.g_optimizer.step()
        self.D.requires_grad_(True)
        return loss.detach()


class Average:
    """The moving average of a network's weights, without the bias towards its start; `network` is
    in evaluation mode and has the running statistics of the one that is averaged."""

    def __init__(self, network, decay=0.999):
        self.original = network
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.weight = decay, 0.0

    @torch.no_grad()
    def update(self):
        """Weights decayⁱ for the state i updates ago, divided by their sum."""
        self.weight = 1.0 + self.decay * self.weight
        for averaged, now in zip(self.network.parameters(), self.original.parameters()):
            averaged.lerp_(now, 1.0 / self.weight)
        for copied, now in zip(self.network.buffers(), self.original.buffers()):
            copied.copy_(now)

    @torch.no_grad()
    def settle(self, latent, dtype, batches=8, batch=64):
        """Batch norms get the mean statistics that the averaged weights themselves show on noise,
        the same noise as minigan's trainer takes."""
        norms = [m for m in self.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        stream = backend.Streams()["statistics"]
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
            norm.momentum = None  # PyTorch's way to say: the mean of all
        for _ in range(batches if norms else 0):
            noise = stream.standard_normal((batch, latent), dtype=np.dtype(dtype))
            self.network(torch.from_numpy(noise))
        self.network.eval()


def channels_first(images):
    """An array (N, H, W, C) as a tensor (N, C, H, W); anything else as it is."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    return tensor.permute(0, 3, 1, 2).contiguous() if tensor.ndim == 4 else tensor


def converted_pair(generator, discriminator):
    return converted(generator), converted(discriminator)


class BatchNorm(torch.nn.BatchNorm2d):
    """Of pictures or of features."""

    def _check_input_dim(self, x):
        pass


def converted(network):
    """minigan's `network` in PyTorch's layers, with the same weights: channels first, and features
    between picture and dense layer likewise."""
    layers, image = [], None
    for layer in network.layers:
        if isinstance(layer, nn.Reshape):
            h, w, c = layer.shape
            layers.append(torch.nn.Unflatten(1, (c, h, w)))
            layers[-2].weight.data = _channels_before_places(layers[-2].weight.data, h, w, c)
        elif isinstance(layer, nn.Dense):
            weight = layer.weight.numpy()
            if image is not None:
                c = image
                side = round((weight.shape[0] // c) ** 0.5)
                weight = weight.reshape(side, side, c, -1).transpose(2, 0, 1, 3)
                weight = weight.reshape(layer.weight.shape)
                image = None
            new = torch.nn.Linear(*weight.shape, bias=layer.bias is not None)
            new.weight.data = torch.from_numpy(weight.T.copy())
            layers.append(_with_bias(new, layer))
        elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            weight = torch.from_numpy(layer.weight.numpy().transpose(3, 2, 0, 1).copy())
            if isinstance(layer, nn.Conv2d):
                kind, (outputs, inputs) = torch.nn.Conv2d, weight.shape[:2]
            else:
                kind, (inputs, outputs) = torch.nn.ConvTranspose2d, weight.shape[:2]
            new = kind(inputs, outputs, weight.shape[2:], layer.stride, layer.padding,
                       bias=layer.bias is not None)
            new.weight.data = weight
            layers.append(_with_bias(new, layer))
            image = outputs
        elif isinstance(layer, (nn.BatchNorm, nn.LayerNorm)):
            channels = layer.weight.size
            new = (BatchNorm(channels) if isinstance(layer, nn.BatchNorm)
                   else torch.nn.GroupNorm(1, channels))
            new.weight.data = torch.from_numpy(layer.weight.numpy().copy())
            layers.append(_with_bias(new, layer))
        elif isinstance(layer, nn.LeakyReLU):
            layers.append(torch.nn.LeakyReLU(layer.slope))
        else:
            layers.append({nn.ReLU: torch.nn.ReLU, nn.Tanh: torch.nn.Tanh,
                           nn.Flatten: torch.nn.Flatten}[type(layer)]())
    return torch.nn.Sequential(*layers)


def _with_bias(new, layer):
    if layer.bias is not None:
        new.bias.data = torch.from_numpy(layer.bias.numpy().copy())
    return new


def _channels_before_places(array, h, w, c):
    """(h · w · c, …) → (c · h · w, …)."""
    return array.view(h, w, c, -1).permute(2, 0, 1, 3).reshape(array.shape)


# The residual pair of Miyato et al. 2018, arXiv:1802.05957, appendix B.4, no spectral normalisation

def conv3(before, after):
    return torch.nn.Conv2d(before, after, 3, padding=1)


class UpBlock(torch.nn.Module):
    """Of the generator: twice the height and the width."""

    def __init__(self, width):
        super().__init__()
        self.norm1, self.conv1 = torch.nn.BatchNorm2d(width), conv3(width, width)
        self.norm2, self.conv2 = torch.nn.BatchNorm2d(width), conv3(width, width)
        self.shortcut = torch.nn.Conv2d(width, width, 1)

    def forward(self, x):
        y = interpolate(relu(self.norm1(x)), scale_factor=2, mode="nearest")
        y = self.conv2(relu(self.norm2(self.conv1(y))))
        return y + self.shortcut(interpolate(x, scale_factor=2, mode="nearest"))


class FirstBlock(torch.nn.Module):
    """Of the discriminator, on the picture: half the height and the width."""

    def __init__(self, channels, width):
        super().__init__()
        self.conv1, self.conv2 = conv3(channels, width), conv3(width, width)
        self.shortcut = torch.nn.Conv2d(channels, width, 1)

    def forward(self, x):
        y = self.conv2(relu(self.conv1(x)))
        return avg_pool2d(y, 2) + self.shortcut(avg_pool2d(x, 2))


class DownBlock(torch.nn.Module):
    """Of the discriminator: half the height and the width."""

    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = conv3(width, width), conv3(width, width)
        self.shortcut = torch.nn.Conv2d(width, width, 1)

    def forward(self, x):
        y = self.conv2(relu(self.conv1(relu(x))))
        return avg_pool2d(y, 2) + avg_pool2d(self.shortcut(x), 2)


class PlainBlock(torch.nn.Module):
    """Of the discriminator: the same size."""

    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = conv3(width, width), conv3(width, width)

    def forward(self, x):
        return x + self.conv2(relu(self.conv1(relu(x))))


class ResidualGenerator(torch.nn.Module):
    def __init__(self, latent, width, channels):
        super().__init__()
        self.dense = torch.nn.Linear(latent, 4 * 4 * width)
        self.blocks = torch.nn.Sequential(UpBlock(width), UpBlock(width), UpBlock(width))
        self.norm, self.conv = torch.nn.BatchNorm2d(width), conv3(width, channels)

    def forward(self, z):
        x = self.blocks(self.dense(z).view(len(z), -1, 4, 4))
        return torch.tanh(self.conv(relu(self.norm(x))))


class ResidualDiscriminator(torch.nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.blocks = torch.nn.Sequential(FirstBlock(channels, width), DownBlock(width),
                                          PlainBlock(width), PlainBlock(width))
        self.dense = torch.nn.Linear(width, 1)

    def forward(self, x):
        return self.dense(relu(self.blocks(x)).sum((2, 3)))


def residual_pair(generator, discriminator):
    """The twins of both networks of `works.residual_pair`, with the same weights."""
    *_, channels, width = discriminator.parameters()[0].shape
    latent = generator.parameters()[0].shape[0]
    G = loaded(ResidualGenerator(latent, width, channels), generator)
    for parameter in (G.dense.weight, G.dense.bias):
        parameter.data = _channels_before_places(parameter.data, 4, 4, width)
    return G, loaded(ResidualDiscriminator(channels, width), discriminator)


def loaded(twin, network):
    """`twin` with the weights of minigan's `network`, which has them in the same order."""
    for theirs, ours in zip(twin.parameters(), network.parameters(), strict=True):
        array = torch.from_numpy(ours.numpy().copy())
        array = {4: lambda: array.permute(3, 2, 0, 1), 2: lambda: array.T,
                 1: lambda: array}[array.ndim]().contiguous()
        assert array.shape == theirs.shape, (array.shape, theirs.shape)
        theirs.data = array
    return twin
