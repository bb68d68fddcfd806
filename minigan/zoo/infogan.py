"""InfoGAN: a code in the noise that can be read off the sample. Chen et al. 2016, arXiv:1606.03657.

The generator takes noise z and a code c, here a category and some numbers from U(−1, 1). A plain
GAN may ignore c. InfoGAN asks that samples tell it, by a large mutual information I(c; G(z, c)):

    min over G and Q, max over D of   V(D, G) − λ L(G, Q)                          (eq. 6)
    L(G, Q) = E log Q(c | G(z, c)) + H(c) ≤ I(c; G(z, c))                          (eq. 5)

Q guesses the code of a sample. Any Q gives a lower bound, and Q = P(c | x) the information itself.
No label is ever seen: the categories become what samples differ in most.
Q shares D's layers but the last one (§6); they learn both, as in the authors' program. L rests on
fakes only, for real samples have no code. Q is a softmax of the category, and of each number a
Gaussian whose mean and ln σ are outputs. As σ → 0 its L has no bound: so its λ is smaller (§6).
The networks are the paper's (appendix C.1): DCGAN's with one more dense layer, 16 times as wide, at
G's beginning and D's end. It matters: without it the categories are not what an eye calls kinds.
"""

from math import log, pi

import numpy as np

from minigan import backend, init, networks, nn, objectives, ops, optim
from minigan.metrics.judges import code_agreement
from minigan.model import WAY
from minigan.tensor import constant
from minigan.trainer import Drawn, Model, averaged, frozen


