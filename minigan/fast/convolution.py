"""The three operations of convolution, filtered where that pays, by windows elsewhere."""

from weakref import WeakKeyDictionary, ref

import numpy as np

from minigan import conv
from minigan.fast import filtering
from minigan.fast.launch import serves
from minigan.fast.windows import Windows


_ways = WeakKeyDictionary()  # of a kernel: the way that was last made for it, if it still lives


def _way(like, w, w_shape, image, size, stride, padding):
    """How to convolve. A filtered way has transformed its kernel: while a graph holds it, whoever
    convolves with the same numbers shares it, as the real and the fake batch of a step do."""
    geometry = w_shape, image, size, stride, padding
    tile = filtering.tile(len(like), *geometry) if type(like) is np.ndarray else 0
    if not tile:
        return Windows(*geometry)
    if w is None:
        return filtering.Filter(tile, *geometry)
    known, way = _ways.get(w), None
    if known and known[0] == (tile, geometry):
        way = known[1]()
    if way is None or not np.array_equal(way.w, w.data):
        way = filtering.Filter(tile, *geometry)
        way.w = w.data.copy()
        _ways[w] = (tile, geometry), ref(way)
    return way


def conv2d(x, w, /, stride=1, padding=0):
    stride, padding, size = conv.conv2d_geometry(x, w, stride, padding)
    if not serves(x.data):
        return None
    way = _way(x.data, w, w.shape, x.shape[1:3], size, stride, padding)

    def first(g, needed):
        if all(needed):
            return way.x_and_w(x.data, g, w.data)
        return (way.x_from(g, w.data) if needed[0] else None,
                way.w_from(x.data, g) if needed[1] else None)
    return way.y_from(x.data, w.data), conv.conv2d_maps(x, w, stride, padding), first


def conv_transpose2d(y, w, /, stride=1, padding=0, output_size=None):
    stride, padding, image = conv.conv_transpose2d_geometry(y, w, stride, padding, output_size)
    if not serves(y.data):
        return None
    way = _way(y.data, w, w.shape, image, y.shape[1:3], stride, padding)

    def first(g, needed):
        if all(needed):
            return way.y_and_w(g, y.data, w.data)
        return (way.y_from(g, w.data) if needed[0] else None,
                way.w_from(g, y.data) if needed[1] else None)
    return way.x_from(y.data, w.data), conv.conv_transpose2d_maps(y, w, stride, padding), first


def conv2d_weight(x, y, /, kernel_size, stride=1, padding=0):
    stride, padding, kernel_size = conv.conv2d_weight_geometry(x, y, kernel_size, stride, padding)
    if not serves(x.data):
        return None
    way = _way(x.data, None, (*kernel_size, x.shape[3], y.shape[3]), x.shape[1:3], y.shape[1:3],
               stride, padding)
    return way.w_from(x.data, y.data), conv.conv2d_weight_maps(x, y, stride, padding)
