"""Each CUDA kernel does what the plain lines beside it do. Without a GPU its body is compiled for the host."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import host_kernels
import minigan as mg
import strict
from benchmarks import works
from minigan import backend, conv, kernels, nn, normalize, ops, optim, passes
from minigan.trainer import NonFiniteError
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
                                current._replace(name="compiled", kernels=host_kernels))
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
    """To so many digits of each number, or of the greatest if that is above 1."""
    actual = backend.to_numpy(on_the_device)
    assert actual.dtype == plain.dtype and actual.shape == plain.shape
    tolerance = rtol if plain.dtype == np.float64 else 2e-6
    np.testing.assert_allclose(actual, plain, rtol=tolerance, atol=tolerance * max(1.0, abs(plain).max()))


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


@both_dtypes
@pytest.mark.parametrize("f", [ops.tanh, ops.softplus], ids=["tanh", "softplus"])
def test_slopes_in_both_tails(device, dtype, f):
    x = np.array([0.0, -0.0, 1e-3, -1e-3, 2.5, -2.5, 50.0, -50.0, 1e4, -1e4], dtype)
    g = drawn(10, dtype=dtype)

    def slope(x, g, create_graph):
        leaf = mg.Tensor(x, requires_grad=True)
        return mg.grad(f(leaf), leaf, g, create_graph)[0].data
    there = slope(*on_device(x, g), False)
    with mg.use_backend("numpy"):
        agree(there, slope(x, g, False))
        agree(there, slope(x, g, True))


# Normalisation

SHAPES = [(6, 4), (5, 3, 2, 4), (64, 5, 3), (128, 2, 2, 3)]  # their rows come in 2, 2, 64 and 64 parts


def normalised(f, x, weight, bias, c):
    """The value and the three gradients."""
    leaves = [mg.Tensor(array, requires_grad=True) for array in (x, weight, bias)]
    y = f(*leaves)
    return [y.data, *[g.data for g in mg.grad(y, leaves, c)]]


def inputs_of(shape, dtype):
    """x with another mean and another spread in each channel; weights of both signs, and one that is 0."""
    C = shape[-1]
    x = drawn(*shape) * np.arange(1.0, C + 1) + 3.0
    return [array.astype(dtype) for array in (x, np.arange(C) - 1.0, drawn(C, seed=1), drawn(*shape, seed=2))]


@both_dtypes
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("f", [
    lambda x, w, b: normalize.batch_norm(x, w, b, 1e-3), lambda x, w, b: normalize.batch_norm(x, w, b, 1e-3, 0.2),
    lambda x, w, b: normalize.layer_norm(x, w, b, 1e-3)], ids=["batch", "batch, leaky", "layer"])
def test_normalisation_and_its_gradients(device, dtype, shape, f):
    inputs = inputs_of(shape, dtype)
    there = normalised(f, *on_device(*inputs))
    with mg.use_backend("numpy"):
        here = normalised(f, *inputs)
    for actual, plain in zip(there, here):
        agree(actual, plain, rtol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradients_of_layer_norms_gradient(device, shape):
    x, weight, _, g = inputs_of(shape, np.float64)
    u = drawn(*shape, seed=3)

    def gradients(x, weight, g, u, create_graph):
        leaves = [mg.Tensor(array, requires_grad=True) for array in (g, x, weight)]
        y = normalize.layer_norm_slope(*leaves, 1e-3)
        return [y.data, *[g.data for g in mg.grad(y, leaves, u, create_graph)]]
    there = gradients(*on_device(x, weight, g, u), False)
    with mg.use_backend("numpy"):
        fused, defined = gradients(x, weight, g, u, False), gradients(x, weight, g, u, True)
    for actual, plain, definition in zip(there, fused, defined):
        agree(actual, plain, rtol=1e-13)
        agree(actual, definition, rtol=1e-12)


@pytest.mark.parametrize("layer", [nn.BatchNorm, nn.LayerNorm])
def test_a_far_mean_does_not_eat_the_digits(device, layer):
    """In float32, where a square of 1000 has no place for the square of 1 beside it."""
    x = 1000.0 + drawn(64, 7, 4)
    with mg.use_backend("numpy"):
        expected = layer(4).astype(np.float64)(x).data
    there = backend.to_numpy(layer(4)(on_device(x.astype(np.float32))[0]).data)
    assert abs(there - expected).max() < 1e-3


def test_running_statistics_are_averaged(device):
    x = [drawn(n, 5, 3, seed=n, dtype=np.float64) for n in (4, 9)]

    def averaged():
        layer = nn.BatchNorm(3).astype(np.float64)
        for batch in x:
            layer(backend.asarray(batch))
        return layer.buffers()
    there = averaged()
    with mg.use_backend("numpy"):
        for actual, plain in zip(there, averaged()):
            agree(actual, plain)


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
                      current._replace(name="compiled", kernels=host_kernels))
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


@both_dtypes
@pytest.mark.parametrize("shapes", [[(3,)], [(2, 3), (4,)], [(1, 2, 2), (5,), (1,), (2, 1)]], ids=[1, 2, 4])
def test_arrays_are_joined_in_their_order(device, dtype, shapes):
    parts = [drawn(*shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)]
    parameters = [mg.Tensor(part, requires_grad=True) for part in on_device(*parts)]
    for parameter in parameters:
        parameter.grad = mg.Tensor(parameter.data * 2.0)
    gradient, spans = optim.Flat(parameters).gradients()
    agree(gradient, 2 * np.concatenate([part.ravel() for part in parts]))
    assert spans == [(0, len(gradient))]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_first_step_that_is_not_finite_is_kept(device, bad):
    trainer = trainer_of("mlp", "lsgan")
    good = real_batches(trainer, "mlp")
    trainer.step(good)
    trainer.check_finite()
    trainer.step([np.full_like(good[0], bad)])
    trainer.step(good)
    with pytest.raises(NonFiniteError, match="discriminator's .* since step 2"):
        trainer.check_finite()


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


@pytest.fixture
def compiled(monkeypatch):
    """The stand-in with kernels; and what is launched on it."""
    with mg.use_backend("strict") as current:
        monkeypatch.setitem(backend._by_type, strict.Array, current._replace(name="compiled", kernels=host_kernels))
        yield host_kernels.launches


@needs_compiler
def test_no_kernel_waits_and_every_kernel_is_launched_in_training(compiled):
    launched = set()
    for pair, objective in [("dcgan, layer", "wgan-gp"), *[(pair, name) for pair in PAIRS for name in ("gan", "wgan")]]:
        trainer = trainer_of(pair, objective)
        strict.costs.clear()
        compiled.clear()
        trainer.step(real_batches(trainer, pair))
        assert strict.costs == []
        launched |= set(compiled)
    assert launched == KERNELS.keys() - {"sgd", "sigmoid"} | {"joined"}


# Of these, 55, 87 and 54 are matrix products and what gathers and scatters windows. The batch's size does not matter.
MOST_LAUNCHES = {"dcgan28-64": 156, "wgangp28-64": 236, "mlp2d-64": 131}


@needs_compiler
@pytest.mark.parametrize("name", MOST_LAUNCHES)
def test_a_training_step_is_launched_in_no_more_pieces_than_it_was(compiled, name):
    step = works.minigan_step(works.WORKS[name]._replace(batch=3))
    step()  # what is made once
    strict.launches.clear()
    compiled.clear()
    step()
    assert len(strict.launches) + len(compiled) <= MOST_LAUNCHES[name]


def test_on_a_cpu_there_are_no_kernels():
    assert all(kernel.on(np.zeros(3)) is None for kernel in KERNELS.values())
