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
from minigan.fast.launch import run, serves
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


_flats = WeakKeyDictionary()  # of the first parameter, of an optimizer: nothing is written on them


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


def gradient_of(params):
    """The gradients as one array, zero where there is none; and [(begin, end)] where there is."""
    with_gradient, arrays = [], [p.data if p.grad is None else p.grad.data for p in params]
    for p, (begin, end) in zip(params, spans(arrays)):
        if p.grad is not None:
            if with_gradient and with_gradient[-1][1] == begin:
                begin = with_gradient.pop()[0]
            with_gradient.append((begin, end))
    arrays = [xp_of(a).zeros_like(a) if p.grad is None else a for p, a in zip(params, arrays)]
    return joined(arrays), with_gradient


def joined(arrays):
    """The arrays one after another: on a GPU in one launch, where CuPy makes one for each."""
    xp = xp_of(arrays[0])
    if xp is np or len(arrays) > MOST_JOINED:
        return xp.concatenate([array.reshape(-1) for array in arrays])
    places = spans(arrays)
    given = [value for array, (begin, _) in zip(arrays, places)
             for value in (contiguous(array), begin)]
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
        if not serves(params[0].data) or len({p.dtype for p in params}) > 1:
            return optimizer.update_each(lr)
        weights, (gradient, places) = weights_of(params), gradient_of(params)
        slots = slots_of(optimizer, weights.dtype)
        for begin, end in places:
            given = [array[begin:end] for array in (gradient, weights, *slots)]
            run(kernel, (end - begin,), given[0], *numbers(optimizer, lr), *given[1:])
        for p in params:
            p.version += 1
        optimizer.gradient = gradient
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
    g = optimizer.__dict__.pop("gradient", None)  # of the step just taken
    if g is None or not serves(g):
        return optim.watched_plainly(optimizer, loss, first_bad, step)
    square = loss.xp.asarray(loss.xp.dot(g, g))
    norm, new = empty(square), empty(first_bad)
    run(kernels.FLAG, (1,), loss.data, square, step, first_bad, norm, new)
    return norm, new


def average(copies, weights, share):
    if not serves(copies[0].data) or len({p.dtype for p in [*copies, *weights]}) > 1:
        return optim.average(copies, weights, share)
    copy = weights_of(copies)
    run(kernels.AVERAGE, (copy.size,), weights_of(weights), share, copy)
    for p in copies:
        p.version += 1
