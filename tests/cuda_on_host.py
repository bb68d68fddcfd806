"""`cupy.RawModule` without a GPU: CUDA text, compiled for the host by its C++ compiler.

The threads of a block are fibres of one thread of the system: each runs until it comes to
`__syncthreads`, then the next one does. From one barrier to the next they run in the opposite
order, and shared memory begins as NaN. So a barrier that is missing shows in the result, every
time. A barrier that not all threads of a block come to is an error, as is any argument that CuPy
would pass on without a word and the kernel would misread.
"""

import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import strict

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
launches = []  # the names of the kernels, in order
NUMBERS = {"index": (np.int64, ctypes.c_longlong), "double": (np.float64, ctypes.c_double)}
LAUNCHER = r"""
#include <cmath>
#include <functional>
#include <setjmp.h>
#include <ucontext.h>
#define __global__
#define __device__
#define __shared__ static
struct Three { unsigned x, y, z; };
static Three blockIdx, threadIdx, gridDim, blockDim;
static ucontext_t fresh[1024];
static jmp_buf scheduler, fibres[1024];
static bool started[1024], done[1024];
static std::function<void()> body;
static unsigned now;

static void __syncthreads() {
    const unsigned me = now;
    if (!_setjmp(fibres[me])) _longjmp(scheduler, 1);
    threadIdx = {me, 0, 0};
}
static void fibre() {  /* one body after another, of each block the same thread's */
    for (const unsigned me = now;;) {
        threadIdx = {me, 0, 0};
        body();
        done[me] = true;
        if (!_setjmp(fibres[me])) _longjmp(scheduler, 1);
    }
}
__attribute__((noinline)) static void resume(unsigned i) {
    now = i;
    if (_setjmp(scheduler)) return;
    if (started[i]) _longjmp(fibres[i], 1);
    static char stacks[1024][16384];
    getcontext(&fresh[i]);
    fresh[i].uc_stack.ss_sp = stacks[i];
    fresh[i].uc_stack.ss_size = sizeof stacks[i];
    makecontext(&fresh[i], fibre, 0);
    started[i] = true;
    setcontext(&fresh[i]);
}

/* 0; or 1 if some threads of a block came to a barrier and some did not. */
static int one_block(bool barriers) {
    const unsigned n = blockDim.x;
    if (!barriers) {
        for (threadIdx = {0, 0, 0}; threadIdx.x < n; threadIdx.x++) body();
        return 0;
    }
    for (bool back = false;; back = !back) {
        unsigned finished = 0;
        for (unsigned i = 0; i < n; i++) {
            resume(back ? n - 1 - i : i);
            finished += done[now];
        }
        if (finished) {
            for (unsigned i = 0; i < n; i++) {
                started[i] = started[i] && finished == n;
                done[i] = false;
            }
            return finished < n;
        }
    }
}
static int grid(Three blocks, unsigned threads, bool barriers, std::function<void()> call) {
    body = call; gridDim = blocks; blockDim = {threads, 1, 1};
    for (blockIdx.z = 0; blockIdx.z < blocks.z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < blocks.y; blockIdx.y++)
    for (blockIdx.x = 0; blockIdx.x < blocks.x; blockIdx.x++)
        if (one_block(barriers)) return 1;
    return 0;
}
namespace cuda {
using std::exp; using std::fabs; using std::log1p; using std::sqrt; using std::isfinite;
"""
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\) \{')
SHARED = re.compile(r"__shared__ double (\w+)\[(\d+)\]\[(\d+)\];")


class RawModule:
    """As CuPy's, with the arguments that minigan uses."""

    def __init__(self, *, code, options=()):
        assert options == ("-std=c++14",)
        self.code, self.library = code, None
        self.kernels = {name: parameters.split(", ") for name, parameters in KERNEL.findall(code)}

    def get_function(self, name):
        assert name in self.kernels, f"the module has no kernel {name}"
        self.library = self.library or _library(self.code)
        return functools.partial(self._launch, name)

    def _launch(self, name, grid, block, arguments):
        assert type(grid) is tuple and all(type(n) is int and n > 0 for n in grid), grid
        assert len(grid) <= 3 and max(grid[1:], default=1) < 1 << 16, grid
        assert len(block) == 1 and 0 < block[0] <= 1024, block
        assert len(arguments) == len(self.kernels[name]), name
        dtypes = {value.dtype for value, parameter in zip(arguments, self.kernels[name])
                  if "T *" in parameter}
        assert len(dtypes) <= 1 and dtypes <= {self.dtype}, (name, dtypes)
        values = [self._value(name, *pair) for pair in zip(arguments, self.kernels[name])]
        launches.append(name)
        blocks = [ctypes.c_uint(n) for n in (*grid, 1, 1)[:3]]
        launch = getattr(self.library, f"launch_{name}")
        diverged = launch(*blocks, ctypes.c_uint(block[0]), *values)
        assert not diverged, f"{name}: some threads of a block never came to a barrier"

    @property
    def dtype(self):
        return np.dtype({"float": "f", "double": "d"}[re.search(r"typedef (\w+) T;", self.code)[1]])

    def _value(self, name, value, parameter):
        kind = parameter.removeprefix("const ").split()[0]
        if "*" not in parameter:
            dtype, convert = NUMBERS[kind]
            assert type(value) is dtype, (name, parameter, type(value))
            return convert(value)
        assert type(value) is strict.Array, (name, parameter, type(value))
        expected = self.dtype if kind == "T" else np.dtype(NUMBERS[kind][0])
        host = value._host
        assert host.dtype == expected and host.flags.c_contiguous, (name, parameter, host.dtype)
        assert parameter.startswith("const ") or host.flags.writeable, (name, parameter)
        return ctypes.c_void_p(host.ctypes.data)


@functools.cache
def _library(code):
    poison = SHARED.sub(r"static double \1[\2][\3]; if (threadIdx.x == 0) for (auto &row : \1) "
                        r"for (double &x : row) x = NAN;", code)
    launchers = []
    for match in KERNEL.finditer(code):
        name, parameters = match.groups()
        body = code[match.end():code.find('extern "C"', match.end()) % (len(code) + 1)]
        names = ", ".join(p.rpartition(" ")[2].lstrip("*") for p in parameters.split(", "))
        launchers.append(
            f'extern "C" int launch_{name}(unsigned gx__, unsigned gy__, unsigned gz__, '
            f"unsigned t__, {parameters}) {{ return grid({{gx__, gy__, gz__}}, t__, "
            f"{int('__syncthreads' in body)}, [=] {{ {name}({names}); }}); }}")
    with tempfile.TemporaryDirectory() as folder:
        path, library = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        path.write_text(LAUNCHER + poison + "\n".join(launchers) + "\n}\n")
        done = subprocess.run(
            [COMPILER, "-std=c++14", "-O1", "-Wall", "-Werror", "-Wno-unused", "-ffp-contract=off",
             "-shared", "-fPIC", "-o", library, path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]
        return ctypes.CDLL(str(library))


def offered(monkeypatch):
    """Let the stand-in for CuPy have this class, until the test's end."""
    monkeypatch.setitem(vars(strict.xp), "RawModule", RawModule)
    launches.clear()
