"""StackGAN, Zhang et al. 2017, arXiv:1612.03242, both stages in one step, with PyTorch's own bags of
words, normal distributions and cross-entropy."""

import re
from fractions import Fraction

import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import avg_pool2d, leaky_relu, relu
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from benchmarks.reference import converted, loaded
from benchmarks.twins import adam, descend, noise
from benchmarks.twins.gan import layer_of


class Encoder(torch.nn.Module):
    """Lists of word numbers → features."""

    def __init__(self, ours):
        super().__init__()
        self.words = torch.nn.EmbeddingBag.from_pretrained(
            torch.from_numpy(ours.embedding.weight.numpy().copy()), freeze=False, mode="sum")
        self.dense = dense(ours.dense)

    def forward(self, captions):
        starts = torch.tensor([sum(map(len, captions[:i])) for i in range(len(captions))])
        flat = torch.tensor([word for caption in captions for word in caption], dtype=torch.long)
        squares = [[sum(caption.count(word) for word in caption)] for caption in captions]
        words = self.words(flat, starts) / torch.tensor(squares).double().sqrt().clamp(min=1.0)
        return leaky_relu(self.dense(words), 0.2)


def dense(ours):
    return loaded(torch.nn.Linear(*ours.weight.shape), ours)


class Generator(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.latent, self.code = ours.latent, ours.code
        self.text = Encoder(ours.text)
        self.mean, self.log_deviation = dense(ours.mean), dense(ours.log_deviation)
        self.stage1, self.down = converted(ours.first), converted(ours.down)
        layers = ours.second.layers
        at = [hasattr(layer, "residual") for layer in layers].index(True)
        self.join, self.block, self.up = [converted(part) for part in (
            Part(layers[:at]), layers[at].residual, Part(layers[at + 2:]))]

    def forward(self, numbers, captions):
        text = self.text(captions)
        z, eps = numbers.split([self.latent, self.code], 1)
        normal = Normal(self.mean(text), self.log_deviation(text).exp())
        code = normal.mean + normal.stddev * eps
        small = self.stage1(torch.cat([z, code], 1))
        x = self.down(small)
        x = self.join(torch.cat([x, code[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1))
        return small, self.up(relu(x + self.block(x))), normal


class Part:
    """Some of the layers of a network."""

    def __init__(self, layers):
        self.layers = layers


class Discriminator(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.text, self.picture = Encoder(ours.text), torch.nn.Sequential(*map(layer_of, ours.picture))
        self.both = converted(ours.both)

    def forward(self, x, *several):
        """The scores of x with each of the lists of captions."""
        seen = leaky_relu(self.picture(x), 0.2)
        return [self.both(torch.cat([seen, self.text(captions)], 1)) for captions in several]


def one(scores):
    return cross_entropy(scores, torch.ones_like(scores))


def zero(scores):
    return cross_entropy(scores, torch.zeros_like(scores))


class Twin:
    def __init__(self, model, streams):
        self.words = {word: i for i, word in enumerate(model.facts.words)}
        self.latent, self.streams, self.kl = model.latent, streams, model.kl
        self.G = Generator(model.generator).double()
        self.networks = {"generator": self.G,
                         "discriminator_small": Discriminator(model.discriminator_small).double(),
                         "discriminator": Discriminator(model.discriminator).double()}
        self.D = torch.nn.ModuleList(list(self.networks.values())[1:])
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def generated(self, captions):
        return self.G(noise(self.streams, len(captions), self.latent), captions)

    def step(self, x, labels, captions):
        told = [[self.words[word] for word in re.findall("[a-z]+", text) if word in self.words]
                for text in captions.tolist()]
        others = [told[i - 1] for i in range(len(told))]
        share = lambda words: {word: Fraction(words.count(word), len(words)) for word in words}
        wrong = [i for i in range(len(told)) if share(told[i]) != share(others[i])]
        with torch.no_grad():
            *fakes, _ = self.generated(told)
        d_loss = 0.0
        for D, real, fake in zip(self.D, (avg_pool2d(x, 2), x), fakes):
            (right, mistaken), [made] = D(real, told, others), D(fake, told)
            d_loss = d_loss + one(right) + (zero(made) + zero(mistaken[wrong])) / 2
        d_loss = descend(self.d_optimizer, d_loss)

        *fakes, normal = self.generated(told)
        g_loss = sum(one(D(fake, told)[0]) for D, fake in zip(self.D, fakes))
        standard = Normal(torch.zeros_like(normal.mean), torch.ones_like(normal.mean))
        kl_loss = kl_divergence(normal, standard).sum(1).mean()
        descend(self.g_optimizer, g_loss + self.kl * kl_loss)
        return {"d_loss": d_loss, "g_loss": g_loss.item(), "kl_loss": kl_loss.item()}
