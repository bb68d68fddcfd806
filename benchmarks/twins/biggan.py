"""BigGAN, Brock et al. 2019, arXiv:1809.11096: residual networks, hinge loss, gradients of several
batches, orthogonal regularisation."""

import torch
from torch.nn.functional import avg_pool2d, interpolate, relu

from benchmarks.reference import converted
from benchmarks.twins import adam, descend, noise
from benchmarks.twins.gan import layer_of
from benchmarks.twins.projection import normalised


def embedding(ours):
    return torch.nn.Embedding.from_pretrained(
        torch.from_numpy(ours.weight.numpy().copy()), freeze=False)


class Norm(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(len(ours.running_mean), affine=False)
        self.scale, self.shift = layer_of(ours.weight), layer_of(ours.bias)

    def forward(self, x, c):
        scale, shift = [y[:, :, None, None] for y in (self.scale(c), self.shift(c))]
        y = self.norm(x)
        return torch.addcmul(y + shift, y, scale)


class Up(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.norm1, self.norm2 = Norm(ours.norm1), Norm(ours.norm2)
        self.conv1, self.conv2 = layer_of(ours.conv1), layer_of(ours.conv2)
        self.shortcut = layer_of(ours.shortcut)

    def forward(self, x, c):
        y = self.conv1(interpolate(relu(self.norm1(x, c)), scale_factor=2))
        return self.conv2(relu(self.norm2(y, c))) + self.shortcut(interpolate(x, scale_factor=2))


class Down(torch.nn.Module):
    def __init__(self, ours, first, last):
        super().__init__()
        self.begin = torch.nn.Identity() if first else torch.nn.ReLU()
        self.end = torch.nn.Identity() if last else torch.nn.AvgPool2d(2)
        self.conv1, self.conv2 = [
            layer_of(layer) for layer in ours.residual.layers if hasattr(layer, "u")]
        self.shortcut = layer_of(ours.shortcut.layers[-1])

    def forward(self, x):
        return self.end(self.conv2(relu(self.conv1(self.begin(x)))) + self.shortcut(x))


class Generator(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        norm, _, conv, _ = ours.last.layers
        self.embedding, self.dense = embedding(ours.embedding), layer_of(ours.dense)
        self.blocks = torch.nn.ModuleList(map(Up, ours.blocks))
        self.last = torch.nn.Sequential(*converted(Part([norm])), torch.nn.ReLU(), layer_of(conv),
                                        torch.nn.Tanh())
        self.smallest = ours.smallest
        self.chunks = [ours.first, *[ours.chunk] * len(self.blocks)]

    def forward(self, z, labels):
        first, *others = z.split(self.chunks, 1)
        x = self.dense(first).unflatten(1, self.smallest).movedim(-1, 1)
        for block, chunk in zip(self.blocks, others):
            x = block(x, torch.cat([self.embedding(labels), chunk], 1))
        return self.last(x)


class Part:
    def __init__(self, layers):
        self.layers = layers


class Discriminator(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        blocks = ours.blocks.layers[:-1]
        self.blocks = torch.nn.Sequential(*[
            Down(block, block is blocks[0], block is blocks[-1]) for block in blocks])
        self.score, self.embedding = layer_of(ours.score), embedding(ours.embedding.layer)
        normalised(self.embedding, ours.embedding, 1)

    def forward(self, x, labels):
        x = relu(self.blocks(x))
        phi = avg_pool2d(x, x.shape[2:], divisor_override=1).flatten(1)
        return self.score(phi) + (self.embedding(labels) * phi).sum(1, keepdim=True)


class Twin:
    def __init__(self, model, streams):
        self.latent, self.streams, self.beta = model.latent, streams, model.orthogonal
        self.accumulate, self.n_critic = model.accumulate, model.n_critic
        self.G, self.D = Generator(model.generator).double(), Discriminator(model.discriminator)
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def made(self, labels):
        return self.G(noise(self.streams, len(labels), self.latent), labels)

    def step(self, x, labels):
        """The mean loss of several batches, each with its own statistics, in one backward pass."""
        n = len(x) // (self.accumulate * self.n_critic)
        parts = list(zip(x.split(n), torch.from_numpy(labels).split(n)))
        for k in range(0, len(parts), self.accumulate):
            losses = []
            for real, told in parts[k:k + self.accumulate]:
                with torch.no_grad():
                    fake = self.made(told)
                real_scores, fake_scores = self.D(real, told), self.D(fake, told)
                losses.append(relu(1 - real_scores).mean() + relu(1 + fake_scores).mean())
            d_loss = descend(self.d_optimizer, torch.stack(losses).mean())
        g_loss = torch.stack([-self.D(self.made(told), told).mean()
                              for _, told in parts[-self.accumulate:]]).mean()
        kernels = [p.flatten(1) for p in self.G.parameters() if p.ndim == 4]
        squares = sum((W @ W.T).fill_diagonal_(0).square().sum() for W in kernels)
        descend(self.g_optimizer, g_loss + self.beta * squares)
        return {"d_loss": d_loss, "g_loss": g_loss.item(),
                "orthogonal_loss": self.beta * squares.item()}
