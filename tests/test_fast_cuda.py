"""The fast engine on a GPU, without one: its CUDA text is compiled by NVRTC, and by the host's C++
compiler it is run on the stand-in for CuPy, from single kernels to training steps."""

import ctypes
import glob
import sysconfig
from math import prod
from pathlib import Path

import numpy as np
import pytest

import cuda_on_host
import minigan as mg
import strict
from fast_helpers import agree, derivatives, drawn, plain_engine
from minigan import backend, normalize, ops
from minigan.autograd import sum_to
from minigan.fast import cuda, kernels, launch, native, norms, text, updates

needs_cxx = pytest.mark.skipif(cuda_on_host.COMPILER is None, reason="no C++ compiler is installed")
needs_c = pytest.mark.skipif(native.functions(np.dtype("f")) is None,
                             reason=f"no compiled kernels: {native.why_not}")


@pytest.fixture
def device(monkeypatch):
    """The stand-in with kernels."""
    cuda_on_host.offered(monkeypatch)
    with mg.use_backend("strict"):
        yield cuda_on_host.launches
    assert strict.violations == []


# NVRTC

def _nvrtc():
    found = glob.glob(str(Path(sysconfig.get_path("purelib"), "nvidia/**/libnvrtc.so.*")),
                      recursive=True)
    # PyTorch may have brought another one: the oldest, which knows the oldest cards.
    return ctypes.CDLL(min(found, key=lambda path: int(path.rpartition(".")[2]))) if found else None


