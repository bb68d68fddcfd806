"""The benchmarks measure what they say, on every backend. `test_readme` compares their figures with
the tables."""

import json
import os
import subprocess
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import strict
from benchmarks import compile as compiling
from benchmarks import gpu, pairing, parity, scaling, train_step, works
from minigan import backend, nn
from minigan.fast import native
from minigan.runs import options
from helpers import torch

__all__ = ["torch"]  # the fixture
ROOT = Path(__file__).parent.parent
KINDS = sorted({name.split("-")[0] for name in works.WORKS})


# The works

@pytest.mark.parametrize("name", ["dcgan28-64", "wgangp28-64", "resnet32-64", "mlp2d-64"])
@pytest.mark.on_each_backend
def test_a_measured_step_is_the_same_on_every_backend(name):
    work = works.WORKS[name]._replace(batch=3)
    here = works.minigan_step(work, "float64")
    with backend.use_backend("numpy"):
        plain = works.minigan_step(work, "float64")
        numpy_losses = [[float(loss) for loss in plain()] for _ in range(2)]
    losses = [[float(backend.to_numpy(loss)) for loss in here()] for _ in range(2)]
    np.testing.assert_allclose(losses, numpy_losses, rtol=1e-9)


@pytest.mark.on_each_engine
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dcgan64"])
def test_minigan_and_pytorch_do_the_same_work(torch, engine, kind):
    """Three steps in float64, as the benchmark checks them before it times any; PyTorch in one
    memory layout beside each engine."""
    work = works.WORKS[f"{kind}-64"]._replace(batch=3)
    steps = {"minigan": works.minigan_step(work, "float64"),
             "torch": works.torch_step(work, "float64", channels_last=engine == "fast")}
    train_step.check_equal(kind, {side: [[float(loss) for loss in step()] for _ in range(3)]
                                  for side, step in steps.items()})


def test_losses_that_differ_end_the_benchmark():
    with pytest.raises(SystemExit, match="dcgan28-64: the losses of the first three steps differ"):
        train_step.check_equal("dcgan28-64", {"minigan": [[1.0, 2.0]], "torch": [[1.0, 2.0001]]})


def test_the_residual_pair_is_the_papers():
    """Miyato et al. 2018, table 4: from 4 × 4 by three doublings to 32 × 32, and two halvings to
    8 × 8, all with 3 × 3 convolutions but for the shortcuts that change the size."""
    generator, discriminator = works.pair(works.WORKS["resnet32-64"])
    shapes = lambda network: [p.shape for p in network.parameters() if p.ndim > 1]
    wide, shortcut = (3, 3, 64, 64), (1, 1, 64, 64)
    assert shapes(generator) == [(128, 4 * 4 * 64), *[wide, wide, shortcut] * 3, (3, 3, 64, 3)]
    assert shapes(discriminator) == [(3, 3, 3, 64), wide, (1, 1, 3, 64), wide, wide, shortcut,
                                     *[wide] * 4, (64, 1)]
    norms = lambda network: sum(isinstance(m, nn.BatchNorm) for _, m in network.named_modules())
    assert norms(generator) == 7 and norms(discriminator) == 0


# What is counted

def test_operations_are_counted_as_direct_convolution_does_them():
    """One multiplication and one addition per weight and output, of dcgan28 with one sample by
    hand."""
    work = works.WORKS["dcgan28-64"]._replace(batch=1)
    first, second, dense = 14 * 14 * 16 * 64, 7 * 7 * 16 * 64 * 128, 7 * 7 * 128
    up, generator_dense = second, 100 * 7 * 7 * 128
    forward_d, forward_g = first + second + dense, generator_dense + up + first
    d_step = forward_g + 2 * (3 * forward_d - first)
    g_step = 3 * forward_g - generator_dense + 2 * forward_d
    assert works.step_flops(work) == 2 * (d_step + g_step)


