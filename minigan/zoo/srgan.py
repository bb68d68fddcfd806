"""SRGAN: a picture of four times the height and width. Ledig et al. 2017, arXiv:1609.04802.

G sees a small picture s, the means of the 4 × 4 squares of x, and is to make x of it:

    min over G, max over D of   E log D(x) + E log(1 − D(G(s)))                    (eq. 2)
    G minimises   l_X + 10⁻³ l_Gen                                                 (eq. 3)
    l_MSE = the mean of (x − G(s))² over pixels and channels                       (eq. 4)
    l_Gen = −log D(G(s))                                                           (eq. 6)

Many pictures have the same small one. Of all that G can make, their mean has the least l_MSE: it is
blurred, and best by PSNR. D asks for one of them. It is sharp, and by PSNR it loses.

The content loss l_X is l_MSE. The paper's other choice, the distance of features of a VGG network
(eq. 5), is left out, for there is no such network here. `--adversarial 0` leaves l_MSE alone: this
is SRResNet, and `--from` its run begins with its weights, as the paper's SRGAN does.

`--relativistic` takes the losses of ESRGAN, Wang et al. 2018, arXiv:1809.00219, §3.2. There D tells
how much more real a picture is than the others on average, from scores C and their means over the
batch: D(x, y) = σ(C(x) − E C(y)).

    L_D = −E log D(x, G(s)) − E log(1 − D(G(s), x))                                (eq. 1)
    L_G = −E log(1 − D(x, G(s))) − E log D(G(s), x)                                (eq. 2)

G is SRResNet (fig. 4): residual blocks on the small picture, a skip over all of them, and two
sub-pixel convolutions that double the sides. It has leaky ReLU with slope 0.2 where the paper's
PReLU learns its slope; its last kernel is 3 × 3, for one of 9 × 9, as in the paper, would take most
of the time; and it ends in tanh. D is DCGAN's, where the paper's has twice as many layers.
"""

from minigan import networks, nn, objectives, ops, optim
from minigan.metrics import judges
from minigan.model import frozen
from minigan.pictures import plots
from minigan.translation import Translator, evaluating


class RelativisticAverage:
    """The losses of ESRGAN. With −log σ(t) = softplus(−t) and −log(1 − σ(t)) = softplus(t), G's is
    D's with real and fake scores exchanged."""

    def discriminator_loss(self, real_scores, fake_scores):
        return (ops.softplus(fake_scores.mean() - real_scores).mean()
                + ops.softplus(fake_scores - real_scores.mean()).mean())

    def generator_loss(self, fake_scores, real_scores):
        return self.discriminator_loss(fake_scores, real_scores)


class SRGAN(Translator):
    OPTIONS = Translator.OPTIONS | {
        "steps": (4000, "training steps"),
        "batch_size": (16, "pairs per batch"),
        "width": (32, "channels of the residual blocks, and of the discriminator's first layer"),
        "blocks": (6, "residual blocks"),
        "adversarial": (0.001, "weight of the adversarial loss; 0 leaves the content loss alone"),
        "relativistic": (False, "the adversarial losses of ESRGAN"),
        "lr_g": (1e-3, "the generator's learning rate"),
        "lr_d": (1e-4, "the discriminator's"),
        "lr_decay": (0.1, "part of the learning rates that is left at the last step")}
    NEEDS = ("small",)
    BETAS = 0.9, 0.999
    headline = "d_loss", "g_loss", "content_loss"

    def build(self, facts, options, rng):
        self.adversarial, self.relativistic = options["adversarial"], options["relativistic"]
        self.objective = (RelativisticAverage() if self.relativistic
                          else objectives.NonSaturating())
        width = options["width"]
        self.generator = generator(facts.shape[-1], width, options["blocks"], rng)
        self.discriminator = networks.dcgan_discriminator(facts.shape, width, rng=rng)
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), options["lr_d"], self.BETAS)

    def step(self, batch):
        self.steps += 1
        small, x = self.real(batch.other), self.real(batch.x)
        fake = self.generator(small)

        # D: scores of pictures up, of what was made of their small ones down
        real_scores = self.discriminator(x)
        fake_scores = self.discriminator(fake.detach())
        d_loss = self.objective.discriminator_loss(real_scores, fake_scores)
        d_norm = self.descend(self.d_optimizer, d_loss)

        # G: near to the pictures, and the scores of the same fakes up
        with frozen(self.discriminator):
            beside = [self.discriminator(x)] if self.relativistic else []
            g_loss = self.objective.generator_loss(self.discriminator(fake), *beside)
            content_loss = ((x - fake) ** 2).mean()
            g_norm = self.descend(self.g_optimizer, content_loss + self.adversarial * g_loss)

        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "content_loss": content_loss.data,
                "real_score": real_scores.mean().data, "fake_score": fake_scores.mean().data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm}

    def translated(self, inputs, rng, labels):
        with evaluating(self.generator):
            return self.generator(inputs)

    def measures(self, drawn, judge):
        """PSNR of bicubic interpolation, beside that of what was made."""
        if drawn.targets is None:
            return []
        enlarged = plots.bicubic(drawn.inputs, *drawn.targets.shape[1:3])
        return [judges.psnr("PSNR-bicubic", drawn.targets, enlarged, "")]


def generator(channels, width, blocks, rng):
    """Pictures (N, H, W, C) → (N, 4H, 4W, C) in (−1, 1)."""
    conv = lambda before, after, size, bias=True: nn.Conv2d(
        before, after, size, padding=size // 2, bias=bias, rng=rng)
    norm = lambda: [conv(width, width, 3, bias=False), nn.BatchNorm(width)]
    block = lambda: nn.Residual(nn.Sequential(*norm(), nn.LeakyReLU(0.2), *norm()))
    up = lambda: [conv(width, 4 * width, 3), nn.PixelShuffle(2), nn.LeakyReLU(0.2)]
    deep = nn.Sequential(*[block() for _ in range(blocks)], *norm())
    return nn.Sequential(
        conv(channels, width, 9), nn.LeakyReLU(0.2), nn.Residual(deep), *up(), *up(),
        conv(width, channels, 3), nn.Tanh())
