"""Backends are chosen, never guessed; arrays keep their dtype; random streams are named and independent."""

import re
import subprocess
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from conftest import why_not_cupy
from minigan import backend, sample, train


# Choosing a backend

class Elsewhere(np.ndarray):
    """NumPy arrays that stand for those of another device."""


def load_elsewhere():
    xp = types.ModuleType("elsewhere")
    xp.asarray = lambda data, dtype=None: np.array(data, dtype=dtype).view(Elsewhere)
    return backend.Backend("elsewhere", xp, Elsewhere, lambda array: array.view(np.ndarray))


@pytest.fixture
def registry(monkeypatch):
    """The register of backends, put back afterwards; only NumPy is loaded."""
    monkeypatch.setattr(backend, "_loaders", dict(backend._loaders))
    monkeypatch.setattr(backend, "_loaded", {"numpy": backend._loaded["numpy"]})
    monkeypatch.setattr(backend, "_by_type", {np.ndarray: backend._loaded["numpy"]})


def test_numpy_is_the_backend_until_another_is_chosen():
    code = "import minigan; print(minigan.backend.current().name)"
    assert run_python(code) == "numpy"


def test_a_backend_is_in_use_inside_the_with_block_only(registry):
    backend.register("elsewhere", load_elsewhere)
    with mg.use_backend("elsewhere") as chosen:
        assert chosen.name == backend.current().name == "elsewhere"
        with mg.use_backend("numpy"):
            assert backend.current().name == "numpy"
        assert backend.current().name == "elsewhere"
    assert backend.current().name == "numpy"


def test_a_backend_chosen_by_a_plain_call_stays(registry):
    backend.register("elsewhere", load_elsewhere)
    mg.use_backend("elsewhere")
    assert type(mg.Tensor([1.0]).data) is Elsewhere
    mg.use_backend("numpy")
    assert type(mg.Tensor([1.0]).data) is np.ndarray


def test_the_previous_backend_returns_after_an_error_in_the_block(registry):
    backend.register("elsewhere", load_elsewhere)
    with pytest.raises(ZeroDivisionError), mg.use_backend("elsewhere"):
        1 / 0
    assert backend.current().name == "numpy"


def test_an_unknown_backend_is_refused_and_the_known_ones_are_named():
    with pytest.raises(mg.BackendError, match="'jax'.*numpy, cupy"):
        mg.use_backend("jax")
    assert backend.current().name == "numpy"


def test_a_backend_error_is_no_reason_to_fall_back(registry):
    def broken():
        raise mg.BackendError("the device is on fire")
    backend.register("broken", broken)
    for _ in range(2):  # a failure is not remembered as a success
        with pytest.raises(mg.BackendError, match="on fire"):
            mg.use_backend("broken")
    assert backend.current().name == "numpy"


def test_a_third_backend_is_loaded_when_first_used_and_once(registry):
    calls = []
    backend.register("elsewhere", lambda: calls.append(1) or load_elsewhere())
    assert not calls and "elsewhere" in backend.names()
    for _ in range(2):
        with mg.use_backend("elsewhere"):
            x = mg.Tensor(np.ones((2, 3), np.float64))
    assert calls == [1]
    assert type(x.data) is Elsewhere and x.dtype == np.float64
    assert x.xp.__name__ == "elsewhere" and backend.backend_of(x.data).name == "elsewhere"
    assert type(x.numpy()) is np.ndarray


def test_tensors_of_two_backends_do_not_mix(registry):
    backend.register("elsewhere", load_elsewhere)
    here = mg.Tensor([1.0, 2.0])
    with mg.use_backend("elsewhere"):
        there = mg.Tensor([3.0, 4.0])
    with pytest.raises(TypeError, match="add.*on numpy and .*on elsewhere"):
        here + there
    with pytest.raises(TypeError, match="on elsewhere and .*on numpy"):
        there + np.ones(2, np.float32)  # an array is refused where it is, not fetched


# CuPy, where it is missing or broken

def stand_in_for_cupy(count=1, product=8.0):
    """A module that counts and multiplies as told, or raises what it is given instead."""
    def told(answer):
        if isinstance(answer, Exception):
            raise answer
        return answer

    class Ones:
        def __matmul__(self, other):
            return np.full(1, told(product))

    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=lambda: told(count)))
    cupy.ones = lambda shape, dtype: Ones()
    cupy.ndarray, cupy.asnumpy, cupy.ElementwiseKernel = Elsewhere, np.asarray, None
    return cupy


