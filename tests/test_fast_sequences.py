"""Products in a `Sequence`, against NumPy: all small sizes, parts and chunks, for vectors of each width
of this processor, with NaN around every array and pages that nobody may read."""

import ctypes
import faulthandler
import mmap
import os
import signal
from itertools import product

import numpy as np
import pytest

from fast_helpers import VECTOR, WIDTHS, compiled_for, some_threads
from minigan.fast import launch, native
from minigan.fast.c_parts import STRIP
from minigan.fast.kernels import FILL
from minigan.fast.text import Kernel

pytestmark = pytest.mark.skipif(native.functions(np.dtype("f")) is None,
                                reason=f"no compiled kernels: {native.why_not}")
PLACE = ("rooms[room * slot + at + matrix * apart + ((sample - begin) * n_row + row) * n_column"
         " + column]")
MATRICES = "sample matrix row column"
PUT = Kernel("put", MATRICES, f"x[{MATRICES}], index room, index at, index apart", "*rooms",
             f"{PLACE} = x;")
GET = Kernel("get", MATRICES, "*rooms, index room, index at, index apart", f"y[{MATRICES}]",
             f"y = {PLACE};")
EDGE, GAP = 64, 7  # numbers around an array; between matrices of a stack


@pytest.fixture(scope="module", params=WIDTHS, ids=lambda flags: flags or "widest")
def libraries(request, tmp_path_factory):
    return compiled_for(request.param, [FILL, PUT, GET], tmp_path_factory.mktemp("width"))


@pytest.fixture(autouse=True)
def width(libraries, monkeypatch):
    monkeypatch.setattr(native, "_libraries", libraries)


@pytest.fixture
def made():
    """A function that makes arrays full of NaN, with NaN around them that must stay."""
    wide = []

    def make(shape, dtype):
        wide.append(np.full(np.prod(shape, dtype=int) + 2 * EDGE, np.nan, dtype))
        return wide[-1][EDGE:-EDGE].reshape(shape)
    yield make
    for array in wide:
        assert np.isnan(array[:EDGE]).all() and np.isnan(array[-EDGE:]).all()


def zeros(make):
    def filled(shape, dtype):
        array = make(shape, dtype)
        array[...] = 0
        return array
    return filled


def whole_numbers(shape, seed, dtype):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def stack(count, rows, columns, at=GAP):
    """(where it begins, how it lies, how many numbers it takes in all)."""
    apart = rows * columns + GAP
    return at, (count, rows, columns, apart), at + count * apart


def laid(matrices, make):
    """(an array with matrices (n, rows, columns) in it, where, how)."""
    at, layout, size = stack(*matrices.shape)
    array = make((size,), matrices.dtype)
    views(array, at, layout)[...] = matrices
    return array, at, layout


def views(array, at, layout):
    """A stack's matrices: (n, rows, columns)."""
    count, rows, columns, apart = layout
    return np.lib.stride_tricks.as_strided(
        array[at:], (count, rows, columns),
        [n * array.itemsize for n in (apart, columns, 1)], subok=False)


def between_is_nan(array, at, layout):
    array = array.copy()
    views(array, at, layout)[...] = np.nan
    return np.isnan(array).all()


def in_rooms(work, make, count, rows, columns):
    """(rooms, where, how) for stacks of `capacity` samples."""
    at, layout, size = stack(count, rows, columns)
    return work.rooms(size, make), at, layout


def moved(work, kernel, x, place):
    """x (samples, n, rows, columns) into rooms by PUT, or out of them by GET."""
    array, at, layout = place
    numbers = array.shape[1], at, layout[3]
    given = (x, *numbers, array) if kernel is PUT else (array, *numbers, x)
    launch.then(work, kernel, x.shape, *given)


