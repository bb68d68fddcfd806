"""minigan: a generative-adversarial-network engine small enough to read in an evening."""

from minigan import backend, conv, init, networks, nn, objectives, ops, optim  # noqa: F401
from minigan.backend import BackendError, seed, use_backend  # noqa: F401
from minigan.gradcheck import check_adjoint, check_grads  # noqa: F401
from minigan.tensor import Tensor, grad, no_grad  # noqa: F401
