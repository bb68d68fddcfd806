"""The benchmarks measure what they say, on every backend. `test_readme` compares their figures with the tables."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import strict
from benchmarks import gpu, pairing, parity, train_step, works
from minigan import backend

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["dcgan28-64", "wgangp28-64", "mlp2d-64"])
@pytest.mark.on_each_backend
def test_a_measured_step_is_the_same_on_every_backend(name):
    work = works.WORKS[name]._replace(batch=3)
    here = works.minigan_step(work, "float64")
    with backend.use_backend("numpy"):
        plain = works.minigan_step(work, "float64")
        numpy_losses = [[float(loss) for loss in plain()] for _ in range(2)]
    losses = [[float(backend.to_numpy(loss)) for loss in here()] for _ in range(2)]
    np.testing.assert_allclose(losses, numpy_losses, rtol=1e-9)


def test_operations_are_counted_as_direct_convolution_does_them():
    """One multiplication and one addition per weight and output, of dcgan28 with one sample by hand."""
    work = works.WORKS["dcgan28-64"]._replace(batch=1)
    first, second, dense = 14 * 14 * 16 * 64, 7 * 7 * 16 * 64 * 128, 7 * 7 * 128
    up, generator_dense = second, 100 * 7 * 7 * 128
    forward_d, forward_g = first + second + dense, generator_dense + up + first
    d_step = forward_g + 2 * (3 * forward_d - first)
    g_step = 3 * forward_g - generator_dense + 2 * forward_d
    assert works.step_flops(work) == 2 * (d_step + g_step)


def test_every_work_of_the_tables_exists():
    assert {*works.ON_CPU, *works.ON_GPU} <= works.WORKS.keys()


def test_without_pytorch_the_benchmark_measures_minigan_alone_and_says_so(tmp_path):
    """PyTorch is hidden by a module of its name that cannot be imported."""
    (tmp_path / "torch.py").write_text("raise ImportError('hidden')\n")
    command = [sys.executable, "-m", "benchmarks.train_step", "--work", "mlp2d-64", "--rounds", "1", "--steps", "1"]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""}, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "PyTorch is not installed" in done.stdout and "mlp2d-64" in done.stdout


def test_without_a_gpu_the_benchmark_says_what_is_missing():
    from conftest import why_not_cupy
    if why_not_cupy() is None:
        pytest.skip("there is a GPU")
    done = subprocess.run([sys.executable, "-m", "benchmarks.train_step", "--backend", "cupy"], cwd=ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 2 and "CuPy" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


# The benchmarks of a GPU, with the stand-in for CuPy in its place

@pytest.fixture
def a_card(monkeypatch):
    """A backend `cupy` that is the stand-in, on a card of that name; PyTorch's side, too, stays on the CPU."""
    device = SimpleNamespace(id=0, synchronize=lambda: None)
    runtime = SimpleNamespace(getDeviceProperties=lambda number: {"name": b"Test Card 9"})
    monkeypatch.setitem(vars(strict.xp), "cuda", SimpleNamespace(runtime=runtime, Device=lambda: device))
    monkeypatch.setitem(backend._loaders, "cupy", lambda: strict.load()._replace(name="cupy"))
    monkeypatch.setattr(backend, "_loaded", {"numpy": backend._loaded["numpy"]})
    monkeypatch.setattr(backend, "_by_type", dict(backend._by_type))
    monkeypatch.setenv("CUPY_TF32", "0")
    on_cpu = works.torch_step
    monkeypatch.setattr(works, "torch_step", lambda work, dtype="float32", device=None, **layout: on_cpu(
        work, dtype, **layout))
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
def test_training_steps_on_a_gpu_are_measured_on_both_sides(a_card, monkeypatch, capsys, tmp_path, tf32):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    matmul, cudnn = SimpleNamespace(), SimpleNamespace()
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    monkeypatch.setattr(train_step, "launches", lambda step, wait: (step(), 7)[1])
    monkeypatch.setattr(pairing, "alternate", here(capsys))
    path = tmp_path / "steps.json"
    monkeypatch.setattr(sys, "argv", ["train_step", "--backend", "cupy", "--work", "mlp2d-64", "--steps", "1",
                                      "--json", str(path)] + ["--tf32"] * tf32)
    train_step.main()
    kept = json.loads(path.read_text())
    [row] = kept["rows"]
    assert row["device"] == a_card and row["launches"] == row["torch_launches"] == 7
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
    assert kept["device"] == a_card and [row["networks"] for row in kept["rows"]] == ["mlp", "dcgan"]
    assert all(0 <= row["float64"] < 1e-8 and 0 <= row["float32"] < 1e-3 for row in kept["rows"])


def test_one_command_measures_everything_on_a_gpu(a_card, monkeypatch, tmp_path):
    done = []
    run = lambda command: done.append(command[2:]) or SimpleNamespace(returncode=len(done) == 2)
    monkeypatch.setattr(gpu.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["gpu", "--results", str(tmp_path)])
    failed = gpu.main()
    path = lambda name: ("--backend", "cupy", "--json", str(tmp_path / f"{name}_test-card-9.json"))
    assert done == [["benchmarks.parity", *path("parity")], ["benchmarks.train_step", *path("train_step")],
                    ["benchmarks.train_step", "--tf32", *path("train_step_tf32")]]
    assert failed.startswith("failed on Test Card 9: ") and "tf32" not in failed
    assert {works.WORKS[name].batch for name in works.ON_GPU} == {64, 256, 1024}


def test_the_launches_of_the_table_are_those_that_are_counted():
    from test_kernels import MOST_LAUNCHES
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    for name, launches in MOST_LAUNCHES.items():
        assert f"| `{name.split('-')[0]}` | {launches} |" in text
