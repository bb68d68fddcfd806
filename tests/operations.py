"""A table of all operations: arrays to call each with, and what NumPy says to it."""

from dataclasses import dataclass
from typing import Callable

import numpy as np
import pytest

import minigan as mg
from minigan import backend, nn, optim
from minigan.tensor import OPS

rng = np.random.default_rng(0)


def draw(*shape):
    return rng.standard_normal(shape)


def away_from_zero(*shape):
    x = draw(*shape)
    return x + np.where(x >= 0, 0.2, -0.2)


def positive(*shape):
    return rng.uniform(0.3, 3.0, shape)


@dataclass
class Case:
    """An operation, arrays to call it with, its options; and what NumPy says, where a line can say it."""
    op: str
    arrays: list
    options: dict
    value: Callable = None
    order: int = 2

    def __call__(self, *arguments):
        options = {name: backend.asarray(option) if isinstance(option, np.ndarray) else option
                   for name, option in self.options.items()}
        return OPS[self.op](*arguments, **options)

    def leaves(self, dtype=np.float64):
        return [mg.Tensor(x.astype(dtype), requires_grad=True) for x in self.arrays]


def leaf(values):
    return mg.Tensor(np.array(values, dtype=np.float64), requires_grad=True)


def values_of(tensors):
    return [t.data.tolist() for t in tensors]


def case(op, *arrays, value=None, order=2, **options):
    return Case(op, arrays, options, value, order)


def assigned(shape, index, y):
    x = np.zeros(shape)
    x[index] = y
    return x


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


MASK = np.array([[True, False, False, True], [False, True, True, True], [False] * 4])

