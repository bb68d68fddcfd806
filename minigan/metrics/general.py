"""General features: a network that was trained on other pictures, where there is none for these."""

import numpy as np

from minigan import backend, data
from minigan.metrics.inputs import host


class GeneralFeatures:
    """The features of a `Classifier` for images of any size, grey or RGB: they are made grey and
    resized to what it takes. `name` says so: "general-LeNet-fashion". Its classes mean nothing for
    such images, so there are no probabilities."""

    classes = ()

    def __init__(self, classifier):
        self.classifier, self.name = classifier, f"general-{classifier.name}"

    def judge(self, images, block=256):
        """(features, None) of images (N, H, W, C), float32 in [−1, 1] or uint8 pixels."""
        size = self.classifier.sample_shape[:2]
        found = [self.classifier.features(backend.asarray(resized(host(images[i:i + block]), size)))
                 for i in range(0, len(images), block)]
        return np.concatenate(found), None


def resized(images, size):
    """Images (N, H, W, 1 or 3) → grey ones (N, *size, 1), float32 in [−1, 1]: each new pixel is the
    mean of the area that it covers. Grey is ITU-R BT.601's."""
    x = data.to_unit(images)
    grey = x @ np.array([0.299, 0.587, 0.114], np.float32) if x.shape[3] == 3 else x[..., 0]
    rows, columns = (areas(old, new) for old, new in zip(grey.shape[1:], size))
    return np.clip(rows @ grey @ columns.T, -1, 1)[..., None]


def areas(old, new):
    """(new, old): what share of each new cell lies on each old one; rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    low = np.maximum(edges[:-1, None], np.arange(old))
    high = np.minimum(edges[1:, None], np.arange(1, old + 1))
    return (np.clip(high - low, 0, None) * (new / old)).astype(np.float32)
