"""The language of the kernels: a few lines over named loop indices, written out for two machines.

    ADD_ROW = Kernel("add_row", "row channel", "x[row channel], b[channel], double slope",
                     "y[row channel]", "y = leaky(x + b, slope);")

For C this becomes nested loops, the innermost of which a compiler turns into vector instructions.
For CUDA it becomes one thread for each combination of the indices, which it computes from its own
number. In the text an array's name stands for its element at the indices in its brackets; `*x` is
an array that the text indexes itself. `double` and `index` are numbers. T is the arrays' dtype.

The text keeps to what C and CUDA C++ have in common. Functions like sqrt are generic in both.
"""

import re
from functools import cached_property
from struct import Struct

PRELUDE = """
typedef long long index;
INLINE T leaky(T x, double slope) { return x > 0 ? x : slope == 0 && x < 0 ? 0 : (T)slope * x; }
INLINE T leak(T g, T kink, double slope) {
    return kink > 0 ? g : slope == 0 ? (T)0 : (T)slope * g;  // 0 · ∞ would be NaN
}
INLINE T logistic(T x) {
    const T small = exp(-fabs(x));
    return (x >= 0 ? (T)1 : small) / ((T)1 + small);
}
"""
ROWS = 64      # that are added up in T before their sum goes into a double
CHANNELS = 32  # that C adds up side by side
THREADS = 256  # of a CUDA block


class Argument:
    """One argument: an array with its indices, an array as a whole (`indices` is None), or a number
    (`array` is False)."""

    def __init__(self, text, writable):
        match = re.fullmatch(r"(?:(double|index|wide) )?(\*?)(\w+)(?:\[([\w ]*)\])?", text.strip())
        self.kind, self.name, self.writable = match[1] or "T", match[3], writable
        self.indices = None if match[4] is None else match[4].split()
        self.array = bool(match[2]) or self.indices is not None
        const = "" if writable else "const "
        kind = "double" if self.kind == "wide" else self.kind
        self.declaration = f"{const}{kind} *{self.name}_" if self.array else f"{kind} {self.name}"

    def element(self, text):
        """`text` with the array's name replaced by its element, or by the pointer to it."""
        if not self.array:
            return text
        place = "" if self.indices is None else f"[{_position(self.indices)}]"
        return re.sub(rf"\b{self.name}\b", f"{self.name}_{place}", text)

    def fixed(self, last):
        """A line that reads the element once, if it is an input the same for all of the last loop.
        A compiler could not know that no output lies in its place."""
        if self.writable or self.indices is None or last in self.indices:
            return ""
        return f"const T {self.name}_here = {self.element(self.name)};"


def _position(indices):
    """The place of an element in memory: the last index runs fastest."""
    place = "0"
    for name in indices:
        place = name if place == "0" else f"({place}) * n_{name} + {name}"
    return place


class Kernel:
    """`body` for each combination of the loop indices. `outer` needs only the outer loops' indices:
    C computes it once per run of the innermost loop."""

    def __init__(self, name, loops, inputs, outputs, body, outer=""):
        self.name, self.loops = name, loops.split()
        self.arguments = [Argument(text, False) for text in inputs.split(",")]
        self.arguments += [Argument(text, True) for text in outputs.split(",") if text]
        self.body, self.outer = body, outer
        # (its place, the loops whose product is its size or None, its kind if that is not T)
        self.arrays = [(i, a.indices and [self.loops.index(name) for name in a.indices],
                        a.kind if a.kind != "T" else None)
                       for i, a in enumerate(self.arguments) if a.array]
        self.leader = next(i for i, argument in enumerate(self.arguments)
                           if argument.array and argument.kind == "T")

    def _written(self, text):
        """A text, or what a function returns, with elements in place of names."""
        text = text() if callable(text) else text
        for argument in self.arguments:
            if argument.fixed(self.loops[-1]):
                text = re.sub(rf"\b{argument.name}\b", f"{argument.name}_here", text)
            else:
                text = argument.element(text)
        return text

    def _before(self):
        """What is done before the last loop."""
        lines = [argument.fixed(self.loops[-1]) for argument in self.arguments]
        return "\n".join([*filter(None, lines), self._written(self.outer)])

    def parameters(self):
        return [f"index n_{name}" for name in self.loops] + [a.declaration for a in self.arguments]

    @cached_property
    def structure(self):
        """The arguments' C structure: eight bytes each."""
        return Struct("".join("d" if parameter.startswith("double ") and "*" not in parameter
                              else "q" for parameter in self.parameters()))

    def c(self):
        """A C function that does a part of the first loop, of so many parts. The sizes of the loops
        and the arguments travel in a structure."""
        *around, last = self.loops
        bounds = [("begin", "end"), *[("0", f"n_{name}") for name in self.loops[1:]]]
        loop = lambda name, span: f"for (index {name} = {span[0]}; {name} < {span[1]}; {name}++)"
        lines = [f"{loop(name, span)} {{" for name, span in zip(around, bounds)]
        inner = lambda body: f"SIMD {loop(last, bounds[-1])} {{ {body} }}"
        return self._c_function("\n".join(
            [*lines, self._before(), self._c_inner(inner), "}" * len(around)]))

    def _c_function(self, body):
        """`body` does a part, from `begin` to `end`."""
        name, parameters = self.name, self.parameters()
        names = [re.search(r"(\w+)$", parameter)[1] for parameter in parameters]
        first = f"n_{self.loops[0]}"
        unpacked = " ".join(f"{parameter} = of->{n};" for parameter, n in zip(parameters, names))
        return f"""
        struct {name}_of {{ {" ".join(f"{parameter};" for parameter in parameters)} }};
        void {name}(const void *given, int part_, int parts_) {{
            const struct {name}_of *of = given;
            {unpacked}
            const index begin = {first} * part_ / parts_, end = {first} * (part_ + 1) / parts_;
            {body}
        }}"""

    def _c_inner(self, inner):
        return inner(self._written(self.body))

    def cuda(self):
        """A CUDA kernel: the threads share out all combinations of the indices."""
        lines = [f'extern "C" __global__ void {self.name}({", ".join(self.parameters())}) {{',
                 f"for (index i_ = blockIdx.x * (index)blockDim.x + threadIdx.x; "
                 f"i_ < {' * '.join(f'n_{name}' for name in self.loops)}; "
                 "i_ += (index)blockDim.x * gridDim.x) {", "index rest_ = i_;"]
        for name in reversed(self.loops):
            lines.append(f"const index {name} = rest_ % n_{name}; rest_ /= n_{name};")
        return "\n".join([*lines, self._before(), self._cuda_inner(), "}}"])

    def _cuda_inner(self):
        return self._written(self.body)


