"""StyleGAN2: a style for each layer. Karras et al. 2020, arXiv:1912.04958, and Karras et al. 2019,
arXiv:1812.04948.

    L_D = E softplus(−D(x)) + E softplus(D(g(w))) + γ/2 E ‖∇D(x)‖²
    L_G = E softplus(−D(g(w))) + γ_w E (‖Jᵀ y‖₂ − a)²,   w = f(z),   J = ∂g(w)/∂w

The networks are in `minigan.style`. In a part of the batches, `mixing`, the layers from a random
one on have the styles of other noise, so that neighbours do not rely on each other's
(arXiv:1812.04948, §3.1). Path length regularisation, the last term, asks that a step of w changes
the picture as much wherever it is made and in whatever direction (§3.2).

Both penalties are lazy (§3.1): they are in the loss of every k-th step only, k times as heavy. The
paper gives them steps of Adam of their own; here they are part of the k-th one. y is from N(0, I).
As in the authors' program it is y/r, r the side; `path` is γ_w r². Their 0.26 is too much here.

D is residual (fig. 7c), and sees how the batch varies. `--ada` changes at random what it sees, real
and fake alike, against learning few pictures by heart: more of them while E sign D(x) is above 0.6,
and fewer below (Karras et al. 2020, arXiv:2006.06676; `minigan.augment`), here up to 0.8 of them.
R₁ is of what D sees. The paper filters pictures when it doubles and halves them; here pixels are
repeated and averaged.
"""

import numpy as np

from minigan import backend, objectives, optim
from minigan.augment import ADAPTIVE, MOST, Adaptive, augment
from minigan.style import Discriminator, Generator, PathPenalty
from minigan.tensor import no_grad
from minigan.trainer import Drawn, Model, averaged, frozen


