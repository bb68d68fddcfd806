"""Minimal filtering: its identity is exact, and `Filter` does what windows and naive loops do."""

from fractions import Fraction
from itertools import product
from math import gcd, prod

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import minigan as mg
from fast_helpers import drawn, kernels_called, plain_engine, some_threads
from minigan import conv
from minigan.fast import filtering, filters, native
from minigan.fast.windows import Windows

needs_kernels = pytest.mark.skipif(native.functions(np.dtype("f")) is None,
                                   reason=f"no compiled kernels: {native.why_not}")
each_tile = pytest.mark.parametrize("m, r", [*product(filters.TILES, filters.TAPS), (2, 2)])


# The scheme, in fractions

@each_tile
def test_the_trilinear_identity_is_exact(m, r):
    """Σ uᵢ dᵢ₊ₖ gₖ = Σₚ (X d)ₚ (W g)ₚ (Y u)ₚ for each triple of unit vectors, hence for all."""
    X, W, Y = filters.matrices(m, r)
    n = m + r - 1
    assert [len(M) for M in (X, W, Y)] == [n] * 3
    assert [len(M[0]) for M in (X, W, Y)] == [n, r, m]
    for i, j, k in product(range(m), range(n), range(r)):
        found = sum(X[p][j] * W[p][k] * Y[p][i] for p in range(n))
        assert found == (1 if j == i + k else 0)


@each_tile
def test_all_tiles_have_the_same_taps_and_points(m, r):
    """So the kernel is transformed once, and tiles of both sizes make one tall product."""
    n, W = m + r - 1, filters.matrices(max(filters.TILES), r)[1]
    assert filters.matrices(m, r)[1] == W[:n]
    assert filters.points(m, r) == filters.points(max(filters.TILES), r)[:n]


@each_tile
def test_what_acts_on_images_is_short_in_binary(m, r):
    """X and Y have only entries that float32 holds exactly."""
    X, _, Y = filters.matrices(m, r)
    assert all(Fraction(float(np.float32(float(a)))) == a for M in (X, Y) for row in M for a in row)


# Which convolutions

