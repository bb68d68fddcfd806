"""NumPy's integers, and lists of them, are as good as Python's; so are arrays of the other byte order."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, networks, nn, ops
from minigan.conv import conv2d, conv2d_weight, conv_transpose2d

pytestmark = pytest.mark.on_each_engine

i = np.int64
each_kind = pytest.mark.parametrize("pair", [tuple, list, np.array], ids=["tuple", "list", "array"])


@each_kind
def test_shapes_and_axes(pair):
    x = mg.Tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
    for y, expected in ((ops.reshape(x, pair([i(6), i(4)])), (6, 4)), (x.reshape(i(6), i(-1)), (6, 4)),
                        (ops.transpose(x, pair([i(2), i(0), i(1)])), (4, 2, 3)), (x.transpose(i(2), 0, 1), (4, 2, 3)),
                        (ops.sum(x, pair([i(0), i(2)])), (3,)), (x.mean(i(1)), (2, 4)), (x.max(i(-1)), (2, 3)),
                        (ops.norm(x, pair([i(1)])), (2, 4)), (ops.concatenate(x, x, axis=i(1)), (2, 6, 4)),
                        (ops.sum_to(x, pair([i(3), i(1)])), (3, 1)), (x[i(1), ..., i(0):i(2)], (3, 2)),
                        (ops.broadcast_to(x, pair([i(5), i(2), i(3), i(4)])), (5, 2, 3, 4)),
                        (x ** i(2), (2, 3, 4)), (x ** np.float32(2), (2, 3, 4))):
        assert y.shape == expected and all(type(n) is int for n in y.shape)
        assert mg.grad(y.sum(), x)[0].shape == x.shape


@each_kind
def test_geometries_of_convolutions(pair):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 7, 6, 2)), rng.standard_normal((3, 3, 2, 4))
    expected = conv2d(x, w, (2, 1), (1, 0))
    y = conv2d(x, w, pair([i(2), i(1)]), pair([i(1), i(0)]))
    np.testing.assert_array_equal(y.data, expected.data)
    np.testing.assert_array_equal(conv2d(x, w, i(2), i(1)).data, conv2d(x, w, 2, 1).data)
    back = conv_transpose2d(y, w, pair([i(2), i(1)]), pair([i(1), i(0)]), pair([i(7), i(6)]))
    np.testing.assert_array_equal(back.data, conv_transpose2d(y, w, (2, 1), (1, 0), (7, 6)).data)
    kernel = conv2d_weight(x, y, pair([i(3), i(3)]), pair([i(2), i(1)]), pair([i(1), i(0)]))
    np.testing.assert_array_equal(kernel.data, conv2d_weight(x, y, 3, (2, 1), (1, 0)).data)
    np.testing.assert_array_equal(conv2d_weight(x, y, i(3), (2, 1), (1, 0)).data, kernel.data)


@each_kind
def test_layers_and_networks(pair):
    x = np.ones((1, 8, 8, 1), np.float32)
    layer = nn.Conv2d(i(1), i(2), pair([i(4), i(4)]), stride=pair([i(2), i(2)]), padding=i(1))
    assert layer(x).shape == (1, 4, 4, 2)
    up = nn.ConvTranspose2d(i(2), i(1), i(3), stride=i(2), padding=i(1), output_size=pair([i(8), i(7)]))
    assert up(layer(x)).shape == (1, 8, 7, 1)
    assert nn.Reshape(i(4), i(16))(mg.Tensor(x)).shape == (1, 4, 16)
    assert nn.Dense(i(3), i(2))(np.ones((1, 3), np.float32)).shape == (1, 2)
    generator, critic = networks.dcgan_pair(pair([i(8), i(8), i(1)]), latent=i(3), width=i(2))
    assert critic(generator(np.ones((2, 3), np.float32))).shape == (2, 1)
    generator, critic = networks.mlp_pair(i(2), i(3), width=i(4), depth=i(2))
    assert critic(generator(np.ones((2, 3), np.float32))).shape == (2, 1)


def test_pictures():
    x = mg.Tensor(np.arange(16.0).reshape(1, 4, 4, 1), requires_grad=True)
    for f in (ops.upsample, ops.average_pool):
        for create_graph in (False, True):
            y, expected = f(x, i(2)), f(x, 2)
            np.testing.assert_array_equal(y.data, expected.data)
            gradients = [mg.grad((t * t).sum(), x, create_graph=create_graph)[0].data for t in (y, expected)]
            np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2"])
def test_the_other_byte_order(dtype):
    """Files of MNIST and of FITS hold it."""
    array = np.arange(1, 7).reshape(2, 3).astype(dtype)
    native = np.float64 if dtype == ">f8" else np.float32
    x = mg.Tensor(array, requires_grad=True)
    assert x.dtype == native and x.dtype.isnative and backend.asarray(array).dtype.isnative
    y = ops.tanh(x * array) @ mg.Tensor(np.ones((3, 2), native))
    assert y.dtype.isnative
    y.backward(np.ones((2, 2)))
    twin = mg.Tensor(array.astype(native), requires_grad=True)
    (ops.tanh(twin * twin.data) @ mg.Tensor(np.ones((3, 2), native))).backward(np.ones((2, 2)))
    np.testing.assert_array_equal(x.grad.data, twin.grad.data)
    if native is np.float32:
        assert nn.Dense(3, 1)(x).dtype == np.float32
    else:
        assert nn.Dense(3, 1).astype(np.float64)(x).dtype == np.float64


@pytest.mark.parametrize("call", [
    lambda x: x.reshape(2.5), lambda x: x.reshape(None), lambda x: x.reshape(2, 3.0), lambda x: x.sum(axis=1.0),
    lambda x: x.mean(axis="a"), lambda x: x.transpose(0.0, 1)])
def test_what_is_no_integer_is_named(call):
    with pytest.raises(TypeError, match="expected an integer, or several, got"):
        call(mg.Tensor(np.ones((2, 3), np.float32)))