class InfoGAN(Model):
    OPTIONS = Model.OPTIONS | {
        "steps": (4000, "training steps"),
        "categories": (10, "values of the categorical code"),
        "continuous": (2, "how many numbers the continuous code has"),
        "info": (1.0, "λ of the categorical code's information"),
        "info_continuous": (0.1, "λ of the continuous code's"),
        "width": (64, "channels next to the image, or hidden units of points"),
        "latent": (62, "width of the noise beside the code"),
        "lr_g": (1e-3, "the generator's learning rate"),
        "lr_d": (2e-4, "of the discriminator and Q"),
        "lr_decay": (0.02, "part of the learning rates that is left at the last step"),
        "ema": (0.999, "decay of the averaged generator, below 1")}
    ON_POINTS = {"latent": 2}
    objective = objectives.NonSaturating()
    BETAS, headline = (0.5, 0.999), ("d_loss", "g_loss", "category_loss")

    def build(self, facts, options, rng):
        for name in ("latent", "categories", "continuous", "info", "info_continuous"):
            setattr(self, name, options[name])
        self.generator, self.discriminator, self.q = self.parts(facts, options["width"], rng)
        learned = [*self.discriminator.parameters(), *self.q.parameters()]
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(learned, options["lr_d"], self.BETAS)
        self.averaged, self.average = averaged(self.generator, options["ema"])

    def parts(self, facts, width, rng):
        """G of (noise and numbers, category); D in two parts, features and score; Q of features."""
        latent = self.latent + self.continuous + self.categories
        if len(facts.shape) == 3:
            features = 16 * width
            G = nn.Sequential(*networks.dense(latent, features, nn.ReLU(), rng),
                              *networks.dcgan_generator(facts.shape, features, width, rng=rng))
            D = networks.dcgan_discriminator(facts.shape, width, dense=features, rng=rng)
        else:
            G = networks.mlp(latent, width, 3, facts.shape[0], nn.ReLU, rng)
            D = networks.mlp(facts.shape[0], width, 3, 1, nn.LeakyReLU, rng)
        (*body, score), hidden = D, 2 * width
        D = nn.Sequential(nn.Sequential(*body), score)
        Q = nn.Sequential(*networks.dense(score.weight.shape[0], hidden, nn.LeakyReLU(0.2), rng),
                          nn.Dense(hidden, self.categories + 2 * self.continuous, rng=rng))
        for network in (G, D, Q) if len(facts.shape) == 3 else ():
            init.dcgan(network, rng)
        return nn.Beside(G, self.categories), D, Q

    def step(self, batch):
        self.steps += 1
        x, (body, score) = self.real(batch.x), self.discriminator

        z, categories, numbers = self.codes(len(x))
        fake = self.generator(z, categories)

        # D and Q: scores of real samples up, of fakes down; the code of fakes is read off them
        features = body(fake.detach())
        real_scores, fake_scores = score(body(x)), score(features)
        d_loss = self.objective.discriminator_loss(real_scores, fake_scores)
        information = self.information(self.q(features), categories, numbers)
        d_norm = self.descend(self.d_optimizer, d_loss - self.weighted(*information))

        # G: the same fakes' scores up, and their code easier to read
        with frozen(self.discriminator), frozen(self.q):
            features = body(fake)
            g_loss = self.objective.generator_loss(score(features))
            of_category, of_numbers = self.information(self.q(features), categories, numbers)
            g_norm = self.descend(self.g_optimizer, g_loss - self.weighted(of_category, of_numbers))

        self.average.update(self.steps)
        return {"d_loss": d_loss.data, "g_loss": g_loss.data,
                "category_loss": (-of_category).data, "continuous_loss": (-of_numbers).data,
                "real_score": real_scores.mean().data, "fake_score": fake_scores.mean().data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm}

    def information(self, told, categories, numbers):
        """L of both codes in nats, from what Q told of samples: at most ln K for the category."""
        K, C = self.categories, self.continuous
        logits, mean, log_sigma = told[:, :K], told[:, K:K + C], told[:, K + C:]
        rows = backend.asarray(ops.one_hot(categories, K), told.dtype)
        of_category = (ops.log_softmax(logits) * rows).sum(1).mean() + log(K)
        distance = (numbers - mean) / ops.exp(log_sigma)
        density = -0.5 * distance ** 2 - log_sigma - 0.5 * log(2 * pi)
        return of_category, density.sum(1).mean() + C * log(2)  # U(−1, 1) has the entropy ln 2

    def weighted(self, of_category, of_numbers):
        return self.info * of_category + self.info_continuous * of_numbers

    # What is drawn

    def codes(self, n, rng=None):
        """Of n samples the noise with the numbers beside it, the categories, and the numbers."""
        noise, rng = self.noise(n, rng), rng or self.streams["codes"]
        categories, shape = rng.integers(self.categories, size=n), (n, self.continuous)
        numbers = constant(backend.asarray(rng.uniform(-1.0, 1.0, shape), self.dtype))
        return ops.concatenate(noise, numbers, axis=1), categories, numbers

    def inputs(self, n, rng):
        return self.codes(n, rng)[:2]

    def label_names(self):
        """Categories have numbers and no names: nobody told the model what they are."""
        return tuple(map(str, range(self.categories)))

    def draw(self, n, rng, label=None):
        """n samples: of the category `label`, of one each, or by default of all alike."""
        z, categories = self.inputs(n, rng)
        if label is not None:
            categories = np.broadcast_to(np.asarray(label, np.int64), (n,))
        return Drawn(self.sample(z, categories), categories)

    def walk(self, rng, count=None, label=None):
        """A row for each number of the code in turn, which goes from −2 to 2 while all else stays
        (figure 2 of the paper); then the same of other noise and of the next category."""
        C, count = self.continuous, count or 4 * self.continuous
        rows = np.arange(count).repeat(WAY)
        z = self.inputs(-(-count // C), rng)[0].numpy()[rows // C]
        z[np.arange(len(z)), self.latent + rows % C] = np.tile(np.linspace(-2.0, 2.0, WAY), count)
        categories = rows // C % self.categories if label is None else np.full(len(rows), label)
        return Drawn(self.sample(z, categories), categories)

    def measures(self, drawn, judge):
        return code_agreement(judge, drawn.x, drawn.labels)
