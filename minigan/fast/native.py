"""The kernels on a CPU: compiled once by the machine's C compiler, kept in the user's cache.

The compiled file runs in this process, so it is loaded only from a folder that is the user's own
and that nobody else can write to. It is made under another name and renamed, so that two processes
at once do no harm, and its digest is kept beside it: a damaged one is made again. Whatever fails
here costs speed and never the run: the plain engine does the work.
"""

import atexit
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from math import prod
from pathlib import Path
from struct import Struct

import numpy as np

from minigan.fast import c_parts, text, threads
from minigan.fast.filters import FILTERS, STRIP
from minigan.fast.kernels import KERNELS as GENERAL

KERNELS = [*GENERAL, *FILTERS.values()]

# Without errno and traps loops become vectors. NaN and infinity keep their meaning. Without ivopts
# gcc takes half the time for kernels with many pointers, and the kernels are as fast.
FLAGS = ["-O3", "-march=native", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math",
         "-ffp-contract=fast", "-fno-ivopts", "-pthread", "-fPIC", "-w"]
LIMIT = 120  # seconds for the compiler
HALVES = 2   # of the kernels, compiled at the same time
TYPES = {"index": ctypes.c_longlong, "double": ctypes.c_double}

STACK = Struct("21q")  # see `c_parts.PRODUCTS`

_lock = threading.Lock()
_libraries = {}  # dtype → {kernel name: function}, or None where there is none
why_not = None   # why there are no compiled kernels, in a line for people


def compiler():
    """The command of a C compiler, a list: $CC, cc, gcc, clang, or the one in the package ziglang;
    None without any."""
    try:
        chosen = shlex.split(os.environ.get("CC", ""))
    except ValueError:  # a quotation without an end
        chosen = []
    for command in (chosen, ["cc"], ["gcc"], ["clang"]):
        if command and (path := shutil.which(command[0])):
            return [path, *command[1:]]
    if find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    return None


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
    command = compiler()
    if command is None:
        why_not = ("there is no C compiler (cc, gcc, clang): install one, or pip install "
                   "'minigan[native]'")
        return None
    sources = [text.c_source(KERNELS[i::HALVES], dtype) for i in range(HALVES)]
    sources[0] += c_parts.THREADS + c_parts.PRODUCTS + c_parts.SEQUENCE
    try:
        library = ctypes.CDLL(str(_compiled(command, sources, dtype)))
        found = {kernel.name: getattr(library, kernel.name) for kernel in KERNELS}
        found["products"] = library.products
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        why_not = f"{' '.join(command)} made no kernels ({_first_line(error)})"
        return None
    for kernel in KERNELS:
        found[kernel.name].restype = None
        found[kernel.name].argtypes = [ctypes.c_int] + [
            ctypes.c_void_p if "*" in p else TYPES[p.split()[0]] for p in kernel.parameters()]
    index, pointer = TYPES["index"], ctypes.c_void_p
    for name in [*[kernel.name for kernel in KERNELS], "sample_products"]:
        found[f"{name}_part"] = ctypes.cast(getattr(library, f"{name}_part"), pointer).value
    found["sequence"] = library.sequence
    found["sequence"].restype, found["sequence"].argtypes = None, [
        ctypes.c_int, ctypes.c_int, index, pointer]
    found["products"].restype, found["products"].argtypes = None, [ctypes.c_int, ctypes.c_char_p]
    return found


def _first_line(error):
    """The first line that speaks of an error, or the first one that says anything."""
    said = str(error)
    if isinstance(error, subprocess.SubprocessError):
        said = said.replace(f"Command '{error.cmd}'", "it")
    if isinstance(error, subprocess.CalledProcessError) and error.stderr.strip():
        said = error.stderr
    lines = [line for line in said.splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if "error" in line), lines[0])[:200]


# The cache