class Overlap(Kernel):
    """One output that is the sum of `body` over the places that the loops in `around` find;
    `scaled` is what becomes of the sum. C has the last loop innermost, so that it makes vectors."""

    def __init__(self, name, loops, inputs, output, around, body, outer="", scaled="sum"):
        super().__init__(name, loops, inputs, output, body, outer)
        self.around, self.scaled = around, scaled
        self.output = output.partition("[")[0]

    def _finish(self, sum):
        return self._written(f"{self.output} = {self.scaled};").replace("sum", sum)

    def _c_inner(self, inner):
        out = self._written(self.output)
        return "\n".join([inner(f"{out} = 0;"), self._written(self.around) + " {",
                          inner(f"{out} += {self._written(self.body)};"), "}",
                          inner(self._finish(out)) if self.scaled != "sum" else ""])

    def _cuda_inner(self):
        return "\n".join(["T sum = 0;", self._written(self.around) + " {",
                          f"sum += {self._written(self.body)};", "}", self._finish("sum")])


class Sum(Kernel):
    """Sums over all loops but one, the `kept`: of each expression in `sums`, added up in blocks of
    type `block` and then in float64.

    Kept is the last loop, "row channel" for sums over rows, or the first, "sample position channel"
    for sums of each sample. The output is (parts, number of sums, number of kept indices), of
    doubles: rows are cut into parts that the caller adds up; of samples there is one part. `outer`
    is run for each row, or for each sample and position; `then` for each sample, when its sums are
    known as total0, total1, ….
    """

    def __init__(self, name, loops, kept, inputs, *sums, outer="", block="T", outputs="", then=""):
        super().__init__(name, loops, inputs, outputs, then, outer)
        self.kept, self.sums, self.block = kept, sums, block
        self.by_row = kept == self.loops[-1]

    def parameters(self):
        return [*super().parameters(), "double *result_"]

    def _each(self, template):
        """`template` for each sum: {k} its number, {sum} its expression."""
        return "\n".join(template.replace("{k}", str(k)).replace("{sum}", self._written(text))
                         for k, text in enumerate(self.sums))

    def c(self):
        return self._c_function(self._c_by_row() if self.by_row else self._c_by_sample())

    def _c_by_row(self):
        (row, channel), K = self.loops, len(self.sums)
        add = lambda width: f"""
            for (index {row} = from; {row} < to; {row}++) {{
                {self._before()}
                SIMD for (int j = 0; j < {width}; j++) {{
                    const index {channel} = first + j;
                    {self._each('block{k}[j] += {sum};')}
                }}
            }}"""
        place = f"result_[(part_ * {K} + {{k}}) * n_{channel} + first + j]"
        return f"""
        for (index first = 0; first < n_{channel}; first += {CHANNELS}) {{
            const int width = n_{channel} - first < {CHANNELS} ? n_{channel} - first : {CHANNELS};
            {self._each(f'double total{{k}}[{CHANNELS}] = {{0}};')}
            for (index from = begin; from < end; from += {ROWS}) {{
                const index to = from + {ROWS} < end ? from + {ROWS} : end;
                {self._each(f'{self.block} block{{k}}[{CHANNELS}] = {{0}};')}
                if (width == {CHANNELS}) {{ {add(CHANNELS)} }} else {{ {add("width")} }}
                for (int j = 0; j < width; j++) {{ {self._each('total{k}[j] += block{k}[j];')} }}
            }}
            for (int j = 0; j < width; j++) {{ {self._each(f'{place} = total{{k}}[j];')} }}
        }}"""

    def _c_by_sample(self):
        sample, position, channel = self.loops
        names = ", ".join(f"block{k}" for k in range(len(self.sums)))
        return f"""
        for (index {sample} = begin; {sample} < end; {sample}++) {{
            {self._each('double total{k} = 0;')}
            for (index {position} = 0; {position} < n_{position}; {position}++) {{
                {self._before()}
                {self._each(f'{self.block} block{{k}} = 0;')}
                SIMD_SUM({names})
                for (index {channel} = 0; {channel} < n_{channel}; {channel}++) {{
                    {self._each('block{k} += {sum};')}
                }}
                {self._each('total{k} += block{k};')}
            }}
            {self._each(f'result_[{{k}} * n_{sample} + {sample}] = total{{k}};')}
            {self._written(self.body)}
        }}"""

    def cuda(self):
        """A block of threads for 32 neighbouring channels of each part, or for each sample: each
        thread adds up its own, and then they add up theirs in pairs."""
        K, kept = len(self.sums), self.kept
        if self.by_row:
            row = number = self.loops[0]
            lanes, step = 32, "blockDim.x / 32"
            where = f"""
            const index {kept} = blockIdx.x * 32ll + threadIdx.x % 32;
            const index begin = n_{row} * blockIdx.y / gridDim.y + threadIdx.x / 32;
            const index end = n_{row} * (blockIdx.y + 1) / gridDim.y;"""
            place, split = f"(blockIdx.y * {K} + {{k}}) * n_{kept} + {kept}", ""
        else:
            _, position, channel = self.loops
            number, lanes, step = "number_", 1, "blockDim.x"
            where = f"""
            const index {kept} = blockIdx.x, begin = threadIdx.x;
            const index end = n_{position} * n_{channel};"""
            place = f"{{k}} * n_{kept} + {kept}"
            split = (f"const index {position} = number_ / n_{channel};"
                     f"const index {channel} = number_ % n_{channel};")
        return f"""extern "C" __global__ void {self.name}({", ".join(self.parameters())}) {{{where}
            const index step = {step};
            const bool inside = {kept} < n_{kept};
            __shared__ double totals[{K}][{THREADS}];
            {self._each('double total{k} = 0;')}
            for (index from = begin; inside && from < end; from += step * {ROWS}) {{
                {self._each(f'{self.block} block{{k}} = 0;')}
                for (index {number} = from; {number} < end && {number} < from + step * {ROWS};
                     {number} += step) {{
                    {split}
                    {self._before()}
                    {self._each('block{k} += {sum};')}
                }}
                {self._each('total{k} += block{k};')}
            }}
            {self._each('totals[{k}][threadIdx.x] = total{k};')}
            for (unsigned half = blockDim.x / 2; half >= {lanes}; half /= 2) {{
                __syncthreads();
                if (threadIdx.x < half) {{
                    {self._each('totals[{k}][threadIdx.x] += totals[{k}][threadIdx.x + half];')}
                }}
            }}
            if (threadIdx.x < {lanes} && inside) {{
                {self._each('total{k} = totals[{k}][threadIdx.x];')}
                {self._each(f'result_[{place}] = total{{k}};')}
                {self._written(self.body)}
            }}
        }}"""


def c_source(kernels, dtype):
    """All kernels for C."""
    head = ["#include <math.h>", "#include <tgmath.h>", f"typedef {_c_type(dtype)} T;",
            "#define INLINE static inline",
            '#define SIMD _Pragma("omp simd")', "#define TEXT(x) #x",
            "#define SIMD_SUM(...) _Pragma(TEXT(omp simd reduction(+:__VA_ARGS__)))",
            "#define SIMD_MAX(...) _Pragma(TEXT(omp simd reduction(max:__VA_ARGS__)))",
            "extern _Thread_local int slot;"]
    return "\n".join([*head, PRELUDE, *[kernel.c() for kernel in kernels]]) + "\n"


def cuda_source(kernels, dtype):
    """All kernels for CUDA C++."""
    head = [f"typedef {_c_type(dtype)} T;", "#define INLINE __device__ inline",
            "#define SIMD_MAX(...)"]
    return "\n".join([*head, PRELUDE, *[kernel.cuda() for kernel in kernels]]) + "\n"


def _c_type(dtype):
    return {"float32": "float", "float64": "double"}[dtype]
