"""The training steps that are measured, for minigan and for PyTorch, from the same weights, data
and noise.

One step is a discriminator update on a real and a fake batch and a generator update through the
frozen discriminator. minigan's side is the package's own trainer, moving average and all. PyTorch's
is that of `reference.py`.
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
    residual: bool = False


WORKS = {f"{name}-{batch}": work._replace(batch=batch)
         for name, work in {
             "dcgan28": Work((28, 28, 1), 0), "dcgan64": Work((64, 64, 3), 0),
             "wgangp28": Work((28, 28, 1), 0, objective="wgan-gp"),
             "resnet32": Work((32, 32, 3), 0, objective="hinge", latent=128, residual=True),
             "mlp2d": Work((2,), 0, latent=2)}.items()
         for batch in (32, 64, 128, 256, 1024)}
ON_CPU = "dcgan28-64", "dcgan28-128", "dcgan64-32", "wgangp28-64", "resnet32-64", "mlp2d-256"
ON_GPU = tuple(f"{name}-{batch}" for name in ("dcgan28", "dcgan64", "wgangp28", "mlp2d")
               for batch in (64, 256, 1024))


def pair(work):
    rng = backend.Streams(SEED)["init"]
    if work.residual:
        return residual_pair(work.sample_shape, work.latent, width=64, rng=rng)
    if len(work.sample_shape) == 1:
        return networks.mlp_pair(work.sample_shape[0], work.latent, width=128, depth=3, rng=rng)
    return networks.dcgan_pair(work.sample_shape, work.latent, width=64,
                               penalised=work.objective == "wgan-gp", rng=rng)


# A residual pair

class GlobalSum(nn.Module):
    """(N, H, W, C) → (N, C)."""

    def forward(self, x):
        return x.sum((1, 2))


def residual_pair(image_shape, latent, width, rng=None):
    """The pair for 32 × 32 pictures of Miyato et al. 2018, arXiv:1802.05957, appendix B.4, without
    its spectral normalisation.

    The generator is a dense layer to 4 × 4, three blocks that double the sides, batch norm, ReLU,
    a convolution and tanh. The discriminator is two blocks that halve the sides, two that keep
    them, ReLU, the sum over all positions and a dense layer. What the table leaves open, such as
    the order within a block, is as in the authors' code. All blocks have `width` channels (paper:
    256 in the generator, 128 in the discriminator). Weights begin as `nn` has them.
    """
    *_, channels = image_shape
    conv3 = lambda before, after: nn.Conv2d(before, after, 3, padding=1, rng=rng)
    conv1 = lambda before, after: nn.Conv2d(before, after, 1, rng=rng)

    def up():
        return nn.Residual(
            nn.Sequential(nn.BatchNorm(width), nn.ReLU(), nn.Upsample(), conv3(width, width),
                          nn.BatchNorm(width), nn.ReLU(), conv3(width, width)),
            nn.Sequential(nn.Upsample(), conv1(width, width)))

    def first():
        return nn.Residual(
            nn.Sequential(conv3(channels, width), nn.ReLU(), conv3(width, width), nn.AveragePool()),
            nn.Sequential(nn.AveragePool(), conv1(channels, width)))

    def down():
        return nn.Residual(
            nn.Sequential(nn.ReLU(), conv3(width, width), nn.ReLU(), conv3(width, width),
                          nn.AveragePool()),
            nn.Sequential(conv1(width, width), nn.AveragePool()))

    def plain():
        return nn.Residual(
            nn.Sequential(nn.ReLU(), conv3(width, width), nn.ReLU(), conv3(width, width)),
            nn.Sequential())

    generator = nn.Sequential(
        nn.Dense(latent, 4 * 4 * width, rng=rng), nn.Reshape(4, 4, width), up(), up(), up(),
        nn.BatchNorm(width), nn.ReLU(), conv3(width, channels), nn.Tanh())
    discriminator = nn.Sequential(
        first(), down(), plain(), plain(), nn.ReLU(), GlobalSum(), nn.Dense(width, 1, rng=rng))
    return generator, discriminator


# Both sides

class Numbers:
    """Real batches and noise, the same for both sides. `place` is called once on each of the four
    real batches, before anything is timed: data that fits is kept on the device."""

    def __init__(self, work, dtype, place):
        self.work, self.dtype = work, np.dtype(dtype)
        self.streams = backend.Streams(SEED)
        shape = 4, work.batch, *work.sample_shape
        drawn = self.streams["data"].random(shape, dtype=self.dtype) * 2 - 1
        self._real = itertools.cycle([place(batch) for batch in drawn])

    def real(self):
        return next(self._real)

    def noise(self):
        shape = self.work.batch, self.work.latent
        return self.streams["noise"].standard_normal(shape, dtype=self.dtype)

    def epsilon(self):
        ones = (1,) * len(self.work.sample_shape)
        return self.streams["penalty"].random((self.work.batch, *ones)).astype(self.dtype)


def minigan_step(work, dtype="float32"):
    """A function without arguments that does one step, on the backend in use, and returns (d_loss,
    g_loss), not yet read."""
    numbers = Numbers(work, dtype, backend.asarray)
    networks = [network.astype(dtype) for network in pair(work)]
    trainer = GANTrainer(*networks, work.latent, work.objective, n_critic=1,
                         streams=numbers.streams)

    def step():
        stats = trainer.step([numbers.real()])
        return stats["d_loss"], stats["g_loss"]
    return step


def torch_step(work, dtype="float32", channels_last=False, device="cpu"):
    """The same in PyTorch, eager."""
    import torch
    from benchmarks import reference

    layout = torch.channels_last if channels_last else torch.contiguous_format
    twins = reference.residual_pair if work.residual else reference.converted_pair
    G, D = (network.to(device, getattr(torch, dtype)).to(memory_format=layout)
            for network in twins(*pair(work)))

    def tensor(array):
        t = torch.from_numpy(np.ascontiguousarray(array)).to(device)
        return t if t.ndim == 2 else t.permute(0, 3, 1, 2).contiguous(memory_format=layout)

    numbers = Numbers(work, dtype, tensor)
    trainer = reference.Trainer(G, D, work.objective, lambda n: tensor(numbers.noise()),
                                lambda n: tensor(numbers.epsilon()))
    return lambda: trainer.step([numbers.real()])


# Counting

class Product(NamedTuple):
    """A layer with a convolution or a matrix product."""
    flops: int    # for one batch
    first: bool   # whether no layer with weights lies before it: its input needs no gradient


def step_flops(work):
    """Floating-point operations of one step in convolutions and matrix products, as direct
    convolution does them.

    Every product is needed once forward, once for the weight's and once for the input's gradient.
    Discriminator step: G forward; D forward twice, with weight gradients and, but for the first
    layers, input gradients. Generator step: both forward, D's input gradients, G's weight gradients
    and, but for the first layer, input gradients.
    """
    g, d = (_products(network, work) for network in pair(work))
    forward_g, forward_d = (sum(p.flops for p in products) for products in (g, d))
    first_g, first_d = (sum(p.flops for p in products if p.first) for products in (g, d))
    d_step = forward_g + 2 * (3 * forward_d - first_d)
    g_step = 3 * forward_g - first_g + 2 * forward_d
    return d_step + g_step


def _products(network, work):
    """The products of a network, in order."""
    found = []

    def through(layer, image, first):
        """Add those of `layer`; returns the size (H, W) behind it, and whether it had no weights.
        """
        if isinstance(layer, nn.Sequential):
            for each in layer.layers:
                image, first = through(each, image, first)
        elif isinstance(layer, nn.Residual):
            through(layer.shortcut, image, first)
            image, first = through(layer.residual, image, first)
        elif isinstance(layer, nn.Reshape):
            image = layer.shape[:2]
        elif isinstance(layer, nn.Upsample):
            image = 2 * image[0], 2 * image[1]
        elif isinstance(layer, nn.AveragePool):
            image = image[0] // 2, image[1] // 2
        elif isinstance(layer, nn.Dense):
            found.append(Product(2 * work.batch * layer.weight.size, first))
            first = False
        elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            is_conv = isinstance(layer, nn.Conv2d)
            size = conv.convolved_size if is_conv else conv.transposed_size
            before, image = image, size(image, layer.weight.shape[:2], (layer.stride,) * 2,
                                        (layer.padding,) * 2)
            h, w = image if is_conv else before  # the kernel's places
            found.append(Product(2 * work.batch * h * w * layer.weight.size, first))
            first = False
        return image, first

    through(network, work.sample_shape[:2], True)
    return found
