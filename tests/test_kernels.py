"""Each CUDA kernel does what the plain lines beside it do. Without a GPU its body is compiled for the host."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import host_kernels
import minigan as mg
import strict
from minigan import backend, conv, kernels, ops, optim, passes
from test_portability import PAIRS, real_batches, trainer_of

KERNELS = {kernel.name: kernel for kernel in vars(kernels).values() if isinstance(kernel, kernels.Kernel)}
needs_compiler = pytest.mark.skipif(host_kernels.COMPILER is None, reason="no C++ compiler is installed")


@pytest.fixture(params=[pytest.param("host", marks=needs_compiler), "cupy"])
def device(request, monkeypatch):
    """A backend with kernels: CuPy where there is a GPU, the stand-in with kernels compiled for the host."""
    from conftest import why_not_cupy
    if request.param == "cupy" and (reason := why_not_cupy()):
        pytest.skip(reason)
    name = "cupy" if request.param == "cupy" else "strict"
    with mg.use_backend(name) as current:
        if name == "strict":
            monkeypatch.setitem(backend._by_type, strict.Array,
                                current._replace(name="compiled", kernel=host_kernels.ElementwiseKernel))
        host_kernels.launches.clear()
        yield name
    assert strict.violations == []


def drawn(*shape, seed=0, dtype=np.float64):
    """Normal numbers, some of them exactly zero."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * (rng.random(shape) > 0.2)).astype(dtype)


def on_device(*arrays):
    return [backend.asarray(array) for array in arrays]


def agree(on_the_device, plain, rtol=1e-12):
    actual = backend.to_numpy(on_the_device)
    assert actual.dtype == plain.dtype and actual.shape == plain.shape
    tolerance = rtol if plain.dtype == np.float64 else 2e-6
    np.testing.assert_allclose(actual, plain, rtol=tolerance, atol=tolerance)


both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@both_dtypes
@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0, 1.5])
def test_leaky_leak_and_rows(device, dtype, slope):
    x, z, g = (drawn(6, 5, 4, seed=i, dtype=dtype) for i in range(3))
    a, b, row = (drawn(4, seed=i, dtype=dtype) for i in range(3, 6))

    def everything(x, z, g, a, b, row):
        xp, long = backend.xp_of(x), passes.long_rows
        outs = [xp.empty(x.shape, x.dtype) for _ in range(5)]
        passes.leaky(xp, outs[0], x, slope)
        passes.leak(xp, outs[1], g, x, slope)
        passes.add_row(long(outs[2]), long(x), row, slope)
        passes.combine(long(outs[3]), [(long(x), a)], row, slope)
        passes.combine(long(outs[4]), [(long(x), a), (long(z), b)], row, slope)
        return outs
    arrays = x, z, g, a, b, row
    for actual, plain in zip(everything(*on_device(*arrays)), everything(*arrays)):
        agree(actual, plain)


@both_dtypes
def test_leaky_leak_and_rows_in_place(device, dtype):
    x, g = (drawn(6, 4, seed=i, dtype=dtype) for i in range(2))
    a, row = (drawn(4, seed=i, dtype=dtype) for i in range(2, 4))

    def everything(x, g, a, row):
        xp = backend.xp_of(x)
        passes.leak(xp, g, g, x, 0.2)
        passes.combine(x, [(x, a), (g, a)], row, 0.2)
        passes.leaky(xp, x, x, 0.2)
        return x, g
    for actual, plain in zip(everything(*on_device(x, g, a, row)), everything(x, g, a, row)):
        agree(actual, plain)


@both_dtypes
def test_softplus_and_sigmoid_in_both_tails(device, dtype):
    x = np.array([0.0, -0.0, 1e-3, -1e-3, 2.5, -2.5, 50.0, -50.0, 1e4, -1e4], dtype)
    for f in (ops.softplus, ops.sigmoid):
        agree(f(on_device(x)[0]).data, f(x).data)


