"""`cupy.ElementwiseKernel` without a GPU: the body is compiled for the host by the system's C++ compiler.

What is tested so is the body, on real arrays, and what is given to it. CUDA itself is not.
"""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import strict

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
SCALARS = {"float64": ("double", ctypes.c_double, float), "int64": ("long long", ctypes.c_longlong, int)}
launches = []  # names, in order


class ElementwiseKernel:
    """Called as CuPy's, with arrays of `strict`; the outputs must be given."""

    def __init__(self, inputs, outputs, body, name):
        self.name, self.body = name, body
        self.inputs, self.outputs = _declared(inputs), _declared(outputs)

    def __call__(self, *arguments):
        declared = [*self.inputs, *self.outputs]
        assert len(arguments) == len(declared), (self.name, declared)
        outputs = arguments[len(self.inputs):]
        shape, dtype = outputs[0].shape, outputs[0].dtype
        assert all(out.shape == shape and out._host.flags.c_contiguous and out._host.flags.writeable
                   for out in outputs), self.name
        given = [self._argument(value, *how, shape, dtype) for value, how in zip(arguments, declared)]
        _library(self.inputs, self.outputs, self.body)[dtype.name](
            ctypes.c_ssize_t(outputs[0].size), *[value.ctypes if isinstance(value, np.ndarray) else value
                                                 for value in given])
        launches.append(self.name)
        return outputs if len(outputs) > 1 else outputs[0]

    def _argument(self, value, raw, kind, name, shape, dtype):
        if kind in SCALARS:
            _, c_type, python_type = SCALARS[kind]
            assert type(value) is python_type, (self.name, name, type(value))
            return c_type(value)
        assert isinstance(value, strict.Array) and value.dtype == dtype, (self.name, name)
        host = value._host if raw else np.broadcast_to(value._host, shape)
        return np.ascontiguousarray(host)  # an output is contiguous already, and is itself


def _declared(text):
    """(("raw" or "", type, name), …) of "raw T x, float64 slope"."""
    words = [declaration.split() for declaration in text.split(",")]
    return tuple(("raw" if len(each) == 3 else "", *each[-2:]) for each in words)


@functools.cache
def _library(inputs, outputs, body):
    """{dtype: the compiled loop over all elements}."""
    loops = {"float32": _loop("float", "float32", inputs, outputs, body),
             "float64": _loop("double", "float64", inputs, outputs, body)}
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
        source.write_text("#include <cmath>\n#include <cstddef>\nusing namespace std;\n" + "\n".join(loops.values()))
        subprocess.run([COMPILER, "-std=c++11", "-O1", "-Wall", "-Werror", "-Wno-unused", "-ffp-contract=off",
                        "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True, text=True)
        loaded = ctypes.CDLL(str(library))
    return {name: getattr(loaded, name) for name in loops}


def _loop(T, function, inputs, outputs, body):
    parameters, locals_ = ["ptrdiff_t n"], []
    for raw, kind, name in inputs:
        if kind in SCALARS:
            parameters.append(f"{SCALARS[kind][0]} {name}")
        elif raw:
            parameters.append(f"const T *{name}")
        else:
            parameters.append(f"const T *{name}_")
            locals_.append(f"const T {name} = {name}_[i];")
    for _, _, name in outputs:
        parameters.append(f"T *{name}_")
        locals_.append(f"T &{name} = {name}_[i];")
    return (f'extern "C" void {function}({", ".join(parameters)}) {{\n'.replace("T ", f"{T} ")
            + f"using T = {T};\nfor (ptrdiff_t i = 0; i < n; i++) {{\n" + "\n".join(locals_) + body + "\n}}\n")
