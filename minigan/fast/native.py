"""The compiled kernels on a CPU: loaded once, called one by one or as a sequence."""

import ctypes
import threading
from math import prod
from struct import Struct

import numpy as np

from minigan.fast import c_parts, text, threads
from minigan.fast.filters import FILTERS
from minigan.fast.kernels import KERNELS as GENERAL

KERNELS = [*GENERAL, *FILTERS.values()]
HALVES = 2   # of the kernels, compiled at the same time

addressof, from_buffer = ctypes.addressof, ctypes.c_char.from_buffer
STACK = Struct("22qd")  # see `c_parts.PRODUCTS`

_lock = threading.Lock()
_libraries = {}  # dtype → {kernel name: function}, or None where there is none
why_not = None   # why there are no compiled kernels, in a line for people


def functions(dtype):
    """{kernel name: C function} for arrays of this dtype; None where nothing could be compiled."""
    try:
        return _libraries[dtype.char]
    except KeyError:
        with _lock:
            if dtype.char not in _libraries:
                name = {"f": "float32", "d": "float64"}.get(dtype.char)
                _libraries[dtype.char] = name and _loaded(name)
        return _libraries[dtype.char]


def _loaded(dtype):
    global why_not
    from minigan.fast import compiling  # here, as it takes its time to import
    sources = [text.c_source(KERNELS[i::HALVES], dtype) for i in range(HALVES)]
    sources[0] += c_parts.THREADS + c_parts.PRODUCTS + c_parts.SEQUENCE
    try:
        library = ctypes.CDLL(str(compiling.compiled(sources, dtype)))
        names = [*[kernel.name for kernel in KERNELS], "products", "sample_products"]
        found = {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names}
        found |= {"in_parts": library.in_parts, "sequence": library.sequence}
    except compiling.NotCompiled as error:
        why_not = str(error)
        return None
    except (OSError, AttributeError) as error:
        command = " ".join(compiling.compiler())
        why_not = f"{command} made no kernels ({compiling.first_line(error)})"
        return None
    found["in_parts"].restype = found["sequence"].restype = None
    found["in_parts"].argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    found["sequence"].argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p]
    return found


def address(array):
    """Where an array's numbers are in memory."""
    try:
        return addressof(from_buffer(array))  # a fifth of the time of …
    except (TypeError, ValueError, BufferError):
        return array.ctypes.data


def run(kernel, dtype, sizes, arguments):
    """Call a kernel on all cores."""
    _call(dtype, kernel.name, kernel.structure.pack(*sizes, *_values(kernel, arguments)),
          threads.parts_of(sizes[0], prod(sizes)))


def sums(kernel, dtype, sizes, arguments):
    """The (parts, sums, kept) doubles of a `Sum`."""
    parts, K = threads.parts_of(sizes[0], prod(sizes)), len(kernel.sums)
    result = np.empty((parts, K, sizes[-1]) if kernel.by_row else (1, K, sizes[0]))
    values = _values(kernel, arguments)
    _call(dtype, kernel.name, kernel.structure.pack(*sizes, *values, address(result)), parts)
    return result


def _call(dtype, name, structure, parts):
    found = functions(dtype)
    found["in_parts"](found[name], structure, parts)


def products(a, b, c, a_transposed=False, b_transposed=False, bias=None, slope=1.0):
    """c (…, M, N) = a (…, M, K) @ b (…, K, N), all contiguous. A transposed factor is stored as
    (…, K, M), or (…, N, K). With a `bias` (N,) it is leaky_relu(a @ b + bias, slope)."""
    *stack, M, N = c.shape
    K = a.shape[-2 if a_transposed else -1]
    if not (a.flags.c_contiguous and b.flags.c_contiguous and c.flags.c_contiguous) or (
            a.shape != (*stack, *((K, M) if a_transposed else (M, K)))
            or b.shape != (*stack, *((N, K) if b_transposed else (K, N)))
            or not a.dtype == b.dtype == c.dtype):
        raise ValueError(f"products: {a.dtype} {a.shape} and {b.dtype} {b.shape} do not make "
                         f"{c.dtype} {c.shape}")
    if bias is not None and (
            bias.shape != (N,) or bias.dtype != c.dtype or not bias.flags.c_contiguous):
        raise ValueError(f"products: {c.dtype} {c.shape} with a bias {bias.dtype} {bias.shape}")
    _products(a, b, c, (prod(stack), M, K, N), (a_transposed, b_transposed), (M * K, K * N, M * N),
              bias, slope)
    return c


