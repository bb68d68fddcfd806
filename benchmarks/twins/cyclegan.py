"""CycleGAN, Zhu et al. 2017, arXiv:1703.10593, with PyTorch's own padding and instance norm."""

import torch
from torch.nn.functional import l1_loss, mse_loss

from benchmarks.reference import loaded
from benchmarks.twins import adam, descend


def convolution(before, after, size):
    return [torch.nn.Conv2d(before, after, size, padding=size // 2, padding_mode="reflect"),
            torch.nn.InstanceNorm2d(after)]


class Block(torch.nn.Sequential):
    def __init__(self, n):
        super().__init__(*convolution(n, n, 3), torch.nn.ReLU(), *convolution(n, n, 3))

    def forward(self, x):
        return x + super().forward(x)


def generator(ours, seen, width, made, first_norm=True):
    blocks = sum(hasattr(layer, "residual") for layer in ours.layers)
    levels = sum(type(layer).__name__ == "ConvTranspose2d" for layer in ours.layers)
    halves, doubles, n = [], [], width
    down = lambda n: [torch.nn.Conv2d(n, 2 * n, 4, 2, 1), torch.nn.InstanceNorm2d(2 * n),
                      torch.nn.ReLU()]
    up = lambda n: [torch.nn.ConvTranspose2d(2 * n, n, 4, 2, 1), torch.nn.InstanceNorm2d(n),
                    torch.nn.ReLU()]
    for _ in range(levels):
        halves, doubles, n = [*halves, *down(n)], [*up(n), *doubles], 2 * n
    network = torch.nn.Sequential(
        *convolution(seen, width, 7)[:2 if first_norm else 1], torch.nn.ReLU(), *halves,
        *[Block(n) for _ in range(blocks)], *doubles, convolution(width, made, 7)[0], torch.nn.Tanh())
    return loaded(network, ours).double()


def discriminator(channels, width):
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, width, 4, 2, 1), torch.nn.LeakyReLU(0.2),
        torch.nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
        torch.nn.InstanceNorm2d(2 * width), torch.nn.LeakyReLU(0.2),
        torch.nn.Conv2d(2 * width, 1, 4, 1, 1))


class Pool:
    """The images that were given so far, at most `size` of them."""

    def __init__(self, size):
        self.size, self.images = size, []

    def query(self, images, stream):
        shown = []
        for image in images.detach():
            if len(self.images) < self.size:
                self.images.append(image)
            elif stream.random() < 0.5:
                k = int(stream.integers(self.size))
                image, self.images[k] = self.images[k], image
            shown.append(image)
        return torch.stack(shown)


class Twin:
    def __init__(self, model, streams):
        channels, width = model.generator[1].weight.shape[2:]
        judge = lambda ours: loaded(discriminator(channels, width), ours).double()
        self.networks = {
            "generator": generator(model.generator, channels, width, channels),
            "backward": generator(model.backward, channels, width, channels),
            "discriminator_a": judge(model.discriminator_a),
            "discriminator_b": judge(model.discriminator_b)}
        self.G, self.F, self.D_a, self.D_b = self.networks.values()
        self.pools = [Pool(len(model.pool_a.pictures)) for _ in "ab"]
        self.stream, self.weights = streams["pool"], (model.cycle, model.cycle * model.identity)
        self.g_optimizer, self.d_optimizer = [
            adam(torch.nn.ModuleList(networks), optimizer)
            for networks, optimizer in (([self.G, self.F], model.g_optimizer),
                                        ([self.D_a, self.D_b], model.d_optimizer))]

    def step(self, b, labels, a):
        fake_b, fake_a = self.G(a), self.F(b)
        passing = [self.D_b(fake_b), self.D_a(fake_a)]
        g_loss = sum(mse_loss(score, torch.ones_like(score)) for score in passing)
        cycle = l1_loss(self.F(fake_b), a) + l1_loss(self.G(fake_a), b)
        identity = l1_loss(self.G(b), b) + l1_loss(self.F(a), a)
        descend(self.g_optimizer, g_loss + self.weights[0] * cycle + self.weights[1] * identity)

        d_loss = 0.0
        for D, real, fake, pool in zip((self.D_a, self.D_b), (a, b), (fake_a, fake_b), self.pools):
            right, wrong = D(real), D(pool.query(fake, self.stream))
            d_loss = d_loss + 0.5 * (mse_loss(right, torch.ones_like(right))
                                     + mse_loss(wrong, torch.zeros_like(wrong)))
        descend(self.d_optimizer, d_loss)
        return {"d_loss": d_loss.item(), "g_loss": g_loss.item(), "cycle_loss": cycle.item(),
                "identity_loss": identity.item()}