def _compiled(nvrtc, code, *options):
    """(status, what the compiler says)."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None,
                                    None) == 0
    status = nvrtc.nvrtcCompileProgram(program, len(options), given)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return status, [line for line in log.value.decode().splitlines()
                    if line.strip() and "Architectures prior to" not in line]


class Recorded:
    """A namespace whose RawModule only keeps what it is given."""

    def __init__(self):
        self.modules = []

    def RawModule(self, code, options):
        self.modules.append((code, options))
        return self

    def get_function(self, name):
        assert f" {name}(" in self.modules[-1][0] or f" {name}(" in self.modules[0][0]
        return name


@pytest.mark.parametrize("dtype, architecture", [
    ("float32", "sm_70"), ("float64", "sm_80"), ("float32", "sm_90"),
    *[pytest.param(*both, marks=pytest.mark.slow)
      for both in (("float64", "sm_70"), ("float32", "sm_80"), ("float64", "sm_90"))]])
def test_nvrtc_takes_what_cupy_is_given(dtype, architecture):
    """Without an error and without a warning, the kernels that join arrays included."""
    nvrtc = _nvrtc()
    if nvrtc is None:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
    xp = Recorded()
    joining = [updates._joining(n) for n in (1, 2, 9, updates.MOST_JOINED)]
    for kernel in [*kernels.KERNELS, *joining]:
        cuda._function(xp, np.dtype(dtype), kernel)
    assert len(xp.modules) == 5
    for code, options in xp.modules:
        assert _compiled(nvrtc, code, *options, f"-arch={architecture}") == (0, [])


def test_nvrtc_would_say_what_is_wrong():
    nvrtc = _nvrtc()
    if nvrtc is None:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
    assert _compiled(nvrtc, "__global__ void f() { undefined(); }")[0] != 0
    assert _compiled(nvrtc, "__global__ void f() { int unused; }")[1] != []


def test_the_arguments_of_a_joining_kernel_fit_into_four_kilobytes():
    assert 16 * updates.MOST_JOINED + 16 <= 4096


# The stand-in itself

def module(body, parameters="index n_i, double *y_"):
    return cuda_on_host.RawModule(code=(
        "typedef double T;\ntypedef long long index;\n"
        f'extern "C" __global__ void f({parameters}) {{ {body} }}'), options=("-std=c++14",))


SHIFT = """__shared__ double s[1][256]; s[0][threadIdx.x] = threadIdx.x; %s
           y_[threadIdx.x] = s[0][(threadIdx.x + %s) %% 256];"""


@needs_cxx
@pytest.mark.parametrize("shift", [1, 255])
def test_a_barrier_is_one_and_a_missing_one_shows(device, shift):
    y, n = backend.asarray(np.zeros(256)), np.int64(1)
    module(SHIFT % ("__syncthreads();", shift)).get_function("f")((2,), (256,), (n, y))
    np.testing.assert_array_equal(y._host, np.roll(np.arange(256), -shift))
    module(SHIFT % ("if (n_i > 5) __syncthreads();", shift)).get_function("f")((2,), (256,), (n, y))
    assert np.isnan(y._host).any() or (y._host != np.roll(np.arange(256), -shift)).any()


@needs_cxx
def test_a_barrier_that_some_do_not_reach_is_an_error(device):
    f = module("if (threadIdx.x < 100) __syncthreads(); y_[0] = 1;").get_function("f")
    with pytest.raises(AssertionError, match="never came to a barrier"):
        f((1,), (256,), (np.int64(1), backend.asarray(np.zeros(256))))


@needs_cxx
@pytest.mark.parametrize("n, y", [
    (1, np.zeros(2)), (np.int32(1), np.zeros(2)), (np.int64(1), np.zeros(2, np.float32)),
    (np.int64(1), np.zeros((2, 3)).T)])
def test_arguments_that_a_gpu_would_misread_are_errors(device, n, y):
    y = strict.Array(y)
    with pytest.raises(AssertionError):
        module("y_[0] = 1;").get_function("f")((1,), (256,), (n, y))
    with pytest.raises(AssertionError):
        module("y_[0] = 1;").get_function("f")((0,), (256,), (np.int64(1), backend.asarray([1.0])))


@needs_cxx
@pytest.mark.parametrize("place", [-1, 2])
def test_an_element_outside_of_an_array_is_an_error(device, place):
    f = module(f"y_[{place}] = 1;").get_function("f")
    with pytest.raises(AssertionError, match="outside of y_"):
        f((1,), (1,), (np.int64(1), backend.asarray(np.zeros(2))))


# Each kernel: the same as its C version, which touches nothing outside of its arrays

LOOPS = {"i": 301, "row": 70, "channel": 37, "sample": 3, "position": 5, "h": 4, "w": 6,
         "number": 7, "column": 3, "u": 3, "vc": 6, "part": 4, "one": 1}
PARTS = 5
SPECIAL = {  # kernel: (loops, whole arrays and numbers)
    "batch_statistics": ({}, {"sums": 2 * PARTS * 37, "parts": PARTS, "n": 70}),
    "batch_slopes": ({}, {"sums": 2 * PARTS * 37, "parts": PARTS, "n": 70}),
    "fold_one": ({}, {"sums": PARTS * 37, "parts": PARTS}),
    "fold_two": ({}, {"sums": 2 * PARTS * 37, "parts": PARTS}),
    "layer_gradient": ({}, {"sums": 6}), "layer_second": ({}, {"sums": 15}),
    "layer_weight_sums": ({"row": 15}, {"mean": 3, "inverse": 3, "positions": 5}),
    "layer_second_weight_sums": ({"row": 15}, {"mean": 3, "inverse": 3, "sums": 15, "positions": 5,
                                               "samples": 3}),
    "gather": ({"row": 2}, {"x": 3 * 5 * 7 * 2, "H": 5, "W": 7, "C": 2, "sh": 2, "sw": 3, "ph": 1,
                            "pw": 2}),
    "scatter": ({"h": 5, "w": 7, "channel": 2}, {
        "windows": 3 * 2 * 3 * 3 * 3 * 2, "KH": 3, "KW": 3, "OH": 2, "OW": 3, "sh": 2, "sw": 3,
        "ph": 1, "pw": 2}),
    "upsample": ({"h": 6}, {"x": 3 * 3 * 3 * 37, "factor": 2}),
    "pool": ({}, {"x": 3 * 8 * 12 * 37, "factor": 2}), "spread": ({}, {"x": 1}),
    "spectral": ({}, {"sigma": 1}), "spectral_gradient": ({}, {"sigma": 1, "sigma_gradient": 1}),
    "squares": ({"row": 2}, {"g": 50, "n": 50}),  # of 56
    "less_largest": ({}, {"line": 70 * 37}),
    "flag": ({}, {"squares": 4, "parts": 4, "step": 7}),
}


def given(kernel, dtype):
    """(sizes, arguments) for a kernel: arrays with NaN on both sides of them."""
    loops, special = SPECIAL.get(kernel.name, ({}, {}))
    loops = LOOPS | loops
    sizes, arguments = [loops[name] for name in kernel.loops], []
    for seed, argument in enumerate(kernel.arguments):
        if not argument.array:
            arguments.append(special[argument.name] if argument.kind == "index" else 0.3)
            continue
        size = (special[argument.name] if argument.indices is None
                else prod(loops[name] for name in argument.indices))
        kind = launch.KINDS.get(argument.kind, np.dtype(dtype))
        edged = np.full(size + 32, np.nan if kind.kind == "f" else 99, kind)
        values = drawn(size, seed)
        if argument.name in ("v", "squares", "sums", "power"):
            values = abs(values)
        edged[16:-16] = values if kind.kind == "f" else np.arange(size) % 3 - 1
        arguments.append(edged[16:-16])
    return sizes, arguments


@needs_cxx
@needs_c
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", kernels.KERNELS, ids=lambda kernel: kernel.name)
def test_each_kernel_is_the_same_in_c_and_in_cuda(device, kernel, dtype):
    def results(on_host):
        sizes, arguments = given(kernel, dtype)
        there = [backend.asarray(a, a.dtype) if isinstance(a, np.ndarray) and not on_host else a
                 for a in arguments]
        call = launch.sums if isinstance(kernel, text.Sum) else launch.run
        found = call(kernel, sizes, *there)
        outputs = [a for a, argument in zip(there, kernel.arguments) if argument.writable]
        if isinstance(kernel, text.Sum):
            outputs.append(found.sum(0))
        if on_host:
            for a in arguments:
                if isinstance(a, np.ndarray):
                    edges = np.concatenate([a.base[:16], a.base[-16:]])
                    assert (np.isnan(edges) if a.dtype.kind == "f" else edges == 99).all()
        return [o if on_host else o._host for o in outputs]
    with np.errstate(all="ignore"):
        here, there = results(True), results(False)
    assert all(np.isfinite(a).all() for a in here)
    agree(there, here, 1e-5 if dtype == "float32" else 1e-12)


def test_every_kernel_that_has_special_arguments_exists():
    assert SPECIAL.keys() <= {kernel.name for kernel in kernels.KERNELS}


# Operations that are others on a GPU

@needs_cxx
@pytest.mark.parametrize("f, shape", [
    (ops.sum, (3, 4)), (ops.mean, (3, 4)), (ops.mean, (7,)), (ops.sum, ()),
    (lambda x: ops.sum(x, 1), (3, 4)), (lambda x: ops.sum(x, (1,), True), (3, 4)),
    (lambda x: ops.sum(x, 0), (3, 4)), (lambda x: ops.mean(x, keepdims=True), (3, 4)),
    (lambda x: ops.sum(x, keepdims=True), (3, 2, 4)), (lambda x: ops.mean(x, (0, 2)), (3, 2, 4)),
    (lambda x: sum_to(x, (4,)), (3, 2, 4)), (lambda x: sum_to(x, (1,)), (30, 1)),
    (lambda x: ops.norm(x, 1), (3, 4)), (ops.softplus, (3, 4)), (ops.tanh, (5,)),
    (ops.sigmoid, (5,)), (lambda x: ops.leaky_relu(x, 0.3), (5, 3)),
    (lambda x: ops.upsample(x, 3), (2, 3, 2, 3)), (lambda x: ops.average_pool(x, 2), (2, 4, 6, 3)),
    (lambda x: normalize.layer_norm(x, x[0, 0], x[0, 1]), (3, 2, 5)),
    (lambda x: norms.batch_norm_leaky(x, x[0, 0], x[0, 1], 1e-2, 0.2), (3, 2, 5))])
def test_values_and_derivatives_are_the_plain_ones(device, f, shape):
    x = drawn(shape, 0)
    with mg.use_backend("numpy"), plain_engine():
        cotangent = drawn(f(mg.Tensor(x)).shape, 1)
        plain = derivatives(lambda t: f(t * t), [x], cotangent, [True])
    found = on_device(lambda t: f(t * t), x, cotangent)
    agree(found, plain, 1e-11)


def on_device(f, array, cotangent):
    """`derivatives` of arrays on the stand-in."""
    x = mg.Tensor(backend.asarray(array), requires_grad=True)
    c = mg.Tensor(backend.asarray(cotangent), requires_grad=True)
    [first] = mg.grad(f(x), x, c.detach())
    y = f(x)
    [graph] = mg.grad(y, x, c, create_graph=True)
    total = (graph * backend.asarray(drawn(graph.shape, 90))).sum()
    second = mg.grad(total, [x, c], allow_unused=True)
    return [None if t is None else t.data._host for t in [y, first, graph, *second]]