TABLE = [
    case("add", draw(3, 4), draw(3, 4), value=lambda x, y: x + y),
    case("add", draw(2, 1, 3), draw(4, 1), value=lambda x, y: x + y),
    case("sub", draw(3, 4), draw(3, 4), value=lambda x, y: x - y),
    case("sub", draw(), draw(2, 3), value=lambda x, y: x - y),
    case("neg", draw(3, 4), value=lambda x: -x),
    case("mul", draw(3, 4), draw(3, 4), value=lambda x, y: x * y),
    case("mul", draw(4), draw(3, 1), value=lambda x, y: x * y),
    case("div", draw(3, 4), away_from_zero(3, 4), value=lambda x, y: x / y),
    case("div", draw(3, 1), away_from_zero(1, 2), value=lambda x, y: x / y),
    case("power", draw(3, 4), n=3, value=lambda x: x * x * x),
    case("power", draw(3, 4), n=2, value=lambda x: x * x),
    case("power", draw(3, 4), n=1, value=lambda x: x),
    case("power", away_from_zero(3, 4), n=-2, value=lambda x: 1 / (x * x)),
    case("power", positive(3, 4), n=0.5, value=np.sqrt),
    case("exp", draw(3, 4), value=np.exp),
    case("logsumexp", draw(3, 4), value=lambda x: np.log(np.exp(x).sum())),
    case("logsumexp", draw(2, 3, 4), axis=(0, -1), keepdims=True,
         value=lambda x: np.log(np.exp(x).sum((0, 2), keepdims=True))),
    case("softmax", draw(3, 4), value=lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    case("softmax", draw(3, 4), axis=0, value=lambda x: np.exp(x) / np.exp(x).sum(0)),
    case("log_softmax", draw(2, 3, 2), axis=1, value=lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))),
    case("take", draw(5, 3), indices=[[4, 0], [4, 4]], value=lambda x: x[[[4, 0], [4, 4]]]),
    case("pad", draw(2, 3), widths=(1, (0, 2)), value=lambda x: np.pad(x, ((1, 1), (0, 2)))),
    case("pad", draw(1, 4, 3, 2), widths=(0, 3, (2, 1), 0), mode="reflect",
         value=lambda x: np.pad(x, ((0, 0), (3, 3), (2, 1), (0, 0)), mode="reflect")),
    case("log", positive(3, 4), value=np.log),
    case("sqrt", positive(3, 4), value=np.sqrt),
    case("abs", away_from_zero(3, 4), value=np.abs),
    case("tanh", draw(3, 4), value=np.tanh),
    case("sigmoid", draw(3, 4), value=lambda x: 1 / (1 + np.exp(-x))),
    case("softplus", draw(3, 4), value=lambda x: np.log(1 + np.exp(x))),
    case("relu", away_from_zero(3, 4), value=lambda x: np.maximum(x, 0)),
    case("leaky_relu", away_from_zero(3, 4), value=lambda x: np.where(x > 0, x, 0.2 * x)),
    case("leaky_relu", away_from_zero(3, 4), slope=0.01, value=lambda x: np.where(x > 0, x, 0.01 * x)),
    case("leaky_relu", away_from_zero(3, 4), slope=1.5, value=lambda x: np.where(x > 0, x, 1.5 * x)),
    case("leaky_relu", away_from_zero(3, 4), slope=-0.5, value=lambda x: np.where(x > 0, x, -0.5 * x)),
    case("where", draw(3, 4), draw(3, 4), mask=MASK, value=lambda x, y: np.where(MASK, x, y)),
    case("where", draw(3, 1), draw(4), mask=MASK, value=lambda x, y: np.where(MASK, x, y)),
    case("maximum", draw(3, 4), draw(3, 4), value=np.maximum),
    case("maximum", draw(3, 1), draw(4), value=np.maximum),
    case("sum", draw(3, 4), value=np.sum),
    case("sum", draw(2, 3, 4), axis=1, value=lambda x: x.sum(1)),
    case("sum", draw(2, 3, 4), axis=(0, -1), keepdims=True, value=lambda x: x.sum((0, 2), keepdims=True)),
    case("mean", draw(3, 4), value=np.mean),
    case("mean", draw(2, 3, 4), axis=-1, value=lambda x: x.mean(2)),
    case("mean", draw(2, 3, 4), axis=(0, 1), keepdims=True, value=lambda x: x.mean((0, 1), keepdims=True)),
    case("norm", draw(3, 4), value=np.linalg.norm),
    case("norm", draw(3, 4), axis=1, value=lambda x: np.linalg.norm(x, axis=1)),
    case("norm", draw(2, 3, 4), axis=(0, 2), keepdims=True, value=lambda x: np.sqrt((x**2).sum((0, 2), keepdims=True))),
    case("reshape", draw(3, 4), shape=(2, 6), value=lambda x: x.reshape(2, 6)),
    case("reshape", draw(3, 4), shape=(2, -1, 1), value=lambda x: x.reshape(2, 6, 1)),
    case("transpose", draw(2, 3, 4), value=lambda x: x.T),
    case("transpose", draw(2, 3, 4), axes=(1, -1, 0), value=lambda x: x.transpose(1, 2, 0)),
    case("broadcast_to", draw(3, 1), shape=(2, 3, 4), value=lambda x: np.broadcast_to(x, (2, 3, 4))),
    case("sum_to", draw(2, 3, 4), shape=(3, 1), value=lambda x: x.sum((0, 2)).reshape(3, 1)),
    case("sum_to", draw(2, 3), shape=(), value=np.sum),
    case("concatenate", draw(2, 3), draw(1, 3), draw(4, 3), value=lambda *xs: np.concatenate(xs)),
    case("concatenate", draw(2, 1, 3), draw(2, 4, 3), axis=-2, value=lambda *xs: np.concatenate(xs, 1)),
    case("getitem", draw(3, 4), index=(1, slice(None, None, 2)), value=lambda x: x[1, ::2]),
    case("getitem", draw(3, 4), index=-1, value=lambda x: x[-1]),
    case("getitem", draw(2, 3, 4), index=(..., slice(3, 0, -1), 2), value=lambda x: x[:, 3:0:-1, 2]),
    case("getitem_adjoint", draw(2), index=(1, slice(0, 2)), shape=(3, 4),
         value=lambda y: assigned((3, 4), (1, slice(0, 2)), y)),
    case("alias", draw(3, 4), value=lambda x: x),
    case("dense_leaky", draw(4, 3), draw(3, 2), draw(2), value=lambda x, w, b: x @ w + b),
    case("dense_leaky", draw(4, 3), draw(3, 2), draw(2), slope=0.2, value=lambda x, w, b: leaky(x @ w + b, 0.2)),
    case("dense_leaky", draw(4, 3), draw(3, 2), draw(2), slope=0.0, value=lambda x, w, b: leaky(x @ w + b, 0.0)),
    case("add_leaky", draw(2, 3, 4), draw(4), value=lambda x, b: x + b),
    case("add_leaky", draw(5, 4), draw(4), slope=0.2, value=lambda x, b: leaky(x + b, 0.2)),
    case("add_leaky", draw(2, 2, 3), draw(3), slope=1.5, value=lambda x, b: leaky(x + b, 1.5)),
    case("max", draw(3, 4), value=np.max),
    case("max", draw(2, 3, 4), axis=1, value=lambda x: x.max(1)),
    case("max", draw(2, 3, 4), axis=(0, -1), keepdims=True, value=lambda x: x.max((0, 2), keepdims=True)),
    case("min", draw(3, 4), value=np.min),
    case("min", draw(2, 3, 4), axis=-1, value=lambda x: x.min(2)),
    case("upsample", draw(2, 2, 3, 2), value=lambda x: x.repeat(2, 1).repeat(2, 2)),
    case("upsample", draw(1, 2, 1, 3), factor=3, value=lambda x: x.repeat(3, 1).repeat(3, 2)),
    case("average_pool", draw(2, 4, 6, 2), value=lambda x: x.reshape(2, 2, 2, 3, 2, 2).mean((2, 4))),
    case("average_pool", draw(1, 3, 6, 2), factor=3, value=lambda x: x.reshape(1, 1, 3, 2, 3, 2).mean((2, 4))),
    case("matmul", draw(2, 3), draw(3, 4), value=np.matmul),
    case("matmul", draw(2, 1, 2, 3), draw(4, 3, 1), value=np.matmul),
    # Convolutions and normalisations have their own files, where their values are compared with naive ones.
    case("conv2d", draw(2, 4, 3, 2), draw(3, 2, 2, 2), stride=(2, 1), padding=(1, 0), order=3),
    case("conv_transpose2d", draw(2, 2, 2, 2), draw(3, 2, 2, 2), stride=(2, 1), padding=(1, 0), output_size=(4, 3),
         order=3),
    case("conv2d_weight", draw(2, 4, 3, 2), draw(2, 2, 2, 2), kernel_size=(3, 2), stride=(2, 1), padding=(1, 0),
         order=3),
    case("batch_norm", draw(3, 2, 2), draw(2), draw(2), order=3),
    case("batch_norm", draw(4, 2), draw(2), draw(2), eps=0.5, order=3),
    case("layer_norm", draw(2, 3, 2), draw(2), draw(2), order=3),
    case("instance_norm", draw(2, 3, 2, 2), order=3),
    case("instance_norm", draw(2, 4, 1), eps=0.5, order=3),
    case("pixel_norm", draw(2, 2, 3), order=3),
    case("pixel_norm", draw(3, 4), eps=0.5, order=3),
    case("batch_norm_leaky", draw(3, 2, 2), draw(2), draw(2), slope=0.2, order=3),
    case("batch_norm_leaky", draw(3, 2, 2), draw(2), draw(2), slope=0.0, order=3),
    case("batch_norm_leaky", draw(4, 2), draw(2), draw(2), eps=0.5, order=3),
    case("layer_norm_gradient", draw(2, 3, 2), draw(2, 3, 2), draw(2), order=3),
    case("spectral_norm", 1.5 + draw(3, 2) ** 2, 0.5 + draw(3) ** 2, 0.5 + draw(2) ** 2, order=3),
    case("spectral_norm", 1.5 + draw(2, 1, 3, 2) ** 2, 0.5 + draw(6) ** 2, 0.5 + draw(2) ** 2, order=3),
    case("layer_norm_gradient", draw(3, 4), draw(3, 4), draw(4), eps=0.5, order=3),
]