def of_all(x):
    """(samples, n, rows, columns) as (n, all rows, columns)."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1, x.shape[3])


def times(samples, chunk, cores, tiles, count, K, N, dtype, make, whole):
    """a @ b by a `Sequence`, a in rooms or of all samples; and what NumPy makes of it."""
    a = whole_numbers((samples, count, tiles, K), K + N, dtype)
    b = whole_numbers((count, K, N), K * N, dtype)
    strips = b.reshape(count, K, N // STRIP, STRIP).swapaxes(1, 2).reshape(count, K, N)
    y = make((samples, count, tiles, N), dtype)
    with some_threads(cores):
        work = native.Sequence(samples, 1, chunk, np.dtype(dtype))
        rows = work.capacity * tiles
        if whole:
            at_a = laid(of_all(a), make)
        else:
            at_a = in_rooms(work, make, count, rows, K)
            moved(work, PUT, a, at_a)
        at_c = in_rooms(work, make, count, rows, N)
        work.products(tiles, at_a, laid(strips, make), at_c)
        moved(work, GET, y, at_c)
        work.start()
    assert all(between_is_nan(room, *at_c[1:]) for room in at_c[0])
    return y, a @ b


def transposed(samples, chunk, cores, tiles, count, M, N, dtype, make):
    """aᵀ @ b chunk by chunk, added up in each thread's room, and of all samples at once."""
    a, b = (whole_numbers((samples, count, tiles, n), n, dtype) for n in (M, N))
    with some_threads(cores):
        work = native.Sequence(samples, 1, chunk, np.dtype(dtype))
        at_a, at_b = (in_rooms(work, make, count, work.capacity * tiles, n) for n in (M, N))
        at_c = in_rooms(work, zeros(make), count, M, N)
        moved(work, PUT, a, at_a)
        moved(work, PUT, b, at_b)
        work.products(tiles, at_a, at_b, at_c, transposed=True)
        work.start()
        in_all = laid(np.full((count, M, N), np.nan, dtype), make)
        work.sums(tiles, laid(of_all(a), make), laid(of_all(b), make), in_all)
    assert between_is_nan(*in_all)
    found = views(at_c[0].sum(0), *at_c[1:])
    return found, views(*in_all), of_all(a).swapaxes(1, 2) @ of_all(b)


# How samples are shared out

def test_the_widths_are_different_ones(request):
    """Of vectors, as far as the flags go: the compiler's last word."""
    flags, x = request.node.callspec.params["libraries"], np.ones(1, np.float32)
    most = {"-mno-avx512f": 32, "-mno-avx": 16}.get(flags, 64)
    assert launch.run(VECTOR, (1,), x, np.empty_like(x)) <= most