# The texts in quotes are what CuPy 14.2 says.
NO_DRIVER = RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")
NO_GPU = RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
NO_COMPILER = RuntimeError('Failure finding "libnvrtc.so.13 or libnvrtc.so.12": No such file: libnvrtc.so.13\n')
NO_LIBRARY = ImportError('Failure finding "libcublasLt.so.13 or libcublasLt.so.12": No such file: libcublasLt.so.13\n')
USELESS = {
    "missing": (None, r"CuPy, which is not installed: pip install 'minigan\[cuda13x\]'.*'minigan\[cuda12x\]'"),
    "no driver": (stand_in_for_cupy(NO_DRIVER), "driver does not answer.*InsufficientDriver.*update the driver"),
    "no GPU": (stand_in_for_cupy(NO_GPU), "no NVIDIA GPU is visible.*CUDA_VISIBLE_DEVICES"),
    "none of them": (stand_in_for_cupy(0), "no NVIDIA GPU is visible.*CUDA_VISIBLE_DEVICES"),
    "no compiler": (stand_in_for_cupy(1, NO_COMPILER), r"cannot multiply.*libnvrtc.*libraries.*cupy-cuda13x\[ctk\]"),
    "no library": (stand_in_for_cupy(1, NO_LIBRARY), r"cannot multiply.*libcublasLt.*libraries.*cupy-cuda12x\[ctk\]"),
    "wrong product": (stand_in_for_cupy(1, 7.0), "wrong result.*use --backend numpy"),
}
useless = pytest.mark.parametrize("cupy, message", USELESS.values(), ids=USELESS)


@useless
def test_cupy_that_cannot_work_says_what_to_do_and_stops(registry, monkeypatch, cupy, message):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(mg.BackendError, match=f"(?s){message}"):
        mg.use_backend("cupy")
    assert backend.current().name == "numpy"


@useless
@pytest.mark.parametrize("main, arguments", [(train.main, ["--data", "ring8", "--steps", "1"]), (sample.main, ["run"])])
def test_the_command_lines_say_so_in_one_line_and_end_with_status_2(
        registry, monkeypatch, tmp_path, capsys, main, arguments, cupy, message):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--backend", "cupy"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and re.search(message, err)
    assert list(tmp_path.iterdir()) == []


