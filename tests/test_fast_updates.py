"""Neighbours in a `Sequential`, optimizers, moving average, flag: as the plain engine has them."""

import copy

import numpy as np
import pytest

import minigan as mg
from fast_helpers import agree, drawn, kernels_called, plain_engine
from minigan import nn, optim
from minigan.fast import fusion, native, updates

pytestmark = pytest.mark.skipif(native.functions(np.dtype("f")) is None,
                                reason=f"no compiled kernels: {native.why_not}")


# Neighbours in a Sequential

class OtherReLU(nn.ReLU):
    def forward(self, x):
        return x * 3.0


class OtherDense(nn.Dense):
    def forward(self, x):
        return super().forward(x) * 3.0


STACKS = {  # layers, shape of x, how many functions they become
    "dense, relu": (lambda: [nn.Dense(3, 4), nn.ReLU()], (5, 3), 1),
    "dense, leaky": (lambda: [nn.Dense(3, 4), nn.LeakyReLU(0.3), nn.Dense(4, 2)], (5, 3), 2),
    "dense without bias": (lambda: [nn.Dense(3, 4, bias=False), nn.ReLU()], (5, 3), 2),
    "two activations": (lambda: [nn.Dense(3, 4), nn.LeakyReLU(0.3), nn.ReLU()], (5, 3), 2),
    "slope 1, then relu": (lambda: [nn.Dense(3, 4), nn.LeakyReLU(1.0), nn.ReLU()], (5, 3), 1),
    "slope above 1": (lambda: [nn.Dense(3, 4), nn.LeakyReLU(1.5)], (5, 3), 1),
    "slope below 0": (lambda: [nn.Dense(3, 4), nn.LeakyReLU(-0.5)], (5, 3), 2),
    "tanh": (lambda: [nn.Dense(3, 4), nn.Tanh(), nn.ReLU()], (5, 3), 3),
    "relu first": (lambda: [nn.ReLU(), nn.Dense(3, 4)], (5, 3), 2),
    "conv": (lambda: [nn.Conv2d(2, 3, 3, 2, 1), nn.LeakyReLU()], (2, 5, 6, 2), 1),
    "conv without bias": (lambda: [nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm(3), nn.ReLU()],
                          (2, 5, 6, 2), 2),
    "transposed": (lambda: [nn.ConvTranspose2d(2, 3, 4, 2, 1, output_size=(8, 12)), nn.ReLU()],
                   (2, 4, 6, 2), 1),
    "batch norm": (lambda: [nn.BatchNorm(3, momentum=0.3), nn.LeakyReLU(0.1)], (5, 4, 3), 1),
    "layer norm": (lambda: [nn.LayerNorm(3), nn.LeakyReLU(0.1)], (5, 4, 3), 2),
    "a subclass of relu": (lambda: [nn.Dense(3, 4), OtherReLU()], (5, 3), 2),
    "a subclass of dense": (lambda: [OtherDense(3, 4), nn.ReLU()], (5, 3), 2),
    "nested": (lambda: [nn.Sequential(nn.Dense(3, 4)), nn.ReLU()], (5, 3), 2),
}


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", STACKS)
def test_merged_layers_are_the_layers(name, train):
    make, shape, count = STACKS[name]

    def everything():
        mg.seed(0)
        network = nn.Sequential(*make()).astype(np.float64).train(train)
        assert len(fusion.fused(network.layers)) == count
        found = []
        for seed in range(3):
            x = mg.Tensor(drawn(shape, seed) * 2 + 1, requires_grad=True)
            leaves = [x, *network.parameters()]
            y = network(x)
            c = drawn(y.shape, 7)
            graph = mg.grad(y, leaves, c, create_graph=True)
            found += [y.data, *[g.data for g in mg.grad(y, leaves, c)], *[g.data for g in graph]]
            total = sum((g * g).sum() for g in graph)
            if total.requires_grad:
                found += [g is not None and g.data + 0.0 for g in mg.grad(
                    total, leaves, allow_unused=True)]
            found += [np.array(b) for b in network.buffers()]
        return found
    fast = everything()
    with plain_engine():
        plain = everything()
    for a, e in zip(fast, plain):
        if a is False or e is False:  # zero, as one of the engines knows without a graph
            assert not np.any(a) and not np.any(e)
        else:
            np.testing.assert_allclose(a, e, rtol=1e-9, atol=1e-11)


def test_a_relu_hides_minus_infinity_merged_or_not():
    network = nn.Sequential(nn.Dense(1, 2), nn.ReLU())
    network.layers[0].bias.data = np.array([-np.inf, np.inf], np.float32)
    y = network(np.ones((1, 1), np.float32))
    np.testing.assert_array_equal(y.data, [[0, np.inf]])
    [g] = mg.grad(y, network.layers[0].bias, np.array([[np.nan, 1.0]], np.float32))
    np.testing.assert_array_equal(g.data, [0, 1])


