"""Training on the stand-in for CuPy, through the CUDA text: the same numbers as the plain engine's,
nothing waits, and a step is launched in few pieces."""

import copy

import numpy as np
import pytest

import cuda_on_host
import minigan as mg
import strict
from benchmarks import works
from fast_helpers import drawn, plain_engine
from minigan import backend, networks, nn, ops, optim
from minigan.fast import cuda, kernels, updates
from minigan.trainer import RECIPES, GANTrainer, NonFiniteError

pytestmark = pytest.mark.skipif(cuda_on_host.COMPILER is None,
                                reason="no C++ compiler is installed")
IMAGE = 16, 20, 2  # which can be halved twice: networks with norms


@pytest.fixture
def device(monkeypatch):
    """The stand-in with kernels, and the names of what is launched."""
    cuda_on_host.offered(monkeypatch)
    monkeypatch.setattr(cuda, "PARTS", 3)  # to save time
    with mg.use_backend("strict"):
        yield cuda_on_host.launches
    assert strict.violations == []


PAIRS = {
    "mlp": lambda rng: networks.mlp_pair(width=8, rng=rng),
    **{f"dcgan, {norm}": lambda rng, norm=norm: networks.dcgan_pair(IMAGE, 3, width=2, norm=norm,
                                                                    rng=rng)
       for norm in ("batch", "layer", "none")}}


def trainer_of(pair, objective, dtype=np.float32, **settings):
    streams = backend.Streams(0)
    networks = [network.astype(dtype) for network in PAIRS[pair](streams["init"])]
    return GANTrainer(*networks, objective=objective, streams=streams, **settings)


def batches(trainer, pair, n=6):
    rng = np.random.default_rng(0)
    shape = (n, 2) if pair == "mlp" else (n, *IMAGE)
    return [rng.uniform(-1, 1, shape) for _ in range(trainer.batches_per_step)]


@pytest.mark.parametrize("pair, objective", [
    ("dcgan, batch", "gan"), ("dcgan, layer", "wgan-gp"), ("mlp", "wgan-gp"), ("mlp", "wgan"),
    ("mlp", "hinge"), ("dcgan, none", "lsgan"), ("dcgan, layer", "minimax")])
def test_training_on_it_is_training(device, pair, objective):
    """Four steps in float64, statistics, weights, slots and averages: to the ninth digit."""
    def trained():
        trainer = trainer_of(pair, objective, np.float64)
        stats = [trainer.step(batches(trainer, pair)) for _ in range(4)]
        return ([float(backend.to_numpy(v)) for step in stats for v in step.values()],
                trainer.state_dict())
    stats, state = trained()
    assert {"adam", "rmsprop"} & set(device) and "flag" in device and "average" in device
    with mg.use_backend("numpy"), plain_engine():
        plain_stats, plain_state = trained()
    np.testing.assert_allclose(stats, plain_stats, rtol=1e-9, atol=1e-9)
    for name, plain in plain_state.items():
        np.testing.assert_allclose(state[name], plain, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("make", [
    lambda p: optim.SGD(p, 0.1, momentum=0.7), lambda p: optim.RMSprop(p, 0.01),
    lambda p: optim.Adam(p, 0.01, betas=(0.5, 0.99))], ids=["sgd", "rmsprop", "adam"])
@pytest.mark.parametrize("count", [1, 3, 9, 203])
def test_optimizers_take_the_same_steps(device, make, count):
    """The second parameter never has a gradient; copies go their own way; 203 arrays are too many
    to be joined by one kernel."""
    def run():
        parameters = [nn.Parameter(backend.asarray(drawn((3, 2)[:i % 3], i))) for i in range(count)]
        optimizer = make(parameters)
        for step in range(3):
            for i, p in enumerate(optimizer.params):
                g = backend.asarray(drawn((p.shape[::-1]), 300 * step + i))
                p.grad = None if i == 1 else mg.Tensor(g.transpose())
            optimizer.step()
            if step == 1:
                optimizer = copy.deepcopy(optimizer)
        return [backend.to_numpy(p.data).copy() for p in [*parameters, *optimizer.params]]
    there = run()
    joined = [name for name in device if name.startswith("joined")]
    runs = [1, count - 2] if count > 1 else [1]  # of neighbours that have a gradient
    assert joined == [f"joined_{n}" for n in runs if n <= updates.MOST_JOINED] * 3
    with mg.use_backend("numpy"), plain_engine():
        for a, e in zip(there, run()):
            np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-13)


def test_after_the_first_step_nothing_is_laid_out_anew(device):
    trainer = trainer_of("dcgan, batch", "gan")
    trainer.step(batches(trainer, "dcgan, batch"))
    strict.launches.clear()
    trainer.step(batches(trainer, "dcgan, batch"))
    assert [what for what in strict.launches if "updates.py" in what and "dot" not in what] == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_first_step_that_is_not_finite_is_kept(device, bad):
    trainer = trainer_of("mlp", "lsgan")
    good = batches(trainer, "mlp")
    trainer.step(good)
    trainer.check_finite()
    trainer.step([np.full_like(good[0], bad)])
    trainer.step(good)
    with pytest.raises(NonFiniteError, match="discriminator's .* since step 2"):
        trainer.check_finite()


def _everything_else():
    """What no training of these networks does."""
    x = mg.Tensor(backend.asarray(drawn((2, 4, 4, 3), 0)), requires_grad=True)
    y = ops.average_pool(ops.upsample(ops.leaky_relu(x)))
    mg.grad(ops.mean(ops.sigmoid(y) + ops.softplus(ops.tanh(y))), x)
    nn.SpectralNorm(nn.Dense(3, 2)).astype(x.dtype)(x.reshape(-1, 3)).sum().backward()
    p = nn.Parameter(backend.asarray(drawn((2,), 1)))
    p.grad = mg.Tensor(p.data)
    optim.SGD([p], 0.1).step()


def test_nothing_waits_and_every_kernel_is_launched(device):
    launched = set()
    for pair in PAIRS:
        for objective in RECIPES:
            if (pair, objective) == ("dcgan, batch", "wgan-gp"):
                continue
            trainer = trainer_of(pair, objective)
            strict.costs.clear()
            device.clear()
            trainer.step(batches(trainer, pair))
            assert strict.costs == []
            launched |= set(device)
    device.clear()
    _everything_else()
    launched |= set(device)
    assert strict.costs == []
    names = {kernel.name for kernel in kernels.KERNELS}
    on_a_cpu_only = {"row_sum", "leak_sum", "fill",  # sums over rows are products, nothing is filtered
                     "less_largest", "softmax", "softmax_gradient"}
    assert {name for name in launched if not name.startswith("joined_")} == names - on_a_cpu_only


@pytest.mark.parametrize("pair", PAIRS)
def test_sampling_leaves_the_samples_on_the_device(device, pair):
    trainer = trainer_of(pair, "gan")
    strict.costs.clear()
    samples = trainer.sample(np.zeros((5, trainer.latent)), block=2)
    assert type(samples) is strict.Array and len(samples) == 5 and strict.costs == []


# Launches: each array function that is one, and each kernel, counts once

MOST = {"dcgan28-64": 156, "wgangp28-64": 236, "mlp2d-64": 131}


@pytest.mark.parametrize("name", MOST)
def test_a_training_step_is_launched_in_few_pieces(device, name):
    """Whatever the batch's size."""
    for batch in (3, 16):
        step = works.minigan_step(works.WORKS[name]._replace(batch=batch))
        step()  # what is made once
        strict.launches.clear()
        device.clear()
        step()
        assert len(strict.launches) + len(device) <= MOST[name]
