"""Optimizers, the moving average and the flag: one sweep over all weights.

The parameters of an optimizer are laid one after another in a single array, of which each of them
becomes a view, and so are its slots. A step is then one kernel over everything there is to learn.
"""

from functools import cache
from math import sqrt
from weakref import WeakKeyDictionary

import numpy as np

from minigan import optim
from minigan.backend import xp_of
from minigan.fast import kernels
from minigan.fast.elementwise import contiguous, empty
from minigan.fast.launch import run, serves, sums
from minigan.fast.text import Kernel


MOST_JOINED = 200  # arrays: a CUDA kernel takes 4 KiB of arguments, in some versions more


class Flat:
    """Arrays as views of a single one."""

    def __init__(self):
        self.whole, self.views = None, []

    def of(self, arrays, put):
        """The single array. Arrays that are not its views, new ones or ones of a copied network,
        are laid in; put(i, view) is called for each."""
        whole = self.whole
        if len(arrays) != len(self.views) or any(
                [array is not view or view.base is not whole
                 for array, view in zip(arrays, self.views)]):
            whole = self.whole = xp_of(arrays[0]).concatenate([a.reshape(-1) for a in arrays])
            pieces = zip(arrays, spans(arrays))
            self.views = [whole[begin:end].reshape(a.shape) for a, (begin, end) in pieces]
            for i, view in enumerate(self.views):
                put(i, view)
        return whole


LARGE = 1 << 18  # numbers: from there on laying gradients together costs more than it saves

_gradients = WeakKeyDictionary()  # {optimizer: those of its last step}
_flats = WeakKeyDictionary()  # {first parameter: its Flat, optimizer: {slot: its Flat}}


def spans(arrays):
    """[(begin, end)] of arrays that lie one after another."""
    ends = np.cumsum([array.size for array in arrays]).tolist()
    return list(zip([0, *ends], ends))


def weights_of(params):
    """The parameters' values as one array."""
    def put(i, view):
        params[i]._data = view  # the same values elsewhere: no graph becomes stale
    return _flats.setdefault(params[0], Flat()).of([p.data for p in params], put)


def slots_of(optimizer, dtype):
    """The slots of state, each as one array."""
    flats = _flats.setdefault(optimizer, {slot: Flat() for slot in optimizer.slots})
    return [flats[slot].of([a.astype(dtype, copy=False) for a in optimizer.state[slot]],
                           optimizer.state[slot].__setitem__) for slot in optimizer.slots]


def gradients_of(params):
    """[(gradient, begin, end)] of the parameters that have one, (begin, end) being their place
    among all. Many small ones, and those on a GPU, are laid together first."""
    arrays = [p.data if p.grad is None else p.grad.data for p in params]
    found = [(contiguous(array).reshape(-1), *span)
             for p, array, span in zip(params, arrays, spans(arrays)) if p.grad is not None]
    runs = []  # of neighbours
    for array, begin, end in found:
        if runs and runs[-1][-1][2] == begin:
            runs[-1].append((array, begin, end))
        else:
            runs.append([(array, begin, end)])
    if type(arrays[0]) is np.ndarray and sum([array.size for array, *_ in found]) > LARGE:
        return found
    return [(joined([array for array, *_ in run]), run[0][1], run[-1][2]) for run in runs]


def joined(arrays):
    """Vectors one after another: on a GPU in one launch, where CuPy makes one for each."""
    xp = xp_of(arrays[0])
    if xp is np or len(arrays) > MOST_JOINED:
        return xp.concatenate(arrays)
    places = spans(arrays)
    given = [value for array, (begin, _) in zip(arrays, places) for value in (array, begin)]
    return run(_joining(len(arrays)), (places[-1][1],), *given, empty(arrays[0], places[-1][1]))


@cache
def _joining(count):
    inputs = ", ".join(f"*x{k}, index begin{k}" for k in range(count))
    choices = "".join(f"i >= begin{k} ? x{k}[i - begin{k}] : " for k in range(count - 1, 0, -1))
    return Kernel(f"joined_{count}", "i", inputs, "y[i]", f"y = {choices}x0[i];")


def sweep(kernel, numbers):
    """A function in place of `Optimizer.update_each`. numbers(optimizer, lr) are the kernel's."""
    def step(optimizer, lr):
        params = optimizer.params
        _gradients.pop(optimizer, None)
        if not serves(params[0].data) or len({p.dtype for p in params}) > 1:
            return optimizer.update_each(lr)
        weights, gradients = weights_of(params), gradients_of(params)
        slots = slots_of(optimizer, weights.dtype)
        for gradient, begin, end in gradients:
            run(kernel, (end - begin,), gradient, *numbers(optimizer, lr),
                *[array[begin:end] for array in (weights, *slots)])
        for p in params:
            p.version += 1
        _gradients[optimizer] = [gradient for gradient, *_ in gradients]
    return step


def _adam(optimizer, lr):
    (beta1, beta2), t = optimizer.betas, optimizer.steps
    return (lr / (1.0 - beta1 ** t), beta1, beta2, 1.0 / sqrt(1.0 - beta2 ** t), optimizer.eps)


SWEEPS = {
    optim.SGD: sweep(kernels.SGD, lambda o, lr: (lr, float(o.momentum))),
    optim.RMSprop: sweep(kernels.RMSPROP, lambda o, lr: (lr, float(o.alpha), float(o.eps))),
    optim.Adam: sweep(kernels.ADAM, _adam)}


def watched(optimizer, loss, first_bad, step):
    """See `optim.watched`."""
    gradients = _gradients.pop(optimizer, None)  # of the step just taken
    if not gradients or not serves(gradients[0]):
        return optim.watched_plainly(optimizer, loss, first_bad, step)
    squares = [square_sums(g) for g in gradients]
    squares = squares[0] if len(squares) == 1 else xp_of(squares[0]).concatenate(squares)
    norm, new = empty(loss.data), empty(first_bad)
    run(kernels.FLAG, (1,), loss.data, squares, squares.size, step, first_bad, norm, new)
    return norm, new


def square_sums(g):
    """Parts of Σ g², in float64."""
    parts = min(-(-g.size // 4096), 256)
    return sums(kernels.SQUARES, (parts, 1, -(-g.size // parts)), g, g.size).reshape(-1)


def average(copies, weights, share):
    if not serves(copies[0].data) or len({p.dtype for p in [*copies, *weights]}) > 1:
        return optim.average(copies, weights, share)
    copy = weights_of(copies)
    run(kernels.AVERAGE, (copy.size,), weights_of(weights), share, copy)
    for p in copies:
        p.version += 1
