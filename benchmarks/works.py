"""The training steps that are measured, for minigan and for PyTorch, from the same weights, data and noise.

One step is a discriminator update on a real and a fake batch and a generator update through the frozen discriminator.
minigan's side is the package's own trainer, moving average and all. PyTorch's is written as an expert would: losses
on logits, fakes without a graph in the discriminator's step, frozen discriminator weights in the generator's.
"""

import itertools
from typing import NamedTuple

import numpy as np

from minigan import backend, conv, networks, nn
from minigan.trainer import GANTrainer

SEED = 0


class Work(NamedTuple):
    sample_shape: tuple
    batch: int
    objective: str = "gan"
    latent: int = 100


WORKS = {f"{name}-{batch}": work._replace(batch=batch)
         for name, work in {"dcgan28": Work((28, 28, 1), 0), "dcgan64": Work((64, 64, 3), 0),
                            "wgangp28": Work((28, 28, 1), 0, objective="wgan-gp"),
                            "mlp2d": Work((2,), 0, latent=2)}.items()
         for batch in (32, 64, 128, 256, 1024)}
ON_CPU = "dcgan28-64", "dcgan28-128", "dcgan64-32", "wgangp28-64", "mlp2d-256"
ON_GPU = tuple(f"{name}-{batch}" for name in ("dcgan28", "dcgan64", "wgangp28", "mlp2d") for batch in (64, 256, 1024))


def pair(work):
    rng = backend.Streams(SEED)["init"]
    if len(work.sample_shape) == 1:
        return networks.mlp_pair(work.sample_shape[0], work.latent, width=128, depth=3, rng=rng)
    return networks.dcgan_pair(work.sample_shape, work.latent, width=64, penalised=work.objective == "wgan-gp", rng=rng)


class Numbers:
    """Real batches and noise, the same for both sides. `place` is called once on each of the four real batches, before
    anything is timed: data that fits is kept on the device."""

    def __init__(self, work, dtype, place):
        self.work, self.dtype = work, np.dtype(dtype)
        self.streams = backend.Streams(SEED)
        drawn = self.streams["data"].random((4, work.batch, *work.sample_shape), dtype=self.dtype) * 2 - 1
        self._real = itertools.cycle([place(batch) for batch in drawn])

    def real(self):
        return next(self._real)

    def noise(self):
        return self.streams["noise"].standard_normal((self.work.batch, self.work.latent), dtype=self.dtype)

    def epsilon(self):
        ones = (1,) * len(self.work.sample_shape)
        return self.streams["penalty"].random((self.work.batch, *ones)).astype(self.dtype)


def minigan_step(work, dtype="float32"):
    """A function without arguments that does one step, on the backend in use, and returns (d_loss, g_loss), not yet
    read."""
    numbers = Numbers(work, dtype, backend.asarray)
    networks = [network.astype(dtype) for network in pair(work)]
    trainer = GANTrainer(*networks, work.latent, work.objective, n_critic=1, streams=numbers.streams)

    def step():
        stats = trainer.step([numbers.real()])
        return stats["d_loss"], stats["g_loss"]
    return step


def torch_step(work, dtype="float32", channels_last=False, device="cpu"):
    """The same in PyTorch, eager."""
    import torch
    from torch.nn.functional import softplus

    layout = torch.channels_last if channels_last else torch.contiguous_format
    G, D = (_to_torch(network, torch).to(device, getattr(torch, dtype)).to(memory_format=layout)
            for network in pair(work))
    penalised = work.objective == "wgan-gp"
    adam = dict(lr=1e-4, betas=(0.0, 0.9)) if penalised else dict(lr=2e-4, betas=(0.5, 0.999))
    g_optimizer, d_optimizer = (torch.optim.Adam(network.parameters(), **adam) for network in (G, D))

    def tensor(array):
        t = torch.from_numpy(np.ascontiguousarray(array)).to(device)
        return t if t.ndim == 2 else t.permute(0, 3, 1, 2).contiguous(memory_format=layout)

    numbers = Numbers(work, dtype, tensor)

    def step():
        real = numbers.real()
        with torch.no_grad():
            fake = G(tensor(numbers.noise()))
        if penalised:
            mixing = tensor(numbers.epsilon())
            mixed = (mixing * real + (1 - mixing) * fake).requires_grad_()
            [slope] = torch.autograd.grad(D(mixed).sum(), mixed, create_graph=True)
            penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
            d_loss = D(fake).mean() - D(real).mean() + 10.0 * penalty
        else:
            d_loss = softplus(-D(real)).mean() + softplus(D(fake)).mean()
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()

        D.requires_grad_(False)
        scores = D(G(tensor(numbers.noise())))
        g_loss = -scores.mean() if penalised else softplus(-scores).mean()
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        D.requires_grad_(True)
        return d_loss.detach(), g_loss.detach()
    return step


