"""The context encoder: what is missing in the middle of a picture. Pathak et al. 2016,
arXiv:1604.07379.

The generator F sees a picture x with a hole, and makes what was in it. M is 1 in the hole and 0
around it, ⊙ multiplies pixel by pixel:

    L_rec = ‖M ⊙ (x − F((1 − M) ⊙ x))‖²                                            (eq. 1)
    L_adv = max over D of   E log D(x) + log(1 − D(F((1 − M) ⊙ x)))                (eq. 2)
    L = λ_rec L_rec + λ_adv L_adv                                                  (eq. 3)

with λ_rec = 0.999 and λ_adv = 0.001. Many things could be in the hole, and what is nearest to all
of them on average is their mean: L_rec alone makes a blur. D is shown what is in the hole and
nothing around it, so that it cannot find a fake by its seam (§3.2).

As in the authors' published code, ‖·‖² is the mean over pixels and channels of the hole, λ_rec is
1 − λ_adv, F has the non-saturating loss −log D(F(…)) for its part of L_adv, and learns ten times as
fast as D. The paper's prediction reaches 7 pixels beyond the hole, where L_rec counts ten times;
here it ends where the hole does. `--adversarial 0` leaves L_rec alone.

Networks (§3.1, and the code): convolutions that halve the picture, a bottleneck that joins what is
on all sides of the hole, and transposed convolutions that double up to the size of the hole.
"""

import numpy as np

from minigan import backend, data, init, nn, objectives, ops, optim
from minigan.data import made
from minigan.metrics import judges
from minigan.model import frozen
from minigan.translation import Translator, evaluating


class Inpaint(Translator):
    OPTIONS = Translator.OPTIONS | {
        "steps": (4000, "training steps"),
        "width": (32, "channels of the first layer"),
        "bottleneck": (512, "units between the convolutions that halve and those that double"),
        "adversarial": (0.001, "λ_adv, from 0 to 1, of which 1 is left for the reconstruction; 0 "
                        "leaves that alone"),
        "lr_g": (2e-3, "the generator's learning rate"),
        "lr_d": (2e-4, "the discriminator's")}
    NEEDS = ("masked",)
    BETAS = 0.5, 0.999
    headline = "d_loss", "g_loss", "rec_loss"

    def build(self, facts, options, rng):
        H, W, C = facts.shape
        self.adversarial = options["adversarial"]
        if H != W or H % 4:
            raise ValueError(f"inpaint: pictures of {H} × {W} pixels, expected square ones with "
                             "sides that are multiples of 4")
        if not 0.0 <= self.adversarial <= 1.0:
            raise ValueError(f"inpaint: expected 0 ≤ adversarial ≤ 1, got {self.adversarial}")
        self.hole, self.margin = (slice(None), *made.hole((H, W))), H // 4
        self.generator, self.discriminator = [
            init.dcgan(network, rng) for network in pair(H, C, options, rng)]
        self.mean = Mean((H // 2, W // 2, C))
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), options["lr_d"], self.BETAS)

    def learn_from(self, x, labels, captions=None):
        self.mean.picture = backend.asarray(data.to_unit(x[self.hole]).mean(0))

    objective = objectives.NonSaturating()

    def step(self, batch):
        self.steps += 1
        hidden = self.real(batch.x)[self.hole]
        fake = self.generator(self.around(self.real(batch.other)))

        # D: scores of what is in the hole up, of what was made for it down
        real_scores = self.discriminator(hidden)
        fake_scores = self.discriminator(fake.detach())
        d_loss = self.objective.discriminator_loss(real_scores, fake_scores)
        d_norm = self.descend(self.d_optimizer, d_loss)

        # F: near to what is in the hole, and the scores of the same pictures up
        with frozen(self.discriminator):
            g_loss = self.objective.generator_loss(self.discriminator(fake))
            rec_loss = ((hidden - fake) ** 2).mean()
            loss = (1.0 - self.adversarial) * rec_loss + self.adversarial * g_loss
            g_norm = self.descend(self.g_optimizer, loss)

        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "rec_loss": rec_loss.data,
                "real_score": real_scores.mean().data, "fake_score": fake_scores.mean().data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm}

    def around(self, pictures):
        """(1 − M) ⊙ pictures: 0, which is grey, in the hole, whatever was there."""
        return pictures - self.placed(pictures[self.hole])

    def placed(self, content):
        """The content of a hole in its place, with 0 around it."""
        return ops.pad(content, (0, self.margin, self.margin, 0))

    def translated(self, inputs, rng, labels):
        """The pictures with what was made for the hole in it."""
        around = self.around(inputs)
        with evaluating(self.generator):
            return around + self.placed(self.generator(around))

    def measures(self, drawn, judge):
        """PSNR of what is in the hole, and of the mean of the training pictures in its place."""
        if drawn.targets is None:
            return []
        right, mean = drawn.targets[self.hole], backend.to_numpy(self.mean.picture)
        return [judges.psnr("PSNR-hole", right, drawn.x[self.hole]),
                judges.psnr("PSNR-hole-mean", right, np.broadcast_to(mean, right.shape), "")]


class Mean(nn.Module):
    """The mean of the training pictures in the hole. It is saved, for a run that is measured later
    does not learn from them again."""

    buffer_names = ("picture",)

    def __init__(self, shape):
        super().__init__()
        self.picture = backend.asarray(np.zeros(shape, np.float32))


def pair(side, channels, options, rng):
    """Pictures (N, S, S, C) → what is in the hole (N, S/2, S/2, C), in (−1, 1); and that → logits
    (N, 1, 1, 1). The smallest picture, of `least` pixels, is S/4 or what halving that leaves."""
    width, bottleneck, least = options["width"], options["bottleneck"], side // 4
    widths = [width, 2 * width]
    while least % 2 == 0 and least > 4:
        least, widths = least // 2, [*widths, 2 * widths[-1]]

    def halving(widths):
        layers = []
        for before, after in zip([channels, *widths], widths):
            norm = [nn.BatchNorm(after)] if layers else []
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=not norm, rng=rng),
                       *norm, nn.LeakyReLU(0.2)]
        return layers

    def doubling(before, after):
        return [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False, rng=rng),
                nn.BatchNorm(after), nn.ReLU()]
    generator = nn.Sequential(
        *halving(widths), nn.Conv2d(widths[-1], bottleneck, least, bias=False, rng=rng),
        nn.BatchNorm(bottleneck), nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(bottleneck, widths[-1], least, bias=False, rng=rng),
        nn.BatchNorm(widths[-1]), nn.ReLU(),
        *[layer for pair in zip(widths[:1:-1], widths[-2:0:-1]) for layer in doubling(*pair)],
        nn.ConvTranspose2d(widths[1], channels, 4, stride=2, padding=1, rng=rng), nn.Tanh())
    discriminator = nn.Sequential(
        *halving(widths[:-1]), nn.Conv2d(widths[-2], 1, least, rng=rng))
    return generator, discriminator
