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
        way = filtering.Filter(w, w.shape, x.shape[1:3], size, stride, padding)
        fast = [way.y_from(x), way.x_from(y), way.w_from(x, y), *way.x_and_w(x, y), *way.y_and_w(x, y)]
    of_y, of_x, of_w = plain
    for a, b in zip(fast, [of_y, of_x, of_w, of_x, of_w, of_y, of_w], strict=True):
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
    dcgan = 64, (4, 4, 64, 128), (14, 14), (7, 7), (2, 2), (1, 1)
    assert filtering.pays(*dcgan)
    for changed in ((32, (4, 4, 64, 128), (14, 14), (7, 7), (2, 2), (1, 1)),        # few outputs
                    (64, (4, 4, 1, 64), (28, 28), (14, 14), (2, 2), (1, 1)),       # few channels in
                    (64, (4, 4, 64, 8), (14, 14), (7, 7), (2, 2), (1, 1)),         # few channels out
                    (64, (5, 5, 64, 128), (14, 14), (6, 6), (2, 2), (1, 1)),       # another kernel
                    (64, (4, 4, 64, 128), (15, 15), (7, 7), (2, 2), (1, 1)),       # not whole blocks
                    (2048, (4, 4, 64, 128), (4, 4), (1, 1), (2, 2), (0, 0))):      # one output
        assert not filtering.pays(*changed)


DCGAN = dict(stride=(2, 2), size=(7, 7), padding=(1, 1), C=64, D=64, N=42)


METHODS = {"y_from", "x_from", "w_from", "x_and_w", "y_and_w"}


def test_the_operations_take_it_and_agree_in_every_derivative(plainly, monkeypatch):
    """Values, first and second derivatives at the shapes of a DCGAN, against the plain way."""
    x, w, y = arrays(**DCGAN)

    def everything():
        tensors = [mg.Tensor(a, requires_grad=True) for a in (x, w, y)]
        tx, tw, ty = tensors
        values = [conv2d(tx, tw, 2, 1), conv_transpose2d(ty, tw, 2, 1), conv2d_weight(tx, ty, 4, 2, 1)]
        losses = [(value ** 2).sum() for value in values]
        together = mg.grad(losses, tensors)
        alone = [mg.grad(loss, t)[0] for loss, t in zip(losses, (tx, ty))]
        first = mg.grad(losses, tensors, create_graph=True)
        second = mg.grad(sum(((g * g).sum() for g in first), start=mg.Tensor(np.zeros(()))), tensors)
        return [t.data for t in (*values, *together, *alone, *first, *second)]
    plain = everything()
    monkeypatch.undo()
    assert filtering.pays(len(x), w.shape, x.shape[1:3], y.shape[1:3], (2, 2), (1, 1))
    taken = set()
    for name in METHODS:
        method = getattr(filtering.Filter, name)
        monkeypatch.setattr(filtering.Filter, name, lambda *a, name=name, f=method: taken.add(name) or f(*a))
    for a, b in zip(everything(), plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max())
    assert taken == METHODS


def test_its_rounding_error_is_small():
    """Float32 against float64: at most 1e-6 of the root mean square."""
    x, w, y = arrays(**DCGAN)
    single = [a.astype(np.float32) for a in (x, w, y)]
    way = filtering.Filter(single[1], w.shape, (14, 14), (7, 7), (2, 2), (1, 1))
    for fast, exact in ((way.y_from(single[0]), conv2d(x, w, 2, 1)),
                        (way.x_from(single[2]), conv_transpose2d(y, w, 2, 1)),
                        (way.w_from(single[0], single[2]), conv2d_weight(x, y, 4, 2, 1))):
        assert fast.dtype == np.float32
        assert np.sqrt(np.mean((fast - exact.data) ** 2) / np.mean(exact.data ** 2)) < 1e-6