@st.composite
def convolutions(draw, most=11):
    """What can be filtered: sizes, strides, paddings and channels."""
    r = draw(st.sampled_from(filters.TAPS))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    size = draw(st.tuples(*[st.sampled_from([m for m in range(3, most + 1) if m != 5])] * 2))
    kernel = tuple(r * s for s in stride)
    padding = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    image = tuple(s * (m + r - 1) - 2 * p for s, m, p in zip(stride, size, padding))
    assume(min(image) >= 1)
    least = draw(st.sampled_from([16, 32])) if 16 % prod(stride) == 0 else 32
    C = (draw(st.integers(1, 2)) if least == 32 else 1) * (least // gcd(prod(stride), least))
    return (*kernel, C, draw(st.sampled_from([16, 32, 64]))), image, size, stride, padding


CASE = (4, 4, 32, 32), (28, 28), (14, 14), (2, 2), (1, 1)  # a layer of DCGAN, nearly
SMALL = (4, 4, 8, 32), (20, 20), (10, 10), (2, 2), (1, 1)  # tiles of 4, 3 and 3 outputs, or of 2


def tile(n=6, case=CASE, **other):
    names = "w_shape", "image", "size", "stride", "padding"
    return filtering.tile(n, *[other.get(name, value) for name, value in zip(names, case)])


def ways(case):
    """The filtered ways of a convolution: by tiles of 4 and 3 and, where it can be, of 2."""
    in_twos = case[0][0] == 2 * case[3][0] and not (case[2][0] % 2 or case[2][1] % 2)
    return [filtering.Filter(m, *case) for m in ((4, 2) if in_twos else (4,))]


def test_a_tile_is_chosen_only_where_it_can_be_and_pays():
    assert tile() == 4
    assert tile(w_shape=(4, 4, 8, 32)) == 4         # 2 · 2 · 8 numbers in a block
    assert not tile(w_shape=(4, 4, 12, 32))         # 48: one strip and a half
    assert not tile(w_shape=(4, 4, 32, 48))
    assert tile(w_shape=(4, 4, 4, 16)) == 4         # half a strip each
    assert not tile(w_shape=(4, 4, 2, 32)) and not tile(w_shape=(4, 4, 32, 8))
    assert tile(n=6) == 4 and tile(n=5) == 2        # of 1176 and 980 outputs
    assert tile(n=2) == 2 and tile(n=1) == 0        # of 392 and 196
    assert tile(n=10, case=SMALL) == 4 and tile(n=9, case=SMALL) == 2  # of 1000 and 900
    assert tile(n=2, size=(7, 14), image=(14, 28)) == 0  # 7 is not even
    assert tile(n=2, size=(14, 7), image=(28, 14)) == 0
    assert tile(n=3, size=(7, 14), image=(14, 28)) == tile(n=3, size=(14, 7), image=(28, 14)) == 0
    assert tile(n=5, w_shape=(6, 6, 32, 32), image=(30, 30)) == 0  # 3 taps
    assert not tile(w_shape=(3, 3, 32, 32))         # not a multiple of the stride
    assert not tile(w_shape=(4, 6, 32, 32))         # other taps along the columns
    assert not tile(w_shape=(8, 8, 32, 32), image=(32, 32), padding=(2, 2))  # four taps
    assert not tile(w_shape=(2, 2, 32, 32), padding=(0, 0))                  # one tap
    assert not tile(image=(29, 29))                 # a row that no window reaches
    assert not tile(image=(29, 28)) and not tile(image=(28, 29))
    assert not tile(padding=(0, 0))
    for m in (1, 2, 5):                             # no tiles of 4 and 3
        assert not tile(10_000, size=(m, 14), image=(2 * m, 28))
        assert not tile(10_000, size=(14, m), image=(28, 2 * m))


@given(case=convolutions(), each=st.sampled_from([4, 2]))
def test_tiles_cover_an_axis_once(case, each):
    assert filtering.tile(10_000, *case) == 4
    for m in case[2]:
        if each == 4 or m % 2 == 0 and case[0][0] == 2 * case[3][0]:
            axis = filtering.Axis(m, case[0][0] // case[3][0], each)
            outputs = [first + i for size, count, first, _ in axis.kinds
                       for i in range(size * count)]
            assert outputs == list(range(m))
            assert sum(axis.tiles) == axis.values


@pytest.mark.parametrize("w_shape", [(4, 4, 12, 32), (4, 4, 8, 40)])
def test_other_columns_than_whole_strips_or_half_a_one_are_refused(w_shape):
    """The products of the factors would read beyond them."""
    with pytest.raises(ValueError, match="strips of 32"):
        filtering.Filter(4, w_shape, *CASE[1:])


# Values

def arrays_of(case, n, dtype=np.float64):
    w_shape, image, size, _, _ = case
    return (drawn((n, *image, w_shape[2]), 0, dtype), drawn(w_shape, 1, dtype),
            drawn((n, *size, w_shape[3]), 2, dtype))


def everything(way, x, w, y):
    return [way.y_from(x, w), way.x_from(y, w), way.w_from(x, y), *way.x_and_w(x, y, w),
            *way.y_and_w(x, y, w)]


def naive(x, w, y, stride, padding):
    """The three derivatives of T, one number after another."""
    (KH, KW, _, _), (sh, sw), (ph, pw) = w.shape, stride, padding
    dy, dx, dw = np.zeros_like(y), np.zeros_like(x), np.zeros_like(w)
    for i, j, u, v in product(range(y.shape[1]), range(y.shape[2]), range(KH), range(KW)):
        h, k = sh * i + u - ph, sw * j + v - pw
        if 0 <= h < x.shape[1] and 0 <= k < x.shape[2]:
            dy[:, i, j] += x[:, h, k] @ w[u, v]
            dx[:, h, k] += y[:, i, j] @ w[u, v].T
            dw[u, v] += x[:, h, k].T @ y[:, i, j]
    return dy, dx, dw


@needs_kernels
@given(case=convolutions(), n=st.integers(1, 3))
def test_filtered_is_naive(case, n):
    x, w, y = arrays_of(case, n)
    dy, dx, dw = naive(x, w, y, *case[3:])
    for way in ways(case):
        for actual, expected in zip(everything(way, x, w, y), [dy, dx, dw, dx, dw, dy, dw]):
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11 * abs(expected).max())


@needs_kernels
@given(case=convolutions(), n=st.integers(1, 3))
def test_windows_are_naive(case, n):
    x, w, y = arrays_of(case, n)
    dy, dx, dw = naive(x, w, y, *case[3:])
    found = everything(Windows(*case), x, w, y)
    for actual, expected in zip(found, [dy, dx, dw, dx, dw, dy, dw]):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 * abs(expected).max())


