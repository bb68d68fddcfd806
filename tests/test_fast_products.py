"""Products of matrices in C: every transposition, size, stack and number of parts, against NumPy."""

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from fast_helpers import WIDTHS, compiled_for, some_threads
from minigan.fast import native, products
from products_seen import products_of_arrays

pytestmark = pytest.mark.skipif(native.functions(np.dtype("f")) is None,
                                reason=f"no compiled kernels: {native.why_not}")
TRANSPOSED = list(product([False, True], repeat=2))
sizes, parts = st.integers(1, 90), st.integers(1, 5)
deep = st.one_of(sizes, st.sampled_from([255, 256, 257, 258, 511, 512, 513, 600]))
dtypes = st.sampled_from([np.float32, np.float64])
EDGE = 64  # numbers on each side of a result


@pytest.fixture(scope="module", params=WIDTHS, ids=lambda flags: flags or "widest")
def libraries(request, tmp_path_factory):
    return compiled_for(request.param, [], tmp_path_factory.mktemp("width"))


@pytest.fixture
def width(libraries, monkeypatch):
    """Vectors of each width that this processor has."""
    monkeypatch.setattr(native, "_libraries", libraries)


def factors(count, M, K, N, transposed, dtype, whole=False):
    rng = np.random.default_rng(M * 7919 + K * 101 + N)
    draw = (lambda shape: rng.integers(-4, 5, shape)) if whole else rng.standard_normal
    shapes = (count, M, K), (count, K, N)
    return [draw((n, q, p) if t else (n, p, q)).astype(dtype)
            for (n, p, q), t in zip(shapes, transposed)]


def expected(a, b, transposed):
    return np.matmul(*[np.swapaxes(x, 1, 2) if t else x for x, t in zip((a, b), transposed)])


def guarded(shape, dtype):
    """(an array of NaN, the longer one around it)."""
    wide = np.full(np.prod(shape, dtype=int) + 2 * EDGE, np.nan, dtype)
    return wide[EDGE:-EDGE].reshape(shape), wide


def multiplied(a, b, shape, transposed, cores=1, *more):
    c, wide = guarded(shape, a.dtype)
    with some_threads(cores):
        assert native.products(a, b, c, *transposed, *more) is c
    assert np.isnan(wide[:EDGE]).all() and np.isnan(wide[-EDGE:]).all()
    return c


def check(count, M, K, N, transposed, dtype, cores):
    """Whole numbers exactly, also with a bias and a leaky ReLU; others to some roundings of the sum
    of their sizes."""
    for whole in (True, False):
        a, b = factors(count, M, K, N, transposed, dtype, whole)
        found = multiplied(a, b, (count, M, N), transposed, cores)
        right = expected(a.astype("d"), b.astype("d"), transposed)
        scale = expected(abs(a).astype("d"), abs(b).astype("d"), transposed)
        if whole:
            np.testing.assert_array_equal(found, right)
            bias = np.arange(N, dtype=dtype) % 7 - 3
            found = multiplied(a, b, (count, M, N), transposed, cores, bias, 0.25)
            right += bias
            np.testing.assert_array_equal(found, np.where(right > 0, right, 0.25 * right))
        else:
            assert (abs(found - right) <= (4 + K / 8) * np.finfo(dtype).eps * scale).all()


@given(st.sampled_from(TRANSPOSED), dtypes, sizes, deep, sizes, parts)
def test_one_product(transposed, dtype, M, K, N, cores):
    check(1, M, K, N, transposed, dtype, cores)


@given(st.sampled_from(TRANSPOSED), dtypes, st.integers(1, 40), st.integers(1, 40),
       st.integers(1, 40), st.integers(1, 40), parts)
def test_a_stack_of_products(transposed, dtype, count, M, K, N, cores):
    check(count, M, K, N, transposed, dtype, cores)