def test_the_plan_is_merged_kernels():
    with kernels_called() as called:
        nn.Sequential(nn.BatchNorm(3), nn.ReLU(), nn.Dense(3, 2), nn.LeakyReLU())(drawn((4, 3), 0))
    assert called == ["moments", "batch_statistics", "running", "batch_norm", "products"]


@pytest.mark.parametrize("layers, shape", [
    ([nn.Dense(3, 4), nn.ReLU()], (5, 2)), ([nn.Dense(3, 4), nn.ReLU()], (3,)),
    ([nn.BatchNorm(3), nn.ReLU()], (5, 2)), ([nn.BatchNorm(3), nn.ReLU()], (1, 3)),
    ([nn.Conv2d(3, 2, 3), nn.ReLU()], (1, 4, 4, 2))])
def test_errors_are_those_of_the_layer(layers, shape):
    x, network = np.ones(shape, np.float32), nn.Sequential(*layers)
    with pytest.raises(ValueError) as fast:
        network(x)
    with plain_engine(), pytest.raises(ValueError) as plain:
        network(x)
    assert str(fast.value) == str(plain.value)


def test_a_far_mean_has_its_variance_in_the_running_average():
    layer = nn.BatchNorm(2, momentum=1.0)
    nn.Sequential(layer)(1000.0 + drawn((512, 2), 0, np.float32))
    np.testing.assert_allclose(layer.running_var, drawn((512, 2), 0).var(0, ddof=1), rtol=1e-3)


# Optimizers

RULES = {"sgd": lambda p: optim.SGD(p, 0.1), "momentum": lambda p: optim.SGD(p, 0.1, momentum=0.7),
         "rmsprop": lambda p: optim.RMSprop(p, 0.01, alpha=0.8, eps=1e-3),
         "adam": lambda p: optim.Adam(p, 0.01, betas=(0.4, 0.9), eps=1e-3)}
SHAPES = [(3, 2), (), (4,), (1, 5)]
each_rule = pytest.mark.parametrize("rule", RULES)


def parameters(dtype=np.float64):
    return [nn.Parameter(drawn(shape, i, dtype)) for i, shape in enumerate(SHAPES)]


def steps(optimizer, count, without=(), dtype=np.float64, layout="plain", begin=0):
    """So many steps; the parameters at the places `without` get no gradient."""
    for step in range(begin, begin + count):
        for i, p in enumerate(optimizer.params):
            g = drawn(p.shape, 100 * step + i, dtype, layout)
            p.grad = None if i in without else mg.Tensor(g)
        optimizer.step(0.5 + step)


def both_engines(run):
    """run() → arrays, on both."""
    fast = run()
    with plain_engine():
        plain = run()
    return fast, plain


@each_rule
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("without", [(), (0,), (1, 2), (3,), (0, 2)])
@pytest.mark.parametrize("layout", ["plain", "transposed", "sliced", "broadcast"])
def test_a_sweep_is_the_update_of_each(rule, dtype, without, layout):
    def run():
        optimizer = RULES[rule](parameters(dtype))
        steps(optimizer, 3, without, dtype, layout)
        return [p.data for p in optimizer.params] + [
            array for slot in optimizer.slots for array in optimizer.state[slot]]
    with kernels_called() as called:
        fast = run()
    assert called and set(called) <= {"sgd", "rmsprop", "adam"}
    with plain_engine():
        agree(fast, run(), 1e-12 if dtype is np.float64 else 3e-6)
    for i in without:
        np.testing.assert_array_equal(fast[i], drawn(SHAPES[i], i, dtype))


@each_rule
def test_what_rests_changes_from_step_to_step(rule):
    def run():
        optimizer = RULES[rule](parameters())
        for step, without in enumerate([(0,), (), (1, 3), (0, 1, 2)]):
            steps(optimizer, 1, without, begin=step)
        return [p.data for p in optimizer.params]
    agree(*both_engines(run), 1e-12)


def test_without_any_gradient_nothing_moves():
    optimizer = optim.Adam(parameters())
    optimizer.step()
    agree([p.data for p in optimizer.params], [p.data for p in parameters()], 0.0)


@each_rule
def test_a_converted_network_goes_on(rule):
    def run():
        optimizer = RULES[rule](parameters(np.float32))
        steps(optimizer, 2, dtype=np.float32)
        for p in optimizer.params:
            p.data = p.data.astype(np.float64)
        steps(optimizer, 2, begin=2)
        assert {p.dtype for p in optimizer.params} == {np.dtype("d")}
        return [p.data for p in optimizer.params]
    agree(*both_engines(run), 1e-5)


