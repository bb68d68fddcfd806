"""Who judges the samples of a run: the measures of `metrics` that suit its kind of data, and what they compare with.

A judge holds the real samples, prepared once, and lists its measures for given samples. `evaluate` computes them all,
with error bars, and draws; training with `--evaluate-every` computes the quick ones.
"""

from typing import NamedTuple

import numpy as np

from minigan import classifier, data, metrics, models, plots


class Measure(NamedTuple):
    names: dict            # {name: "↓" the smaller the better, "↑" the larger}, of each number of metric(*arrays)
    metric: object
    arrays: tuple
    quick: bool = False

    def numbers(self, value):
        """{name: number} from what the metric returned, a number or a named tuple of numbers."""
        return dict(zip(self.names, value if isinstance(value, tuple) else (value,)))


class ImageJudge:
    """Images (N, H, W, C), compared with real ones by the features and class probabilities of `network`: anything with
    `name`, which becomes part of the measures' names, `classes`, and `judge(images) -> (features, probabilities)`.
    `training` images, if given, are not the real ones: samples should not be nearer to them than real ones are."""

    def __init__(self, real, network, training=None):
        self.real, self.network = real, network
        self.features, probabilities = network.judge(real)
        self.shares = metrics.class_shares(probabilities)
        self.training = None if training is None else network.judge(training)[0]

    def measures(self, images):
        features, probabilities = self.network.judge(images)
        both, net = (self.features, features), self.network.name
        return [
            Measure({f"FD-{net}": "↓"}, metrics.frechet_distance, both, quick=True),
            Measure({f"KD-{net}": "↓"}, metrics.kernel_distance, both),
            Measure({f"IS-{net}": "↑"}, lambda p: metrics.inception_score(p, splits=1).mean, (probabilities,)),
            Measure({f"MS-{net}": "↑"}, lambda p: metrics.mode_score(p, self.shares), (probabilities,)),
            Measure({"class_divergence": "↓"}, lambda p: metrics.class_divergence(p, self.shares), (probabilities,),
                    quick=True),
            *_measures_on_neighbours(*both, self.training)]

    def draw(self, path, images, training):
        """Real and fake ones, their classes, and what in the training data is nearest to the most real-looking."""
        features, probabilities = self.network.judge(images)
        best = np.argsort(-metrics.realism(self.features, features), kind="stable")[:24]
        nearest = metrics.nearest(self.network.judge(training)[0], features[best]).index
        plots.save_judged_images(path, self.real, images, self.network.classes, self.shares,
                                 metrics.class_shares(probabilities), images[best], data.to_unit(training[nearest]))


class PointJudge:
    """Points (N, d), compared with real ones as they are, and with the mixture they are from, where that is known."""

    def __init__(self, real, mixture=None, training=None):
        self.real, self.mixture, self.training = real, mixture, training

    def measures(self, points):
        known = Measure({"modes": "↑", "high_quality": "↑", "reverse_kl": "↓"},
                        lambda p: metrics.mode_coverage(p, *self.mixture), (points,), quick=True)
        return [*([known] if self.mixture else []),
                Measure({"FD-points": "↓"}, metrics.frechet_distance, (self.real, points), quick=True),
                *_measures_on_neighbours(self.real, points, self.training)]

    def draw(self, path, points, training):
        plots.save_densities(path, self.real, points)


def _measures_on_neighbours(real, fake, training):
    yield Measure({"precision": "↑", "recall": "↑"}, metrics.precision_recall, (real, fake))
    yield Measure({"density": "↑", "coverage": "↑"}, metrics.density_coverage, (real, fake))
    if training is not None:
        distances = [metrics.nearest(training, x).distance for x in (fake, real)]
        # 1 for new data, 0 for copies: how much nearer to the training data than real data that were not trained on.
        yield Measure({"training_distance": ""}, _ratio_of_medians, distances)


def _ratio_of_medians(of_fake, of_real):
    return float(np.median(of_fake) / np.median(of_real))


def judge_for(options, real, network=None, training=None):
    """The judge of a run with these options, from real samples as they are in the data. `network` is a name or a file
    of a classifier. ValueError, saying what to do, for pictures that none is known for."""
    real, training = data.to_unit(real), training if training is None else data.to_unit(training)
    if not models.is_image(real.shape[1:]):
        return PointJudge(real, data.MIXTURES.get(options["data"]), training)
    network = network or classifier.for_data(options["data"])
    if network is None:
        raise ValueError(f"no feature network is known for {options['data']}: python -m minigan.classifier trains one "
                         "on labelled pictures, and --classifier names its file")
    return ImageJudge(real, classifier.load(network), training)


def quick(judge, samples):
    """{name: number} of the quick measures; what has no finite value is left out."""
    found = {}
    for measure in judge.measures(samples):
        if measure.quick:
            found |= measure.numbers(measure.metric(*measure.arrays))
    return {name: number for name, number in found.items() if np.isfinite(number)}


def some(x, n, stream):
    """n of the samples, all if there are fewer, drawn without replacement from `stream`."""
    return x[np.sort(stream.permutation(len(x))[:n])]
