"""Variational autoencoder: samples with a likelihood, and no discriminator. Kingma & Welling 2014,
arXiv:1312.6114.

A sample x is taken to be made of a code z, which is N(0, I), by a decoder p(x | z). The encoder
guesses which code it was: q(z | x) = N(μ, σ²), with μ and σ² of x. Whatever it guesses,

    ln p(x) ≥ E ln p(x | z) − KL(q(z | x) ‖ p(z)),   z from q(z | x)               (eq. 3)

Both networks raise this lower bound, the ELBO. The encoder can, for its gradient passes through z:

    z = μ + σ ε,   ε from N(0, I)                                                  (§2.4)

Of two normal distributions the divergence is known (appendix B); the likelihood is here a Gaussian
around the decoder's picture x̂, which is what is drawn, with one deviation s for all pixels, which
is learned too:

    KL = −½ Σ (1 + ln σ² − μ² − σ²)
    −ln p(x | z) = Σ (½ (x − x̂)²/s² + ln s + ½ ln 2π)

Sums are over the numbers of a code and of a sample. So both are in nats, and need no weight beside
each other: β is 1, and other values make the β-VAE of Higgins et al. 2017. The encoder is a DCGAN's
discriminator with two outputs for each number of z, the decoder its generator; with layer norm, for
by batch norm the likelihood of a sample would depend on the others of its batch.
"""

from math import log, pi

import numpy as np

from minigan import init, networks, nn, ops, optim
from minigan.autoencoding import Autoencoder, Gaussian
from minigan.metrics.judges import of_reconstructions
from minigan.model import averaged


class VAE(Autoencoder):
    OPTIONS = Autoencoder.OPTIONS | {
        "steps": (6000, "training steps"),
        "width": (32, "channels next to the image, or hidden units of points"),
        "latent": (16, "width of the code z"),
        "beta": (1.0, "β, the weight of the divergence"),
        "lr_ae": (2e-3, "the learning rate of both networks"),
        "lr_decay": (0.02, "part of the learning rates that is left at the last step"),
        "ema": (0.999, "decay of the averaged decoder, below 1")}
    ON_POINTS = {"width": 128, "latent": 2}
    headline = "reconstruction_loss", "kl_loss"
    measures = of_reconstructions

    def build(self, facts, options, rng):
        self.latent, self.beta, width = options["latent"], options["beta"], options["width"]
        if len(facts.shape) == 3:
            encoder = networks.dcgan_discriminator(facts.shape, width, "layer", 2 * self.latent,
                                                   rng=rng)
            decoder = networks.dcgan_generator(facts.shape, self.latent, width, nn.LayerNorm, rng)
            init.dcgan(encoder, rng), init.dcgan(decoder, rng)
        else:
            [features] = facts.shape
            encoder = networks.mlp(features, width, 3, 2 * self.latent, nn.ReLU, rng)
            decoder = networks.mlp(self.latent, width, 3, features, nn.ReLU, rng)
        self.encoder, self.decoder = Gaussian(encoder, self.latent), Decoder(decoder)
        learned = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.ae_optimizer = optim.Adam(learned, options["lr_ae"], (0.9, 0.999))
        self.averaged, self.average = averaged(self.decoder, options["ema"])

    def step(self, batch):
        self.steps += 1
        x = self.real(batch.x)

        mean, log_variance = self.encoder(x)
        z = mean + ops.exp(0.5 * log_variance) * self.noise(len(x))
        kl_loss = -0.5 * (1.0 + log_variance - mean ** 2 - ops.exp(log_variance)).sum(1).mean()
        log_s = self.decoder.log_deviation
        distance = (x - self.decoder(z)) / ops.exp(log_s)
        of_numbers = 0.5 * distance ** 2 + log_s + 0.5 * log(2.0 * pi)
        reconstruction_loss = of_numbers.reshape(len(x), -1).sum(1).mean()
        norm = self.descend(self.ae_optimizer, reconstruction_loss + self.beta * kl_loss)

        self.average.update(self.steps)
        return {"reconstruction_loss": reconstruction_loss.data, "kl_loss": kl_loss.data,
                "ae_grad_norm": norm}

    def restored(self, x):
        mean, _ = self.encoder(x)
        return self.averaged(mean)


class Decoder(nn.Module):
    """p(x | z): codes z (N, latent) → the means x̂ of samples, (N, …), by `network`."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.log_deviation = nn.Parameter(np.zeros(1, np.float32))  # ln s

    def forward(self, z):
        return self.network(z)