@needs_kernels
@given(case=convolutions(most=8), n=st.integers(1, 2))
def test_the_operations_are_adjoints_of_each_other(case, n):
    """⟨x ∗ w, y⟩ = ⟨x, conv_transpose(y, w)⟩ = ⟨w, conv_weight(x, y)⟩."""
    x, w, y = arrays_of(case, n)
    for way in ways(case):
        forms = [(way.y_from(x, w) * y).sum(), (way.x_from(y, w) * x).sum(),
                 (way.w_from(x, y) * w).sum()]
        size = abs(way.y_from(abs(x), abs(w)) * abs(y)).sum()
        assert max(forms) - min(forms) <= 1e-12 * size


@needs_kernels
@pytest.mark.parametrize("n", [5, 70])  # of 70 samples the weights are summed chunk by chunk
@pytest.mark.parametrize("block", [1, 1 << 16, 1 << 40])
@pytest.mark.parametrize("cores", [1, 3])
def test_chunks_of_any_size_give_the_same(n, block, cores, monkeypatch):
    monkeypatch.setattr(filtering, "NEAR", block)
    case = (4, 4, 8, 32), (14, 16), (7, 8), (2, 2), (1, 1)
    x, w, y = arrays_of(case, n)
    dy, dx, dw = naive(x, w, y, *case[3:])
    with some_threads(cores):
        way = filtering.Filter(4, *case)
        assert way._sequence(x, weights=True).whole == (n == 5)
        found = everything(way, x, w, y)
    for actual, expected in zip(found, [dy, dx, dw, dx, dw, dy, dw]):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11 * abs(expected).max())


@needs_kernels
@pytest.mark.parametrize("r, size", [(2, (14, 14)), (2, (7, 8)), (3, (14, 14)), (3, (16, 7))])
def test_rounding_errors_are_a_few_times_the_direct_ones(r, size):
    """In float32, against float64: the greatest error of a filtered result is at most 20 times the
    greatest one of windows."""
    stride = 2, 2
    w_shape, image = (2 * r, 2 * r, 32, 32), tuple(2 * (m + r - 1) - 2 for m in size)
    case = w_shape, image, size, stride, (1, 1)
    arrays = arrays_of(case, 4, np.float32)
    exact = everything(Windows(*case), *[a.astype(np.float64) for a in arrays])
    direct = everything(Windows(*case), *arrays)
    for way in ways(case):
        for a, b, e in zip(everything(way, *arrays), direct, exact):
            assert a.dtype == np.float32 and abs(a - e).max() <= 20 * abs(b - e).max()


