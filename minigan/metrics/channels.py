"""A network of grey pictures, for the channels of RGB ones."""

import numpy as np


class ByChannel:
    """A `Classifier` of grey pictures (H, W, 1) that judges each channel of RGB ones by itself.
    `name` says so: "stacked-LeNet-mnist". A picture's class is the triple of its channels' classes,
    r·K² + g·K + b."""

    def __init__(self, classifier):
        self.classifier, self.name = classifier, f"stacked-{classifier.name}"
        names = classifier.classes
        self.classes = tuple(r + g + b for r in names for g in names for b in names)

    def features(self, images):
        """(N, 3·84) float32: the channels' features, side by side."""
        return np.concatenate([self.classifier.features(x) for x in _channels(images)], axis=1)

    def judge(self, images):
        """(features, probabilities) of images (N, H, W, 3). A triple's probability (N, K³) is the
        product of its classes' probabilities."""
        features, (r, g, b) = zip(*[self.classifier.judge(x) for x in _channels(images)])
        triples = r[:, :, None, None] * g[:, None, :, None] * b[:, None, None, :]
        return np.concatenate(features, axis=1), triples.reshape(len(images), -1)


def _channels(images):
    return [images[..., channel:channel + 1] for channel in range(3)]
