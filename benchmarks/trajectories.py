"""python -m benchmarks.trajectories: 100 training steps of minigan and of PyTorch, in float64, number beside number.

Weights, data, noise and the mixing weights of the penalty are the same. But for rounding, so must be both losses at
every step, and at the end all weights of both networks and the samples of the averaged generator, in evaluation mode.
"""

import argparse

import numpy as np

from benchmarks import pairing
from minigan import backend, data, networks
from minigan.trainer import RECIPES, GANTrainer

STEPS, BATCH, LATENT = 100, 16, 8
DATA = {"mlp": "ring8", "dcgan": "fashion-mini"}


def pair(kind, objective):
    rng = backend.Streams(0)["init"]
    if kind == "mlp":
        return networks.mlp_pair(2, LATENT, width=32, depth=3, rng=rng)
    return networks.dcgan_pair((28, 28, 1), LATENT, width=8, penalised=objective == "wgan-gp", rng=rng)


def minigan_side(kind, objective):
    """(how to take a step with real batches, a function of both trained networks and of samples from noise)."""
    trainer = GANTrainer(*[network.astype("float64") for network in pair(kind, objective)], LATENT, objective,
                         streams=backend.Streams(0))

    def step(batches):
        stats = trainer.step(batches)
        return float(stats["d_loss"]), float(stats["g_loss"])
    return step, lambda noise: (trainer.generator, trainer.discriminator, trainer.sample(noise))


def torch_side(kind, objective):
    """The same, in PyTorch."""
    import torch
    from benchmarks import reference

    G, D = (reference.converted(network).double() for network in pair(kind, objective))
    streams, ones = backend.Streams(0), (1,) * (3 if kind == "dcgan" else 1)
    average = reference.Average(G)
    trainer = reference.Trainer(G, D, objective,
                                noise=lambda n: torch.from_numpy(streams["noise"].standard_normal((n, LATENT))),
                                mixing=lambda n: torch.from_numpy(streams["penalty"].random((n, *ones))))

    def step(batches):
        losses = trainer.step([reference.channels_first(batch).double() for batch in batches])
        average.update()
        return [float(loss) for loss in losses]

    def trained(noise):
        average.settle(LATENT, "float64")
        return G, D, average.network(torch.from_numpy(noise))
    return step, trained


def deviations(kind, objective, steps=STEPS):
    """The largest relative differences between both sides: of the losses, step by step; of the weights, array by
    array, as a part of the array's largest; of 64 samples likewise."""
    from benchmarks import reference

    batches = data.Batches(data.load(DATA[kind]).x, BATCH, backend.Streams(0)["data"])
    (our_step, ours), (their_step, theirs) = minigan_side(kind, objective), torch_side(kind, objective)
    losses = []  # (ours, theirs)
    for _ in range(steps):
        real = [batches.next() for _ in range(RECIPES[objective].n_critic)]
        losses += zip(our_step(real), their_step(real))
    noise = backend.Streams(0)["preview"].standard_normal((64, LATENT))
    *our_networks, our_samples = ours(noise)
    *their_networks, their_samples = theirs(noise)
    weights = [both for our, their in zip(our_networks, their_networks)
               for both in zip(reference.converted(our).parameters(), their.parameters())]
    return {"losses": largest(losses),
            "weights": largest((our.detach().numpy(), their.detach().numpy()) for our, their in weights),
            "samples": largest([(reference.channels_first(our_samples).numpy(), their_samples.numpy())])}


def largest(pairs):
    return float(np.max([difference(ours, theirs) for ours, theirs in pairs]))  # unlike `max`, it lets no NaN go by


def difference(ours, theirs):
    """The largest difference as a part of the largest number; 0 where both are nothing but zeros."""
    gap = np.max(np.abs(ours - theirs))
    return gap / np.max(np.abs(theirs)) if gap else 0.0


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--json", metavar="FILE")
    given = p.parse_args()
    pairing.needs_torch()
    rows = []
    for kind in DATA:
        for objective in RECIPES:
            rows.append({"networks": kind, "objective": objective, **deviations(kind, objective)})
            print("{networks:6} {objective:8} losses {losses:.1e}, weights {weights:.1e}, samples {samples:.1e}".format(
                **rows[-1]), flush=True)
    if given.json:
        pairing.keep(given.json, {"steps": STEPS, "rows": rows})


if __name__ == "__main__":
    main()
