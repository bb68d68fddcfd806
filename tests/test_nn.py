"""Layers: what they compute, what they own and in which order, and how it is saved and restored."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, nn, ops
from minigan.conv import conv2d, conv_transpose2d

pytestmark = pytest.mark.on_each_engine


class Block(nn.Module):
    """A module with parameters, children and a buffer of its own."""

    buffer_names = ("count",)

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.first = nn.Dense(2, 3)
        self.body = nn.Sequential(nn.BatchNorm(3), nn.ReLU(), nn.Dense(3, 1, bias=False))
        self.shift = nn.Parameter(np.zeros(1, np.float32))
        self.count = backend.asarray(np.zeros(1, np.float32))
        self.name = "not a parameter"

    def forward(self, x):
        return self.body(self.first(x)) * self.scale + self.shift


def convolutional():
    return nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm(2), nn.LeakyReLU(), nn.Flatten(), nn.Dense(8, 1))


# Ownership

def test_names_are_those_of_pytorch():
    names = [name for name, _ in convolutional().named_parameters()]
    assert names == ["0.weight", "1.weight", "1.bias", "4.weight", "4.bias"]
    assert [name for name, _ in convolutional().named_buffers()] == ["1.running_mean", "1.running_var"]
    assert [name for name, _ in nn.Dense(2, 3).named_parameters()] == ["weight", "bias"]
    nested = nn.Sequential(nn.Sequential(nn.Dense(1, 1)), nn.Dense(1, 1))
    assert [name for name, _ in nested.named_parameters()] == ["0.0.weight", "0.0.bias", "1.weight", "1.bias"]


def test_a_module_finds_the_parameters_and_modules_among_its_attributes():
    block = Block()
    assert [name for name, _ in block.named_parameters()] == [
        "scale", "shift", "first.weight", "first.bias", "body.0.weight", "body.0.bias", "body.2.weight"]
    assert [name for name, _ in block.named_buffers()] == ["count", "body.0.running_mean", "body.0.running_var"]
    assert [name for name, _ in block.named_modules()] == ["", "first", "body", "body.0", "body.1", "body.2"]


def test_parameters_and_buffers_are_the_very_objects():
    block = Block()
    assert block.parameters() == [p for _, p in block.named_parameters()]
    assert block.parameters()[0] is block.scale and block.parameters()[2] is block.first.weight
    assert block.buffers()[0] is block.count and block.buffers()[1] is block.body[0].running_mean
    assert all(isinstance(p, mg.Tensor) and p.requires_grad for p in block.parameters())


def test_every_layer_has_its_weight_before_its_bias():
    for layer in (nn.Dense(2, 3), nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(1, 2, 3), nn.BatchNorm(2), nn.LayerNorm(2)):
        assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    for layer in (nn.Dense(2, 3, bias=False), nn.Conv2d(1, 2, 3, bias=False), nn.ConvTranspose2d(1, 2, 3, bias=False)):
        assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_a_shared_module_or_parameter_counts_once():
    layer = nn.Dense(2, 2)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias"]
    assert len(list(net.named_modules())) == 3
    other = nn.Dense(2, 2)
    other.weight = layer.weight
    assert [name for name, _ in nn.Sequential(layer, other).named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    norm = nn.BatchNorm(2)
    assert len(nn.Sequential(norm, norm).buffers()) == 2


def test_a_parameter_is_a_copy_of_the_array_it_is_given():
    array = np.ones(2, np.float32)
    parameter = nn.Parameter(array)
    parameter.data += 1.0
    assert array.tolist() == [1.0, 1.0]


def test_repr_shows_layers_and_shapes():
    text = repr(convolutional())
    assert text.startswith("Sequential(") and "(0): Conv2d(weight (3, 3, 1, 2), stride 1, padding 0)" in text
    assert "(4): Dense(weight (8, 1), bias (1,))" in text


def test_a_sequential_can_be_looked_into():
    net = convolutional()
    assert len(net) == 5 and isinstance(net[1], nn.BatchNorm) and isinstance(net[-1], nn.Dense)


# State

def test_a_state_is_numpy_copies():
    net = convolutional()
    state = net.state_dict()
    assert set(state) == {"0.weight", "1.weight", "1.bias", "4.weight", "4.bias", "1.running_mean", "1.running_var"}
    for name, array in [*net.named_buffers(), *((name, p.data) for name, p in net.named_parameters())]:
        assert type(state[name]) is np.ndarray and not np.shares_memory(state[name], array)
        np.testing.assert_array_equal(state[name], array)


def test_a_loaded_state_makes_a_twin():
    net, twin = Block(), Block()
    net(np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32))  # moves the running statistics
    net.count = net.count + 7.0
    state = net.state_dict()
    parameters = twin.parameters()
    twin.load_state_dict(state)
    assert all(a is b for a, b in zip(twin.parameters(), parameters))  # an optimizer keeps hold of them
    for name, array in twin.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    x = np.random.default_rng(1).standard_normal((5, 2)).astype(np.float32)
    np.testing.assert_array_equal(twin.eval()(x).data, net.eval()(x).data)
    state["scale"] += 1.0  # the twin has its own copy
    assert twin.scale.data.tolist() == [1.0]


def without(state):
    del state["1.running_var"]


def with_another(state):
    state["extra"] = np.ones(1)


def with_another_shape(state):
    state["4.bias"] = np.ones((1, 1), np.float32)


def with_another_buffer_shape(state):
    state["1.running_var"] = np.ones(3, np.float32)


@pytest.mark.parametrize("damage, message", [
    (without, r"missing \['1.running_var'\], unexpected \[\]"), (with_another, r"missing \[\], unexpected \['extra'\]"),
    (with_another_shape, r"4.bias is \(1,\) here, \(1, 1\) in the state"),
    (with_another_buffer_shape, r"1.running_var is \(2,\) here, \(3,\) in the state")])
def test_a_state_that_does_not_fit_changes_nothing(damage, message):
    net = convolutional()
    before = net.state_dict()
    state = {name: array + 1.0 for name, array in before.items()}
    damage(state)
    with pytest.raises(ValueError, match=f"load_state_dict: {message}"):
        net.load_state_dict(state)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_loaded_state_takes_on_the_dtype_that_is_there():
    net = nn.Dense(2, 1)
    net.load_state_dict({name: array.astype(np.float64) for name, array in net.state_dict().items()})
    assert net.weight.dtype == net.bias.dtype == np.float32


# Modes

def test_astype_converts_parameters_and_buffers_and_returns_the_module():
    net = convolutional()
    parameters = net.parameters()
    assert net.astype(np.float64) is net
    assert all(a is b for a, b in zip(net.parameters(), parameters))
    assert {a.dtype for a in net.state_dict().values()} == {np.dtype(np.float64)}
    assert net(np.ones((2, 4, 4, 1))).dtype == np.float64
    assert net.eval()(np.ones((2, 4, 4, 1))).dtype == np.float64
    assert {a.dtype for a in net.astype("float32").state_dict().values()} == {np.dtype(np.float32)}


def test_train_and_eval_reach_every_module():
    net = nn.Sequential(nn.Sequential(nn.Dropout(0.5)), nn.BatchNorm(2))
    modules = [m for _, m in net.named_modules()]
    assert all(m.training for m in modules)
    assert net.eval() is net and not any(m.training for m in modules)
    assert net.train() is net and all(m.training for m in modules)
    net.train(False)
    assert not any(m.training for m in modules)


def test_freezing_reaches_every_parameter_and_stops_their_gradients():
    net = nn.Sequential(nn.Dense(2, 2), nn.Dense(2, 1))
    assert net.requires_grad_(False) is net
    assert not any(p.requires_grad for p in net.parameters())
    x = mg.Tensor(np.ones((1, 2), np.float32), requires_grad=True)
    net(x).sum().backward()
    assert x.grad is not None and all(p.grad is None for p in net.parameters())
    assert not net(np.ones((1, 2), np.float32)).requires_grad
    net.requires_grad_()
    assert all(p.requires_grad for p in net.parameters())


def test_zero_grad_forgets_every_gradient():
    net = nn.Sequential(nn.Dense(2, 2), nn.Dense(2, 1))
    net(np.ones((1, 2), np.float32)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


# Layers with weights

def test_dense_is_x_times_w_plus_b(rng):
    layer = nn.Dense(3, 2)
    x = rng.standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_allclose(layer(x).data, x @ layer.weight.data + layer.bias.data, rtol=1e-6)
    plain = nn.Dense(3, 2, bias=False)
    assert plain.bias is None
    np.testing.assert_allclose(plain(x).data, x @ plain.weight.data, rtol=1e-6)


def test_dense_names_what_does_not_fit():
    for shape in ((4, 2), (3,), (2, 4, 3)):
        with pytest.raises(ValueError, match=rf"Dense: expected x \(N, 3\), got \({shape[0]},"):
            nn.Dense(3, 2)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("make, operation", [(nn.Conv2d, conv2d), (nn.ConvTranspose2d, conv_transpose2d)])
def test_convolutions_are_the_operations_plus_b(make, operation, rng):
    layer = make(2, 3, (3, 4), stride=(2, 1), padding=(1, 2))
    x = rng.standard_normal((2, 5, 6, 2)).astype(np.float32)
    expected = operation(x, layer.weight, (2, 1), (1, 2)).data
    np.testing.assert_allclose(layer(x).data, expected + layer.bias.data, rtol=1e-6, atol=1e-6)
    assert expected.shape[-1] == 3
    plain = make(2, 3, 3, bias=False)
    np.testing.assert_allclose(plain(x).data, operation(x, plain.weight).data, rtol=1e-6, atol=1e-6)


def test_kernels_are_kh_kw_in_out_and_transposed_ones_those_of_their_adjoint():
    assert nn.Conv2d(3, 5, (2, 4)).weight.shape == (2, 4, 3, 5)
    assert nn.ConvTranspose2d(3, 5, (2, 4)).weight.shape == (2, 4, 5, 3)
    assert nn.Conv2d(3, 5, 4).weight.shape == (4, 4, 3, 5)


def test_a_transposed_convolution_undoes_the_size_of_a_convolution(rng):
    x = rng.standard_normal((1, 8, 6, 1)).astype(np.float32)
    down, up = nn.Conv2d(1, 2, 4, stride=2, padding=1), nn.ConvTranspose2d(2, 1, 4, stride=2, padding=1)
    assert down(x).shape == (1, 4, 3, 2) and up(down(x)).shape == x.shape


@pytest.mark.parametrize("layer, shape", [
    (lambda: nn.Dense(3, 2), (2, 3)), (lambda: nn.Conv2d(2, 2, 3, stride=2, padding=1), (2, 4, 3, 2)),
    (lambda: nn.ConvTranspose2d(2, 2, 3, stride=2), (2, 2, 2, 2)), (lambda: nn.BatchNorm(2), (3, 2, 2)),
    (lambda: nn.LayerNorm(2), (2, 3, 2))], ids=["Dense", "Conv2d", "ConvTranspose2d", "BatchNorm", "LayerNorm"])
def test_derivatives_by_the_weights_are_right_to_the_second_order(layer, shape, rng):
    layer = layer().astype(np.float64)
    arrays = [p.data + 0.1 * rng.standard_normal(p.shape) for p in layer.parameters()]

    def f(x, weight, bias):
        layer.weight, layer.bias = weight, bias
        return ops.tanh(layer(x))

    mg.check_grads(f, [rng.standard_normal(shape), *arrays], order=2, max_entries=12)


# Layers without weights

@pytest.mark.parametrize("layer, expected", [
    (nn.ReLU(), lambda x: np.maximum(x, 0.0)), (nn.LeakyReLU(), lambda x: np.where(x > 0, x, 0.2 * x)),
    (nn.LeakyReLU(0.05), lambda x: np.where(x > 0, x, 0.05 * x)), (nn.Tanh(), np.tanh),
    (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))), (nn.Flatten(), lambda x: x.reshape(2, 12)),
    (nn.Reshape(6, 2), lambda x: x.reshape(2, 6, 2)), (nn.Reshape(-1), lambda x: x.reshape(2, 12)),
], ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "")
def test_layers_without_weights(layer, expected, rng):
    x = rng.standard_normal((2, 3, 4))
    np.testing.assert_allclose(layer(mg.Tensor(x)).data, expected(x), rtol=1e-13)
    assert layer.parameters() == [] and layer.state_dict() == {}


def test_flatten_keeps_an_empty_batch():
    assert nn.Flatten()(mg.Tensor(np.zeros((0, 3, 4), np.float32))).shape == (0, 12)


# Dropout

@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_zeroes_a_share_p_and_keeps_the_mean(p):
    y = nn.Dropout(p)(mg.Tensor(np.ones((400, 500), np.float32))).data
    assert y.dtype == np.float32
    values = np.unique(y)
    np.testing.assert_allclose(values, [0.0, 1 / (1 - p)], rtol=1e-6)
    assert (y == 0).mean() == pytest.approx(p, abs=0.006)
    assert y.mean() == pytest.approx(1.0, abs=0.02)
    assert (y == 0).mean(0).std() < 0.05 and (y == 0).mean(1).std() < 0.05  # each element for itself


def test_dropout_in_evaluation_is_the_identity():
    x = mg.Tensor(np.ones((3, 4), np.float32))
    assert nn.Dropout(0.5).eval()(x) is x and nn.Dropout(0.0)(x) is x
    assert backend.streams.state_dict().keys() == {"seed"}  # and draws nothing


def test_dropout_draws_a_new_mask_each_time_from_its_own_stream():
    layer, x = nn.Dropout(0.5), mg.Tensor(np.ones((10, 10), np.float32))
    masks = [layer(x).data, layer(x).data]
    assert not np.array_equal(*masks)
    assert backend.streams.state_dict().keys() == {"seed", "dropout"}
    mg.seed(0)
    np.testing.assert_array_equal(layer(x).data, masks[0])
    given = [nn.Dropout(0.5, rng=np.random.default_rng(3))(x).data for _ in range(2)]
    np.testing.assert_array_equal(*given)


def test_the_gradient_of_dropout_is_its_mask():
    x = mg.Tensor(np.full((20, 20), 3.0), requires_grad=True)
    y = nn.Dropout(0.3)(x)
    [g] = mg.grad(y.sum(), x)
    np.testing.assert_allclose(g.data * 3.0, y.data, rtol=1e-12)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_a_dropout_probability_lies_in_0_1(p):
    with pytest.raises(ValueError, match="Dropout: expected a probability 0 ≤ p < 1"):
        nn.Dropout(p)


@pytest.mark.parametrize("layers, got", [
    (lambda: ([nn.Dense(2, 3), nn.ReLU()],), "layer 0: got list"),
    (lambda: (nn.Dense(2, 3), (nn.ReLU(),)), "layer 1: got tuple"),
    (lambda: ((nn.Dense(2, 2) for _ in range(2)),), "layer 0: got generator"),
    (lambda: (nn.ReLU(), None), "layer 1: got NoneType"),
    (lambda: (nn.ReLU(), nn.ReLU), "layer 1: got the class ReLU")])
def test_a_sequence_takes_layers_one_by_one(layers, got):
    with pytest.raises(TypeError, match=rf"Sequential: {got}, expected .*Sequential\(\*layers\)"):
        nn.Sequential(*layers())


def test_a_sequence_takes_any_function_of_x():
    assert nn.Sequential(nn.ReLU(), ops.exp, lambda x: x * 2.0)(mg.Tensor([-1.0])).data.tolist() == [2.0]


# Merging a leaky ReLU into the layer before it

LAYERS_THAT_TAKE_A_SLOPE = {
    "Dense": lambda: nn.Dense(3, 4), "Dense without bias": lambda: nn.Dense(3, 4, bias=False),
    "Conv2d": lambda: nn.Conv2d(3, 4, 2), "Conv2d without bias": lambda: nn.Conv2d(3, 4, 2, bias=False),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(3, 4, 2, stride=2),
    "ConvTranspose2d without bias": lambda: nn.ConvTranspose2d(3, 4, 2, bias=False),
    "BatchNorm": lambda: nn.BatchNorm(3), "BatchNorm in evaluation": lambda: nn.BatchNorm(3).eval()}


@pytest.mark.parametrize("kink", [nn.ReLU(), nn.LeakyReLU(0.2), nn.LeakyReLU(0.0), nn.LeakyReLU(1.5)], ids=repr)
@pytest.mark.parametrize("name", LAYERS_THAT_TAKE_A_SLOPE)
def test_a_kink_is_merged_into_the_layer_before_it_and_changes_nothing(engine, name, kink):
    mg.seed(0)
    layer = LAYERS_THAT_TAKE_A_SLOPE[name]().astype(np.float64)
    rng = np.random.default_rng(0)
    for p in layer.parameters():
        p.data = p.data + 0.3 * rng.standard_normal(p.shape)  # biases and scales that are not 0 and 1
    x = mg.Tensor(rng.standard_normal((5, 3) if "Dense" in name else (5, 4, 3, 3)), requires_grad=True)
    merged, apart = nn.Sequential(layer, kink)(x), kink(layer(x))
    if engine == "fast":
        assert merged.node.name not in ("relu", "leaky_relu") or "without" in name or "evaluation" in name
    np.testing.assert_allclose(merged.data, apart.data, rtol=1e-12, atol=1e-12)
    inputs, c = [x, *layer.parameters()], rng.standard_normal(apart.shape)
    for create_graph in (False, True):
        first = [mg.grad(y, inputs, c, create_graph=create_graph) for y in (merged, apart)]
        for a, b in zip(*first):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-10, atol=1e-12)
    second = [mg.grad((g[0] ** 2).sum(), inputs, allow_unused=True) for g in first]
    for a, b in zip(*second):
        np.testing.assert_allclose(0.0 if a is None else a.data, 0.0 if b is None else b.data, rtol=1e-9, atol=1e-11)


def test_a_kink_is_not_merged_where_that_would_change_something():
    """A slope below 0 cannot be read off the result; a subclass may do anything; each layer takes one kink."""
    class Doubled(nn.Dense):
        def forward(self, x):
            return 2.0 * super().forward(x)

    x = mg.Tensor(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32), requires_grad=True)
    for layers in ([nn.Dense(3, 2), nn.LeakyReLU(-0.5)], [Doubled(3, 2), nn.ReLU()], [nn.ReLU(), nn.ReLU()],
                   [nn.Dense(3, 2), nn.LeakyReLU(0.5), nn.LeakyReLU(0.5)], [nn.LeakyReLU(0.2), nn.Dense(3, 2)]):
        expected = x
        for layer in layers:
            expected = layer(expected)
        result = nn.Sequential(*layers)(x)
        np.testing.assert_allclose(result.data, expected.data, rtol=1e-6)
        for g, expected_g in zip(mg.grad(result.sum(), x), mg.grad(expected.sum(), x)):
            np.testing.assert_allclose(g.data, expected_g.data, rtol=1e-6)
