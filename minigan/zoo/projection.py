"""Projection discriminator: the label meets the features in an inner product. Miyato & Koyama 2018,
arXiv:1802.05637.

    f(x, y) = yᵀ V φ(x) + ψ(φ(x))

φ are the features of the discriminator, ψ is linear, and the rows of V are one vector for each
class: the form of the log likelihood ratio log p(x | y)/q(x | y) + log p(y)/q(y) where p(y | x) and
q(y | x) are log-linear in φ(x). Every weight of D is spectrally normalised, V too. In the generator
the label chooses the scale and shift of each batch norm.

Both networks have the hinge loss:  D  max(0, 1 − f(x, y)) + max(0, 1 + f(G(z, y), y)),
G  −f(G(z, y), y). The paper's networks are residual; these are DCGAN's.
"""

from minigan import networks, nn, objectives
from minigan.zoo.cgan import CGAN


class Projection(CGAN):
    """The step of `CGAN`, with these networks and this loss."""

    OPTIONS = CGAN.OPTIONS | {
        "steps": (8000, "training steps"),
        "lr_d": (4e-3, "the discriminator's")}
    BETAS = 0.0, 0.9
    objective = objectives.Hinge()

    def pair(self, facts, options, rng):
        if len(facts.shape) != 3:
            raise ValueError(f"--model {type(self).__name__.lower()}: its networks are those of "
                             f"pictures, the samples are {facts.shape}")
        common = facts.shape, len(facts.classes), options["width"]
        return Generator(*common, options["latent"], rng), Discriminator(*common, rng)


class Generator(nn.Module):
    """DCGAN's, (noise, labels) → images; its batch norms are the class's own."""

    def __init__(self, image_shape, classes, width, latent, rng):
        super().__init__()
        self.network = networks.dcgan_generator(
            image_shape, latent, width, lambda C: nn.ConditionalBatchNorm(C, classes), rng)

    def forward(self, noise, labels):
        return through(self.network.layers, noise, labels)


def through(layers, x, labels):
    """Layers one after another; norms are told the labels."""
    for layer in layers:
        x = layer(x, labels) if isinstance(layer, nn.ConditionalBatchNorm) else layer(x)
    return x


class Discriminator(nn.Module):
    """(images, labels) → scores f(x, y), (N, 1)."""

    def __init__(self, image_shape, classes, width, rng):
        super().__init__()
        *body, last = networks.dcgan_discriminator(image_shape, width, "none", rng=rng).layers
        self.features = networks.spectral(body, rng)
        self.score = nn.SpectralNorm(last, rng)  # ψ
        self.embedding = nn.SpectralNorm(nn.Embedding(classes, last.weight.shape[0], rng), rng)  # V

    def forward(self, x, labels):
        phi = self.features(x)
        return self.score(phi) + (self.embedding(labels) * phi).sum(1, keepdims=True)
