"""The language of the kernels, in C: positions, sums, and numbers outside of arrays left alone."""

import re

import numpy as np
import pytest

from fast_helpers import drawn, some_threads
from minigan.fast import kernels, launch, native, text
from minigan.fast.text import Argument, Kernel, Overlap, Sum

needs_kernels = pytest.mark.skipif(native.functions(np.dtype("f")) is None,
                                   reason=f"no compiled kernels: {native.why_not}")

WEIGHTED = Kernel("weighted", "sample row channel",
                  "x[sample channel], w[channel], b[sample row], *table, index step, double scale",
                  "y[sample row channel], z[row channel sample]", """
    y = (T)scale * x * w + b;
    z = here + channel;""", "const T here = table[sample * step + row];")
IN_PLACE = Kernel("in_place", "row channel", "x[row channel], b[row]", "y[row channel]",
                  "y = x + b;")
OVERLAP = Overlap("overlap", "row channel", "*x, index wide", "y[row channel]",
                  "for (index k = row; k < row + wide; k++)", "x[k * n_channel + channel]",
                  "", "2 * sum")
ROWS = Sum("rows", "row channel", "channel", "x[row channel], w[row], b[channel]", "x", "x * w + b",
           "row * s", outer="const T s = w + 1;")
SAMPLES = Sum("samples", "sample position channel", "sample",
              "x[sample position channel], w[channel], b[sample]", "x * w", "x - b + more",
              outer="const T more = position;", outputs="mean[sample], twice[sample]",
              then="mean = total0 / (n_position * n_channel); twice = 2 * total1;")
MINE = [WEIGHTED, IN_PLACE, OVERLAP, ROWS, SAMPLES]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The kernels of this file, compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(native, "KERNELS", MINE)
        patch.setattr(native, "_libraries", {})
        assert native.functions(np.dtype("d")) and native.functions(np.dtype("f")), native.why_not
        return native._libraries


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def mine(request, compiled, monkeypatch):
    """The kernels of this file in place of the package's."""
    monkeypatch.setattr(native, "_libraries", compiled)
    if request.param == 1:
        yield
    else:
        with some_threads():
            yield


# The text

def test_a_position_counts_from_the_last_index():
    sizes = {"n_a": 3, "n_b": 5, "n_c": 7}
    for a, b, c in np.ndindex(3, 5, 7):
        place = eval(text._position(["a", "b", "c"]), {}, {**sizes, "a": a, "b": b, "c": c})
        assert place == np.ravel_multi_index((a, b, c), (3, 5, 7))
    assert text._position(["i"]) == "i"


@pytest.mark.parametrize("declared, kind, array, indices, c", [
    ("x[i]", "T", True, ["i"], "const T *x_"), ("*x", "T", True, None, "const T *x_"),
    ("index n", "index", False, None, "index n"), ("double lr", "double", False, None, "double lr"),
    ("wide *sums", "wide", True, None, "const double *sums_"),
    ("index first[i]", "index", True, ["i"], "const index *first_")])
def test_arguments(declared, kind, array, indices, c):
    argument = Argument(declared, False)
    assert (argument.kind, argument.array, argument.indices) == (kind, array, indices)
    assert argument.declaration == c
    assert Argument(declared, True).declaration == c.removeprefix("const ")


def test_a_name_is_replaced_only_as_a_whole_word():
    assert Argument("x[i]", False).element("x + x_hat + max(x, ex)") == (
        "x_[i] + x_hat + max(x_[i], ex)")


def test_an_input_the_same_for_the_last_loop_is_read_once():
    """A compiler could not know that no output lies there: it would read it again and again."""
    code = IN_PLACE.c()
    assert code.count("b_[row]") == 1
    assert code.index("b_[row]") < code.index("for (index channel")
    assert "const T b_here = b_[row];" in code and "y_[(row) * n_channel + channel] = " in code
    assert "b_here" in IN_PLACE.cuda() and "x_here" not in code


def test_all_kernels_have_their_own_names_and_the_same_signature_in_both_languages():
    names = [kernel.name for kernel in native.KERNELS]
    assert len(set(names)) == len(names)
    for kernel in kernels.KERNELS:
        in_c = re.search(rf"struct {kernel.name}_of {{ (.*); }};", kernel.c())[1].split("; ")
        in_cuda = re.search(rf"void {kernel.name}\(([^)]*)\)", kernel.cuda())[1].split(", ")
        assert in_c == in_cuda == kernel.parameters()


def test_texts_are_written_for_two_dtypes():
    assert "typedef float T;" in text.c_source([IN_PLACE], "float32")
    assert "typedef double T;" in text.cuda_source([IN_PLACE], "float64")
    with pytest.raises(KeyError):
        text.c_source([IN_PLACE], "float16")


# What it computes

