"""The kernels on a CPU: compiled once by the machine's C compiler, kept in the user's cache.

The compiled file runs in this process, so it is loaded only from a folder that is the user's own
and that nobody else can write to. It is made under another name and renamed, so that two processes
at once do no harm, and its digest is kept beside it: a damaged one is made again. Whatever fails
here costs speed and never the run: the plain engine does the work.
"""

import atexit
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

# Without errno and traps loops become vectors. NaN and infinity keep their meaning. Without ivopts
# gcc takes half the time for kernels with many pointers, and the kernels are as fast.
FLAGS = ["-O3", "-march=native", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math",
         "-ffp-contract=fast", "-fno-ivopts", "-pthread", "-fPIC", "-w"]
LIMIT = 120  # seconds for the compiler


class NotCompiled(Exception):
    """The message says why, in a line for people."""


def compiled(sources, dtype):
    """The path of a shared object made of these C sources, compiled now or before. `NotCompiled` if
    there is none."""
    command = compiler()
    if command is None:
        raise NotCompiled("there is no C compiler (cc, gcc, clang): install one, or pip install "
                          "'minigan[native]'")
    try:
        return _kept(command, sources, dtype)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotCompiled(
            f"{' '.join(command)} made no kernels ({first_line(error)})") from None


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


def first_line(error):
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


def _kept(command, sources, dtype):
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
