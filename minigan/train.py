"""python -m minigan.train: train a model, and leave everything about the run in a folder."""

import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path

import numpy as np

from minigan import backend, data, fast
from minigan.data.files import printable
from minigan.metrics import judges
from minigan.pictures.snapshots import Pictures
from minigan.runs import models, run_folder, statistics, supply
from minigan.runs.balance import Balance
from minigan.runs.best import KeepBest
from minigan.runs.commandline import command, fail, say
from minigan.runs.evaluation import Evaluation
from minigan.runs.loop import Experiment, StopRequest
from minigan.runs.models import build
from minigan.runs.options import (
    DEFAULTS, breaking, breaks, classifier_of_run, data_of_run, load_data, model_named, of_the_run,
    parser, places, recorded_options, resume_options)
from minigan.runs.pace import FirstStep
from minigan.runs.versions import keep_engine, versions, with_versions

PROG = "minigan.train"


def use_backend(name, given):
    if given.get("tf32"):
        if name != "cupy":
            raise ValueError(f"--tf32 is for --backend cupy, not {name}")
        backend.allow_tf32()
    backend.use_backend(name)


def dry_run(options, dataset, most=None):
    """Print what would run, and run one step of it."""
    model, batches, _ = build(options, dataset, most)
    width = max(map(len, options))
    for name, value in options.items():
        say(f"{name:{width}}  {printable(str(value))}")
    for name, network in models.learning(model).items():
        say(f"{name}, {_count(network)} parameters: {network}")
    with np.errstate(all="ignore"), FirstStep(say, 1, options["steps"], model.batches_per_step,
                                              lambda: batches_done(model)):
        stats = model.step(batches.deal(model.batches_per_step))
    model.check_finite()
    say("one step: " + "  ".join(f"{name} {float(backend.to_numpy(value)):.4g}"
                                 for name, value in stats.items()))


def batches_done(model):
    """By the discriminator, which may take several a step, and several for one of its own."""
    return getattr(model, "d_optimizer", model).steps * model.accumulate


def _count(network):
    return f"{sum(p.size for p in network.parameters()):,}"


def start(given):
    """(run folder, options, dataset, what to say) of a new run. Its folder is the last thing that
    can go wrong."""
    inherited = models.inherited(given["from"], given) if given.get("from") else {}
    options = DEFAULTS | inherited | of_the_run(given)
    use_backend(options["backend"], given)
    if given.get("dry_run") and (needed := data.not_here(options["data"])):
        say_what_is_missing(options, needed)
        return None, options, None, ""
    dataset = load_data(options)
    facts = models.facts_of(dataset)
    options = models.complete(options, facts)
    if given.get("dry_run"):
        return None, options, dataset, ""
    most = models.most_weights(options["from"]) if options["from"] else None
    model, _, _ = build(options, dataset, most)  # refuses what does not fit, before all else
    note = models.begin_from(model, options["from"]) if options["from"] else ""
    if options["evaluate_every"]:
        Evaluation(model, dataset.x, options)
    elif options["keep_best"]:
        raise ValueError("--keep-best needs --evaluate-every, which says how often the state is "
                         "measured")
    folder = run_folder.new_folder(given.get("out", "runs"), run_name(given, options))
    known = data.fingerprint(dataset.x, dataset.labels if "labels" in model.NEEDS else None,
                             dataset.other if supply.SECOND & {*model.NEEDS} else None,
                             dataset.captions if "captions" in model.NEEDS else None)
    run_folder.write_options(folder, {
        "options": options, "sample_shape": list(facts.shape), "classes": list(facts.classes),
        "shares": list(facts.shares), "other_shape": list(facts.other), "data": known,
        "words": list(facts.words) if "captions" in model.NEEDS else [],
        "versions": versions(), "places": places(options, folder)})
    return folder, options, dataset, note


def run_name(given, options):
    """What a new run's folder is called after its number: letters of any script, digits, . _ -"""
    where = Path(os.path.abspath(options["data"])).stem
    what = given.get("objective", options["model"])
    usual = f"{where or 'data'}-{what}-s{options['seed']}"
    name = re.sub(r"[^\w.-]+", "-", given.get("name", usual))[:60]
    return name if name.strip("-.") else usual


def say_what_is_missing(options, needed):
    say(printable(f"{options['data']} is not on this machine. A run downloads {needed}; a dry run "
                  "downloads nothing, and can say no more."))


def go_on(work, finished, options, before):
    """Take a run up where it was, and record the options and versions that it goes on with.
    ValueError for one that is done and has all its pictures."""
    folder = work.folder
    work.restore()
    if work.trainer.steps >= options["steps"] and finished():
        raise ValueError(f"{folder} has already done {work.trainer.steps} steps: give more with "
                         "--steps")
    change(work, options, before)
    record = with_versions(run_folder.read_options(folder), work.trainer.steps)
    run_folder.write_options(folder, record | {"options": options,
                                               "places": places(options, folder)})


def change(work, options, before):
    """Give a run that goes on its new rates and batch size, which the next resume finds saved."""
    for name in breaking(options) - {"batch_size"}:  # lr_g is g_optimizer's
        getattr(work.trainer, name.replace("lr_", "") + "_optimizer").lr = options[name]
    if options["batch_size"] != before["batch_size"]:
        work.batches.change(options["batch_size"])
    if breaks(options, before):
        work.save(options["keep"])


