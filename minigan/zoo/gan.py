"""Noise in, samples out: two perceptrons on points, a DCGAN pair on images, and every objective.

The step is `minigan.trainer.GANTrainer`'s. Here are the options that a run has, and what follows
from the data. Many papers offer a remedy for a discriminator that wins too early or learns its data
by heart: they are options too, all off unless asked for.
"""

from minigan import backend, networks
from minigan.augment import POLICIES, Adaptive, augment
from minigan.metrics.latent import ways
from minigan.objectives import Minimax, Penalty
from minigan.tensor import constant
from minigan.trainer import RECIPES, Drawn, GANTrainer, Model

PENALTIES = {"r1": "r1_penalty", "r2": "r2_penalty", "dragan": "dragan_penalty"}


class GAN(GANTrainer):
    """A pair of networks that fits the data, in a `GANTrainer`."""

    OPTIONS = Model.OPTIONS | {
        "objective": ("gan", ", ".join(RECIPES), list(RECIPES)),
        "width": (64, "channels next to the image, or hidden units (default: 64, 128)"),
        "latent": (100, "width of the noise (default: 100 for images, 2 for points)"),
        "lr_g": (2e-4, "the generator's learning rate (default: the objective's)"),
        "lr_d": (2e-4, "the discriminator's (default: the objective's)"),
        "n_critic": (1, "discriminator steps per generator step (default: the objective's)"),
        "clip": (0.0, "bound on the critic's weights, 0 for none (default: the objective's)"),
        "gp_weight": (0.0, "weight of the gradient penalty, 0 for none (default: the objective's)"),
        "ema": (0.999, "decay of the averaged generator, below 1"),
        "pack": (1, "how many samples the discriminator judges at once, against mode collapse"),
        "d_norm": ("default", "D's normalisation: none, batch, layer, or each weight divided by its "
                   "largest singular value, spectral (default: batch on images, layer with a "
                   "penalty)", ["default", "none", "batch", "layer", "spectral"]),
        "r1": (0.0, "γ of the penalty γ/2 E‖∇D‖² on real samples, 0 for none"),
        "r2": (0.0, "the same on generated samples"),
        "dragan": (0.0, "weight of the penalty (‖∇D‖ − 1)² near real samples, 0 for none"),
        "penalty_every": (1, "these three in every so many steps only, and as much heavier"),
        "label_smoothing": (0.0, "by how much D's target on real samples is below 1"),
        "instance_noise": (0.0, "standard deviation of noise on all that D sees; it falls on a "
                           "straight line, to 0 at the last step"),
        "dropout": (0.0, "probability with which D leaves out an element after an activation"),
        "minibatch": ("none", "what D learns of a sample's batch: the standard deviation, or "
                      "features of likeness", list(networks.MINIBATCH)),
        "augment": ("none", "how pictures are changed before D sees them: none, colour, "
                    "translation, cutout, or all of them", list(POLICIES)),
        "adaptive": (0.0, "change only so many pictures that E sign D(real) becomes this, as 0.6; "
                     "0 changes each"),
        "adaptive_images": (500_000, "real pictures in which their share could go from 0 to 1")}

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
        if sizes := [name for name in ("r1", "r2", "dragan", "instance_noise", "adaptive")
                     if not 0.0 <= options[name] < float("inf")]:
            raise ValueError(f"expected {sizes[0]} ≥ 0, got {options[sizes[0]]}")
        own = "latent objective lr_g lr_d n_critic clip gp_weight ema pack lr_decay steps".split()
        super().__init__(*self.pair(facts, options, rng, self.streams["dropout"]),
                         streams=self.streams, penalties=self.chosen_penalties(options),
                         **{name: options[name] for name in own})
        if options["batch_size"] % options["pack"]:
            raise ValueError(f"a batch of {options['batch_size']} cannot be divided into packs of "
                             f"{options['pack']}")
        if smoothing := options["label_smoothing"]:
            if not isinstance(self.objective, Minimax):
                raise ValueError("label_smoothing is for the objectives gan and minimax, whose "
                                 f"scores stand for probabilities, not for {options['objective']}")
            self.objective = type(self.objective)(smoothing)
        self.instance_noise, self.policy = options["instance_noise"], options["augment"]
        if self.policy != "none" and len(facts.shape) != 3:
            raise ValueError(f"augment {self.policy} changes pictures, and these data are points")
        self.adaptive = None
        if options["adaptive"]:
            if self.policy == "none" or self.objective.undecided is None:
                raise ValueError("adaptive needs augment, and an objective whose scores say whether "
                                 "D takes a sample for real: neither wgan nor relativistic")
            self.adaptive = Adaptive(options["adaptive"], options["adaptive_images"])

    @staticmethod
    def chosen_penalties(options):
        return [Penalty(PENALTIES[name], options[name], options["penalty_every"])
                for name in PENALTIES if options[name]]

    @classmethod
    def pair(cls, facts, options, rng, masks=None):
        """Generator and discriminator for samples of this shape."""
        common = dict(latent=options["latent"], width=options["width"], pack=options["pack"],
                      rng=rng)
        norm, on_images = options["d_norm"], len(facts.shape) == 3
        if on_images:
            penalised = options["gp_weight"] > 0 or cls.chosen_penalties(options) != []
            G, D = networks.dcgan_pair(
                facts.shape, norm={"default": None, "spectral": "none"}.get(norm, norm),
                penalised=penalised, **common)
        elif norm in ("batch", "layer"):
            raise ValueError(f"d_norm {norm} is for images: on points D has none, or spectral")
        else:
            G, D = networks.mlp_pair(facts.shape[0], **common)
        return G, networks.equipped(D, options["minibatch"], options["dropout"],
                                    norm == "spectral", rng, masks)

    def seen(self, x):
        """What D sees: pictures changed at random, noise on them, several side by side."""
        if self.policy != "none":
            p = 1.0 if self.adaptive is None else self.adaptive.p
            x = augment(x, self.policy, self.streams["augment"], p)
        if self.instance_noise:
            noise = self.streams["instance"].standard_normal(x.shape, self.dtype)
            x = x + self.instance_noise * (1.0 - self._done()) * constant(backend.asarray(noise))
        return super().seen(x)

    def observe(self, real_scores):
        if self.adaptive is not None:
            self.adaptive.observe(real_scores - self.objective.undecided)

    def walk(self, rng, count=4):
        """Samples on `count` ways from noise to noise."""
        return Drawn(self.sample(ways(self.noise(2 * count, rng).numpy())))
