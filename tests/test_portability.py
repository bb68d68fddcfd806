"""One source for every backend: nothing in it makes a device wait, and a run sees the same numbers wherever it goes on.

The stand-in of `strict.py` shows what would be wrong on CuPy; that it computes is tested where computing is tested, by
the tests marked `on_each_backend`. Here is what needs the stand-in itself, or two backends.
"""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

import minigan as mg
import strict
from minigan import backend, data, evaluate, metrics, networks, nn, plots, sample, train
from minigan.fast import filtering
from minigan.metrics import classifiers, lenet
from minigan.runs import checkpoints, models, run_folder
from minigan.runs.loop import Experiment
from minigan.trainer import RECIPES, Facts, GANTrainer
from operations import TABLE

on_strict = pytest.mark.parametrize("backend_name", ["strict"], indirect=True)
elsewhere = pytest.mark.parametrize("backend_name", ["strict", "cupy"], indirect=True)

IMAGE = (16, 20, 1)  # can be halved twice, so that discriminators have a normalisation
PAIRS = {
    "mlp": lambda rng: networks.mlp_pair(width=8, rng=rng),
    **{f"dcgan, {norm}": lambda rng, norm=norm: networks.dcgan_pair(IMAGE, 3, width=2, norm=norm, rng=rng)
       for norm in ("batch", "layer", "none")},
}


def test_the_pairs_differ_in_the_normalisation_of_the_discriminator():
    norms = {nn.BatchNorm, nn.LayerNorm}
    kinds = [norms & {type(m) for _, m in make(None)[1].named_modules()} for make in PAIRS.values()]
    assert kinds == [set(), {nn.BatchNorm}, {nn.LayerNorm}, set()]


def trainer_of(pair, objective, dtype=np.float32):
    streams = backend.Streams(0)
    generator, discriminator = (network.astype(dtype) for network in PAIRS[pair](streams["init"]))
    return GANTrainer(generator, discriminator, objective=objective, streams=streams)


def real_batches(trainer, pair, n=6):
    rng = np.random.default_rng(0)
    shape = (n, 2) if pair == "mlp" else (n, *IMAGE)
    return [rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(trainer.batches_per_step)]


# Nothing waits

@on_strict
@pytest.mark.parametrize("pair, objective", [(pair, objective) for pair in PAIRS for objective in RECIPES
                                             if (pair, objective) != ("dcgan, batch", "wgan-gp")])
def test_a_training_step_never_waits_for_the_device(pair, objective):
    trainer = trainer_of(pair, objective)
    strict.costs.clear()
    for _ in range(2):
        trainer.step(real_batches(trainer, pair))
    assert strict.costs == []
    trainer.check_finite()
    assert len(strict.costs) == 2  # a flag of each network: what waits is seen


@on_strict
@pytest.mark.parametrize("pair", PAIRS)
def test_sampling_leaves_the_samples_on_the_device(pair):
    trainer = trainer_of(pair, "gan")
    strict.costs.clear()
    samples = trainer.sample(np.zeros((5, trainer.latent)), block=2)
    assert type(samples) is strict.Array and len(samples) == 5
    assert strict.costs == []


@on_strict
@pytest.mark.parametrize("case", TABLE, ids=[f"{case.op}{i}" for i, case in enumerate(TABLE)])
def test_no_operation_and_no_derivative_waits(case):
    leaves = case.leaves(np.float32)
    strict.costs.clear()
    y = case(*leaves)
    c = mg.Tensor(np.ones(y.shape, np.float32), requires_grad=True)
    for create_graph in (False, True):
        gradients = mg.grad(y, leaves, c, create_graph=create_graph)
    squares = sum(((g * g).sum() for g in gradients), mg.Tensor(np.zeros((), np.float32)))
    mg.grad(squares, [*leaves, c], allow_unused=True)
    assert strict.costs == []