def _to_torch(network, torch):
    """The same network with the same weights: channels first, and features between picture and dense layer likewise."""
    layers, image = [], None
    for layer in network.layers:
        if isinstance(layer, nn.Reshape):
            h, w, c = layer.shape
            layers.append(torch.nn.Unflatten(1, (c, h, w)))
            weight = layers[-2].weight.data.view(h, w, c, -1).permute(2, 0, 1, 3).reshape(h * w * c, -1)
            layers[-2].weight.data = weight.contiguous()
        elif isinstance(layer, nn.Dense):
            weight = layer.weight.numpy()
            if image is not None:
                c = image
                side = round((weight.shape[0] // c) ** 0.5)
                weight = weight.reshape(side, side, c, -1).transpose(2, 0, 1, 3).reshape(weight.shape[0], -1)
            new = torch.nn.Linear(*weight.shape, bias=layer.bias is not None)
            new.weight.data = torch.from_numpy(weight.T.copy())
            layers.append(_with_bias(new, layer, torch))
        elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            weight = torch.from_numpy(layer.weight.numpy().transpose(3, 2, 0, 1).copy())
            kind = torch.nn.Conv2d if isinstance(layer, nn.Conv2d) else torch.nn.ConvTranspose2d
            inputs, outputs = weight.shape[:2] if kind is torch.nn.ConvTranspose2d else weight.shape[1::-1]
            new = kind(inputs, outputs, weight.shape[2:], layer.stride, layer.padding, bias=layer.bias is not None)
            new.weight.data = weight
            layers.append(_with_bias(new, layer, torch))
            image = outputs
        elif isinstance(layer, (nn.BatchNorm, nn.LayerNorm)):
            channels = layer.weight.size
            new = torch.nn.BatchNorm2d(channels) if isinstance(layer, nn.BatchNorm) else torch.nn.GroupNorm(1, channels)
            new.weight.data = torch.from_numpy(layer.weight.numpy().copy())
            layers.append(_with_bias(new, layer, torch))
        elif isinstance(layer, nn.LeakyReLU):
            layers.append(torch.nn.LeakyReLU(layer.slope))
        else:
            layers.append({nn.ReLU: torch.nn.ReLU, nn.Tanh: torch.nn.Tanh, nn.Flatten: torch.nn.Flatten}[type(layer)]())
    return torch.nn.Sequential(*layers)


def _with_bias(new, layer, torch):
    if layer.bias is not None:
        new.bias.data = torch.from_numpy(layer.bias.numpy().copy())
    return new


def step_flops(work):
    """Floating-point operations of one step in convolutions and matrix products, as direct convolution does them.

    Every product is needed once forward, once for the weight's and once for the input's gradient. Discriminator step:
    G forward; D forward twice, with weight gradients and, but for the first layer, input gradients. Generator step:
    both forward, D's input gradients, G's weight gradients and, but for the first layer, input gradients.
    """
    g, d = (_forward_flops(network, work) for network in pair(work))
    d_step = sum(g) + 2 * (3 * sum(d) - d[0])
    g_step = 3 * sum(g) - g[0] + 2 * sum(d)
    return d_step + g_step


def _forward_flops(network, work):
    """Of each layer with a product, for one batch."""
    image, flops = work.sample_shape, []
    for layer in network.layers:
        if isinstance(layer, nn.Reshape):
            image = layer.shape
        elif isinstance(layer, nn.Dense):
            flops.append(2 * work.batch * layer.weight.size)
        elif isinstance(layer, nn.Conv2d):
            h, w = conv.convolved_size(image[:2], layer.weight.shape[:2], (layer.stride,) * 2, (layer.padding,) * 2)
            image = h, w, layer.weight.shape[3]
            flops.append(2 * work.batch * h * w * layer.weight.size)
        elif isinstance(layer, nn.ConvTranspose2d):
            flops.append(2 * work.batch * image[0] * image[1] * layer.weight.size)
            h, w = conv.transposed_size(image[:2], layer.weight.shape[:2], (layer.stride,) * 2, (layer.padding,) * 2)
            image = h, w, layer.weight.shape[2]
    return flops