class StyleGAN2(Model):
    OPTIONS = Model.OPTIONS | {
        "steps": (3000, "training steps"),
        "batch_size": (16, "pictures per batch"),
        "width": (16, "channels at the full size, twice as many at each smaller one"),
        "latent": (64, "width of the noise z and the styles w"),
        "depth": (4, "layers from z to w"),
        "mixing": (0.5, "part of the batches whose layers have the styles of two z"),
        "r1": (1.0, "γ of the penalty on D's slope at real pictures, 0 for none"),
        "r1_every": (4, "in every k-th step only, k times as heavy: k"),
        "path": (0.05, "γ_w r² of path length regularisation, 0 for none"),
        "path_every": (8, "in every k-th step only, k times as heavy: k"),
        "ada": (False, "change what D sees, as much as it needs"),
        "ada_images": (30_000, "real pictures in which the changed part could rise by 1"),
        "lr_g": (1e-2, "the generator's learning rate"),
        "lr_d": (1e-2, "the discriminator's"),
        "lr_decay": (0.02, "part of the learning rates that is left at the last step"),
        "ema": (0.998, "decay of the averaged generator, below 1")}
    NEEDS = ("pictures",)
    BETAS = 0.0, 0.99
    EXHIBITS = {"mixing": "the first layers' styles are the row's, the others' the column's",
                "truncation": "truncated at 0, 0.3, 0.5, 0.7 and 1, column by column"}
    objective = objectives.NonSaturating()

    def build(self, facts, options, rng):
        for name in ("latent", "mixing", "r1", "r1_every", "path", "path_every"):
            setattr(self, name, options[name])
        if not (0.0 <= self.mixing <= 1.0 and self.r1 >= 0.0 and self.path >= 0.0):
            raise ValueError("StyleGAN2: expected 0 ≤ mixing ≤ 1, r1 ≥ 0 and path ≥ 0, got mixing "
                             f"{self.mixing}, r1 {self.r1} and path {self.path}")
        width = options["width"]
        self.generator = Generator(facts.shape, width, self.latent, options["depth"], rng)
        self.discriminator = Discriminator(facts.shape, width, rng)
        self.path_penalty = PathPenalty()
        self.adaptive = Adaptive(0.6, options["ada_images"], MOST) if options["ada"] else None
        self.g_optimizer = optim.Adam(self.generator.parameters(), options["lr_g"], self.BETAS)
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), options["lr_d"], self.BETAS)
        self.averaged, self.average = averaged(self.generator, options["ema"])

    def step(self, batch):
        self.steps += 1
        x, n = self.real(batch.x), len(batch.x)
        due = lambda every: (self.steps - 1) % every == 0

        # D: scores of real pictures up, of fakes down; in each k-th step small slopes at real ones
        with no_grad():
            fake = self.generated(n)
        real, fake = self.seen(x), self.seen(fake)
        real_scores, fake_scores = self.discriminator(real), self.discriminator(fake)
        d_loss = self.objective.discriminator_loss(real_scores, fake_scores)
        penalty = 0.0
        if self.r1 and due(self.r1_every):
            penalty = 0.5 * objectives.zero_centred_penalty(self.discriminator, real)
        d_norm = self.descend(self.d_optimizer, d_loss + self.r1_every * self.r1 * penalty)
        more = {} if self.adaptive is None else self.adaptive.observe(real_scores.detach())

        # G: its pictures' scores up; in each k-th step paths of equal lengths
        with frozen(self.discriminator):
            g_loss = self.objective.generator_loss(
                self.discriminator(self.seen(self.generated(n))))
            penalty = 0.0
            if self.path and due(self.path_every):
                w = self.generator.mapping(self.noise(n))
                x = self.generator.synthesis(self.generator.layers * [w], self.places(n))
                penalty = self.path_penalty(x, w, self.streams["paths"])
            g_norm = self.descend(self.g_optimizer, g_loss + self.path_every * self.path * penalty)

        self.average.update(self.steps)
        return {"d_loss": d_loss.data, "g_loss": g_loss.data,
                "real_score": real_scores.mean().data, "fake_score": fake_scores.mean().data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm} | more

    def generated(self, n):
        """n pictures, by the styles of one z or, from some layer on, of a second one."""
        G, rng = self.generator, self.streams["mixing"]
        styles = G.layers * [G.mapping(self.noise(n))]
        if rng.random() < self.mixing:
            first = rng.integers(1, G.layers)
            styles[first:] = (G.layers - first) * [G.mapping(self.noise(n))]
        return G.synthesis(styles, self.places(n))

    def places(self, n, rng=None):
        """The noise of all layers, each sample's own."""
        rng, shape = rng or self.streams["places"], (n, self.generator.places)
        return backend.asarray(rng.standard_normal(shape, dtype=np.dtype(self.dtype)))

    def seen(self, x):
        """What D sees of pictures, real and fake alike."""
        if self.adaptive is None:
            return x
        return augment(x, ADAPTIVE, self.streams["augment"], self.adaptive.p)

    # What is drawn

    def inputs(self, n, rng):
        return self.noise(n, rng), self.places(n, rng)

    def draw(self, n, rng, truncation=1.0):
        """n samples; with a `truncation` ψ below 1 of styles nearer to their mean, so that they
        look better and vary less."""
        if not abs(truncation) < np.inf:
            raise ValueError(f"expected a finite truncation, got {truncation}")
        psi = backend.asarray(np.full((n, 1), truncation), self.dtype)
        return Drawn(self.sample(*self.inputs(n, rng), psi))

    def exhibits(self, rng):
        """Style mixing, beside the pictures whose styles are mixed, and truncation, in each row
        of one z. The layers have no noise."""
        G, half = self.averaged, self.averaged.layers // 2
        shown = lambda *styles: backend.to_numpy(G.synthesis(styles).data)
        with no_grad():
            rows, columns = G.mapping(self.noise(4, rng)), G.mapping(self.noise(6, rng))
            mixed = np.ones((5, 7, *self.facts.shape), np.float32)
            mixed[1:, 0], mixed[0, 1:] = [shown(*G.layers * [w]) for w in (rows, columns)]
            for i in range(4):
                mixed[1 + i, 1:] = shown(*half * [rows[i:i + 1]], *(G.layers - half) * [columns])
            swept = [shown(*G.layers * [G.mapping.truncated(rows, psi)])
                     for psi in (0.0, 0.3, 0.5, 0.7, 1.0)]
        return {"mixing": mixed, "truncation": np.stack(swept, axis=1)}