def test_operations_of_residual_blocks_are_counted_on_both_ways():
    """Of resnet32 with one sample by hand. On a way from the picture the first convolution's input
    needs no gradient: in the discriminator's first block that is one on each way."""
    work = works.WORKS["resnet32-64"]._replace(batch=1)
    wide = lambda side: side * side * 9 * 64 * 64
    shortcut = lambda side: side * side * 64 * 64
    from_picture = 32 * 32 * 9 * 3 * 64 + 16 * 16 * 3 * 64
    forward_d = (from_picture + wide(32) + 2 * wide(16) + shortcut(16) + 4 * wide(8) + 64)
    dense = 128 * 4 * 4 * 64
    forward_g = dense + sum(2 * wide(side) + shortcut(side) for side in (8, 16, 32)) + (
        32 * 32 * 9 * 64 * 3)
    d_step = forward_g + 2 * (3 * forward_d - from_picture)
    g_step = 3 * forward_g - dense + 2 * forward_d
    assert works.step_flops(work) == 2 * (d_step + g_step)


def test_every_work_of_the_tables_exists():
    assert {*works.ON_CPU, *works.ON_GPU} <= works.WORKS.keys()


# The commands

def run(*arguments, **environment):
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, text=True,
                          env=os.environ | environment, capture_output=True)