def package_ops():
    """Every operation that importing minigan defines (tests define some of their own)."""
    return {name for name, function in OPS.items() if function.__module__.split(".")[0] == "minigan"} - {
        "leak"}  # the fast engine's gradient of leaky_relu, checked with it


# For optimizers

each_optimizer = pytest.mark.parametrize("make", [
    lambda params: optim.SGD(params, lr=0.1, momentum=0.9), lambda params: optim.RMSprop(params, lr=0.01),
    lambda params: optim.Adam(params)], ids=["SGD", "RMSprop", "Adam"])

SHAPES = [(3, 2), (2,), (2, 1, 2, 2)]


def parameters(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [nn.Parameter(rng.standard_normal(shape).astype(dtype)) for shape in SHAPES]


def gradients(steps, dtype=np.float64):
    """Of very different sizes, as they are in a GAN; some are exactly zero."""
    rng = np.random.default_rng(1)
    scales = [1.0, 1e-3, 10.0]
    return [[(scale * rng.standard_normal(shape) * (rng.random(shape) > 0.1)).astype(dtype)
             for scale, shape in zip(scales, SHAPES)] for _ in range(steps)]


def take_step(optimizer, params, arrays):
    for p, g in zip(params, arrays, strict=True):
        p.grad = mg.Tensor(g)
    optimizer.step()
