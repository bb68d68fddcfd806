"""Training a GAN: one visible discriminator step, one visible generator step.

Algorithm 1 of Goodfellow et al. 2014, arXiv:1406.2661, with what later papers added to it: n critic
steps, clipped weights or a gradient penalty (Wasserstein GAN), packs of samples for the
discriminator (PacGAN), falling learning rates, and a moving average of the generator for sampling.
What it shares with the models of the zoo is a `Model`'s.
"""

from math import inf
from typing import NamedTuple

from minigan import objectives, optim
from minigan.model import (  # noqa: F401 (the zoo takes them from here)
    Batch, Drawn, Facts, Model, NonFiniteError, averaged, frozen, settle)
from minigan.networks import pack_samples
from minigan.tensor import no_grad


class Recipe(NamedTuple):
    """An objective and the settings it is trained with unless others are given."""
    objective: type
    optimizer: type = optim.Adam
    lr: float = 2e-4                                    # of both networks
    settings: tuple = (("betas", (0.5, 0.999)),)        # further arguments of the optimizer
    n_critic: int = 1                                   # discriminator steps per generator step
    clip: float = 0.0                                   # bound on the critic's weights, 0 for none
    gp_weight: float = 0.0                              # λ of the gradient penalty, 0 for none


# The Wasserstein recipes are those of Alg. 1 in arXiv:1701.07875 and arXiv:1704.00028; all others
# have DCGAN's optimizer (arXiv:1511.06434, §4).
RECIPES = {
    "minimax": Recipe(objectives.Minimax),
    "gan": Recipe(objectives.NonSaturating),
    "lsgan": Recipe(objectives.LeastSquares),
    "wgan": Recipe(objectives.Wasserstein, optim.RMSprop, 5e-5, (), n_critic=5, clip=0.01),
    "wgan-gp": Recipe(objectives.Wasserstein, optim.Adam, 1e-4, (("betas", (0.0, 0.9)),),
                      n_critic=5, gp_weight=10.0),
    "hinge": Recipe(objectives.Hinge),
    "relativistic": Recipe(objectives.Relativistic),
}


# On images in a few minutes: narrow networks, which leave time for many steps, and rates ten times
# the paper's that fall to a fiftieth.
ANNEALED = dict(width=32, lr_g=2e-3, lr_d=2e-3, lr_decay=0.02, steps=4800)
# The same with the discriminator and the loss of arXiv:1802.05957: bounded by its spectral norms,
# it may learn faster than G and still leave it a slope. One more dense layer sees whole pictures.
SPECTRAL = ANNEALED | dict(objective="hinge", d_norm="spectral", dense=256, lr_d=4e-3, steps=3400)
SPECTRAL_BETAS = 0.0, 0.9


