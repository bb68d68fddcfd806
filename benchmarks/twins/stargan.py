"""StarGAN, Choi et al. 2018, arXiv:1711.09020, with the critic's loss of WGAN-GP."""

import torch
from torch.nn.functional import cross_entropy, l1_loss

from benchmarks.reference import loaded
from benchmarks.twins import Labelled, adam, descend
from benchmarks.twins.cyclegan import generator


def shared_layers(channels, width, levels):
    layers = []
    for level in range(levels):
        layers += [torch.nn.Conv2d(channels, width * 2 ** level, 4, 2, 1), torch.nn.LeakyReLU(0.01)]
        channels = width * 2 ** level
    return layers


class Discriminator(torch.nn.Module):
    """Its classifier is a convolution as large as the last features."""

    def __init__(self, channels, width, levels, side, classes):
        super().__init__()
        self.main = torch.nn.Sequential(*shared_layers(channels, width, levels))
        self.source = torch.nn.Conv2d(width * 2 ** (levels - 1), 1, 3, padding=1)
        self.classes = torch.nn.Conv2d(width * 2 ** (levels - 1), classes, side)

    def forward(self, x):
        h = self.main(x)
        return self.source(h), self.classes(h).flatten(1)


def discriminator(ours):
    kernels = [layer.weight.shape for layer in ours.features.layers if hasattr(layer, "weight")]
    places, classes = ours.classes[1].weight.shape
    side = round((places / kernels[-1][-1]) ** 0.5)
    twin = Discriminator(*kernels[0][2:], len(kernels), side, classes)
    kernel = ours.classes[1].weight.numpy().reshape(side, side, -1, classes).transpose(3, 2, 0, 1)
    loaded(twin.main, ours.features), loaded(twin.source, ours.source)
    twin.classes.weight.data = torch.from_numpy(kernel.copy())
    twin.classes.bias.data = torch.from_numpy(ours.classes[1].bias.numpy().copy())
    return twin.double()


class Twin:
    def __init__(self, model, streams):
        ours, classes, self.streams = model.generator.network, model.generator.classes, streams
        *_, seen, width = ours.parameters()[0].shape
        network = generator(ours, seen, width, seen - classes, first_norm=False)
        self.G = Labelled(network, classes)
        self.D = discriminator(model.discriminator)
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)
        self.critics = model.batches_per_step
        self.lambda_cls, self.lambda_rec, self.lambda_gp = model.cls, model.rec, model.gp

    def penalty(self, x, fake):
        alpha = torch.from_numpy(self.streams["penalty"].random((len(x), 1, 1, 1)))
        mixed = (alpha * x + (1 - alpha) * fake).requires_grad_()
        patches, _ = self.D(mixed)
        [slope] = torch.autograd.grad(patches.flatten(1).mean(1).sum(), mixed, create_graph=True)
        return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()

    def step(self, x, labels):
        size = len(x) // self.critics
        for i in range(self.critics):
            real, own = x[i * size:(i + 1) * size], labels[i * size:(i + 1) * size]
            asked = self.streams["asked"].permutation(own)
            fake = self.G(real, asked).detach()
            (real_src, real_cls), (fake_src, _) = self.D(real), self.D(fake)
            d_loss, penalty = fake_src.mean() - real_src.mean(), self.penalty(real, fake)
            class_loss = cross_entropy(real_cls, torch.from_numpy(own))
            descend(self.d_optimizer, d_loss + self.lambda_cls * class_loss
                    + self.lambda_gp * penalty)

        fake = self.G(real, asked)
        src, cls = self.D(fake)
        g_loss, rec_loss = -src.mean(), l1_loss(self.G(fake, own), real)
        fake_class_loss = cross_entropy(cls, torch.from_numpy(asked))
        descend(self.g_optimizer, g_loss + self.lambda_rec * rec_loss
                + self.lambda_cls * fake_class_loss)
        return {name: loss.item() for name, loss in dict(
            d_loss=d_loss, g_loss=g_loss, class_loss=class_loss, penalty_loss=penalty,
            fake_class_loss=fake_class_loss, rec_loss=rec_loss).items()}
