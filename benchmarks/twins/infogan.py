"""InfoGAN, Chen et al. 2016, arXiv:1606.03657, with Q's distributions PyTorch's own."""

import torch
from torch.distributions import Categorical, Normal, Uniform
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from benchmarks.reference import converted, loaded
from benchmarks.twins import Labelled, adam, descend, noise


class Discriminator(torch.nn.Module):
    """Features of pictures, and their score."""

    def __init__(self, body, score):
        super().__init__()
        self.body = converted(body).double()
        self.score = loaded(torch.nn.Linear(*score.weight.shape), score)

    def forward(self, x):
        return self.body(x)


def recogniser(q):
    features, hidden = q[0].weight.shape
    return loaded(torch.nn.Sequential(
        torch.nn.Linear(features, hidden, bias=False), torch.nn.BatchNorm1d(hidden),
        torch.nn.LeakyReLU(q[2].slope), torch.nn.Linear(hidden, q[3].bias.size)).double(), q)


class Twin:
    def __init__(self, model, streams):
        self.latent, self.streams = model.latent, streams
        self.K, self.C = model.categories, model.continuous
        self.weights = model.info, model.info_continuous
        self.G = Labelled(converted(model.generator.network).double(), self.K)
        self.D, self.Q = Discriminator(*model.discriminator), recogniser(model.q)
        self.networks = {"generator": self.G, "discriminator": self.D, "q": self.Q}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(torch.nn.ModuleList([self.D, self.Q]), model.d_optimizer)

    def step(self, x, labels):
        fake, *code = self.made(len(x))
        features = self.D(fake.detach())
        real_scores, fake_scores = self.D.score(self.D(x)), self.D.score(features)
        d_loss = (cross_entropy(real_scores, torch.ones_like(real_scores))
                  + cross_entropy(fake_scores, torch.zeros_like(fake_scores)))
        descend(self.d_optimizer, d_loss - self.weighted(self.information(features, *code)))

        features = self.D(fake)
        scores, information = self.D.score(features), self.information(features, *code)
        g_loss = cross_entropy(scores, torch.ones_like(scores))
        descend(self.g_optimizer, g_loss - self.weighted(information))
        return {"d_loss": d_loss.item(), "g_loss": g_loss.item(),
                "category_loss": -information[0].item(), "continuous_loss": -information[1].item()}

    def made(self, n):
        """Samples, their categories and their numbers."""
        z, stream = noise(self.streams, n, self.latent), self.streams["codes"]
        categories = stream.integers(self.K, size=n)
        numbers = torch.from_numpy(stream.uniform(-1, 1, (n, self.C)))
        return self.G(torch.cat([z, numbers], 1), categories), torch.from_numpy(categories), numbers

    def information(self, features, categories, numbers):
        logits, mean, log_sigma = self.Q(features).split([self.K, self.C, self.C], 1)
        categorical, gaussian = Categorical(logits=logits), Normal(mean, log_sigma.exp())
        prior = Categorical(logits=torch.zeros_like(logits))
        return ((categorical.log_prob(categories) + prior.entropy()).mean(),
                (gaussian.log_prob(numbers) + Uniform(-1.0, 1.0).entropy()).sum(1).mean())

    def weighted(self, information):
        return sum(weight * each for weight, each in zip(self.weights, information))