def _products(a, b, c, sizes, transposed, apart, bias=None, slope=1.0):
    """`apart` are the numbers from one matrix of a stack to the next, in a, b and c."""
    count, M, K, N = sizes
    a_strides, b_strides = (1, M) if transposed[0] else (K, 1), (1, K) if transposed[1] else (N, 1)
    _call(c.dtype, "products",
          STACK.pack(*sizes, *a_strides, *b_strides, *apart, *[0] * 7, address(a), address(b),
                     address(c), 0 if bias is None else address(bias), slope),
          threads.parts_of(count * max(M, N), prod(sizes) // 64))


class Sequence:
    """Kernels, and products of stacks, that each thread runs one after another on its own samples,
    at most `chunk` of them at a time. What they hand on lies in rooms, one for each thread.
    `numbers` is the work in all."""

    def __init__(self, samples, numbers, chunk, dtype):
        self.samples, self.dtype, self.functions = samples, dtype, functions(dtype)
        self.parts = threads.parts_of(samples, numbers)
        share = -(-samples // self.parts)
        self.chunks = -(-share // chunk)
        self.capacity = -(-share // self.chunks)  # samples in a chunk, at most
        self.calls, self.kept = [], []

    def rooms(self, size, make=np.empty):
        """An array (threads, size)."""
        return make((self.parts, size), self.dtype)

    def run(self, kernel, sizes, arguments):
        """A kernel; its first loop is over the samples."""
        self._add(kernel.name, kernel.structure.pack(*sizes, *_values(kernel, arguments)),
                  arguments)

    def products(self, tiles, a, b, c, transposed=False):
        """c = a @ b for each of a stack: a and c have `tiles` rows for each sample, b is in strips.
        Transposed it is c += aᵀ @ b: a and b have `tiles` rows for each sample, and each thread
        has its own c. Arrays (threads, size) are rooms; a may also be an array of all samples,
        where it is not transposed. Each of a, b, c is (array, where the stack begins in it or in
        each room, (how many, rows, columns, numbers from one matrix to the next))."""
        count, M, N, _ = c[2]
        K = b[2][1]
        strides = (1, M, N, 1) if transposed else (K, 1, c_parts.STRIP, 1)
        places = [address(array) + at * array.itemsize for array, at, _ in (a, b, c)]
        rooms = [array.shape[1] if array.ndim == 2 else 0 for array, *_ in (a, b, c)]
        values = STACK.pack(count, M, K, N, *strides, a[2][3], b[2][3], c[2][3], transposed,
                            not transposed, self.samples, tiles, *rooms, *places, 0, 1.0)
        self._add("sample_products", values, (a, b, c))

    def sums(self, tiles, a, b, c):
        """After `start`: c = aᵀ @ b for each of a stack, a and b arrays of all samples."""
        (count, _, M, a_next), (*_, N, b_next), c_next = a[2], b[2], c[2][3]
        a, b, c = [array[begin:] for array, begin, _ in (a, b, c)]
        _products(a, b, c, (count, M, self.samples * tiles, N), (True, False),
                  (a_next, b_next, c_next))

    def _add(self, name, values, arrays):
        structure = ctypes.create_string_buffer(values, len(values))
        self.kept.append((structure, arrays))  # C has their addresses only
        self.calls += [self.functions[name], ctypes.addressof(structure)]

    def start(self):
        """Do all of it."""
        calls = (ctypes.c_void_p * len(self.calls))(*self.calls)
        self.functions["sequence"](self.parts, self.chunks, len(self.calls) // 2, calls)


def _values(kernel, arguments):
    values = list(arguments)
    for place, _, _ in kernel.arrays:
        values[place] = address(values[place])
    return values
