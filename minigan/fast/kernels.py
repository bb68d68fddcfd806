"""The kernels: each is written once and becomes C and CUDA. See `text` for the language.

A kernel may write into one of its inputs where both have the same indices. `slope` is that of a
leaky ReLU made in the same pass, 1 for none; `kink` is the array by whose sign it chose.
"""

from minigan.fast.text import Kernel, Overlap, Sum

# Activations

LEAKY = Kernel("leaky_relu", "i", "x[i], double slope", "y[i]", "y = leaky(x, slope);")

LEAK = Kernel("leak_gradient", "i", "g[i], kink[i], double slope", "y[i]",
              "y = leak(g, kink, slope);")

TANH_GRADIENT = Kernel("tanh_gradient", "i", "g[i], tanh[i]", "y[i]",
                       "y = g * ((T)1 - tanh * tanh);")

SIGMOID = Kernel("sigmoid", "i", "x[i]", "y[i]", "y = logistic(x);")

SOFTPLUS = Kernel("softplus", "i", "x[i]", "y[i]",
                  "y = (x > 0 ? x : (T)0) + log1p(exp(-fabs(x)));")

SOFTPLUS_GRADIENT = Kernel("softplus_gradient", "i", "g[i], x[i]", "y[i]", "y = g * logistic(x);")

SPREAD = Kernel("spread", "i", "*x, double factor", "y[i]", "y = (T)factor * x[0];")

FILL = Kernel("fill", "sample number", "double value", "y[sample number]", "y = (T)value;")

# Rows (row, channel)

ADD_ROW = Kernel("add_row", "row channel", "x[row channel], b[channel], double slope",
                 "y[row channel]", "y = leaky(x + b, slope);")

ROW_SUM = Sum("row_sum", "row channel", "channel", "x[row channel]", "x")

# The gradient before a leaky ReLU, and its sum over rows, the gradient of a bias there
LEAK_SUM = Sum("leak_sum", "row channel", "channel",
               "g[row channel], kink[row channel], double slope", "(y = leak(g, kink, slope))",
               outputs="y[row channel]")

# The one or two sums that a `Sum` found in parts, in T

FOLD_ONE = Kernel("fold_one", "channel", "wide *sums, index parts", "y[channel]", """
    double sum = 0;
    for (index part = 0; part < parts; part++) sum += sums[part * n_channel + channel];
    y = (T)sum;""")

FOLD_TWO = Kernel("fold_two", "channel", "wide *sums, index parts", "y[channel], z[channel]", """
    double first = 0, second = 0;
    for (index part = 0; part < parts; part++) {
        first += sums[2 * part * n_channel + channel];
        second += sums[(2 * part + 1) * n_channel + channel];
    }
    y = (T)first;
    z = (T)second;""")
FOLD = {1: FOLD_ONE, 2: FOLD_TWO}

# Softmax of rows: less the largest, which `outer` finds in `line`, x again; and when the powers are
# known, divided by their sum. There is one of `one`

LESS_LARGEST = Kernel("less_largest", "row channel", "x[row channel], *line", "y[row channel]",
                      "y = x - largest;", """
    T largest = line[row * n_channel];
    SIMD_MAX(largest) for (index i = row * n_channel; i < (row + 1) * n_channel; i++)
        largest = line[i] > largest ? line[i] : largest;""")

ENTRY, ALONG = "row one channel", "for (index one = 0, channel = 0; channel < n_channel; channel++)"

SOFTMAX = Sum("softmax", ENTRY, "row", f"power[{ENTRY}]", "power", outputs=f"y[{ENTRY}]", then=f"""
    const T share = (T)(1 / total0);
    {ALONG} y = power * share;""")

SOFTMAX_GRADIENT = Sum("softmax_gradient", ENTRY, "row", f"g[{ENTRY}], softmax[{ENTRY}]",
                       "g * softmax", outputs=f"y[{ENTRY}]", then=f"""
    const T mean = (T)total0;
    {ALONG} y = softmax * (g - mean);""")

# A matrix divided by σ, and the gradient in it, for σ is made of it: v and u are its vectors

SPECTRAL = Kernel("spectral", "row channel", "w[row channel], *sigma", "y[row channel]",
                  "y = w / s;", outer="const T s = sigma[0];")

SPECTRAL_GRADIENT = Kernel(
    "spectral_gradient", "row channel",
    "g[row channel], v[row], u[channel], *sigma, *sigma_gradient", "y[row channel]",
    "y = g / s + along * u;", outer="const T s = sigma[0], along = sigma_gradient[0] * v;")

# Batch norm: sums over rows, what follows from them for each channel, one pass over the rows

MOMENTS = Sum("moments", "row channel", "channel", "x[row channel]", "x", "(double)x * x",
              block="double")