def test_chunks_have_no_more_samples_than_the_rooms_hold():
    for samples, chunk, cores in product(range(1, 30), range(1, 12), range(1, 6)):
        with some_threads(cores):
            work = native.Sequence(samples, 1, chunk, np.dtype("f"))
        pieces = work.parts * work.chunks
        ends = [samples * i // pieces for i in range(pieces + 1)]
        assert max(np.diff(ends)) <= min(work.capacity, chunk)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("whole", [False, True], ids=["rooms", "whole"])
def test_any_number_of_samples_chunks_and_threads(whole, dtype, made):
    """Also more parts than samples, so that some have none."""
    for samples, chunk, cores in product([1, 2, 3, 5, 8], [1, 2, 3, 9], [1, 2, 3, 5]):
        found, right = times(samples, chunk, cores, 3, 2, 5, 32, dtype, made, whole)
        np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_over_any_number_of_samples_chunks_and_threads(dtype, made):
    for samples, chunk, cores in product([1, 2, 3, 5, 8], [1, 2, 3, 9], [1, 2, 3, 5]):
        for found in (result := transposed(samples, chunk, cores, 3, 2, 9, 35, dtype, made))[:2]:
            np.testing.assert_array_equal(found, result[2])


# Sizes

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("whole", [False, True], ids=["rooms", "whole"])
@pytest.mark.parametrize("N", [32, 96])
def test_products_of_every_size(N, whole, dtype, made):
    """Rows thinner than a tile, many tiles and a last one that begins earlier; K deeper than 256."""
    for rows, K in product([1, 5, 6, 7, 8, 9, 13, 33], [1, 3, 32, 255, 256, 257, 513]):
        found, right = times(2, 1, 2, rows, 2, K, N, dtype, made, whole)
        np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("M", [1, 5, 6, 8, 9, 33])
def test_sums_of_every_size(M, dtype, made):
    for N, tiles in product([1, 3, 8, 15, 16, 17, 32, 33, 49], [1, 7, 257]):
        for found in (result := transposed(3, 1, 2, tiles, 2, M, N, dtype, made))[:2]:
            np.testing.assert_array_equal(found, result[2])


def test_kernels_and_products_are_done_in_their_order(made):
    """Into the rooms, a product, another one of what it made."""
    a, b = whole_numbers((5, 1, 3, 32), 0, "f"), whole_numbers((1, 32, 32), 1, "f")
    y = made((5, 1, 3, 32), "f")
    with some_threads(2):
        work = native.Sequence(5, 1, 2, np.dtype("f"))
        rooms = [in_rooms(work, made, 1, work.capacity * 3, 32) for _ in range(3)]
        moved(work, PUT, a, rooms[0])
        for source, target in zip(rooms, rooms[1:]):
            work.products(3, source, laid(b, made), target)
        moved(work, GET, y, rooms[2])
        launch.then(work, FILL, (5, 96), 7.0, a.reshape(5, 96))
        right = a @ b @ b
        work.start()
    np.testing.assert_array_equal(y, right)
    assert (a == 7).all()


def test_an_array_of_another_dtype_is_refused():
    """A sequence calls the kernels of one dtype."""
    work = native.Sequence(2, 1, 1, np.dtype("f"))
    with pytest.raises(ValueError, match="kernel fill: arrays of float32 expected"):
        launch.then(work, FILL, (2, 3), 1.0, np.empty((2, 3)))
    assert work.calls == []


# Nothing beside an array is read

def fenced(array, at_end):
    """An equal array, at the end of pages after which none may be read, or at the beginning of pages
    before which none may be."""
    page = mmap.PAGESIZE
    inner = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, inner + 2 * page)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None).mprotect
    for place in (begin, begin + page + inner):
        assert protect(ctypes.c_void_p(place), ctypes.c_size_t(page), 0) == 0
    offset = page + (inner - array.nbytes if at_end else 0)
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


def ended_well(work):
    """Whether work() in a forked child ends without a signal or an exception."""
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        faulthandler.disable()  # its words would look like those of a failure
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


needs_pages = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and mprotect")
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@needs_pages
@forks
def test_a_read_beside_a_fenced_array_would_be_seen():
    array = fenced(np.ones(5000, np.float32), True)
    assert ended_well(lambda: ctypes.c_float.from_address(array.ctypes.data + 4 * 4999).value)
    assert not ended_well(lambda: ctypes.c_float.from_address(array.ctypes.data + 4 * 5000).value)


@needs_pages
@forks
@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("turned", list(product([False, True], repeat=2)))
def test_products_read_nothing_beside_their_factors(turned, dtype, at_end):
    def work():
        for M, K, N in product([1, 5, 9, 50], [1, 9, 300], [1, 15, 33, 220]):
            a, b = (np.ones((1, q, p) if t else (1, p, q), dtype)
                    for (p, q), t in zip([(M, K), (K, N)], turned))
            c = np.empty((1, M, N), dtype)
            native.products(*[fenced(array, at_end) for array in (a, b, c)], *turned)
    assert ended_well(work)


@needs_pages
@forks
@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sequence_reads_nothing_beside_its_arrays(dtype, at_end):
    def make(shape, dtype):
        size = np.prod(shape, dtype=int) - (GAP if len(shape) == 1 else 0)  # none after the last
        return fenced(np.full(size, np.nan, dtype), at_end).reshape(-1 if len(shape) == 1 else shape)

    def work():
        for tiles, n in product([1, 4, 9], [1, 32, 33, 300]):
            for whole in (True, False):
                times(3, 1, 2, tiles, 1, n, 64, dtype, make, whole)
            transposed(3, 1, 2, tiles, 1, n, 33, dtype, make)
    assert ended_well(work)
