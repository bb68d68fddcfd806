"""The fast engine: the operations of the plain one, compiled.

`on()` puts functions into `tensor.FAST`, each under the name of the operation that it replaces, and
`off()` takes them out. Such a function has the operation's arguments and returns

    value, maps, first

or None where it does not serve, as for arrays of a dtype without kernels. first(g, needed) returns
the first derivatives of all arguments in one call, as raw arrays: it may share work between them,
and cannot be differentiated again. `maps` are for that. Where they are None the plain definition is
differentiated; where they are a function of the arguments, what this one computes.

Kernels (`kernels`) are written once, in a language over loop indices (`text`) that becomes C
(`native`) and CUDA (`cuda`). What calls them is the same for both.
"""

import os

import numpy as np

from minigan import backend
from minigan.fast import convolution, elementwise, fusion, native, norms, products, sampling
from minigan.fast import threads, updates
from minigan.tensor import FAST


def on():
    """Use the fast engine from now on, in all threads."""
    FAST.update({
        "leaky_relu": elementwise.leaky_relu, "relu": elementwise.relu, "tanh": elementwise.tanh,
        "sigmoid": elementwise.sigmoid, "softplus": elementwise.softplus,
        "softmax": elementwise.softmax,
        "sum": elementwise.sum, "mean": elementwise.mean, "sum_to": elementwise.sum_to,
        "matmul": products.matmul,
        "conv2d": convolution.conv2d, "conv_transpose2d": convolution.conv_transpose2d,
        "conv2d_weight": convolution.conv2d_weight,
        "batch_norm": norms.fast_batch_norm, "batch_norm_leaky": norms.fast_batch_norm_leaky,
        "layer_norm": norms.fast_layer_norm, "layer_norm_gradient": norms.fast_layer_norm_gradient,
        "spectral_norm": norms.fast_spectral_norm,
        "dense_leaky": products.fast_dense_leaky, "add_leaky": products.fast_add_leaky,
        "upsample": sampling.upsample, "average_pool": sampling.average_pool,
        "fused": fusion.fused, "watched": updates.watched, "average": updates.average,
        **updates.SWEEPS})


def off():
    """Use the plain engine from now on, in all threads."""
    FAST.clear()


def is_on():
    return bool(FAST)


def about():
    """What the bits of a computation depend on here: the engine and the number of threads."""
    engine = "plain" if advice() or not is_on() else "fast"
    if backend.current().xp is not np:
        return {"engine": engine}
    return {"engine": engine, "threads": threads.cores()}


def advice():
    """A line that says what would make training faster; empty if nothing is missing."""
    if not is_on():
        return ""
    if backend.current().xp is np and native.functions(np.dtype("float32")) is None:
        return f"the plain engine trains, at less than half the speed: {native.why_not}"
    return ""


if os.environ.get("MINIGAN_FAST", "1") != "0":
    on()
