"""pix2pix: from a picture to its counterpart, learned from pairs. Isola et al. 2017,
arXiv:1611.07004.

A pair is an input x, such as an outline, and a picture y of it. The generator sees x, and the
discriminator (x, y) or (x, G(x, z)):

    L(G, D) = E log D(x, y) + E log(1 − D(x, G(x, z)))                             (eq. 1)
    min over G, max over D of   L(G, D) + λ E |y − G(x, z)|                        (eq. 4)

The L1 term alone gets what is common to all pictures that could be meant: it is blurred where they
differ. The discriminator asks that the result could be one of them. It judges patches (§3.2.2):
each of its scores sees 22 × 22 pixels, and the loss is the mean over all scores. So it need only
know texture, for the L1 term has the large forms right.

In place of batch norm D has spectral norm, in place of cross-entropy both losses are the hinge's,
and rates are higher than the paper's and fall: so pictures were nearer in L1 and in texture.

The noise z is dropout in the first layer on the way up and in all others that make at most 8 × 8
places, the paper's first three, in training and in drawing (§3.1). In larger ones it would speckle.
The generator is a U-Net: what leaves a layer on the way down goes beside what enters its mirror
image on the way up, so that an outline need not pass the bottleneck. `--gan 0` leaves the L1 term
alone. The paper's λ is 100. Of 5, 15 and 50, one seed each, 15 had the nearest texture.
"""

from minigan import init, networks, nn, objectives, ops, optim
from minigan.model import frozen
from minigan.translation import Translator, evaluating


class Pix2pix(Translator):
    OPTIONS = Translator.OPTIONS | {
        "steps": (8000, "training steps"),
        "batch_size": (16, "pairs per batch"),
        "width": (32, "channels of the first layer"),
        "l1": (15.0, "λ, the weight of the L1 distance to the counterpart"),
        "gan": (1.0, "weight of the adversarial loss; 0 leaves the L1 distance alone"),
        "lr_g": (1e-3, "the generator's learning rate"),
        "lr_d": (2e-3, "the discriminator's"),
        "lr_decay": (0.02, "part of the learning rates that is left at the last step")}
    NEEDS = ("pairs",)
    BETAS = 0.5, 0.999
    headline = "d_loss", "g_loss", "l1_loss"

    def build(self, facts, options, rng):
        networks.check_sides("pix2pix", facts.shape[:2], 4, 8)
        self.l1, self.gan, width = options["l1"], options["gan"], options["width"]
        seen, made = facts.other[-1], facts.shape[-1]
        self.generator = UNet(facts.shape, seen, width, rng, self.streams["dropout"])
        discriminator = networks.patches(seen + made, width, None, rng)
        init.dcgan(self.generator, rng), init.dcgan(discriminator, rng)
        self.discriminator = networks.spectral(discriminator, rng)
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), options["lr_d"], self.BETAS)

    objective = objectives.Hinge()

    def step(self, batch):
        self.steps += 1
        x, y = self.real(batch.other), self.real(batch.x)
        fake = self.generator(x)

        # D: scores of pairs up, of inputs with what was made of them down
        real_scores = self.discriminator(ops.concatenate(x, y, axis=-1))
        fake_scores = self.discriminator(ops.concatenate(x, fake.detach(), axis=-1))
        d_loss = self.objective.discriminator_loss(real_scores, fake_scores)
        d_norm = self.descend(self.d_optimizer, d_loss)

        # G: the scores of the same pictures up, and each near to its counterpart
        with frozen(self.discriminator):
            scores = self.discriminator(ops.concatenate(x, fake, axis=-1))
            g_loss, l1_loss = self.objective.generator_loss(scores), ops.abs(y - fake).mean()
            g_norm = self.descend(self.g_optimizer, self.gan * g_loss + self.l1 * l1_loss)

        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "l1_loss": l1_loss.data,
                "real_score": real_scores.mean().data, "fake_score": fake_scores.mean().data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm}

    def translated(self, inputs, rng, labels):
        """With the running statistics of batch norm, and with dropout: it is the noise."""
        with evaluating(self.generator):
            return self.generator(inputs, rng)


class UNet(nn.Module):
    """Pictures (N, H, W, C) → (N, H, W, C′) in (−1, 1): `down` halves the sides while they are
    multiples of 4, to no less than 2, `up` doubles them again. `width` channels come first, twice
    as many then, at most 8 times."""

    def __init__(self, shape, channels, width, rng, masks):
        super().__init__()
        (H, W, made), widths = shape, [width]
        while H % 4 == W % 4 == 0 and min(H, W) > 4:
            H, W = H // 2, W // 2
            widths.append(min(2 * widths[-1], 8 * width))
        conv = dict(kernel_size=4, stride=2, padding=1, rng=rng)
        ends = len(widths) - 1  # the layers at the ends have no batch norm
        self.down = [nn.Sequential(nn.Conv2d(before, after, bias=i in (0, ends), **conv),
                                   *([] if i in (0, ends) else [nn.BatchNorm(after)]))
                     for i, (before, after) in enumerate(zip([channels, *widths], widths))]
        self.up = [nn.Sequential(nn.ConvTranspose2d(before, after, bias=False, **conv),
                                 nn.BatchNorm(after))
                   for before, after in zip([widths[-1], *[2 * w for w in widths[-2:0:-1]]],
                                            widths[-2::-1])]
        self.last = nn.ConvTranspose2d(2 * width, made, **conv)
        self.masks = masks

    def forward(self, x, rng=None):
        passed = []
        for i, layer in enumerate(self.down):
            x = layer(ops.leaky_relu(x) if i else x)
            passed.append(x)
        for i, (layer, mirrored) in enumerate(zip(self.up, passed[-2::-1])):
            x = layer(ops.relu(x))
            if i == 0 or max(x.shape[1:3]) <= 8:
                x = nn.dropped(x, 0.5, rng or self.masks)
            x = ops.concatenate(x, mirrored, axis=-1)
        return ops.tanh(self.last(ops.relu(x)))
