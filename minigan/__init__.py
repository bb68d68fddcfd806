"""minigan: a generative-adversarial-network engine small enough to read in an evening."""

__version__ = "0.1.0"

from minigan import backend, conv, data, fast, init, metrics, networks, nn  # noqa: E402, F401
from minigan import objectives, ops, optim, trainer  # noqa: E402, F401
from minigan.autograd import grad  # noqa: E402, F401
from minigan.backend import BackendError, seed, use_backend  # noqa: E402, F401
from minigan.gradcheck import check_adjoint, check_grads  # noqa: E402, F401
from minigan.metrics import latent  # noqa: E402, F401
from minigan.pictures import graph, laboratory, plots  # noqa: E402, F401
from minigan.runs.models import load  # noqa: E402, F401
from minigan.tensor import Tensor, no_grad  # noqa: E402, F401