@on_strict
def test_no_layer_waits_in_training_or_evaluation():
    layers = {
        (4, 3): [nn.Dense(3, 2), nn.Dense(3, 2, bias=False), nn.BatchNorm(3), nn.LayerNorm(3), nn.ReLU(),
                 nn.LeakyReLU(), nn.Tanh(), nn.Sigmoid(), nn.Flatten(), nn.Reshape(1, 3), nn.Dropout(0.5),
                 nn.SpectralNorm(nn.Dense(3, 2)), nn.Residual(nn.Dense(3, 3)),
                 nn.MinibatchDeviation(), nn.MinibatchDiscrimination(3), nn.Pointwise(3, 2), nn.PixelNorm(),
                 nn.Equalised(nn.Dense(3, 2))],
        (2, 6, 4, 3): [nn.Conv2d(3, 2, 4, 2, 1), nn.ConvTranspose2d(3, 2, 4, 2, 1), nn.Sequential(nn.BatchNorm(3)),
                       nn.LayerNorm(3), nn.Flatten(), nn.InstanceNorm(3, affine=True), nn.Upsample(), nn.AveragePool(),
                       nn.SpectralNorm(nn.Conv2d(3, 2, 3)), nn.SpectralNorm(nn.ConvTranspose2d(3, 2, 4, 2, 1)),
                       nn.ConditionalBatchNorm(3, 2), nn.Beside(nn.Conv2d(5, 1, 3), 2), nn.MinibatchDeviation(),
                       nn.ReflectionPad(1), nn.SelfAttention(3), nn.Equalised(nn.Conv2d(3, 2, 3)), nn.PixelNorm()],
        (2, 3, 3, 4): [nn.PixelShuffle(2)],
    }
    labels, table = np.array([1, 0]), nn.Embedding(4, 2)
    own = {kind for kind in vars(nn).values() if isinstance(kind, type) and issubclass(kind, nn.Module)}
    assert own - {nn.Module, nn.Embedding} == {type(layer) for some in layers.values() for layer in some}
    strict.costs.clear()
    table(labels).sum().backward()
    for shape, some in layers.items():
        x = mg.Tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)
        for layer in some:
            for mode in (True, False):
                more = [labels] if isinstance(layer, (nn.ConditionalBatchNorm, nn.Beside)) else []
                layer.astype(np.float64).train(mode)(x, *more).sum().backward()
    assert strict.costs == []


# The same numbers

def run_of(objective, pair, dtype, steps):
    """What a trainer sees and does on the backend in use: its beginning, its batches, its losses, its streams' end."""
    trainer = trainer_of(pair, objective, dtype)
    x = np.random.default_rng(1).uniform(-1, 1, (40, 2) if pair == "mlp" else (40, *IMAGE)).astype(np.float32)
    batches = data.Batches(x, 8, trainer.streams["data"])
    beginning, losses = trainer.state_dict(), []
    for _ in range(steps):
        stats = trainer.step([batches.next() for _ in range(trainer.batches_per_step)])
        losses.append([backend.to_numpy(stats[name]) for name in ("d_loss", "g_loss")])
    return beginning, batches.state_dict() | trainer.streams.state_dict(), np.array(losses, np.float64)


def assert_identical(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name, strict=True)


@elsewhere
@pytest.mark.parametrize("objective, pair, dtype, tolerance", [
    *[(objective, pair, np.float64, 1e-8) for objective in RECIPES for pair in ("mlp", "dcgan, layer")],
    ("gan", "mlp", np.float32, 1e-3), ("gan", "dcgan, layer", np.float32, 1e-3), ("wgan-gp", "mlp", np.float32, 1e-3)])
def test_twenty_steps_see_the_same_numbers_as_on_numpy_and_lose_the_same(objective, pair, dtype, tolerance):
    """Of a critic, which are four of its generator."""
    steps = 20 // RECIPES[objective].n_critic
    beginning, end, losses = run_of(objective, pair, dtype, steps)
    with mg.use_backend("numpy"):
        expected_beginning, expected_end, expected = run_of(objective, pair, dtype, steps)
    assert_identical(*[{name: array for name, array in state.items() if "averaged" not in name}
                       for state in (beginning, expected_beginning)])  # statistics are computed
    assert_identical(end, expected_end)
    assert (abs(losses - expected) <= tolerance * np.maximum(abs(expected), 1.0)).all()
    assert len(np.unique(expected)) > steps  # it did train