@given(data=st.data())
@pytest.mark.parametrize("dtype", [np.float64])
def test_windows_are_gathered_and_scattered(data, dtype):
    if host_kernels.COMPILER is None:
        pytest.skip("no C++ compiler is installed")
    few = st.integers(1, 3)
    stride, padding, kernel, size = (data.draw(st.tuples(s, s)) for s in (few, st.integers(0, 2), few, few))
    N, C, O = data.draw(few), data.draw(few), data.draw(few)
    extra = [data.draw(st.integers(0, s - 1)) for s in stride]  # border pixels that no window reaches
    image = tuple((m - 1) * s + k - 2 * p + e for m, s, k, p, e in zip(size, stride, kernel, padding, extra))
    if min(image) < 1:
        return
    x, w, y = drawn(N, *image, C), drawn(*kernel, C, O, seed=1), drawn(N, *size, O, seed=2)
    plain = [conv.conv2d(x, w, stride, padding), conv.conv_transpose2d(y, w, stride, padding, image),
             conv.conv2d_weight(x, y, kernel, stride, padding)]
    with mg.use_backend("strict") as current, pytest.MonkeyPatch.context() as patch:
        patch.setitem(backend._by_type, strict.Array,
                      current._replace(name="compiled", kernel=host_kernels.ElementwiseKernel))
        host_kernels.launches.clear()
        dx, dw, dy = on_device(x, w, y)
        there = [conv.conv2d(dx, dw, stride, padding), conv.conv_transpose2d(dy, dw, stride, padding, image),
                 conv.conv2d_weight(dx, dy, kernel, stride, padding)]
        assert host_kernels.launches == ["gather", "scatter", "gather"]
        for actual, expected in zip(there, plain):
            agree(actual.data, expected.data)


@both_dtypes
@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1, momentum=0.7), lambda p: optim.RMSprop(p, 0.01),
                                  lambda p: optim.Adam(p, 0.01, betas=(0.5, 0.99))], ids=["sgd", "rmsprop", "adam"])
def test_optimizers_take_the_same_steps(device, dtype, make):
    """Of three parameters the middle one never has a gradient, and rests."""
    tensor = lambda seed: mg.Tensor(backend.asarray(drawn(5, 3, seed=seed, dtype=dtype)), requires_grad=True)

    def after_three_steps():
        parameters = [tensor(i) for i in range(3)]
        optimizer = make(parameters)
        for step in range(3):
            for i in (0, 2):
                parameters[i].grad = tensor(10 * step + 10 + i)
            optimizer.step()
        return [backend.to_numpy(p.data).copy() for p in parameters]
    there = after_three_steps()
    with mg.use_backend("numpy"):
        here = after_three_steps()
    for actual, plain in zip(there, here):
        agree(actual, plain)
    moved = [(after != drawn(5, 3, seed=i, dtype=dtype)).any() for i, after in enumerate(here)]
    assert moved == [True, False, True]


@pytest.mark.parametrize("pair, objective", [("dcgan, batch", "gan"), ("dcgan, layer", "wgan-gp"), ("mlp", "wgan"),
                                             ("mlp", "hinge"), ("dcgan, none", "lsgan")])
def test_training_with_kernels_is_training(device, pair, objective):
    """Five steps in float64: the same losses and weights, to the tenth digit."""
    def trained():
        trainer = trainer_of(pair, objective, np.float64)
        losses = [trainer.step(real_batches(trainer, pair)) for _ in range(5)]
        return ([[backend.to_numpy(v) for v in step.values()] for step in losses],
                {name: np.asarray(array) for name, array in trainer.state_dict().items()})
    losses, weights = trained()
    with mg.use_backend("numpy"):
        plain_losses, plain_weights = trained()
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-9, atol=1e-10)
    for name, plain in plain_weights.items():
        np.testing.assert_allclose(weights[name], plain, rtol=1e-8, atol=1e-10, err_msg=name)


@needs_compiler
def test_no_kernel_waits_and_every_kernel_is_launched_in_training(monkeypatch):
    launched = set()
    with mg.use_backend("strict") as current:
        monkeypatch.setitem(backend._by_type, strict.Array,
                            current._replace(name="compiled", kernel=host_kernels.ElementwiseKernel))
        for pair, objective in [(pair, objective) for pair in PAIRS for objective in ("gan", "wgan")]:
            trainer = trainer_of(pair, objective)
            strict.costs.clear()
            host_kernels.launches.clear()
            trainer.step(real_batches(trainer, pair))
            assert strict.costs == []
            launched |= set(host_kernels.launches)
    assert launched == KERNELS.keys() - {"sgd"}


def test_on_a_cpu_there_are_no_kernels():
    assert all(kernel.on(np.zeros(3)) is None for kernel in KERNELS.values())