class GANTrainer(Model):
    """A generator and a discriminator in training.

    `objective` is a name in RECIPES, or an object with the two methods of those in `objectives`.
    Whatever of `lr_g`, `lr_d`, `n_critic`, `clip`, `gp_weight` and Adam's `betas` is None is the
    recipe's. `latent` is the width of the generator's noise, drawn from N(0, 1): by default that of
    its first layer.
    `ema` is the decay of the averaged generator that `sample` uses. The discriminator judges `pack`
    samples at once. Its loss gets the `penalties` too, each an `objectives.Penalty`. Both learning
    rates decay linearly from step 1 to step `steps`, to `lr_decay` times the optimizers' `lr`.
    Random numbers come from `streams` ("noise", "penalty").

    ValueError for an unknown objective, numbers out of range, a Wasserstein critic without clipping
    or penalty, and batch norm in a penalised critic.
    """

    def __init__(self, generator, discriminator, latent=None, objective="gan", lr_g=None, lr_d=None,
                 n_critic=None, clip=None, gp_weight=None, ema=0.999, pack=1, lr_decay=1.0,
                 steps=None, streams=None, penalties=(), betas=None):
        Model.__init__(self, streams)
        recipe = _recipe(objective)
        self.generator, self.discriminator = generator, discriminator
        self.latent = generator.parameters()[0].shape[0] if latent is None else latent
        self.objective = recipe.objective()
        self.batches_per_step = recipe.n_critic if n_critic is None else n_critic
        self.clip = float(recipe.clip if clip is None else clip)
        self.gp_weight = float(recipe.gp_weight if gp_weight is None else gp_weight)
        self.pack, self.lr_decay, self.last_step = pack, float(lr_decay), steps
        if self.batches_per_step < 1 or not 0 <= self.clip < inf or not 0 <= ema < 1 or (
                not 0 <= self.gp_weight < inf):
            raise ValueError("expected n_critic ≥ 1, clip ≥ 0, gp_weight ≥ 0 and 0 ≤ ema < 1, got "
                             f"n_critic {self.batches_per_step}, clip {self.clip}, gp_weight "
                             f"{self.gp_weight}, ema {ema}")
        if pack < 1 or not 0 <= lr_decay <= 1 or lr_decay < 1 and not steps:
            raise ValueError("expected pack ≥ 1 and 0 ≤ lr_decay ≤ 1, with `steps` where it is "
                             f"below 1, got pack {pack}, lr_decay {lr_decay}, steps {steps}")
        self.penalties = [*penalties]
        if self.gp_weight:
            self.penalties.append(objectives.Penalty("penalty", self.gp_weight))
        wasserstein = isinstance(self.objective, objectives.Wasserstein)
        if wasserstein and not (self.clip or self.penalties):
            raise ValueError(f"{objective}: a critic without weight clipping or a gradient penalty "
                             "has a loss without bound: set clip or gp_weight above 0")
        if self.penalties:
            objectives.refuse_batch_norm(discriminator)
        self.headline = "wasserstein" if wasserstein else "d_loss", "g_loss"
        make = lambda network, lr: recipe.optimizer(
            network.parameters(), recipe.lr if lr is None else lr,
            **dict(recipe.settings) | ({"betas": betas} if betas else {}))
        self.g_optimizer, self.d_optimizer = make(generator, lr_g), make(discriminator, lr_d)
        self.averaged, self.average = averaged(generator, ema)

    def step(self, batches):
        """`batches_per_step` discriminator steps, each on its own real batch (N, …), then one
        generator step. The batches come in a list, or as one `Batch` of all.

        Returns what happened as 0-d arrays, for which nothing waits: the losses, mean scores and
        gradients' norms, a penalty, for Wasserstein objectives the difference of the mean scores.
        Those of the discriminator are of its last step.
        """
        if isinstance(batches, Batch):
            batches = [part.x for part in batches.parts(self.batches_per_step)]
        if len(batches) != self.batches_per_step:
            raise ValueError(
                f"step: expected {self.batches_per_step} real batches, got {len(batches)}")
        reals = [self.real(batch) for batch in batches]
        self.steps += 1
        for real in reals:
            stats = self._discriminator_step(real)
        stats |= self._generator_step(real)
        self.average.update(self.steps)
        return stats

    def _discriminator_step(self, real):
        with no_grad():
            fake = self.generator(self.noise(len(real)))
        real, fake = self.seen(real), self.seen(fake)
        real_scores, fake_scores = self.discriminator(real), self.discriminator(fake)
        loss = self.objective.discriminator_loss(real_scores, fake_scores)
        stats = {}
        for name, weight, every in self.penalties:
            if (self.steps - 1) % every == 0:
                penalty = objectives.PENALTIES[name](self.discriminator, real, fake,
                                                     self.streams["penalty"])
                loss = loss + weight * every * penalty
                stats[name] = penalty.data
        norm = self.descend(self.d_optimizer, loss)
        stats |= self.observe(real_scores.detach())
        if self.clip:
            objectives.clip_weights(self.discriminator, self.clip)
        real_score, fake_score = real_scores.detach().mean(), fake_scores.detach().mean()
        if isinstance(self.objective, objectives.Wasserstein):
            stats["wasserstein"] = (real_score - fake_score).data
        return stats | {"d_loss": loss.data, "real_score": real_score.data,
                        "fake_score": fake_score.data, "d_grad_norm": norm}

    def _generator_step(self, real):
        with frozen(self.discriminator):  # the gradient passes through it; its weights rest
            fake = self.generator(self.noise(len(real)))
            scores = [self.discriminator(self.seen(fake))]
            if getattr(self.objective, "paired", False):  # its loss takes real scores too
                scores.append(self.discriminator(self.seen(real)))
            loss = self.objective.generator_loss(*scores)
            norm = self.descend(self.g_optimizer, loss)
        return {"g_loss": loss.data, "g_grad_norm": norm}

    def seen(self, x):
        """What D sees of samples, real and fake alike, in its own step and in G's."""
        return pack_samples(x, self.pack)

    def observe(self, real_scores):
        """Is told D's scores of each real batch → more statistics of the step."""
        return {}


def _recipe(objective):
    if hasattr(objective, "generator_loss"):
        return Recipe(objective if isinstance(objective, type) else lambda: objective)
    if objective not in list(RECIPES):
        raise ValueError(f"unknown objective {objective!r}: expected one of {', '.join(RECIPES)}")
    return RECIPES[objective]
