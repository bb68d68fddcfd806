"""Semi-supervised GAN with feature matching, Salimans et al. 2016, arXiv:1606.03498.

The K + 1 classes are spelled out: a logit 0 for "generated" is set beside the K others, and
PyTorch's softmax is taken over all of them.
"""

from types import SimpleNamespace

import torch
from torch.nn.functional import cross_entropy, mse_loss

from benchmarks.reference import channels_first, converted
from benchmarks.twins import Masked, adam, descend, noise
from benchmarks.twins.gan import translation


class Twin:
    def __init__(self, model, streams):
        self.latent, self.streams, self.labelled = model.latent, streams, model.labelled
        self.entropy = model.entropy
        layers = [*model.discriminator.body.layers, model.discriminator.head]
        [p] = {layer.p for layer in layers if hasattr(layer, "p")}
        self.dropout = Masked(p, streams["dropout"])
        plain = SimpleNamespace(layers=[layer for layer in layers if not hasattr(layer, "p")])
        self.G, self.D = converted(model.generator).double(), converted(plain).double()
        self.networks = {"generator": self.G, "discriminator": self.D}
        self.g_optimizer = adam(self.G, model.g_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)

    def features(self, x):
        """The last hidden layer; between the others something is dropped."""
        *hidden, last = self.D[:-1]
        for layer in hidden:
            x = layer(x)
            if isinstance(layer, torch.nn.LeakyReLU):
                x = self.dropout(x)
        return last(x)

    def seen(self, x):
        moved = translation(x, self.streams["augment"])
        self.streams["augment"].random(len(x))  # whether each is to be moved: all are
        return moved

    def logits(self, x):
        """Of the K classes and of one more, "generated"."""
        logits = self.D[-1](self.features(x))
        return torch.cat([logits, torch.zeros(len(x), 1, dtype=x.dtype)], 1)

    def step(self, x, labels):
        n = len(x)
        rows = self.streams["labelled"].permutation(len(self.labelled.x))[:n]
        known = channels_first(self.labelled.x[rows]).double()
        with torch.no_grad():
            fake = self.G(noise(self.streams, n, self.latent))
        among_real = self.logits(self.seen(known))[:, :-1]
        labelled_loss = cross_entropy(among_real, torch.from_numpy(self.labelled.labels[rows]))
        of_real, of_fake = (self.logits(self.seen(each)) for each in (x, fake))
        p_real, p_fake = (logits.softmax(1)[:, -1] for logits in (of_real, of_fake))
        unlabelled_loss = -(torch.log1p(-p_real).mean() + torch.log(p_fake).mean()) / 2
        entropy = torch.distributions.Categorical(logits=of_real[:, :-1]).entropy().mean()
        d_loss = descend(self.d_optimizer,
                         labelled_loss + unlabelled_loss + self.entropy * entropy)
        with torch.no_grad():
            target = self.features(self.seen(x)).mean(0)
        fake = self.seen(self.G(noise(self.streams, n, self.latent)))
        features = self.features(fake).mean(0)
        g_loss = descend(self.g_optimizer, mse_loss(features, target, reduction="sum"))
        return {"d_loss": d_loss, "g_loss": g_loss, "labelled_loss": labelled_loss.item(),
                "unlabelled_loss": unlabelled_loss.item(), "entropy_loss": entropy.item()}
