"""Minimal filtering equals the plain products it replaces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigan as mg
from minigan import filtering, parallel
from minigan.conv import conv2d, conv2d_weight, conv_transpose2d


@st.composite
def geometries(draw):
    """(stride, outputs, padding, channels in, channels out, samples): kernels of twice the stride, on whole blocks."""
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    size = draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    padding = tuple(draw(st.integers(0, min(2 * s - 1, (s * (m + 1) - 1) // 2))) for s, m in zip(stride, size))
    return stride, size, padding, draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4))


def arrays(stride, size, padding, C, D, N, seed=0):
    rng = np.random.default_rng(seed)
    image = [s * (m + 1) - 2 * p for s, m, p in zip(stride, size, padding)]
    x, y = rng.standard_normal((N, *image, C)), rng.standard_normal((N, *size, D))
    return x, rng.standard_normal((2 * stride[0], 2 * stride[1], C, D)), y


@pytest.fixture
def plainly(monkeypatch):
    """Never filter inside the operations."""
    monkeypatch.setattr(filtering, "pays", lambda *geometry: False)


@given(geometries(), st.sampled_from([1, 10**9]))
@settings(max_examples=80)
def test_it_equals_the_plain_operations(geometry, most):
    """In blocks of one sample, and all at once."""
    stride, size, padding, *_ = geometry
    x, w, y = arrays(*geometry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filtering, "pays", lambda *geometry: False)
        plain = [conv2d(x, w, stride, padding), conv_transpose2d(y, w, stride, padding, x.shape[1:3]),
                 conv2d_weight(x, y, w.shape[:2], stride, padding)]
        patch.setattr(parallel, "BLOCK", most)
        fast = [filtering.convolve(x, w, stride, padding, size),
                filtering.convolve_transposed(y, w, stride, padding, x.shape[1:3]),
                filtering.correlate(x, y, stride, padding)]
    for a, b in zip(fast, plain):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b.data, rtol=0, atol=1e-10)


@given(st.integers(2, 30))
def test_an_axis_is_covered_by_triples_and_pairs_and_needs_the_fewest_products(m):
    axis = filtering.Axis(m)
    assert 3 * axis.triples + 2 * axis.pairs == m and min(axis.triples, axis.pairs) >= 0
    others = [4 * a + 3 * b for a in range(m) for b in range(m) if 3 * a + 2 * b == m]
    assert axis.products == min(others)
    assert sum(k.stop - k.start for k in axis.kinds) == axis.products


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_each_transform_is_the_transpose_of_its_adjoint(m, seed):
    axis, rng = filtering.Axis(m), np.random.default_rng(seed)
    new = lambda: [rng.standard_normal((k.stop - k.start, 3)) for k in axis.kinds]
    inner = lambda a, b: sum(np.sum(u * v) for u, v in zip(a, b, strict=True))
    for forth, back, n in ((axis.X, axis.X_adjoint, m + 1), (axis.Y, axis.Y_adjoint, m)):
        v, products, image, result = rng.standard_normal((n, 3)), new(), new(), np.full((n, 3), np.nan)
        forth(v, image)
        expected = inner(image, products)
        back(products, result)
        assert abs(np.sum(v * result) - expected) <= 1e-12 * max(1.0, abs(expected))
    taps, kinds = rng.standard_normal((2, 3)), rng.standard_normal((len(axis.kinds), 3))
    image, result = np.full_like(kinds, np.nan), np.full_like(taps, np.nan)
    filtering.W(taps, image)
    filtering.W_adjoint(kinds, result)
    assert np.isclose(np.sum(image * kinds), np.sum(taps * result))


def test_it_is_taken_where_it_pays():
    dcgan = (64, 14, 14, 64), (4, 4, 64, 128), (64, 7, 7, 128), (2, 2), (1, 1)
    assert filtering.pays(*dcgan)
    for changed in (((8, 14, 14, 64), (4, 4, 64, 128), (8, 7, 7, 128), (2, 2), (1, 1)),        # few outputs
                    ((64, 28, 28, 1), (4, 4, 1, 64), (64, 14, 14, 64), (2, 2), (1, 1)),        # few channels in
                    ((64, 14, 14, 64), (4, 4, 64, 8), (64, 7, 7, 8), (2, 2), (1, 1)),          # few channels out
                    ((64, 14, 14, 64), (5, 5, 64, 128), (64, 6, 6, 128), (2, 2), (1, 1)),      # another kernel
                    ((64, 15, 15, 64), (4, 4, 64, 128), (64, 7, 7, 128), (2, 2), (1, 1)),      # not whole blocks
                    ((2048, 4, 4, 64), (4, 4, 64, 128), (2048, 1, 1, 128), (2, 2), (0, 0))):   # one output
        assert not filtering.pays(*changed)


DCGAN = dict(stride=(2, 2), size=(7, 7), padding=(1, 1), C=64, D=64, N=24)


def test_the_operations_take_it_and_agree_in_every_derivative(plainly, monkeypatch):
    """Values, first and second derivatives at the shapes of a DCGAN, against the plain way."""
    x, w, y = arrays(**DCGAN)
    geometry = x.shape, w.shape, y.shape, (2, 2), (1, 1)

    def everything():
        tensors = [mg.Tensor(a, requires_grad=True) for a in (x, w, y)]
        tx, tw, ty = tensors
        values = [conv2d(tx, tw, 2, 1), conv_transpose2d(ty, tw, 2, 1), conv2d_weight(tx, ty, 4, 2, 1)]
        first = mg.grad([(value ** 2).sum() for value in values], tensors, create_graph=True)
        second = mg.grad(sum(((g * g).sum() for g in first), start=mg.Tensor(np.zeros(()))), tensors)
        return [t.data for t in (*values, *first, *second)]
    plain = everything()
    monkeypatch.undo()
    assert filtering.pays(*geometry)
    taken = []
    for name in ("convolve", "convolve_transposed", "correlate"):
        function = getattr(filtering, name)
        monkeypatch.setattr(filtering, name, lambda *a, name=name, f=function: taken.append(name) or f(*a))
    for a, b in zip(everything(), plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max())
    assert set(taken) == {"convolve", "convolve_transposed", "correlate"} and len(taken) > 9


def test_its_rounding_error_is_small():
    """Float32 against float64: at most 1e-6 of the root mean square."""
    x, w, y = arrays(**DCGAN)
    f = lambda *a: [v.astype(np.float32) for v in a]
    for fast, exact in (
            (filtering.convolve(*f(x, w), (2, 2), (1, 1), (7, 7)), conv2d(x, w, 2, 1)),
            (filtering.convolve_transposed(*f(y, w), (2, 2), (1, 1), (14, 14)), conv_transpose2d(y, w, 2, 1)),
            (filtering.correlate(*f(x, y), (2, 2), (1, 1)), conv2d_weight(x, y, 4, 2, 1))):
        assert fast.dtype == np.float32
        assert np.sqrt(np.mean((fast - exact.data) ** 2) / np.mean(exact.data ** 2)) < 1e-6
