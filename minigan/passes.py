"""Passes over memory: what is done to every number or to every row of a large array, in blocks and on all cores.

Elementwise work costs what it reads and writes. So each pass does as much as it can to a block while the block is in
the cache next to the core. Rows are the last axis of an array, one number per channel. Everything here works on raw
arrays; on a GPU the whole array is one block.
"""

import numpy as np

from minigan import parallel
from minigan.backend import xp_of
from minigan.parallel import NEAR


def elementwise(function, *arrays):
    """The array that function(xp, out, *arrays) fills, for arrays of one shape."""
    first = arrays[0]
    xp, out = xp_of(first), xp_of(first).empty(first.shape, first.dtype)
    if first.size <= parallel.SMALL:
        function(xp, out, *arrays)
        return out
    flat_out, flat = out.reshape(-1), [array.reshape(-1) for array in arrays]
    block = lambda begin, end: function(xp, flat_out[begin:end], *[array[begin:end] for array in flat])
    parallel.over_batch(flat_out, block, each=1, most=NEAR)
    return out


def leaky(xp, out, x, slope):
    """x where x > 0, slope · x elsewhere; `out` may be x."""
    if slope == 0.0:
        xp.maximum(x, 0.0, out=out)
    elif slope != 1.0 or out is not x:
        larger = xp.maximum if slope <= 1.0 else xp.minimum  # many times faster than a `where`
        larger(x, slope * x, out=out)


def leak(xp, out, g, kink, slope):
    """g where `kink` is positive, slope · g elsewhere; `out` may be g."""
    if slope == 1.0:
        out[...] = g
        return
    factor = (kink > 0).astype(g.dtype)
    if slope:
        factor *= 1.0 - slope
        factor += slope
    xp.multiply(g, factor, out=out)


def add_row(out, rows, row, slope=1.0):
    """Into the rows `out`: leaky(rows + row, slope), row (C,)."""
    xp, row = xp_of(out), spread(row, len(out))

    def block(begin, end):
        y = xp.add(rows[begin:end], row[:end - begin], out=out[begin:end])
        leaky(xp, y, y, slope)
    parallel.over_batch(out, block, out.shape[1], NEAR)


def combine(out, terms, row, slope=1.0):
    """Into the rows `out`: leaky(Σ rows · factors + row, slope) for terms (rows (n, C), factors (C,)). `out` may be the
    rows of the first term."""
    xp, (n, C) = xp_of(out), out.shape
    row, ((first, factors), *more) = spread(row, n), [(rows, spread(factors, n)) for rows, factors in terms]

    def block(begin, end):
        y = xp.multiply(first[begin:end], factors[:end - begin], out=out[begin:end])
        for rows, other_factors in more:
            term = parallel.scratch("term", y.shape, out)
            y += xp.multiply(rows[begin:end], other_factors[:end - begin], out=term)
        y += row[:end - begin]
        leaky(xp, y, y, slope)
    parallel.over_batch(out, block, C, NEAR)


def spread(vector, n):
    """(C,) repeated for the rows of a block of an array of n rows: on a CPU an operation with equal shapes runs over
    the whole block in one loop instead of one per row, twice as fast. On a GPU (1, C)."""
    if isinstance(vector, np.ndarray):
        return np.ascontiguousarray(np.broadcast_to(vector, (min(n, NEAR // vector.size + 1), vector.size)))
    return vector.reshape(1, -1)


def sum_rows(rows):
    """Σ over rows (n, C) → (C,)."""
    return parallel.sum_over_batch(rows, lambda begin, end: total(rows[begin:end]), rows.shape[1])


def total(rows):
    """Σ over rows as a product with ones, which the matrix library sums fastest."""
    return xp_of(rows).ones(len(rows), rows.dtype) @ rows