@elsewhere
def test_the_way_with_half_the_multiplications_loses_the_same(monkeypatch):
    """NumPy alone takes it, and only for wide convolutions."""
    taken, way = [], filtering.Filter
    monkeypatch.setattr(filtering, "Filter", lambda *geometry: taken.append(geometry) or way(*geometry))
    monkeypatch.setattr(filtering, "LEAST_OUTPUTS", 1)
    monkeypatch.setitem(globals(), "IMAGE", (16, 28, 1))  # 8 × 14 and 4 × 7 outputs are whole tiles
    monkeypatch.setitem(PAIRS, "wide", lambda rng: networks.dcgan_pair(IMAGE, 3, width=64, rng=rng))
    _, _, losses = run_of("gan", "wide", np.float64, 3)
    assert not taken
    with mg.use_backend("numpy"):
        _, _, expected = run_of("gan", "wide", np.float64, 3)
    assert taken
    assert (abs(losses - expected) <= 1e-8 * np.maximum(abs(expected), 1.0)).all()


@elsewhere
def test_the_modes_of_samples_on_a_device_are_counted(backend_name):
    mixture = data.MIXTURES["ring8"]
    points = mixture.sample(500, np.random.default_rng(0))[0]
    expected = metrics.mode_coverage(points, mixture.modes, mixture.sigma)
    assert metrics.mode_coverage(backend.asarray(points), backend.asarray(mixture.modes), mixture.sigma) == expected
    assert expected.modes == 8


# Judging

def small_classifier():
    """(test images, their features and probabilities, the losses of a training) on the backend in use."""
    streams = backend.Streams(0)
    training, test = lenet.train_and_test("digits", None, streams)
    network = lenet.LeNet((8, 8, 1), 10, streams["init"])
    losses = list(lenet.fit(network, training.x[:300], training.labels[:300], 2, streams))
    found = classifiers.Classifier(network, "LeNet-digits", training.classes, (8, 8, 1), 0.0, "a test")
    return data.to_unit(test.x), found, losses


@elsewhere
def test_a_classifier_trained_there_judges_as_one_trained_here(backend_name):
    x, found, losses = small_classifier()
    assert type(found.network.head.weight.data) is backend.current().array_type
    judged = found.judge(backend.asarray(x))
    with mg.use_backend("numpy"):
        _, expected, expected_losses = small_classifier()
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    for a, b in zip(judged, expected.judge(x)):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)


@on_strict
def test_a_step_of_the_classifier_never_waits_but_for_the_loss_of_an_epoch():
    network = lenet.LeNet((8, 8, 1), 2, backend.Streams()["init"])
    strict.costs.clear()
    list(lenet.fit(network, np.zeros((450, 8, 8, 1), np.uint8), np.arange(450) % 2, 2, backend.Streams()))
    assert len(strict.costs) == 2 and all("float() at lenet.py" in cost for cost in strict.costs)


# Checkpoints

SMALL = {"mlp": dict(width=8, latent=2, batch_size=16), "dcgan": dict(width=2, latent=3, batch_size=8)}
SHAPES = {"mlp": (2,), "dcgan": IMAGE}


def work_in(folder, kind, objective):
    """An experiment at its beginning, on the backend in use."""
    folder.mkdir(exist_ok=True)
    streams = backend.Streams(0)
    options = models.complete(dict(model="gan", objective=objective), Facts(SHAPES[kind])) | SMALL[kind] | dict(ema=0.5)
    x = np.random.default_rng(1).uniform(-1, 1, (40, *SHAPES[kind])).astype(np.float32)
    run_folder.write_options(folder, {"options": options, "sample_shape": list(SHAPES[kind])})
    batches = data.Batches(x, options["batch_size"], streams["data"])
    with redirect_stdout(io.StringIO()):
        return Experiment(folder, models.made(options, Facts(SHAPES[kind]), streams), batches, streams,
                          lambda step: None, lambda: None)


def run(work, steps):
    with redirect_stdout(io.StringIO()):
        work.run(steps, log_every=1, snapshot_every=99, checkpoint_every=99, keep=1)