def resume(given):
    """(run folder, options, dataset, what to say) of the run to go on with."""
    out = given.get("out", "runs")
    folder = run_folder.latest_folder(out) if given["resume"] == "latest" else Path(given["resume"])
    record = run_folder.read_options(folder)
    options = resume_options(given, recorded_options(record, folder), folder)
    use_backend(options["backend"], given)
    known = record if "data" not in given else record | {"places": {}}  # only where the user says
    dataset = data_of_run(known, options, folder)
    options["classifier"] = classifier_of_run(record, options, folder)
    return folder, options, dataset, keep_engine(record)


def main(arguments=None):
    def typed():
        return vars(parser(model_named(arguments, PROG)).parse_args(arguments))
    return command(PROG, lambda: run(typed()))


def run(given):
    began, was_fast = time.perf_counter(), fast.is_on()
    resuming = "resume" in given
    try:
        folder, options, dataset, note = resume(given) if resuming else start(given)
        begun = folder if resuming else options["from"]
        most = models.most_weights(begun) if begun else None
        if given.get("dry_run"):
            return dry_run(options, dataset, most) if dataset is not None else 0
        with run_folder.held(folder), StopRequest() as stop:
            return go(folder, options, dataset, note, resuming, began, most, stop)
    except ArithmeticError as error:
        return fail(PROG, error, 1)
    finally:  # a run that went on by the plain engine leaves the process as it was
        if was_fast:
            fast.on()


def go(folder, options, dataset, note, resuming, began, most, stop):
    """Train in a folder that is ours alone, until `stop` is asked for; the exit status."""
    before = recorded_options(run_folder.read_options(folder), folder) if resuming else options
    work, pictures, evaluation = made_ready(folder, options, before, dataset, resuming, most,
                                            stop)
    model = work.trainer
    if resuming:
        go_on(work, pictures.finished, options, before)
    try:
        doubts = judges.doubts(evaluation.judge) if evaluation else ()
        for line in filter(None, (first_words(work, options, dataset, resuming), note,
                                  breaks(options, before), *doubts, fast.advice())):
            work.say(line)
        pictures.reals_once()
        if model.steps >= options["steps"]:  # it was ended while it drew its last pictures
            pictures.finish()
            work.say(f"all {model.steps} steps are done, and the last pictures drawn again: look "
                     f"at {folder / 'report.html'}")
            return 0
        stopped_by = work.run(options["steps"], options["log_every"], options["snapshot_every"],
                              options["checkpoint_every"], options["keep"],
                              options["evaluate_every"])
        if stopped_by is not None:
            work.say(f"stopped after step {model.steps} by {signal.Signals(stopped_by).name}; to "
                     f"go on: python -m minigan.train --resume {as_typed(folder)}")
            return 128 + stopped_by
        work.say(f"{model.steps} steps, {time.perf_counter() - began:.0f} s: look at "
                 f"{folder / 'report.html'}")
        return 0
    except (ArithmeticError, OSError, MemoryError) as error:
        return fail(PROG, f"{str(error) or 'not enough memory'}: stopped; {what_is_left(folder)}",
                    1)


def made_ready(folder, options, before, dataset, resuming, most, stop):
    """(the run at its beginning, what draws its pictures, what measures it or None)."""
    if options["batch_size"] != before["batch_size"]:
        build(options, dataset, most)  # refuses one that does not fit
    model, batches, streams = build(options | {"batch_size": before["batch_size"]}, dataset, most)
    if options["from"] and not resuming:
        models.begin_from(model, options["from"])
    pictures = Pictures(folder, model, dataset.x, options)
    evaluation = Evaluation(model, dataset.x, options) if options["evaluate_every"] else None
    work = Experiment(folder, model, batches, streams, pictures.snapshot, pictures.finish,
                      evaluation, stop)
    work.on_log = Balance(getattr(model, "objective", None))
    work.progress = lambda: batches_done(model)
    if options["keep_best"] and evaluation:
        work.on_evaluate = KeepBest(folder, evaluation, work.state)
    return work, pictures, evaluation


def first_words(work, options, dataset, resuming):
    """What is trained, on what, and how large it is."""
    sizes = [f"{name} {_count(network)}" for name, network in models.learning(work.trainer).items()]
    return (f"{work.folder}: {options.get('objective', options['model'])} on {options['data']}, "
            f"{len(dataset.x)} samples {dataset.x.shape[1:]}, parameters: {', '.join(sizes)}"
            + (f", going on after step {work.trainer.steps}" if resuming else ""))


def as_typed(folder):
    """The path of a folder as a shell takes it; one that begins with a dash is no option."""
    path = str(folder)
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


def what_is_left(folder):
    """Of a run that has failed: its last statistics, which are finite, and its last checkpoint."""
    left = f"the last good checkpoint is {next(iter(run_folder.checkpoints(folder)), 'none')}"
    if last := statistics.last_record(folder):
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in last.items()
                            if isinstance(value, float))
        left = f"the last finite statistics are those of step {last['step']}: {numbers}; {left}"
    return left


if __name__ == "__main__":
    sys.exit(main())
