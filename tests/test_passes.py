"""Passes over memory do what a line of NumPy does, whatever the blocks and the rows they are cut into."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import parallel, passes

shapes = st.lists(st.integers(1, 12), min_size=2, max_size=4).map(tuple)
slopes = st.sampled_from([0.0, 0.2, 1.0, 1.5])


@pytest.fixture(params=["one block", "tiny blocks"], autouse=True)
def blocks(request, monkeypatch):
    if request.param == "tiny blocks":
        monkeypatch.setattr(parallel, "NEAR", 8)
        monkeypatch.setattr(parallel, "BLOCK", 8)
        monkeypatch.setattr(parallel, "SMALL", 1)


def drawn(shape, seed=0):
    """Normal numbers, some of them exactly zero."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) * (rng.random(shape) > 0.2)


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


@given(shapes, slopes)
def test_leaky_and_leak_are_their_definitions(shape, slope):
    x, g = drawn(shape), drawn(shape, seed=1)
    forward = passes.elementwise(lambda xp, out, x: passes.leaky(xp, out, x, slope), x)
    backward = passes.elementwise(lambda xp, out, g, x: passes.leak(xp, out, g, x, slope), g, x)
    np.testing.assert_allclose(forward, leaky(x, slope), rtol=1e-15)
    np.testing.assert_allclose(backward, g * np.where(x > 0, 1.0, slope), rtol=1e-15)


@given(shapes, slopes)
def test_they_work_in_place(shape, slope):
    x, g = drawn(shape), drawn(shape, seed=1)
    expected = leaky(x, slope), g * np.where(x > 0, 1.0, slope)
    passes.leak(np, g, g, x, slope)
    passes.leaky(np, x, x, slope)
    np.testing.assert_allclose(x, expected[0], rtol=1e-15)
    np.testing.assert_allclose(g, expected[1], rtol=1e-15)


@given(st.integers(1, 400), st.integers(1, 40))
def test_long_rows_hold_the_numbers_in_their_order_and_whole_channels(n, C):
    x = drawn((n, C))
    rows = passes.long_rows(x)
    assert rows.shape[1] % C == 0 and rows.shape[1] <= max(C, passes.LONG)
    np.testing.assert_array_equal(rows.ravel(), x.ravel())


def test_rows_are_glued_until_they_are_long():
    assert passes.long_rows(np.zeros((64, 7, 7, 128))).shape == (49, passes.LONG)
    assert passes.long_rows(np.zeros((3, 5, 128))).shape == (15, 128)        # an odd number of rows stays as it is
    assert passes.long_rows(np.zeros((4, 2 * passes.LONG))).shape == (4, 2 * passes.LONG)


@given(shapes)
def test_folded_is_the_adjoint_of_repeated(shape):
    rows, C = passes.long_rows(drawn(shape)), shape[-1]
    vector, other = drawn(C), drawn(rows.shape[1], seed=1)
    repeated = passes.repeated(vector, rows)
    np.testing.assert_array_equal(repeated.reshape(-1, C), np.broadcast_to(vector, (rows.shape[1] // C, C)))
    np.testing.assert_allclose(repeated @ other, vector @ passes.folded(other, C), atol=1e-10)
    both = np.stack([other, 2 * other])
    np.testing.assert_allclose(passes.folded(both, C), [passes.folded(row, C) for row in both])


@given(shapes, slopes)
def test_a_row_added_and_rows_combined_per_channel(shape, slope):
    x, y, C = drawn(shape), drawn(shape, seed=1), shape[-1]
    a, b, row = (drawn(C, seed=i) for i in (2, 3, 4))
    out = np.empty(shape)
    long = passes.long_rows
    passes.add_row(long(out), long(x), row, slope)
    np.testing.assert_allclose(out, leaky(x + row, slope), rtol=1e-14)
    passes.combine(long(out), [(long(x), a), (long(y), b)], row, slope)
    expected = leaky(x * a + y * b + row, slope)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-14)
    passes.combine(long(x), [(long(x), a), (long(y), b)], row, slope)  # in place of the first
    np.testing.assert_array_equal(x, out)


@given(shapes)
def test_sums_over_rows_are_sums_per_channel(shape):
    x = drawn(shape)
    sums = passes.folded(passes.sum_rows(passes.long_rows(x)), shape[-1])
    np.testing.assert_allclose(sums, x.reshape(-1, shape[-1]).sum(0), atol=1e-12)
    np.testing.assert_allclose(passes.total(x.reshape(-1, shape[-1])), x.reshape(-1, shape[-1]).sum(0), atol=1e-12)
