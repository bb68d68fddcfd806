"""StarGAN: one generator between many kinds of pictures. Choi et al. 2018, arXiv:1711.09020.

G makes of a picture x and a class c a picture of that class. D has two outputs: a critic's score of
how real a picture is, D_src, and logits of its class, D_cls. With x of class c′

    L_adv = E D_src(x) − E D_src(G(x, c)) − λ_gp E (‖∇D_src(x̂)‖₂ − 1)²            (eq. 8)
    L_cls of real pictures = E −log D_cls(c′ | x)                                   (eq. 2)
    L_cls of fakes         = E −log D_cls(c | G(x, c))                              (eq. 3)
    L_rec = E |x − G(G(x, c), c′)|                                                  (eq. 4)
    D minimises −L_adv + λ_cls L_cls of real pictures                               (eq. 5)
    G minimises  L_adv + λ_cls L_cls of fakes + λ_rec L_rec                         (eq. 6)

The classifier asks that the class is reached, the reconstruction that all else stays. D learns
classes from real pictures alone: from fakes it would learn to agree with G. The classes c are those
of the batch in another order, so they are as frequent as in the data. G learns in one of n_critic
steps of D: with 2 instead of the paper's 5 it learns more in the same time. D_src gives a score for
each patch; the score of a picture, which is also what the penalty bounds the slope of, is their
mean.

G is CycleGAN's, with the class beside the picture as planes that are 1 or 0 everywhere. The paper
has instance norm after its first layer too. That takes away what is the same everywhere, and so the
class, but for the border, where the paper pads with zeros. Here that layer has none. D has no
normalisation, for a penalised critic may not mix pictures.
"""

from minigan import networks, nn, objectives, ops, optim
from minigan.metrics.judges import class_agreement
from minigan.model import Batch, frozen
from minigan.objectives import cross_entropy
from minigan.tensor import no_grad
from minigan.translation import Translator


class StarGAN(Translator):
    OPTIONS = Translator.OPTIONS | {
        "steps": (4000, "training steps"),
        "batch_size": (8, "pictures per batch"),
        "width": (16, "channels of the first layer of each network"),
        "blocks": (3, "residual blocks"),
        "cls": (1.0, "λ_cls, the weight of the classifier's losses"),
        "rec": (10.0, "λ_rec, the weight of the reconstruction's L1 distance"),
        "gp": (10.0, "λ_gp, the weight of the gradient penalty"),
        "n_critic": (2, "discriminator steps per generator step"),
        "lr_g": (5e-4, "the generator's learning rate"),
        "lr_d": (5e-4, "the discriminator's"),
        "lr_decay": (0.0, "part of the learning rates that is left at the last step; they fall on "
                          "a straight line")}
    NEEDS = "labels", "pictures"
    BETAS = 0.5, 0.999
    headline = "d_loss", "g_loss", "class_loss", "rec_loss"

    def build(self, facts, options, rng):
        *sides, channels = facts.shape
        K, width = len(facts.classes), options["width"]
        self.cls, self.rec, self.gp = options["cls"], options["rec"], options["gp"]
        self.batches_per_step = options["n_critic"]
        self.generator = nn.Beside(networks.residual_translator(
            sides, channels + K, channels, width, options["blocks"], first_norm=False, rng=rng), K)
        self.discriminator = Discriminator(facts.shape, K, width, rng)
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), options["lr_d"], self.BETAS)

    objective = objectives.Wasserstein()

    def step(self, batch):
        self.steps += 1
        for part in batch.parts(self.batches_per_step):
            x, labels = self.real(part.x), part.labels
            asked = self.streams["asked"].permutation(labels)

            # D: scores of real pictures up, of fakes down, and the classes of real ones
            with no_grad():
                fake = self.generator(x, asked)
            real_scores, real_logits = self.discriminator(x)
            fake_scores, _ = self.discriminator(fake)
            d_loss = self.objective.discriminator_loss(real_scores, fake_scores)
            epsilon = self.streams["penalty"].random((len(x), 1, 1, 1))
            penalty = objectives.gradient_penalty(self.discriminator.score, x, fake, epsilon)
            class_loss = cross_entropy(real_logits, labels)
            d_norm = self.descend(self.d_optimizer,
                                  d_loss + self.gp * penalty + self.cls * class_loss)

        # G, on the last part: fakes' scores up, their classes those asked for, and the way back
        with frozen(self.discriminator):
            fake = self.generator(x, asked)
            scores, logits = self.discriminator(fake)
            g_loss = self.objective.generator_loss(scores)
            fake_class_loss = cross_entropy(logits, asked)
            rec_loss = ops.abs(x - self.generator(fake, labels)).mean()
            g_norm = self.descend(self.g_optimizer,
                                  g_loss + self.cls * fake_class_loss + self.rec * rec_loss)

        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "class_loss": class_loss.data,
                "fake_class_loss": fake_class_loss.data, "rec_loss": rec_loss.data,
                "penalty_loss": penalty.data, "real_score": real_scores.mean().data,
                "fake_score": fake_scores.mean().data, "d_grad_norm": d_norm, "g_grad_norm": g_norm}

    # What is drawn

    def input_shape(self):
        return self.facts.shape

    def draw(self, n, rng, inputs=None, label=None):
        """n of the `inputs`, as pictures of the class `label`, or of a label each, by default drawn
        as frequent as in the data; without inputs, of the examples, each with its own label."""
        shown = self.shown(inputs)
        if label is not None:  # what should become of the examples is known of their own labels
            shown = Batch(None, other=shown.other)
        elif inputs is not None:
            label = rng.choice(len(self.facts.shares), n, p=self.facts.shares)
        return self.drawn(n, rng, shown, label)

    def translated(self, inputs, rng, labels):
        return self.generator(inputs, labels)

    def measures(self, drawn, judge):
        return class_agreement(judge, drawn.x, drawn.labels, self.facts.classes)


class Discriminator(nn.Module):
    """Pictures (N, H, W, C) → scores of patches (N, h, w, 1) and logits of classes (N, K). The
    convolutions halve the sides while both are even and above 7."""

    def __init__(self, shape, classes, width, rng):
        super().__init__()
        H, W, before = shape
        layers, after = [], width
        while H % 2 == W % 2 == 0 and min(H, W) > 7:
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1, rng=rng),
                       nn.LeakyReLU(0.01)]
            H, W, before, after = H // 2, W // 2, after, 2 * after
        self.features = nn.Sequential(*layers)
        self.source = nn.Conv2d(before, 1, 3, padding=1, rng=rng)
        self.classes = nn.Sequential(nn.Flatten(), nn.Dense(H * W * before, classes, rng=rng))

    def forward(self, x):
        features = self.features(x)
        return self.source(features), self.classes(features)

    def score(self, x):
        """Of each picture, (N,)."""
        return self.source(self.features(x)).mean((1, 2, 3))
