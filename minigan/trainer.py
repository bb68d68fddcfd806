"""Training a GAN: one visible discriminator step, one visible generator step.

Algorithm 1 of Goodfellow et al. 2014, arXiv:1406.2661, with what later papers added to it: n critic steps, clipped
weights or a gradient penalty (Wasserstein GAN), packs of samples for the discriminator (PacGAN), falling learning
rates, and a moving average of the generator for sampling.
"""

import copy
from typing import NamedTuple

import numpy as np

from minigan import backend, kernels, objectives, ops, optim, parallel
from minigan.networks import pack_samples
from minigan.tensor import Tensor, constant, grad, no_grad


class Recipe(NamedTuple):
    """An objective and the settings it is trained with unless others are given."""
    objective: type
    optimizer: type = optim.Adam
    lr: float = 2e-4                                    # of both networks
    settings: tuple = (("betas", (0.5, 0.999)),)        # further arguments of the optimizer
    n_critic: int = 1                                   # discriminator steps per generator step
    clip: float = 0.0                                   # bound on the critic's weights, 0 for none
    gp_weight: float = 0.0                              # λ of the gradient penalty, 0 for none


# DCGAN's optimizer (arXiv:1511.06434, §4) is ours where the objective's own paper names none, or another one for other
# networks. The two Wasserstein recipes are those of Alg. 1 in arXiv:1701.07875 and in arXiv:1704.00028.
RECIPES = {
    "minimax": Recipe(objectives.Minimax),
    "gan": Recipe(objectives.NonSaturating),
    "lsgan": Recipe(objectives.LeastSquares),
    "wgan": Recipe(objectives.Wasserstein, optim.RMSprop, lr=5e-5, settings=(), n_critic=5, clip=0.01),
    "wgan-gp": Recipe(objectives.Wasserstein, lr=1e-4, settings=(("betas", (0.0, 0.9)),), n_critic=5, gp_weight=10.0),
    "hinge": Recipe(objectives.Hinge),
}


class NonFiniteError(ArithmeticError):
    """A loss or a gradient became infinite or NaN; the message names the network and the first such step."""


