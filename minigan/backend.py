"""NumPy or CuPy: choose once, create there, cross over only at `to_numpy` and `asarray`.

Every other file is written against an array namespace `xp`, which is `numpy` or `cupy`; the two
agree on nearly every name. An array belongs to the backend whose class it is: an operation asks its
arguments where to work (`xp_of`). Only the creation of new arrays looks at the backend in use.

All randomness is drawn on the host, from named streams, and copied over. A run on a GPU sees the
very numbers of the run on the CPU, and drawing for one purpose never disturbs another.
"""

import os
import threading
from types import ModuleType
from typing import Callable, NamedTuple

import numpy as np


class BackendError(RuntimeError):
    """The backend asked for cannot work here; the message says what to install or change."""


class Backend(NamedTuple):
    """One kind of array: its namespace, its class, and how a NumPy copy of one is made."""
    name: str
    xp: ModuleType
    array_type: type
    to_numpy: Callable[[object], np.ndarray]


def _cupy():
    try:
        import cupy
    except Exception as error:  # a broken one fails in many ways, and wraps the cause in advice
        why = "is not installed" if getattr(error, "name", None) == "cupy" else (
            f"is installed, but cannot be imported ({error.__cause__ or error})")
        raise BackendError(f"the cupy backend needs CuPy, which {why}: pip install 'minigan"
                           "[cuda13x]' for CUDA 13, 'minigan[cuda12x]' for CUDA 12") from None
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        if "cudaErrorNoDevice" not in str(error):
            raise BackendError(f"CuPy is installed, but the NVIDIA driver does not answer ({error}"
                               "): install or update the driver, or use --backend numpy") from None
        devices = 0
    if devices == 0:
        raise BackendError("CuPy is installed, but no NVIDIA GPU is visible: "
                           "check CUDA_VISIBLE_DEVICES, or use --backend numpy")
    try:  # kernels are compiled and libraries loaded on first use: only real work proves them there
        ones = cupy.ones((2, 2), np.float32)
        total = float((ones @ ones).sum())
    except Exception as error:
        raise BackendError(
            f"CuPy sees a GPU, but cannot multiply two matrices on it ({error}): the CUDA libraries"
            " are missing or do not fit; pip install 'cupy-cuda13x[ctk]', or 'cupy-cuda12x[ctk]' "
            "for CUDA 12, brings them") from None
    if total != 8.0:
        raise BackendError("CuPy multiplies two matrices of ones on this GPU and gets a wrong "
                           "result: the installation is broken, use --backend numpy")
    return Backend("cupy", cupy, cupy.ndarray, cupy.asnumpy)


_loaders = {"numpy": lambda: Backend("numpy", np, np.ndarray, lambda array: array), "cupy": _cupy}
_loaded, _by_type = {}, {}


def allow_tf32():
    """Let products of float32 matrices on a GPU round their factors to TF32's 10 digits, for speed.
    `BackendError` once the cupy backend has been used: CuPy reads this setting when it starts."""
    if "cupy" in _loaded:
        raise BackendError("TF32 has to be allowed before the cupy backend is first used")
    os.environ["CUPY_TF32"] = "1"


def register(name, load):
    """Offer a further backend, which `load()` returns when it is first used."""
    _loaders[name] = load


def names():
    """The names that `use_backend` takes."""
    return list(_loaders)


def _load(name):
    if name not in _loaders:
        raise BackendError(f"unknown backend {name!r}: expected one of {', '.join(_loaders)}")
    if name not in _loaded:
        backend = _loaders[name]()
        _loaded[name] = _by_type[backend.array_type] = backend
    return _loaded[name]


class _InUse(threading.local):
    """The backend in use. Each thread has its own, and begins with the main thread's."""

    of_main_thread = _load("numpy")

    def __init__(self):
        self.backend = _InUse.of_main_thread


_in_use = _InUse()


class use_backend:
    """Create new arrays on backend `name` from now on; as a context manager, only inside the block.

    It holds for this thread, and if this is the main thread for those that first use one later.
    `BackendError` if the backend is unknown or cannot work here: nothing falls back silently.
    """

    def __init__(self, name):
        self._previous = _in_use.backend
        self._set(_load(name))

    def __enter__(self):
        return _in_use.backend

    def __exit__(self, *exception):
        self._set(self._previous)

    def _set(self, backend):
        _in_use.backend = backend
        if threading.current_thread() is threading.main_thread():
            _InUse.of_main_thread = backend


