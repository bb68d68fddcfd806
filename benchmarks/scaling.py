"""python -m benchmarks.scaling: time per sample of a dcgan28 step from batch 16 to 512, and the time `import minigan`
takes above `import numpy`."""

import argparse
import json
import statistics
import sys

from benchmarks import pairing

BATCHES = (16, 32, 64, 128, 256, 512)


def worker(side, repetitions):
    if side == "import numpy":
        return print(json.dumps({"seconds": _import_time("numpy")}))
    if side == "import minigan":
        return print(json.dumps({"seconds": _import_time("minigan")}))
    from benchmarks import works
    from minigan import parallel
    parallel.use_all_cores()
    batch = int(side)
    step = works.minigan_step(works.WORKS["dcgan28-64"]._replace(batch=batch))
    seconds = pairing.timed(step, max(5, repetitions * 64 // batch))
    print(json.dumps({"seconds": seconds / batch}))


def _import_time(name):
    import importlib
    import time
    began = time.perf_counter()
    importlib.import_module(name)
    return time.perf_counter() - began


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--worker", help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.worker:
        return worker(options.worker, options.steps)
    sides = [*map(str, BATCHES), "import numpy", "import minigan"]
    results = pairing.alternate("benchmarks.scaling", sides, options.rounds, ["--steps", str(options.steps)])
    rows = []
    smallest = [r["seconds"] for r in results[str(BATCHES[0])]]
    for batch in BATCHES:
        seconds = [r["seconds"] for r in results[str(batch)]]
        ratio = pairing.ratios(seconds, smallest)
        rows.append({"batch": batch, "ms_per_sample": 1e3 * statistics.median(seconds), "ratio_to_smallest": ratio})
        print(f"batch {batch:4}  {1e3 * statistics.median(seconds):6.3f} ms per sample  "
              "{:.2f} ({:.2f} … {:.2f}) of batch 16".format(*ratio))
    extra = [1e3 * (a["seconds"] - b["seconds"]) for a, b in zip(results["import minigan"], results["import numpy"])]
    print(f"import minigan takes {statistics.median(extra):.0f} ms more than import numpy")
    if options.json:
        pairing.keep(options.json, {"rounds": options.rounds, "rows": rows, "import_extra_ms": extra})


if __name__ == "__main__":
    sys.exit(main())
