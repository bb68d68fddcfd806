"""Pictures without a network: PSNR and SSIM of pairs, the sliced Wasserstein distance of two sets.

Pictures are (N, H, W, C): uint8 from 0 to 255, or floats from −1 to 1; both are taken to [0, 1].
Floats that were in [0, 1] before cannot be told from pale pictures, and the figures would be wrong.
"""

from typing import NamedTuple

import numpy as np

from minigan.metrics import inputs

BLOCK = 256  # pictures at a time
PROJECTIONS = 1 << 25  # at a time: 128 MiB for each set
FLAT = 1e-6  # a standard deviation below it is rounding

WINDOW = np.exp(-np.arange(-5, 6) ** 2 / (2 * 1.5 ** 2))
WINDOW /= WINDOW.sum()
BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16

COARSEST, SIDE, PATCHES, DIRECTIONS = 16, 7, 128, 512


def psnr(a, b):
    """10 log₁₀(1/MSE) in dB, the peak signal-to-noise ratio of each pair of pictures → (N,).

    a, b (N, H, W, C); MSE is the mean of (a − b)² over the pixels and channels of a pair. Infinite
    where the two are equal, 0 for black beside white.

    The PSNR of a set is the mean of its pairs'; torchmetrics without `dim` takes that of the mean
    MSE, which is lower. A sharp picture moved by a pixel loses to a blurred one. Figures of
    super-resolution are often of the luminance alone, without a border: compare like with like.
    """
    a, b = inputs.pictures("psnr", 1, a=a, b=b)
    mse = [np.mean((x - y) ** 2, axis=(1, 2, 3)) for x, y in _blocks(a, b)]
    with np.errstate(divide="ignore"):
        return 10 * np.log10(1 / np.concatenate(mse))


def ssim(a, b):
    """The mean of (2μν + C₁)(2ρ + C₂) / ((μ² + ν² + C₁)(σ² + τ² + C₂)) over windows and channels,
    the structural similarity of each pair of pictures → (N,). 1 for equal ones, else less, and
    below 0 for a picture and its negative.

    a, b (N, H, W, C) with sides of at least 11. μ and ν are the means of a and b in a window, σ²
    and τ² their variances, ρ their covariance, each weighted by a Gaussian of standard deviation
    1.5 on 11 × 11 pixels that sums to 1. The window lies wherever it fits. C₁ = 0.01² and
    C₂ = 0.03² for values in [0, 1].

    It sees one scale only, and each channel by itself.
    Source: Wang et al. 2004, IEEE Transactions on Image Processing 13(4), 600; for grey pictures.
    """
    a, b = inputs.pictures("ssim", len(WINDOW), a=a, b=b)
    return np.concatenate([_similarity(x, y).mean(axis=(1, 2, 3)) for x, y in _blocks(a, b)])


def _similarity(a, b, C1=0.01 ** 2, C2=0.03 ** 2):
    mu, nu = _filtered(a, WINDOW), _filtered(b, WINDOW)
    squares = mu * mu + nu * nu
    variances = _filtered(a * a + b * b, WINDOW) - squares  # σ² + τ²
    rho = _filtered(a * b, WINDOW) - mu * nu
    return (2 * mu * nu + C1) * (2 * rho + C2) / ((squares + C1) * (variances + C2))


class SlicedWasserstein(NamedTuple):
    levels: tuple  # of each level of the pyramid, the finest first
    mean: float    # of the levels


def sliced_wasserstein(real, fake, rng):
    """The mean of |p − q| over the sorted projections p and q of patches of two sets of pictures,
    at each level of their Laplacian pyramids → `SlicedWasserstein`. 0 is best. The paper prints
    1,000 times as much.

    real, fake (N, H, W, C), equally many, with sides of at least 16; rng: the NumPy generator that
    draws 128 patches of 7 × 7 pixels from each picture of a level, and 512 directions. First the
    patches of each set are normalised: each channel has mean 0 and standard deviation 1. Sides are
    halved down to 16: 32 × 32 makes two levels, 28 × 28 one, which is the pictures themselves.

    Fine levels are texture and sharpness, the last one is large forms. It misses how patches and
    levels fit together, and what normalising takes away: a set's brightness, contrast and cast. Two
    sets of one source are not at 0, and small ones are farther apart than large ones: compare equal
    N, and quote what other real pictures get.
    Source: Karras et al. 2018, arXiv:1710.10196, §5, where N is 16,384, and the authors' code. It
    draws the places of the patches for each set apart; here the i-th pictures have the same places,
    so that equal sets in equal order are at 0.
    """
    real, fake = inputs.pictures("sliced_wasserstein", COARSEST, real=real, fake=fake)
    levels = tuple(_distance(*pair, rng) for pair in zip(_levels(real), _levels(fake)))
    return SlicedWasserstein(levels, float(np.mean(levels)))