@needs_kernels
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_bad_pixel_spreads_over_its_tiles_at_most(bad):
    """Each output outside the tiles that read the pixel is as it was; no direct result that is bad
    is hidden."""
    case = SMALL
    x, w, _ = arrays_of(case, 2)
    filtered = filtering.Filter(4, *case)
    good = filtered.y_from(x, w)
    begins, ends = [0, 4, 7], [4, 7, 10]
    for place in [(0, 0), (7, 9), (9, 8), (19, 3), (13, 13)]:
        broken = x.copy()
        broken[(1, *place, 0)] = bad
        with np.errstate(all="ignore"):
            found, direct = (way.y_from(broken, w) for way in (filtered, Windows(*case)))
        mask = np.zeros((10, 10), bool)
        blocks = [(p + 1) // 2 for p in place]  # of the padded image
        for a, b in product(range(3), range(3)):
            if begins[a] <= blocks[0] <= ends[a] and begins[b] <= blocks[1] <= ends[b]:
                mask[begins[a]:ends[a], begins[b]:ends[b]] = True
        assert mask.any() and not mask.all()
        np.testing.assert_array_equal(found[0], good[0])
        np.testing.assert_allclose(found[1][~mask], good[1][~mask], rtol=1e-12)
        assert not np.isfinite(found[1][~np.isfinite(direct[1])]).any()


@needs_kernels
def test_a_huge_pixel_spoils_its_tiles_by_rounding_at_most():
    x, w, _ = arrays_of(SMALL, 1)
    broken = x.copy()
    broken[0, 1, 1, 0] = 1e12
    found, direct = (way.y_from(broken, w) for way in (
        filtering.Filter(4, *SMALL), Windows(*SMALL)))
    np.testing.assert_allclose(found[0, 4:, 4:], direct[0, 4:, 4:], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found, direct, rtol=0, atol=1e12 * 1e-13)


# In operations

@needs_kernels
def test_operations_are_filtered_where_it_pays():
    """conv2d, its two derivatives and their derivatives, as the plain engine has them."""
    case = (4, 4, 32, 32), (28, 28), (14, 14), (2, 2), (1, 1)
    arrays = arrays_of(case, 6)

    def everything():
        x, w, y = (mg.Tensor(a, requires_grad=True) for a in arrays)
        first = mg.grad(conv.conv2d(x, w, 2, 1), [x, w], y, create_graph=True)
        total = sum((g * g).sum() for g in first)
        return [g.data for g in [*first, *mg.grad(total, [x, w, y]),
                                 *mg.grad(conv.conv2d(x, w, 2, 1), [x, w], arrays[2]),
                                 *mg.grad(conv.conv_transpose2d(y, w, 2, 1), [y, w], arrays[0])]]
    with kernels_called() as called:
        fast = everything()
    assert called and not {"gather", "scatter"} & set(called)
    with plain_engine():
        plain = everything()
    for a, e in zip(fast, plain):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-11 * abs(e).max())


@needs_kernels
@pytest.mark.parametrize("change", ["in place", "another array", "nothing"])
def test_a_kernel_is_transformed_once_for_the_same_numbers(change):
    """While a graph holds what was made of a kernel: another convolution of it shares that, if its
    numbers are still the same."""
    x, w, _ = arrays_of(CASE, 6)
    w = mg.Tensor(w, requires_grad=True)
    first = conv.conv2d(x, w, 2, 1)
    if change == "in place":
        w.data[1, 2] += 1.0
    elif change == "another array":
        w.data = w.data * 2.0
    with kernels_called() as called:
        second = conv.conv2d(x, w, 2, 1)
    assert ("taps_to_points_2_4" in called) == (change != "nothing")
    with plain_engine():
        right = conv.conv2d(x, w.data, 2, 1)
    np.testing.assert_allclose(second.data, right.data, rtol=0, atol=1e-11 * abs(right.data).max())
    assert first.node is not None  # it was held all the time


@needs_kernels
def test_a_kernel_is_transformed_for_each_geometry():
    _, w, _ = arrays_of(CASE, 6)
    w, held = mg.Tensor(w, requires_grad=True), []
    for n, size in [(6, 28), (3, 28), (6, 20), (6, 28)]:  # tiles of 4, of 2, of 4 and 3
        x = drawn((n, size, size, 32), n)
        held.append(conv.conv2d(x, w, 2, 1))
        with plain_engine():
            right = conv.conv2d(x, w.data, 2, 1).data
        np.testing.assert_allclose(held[-1].data, right, rtol=0, atol=1e-11 * abs(right).max())
