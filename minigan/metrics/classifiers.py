"""Trained feature networks: those that ship with the package, and files of others.

Their features and class probabilities are what the metrics compare; the networks of MNIST,
Fashion-MNIST and the bundled digits come with the package. A figure depends on the network it was
computed with, so it is quoted with the network's name.
"""

import os

import numpy as np

from minigan import backend, data, ops
from minigan.data import DataError, disk, files
from minigan.metrics.lenet import LeNet
from minigan.tensor import Tensor, constant, no_grad

_WEIGHTS = os.path.join(os.path.dirname(__file__), "weights")
SHIPPED = {name: os.path.join(_WEIGHTS, f"lenet-{name}.npz")
           for name in ("mnist", "fashion", "digits")}
# Data set → shipped network.
JUDGES = {"mnist": "mnist", "fashion": "fashion", "fashion-mini": "fashion", "digits": "digits",
          "stacked-mnist": "mnist"}


class Classifier:
    """A trained network and what is known of it.

    name: what figures that rest on it are quoted with, such as "LeNet-mnist"
    classes, sample_shape: the names of its K classes, and the images (H, W, C) that it takes
    accuracy: its share of right answers on the test set, which it was not trained on
    made: the command that made it

    Images are (N, H, W, C), float32 in [−1, 1] or uint8 pixels, of any backend; what is computed of
    them, where the network is, comes back to the host. ValueError if they are anything else.
    """

    def __init__(self, network, name, classes, sample_shape, accuracy, made):
        self.network, self.name, self.classes = network, name, classes
        self.sample_shape, self.accuracy, self.made = sample_shape, accuracy, made

    def features(self, images):
        """(N, 84) float32: what the network's last layer looks at, none below 0."""
        return self.judge(images)[0]

    def probabilities(self, images):
        """p(class | image), (N, K) float64; rows sum to one."""
        return self.judge(images)[1]

    def judge(self, images, block=256):
        """(features, probabilities), both in one pass, `block` images at a time."""
        shape = getattr(images, "shape", ())
        if not backend.is_array(images) or shape[1:] != self.sample_shape or shape[0] == 0:
            expected = ", ".join(map(str, self.sample_shape))
            raise ValueError(f"{self.name}: expected an array of images (N, {expected}), got "
                             f"{type(images).__name__} {shape}")
        found = []
        with no_grad(), backend.use_backend(backend.backend_of(self.network.head.weight.data).name):
            for begin in range(0, len(images), block):
                features = self.network.body(Tensor(self._in_range(images[begin:begin + block])))
                # For rows that sum to one.
                logits = self.network.head(features).data.astype(np.float64)
                found.append((features.numpy(), ops.softmax(constant(logits)).numpy()))
        features, probabilities = map(np.concatenate, zip(*found))
        return features, probabilities

    def _in_range(self, images):
        """The images as float32 in [−1, 1]; refused outside of it, where the network would answer
        too, but wrongly."""
        images = data.to_unit(images)
        low, high = float(images.min()), float(images.max())
        # A resized image may be off by a rounding error; NaN is caught too.
        if not -1.001 <= low <= high <= 1.001:
            raise ValueError(f"{self.name}: expected float32 images in [-1, 1] or uint8 pixels, "
                             f"got float32 from {low:.4g} to {high:.4g}")
        return images

    def share_right(self, images, labels):
        """The share of images whose most probable class is their label."""
        return float(np.mean(self.probabilities(images).argmax(axis=1) == labels))


def for_data(source):
    """The shipped network that judges samples of this data set: a name for `load`, or None."""
    return JUDGES.get(source)


DESCRIPTION = {"name": ("U", 0), "classes": ("U", 1), "sample_shape": ("i", 1),
               "accuracy": ("f", 0), "made": ("U", 0)}


def save(path, classifier):
    """Write everything to an .npz: the weights by their names, and what DESCRIPTION lists. Equal
    ones, equal bytes."""
    with disk.output(path) as file:
        np.savez(file, **{key: np.array(getattr(classifier, key)) for key in DESCRIPTION},
                 **classifier.network.state_dict())


def load(name_or_path):
    """The `Classifier` that ships under this name (of SHIPPED), or that `save` wrote to
    this path.

    `DataError`, naming the file, if there is none or it is damaged or foreign.
    """
    path = SHIPPED.get(name_or_path, name_or_path)
    if not os.path.isfile(path):
        raise DataError(f"there is no classifier '{path}': expected {' or '.join(SHIPPED)}, or the "
                        f"path of a file that python -m minigan.classifier wrote")
    try:
        return _from_arrays(files.read_arrays(path))
    except ValueError as error:
        raise DataError(f"{path} does not hold a classifier ({error})") from None


def _from_arrays(arrays):
    for key, (kind, ndim) in DESCRIPTION.items():
        if key not in arrays or (arrays[key].dtype.kind, arrays[key].ndim) != (kind, ndim):
            raise ValueError(f"its {key} is missing or of another type")
    name, classes, sample_shape, accuracy, made = [arrays.pop(key).tolist() for key in DESCRIPTION]
    if not "".join((name, made, *classes)).isprintable() or not 0 <= accuracy <= 1:
        raise ValueError("its names or its accuracy cannot be right")
    for key, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError(f"{key} is {array.dtype} {array.shape}, expected finite float32")
    network = LeNet(sample_shape, len(classes), backend.Streams()["init"])
    network.load_state_dict(arrays)
    return Classifier(network, name, tuple(classes), tuple(sample_shape), accuracy, made)
