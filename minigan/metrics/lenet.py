"""The small network that samples are judged with, a LeNet in minigan's own layers, and how it is
trained."""

import numpy as np

from minigan import data, nn, optim
from minigan.data import DataError
from minigan.objectives import cross_entropy
from minigan.tensor import Tensor

EPOCHS, BATCH, RATE = 15, 100, 2e-3
SHIFTS = 28  # to the shorter side: an image of MNIST moves by 1 pixel, one of `digits` by none


class LeNet(nn.Module):
    """Images (N, H, W, C) → logits (N, K): two convolutions that halve the image, three dense
    layers.

    The plan of LeCun et al. 1998, doi 10.1109/5.726791, §II.B, with ReLU for the sigmoids and
    strides for the pooling: as good here, in half the time. `body` ends in the features (N, 84),
    `head` makes the logits of them. ValueError for images it was not meant for: sides from 8 to 128
    pixels, grey or RGB, at least two classes.
    """

    def __init__(self, sample_shape, classes, rng):
        super().__init__()
        if len(sample_shape) != 3 or not all(8 <= side <= 128 for side in sample_shape[:2]) or (
                sample_shape[2] not in (1, 3)) or classes < 2:
            raise ValueError("LeNet: expected images (H, W, C) with sides from 8 to 128 pixels, "
                             f"C = 1 or 3, and at least 2 classes, got samples "
                             f"{tuple(sample_shape)} and {classes} classes")
        H, W, C = sample_shape
        # Each convolution leaves half of the pixels, rounded up.
        flat = -(-H // 4) * -(-W // 4) * 16
        self.body = nn.Sequential(
            nn.Conv2d(C, 16, 5, stride=2, padding=2, rng=rng), nn.ReLU(),
            nn.Conv2d(16, 16, 5, stride=2, padding=2, rng=rng), nn.ReLU(),
            nn.Flatten(),
            nn.Dense(flat, 64, rng=rng), nn.ReLU(), nn.Dense(64, 84, rng=rng), nn.ReLU())
        self.head = nn.Dense(84, classes, rng=rng)

    def forward(self, x):
        return self.head(self.body(x))


def fit(network, x, labels, epochs, streams):
    """Train on images (N, H, W, C), uint8 or in [−1, 1], and labels (N,); yields the mean loss of
    each epoch.

    Adam, its rate falling evenly to 0; every image is moved a little each time it is seen. The
    order of the images comes from the stream "data", their moves from "shift".
    """
    optimizer = optim.Adam(network.parameters(), RATE, betas=(0.9, 0.999))
    seen = 0
    for _ in range(epochs):
        order, total = streams["data"].permutation(len(x)), 0.0
        for begin in range(0, len(x), BATCH):
            rows = order[begin:begin + BATCH]
            loss = cross_entropy(network(Tensor(data.to_unit(moved(x[rows], streams["shift"])))),
                                 labels[rows])
            optimizer.lr = RATE * (1.0 - seen / (epochs * len(x)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(rows)
            total += loss.data * len(rows)
        yield float(total) / len(x)


def moved(images, rng):
    """Each image (N, H, W, C) moved by up to min(H, W) // SHIFTS pixels along each side, its border
    repeated: where a thing stands does not tell what it is."""
    N, H, W, _ = images.shape
    most = min(H, W) // SHIFTS
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    top, left = rng.integers(2 * most + 1, size=(2, N, 1))
    rows, columns = top + np.arange(H), left + np.arange(W)
    return padded[np.arange(N)[:, None, None], rows[:, :, None], columns[:, None, :]]


def train_and_test(source, image_size, streams):
    """Two labelled `Dataset`s: the published splits, or a tenth that the stream "split" holds out
    for the test.

    `DataError` if the source has no labels or too few images.
    """
    whole = data.load(source, image_size)
    if whole.labels is None or whole.x.ndim != 4 or len(whole.x) < 10:
        raise DataError(f"{source}: expected at least 10 images with labels (a folder's "
                        f"sub-folders are classes), got samples {whole.x.shape}, "
                        f"{'without' if whole.labels is None else 'with'} labels")
    if source in data.WITH_TEST:
        return whole, data.load(source, image_size, split="test")
    order, held = streams["split"].permutation(len(whole.x)), len(whole.x) // 10
    return [whole._replace(x=whole.x[rows], labels=whole.labels[rows])
            for rows in (order[held:], order[:held])]
