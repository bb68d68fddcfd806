"""minigan: a generative-adversarial-network engine small enough to read in an evening."""

from importlib import import_module

__version__ = "0.1.0"

from minigan import backend, conv, fast, init, networks, nn, objectives  # noqa: E402, F401
from minigan import ops, optim, trainer  # noqa: E402, F401
from minigan.autograd import grad  # noqa: E402, F401
from minigan.backend import BackendError, seed, use_backend  # noqa: E402, F401
from minigan.gradcheck import check_adjoint, check_grads  # noqa: E402, F401
from minigan.tensor import Tensor, no_grad  # noqa: E402, F401

# What a run needs is imported when it is first asked for: mg.data.load("mnist")
LATER = {"data": "minigan.data", "metrics": "minigan.metrics", "latent": "minigan.metrics.latent",
         "graph": "minigan.pictures.graph", "laboratory": "minigan.pictures.laboratory",
         "plots": "minigan.pictures.plots", "load": "minigan.runs.models"}


def __getattr__(name):
    if name not in LATER:
        raise AttributeError(f"module 'minigan' has no attribute {name!r}")
    module = import_module(LATER[name])
    return module.load if name == "load" else module


def __dir__():
    return sorted({*globals(), *LATER})
