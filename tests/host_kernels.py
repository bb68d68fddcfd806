"""`cupy.ElementwiseKernel` and `cupy.ReductionKernel` without a GPU: compiled for the host by the C++ compiler.

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
NUMBERS = {"float64": ("double", ctypes.c_double, float), "int64": ("long long", ctypes.c_longlong, int)}
launches = []  # names, in order


class _Kernel:
    """What is declared, and the arguments that are given: arrays of `strict`, Python's numbers, and all outputs."""

    def __init__(self, inputs, outputs, body, name):
        self.name, self.body, self.inputs, self.outputs = name, body, _declared(inputs), _declared(outputs)

    def arguments(self, arguments):
        """(inputs, outputs, dtype T): NumPy arrays, and what `ctypes` passes for a number."""
        declared = [*self.inputs, *self.outputs]
        assert len(arguments) == len(declared), (self.name, declared)
        [dtype] = {value.dtype for value, (_, kind, _) in zip(arguments, declared)
                   if kind == "T" and isinstance(value, strict.Array)}
        given = [self._argument(value, kind, name, dtype) for value, (_, kind, name) in zip(arguments, declared)]
        outputs = given[len(self.inputs):]
        assert all(out.shape == outputs[0].shape and out.flags.c_contiguous and out.flags.writeable
                   for out in outputs), self.name
        launches.append(self.name)
        return given[:len(self.inputs)], outputs, dtype

    def _argument(self, value, kind, name, dtype):
        if isinstance(value, strict.Array):
            assert value.dtype == (dtype if kind == "T" else kind), (self.name, name, value.dtype)
            return value._host
        assert type(value) is (float if kind == "T" else NUMBERS[kind][2]), (self.name, name, type(value))
        return np.asarray(value, dtype) if kind == "T" else NUMBERS[kind][1](value)

    def run(self, body, counts, arguments, dtype):
        """Compile a loop over so many elements, and call it with `arguments`."""
        parameters = [f"ptrdiff_t {name}" for name in counts]
        parameters += [f"{_c_type(kind)} {name}" if kind in NUMBERS else f"const T *{name}_"
                       for _, kind, name in self.inputs]
        parameters += [f"{_c_type(kind)} *{name}_" for _, kind, name in self.outputs]
        _library(f"({', '.join(parameters)}) {{\n{body}\n}}")[dtype.name](
            *map(ctypes.c_ssize_t, counts.values()),
            *[value.ctypes if isinstance(value, np.ndarray) else value for value in arguments])

    def elements(self, declared, index, const="const "):
        """The arrays' elements by their names; those that are `raw` as a whole."""
        return "\n".join(f"{const}{_c_type(kind)} *{name} = {name}_;" if raw else
                         f"{const}{_c_type(kind)} &{name} = {name}_[{index}];"
                         for raw, kind, name in declared if const == "" or kind == "T")


class ElementwiseKernel(_Kernel):
    """Called as CuPy's; the outputs must be given."""

    def __call__(self, *arguments):
        inputs, outputs, dtype = self.arguments(arguments)
        inputs = [value if kind in NUMBERS else np.ascontiguousarray(
            value if raw else np.broadcast_to(value, outputs[0].shape))
            for value, (raw, kind, _) in zip(inputs, self.inputs)]
        self.run(f"""
            for (ptrdiff_t i = 0; i < size_; i++) {{
                {self.elements(self.inputs, "i")}
                {self.elements(self.outputs, "i", "")}
                {self.body}
            }}""", {"size_": outputs[0].size}, [*inputs, *outputs], dtype)
        given = arguments[len(self.inputs):]
        return given if len(given) > 1 else given[0]


class ReductionKernel(_Kernel):
    """Called as CuPy's, with an axis; the outputs must be given. As there, many sums are made side by side and then
    added up: one after another, float32 would be less exact."""

    def __init__(self, inputs, outputs, body, reduce_expr, post_map_expr, identity, name, reduce_type, preamble=""):
        super().__init__(inputs, outputs, body, name)
        self.reduce, self.post, self.identity = reduce_expr, post_map_expr, identity
        self.type, self.preamble = reduce_type, preamble

    def __call__(self, *arguments, axis):
        inputs, outputs, dtype = self.arguments(arguments)
        axes = (axis,) if isinstance(axis, int) else axis
        arrays = [value for value, (_, kind, _) in zip(inputs, self.inputs) if kind == "T"]
        shape, last = np.broadcast_shapes(*[array.shape for array in arrays]), tuple(range(-len(axes), 0))
        assert outputs[0].shape == tuple(n for k, n in enumerate(shape) if k not in axes), (self.name, shape)
        inputs = [value if kind in NUMBERS else np.ascontiguousarray(
            np.moveaxis(np.broadcast_to(value, shape), axes, last)) for value, (_, kind, _) in zip(inputs, self.inputs)]
        self.run(f"""
            {self.preamble}
            #define REDUCE(a, b) ({self.reduce})
            #define POST_MAP(a) ({self.post})
            typedef {self.type} Sum;
            for (ptrdiff_t o_ = 0; o_ < size_; o_++) {{
                Sum sums_[16];
                for (Sum &sum_ : sums_) sum_ = Sum({self.identity});
                for (ptrdiff_t j_ = 0; j_ < terms_; j_++) {{
                    {self.elements(self.inputs, "o_ * terms_ + j_")}
                    Sum &sum_ = sums_[j_ % 16], term_ = static_cast<Sum>({self.body});
                    sum_ = REDUCE(sum_, term_);
                }}
                for (int k_ = 1; k_ < 16; k_++) sums_[0] = REDUCE(sums_[0], sums_[k_]);
                {self.elements(self.outputs, "o_", "")}
                POST_MAP(sums_[0]);
            }}
            #undef REDUCE
            #undef POST_MAP""", {"size_": outputs[0].size, "terms_": int(np.prod([shape[k] for k in axes]))},
                 [*inputs, *outputs], dtype)


def _declared(text):
    """(("raw" or "", type, name), …) of "raw T x, float64 slope"."""
    words = [declaration.split() for declaration in text.split(",")]
    return tuple(("raw" if len(each) == 3 else "", *each[-2:]) for each in words)


def _c_type(kind):
    return "T" if kind == "T" else NUMBERS[kind][0]


@functools.cache
def _library(source):
    """{dtype: the compiled function of these parameters and this body}."""
    functions = {"float32": "float", "float64": "double"}
    parts = [f'namespace in_{name} {{ typedef {T} T;\nextern "C" void {name}{source} }}\n'
             for name, T in functions.items()]
    with tempfile.TemporaryDirectory() as folder:
        path, library = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
        path.write_text("#include <cmath>\n#include <cstddef>\nusing namespace std;\n" + "\n".join(parts))
        done = subprocess.run([COMPILER, "-std=c++11", "-O1", "-Wall", "-Werror", "-Wno-unused", "-ffp-contract=off",
                               "-shared", "-fPIC", "-o", library, path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        loaded = ctypes.CDLL(str(library))
    return {name: getattr(loaded, name) for name in functions}