class GANTrainer:
    """A generator and a discriminator in training.

    `objective` is a name in RECIPES; whatever of `lr_g`, `lr_d`, `n_critic`, `clip` and `gp_weight` is None is the
    recipe's. `latent` is the width of the generator's noise, drawn from N(0, 1): by default that of its first layer.
    `ema` is the decay of the averaged generator that `sample` uses. The discriminator judges `pack` samples at once.
    Both learning rates fall on a straight line from step 1 to step `steps`, where they are `lr_decay` times what they
    were, and stay there. Noise and penalty weights come from `streams` ("noise", "penalty").

    ValueError for an unknown objective, a Wasserstein critic without clipping or penalty, whose loss has no bound, and
    batch norm in a penalised critic.
    """

    def __init__(self, generator, discriminator, latent=None, objective="gan", lr_g=None, lr_d=None, n_critic=None,
                 clip=None, gp_weight=None, ema=0.999, pack=1, lr_decay=1.0, steps=None, streams=None):
        if objective not in RECIPES:
            raise ValueError(f"unknown objective {objective!r}: expected one of {', '.join(RECIPES)}")
        recipe = RECIPES[objective]
        self.generator, self.discriminator = generator, discriminator
        self.latent = generator.parameters()[0].shape[0] if latent is None else latent
        self.objective = recipe.objective()
        self.batches_per_step = recipe.n_critic if n_critic is None else n_critic
        self.clip = float(recipe.clip if clip is None else clip)
        self.gp_weight = float(recipe.gp_weight if gp_weight is None else gp_weight)
        if self.batches_per_step < 1 or self.clip < 0 or self.gp_weight < 0 or not 0 <= ema < 1:
            raise ValueError(f"expected n_critic ≥ 1, clip ≥ 0, gp_weight ≥ 0 and 0 ≤ ema < 1, got n_critic "
                             f"{self.batches_per_step}, clip {self.clip}, gp_weight {self.gp_weight}, ema {ema}")
        self.pack, self.lr_decay, self._last = pack, float(lr_decay), steps
        if pack < 1 or not 0 <= lr_decay <= 1 or lr_decay < 1 and not steps:
            raise ValueError(f"expected pack ≥ 1 and 0 ≤ lr_decay ≤ 1, with `steps` where it is below 1, got pack "
                             f"{pack}, lr_decay {lr_decay}, steps {steps}")
        if recipe.objective is objectives.Wasserstein and not (self.clip or self.gp_weight):
            raise ValueError(f"{objective}: without weight clipping or a gradient penalty the critic is not Lipschitz "
                             "and its loss has no bound: set clip or gp_weight above 0")
        if self.gp_weight:
            objectives.refuse_batch_norm(discriminator)
        self.headline = ("wasserstein" if recipe.objective is objectives.Wasserstein else "d_loss", "g_loss")
        settings = dict(recipe.settings)
        self.g_optimizer = recipe.optimizer(generator.parameters(), recipe.lr if lr_g is None else lr_g, **settings)
        self.d_optimizer = recipe.optimizer(discriminator.parameters(), recipe.lr if lr_d is None else lr_d, **settings)
        self._first_rates = self.g_optimizer.lr, self.d_optimizer.lr
        self.averaged, self.ema = copy.deepcopy(generator).eval(), float(ema)
        self._average_weights = optim.Flat(self.averaged.parameters())
        self._running = [(copied, original, name) for (_, copied), (_, original) in zip(
            self.averaged.named_modules(), generator.named_modules()) for name in original.buffer_names]
        self.streams = streams or backend.streams
        self.steps = 0
        self._dtype = generator.parameters()[0].dtype
        self._all_is_well()

    def step(self, batches):
        """`batches_per_step` discriminator steps, each on its own real batch (N, …), then one generator step.

        Returns what happened as 0-d arrays, which on a GPU are still being computed: the losses, the mean scores on
        real and fake samples, for Wasserstein objectives their difference, the penalty if there is one, the norms of
        both gradients; of the discriminator's steps, the last.
        """
        if len(batches) != self.batches_per_step:
            raise ValueError(f"step: expected {self.batches_per_step} real batches, got {len(batches)}")
        self.steps += 1
        self._lower_rates()
        for real in batches:
            stats = self._discriminator_step(Tensor(backend.asarray(real, self._dtype)))
        stats |= self._generator_step(len(real))
        self._average()
        return stats

    def _discriminator_step(self, real):
        with no_grad():
            fake = self.generator(self._noise(len(real)))
        real, fake = pack_samples(real, self.pack), pack_samples(fake, self.pack)
        real_scores, fake_scores = self.discriminator(real), self.discriminator(fake)
        loss = self.objective.discriminator_loss(real_scores, fake_scores)
        stats = {}
        if self.gp_weight:
            epsilon = self.streams["penalty"].random((len(real),) + (1,) * (real.ndim - 1))
            penalty = objectives.gradient_penalty(
                self.discriminator, real, fake, backend.asarray(epsilon, self._dtype))
            loss = loss + self.gp_weight * penalty
            stats["penalty"] = penalty.data
        norm = self._descend("discriminator", loss, self.d_optimizer)
        if self.clip:
            objectives.clip_weights(self.discriminator, self.clip)
        real_score, fake_score = real_scores.detach().mean(), fake_scores.detach().mean()
        if isinstance(self.objective, objectives.Wasserstein):
            stats["wasserstein"] = (real_score - fake_score).data
        return stats | {"d_loss": loss.data, "real_score": real_score.data, "fake_score": fake_score.data,
                        "d_grad_norm": norm}

    def _generator_step(self, n):
        self._freeze_discriminator(True)  # what flows to the generator passes through it; its weights rest
        fake = pack_samples(self.generator(self._noise(n)), self.pack)
        loss = self.objective.generator_loss(self.discriminator(fake))
        norm = self._descend("generator", loss, self.g_optimizer)
        self._freeze_discriminator(False)
        return {"g_loss": loss.data, "g_grad_norm": norm}

    def _freeze_discriminator(self, frozen):
        for parameter in self.d_optimizer.flat.params:
            parameter.requires_grad = not frozen

    def _descend(self, network, loss, optimizer):
        """One optimizer step down the gradient of `loss`; returns the gradient's norm."""
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        xp, g, first_bad = loss.xp, optimizer.gradient, self._first_bad[network]
        square = xp.dot(g, g)
        # A flag beside the data, so that nothing waits for the device here; `check_finite` reads it.
        if kernel := kernels.FLAG.on(g):
            return kernel(loss.data, square, self.steps, xp.empty_like(square), first_bad)[0]
        norm = xp.asarray(xp.sqrt(square))
        bad = ~xp.isfinite(loss.data + norm)
        self._first_bad[network] = xp.where(bad & (first_bad < 0), self.steps, first_bad)
        return norm

    def _lower_rates(self):
        if self.lr_decay < 1:
            way = min(1.0, (self.steps - 1) / max(1, self._last - 1))
            for optimizer, first in zip((self.g_optimizer, self.d_optimizer), self._first_rates):
                optimizer.lr = first * (1.0 + (self.lr_decay - 1.0) * way)

    def _noise(self, n):
        noise = self.streams["noise"].standard_normal((n, self.latent), dtype=np.dtype(self._dtype))
        return constant(backend.asarray(noise))

    def _average(self):
        """average ← average + share · (weights − average), share = (1 − decay)/(1 − decayᵗ).

        That is the exponential moving average without the bias towards its start (Adam's correction, written as a
        share): after the first step it is the weights themselves. Running statistics are taken over as they are.
        """
        share = (1.0 - self.ema) / (1.0 - self.ema ** self.steps)
        average, weights = self._average_weights.array(), self.g_optimizer.flat.array()

        def block(begin, end):
            average[begin:end] += share * (weights[begin:end] - average[begin:end])
        if kernel := kernels.AVERAGE.on(average):
            kernel(weights, share, average)
        else:
            parallel.over_batch(average, block, each=1, most=parallel.NEAR)
        for copied, original, name in self._running:
            setattr(copied, name, getattr(original, name))

    def _all_is_well(self):
        """Set the flags: per network the first step with a number that is not finite, −1 for none."""
        xp = self.generator.parameters()[0].xp
        self._first_bad = {"discriminator": xp.full((), -1), "generator": xp.full((), -1)}

    def check_finite(self):
        """NonFiniteError if a loss or gradient of any step so far was infinite or NaN. Waits for the device."""
        for network, step in self._first_bad.items():
            step = int(backend.to_numpy(step))
            if step >= 0:
                raise NonFiniteError(f"the {network}'s loss or gradient is not finite since step {step}")

    def sample(self, noise, block=256):
        """Noise (N, latent) → samples (N, …) of the averaged generator in evaluation mode, `block` at a time. Training
        is not disturbed: no running statistic and no random stream moves."""
        noise = backend.asarray(noise, self._dtype)
        with no_grad():
            parts = [self.averaged(constant(noise[i:i + block])).data for i in range(0, len(noise), block)]
        return backend.xp_of(noise).concatenate(parts)

    def feedback(self, samples):
        """What the discriminator tells the generator about samples (N, …): their scores, (N,), and for each one
        −∂(its share of the generator's loss)/∂(sample), (N, …): the way it would have to move, and how strong the pull
        is. A discriminator of packs is shown packs of one sample and its copies. Training is not disturbed."""
        x = Tensor(backend.asarray(samples, self._dtype), requires_grad=True)
        self.discriminator.eval()
        try:
            scores = self.discriminator(ops.concatenate(*[x] * self.pack, axis=-1))
        finally:
            self.discriminator.train()
        [slope] = grad(self.objective.generator_loss(scores), x)
        return scores.data.reshape(-1), -len(x) * slope.data

    def _parts(self):
        return {"generator": self.generator, "discriminator": self.discriminator, "averaged": self.averaged,
                "g_optimizer": self.g_optimizer, "d_optimizer": self.d_optimizer}

    def state_dict(self):
        """{name: NumPy array}: networks, averaged generator, optimizers, steps. The streams keep their own state."""
        state = {f"{part}.{name}": array for part, owner in self._parts().items()
                 for name, array in owner.state_dict().items()}
        return {"steps": np.int64(self.steps), **state}

    def load_state_dict(self, state):
        """Continue from `state_dict`. ValueError, and nothing changed, if a name or a shape differs."""
        own = self.state_dict()
        differing = sorted(own.keys() ^ state.keys()) or [
            name for name in own if np.shape(own[name]) != np.shape(state[name])]
        if differing:
            raise ValueError(f"the state is not one of these networks and optimizers: {differing[0]} is missing, too "
                             "many or of another shape")
        for part, owner in self._parts().items():
            owner.load_state_dict({name.removeprefix(part + "."): array for name, array in state.items()
                                   if name.startswith(part + ".")})
        self.steps = int(state["steps"])
        self._all_is_well()
