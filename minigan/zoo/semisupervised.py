"""Semi-supervised learning with a GAN: a few labels, many samples. Salimans et al. 2016,
arXiv:1606.03498, §3.1 and §5.

The discriminator is a classifier of K real classes and one more, "generated". Only differences of
logits count, so the last one is fixed to 0, and K logits l(x) are left. Their log-sum-exp s is the
score of an ordinary GAN:

    p(y | x, real) = softmax(l(x))_y     D(x) = σ(s) = Z/(Z + 1),  s = ln Z,  Z = Σₖ exp lₖ(x)

    L = −E log p(y | x, real)                        over the labelled samples
        − ½ E log D(x) − ½ E log(1 − D(G(z)))        over all samples, and over generated ones
        + λ E H(p(y | x, real)),  H = −Σₖ pₖ log pₖ  over all samples

The entropy H, which the paper does not have, makes D decide where it has no label: boundaries then
pass between the samples (Dai et al. 2017, arXiv:1705.09783). The generator does not fight D. It
matches features f, here the last hidden layer of D:

    ‖E f(x) − E f(G(z))‖²                            feature matching, §3.1

The halves are those of the authors' code. The networks are DCGAN's, with dropout in D; the paper's
for MNIST are perceptrons with Gaussian noise. All pictures that D sees are moved at random, which
the paper does not do. The result is the averaged classifier, not the samples: `classify`.
"""

import numpy as np

from minigan import backend, init, networks, nn, ops, optim
from minigan.augment import POLICIES, augment
from minigan.data import to_unit
from minigan.objectives import cross_entropy, entropy
from minigan.shapes import in_range
from minigan.tensor import no_grad
from minigan.trainer import Batch, Model, averaged, frozen


class Classifier(nn.Module):
    """Samples → K logits: `body` ends in the features, and `head` makes logits of them."""

    def __init__(self, body, head):
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x):
        return self.head(self.body(x))


class SemiSupervised(Model):
    OPTIONS = Model.OPTIONS | {
        "steps": (10_000, "training steps"),
        "batch_size": (50, "samples per batch, and at most as many labelled ones beside them"),
        "labelled": (100, "how many labels are used, as many of each class as can be"),
        "width": (16, "channels next to the image, or hidden units of points"),
        "latent": (100, "width of the noise"),
        "entropy": (0.3, "λ of H, 0 for none"),
        "dropout": (0.2, "part of each hidden layer of the discriminator that is dropped"),
        "augment": ("translation", "how pictures are changed before D sees them", list(POLICIES)),
        "lr_g": (4e-3, "the generator's learning rate"),
        "lr_d": (2e-3, "the discriminator's"),
        "lr_decay": (0.02, "part of the learning rates that is left at the last step"),
        "ema": (0.995, "decay of the averaged networks, below 1")}
    ON_POINTS = {"augment": "none"}
    NEEDS = ("labels",)
    BETAS = 0.5, 0.999

    def build(self, facts, options, rng):
        self.latent, self.count = options["latent"], options["labelled"]
        self.classes, self.policy = len(facts.classes), options["augment"]
        self.entropy = in_range("semisupervised: entropy", options["entropy"])
        if len(facts.shape) != 3 and self.policy != "none":
            raise ValueError(f"augment {self.policy} changes pictures, and these are points")
        G, D = self.generator, self.discriminator = self.pair(facts, options, rng)
        self.g_optimizer = optim.Adam(G.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(D.parameters(), options["lr_d"], self.BETAS)
        self.averaged, self.average = averaged(G, options["ema"])
        self.averaged_classifier, self.classifier_average = averaged(D, options["ema"])

    def pair(self, facts, options, rng):
        """A DCGAN generator, or a perceptron for points; and a `Classifier` with dropout instead of
        batch norm."""
        width, latent = options["width"], options["latent"]
        if len(facts.shape) == 3:
            G = init.dcgan(networks.dcgan_generator(facts.shape, latent, width, rng=rng), rng)
            D = networks.dcgan_discriminator(facts.shape, width, "none", 8 * width, rng=rng)
        else:
            G = networks.mlp(latent, width, 3, *facts.shape, nn.ReLU, rng)
            D = networks.mlp(*facts.shape, width, 2, 8 * width, nn.LeakyReLU, rng)
        body = []
        for layer in D.layers:
            body.append(layer)
            if isinstance(layer, nn.LeakyReLU):
                body.append(nn.Dropout(options["dropout"], self.streams["dropout"]))
        head = nn.Dense(8 * width, self.classes, rng=rng)
        return G, Classifier(nn.Sequential(*body, nn.LeakyReLU()), head)

    def learn_from(self, x, labels, captions=None):
        """Keep the labelled samples: one of each class, then a second of each, and so on."""
        if not self.classes <= self.count <= len(x):
            raise ValueError(f"--labelled {self.count}: expected at least one of each of the "
                             f"{self.classes} classes and at most all {len(x)} samples")
        order, turn = self.streams["choice"].permutation(len(x)), np.empty(len(x), np.int64)
        for k in range(self.classes):
            [of_it] = np.nonzero(labels[order] == k)
            turn[of_it] = np.arange(len(of_it))
        rows = order[np.argsort(turn, kind="stable")[:self.count]]
        self.labelled = Batch(to_unit(x[rows]), labels[rows])

    def seen(self, x):
        """What D sees of samples, labelled, real and fake alike, in its own step and in G's."""
        return augment(x, POLICIES[self.policy], self.streams["augment"])

    def step(self, batch):
        """Labels of the batch are never looked at: those of the labelled samples are all it has."""
        self.steps += 1
        x, n = self.real(batch.x), len(batch.x)
        rows = self.streams["labelled"].permutation(self.count)[:n]
        known, labels = self.real(self.labelled.x[rows]), self.labelled.labels[rows]

        # D: labelled samples to their class, real ones to any class, generated ones to none
        with no_grad():
            fake = self.generator(self.noise(n))
        labelled_loss = cross_entropy(self.discriminator(self.seen(known)), labels)
        logits, fake_logits = [self.discriminator(self.seen(each)) for each in (x, fake)]
        real_scores, fake_scores = ops.logsumexp(logits, -1), ops.logsumexp(fake_logits, -1)
        unlabelled_loss = 0.5 * (ops.softplus(-real_scores) + ops.softplus(fake_scores)).mean()
        undecided = entropy(logits)
        d_loss = labelled_loss + unlabelled_loss + self.entropy * undecided
        d_norm = self.descend(self.d_optimizer, d_loss)

        # G: the mean features of its samples to those of real ones
        with no_grad():
            target = self.discriminator.body(self.seen(x)).mean(0)
        with frozen(self.discriminator):
            fake = self.seen(self.generator(self.noise(n)))
            features = self.discriminator.body(fake).mean(0)
            g_loss = ((features - target) ** 2).sum()
            g_norm = self.descend(self.g_optimizer, g_loss)

        self.average.update(self.steps)
        self.classifier_average.update(self.steps)
        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "entropy_loss": undecided.data,
                "labelled_loss": labelled_loss.data, "unlabelled_loss": unlabelled_loss.data,
                "real_score": real_scores.mean().data, "fake_score": fake_scores.mean().data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm}

    def classify(self, x, block=500):
        """The class of each sample, (N,) integers on the host, by the averaged classifier."""
        with no_grad():
            logits = [self.averaged_classifier(self.real(to_unit(x[i:i + block]))).data
                      for i in range(0, len(x), block)]
        return np.concatenate([backend.to_numpy(part).argmax(1) for part in logits])
