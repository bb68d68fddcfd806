"""What the tests of the fast engine share: both engines side by side, arrays in every layout."""

import contextlib
import platform
import shlex

import numpy as np
import pytest

import minigan as mg
from minigan.fast import compiling, native, threads
from minigan.fast.text import Kernel
from minigan.tensor import FAST

LAYOUTS = "plain", "transposed", "sliced", "reversed", "broadcast"
# Flags for vectors of all widths: this processor's own, 32 bytes and 16
WIDTHS = ["", *["-mno-avx512f", "-mno-avx"][:2 * (platform.machine() in ("x86_64", "AMD64"))]]
VECTOR = Kernel("vector", "i", "x[i]", "y[i]", """
#if defined(__AVX512F__)
y = 64;
#elif defined(__AVX__)
y = 32;
#else
y = 16;
#endif
""")  # its bytes


def compiled_for(flags, kernels, folder):
    """`native._libraries` with these kernels and the products only, compiled with more flags."""
    script = folder / "cc"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(compiling.compiler())} "$@" {flags}\n')
    script.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("CC", str(script))
        patch.setattr(native, "KERNELS", [VECTOR, *kernels])
        patch.setattr(native, "_libraries", {})
        assert native.functions(np.dtype("f")) and native.functions(np.dtype("d")), native.why_not
        return native._libraries


@contextlib.contextmanager
def plain_engine():
    """A context without fast functions; threads and libraries stay as they are."""
    kept = dict(FAST)
    FAST.clear()
    try:
        yield
    finally:
        FAST.update(kept)


@contextlib.contextmanager
def kernels_called(machine=native):
    """A context that collects the names of the kernels, and "products", that are called in it."""
    names, places = [], [(machine, "run"), (machine, "sums")]
    if machine is native:
        places = [(native, "_call"), (native.Sequence, "_add")]

    def counted(place, name):
        before = getattr(place, name)

        def call(*arguments):
            given = arguments[machine is native]  # a kernel, or its name
            names.append(given if machine is native else given.name)
            return before(*arguments)
        return place, name, before, call
    changes = [counted(*place) for place in places]
    for place, name, _, call in changes:
        setattr(place, name, call)
    try:
        yield names
    finally:
        for place, name, before, _ in changes:
            setattr(place, name, before)


@contextlib.contextmanager
def some_threads(count=3, small=0):
    """A context in which work on `small` numbers or more is cut into so many parts."""
    before = threads._cores, threads.SMALL
    threads._cores, threads.SMALL = count, small
    try:
        yield
    finally:
        threads._cores, threads.SMALL = before


def laid_out(array, layout):
    """An equal array with its numbers elsewhere in memory; for "broadcast" one that repeats its
    first entry along the first axis, and cannot be written to."""
    if layout == "transposed" and array.ndim:
        return np.ascontiguousarray(array.T).T
    if layout == "sliced" and array.ndim:
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "reversed" and array.ndim:
        return array[::-1].copy()[::-1]
    if layout == "broadcast" and array.ndim:
        return np.broadcast_to(array[:1], array.shape)
    return array


def drawn(shape, seed, dtype=np.float64, layout="plain"):
    """Normal numbers, some of them zero."""
    rng = np.random.default_rng(seed)
    array = rng.standard_normal(shape) * (rng.random(shape) > 0.1)
    return laid_out(np.asarray(array, dtype), layout)


def derivatives(f, arrays, cotangent, needed, second=True):
    """The value of f, its first derivatives in the `needed` arguments, and the derivatives of a
    projection of these in the arguments and in the cotangent."""
    leaves = [mg.Tensor(a, requires_grad=need) for a, need in zip(arrays, needed)]
    wanted = [leaf for leaf, need in zip(leaves, needed) if need]
    y = f(*leaves)
    if cotangent is None:
        return [y.data]
    first = mg.grad(y, wanted, cotangent)
    found = [y.data, *[g.data for g in first]]
    if second:
        c = mg.Tensor(cotangent, requires_grad=True)
        graph = mg.grad(f(*leaves), wanted, c, create_graph=True)
        found += [g.data for g in graph]
        total = sum(((g * drawn(g.shape, 90 + i, g.dtype)).sum() for i, g in enumerate(graph)))
        found += [None if g is None else g.data
                  for g in mg.grad(total, [*wanted, c], allow_unused=True)]
    return found


def agree(actual, expected, tolerance):
    """Arrays equal to so many parts of the largest number, in dtype and shape as well."""
    assert len(actual) == len(expected)
    for position, (a, e) in enumerate(zip(actual, expected)):
        if a is None or e is None:  # where an engine knows that a derivative is zero
            assert not np.any(a) if e is None and a is not None else not np.any(e), position
            continue
        assert a.dtype == e.dtype and a.shape == e.shape, (position, a.shape, e.shape)
        largest = max(1.0, float(abs(e).max())) if e.size else 1.0
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * largest, err_msg=str(position))
