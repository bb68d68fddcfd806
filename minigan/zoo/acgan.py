"""Auxiliary classifier GAN: D also says the class. Odena et al. 2017, arXiv:1610.09585.

With S the source (real or fake), C the class, and log likelihoods of the right source and class

    L_S = E log P(S = real | x) + E log P(S = fake | G(z, y))
    L_C = E log P(C = y | x)    + E log P(C = y | G(z, y))

D maximises L_S + L_C and G maximises L_C − L_S. D is not told the label: it has 1 + K outputs, a
score and K class logits. As in the paper D's classifier learns from fakes too, which lets it agree
with G on what a class looks like; much code leaves that half out. As everywhere here, G's part of
L_S is the non-saturating one.

What goes wrong in much code: a softmax layer before a cross-entropy that takes logits, which
flattens the gradient; labels of fakes drawn uniformly where the data's are not.
"""

from minigan import init, networks, nn
from minigan.objectives import cross_entropy
from minigan.tensor import no_grad
from minigan.trainer import frozen
from minigan.zoo.cgan import CGAN


class ACGAN(CGAN):
    """What is drawn is as in `CGAN`; the discriminator and the step are these."""

    OPTIONS = CGAN.OPTIONS | {
        "class_weight": (1.0, "weight of the classifier's part L_C beside L_S")}
    headline = "d_loss", "g_loss", "class_loss"

    def build(self, facts, options, rng):
        super().build(facts, options, rng)
        self.class_weight = options["class_weight"]

    def pair(self, facts, options, rng):
        """Networks of (noise, labels) and of samples."""
        K, width = len(facts.classes), options["width"]
        G, _ = super().pair(facts, options, rng)
        if len(facts.shape) == 3:
            D = networks.dcgan_discriminator(facts.shape, width, outputs=1 + K, rng=rng)
            return G, init.dcgan(D, rng)
        return G, networks.mlp(facts.shape[0], width, 3, 1 + K, nn.LeakyReLU, rng)

    def judged(self, x):
        """(scores of the source (N, 1), logits of the classes (N, K))."""
        outputs = self.discriminator(x)
        return outputs[:, :1], outputs[:, 1:]

    def step(self, batch):
        self.steps += 1
        x, labels = self.real(batch.x), batch.labels

        # D: −(L_S + L_C)
        with no_grad():
            fake = self.generator(self.noise(len(x)), labels)
        real_scores, real_logits = self.judged(x)
        fake_scores, fake_logits = self.judged(fake)
        source = self.objective.discriminator_loss(real_scores, fake_scores)
        class_loss = cross_entropy(real_logits, labels)
        d_loss = source + self.class_weight * (class_loss + cross_entropy(fake_logits, labels))
        d_norm = self.descend(self.d_optimizer, d_loss)

        # G: −(L_C − L_S)
        with frozen(self.discriminator):
            scores, logits = self.judged(self.generator(self.noise(len(x)), labels))
            g_loss = self.objective.generator_loss(scores) + (
                self.class_weight * cross_entropy(logits, labels))
            g_norm = self.descend(self.g_optimizer, g_loss)

        self.average.update(self.steps)
        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "class_loss": class_loss.data,
                "real_score": real_scores.mean().data, "fake_score": fake_scores.mean().data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm}
