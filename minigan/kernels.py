"""Elementwise CUDA kernels: one launch for what are many calls of CuPy's functions.

On a GPU an operation on a small array takes as long as its launch, some microseconds, so that the number of launches
rules. Where a kernel is used, the plain lines that it replaces stand beside it: they are what runs on a CPU and what
the tests compare with.

T is the dtype of the arrays. Numbers come as float64 and are cast, so that a float32 kernel computes in float32.
`i` is the number of the element that the body is about, in the order of memory.
"""

import numpy as np

from minigan.backend import backend_of


class Kernel:
    """One launch. `inputs` and `outputs` are declared as `cupy.ElementwiseKernel` takes them: arrays of one element
    each, broadcast, or with `raw` to be indexed; `body` is CUDA C++. The outputs are given as the last arguments, and
    may be read before they are written."""

    def __init__(self, name, inputs, outputs, body):
        self.name, self.inputs, self.outputs, self.body = name, inputs, outputs, body
        self._compiled = {}

    def on(self, array):
        """The function to call for arrays like this one; None where NumPy's are used, on a CPU."""
        if isinstance(array, np.ndarray):
            return None
        backend = backend_of(array)
        if backend.name not in self._compiled:
            self._compiled[backend.name] = backend.kernel and backend.kernel(
                self.inputs, self.outputs, self.body, self.name)
        return self._compiled[backend.name]


# Activations

LEAKY = Kernel("leaky", "T x, float64 slope", "T y", "y = x > 0 ? x : (T)slope * x;")

LEAK = Kernel("leak", "T g, T kink, float64 slope", "T y", "y = kink > 0 ? g : (T)slope * g;")

ADD_ROW = Kernel("add_row", "T x, T row, float64 slope", "T y", """
    const T sum = x + row;
    y = sum > 0 ? sum : (T)slope * sum;""")

COMBINE = Kernel("combine", "T x, T factor, T row, float64 slope", "T y", """
    const T sum = x * factor + row;
    y = sum > 0 ? sum : (T)slope * sum;""")

COMBINE_TWO = Kernel("combine_two", "T x, T x_factor, T z, T z_factor, T row, float64 slope", "T y", """
    const T sum = x * x_factor + z * z_factor + row;
    y = sum > 0 ? sum : (T)slope * sum;""")

SOFTPLUS = Kernel("softplus", "T x", "T y", "y = (x > 0 ? x : (T)0) + log1p(exp(-fabs(x)));")

SIGMOID = Kernel("sigmoid", "T x", "T y", """
    const T small = exp(-fabs(x));
    y = (x >= 0 ? (T)1 : small) / ((T)1 + small);""")


# Windows of images (N, H, W, C), see `conv.Windows`

GEOMETRY = ("int64 H, int64 W, int64 C, int64 KH, int64 KW, int64 OH, int64 OW, "
            "int64 sh, int64 sw, int64 ph, int64 pw")

GATHER = Kernel("gather", f"raw T x, {GEOMETRY}", "T window", """
    const ptrdiff_t c = i % C, v = i / C % KW, u = i / (C * KW) % KH;
    const ptrdiff_t column = i / (C * KW * KH) % OW, row = i / (C * KW * KH * OW) % OH;
    const ptrdiff_t sample = i / (C * KW * KH * OW * OH);
    const ptrdiff_t h = row * sh + u - ph, w = column * sw + v - pw;
    window = 0 <= h && h < H && 0 <= w && w < W ? x[((sample * H + h) * W + w) * C + c] : (T)0;""")

SCATTER = Kernel("scatter", f"raw T windows, {GEOMETRY}", "T pixel", """
    const ptrdiff_t c = i % C, w = i / C % W + pw, h = i / (C * W) % H + ph, sample = i / (C * W * H);
    T sum = 0;
    for (ptrdiff_t u = h % sh; u < KH && u <= h; u += sh) {
        const ptrdiff_t row = (h - u) / sh;
        for (ptrdiff_t v = w % sw; v < KW && v <= w; v += sw) {
            const ptrdiff_t column = (w - v) / sw;
            if (row < OH && column < OW)
                sum += windows[((((sample * OH + row) * OW + column) * KH + u) * KW + v) * C + c];
        }
    }
    pixel = sum;""")


# Optimizers, see `optim`: the outputs are parameters and their slots

SGD = Kernel("sgd", "T g, float64 lr, float64 momentum", "T p, T v", """
    v = (T)momentum * v + g;
    p -= (T)lr * v;""")

RMSPROP = Kernel("rmsprop", "T g, float64 lr, float64 alpha, float64 eps", "T p, T v", """
    v = (T)alpha * v + (T)(1.0 - alpha) * g * g;
    p -= (T)lr * g / (sqrt(v) + (T)eps);""")

ADAM = Kernel("adam", "T g, float64 rate, float64 beta1, float64 beta2, float64 root_scale, float64 eps",
              "T p, T m, T v", """
    m = (T)beta1 * m + (T)(1.0 - beta1) * g;
    v = (T)beta2 * v + (T)(1.0 - beta2) * g * g;
    p -= (T)rate * m / (sqrt(v) * (T)root_scale + (T)eps);""")

AVERAGE = Kernel("average", "T weight, float64 share", "T average", "average += (T)share * (weight - average);")