def laplacian_pyramid(x):
    """x − up(down(x)), the same of down(x), and so on, and at last the smallest picture: what each
    halving of the pictures x (N, H, W, C) loses, and what is left.

    Source: Burt & Adelson 1983, IEEE Transactions on Communications 31(4), 532; borders mirrored.
    """
    levels = []
    while min(x.shape[1:3]) // 2 >= COARSEST:
        smaller = _blurred(x)[:, ::2, ::2]
        levels.append(x - up(smaller, x.shape))
        x = smaller
    return [*levels, x]


def up(x, shape):
    """Pictures of the given shape, about twice as large: zeros between the pixels, then a blur."""
    larger = np.zeros(shape)
    larger[:, ::2, ::2] = 4 * x  # three of four pixels are 0
    return _blurred(larger)


def _blurred(x):
    return _filtered(np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect"), BINOMIAL)


def _filtered(x, weights):
    """Σₖₗ wₖ wₗ x[:, i + k, j + l], wherever all of the weights fit."""
    for _ in "rows", "columns":
        fits = x.shape[1] - len(weights) + 1
        x = sum(w * x[:, k:k + fits] for k, w in enumerate(weights)).swapaxes(1, 2)
    return x


def _blocks(*sets):
    for begin in range(0, len(sets[0]), BLOCK):
        blocks = [x[begin:begin + BLOCK] for x in sets]
        yield [x / 255 if x.dtype == np.uint8 else x.astype(np.float64) / 2 + 0.5 for x in blocks]


def _levels(x):
    """The levels of all pictures; in float32, for this is what takes memory."""
    pyramids = [[level.astype(np.float32) for level in laplacian_pyramid(block)]
                for [block] in _blocks(x)]
    return [np.concatenate(blocks) for blocks in zip(*pyramids)]


def _distance(real, fake, rng):
    n, rows, columns, channels = real.shape
    places = [rng.integers(side - SIDE + 1, size=(n, PATCHES)) for side in (rows, columns)]
    directions = rng.standard_normal((DIRECTIONS, SIDE * SIDE * channels)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for level in (real, fake):
        level -= _moment(level, places, 1)
        deviation = np.sqrt(_moment(level, places, 2))
        level /= np.where(deviation > FLAT, deviation, 1)
    total, step = 0.0, max(1, PROJECTIONS // (n * PATCHES))
    for begin in range(0, DIRECTIONS, step):
        p, q = (_projections(x, places, directions[begin:begin + step]) for x in (real, fake))
        p -= q
        total += np.sum(np.abs(p, out=p), dtype=np.float64)
    return float(total / (DIRECTIONS * n * PATCHES))


def _moment(level, places, power):
    """The mean of each channel's powers over all patches."""
    sums = sum((patches ** power).sum(axis=0, dtype=np.float64)
               for _, patches in _patches(level, places))
    return (sums.reshape(-1, level.shape[3]).mean(axis=0) / places[0].size).astype(np.float32)


def _projections(level, places, directions):
    """The patches' projections, sorted, on each direction."""
    found = np.empty((len(directions), places[0].size), np.float32)
    for which, patches in _patches(level, places):
        np.matmul(directions, patches.T, out=found[:, which])
    found.sort(axis=1)
    return found


def _patches(level, places):
    """Yields (which patches, these (M, 49 C)) of a block of pictures."""
    n, rows, columns, channels = level.shape
    shape = SIDE, SIDE * channels
    windows = np.lib.stride_tricks.sliding_window_view(
        level.reshape(n, rows, columns * channels), shape, (1, 2))[:, :, ::channels]
    for begin in range(0, n, BLOCK):
        i = np.arange(begin, min(begin + BLOCK, n))
        patches = windows[i[:, None], places[0][i], places[1][i]]
        yield slice(begin * PATCHES, (i[-1] + 1) * PATCHES), patches.reshape(-1, np.prod(shape))
