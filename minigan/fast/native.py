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
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from math import prod
from pathlib import Path

import numpy as np

from minigan.fast import text, threads
from minigan.fast.filters import FILTERS
from minigan.fast.kernels import KERNELS as GENERAL

KERNELS = [*GENERAL, *FILTERS.values()]

# Without errno and traps loops become vectors. NaN and infinity keep their meaning. Without ivopts
# gcc takes half the time for kernels with many pointers, and the kernels are as fast.
FLAGS = ["-O3", "-march=native", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math",
         "-ffp-contract=fast", "-fno-ivopts", "-fPIC", "-w"]
LIMIT = 120  # seconds for the compiler
HALVES = 2   # of the kernels, compiled at the same time
TYPES = {"index": ctypes.c_longlong, "double": ctypes.c_double}

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
    try:
        library = ctypes.CDLL(str(_compiled(command, sources, dtype)))
        found = {kernel.name: getattr(library, kernel.name) for kernel in KERNELS}
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        why_not = f"{' '.join(command)} made no kernels ({_first_line(error)})"
        return None
    for kernel in KERNELS:
        found[kernel.name].restype = None
        head = 3 if isinstance(kernel, text.Sum) else 2
        found[kernel.name].argtypes = [TYPES["index"]] * head + [
            ctypes.c_void_p if "*" in p else TYPES[p.split()[0]] for p in kernel.parameters()]
    return found


def _first_line(error):
    said = str(error)
    if isinstance(error, subprocess.SubprocessError):
        said = said.replace(f"Command '{error.cmd}'", "it")
    if isinstance(error, subprocess.CalledProcessError) and error.stderr.strip():
        said = error.stderr
    return next((line for line in said.splitlines() if line.strip()), type(error).__name__)[:200]


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


# The calls

def address(array):
    """Where an array's numbers are in memory."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # a fifth of the time of …
    except (TypeError, ValueError, BufferError):
        return array.ctypes.data


def run(kernel, dtype, sizes, arguments):
    """Call a kernel on all cores; its first loop is cut into parts."""
    function, values = functions(dtype)[kernel.name], _values(kernel, arguments)
    threads.split(lambda part, begin, end: function(begin, end, *sizes, *values),
                  sizes[0], prod(sizes))


def sums(kernel, dtype, sizes, arguments):
    """The (parts, sums, kept) doubles of a `Sum`."""
    function, values = functions(dtype)[kernel.name], _values(kernel, arguments)
    numbers, K = prod(sizes), len(kernel.sums)
    parts = threads.parts_of(sizes[0], numbers) if kernel.by_row else 1
    result = np.empty((parts, K, sizes[-1] if kernel.by_row else sizes[0]))
    place = address(result)
    threads.split(lambda part, begin, end: function(part, begin, end, *sizes, *values, place),
                  sizes[0], numbers)
    return result


def _values(kernel, arguments):
    return [address(value) if argument.array else value
            for argument, value in zip(kernel.arguments, arguments)]