def without_torch(folder):
    """PyTorch is hidden by a module of its name that cannot be imported."""
    (folder / "torch.py").write_text("raise ImportError('hidden')\n")
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def test_without_pytorch_the_benchmark_measures_minigan_alone_and_says_so(tmp_path):
    done = run("benchmarks.train_step", "--work", "mlp2d-64", "--rounds", "1", "--steps", "1",
               **without_torch(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "PyTorch is not installed" in done.stdout and "mlp2d-64" in done.stdout


def test_the_plain_engine_is_measured_beside_the_fast_one(tmp_path):
    """Each in a process that is told which one to use, whatever this one uses."""
    path = tmp_path / "steps.json"
    done = run("benchmarks.train_step", "--engines", "--work", "mlp2d-64", "--rounds", "1",
               "--steps", "1", "--json", str(path), MINIGAN_FAST="0",
               **without_torch(tmp_path))
    assert done.returncode == 0, done.stderr
    kept = json.loads(path.read_text())
    [row] = kept["rows"]
    assert row["engine"] == ("fast" if compiles() else native.why_not)
    assert row["plain_ms"] > 0 and len(row["plain_ratio"]) == 3
    assert "with the plain engine: fast / plain" in done.stdout
    assert done.stdout.splitlines()[0].startswith(kept["machine"]["cpu"])


@pytest.mark.parametrize("side, is_on", [("minigan", "True"), ("minigan-plain", "False")])
def test_a_side_runs_on_its_engine(side, is_on):
    done = subprocess.run([sys.executable, "-c", "import minigan; print(minigan.fast.is_on())"],
                          cwd=ROOT, env=os.environ | pairing.ENGINES[side], text=True,
                          capture_output=True)
    assert done.stdout.strip() == is_on


def test_a_measurement_without_compiled_kernels_says_so():
    row = {"work": "w", "minigan_ms": 1.0, "gflops": 1.0, "sgemm_gflops": 2.0, "engine": "no cc"}
    assert list(train_step.lines(row))[-1].endswith("without compiled kernels: no cc")


def compiles():
    return native.functions(np.dtype("float32")) is not None


def test_without_a_gpu_the_benchmark_says_what_is_missing():
    from conftest import why_not_cupy
    if why_not_cupy() is None:
        pytest.skip("there is a GPU")
    done = run("benchmarks.train_step", "--backend", "cupy")
    assert done.returncode == 2
    assert "CuPy" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_the_command_line_and_a_script_take_the_same_step():
    """Also in number: from the same seed they lose the same."""
    losses = []
    for make in (scaling.script_step, scaling.command_step):
        backend.seed(0)
        losses.append(float(make()()["d_loss"]))
    assert losses[0] == losses[1]


def test_an_import_is_measured_above_numpys():
    assert 0 < scaling.import_seconds() < 60


def test_what_a_first_use_costs_is_measured_in_an_empty_cache_and_in_a_full_one(monkeypatch):
    """With a stand-in for the process that compiles, which takes its time."""
    measured = []

    def first_use(dtype, cache):
        measured.append(len(list(Path(cache).iterdir())))
        (Path(cache) / f"{dtype}-0.so").write_bytes(bytes(2048))
        return {"seconds": 9.0 if measured[-1] == 0 else 0.009, "why_not": None,
                "compiler": ["cc", "-v"]}
    monkeypatch.setattr(compiling, "first_use", first_use)
    row = compiling.measure("float32", 2)
    assert measured == [0, 1, 0, 1]
    assert row == {"dtype": "float32", "compiler": "cc -v", "compile_s": [9.0, 9.0],
                   "load_ms": [9.0, 9.0], "kib": 2}


def test_without_a_compiler_the_benchmark_of_compiling_says_so(tmp_path):
    if find_spec("ziglang"):
        pytest.skip("the package ziglang has one")
    done = run("benchmarks.compile", PATH=str(tmp_path), CC="")
    assert "there are no compiled kernels: there is no C compiler" in done.stderr


# The benchmarks of a GPU, with the stand-in for CuPy in its place

@pytest.fixture
def a_card(monkeypatch):
    """A backend `cupy` that is the stand-in, on a card of that name; PyTorch's side, too, stays on
    the CPU."""
    device = SimpleNamespace(id=0, synchronize=lambda: None)
    runtime = SimpleNamespace(getDeviceProperties=lambda number: {"name": b"Test Card 9"})
    cuda = SimpleNamespace(runtime=runtime, Device=lambda: device)
    monkeypatch.setitem(vars(strict.xp), "cuda", cuda)
    monkeypatch.setitem(backend._loaders, "cupy", lambda: strict.load()._replace(name="cupy"))
    monkeypatch.setattr(backend, "_loaded", {"numpy": backend._loaded["numpy"]})
    monkeypatch.setattr(backend, "_by_type", dict(backend._by_type))
    monkeypatch.setenv("CUPY_TF32", "0")
    on_cpu = works.torch_step
    monkeypatch.setattr(works, "torch_step", lambda work, dtype="float32", device=None, **layout:
                        on_cpu(work, dtype, **layout))
    yield "Test Card 9"
    backend.use_backend("numpy")


def here(capsys):
    """In place of `pairing.alternate`: each side once, in this process."""
    def alternate(module, sides, rounds, arguments):
        results = {}
        for side in sides:
            backend._loaded.pop("cupy", None)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", [module, "--worker", side, *arguments])
                train_step.main()
            results[side] = [json.loads(capsys.readouterr().out.splitlines()[-1])]
        return results
    return alternate


@pytest.mark.parametrize("tf32", [False, True])
def test_training_steps_on_a_gpu_are_measured_on_both_sides(a_card, torch, monkeypatch, capsys,
                                                            tmp_path, tf32):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    matmul, cudnn = SimpleNamespace(), SimpleNamespace()
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    monkeypatch.setattr(train_step, "launches", lambda step, wait: (step(), 7)[1])
    monkeypatch.setattr(pairing, "alternate", here(capsys))
    path = tmp_path / "steps.json"
    monkeypatch.setattr(sys, "argv", [
        "train_step", "--backend", "cupy", "--work", "mlp2d-64", "--steps", "1", "--engines",
        "--json", str(path)] + ["--tf32"] * tf32)
    train_step.main()
    kept = json.loads(path.read_text())
    [row] = kept["rows"]
    assert row["device"] == a_card
    assert row["launches"] == row["plain_launches"] == row["torch_launches"] == 7
    assert row["minigan_ms"] > 0 and row["torch_ms"] > 0 and len(row["ratio"]) == 3
    assert kept["tf32"] == tf32 == matmul.allow_tf32 == cudnn.allow_tf32
    assert os.environ["CUPY_TF32"] == str(int(tf32))
    assert "7 launches, PyTorch 7" in capsys.readouterr().out


def test_parity_is_measured_and_kept_with_the_card(a_card, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(parity, "STEPS", 1)
    monkeypatch.setattr(parity, "RECIPES", ["lsgan"])
    monkeypatch.setattr(sys, "argv", ["parity", "--json", str(tmp_path / "parity.json")])
    parity.main()
    kept = json.loads((tmp_path / "parity.json").read_text())
    rows = kept["rows"]
    assert kept["device"] == a_card and [row["networks"] for row in rows] == ["mlp", "dcgan"]
    assert all(0 <= row["float64"] < 1e-8 and 0 <= row["float32"] < 1e-3 for row in rows)


def test_one_command_measures_everything_on_a_gpu(a_card, monkeypatch, tmp_path):
    done = []
    fail = lambda command: done.append(command[2:]) or SimpleNamespace(returncode=len(done) == 2)
    monkeypatch.setattr(gpu.subprocess, "run", fail)
    monkeypatch.setattr(sys, "argv", ["gpu", "--results", str(tmp_path)])
    failed = gpu.main()
    path = lambda name: ("--backend", "cupy", "--json",
                         str(tmp_path / f"{name}_test-card-9.json"))
    assert done == [["benchmarks.parity", *path("parity")],
                    ["benchmarks.train_step", "--engines", *path("train_step")],
                    ["benchmarks.train_step", "--tf32", *path("train_step_tf32")]]
    assert failed.startswith("failed on Test Card 9: ") and "tf32" not in failed
    assert {works.WORKS[name].batch for name in works.ON_GPU} == {64, 256, 1024}


def test_a_measure_is_found_by_its_name_or_by_how_that_begins():
    from benchmarks import zoo
    measured = {"L1-input": 3.0, "L1": 2.0, "FD-LeNet-mnist": 7.0}
    assert [zoo.named(measured, name) for name in ("L1", "L1-input", "FD-", "PSNR")] == [2.0, 3.0, 7.0, None]


def test_the_last_samples_of_a_run_and_what_only_its_model_shows_are_kept(tmp_path, monkeypatch):
    from benchmarks import zoo
    made, results = tmp_path / "made", tmp_path / "results"
    (made / "samples").mkdir(parents=True), results.mkdir()
    for name in ("samples/000001", "samples/000020", "attention", "losses"):
        (made / f"{name}.png").write_text(name)
    monkeypatch.setattr(zoo, "RESULTS", results)
    zoo.keep_pictures(made, dict(model="sagan", data="emoji", options="--mirror"))
    assert {path.name: path.read_text() for path in results.iterdir()} == {
        "zoo_sagan_emoji_mirror.png": "samples/000020", "zoo_sagan_emoji_mirror_attention.png": "attention"}


def test_every_command_line_of_the_zoo_can_be_typed():
    from benchmarks import zoo
    for model, examples in zoo.EXAMPLES.items():
        for example in examples:
            sides = {(model, example.options)}
            if example.beside and example.beside.options is not None:
                sides.add((example.beside.model, f"{example.options} {example.beside.options}"))
            for side, words in sides:
                read = options.parser(side).parse_args(["--model", side, "--data", example.data, *words.split()])
                assert (read.model, read.data) == (side, example.data)


def test_a_models_runs_are_kept_as_they_end_and_not_done_again(monkeypatch, tmp_path, capsys):
    """The unconditional runs beside them are those beside other models too."""
    from benchmarks import zoo
    done = []

    def train(model, example, run):
        assert example.data == run["data"] == "fashion-mini" and run["model"] in (model, "gan")
        done.append((run["model"], run["seed"]))
        assert ("--steps 6000" in run["options"]) == (run["model"] == "gan")
        own = {"class_agreement": 0.9 + run["seed"] / 100} if run["model"] != "gan" else {}
        return dict(metrics=own | {"FD-LeNet": 5.0}, seconds=3)
    monkeypatch.setattr(zoo, "train", train)
    monkeypatch.setattr(zoo, "RESULTS", tmp_path)
    for model in ("cgan", "cgan", "acgan"):
        monkeypatch.setattr(sys, "argv", ["zoo", model, "--seeds", "2", "--data", "fashion-mini"])
        zoo.main()
    assert done == [("cgan", 0), ("gan", 0), ("cgan", 1), ("gan", 1), ("acgan", 0), ("acgan", 1)]
    out = capsys.readouterr().out
    assert "| cgan | 2 | 0.905 ± 0.005 | 5 ± 0 | – | 3 ± 0 |" in out
    assert len(re.findall(r"\| gan --recipe annealed .* \| 2 \| – \| 5 ± 0 \| – \| 3 ± 0 \|", out)) == 3