def test_of_a_broken_installation_the_cause_is_told_and_not_the_advice_around_it(registry, monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text("try:\n    import libcupy_core\nexcept ImportError as error:\n"
                                      "    raise ImportError('====\\nFailed to import CuPy.\\n====') from error\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with pytest.raises(mg.BackendError, match=r"installed, but cannot be imported \(No module named 'libcupy_core'\)"):
        mg.use_backend("cupy")


def test_the_real_cupy_without_a_gpu_is_refused(registry):
    if why_not_cupy() != "CuPy finds no GPU":
        pytest.skip("needs CuPy, and no GPU")
    with pytest.raises(mg.BackendError, match="driver does not answer|no NVIDIA GPU is visible"):
        mg.use_backend("cupy")


def test_cupy_is_used_once_it_has_multiplied(registry, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", stand_in_for_cupy())
    with mg.use_backend("cupy"):
        assert backend.current().name == "cupy"


def test_tf32_is_allowed_before_cupy_is_used_and_not_later(registry, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", stand_in_for_cupy())
    monkeypatch.setenv("CUPY_TF32", "0")
    backend.allow_tf32()
    assert os.environ["CUPY_TF32"] == "1"
    with mg.use_backend("cupy"), pytest.raises(mg.BackendError, match="before the cupy backend is first used"):
        backend.allow_tf32()


def test_tf32_on_a_cpu_is_refused(tmp_path, capsys):
    assert train.main(["--data", "ring8", "--tf32", "--out", str(tmp_path)]) == 2
    assert "--tf32 is for --backend cupy, not numpy" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# Arrays

@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_float_array_keeps_its_dtype_and_is_not_copied(dtype):
    array = np.ones((2, 3), dtype)
    assert backend.asarray(array) is array
    assert mg.Tensor(array).data is array


@pytest.mark.parametrize("data", [
    [1, 2], [1.5, 2.5], (1.0, 2.0), 3, 2.5, True, np.arange(3), np.arange(3, dtype=np.uint8), np.array([True, False])],
    ids=repr)
def test_everything_else_becomes_float32(data):
    array = backend.asarray(data)
    assert type(array) is np.ndarray and array.dtype == np.float32
    np.testing.assert_array_equal(array, np.asarray(data, np.float32))


def test_a_numpy_float_scalar_is_an_array_without_axes_and_keeps_its_dtype():
    for dtype in (np.float32, np.float64):
        array = backend.asarray(dtype(1.5))
        assert type(array) is np.ndarray and array.shape == () and array.dtype == dtype


def test_a_dtype_asked_for_is_given():
    assert backend.asarray(np.ones(2), np.float32).dtype == np.float32
    assert backend.asarray([1, 2], np.float64).dtype == np.float64


@pytest.mark.parametrize("data", [np.ones(2, complex), "text", None, [None], object()],
                         ids=lambda data: type(data).__name__)
def test_what_is_not_real_numbers_is_refused(data):
    with pytest.raises(TypeError):
        backend.asarray(data)


def test_to_numpy_takes_arrays_only():
    array = np.ones(2)
    assert backend.to_numpy(array) is array
    with pytest.raises(TypeError, match="list"):
        backend.to_numpy([1.0])


# Random streams

def draws(streams, name, n=8):
    return streams[name].standard_normal(n)


def test_a_seed_and_a_name_determine_a_stream():
    np.testing.assert_array_equal(draws(backend.Streams(3), "noise"), draws(backend.Streams(3), "noise"))


def test_streams_of_other_names_and_seeds_are_other_numbers():
    streams = [draws(backend.Streams(s), name, 2000) for s in (0, 1, 256) for name in ("a", "b", "ab", "noise", "data")]
    correlations = np.corrcoef(streams) - np.eye(len(streams))
    assert np.abs(correlations).max() < 0.1


@given(st.lists(st.sampled_from(["init", "noise", "data", "preview"]), max_size=12))
def test_drawing_from_one_stream_never_changes_another(drawn_before):
    streams = backend.Streams(5)
    for name in drawn_before:
        draws(streams, name)
    np.testing.assert_array_equal(draws(streams, "penalty"), draws(backend.Streams(5), "penalty"))


def test_a_stream_goes_on_where_it_was_left():
    streams = backend.Streams(0)
    halves = np.concatenate([draws(streams, "noise", 4), draws(streams, "noise", 4)])
    np.testing.assert_array_equal(halves, draws(backend.Streams(0), "noise", 8))


def test_the_package_streams_restart_with_seed():
    mg.seed(7)
    first = draws(backend.streams, "noise")
    assert not np.array_equal(draws(backend.streams, "noise"), first)
    mg.seed(7)
    np.testing.assert_array_equal(draws(backend.streams, "noise"), first)
    mg.seed(8)
    assert not np.array_equal(draws(backend.streams, "noise"), first)


def test_who_holds_a_stream_sees_it_restarted_and_restored():
    """A layer keeps its generator; a run that is resumed must not go on drawing from an old one."""
    streams = backend.Streams(5)
    held = streams["dropout"]
    first, state = held.standard_normal(4), streams.state_dict()
    second = held.standard_normal(4)
    streams.restart(5)
    np.testing.assert_array_equal(held.standard_normal(4), first)
    streams.load_state_dict(state)
    np.testing.assert_array_equal(held.standard_normal(4), second)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "0", None])
def test_a_seed_is_an_integer_that_fits_its_64_bits(seed):
    with pytest.raises(ValueError, match=r"seed: expected an integer ≥ 0 and below 2\*\*64, got"):
        backend.Streams(seed)


@given(st.integers(0, 2**64 - 1), st.lists(st.tuples(
    st.sampled_from(["noise", "data"]), st.sampled_from(["random", "normal", "int32", "float32", "permutation"])),
    max_size=8))
def test_a_saved_stream_continues_with_the_very_next_number(seed, history):
    def draw(streams, name, kind):
        generator = streams[name]
        return {"random": lambda: generator.random(3),
                "normal": lambda: generator.standard_normal(3),
                "int32": lambda: generator.integers(0, 2**32, 1, dtype=np.uint32),  # leaves half a word behind
                "float32": lambda: generator.random(1, dtype=np.float32),
                "permutation": lambda: generator.permutation(7)}[kind]()

    streams = backend.Streams(seed)
    for name, kind in history:
        draw(streams, name, kind)
    state = streams.state_dict()
    restored = backend.Streams(0)
    draws(restored, "noise"), draws(restored, "preview")  # what the other one drew is forgotten
    restored.load_state_dict(state)
    for name in ("noise", "data", "preview"):
        for kind in ("int32", "float32", "random", "permutation", "normal", "int32"):
            np.testing.assert_array_equal(draw(streams, name, kind), draw(restored, name, kind))


def test_a_state_is_integers_only_and_a_copy():
    streams = backend.Streams(0)
    streams["noise"].integers(0, 2**32, 3, dtype=np.uint32)
    state = streams.state_dict()
    assert set(state) == {"seed", "noise"}
    assert all(type(value) is np.ndarray and value.dtype.kind == "u" for value in state.values())
    expected = draws(streams, "noise")  # moves the stream, not the state
    streams.load_state_dict(state)
    np.testing.assert_array_equal(draws(streams, "noise"), expected)


def test_a_damaged_state_is_refused():
    with pytest.raises(ValueError, match="13 uint64"):
        backend.Streams(0).load_state_dict(backend.Streams(0).state_dict() | {"noise": np.zeros(12, np.uint64)})


# Importing

def run_python(code):
    """What `code` prints in a fresh interpreter that can import this package."""
    root = Path(mg.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_minigan_imports_no_picture_library_and_no_cupy():
    code = "import sys, minigan; print(sorted({'matplotlib', 'PIL', 'cupy'} & set(sys.modules)))"
    assert run_python(code) == "[]"
