"""python -m benchmarks.metrics: seconds and peak memory of each metric for 10,000 samples with 128 features each.

Each runs once in a process of its own. The peak is the operating system's (VmHWM, on Linux), Python and NumPy included.
"""

import argparse
import json
import sys
import time

import numpy as np

from benchmarks import pairing
from minigan import latent, metrics


def features(n, d):
    """Real and fake ones: normal, and not quite the same."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d)), 0.9 * rng.standard_normal((n, d)) + 0.1


def probabilities(n, classes):
    return np.random.default_rng(0).dirichlet(np.full(classes, 0.1), size=n)


def half_sampling(n, d):
    return metrics.half_sampling(metrics.precision_recall, *features(n, d), rng=np.random.default_rng(0))


def perceptual_path_length(n, d):
    weights = np.random.default_rng(0).standard_normal((d, d))
    return latent.perceptual_path_length(lambda z: np.tanh(z @ weights), lambda x: x @ weights, d,
                                         np.random.default_rng(0), n)


METRICS = {
    "frechet_distance": lambda n, d: metrics.frechet_distance(*features(n, d)),
    "kernel_distance": lambda n, d: metrics.kernel_distance(*features(n, d)),
    "inception_score": lambda n, d: metrics.inception_score(probabilities(n, d)),
    "mode_score": lambda n, d: metrics.mode_score(probabilities(n, d), np.full(d, 1 / d)),
    "class_divergence": lambda n, d: metrics.class_divergence(probabilities(n, d), np.full(d, 1 / d)),
    "precision_recall": lambda n, d: metrics.precision_recall(*features(n, d)),
    "density_coverage": lambda n, d: metrics.density_coverage(*features(n, d)),
    "realism": lambda n, d: metrics.realism(*features(n, d)),
    "nearest": lambda n, d: metrics.nearest(*features(n, d)),
    "mode_coverage": lambda n, d: metrics.mode_coverage(features(n, d)[0], 3 * np.eye(25, d), 1.0),
    "perceptual_path_length": perceptual_path_length,
    "half_sampling(precision_recall)": half_sampling,
}


def peak():
    """MiB resident at most so far; on Linux."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def worker(name, n, d):
    began = time.perf_counter()
    METRICS[name](n, d)
    print(json.dumps({"seconds": time.perf_counter() - began, "mib": peak()}))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--samples", type=int, default=10_000)
    p.add_argument("--features", type=int, default=128)
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--worker", choices=METRICS, help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.worker:
        return worker(options.worker, options.samples, options.features)
    arguments = ["--samples", str(options.samples), "--features", str(options.features)]
    rows = []
    for name in METRICS:
        [measured] = pairing.alternate("benchmarks.metrics", [name], 1, arguments)[name]
        rows.append({"metric": name, **measured})
        print(f"{name:34} {measured['seconds']:7.2f} s {measured['mib']:7.0f} MiB", flush=True)
    if options.json:
        pairing.keep(options.json, {"samples": options.samples, "features": options.features, "rows": rows})


if __name__ == "__main__":
    sys.exit(main())
