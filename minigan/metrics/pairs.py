"""All pairs of samples, a block of them at a time: their products and their distances."""

import numpy as np

NEAR = 1e-4  # of ‖xᵢ‖² + ‖yⱼ‖²
BLOCK = 1 << 22  # numbers in a block: 32 MiB, where all pairs of 10,000 samples would take 800 MB


def products(x, y):
    """xᵢ·yⱼ for all rows of x (N, d) and y (M, d), in blocks of about BLOCK.

    Yields (which rows of x, (rows, M)).
    """
    step = max(1, BLOCK // len(y))
    for begin in range(0, len(x), step):
        rows = slice(begin, min(begin + step, len(x)))
        yield rows, x[rows] @ y.T


def squared_distances(x, y):
    """‖xᵢ − yⱼ‖² = ‖xᵢ‖² − 2 xᵢ·yⱼ + ‖yⱼ‖² for all rows of x and y, in blocks like `products`.

    Of neighbours far from the origin the sum would leave no digits: pairs nearer than NEAR are
    computed again, by their differences.
    """
    x_norms, y_norms = np.sum(x * x, axis=1), np.sum(y * y, axis=1)
    for rows, squared in products(x, y):
        squared *= -2
        squared += x_norms[rows, None]
        squared += y_norms
        _exactly(squared, x[rows], y, squared < NEAR * (x_norms[rows, None] + y_norms))
        yield rows, squared


def _exactly(squared, x, y, near):
    pairs = np.flatnonzero(near)
    step = max(1, BLOCK // max(1, x.shape[1]))
    for begin in range(0, len(pairs), step):
        i, j = np.divmod(pairs[begin:begin + step], len(y))
        squared[i, j] = np.sum((x[i] - y[j]) ** 2, axis=1)
