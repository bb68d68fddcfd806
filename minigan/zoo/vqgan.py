"""VQ-GAN: pictures as words out of a codebook, and a transformer that writes them. Esser et al.
2021, arXiv:2012.09841; the codebook is that of van den Oord et al. 2017, arXiv:1711.00937.

First stage. An encoder E makes a vector of each 4 × 4 pixels; the nearest row of the codebook takes
its place, z_q = e_k with k = argmin ‖E(x) − e_k‖; a decoder G makes x̂ of these rows (eq. 2, 3).
The choice of k has no slope: the gradient passes straight, as if z_q were E(x). Two terms more move
the rows, and keep E(x) near to them (sg[·] is taken for a constant; all are means over elements):

    L_VQ = (x − x̂)² + (sg[E(x)] − z_q)² + β (sg[z_q] − E(x))²                      (eq. 4)
    L_VQ + w λ L_GAN,   λ = ‖∇ L_rec‖/(‖∇ L_GAN‖ + δ) at G's last kernel             (eq. 6 and 7)

D, of patches and with the hinge loss, tells x from x̂. λ makes both gradients at G's last kernel
equally long, and is a constant; w is `adversarial`. L_rec is (x − x̂)²: the paper adds a distance
of VGG's features. D begins late, when x̂ is a picture. Rows that were not used for some steps begin
anew as vectors of the batch; in the first step, all do. E and G are those of arXiv:1711.00937.

Second stage. E, the codebook and G rest. A causal transformer learns which code comes next in a
picture read row by row: −E ln p(k_t | k_1 … k_t−1) (eq. 9). A sample is G of codes that it writes.
The stages share `steps`, and rates fall in each.
"""

import numpy as np

from minigan import backend, networks, nn, objectives, ops, optim
from minigan.autoencoding import Autoencoder, Codebook, residual_pair
from minigan.autograd import broadcast_to, grad
from minigan.metrics.judges import of_reconstructions
from minigan.shapes import in_range
from minigan.tensor import constant, no_grad
from minigan.trainer import Drawn, frozen
from minigan.transformer import Transformer


