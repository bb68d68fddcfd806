"""Who judges the samples of a run: the metrics that suit its kind of data, and what they compare
with.

A judge holds the real samples, prepared once, and lists its measures for given samples. `evaluate`
computes them all, with error bars; training with `--evaluate-every` computes the quick ones.
"""

from typing import NamedTuple

import numpy as np

from minigan import backend, data, metrics
from minigan.metrics import classifiers
from minigan.metrics.channels import ByChannel
from minigan.metrics.general import GeneralFeatures
from minigan.metrics.likeness import COARSEST, WINDOW

DIGITS = tuple("0123456789"), (28, 28, 1)  # the classes of a network that knows MNIST, its pictures


class Measure(NamedTuple):
    names: dict            # {name: "↓" or "↑"}, of each number of metric(*arrays), what is better
    metric: object
    arrays: tuple
    quick: bool = False

    def numbers(self, value):
        """{name: number} from what the metric returned, a number or a named tuple of numbers."""
        return dict(zip(self.names, value if isinstance(value, tuple) else (value,)))


class ImageJudge:
    """Images (N, H, W, C), compared with real ones by the features and class probabilities of
    `network`: anything with `name`, which becomes part of the measures' names, `classes`, and
    `judge(images) -> (features, probabilities)`; without probabilities the measures of classes are
    left out."""

    def __init__(self, real, network):
        self.real, self.network, self.name = real, network, network.name
        self.features, probabilities = network.judge(real)
        self.shares = None if probabilities is None else metrics.class_shares(probabilities)

    def features_of(self, images):
        return self.network.judge(images)[0]

    def _distances(self, *both):
        return [Measure({f"FD-{self.name}": "↓"}, metrics.frechet_distance, both, quick=True),
                Measure({f"KD-{self.name}": "↓"}, metrics.kernel_distance, both)]

    def measures(self, images):
        features, probabilities = self.network.judge(images)
        both = self.features, features
        distances = self._distances(*both)
        if self.shares is None:  # its classes are not these pictures'
            return [*distances, *_among_neighbours(*both)]
        return [
            *distances,
            Measure({f"IS-{self.name}": "↑"}, lambda p: metrics.inception_score(p, splits=1).mean,
                    (probabilities,)),
            Measure({f"MS-{self.name}": "↑"}, lambda p: metrics.mode_score(p, self.shares),
                    (probabilities,)),
            Measure({"class_divergence": "↓"}, lambda p: metrics.class_divergence(p, self.shares),
                    (probabilities,), quick=True),
            *_among_neighbours(*both)]


class StackedJudge(ImageJudge):
    """Stacked MNIST by `network`, a `ByChannel`. Its classes, the triples of digits, are the modes
    that are counted. Their shares are compared with equal ones, and not with those among the real
    samples: a few thousand of these miss modes too."""

    def features_of(self, images):
        return self.network.features(images)  # of 128,000 pictures the probabilities take 1 GB

    def measures(self, images):
        features, probabilities = self.network.judge(images)
        modes = Measure({"modes": "↑", "reverse_kl": "↓"},
                        lambda c: metrics.class_coverage(c, len(self.network.classes)),
                        (probabilities.argmax(axis=1),), quick=True)
        both = self.features, features
        return [modes, *self._distances(*both), *_among_neighbours(*both)]


class PointJudge:
    """Points (N, d), compared with real ones as they are, and with the mixture they are from, where
    that is known."""

    name = "points"

    def __init__(self, real, mixture=None):
        self.real, self.features, self.mixture = real, real, mixture

    def features_of(self, points):
        return points

    def measures(self, points):
        known = Measure({"modes": "↑", "high_quality": "↑", "reverse_kl": "↓"},
                        lambda p: metrics.mode_coverage(p, *self.mixture), (points,), quick=True)
        return [*([known] if self.mixture else []),
                Measure({"FD-points": "↓"}, metrics.frechet_distance, (self.real, points),
                        quick=True),
                *_among_neighbours(self.real, points)]