def cache_folder():
    """Where compiled files are kept."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "minigan")


def _compiled(command, sources, dtype):
    """The path of the compiled sources, from the cache if it is there."""
    key = hashlib.sha256(repr((sources, command, FLAGS, _stamp(command[0]), _processor())).encode())
    name = f"{dtype}-{key.hexdigest()[:20]}.so"
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        pass
    if not _is_ours(folder):
        folder = Path(tempfile.mkdtemp(prefix="minigan-"))  # for this process only
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path, digest = folder / name, folder / f"{name}.sha256"
    if not _is_whole(path, digest):
        _compile(command, sources, path, digest)
    return path


def _is_ours(folder):
    """Whether a folder, or a file, is the user's own and writable by nobody else."""
    try:
        about = os.lstat(folder)
    except OSError:
        return False
    if not stat.S_ISDIR(about.st_mode) and not stat.S_ISREG(about.st_mode):
        return False  # a link leads elsewhere, a pipe has no end
    if not hasattr(os, "getuid"):  # Windows: the folder lies in the user's profile
        return True
    return about.st_uid == os.getuid() and not about.st_mode & 0o022 and (
        not stat.S_ISDIR(about.st_mode) or os.access(folder, os.W_OK))


def _is_whole(path, digest):
    try:
        return _is_ours(path) and _is_ours(digest) and (
            digest.read_text().strip() == hashlib.sha256(path.read_bytes()).hexdigest())
    except (OSError, ValueError):
        return False


