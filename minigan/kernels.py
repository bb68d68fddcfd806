"""CUDA kernels: one launch for what are many calls of CuPy's functions.

On a GPU an operation on a small array takes as long as its launch, some microseconds, so that the number of launches
rules. Where a kernel is used, the plain lines that it replaces stand beside it: they are what runs on a CPU and what
the tests compare with.

T is the dtype of the arrays. Numbers come as float64 and are cast, so that a float32 kernel computes in float32.
`i` is the number of the element that the body is about, in the order of memory.
"""

import functools

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
            self._compiled[backend.name] = backend.kernels and self.compiled(backend.kernels)
        return self._compiled[backend.name]

    def compiled(self, cupy):
        return cupy.ElementwiseKernel(self.inputs, self.outputs, self.body, self.name)


class Reduction(Kernel):
    """Two sums over the same axes in one launch: of `first` and of `second`, expressions in the inputs. It is called
    with the `axis` too; `result` says, separated by commas, what the outputs become of the sums `a.first`, `a.second`.
    """

    def __init__(self, name, inputs, outputs, first, second, result="sum = a.first, product = a.second"):
        super().__init__(name, inputs, outputs, f"Two{{{first}, {second}}}")
        self.result = result

    def compiled(self, cupy):
        return cupy.ReductionKernel(self.inputs, self.outputs, self.body, "Two{a.first + b.first, a.second + b.second}",
                                    self.result, "Two{0, 0}", self.name, "Two",
                                    preamble="struct Two { T first, second; };")


# Activations

LEAKY = Kernel("leaky", "T x, float64 slope", "T y", "y = x > 0 ? x : (T)slope * x;")

LEAK = Kernel("leak", "T g, T kink, float64 slope", "T y", "y = kink > 0 ? g : (T)slope * g;")

ADD_ROW = Kernel("add_row", "T x, T row, float64 slope", "T y", """
    const T sum = x + row;
    y = sum > 0 ? sum : (T)slope * sum;""")

COMBINE = Kernel("combine", "T x, T factor, T row, float64 slope", "T y", """
    const T sum = x * factor + row;
    y = sum > 0 ? sum : (T)slope * sum;""")

TANH_SLOPE = Kernel("tanh_slope", "T g, T tanh", "T y", "y = g * ((T)1 - tanh * tanh);")

SOFTPLUS = Kernel("softplus", "T x", "T y", "y = (x > 0 ? x : (T)0) + log1p(exp(-fabs(x)));")

SIGMOID = Kernel("sigmoid", "T x", "T y", """
    const T small = exp(-fabs(x));
    y = (x >= 0 ? (T)1 : small) / ((T)1 + small);""")

SOFTPLUS_SLOPE = Kernel("softplus_slope", "T g, T x", "T y", """
    const T small = exp(-fabs(x));
    y = g * (x >= 0 ? (T)1 : small) / ((T)1 + small);""")


# Normalisation, see `launches`. `near` is some number near the mean: what is summed is x − near, which loses no digits.

MOMENTS = Reduction("moments", "T x, T near", "T sum, T product", "x - near", "(x - near) * (x - near)")

SLOPES = Reduction("slopes", "T g, T kink, float64 slope, T weight, T x, T near", "T sum, T product",
                   "(kink > 0 ? g : (T)slope * g) * weight",
                   "(kink > 0 ? g : (T)slope * g) * weight * (x - near)")

BATCH_STATISTICS = Kernel(
    "batch_statistics", "raw T sums, raw T squares, int64 parts, int64 C, int64 n, T near, T weight, T bias, "
    "float64 eps", "T shift, T mean, T variance, T inverse, T scale, T offset", """
    T sum = 0, square = 0;
    for (ptrdiff_t part = 0; part < parts; part++) {
        sum += sums[part * C + i];
        square += squares[part * C + i];
    }
    shift = sum / (T)n;
    mean = near + shift;
    variance = square / (T)n - shift * shift;
    variance = variance > 0 ? variance : (T)0;
    inverse = (T)1 / sqrt(variance + (T)eps);
    scale = weight * inverse;
    offset = bias - mean * scale;""")