class PixelJudge:
    """Pictures that no network is known for, made from others or from captions: they are measured
    beside what should have become of each, and not as a set."""

    name, features = "pixels", None

    def __init__(self, real):
        self.real = real

    def measures(self, images):
        return []


def beside_targets(drawn, source):
    """The measures of pictures beside what should have become of each. L1 is of pictures in
    [−1, 1], and L1-input what doing nothing has. The sliced Wasserstein distances, finest level
    first, are times 1,000 as the paper prints them. SSIM and they need sides of 11 and 16. Of
    `shapes` it is also told whether the attributes are right."""
    x, y = drawn.x, drawn.targets
    found, sides = [], x.shape[1:3]
    if drawn.inputs is not None and drawn.inputs.shape == y.shape:
        found.append(Measure({"L1-input": ""}, _mean, (_l1(drawn.inputs, y),)))
    found += [Measure({"L1": "↓"}, _mean, (_l1(x, y),), True),
              psnr("PSNR", y, x)]
    if min(sides) >= len(WINDOW):
        found.append(Measure({"SSIM": "↑"}, _mean, (metrics.ssim(y, x),), True))
    if data.without_prefix(source)[1].split(":")[0] == "shapes":
        found += attributes_beside_targets(
            drawn, "texture" if source == "shapes:texture" else None)
    levels = [sides[0] // 2 ** i for i in range(8) if min(sides) // 2 ** i >= COARSEST]
    if levels:
        found.append(Measure({f"SWD-{side}": "↓" for side in levels}, _distances_of_patches,
                             (y, x)))
    return found


def psnr(name, a, b, better="↑"):
    """The `Measure` of the mean peak signal-to-noise ratio of pictures a beside b."""
    return Measure({name: better}, _mean, (metrics.psnr(a, b),), True)


def attributes_beside_targets(drawn, of_each=None):
    """[a `Measure` of how many pictures of `shapes` show what they should, attribute by attribute
    and in all of them, by the exact judge; and the latter for the combinations of kind and colour
    that training sees, for those that it never does, and for each value of the attribute
    `of_each`]."""
    judge = metrics.ShapesJudge()
    codes = judge.codes(drawn.targets)
    seen, asked = judge.attributes(drawn.x), data.figures.attributes_of(codes)
    right = np.stack([seen[name] == asked[name] for name in asked], 1).astype(np.float64)
    right = np.concatenate([right, right.all(1, keepdims=True)], 1)
    unseen = data.figures.is_unseen(codes)
    parts = {"right_all_seen": right[~unseen, -1], "right_all_unseen": right[unseen, -1]}
    if of_each is not None:
        parts |= {f"right_all_{name}": right[asked[of_each] == i, -1]
                  for i, name in enumerate(data.figures.ATTRIBUTES[of_each])}
    return [Measure({f"right_{name}": "↑" for name in (*asked, "all")},
                    lambda right: tuple(right.mean(0).tolist()), (right,), True),
            *[Measure({name: "↑"}, _mean, (part,), True) for name, part in parts.items()
              if len(part) > 1]]


def _l1(x, y):
    return np.abs(x - y).mean(axis=(1, 2, 3))


def _mean(values):
    return float(np.mean(values, dtype=np.float64))


def _distances_of_patches(real, fake):
    """Of the same patches each time, so that halves differ by their pictures only."""
    found = metrics.sliced_wasserstein(real, fake, backend.Streams()["patches"])
    return tuple(1000.0 * level for level in found.levels)


def _among_neighbours(real, fake):
    return [Measure({"precision": "↑", "recall": "↑"}, metrics.precision_recall, (real, fake)),
            Measure({"density": "↑", "coverage": "↑"}, metrics.density_coverage, (real, fake))]


def training_distance(training, real, fake):
    """The `Measure` of how much nearer samples are to the training data than new real data are, all
    given as features: median distance to the nearest, divided by that of `real`. 1 is like new
    data, 0 is copied."""
    distances = [metrics.nearest(training, x).distance for x in (fake, real)]
    return Measure({"training_distance": ""}, lambda f, r: float(np.median(f) / np.median(r)),
                   tuple(distances))


def judge_for(source, real, network=None, pairs=False):
    """The judge for the data set `source`, from real samples as they are in it. `network`, for
    images, is the name or the file of a classifier, by default the shipped one for the data; of
    `pairs`, none is needed. ValueError, saying what to do, if none is known, and if one is given
    for points."""
    if not data.is_image(real.shape[1:]):
        if network is not None:
            raise ValueError(f"--classifier {network}: expected images, {source} has samples "
                             f"{real.shape[1:]}")
        return PointJudge(real, data.MIXTURES.get(source))
    network = network or classifiers.for_data(source)
    if network is None and pairs:
        return PixelJudge(real)
    if network is None:
        raise ValueError(f"no feature network is known for {source}: --classifier fashion takes "
                         "that of Fashion-MNIST for general features, and python -m "
                         "minigan.classifier trains one on labelled images, whose file "
                         "--classifier names")
    judge = classifiers.load(network)
    if source == "stacked-mnist" and (judge.classes, judge.sample_shape) == DIGITS:
        return StackedJudge(real, ByChannel(judge))
    if network in classifiers.SHIPPED and judge.sample_shape != real.shape[1:]:
        judge = GeneralFeatures(judge)
    return ImageJudge(real, judge)


def doubts(judge):
    """Why figures of this judge may mean little, a line each."""
    found, network = [], getattr(judge, "network", None)
    if isinstance(network, GeneralFeatures):
        found.append(f"{network.name}: features of a network for other pictures, compare "
                     "these figures only with each other")
    elif isinstance(network, classifiers.Classifier):
        chance = 1 / len(network.classes)
        if network.accuracy < chance + 0.1 * (1 - chance):
            found.append(f"{network.name} has {network.accuracy:.1%} of its test images right, and "
                         f"guessing has {chance:.1%}: figures that rest on it mean little")
    return found


def class_agreement(judge, samples, labels, classes):
    """[the `Measure` of how many samples the judge's network calls by the class they were asked to
    be]; none where the network has other classes than these, or there is no network."""
    known = tuple(judge.network.classes) if hasattr(judge, "network") else ()
    if not known or known != tuple(classes):
        return []
    right = (judge.network.judge(samples)[1].argmax(1) == labels).astype(np.float64)
    return [Measure({"class_agreement": "↑"}, lambda right: float(right.mean()), (right,), True)]


def code_agreement(judge, samples, codes):
    """[the `Measure` of how far the samples' categorical codes and the classes that the judge's
    network sees in them are the same division, whatever code stands for which class]; none where
    there is no network of the data's classes."""
    if getattr(judge, "shares", None) is None:
        return []
    seen = judge.network.judge(samples)[1].argmax(1)
    return [Measure({"code_agreement": "↑"}, metrics.code_agreement, (codes, seen), True)]


def of_reconstructions(model, drawn, judge):
    """[the `Measure` of how near what the model reconstructs of the judge's real pictures is to
    them]; none of points. It serves as a model's `measures`."""
    if judge.real.ndim != 4:
        return []
    real = data.to_unit(judge.real)
    return [psnr("PSNR-reconstructed", real, model.reconstructed(real))]


def quick(judge, samples, more=()):
    """{name: number} of the quick measures, and of those among `more`; what has no finite value is
    left out."""
    found = {}
    for measure in [*judge.measures(samples), *more]:
        if measure.quick:
            found |= measure.numbers(measure.metric(*measure.arrays))
    return {name: number for name, number in found.items() if np.isfinite(number)}


def some(x, n, stream):
    """n of the samples, all if there are fewer, drawn without replacement from `stream`."""
    return x[np.sort(stream.permutation(len(x))[:n])]