@each_rule
def test_dtypes_that_differ_or_have_no_kernels_are_updated_plainly(rule):
    def run():
        optimizer = RULES[rule](parameters(np.float32))
        optimizer.params[1].data = optimizer.params[1].data.astype(np.float64)
        for p in optimizer.params:
            p.grad = mg.Tensor(np.ones_like(p.data))
        half = RULES[rule]([nn.Parameter(np.ones(3, np.float16))])
        half.params[0].grad = mg.Tensor(np.ones(3, np.float16))
        with kernels_called() as called:
            optimizer.step()
            half.step()
        assert called == []
        return [p.data for p in [*optimizer.params, *half.params]]
    agree(*both_engines(run), 0.0)


@each_rule
def test_a_deep_copy_has_weights_and_slots_of_its_own(rule):
    def run():
        optimizer = RULES[rule](parameters())
        steps(optimizer, 2)
        other = copy.deepcopy(optimizer)
        steps(other, 2, begin=2)
        before = [p.data.copy() for p in other.params]
        steps(optimizer, 3, begin=5)
        agree([p.data for p in other.params], before, 0.0)
        return before + [p.data for p in optimizer.params]
    agree(*both_engines(run), 1e-12)


@each_rule
def test_two_optimizers_share_a_parameter(rule):
    def run():
        p = parameters()
        optimizers = [RULES[rule](some) for some in (p, p[:2], p[1:], [p[2], p[0]])]
        for step in range(6):
            steps(optimizers[step % 4], 1, begin=step)
        return [q.data for q in p]
    agree(*both_engines(run), 1e-12)


@each_rule
def test_state_goes_on_after_loading_it(rule):
    def run():
        optimizer = RULES[rule](parameters())
        steps(optimizer, 2)
        state = optimizer.state_dict()
        steps(optimizer, 1, begin=2)
        other = RULES[rule](parameters())
        steps(other, 1)
        other.load_state_dict(state)
        steps(other, 1, begin=2)
        return [array for slot in other.slots for array in other.state[slot]]
    agree(*both_engines(run), 1e-12)


@each_rule
def test_a_step_makes_older_graphs_stale_and_keeps_the_callers_array(rule):
    mine = np.ones(3)
    p = nn.Parameter(mine)
    optimizer = RULES[rule]([p])
    y = (p * p).sum()
    p.grad = mg.Tensor(np.ones(3))
    optimizer.step()
    with pytest.raises(RuntimeError, match="was changed"):
        y.backward()
    assert (mine == 1).all() and (p.data != 1).all()


def test_an_optimizer_that_is_gone_leaves_nothing_behind():
    import gc
    gc.collect()
    before = len(updates._flats)
    optimizer = optim.Adam(parameters())
    steps(optimizer, 1)
    assert len(updates._flats) == before + 2
    del optimizer
    gc.collect()
    assert len(updates._flats) == before


