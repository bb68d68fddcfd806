"""How weights begin: moments, dtype, and whose random numbers they are."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, init, nn

LAYERS = {"Dense": (lambda **o: nn.Dense(300, 200, **o), 300, (300, 200)),
          "Conv2d": (lambda **o: nn.Conv2d(40, 50, (3, 5), **o), 600, (3, 5, 40, 50)),
          "ConvTranspose2d": (lambda **o: nn.ConvTranspose2d(50, 40, (3, 5), **o), 600, (3, 5, 40, 50))}
each_layer = pytest.mark.parametrize("make, fan_in, shape", LAYERS.values(), ids=LAYERS)


@each_layer
def test_layers_begin_uniform_within_one_over_the_root_of_their_inputs(make, fan_in, shape):
    layer, bound = make(), 1 / np.sqrt(fan_in)
    assert layer.weight.shape == shape
    for parameter in (layer.weight, layer.bias):
        assert parameter.dtype == np.float32
        assert np.abs(parameter.data).max() <= bound * (1 + 1e-6)
        assert np.abs(parameter.data).max() > 0.9 * bound
    values = layer.weight.data.astype(np.float64)
    assert abs(values.mean()) < 0.02 * bound
    assert values.std() == pytest.approx(bound / np.sqrt(3), rel=0.01)


@each_layer
def test_weights_are_drawn_from_the_init_stream_or_the_generator_given(make, fan_in, shape):
    first = make().weight.data
    second = make().weight.data
    assert not np.array_equal(first, second)
    backend.seed(0)
    np.testing.assert_array_equal(make().weight.data, first)
    untouched = backend.streams.state_dict()["init"]
    given = [make(rng=np.random.default_rng(5)).weight.data for _ in range(2)]
    np.testing.assert_array_equal(*given)
    np.testing.assert_array_equal(backend.streams.state_dict()["init"], untouched)


def test_normal_has_the_moments_asked_for(rng):
    values = init.normal((200, 300), 1.0, 0.02, rng)
    assert values.dtype == np.float32 and values.shape == (200, 300)
    assert values.mean() == pytest.approx(1.0, abs=3e-4) and values.std() == pytest.approx(0.02, rel=0.01)
    within = (np.abs(values - 1.0) < 0.02).mean()
    assert within == pytest.approx(0.6827, abs=0.01)  # it is a normal distribution


def network():
    return nn.Sequential(nn.Dense(50, 400), nn.BatchNorm(2000), nn.LayerNorm(2000), nn.Conv2d(20, 30, 4),
                         nn.ConvTranspose2d(30, 20, 4))


def test_dcgan_weights_are_normal_and_normalisations_near_one():
    net = network()
    assert init.dcgan(net) is net
    for name, parameter in net.named_parameters():
        values = parameter.data
        assert parameter.dtype == np.float32 and parameter.requires_grad
        if name.endswith("bias"):
            assert not values.any()
        else:
            mean = 1.0 if parameter.ndim == 1 else 0.0
            assert values.mean() == pytest.approx(mean, abs=2e-3), name
            assert values.std() == pytest.approx(0.02, rel=0.06), name


def test_dcgan_leaves_running_statistics_alone():
    net = init.dcgan(network())
    assert not net[1].running_mean.any() and (net[1].running_var == 1).all()


def test_dcgan_draws_from_the_init_stream_or_the_generator_given():
    def weights(rng=None):
        return np.concatenate([p.data.ravel() for p in init.dcgan(net, rng).parameters()])

    net = network()
    np.testing.assert_array_equal(weights(np.random.default_rng(1)), weights(np.random.default_rng(1)))
    backend.seed(0)
    first = weights()
    assert not np.array_equal(weights(), first)
    backend.seed(0)
    np.testing.assert_array_equal(weights(), first)


def test_dcgan_keeps_the_dtype_of_the_module():
    net = init.dcgan(network().astype(np.float64))
    assert all(p.dtype == np.float64 for p in net.parameters())


def test_dense_layers_may_begin_so_that_variance_stays():
    layer = init.lecun(nn.Dense(400, 300, rng=np.random.default_rng(0)), np.random.default_rng(1))
    x = mg.Tensor(np.random.default_rng(2).standard_normal((500, 400)).astype(np.float32))
    np.testing.assert_allclose(layer(x).numpy().var(), 1.0, rtol=0.05)
    assert not layer.bias.numpy().any()


@pytest.mark.parametrize("layer, fan_in", [
    (nn.Dense(300, 200), 300), (nn.Conv2d(40, 50, 3), 360), (nn.Conv2d(400, 50, 1, bias=False), 400)])
def test_he_keeps_the_second_moment_through_a_leaky_relu(layer, fan_in):
    init.he(layer, init.LEAKY, np.random.default_rng(0))
    values = layer.weight.numpy().astype(np.float64)
    assert values.std() == pytest.approx(np.sqrt(2 / (1.04 * fan_in)), rel=0.02) and abs(values.mean()) < 2e-3
    assert layer.bias is None or not layer.bias.numpy().any()
    if isinstance(layer, nn.Dense):
        x = np.random.default_rng(1).standard_normal((500, fan_in)).astype(np.float32)
        y = nn.LeakyReLU(0.2)(layer(mg.Tensor(x))).numpy()
        assert (y ** 2).mean() == pytest.approx(1.0, rel=0.05)
