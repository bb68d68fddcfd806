"""VAE-GAN, Larsen et al. 2016, arXiv:1512.09300, Algorithm 1, with PyTorch's own normal
distributions and cross-entropy. Each network's gradient is asked for by name, so that no loss
reaches another."""

import torch
from torch.distributions import Independent, Normal
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from benchmarks.reference import converted
from benchmarks.twins import adam, noise
from benchmarks.twins.vae import Encoder, divergence


def one(scores):
    return cross_entropy(scores, torch.ones_like(scores))


def zero(scores):
    return cross_entropy(scores, torch.zeros_like(scores))


class Discriminator(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        body, score = ours
        *self.body, self.score = converted(type(ours)(*body, score))
        self.body = torch.nn.Sequential(*self.body)

    def forward(self, x):
        return self.score(self.body(x))


def gradients(loss, network):
    """Those of this network alone."""
    return torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)


def update(network, optimizer, found):
    for p, gradient in zip(network.parameters(), found, strict=True):
        p.grad = gradient
    optimizer.step()


class Twin:
    def __init__(self, model, streams):
        self.latent, self.gamma, self.streams = model.latent, model.gamma, streams
        self.encoder = Encoder(model.encoder).double()
        self.decoder = converted(model.decoder).double()
        self.D = Discriminator(model.discriminator).double()
        self.networks = {"encoder": self.encoder, "decoder": self.decoder, "discriminator": self.D}
        self.e_optimizer = adam(self.encoder, model.e_optimizer)
        self.g_optimizer = adam(self.decoder, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def step(self, x, labels):
        n = len(x)
        posterior = self.encoder(x)
        z = posterior.mean + posterior.stddev * noise(self.streams, n, self.latent)
        z_p = noise(self.streams, n, self.latent)
        restored, made = self.decoder(z), self.decoder(z_p)
        d_loss = one(self.D(x)) + zero(self.D(restored)) + zero(self.D(made))
        update(self.D, self.d_optimizer, gradients(d_loss, self.D))

        target = self.D.body(x).detach()

        def likelihood(picture):
            """ln N(target | the picture's features, I), without its constant."""
            seen = self.D.body(picture)
            normal = Independent(Normal(seen, torch.ones_like(seen)), seen.ndim - 1)
            return (normal.log_prob(target) - normal.log_prob(seen)).mean()

        kl_loss, feature_loss = divergence(posterior).mean(), -likelihood(restored)
        g_loss = one(self.D(restored)) + one(self.D(made))
        encoders = gradients(kl_loss + feature_loss, self.encoder)
        decoders = gradients(self.gamma * feature_loss + g_loss, self.decoder)
        update(self.encoder, self.e_optimizer, encoders)
        update(self.decoder, self.g_optimizer, decoders)
        return {"d_loss": d_loss.item(), "g_loss": g_loss.item(),
                "feature_loss": feature_loss.item(), "kl_loss": kl_loss.item()}
