"""The small network that samples are judged with, and python -m minigan.classifier, which trains it.

A LeNet in minigan's own layers. Its features and class probabilities are what `metrics` compares; the networks of
MNIST and Fashion-MNIST come with the package. A figure depends on the network it was computed with, so it is quoted
with the network's name.
"""

import os
import re
import shlex
import sys
import time

import numpy as np

from minigan import backend, data, files, nn, ops, optim, parallel
from minigan.commandline import USER_ERRORS, Parser, fail, non_negative, one_of, positive
from minigan.files import DataError
from minigan.published import PUBLISHED
from minigan.tensor import Tensor, constant, no_grad

PROG = "minigan.classifier"
EPOCHS, BATCH, RATE = 15, 100, 2e-3
SHIFTS = 28  # into how many shifts the shorter side is divided: 1 pixel of MNIST's, none of the 8 of `digits`

_WEIGHTS = os.path.join(os.path.dirname(__file__), "weights")
SHIPPED = {name: os.path.join(_WEIGHTS, f"lenet-{name}.npz") for name in ("mnist", "fashion")}
JUDGES = {"mnist": "mnist", "fashion": "fashion", "fashion-mini": "fashion"}  # data set → shipped network


# The network

class LeNet(nn.Module):
    """Images (N, H, W, C) → logits (N, K): two convolutions that halve the image, three dense layers.

    The plan of LeCun et al. 1998, doi 10.1109/5.726791, §II.B, with ReLU for the sigmoids and strides for the pooling:
    as good here, in half the time. `body` ends in the features (N, 84), `head` makes the logits of them. ValueError
    for images it was not meant for: sides from 8 to 128 pixels, grey or RGB, at least two classes.
    """

    def __init__(self, sample_shape, classes, rng):
        super().__init__()
        if len(sample_shape) != 3 or not all(8 <= side <= 128 for side in sample_shape[:2]) or (
                sample_shape[2] not in (1, 3)) or classes < 2:
            raise ValueError("LeNet: expected images (H, W, C) with sides from 8 to 128 pixels, C = 1 or 3, and at "
                             f"least 2 classes, got samples {tuple(sample_shape)} and {classes} classes")
        H, W, C = sample_shape
        flat = -(-H // 4) * -(-W // 4) * 16  # each convolution leaves half of the pixels, rounded up
        self.body = nn.Sequential(
            nn.Conv2d(C, 16, 5, stride=2, padding=2, rng=rng), nn.ReLU(),
            nn.Conv2d(16, 16, 5, stride=2, padding=2, rng=rng), nn.ReLU(),
            nn.Flatten(), nn.Dense(flat, 64, rng=rng), nn.ReLU(), nn.Dense(64, 84, rng=rng), nn.ReLU())
        self.head = nn.Dense(84, classes, rng=rng)

    def forward(self, x):
        return self.head(self.body(x))


def log_softmax(logits):
    """ln p, p = softmax(z): zᵢ − ln Σⱼ exp zⱼ along the rows of the logits (N, K).

    The greatest logit is subtracted first: the powers are then at most 1, their sum at least 1, and nothing overflows.
    It cancels from the result, so that nothing is lost by taking it for a constant when differentiating.
    """
    shifted = logits - logits.data.max(axis=1, keepdims=True)
    return shifted - ops.log(ops.sum(ops.exp(shifted), axis=1, keepdims=True))


def cross_entropy(logits, labels):
    """−(1/N) Σₙ ln p(labelₙ), a scalar: how surprised the classifier is by the truth.

    logits (N, K), a tensor; labels (N,), integers from 0 to K − 1 on the host. ValueError if they are anything else.
    """
    N, K = logits.shape
    if labels.shape != (N,) or labels.dtype.kind not in "iu" or N == 0:
        raise ValueError(f"cross_entropy: expected an integer label for each row of the logits {logits.shape}, got "
                         f"{labels.dtype} {labels.shape}")
    if not 0 <= labels.min() <= labels.max() < K:
        raise ValueError(f"cross_entropy: expected labels from 0 to {K - 1} for the logits {logits.shape}, got labels "
                         f"from {labels.min()} to {labels.max()}")
    truth = backend.asarray(np.eye(K, dtype=logits.dtype)[labels])
    return -ops.sum(log_softmax(logits) * truth) * (1.0 / N)


# In use

class Classifier:
    """A trained network and what is known of it.

    name: what figures that rest on it are quoted with, such as "LeNet-mnist"
    classes, sample_shape: the names of its K classes, and the images (H, W, C) that it takes
    accuracy: its share of right answers on the test set, which it was not trained on
    made: the command that made it

    Images are (N, H, W, C), float32 in [−1, 1] or uint8 pixels, of any backend; what is computed of them, where the
    network is, comes back to the host. ValueError if they are anything else.
    """

    def __init__(self, network, name, classes, sample_shape, accuracy, made):
        self.network, self.name, self.classes, self.sample_shape = network, name, classes, sample_shape
        self.accuracy, self.made = accuracy, made

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
                logits = self.network.head(features).data.astype(np.float64)  # for rows that sum to one
                found.append((features.numpy(), ops.exp(log_softmax(constant(logits))).numpy()))
        features, probabilities = map(np.concatenate, zip(*found))
        return features, probabilities

    def _in_range(self, images):
        """The images as float32 in [−1, 1]; refused outside of it, where the network would answer too, but wrongly."""
        images = data.to_unit(images)
        low, high = float(images.min()), float(images.max())
        if not -1.001 <= low <= high <= 1.001:  # a resized image may be off by a rounding error; NaN is caught too
            raise ValueError(f"{self.name}: expected float32 images in [-1, 1] or uint8 pixels, got float32 from "
                             f"{low:.4g} to {high:.4g}")
        return images

    def share_right(self, images, labels):
        """The share of images whose most probable class is their label."""
        return float(np.mean(self.probabilities(images).argmax(axis=1) == labels))


def for_data(source):
    """The shipped network that judges samples of this data set: a name for `load`, or None."""
    return JUDGES.get(source)


# Files

DESCRIPTION = {"name": ("U", 0), "classes": ("U", 1), "sample_shape": ("i", 1), "accuracy": ("f", 0), "made": ("U", 0)}


def save(path, classifier):
    """Write everything to an .npz: the weights by their names, and what DESCRIPTION lists. Equal ones, equal bytes."""
    with open(path, "wb") as file:
        np.savez(file, **{key: np.array(getattr(classifier, key)) for key in DESCRIPTION},
                 **classifier.network.state_dict())


def load(name_or_path):
    """The `Classifier` that ships under this name ("mnist", "fashion"), or that `save` wrote to this path.

    `DataError`, naming the file, if there is none or it is damaged or foreign.
    """
    path = SHIPPED.get(name_or_path, name_or_path)
    if not os.path.isfile(path):
        raise DataError(f"there is no classifier '{path}': expected {' or '.join(SHIPPED)}, or the path of a file that "
                        f"python -m {PROG} wrote")
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


# Training

def fit(network, x, labels, epochs, streams):
    """Train on images (N, H, W, C), uint8 or in [−1, 1], and labels (N,); yields the mean loss of each epoch.

    Adam, its rate falling evenly to 0; every image is moved a little each time it is seen. The order of the images
    comes from the stream "data", their moves from "shift".
    """
    optimizer = optim.Adam(network.parameters(), RATE, betas=(0.9, 0.999))
    seen = 0
    for _ in range(epochs):
        order, total = streams["data"].permutation(len(x)), 0.0
        for begin in range(0, len(x), BATCH):
            rows = order[begin:begin + BATCH]
            loss = cross_entropy(network(Tensor(data.to_unit(moved(x[rows], streams["shift"])))), labels[rows])
            optimizer.lr = RATE * (1.0 - seen / (epochs * len(x)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(rows)
            total += loss.data * len(rows)
        yield float(total) / len(x)


def moved(images, rng):
    """Each image (N, H, W, C) moved by up to min(H, W) // SHIFTS pixels along each side, its border repeated: where a
    thing stands does not tell what it is."""
    N, H, W, _ = images.shape
    most = min(H, W) // SHIFTS
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    top, left = rng.integers(2 * most + 1, size=(2, N, 1))
    rows, columns = top + np.arange(H), left + np.arange(W)
    return padded[np.arange(N)[:, None, None], rows[:, :, None], columns[:, None, :]]


def train_and_test(source, image_size, streams):
    """Two labelled `Dataset`s: the published splits, or a tenth that the stream "split" holds out for the test.

    `DataError` if the source has no labels or too few images.
    """
    whole = data.load(source, image_size)
    if whole.labels is None or whole.x.ndim != 4 or len(whole.x) < 10:
        raise DataError(f"{source}: expected at least 10 images with labels (a folder's sub-folders are classes), got "
                        f"samples {whole.x.shape}, {'without' if whole.labels is None else 'with'} labels")
    if source in PUBLISHED:
        return whole, data.load(source, image_size, split="test")
    order, held = streams["split"].permutation(len(whole.x)), len(whole.x) // 10
    return [whole._replace(x=whole.x[rows], labels=whole.labels[rows]) for rows in (order[held:], order[:held])]


# The command line

def parser():
    p = Parser(prog=PROG, description="Train the network that samples are judged with. The last epoch's weights are "
               "kept: no choice is made by the test set.")
    p.add_argument("--data", metavar="NAME|PATH", required=True,
                   help="mnist, fashion, another data set with labels, a folder with a sub-folder per class, or an "
                   ".npz with `images` and `labels`; without a test set of its own a tenth is held out")
    p.add_argument("--epochs", type=positive, default=EPOCHS, help=f"passes over the data (default: {EPOCHS})")
    p.add_argument("--seed", type=non_negative, default=0, help="of all random numbers (default: 0)")
    p.add_argument("--image-size", type=positive, help="side of the pictures of a folder (default: 64)")
    p.add_argument("--out", metavar="NPZ", help="the file to write (default: lenet-NAME.npz)")
    p.add_argument("--backend", type=one_of(backend.names()), default="numpy", metavar="NAME",
                   help=" or ".join(backend.names()))
    return p


def main(arguments=None):
    options = parser().parse_args(arguments)
    try:
        return run(options)
    except USER_ERRORS as error:
        return fail(PROG, error, 2)
    except KeyboardInterrupt:
        return fail(PROG, "interrupted", 130)


def run(options):
    began = time.perf_counter()
    title = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(os.path.abspath(options.data)).removesuffix(".npz"))
    out = options.out or f"lenet-{title}.npz"
    folder = os.path.dirname(os.path.abspath(out))
    if os.path.isdir(out) or not (os.path.isdir(folder) and os.access(folder, os.W_OK)):  # now, not after the training
        raise ValueError(f"--out {out}: expected the name of a file in a folder that can be written to")
    backend.use_backend(options.backend)
    if backend.current().xp is np:
        parallel.use_all_cores()
    streams = backend.Streams(options.seed)
    training, test = train_and_test(options.data, options.image_size, streams)
    network = LeNet(training.x.shape[1:], len(training.classes), streams["init"])
    made = files.printable(f"python -m {PROG} --data {shlex.quote(options.data)} --epochs {options.epochs} --seed "
                           f"{options.seed}" + (f" --image-size {options.image_size}" if options.image_size else ""))
    classifier = Classifier(network, f"LeNet-{title}", training.classes, training.x.shape[1:], 0.0, made)
    for epoch, loss in enumerate(fit(network, training.x, training.labels, options.epochs, streams), 1):
        classifier.accuracy = classifier.share_right(test.x, test.labels)
        print(f"epoch {epoch} of {options.epochs}: loss {loss:.4f}, {classifier.accuracy:.2%} of {len(test.x)} test "
              f"images right, {time.perf_counter() - began:.0f} s", flush=True)
    save(out, classifier)
    print(f"{out}: {classifier.name}, {sum(p.size for p in network.parameters()):,} weights")
    return 0


if __name__ == "__main__":
    sys.exit(main())
