"""Neighbours in a `Sequential` that are computed in one pass.

A (leaky) ReLU costs a pass over memory in each direction, and so does a bias. Behind a layer that
ends in a pass of its own, both are made in that one. The result is the same.
"""

from functools import partial

from minigan import nn
from minigan.conv import conv2d, conv_transpose2d
from minigan.fast import kernels
from minigan.fast.launch import run, serves
from minigan.fast.norms import batch_norm_leaky, vectors
from minigan.fast.products import add_leaky, dense_leaky


def fused(layers):
    """The layers as functions, an activation and the layer before it in one."""
    plan = []
    for layer in layers:
        slope, before = _slope(layer), plan[-1] if plan else None
        if slope is not None and type(before) is partial and before.args[1] == 1.0:
            plan[-1] = partial(before.func, before.args[0], slope)
        elif type(layer) in RULES and layer.bias is not None:
            plan.append(partial(RULES[type(layer)], layer, 1.0))
        else:
            plan.append(layer)
    return plan


def _slope(layer):
    """That of an activation that may be merged, or None. Below 0 the sign of the result would not
    be the argument's, and the derivative is chosen by it."""
    if type(layer) is nn.ReLU:
        return 0.0
    return layer.slope if type(layer) is nn.LeakyReLU and layer.slope >= 0.0 else None


def _dense(layer, slope, x):
    if x.ndim != 2 or x.shape[1] != layer.weight.shape[0]:
        return layer(x)  # which says what is wrong
    return dense_leaky(x, layer.weight, layer.bias, slope)


def _conv(layer, slope, x):
    return add_leaky(conv2d(x, layer.weight, layer.stride, layer.padding), layer.bias, slope)


def _conv_transpose(layer, slope, x):
    y = conv_transpose2d(x, layer.weight, layer.stride, layer.padding, layer.output_size)
    return add_leaky(y, layer.bias, slope)


def _batch_norm(layer, slope, x):
    if not layer.training or x.shape[-1:] != layer.weight.shape or x.size <= layer.weight.size:
        y = layer(x)
        return y if slope == 1.0 else nn.LeakyReLU(slope)(y)
    n = x.size // layer.weight.size
    return batch_norm_leaky(x, layer.weight, layer.bias, layer.eps, slope,
                            partial(_observe, layer, n))


def _observe(layer, n, mean, variance):
    """`BatchNorm.observe` in one kernel."""
    if not serves(mean):
        return layer.observe(n, mean, variance)
    new = vectors(mean, 2, len(mean))
    run(kernels.RUNNING, mean.shape, mean, variance, layer.running_mean, layer.running_var,
        layer.momentum, n / (n - 1), *new)
    layer.running_mean, layer.running_var = new


RULES = {nn.Dense: _dense, nn.Conv2d: _conv, nn.ConvTranspose2d: _conv_transpose,
         nn.BatchNorm: _batch_norm}
