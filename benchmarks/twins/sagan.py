"""Self-attention GAN, Zhang et al. 2019, arXiv:1805.08318, with PyTorch's own attention. The step
is that of the projection discriminator's twin."""

import torch
from torch.nn.functional import max_pool2d, scaled_dot_product_attention

from benchmarks.twins import adam, projection
from benchmarks.twins.gan import layer_of


class Attention(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.key, self.query, self.value, self.out = [
            pointwise(layer) for layer in (ours.f, ours.g, ours.h, ours.v)]
        self.gamma = torch.nn.Parameter(torch.from_numpy(ours.gamma.numpy().copy()))

    def forward(self, x):
        key, value = [max_pool2d(layer(x), 2) for layer in (self.key, self.value)]
        query, key, value = [y.flatten(2).transpose(1, 2) for y in (self.query(x), key, value)]
        found = scaled_dot_product_attention(query, key, value, scale=1.0)
        found = found.transpose(1, 2).unflatten(2, x.shape[2:])
        return torch.lerp(x, x + self.out(found), self.gamma)


def pointwise(ours):
    weight = torch.from_numpy(ours.layer.weight.numpy().T.copy())
    layer = torch.nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False)
    layer.weight.data = weight[:, :, None, None]
    projection.normalised(layer, ours)
    return layer


class Picture(torch.nn.Module):
    """Features that are a picture, channels last, as a picture."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.unflatten(1, self.shape).movedim(-1, 1)


def translated(ours):
    if hasattr(ours, "normalised"):
        return projection.ConditionalNorm(ours)
    special = {"SelfAttention": Attention, "Reshape": lambda layer: Picture(layer.shape)}
    return special.get(type(ours).__name__, layer_of)(ours)


class Generator(projection.Generator):
    def __init__(self, ours):
        torch.nn.Module.__init__(self)
        self.layers = torch.nn.ModuleList(map(translated, ours.network.layers))


class Discriminator(projection.Discriminator):
    def __init__(self, ours):
        torch.nn.Module.__init__(self)
        self.features = torch.nn.Sequential(*map(translated, ours.features.layers))
        self.score = layer_of(ours.score)
        self.embedding = torch.nn.Embedding.from_pretrained(
            torch.from_numpy(ours.embedding.layer.weight.numpy().copy()), freeze=False)
        projection.normalised(self.embedding, ours.embedding, 1)


class Twin(projection.Twin):
    def __init__(self, model, streams):
        self.latent, self.streams = model.latent, streams
        self.G, self.D = Generator(model.generator).double(), Discriminator(model.discriminator)
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)
