"""The training steps that are measured, for minigan and for PyTorch, from the same weights, data and noise.

One step is a discriminator update on a real and a fake batch and a generator update through the frozen discriminator.
minigan's side is the package's own trainer, moving average and all. PyTorch's is that of `reference.py`.
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
    from benchmarks import reference

    layout = torch.channels_last if channels_last else torch.contiguous_format
    G, D = (reference.converted(network).to(device, getattr(torch, dtype)).to(memory_format=layout)
            for network in pair(work))

    def tensor(array):
        t = torch.from_numpy(np.ascontiguousarray(array)).to(device)
        return t if t.ndim == 2 else t.permute(0, 3, 1, 2).contiguous(memory_format=layout)

    numbers = Numbers(work, dtype, tensor)
    trainer = reference.Trainer(G, D, work.objective, lambda n: tensor(numbers.noise()),
                                lambda n: tensor(numbers.epsilon()))
    return lambda: trainer.step([numbers.real()])


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