BATCH_STATISTICS = Kernel(
    "batch_statistics", "channel", "wide *sums, index parts, index n, weight[channel], double eps",
    "mean[channel], variance[channel], inverse[channel], scale[channel]", """
    double sum = 0, square = 0;
    for (index part = 0; part < parts; part++) {
        sum += sums[2 * part * n_channel + channel];
        square += sums[(2 * part + 1) * n_channel + channel];
    }
    const double centre = sum / n, spread = square / n - centre * centre;
    mean = (T)centre;
    variance = (T)(spread < 0 ? 0 : spread);
    inverse = (T)(1 / sqrt((spread < 0 ? 0 : spread) + eps));
    scale = weight * inverse;""")

BATCH_NORM = Kernel(
    "batch_norm", "row channel",
    "x[row channel], mean[channel], scale[channel], bias[channel], double slope", "y[row channel]",
    "y = leaky((x - mean) * scale + bias, slope);")

RUNNING = Kernel("running", "channel", "mean[channel], variance[channel], old_mean[channel], "
                 "old_variance[channel], double momentum, double unbiased",
                 "new_mean[channel], new_variance[channel]", """
    new_mean = (T)(1 - momentum) * old_mean + (T)momentum * mean;
    new_variance = (T)(1 - momentum) * old_variance + (T)momentum * ((T)unbiased * variance);""")

BATCH_SUMS = Sum("batch_sums", "row channel", "channel",
                 "g[row channel], kink[row channel], double slope, x[row channel], mean[channel]",
                 "leak(g, kink, slope)", "leak(g, kink, slope) * (x - mean)")

BATCH_SLOPES = Kernel(
    "batch_slopes", "channel", "wide *sums, index parts, index n, inverse[channel], scale[channel]",
    "weight_gradient[channel], bias_gradient[channel], slant[channel], level[channel]", """
    double sum = 0, product = 0;
    for (index part = 0; part < parts; part++) {
        sum += sums[2 * part * n_channel + channel];
        product += sums[(2 * part + 1) * n_channel + channel];
    }
    bias_gradient = (T)sum;
    weight_gradient = (T)(product * inverse);
    slant = (T)(-scale * inverse * (product * inverse) / n);
    level = (T)(-scale * sum / n);""")

BATCH_GRADIENT = Kernel(
    "batch_gradient", "row channel", "g[row channel], kink[row channel], double slope, "
    "scale[channel], x[row channel], mean[channel], slant[channel], level[channel]",
    "y[row channel]", "y = leak(g, kink, slope) * scale + (x - mean) * slant + level;")

# Layer norm (sample, position, channel). `share` is 1 / (positions · channels)

ALL = "sample position channel"

SAMPLE_STATISTICS = Sum(
    "sample_statistics", ALL, "sample", f"x[{ALL}], double share, double eps", "x", "(double)x * x",
    block="double", outputs="mean[sample], inverse[sample]", then="""
    const double centre = total0 * share, spread = total1 * share - centre * centre;
    mean = (T)centre;
    inverse = (T)(1 / sqrt((spread < 0 ? 0 : spread) + eps));""")

LAYER_NORM = Kernel(
    "layer_norm", ALL, f"x[{ALL}], mean[sample], inverse[sample], weight[channel], bias[channel]",
    f"y[{ALL}]", "y = (x - mean) * inverse * weight + bias;")

# Of the gradient h = g · weight with respect to x̂: Σ h and Σ h · x̂
LAYER_SUMS = Sum("layer_sums", ALL, "sample",
                 f"g[{ALL}], weight[channel], x[{ALL}], mean[sample], inverse[sample]",
                 "g * weight", "g * weight * ((x - mean) * inverse)")

LAYER_GRADIENT = Kernel(
    "layer_gradient", ALL, f"g[{ALL}], weight[channel], x[{ALL}], mean[sample], inverse[sample], "
    "wide *sums, double share", f"y[{ALL}]",
    "y = (g * weight - level - (x - mean) * inverse * slope) * inverse;", """
    const T level = (T)(sums[sample] * share), slope = (T)(sums[n_sample + sample] * share);""")

LAYER_WEIGHT_SUMS = Sum(
    "layer_weight_sums", "row channel", "channel",
    "g[row channel], x[row channel], *mean, *inverse, index positions",
    "g * ((x - m) * v)", "g",
    outer="const T m = mean[row / positions], v = inverse[row / positions];")

# Of P(g · weight) and its cotangent u: Σ u, Σ u · x̂, Σ h, Σ h · x̂, Σ u · h
LAYER_SECOND_SUMS = Sum(
    "layer_second_sums", ALL, "sample",
    f"u[{ALL}], g[{ALL}], weight[channel], x[{ALL}], mean[sample], inverse[sample]",
    "u", "u * ((x - mean) * inverse)", "g * weight", "g * weight * ((x - mean) * inverse)",
    "u * (g * weight)")

