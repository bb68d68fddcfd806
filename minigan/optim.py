"""Optimizers: from gradients to weight updates. The rules, and the defaults where it has any, are PyTorch's.

An optimizer takes an ordered list of parameters and keeps its own state, in each parameter's dtype. A step changes the
parameters in place and marks every graph recorded before it as stale.
"""

from math import sqrt

import numpy as np

from minigan import backend
from minigan.tensor import Tensor


class Optimizer:
    """What all optimizers share: the parameters, their slots of state, saving and loading.

    A subclass names its `slots` (arrays like the parameter, zero at first) and defines `update`, which changes p in
    place given its gradient g, its slots and the number t of this step, 1 for the first.
    """

    slots = ()

    def __init__(self, params, lr):
        if not isinstance(params, (list, tuple)):
            raise TypeError(f"{type(self).__name__}: parameters come in a list, whose order is the same in every run, "
                            f"got {type(params).__name__}")
        if not params or not all(isinstance(p, Tensor) for p in params) or len({id(p) for p in params}) < len(params):
            raise ValueError(f"{type(self).__name__}: expected a non-empty list of different parameters")
        if not lr >= 0.0:
            raise ValueError(f"{type(self).__name__}: expected a learning rate ≥ 0, got {lr}")
        self.params, self.lr = list(params), lr
        self.steps = 0
        self.state = [{slot: p.xp.zeros_like(p.data) for slot in self.slots} for p in self.params]

    def step(self):
        """Update every parameter that has a gradient."""
        self.steps += 1
        for p, state in zip(self.params, self.state):
            if p.grad is None:
                continue
            if p.grad.dtype != p.dtype:
                raise TypeError(f"{type(self).__name__}: parameter is {p.dtype}, its gradient {p.grad.dtype}")
            for slot, array in state.items():
                if array.dtype != p.dtype:  # the module was converted after the optimizer was made
                    state[slot] = array.astype(p.dtype)
            array = p.data
            self.update(array, p.grad.data, *state.values(), self.steps)
            p.data = array

    def gradient_norm(self):
        """√Σg² over all parameters' gradients, a 0-d array."""
        squares = [(p.grad.data * p.grad.data).sum() for p in self.params if p.grad is not None]
        xp = self.params[0].xp
        return xp.asarray(xp.sqrt(sum(squares)))

    def zero_grad(self):
        for p in self.params:
            p.grad = None

    def state_dict(self):
        """{"steps", "lr", "0.m", …}: NumPy copies, numbered by the parameter's position."""
        state = {f"{i}.{slot}": np.array(backend.to_numpy(array))
                 for i, slots in enumerate(self.state) for slot, array in slots.items()}
        return {"steps": np.int64(self.steps), "lr": np.float64(self.lr), **state}

    def load_state_dict(self, state):
        """Continue from what `state_dict` returned. ValueError, and nothing changed, if a name or a shape differs."""
        own = self.state_dict()
        if own.keys() != state.keys() or any(np.shape(state[name]) != np.shape(own[name]) for name in own):
            raise ValueError(f"{type(self).__name__}.load_state_dict: the state is not one of these parameters")
        self.steps, self.lr = int(state["steps"]), float(state["lr"])
        for i, (p, slots) in enumerate(zip(self.params, self.state)):
            for slot in slots:
                slots[slot] = backend.asarray(np.array(state[f"{i}.{slot}"], dtype=p.dtype))


class SGD(Optimizer):
    """v ← momentum · v + g, p ← p − lr · v."""

    slots = ("v",)

    def __init__(self, params, lr, momentum=0.0):
        super().__init__(params, lr)
        self.momentum = momentum

    def update(self, p, g, v, t):
        v *= self.momentum
        v += g
        p -= self.lr * v


class RMSprop(Optimizer):
    """v ← α v + (1 − α) g², p ← p − lr · g/(√v + eps). Tieleman & Hinton 2012, lecture 6.5; without momentum, as the
    WGAN paper uses it."""

    slots = ("v",)

    def __init__(self, params, lr, alpha=0.99, eps=1e-8):
        super().__init__(params, lr)
        self.alpha, self.eps = alpha, eps

    def update(self, p, g, v, t):
        v *= self.alpha
        v += (1.0 - self.alpha) * g * g
        p -= self.lr * g / (backend.xp_of(v).sqrt(v) + self.eps)


class Adam(Optimizer):
    """m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², p ← p − lr · m̂/(√v̂ + eps), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).

    Kingma & Ba 2015, arXiv:1412.6980, Alg. 1; β₁ = 0.5 and lr = 2e-4 by default as in DCGAN, arXiv:1511.06434, §4.
    """

    slots = ("m", "v")

    def __init__(self, params, lr=2e-4, betas=(0.5, 0.999), eps=1e-8):
        super().__init__(params, lr)
        self.betas, self.eps = betas, eps

    def update(self, p, g, m, v, t):
        beta1, beta2 = self.betas
        m *= beta1
        m += (1.0 - beta1) * g
        v *= beta2
        v += (1.0 - beta2) * g * g
        root = backend.xp_of(v).sqrt(v)
        root *= 1.0 / sqrt(1.0 - beta2 ** t)
        root += self.eps
        p -= (self.lr / (1.0 - beta1 ** t)) * m / root
