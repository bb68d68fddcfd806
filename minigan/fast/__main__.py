"""python -m minigan.fast: what the fast engine is on this machine, and what it saves."""

import platform
import sys
import time

import numpy as np

from minigan import backend, fast, networks
from minigan.fast import compiling, native, threads
from minigan.trainer import GANTrainer

STEPS = 5


def step_time():
    """Seconds of a training step of the default pair on pictures 28 × 28, batches of 64."""
    streams = backend.Streams(0)
    pair = networks.dcgan_pair((28, 28, 1), rng=streams["init"])
    trainer = GANTrainer(*pair, streams=streams)
    real = streams["data"].uniform(-1.0, 1.0, (64, 28, 28, 1)).astype(np.float32)
    trainer.step([real])
    times = []
    for _ in range(STEPS):
        began = time.perf_counter()
        trainer.step([real])
        times.append(time.perf_counter() - began)
    return sorted(times)[STEPS // 2]


def main():
    command = compiling.compiler()
    fast.on()
    about = fast.about()
    print(f"engine     {about['engine']}{': ' + native.why_not if native.why_not else ''}")
    print(f"compiler   {' '.join(command) if command else 'none: cc, gcc, clang or ziglang'}")
    print(f"processor  {compiling.processor_name()}, {platform.machine()}, "
          f"{threads.cores()} threads")
    print(f"cache      {compiling.cache_folder()}")
    print(f"a step of the default networks, median of {STEPS}:")
    for name, switch in (("fast", fast.on), ("plain", fast.off)):
        switch()
        print(f"  {name:8} {1e3 * step_time():7.1f} ms", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
