"""Stacked MNIST: three digits as red, green and blue. Its 1,000 triples are modes to be counted."""

import numpy as np

from minigan.data.published import read_published

# As many as PacGAN's authors train with. They take 301 MB once, for pictures stay uint8 until their
# batch is due. The test split has as many pictures as a generator is asked for when it is judged.
COUNTS = {"train": 128_000, "test": 25_600}
CLASSES = tuple(f"{triple:03d}" for triple in range(1000))


def read_stacked(split, rng):
    """Pictures (n, 28, 28, 3) uint8, labels (n,) int64 and class names; n is COUNTS[split].

    Each channel is a digit of MNIST's own `split`, drawn from the generator `rng` independently of
    the others and with replacement. The label of the digits r, g, b is 100·r + 10·g + b. Source:
    Metz et al. 2017, arXiv:1611.02163; Srivastava et al. 2017 (VEEGAN), arXiv:1705.07761;
    Lin et al. 2018 (PacGAN), arXiv:1712.04086. PacGAN's authors draw from both of MNIST's
    splits; here they stay apart, so that the test split shows no digit that was trained on.
    """
    digits, labels, _ = read_published("mnist", split)
    chosen = rng.integers(len(digits), size=(COUNTS[split], 3))
    x = np.empty((len(chosen), *digits.shape[1:3], 3), np.uint8)
    for channel in range(3):
        x[..., channel] = digits[chosen[:, channel], :, :, 0]
    return x, labels[chosen] @ np.array([100, 10, 1]), CLASSES