@needs_kernels
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loops_over_named_indices(mine, dtype):
    S, R, C = 4, 3, 5
    x, w, b, table = (drawn(shape, i, dtype) for i, shape in enumerate([(S, C), C, (S, R), (S, R)]))
    y, z = np.empty((S, R, C), dtype), np.empty((R, C, S), dtype)
    assert launch.run(WEIGHTED, (S, R, C), x, w, b, table, R, 0.5, y, z) is z
    np.testing.assert_allclose(y, 0.5 * x[:, None] * w + b[:, :, None], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(z, (table[:, :, None] + np.arange(C)).transpose(1, 2, 0), rtol=1e-6)


@needs_kernels
def test_an_output_may_be_an_input(mine):
    x, b = drawn((7, 5), 0), drawn(7, 1)
    expected = x + b[:, None]
    np.testing.assert_array_equal(launch.run(IN_PLACE, (7, 5), x, b, x), expected)


@needs_kernels
def test_overlaps_are_added_up(mine):
    x = drawn((9, 5), 0)
    found = launch.run(OVERLAP, (7, 5), x, 3, np.empty((7, 5)))
    np.testing.assert_allclose(found, 2 * (x[:7] + x[1:8] + x[2:]), atol=1e-14)


@needs_kernels
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 2, 7, 31, 32, 33, 64, 100])
@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 200])
def test_sums_over_rows(mine, rows, channels, dtype):
    x, w, b = (drawn(shape, i, dtype) for i, shape in enumerate([(rows, channels), rows, channels]))
    found = launch.sums(ROWS, (rows, channels), x, w, b)
    assert found.dtype == np.float64 and found.shape[1:] == (3, channels)
    each = x, x * w[:, None] + b, np.broadcast_to((np.arange(rows) * (w + 1))[:, None], x.shape)
    tolerance = 1e-12 if dtype is np.float64 else 1e-5
    for actual, terms in zip(found.sum(0), each):
        np.testing.assert_allclose(actual, terms.sum(0, dtype=np.float64), rtol=0,
                                   atol=tolerance * max(1, abs(terms).sum(0).max()))


@needs_kernels
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 5, 7), (7, 1, 33), (2, 200, 3), (64, 2, 1)])
def test_sums_of_samples(mine, sizes):
    (S, P, C) = sizes
    x, w, b = (drawn(shape, i) for i, shape in enumerate([sizes, C, S]))
    mean, twice = np.empty(S), np.empty(S)
    found = launch.sums(SAMPLES, sizes, x, w, b, mean, twice)
    first = (x * w).sum((1, 2))
    second = (x - b[:, None, None] + np.arange(P)[:, None]).sum((1, 2))
    np.testing.assert_allclose(found, [[first, second]], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mean, first / (P * C), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(twice, 2 * second, rtol=1e-10, atol=1e-12)


@needs_kernels
def test_four_million_rows_keep_their_digits():
    """In float32 their sum would stop growing, or be off by a percent."""
    x = np.full((1 << 22, 2), 0.1, np.float32)
    x[:, 1] = 1.0
    found = launch.sums(kernels.ROW_SUM, x.shape, x).sum((0, 1)) / len(x)
    assert abs(found[0] / np.float32(0.1) - 1) < 1e-6 and found[1] == 1.0
    moments = launch.sums(kernels.MOMENTS, x.shape, x).sum(0) / len(x)
    np.testing.assert_allclose(moments[1] - moments[0] ** 2, 0, atol=1e-12)


# What is refused

@needs_kernels
@pytest.mark.parametrize("change", [
    lambda x, b, y: (x[:, :4], b, y), lambda x, b, y: (x.T, b, y), lambda x, b, y: (x, b[:4], y),
    lambda x, b, y: (x, b.astype("f"), y), lambda x, b, y: (x, np.repeat(b, 2)[::2], y),
    lambda x, b, y: (x, b, y[:6]), lambda x, b, y: (np.asfortranarray(x), b, y)])
def test_an_array_that_does_not_fit_is_refused(change):
    arguments = np.ones((7, 5)), np.ones(5), np.ones((7, 5))
    x, b, y = change(*arguments)
    with pytest.raises(ValueError, match="kernel add_row: . is"):
        launch.run(kernels.ADD_ROW, (7, 5), x, b, 1.0, y)


@needs_kernels
def test_too_few_arguments_are_refused():
    with pytest.raises(TypeError, match="4 arguments expected"):
        launch.run(kernels.ADD_ROW, (7, 5), np.ones((7, 5)), 1.0, np.ones((7, 5)))
    with pytest.raises(TypeError, match="arguments expected"):
        launch.run(kernels.ADD_ROW, (35,), np.ones((7, 5)), np.ones(5), 1.0, np.ones((7, 5)))
