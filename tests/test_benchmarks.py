"""The benchmarks measure what they say, on every backend. `test_readme` compares their figures with the tables."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import works
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