class VQGAN(Autoencoder):
    OPTIONS = Autoencoder.OPTIONS | {
        "steps": (6000, "training steps"),
        "width": (32, "channels next to the image"),
        "codes": (128, "rows of the codebook"),
        "features": (16, "width of a row"),
        "commitment": (0.25, "β, the weight of the distance of E(x) from its code"),
        "adversarial": (0.5, "w, a weight beside λ; 0 leaves a VQ-VAE"),
        "begin": (0.3, "part of the first stage after which the discriminator begins"),
        "renew": (50, "steps after which a code that was not used begins anew"),
        "prior": (0.6, "part of the steps that is the second stage; 0 leaves the codes to chance"),
        "prior_width": (96, "features of the transformer, a multiple of 4"),
        "lr_ae": (1e-3, "the learning rate of encoder, codebook and decoder"),
        "lr_d": (1e-3, "the discriminator's"),
        "lr_prior": (3e-3, "the transformer's"),
        "lr_decay": (0.02, "part of the learning rates that is left at the last step of a stage")}
    NEEDS, walk = ("pictures",), None  # there is no noise to go from and to
    EXHIBITS = Autoencoder.EXHIBITS | {"codebook": "each code, at all places of a picture"}
    BETAS, DELTA, hinge = (0.5, 0.9), 1e-6, objectives.Hinge()
    headline = "reconstruction_loss", "d_loss", "prior_loss"
    measures = of_reconstructions

    def build(self, facts, options, rng):
        (H, W, C), n, K = facts.shape, options["width"], options["codes"]
        networks.check_sides("vqgan", (H, W), 4, 8)
        self.renew, below = options["renew"], dict(begin=1.0, prior=1.0)
        for name in ("commitment", "adversarial", "begin", "prior"):
            setattr(self, name, in_range(f"vqgan: {name}", options[name], below.get(name, np.inf)))
        self.encoder, self.decoder = residual_pair(C, n, options["features"], rng)
        self.codebook = Codebook(K, options["features"], rng)
        self.discriminator = networks.patches(C, n, nn.BatchNorm, rng)
        self.grid, heads, blocks = (H // 4, W // 4), 4, 3
        self.transformer = Transformer(K, H * W // 16, options["prior_width"], heads, blocks, rng)
        learned = [*self.encoder.parameters(), self.codebook.rows, *self.decoder.parameters()]
        self.ae_optimizer = optim.Adam(learned, options["lr_ae"], self.BETAS)
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), options["lr_d"], self.BETAS)
        self.prior_optimizer = optim.Adam(self.transformer.parameters(), options["lr_prior"],
                                          (0.9, 0.95))

    def step(self, batch):
        self.steps += 1
        x = self.real(batch.x)
        return self.first_stage(x) if self.steps <= self.first else self.second_stage(x)

    @property
    def first(self):  # how many steps the first stage has
        return max(1, round((1.0 - self.prior) * self.last_step))

    def done(self):
        """0 in the first step of a stage, 1 in its last one."""
        before, last = (0, self.first) if self.steps <= self.first else (self.first, self.last_step)
        return min(1.0, (self.steps - before - 1) / max(1, last - before - 1))

    def first_stage(self, x):
        z = self.encoder(x)
        if (self.steps - 1) % self.renew == 0:
            self.codebook.renew(z.data, self.streams["codes"])
        codes = self.codebook.nearest(z.data)
        self.codebook.note(codes)
        quantised = self.codebook(codes).reshape(z.shape)
        restored = self.decoder(z + (quantised - z).detach())  # the gradient passes straight

        reconstruction_loss = ((x - restored) ** 2).mean()
        codebook_loss = ((z.detach() - quantised) ** 2).mean()
        commitment_loss = ((quantised.detach() - z) ** 2).mean()
        loss = reconstruction_loss + codebook_loss + self.commitment * commitment_loss
        stats = {"reconstruction_loss": reconstruction_loss.data,
                 "codebook_loss": codebook_loss.data, "commitment_loss": commitment_loss.data}

        late = self.adversarial and self.steps > self.begin * self.first
        with frozen(self.discriminator):
            if late:
                g_loss = self.hinge.generator_loss(self.discriminator(restored))
                last = self.decoder[-1].weight
                [of_rec], [of_gan] = grad(reconstruction_loss, last), grad(g_loss, last)
                weight = (ops.norm(of_rec) / (ops.norm(of_gan) + self.DELTA)).detach()
                loss = loss + self.adversarial * weight * g_loss
            stats["ae_grad_norm"] = self.descend(self.ae_optimizer, loss)
        if late:
            real, fake = self.discriminator(x), self.discriminator(restored.detach())
            d_loss = self.hinge.discriminator_loss(real, fake)
            d_norm = self.descend(self.d_optimizer, d_loss)
            stats |= {"d_loss": d_loss.data, "g_loss": g_loss.data, "d_grad_norm": d_norm,
                      "real_score": real.mean().data, "fake_score": fake.mean().data}
        return stats

    def second_stage(self, x):
        with no_grad():
            codes = self.codebook.nearest(self.encoder(x).data)
        prior_loss = -(ops.log_softmax(self.transformer(codes)) * codes).sum(-1).mean()
        return {"prior_grad_norm": self.descend(self.prior_optimizer, prior_loss),
                "prior_loss": prior_loss.data}

    def decoded(self, codes):
        """Codes, one-hot (n, T, K) → pictures, cut off at −1 and 1."""
        rows = self.codebook(codes).reshape(len(codes), *self.grid, -1)
        return constant(self.decoder(rows).data.clip(-1.0, 1.0))

    def restored(self, x):
        return self.decoded(self.codebook.nearest(self.encoder(x).data))

    def draw(self, n, rng, temperature=1.0, top_k=None):
        """n pictures of codes that the transformer writes. At a temperature below 1 likely codes
        become likelier, and others than the `top_k` likeliest are not written."""
        with no_grad():
            parts = [self.decoded(self.transformer.sample(len(block), rng, temperature, top_k)).data
                     for block in np.array_split(np.arange(n), -(-n // 256))]
        return Drawn(backend.xp_of(parts[0]).concatenate(parts))

    def exhibits(self, rng):
        """Also what each code of the codebook looks like, at all places of a picture."""
        K, n = self.codebook.rows.shape
        with no_grad():
            alone = self.codebook.rows.reshape(K, 1, 1, n)
            drawn = self.decoder(broadcast_to(alone, (K, *self.grid, n))).numpy()
        return super().exhibits(rng) | {
            "codebook": drawn.reshape(-1, np.gcd(K, 16), *self.facts.shape)}
