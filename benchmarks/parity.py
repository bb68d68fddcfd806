"""python -m benchmarks.parity: how far a run on a GPU is from the same run on the CPU.

Every objective, on both pairs of networks: twenty steps from the same weights, data and noise, and
the greatest difference of a loss, as a part of max(|loss|, 1). The tests demand 1e-3 in float32 and
1e-8 in float64.
"""

import argparse
import sys

import numpy as np

from benchmarks import pairing
from minigan import backend, data, networks
from minigan.trainer import RECIPES, GANTrainer

SEED, STEPS, BATCH, IMAGE = 0, 20, 16, (28, 28, 1)


def losses(pair, objective, dtype):
    """(STEPS, 2) losses of a run on the backend in use."""
    streams = backend.Streams(SEED)
    shape = (256, 2) if pair == "mlp" else (256, *IMAGE)
    x = streams["reals"].uniform(-1, 1, shape).astype(np.float32)
    if pair == "mlp":
        both = networks.mlp_pair(rng=streams["init"])
    else:
        both = networks.dcgan_pair(IMAGE, width=16, norm="layer", rng=streams["init"])
    trainer = GANTrainer(*[network.astype(dtype) for network in both], objective=objective,
                         streams=streams)
    batches, rows = data.Batches(x, BATCH, streams["data"]), []
    for _ in range(STEPS):
        stats = trainer.step([batches.next() for _ in range(trainer.batches_per_step)])
        rows.append([float(backend.to_numpy(stats[name])) for name in ("d_loss", "g_loss")])
    return np.array(rows)


def difference(name, pair, objective, dtype):
    with backend.use_backend("numpy"):
        expected = losses(pair, objective, dtype)
    with backend.use_backend(name):
        found = losses(pair, objective, dtype)
    return float(np.max(abs(found - expected) / np.maximum(abs(expected), 1.0)))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--backend", default="cupy", choices=backend.names())
    p.add_argument("--json", metavar="FILE")
    options = p.parse_args()
    try:
        with backend.use_backend(options.backend) as used:
            card = pairing.card(used.xp)
    except backend.BackendError as error:
        p.error(str(error))
    rows = []
    print(f"{'networks':10} {'objective':10} {'float32':>9} {'float64':>9}")
    for pair in ("mlp", "dcgan"):
        for objective in RECIPES:
            found = {dtype: difference(options.backend, pair, objective, dtype)
                     for dtype in ("float32", "float64")}
            rows.append({"networks": pair, "objective": objective, **found})
            print(f"{pair:10} {objective:10} {found['float32']:9.1e} {found['float64']:9.1e}",
                  flush=True)
    if options.json:
        pairing.keep(options.json, {"backend": options.backend, "device": card, "steps": STEPS,
                                    "rows": rows})


if __name__ == "__main__":
    sys.exit(main())