LAYER_SECOND = Kernel(
    "layer_second", ALL, f"u[{ALL}], g[{ALL}], weight[channel], x[{ALL}], mean[sample], "
    "inverse[sample], wide *sums, double share", f"g_gradient[{ALL}], x_gradient[{ALL}]", """
    const T h = g * weight, x_hat = (x - mean) * inverse;
    const T mixed = h_slope * (u - u_level) + u_slope * (h - h_level);
    g_gradient = (u - u_level - x_hat * u_slope) * inverse * weight;
    x_gradient = -(x_hat * along + (mixed - x_hat * ((T)2 * u_slope * h_slope)) * inverse)
                 * inverse;""", """
    const T u_level = (T)(sums[sample] * share), u_slope = (T)(sums[n_sample + sample] * share);
    const T h_level = (T)(sums[2 * n_sample + sample] * share);
    const T h_slope = (T)(sums[3 * n_sample + sample] * share);
    const T along = ((T)(sums[4 * n_sample + sample] * share)
                     - u_level * h_level - u_slope * h_slope) * inverse;""")

LAYER_SECOND_WEIGHT_SUMS = Sum(
    "layer_second_weight_sums", "row channel", "channel",
    "u[row channel], g[row channel], x[row channel], *mean, *inverse, wide *sums, "
    "index positions, index samples, double share",
    "(u - level - (x - m) * v * slope) * v * g", outer="""
    const index sample = row / positions;
    const T m = mean[sample], v = inverse[sample];
    const T level = (T)(sums[sample] * share), slope = (T)(sums[samples + sample] * share);""")

# Windows (sample, row, column, u, and v with its channel) of images (sample, h, w, channel)

GATHER = Kernel(
    "gather", "sample row column u vc",
    "*x, index H, index W, index C, index sh, index sw, index ph, index pw",
    "window[sample row column u vc]", "window = vc >= low && vc < high ? line[vc] : (T)0;", """
    const index h = row * sh + u - ph, left = (column * sw - pw) * C;
    const T *line = x + (sample * H + h) * W * C + left;
    const index low = h < 0 || h >= H ? n_vc : -left, high = W * C - left;""")

SCATTER = Overlap(
    "scatter", "sample h w channel", "*windows, index KH, index KW, index OH, index OW, index sh, "
    "index sw, index ph, index pw", "pixel[sample h w channel]", """
    for (index u = (h + ph) % sh, row = (h + ph) / sh; u < KH && row >= 0; u += sh, row--)
    for (index v = (w + pw) % sw, column = (w + pw) / sw; v < KW && column >= 0; v += sw, column--)
    if (row < OH && column < OW)""", """
    windows[((((sample * OH + row) * OW + column) * KH + u) * KW + v) * n_channel + channel]""")

# Pictures of twice the size and half the size

UPSAMPLE = Kernel("upsample", "sample h w channel", "*x, index factor, double scale",
                  "y[sample h w channel]", "y = (T)scale * line[channel];", """
    const T *line = x + ((sample * (n_h / factor) + h / factor) * (n_w / factor) + w / factor)
                    * n_channel;""")

POOL = Overlap(
    "pool", "sample h w channel", "*x, index factor, double scale", "y[sample h w channel]",
    "for (index i = 0; i < factor; i++) for (index j = 0; j < factor; j++)",
    "line[(i * n_w * factor + j) * n_channel + channel]", """
    const T *line = x + (sample * n_h * factor + h * factor) * n_w * factor * n_channel
                    + w * factor * n_channel;""", "(T)scale * sum")

# Optimizers: p and the slots are changed in their places

SGD = Kernel("sgd", "i", "g[i], double lr, double momentum", "p[i], v[i]", """
    v = (T)momentum * v + g;
    p -= (T)lr * v;""")

RMSPROP = Kernel("rmsprop", "i", "g[i], double lr, double alpha, double eps", "p[i], v[i]", """
    v = (T)alpha * v + (T)(1 - alpha) * g * g;
    p -= (T)lr * g / (sqrt(v) + (T)eps);""")

ADAM = Kernel("adam", "i", "g[i], double rate, double beta1, double beta2, double root_scale, "
              "double eps", "p[i], m[i], v[i]", """
    m = (T)beta1 * m + (T)(1 - beta1) * g;
    v = (T)beta2 * v + (T)(1 - beta2) * g * g;
    p -= (T)rate * m / (sqrt(v) * (T)root_scale + (T)eps);""")

AVERAGE = Kernel("average", "i", "weight[i], double share", "average[i]",
                 "average += (T)share * (weight - average);")

# Whether a step is finite: √Σ g² is the norm of its gradient. The sum is made in parts

SQUARES = Sum("squares", "part row number", "part", "*g, index n",
              "at + number < n ? g[at + number] * g[at + number] : (T)0",
              outer="const index at = (part * n_row + row) * n_number;")

FLAG = Kernel("flag", "i", "loss[i], wide *squares, index parts, index step, index before[i]",
              "norm[i], index first_bad[i]", """
    double square = 0;
    for (index part = 0; part < parts; part++) square += squares[part];
    norm = (T)sqrt(square);
    first_bad = !isfinite(loss + norm) && before < 0 ? step : before;""")

KERNELS = [value for value in list(globals().values()) if isinstance(value, Kernel)]
