"""Noise in, samples out: two perceptrons on points, a DCGAN pair on images, and every objective.

The step is `minigan.trainer.GANTrainer`'s. Here are a run's options, and what follows from the
data. Remedies for a discriminator that wins too early or learns its data by heart are options too.
"""

from minigan import backend, networks
from minigan.augment import POLICIES, Adaptive, augment
from minigan.objectives import Minimax, NonSaturating, Penalty, Smoothed
from minigan.tensor import constant
from minigan.trainer import ANNEALED, RECIPES, SPECTRAL, SPECTRAL_BETAS, GANTrainer, Model


class GAN(GANTrainer):
    """A pair of networks that fits the data, in a `GANTrainer`."""

    OPTIONS = Model.OPTIONS | {
        "recipe": ("spectral", "dcgan: the papers' own; annealed: high rates that fall; spectral: "
                   "those, and a spectrally normalised D (default on images: spectral; annealed "
                   "for a given objective gan, else dcgan)", ["spectral", "annealed", "dcgan"]),
        "steps": (3400, "generator updates (default: by the recipe, 10000 on points)"),
        "batch_size": (64, "samples per batch (default: 64 images, 256 points)"),
        "objective": ("gan", f"{', '.join(RECIPES)} (default: hinge on images, gan on points)",
                      list(RECIPES)),
        "width": (32, "channels next to the image (default: by the recipe), units of points (128)"),
        "latent": (100, "width of the noise (default: 100 for images, 2 for points)"),
        "dense": (0, "units of D's dense layer before its last, 0 for none (default: by recipe)"),
        "lr_g": (2e-3, "the generator's learning rate (default: by recipe and objective)"),
        "lr_d": (4e-3, "the discriminator's (default: by recipe and objective)"),
        "n_critic": (1, "discriminator steps per generator step (default: the objective's)"),
        "clip": (0.0, "bound on the critic's weights, 0 for none (default: the objective's)"),
        "gp_weight": (0.0, "weight of the gradient penalty, 0 for none (default: the objective's)"),
        "ema": (0.999, "decay of the averaged generator, below 1"),
        "pack": (1, "how many samples the discriminator judges at once, against mode collapse"),
        "d_norm": ("default", "D's normalisation: none, batch, layer, or spectral, by a weight's "
                   "largest singular value (default: by the recipe; else batch, with a penalty "
                   "layer)", ["default", "none", "batch", "layer", "spectral"]),
        "r1": (0.0, "γ of the penalty γ/2 E‖∇D‖² on real samples, 0 for none"),
        "r2": (0.0, "the same on generated samples"),
        "dragan": (0.0, "weight of the penalty (‖∇D‖ − 1)² near real samples, 0 for none"),
        "penalty_every": (1, "these three in every so many steps only, and as much heavier"),
        "label_smoothing": (0.0, "by how much D's target on real samples is below 1"),
        "instance_noise": (0.0, "deviation of noise on all D sees, which falls to 0 at the end"),
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
        """What follows from the objective is its paper's, what from the kind of data ours. On
        points a penalty weighs 0.1 instead of 10, as in the experiments on such mixtures of
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
            clip=recipe.clip, gp_weight=recipe.gp_weight, steps=2500, width=64, dense=0)
        on_images = len(facts.shape) == 3
        usual = "annealed" if objective == "gan" else "dcgan"
        usual = usual if "objective" in given else "spectral"  # which brings its own objective
        found["recipe"] = given.get("recipe", usual if on_images else "dcgan")
        chosen = {"spectral": SPECTRAL, "annealed": ANNEALED}.get(found["recipe"], {})
        if chosen and (not on_images or recipe.clip or recipe.gp_weight):
            raise ValueError(f"recipe {found['recipe']} is for images and for objectives without "
                             f"clipping or penalty: leave it out for {objective} on samples "
                             f"{facts.shape}")
        if on_images:
            return found | chosen
        return found | dict(steps=10_000, batch_size=256, width=128, latent=max(2, *facts.shape),
                            gp_weight=recipe.gp_weight / 100)

    def build(self, facts, options, rng):
        self.check(facts, options)
        own = "latent objective lr_g lr_d n_critic clip gp_weight ema pack lr_decay steps".split()
        betas = SPECTRAL_BETAS if options["recipe"] == "spectral" else None
        super().__init__(*self.pair(facts, options, rng, self.streams["dropout"]), betas=betas,
                         streams=self.streams, penalties=self.added_penalties(options),
                         **{name: options[name] for name in own})
        if options["batch_size"] % options["pack"]:
            raise ValueError(f"a batch of {options['batch_size']} cannot be divided into packs of "
                             f"{options['pack']}")
        if options["label_smoothing"]:
            self.objective = Smoothed(self.objective, options["label_smoothing"])
        self.instance_noise, self.policy = options["instance_noise"], POLICIES[options["augment"]]
        self.adaptive = (Adaptive(options["adaptive"], options["adaptive_images"])
                         if options["adaptive"] else None)

    @staticmethod
    def check(facts, options):
        """ValueError for what does not fit together."""
        objective = RECIPES[options["objective"]].objective
        for name in ("r1", "r2", "dragan", "instance_noise", "adaptive"):
            if not 0.0 <= options[name] < float("inf"):
                raise ValueError(f"expected {name} ≥ 0, got {options[name]}")
        if options["label_smoothing"] and objective not in (Minimax, NonSaturating):
            raise ValueError("label_smoothing is for gan and minimax, whose scores stand for "
                             f"probabilities, not for {options['objective']}")
        for name in ("augment", "d_norm", "dense"):
            if len(facts.shape) != 3 and options[name] not in ("none", "default", "spectral", 0):
                raise ValueError(f"{name} {options[name]} is for images, and these are points")
        if options["adaptive"] and (options["augment"] == "none" or objective.undecided is None):
            raise ValueError("adaptive needs augment, and an objective whose scores say whether D "
                             "takes a sample for real: neither wgan nor relativistic")

    @staticmethod
    def added_penalties(options):
        return [Penalty(f"{name}_penalty", options[name], options["penalty_every"])
                for name in ("r1", "r2", "dragan") if options[name]]

    @classmethod
    def pair(cls, facts, options, rng, masks=None):
        """Generator and discriminator for samples of this shape."""
        common = dict(latent=options["latent"], width=options["width"], pack=options["pack"],
                      rng=rng)
        if len(facts.shape) == 3:
            norm = {"default": None, "spectral": "none"}.get(options["d_norm"], options["d_norm"])
            penalised = options["gp_weight"] > 0 or bool(cls.added_penalties(options))
            G, D = networks.dcgan_pair(facts.shape, norm=norm, penalised=penalised,
                                       dense=options["dense"], **common)
        else:
            G, D = networks.mlp_pair(facts.shape[0], **common)
        return G, networks.equipped(D, options["minibatch"], options["dropout"],
                                    options["d_norm"] == "spectral", rng, masks)

    def seen(self, x):
        """What D sees: pictures changed at random, noise on them, several side by side."""
        if self.policy:
            p = 1.0 if self.adaptive is None else self.adaptive.p
            x = augment(x, self.policy, self.streams["augment"], p)
        if self.instance_noise:
            noise = self.streams["instance"].standard_normal(x.shape, self.dtype)
            x = x + self.instance_noise * (1.0 - self.done()) * constant(backend.asarray(noise))
        return super().seen(x)

    def observe(self, real_scores):
        return {} if self.adaptive is None else self.adaptive.observe(
            real_scores - self.objective.undecided)
