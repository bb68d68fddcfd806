"""Passes over memory: what is done to every number or to every row of a large array, in blocks and on all cores.

Elementwise work costs what it reads and writes. So each pass does as much as it can to a block while the block is in
the cache next to the core. Everything here works on raw arrays; on a GPU the whole array is one block.
"""

from functools import cache
from math import gcd

import numpy as np

from minigan import kernels, parallel
from minigan.backend import xp_of

LONG = 8192  # numbers in a row at most


def elementwise(function, *arrays):
    """The array that function(xp, out, *arrays) fills, for arrays of one shape."""
    first = arrays[0]
    xp, out = xp_of(first), xp_of(first).empty(first.shape, first.dtype)
    if first.size <= parallel.SMALL:
        function(xp, out, *arrays)
        return out
    flat_out, flat = out.reshape(-1), [array.reshape(-1) for array in arrays]
    block = lambda begin, end: function(xp, flat_out[begin:end], *[array[begin:end] for array in flat])
    parallel.over_batch(flat_out, block, each=1, most=parallel.NEAR)
    return out


def leaky(xp, out, x, slope):
    """x where x > 0, slope · x elsewhere; `out` may be x."""
    if kernel := kernels.LEAKY.on(out):
        kernel(x, slope, out)
    elif slope == 0.0:
        xp.maximum(x, 0.0, out=out)
    elif slope != 1.0 or out is not x:
        larger = xp.maximum if slope <= 1.0 else xp.minimum  # many times faster than a `where`
        larger(x, slope * x, out=out)


def leak(xp, out, g, kink, slope):
    """g where `kink` is positive, slope · g elsewhere; `out` may be g."""
    if kernel := kernels.LEAK.on(out):
        kernel(g, kink, slope, out)
    elif slope == 1.0:
        out[...] = g
    else:
        factor = (kink > 0).astype(g.dtype)
        if slope:
            factor *= 1.0 - slope
            factor += slope
        xp.multiply(g, factor, out=out)


# Rows, and vectors (C,) with a number per channel

def long_rows(array):
    """An array (…, C) as rows. On a CPU several are glued into one where that divides evenly: an operation of rows with
    a vector is a loop per row, which should be some thousand numbers long."""
    C, glue = array.shape[-1], 1
    if isinstance(array, np.ndarray) and C <= LONG:
        glue = gcd(array.size // C, 1 << (LONG // C).bit_length() - 1)
    return array.reshape(-1, glue * C)


def repeated(vector, rows):
    """A vector per channel as long as the rows."""
    times = rows.shape[1] // vector.size
    return vector if times == 1 else xp_of(vector).broadcast_to(vector, (times, vector.size)).reshape(-1)


def folded(vectors, C):
    """The adjoint of `repeated`: the C-long parts of vectors (…, length of rows) summed, (…, C)."""
    return vectors if vectors.shape[-1] == C else vectors.reshape(*vectors.shape[:-1], -1, C).sum(-2)


def add_row(out, rows, row, slope=1.0):
    """Into the rows `out`: leaky(rows + row, slope)."""
    xp, row = xp_of(out), repeated(row, rows)
    if kernel := kernels.ADD_ROW.on(out):
        return kernel(rows, row, slope, out)

    def block(begin, end):
        y = xp.add(rows[begin:end], row, out=out[begin:end])
        leaky(xp, y, y, slope)
    parallel.over_batch(out, block, out.shape[1], parallel.NEAR)


def combine(out, terms, row, slope=1.0):
    """Into the rows `out`: leaky(Σ rows · factors + row, slope) for one or two terms (rows, factors). `out` may be the
    rows of the first."""
    xp, row = xp_of(out), repeated(row, out)
    (first, factors), *more = [(rows, repeated(vector, rows)) for rows, vector in terms]
    if not more and (kernel := kernels.COMBINE.on(out)):
        return kernel(first, factors, row, slope, out)

    def block(begin, end):
        y = xp.multiply(first[begin:end], factors, out=out[begin:end])
        for rows, other_factors in more:
            term = parallel.scratch("term", y.shape, out)
            y += xp.multiply(rows[begin:end], other_factors, out=term)
        y += row
        leaky(xp, y, y, slope)
    parallel.over_batch(out, block, out.shape[1], parallel.NEAR)


def sum_rows(rows):
    """Σ over rows."""
    return parallel.sum_over_batch(rows, lambda begin, end: total(rows[begin:end]), rows.shape[1])


def total(rows):
    """Σ over rows as a product with ones, which the matrix library sums fastest."""
    return _ones(xp_of(rows), len(rows), rows.dtype) @ rows


_ones = cache(lambda xp, n, dtype: xp.ones(n, dtype))