BATCH_SLOPES = Kernel(
    "batch_slopes", "raw T sums, raw T products, int64 parts, int64 C, int64 n, T shift, T mean, T inverse, T scale",
    "T weight_gradient, T bias_gradient, T slant, T offset", """
    T sum = 0, product = 0;
    for (ptrdiff_t part = 0; part < parts; part++) {
        sum += sums[part * C + i];
        product += products[part * C + i];
    }
    bias_gradient = sum;
    weight_gradient = (product - sum * shift) * inverse;
    slant = -scale * inverse * weight_gradient / (T)n;
    offset = -scale * sum / (T)n - slant * mean;""")

COMBINE_LEAKED = Kernel("combine_leaked", "T g, T kink, float64 slope, T g_factor, T x, T x_factor, T row", "T y",
                        "y = (kink > 0 ? g : (T)slope * g) * g_factor + x * x_factor + row;")

RUNNING = Kernel("running", "T mean, T variance, T old_mean, T old_variance, float64 momentum, float64 unbiased",
                 "T new_mean, T new_variance", """
    new_mean = (T)(1.0 - momentum) * old_mean + (T)momentum * mean;
    new_variance = (T)(1.0 - momentum) * old_variance + (T)momentum * ((T)unbiased * variance);""")

SAMPLE_STATISTICS = Reduction(
    "sample_statistics", "T x, T near, int64 n, float64 eps", "T shift, T inverse", "x - near",
    "(x - near) * (x - near)", "shift = a.first / (T)n, inverse = (T)1 / "
    "sqrt(fmax(a.second / (T)n - a.first / (T)n * (a.first / (T)n), (T)0) + (T)eps)")

STANDARDISE = Kernel("standardise", "T x, T near, T shift, T inverse, T weight, T bias", "T y",
                     "y = (x - near - shift) * inverse * weight + bias;")

PROJECT = Kernel("project", "T g, T weight, T x, T near, T shift, T inverse, T sum, T product, int64 n",
                 "T y, T slope", """
    const T x_hat = (x - near - shift) * inverse;
    y = (g * weight - sum / (T)n - x_hat * ((product - sum * shift) * inverse / (T)n)) * inverse;
    slope = g * x_hat;""")

PROJECT_SLOPES = Kernel(
    "project_slopes", "T u, T g, T weight, T x, T near, T shift, T inverse, "
    "T u_sum, T u_product, T h_sum, T h_product, T uh_sum, int64 n", "T g_gradient, T x_gradient, T slope", """
    const T h = g * weight, x_hat = (x - near - shift) * inverse;
    const T u_mean = u_sum / (T)n, u_slope = (u_product - u_sum * shift) * inverse / (T)n;
    const T h_mean = h_sum / (T)n, h_slope = (h_product - h_sum * shift) * inverse / (T)n;
    const T projected = (u - u_mean - x_hat * u_slope) * inverse;
    const T along = (uh_sum / (T)n - u_mean * h_mean - u_slope * h_slope) * inverse;
    const T mixed = h_slope * (u - u_mean) + u_slope * (h - h_mean);
    g_gradient = projected * weight;
    x_gradient = -(x_hat * along + (mixed - x_hat * ((T)2 * u_slope * h_slope)) * inverse) * inverse;
    slope = projected * g;""")


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


# A step's bookkeeping, see `trainer` and `optim`

FLAG = Kernel("flag", "T loss, T square, int64 step", "T norm, int64 first_bad", """
    norm = sqrt(square);
    if (!isfinite(loss + norm) && first_bad < 0) first_bad = step;""")


@functools.cache
def joined(count):
    """`count` arrays one after another, each given with the place where it begins: one launch for what CuPy's
    `concatenate` does in one per array."""
    inputs = ", ".join(f"raw T x{k}, int64 begin{k}" for k in range(count))
    later = " : ".join(f"i >= begin{k} ? x{k}[i - begin{k}]" for k in reversed(range(1, count)))
    return Kernel("joined", inputs, "T y", f"y = {later and later + ' : '}x0[i];")