@pytest.mark.parametrize("transposed", TRANSPOSED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_small_size(width, transposed, dtype):
    """Tiles that fit, that begin earlier, and matrices smaller than one."""
    for M, N in product([1, 2, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17, 24, 25],
                        [1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 47, 48, 49]):
        check(1, M, 3, N, transposed, dtype, 1 + (M + N) % 3)


@pytest.mark.parametrize("transposed", TRANSPOSED)
@pytest.mark.parametrize("M", [8, 33, 70])
@pytest.mark.parametrize("K, N, dtype", [(300, 181, np.float32), (700, 75, np.float32),
                                         (1030, 33, np.float64), (257, 131, np.float64)])
def test_large_factors_are_laid_out_in_strips(width, M, K, N, dtype, transposed):
    """b takes more than NEAR, and the common index more than one block."""
    for cores in (1, 2):
        check(1, M, K, N, transposed, dtype, cores)


@pytest.mark.parametrize("transposed", TRANSPOSED)
@pytest.mark.parametrize("K, N, dtype", [(1700, 31, np.float32), (1700, 15, np.float64),
                                         (3400, 15, np.float32), (3600, 7, np.float64)])
def test_a_strip_is_one_vector_wide_where_two_do_not_fit(width, K, N, dtype, transposed):
    check(1, 33, K, N, transposed, dtype, 1)


@pytest.mark.parametrize("count, M, N", [(1, 3, 90), (1, 90, 3), (3, 40, 40), (4, 9, 9), (1, 9, 17),
                                         (40, 8, 16), (2, 100, 100), (1, 1, 1), (5, 1, 70)])
def test_any_number_of_parts(width, count, M, N):
    """Also more parts than there are tiles, or matrices."""
    for cores in range(1, 10):
        check(count, M, 19, N, (False, False), np.float32, cores)


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_the_same_bits_every_time(cores):
    a, b = factors(3, 67, 300, 41, (False, True), np.float32)
    first, *others = [multiplied(a, b, (3, 67, 41), (False, True), cores) for _ in range(5)]
    for other in others:
        np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("transposed", TRANSPOSED)
@pytest.mark.parametrize("M, K, N", [(8, 5, 32), (33, 300, 35), (3, 7, 5), (50, 300, 200)])
def test_bad_numbers_stay_in_their_rows_and_columns(M, K, N, transposed):
    a, b = factors(2, M, K, N, transposed, np.float32)
    straight = [np.swapaxes(x, 1, 2) if t else x for x, t in zip((a, b), transposed)]  # views
    straight[0][0, M - 1, K // 2], straight[0][1, 0, 0] = np.nan, np.inf
    straight[1][0, K - 1, N - 1], straight[1][1, K // 2, N // 2] = np.inf, 0.0
    straight[1][1, 0, 1] = 0.0  # 0 · ∞
    found = multiplied(a, b, (2, M, N), transposed, 2)
    with np.errstate(all="ignore"):
        right = expected(a, b, transposed)
    assert np.isnan(right).any() and np.isinf(right).any()
    np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("M, N", [(1, 1), (3, 40), (20, 30), (40, 100)])
def test_an_empty_sum_is_zero(M, N):
    """The array that is to hold the result is full of NaN before."""
    c = multiplied(np.ones((2, M, 0)), np.ones((2, 0, N)), (2, M, N), (False, False), 2)
    np.testing.assert_array_equal(c, np.zeros((2, M, N)))


def test_what_is_empty_stays_so():
    for shape in [(0, 3, 4), (2, 0, 4), (2, 3, 0)]:
        count, M, N = shape
        multiplied(np.ones((count, M, 5)), np.ones((count, 5, N)), shape, (False, False), 3)


WRONG = {
    "another common index": lambda a, b, c: (a[:, :, :3].copy(), b, c),
    "another count": lambda a, b, c: (a[:1], b, c),
    "another result": lambda a, b, c: (a, b, c[:, :5].copy()),
    "a transposed factor": lambda a, b, c: (a, np.ones((2, 7, 4)), c),
    "another dtype": lambda a, b, c: (a, b.astype("f"), c),
    "a result of another dtype": lambda a, b, c: (a, b, c.astype("f")),
    "two axes": lambda a, b, c: (a, b[0], c),
    "columns first": lambda a, b, c: (np.asfortranarray(a), b, c),
    "a result in steps": lambda a, b, c: (a, b, np.ones((2, 6, 14))[..., ::2]),
    "b in steps": lambda a, b, c: (a, np.ones((2, 4, 14))[..., ::2], c),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name):
    a, b, c = WRONG[name](np.ones((2, 6, 4)), np.ones((2, 4, 7)), np.ones((2, 6, 7)))
    with pytest.raises(ValueError, match=re.escape(f"products: {a.dtype} {a.shape} and")):
        native.products(a, b, c)
    if c.flags.c_contiguous:
        assert (c == 1).all()


@pytest.mark.parametrize("bias", [np.ones(6), np.ones((1, 7)), np.ones(7, "f"), np.ones(14)[::2]])
def test_a_bias_that_does_not_fit_is_refused(bias):
    c = np.ones((2, 6, 7))
    with pytest.raises(ValueError, match="products: .* with a bias"):
        native.products(np.ones((2, 6, 4)), np.ones((2, 4, 7)), c, bias=bias)
    assert (c == 1).all()


def test_a_transposed_factor_must_be_one():
    with pytest.raises(ValueError):
        native.products(np.ones((1, 6, 4)), np.ones((1, 4, 7)), np.ones((1, 6, 7)), True)
    with pytest.raises(ValueError):
        native.products(np.ones((1, 6, 4)), np.ones((1, 4, 7)), np.ones((1, 6, 7)), False, True)


# `product`

@pytest.mark.parametrize("transposed", TRANSPOSED)
@given(M=st.integers(0, 20), K=st.integers(0, 20), N=st.integers(0, 20), given_out=st.booleans(),
       steps=st.booleans())
def test_product(transposed, M, K, N, given_out, steps):
    a, b = (x[0] for x in factors(1, M, K, N, transposed, np.float64))
    if steps:
        a, b = np.repeat(a, 2, 1)[:, ::2], np.asfortranarray(b)
    out = guarded((M, N), np.float64)[0] if given_out else None
    found = products.product(a, b, *transposed, out=out)
    assert out is None or found is out
    right = expected(a[None], b[None], transposed)[0]
    assert found.shape == right.shape
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-13 * max(1, K))


@pytest.mark.parametrize("objective, spectral", [
    ("gan", False), ("wgan-gp", False), ("gan", True)])
def test_no_product_of_a_step_is_left_to_the_matrix_library(objective, spectral, monkeypatch):
    """Its threads wait awake for more work, and then compete with ours for the cores: a step took
    twice the time. `einsum` has loops of its own, unless it is told to optimise."""
    G, D = mg.networks.dcgan_pair((28, 28, 1), width=8, penalised=spectral or objective != "gan")
    trainer = mg.trainer.GANTrainer(
        G, mg.networks.spectral(D) if spectral else D, objective=objective)
    batches = [np.zeros((8, 28, 28, 1), np.float32)] * trainer.batches_per_step
    for name in ("matmul", "dot", "tensordot", "inner", "vdot", "vecdot"):
        monkeypatch.setattr(np, name, lambda *a, name=name, **o: pytest.fail(f"numpy.{name}"))
    einsum = np.einsum
    monkeypatch.setattr(np, "einsum", lambda *a, optimize=False: einsum(*a))
    assert products_of_arrays(lambda: trainer.step(batches)) == set()


def test_a_product_of_arrays_is_seen():
    x = np.ones((4, 4), np.float32)
    rows = mg.Tensor(x)
    assert products_of_arrays(lambda: rows @ rows) == set()
    [line] = products_of_arrays(lambda: mg.metrics.distances.moments(x))
    assert line.startswith("distances.py:")
