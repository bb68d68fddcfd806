"""Optimizers: from gradients to weight updates, by PyTorch's rules and defaults.

A step gives each parameter new data, or writes into the old: copy what you keep. Graphs recorded
before are stale then. A rule is a function of one parameter, its gradient, and *slots* of state.
"""

from math import sqrt

import numpy as np

from minigan import backend
from minigan.autograd import total
from minigan.shapes import in_range
from minigan.tensor import FAST, Tensor


class Optimizer:
    """What all optimizers share: the parameters, their slots of state, saving and loading.

    A subclass names its `slots`, zero at first, and defines update(p, g, lr, t, *slots) →
    (p, *slots), arrays of one parameter. t counts steps from 1, of all parameters together.
    """

    slots = squares = ()  # squares: the slots that hold nothing below 0

    def __init__(self, params, lr):
        name = type(self).__name__
        if not isinstance(params, (list, tuple)):
            raise TypeError(f"{name}: parameters come in a list, whose order is the same in every "
                            f"run, got {type(params).__name__}")
        if not params or not all(isinstance(p, Tensor) for p in params) or (
                len({id(p) for p in params}) < len(params)):
            raise ValueError(f"{name}: expected a non-empty list of different parameters")
        dtypes = {str(p.dtype) for p in params}
        if len(dtypes) > 1:
            raise TypeError(f"{name}: parameters of one dtype expected, got {sorted(dtypes)}")
        in_range(f"{name}: learning rate", lr)
        self.params, self.lr, self.steps = list(params), lr, 0
        self.state = {slot: [p.xp.zeros_like(p.data) for p in params] for slot in self.slots}

    def step(self, share=1.0):
        """Update every parameter that has a gradient, at `share` times the learning rate `lr`."""
        self.steps += 1
        for p in self.params:
            if p.grad is not None:
                check_gradient(p)
        sweep = FAST.get(type(self), Optimizer.update_each)
        sweep(self, float(share * self.lr))  # a NumPy number would make float64 of float32

    def update_each(self, lr):
        """One parameter after the other by `update`."""
        for i, p in enumerate(self.params):
            if p.grad is not None:
                slots = [self.state[slot][i].astype(p.dtype, copy=False) for slot in self.slots]
                new, dtype = self.update(p.data, p.grad.data, lr, self.steps, *slots), p.dtype
                p.data, *slots = [p.xp.asarray(array, dtype) for array in new]  # () gives scalars
                for slot, array in zip(self.slots, slots):
                    self.state[slot][i] = array

    def zero_grad(self):
        for p in self.params:
            p.grad = None

    def state_dict(self):
        """{"steps", "lr", "0.m", …}: NumPy copies, numbered by the parameter's position."""
        slots = {f"{i}.{slot}": np.array(backend.to_numpy(array))
                 for slot in self.slots for i, array in enumerate(self.state[slot])}
        return {"steps": np.int64(self.steps), "lr": np.float64(self.lr), **slots}

    def load_state_dict(self, state):
        """Continue from what `state_dict` returned, its learning rate included. ValueError, and
        nothing changed, if a name or a shape differs or a number is out of range."""
        name, own = f"{type(self).__name__}.load_state_dict", self.state_dict()
        if own.keys() != state.keys() or any(
                np.shape(state[key]) != np.shape(own[key]) for key in own):
            raise ValueError(f"{name}: the state is not one of these parameters")
        least = np.min([0.0, *[np.min(state[key], initial=0.0) for key in own
                               if key.split(".")[-1] in self.squares]])
        if not state["steps"] >= 0 or not state["lr"] >= 0.0 or not least >= 0.0:
            raise ValueError(f"{name}: expected steps ≥ 0, a learning rate ≥ 0 and squares ≥ 0, "
                             f"got {state['steps']}, {state['lr']} and {least}")
        self.steps, self.lr = int(state["steps"]), float(state["lr"])
        for slot in self.slots:
            self.state[slot] = [backend.asarray(np.array(state[f"{i}.{slot}"], dtype=p.dtype))
                                for i, p in enumerate(self.params)]


class SGD(Optimizer):
    """v ← momentum · v + g, p ← p − lr · v."""

    slots = ("v",)

    def __init__(self, params, lr, momentum=0.0):
        super().__init__(params, lr)
        self.momentum = float(momentum)  # below 0 it damps games: Gidel et al. 2019
        if not -1.0 < self.momentum < 1.0:
            raise ValueError(f"SGD: momentum: expected a number > −1 and < 1, got {momentum}")

    def update(self, p, g, lr, t, v):
        v = self.momentum * v + g
        return p - lr * v, v


