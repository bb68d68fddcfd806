"""Real beside generated samples, as they were evaluated."""

import numpy as np

from minigan import data, metrics
from minigan.model import Drawn
from minigan.pictures import examples, plots

MOST = 60  # of pictures made from others


def save_translations(path, drawn):
    """What pictures were made from, what was made, and what should have been, side by side."""
    examples.save_examples(
        path, Drawn(*[array if array is None else array[:MOST] for array in drawn]), 6)


def save_evaluation(path, judge, samples, training, training_features):
    """Of points (N, 2), where the real and the generated ones are. Of images both kinds, their
    classes, and what in the training data is nearest to the most real-looking generated ones.

    judge: of `metrics.judges`, with the real samples; training: the training data, and their
        features for the judge.
    """
    if not data.is_image(samples.shape[1:]):
        plots.save_densities(path, judge.real, samples)
        return
    features, probabilities = judge.network.judge(samples)
    best = np.argsort(-metrics.realism(judge.features, features), kind="stable")[:24]
    nearest = metrics.nearest(training_features, features[best]).index
    shares = None if probabilities is None else metrics.class_shares(probabilities)
    plots.save_judged_images(path, data.to_unit(judge.real[:64]), samples, judge.network.classes,
                             judge.shares, shares, samples[best], data.to_unit(training[nearest]))