def current():
    """The backend on which new arrays are created."""
    return _in_use.backend


def is_array(value):
    """Whether `value` is an array of a backend in use (a NumPy scalar is not)."""
    return type(value) in _by_type


def backend_of(array):
    """The backend that `array` belongs to. TypeError if it is not an array of any."""
    try:
        return _by_type[type(array)]
    except KeyError:
        known, got = " or ".join(_loaded), type(array).__name__
        raise TypeError(f"expected an array of {known}, got {got}") from None


def xp_of(array):
    """The namespace, `numpy` or `cupy`, whose functions work on `array`."""
    return backend_of(array).xp


def asarray(data, dtype=None):
    """`data` as an array of the backend in use, copied there if it is not there yet.

    A float array keeps its dtype, in the machine's order of bytes, unless `dtype` is given; all
    else (lists, numbers, integers, booleans) becomes float32. TypeError if it is no real numbers.
    """
    if not is_array(data):
        if not isinstance(data, (np.generic, np.ndarray)):
            dtype = dtype or np.float32
        data = np.asarray(data)
    if data.dtype.kind not in "fiub":
        raise TypeError(f"expected real numbers, got dtype {data.dtype}")
    if dtype is None:
        dtype = np.float32 if data.dtype.kind != "f" else (
            data.dtype if data.dtype.isnative else data.dtype.newbyteorder("="))
    if type(data) is not current().array_type:
        data = to_numpy(data)
    return current().xp.asarray(data, dtype=dtype)


def to_numpy(array):
    """`array` as a NumPy array on the host: the one way down from a device, which it waits for."""
    return backend_of(array).to_numpy(array)


class Streams:
    """Random streams by name, each an independent NumPy `Generator` (Philox) on the host.

    `streams["noise"]` is created from the seed and the name when first asked for. What is drawn
    from one stream never changes another. Philox is counter-based (Salmon et al. 2011,
    doi 10.1145/2063384.2063405): its state is 13 integers.
    """

    def __init__(self, seed=0):
        self._generators = {}
        self.restart(seed)

    def restart(self, seed):
        """Begin every stream anew from `seed`, 0 to 2⁶⁴ − 1; generators handed out restart too."""
        if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 64:
            raise ValueError(f"seed: expected an integer ≥ 0 and below 2**64, got {seed!r}")
        self.seed = int(seed)
        for name, generator in self._generators.items():
            generator.bit_generator.state = self._beginning(name).state

    def __getitem__(self, name):
        if name not in self._generators:
            self._generators[name] = np.random.Generator(self._beginning(name))
        return self._generators[name]

    def _beginning(self, name):
        return np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=tuple(name.encode())))

    def state_dict(self):
        """{name: state as 13 uint64} of the streams drawn from so far, and the seed."""
        state = {}
        for name, generator in self._generators.items():
            packed = _pack(generator.bit_generator.state)
            if (packed != _pack(self._beginning(name).state)).any():
                state[name] = packed
        return {"seed": np.array(self.seed, np.uint64), **state}

    def load_state_dict(self, state):
        """Continue every stream from where `state_dict` saw it."""
        self.restart(int(state["seed"]))
        for name, packed in state.items():
            if name != "seed":
                self[name].bit_generator.state = _unpack(packed)


def _pack(state):
    words = [*state["state"]["counter"], *state["state"]["key"], *state["buffer"],
             state["buffer_pos"], state["has_uint32"], state["uinteger"]]
    return np.array([int(word) for word in words], dtype=np.uint64)


def _unpack(packed):
    if packed.shape != (13,) or packed.dtype != np.uint64:
        raise ValueError(
            f"a random stream's state: expected 13 uint64, got {packed.dtype} {packed.shape}")
    position, has_half, half = (int(word) for word in packed[10:])
    if position > 4 or has_half > 1 or half >= 1 << 32:
        raise ValueError(f"a random stream's state: its last words {position, has_half, half} "
                         "are out of range")
    words = {"counter": packed[:4], "key": packed[4:6]}
    return {"bit_generator": "Philox", "state": words, "buffer": packed[6:10],
            "buffer_pos": position, "has_uint32": has_half, "uinteger": half}


streams = Streams(0)


def seed(number):
    """Restart the named random streams that layers and trainers draw from by default."""
    streams.restart(number)