@elsewhere
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("objective, first", [*[(objective, "here") for objective in RECIPES], ("gan", "there")])
def test_a_checkpoint_is_taken_up_on_the_other_backend_bit_for_bit(tmp_path, backend_name, kind, objective, first):
    here, there = ("numpy", backend_name) if first == "here" else (backend_name, "numpy")
    with mg.use_backend(here):
        run(work_in(tmp_path, kind, objective), 2)
    [path] = run_folder.checkpoints(tmp_path)
    saved = checkpoints.load_checkpoint(path)
    with mg.use_backend(there):
        work = work_in(tmp_path, kind, objective)
        work.restore()
        work.save(keep=1)
        assert_identical(checkpoints.load_checkpoint(path), saved)
        run(work, 3)
    with mg.use_backend(here):
        stayed = work_in(tmp_path / "stayed", kind, objective)
        run(stayed, 3)
    left, right = run_folder.read_stats(tmp_path)[-1], run_folder.read_stats(tmp_path / "stayed")[-1]
    assert left["step"] == right["step"] == 3
    for name in ("d_loss", "g_loss", "d_grad_norm", "g_grad_norm"):
        assert left[name] == pytest.approx(right[name], rel=1e-3, abs=1e-5)


@elsewhere
@pytest.mark.parametrize("kind", SHAPES)
def test_a_run_trained_here_is_sampled_there(tmp_path, kind):
    with mg.use_backend("numpy"):
        run(work_in(tmp_path, kind, "gan"), 3)
        expected = mg.load(tmp_path).sample(20, seed=3)
    generator = mg.load(tmp_path)
    assert type(generator.network.parameters()[0].data) is backend.current().array_type
    samples = generator.sample(20, seed=3)
    assert type(samples) is np.ndarray and samples.std() > 0
    np.testing.assert_allclose(samples, expected, rtol=1e-4, atol=1e-5)


@elsewhere
@pytest.mark.parametrize("source, kind", [("ring8", "points"), ("digits", "images")])
def test_a_run_goes_from_machine_to_machine(tmp_path, monkeypatch, backend_name, source, kind):
    """Trained here, gone on with there, sampled here: at the command line, and as if it had never moved."""
    monkeypatch.chdir(tmp_path)
    for name in ("save_points", "save_game"):
        monkeypatch.setattr(plots, name, lambda *what: None)  # matplotlib takes its time
    monkeypatch.setattr(plots, "save_losses", lambda *what: None)
    monkeypatch.setattr(plots, "save_densities", lambda *what: None)

    def call(main, *arguments, name="numpy"):
        choice = () if name == "numpy" else ("--backend", name)
        with redirect_stdout(io.StringIO()):
            assert main([*arguments, *choice]) == 0
        assert backend.current().name == name

    start = ("--data", source, "--recipe", "dcgan", "--width", "4", "--batch-size", "16", "--latent", "3",
             "--log-every", "1", "--steps")
    call(train.main, *start, "6", "--out", "stays")
    call(train.main, *start, "3", "--out", "moves")
    call(train.main, "--resume", "--out", "moves", "--steps", "6", name=backend_name)
    [stays], [moves] = Path("stays").iterdir(), Path("moves").iterdir()
    assert json.loads((moves / "options.json").read_text())["options"]["backend"] == backend_name
    for a, b in zip(run_folder.read_stats(moves), run_folder.read_stats(stays), strict=True):
        assert a["step"] == b["step"] and a["d_loss"] == pytest.approx(b["d_loss"], rel=1e-3)
    if source == "ring8":  # samples are judged alike
        tables = []
        for name in (backend_name, "numpy"):
            call(evaluate.main, str(stays), "--n", "100", name=name)
            tables.append(json.loads((stays / "metrics.json").read_text())["metrics"])
        for a, b in zip(*([row["value"] for row in table.values()] for table in tables), strict=True):
            assert a == b or a == pytest.approx(b, rel=0.02, abs=0.02)  # where there is no value, None on both
    for run, name in ((stays, backend_name), (moves, "numpy")):
        call(sample.main, str(run), "--n", "9", "--npz", run.parent.name + ".npz", name=name)
    with np.load("stays.npz") as a, np.load("moves.npz") as b:
        np.testing.assert_allclose(a[kind].astype(float), b[kind].astype(float), atol=1 if kind == "images" else 1e-3)
