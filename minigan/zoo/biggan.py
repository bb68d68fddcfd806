"""BigGAN: what helps a GAN of classes when it grows. Brock et al. 2019, arXiv:1809.11096.

The losses are the hinge's with a projection discriminator, and every weight but G's embedding has
spectral norm, as in `sagan`. New are, in the paper's order:

- Large batches (§3): `accumulate` batches make one step. Each is differentiated in its turn, and
  the step goes down the mean of their gradients. Batch norm sees one of them at a time.
- One embedding of the class for all layers, and noise for each (§3, appendix B): z is cut into
  chunks, the first becomes the smallest picture, and with the embedding beside it each other one
  is a block's condition c. Batch norm scales by 1 + W c and shifts by U c.
- The truncation trick (§3.1): draw z from N(0, I) and draw again what is not in [−t, t]. A small t
  trades variety for quality.
- Orthogonal regularisation (§3.1), so that G has learned to draw of such z too:

      R_β(W) = β ‖WᵀW ⊙ (1 − I)‖²_F,   W (inputs, outputs)                        (eq. 3)

  asks for filters, the columns of W, that are orthogonal and of any length.

The networks are those of appendix B for small pictures: residual blocks that double or halve the
sides, from orthogonal weights. R covers G's convolutions only: a dense layer with few inputs cannot
have many orthogonal filters. Batch norm keeps the statistics of noise that is not truncated.
Attention is left out: see `sagan`.
"""

import numpy as np

from minigan import backend, networks, objectives
from minigan.model import frozen
from minigan.residual import Discriminator, Generator
from minigan.shapes import in_range
from minigan.tensor import constant, no_grad
from minigan.trainer import Drawn
from minigan.zoo.cgan import CGAN

SWEEP = 2.0, 1.0, 0.7, 0.4, 0.1  # the truncations that are shown


class BigGAN(CGAN):
    """What is drawn is as with `CGAN`; networks and step are these."""

    OPTIONS = CGAN.OPTIONS | {
        "steps": (1400, "training steps"),
        "batch_size": (32, "samples per batch"),
        "accumulate": (2, "batches whose mean gradient makes one step"),
        "n_critic": (2, "discriminator steps per generator step"),
        "width": (16, "channels next to the picture"),
        "latent": (60, "width of the noise z, of all chunks together"),
        "embedding": (32, "width of the class's embedding"),
        "orthogonal": (1e-4, "β, the weight of orthogonal regularisation"),
        "lr_g": (1e-3, "the generator's learning rate"),
        "ema": (0.995, "decay of the averaged generator, below 1")}
    BETAS = 0.0, 0.999
    EXHIBITS = {"truncation": "noise truncated at " + ", ".join(map(str, SWEEP)) + ", row by row"}
    objective = objectives.Hinge()

    def build(self, facts, options, rng):
        self.accumulate, self.n_critic = options["accumulate"], options["n_critic"]
        self.batches_per_step = self.accumulate * self.n_critic
        self.orthogonal = in_range("BigGAN: orthogonal", options["orthogonal"])
        super().build(facts, options, rng)

    def pair(self, facts, options, rng):
        if len(facts.shape) != 3:
            raise ValueError("--model biggan: its networks are those of pictures, the samples are "
                             f"{facts.shape}")
        networks.check_sides("--model biggan", facts.shape[:2], 4, 8)
        K, width = len(facts.classes), options["width"]
        return (Generator(facts.shape, K, options["latent"], width, options["embedding"], rng),
                Discriminator(facts.shape, K, width, rng))

    def step(self, batch):
        self.steps += 1
        batches = iter(batch.parts(self.batches_per_step))

        # D: scores of real samples up, of generated ones down, each beside its own label
        for _ in range(self.n_critic):
            self.d_optimizer.zero_grad()
            d_loss = 0.0
            for part in [next(batches) for _ in range(self.accumulate)]:
                x, labels = self.real(part.x), part.labels
                with no_grad():
                    fake = self.generator(self.noise(len(x)), labels)
                real_scores, fake_scores = [self.discriminator(s, labels) for s in (x, fake)]
                loss = self.objective.discriminator_loss(real_scores, fake_scores) / self.accumulate
                loss.backward()
                d_loss = d_loss + loss.detach()
            d_norm = self.advance(self.d_optimizer, d_loss)

        # G: scores up, beside the labels of the same batches, and filters apart
        self.g_optimizer.zero_grad()
        g_loss = 0.0
        with frozen(self.discriminator):
            for part in batch.parts(self.batches_per_step)[-self.accumulate:]:
                fake = self.generator(self.noise(len(part.x)), part.labels)
                loss = self.objective.generator_loss(
                    self.discriminator(fake, part.labels)) / self.accumulate
                loss.backward()
                g_loss = g_loss + loss.detach()
        orthogonal_loss = self.orthogonal * alike(self.generator)
        orthogonal_loss.backward()
        g_norm = self.advance(self.g_optimizer, g_loss + orthogonal_loss.detach())

        self.average.update(self.steps)
        return {"d_loss": d_loss.data, "g_loss": g_loss.data,
                "orthogonal_loss": orthogonal_loss.data, "real_score": real_scores.mean().data,
                "fake_score": fake_scores.mean().data, "d_grad_norm": d_norm, "g_grad_norm": g_norm}

    # What is drawn

    def noise(self, n, rng=None, truncation=None):
        """(n, latent) standard normal numbers. Those beyond ± `truncation` are drawn again."""
        if truncation is not None and not truncation >= 0.01:
            raise ValueError(f"expected a truncation of at least 0.01, got {truncation}")
        noise = super().noise(n, rng)
        if truncation is None:
            return noise
        z = noise.numpy()
        while (beyond := np.abs(z) > truncation).any():
            z[beyond] = rng.standard_normal(beyond.sum(), dtype=z.dtype)
        return constant(backend.asarray(z))

    def draw(self, n, rng, label=None, truncation=None):
        """n samples: of the class `label`, of a label each, or by default as in the data."""
        noise = self.noise(n, rng, truncation)
        labels = rng.choice(len(self.shares), n, p=self.shares) if label is None else (
            np.broadcast_to(np.asarray(label, np.int64), (n,)))
        return Drawn(self.sample(noise, labels), labels)

    def exhibits(self, rng):
        """A row for each truncation, a column for each of the first ten classes."""
        labels = np.arange(min(10, len(self.shares)))
        rows = [self.draw(len(labels), rng, labels, t).x for t in SWEEP]
        return {"truncation": np.stack([backend.to_numpy(x) for x in rows])}


def alike(network):
    """Σ ‖WᵀW ⊙ (1 − I)‖²_F over the kernels of a network, as matrices (inputs, outputs)."""
    total = 0.0
    for kernel in [p for p in network.parameters() if p.ndim == 4]:
        W = kernel.reshape(-1, kernel.shape[-1])
        others = backend.asarray(1.0 - np.eye(kernel.shape[-1]), kernel.dtype)
        total = total + ((W.T @ W * others) ** 2).sum()
    return total