def _compile(command, sources, path, digest):
    print(f"minigan: compiling kernels for this processor with {Path(command[0]).name}, once …",
          end="", file=sys.stderr, flush=True)
    began = time.perf_counter()
    folder = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        try:
            made = _built(command, sources, folder, FLAGS)
        except subprocess.CalledProcessError:  # a compiler that does not know this processor
            made = _built(command, sources, folder, [f for f in FLAGS if f != "-march=native"])
        made.chmod(0o700)
        summed = folder / "sum"
        summed.write_text(hashlib.sha256(made.read_bytes()).hexdigest() + "\n")
        for new, place in ((made, path), (summed, digest)):
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            os.replace(new, place)
        print(f" {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    except BaseException:
        print(" failed", file=sys.stderr, flush=True)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _built(command, sources, folder, flags):
    """The shared object, of sources that are compiled at the same time."""
    from concurrent.futures import ThreadPoolExecutor  # here, as it takes its time to import
    made, jobs = folder / "kernels.so", []
    for i, source in enumerate(sources):
        code = folder / f"kernels{i}.c"
        code.write_text(source)
        jobs.append([*command, *flags, "-c", "-o", str(code.with_suffix(".o")), str(code)])
    with ThreadPoolExecutor() as pool:
        list(pool.map(_called, jobs))
    objects = [str(folder / f"kernels{i}.o") for i in range(len(sources))]
    _called([*command, *flags, "-shared", "-o", str(made), *objects, "-lm"])
    return made


def _called(command):
    subprocess.run(command, check=True, capture_output=True, text=True, errors="replace",
                   timeout=LIMIT, stdin=subprocess.DEVNULL)


def _stamp(path):
    about = os.stat(path)
    return path, about.st_size, about.st_mtime_ns


def _processor():
    """What the compiled code depends on beside its source."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line for line in file if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.machine(), platform.processor()


def processor_name():
    """As the system calls it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            line = next(line for line in file if line.startswith("model name"))
            return line.partition(":")[2].strip()
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


# The calls

def address(array):
    """Where an array's numbers are in memory."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # a fifth of the time of …
    except (TypeError, ValueError, BufferError):
        return array.ctypes.data


def run(kernel, dtype, sizes, arguments):
    """Call a kernel on all cores."""
    functions(dtype)[kernel.name](threads.parts_of(sizes[0], prod(sizes)), *sizes,
                                  *_values(kernel, arguments))


def sums(kernel, dtype, sizes, arguments):
    """The (parts, sums, kept) doubles of a `Sum`."""
    parts, K = threads.parts_of(sizes[0], prod(sizes)), len(kernel.sums)
    result = np.empty((parts, K, sizes[-1]) if kernel.by_row else (1, K, sizes[0]))
    functions(dtype)[kernel.name](parts, *sizes, *_values(kernel, arguments), address(result))
    return result


def products(a, b, c, a_transposed=False, b_transposed=False):
    """c (n, M, N) = a (n, M, K) @ b (n, K, N), all contiguous. A transposed factor is stored as
    (n, K, M), or (n, N, K)."""
    count, M, N = c.shape
    K = a.shape[1 if a_transposed else 2]
    if not (a.flags.c_contiguous and b.flags.c_contiguous and c.flags.c_contiguous) or (
            a.shape != ((count, K, M) if a_transposed else (count, M, K)) or b.shape != (
                (count, N, K) if b_transposed else (count, K, N))
            or not a.dtype == b.dtype == c.dtype):
        raise ValueError(f"products: {a.dtype} {a.shape} and {b.dtype} {b.shape} do not make "
                         f"{c.dtype} {c.shape}")
    _products(a, b, c, (count, M, K, N), (a_transposed, b_transposed), (M * K, K * N, M * N))
    return c


def _products(a, b, c, sizes, transposed, following):
    count, M, K, N = sizes
    functions(c.dtype)["products"](
        threads.parts_of(count * max(M, N), prod(sizes) // 64),
        STACK.pack(*sizes, *((1, M) if transposed[0] else (K, 1)),
                   *((1, K) if transposed[1] else (N, 1)), *following, *[0] * 7, address(a),
                   address(b), address(c)))


class Sequence:
    """Kernels, and products of stacks, that each thread runs one after another on its own samples,
    `chunk` of them at a time. What they hand on lies in rooms, one for each thread."""

    def __init__(self, samples, numbers, chunk, dtype):
        self.samples, self.dtype, self.functions = samples, dtype, functions(dtype)
        self.parts = threads.parts_of(samples, numbers)
        share = -(-samples // self.parts)
        self.chunks = -(-share // chunk)
        self.capacity = -(-share // self.chunks) + 1  # samples in a chunk, at most
        self.calls, self.kept = [], []

    def rooms(self, size, make=np.empty):
        """An array (threads, size)."""
        return make((self.parts, size), self.dtype)

    def run(self, kernel, sizes, arguments):
        """A kernel; its first loop is over the samples."""
        self._add(kernel.name, kernel.structure.pack(*sizes, *_values(kernel, arguments)),
                  arguments)

    def products(self, tiles, a, b, c, transposed=False):
        """c = a @ b for each of a stack, b in strips. a (n, M, K) and c (n, M, N), or with
        `transposed` a (n, K, M) and b (n, K, N), of which the products are added to c, are in
        rooms, or a is of all samples. Each is given as (the rooms, where in a room, (n, rows,
        columns, numbers from one matrix to the next)). The others are arrays."""
        count, M, N, _ = c[2]
        K = b[2][1]
        strides = ((1, M) if transposed else (K, 1)) + ((N, 1) if transposed else (STRIP, 1))
        places = [address(array) + at * array.itemsize for array, at, _ in (a, b, c)]
        rooms = [array.shape[1] if array.ndim == 2 else 0 for array, *_ in (a, b, c)]
        values = STACK.pack(count, M, K, N, *strides, a[2][3], b[2][3], c[2][3], transposed,
                            not transposed, self.samples, tiles, *rooms, *places)
        self._add("sample_products", values, (a, b, c))

    def sums(self, tiles, a, b, c):
        """When all is done: c (n, M, N) = aᵀ @ b, a (n, K, M) and b (n, K, N) of all samples."""
        (count, _, M, a_next), (*_, N, b_next), c_next = a[2], b[2], c[2][3]
        a, b, c = [array[begin:] for array, begin, _ in (a, b, c)]
        _products(a, b, c, (count, M, self.samples * tiles, N), (True, False),
                  (a_next, b_next, c_next))

    def _add(self, name, values, arrays):
        structure = ctypes.create_string_buffer(values, len(values))
        self.kept.append((structure, arrays))  # C has their addresses only
        self.calls += [self.functions[f"{name}_part"], ctypes.addressof(structure)]

    def start(self):
        """Do all of it."""
        calls = (ctypes.c_void_p * len(self.calls))(*self.calls)
        self.functions["sequence"](self.parts, self.chunks, len(self.calls) // 2, calls)


def _values(kernel, arguments):
    return [address(value) if argument.array else value
            for argument, value in zip(kernel.arguments, arguments)]
