"""A training of `gan` or another model without a run folder, for the scripts that measure what it reaches."""

import time

import numpy as np

from minigan import backend, data
from minigan.runs import models
from minigan.trainer import NonFiniteError


def trained(dataset, options, seed, clock=time.perf_counter):
    """(model, seconds by the clock, what went wrong or None) after `options["steps"]` steps; the other options are the
    defaults for the data. All random numbers come from `seed`."""
    facts, streams = models.facts_of(dataset), backend.Streams(seed)
    options = models.complete(dict(model="gan") | options, facts)
    model = models.made(options, facts, streams)
    model.learn_from(dataset.x, dataset.labels, dataset.captions)
    batches = data.Batches(dataset.x, options["batch_size"], streams["data"], labels=dataset.labels)
    began = clock()
    with np.errstate(all="ignore"):
        for _ in range(options["steps"]):
            model.step(batches.deal(model.batches_per_step))
    seconds = clock() - began
    try:
        model.check_finite()
    except NonFiniteError as error:
        return model, seconds, str(error)
    return model, seconds, None


def samples_of(model, n, seed):
    """n of its samples as a NumPy array: those that `minigan.sample --seed` draws."""
    return backend.to_numpy(model.draw(n, models.preview(seed)).x)
