"""Variational autoencoder, Kingma & Welling 2014, arXiv:1312.6114, with PyTorch's own normal
distributions and their divergence."""

import torch
from torch.distributions import Independent, Normal, kl_divergence

from benchmarks.reference import converted
from benchmarks.twins import adam, descend, noise


class Encoder(torch.nn.Module):
    """Samples → q(z | x)."""

    def __init__(self, ours):
        super().__init__()
        self.network = converted(ours.network)

    def forward(self, x):
        mean, log_variance = self.network(x).chunk(2, 1)
        return Independent(Normal(mean, log_variance.exp().sqrt()), 1)


class Decoder(torch.nn.Module):
    """Codes → p(x | z)."""

    def __init__(self, ours):
        super().__init__()
        self.network = converted(ours.network)
        self.log_deviation = torch.nn.Parameter(torch.from_numpy(ours.log_deviation.numpy().copy()))

    def forward(self, z):
        mean = self.network(z)
        return Independent(Normal(mean, self.log_deviation.exp()), mean.ndim - 1)


def divergence(posterior):
    """From the normal distribution of mean 0 and deviation 1, of each sample."""
    mean = posterior.mean
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return kl_divergence(posterior, Independent(prior, 1))


class Twin:
    def __init__(self, model, streams):
        self.latent, self.beta, self.streams = model.latent, model.beta, streams
        self.encoder = Encoder(model.encoder).double()
        self.decoder = Decoder(model.decoder).double()
        self.networks = {"encoder": self.encoder, "decoder": self.decoder}
        self.optimizer = adam(torch.nn.ModuleList([self.encoder, self.decoder]), model.ae_optimizer)

    def step(self, x, labels):
        posterior = self.encoder(x)
        z = posterior.mean + posterior.stddev * noise(self.streams, len(x), self.latent)
        reconstruction_loss = -self.decoder(z).log_prob(x).mean()
        kl_loss = divergence(posterior).mean()
        descend(self.optimizer, reconstruction_loss + self.beta * kl_loss)
        return {"reconstruction_loss": reconstruction_loss.item(), "kl_loss": kl_loss.item()}