class RMSprop(Optimizer):
    """v ← α v + (1 − α) g², p ← p − lr · g/(√v + eps), without momentum. Source: Tieleman & Hinton
    2012, Neural Networks for Machine Learning, lecture 6.5."""

    slots = squares = ("v",)

    def __init__(self, params, lr, alpha=0.99, eps=1e-8):
        super().__init__(params, lr)
        self.alpha = in_range("RMSprop: alpha", alpha, 1.0)
        self.eps = in_range("RMSprop: eps", eps)

    def update(self, p, g, lr, t, v):
        v = self.alpha * v + (1.0 - self.alpha) * g * g
        return p - lr * g / (backend.xp_of(p).sqrt(v) + self.eps), v


class Adam(Optimizer):
    """m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², p ← p − lr · m̂/(√v̂ + eps), where
    m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).

    β₁ = 0.5 and lr = 2e-4 by default as in DCGAN, arXiv:1511.06434, §4. Source: Kingma & Ba 2015,
    arXiv:1412.6980, Alg. 1.
    """

    slots, squares = ("m", "v"), ("v",)

    def __init__(self, params, lr=2e-4, betas=(0.5, 0.999), eps=1e-8):
        super().__init__(params, lr)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"Adam: expected two betas, got {betas}")
        self.betas = tuple([in_range("Adam: betas", beta, 1.0) for beta in betas])
        self.eps = in_range("Adam: eps", eps)

    def update(self, p, g, lr, t, m, v):
        beta1, beta2 = self.betas
        m = beta1 * m + (1.0 - beta1) * g
        v = beta2 * v + (1.0 - beta2) * g * g
        root = backend.xp_of(p).sqrt(v) / sqrt(1.0 - beta2 ** t)
        return p - lr / (1.0 - beta1 ** t) * m / (root + self.eps), m, v


def check_gradient(p):
    """TypeError or ValueError for a gradient that does not fit its parameter."""
    if not isinstance(p.grad, Tensor):
        raise TypeError(f"a gradient is a Tensor, got {type(p.grad).__name__}: Tensor(array)")
    if p.grad.dtype != p.dtype:
        raise TypeError(f"a parameter is {p.dtype}, its gradient {p.grad.dtype}")
    if p.grad.shape != p.shape:
        raise ValueError(f"a parameter is {p.shape}, its gradient {p.grad.shape}")


def watched(optimizer, loss, first_bad, step):
    """(the norm √Σ g² of all gradients, the first step that was not finite, −1 for none), both 0-d
    arrays: nothing waits for the device here."""
    return FAST.get("watched", watched_plainly)(optimizer, loss, first_bad, step)


def watched_plainly(optimizer, loss, first_bad, step):
    xp, norm = loss.xp, _norm([p.grad for p in optimizer.params if p.grad is not None])
    bad = ~xp.isfinite(loss.data + norm)
    return norm, xp.where(bad & (first_bad < 0), step, first_bad)


def _norm(tensors):
    xp = tensors[0].xp if tensors else np
    return xp.asarray(xp.sqrt(sum([total(t.data ** 2, None) for t in tensors])))


def clip_gradient_norm(params, most):
    """Scale the gradients of `params` to a joint norm of at most `most`; returns the norm they had,
    a 0-d array. As PyTorch's `clip_grad_norm_`."""
    if not most >= 0.0:
        raise ValueError(f"clip_gradient_norm: expected a number ≥ 0, got {most}")
    gradients = [p.grad for p in params if p.grad is not None]
    norm = _norm(gradients)
    scale = (float(most) / (norm + 1e-6)).clip(None, 1.0)
    for g in gradients:
        g.data = g.data * scale
    return norm


class MovingAverage:
    """A copy of a network's weights that follows them: average ← average + s (weights − average).

    s = (1 − decay)/(1 − decayᵗ) after t updates: the exponential moving average with Adam's
    correction of the bias towards its start. Running statistics are taken over as they are.
    """

    def __init__(self, copy, network, decay):
        self.copy, self.network = copy, network
        self.decay = in_range("MovingAverage: decay", decay, 1.0)
        self._parameters = copy.parameters(), network.parameters()
        modules = zip(copy.named_modules(), network.named_modules(), strict=True)
        self._modules = [(mine, theirs) for (_, mine), (_, theirs) in modules if mine.buffer_names]

    def update(self, t):
        share = (1.0 - self.decay) / (1.0 - self.decay ** t)
        FAST.get("average", average)(*self._parameters, share)
        for mine, theirs in self._modules:
            for name in mine.buffer_names:
                setattr(mine, name, getattr(theirs, name))


def average(copies, weights, share):
    """copy ← copy + share · (weight − copy), each in its place."""
    for copy, weight in zip(copies, weights):
        copy.data = copy.data + share * (weight.data - copy.data)
