"""Noise in, samples out: two perceptrons on points, a DCGAN pair on images, and every objective.

The step is `minigan.trainer.GANTrainer`'s. Here are the options that a run has, and what follows
from the data.
"""

from minigan import networks
from minigan.metrics.latent import ways
from minigan.trainer import RECIPES, Drawn, GANTrainer, Model


class GAN(GANTrainer):
    """A pair of networks that fits the data, in a `GANTrainer`."""

    OPTIONS = Model.OPTIONS | {
        "steps": (2500, "generator updates (default: 2500 on images, 10000 on points)"),
        "batch_size": (64, "samples per batch (default: 64 images, 256 points)"),
        "objective": ("gan", ", ".join(RECIPES), list(RECIPES)),
        "width": (64, "channels next to the image, or hidden units (default: 64, 128)"),
        "latent": (100, "width of the noise (default: 100 for images, 2 for points)"),
        "lr_g": (2e-4, "the generator's learning rate (default: the objective's)"),
        "lr_d": (2e-4, "the discriminator's (default: the objective's)"),
        "n_critic": (1, "discriminator steps per generator step (default: the objective's)"),
        "clip": (0.0, "bound on the critic's weights, 0 for none (default: the objective's)"),
        "gp_weight": (0.0, "weight of the gradient penalty, 0 for none (default: the objective's)"),
        "ema": (0.999, "decay of the averaged generator, below 1"),
        "pack": (1, "how many samples the discriminator judges at once, against mode collapse")}

    def __init__(self, streams=None):
        Model.__init__(self, streams)  # the networks are made in `build`

    @classmethod
    def defaults(cls, facts, given):
        """What follows from the objective is its paper's, what from the kind of data ours.

        On points a penalty weighs 0.1 instead of 10, as in the experiments on such mixtures of
        arXiv:1704.00028's authors: 10 holds the critic's slope so close to 1 that it does not see
        modes as narrow as these.
        """
        objective = given.get("objective", "gan")
        if objective not in RECIPES:
            raise ValueError(f"unknown objective {objective!r}: expected one of "
                             f"{', '.join(RECIPES)}")
        recipe = RECIPES[objective]
        found = super().defaults(facts, given) | dict(
            objective=objective, lr_g=recipe.lr, lr_d=recipe.lr, n_critic=recipe.n_critic,
            clip=recipe.clip, gp_weight=recipe.gp_weight)
        if len(facts.shape) == 3:
            return found
        return found | dict(steps=10_000, batch_size=256, width=128, latent=max(2, *facts.shape),
                            gp_weight=recipe.gp_weight / 100)

    def build(self, facts, options, rng):
        own = "latent objective lr_g lr_d n_critic clip gp_weight ema pack lr_decay steps".split()
        super().__init__(*self.pair(facts, options, rng), streams=self.streams,
                         **{name: options[name] for name in own})
        if options["batch_size"] % options["pack"]:
            raise ValueError(f"a batch of {options['batch_size']} cannot be divided into packs of "
                             f"{options['pack']}")

    @staticmethod
    def pair(facts, options, rng):
        """Generator and discriminator for samples of this shape."""
        common = dict(latent=options["latent"], width=options["width"], pack=options["pack"],
                      rng=rng)
        if len(facts.shape) == 3:
            return networks.dcgan_pair(facts.shape, penalised=options["gp_weight"] > 0, **common)
        return networks.mlp_pair(facts.shape[0], **common)

    def walk(self, rng, count=4):
        """Samples on `count` ways from noise to noise."""
        return Drawn(self.sample(ways(self.noise(2 * count, rng).numpy())))
