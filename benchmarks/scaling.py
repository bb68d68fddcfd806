"""python -m benchmarks.scaling: time per sample of a dcgan28 step from batch 16 to 512, the time
that `import minigan` takes above `import numpy`, and a step in a plain script beside the same step
as the command line trains it."""

import argparse
import json
import statistics
import subprocess
import sys

from benchmarks import pairing

BATCHES = (16, 32, 64, 128, 256, 512)
IMPORT, SCRIPT, COMMAND = "import", "script", "command"
# In a process of its own, which has imported nothing but NumPy.
TIMED_IMPORT = """
import time, numpy
began = time.perf_counter()
import minigan
print(time.perf_counter() - began)
"""


def worker(side, repetitions):
    if side == IMPORT:
        seconds = import_seconds()
    elif side == SCRIPT:
        seconds = pairing.timed(script_step(), repetitions)
    elif side == COMMAND:
        seconds = pairing.timed(command_step(), repetitions)
    else:
        from benchmarks import works
        batch = int(side)
        step = works.minigan_step(works.WORKS["dcgan28-64"]._replace(batch=batch))
        seconds = pairing.timed(step, max(5, repetitions * 64 // batch)) / batch
    print(json.dumps({"seconds": seconds}))


def import_seconds():
    """The second of two imports: the first leaves the files in the caches."""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", TIMED_IMPORT], capture_output=True, text=True,
                              check=True)
    return float(done.stdout)


def script_step():
    """A step as a reader writes it: nothing is called that the command line might call for it."""
    import minigan as mg
    trainer = mg.trainer.GANTrainer(*mg.networks.dcgan_pair((28, 28, 1)))
    batches = mg.data.Batches(mg.data.load("fashion-mini").x, 64, mg.backend.streams["data"])
    return lambda: trainer.step([batches.next()])


def command_step():
    """The same step, made as `python -m minigan.train` makes it."""
    from minigan import train
    options = train.DEFAULTS | dict(recipe="dcgan")
    dataset = train.load_data(options)
    options = train.models.complete(options, train.models.facts_of(dataset))
    model, batches, _ = train.build(options, dataset)
    return lambda: model.step(batches.deal())


def main():
    p = argparse.ArgumentParser(description=" ".join(__doc__.split()))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--worker", help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.worker:
        return worker(options.worker, options.steps)
    results = pairing.alternate(
        "benchmarks.scaling", [*map(str, BATCHES), IMPORT, SCRIPT, COMMAND], options.rounds,
        ["--steps", str(options.steps)])
    seconds = {side: [r["seconds"] for r in found] for side, found in results.items()}
    rows, smallest = [], seconds[str(BATCHES[0])]
    print(pairing.machine_line())
    for batch in BATCHES:
        each = seconds[str(batch)]
        ratio = pairing.ratios(each, smallest)
        ms = 1e3 * statistics.median(each)
        rows.append({"batch": batch, "ms_per_sample": ms, "ratio_to_smallest": ratio})
        print(f"batch {batch:4}  {ms:6.3f} ms per sample  "
              "{:.2f} ({:.2f} … {:.2f}) of batch 16".format(*ratio))
    extra = [1e3 * s for s in seconds[IMPORT]]
    print(f"import minigan takes {statistics.median(extra):.0f} ms more than import numpy")
    script, command = (1e3 * statistics.median(seconds[side]) for side in (SCRIPT, COMMAND))
    ratio = pairing.ratios(seconds[SCRIPT], seconds[COMMAND])
    print(f"a step takes {script:.1f} ms in a script, {command:.1f} ms from the command line: "
          "{:.2f} ({:.2f} … {:.2f})".format(*ratio))
    if options.json:
        pairing.keep(options.json, {
            "rounds": options.rounds, "rows": rows, "import_extra_ms": extra,
            "script_ms": script, "command_ms": command, "script_to_command": ratio})


if __name__ == "__main__":
    sys.exit(main())