# The flag and the average

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_norm_and_the_first_bad_step(dtype):
    """A loss or a gradient that is NaN or infinite is seen at its step, and never forgotten."""
    def run():
        optimizer = optim.SGD(parameters(dtype), 0.1)
        first_bad, found = np.full((), -1), []
        for step, (loss, g) in enumerate([(1.0, 2.0), (0.5, 0.0), (np.nan, 1.0), (1.0, np.inf),
                                          (1.0, 1.0)]):
            for p in optimizer.params[1:]:
                p.grad = mg.Tensor(np.full(p.shape, g, dtype))
            optimizer.step()
            norm, first_bad = optim.watched(optimizer, mg.Tensor(np.array(loss, dtype)),
                                            first_bad, step)
            found += [norm, first_bad]
        return found
    with np.errstate(all="ignore"):
        fast, plain = both_engines(run)
    assert [a.shape for a in fast] == [()] * 10
    assert [int(a) for a in fast[1::2]] == [-1, -1, 2, 2, 2]
    for a, e in zip(fast, plain):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_squares_have_each_number_once(dtype):
    """In parts of 4096 numbers or, where there are many, in 256 parts; around them lies NaN."""
    for size in [1, 2, 4095, 4096, 4097, 8193, 12289, 256 * 4096, 256 * 4096 + 1, 257 * 4096 + 5]:
        wide = np.full(size + 2, np.nan, dtype)
        wide[1:-1] = np.arange(size) % 7 + 1
        squares = updates.square_sums(wide[1:-1])
        assert len(squares) == min(-(-size // 4096), 256)
        assert squares.sum() == ((np.arange(size) % 7 + 1.0) ** 2).sum()


@pytest.mark.parametrize("large", [0, 1 << 18])  # in one piece each, or neighbours together
@pytest.mark.parametrize("without", [(), (0,), (1,), (0, 2), (3,), (1, 2, 3)])
def test_the_norm_is_of_all_gradients(without, large, monkeypatch):
    monkeypatch.setattr(updates, "LARGE", large)

    def run():
        optimizer = optim.Adam([*parameters(), nn.Parameter(drawn((70, 90), 9))])
        steps(optimizer, 2, without)
        loss, first_bad = mg.Tensor(np.array(1.0)), np.full((), -1)
        return [*optim.watched(optimizer, loss, first_bad, 7), *[p.data for p in optimizer.params]]
    agree(*both_engines(run), 1e-12)


@pytest.mark.parametrize("watch", [True, False])
def test_the_norm_is_of_the_last_step(watch):
    """Also where that one was plain, and the one before it was not."""
    def run():
        optimizer = optim.SGD(parameters(np.float32), 0.1)
        loss, first_bad = mg.Tensor(np.array(1.0, np.float32)), np.full((), -1)
        steps(optimizer, 1, dtype=np.float32)
        if watch:
            optim.watched(optimizer, loss, first_bad, 0)
        optimizer.params[1].data = optimizer.params[1].data.astype(np.float64)
        for p in optimizer.params:
            p.grad = mg.Tensor(np.full_like(p.data, 3.0))
        optimizer.step()
        return [float(optim.watched(optimizer, loss, first_bad, 1)[0])]
    fast, plain = both_engines(run)
    np.testing.assert_allclose(fast, plain, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_every_kind_of_bad_number_is_flagged(where, bad):
    optimizer = optim.Adam(parameters())
    steps(optimizer, 1)
    if where == "gradient":
        optimizer.params[2].grad.data[1] = bad
    optimizer.step()
    loss = mg.Tensor(np.array(bad if where == "loss" else 1.0))
    assert optim.watched(optimizer, loss, np.full((), -1), 7)[1] == 7
    for before in (0, 3):  # a step that is remembered stays, whatever comes
        optimizer.step()
        assert optim.watched(optimizer, loss, np.full((), before), 8)[1] == before


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_average_moves_its_copy(dtype):
    def run():
        mg.seed(0)
        network = nn.Sequential(nn.Dense(3, 4), nn.BatchNorm(4)).astype(dtype)
        copied = copy.deepcopy(network)
        average = optim.MovingAverage(copied, network, 0.9)
        for t in range(1, 4):
            for i, p in enumerate(network.parameters()):
                p.data = drawn(p.shape, 10 * t + i, dtype)
            average.update(t)
        return [p.data for p in copied.parameters()] + [p.data for p in network.parameters()]
    fast, plain = both_engines(run)
    agree(fast, plain, {2: 1e-2, 4: 1e-6, 8: 1e-13}[np.dtype(dtype).itemsize])


@pytest.mark.on_each_engine
def test_the_average_is_the_exponential_one_of_what_it_saw(engine):
    """Σ decayᵀ⁻ᵗ wₜ / Σ decayᵀ⁻ᵗ: nothing of the copy's start is left. Statistics are the last."""
    network = nn.Sequential(nn.Dense(3, 4), nn.BatchNorm(4)).astype(np.float64)
    copied = copy.deepcopy(network)
    average, shares = optim.MovingAverage(copied, network, 0.7), 0.7 ** np.arange(4, -1, -1)
    for t in range(1, 6):
        for i, p in enumerate(network.parameters()):
            p.data = drawn(p.shape, 10 * t + i)
        network(drawn((6, 3), t))
        average.update(t)
    for i, p in enumerate(copied.parameters()):
        seen = [drawn(p.shape, 10 * t + i) for t in range(1, 6)]
        np.testing.assert_allclose(p.data, np.average(seen, 0, shares), rtol=0, atol=1e-13)
    for mine, last in zip(copied.buffers(), network.buffers(), strict=True):
        np.testing.assert_array_equal(mine, last)
    assert (copied.layers[1].running_var != 1.0).all()


@pytest.mark.parametrize("types", ["fd", "df"])
def test_the_average_of_a_converted_network(types):
    """Has float64, of whichever the other one is."""
    def run():
        mg.seed(0)
        network, copied = (nn.Sequential(nn.Dense(3, 4)).astype(np.dtype(t)) for t in types)
        optim.MovingAverage(copied, network, 0.9).update(1)
        return [p.data for p in copied.parameters()]
    agree(*both_engines(run), 1e-6)


def test_the_averages_older_graphs_are_stale():
    network = nn.Sequential(nn.Dense(3, 1))
    copied = copy.deepcopy(network)
    y = copied(np.ones((1, 3), np.float32)).sum()
    optim.MovingAverage(copied, network, 0.9).update(1)
    with pytest.raises(RuntimeError, match="was changed"):
        y.backward()
